"""das: samples of an HDF5 array taken straight from its file into the caller's memory, without the HDF5 library.

The library takes one lock for everything it does, decompression included, and walks through hyperslabs row by row. Here
threads read side by side, and bytes go into the destination itself wherever they lie there as they lie in the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.das.formats import hdf5_codecs
from groundswell.pipelines.das.formats.hdf5_codecs import Undecodable
from groundswell.pipelines.das.formats.hdf5_index import FileIndex
from groundswell.pipelines.das.formats.hdf5_mapped import Mapping
from groundswell.pipelines.das.formats.hdf5_plain import read_band
from groundswell.pipelines.das.formats.hdf5_scratch import SCRATCH, Descriptor
from groundswell.pipelines.das.formats.team import share

BLOCK = 2**19
"""Bytes read at once where they pass through memory of ours: they stay in a core's second cache."""
STRETCH = 2**16
"""Bytes of a contiguous array that are brought into mapped memory together."""
MOST_MAPPED = 2**25
"""Longer pieces are read by calls: who wants so much at once does not come back to it."""
GAP = 24_000
"""Bytes that are read along rather than skipped: a further call costs as much."""


class DirectFile:
    """An array of an open file. Any number of threads may read from it at once.

    Args:
        index: of the array; its ``why_not`` is empty.

    Raises:
        OSError: the file cannot be opened.
        InputError: it is not the file that the index was made of.
    """

    def __init__(self, index: FileIndex) -> None:
        self.index = index
        self._file = Descriptor(index.path)
        cells, cell_bytes = index.offsets.ravel(), index.chunk[0] * index.chunk[1] * index.dtype.itemsize
        if index.layout == "contiguous":
            last = index.offset + index.shape[0] * index.shape[1] * index.dtype.itemsize
            cells, cell_bytes = np.arange(0, last, STRETCH, np.int64), STRETCH
        self._map = Mapping(self._file, index.size_bytes, cells, cell_bytes)
        self.check()

    def check(self) -> None:
        """See that the open file is still the one that the index was made of.

        Raises:
            InputError: it is not.
        """
        status = self._file.status()
        if (status.st_size, status.st_mtime_ns) != (self.index.size_bytes, self.index.modified_ns):
            raise InputError("The file has changed since it was scanned", where=self.index.path,
                             fix="Put it back as it was, or begin again with the files as they are")

    def read(self, rows: range, columns: range, out: NDArray[Any]) -> None:
        """Copy some rows and columns, as they follow one another in the file, into ``out``.

        Args:
            rows, columns: within the array's shape, with positive steps.
            out: shape (len(rows), len(columns)), any real dtype and strides; fastest where it lies in memory as the
                file does.

        Raises:
            InputError: the file ends too early.
            OSError: it cannot be read.
            Undecodable: a chunk does not decode; ``out`` then holds anything.
        """
        if self.index.layout == "contiguous":
            self._contiguous(rows, columns, out)
        elif self.index.filters:
            self._compressed(rows, columns, out)
        else:
            self._plain(rows, columns, out)

    def _plain(self, rows: range, columns: range, out: NDArray[Any]) -> None:
        (tall, wide), stripes = self.index.chunk, self.index.offsets.shape[1]
        bands = _bands(rows, tall)
        across = np.arange(columns.start // wide, columns[-1] // wide + 1)
        cells = (np.array([band for band, _ in bands])[:, None] * stripes + across).ravel()
        with self._map.look(cells) as held:
            for band, part in bands:
                local = range(rows[part.start] - band * tall, rows[part.stop - 1] + 1 - band * tall, rows.step)
                read_band(self._file if held is None else held, self.index, band, local, columns, out[part])

    def _contiguous(self, rows: range, columns: range, out: NDArray[Any]) -> None:
        index, size = self.index, self.index.dtype.itemsize
        row_bytes = index.shape[1] * size
        span = (columns[-1] + 1 - columns.start) * size
        alike = out.dtype == index.dtype and columns.step == 1 and out.strides[1] == size
        first = index.offset + rows.start * row_bytes + columns.start * size
        step = rows.step * row_bytes
        apart = step - span > GAP
        length = (len(rows) - 1) * step + span
        if length <= MOST_MAPPED or apart:
            with self._map.look(_stretches(first, step if apart else 0, len(rows), span if apart else length)) as held:
                if held is not None:
                    copy(held, first, (step, columns.step * size), index.dtype, out)
                    return
        if alike and span == step and out.strides[0] == row_bytes:
            self._file.fill(out, first)
        elif apart:
            self._row_by_row(first, step, span, columns.step, out)
        else:
            self._in_blocks(first, step, span, columns.step, out)

    def _row_by_row(self, first: int, step: int, span: int, every: int, out: NDArray[Any]) -> None:
        """Rows that lie far apart: one read for each."""
        dtype, fill = self.index.dtype, self._file.fill
        if out.dtype == dtype and every == 1 and out.strides[1] == dtype.itemsize:
            for row, target in enumerate(out):
                fill(target, first + row * step)
            return
        most = max(1, BLOCK // span)
        for low in range(0, len(out), most):
            block = out[low:low + most]
            held = SCRATCH.take("block", len(block) * span).reshape(len(block), span)
            for row, target in enumerate(held):
                fill(target, first + (low + row) * step)
            np.copyto(block, held.view(dtype)[:, ::every], casting="unsafe")

    def _in_blocks(self, first: int, step: int, span: int, every: int, out: NDArray[Any]) -> None:
        """Rows that lie close together: several at once, and what lies between them too."""
        dtype = self.index.dtype
        most = max(1, BLOCK // step)
        for low in range(0, len(out), most):
            block = out[low:low + most]
            length = (len(block) - 1) * step + span
            held = SCRATCH.take("block", length)
            self._file.fill(held, first + low * step)
            copy(held, 0, (step, every * dtype.itemsize), dtype, block)

    def _compressed(self, rows: range, columns: range, out: NDArray[Any]) -> None:
        tall, wide = self.index.chunk
        stripes = _bands(columns, wide)
        share(self._chunk, [(band, stripe, rows[part.start] - band * tall, columns[across.start] - stripe * wide,
                             rows.step, columns.step, out[part, across])
                            for band, part in _bands(rows, tall) for stripe, across in stripes])

    def _chunk(self, piece: tuple[int, int, int, int, int, int, NDArray[Any]]) -> None:
        """Read and decode one chunk and copy what is wanted of it, from its row and column ``top`` and ``left`` on."""
        band, stripe, top, left, down, across, out = piece
        index = self.index
        raw = SCRATCH.take("raw", int(index.sizes[band, stripe]))
        self._file.fill(raw, int(index.offsets[band, stripe]))
        mask = 0 if index.masks is None else int(index.masks[band, stripe])
        tall, wide = index.chunk
        if index.only_shuffled and not mask and ((band + 1) * tall > index.shape[0]
                                                 or (stripe + 1) * wide > index.shape[1]):
            # A data set may ask for chunks that reach beyond its end to be stored without filters. HDF5 does not tell,
            # and of all filters this one alone would make other numbers of them instead of an error.
            raise Undecodable("a chunk at the edge that may not be shuffled")
        whole = out.shape == index.chunk and out.dtype == index.dtype and out.flags.c_contiguous
        into = out.reshape(-1).view(np.uint8) if whole else None
        held, shuffled = hdf5_codecs.decode(raw, index, mask, into)
        rows = slice(top, top + (len(out) - 1) * down + 1, down)
        columns = slice(left, left + (out.shape[1] - 1) * across + 1, across)
        if shuffled:
            hdf5_codecs.unshuffle(held, index, rows, columns, out)
        elif held is not into:
            np.copyto(out, held.view(index.dtype).reshape(index.chunk)[rows, columns], casting="unsafe")


def _stretches(first: int, step: int, count: int, length: int) -> NDArray[np.int64] | slice:
    """Stretches of the file that hold ``count`` pieces of ``length`` bytes, ``step`` bytes apart (0: one piece)."""
    if not step:
        return slice(first // STRETCH, (first + length - 1) // STRETCH + 1)
    starts = first + step * np.arange(count)
    further = np.minimum(np.arange(0, length - 1 + STRETCH, STRETCH), length - 1)
    stretches: NDArray[np.int64] = (starts[:, None] + further) // STRETCH
    return stretches.ravel()


def copy(held: NDArray[np.uint8], at: int, strides: tuple[int, int], dtype: np.dtype[Any], out: NDArray[Any]) -> None:
    """Copy samples that lie in ``held`` from byte ``at`` on, at these distances, into ``out``."""
    samples: NDArray[Any] = np.ndarray(out.shape, dtype, held, at, strides)
    if abs(out.strides[0]) < abs(out.strides[1]) and out.shape[1] > 1:
        # Rows and columns change places: piece by piece, or every sample misses the caches.
        for low in range(0, len(out), 64):
            np.copyto(out[low:low + 64], samples[low:low + 64], casting="unsafe")
    else:
        np.copyto(out, samples, casting="unsafe")


def _bands(wanted: range, length: int) -> list[tuple[int, slice]]:
    """Chunks along one axis that hold some of ``wanted``, each with the positions in ``wanted`` that it holds."""
    found, at = [], 0
    while at < len(wanted):
        band = wanted[at] // length
        stop = min(len(wanted), -(-((band + 1) * length - wanted.start) // wanted.step))
        found.append((band, slice(at, stop)))
        at = stop
    return found


