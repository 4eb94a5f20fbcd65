"""das: a few threads that help whoever reads compressed chunks, as long as there are cores to spare."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

T = TypeVar("T")


class Team:
    """Helpers for work that lets go of the interpreter's lock.

    Args:
        cores: no more threads work at the same time, callers included, unless there are more callers.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._lock = threading.Lock()
        self._working = 0
        self._helpers = ThreadPoolExecutor(max(1, cores - 1), "groundswell-decode")

    def share(self, work: Callable[[T], None], items: Sequence[T]) -> None:
        """Do ``work`` on every item, in this thread and in idle helpers. Returns when all is done.

        Raises:
            Exception: the first that ``work`` raised; items not yet begun are left then.
        """
        left = deque(items)
        with self._lock:
            helpers = max(0, min(len(items), self._cores - self._working) - 1)
            self._working += 1 + helpers

        def run() -> None:
            while True:
                try:
                    item = left.popleft()
                except IndexError:
                    return
                try:
                    work(item)
                except BaseException:
                    left.clear()
                    raise

        futures = [self._helpers.submit(run) for _ in range(helpers)]
        try:
            run()
        finally:
            # A helper that has not begun is not waited for; one that has may still write where the caller wants to.
            errors = [future.exception() for future in futures if not future.cancel()]
            with self._lock:
                self._working -= 1 + helpers
        for error in errors:
            if error is not None:
                raise error


@cache
def _team(process: int) -> Team:
    # Threads do not go along into a forked process: it makes a team of its own.
    return Team(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def share(work: Callable[[T], None], items: Sequence[T]) -> None:
    """Do ``work`` on every item with this process's helpers; see :meth:`Team.share`."""
    if len(items) == 1:
        work(items[0])
    else:
        _team(os.getpid()).share(work, items)
