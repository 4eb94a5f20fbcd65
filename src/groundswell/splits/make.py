"""splits: from a table and a recipe to a manifest with its audit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.splits.blocks import cut_blocks
from groundswell.splits.checks import check_classes, listed
from groundswell.splits.division import Division
from groundswell.splits.folds import draw_parts, fold_of_units
from groundswell.splits.groups import Groups
from groundswell.splits.manifest import SplitManifest
from groundswell.splits.parts import HOLDOUT, PARTS, TEST, TRAIN
from groundswell.splits.purge import deal_values
from groundswell.splits.recipe import SplitRecipe

_LEAST = {"grouped": 3, "ungrouped": 3, "kfold": 2, "leave_one_out": 2, "stratified": 2}
"""Groups that a class must have, so that it can be learnt and tested (and, in a single split, validated on)."""
_BY_SAMPLE = ("ungrouped", "stratified")
OPEN_SET = "open_set"
"""Fact of a table's origin: it has many classes, of which a part need not have every one. What is tested of a class
that was not learnt is scored apart."""
SPATIAL = ("spatial", "temporal", "spatiotemporal", "buffered")
_IN_SPACE = {"cells", "cell_km", "cell_level", "buffer_m", "together"}
_KEYS = {"grouped": {"validation", "test"}, "ungrouped": {"validation", "test"}, "kfold": {"validation", "folds"},
         "stratified": {"validation", "folds"}, "leave_one_out": {"validation"},
         "blocks": {"validation", "folds", "embargo_days"}, "published": {"validation"},
         "spatial": {"validation", "test", *_IN_SPACE}, "buffered": {"validation", "folds", *_IN_SPACE},
         "temporal": {"validation", "test_from", "match_months", "together"},
         "spatiotemporal": {"validation", "test", "test_from", "match_months", *_IN_SPACE},
         "knndm": {"validation", "folds", "space", "prediction_points", "buffer_m", "together"}}
"""Keys of the recipe that a regime looks at."""


def make_split(table: SampleTable, recipe: SplitRecipe) -> SplitManifest:
    """Divide a table as the recipe says, and audit the result.

    Groups are stratified by their class: the commonest label other than noise. The drawing depends on the names of the
    groups and the seed, not on the order of the rows. Samples without a label go with their group. In ``kfold``,
    ``leave_one_out``, ``stratified`` and ``blocks`` every sample is tested in exactly one fold, and each fold draws its
    validation part from what it does not test; ``leave_one_out`` has one fold for each group with an event, over which
    groups of noise alone are dealt. What the holdout takes is tested in none.

    Raises:
        InputError: there are too few groups, or too few of a class, for what is asked; or the table lacks a column.
    """
    if not len(table):
        raise InputError("There are no samples to split", fix="Look at what the data folder and its labels hold")
    division = _divide(table, recipe)
    return SplitManifest.of(table, division.assignment, recipe.regime, recipe.seed,
                            {**_settings(recipe), **division.settings}, division.stratum)


def _divide(table: SampleTable, recipe: SplitRecipe) -> Division:
    if recipe.regime == "blocks":
        return Division(cut_blocks(table, recipe))
    if recipe.regime == "published":
        from groundswell.splits.published import divide_published

        return divide_published(table, recipe)
    if recipe.regime == "knndm":
        from groundswell.splits.knndm import divide_knndm

        return divide_knndm(table, recipe)
    if recipe.regime in SPATIAL:
        from groundswell.splits.spatial import divide_spatially

        return divide_spatially(table, recipe)
    return Division(deal_values(table, recipe) if recipe.by != "group" else _deal_units(table, recipe))


def _settings(recipe: SplitRecipe) -> dict[str, Any]:
    keys = set(_KEYS[recipe.regime])
    keys |= {"by", "purge"} if recipe.by != "group" else set()
    keys |= {"holdout"} if recipe.holdout else set()
    return recipe.model_dump(mode="json", include=keys)


def _deal_units(table: SampleTable, recipe: SplitRecipe) -> NDArray[np.int8]:
    # Groups, or single samples, dealt whole; shape (n, folds).
    of = Groups.of_samples if recipe.regime in _BY_SAMPLE else Groups.of_table
    units, free = of(table), np.ones(len(table), bool)
    check_classes(table, units, _unit(recipe))
    if recipe.holdout:
        held = draw_parts(units.stratum, (1 - recipe.holdout, recipe.holdout), recipe.seed, "holdout") == 1
        free = ~held[units.of_row]
        units = of(table, free)
    open_set = bool(table.origin.get(OPEN_SET))
    _check_groups(units, recipe, open_set=open_set)
    if recipe.regime in ("grouped", "ungrouped"):
        shares = (1 - recipe.validation - recipe.test, recipe.validation, recipe.test)
        part = _draw(units.stratum, shares, recipe.seed, "split", open_set=open_set) + TRAIN
        parts = part.astype(np.int8)[:, None]
    else:
        parts = _rotate(units, recipe, open_set=open_set)
    _check_parts(parts, units, recipe, open_set=open_set)
    assignment = np.full((len(table), parts.shape[1]), HOLDOUT, np.int8)
    assignment[free] = parts[units.of_row[free]]
    return assignment


def _draw(stratum: NDArray[np.int64], shares: tuple[float, ...], *seed: int | str, open_set: bool) -> NDArray[np.int64]:
    # Strata with fewer groups than parts send their first to training, so many of them leave nothing for a later part.
    # Where a part need not have every class, they are then dealt as one.
    part = draw_parts(stratum, shares, *seed)
    if open_set and len(np.unique(part[stratum >= 0])) < len(shares):
        _, place, size = np.unique(stratum, return_inverse=True, return_counts=True)
        part = draw_parts(np.where((stratum >= 0) & (size[place] < len(shares)), -2, stratum), shares, *seed)
    return part


def _rotate(groups: Groups, recipe: SplitRecipe, *, open_set: bool) -> NDArray[np.int8]:
    # Part of each group in each fold, shape (groups, folds).
    fold, folds = fold_of_units(groups, recipe)
    parts = np.full((len(groups), folds), TEST, np.int8)
    shares = (1 - recipe.validation, recipe.validation)
    for k in range(folds):
        kept = np.flatnonzero(fold != k)
        parts[kept, k] = _draw(groups.stratum[kept], shares, recipe.seed, "validation", k, open_set=open_set) + TRAIN
    return parts


def _unit(recipe: SplitRecipe) -> str:
    return "sample" if recipe.regime in _BY_SAMPLE else "group"


def _check_groups(groups: Groups, recipe: SplitRecipe, *, open_set: bool) -> None:
    counts, unit = groups.counts(), _unit(recipe)
    held = " beside the holdout" if recipe.holdout else ""
    total = int(groups.with_event.sum()) if counts else len(groups)
    many = recipe.regime in ("kfold", "stratified")
    needed = recipe.folds if many else 3
    if total < needed:
        raise InputError(f"{recipe.regime} needs at least {needed} {unit}s{held}, and there are {total} "
                         f"({listed(groups)})", where="split.folds" if many else "split.regime",
                         fix="Label more events" + (f", or set split.folds to {total} or less" if total > 1 else ""))
    least = 0 if open_set else _LEAST[recipe.regime]
    short = [f"{name} has {count}" for name, count in counts.items() if count < least]
    if short:
        other = ", or use split.regime=leave_one_out, which needs 2" if least > 2 else ""
        raise InputError(f"Every class needs at least {least} {unit}s for {recipe.regime}{held}, so that none is "
                         f"missing where it is learnt or tested; {', '.join(short)}", where="split.regime",
                         fix=f"Label more events of that class{other}")


def _check_parts(parts: NDArray[np.int8], groups: Groups, recipe: SplitRecipe, *, open_set: bool) -> None:
    labelled = groups.holds.any(axis=1)
    useful = parts[labelled] if labelled.any() else parts
    for part, name in ((code, name) for code, name in PARTS.items() if code != HOLDOUT):
        empty = np.flatnonzero(~(useful == part).any(axis=0))
        if len(empty):
            raise InputError(f"With {len(useful)} groups nothing is left for the {name} part of fold {empty[0] + 1}",
                             where=f"split.regime={recipe.regime}", fix="Label more events")
    for k in np.flatnonzero(groups.holds.any(axis=0) & (not open_set)):
        without = np.flatnonzero(~(parts[groups.holds[:, k]] == TRAIN).any(axis=0))
        if len(without):
            raise InputError(f"The training part of fold {without[0] + 1} has no sample of '{groups.classes[k]}', "
                             f"which {int(groups.holds[:, k].sum())} of {len(groups)} groups hold",
                             where=f"split.regime={recipe.regime}", fix="Add groups with samples of that class")
