"""das: uncompressed chunks of HDF5 arrays copied into place, many small ones at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.das.formats.hdf5_index import FileIndex
from groundswell.pipelines.das.formats.hdf5_scratch import SCRATCH, Descriptor

BLOCK = 2**19
"""Bytes read at once: they stay in a core's second cache until they are copied."""
GAP = 48_000
"""Bytes between the wanted parts of neighbouring chunks that are read along: a further call and copy cost as much."""


def read_band(file: Descriptor | NDArray[np.uint8], index: FileIndex, band: int, rows: range, columns: range,
              out: NDArray[Any]) -> None:
    """Copy part of one band of chunks: those that lie side by side.

    Args:
        file: the open file, or its bytes as memory.
        index: of its array.
        band: which one, from the top.
        rows: wanted rows, counted from the top of the band.
        columns: wanted columns of the array.
        out: shape (len(rows), len(columns)), any dtype and strides.

    Raises:
        InputError, OSError: see :meth:`Descriptor.fill`.
    """
    wide, size = index.chunk[1], index.dtype.itemsize
    alike = out.dtype == index.dtype and columns.step == 1 and out.strides[1] == size
    first, last = columns.start // wide, columns[-1] // wide
    offsets = index.offsets[band, first:last + 1]
    if not isinstance(file, Descriptor):
        for stripe, count, pitch in _runs(offsets.tolist(), 0, len(file)):
            at = int(offsets[stripe]) + rows.start * wide * size
            _copy_run(index, file[at:], (first + stripe, count, pitch), rows, columns, out, alike)
        return
    if alike and first == last and len(columns) == wide and rows.step == 1 and out.strides[0] == wide * size:
        file.fill(out, int(offsets[0]) + rows.start * wide * size)
        return
    # Tall chunks go through the block piece by piece.
    most = max(1, BLOCK // (wide * size * rows.step))
    for low in range(0, len(rows), most):
        piece = rows[low:low + most]
        wanted = (piece[-1] + 1 - piece.start) * wide * size
        for stripe, count, pitch in _runs(offsets.tolist(), wanted, GAP):
            block = SCRATCH.take("block", (count - 1) * pitch + wanted)
            file.fill(block, int(offsets[stripe]) + piece.start * wide * size)
            _copy_run(index, block, (first + stripe, count, pitch), piece, columns, out[low:low + most], alike)


def _runs(offsets: list[int], wanted: int, gap: int) -> Iterator[tuple[int, int, int]]:
    """Neighbouring chunks at equal distances that are best taken at once: (first, how many, distance in bytes).

    ``wanted`` bytes of each are read, and not more than ``gap`` bytes in between; 0 where nothing needs reading.
    """
    first = 0
    while first < len(offsets):
        count, pitch = 1, wanted
        if first + 1 < len(offsets) and 0 < offsets[first + 1] - offsets[first] - wanted + 1 <= gap + 1:
            pitch = offsets[first + 1] - offsets[first]
            most = max(1, (BLOCK - wanted) // pitch + 1) if wanted else len(offsets)
            while count < most and first + count < len(offsets) and \
                    offsets[first + count] - offsets[first + count - 1] == pitch:
                count += 1
        yield first, count, pitch
        first += count


def _copy_run(index: FileIndex, held: NDArray[np.uint8], run: tuple[int, int, int], rows: range, columns: range,
              out: NDArray[Any], alike: bool) -> None:
    """Copy what ``out`` wants of some chunks, of which ``held`` has the first wanted row first."""
    stripe, count, pitch = run
    wide, size = index.chunk[1], index.dtype.itemsize
    left = stripe * wide
    inside = _within(columns, left, left + count * wide)
    if count == 1:
        _put(_cells(held, 0, rows, wide, index.dtype), columns, inside, left, out)
        return
    if not alike:
        # Put the run together first, then take the columns out of it.
        whole = SCRATCH.take("run", len(rows) * count * wide * size).view(index.dtype).reshape(len(rows), -1)
        _interleave(held, pitch, rows, wide * size, whole)
        _put(whole, columns, inside, left, out)
        return
    head = -(-max(columns.start - left, 0) // wide)
    tail = min(columns.stop - left, count * wide) // wide
    if tail > head:
        at = left + head * wide - columns.start
        _interleave(held[head * pitch:], pitch, rows, wide * size, out[:, at:at + (tail - head) * wide])
    for place in {*range(min(head, count)), *range(max(tail, head), count)}:
        start = left + place * wide
        _put(_cells(held, place * pitch, rows, wide, index.dtype), columns, _within(columns, start, start + wide),
             start, out)


def _within(columns: range, start: int, stop: int) -> slice:
    """Positions in ``columns`` of those from ``start`` to ``stop``."""
    first = max(0, -(-(start - columns.start) // columns.step))
    return slice(first, max(first, min(len(columns), -(-(stop - columns.start) // columns.step))))


def _cells(held: NDArray[np.uint8], at: int, rows: range, wide: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """One chunk's rows in the block, shape (len(rows), wide)."""
    size = dtype.itemsize
    return np.ndarray((len(rows), wide), dtype, held, at, (rows.step * wide * size, size))


def _put(source: NDArray[Any], columns: range, inside: slice, left: int, out: NDArray[Any]) -> None:
    """Copy those of ``columns`` that ``source`` (from column ``left`` on) holds into their places in ``out``."""
    if inside.start < inside.stop:
        part = slice(columns[inside.start] - left, columns[inside.stop - 1] + 1 - left, columns.step)
        np.copyto(out[:, inside], source[:, part], casting="unsafe")


def _interleave(held: NDArray[np.uint8], pitch: int, rows: range, row_bytes: int, out: NDArray[Any]) -> None:
    """Lay the rows of chunks that follow one another in the block side by side into ``out``, rows contiguous."""
    # A row of a chunk is copied as one item: going through its few samples one by one takes longer.
    item = np.dtype((np.void, row_bytes))
    target = out.view(item)
    source: NDArray[Any] = np.ndarray(target.shape, item, held, strides=(rows.step * row_bytes, pitch))
    np.copyto(target, source)
