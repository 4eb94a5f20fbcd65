"""splits: from a table and a recipe to a manifest with its audit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.splits.folds import deal_folds, draw_parts, leave_one_out
from groundswell.splits.groups import Groups
from groundswell.splits.manifest import SplitManifest
from groundswell.splits.parts import PARTS, TEST, TRAIN
from groundswell.splits.recipe import SplitRecipe

_LEAST = {"grouped": 3, "ungrouped": 3, "kfold": 2, "leave_one_out": 2}
"""Groups that a class must have, so that it can be learnt and tested (and, in a single split, validated on)."""


def make_split(table: SampleTable, recipe: SplitRecipe) -> SplitManifest:
    """Divide a table as the recipe says, and audit the result.

    Groups are stratified by their class: the commonest label other than noise. The drawing depends on the names of the
    groups and the seed, not on the order of the rows. Samples without a label go with their group. In ``kfold`` and
    ``leave_one_out`` every sample is tested in exactly one fold, and each fold draws its validation groups from those
    it does not test; ``leave_one_out`` has one fold for each group with an event, over which groups of noise alone are
    dealt.

    Raises:
        InputError: there are too few groups, or too few of a class, for what is asked.
    """
    if not len(table):
        raise InputError("There are no samples to split", fix="Look at what the data folder and its labels hold")
    groups = Groups.of_samples(table) if recipe.regime == "ungrouped" else Groups.of_table(table)
    _check_groups(groups, recipe)
    if recipe.regime in ("grouped", "ungrouped"):
        shares = (1 - recipe.validation - recipe.test, recipe.validation, recipe.test)
        part = draw_parts(groups.stratum, shares, recipe.seed, "split") + TRAIN
        parts = part.astype(np.int8)[:, None]
    else:
        parts = _rotate(groups, recipe)
    _check_parts(parts, groups, recipe)
    keys = {"grouped": {"validation", "test"}, "ungrouped": {"validation", "test"}, "kfold": {"validation", "folds"}}
    settings = recipe.model_dump(mode="json", include=keys.get(recipe.regime, {"validation"}))
    return SplitManifest.of(table, parts[groups.of_row], recipe.regime, recipe.seed, settings)


def _rotate(groups: Groups, recipe: SplitRecipe) -> NDArray[np.int8]:
    # Part of each group in each fold, shape (groups, folds).
    if recipe.regime == "kfold":
        folds = recipe.folds
        fold = deal_folds(groups.stratum, folds, recipe.seed, "split")
    else:
        alone = groups.with_event if groups.with_event.any() else np.ones(len(groups), bool)
        folds = int(alone.sum())
        fold = leave_one_out(groups.stratum, alone, recipe.seed, "split")
    parts = np.full((len(groups), folds), TEST, np.int8)
    shares = (1 - recipe.validation, recipe.validation)
    for k in range(folds):
        kept = np.flatnonzero(fold != k)
        parts[kept, k] = draw_parts(groups.stratum[kept], shares, recipe.seed, "validation", k) + TRAIN
    return parts


def _check_groups(groups: Groups, recipe: SplitRecipe) -> None:
    counts = groups.counts()
    listed = ", ".join(f"{name} {count}" for name, count in counts.items()) or "none with a label"
    unit = "sample" if recipe.regime == "ungrouped" else "group"
    present = np.flatnonzero(groups.holds.any(axis=0))
    if len(present) == 1:
        raise InputError(f"All labelled samples are '{groups.classes[present[0]]}', so there is nothing to tell apart "
                         f"({unit}s: {listed})", fix="Label samples of a second class")
    total = int(groups.with_event.sum()) if counts else len(groups)
    needed = {"kfold": recipe.folds}.get(recipe.regime, 3)
    if total < needed:
        raise InputError(f"{recipe.regime} needs at least {needed} {unit}s, and there are {total} ({listed})",
                         where="split.folds" if recipe.regime == "kfold" else "split.regime",
                         fix="Label more events" + (f", or set split.folds to {total} or less" if total > 1 else ""))
    least = _LEAST[recipe.regime]
    short = [f"{name} has {count}" for name, count in counts.items() if count < least]
    if short:
        other = ", or use split.regime=leave_one_out, which needs 2" if least > 2 else ""
        raise InputError(f"Every class needs at least {least} {unit}s for {recipe.regime}, so that none is missing "
                         f"where it is learnt or tested; {', '.join(short)}", where="split.regime",
                         fix=f"Label more events of that class{other}")


def _check_parts(parts: NDArray[np.int8], groups: Groups, recipe: SplitRecipe) -> None:
    labelled = groups.holds.any(axis=1)
    useful = parts[labelled] if labelled.any() else parts
    for part, name in PARTS.items():
        empty = np.flatnonzero(~(useful == part).any(axis=0))
        if len(empty):
            raise InputError(f"With {len(useful)} groups nothing is left for the {name} part of fold {empty[0] + 1}",
                             where=f"split.regime={recipe.regime}", fix="Label more events")
    for k in np.flatnonzero(groups.holds.any(axis=0)):
        without = np.flatnonzero(~(parts[groups.holds[:, k]] == TRAIN).any(axis=0))
        if len(without):
            raise InputError(f"The training part of fold {without[0] + 1} has no sample of '{groups.classes[k]}', "
                             f"which {int(groups.holds[:, k].sum())} of {len(groups)} groups hold",
                             where=f"split.regime={recipe.regime}", fix="Add groups with samples of that class")
