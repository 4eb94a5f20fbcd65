"""splits: samples divided by where and when they are, with a distance kept between what is in different parts.

Whole cells are dealt to parts. What is nearer to a tested or validated sample than the buffer leaves training, what is
nearer to a tested one leaves validation: these samples are EXCLUDED. Places, not cells, decide: a distance is measured
wherever the boxes around a sample do not rule it out.

What may not be in two parts (groups; events, records and content where the table has them; the columns of
``together``) is kept apart in one of two ways. Cells that share such a value are dealt as one bundle, which loses no
sample, if no bundle outweighs the smallest part asked for and the largest cell; or else one bundle might hold nearly
all samples, as wherever a few observers went everywhere, and nothing could be dealt. Then cells are dealt as they are,
and samples leave: training and validation those that share a value with the test, which stays whole; and of the values
that these two share, each stays where it loses the fewest samples (:mod:`groundswell.splits.ties`). The same is done
where time decides the parts, and beside folds. The settings say which it was, and how many samples it cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.splits.buffer import separate
from groundswell.splits.cells import cells_of, surrounded
from groundswell.splits.dealing import best_deal, deal_units
from groundswell.splits.division import Division
from groundswell.splits.parts import PARTS, TEST, TRAIN, VALIDATION
from groundswell.splits.places import Places
from groundswell.splits.recipe import SplitRecipe
from groundswell.splits.ties import bundle_units

Codes = NDArray[np.int64]
Rows = NDArray[np.bool_]

SMALLER_CELLS = "Use smaller cells (split.cell_km, split.cell_level)"


def divide_spatially(table: SampleTable, recipe: SplitRecipe) -> Division:
    """Divide a table as one of the regimes spatial, temporal, spatiotemporal or buffered; see :func:`divide_places`."""
    return divide_places(Places.of_table(table, recipe), recipe)


def divide_places(places: Places, recipe: SplitRecipe) -> Division:
    """Divide samples by where and when they are. The result depends on the seed, and not on the order of the samples.

    - ``spatial``: see :func:`by_cells`.
    - ``temporal``: see :func:`groundswell.splits.temporal.by_time`.
    - ``spatiotemporal``: see :func:`groundswell.splits.temporal.by_place_and_time`.
    - ``buffered``: see :func:`groundswell.splits.buffered.by_leaving_out`.

    Made for 10 million samples: those of one division need about 1.5 GB and a minute at most.

    Raises:
        InputError: there is no sample, a part is left empty or untaught, or samples lack what the regime looks at.
    """
    if not len(places):
        raise InputError("There are no samples to split", fix="Look at what the data folder and its labels hold")
    if recipe.regime == "spatial":
        return by_cells(places, recipe)
    if recipe.regime == "buffered":
        from groundswell.splits.buffered import by_leaving_out

        return by_leaving_out(places, recipe)
    from groundswell.splits.temporal import by_place_and_time, by_time

    return by_time(places, recipe) if recipe.regime == "temporal" else by_place_and_time(places, recipe)


def by_cells(places: Places, recipe: SplitRecipe) -> Division:
    """Training, validation and test by whole cells, near their shares of the samples.

    Cells of a size are drawn from alike, so that the test holds full cells and sparse ones. Of several drawings that is
    taken whose training part knows most of the classes that the other parts hold. With ``interior`` only cells that
    have samples on all sides are tested or validated.

    Returns:
        One fold; the settings count cells, samples left out, and the share of tested cells that lie inside.
    """
    units = deal_out(places, recipe, np.ones(len(places), bool))
    part, left_out = separate((units.part_of_row + TRAIN).astype(np.int8), places.lat, places.lon, recipe.buffer_m,
                              places.ties)
    require_parts(part, places.label, recipe)
    return Division(part[:, None], None, {**units.facts, **left_out})


@dataclass(frozen=True)
class Units:
    """Cells dealt out.

    Attributes:
        of_row: cell of each sample, counted from 0 in the order of their numbers, int64, shape (n,).
        part_of_row: 0 training, 1 validation, 2 test, int64, shape (n,), as the cells were dealt.
        facts: for the settings.
    """

    of_row: Codes
    part_of_row: Codes
    facts: dict[str, Any]


def deal_out(places: Places, recipe: SplitRecipe, counted: Rows, future: Rows | None = None) -> Units:
    """Deal cells, or bundles of them, to training, validation and test.

    Args:
        places: the samples.
        recipe: with cells, shares and seed.
        counted: the samples whose number counts for the shares, shape (n,).
        future: samples of which the test should have its share too, shape (n,).

    Raises:
        InputError: there are too few cells to deal out.
    """
    of_row, numbers = cells_of_rows(places, recipe)
    bundle, how = bundled(places, of_row, len(numbers), min(recipe.validation, recipe.test))
    units = bundle[of_row]
    total = int(bundle.max()) + 1
    if total < 3:
        raise InputError(f"All samples lie in {total} cell(s){how}, too few for training, validation and test",
                         where=f"split.cells={recipe.cells}", fix=SMALLER_CELLS)
    shares = (1 - recipe.validation - recipe.test, recipe.validation, recipe.test)
    sizes = np.bincount(units[counted], minlength=total).astype(np.int64)
    movable = _inside(numbers, bundle, sizes, recipe) if recipe.interior else None
    balance = [] if future is None else [(np.bincount(units[future], minlength=total), recipe.test)]

    def draw(number: int) -> Codes:
        return deal_units(np.maximum(sizes, 1), shares, recipe.seed, recipe.regime, number, movable=movable)

    dealt = best_deal(draw, units, places.label, balance)
    of_cell = dealt[bundle]
    tested = numbers[of_cell == 2]
    inside = surrounded(tested, numbers, recipe.cells, km=recipe.cell_km, level=recipe.cell_level)
    return Units(of_row, dealt[units], {
        "interior": recipe.interior, "cells_with_samples": len(numbers),
        "bundles_of_cells": total if total < len(numbers) else None,
        "cells_of_parts": {PARTS[k + TRAIN]: int((of_cell == k).sum()) for k in range(3)},
        "tested_cells_inside": round(float(inside.mean()), 4)})


def cells_of_rows(places: Places, recipe: SplitRecipe) -> tuple[Codes, Codes]:
    """The cell of each sample, counted from 0, int64, shape (n,); and the numbers of these cells, ascending."""
    number = cells_of(places.lat, places.lon, recipe.cells, km=recipe.cell_km, level=recipe.cell_level)
    of_row, numbers = pd.factorize(number, sort=True)
    return of_row.astype(np.int64, copy=False), numbers


def bundled(places: Places, of_row: Codes, units: int, share: float) -> tuple[Codes, str]:
    """Bundle of each unit, int64, shape (units,), and in words what was bundled; each unit by itself and "" where a
    bundle would outweigh both a ``share`` of the samples and the largest unit, and where nothing is shared."""
    alone = np.arange(units, dtype=np.int64)
    bundle = bundle_units(of_row, units, places.ties)
    if int(bundle.max()) + 1 == units:
        return alone, ""
    sizes = np.bincount(of_row, minlength=units)
    if np.bincount(bundle, weights=sizes).max() > max(share * len(places), sizes.max()):
        return alone, ""
    return bundle, f", where those that share a {' or '.join(places.ties)} count as one"


def _inside(numbers: Codes, bundle: Codes, sizes: Codes, recipe: SplitRecipe) -> Rows:
    # Bundles of which every cell has samples on all sides; they must hold what is to be validated and tested.
    inside = np.ones(len(sizes), bool)
    inside[bundle[~surrounded(numbers, numbers, recipe.cells, km=recipe.cell_km, level=recipe.cell_level)]] = False
    share, wanted = float(sizes[inside].sum() / max(1, sizes.sum())), recipe.validation + recipe.test
    if inside.sum() < 2 or share < wanted:
        raise InputError(f"Cells that have samples on all sides hold {share:.0%} of the samples, less than the "
                         f"{wanted:.0%} that are to be validated and tested", where="split.interior",
                         fix="Use split.interior=false, other cells (split.cell_km, split.cell_level), or smaller "
                             "shares (split.validation, split.test)")
    return inside


def require_parts(part: NDArray[np.int8], label: Codes, recipe: SplitRecipe, fold: int | None = None) -> None:
    """See that there is something to learn, to choose and to test by.

    Raises:
        InputError: a part is empty, or all labels of the training part are the same.
    """
    missing = [name for code, name in PARTS.items() if code in (TRAIN, VALIDATION, TEST) and not (part == code).any()]
    seen = np.bincount(label[(part == TRAIN) & (label >= 0)]) > 0
    if not missing and seen.sum() != 1:
        return
    where = f" of fold {fold + 1}" if fold is not None else ""
    what = f"The {missing[0]} part{where} is empty" if missing else (
        f"All labelled samples of the training part{where} are of one class, so there is nothing to tell apart")
    kept = f", with a buffer of {recipe.buffer_m:g} m" if recipe.buffer_m else ""
    kept += f" and together: {', '.join(recipe.together)}" if recipe.together else ""
    raise InputError(f"{what}{kept}, of {len(part):,} samples", where=f"split.regime={recipe.regime}",
                     fix="Use a smaller split.buffer_m, fewer columns in split.together, other cells, or more samples")
