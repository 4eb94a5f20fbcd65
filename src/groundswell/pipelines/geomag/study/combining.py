"""geomag: answers of several members made one, and only for windows that no member was fitted to.

Two kinds of ensemble come out of a study. The *folds* of one family can be scored on held-out groups alone, since every
other window was in the training part of some of them. The *families* of one fold can be scored on the windows which
that fold tests, since none of them saw these. Weights are the F1 of the inner validation parts, never of the test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from groundswell.core.metrics import confusion_matrix, summary
from groundswell.data.predictions import Predictions

Strategy = Literal["weighted_mean", "voting", "max_confidence"]
FloatArray = NDArray[np.float64]


def weighted_f1(predictions: Predictions) -> float:
    """Support-weighted F1."""
    return float(summary(confusion_matrix(predictions.truth, predictions.predicted,
                                          len(predictions.classes)))["f1_weighted"])


def shares(scores: Sequence[float]) -> FloatArray:
    """Scores made weights that sum to 1; equal ones where all are 0."""
    weights = np.asarray(scores, np.float64)
    return weights / weights.sum() if weights.sum() > 0 else np.full(len(weights), 1 / len(weights))


def combine(probability: FloatArray, weights: FloatArray, strategy: Strategy) -> FloatArray:
    """One answer from the members'.

    Args:
        probability: shape (members, n, classes).
        weights: of the members, sum 1.
        strategy: "weighted_mean" of probabilities; "voting": weight of the members that choose a class;
            "max_confidence": the answer of the member that is surest.

    Returns:
        Shape (n, classes); rows sum to 1.
    """
    if strategy == "weighted_mean":
        return np.asarray(np.einsum("m,mnk->nk", weights, probability))
    if strategy == "voting":
        votes = np.eye(probability.shape[2])[probability.argmax(2)]
        return np.asarray(np.einsum("m,mnk->nk", weights, votes))
    surest = probability.max(2).argmax(0)
    return np.asarray(probability[surest, np.arange(probability.shape[1])])


def combined(parts: Sequence[Predictions], weights: FloatArray, strategy: Strategy, member: str) -> Predictions:
    """Predictions of several members of the same windows as those of one.

    Raises:
        ValueError: the windows differ.
    """
    first = parts[0]
    if any(list(part.sample_id) != list(first.sample_id) for part in parts):
        raise ValueError("members of an ensemble must have answered the same windows in the same order")
    answer = combine(np.stack([part.probability for part in parts]), weights, strategy)
    return Predictions(first.sample_id, first.truth, answer, first.classes, np.full(len(first), member, object),
                       first.fold, first.note)


def ensemble_of_folds(holdout: Sequence[Predictions], validation: Sequence[Predictions],
                      strategy: Strategy) -> dict[str, Predictions]:
    """The folds of one family on held-out windows: "f1_weighted" and, beside it, "equal"."""
    weights = shares([weighted_f1(part) for part in validation])
    equal = np.full(len(holdout), 1 / len(holdout))
    return {"f1_weighted": combined(holdout, weights, strategy, "folds"),
            "equal": combined(holdout, equal, strategy, "folds")}


def ensemble_of_families(test: Mapping[str, Sequence[Predictions]], validation: Mapping[str, Sequence[Predictions]],
                         strategy: Strategy) -> dict[str, Predictions]:
    """The families of each fold on the windows it tests, all folds pooled: "f1_weighted" and "equal".

    Args:
        test, validation: by family, one a fold.
        strategy: how the members make one answer.
    """
    found: dict[str, list[Predictions]] = {"f1_weighted": [], "equal": []}
    families = list(test)
    for fold in range(len(test[families[0]])):
        parts = [test[family][fold] for family in families]
        weights = shares([weighted_f1(validation[family][fold]) for family in families])
        found["f1_weighted"].append(combined(parts, weights, strategy, "families"))
        found["equal"].append(combined(parts, np.full(len(parts), 1 / len(parts)), strategy, "families"))
    return {name: Predictions.concatenate(parts) for name, parts in found.items()}
