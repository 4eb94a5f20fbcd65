"""train: stopping on request. A signal asks for one checkpoint at the next clean point; a second one ends at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
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
        self._elsewhere: Callable[[], int] = int

    def __call__(self) -> int:
        return self._signum or self._elsewhere()

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in STOPS:
                self._before[number] = signal.signal(number, self._handle)
        else:
            self._elsewhere = ASKED.get()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

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
