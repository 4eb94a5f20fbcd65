"""data: reading that does not give up at the first hiccup of a file system, and rows that cannot be read at all."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.source import Field, Source
from groundswell.data.table import SampleTable

WAITS_S = (0.1, 0.5, 2.0)
"""Pauses before a read is tried again: after the last of them it has failed."""
PASSING = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.ENOLCK, errno.EBUSY, errno.EREMOTEIO,
                     errno.ENETDOWN, errno.ENETUNREACH, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH})
"""What a disk or a network file system says that may do better a moment later."""
UNREAD = "unread"
"""The field that says which samples of a batch could not be read: 1, or 0 for all others."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__


def may_pass(error: BaseException) -> bool:
    """Whether a read that raised it deserves another try: the system, not the file's content, is to blame."""
    for cause in causes(error):
        # HDF5's errors carry the system's number in their text only.
        told = re.search(r"errno = (\d+)", str(cause))
        if getattr(cause, "errno", None) in PASSING or (told is not None and int(told[1]) in PASSING):
            return True
    return False


def patiently(read: Callable[[], None], again: Callable[[], None]) -> None:
    """Call ``read``; where the file system is to blame that it fails, call ``again`` and repeat it after a pause.

    Args:
        read: what is to be done; whatever it wrote by half is written over by the next try.
        again: called before each further try, to let go of handles that have gone stale.

    Raises:
        InputError: it failed once and for all, or for as often as it was tried; the file is named.
        Exception: whatever else ``read`` raised.
    """
    for wait_s in (*WAITS_S, None):
        try:
            return read()
        except (OSError, InputError) as error:
            if not may_pass(error):
                raise
            if wait_s is None:
                what = error.what if isinstance(error, InputError) else f"It cannot be read: {error.strerror or error}"
                where = error.where if isinstance(error, InputError) else str(error.filename or "")
                raise InputError(f"{what} (tried {len(WAITS_S) + 1} times)", where=where,
                                 fix="Look at the disk or the network file system, then resume") from error
        time.sleep(wait_s)
        again()
    return None


class GuardedSource:
    """A source whose reads are tried again where the file system is to blame, and whose unreadable rows can be skipped.

    Pickles as its source does.

    Args:
        source: what is read.
        skip: deliver zeros for a row that cannot be read, and 1 in a further field ``unread``; otherwise it raises.
    """

    def __init__(self, source: Source, *, skip: bool = False) -> None:
        self.inner, self.skip = source, skip
        self.reasons: dict[int, str] = {}
        """Why a row could not be read, by row."""

    @property
    def fields(self) -> Mapping[str, Field]:
        """Those of the source, and ``unread`` where rows are skipped."""
        return {**self.inner.fields, **({UNREAD: Field((), np.uint8)} if self.skip else {})}

    def __len__(self) -> int:
        return len(self.inner)

    def read(self, rows: NDArray[np.int64], out: Mapping[str, NDArray[Any]]) -> None:
        """See :class:`groundswell.data.source.Source`.

        Raises:
            InputError: a row cannot be read and is not to be skipped.
        """
        arrays = {name: array for name, array in out.items() if name != UNREAD}
        try:
            patiently(lambda: self.inner.read(rows, arrays), self.inner.close)
        except InputError:
            if not self.skip:
                raise
        else:
            if self.skip:
                out[UNREAD][...] = 0
            return
        for place in range(len(rows)):
            self.read_one(rows[place:place + 1], {name: array[place:place + 1] for name, array in out.items()})

    def read_one(self, row: NDArray[np.int64], out: Mapping[str, NDArray[Any]]) -> None:
        """Read one row (shape (1,)); if that cannot be done, zeros and 1 in ``unread``."""
        out[UNREAD][...] = 0
        try:
            patiently(lambda: self.inner.read(row, {name: array for name, array in out.items() if name != UNREAD}),
                      self.inner.close)
        except InputError as error:
            self.reasons[int(row[0])] = str(error)
            for array in out.values():
                array[...] = 0
            out[UNREAD][...] = 1

    def close(self) -> None:
        """Let go of the source's files."""
        self.inner.close()


def place_of(table: SampleTable, row: int) -> dict[str, Any]:
    """Where the sample at ``row`` of a table lies: ``row``, ``sample_id``, ``record`` (its file), and ``start`` and
    ``stop`` (its time samples) where the table has them."""
    names = [name for name in ("sample_id", "record", "path", "start", "stop") if name in table.frame.columns]
    found: dict[str, Any] = {"row": int(row)}
    for name in names:
        value = table.column(name).iloc[int(row)]
        found[name] = int(value) if isinstance(value, (int, np.integer)) else str(value)
    return found


def in_words(place: Mapping[str, Any]) -> str:
    """A place that :func:`place_of` gave, as a person reads it."""
    file = place.get("path", place.get("record", ""))
    span = f", samples {place['start']} to {place['stop']}" if "start" in place and "stop" in place else ""
    name = place.get("sample_id", f"row {place['row']}")
    return f"{name} ({file}{span})" if file else str(name)
