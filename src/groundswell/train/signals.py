"""train: stopping on request. A signal asks for one checkpoint at the next clean point; a second one ends at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import Any, ClassVar

from groundswell.core.errors import GroundswellError

SAME_REQUEST_S = 0.5
"""A terminal and a parent process often both pass on one Ctrl-C: signals this close together are one request."""


class TrainingStopped(GroundswellError):
    """Training was asked to stop and did, after a checkpoint. The exit status is 128 and the signal's number."""


class StoppedByInterrupt(TrainingStopped):
    """Ctrl-C."""

    exit_status: ClassVar[int] = 130


class StoppedByTerminate(TrainingStopped):
    """SIGTERM: a batch system's time is up, or somebody's patience."""

    exit_status: ClassVar[int] = 143


class StoppedByUser1(TrainingStopped):
    """SIGUSR1: what SLURM sends some time before the end."""

    exit_status: ClassVar[int] = 138


STOPS: dict[int, type[TrainingStopped]] = {
    signal.SIGTERM: StoppedByTerminate, signal.SIGUSR1: StoppedByUser1, signal.SIGINT: StoppedByInterrupt,
}
"""The signals that are listened to, and what each is raised as."""


ASKED: ContextVar[Callable[[], int]] = ContextVar("groundswell_asked", default=int)
"""Outside the main thread, where no signal arrives: gives the number of the one that was meant for it, or 0."""


class StopRequest:
    """Listens for signals while it is entered: calling it gives the number of the first one, or 0.

    Outside the main thread Python cannot listen to signals; whoever runs something there sets :data:`ASKED`.

    Args:
        ask: called with the signal's number when the first one comes, in the handler.
    """

    def __init__(self, ask: Any = None) -> None:
        self._signum, self._since = 0, 0.0
        self._ask = ask
        self._before: dict[int, Any] = {}
        self._second: _SecondSignal | None = None
        self._elsewhere: Callable[[], int] = int

    def __call__(self) -> int:
        return self._signum or self._elsewhere()

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._second = _SecondSignal()
            for number in STOPS:
                self._before[number] = signal.signal(number, self._handle)
        else:
            self._elsewhere = ASKED.get()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._second is not None:
            self._second.close()
        before = self._before.get(self._signum)
        if self._signum and kind is None and callable(before):
            # It came too late to be answered here: whoever listened before has to.
            before(self._signum, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._signum:
            if now - self._since > SAME_REQUEST_S:
                os._exit(128 + number)
            return
        self._signum, self._since = number, now
        # Not through sys.stderr: the signal may have come in the middle of a write to it.
        os.write(2, b"\nStopping after the next checkpoint; a second signal stops at once.\n")
        if self._ask is not None:
            self._ask(number)


class Interrupted(KeyboardInterrupt):
    """SIGTERM or SIGUSR1 while nothing was being trained; goes wherever Ctrl-C would go."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.number = number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """While this is entered, SIGTERM and SIGUSR1 raise :class:`Interrupted`, as Ctrl-C raises KeyboardInterrupt.

    What is being written is then taken back, as after any error. A training listens for itself. A second signal ends
    the process at once. Outside the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    raised: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if not raised:  # the same request may come twice, and must not disturb the tidying up after it
            raised.append(number)
            raise Interrupted(number)

    second = _SecondSignal()
    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        second.close()


@contextlib.contextmanager
def answered(what: str, where: str | os.PathLike[str], fix: str) -> Iterator[None]:
    """Raise :class:`TrainingStopped` of the kind that goes with the signal, with these words, where one interrupts."""
    try:
        yield
    except KeyboardInterrupt as error:
        number = getattr(error, "number", signal.SIGINT)
        raise STOPS[number](f"Stopped by signal {number} {what}", where=os.fspath(where), fix=fix) from error


class _SecondSignal:
    """Ends the process at its second request to stop, even while the main thread is deep in a library.

    Python calls a handler between two of its own instructions, and a network's step may take a minute. What the system
    writes to a pipe when a signal comes is read here by a thread. If somebody reads such a pipe already, they do.
    """

    _known_to_forks: ClassVar[bool] = False

    def __init__(self) -> None:
        if not _SecondSignal._known_to_forks:
            # What a child that was forked is told is not meant for its parent.
            os.register_at_fork(after_in_child=_no_wakeup)
            _SecondSignal._known_to_forks = True
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._listens = before == -1
        if not self._listens:
            signal.set_wakeup_fd(before)
            os.close(self._read)
            os.close(self._write)
            return
        self._thread = threading.Thread(target=self._wait, name="groundswell-signals", daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        first = 0.0
        while data := os.read(self._read, 1):
            if data[0] not in STOPS:
                if data == b"\0":
                    break
                continue
            now = time.monotonic()
            if first and now - first > SAME_REQUEST_S:
                os._exit(128 + data[0])
            first = first or now
        os.close(self._read)

    def close(self) -> None:
        """Listen no longer."""
        if self._listens:
            signal.set_wakeup_fd(-1)
            os.write(self._write, b"\0")
            self._thread.join()
            os.close(self._write)


def _no_wakeup() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)


def die_with_parent(number: int) -> None:
    """Have the system send this process ``number`` when its parent dies, even by kill -9 (Linux only).

    A worker that outlives its parent would go on writing into a folder that another process may resume in.
    """
    import ctypes
    import sys

    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, number)  # 1 is PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it died before the call
            os.kill(os.getpid(), number)
