"""data: reading rows of a table of embeddings into the caller's buffer, in the order of the files."""

from __future__ import annotations

import itertools
import mmap
import os
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import inside
from groundswell.data.embeddings.manifest import TableManifest
from groundswell.data.embeddings.precision import BLOCK, decode
from groundswell.data.embeddings.writing import some

LARGE_ROW_BYTES = 256 << 10
"""Rows from this length on are read from the file; shorter ones are copied out of memory maps."""
BYTES_PER_THREAD = 8 << 20
THREADS = 4
MAPS = 128
"""Parts mapped at once; each map holds a descriptor, and a process has about a thousand."""
READ_BYTES = 1 << 30
"""Asked of the system at once; Linux gives at most 2 GiB."""
BUFFERS = 1000
"""Buffers filled by one call; Linux takes at most 1024."""

Missing = Literal["refuse", "nan"]


class TableReader:
    """Where each id's row lies, and the reading of rows. Holds no file open for large rows and no lock over a read.

    May be used by several threads at once and after a fork.

    Attributes:
        ids: every id, ascending, int64 (rows,).
    """

    def __init__(self, folder: Path, manifest: TableManifest) -> None:
        self.folder, self.manifest, self.spec = folder, manifest, manifest.spec
        self._paths = [inside(folder, part.file) for part in manifest.parts]
        self._starts = np.cumsum([0, *(part.rows for part in manifest.parts)])
        by_row = np.concatenate([np.empty(0, np.int64), *(part.ids for part in manifest.parts)])
        self._order = np.argsort(by_row)
        self.ids = by_row[self._order]
        self.missing = np.zeros(len(by_row), bool)
        for start, part in zip(self._starts, manifest.parts, strict=False):
            self.missing[start + part.missing] = True
        self._maps: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._lock, self._process = threading.Lock(), os.getpid()

    def find(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Row of each id, int64 (n,), arbitrary where it is unknown, and whether it is known, bool (n,)."""
        if not len(self.ids):
            return np.zeros(len(ids), np.int64), np.zeros(len(ids), bool)
        place = np.searchsorted(self.ids, ids)
        np.minimum(place, len(self.ids) - 1, out=place)
        return self._order[place], self.ids[place] == ids

    def rows(self, ids: NDArray[np.int64], missing: Missing = "refuse") -> NDArray[np.int64]:
        """Row of each id: its position in the parts laid end to end, int64 (n,).

        Raises:
            InputError: an id is unknown or, unless ``missing`` is ``nan``, its vector is missing; up to five are named.
        """
        rows, known = self.find(ids)
        if not known.all():
            lost = np.unique(ids[~known])
            raise InputError(f"{len(lost)} id(s) are not in the table '{self.spec.name}': {some(lost)}",
                             where=self.folder, fix="Leave them out, or add their embeddings to the store")
        if missing == "refuse" and self.missing[rows].any():
            gone = np.unique(ids[self.missing[rows]])
            raise InputError(f"{len(gone)} vector(s) of the table '{self.spec.name}' are missing, of the id(s) "
                             f"{some(gone)}", where=self.folder,
                             fix="Leave them out, or ask for NaN in their place")
        return rows

    def read_rows(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Fill ``out[i]`` with row ``rows[i]``; NaN where the vector is missing.

        Args:
            rows: int64 (n,), valid positions.
            out: float32, C-contiguous, writable, shape (n, *shape of a row).

        Raises:
            ValueError: ``out`` is not as said.
            InputError: a part cannot be read.
        """
        flags = out.flags
        if out.shape != (len(rows), *self.spec.shape) or out.dtype != np.float32 or not (
                flags.c_contiguous and flags.writeable):
            raise ValueError(f"out must be a writable, contiguous float32 array of {(len(rows), *self.spec.shape)}")
        if not len(rows):
            return
        try:
            if self.spec.row_bytes < LARGE_ROW_BYTES:
                self._copy(rows, out)
            else:
                self._transfer(rows, out)
        except OSError as error:
            raise InputError(f"A part cannot be read: {error}", where=self.folder,
                             fix="Look whether the store is still there and whole") from error

    def _copy(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        if len(self._paths) == 1:
            self._take(0, rows, out)
            return
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        edges = np.searchsorted(ordered, self._starts)
        for part in np.flatnonzero(np.diff(edges)):
            places = order[edges[part]:edges[part + 1]]
            some_rows = np.empty((len(places), *self.spec.shape), np.float32)
            self._take(int(part), rows[places] - self._starts[part], some_rows)
            out[places] = some_rows

    def _take(self, part: int, rows: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        # 'clip' writes straight into the buffer ('raise' goes through a copy); the rows are known to exist.
        mapped = self._map(part)
        if self.spec.dtype == "float32":
            np.take(mapped, rows, axis=0, out=out, mode="clip")
        else:
            decode(np.take(mapped, rows, axis=0), self.spec.dtype, out)

    def _map(self, part: int) -> NDArray[Any]:
        if self._process != os.getpid():  # a fork may have copied the lock while another thread held it
            self._lock, self._process = threading.Lock(), os.getpid()
        with self._lock:
            mapped = self._maps.get(part)
            if mapped is None:
                with open(self._paths[part], "rb") as file:
                    held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                mapped = np.frombuffer(held, self.spec.stored).reshape(-1, *self.spec.shape)
                self._maps[part] = mapped
            self._maps.move_to_end(part)
            if len(self._maps) > MAPS:
                self._maps.popitem(last=False)  # whoever still reads from it keeps it alive
        return mapped

    def _transfer(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        order = np.argsort(rows, kind="stable")
        threads = max(1, min(THREADS, os.cpu_count() or 1, len(rows) * self.spec.row_bytes // BYTES_PER_THREAD))
        edges = np.linspace(0, len(rows), threads + 1).astype(int)
        shares = [order[a:b] for a, b in itertools.pairwise(edges) if b > a]
        if len(shares) == 1:
            self._share(rows, shares[0], out)
            return
        with ThreadPoolExecutor(len(shares), "groundswell-embeddings") as pool:
            for done in [pool.submit(self._share, rows, share, out) for share in shares]:
                done.result()

    def _share(self, rows: NDArray[np.int64], places: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Read the rows at ``places`` of ``rows``, which are in the order of the files."""
        parts = np.searchsorted(self._starts, rows[places], side="right") - 1
        for part in np.unique(parts):
            here = places[parts == part]
            self._from_file(int(part), rows[here] - self._starts[part], here, out)

    def _from_file(self, part: int, rows: NDArray[np.int64], places: NDArray[np.int64],
                   out: NDArray[np.float32]) -> None:
        length = self.spec.row_bytes
        descriptor = os.open(self._paths[part], os.O_RDONLY | os.O_CLOEXEC)
        try:
            if self.spec.dtype == "float32":
                for run in _runs(rows, length):
                    buffers = [out[place].reshape(-1).view(np.uint8).data for place in places[run]]
                    _fill(descriptor, buffers, int(rows[run.start]) * length, self._paths[part])
                return
            scratch = np.empty(min(BLOCK, self.spec.values), self.spec.stored)
            for row, place in zip(rows.tolist(), places.tolist(), strict=True):
                flat = out[place].reshape(-1)
                for start in range(0, len(flat), BLOCK):
                    block = scratch[:min(BLOCK, len(flat) - start)]
                    _fill(descriptor, [block.view(np.uint8).data], row * length + start * block.itemsize,
                          self._paths[part])
                    decode(block, self.spec.dtype, flat[start:start + len(block)])
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of the memory maps; reading again makes them again."""
        self._maps.clear()


def _runs(rows: NDArray[np.int64], length: int) -> list[slice]:
    """Stretches of neighbouring rows that one call can read."""
    longest = max(1, min(BUFFERS, READ_BYTES // length))
    breaks = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    return [slice(start, min(start + longest, stop)) for begin, stop in itertools.pairwise(breaks)
            for start in range(begin, stop, longest)]


def _fill(descriptor: int, buffers: list[memoryview], offset: int, path: Path) -> None:
    """Fill the buffers from the file, however little the system gives at a time."""
    while buffers:
        got = os.preadv(descriptor, buffers, offset)
        if got == 0:
            raise InputError(f"The part '{path.name}' ends early, at byte {offset}", where=path.parent,
                             fix="Copy it again, or import the embeddings again")
        offset += got
        while buffers and got >= len(buffers[0]):
            got -= len(buffers.pop(0))
        if got:
            buffers[0] = buffers[0][got:]
