"""train: tasks in processes of this machine (loky). A process that dies is replaced, and who was with it is known."""

from __future__ import annotations

import os
import re
import signal
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from joblib.externals.loky import ProcessPoolExecutor

from groundswell.train.answers import THREADS, Answer, Call, answer, failed
from groundswell.train.signals import die_with_parent

T = TypeVar("T")
POLL_S = 0.2
"""So often the loop looks whether a stop was asked for while tasks run."""


@contextmanager
def loky_pool(workers: int, threads: int, retries: int) -> Iterator[LokyPool]:
    """Processes that are there while this is entered; on leaving, tasks under way may finish.

    Args:
        workers: processes.
        threads: of the numerical libraries in each.
        retries: see :attr:`groundswell.train.answers.Pool.patience`.
    """
    pool = LokyPool(workers, threads, retries)
    with warnings.catch_warnings():
        # It replaces workers that have grown, which is what one wants of it; it need not be announced.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs", category=UserWarning)
        try:
            yield pool
        finally:
            pool.close()


class LokyPool:
    """A pool of loky's that is made anew after one of its processes has died, as that ends all the others."""

    def __init__(self, workers: int, threads: int, retries: int) -> None:
        self.patience = 1 + retries
        self._workers = workers
        self._environment = dict.fromkeys(THREADS, str(threads))
        self._pool: ProcessPoolExecutor | None = None
        self._running: dict[Future[Any], str] = {}

    def room(self) -> int:
        """No more are handed over than can begin, so that after a failure none begins."""
        return self._workers

    def submit(self, name: str, call: Call[Any]) -> None:
        """Hand a task over, to new processes if the last ones died."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self._workers, initializer=_prepare, env=self._environment)
        try:
            future = self._pool.submit(_answer, os.getpid(), *call)
        except BrokenProcessPool:  # one died that had nothing to do
            self._end()
            self.submit(name, call)
        else:
            self._running[future] = name

    def wait(self) -> list[tuple[str, Answer[Any]]]:
        """Names and answers of tasks that ended. After a death: of all, those that were under way as ``died``."""
        done = wait(self._running, POLL_S, FIRST_COMPLETED).done
        if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
            done = wait(self._running).done
            self._end()
        return [(self._running.pop(future), _outcome(future)) for future in done]

    def ask(self, number: int) -> None:
        """Pass the request on; who listens writes a checkpoint."""
        import psutil

        for child in psutil.Process().children():
            child.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """Wait for what is under way: a task that is asked to stop writes its checkpoint first."""
        self._end()

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)  # returns when the processes are gone: no two write into one folder
            self._pool = None


def _outcome(future: Future[Any]) -> Answer[Any]:
    error = future.exception()
    if error is None:
        found: Answer[Any] = future.result()
        return found
    if not isinstance(error, BrokenProcessPool):
        return failed(error)
    codes = re.search(r"exit codes of the workers are \{(.*)\}", str(error))
    return Answer("died", why=codes[1] if codes else str(error.__cause__ or error))


def _prepare() -> None:
    """In a worker: a request to stop is for the task, which listens for itself; an idle worker dies with its parent."""
    parent = os.getppid()

    def idle(number: int, frame: FrameType | None) -> None:
        if os.getppid() != parent:
            os._exit(128 + number)

    signal.signal(signal.SIGTERM, idle)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(signal.SIGTERM)


def _answer(parent: int, function: Callable[..., T], arguments: tuple[Any, ...]) -> Answer[T]:
    """In a worker: the answer, unless there is nobody left to hear it."""
    found = answer(function, arguments)
    if found.error is not None and os.getppid() != parent:
        os._exit(found.error[0].exit_status)
    return found
