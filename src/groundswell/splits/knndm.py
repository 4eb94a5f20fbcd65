"""splits: folds that lie as far from training as what is to be predicted, by nearest neighbour distance matching.

How the folds are found is told in :mod:`groundswell.splits.knndm_matching`; here samples of a table are divided by
them, with a validation part, a buffer, and what is tied kept together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.splits.buffer import separate
from groundswell.splits.buffered import with_validation
from groundswell.splits.division import Division
from groundswell.splits.knndm_matching import Candidate, KnndmFolds, knndm_folds
from groundswell.splits.knndm_space import space_of
from groundswell.splits.parts import TEST, TRAIN
from groundswell.splits.places import Places
from groundswell.splits.prediction_points import prediction_grid, read_columns, read_points
from groundswell.splits.recipe import SplitRecipe
from groundswell.splits.spatial import bundled, require_parts

__all__ = ["Candidate", "KnndmFolds", "divide_knndm", "knndm_folds", "prediction_grid", "read_points"]

Codes = NDArray[np.int64]
Points = NDArray[np.float64]

GRID = 10_000
"""Points of the grid that stands for where the model will be applied, if nobody says where."""
PREFIX = "feature_"
"""Columns of a table that are its features."""


def divide_knndm(table: SampleTable, recipe: SplitRecipe, features: Points | None = None,
                 prediction_features: Points | None = None) -> Division:
    """Divide a table into folds whose tests lie as far from training as predictions will lie from samples.

    Predictions will be made at the places in ``recipe.prediction_points``, or else all over the extent of the samples
    (:func:`groundswell.splits.prediction_points.prediction_grid`). What is tied (groups, ``together``) is dealt whole
    where no bundle of it outweighs a fold; where one does, samples are dealt one by one, and leave training if they
    are tied to a tested or validated one. The validation part of a fold is drawn from the clusters that it does not
    test (cells would be of another size than what is tested, and take the near ones from training). Then the buffer is
    kept, as :mod:`groundswell.splits.buffered` keeps it. Every sample is tested once. The result depends on the seed,
    not on the order of the rows.

    Distances are matched between folds, as the method has it. Training has less than all other folds, since a part of
    them is for validation or left out: the settings give the Wasserstein distance to what is left as well.

    Args:
        table: with latitude and longitude.
        recipe: with folds, validation, buffer_m, together, space, prediction_points and seed.
        features: of the samples, shape (n, columns), for ``space=feature``; None takes the table's numeric columns
            named ``feature_...``.
        prediction_features: of where the model will be applied, shape (m, columns); None reads them from the columns of
            the same names in ``recipe.prediction_points``.

    Returns:
        As many folds; settings: ``w`` and ``w_random`` (the same of folds by chance), ``w_of_training``, ``clusters``,
        ``folds_by_chance``, medians of the distances, all in ``distance_in``, and what the buffer and ties left out.

    Raises:
        InputError: samples have no place, there are no features or too few samples, prediction points cannot be read,
            or a fold is left without a part.
    """
    places = Places.of_table(table, recipe)
    if not len(places):
        raise InputError("There are no samples to split", fix="Look at what the data folder and its labels hold")
    points, there = _points(table, places, recipe, features, prediction_features)
    units, tied_whole = _units(places, recipe)
    found = knndm_folds(points, there, recipe.folds, space=recipe.space, seed=recipe.seed, units=units)
    parts = np.empty((len(places), recipe.folds), np.int8)
    left_out = []
    for k in range(recipe.folds):
        part = with_validation(found.pieces, found.fold != k, recipe, k)
        parts[:, k], lost = separate(part, places.lat, places.lon, recipe.buffer_m, places.ties)
        require_parts(parts[:, k], places.label, recipe, k)
        left_out.append(lost)
    whole = int(units.max()) + 1 if tied_whole else None
    return Division(parts, None, {
        **_facts(found, _to_training(points, parts, recipe)), "dealt_whole": whole,
        **{name: [lost[name] for lost in left_out] for name in ("left_out_by_buffer", "left_out_by_ties")}})


def _points(table: SampleTable, places: Places, recipe: SplitRecipe, features: Points | None,
            prediction_features: Points | None) -> tuple[Points, Points]:
    # Samples and prediction points in the space that distances are measured in.
    path = Path(recipe.prediction_points) if recipe.prediction_points else None
    if recipe.space == "geographic":
        there = read_points(path) if path else prediction_grid(places.lat, places.lon, GRID)
        return np.column_stack([places.lat, places.lon]), there
    names = sorted(name for name in table.frame.columns if str(name).startswith(PREFIX))
    if features is None:
        if not names:
            raise InputError("Distances between features need features, and the samples have none",
                             where="split.space=feature",
                             fix=f"Give the table numeric columns named {PREFIX}..., hand an array of features to "
                                 "divide_knndm, or use split.space=geographic")
        try:
            features = table.frame[names].to_numpy(np.float64, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise InputError(f"A feature is no number: {error}", where=f"columns '{names[0]}' to '{names[-1]}'",
                             fix=f"Only numeric columns may be named {PREFIX}...") from error
        prediction_features = prediction_features if path is None else read_columns(path, names)
    if len(features) != len(table):
        raise ValueError(f"features of {len(features)} samples, and the table has {len(table)}")
    if prediction_features is None:
        raise InputError("Distances between features need the features of what the model will be applied to",
                         where="split.prediction_points",
                         fix=f"Name a CSV with the columns {PREFIX}... of the table, or hand prediction_features to "
                             "divide_knndm")
    return np.asarray(features, np.float64), np.asarray(prediction_features, np.float64)


def _units(places: Places, recipe: SplitRecipe) -> tuple[Codes, bool]:
    # What is dealt whole, numbered in the order of the samples' names; and whether anything is.
    assert places.sample_id is not None
    rank = np.empty(len(places), np.int64)
    rank[np.argsort(places.sample_id.astype(str), kind="stable")] = np.arange(len(places))
    bundle, how = bundled(places, rank, len(places), 1 / recipe.folds)
    return bundle[rank], bool(how)


def _to_training(points: Points, parts: NDArray[np.int8], recipe: SplitRecipe) -> Points:
    # Distance from each sample to the nearest training sample of the fold that tests it.
    space = space_of(points, recipe.space)
    metres = np.full(len(points), np.inf)
    for part in parts.T:
        asked = np.flatnonzero(part == TEST)
        metres[asked] = space.nearest(asked, np.flatnonzero(part == TRAIN))
    return metres


def _facts(found: KnndmFolds, to_training: Points) -> dict[str, Any]:
    def tidy(value: float) -> float:
        return float(f"{value:.6g}")

    medians = {"prediction_to_samples": found.wanted, "tested_to_other_folds": found.tested,
               "tested_to_training": to_training, "random_to_other_folds": found.tested_random}
    return {"distance_in": found.unit, "w": tidy(found.w), "w_random": tidy(found.w_random),
            "w_of_training": tidy(wasserstein_distance(to_training, found.wanted)), "clusters": found.clusters,
            "candidates": len(found.candidates), "folds_by_chance": found.by_chance, "p_clustered": tidy(found.p),
            "predicted_places": len(found.wanted), "samples_of_folds": np.bincount(found.fold).tolist(),
            "median_distance": {name: tidy(float(np.median(values))) for name, values in medians.items()}}
