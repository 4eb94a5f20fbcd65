"""splits: folds by the values of a column, such as stations, with training purged of what tested samples share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.splits.audit import CONTINUOUS
from groundswell.splits.checks import check_classes, lack
from groundswell.splits.folds import draw_parts, fold_of_units
from groundswell.splits.groups import Groups
from groundswell.splits.intervals import Intervals
from groundswell.splits.looks import Values
from groundswell.splits.parts import EXCLUDED, HOLDOUT, TEST, TRAIN, VALIDATION
from groundswell.splits.recipe import SplitRecipe

Rows = NDArray[np.bool_]


class Ties:
    """What ties one sample to another: a group, an event, a record, its content, or a stretch of its record.

    Records do not tie where the origin of the table says ``continuous_records``; stretches of them always do.
    """

    def __init__(self, table: SampleTable) -> None:
        columns = ["group", "event", "content"] + (["record"] if not table.origin.get(CONTINUOUS) else [])
        self._looks: list[Values | Intervals] = [Values(table, column) for column in columns if table.has(column)]
        if table.has("start") and table.has("stop"):
            self._looks.append(Intervals.of_records(table))

    def tied(self, chosen: Rows) -> Rows:
        """Which samples are tied to one of the ``chosen`` ones, these among them; both of shape (n,)."""
        found = chosen.copy()
        for look in self._looks:
            found |= look.near(chosen)
        return found


def deal_values(table: SampleTable, recipe: SplitRecipe) -> NDArray[np.int8]:
    """Part codes where each fold tests whole values of the column ``recipe.by``, shape (n, folds).

    What is tied to a tested sample is in no part of that fold (with ``recipe.purge``), nor is anything that is tied to
    the holdout. Validation is drawn by group from the rest.

    Raises:
        InputError: there is no such column, it has too few values, or too little is left to learn from.
    """
    groups, labels, column = Groups.of_table(table), table.labels(), _values(table, recipe)
    check_classes(table, groups)
    ties = Ties(table) if recipe.purge else None
    free, held = np.ones(len(table), bool), np.zeros(len(table), bool)
    if recipe.holdout:
        held = _drawn(groups, np.arange(len(groups)), recipe.holdout, recipe.seed, "holdout")[groups.of_row]
        free = ~(ties.tied(held) if ties else held)
    units = Groups.of_column(table, column, free)
    if len(units) < (recipe.folds if recipe.regime == "kfold" else 2):
        raise InputError(f"{recipe.regime} by '{recipe.by}' has {len(units)} value(s) to test, fewer than it needs",
                         where="split.by", fix="Set fewer split.folds, or use split.regime=blocks or split.by=group")
    fold, folds = fold_of_units(units, recipe)
    parts = np.full((len(table), folds), EXCLUDED, np.int8)
    parts[held] = HOLDOUT
    for k in range(folds):
        tested = free & (fold[units.of_row] == k)
        rest = free & ~(ties.tied(tested) if ties else tested)
        parts[tested, k] = TEST
        validating = _drawn(groups, np.unique(groups.of_row[rest]), recipe.validation, recipe.seed, "validation", k)
        parts[rest, k] = np.where(validating[groups.of_row[rest]], VALIDATION, TRAIN)
        missing = (lack(parts[:, k], labels, table.classes, TRAIN)
                   or lack(parts[:, k], labels, table.classes, VALIDATION))
        if missing:
            _refuse(missing, table, tested, rest, recipe, k)
    return parts


def _values(table: SampleTable, recipe: SplitRecipe) -> str:
    if not table.has(recipe.by):
        raise InputError(f"The samples have no column '{recipe.by}' to make folds of", where="split.by",
                         fix=f"Use one of: {', '.join(table.frame.columns)}")
    values = table.column(recipe.by)
    empty = np.flatnonzero(values.isna() | (values.astype(str) == ""))
    if len(empty):
        raise InputError(f"{len(empty)} sample(s) have no '{recipe.by}', first "
                         f"'{table.column('sample_id')[empty[0]]}', so that no fold could test them", where="split.by",
                         fix="Fill the column in, or use split.by=group")
    return recipe.by


def _drawn(groups: Groups, among: NDArray[np.int64], share: float, *seed: int | str) -> Rows:
    # A share of these groups, stratified; shape (all groups,).
    drawn = np.zeros(len(groups), bool)
    if len(among):
        drawn[among] = draw_parts(groups.stratum[among], (1 - share, share), *seed) > 0
    return drawn


def _refuse(missing: str, table: SampleTable, tested: Rows, rest: Rows, recipe: SplitRecipe, k: int) -> None:
    values = table.column(recipe.by)[tested]
    named = f"'{values.iloc[0]}'" + (f" and {values.nunique() - 1} more" if values.nunique() > 1 else "")
    tied = int((~tested & ~rest).sum())
    if recipe.purge and not rest.any():
        why = (f"each of the {tied:,} other samples shares a group, an event, a record or a stretch of one with a "
               f"tested one, so nothing is left to learn from. That is so wherever every event is recorded at every "
               f"{recipe.by}")
    else:
        why = f"{missing}, of {int(rest.sum()):,} samples that are left beside {tied:,} that were purged or held out"
    raise InputError(f"Fold {k + 1} tests {recipe.by} {named}, and {why}", where=f"split.by={recipe.by}",
                     fix="Use split.regime=blocks, or split.regime=kfold with split.by=group; or set split.purge=false "
                         "and give the reason for a split that leaks in split.allow_leakage")
