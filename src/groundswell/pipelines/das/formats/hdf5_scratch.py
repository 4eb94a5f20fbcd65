"""das: memory that every reading thread keeps for itself, and a descriptor that is closed when nobody reads from it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError


class _Scratch(threading.local):
    """Buffers by name, as large as the largest piece they held: fresh memory costs more than what is done with it."""

    def __init__(self) -> None:
        self._held: dict[str, NDArray[np.uint8]] = {}

    def take(self, name: str, length: int) -> NDArray[np.uint8]:
        """``length`` bytes, whatever they hold; what was taken before under this name is overwritten."""
        held = self._held.get(name)
        if held is None or len(held) < length:
            held = self._held[name] = np.empty(length, np.uint8)
        return held[:length]


SCRATCH = _Scratch()
"""Of the calling thread."""


class Descriptor:
    """A file opened for reading at given places, by any number of threads and across a fork.

    It is closed when the last reference goes, so that letting go of it takes it from nobody who is reading.
    """

    def __init__(self, path: Path) -> None:
        self.number = -1
        self.path = path
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)

    def status(self) -> os.stat_result:
        """Of the file that is open, whatever its path names now."""
        return os.fstat(self.number)

    def fill(self, buffer: NDArray[Any], offset: int) -> None:
        """Fill ``buffer``, which is contiguous, from byte ``offset`` on.

        Raises:
            InputError: the file ends before.
            OSError: it cannot be read.
        """
        target: Any = buffer  # an array is a buffer, though its type does not say so before Python 3.12
        got, wanted = os.preadv(self.number, (target,), offset), buffer.nbytes
        if got == wanted:
            return
        rest: Any = buffer.reshape(-1).view(np.uint8)
        while 0 < got < wanted:  # a read may stop early: at 2 GiB, or when a signal comes
            more = os.preadv(self.number, (rest[got:],), offset + got)
            got = got + more if more else -1
        if got != wanted:
            raise InputError("The file is shorter than its record says: it was truncated, or is still being copied",
                             where=self.path, fix="Copy it again from its source")
