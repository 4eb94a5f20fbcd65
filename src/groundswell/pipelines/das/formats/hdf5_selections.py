"""das: which samples of a virtual HDF5 data set its sources fill, and whether two of them fill the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Axis = tuple[int, int, int, int]
"""Start, stride, count and block, as HDF5 counts a regular selection along one axis."""

_MOST_BLOCKS = 10_000


def parts(space: Any) -> list[tuple[Axis, ...]] | None:
    """The selection of ``space`` as regular parts that share no sample; ``None`` if it has no end or is too ragged."""
    kind = space.get_select_type()
    if kind == h5py.h5s.SEL_NONE:
        return []
    if kind == h5py.h5s.SEL_ALL:
        return [tuple((0, 1, 1, int(size)) for size in space.shape)]
    if kind != h5py.h5s.SEL_HYPERSLABS:
        return None
    if space.is_regular_hyperslab():
        axes = [(int(a), int(b), int(c), int(d)) for a, b, c, d in zip(*space.get_regular_hyperslab(), strict=True)]
        endless = any(h5py.h5s.UNLIMITED in (count, block) for _, _, count, block in axes)
        return None if endless else [tuple(axes)]
    if space.get_select_hyper_nblocks() > _MOST_BLOCKS:
        return None
    return [tuple((int(low), 1, 1, int(high - low + 1)) for low, high in zip(*block, strict=True))
            for block in space.get_select_hyper_blocklist().astype(np.int64)]


def points(part: Sequence[Axis]) -> int:
    """Number of samples in a regular part."""
    number = 1
    for _, _, count, block in part:
        number *= count * block
    return number


def end(axis: Axis) -> int:
    """One past the last place along an axis."""
    start, stride, count, block = axis
    return start + (count - 1) * stride + block


def overlapping(found: Sequence[Sequence[Axis]]) -> tuple[int, int] | None:
    """Two of the parts that have a sample in common; ``None`` if no two have."""
    if len(found) < 2:
        return None
    low = np.array([[axis[0] for axis in part] for part in found], np.int64)
    high = np.array([[end(axis) for axis in part] for part in found], np.int64)
    # Along the axis with the most beginnings the fewest parts lie side by side: only those are compared.
    along = int(np.argmax([len(np.unique(column)) for column in low.T]))
    order = np.argsort(low[:, along], kind="stable")
    low, high = low[order], high[order]
    stops = np.searchsorted(low[:, along], high[:, along])
    for one, stop in enumerate(stops):
        near = slice(one + 1, int(stop))
        boxes = ((low[near] < high[one]) & (low[one] < high[near])).all(1)
        for other in np.flatnonzero(boxes) + one + 1:
            first, second = int(order[one]), int(order[other])
            if all(_meet(a, b) for a, b in zip(found[first], found[second], strict=True)):
                return first, second
    return None


def _meet(one: Axis, other: Axis) -> bool:
    """Whether two axes whose extents overlap have a place in common: they need not where both leave places out."""
    low, high = max(one[0], other[0]), min(end(one), end(other))
    return bool((_places(one, low, high) & _places(other, low, high)).any())


def _places(axis: Axis, low: int, high: int) -> NDArray[np.bool_]:
    start, stride, _, block = axis
    place = np.arange(low, high) - start
    return place % stride < block if stride > block else np.ones(len(place), np.bool_)
