"""evaluate: one row for each class: what training had of it, and how well it is found."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.metrics import confusion_matrix, per_class, ratio, top_k
from groundswell.data.predictions import Predictions
from groundswell.evaluate.exposure import Exposure
from groundswell.evaluate.intervals import Estimate, bootstrap, clustered, sums_by_group
from groundswell.evaluate.metrics import TOP
from groundswell.evaluate.recipe import EvaluateRecipe, too_few

FloatArray = NDArray[np.float64]

COLUMNS = ("class", "training_samples", "tested_samples", "tested_groups", "unseen_samples", "recall", "recall_low",
           "recall_high", "precision", "f1", "top5_recall", "most_often_taken_for", "times", "why")
"""Of ``by_class.csv``."""


@dataclass(frozen=True)
class ClassRow:
    """A class that was tested or taught.

    Attributes:
        name: of the class.
        trained: training samples, mean over folds; ``None`` where the split is not known.
        tested: tested samples.
        groups: groups these belong to.
        unseen: tested samples whose model was taught none of the class.
        recall: with an interval from resampled groups.
        precision, f1, top5: ``None`` where there is no number, or no more than five classes.
        mistaken: the class it was most often taken for, "" if never.
        times: how often.
        why: why there are no numbers; else empty.
    """

    name: str
    trained: float | None
    tested: int
    groups: int
    unseen: int
    recall: Estimate
    precision: float | None
    f1: float | None
    top5: float | None
    mistaken: str
    times: int
    why: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def by_class(predictions: Predictions, group: NDArray[np.int64], exposure: Exposure | None, recipe: EvaluateRecipe, *,
             seed: int = 0) -> list[ClassRow]:
    """Rows of all classes, in their order. A class with fewer than ``n_min`` tested samples gets counts only.

    Args:
        predictions: of units; those whose truth is unknown are left out.
        group: number of each prediction's group, shape (n,).
        exposure: what was taught, if it is known.
        recipe: confidence, resamples, ``n_min``.
        seed: of the bootstrap.
    """
    told = predictions.truth >= 0
    predictions, group = predictions.take(told), np.unique(group[told], return_inverse=True)[1].astype(np.int64)
    classes, truth = len(predictions.classes), predictions.truth
    confusion = confusion_matrix(truth, predictions.predicted, classes)
    each = per_class(confusion)
    wrong = confusion - np.diag(np.diagonal(confusion))
    among = (np.bincount(truth, top_k(predictions.probability, truth, TOP), minlength=classes)
             if classes > TOP and len(truth) else None)
    groups = np.bincount(np.unique(truth * (len(truth) + 1) + group) // (len(truth) + 1), minlength=classes)
    unseen = np.zeros(classes, np.int64) if exposure is None else np.bincount(
        truth[~exposure.seen(predictions)], minlength=classes)
    trained = None if exposure is None else exposure.mean_counts()
    recall = _recalls(predictions, group, recipe, seed)
    rows = []
    for k, name in enumerate(predictions.classes):
        tested, worst = int(each["support"][k]), int(wrong[k].argmax())
        times = int(wrong[k, worst])
        enough = tested >= recipe.n_min
        why = "" if enough else too_few(tested, "sample", recipe)
        rows.append(ClassRow(
            name, None if trained is None else float(trained[k]), tested, int(groups[k]), int(unseen[k]),
            clustered(recall[k], int(groups[k]), recipe.confidence, tested) if enough else Estimate(None, why=why),
            float(each["precision"][k]) if enough else None, float(each["f1"][k]) if enough else None,
            float(among[k] / tested) if enough and among is not None else None,
            predictions.classes[worst] if times and enough else "", times if enough else 0, why))
    return rows


def _recalls(predictions: Predictions, group: NDArray[np.int64], recipe: EvaluateRecipe, seed: int) -> list[Estimate]:
    classes, truth = len(predictions.classes), predictions.truth
    if not len(truth):
        return [Estimate(None, why="nothing was scored")] * classes
    hit = (truth == predictions.predicted).astype(np.float64)
    statistics = sums_by_group(np.tile(group, 2), np.concatenate([truth, truth + classes]), 2 * classes,
                               np.concatenate([hit, np.ones(len(truth))]))

    def scores(sums: FloatArray) -> dict[str, FloatArray]:
        recall = ratio(sums[:, :classes], sums[:, classes:], np.nan)
        return {str(k): recall[:, k] for k in range(classes)}

    found = bootstrap(statistics, scores, resamples=recipe.bootstrap, confidence=recipe.confidence, seed=seed)
    return [found[str(k)] for k in range(classes)]


def csv_of(rows: list[ClassRow]) -> str:
    """``by_class.csv``: the rows with the columns :data:`COLUMNS`; what is not known is empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for r in rows:
        writer.writerow([r.name, _number(r.trained), r.tested, r.groups, r.unseen, _number(r.recall.value),
                         _number(r.recall.low), _number(r.recall.high), _number(r.precision), _number(r.f1),
                         _number(r.top5), r.mistaken, r.times or "", r.why])
    return buffer.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
