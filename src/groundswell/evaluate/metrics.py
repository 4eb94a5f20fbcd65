"""evaluate: every score of a set of predictions, each with its interval, for windows and for events alike."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from groundswell.core.metrics import SUMMARIES, confusion_matrix, majority_rate, per_class, ratio, summary
from groundswell.data.predictions import Predictions
from groundswell.evaluate.intervals import (
    Estimate,
    accuracy_estimate,
    bootstrap,
    interval,
    resample,
    sums_by_group,
)
from groundswell.evaluate.recipe import EvaluateRecipe

FloatArray = NDArray[np.float64]

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


@dataclass(frozen=True)
class Scores:
    """What predictions are worth at one level.

    Attributes:
        level: "window", "event" or "group".
        classes: names, in the order of rows and columns of ``confusion``.
        samples: how many were scored (those whose truth is known).
        unknown: how many were left out because it is not.
        groups: how many groups they belong to; the bootstrap draws these.
        majority_rate: share of the most frequent true class.
        confusion: counts, truth along the rows.
        by_class: precision, recall, f1, support, roc_auc, pr_auc of each class (areas are null where undefined).
        metrics: :data:`groundswell.core.metrics.SUMMARIES`, ``roc_auc`` and ``pr_auc`` (one class against the rest,
            mean over classes).
        curves: of each class that has both members and others.
    """

    level: str
    classes: tuple[str, ...]
    samples: int
    unknown: int
    groups: int
    majority_rate: float | None
    confusion: list[list[int]]
    by_class: dict[str, dict[str, float | None]]
    metrics: dict[str, Estimate]
    curves: dict[str, Curves] = field(default_factory=dict)

    @property
    def accuracy(self) -> Estimate:
        """The headline."""
        return self.metrics["accuracy"]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, without the curves (they follow from the predictions)."""
        value = asdict(self)
        del value["curves"]
        return value


def score(predictions: Predictions, group: NDArray[np.int64], recipe: EvaluateRecipe, *, level: str,
          seed: int = 0) -> Scores:
    """Score predictions whose truth is known.

    Args:
        predictions: of windows or of aggregated units.
        group: number of each prediction's group, from 0, shape (n,).
        recipe: confidence and number of resamples.
        level: "window", "event" or "group". Windows of one event are not independent, so the accuracy of windows has
            a bootstrap interval, that of units Wilson's.
        seed: of the bootstrap.
    """
    known = predictions.truth >= 0
    unknown = int((~known).sum())
    predictions = predictions.take(known)
    group = np.unique(group[known], return_inverse=True)[1].astype(np.int64)
    classes, groups = len(predictions.classes), int(group.max()) + 1 if len(group) else 0
    confusion = confusion_matrix(predictions.truth, predictions.predicted, classes)
    metrics = _confusion_estimates(predictions, group, recipe, seed)
    if level != "window":
        metrics["accuracy"] = accuracy_estimate(float(np.trace(confusion)), float(confusion.sum()), recipe.confidence)
    metrics.update(_area_estimates(predictions, group, groups, recipe, seed))
    curves = {name: _curves(predictions, k) for k, name in enumerate(predictions.classes)
              if 0 < (predictions.truth == k).sum() < len(predictions)}
    each = per_class(confusion)
    by_class = {name: {**{m: float(values[k]) for m, values in each.items()},
                       "roc_auc": curves[name].roc_auc if name in curves else None,
                       "pr_auc": curves[name].pr_auc if name in curves else None}
                for k, name in enumerate(predictions.classes)}
    rate = float(majority_rate(confusion))
    return Scores(level, predictions.classes, len(predictions), unknown, groups, rate if np.isfinite(rate) else None,
                  confusion.astype(int).tolist(), by_class, metrics, curves)


def _confusion_estimates(predictions: Predictions, group: NDArray[np.int64], recipe: EvaluateRecipe,
                         seed: int) -> dict[str, Estimate]:
    if not len(predictions):
        return {name: Estimate(None, why="nothing was scored") for name in SUMMARIES}
    classes = len(predictions.classes)
    cell = predictions.truth * classes + predictions.predicted
    return bootstrap(sums_by_group(group, cell, classes * classes),
                     lambda sums: summary(sums.reshape(-1, classes, classes)),
                     resamples=recipe.bootstrap, confidence=recipe.confidence, seed=seed)


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


def _area_estimates(predictions: Predictions, group: NDArray[np.int64], groups: int, recipe: EvaluateRecipe,
                    seed: int) -> dict[str, Estimate]:
    names = predictions.classes
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


def _curves(predictions: Predictions, k: int) -> Curves:
    single = np.zeros(len(predictions), dtype=np.int64)
    sums = np.asarray(_one_against_rest(predictions, k, single, None).sum(axis=0), dtype=np.float64)
    members, others = np.split(sums, 2)
    hits, alarms = members.cumsum(), others.cumsum()
    areas = _areas(sums.reshape(1, -1))
    precision, recall = ratio(hits, hits + alarms), hits / hits[-1]
    return Curves([0.0, *(alarms / alarms[-1]).tolist()], [0.0, *recall.tolist()], [0.0, *recall.tolist()],
                  [float(precision[0]), *precision.tolist()], float(areas["roc_auc"][0]), float(areas["pr_auc"][0]),
                  float(hits[-1] / len(predictions)))


def classification_report(scores: Scores) -> str:
    """Scores of each class and their means as text, for a terminal or a file."""
    width = max([len(name) for name in scores.classes] + [len("weighted mean")])
    lines = [f"{scores.samples} {scores.level}s of {scores.groups} groups",
             f"{'':{width}}  {'precision':>9}  {'recall':>9}  {'f1':>9}  {'support':>9}"]
    for name, row in scores.by_class.items():
        cells = "  ".join(f"{row[m]:9.3f}" for m in ("precision", "recall", "f1"))
        lines.append(f"{name:{width}}  {cells}  {int(row['support'] or 0):9d}")
    for mean in ("macro", "weighted"):
        values = (scores.metrics[f"{m}_{mean}"].value for m in ("precision", "recall", "f1"))
        cells = "  ".join(f"{'-':>9}" if value is None else f"{value:9.3f}" for value in values)
        lines.append(f"{mean + ' mean':{width}}  {cells}  {scores.samples:9d}")
    lines.append("")
    for name in ("accuracy", "balanced_accuracy", "mcc", "roc_auc", "pr_auc"):
        lines.append(f"{name.replace('_', ' '):{max(width, 17)}}  {written(scores.metrics[name])}")
    return "\n".join(lines) + "\n"


def written(estimate: Estimate, digits: int = 3) -> str:
    """A number with its interval as text: ``0.925 [0.801, 0.974]``."""
    if estimate.value is None:
        return f"undefined: {estimate.why}"
    text = f"{estimate.value:.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return f"{text} (no interval: {estimate.why})"
    return f"{text} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
