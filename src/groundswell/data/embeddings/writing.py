"""data: writing a table of embeddings, part after part, so that a kill leaves what was finished."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path
from groundswell.data.embeddings.manifest import Part, TableManifest
from groundswell.data.embeddings.precision import Rounding, encode

PART_BYTES = 512 << 20
"""Length of a part unless a number of rows is asked for; a part is collected in memory before it is written."""
WRITE_BYTES = 16 << 20
BFLOAT16_NAN = 0x7FC0


def some(ids: NDArray[np.int64]) -> str:
    """Up to five of the ids, in words."""
    return ", ".join(str(i) for i in ids[:5].tolist()) + (", ..." if len(ids) > 5 else "")


class TableWriter:
    """Appends rows to a table. Rows are collected until a part is full; then it is written, and the manifest after it.

    Args:
        folder: of the table.
        manifest: as it is on disk.
        rows_per_part: rows in a part; 0 for as many as :data:`PART_BYTES` hold.
        id_limit: ids must be below it (a taxon's number below the number of taxa); None for any.
        finished: called with the new manifest when a part is done.
    """

    def __init__(self, folder: Path, manifest: TableManifest, *, rows_per_part: int = 0, id_limit: int | None = None,
                 finished: Callable[[TableManifest], None] = lambda manifest: None) -> None:
        self._folder, self.manifest, self._finished, self._limit = folder, manifest, finished, id_limit
        spec = manifest.spec
        self._capacity = rows_per_part if rows_per_part > 0 else max(1, PART_BYTES // spec.row_bytes)
        self._known = np.sort(np.concatenate([np.empty(0, np.int64), *(part.ids for part in manifest.parts)]))
        self._rows = np.empty((self._capacity, *spec.shape), spec.stored)  # the system gives memory as it is filled
        self._ids = np.empty(self._capacity, np.int64)
        self._missing = np.zeros(self._capacity, bool)
        self._pending: set[int] = set()
        self._count, self._rounding = 0, Rounding()

    def add(self, ids: NDArray[np.int64], rows: NDArray[Any], missing: NDArray[np.bool_] | None = None) -> None:
        """Append rows, in any order of ids.

        Args:
            ids: whole numbers, shape (n,), new to the table.
            rows: float16, float32 or float64, shape (n, ...) with that of the table's rows.
            missing: bool (n,): vectors that are not there; what their rows hold is ignored. None: all are there.

        Raises:
            InputError: an id repeats or is known; a shape or type is not as said; a value is not finite or too large
                for the table's type. Of a call whose ids, shapes or types are refused nothing is kept.
        """
        ids, rows = np.asarray(ids), np.asarray(rows)
        gone = np.zeros(len(ids), bool) if missing is None else np.asarray(missing, bool)
        self._check(ids, rows, gone)
        done = 0
        while done < len(ids):
            stop = min(done + self._capacity - self._count, len(ids))
            self._collect(ids[done:stop], rows[done:stop], gone[done:stop])
            done = stop
            if self._count == self._capacity:
                self.flush()

    def _check(self, ids: NDArray[Any], rows: NDArray[Any], gone: NDArray[np.bool_]) -> None:
        spec, where = self.manifest.spec, self._folder
        whole = ids.dtype.kind in "iu" and np.can_cast(ids.dtype, np.int64)
        if ids.ndim != 1 or not whole or gone.shape != ids.shape:
            raise InputError(f"Ids of shape {ids.shape}, type {ids.dtype} and marks of missing vectors of shape "
                             f"{gone.shape} do not go together", where=where, fix="Give whole numbers in one row")
        if rows.shape != (len(ids), *spec.shape) or rows.dtype.kind != "f" or rows.dtype.itemsize > 8:
            raise InputError(f"Rows of shape {list(rows.shape)} and type {rows.dtype} do not fit {len(ids)} ids of a "
                             f"table of rows {list(spec.shape)}", where=where,
                             fix="Give float16, float32 or float64, the row's axis first")
        unique, counts = np.unique(ids, return_counts=True)
        repeated = unique[counts > 1]
        place = np.searchsorted(self._known, unique)  # np.isin would sort all that is known, every time
        inside = place < len(self._known)
        known = unique[inside][self._known[place[inside]] == unique[inside]]
        pending = [i for i in unique.tolist() if i in self._pending]
        for found, what in ((repeated, "given twice"), (known, "in the table"), (np.array(pending), "added already")):
            if len(found):
                raise InputError(f"{len(found)} id(s) are {what}: {some(found)}", where=where,
                                 fix="A table only grows; leave out what it holds, or write a new store")
        if self._limit is not None and len(unique) and not 0 <= unique[0] <= unique[-1] < self._limit:
            raise InputError(f"Ids {unique[0]} to {unique[-1]} are not numbers of the store's {self._limit} taxa",
                             where=where, fix="Add the taxa first")

    def _collect(self, ids: NDArray[np.int64], rows: NDArray[Any], gone: NDArray[np.bool_]) -> None:
        spec, here = self.manifest.spec, slice(self._count, self._count + len(ids))
        kept = self._rows[here]
        if gone.any():
            there = ~gone
            stored = np.empty((int(there.sum()), *spec.shape), spec.stored)
            rounding = encode(rows[there], ids[there], spec.dtype, stored)
            kept[there] = stored
            kept[gone] = BFLOAT16_NAN if spec.dtype == "bfloat16" else np.nan
        else:
            rounding = encode(rows, ids, spec.dtype, kept)
        self._ids[here], self._missing[here] = ids, gone
        self._pending.update(ids.tolist())
        self._count += len(ids)
        self._rounding = self._rounding.joined(rounding)

    def flush(self) -> None:
        """Write what was collected as one part, then the manifest; nothing if nothing was collected."""
        if not self._count:
            return
        ids = self._ids[:self._count]
        order = np.argsort(ids)
        # A number beyond the listed parts may be that of a part whose manifest was never written; it is replaced.
        name = f"part-{len(self.manifest.parts):05d}.bin"
        self._folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._folder / name) as temporary:
            digest = self._write(temporary, order)
        part = Part(name, self._count * self.manifest.spec.row_bytes, digest, ids[order].copy(),
                    np.flatnonzero(self._missing[:self._count][order]))
        self.manifest = self.manifest.appended(part, self._rounding)
        self.manifest.write(self._folder)
        self._known = np.sort(np.concatenate([self._known, part.ids]))
        self._pending.clear()
        self._count, self._rounding = 0, Rounding()
        self._finished(self.manifest)

    def _write(self, path: Path, order: NDArray[np.int64]) -> str:
        digest = hashlib.sha256()
        block = max(1, WRITE_BYTES // self.manifest.spec.row_bytes)
        sorted_already = bool((np.diff(order) == 1).all())
        with open(path, "wb") as file:
            for start in range(0, len(order), block):
                places = order[start:start + block]
                rows = self._rows[start:start + len(places)] if sorted_already else self._rows[places]
                digest.update(rows.data)
                file.write(rows.data)
        return digest.hexdigest()
