"""splits: folds that follow one another in time, with an embargo between whatever is in different parts.

Groups are lined up by their earliest sample and cut into blocks; each block is tested once. What lies nearer to the
span of a block than the embargo is in no part of that fold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.order import permutations
from groundswell.data.table import SampleTable
from groundswell.splits.checks import check_classes, lack
from groundswell.splits.groups import Groups
from groundswell.splits.intervals import Intervals, microseconds
from groundswell.splits.parts import EXCLUDED, HOLDOUT, TEST, TRAIN, VALIDATION
from groundswell.splits.recipe import SplitRecipe

_PLACES = 200
"""So many places are tried for a validation block; among more groups than that, evenly spaced ones."""

Rows = NDArray[np.bool_]


@dataclass(frozen=True)
class _Line:
    """The samples of a table in time.

    Attributes:
        start: int64, shape (n,), microseconds.
        end: int64, shape (n,).
        turn: of each sample's group when groups are lined up by time, int64, shape (n,); of equals by name.
        embargo: microseconds.
    """

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    turn: NDArray[np.int64]
    embargo: int

    def span(self, rows: Rows) -> tuple[int, int]:
        """From the earliest start to the latest end."""
        return int(self.start[rows].min()), int(self.end[rows].max())

    def clear(self, rows: Rows) -> Rows:
        """Which samples keep the embargo from the span of ``rows``."""
        first, last = self.span(rows)
        return np.asarray((self.end <= first - self.embargo) | (self.start >= last + self.embargo), bool)

    def sizes(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The turns that ``rows`` have, ascending, and how many of the rows are of each."""
        counts = np.bincount(self.turn[rows])
        turns = np.flatnonzero(counts)
        return turns.astype(np.int64), counts[turns].astype(np.int64)


def cut_blocks(table: SampleTable, recipe: SplitRecipe) -> NDArray[np.int8]:
    """Part codes by time, shape (n, folds).

    The holdout, where there is one, is the end of the record. The validation part of a fold is itself a block, of
    whole groups, before or after the tested one; the seed chooses among the places where no part lacks a class.

    Raises:
        InputError: there are no times, or a part is left empty or without one of the classes.
    """
    groups = Groups.of_table(table)
    check_classes(table, groups)
    line, labels = _line_up(table, groups, recipe.embargo_days), table.labels()
    parts = np.full((len(table), recipe.folds), EXCLUDED, np.int8)
    free = np.ones(len(table), bool)
    if recipe.holdout:
        held = _end_of_record(line, recipe.holdout)
        parts[held] = HOLDOUT
        free = ~held & line.clear(held)
        _refuse(lack(parts[:, 0], labels, table.classes, HOLDOUT), recipe)
    block = _cut(line, free, recipe)
    for k in range(recipe.folds):
        tested = free & (block == k)
        rest = free & ~tested & line.clear(tested)
        parts[tested, k] = TEST
        _refuse(lack(parts[:, k], labels, table.classes, TEST), recipe, k)
        _place_validation(line, rest, parts[:, k], table, recipe, k)
    return parts


def _line_up(table: SampleTable, groups: Groups, embargo_days: float) -> _Line:
    if not table.has("time"):
        raise InputError("Folds in time need to know when each sample is, and the table has no column 'time'",
                         where="split.regime=blocks", fix="Give the samples their times, or use split.regime=kfold")
    times = Intervals.of_times(table)
    if len(times) < len(table):
        lost = np.flatnonzero(~np.isin(np.arange(len(table)), times.rows))
        raise InputError(f"{len(lost)} sample(s) have no time, first '{table.column('sample_id')[lost[0]]}', so that "
                         "they are in none of the folds in time", where="split.regime=blocks",
                         fix="Give them their times, or leave them out of the data")
    start, end = np.empty((2, len(table)), np.int64)
    start[times.rows], end[times.rows] = times.start, times.stop
    first = np.full(len(groups), np.iinfo(np.int64).max)
    np.minimum.at(first, groups.of_row, start)
    turn = np.empty(len(groups), np.int64)
    turn[np.argsort(first, kind="stable")] = np.arange(len(groups))
    return _Line(start, end, turn[groups.of_row], microseconds(embargo_days))


def _end_of_record(line: _Line, share: float) -> Rows:
    # The last groups in time; one of which the end falls on goes where the larger half of it would lie.
    turns, sizes = line.sizes(np.ones(len(line.turn), bool))
    middle = np.cumsum(sizes) - sizes / 2
    later = middle > (1 - share) * sizes.sum()
    later[-1] = True
    return np.asarray(line.turn >= turns[np.argmax(later)], bool)


def _cut(line: _Line, free: Rows, recipe: SplitRecipe) -> NDArray[np.int64]:
    # The block of each sample, shape (n,): about equally many samples in each, and at least one group.
    turns, sizes = line.sizes(free) if free.any() else (np.empty(0, np.int64), np.empty(0, np.int64))
    folds, count = recipe.folds, len(turns)
    if count < folds:
        held = " beside the holdout" if recipe.holdout else ""
        raise InputError(f"blocks needs at least {folds} groups{held}, and there are {count}", where="split.folds",
                         fix="Use a longer record" + (f", or set split.folds to {count} or less" if count > 1 else ""))
    middle = np.cumsum(sizes) - sizes / 2
    block = np.minimum(middle * folds // sizes.sum(), folds - 1).astype(np.int64)
    # A group as large as several blocks must not leave one empty: blocks follow one another and reach the last.
    place = np.arange(count)
    block = np.maximum(np.minimum.accumulate(np.minimum(block, place) - place) + place, folds - count + place)
    of_turn = np.full(int(line.turn.max()) + 1, -1, np.int64)
    of_turn[turns] = block
    return of_turn[line.turn]


def _place_validation(line: _Line, rest: Rows, part: NDArray[np.int8], table: SampleTable, recipe: SplitRecipe,
                      k: int) -> None:
    # Fills the validation and training codes of one fold into ``part``, of which the tested rows are there.
    if not rest.any():
        _refuse("nothing is left beside the tested block and its embargo", recipe, k)
    labels, first, last = table.labels(), *line.span(part == TEST)
    reason = "the validation block finds no place on one side of the tested block"
    for chosen in _places(line, rest, recipe, k):
        start, end = line.span(chosen)
        if not (end <= first or start >= last):
            continue
        part[rest] = EXCLUDED
        part[rest & line.clear(chosen)] = TRAIN
        part[chosen] = VALIDATION
        missing = (lack(part, labels, table.classes, TRAIN) or lack(part, labels, table.classes, VALIDATION))
        if not missing:
            return
        reason = f"{missing}, wherever the validation block is placed"
    _refuse(reason, recipe, k)


def _places(line: _Line, rest: Rows, recipe: SplitRecipe, k: int) -> Iterator[Rows]:
    # Blocks of whole groups of ``rest`` with about the validation share of its samples, in the order of the seed.
    turns, sizes = line.sizes(rest)
    after = np.cumsum(sizes)
    wanted = recipe.validation * after[-1]
    begins = np.flatnonzero(after - sizes <= after[-1] - wanted)
    goal = (after - sizes)[begins] + wanted
    last = np.searchsorted(after[:-1], goal)
    shorter = np.maximum(last - 1, begins)
    last = np.where(after[last] - goal > goal - after[shorter], shorter, last)
    tried = np.unique(np.linspace(0, len(begins) - 1, min(len(begins), _PLACES)).round().astype(np.int64))
    for place in tried[permutations(len(tried), 0, 1, recipe.seed, "validation", k)[0]]:
        yield rest & (line.turn >= turns[begins[place]]) & (line.turn <= turns[last[place]])


def _refuse(missing: str, recipe: SplitRecipe, k: int | None = None) -> None:
    if missing:
        where = f"In fold {k + 1} of {recipe.folds}" if k is not None else "Before the folds"
        smaller = f", a smaller split.holdout than {recipe.holdout:g}" if recipe.holdout else ""
        raise InputError(f"{where} {missing}, with an embargo of {recipe.embargo_days:g} days",
                         where="split.regime=blocks",
                         fix=f"Use fewer folds than split.folds={recipe.folds}, a smaller split.embargo_days{smaller}, "
                             "or a longer record")
