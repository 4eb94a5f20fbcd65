"""core: progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Protocol

QUIET = "GROUNDSWELL_QUIET"
"""Environment variable that silences every bar, in worker processes too."""
LINE_EVERY_S = 10.0
"""Where there is no terminal: seconds between two lines."""
_ON_SCREEN: ContextVar[bool] = ContextVar("groundswell_bar", default=False)
"""Whether a bar is on the screen: two at once would overwrite each other."""


class Progress(Protocol):
    """What :func:`progress` hands out."""

    def advance(self, steps: int = 1) -> None:
        """So many more units are done."""
        ...

    def note(self, text: str) -> None:
        """Show a short text, such as the latest loss, beside the bar; replaces the one before."""
        ...


def _clock(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


class _Silent:
    def advance(self, steps: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class _Lines:
    """Plain lines, for logs of batch systems and for a bar inside another bar."""

    def __init__(self, total: int | None, description: str, unit: str, done: int) -> None:
        self._total, self._description, self._unit = total, description, unit
        self._first, self._done, self._note = done, done, ""
        self._started = self._shown = time.monotonic()

    def advance(self, steps: int = 1) -> None:
        self._done += steps
        if time.monotonic() - self._shown >= LINE_EVERY_S:
            self.show()

    def note(self, text: str) -> None:
        self._note = text

    def show(self) -> None:
        """Write the line that is due."""
        self._shown = time.monotonic()
        spent = self._shown - self._started
        rate = (self._done - self._first) / spent if spent > 0 else 0.0
        of = f"/{self._total}" if self._total is not None else ""
        line = f"{self._description}: {self._done}{of} {self._unit}, {rate:.3g}/s, {_clock(spent)} spent"
        if self._total is not None and rate > 0 and self._done < self._total:
            line += f", {_clock((self._total - self._done) / rate)} left"
        sys.stderr.write(line + (f"; {self._note}" if self._note else "") + "\n")
        sys.stderr.flush()


@contextlib.contextmanager
def _lines(total: int | None, description: str, unit: str, done: int) -> Iterator[Progress]:
    lines = _Lines(total, description, unit, done)
    try:
        yield lines
    finally:
        lines.show()


@contextlib.contextmanager
def progress(total: int | None, description: str, unit: str = "items", *, done: int = 0,
             quiet: bool = False) -> Iterator[Progress]:
    """Show how far a piece of work has come, at what rate, and how long the rest will take.

    Args:
        total: units of the whole work; None where it is not known.
        description: what is being done, in a word or two.
        unit: what is counted, in the plural.
        done: units that an earlier process did already; they do not count for the rate.
        quiet: show nothing; the environment variable GROUNDSWELL_QUIET does the same for all.
    """
    if quiet or os.environ.get(QUIET):
        yield _Silent()
        return
    with (_bar if sys.stderr.isatty() and not _ON_SCREEN.get() else _lines)(total, description, unit, done) as shown:
        yield shown


@contextlib.contextmanager
def _bar(total: int | None, description: str, unit: str, done: int) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    bar = RichProgress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TaskProgressColumn(
        show_speed=True), TextColumn(unit), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
        console=Console(stderr=True))
    task = bar.add_task(description, total=total, completed=done, note="")

    class Bar:
        def advance(self, steps: int = 1) -> None:
            bar.advance(task, steps)

        def note(self, text: str) -> None:
            bar.update(task, note=text)

    token = _ON_SCREEN.set(True)
    try:
        with bar:
            yield Bar()
    finally:
        _ON_SCREEN.reset(token)


def say(line: str) -> None:
    """Tell the person at the terminal what is being done, on stderr, unless quiet is asked for."""
    if not os.environ.get(QUIET):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
