"""splits: what keeps parts apart: samples too near to tested ones, or tied to them, are in no part."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.splits.nearest import EARTH_M, unit_vectors, within_m
from groundswell.splits.parts import EXCLUDED, PARTS, TEST, TRAIN, VALIDATION

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
    """Leave out what is too near, or tied: validated samples for the sake of tested ones; then training samples for the
    sake of tested ones, and of the validated ones that are left.

    Args:
        part: part codes of one fold, shape (n,).
        lat, lon: degrees, shape (n,), finite.
        metres: great-circle distance up to which a sample is too near; 0 leaves nothing out.
        ties: what two parts may not share: a code for each sample, int64, shape (n,) each, -1 for none.
        around: tested and validated samples that the distance is kept from, shape (n,); all of them by default.

    Returns:
        The part codes anew; and how many samples were left out: ``left_out_by_buffer`` of training and of validation,
        ``{"train": 5, "validation": 0}``, and ``left_out_by_ties`` those that were not too near.
    """
    part = part.copy()
    near_by, tied_by = {"train": 0, "validation": 0}, {"train": 0, "validation": 0}
    for code, others in ((VALIDATION, (TEST,)), (TRAIN, (TEST, VALIDATION))):
        mine, theirs = part == code, np.isin(part, others)
        tied = mine & tied_rows(theirs, ties or {})
        near = np.zeros(len(part), bool)
        if metres > 0:
            near = near_rows(lat, lon, mine, theirs if around is None else theirs & around, metres)
        part[near | tied] = EXCLUDED
        near_by[PARTS[code]], tied_by[PARTS[code]] = int(near.sum()), int((tied & ~near).sum())
    return part, {"left_out_by_buffer": near_by, "left_out_by_ties": tied_by}


def tied_rows(chosen: Rows, ties: Mapping[str, NDArray[np.int64]]) -> Rows:
    """Which rows share a value with one of the ``chosen`` ones, these among them where they have one; shape (n,)."""
    tied = np.zeros(len(chosen), bool)
    for codes in ties.values():
        # One place more than there are values, for the samples that have none.
        there = np.zeros(int(codes.max(initial=-1)) + 2, bool)
        there[codes[chosen]] = True
        there[-1] = False
        tied |= there[codes]
    return tied


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
