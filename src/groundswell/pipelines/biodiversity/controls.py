"""biodiversity: what a classifier of species is held against: the month, the place, dealt labels, a linear probe.

All are fitted inside the model's own folds, to all that the model saw there, and answer for single observations.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from groundswell.core.errors import InputError
from groundswell.core.seeds import derive_seed
from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.controls import (
    MAJORITY,
    PERMUTED_SAMPLES,
    Control,
    Fit,
    Outcome,
    Runner,
    learning_rows,
    majority,
    permuted_labels,
)
from groundswell.splits.manifest import TEST, TRAIN, VALIDATION, SplitManifest
from groundswell.splits.nearest import EARTH_M, unit_vectors

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
ReadVectors = Callable[[Rows], NDArray[np.float32]]
"""Gives what the classifier sees of the observations at some rows of the table, pooled: float32 (rows, features)."""

NEIGHBOURS, NEAR_M = 20, 50.0
"""A neighbour ``d`` metres away has 1 / (d + NEAR_M) votes."""
_MONTH_COUNTS_AS = 10.0
"""So many observations, shared out as over the whole year, are added to those of a month."""
_LEFT_FOR_ALL = 0.01
"""Share of each answer that is spread over all species evenly: none is held impossible, and no order changes."""
_PENALTIES, _USUAL_PENALTY = (0.001, 0.01, 0.1), 0.01
_MOST_TAUGHT = 20_000  # observations
_COSTLY = 4e9  # observations x features x species, of which one fit takes about ten seconds on one core

MONTH_PRIOR = Control(
    "month_prior", "month only", "null",
    "Knows nothing but the month: how often each species was seen in that month in training, with ten observations "
    "added that are shared out as over the whole year.",
    "The calendar alone", "the month",
    "species are recorded in different seasons; the score does not show that the network uses the embeddings.")

COORDINATES_KNN = Control(
    "coordinates_knn", "coordinates only", "null",
    f"Knows nothing but the place: the {NEIGHBOURS} nearest training observations vote, one that is "
    f"d metres away along a great circle with weight 1 / (d + {NEAR_M:g}).",
    "The place alone", "where an observation was made",
    "neighbours are of the same species more often than chance has it, and the split leaves neighbours in training. As "
    "much of a score comes with the place, and is no evidence of telling species apart.")

LINEAR_PROBE = Control(
    "linear_probe", "linear probe", "rival",
    "Multinomial logistic regression on the same embeddings, pooled and standardised, with a ridge penalty chosen on "
    "the validation part.", "A linear probe of the embeddings")


def biodiversity_controls(names: Sequence[str], fit_of: Callable[[str], Fit], read: ReadVectors,
                          seed: int = 0) -> list[tuple[Control, Runner]]:
    """The controls a recipe names, ready to be run.

    Args:
        names: as in ``evaluate.controls`` of the recipe.
        fit_of: gives the fit that the control of that name is to use (each keeps its own folder).
        read: reads vectors for the rival.
        seed: of permutations, and of which observations the rival learns from where there are very many.

    Raises:
        InputError: there is no control of some name.
    """
    known: dict[str, tuple[Control, Callable[[], Runner]]] = {
        "majority": (MAJORITY, lambda: majority),
        "month_prior": (MONTH_PRIOR, lambda: month_prior),
        "coordinates_knn": (COORDINATES_KNN, lambda: coordinates_knn),
        "permuted_labels": (PERMUTED_SAMPLES, lambda: permuted_labels(fit_of("permuted_labels"), seed)),
        "linear_probe": (LINEAR_PROBE, lambda: linear_probe(read, seed)),
    }
    for name in names:
        if name not in known:
            raise InputError(f"There is no control '{name}'", where="evaluate.controls",
                             fix=f"Known controls: {', '.join(known)}")
    return [(known[name][0], known[name][1]()) for name in names]


Answer = Callable[[int, Rows, Rows], Floats]
"""From a fold, labelled rows to learn from and rows asked about to weights of all species, shape (asked, species)."""


def by_observation(table: SampleTable, manifest: SplitManifest, answer: Answer, member: str) -> Outcome:
    """Predictions of all test rows, each fold's learnt from its own part.

    Raises:
        InputError: a fold has nothing to learn from.
    """
    labels, names = table.labels(), table.column("sample_id").to_numpy(dtype=object)
    parts = []
    for fold in range(manifest.folds):
        taught, asked = learning_rows(manifest, fold), manifest.rows(TEST, fold)
        taught = taught[labels[taught] >= 0]
        if not len(taught):
            raise InputError("There is no observation of a known species to learn from", where=f"fold {fold + 1}")
        weight = answer(fold, taught, asked)
        share = weight / weight.sum(axis=1, keepdims=True)
        probability = (1 - _LEFT_FOR_ALL) * share + _LEFT_FOR_ALL / len(table.classes)
        parts.append(Predictions.of(names[asked], labels[asked], probability, table.classes, member=member, fold=fold))
    return Outcome(Predictions.concatenate(parts), table)


def month_prior(table: SampleTable, manifest: SplitManifest) -> Outcome:
    """Each species' share of the month's training observations; of all of them where a month is not known.

    Raises:
        InputError: the table has no months.
    """
    if not table.has("month") or table.column("month").isna().all():
        raise InputError("The observations do not say in which month they were made")
    month = table.column("month").fillna(0).to_numpy(np.int64)
    labels, species = table.labels(), len(table.classes)

    def answer(fold: int, taught: Rows, asked: Rows) -> Floats:
        counts = np.zeros((13, species))
        np.add.at(counts, (month[taught], labels[taught]), 1.0)
        overall = counts.sum(axis=0) / len(taught)
        counts[0] = 0.0  # those without a month make no month of their own
        return np.asarray((counts + _MONTH_COUNTS_AS * overall)[month[asked]], np.float64)

    return by_observation(table, manifest, answer, "month_prior")


def coordinates_knn(table: SampleTable, manifest: SplitManifest) -> Outcome:
    """Votes of the :data:`NEIGHBOURS` nearest training observations on the sphere, by distance.

    Each has 1 / (d + :data:`NEAR_M`) votes, d in metres: within fifty metres, about what a position is good for, all
    count nearly alike. The species of most votes is the answer; of equal ones the first in the table's order.
    """
    where = unit_vectors(*(table.column(name).to_numpy(np.float64) for name in ("latitude", "longitude")))
    labels, species = table.labels(), len(table.classes)

    def answer(fold: int, taught: Rows, asked: Rows) -> Floats:
        votes = np.zeros((len(asked), species))
        if len(asked):
            ranks = np.arange(1, min(NEIGHBOURS, len(taught)) + 1)
            chord, near = cKDTree(where[taught]).query(where[asked], k=ranks)
            metres = 2 * EARTH_M * np.arcsin(np.minimum(chord, 2.0) / 2)
            np.add.at(votes, (np.arange(len(asked))[:, None], labels[taught][near]), 1 / (metres + NEAR_M))
        return votes

    return by_observation(table, manifest, answer, "coordinates_knn")


def linear_probe(read: ReadVectors, seed: int = 0) -> Runner:
    """A runner for multinomial logistic regression (L-BFGS) on standardised vectors.

    In each fold the penalty (C of 0.001, 0.01 or 0.1) is the one of the smallest log loss on the validation part; then
    the regression is fitted to training and validation parts together. Without a validation part, or where one fit
    alone takes long, C is 0.01. From very many observations 20,000 are drawn to learn from.

    Raises (when run):
        InputError: a fold has observations of only one species to learn from.
    """

    def run(table: SampleTable, manifest: SplitManifest) -> Outcome:
        labels, species = table.labels(), len(table.classes)

        def answer(fold: int, taught: Rows, asked: Rows) -> Floats:
            if len(np.unique(labels[taught])) < 2:
                raise InputError("There are observations of only one species to learn from", where=f"fold {fold + 1}")
            if len(taught) > _MOST_TAUGHT:
                chance = np.random.default_rng(derive_seed(seed, "linear probe", fold))
                taught = np.sort(chance.choice(taught, _MOST_TAUGHT, replace=False))
            vectors = read(taught)
            train, checked = (np.isin(taught, manifest.rows(part, fold)) for part in (TRAIN, VALIDATION))
            known = labels[taught]
            penalty = _USUAL_PENALTY
            if checked.any() and len(np.unique(known[train])) > 1 and vectors.size * species < _COSTLY:
                loss = [_log_loss(_logistic(c, vectors[train], known[train], vectors[checked], species), known[checked])
                        for c in _PENALTIES]
                penalty = _PENALTIES[int(np.argmin(loss))]
            return _logistic(penalty, vectors, known, read(asked), species)

        return by_observation(table, manifest, answer, "linear_probe")

    return run


def _logistic(c: float, x: NDArray[np.float32], labels: Rows, asked: NDArray[np.float32], species: int) -> Floats:
    """Probabilities of all species, 0 for those not among ``labels``; columns standardised as ``x`` has them."""
    probability = np.zeros((len(asked), species))
    if not len(asked):
        return probability
    middle, spread = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    spread[spread == 0] = 1.0

    def z(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray((rows - middle) / spread, np.float32)  # single precision halves the time

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a rival that is nearly there is rival enough
        model = LogisticRegression(C=c, max_iter=200, tol=1e-3).fit(z(x), labels)
    probability[:, model.classes_] = model.predict_proba(z(asked))
    return probability


def _log_loss(probability: Floats, labels: Rows) -> float:
    left = probability * (1 - _LEFT_FOR_ALL) + _LEFT_FOR_ALL / probability.shape[1]
    return float(-np.log(left[np.arange(len(labels)), labels]).mean())
