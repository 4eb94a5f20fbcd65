"""train: what runs in a worker of Dask: one task at a time, which can be asked to stop though no signal reaches it."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, TypeVar

from groundswell.core.errors import BusyError
from groundswell.train.answers import THREADS, Answer, answer, environment
from groundswell.train.signals import ASKED, TrainingStopped

T = TypeVar("T")
BUSY_S = 600.0
"""So long a task waits for a folder in which another worker is still writing its last checkpoint."""
BUSY_EVERY_S = 0.5
"""So often it looks."""


@dataclass
class Desk:
    """What a worker knows of our tasks. It is kept with the worker, as tasks come and go in its threads."""

    turn: threading.Lock = field(default_factory=threading.Lock)
    """Held by the task that is under way: two would share one generator of random numbers."""
    under_way: set[str] = field(default_factory=set)
    """Keys of the tasks under way."""
    asked: dict[str, int] = field(default_factory=dict)
    """Runs of which nothing more begins, with the signal that what is under way is to stop for (0: it may finish)."""
    signal: int = 0
    """The signal that this process got itself."""


def desk_of(worker: Any) -> Desk:
    """The desk of a worker."""
    desk: Desk = worker.__dict__.setdefault("groundswell_desk", Desk())
    return desk


def perform(run: str, key: str, threads: int, function: Callable[..., T], arguments: tuple[Any, ...]) -> Answer[T]:
    """Call the function in this thread of a worker, when its turn has come.

    Args:
        run: which call of ``run_tasks`` this belongs to.
        key: of the task, as Dask knows it.
        threads: of the numerical libraries; 0 leaves them as they are.
        function: of the task.
        arguments: of the task.
    """
    from distributed import Reschedule, get_worker

    worker = get_worker()
    desk = desk_of(worker)

    def asked() -> int:
        return desk.asked.get(run, 0) or desk.signal or (0 if _open(worker) else signal.SIGTERM)

    with desk.turn:
        if run in desk.asked:
            return Answer("dropped")
        desk.under_way.add(key)
        token = ASKED.set(asked)
        try:
            with _limits(threads):
                found = _when_free(function, arguments, asked)
        finally:
            ASKED.reset(token)
            desk.under_way.discard(key)
    stopped = found.kind == "dropped" or (found.error is not None and issubclass(found.error[0], TrainingStopped))
    if stopped and run not in desk.asked and not _open(worker):
        raise Reschedule  # its checkpoint is written: another worker goes on from it
    return found


def _when_free(function: Callable[..., T], arguments: tuple[Any, ...], asked: Callable[[], int]) -> Answer[T]:
    """The answer, after the folder of the task was let go by a worker that Dask has given up already."""
    until = time.monotonic() + BUSY_S
    while True:
        found = answer(function, arguments)
        if found.error is None or not issubclass(found.error[0], BusyError) or time.monotonic() > until:
            return found
        if asked():
            return Answer("dropped")
        time.sleep(BUSY_EVERY_S)


def _open(worker: Any) -> bool:
    """Whether the worker is to go on: a batch system whose time is up has it close."""
    return worker.status.name in ("running", "paused")


@contextlib.contextmanager
def _limits(threads: int) -> Iterator[None]:
    """Holds the libraries that are loaded to so many threads, and tells those that are not loaded yet."""
    if not threads:
        yield
        return
    from threadpoolctl import threadpool_limits

    with environment(dict.fromkeys(THREADS, str(threads))), threadpool_limits(threads):
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
        yield


def ask(run: str, number: int, dask_worker: Any) -> list[str]:
    """Have a run's tasks on this worker stop because of signal ``number`` (0: only begin no more).

    Returns:
        keys of those that are under way.
    """
    desk = desk_of(dask_worker)
    desk.asked[run] = number
    return sorted(desk.under_way)


def forget(run: str, dask_worker: Any) -> None:
    """A run is over."""
    desk_of(dask_worker).asked.pop(run, None)


def dask_setup(worker: Any) -> None:
    """Dask calls this as a worker process of our own cluster starts: signals are for the tasks, as in loky's processes.

    A terminal and a batch system send theirs to all processes at once, which would end a worker without a checkpoint.
    """
    def note(number: int, frame: FrameType | None) -> None:
        if desk_of(worker).under_way:
            desk_of(worker).signal = number

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, note)
        signal.signal(signal.SIGUSR1, note)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
