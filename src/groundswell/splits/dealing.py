"""splits: how cells, which differ in size, are dealt to parts so that these come near their shares of samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from groundswell.data.order import permutations

Codes = NDArray[np.int64]

DRAWS = 16
"""So many times units are dealt, of which the deal is taken that lets most of what is tested be learnt."""


def deal_units(sizes: Codes, shares: tuple[float, ...], *seed: int | str,
               movable: NDArray[np.bool_] | None = None) -> Codes:
    """Deal units of different sizes by chance so that the parts come near their shares of what is in them.

    Units are taken in classes of a size (within a factor of two), the largest first. In each class they are put into
    an order by chance, and each part but the first is given the next of them until what it has of all so far is nearest
    its share; what one class could not divide, the next makes good. A unit much larger than a part is thus not in it.
    No part is left without a unit where there are enough.

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
    scale = np.frexp(sizes.astype(np.float64))[1]
    held, total = np.zeros(len(shares)), 0
    for value in np.unique(scale)[::-1]:
        total += int(sizes[scale == value].sum())
        queue = free[scale[free] == value]
        for index in range(1, len(shares)):
            reached = np.concatenate([[0], np.cumsum(sizes[queue])])
            wanted = shares[index] * total - held[index]
            count = int(np.searchsorted((reached[1:] + reached[:-1]) / 2, wanted))
            part[queue[:count]], queue = index, queue[count:]
            held[index] += reached[count]
    return _none_empty(part, sizes, shares, free)


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


def bundle_units(of_row: Codes, units: int, ties: Mapping[str, Codes]) -> Codes:
    """Put units that share a value into one bundle, and those that share one with these, and so on.

    Args:
        of_row: unit of each sample, int64, shape (n,).
        units: how many there are.
        ties: codes of values, int64, shape (n,) each, -1 for none.

    Returns:
        Bundle of each unit, int64, shape (units,), in the order of their first units.
    """
    edges = []
    for codes in ties.values():
        tied = codes >= 0
        first = np.full(int(codes.max(initial=-1)) + 1, units, np.int64)
        np.minimum.at(first, codes[tied], of_row[tied])
        other = first[codes[tied]]
        edges.append(pd.unique((other * units + of_row[tied])[other != of_row[tied]]))
    pairs = np.concatenate(edges) if edges else np.empty(0, np.int64)
    graph = coo_array((np.ones(len(pairs), bool), (pairs // max(units, 1), pairs % max(units, 1))),
                      shape=(units, units))
    label = connected_components(graph, directed=False)[1]
    return np.asarray(pd.factorize(label)[0], np.int64)


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
