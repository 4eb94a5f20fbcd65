"""das: what all readers share: the file is still the one that was scanned, and stored pieces lie on one timeline."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.das.record import Record


def stamp(path: Path) -> tuple[int, int]:
    """Size in bytes and modification time in nanoseconds.

    Raises:
        InputError: the file is missing, is a folder, cannot be read, or is empty.
    """
    try:
        status = os.stat(path)
        if path.is_dir():
            raise InputError("This is a folder, not a file (or one that cannot be listed)", where=path,
                             fix="Name a file in it, or check its permissions")
        if not os.access(path, os.R_OK):
            raise InputError("The file cannot be read: permission denied", where=path, fix="Check its permissions")
    except OSError as error:
        raise InputError(f"The file cannot be read: {error.strerror}", where=path, fix="Check the path") from error
    if status.st_size == 0:
        raise InputError("The file is empty", where=path, fix="Copy it again from its source")
    return status.st_size, status.st_mtime_ns


def check_unchanged(path: Path, size_bytes: int, modified_ns: int) -> None:
    """Compare a file with what it was when it was scanned.

    Raises:
        InputError: it is gone, or its size or modification time differ.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f"The file can no longer be read: {error.strerror}", where=path,
                         fix="Bring it back, or begin again with the files that are there") from error
    if (status.st_size, status.st_mtime_ns) != (size_bytes, modified_ns):
        shrunk = f"it had {size_bytes} bytes and now has {status.st_size}" if status.st_size != size_bytes else \
            "it was written to"
        raise InputError(f"The file has changed since it was scanned: {shrunk}", where=path,
                         fix="Put it back as it was, or begin again with the files as they are")


class Reader(ABC):
    """Reads one record through one handle, opened at the first read and shared by threads.

    They take turns, except where the handle allows reading side by side (:meth:`_side_by_side`). A process that was
    forked, or that unpickled the reader, opens its own handle. Between stored pieces zeros are given; the record's
    ``gaps`` say where.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self._reset()
        pieces = record.detail.get("pieces") or [[0, 0, record.samples]]
        self._pieces: list[tuple[int, int, int]] = [(int(t), int(s), int(n)) for t, s, n in pieces]

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._handle: Any = None
        self._process = 0

    def __getstate__(self) -> dict[str, Any]:
        return {"record": self.record}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["record"])  # type: ignore[misc]

    @abstractmethod
    def _open(self) -> Any:
        """Open the file and return whatever :meth:`_read_stored` needs."""

    @abstractmethod
    def _close(self, handle: Any) -> None:
        """Let go of what :meth:`_open` returned."""

    @abstractmethod
    def _read_stored(self, handle: Any, start: int, stop: int, channels: slice, out: NDArray[Any]) -> None:
        """Copy stored samples ``[start, stop)`` into ``out`` of shape (stop - start, channels), as (time, channel)."""

    def _side_by_side(self, handle: Any) -> bool:
        """Whether threads may read through this handle at once, and go on when it is let go of meanwhile."""
        return False

    def files(self) -> Iterable[tuple[Path, int, int]]:
        """Every file the record's samples lie in, with its size and modification time when it was scanned."""
        yield self.record.path, self.record.size_bytes, self.record.modified_ns

    def read(self, start: int, stop: int, channel_start: int, channel_stop: int, out: NDArray[Any],
             channel_step: int = 1) -> None:
        """Copy time samples of channels into ``out``; see ``RecordReader``."""
        record = self.record
        if not (0 <= start < stop <= record.samples and 0 <= channel_start < channel_stop <= record.channels
                and channel_step >= 1):
            raise InputError(f"Samples {start} to {stop} of channels {channel_start} to {channel_stop} are not in the "
                             f"record, which has {record.samples} samples of {record.channels} channels",
                             where=self._where())
        shape = (stop - start, len(range(channel_start, channel_stop, channel_step)))
        if out.shape != shape:
            raise ValueError(f"out has shape {out.shape}, not {shape}")
        channels = slice(channel_start, channel_stop, channel_step)
        for path, size_bytes, modified_ns in self.files():
            check_unchanged(path, size_bytes, modified_ns)
        with self._lock:
            handle = self._opened_guarded()
            if not self._side_by_side(handle):
                self._fill(handle, start, stop, channels, out)
                return
        self._fill(handle, start, stop, channels, out)

    def _fill(self, handle: Any, start: int, stop: int, channels: slice, out: NDArray[Any]) -> None:
        """Stored pieces where there are some, zeros between them."""
        filled = start
        for first, stored, length in self._pieces:
            low, high = max(start, first), min(stop, first + length)
            if low >= high:
                continue
            out[filled - start:low - start] = 0
            self._read_guarded(handle, (stored + low - first, stored + high - first), channels,
                               out[low - start:high - start])
            filled = high
        out[filled - start:] = 0

    def _opened(self) -> Any:
        if self._handle is not None and self._process != os.getpid():
            self._handle = None  # a parent's handle: its file position is not ours to move
        if self._handle is None:
            self._handle, self._process = self._open(), os.getpid()
        return self._handle

    def _opened_guarded(self) -> Any:
        try:
            return self._opened()
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise InputError(f"The file is damaged: it cannot be opened ({error or type(error).__name__})",
                             where=self._where(), fix="Copy it again from its source, or leave it out") from error

    def _read_guarded(self, handle: Any, stored: tuple[int, int], channels: slice, out: NDArray[Any]) -> None:
        try:
            self._read_stored(handle, *stored, channels, out)
        except InputError:
            raise
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise InputError(f"The file is damaged: samples {stored[0]} to {stored[1]} cannot be read "
                             f"({error or type(error).__name__})", where=self._where(),
                             fix="Copy it again from its source, or leave it out") from error

    def _where(self) -> str:
        return f"{self.record.path}, {self.record.dataset}" if self.record.dataset else str(self.record.path)

    def close(self) -> None:
        """Let go of the file; a later read opens it again."""
        with self._lock:
            handle, self._handle = self._handle, None
            if handle is not None and self._process == os.getpid():
                self._close(handle)
