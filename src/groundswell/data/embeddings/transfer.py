"""data: moving rows out of a part, by memory map where the system holds them and by reading where it does not."""

from __future__ import annotations

import itertools
import os
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
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)


def transfer(path: Path, mapped: NDArray[Any], spec: TableSpec, rows: NDArray[np.int64], places: NDArray[np.int64],
             out: NDArray[np.float32]) -> None:
    """Fill ``out[places[i]]`` with row ``rows[i]`` of a part, neighbouring rows at once.

    What lies in the system's cache is copied from the map, twice as fast as reading it. What does not is read: a map
    would bring it in page by page.

    Args:
        path: the part.
        mapped: its rows as a memory map.
        spec: of its table.
        rows: int64 (n,), ascending.
        places: int64 (n,).
        out: float32 (m, *shape of a row), C-contiguous.
    """
    length = spec.row_bytes
    scratch = np.empty(min(BLOCK, spec.values), spec.stored)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for run in _runs(rows, length):
            offset = int(rows[run.start]) * length
            cached = _cached(descriptor, offset, (run.stop - run.start) * length)
            if spec.dtype == "float32" and not cached:
                buffers = [out[place].reshape(-1).view(np.uint8).data for place in places[run]]
                _fill(descriptor, buffers, offset, path)
                continue
            for row, place in zip(rows[run].tolist(), places[run].tolist(), strict=True):
                if spec.dtype == "float32":
                    np.copyto(out[place], mapped[row])
                    continue
                given, flat = mapped[row].reshape(-1), out[place].reshape(-1)
                for start in range(0, len(flat), BLOCK):
                    block = scratch[:min(BLOCK, len(flat) - start)]
                    if cached:
                        np.copyto(block, given[start:start + len(block)])
                    else:
                        _fill(descriptor, [block.view(np.uint8).data], row * length + start * block.itemsize, path)
                    decode(block, spec.dtype, flat[start:start + len(block)])
    finally:
        os.close(descriptor)


def _runs(rows: NDArray[np.int64], length: int) -> list[slice]:
    """Stretches of neighbouring rows that one call can read."""
    longest = max(1, min(BUFFERS, READ_BYTES // length))
    breaks = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    return [slice(start, min(start + longest, stop)) for begin, stop in itertools.pairwise(breaks)
            for start in range(begin, stop, longest)]


def _cached(descriptor: int, offset: int, length: int) -> bool:
    """Whether the system seems to hold these bytes: a few of them can be had without waiting for the disk."""
    if _NOWAIT is None:
        return False
    byte = bytearray(1)
    try:
        return all(os.preadv(descriptor, [byte], place, _NOWAIT) == 1
                   for place in np.linspace(offset, offset + length - 1, PROBES).astype(np.int64).tolist())
    except OSError:  # it would have to wait, or this file system does not say
        return False


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
