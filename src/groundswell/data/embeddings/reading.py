"""data: reading rows of a table of embeddings into the caller's buffer, in the order of the files."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import inside
from groundswell.data.embeddings.manifest import TableManifest
from groundswell.data.embeddings.precision import decode
from groundswell.data.embeddings.transfer import MappedPart
from groundswell.data.embeddings.writing import some

LARGE_ROW_BYTES = 256 << 10
"""Rows from this length on are moved by several threads; shorter ones are gathered by one."""
TASK_BYTES = 8 << 20
THREADS = 4
PARALLEL_BYTES = 64 << 20
"""Rows that the system holds, fewer bytes than these, are copied by one thread: starting others takes as long."""
FEW_PROBES = 2
"""About so many rows are looked at to tell whether the system holds a small batch; each look costs some 20 us."""
MAPS = 128
"""Parts mapped at once; each holds two descriptors, and a process has about a thousand."""

Missing = Literal["refuse", "nan"]


def whole_numbers(ids: ArrayLike) -> NDArray[np.int64]:
    """Ids as int64 (n,).

    Raises:
        InputError: they are not whole numbers in one row; a fraction is not cut off.
    """
    given = np.asarray(ids)
    if given.dtype == np.int64 and given.ndim == 1:
        return given
    if given.ndim != 1 or (len(given) and not (given.dtype.kind in "iu" and np.can_cast(given.dtype, np.int64))):
        raise InputError(f"Ids of shape {given.shape} and type {given.dtype} are not whole numbers in one row")
    return given.astype(np.int64, copy=False)


class TableReader:
    """Where each id's row lies, and the reading of rows.

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
        self._some_missing = bool(self.missing.any())
        self._maps: OrderedDict[int, MappedPart] = OrderedDict()
        self._lock, self._process = threading.Lock(), os.getpid()

    def find(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Row of each id, int64 (n,), arbitrary where it is unknown, and whether it is known, bool (n,)."""
        if not len(self.ids):
            return np.zeros(len(ids), np.int64), np.zeros(len(ids), bool)
        # 'clip' stands for an index beyond the end, of an id that is larger than all: some other id, hence unknown.
        place = np.searchsorted(self.ids, ids)
        return self._order.take(place, mode="clip"), self.ids.take(place, mode="clip") == ids

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
        if missing == "refuse" and self._some_missing and self.missing[rows].any():
            gone = np.unique(ids[self.missing[rows]])
            raise InputError(f"{len(gone)} vector(s) of the table '{self.spec.name}' are missing, of the id(s) "
                             f"{some(gone)}", where=self.folder,
                             fix="Leave them out, or ask for NaN in their place")
        return rows

    def read_rows(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Fill ``out[i]`` with row ``rows[i]``; NaN where the vector is missing.

        Args:
            rows: int64 (n,), valid positions.
            out: float32, C-contiguous, writable, shape (n, ...) with that of a row.

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
                self._gather(rows, out)
            else:
                self._move(rows, out)
        except OSError as error:
            raise InputError(f"A part cannot be read: {error}", where=self.folder,
                             fix="Look whether the store is still there and whole") from error

    def _gather(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        plain = self.spec.dtype == "float32"
        stored = out if plain else np.empty(out.shape, self.spec.stored)
        if len(self._paths) == 1:
            self._map(0).take(rows, stored)
        else:
            order = np.argsort(rows, kind="stable")
            edges = np.searchsorted(rows[order], self._starts)
            for part in np.flatnonzero(np.diff(edges)).tolist():
                places = order[edges[part]:edges[part + 1]]
                self._map(part).scatter(rows[places] - self._starts[part], places, stored)
        if not plain:
            decode(stored, self.spec.dtype, out)

    def _map(self, part: int) -> MappedPart:
        mapped = self._maps.get(part)
        if mapped is not None and len(self._paths) <= MAPS:  # none is ever let go of: no order to keep
            return mapped
        if self._process != os.getpid():  # a fork may have copied the lock while another thread held it
            self._lock, self._process = threading.Lock(), os.getpid()
        with self._lock:
            mapped = self._maps.get(part)
            if mapped is None:
                mapped = self._maps[part] = MappedPart(self._paths[part], self.spec)
            self._maps.move_to_end(part)
            if len(self._maps) > MAPS:
                self._maps.popitem(last=False)  # whoever still reads from it keeps it alive
        return mapped

    def _move(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Large rows: by one thread where they are few and the system holds them, by several otherwise."""
        order = np.argsort(rows, kind="stable")
        if len(rows) * self.spec.row_bytes >= PARALLEL_BYTES:
            self._share(rows, order, out)
            return
        sorted_rows = rows[order]
        parts = np.searchsorted(self._starts, sorted_rows, side="right") - 1
        within = sorted_rows - self._starts[parts]
        if self._held(parts, within):
            maps = {part: self._map(part) for part in set(parts.tolist())}
            scratch = maps[int(parts[0])].scratch()
            for place, part, row in zip(order.tolist(), parts.tolist(), within.tolist(), strict=True):
                maps[part].copy(row, out[place], scratch)
        else:
            for part in np.unique(parts).tolist():
                self._map(part).ask(within[parts == part])
            self._share(rows, order, out)

    def _held(self, parts: NDArray[np.int64], within: NDArray[np.int64]) -> bool:
        """Whether the system seems to hold these rows of parts: the beginnings of a few of them."""
        some = slice(None, None, max(1, len(parts) // FEW_PROBES))
        return all(self._map(part).held(row)
                   for part, row in zip(parts[some].tolist(), within[some].tolist(), strict=True))

    def _share(self, rows: NDArray[np.int64], order: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Share the rows out among threads, a few neighbours at a time."""
        step = max(1, TASK_BYTES // self.spec.row_bytes)
        tasks = [order[start:start + step] for start in range(0, len(order), step)]
        if len(tasks) == 1:
            self._task(rows, tasks[0], out)
            return
        waiting = iter(tasks)

        def work() -> None:
            # next() on a list's iterator is one step of the interpreter: no two threads are given the same task.
            for task in waiting:
                self._task(rows, task, out)

        # Helpers of this call alone: threads that sleep between calls would be lost by a fork. Whoever is done with a
        # task takes the next one, so that a busy processor holds nobody up.
        with ThreadPoolExecutor(min(THREADS, len(tasks)) - 1, "groundswell-embeddings") as pool:
            helpers = [pool.submit(work) for _ in range(min(THREADS, len(tasks)) - 1)]
            work()
            for helper in helpers:
                helper.result()

    def _task(self, rows: NDArray[np.int64], places: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Read the rows at ``places`` of ``rows``, which are in the order of the files."""
        parts = np.searchsorted(self._starts, rows[places], side="right") - 1
        for part in np.unique(parts).tolist():
            here = places[parts == part]
            self._map(part).transfer(rows[here] - self._starts[part], here, out)

    def close(self) -> None:
        """Let go of the memory maps; reading again makes them again."""
        self._maps.clear()
