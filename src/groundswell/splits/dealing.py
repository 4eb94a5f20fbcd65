"""splits: how cells, which differ in size, are dealt to parts so that these come near their shares of samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.seeds import derive_seed
from groundswell.data.order import permutations

Codes = NDArray[np.int64]

DRAWS = 16
"""So many times units are dealt, of which the deal is taken that lets most of what is tested be learnt."""


def deal_units(sizes: Codes, shares: tuple[float, ...], *seed: int | str,
               movable: NDArray[np.bool_] | None = None) -> Codes:
    """Deal units of different sizes by chance so that the parts come near their shares of what is in them.

    Units are taken in classes of a size (within a factor of two), the largest first. In each class they are put into
    an order by chance, and each part but the first is given the next of them, as many as the class can bear of what the
    part still needs; rounding is by chance, so that a unit comes into a part as often as the part's share says, and
    smaller classes make it good. A unit that would fill more than a quarter of a part stays in the first one, so that
    no part is of one place alone, wherever the smaller units leave choice enough. No part is left without a unit where
    there are enough.

    Args:
        sizes: of the units, int64, shape (u,), above zero.
        shares: of the parts, together 1; the first (training) gets what no other takes.
        seed: what the drawing is a pure function of, beside the order of the units.
        movable: which units another part than the first may have, shape (u,); all by default.

    Returns:
        Index into ``shares``, int64, shape (u,).
    """
    part = np.zeros(len(sizes), np.int64)
    turn = permutations(len(sizes), 0, 1, *seed, "deal")[0]
    free = turn if movable is None else turn[movable[turn]]
    free = free[_small_enough(sizes[free], shares, int(sizes.sum()))]
    scale = np.frexp(sizes.astype(np.float64))[1]
    need, left = np.array(shares) * sizes.sum(), int(sizes.sum())
    for value in np.unique(scale)[::-1]:
        here = int(sizes[scale == value].sum())
        queue = free[scale[free] == value]
        for index in range(1, len(shares)):
            mine = sizes[queue]
            by_chance = here < left and mine.max(initial=0) <= need[index]
            middle = derive_seed(*seed, "round", int(value), index) / 2**63 if by_chance else 0.5
            count = int(np.searchsorted(np.cumsum(mine) - mine * (1 - middle), need[index] * here / left))
            part[queue[:count]], queue = index, queue[count:]
            need[index] -= mine[:count].sum()
        left -= here
    return _none_empty(part, sizes, shares, free)


def _small_enough(sizes: Codes, shares: tuple[float, ...], total: int) -> NDArray[np.bool_]:
    # Units that fill little of the smallest part; more of it, the fewer they would otherwise be to choose from.
    wanted = sum(shares[1:]) * total
    for fill in (0.25, 0.5, 1.0):
        small = sizes <= fill * min(shares[1:]) * total
        if sizes[small].sum() >= 2 * wanted:
            return np.asarray(small, bool)
    return np.ones(len(sizes), bool)


def _none_empty(part: Codes, sizes: Codes, shares: tuple[float, ...], free: Codes) -> Codes:
    for index in range(len(shares)):
        counts = np.bincount(part, minlength=len(shares))
        # Only a unit that is free to move, of a part that has another.
        spare = free[counts[part[free]] > 1]
        if counts[index] or not len(spare):
            continue
        goal = shares[index] * sizes.sum()
        part[spare[np.argmin(abs(sizes[spare] - goal))]] = index
    return part


def best_deal(draw: Callable[[int], Codes], of_row: Codes, label: Codes,
              balance: Sequence[tuple[Codes, float]] = ()) -> Codes:
    """Of several deals the one that costs least: what is tested should be learnable, and not too little of a kind.

    A deal costs the share of the labelled samples outside of training that are of a class which training lacks; and for
    each further count, how far the part numbered 2 (the test) is from its share of it. Nothing of what a network could
    learn from is looked at.

    Args:
        draw: the deal of a number, units to parts, int64, shape (u,); part 0 is training.
        of_row: unit of each sample, shape (n,).
        label: of each sample, shape (n,), -1 where unknown.
        balance: further counts by unit, shape (u,), each with the share of them that the test should have.

    Returns:
        The deal, int64, shape (u,).
    """
    known = label >= 0
    classes = int(label.max(initial=-1)) + 1
    place, pairs = pd.factorize(of_row[known] * classes + label[known])
    counts, unit, of_class = np.bincount(place), pairs // max(classes, 1), pairs % max(classes, 1)
    deals = [draw(number) for number in range(DRAWS if classes > 1 or balance else 1)]
    costs = []
    for part in deals:
        asked = part[unit] != 0
        learnt = np.zeros(classes, bool)
        learnt[of_class[~asked]] = True
        cost = counts[asked & ~learnt[of_class]].sum() / max(1, counts[asked].sum())
        costs.append(cost + sum(abs(extra[part == 2].sum() / max(1, extra.sum()) - share) for extra, share in balance))
    return deals[int(np.argmin(costs))]
