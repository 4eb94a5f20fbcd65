"""data: moving rows out of a part, by memory map where the system holds them and by reading where it does not."""

from __future__ import annotations

import itertools
import mmap
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.embeddings.precision import BLOCK, decode
from groundswell.data.embeddings.spec import TableSpec

READ_BYTES = 1 << 30
"""Asked of the system at once; Linux gives at most 2 GiB."""
BUFFERS = 1000
"""Buffers filled by one call; Linux takes at most 1024."""
PROBES = 8
"""At most, and at least two for a stretch of several bytes; one for each MiB between."""
FEW = 16
LONG_ROW_BYTES = 16 << 10
"""Rows from this length on are copied one by one: what numpy spends on each is little beside the copy."""
HELD_S = 0.1
"""For how long a part that was held is taken to be held still: asking costs as much as copying a few small rows. A
batch that turns out not to be held takes longer than this, and the next one is asked about again."""
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)


class MappedPart:
    """A part's rows as a memory map, and a descriptor to read them by; let go of when nobody refers to it.

    Attributes:
        rows: (rows, ...) with the shape of a row, as stored; read-only.
    """

    def __init__(self, path: Path, spec: TableSpec) -> None:
        self.path, self.spec = path, spec
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        held = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
        self.rows: NDArray[Any] = np.frombuffer(held, spec.stored).reshape(-1, *spec.shape)
        self._held_until = 0.0

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def cached(self, offset: int, length: int) -> bool | None:
        """Whether the system seems to hold these bytes: a few of them can be had without waiting for the disk.

        None where that cannot be told.
        """
        if _NOWAIT is None:
            return None
        probes = min(length, PROBES, max(2, length >> 20))
        byte, step = [bytearray(1)], (length - 1) // max(1, probes - 1)
        try:
            for probe in range(probes):
                if os.preadv(self._descriptor, byte, offset + probe * step, _NOWAIT) == 0:
                    return False
            return True
        except BlockingIOError:
            return False
        except OSError:  # this file system does not say
            return None

    def held(self, row: int) -> bool | None:
        """Whether the system seems to hold rows like this one: it holds this one's beginning, or held another's a
        moment ago. None where that cannot be told."""
        if self._held_until > (now := time.monotonic()):
            return True
        held = self.cached(row * self.spec.row_bytes, 1)
        if held:
            self._held_until = now + HELD_S
        return held

    def take(self, rows: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Copy rows into ``out``, which has the stored type: for small rows."""
        self._fetch(rows)
        # 'clip' writes straight into the buffer ('raise' goes through a copy); the rows are known to exist.
        np.take(self.rows, rows, axis=0, out=out, mode="clip")

    def scatter(self, rows: NDArray[np.int64], places: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Copy row ``rows[i]`` into ``out[places[i]]``, which has the stored type: for small rows of several parts."""
        self._fetch(rows)
        if len(rows) > FEW and self.spec.row_bytes < LONG_ROW_BYTES:
            out[places] = self.rows[rows]  # twice copied: still less than numpy's preparations for each row
            return
        for row, place in zip(rows.tolist(), places.tolist(), strict=True):
            out[place] = self.rows[row]

    def _fetch(self, rows: NDArray[np.int64]) -> None:
        if self.held(int(rows[0])) is False:
            self.ask(rows)

    def ask(self, rows: NDArray[np.int64]) -> None:
        """Have the system begin to read rows. A map waits for the disk once for each row, a reader once for each run;
        asked for all of them beforehand, the disk works on many at once."""
        for row in np.unique(rows).tolist():
            os.posix_fadvise(self._descriptor, row * self.spec.row_bytes, self.spec.row_bytes, os.POSIX_FADV_WILLNEED)

    def transfer(self, rows: NDArray[np.int64], places: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Fill ``out[places[i]]`` with row ``rows[i]``, neighbouring rows at once: for large rows.

        What the system holds is copied from the map, twice as fast as reading it. What it does not hold is read: a map
        would bring it in page by page.

        Args:
            rows: int64 (n,), ascending.
            places: int64 (n,).
            out: float32 (m, ...) with the shape of a row, C-contiguous.

        Raises:
            InputError: the part ends early.
        """
        length, plain = self.spec.row_bytes, self.spec.dtype == "float32"
        scratch = self.scratch()
        for run in _runs(rows, length):
            offset = int(rows[run.start]) * length
            cached = self.cached(offset, (run.stop - run.start) * length) is True
            if plain and not cached:
                self._fill([out[place].reshape(-1).view(np.uint8).data for place in places[run]], offset)
                continue
            for row, place in zip(rows[run].tolist(), places[run].tolist(), strict=True):
                if cached:
                    self.copy(row, out[place], scratch)
                else:
                    self._decode(row, out[place].reshape(-1), scratch, False)

    def scratch(self) -> NDArray[Any]:
        """What :meth:`copy` takes."""
        return np.empty(min(BLOCK, self.spec.values), self.spec.stored)

    def copy(self, row: int, out: NDArray[np.float32], scratch: NDArray[Any]) -> None:
        """Fill ``out`` with a row from the map; ``scratch``, of the stored type, takes a piece of it on the way."""
        if self.spec.dtype == "float32":
            np.copyto(out, self.rows[row])
        else:
            self._decode(row, out.reshape(-1), scratch, True)

    def _decode(self, row: int, out: NDArray[np.float32], scratch: NDArray[Any], cached: bool) -> None:
        stored = self.rows[row].reshape(-1)
        for start in range(0, len(out), len(scratch)):
            block = scratch[:len(out) - start]
            if cached:
                np.copyto(block, stored[start:start + len(block)])
            else:
                self._fill([block.view(np.uint8).data], row * self.spec.row_bytes + start * block.itemsize)
            decode(block, self.spec.dtype, out[start:start + len(block)])

    def _fill(self, buffers: list[memoryview], offset: int) -> None:
        """Fill the buffers from the file, however little the system gives at a time."""
        while buffers:
            got = os.preadv(self._descriptor, buffers, offset)
            if got == 0:
                raise InputError(f"The part '{self.path.name}' ends early, at byte {offset}", where=self.path.parent,
                                 fix="Copy it again, or import the embeddings again")
            offset += got
            while buffers and got >= len(buffers[0]):
                got -= len(buffers.pop(0))
            if got:
                buffers[0] = buffers[0][got:]


def _runs(rows: NDArray[np.int64], length: int) -> list[slice]:
    """Stretches of neighbouring rows that one call can read."""
    longest = max(1, min(BUFFERS, READ_BYTES // length))
    breaks = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    return [slice(start, min(start + longest, stop)) for begin, stop in itertools.pairwise(breaks)
            for start in range(begin, stop, longest)]
