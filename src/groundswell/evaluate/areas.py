"""evaluate: areas below ROC and precision-recall curves, of one class against the rest, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from groundswell.core.metrics import ratio
from groundswell.data.predictions import Predictions
from groundswell.evaluate.intervals import Estimate, interval, resample, sums_by_group
from groundswell.evaluate.recipe import EvaluateRecipe

FloatArray = NDArray[np.float64]

MANY_CLASSES = 12
"""With more classes nothing is drawn or measured of each class against the rest, and matrices are not written out."""

_THRESHOLDS = 2048  # of a curve, while resampling; finer ones move an area by far less than its interval


@dataclass(frozen=True)
class Curves:
    """ROC and precision-recall curve of one class against the rest, thresholds falling.

    Attributes:
        false_positive_rate, true_positive_rate: from (0, 0) to (1, 1).
        recall, precision: one point a threshold, after an opening point at recall 0.
        roc_auc: area under the first; ties count half.
        pr_auc: average precision, the step-wise area under the second (no interpolation).
        prevalence: share of the class, which is the precision of guessing.
    """

    false_positive_rate: list[float]
    true_positive_rate: list[float]
    recall: list[float]
    precision: list[float]
    roc_auc: float
    pr_auc: float
    prevalence: float


def _thresholds(probability: FloatArray, most: int | None) -> tuple[NDArray[np.int64], int]:
    """Rank of each score among the distinct ones, 0 the highest, at most ``most`` of them (neighbours merged)."""
    distinct, rank = np.unique(-probability, return_inverse=True)
    count = len(distinct)
    if most is not None and count > most:
        # Equal shares of the samples, not of the distinct values: that is where the curve has its points.
        upto = np.cumsum(np.bincount(rank, minlength=count))
        merged = np.minimum((upto - 1) * most // len(probability), most - 1)
        rank, count = merged[rank], most
    return rank.astype(np.int64), count


def _one_against_rest(predictions: Predictions, k: int, group: NDArray[np.int64],
                      most: int | None) -> sparse.csr_array:
    """Members (first half of the columns) and others (second half) at each threshold, by group."""
    rank, count = _thresholds(predictions.probability[:, k], most)
    return sums_by_group(group, rank + count * (predictions.truth != k), 2 * count)


def _areas(sums: FloatArray) -> dict[str, FloatArray]:
    """ROC-AUC and average precision from counts at falling thresholds, shape (resamples, 2 thresholds)."""
    members, others = np.split(sums, 2, axis=1)
    hits, alarms = members.cumsum(1), others.cumsum(1)
    total, rest = hits[:, -1], alarms[:, -1]
    outranked = (members * (rest[:, None] - alarms + others / 2)).sum(1)
    precision = (members * ratio(hits, hits + alarms)).sum(1)
    return {"roc_auc": ratio(outranked, total * rest, np.nan),
            "pr_auc": np.where(rest == 0, np.nan, ratio(precision, total, np.nan))}


def area_estimates(predictions: Predictions, group: NDArray[np.int64], groups: int, recipe: EvaluateRecipe,
                   seed: int) -> dict[str, Estimate]:
    """``roc_auc`` and ``pr_auc``, means over all classes against the rest, with intervals from resampled groups.

    Args:
        predictions: of samples whose truth is known.
        group: number of each prediction's group, from 0 and without gaps, shape (n,).
        groups: how many there are.
        recipe: confidence and number of resamples.
        seed: of the bootstrap.
    """
    names = predictions.classes
    if len(names) > MANY_CLASSES:
        why = f"not measured with more than {MANY_CLASSES} classes"
        return {name: Estimate(None, why=why) for name in ("roc_auc", "pr_auc")}
    lacking = [name for k, name in enumerate(names) if not 0 < (predictions.truth == k).sum() < len(predictions)]
    if lacking:
        why = f"needs samples both of and outside each class; not so for: {', '.join(lacking)}"
        return {name: Estimate(None, why=why) for name in ("roc_auc", "pr_auc")}
    each = [_class_areas(predictions, k, group, recipe, seed) for k in range(len(names))]
    # The same seed gives the same resamples for every class, so the mean over classes is taken draw by draw.
    return {name: interval(float(np.mean([values[name] for values, _ in each])),
                           np.mean([draws[name] for _, draws in each], axis=0), groups, recipe.confidence)
            for name in ("roc_auc", "pr_auc")}


def _class_areas(predictions: Predictions, k: int, group: NDArray[np.int64], recipe: EvaluateRecipe,
                 seed: int) -> tuple[dict[str, float], dict[str, FloatArray]]:
    """Areas of class k against the rest, and those of the resamples of the groups."""
    exact = np.asarray(_one_against_rest(predictions, k, group, None).sum(axis=0)).reshape(1, -1)
    drawn = resample(_one_against_rest(predictions, k, group, _THRESHOLDS), _areas, resamples=recipe.bootstrap,
                     seed=seed)
    return {name: float(value[0]) for name, value in _areas(exact).items()}, drawn


def class_area_estimates(predictions: Predictions, k: int, group: NDArray[np.int64], recipe: EvaluateRecipe,
                         seed: int = 0) -> dict[str, Estimate]:
    """``roc_auc`` and ``pr_auc`` of class k against the rest, with intervals from resampled groups.

    Args:
        predictions: of samples whose truth is known; some of class k and some of another.
        k: index of the class.
        group: number of each prediction's group, from 0 and without gaps, shape (n,).
        recipe: confidence and number of resamples.
        seed: of the bootstrap.
    """
    values, draws = _class_areas(predictions, k, group, recipe, seed)
    groups = int(group.max()) + 1
    return {name: interval(values[name], draws[name], groups, recipe.confidence) for name in values}


def curves_of(predictions: Predictions, k: int) -> Curves:
    """Both curves of class k, of which there must be samples, and others too."""
    single = np.zeros(len(predictions), dtype=np.int64)
    sums = np.asarray(_one_against_rest(predictions, k, single, None).sum(axis=0), dtype=np.float64)
    members, others = np.split(sums, 2)
    hits, alarms = members.cumsum(), others.cumsum()
    areas = _areas(sums.reshape(1, -1))
    precision, recall = ratio(hits, hits + alarms), hits / hits[-1]
    return Curves([0.0, *(alarms / alarms[-1]).tolist()], [0.0, *recall.tolist()], [0.0, *recall.tolist()],
                  [float(precision[0]), *precision.tolist()], float(areas["roc_auc"][0]), float(areas["pr_auc"][0]),
                  float(hits[-1] / len(predictions)))
