"""das: telling the system which bytes of an HDF5 array will be read soon, and which are done with."""

from __future__ import annotations

import contextlib
import os

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.das.formats.hdf5_index import FileIndex

MOST_SPANS = 256
"""Where samples lie in more places than that, telling of them costs more than it brings."""


def spans(index: FileIndex, rows: range, columns: range) -> NDArray[np.int64]:
    """Bytes of the file in which these rows and columns lie, neighbouring ones joined.

    Returns:
        int64, shape (k, 2): offset and length, by offset; empty where the library reads the array.
    """
    if index.why_not or not len(rows) or not len(columns):
        return np.zeros((0, 2), np.int64)
    if index.layout == "contiguous":
        row_bytes, size = index.shape[1] * index.dtype.itemsize, index.dtype.itemsize
        begin = index.offset + np.arange(rows.start, rows.stop, rows.step, dtype=np.int64) * row_bytes
        begin += columns.start * size
        end = begin + (columns[-1] + 1 - columns.start) * size
    else:
        bands = slice(rows.start // index.chunk[0], rows[-1] // index.chunk[0] + 1)
        stripes = slice(columns.start // index.chunk[1], columns[-1] // index.chunk[1] + 1)
        begin = index.offsets[bands, stripes].ravel()
        order = np.argsort(begin)
        begin = begin[order]
        end = begin + index.sizes[bands, stripes].ravel().astype(np.int64)[order]
    # The system reads and forgets whole pages, so that a few bytes between two spans do not matter.
    cuts = np.flatnonzero(begin[1:] - end[:-1] >= 4096) + 1
    first, last = np.r_[0, cuts], np.r_[cuts, len(begin)] - 1
    return np.stack([begin[first], end[last] - begin[first]], axis=1)


def advise(index: FileIndex, rows: range, columns: range, needed: bool) -> bool:
    """Have the system begin to read these samples into its memory, or let go of them there.

    It is advice: where it cannot be given, nothing happens.

    Returns:
        whether it was given.
    """
    found = spans(index, rows, columns)
    if not 0 < len(found) <= MOST_SPANS or not hasattr(os, "posix_fadvise"):
        return False
    advice = os.POSIX_FADV_WILLNEED if needed else os.POSIX_FADV_DONTNEED
    with contextlib.suppress(OSError):
        descriptor = os.open(index.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for offset, length in found.tolist():
                os.posix_fadvise(descriptor, offset, length, advice)
        finally:
            os.close(descriptor)
        return True
    return False
