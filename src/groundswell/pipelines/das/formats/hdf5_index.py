"""das: where the samples of an HDF5 array lie in its file, found out once and carried along by every process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

DEFLATE, SHUFFLE, FLETCHER32, LZF, BLOSC, LZ4, ZSTD = 1, 2, 3, 32000, 32001, 32004, 32015
KNOWN_FILTERS = frozenset({DEFLATE, SHUFFLE, FLETCHER32, LZF, BLOSC, LZ4, ZSTD})
"""Filters that :mod:`hdf5_codecs` undoes; an array with any other is read by the HDF5 library."""


def _nothing(dtype: str) -> NDArray[Any]:
    return np.zeros((0, 0), dtype)


@dataclass(frozen=True, eq=False)
class FileIndex:
    """How to read an array without the HDF5 library. Holds no handle; pickles.

    The array is seen as rows and columns as they follow one another in the file; of three axes the first two are one.

    Attributes:
        path: the file.
        dataset: path of the array in it.
        layout: ``"contiguous"``, ``"chunked"``, or ``"other"``, which the library has to read.
        dtype: type of a stored sample, its byte order included.
        shape: (rows, columns).
        size_bytes, modified_ns: of the file when this was found out.
        block_rows: length of the second of three axes; 0 where there are two.
        offset: first byte of a contiguous array.
        chunk: (rows, columns) of a chunk; edge chunks are stored in full.
        filters: (code, options) in the order in which they were applied.
        offsets: first byte of each chunk, int64, shape (bands of rows, stripes of columns); -1 if never written.
        sizes: bytes stored of each, uint32, same shape.
        masks: filters that were skipped for each, by bit, uint32, same shape; ``None`` if there is none.
        why_not: why the library has to read it; empty if it has not.
    """

    path: Path
    dataset: str
    layout: Literal["contiguous", "chunked", "other"]
    dtype: np.dtype[Any]
    shape: tuple[int, int]
    size_bytes: int
    modified_ns: int
    block_rows: int = 0
    offset: int = -1
    chunk: tuple[int, int] = (0, 0)
    filters: tuple[tuple[int, tuple[int, ...]], ...] = ()
    offsets: NDArray[np.int64] = field(default_factory=lambda: _nothing("int64"))
    sizes: NDArray[np.uint32] = field(default_factory=lambda: _nothing("uint32"))
    masks: NDArray[np.uint32] | None = None
    why_not: str = ""

    @property
    def only_shuffled(self) -> bool:
        """Whether chunks pass through shuffling and no other filter."""
        return bool(self.filters) and all(code == SHUFFLE for code, _ in self.filters)


def index_of(dataset: h5py.Dataset, path: Path) -> FileIndex:
    """Find out where the samples of an open data set lie; nothing of them is read.

    An array that is virtual, external, compact, not written in full, of a type or with filters that are not known here
    has the reason in ``why_not``.
    """
    status = os.stat(path)
    shape, chunk = _flat(dataset.shape or (), dataset.chunks)
    facts: dict[str, Any] = {"path": Path(path), "dataset": str(dataset.name).lstrip("/"), "dtype": dataset.dtype,
                             "shape": shape or (0, 0), "size_bytes": status.st_size, "modified_ns": status.st_mtime_ns}
    if len(dataset.shape or ()) == 3:
        facts["block_rows"] = int(dataset.shape[1])
    creation = dataset.id.get_create_plist()
    layout = creation.get_layout()
    reason = _against(dataset, shape)
    if not reason and layout == h5py.h5d.CONTIGUOUS:
        offset = dataset.id.get_offset()
        if offset is not None:
            return FileIndex(layout="contiguous", offset=int(offset), **facts)
        reason = "it was never written, or lies in another file"
    if reason or layout != h5py.h5d.CHUNKED or chunk is None:
        return FileIndex(layout="other", why_not=reason or "its layout is not one of rows and columns", **facts)
    filters = tuple(_filter(creation.get_filter(place)) for place in range(creation.get_nfilters()))
    unknown = [code for code, _ in filters if code not in KNOWN_FILTERS]
    if unknown:
        return FileIndex(layout="other", why_not=f"its filter {unknown[0]} is left to the library", **facts)
    offsets, sizes, masks = _table(dataset, shape or (0, 0), chunk)
    whole = bool((offsets >= 0).all())
    return FileIndex(layout="chunked" if whole else "other", chunk=chunk, filters=filters, offsets=offsets, sizes=sizes,
                     masks=masks if masks.any() else None,
                     why_not="" if whole else "some of its chunks were never written", **facts)


def _filter(found: tuple[Any, ...]) -> tuple[int, tuple[int, ...]]:
    return int(found[0]), tuple(int(option) for option in found[2])


def _flat(shape: Sequence[int], chunks: Sequence[int] | None) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Shape and chunk as rows and columns; of three axes the first two become one, where chunks allow it."""
    if len(shape) == 2:
        return (int(shape[0]), int(shape[1])), None if chunks is None else (int(chunks[0]), int(chunks[1]))
    if len(shape) != 3:
        return None, None
    rows = (int(shape[0] * shape[1]), int(shape[2]))
    if chunks is None:
        return rows, None
    if chunks[1] == shape[1]:
        return rows, (int(chunks[0] * chunks[1]), int(chunks[2]))
    return (rows, (int(chunks[1]), int(chunks[2]))) if chunks[0] == 1 and shape[1] % chunks[1] == 0 else (None, None)


def _against(dataset: h5py.Dataset, shape: tuple[int, int] | None) -> str:
    """Why the samples cannot be taken as they lie there, whatever the layout; empty if they can."""
    if shape is None or not all(shape):
        return "its shape is not one of rows and columns"
    dtype = dataset.dtype
    if dtype.kind not in "fiu" or not dataset.id.get_type().equal(h5py.h5t.py_create(dtype)):
        return "its samples are no plain numbers"
    if dataset.file.userblock_size:
        return "its file begins with a block that is not HDF5's"
    if dataset.id.get_create_plist().get_external_count():
        return "it lies in another file"
    return ""


def _table(dataset: h5py.Dataset, shape: tuple[int, int],
           chunk: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.uint32]]:
    grid = -(-shape[0] // chunk[0]), -(-shape[1] // chunk[1])
    offsets = np.full(grid, -1, np.int64)
    sizes, masks = np.zeros(grid, np.uint32), np.zeros(grid, np.uint32)
    # Of three axes a chunk's place along the first two becomes a row.
    rows = dataset.shape[1] if len(dataset.shape) == 3 else 0

    def note(found: Any) -> None:
        at = found.chunk_offset
        place = (at[0] * rows + at[1] if rows else at[0]) // chunk[0], at[-1] // chunk[1]
        offsets[place], sizes[place], masks[place] = found.byte_offset, found.size, found.filter_mask

    dataset.id.chunk_iter(note)
    return offsets, sizes, masks
