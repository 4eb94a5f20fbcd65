"""splits: how groups are shared out, stratum by stratum, among parts or over folds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from groundswell.data.order import permutations
from groundswell.splits.groups import Groups
from groundswell.splits.recipe import SplitRecipe


def draw_parts(stratum: NDArray[np.int64], shares: tuple[float, ...], *seed: int | str) -> NDArray[np.int64]:
    """Draw a part for every group so that each stratum, and all of them together, come as near the shares as they can.

    Each stratum is rounded by largest remainders; what its rounding was out by (up to one group) is made good by the
    next, the larger first. A stratum with a group for every part appears in every part, and the first part (training)
    is never without a stratum.

    Args:
        stratum: of each group, shape (g,).
        shares: of the parts, together 1.
        seed: what the drawing is a pure function of.

    Returns:
        Index into ``shares``, int64, shape (g,).
    """
    part = np.zeros(len(stratum), np.int64)
    owed = np.zeros(len(shares))
    found, sizes = np.unique(stratum, return_counts=True)
    for index in np.argsort(-sizes, kind="stable"):
        value, size = int(found[index]), int(sizes[index])
        quota = size * np.asarray(shares) + owed
        counts = apportion(size, quota)
        owed = np.clip(quota - counts, -1, 1)
        members = np.flatnonzero(stratum == value)[permutations(size, 0, 1, *seed, "parts", value)[0]]
        part[members] = np.repeat(np.arange(len(shares)), counts)
    return part


def apportion(size: int, quota: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole numbers that add up to ``size``, as near ``quota`` as may be (largest remainders).

    No part is left empty where there is one for each; with fewer, the first part is not.
    """
    least = np.ones(len(quota), np.int64)
    if size < len(quota):
        least[1:] = 0
    counts = np.maximum(np.floor(quota).astype(np.int64), least)
    while counts.sum() > size:
        counts[np.argmax(np.where(counts > least, counts - quota, -np.inf))] -= 1
    while counts.sum() < size:
        counts[np.argmax(quota - counts)] += 1
    return counts


def deal_folds(stratum: NDArray[np.int64], folds: int, *seed: int | str) -> NDArray[np.int64]:
    """Deal groups over folds so that every stratum, and all together, differ by at most one group between folds.

    Returns:
        The fold that tests each group, int64, shape (g,).
    """
    dealt = np.concatenate([np.flatnonzero(stratum == value)[permutations(int((stratum == value).sum()), 0, 1, *seed,
                                                                          "folds", int(value))[0]]
                            for value in np.unique(stratum)])
    fold = np.empty(len(stratum), np.int64)
    fold[dealt] = np.arange(len(stratum)) % folds
    return fold


def leave_one_out(stratum: NDArray[np.int64], alone: NDArray[np.bool_], *seed: int | str) -> NDArray[np.int64]:
    """One fold for each group that is ``alone``, in order; the others are dealt over these folds.

    Returns:
        The fold that tests each group, int64, shape (g,).
    """
    folds = int(alone.sum())
    fold = np.empty(len(stratum), np.int64)
    fold[alone] = np.arange(folds)
    if not alone.all():
        fold[~alone] = deal_folds(stratum[~alone], folds, *seed)
    return fold


def fold_of_units(units: Groups, recipe: SplitRecipe) -> tuple[NDArray[np.int64], int]:
    """The fold that tests each unit, int64, shape (g,), and the number of folds; of any regime that tests all."""
    if recipe.regime != "leave_one_out":
        return deal_folds(units.stratum, recipe.folds, recipe.seed, "split"), recipe.folds
    alone = units.with_event if units.with_event.any() else np.ones(len(units), bool)
    return leave_one_out(units.stratum, alone, recipe.seed, "split"), int(alone.sum())
