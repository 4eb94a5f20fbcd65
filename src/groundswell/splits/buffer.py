"""splits: what keeps parts apart: samples too near to tested ones, or tied to them, are in no part."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.splits.nearest import EARTH_M, unit_vectors, within_m
from groundswell.splits.parts import EXCLUDED, PARTS, TEST, TRAIN, VALIDATION
from groundswell.splits.ties import settle

Degrees = NDArray[np.float64]
Rows = NDArray[np.bool_]

_CHUNK = 1_000_000
_FEW = 50_000
"""Fewer places than this are measured without sorting them into boxes first."""
_LEAST_EDGE = 2.0 / 2**19
"""Of a box, in radii (24 m): three numbers of so many boxes still fit into one of 64 bits."""
_AROUND = [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)]


def separate(part: NDArray[np.int8], lat: Degrees, lon: Degrees, metres: float,
             ties: Mapping[str, NDArray[np.int64]] | None = None,
             around: Rows | None = None) -> tuple[NDArray[np.int8], dict[str, dict[str, int]]]:
    """Leave out what is tied to another part, or too near to it.

    The test stays whole: what shares a value with it leaves training and validation. Of what training and validation
    share, each value stays in the one that has more samples of it, but validation keeps at least half of its samples
    (:func:`groundswell.splits.ties.settle`). Then what is too near to the test leaves validation, and what is too near
    to the test or to what is left of validation leaves training.

    Args:
        part: part codes of one fold, shape (n,).
        lat, lon: degrees, shape (n,), finite.
        metres: great-circle distance up to which a sample is too near; 0 leaves nothing out.
        ties: what two parts may not share: a code for each sample, int64, shape (n,) each, -1 for none.
        around: tested and validated samples that the distance is kept from, shape (n,); all of them by default.

    Returns:
        The part codes anew; and how many samples were left out: ``left_out_by_ties`` of training and of validation,
        ``{"train": 5, "validation": 0}``, and ``left_out_by_buffer``.
    """
    part, before = part.copy(), part
    for codes in (ties or {}).values():
        settle(part, codes)
    tied = {PARTS[code]: int(((before == code) & (part != code)).sum()) for code in (TRAIN, VALIDATION)}
    near = {PARTS[code]: 0 for code in (TRAIN, VALIDATION)}
    for code, others in ((VALIDATION, (TEST,)), (TRAIN, (TEST, VALIDATION))) if metres > 0 else ():
        theirs = np.isin(part, others) if around is None else np.isin(part, others) & around
        close = near_rows(lat, lon, part == code, theirs, metres)
        part[close] = EXCLUDED
        near[PARTS[code]] = int(close.sum())
    return part, {"left_out_by_ties": tied, "left_out_by_buffer": near}


def near_rows(lat: Degrees, lon: Degrees, asked: Rows, others: Rows, metres: float) -> Rows:
    """Which of the rows that are ``asked`` about lie within ``metres`` of one of the ``others``.

    The same as :func:`groundswell.splits.nearest.within_m` says, and made for many millions: places are sorted into
    boxes as wide as the buffer, and distances are measured only where the boxes around a place hold some of the others.

    Args:
        lat, lon: degrees, shape (n,), finite.
        asked, others: shape (n,).
        metres: great-circle distance that still counts.

    Returns:
        bool, shape (n,); True only among ``asked``.
    """
    near = np.zeros(len(lat), bool)
    rows, theirs = np.flatnonzero(asked), np.flatnonzero(others)
    if len(rows) + len(theirs) > _FEW:
        rows, theirs = _candidates(lat, lon, rows, theirs, metres)
    if len(rows) and len(theirs):
        near[rows] = within_m(lat[rows], lon[rows], lat[theirs], lon[theirs], metres)
    return near


def _candidates(lat: Degrees, lon: Degrees, rows: NDArray[np.intp], theirs: NDArray[np.intp],
                metres: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    # The rows of both kinds that have any of the other kind in their box or in one of the 26 around it.
    edge = max(2 * np.sin(min(metres / (2 * EARTH_M), np.pi / 2)) * (1 + 1e-9), _LEAST_EDGE)
    side = int(2.0 / edge) + 4
    box, numbers = pd.factorize(_boxes(lat, lon, np.concatenate([rows, theirs]), edge, side))
    mine, his = box[:len(rows)], box[len(rows):]
    index, steps = pd.Index(numbers), [(x * side + y) * side + z for x, y, z in _AROUND]
    kept = _beside(mine, his, index, steps)
    return rows[kept], theirs[_beside(his, mine[kept], index, steps)]


def _boxes(lat: Degrees, lon: Degrees, rows: NDArray[np.intp], edge: float, side: int) -> NDArray[np.int64]:
    # The number of the box of each row; numbers of boxes around differ by the same steps everywhere.
    number = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), _CHUNK):
        some = rows[start:start + _CHUNK]
        x, y, z = (((unit_vectors(lat[some], lon[some]) + 1.0) / edge).astype(np.int64) + 1).T
        number[start:start + _CHUNK] = (x * side + y) * side + z
    return number


def _beside(box: NDArray[np.int64], other: NDArray[np.int64], index: pd.Index[int], steps: list[int]) -> Rows:
    # Whether any ``other`` place is in the box of each place or in one around it.
    there = np.zeros(len(index), bool)
    there[other] = True
    numbers = index.to_numpy()[there]
    marked = np.zeros(len(index), bool)
    for step in steps:
        found = index.get_indexer(numbers + step)
        marked[found[found >= 0]] = True
    return marked[box]
