"""evaluate: every score of a set of predictions, each with its interval, for windows and for events alike."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.metrics import (
    SUMMARIES,
    confusion_matrix,
    majority_rate,
    per_class,
    ratio,
    summary_of_margins,
    top_k,
    weighted_recall,
)
from groundswell.data.predictions import Predictions
from groundswell.evaluate.areas import MANY_CLASSES, Curves, area_estimates, curves_of
from groundswell.evaluate.intervals import Estimate, accuracy_estimate, bootstrap, clustered, sums_by_group
from groundswell.evaluate.recipe import EvaluateRecipe

FloatArray = NDArray[np.float64]

TOP = 5
"""A top-5 accuracy is given where there are more classes than that and each sample is a unit, or many classes."""

EXTRAS = ("top5_accuracy", "prevalence_weighted_accuracy")
"""Scores that :attr:`Scores.metrics` has only where they are asked for, in the order reports show them."""


@dataclass(frozen=True)
class Scores:
    """What predictions are worth at one level.

    Attributes:
        level: "window", "event", "group" or "sample".
        classes: names, in the order of rows and columns of ``confusion``.
        samples: how many were scored (those whose truth is known).
        unknown: how many were left out because it is not.
        groups: how many groups they belong to; the bootstrap draws these.
        majority_rate: share of the most frequent true class.
        confusion: counts, truth along the rows.
        by_class: precision, recall, f1, support, roc_auc, pr_auc of each class (areas are null where undefined, and so
            is all but the support of a class with fewer than ``n_min`` samples, see :func:`refuses`).
        metrics: :data:`groundswell.core.metrics.SUMMARIES`, ``roc_auc`` and ``pr_auc`` (one class against the rest,
            mean over classes); where asked for also ``top5_accuracy`` and ``prevalence_weighted_accuracy``.
        curves: of each class that has both members and others; none with more than :data:`MANY_CLASSES` classes.
    """

    level: str
    classes: tuple[str, ...]
    samples: int
    unknown: int
    groups: int
    majority_rate: float | None
    confusion: list[list[int]] = field(repr=False)
    by_class: dict[str, dict[str, float | None]] = field(repr=False)
    metrics: dict[str, Estimate]
    curves: dict[str, Curves] = field(default_factory=dict)

    @property
    def accuracy(self) -> Estimate:
        """The headline."""
        return self.metrics["accuracy"]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, without the curves (they follow from the predictions); of many classes also without what there is
        of each, which the evaluation lists once."""
        value = asdict(replace(self, curves={}))
        for name in ("curves", *(("confusion", "by_class", "classes") if self.many else ())):
            del value[name]
        return value

    @property
    def many(self) -> bool:
        """Whether there are more than :data:`MANY_CLASSES` classes."""
        return len(self.classes) > MANY_CLASSES


def refuses(level: str, classes: int) -> bool:
    """Whether classes with fewer than ``n_min`` samples get no numbers of their own.

    With a few classes of events (two, as a rule) each class is the other's complement and is always shown.
    """
    return level == "sample" or classes > MANY_CLASSES


def score(predictions: Predictions, group: NDArray[np.int64], recipe: EvaluateRecipe, *, level: str,
          seed: int = 0, prevalence: FloatArray | None = None) -> Scores:
    """Score predictions whose truth is known.

    Args:
        predictions: of windows or of aggregated units.
        group: number of each prediction's group, from 0, shape (n,).
        recipe: confidence and number of resamples.
        level: "window", "event", "group" or "sample". Windows of one event are not independent, nor are samples of one
            place, so their accuracy has a bootstrap interval, that of other units Wilson's.
        seed: of the bootstrap.
        prevalence: frequency of each class to weigh recall by, any scale, shape (classes,).
    """
    known = predictions.truth >= 0
    unknown = int((~known).sum())
    predictions = predictions.take(known)
    group = np.unique(group[known], return_inverse=True)[1].astype(np.int64)
    classes, groups = len(predictions.classes), int(group.max()) + 1 if len(group) else 0
    confusion = confusion_matrix(predictions.truth, predictions.predicted, classes)
    metrics = _margin_estimates(predictions, group, recipe, seed, prevalence, refuses(level, classes))
    if level == "sample":
        metrics["accuracy"] = clustered(metrics["accuracy"], groups, recipe.confidence, len(predictions))
    elif level != "window":
        metrics["accuracy"] = accuracy_estimate(float(np.trace(confusion)), float(confusion.sum()), recipe.confidence)
    metrics.update(area_estimates(predictions, group, groups, recipe, seed))
    curves = {name: curves_of(predictions, k) for k, name in enumerate(predictions.classes)
              if classes <= MANY_CLASSES and 0 < (predictions.truth == k).sum() < len(predictions)}
    rate = float(majority_rate(confusion))
    return Scores(level, predictions.classes, len(predictions), unknown, groups, rate if np.isfinite(rate) else None,
                  confusion.astype(int).tolist(), _by_class(predictions.classes, confusion, curves, recipe, level),
                  metrics, curves)


def accuracy_of(predictions: Predictions, group: NDArray[np.int64], recipe: EvaluateRecipe, *, level: str,
                seed: int = 0) -> Estimate:
    """The accuracy that :func:`score` gives of predictions whose truth is known, without all the rest."""
    hits = (predictions.predicted == predictions.truth).astype(np.float64)
    if level not in ("sample", "window") or not len(hits):
        return accuracy_estimate(float(hits.sum()), len(hits), recipe.confidence)
    dense = np.unique(group, return_inverse=True)[1].astype(np.int64)
    statistics = sums_by_group(np.tile(dense, 2), np.repeat([0, 1], len(hits)), 2, np.append(hits, np.ones(len(hits))))
    found = bootstrap(statistics, lambda sums: {"accuracy": sums[:, 0] / sums[:, 1]}, resamples=recipe.bootstrap,
                      confidence=recipe.confidence, seed=seed)["accuracy"]
    return clustered(found, statistics.shape[0], recipe.confidence, len(hits)) if level == "sample" else found


def _by_class(classes: tuple[str, ...], confusion: FloatArray, curves: dict[str, Curves], recipe: EvaluateRecipe,
              level: str) -> dict[str, dict[str, float | None]]:
    each = per_class(confusion)
    found: dict[str, dict[str, float | None]] = {}
    for k, name in enumerate(classes):
        row: dict[str, float | None] = {m: float(values[k]) for m, values in each.items()}
        row |= {area: getattr(curves[name], area) if name in curves else None for area in ("roc_auc", "pr_auc")}
        if refuses(level, len(classes)) and each["support"][k] < recipe.n_min:
            row = {m: value if m == "support" else None for m, value in row.items()}
        found[name] = row
    return found


def _margin_estimates(predictions: Predictions, group: NDArray[np.int64], recipe: EvaluateRecipe, seed: int,
                      prevalence: FloatArray | None, top: bool) -> dict[str, Estimate]:
    """Scores that follow from hits, support and claims of each class: three columns a class, not one a pair."""
    classes = len(predictions.classes)
    top = top and classes > TOP
    extra = (*(["top5_accuracy"] if top else []), *([] if prevalence is None else ["prevalence_weighted_accuracy"]))
    if not len(predictions):
        return {name: Estimate(None, why="nothing was scored") for name in (*SUMMARIES, *extra)}
    truth, predicted = predictions.truth, predictions.predicted
    among = top_k(predictions.probability, truth, TOP) if top else np.zeros(len(truth))
    column = np.concatenate([truth, truth + classes, predicted + 2 * classes, np.full(len(truth), 3 * classes)])
    value = np.concatenate([(truth == predicted).astype(np.float64), np.ones(2 * len(truth)), among])

    def scores(sums: FloatArray) -> dict[str, FloatArray]:
        hits, support, claimed = (sums[:, i * classes:(i + 1) * classes] for i in range(3))
        found = summary_of_margins(hits, support, claimed)
        if top:
            found["top5_accuracy"] = ratio(sums[:, 3 * classes], support.sum(1), np.nan)
        if prevalence is not None:
            found["prevalence_weighted_accuracy"] = weighted_recall(hits, support, prevalence)
        return found

    return bootstrap(sums_by_group(np.tile(group, 4), column, 3 * classes + 1, value), scores,
                     resamples=recipe.bootstrap, confidence=recipe.confidence, seed=seed)


def classification_report(scores: Scores) -> str:
    """Scores of each class and their means as text, for a terminal or a file."""
    width = max([len(name) for name in scores.classes] + [len("weighted mean")])
    lines = [f"{scores.samples} {scores.level}s of {scores.groups} groups",
             f"{'':{width}}  {'precision':>9}  {'recall':>9}  {'f1':>9}  {'support':>9}"]
    for name, row in scores.by_class.items():
        cells = "  ".join(_cell(row[m]) for m in ("precision", "recall", "f1"))
        lines.append(f"{name:{width}}  {cells}  {int(row['support'] or 0):9d}")
    for mean in ("macro", "weighted"):
        cells = "  ".join(_cell(scores.metrics[f"{m}_{mean}"].value) for m in ("precision", "recall", "f1"))
        lines.append(f"{mean + ' mean':{width}}  {cells}  {scores.samples:9d}")
    lines.append("")
    for name in ("accuracy", *EXTRAS, "balanced_accuracy", "mcc", "roc_auc", "pr_auc"):
        if name in scores.metrics:
            lines.append(f"{name.replace('_', ' '):{max(width, 17)}}  {written(scores.metrics[name])}")
    return "\n".join(lines) + "\n"


def _cell(value: float | None) -> str:
    return f"{'-':>9}" if value is None else f"{value:9.3f}"


def written(estimate: Estimate, digits: int = 3) -> str:
    """A number with its interval as text: ``0.925 [0.801, 0.974]``."""
    if estimate.value is None:
        return f"undefined: {estimate.why}"
    text = f"{estimate.value:.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return f"{text} (no interval: {estimate.why})"
    return f"{text} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
