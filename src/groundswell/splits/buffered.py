"""splits: folds that leave out a place and its surroundings (buffered leave-one-out)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.progress import progress
from groundswell.splits.buffer import separate
from groundswell.splits.dealing import deal_units
from groundswell.splits.division import Division
from groundswell.splits.parts import TEST, TRAIN
from groundswell.splits.places import Places
from groundswell.splits.recipe import SplitRecipe
from groundswell.splits.spatial import SMALLER_CELLS, bundled, cells_of_rows, require_parts

Codes = NDArray[np.int64]
_MOST_CODES = 2_000_000_000
"""Part codes of all folds together, of a byte each."""


def by_leaving_out(places: Places, recipe: SplitRecipe) -> Division:
    """Test each cell (or group, with ``leave_out=groups``) in one fold, without training samples in its surroundings.

    With ``folds=0`` each cell or group has a fold of its own (buffered leave-one-out); otherwise they are dealt over so
    many folds, near alike in samples. Groups dealt out by chance lie all over the map, so that a buffer around those of
    one fold may leave nothing to train on: few folds go with cells. The validation part of a fold is drawn from the
    other cells; training keeps the buffer from what is tested and from what is validated, validation from what is
    tested, and likewise apart from what is tied to them. Every sample is tested once.

    After buffered leave-one-out of Le Rest et al. (2014) and blockCV of Valavi et al. (2019).

    Returns:
        As many folds; the settings count samples left out in each.

    Raises:
        InputError: there are fewer cells or groups than folds, or a fold is left without a part.
    """
    cell, numbers = cells_of_rows(places, recipe)
    fold, folds = _folds(places, cell, len(numbers), recipe)
    if folds * len(places) > _MOST_CODES:
        raise InputError(f"{folds:,} folds of {len(places):,} samples are too many to keep", where="split.folds",
                         fix="Set split.folds to a number of folds to deal them over, or use larger cells")
    parts = np.empty((len(places), folds), np.int8)
    near: list[dict[str, int]] = []
    tied: list[dict[str, int]] = []
    with progress(folds, "Dividing", unit="fold") as bar:
        for k in range(folds):
            tested = fold == k
            part = with_validation(cell, ~tested, recipe, k)
            part, left_out = separate(part, places.lat, places.lon, recipe.buffer_m, places.ties)
            require_parts(part, places.label, recipe, k)
            parts[:, k] = part
            near.append(left_out["left_out_by_buffer"])
            tied.append(left_out["left_out_by_ties"])
            bar.advance()
    return Division(parts, None, {"leave_out": recipe.leave_out, "cells_with_samples": len(numbers),
                                  "left_out_by_buffer": near, "left_out_by_ties": tied})


def _folds(places: Places, cell: Codes, cells: int, recipe: SplitRecipe) -> tuple[Codes, int]:
    # The fold that tests each sample, int64, shape (n,), and how many there are.
    unit, units = cell, cells
    if recipe.leave_out == "groups":
        if "group" not in places.ties or (places.ties["group"] < 0).any():
            raise InputError("Groups are to be left out, and there are samples without one", where="split.leave_out",
                             fix="Give each sample its group, or use split.leave_out=cells")
        unit, names = pd.factorize(places.ties["group"], sort=True)
        units = len(names)
    elif recipe.folds:
        bundle, _ = bundled(places, cell, cells, 1 / recipe.folds)
        unit, units = bundle[cell], int(bundle.max()) + 1
    if units < max(2, recipe.folds):
        raise InputError(f"There are {units} {recipe.leave_out} to leave out, fewer than folds", where="split.folds",
                         fix=SMALLER_CELLS + (f", or set split.folds to {units} or less" if units > 1 else ""))
    if not recipe.folds:
        return unit.astype(np.int64, copy=False), units
    shares = (1 / recipe.folds,) * recipe.folds
    dealt = deal_units(np.bincount(unit).astype(np.int64), shares, recipe.seed, "buffered")
    return dealt[unit], recipe.folds


def with_validation(cell: Codes, rest: NDArray[np.bool_], recipe: SplitRecipe, k: int) -> NDArray[np.int8]:
    """Part codes of one fold before anything is left out, int8, shape (n,): validation is a share of what is not
    tested, by whole cells (or whatever else the codes, int64, shape (n,), stand for)."""
    part = np.full(len(cell), TEST, np.int8)
    codes, sizes = np.unique(cell[rest], return_counts=True)
    drawn = np.zeros(int(cell.max()) + 1, np.int8)
    drawn[codes] = deal_units(sizes, (1 - recipe.validation, recipe.validation), recipe.seed, "validation", k)
    part[rest] = drawn[cell[rest]] + TRAIN
    return part
