"""evaluate: what boxes above a score are worth: precision and recall, mistaken classes, and counts of animals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from groundswell.core.boxes import iou
from groundswell.core.metrics import ratio
from groundswell.data.boxes import BoxPredictions, BoxTruth
from groundswell.evaluate.detection_matching import RIGHT, THRESHOLDS, WRONG, Matches, places
from groundswell.evaluate.detection_recipe import DetectionEvaluateRecipe
from groundswell.evaluate.detection_scores import RECALLS
from groundswell.evaluate.intervals import Estimate, FloatArray, bootstrap

Ints = NDArray[np.int64]

LEVELS: FloatArray = np.linspace(0, 1, 101)
"""Scores at which curves are read."""
COUNTING = ("mae", "rmse", "bias", "mape", "within_1", "within_5")
"""Errors of counts; mape is a share and looks at images with animals alone."""


@dataclass(frozen=True)
class Curves:
    """Precision, recall and F1 at overlap 0.5, by the score from which boxes are taken.

    Attributes:
        precision, recall, f1: of each class, shape (classes, 101), at :data:`LEVELS`; NaN where undefined.
        all_precision, all_recall, all_f1: of all boxes together, shape (101,).
        at_recall: largest precision at or beyond each of :data:`groundswell.evaluate.detection_scores.RECALLS`, shape
            (classes, 101); NaN for classes without a true box.
    """

    precision: FloatArray
    recall: FloatArray
    f1: FloatArray
    all_precision: FloatArray
    all_recall: FloatArray
    all_f1: FloatArray
    at_recall: FloatArray

    def best_level(self) -> float:
        """The score with the highest F1 of all boxes together; the lowest of several."""
        return float(LEVELS[int(np.nanargmax(np.where(np.isfinite(self.all_f1), self.all_f1, -1.0)))])


def curves(matches: Matches) -> Curves:
    """Curves over scores and over recall."""
    classes, true = len(matches.classes), matches.true_boxes().astype(np.float64)
    step = np.searchsorted(LEVELS, matches.score, side="right") - 1  # the last level that the box still counts at
    reached = []
    for state in (RIGHT, WRONG):
        of = matches.state[0] == state
        each = np.zeros((classes, len(LEVELS)))
        np.add.at(each, (matches.label[of], step[of]), 1.0)
        reached.append(each[:, ::-1].cumsum(axis=1)[:, ::-1])
    right, wrong = reached
    one = _three(right, wrong, true[:, None])
    together = _three(right.sum(axis=0), wrong.sum(axis=0), true.sum())
    return Curves(*one, *together, np.stack([_at_recall(matches, c, true[c]) for c in range(classes)])
                  if classes else np.zeros((0, len(RECALLS))))


def _three(right: FloatArray, wrong: FloatArray, true: FloatArray | float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Precision, recall and F1 from counts."""
    known = np.broadcast_to(np.asarray(true, np.float64), right.shape)
    return (ratio(right, right + wrong, np.nan), ratio(right, known, np.nan),
            ratio(2 * right, right + wrong + known, np.nan))


def _at_recall(matches: Matches, label: int, true: float) -> FloatArray:
    if true == 0:
        return np.full(len(RECALLS), np.nan)
    state = matches.state[0][matches.label == label]
    hits, misses = np.cumsum(state == RIGHT), np.cumsum(state == WRONG)
    best = np.maximum.accumulate((hits / np.maximum(hits + misses, 1))[::-1])[::-1]
    place = np.searchsorted(hits / true, RECALLS, side="left")
    return np.append(best, 0.0)[place]


def at_level(matches: Matches, group: Ints, groups: int, level: float, recipe: DetectionEvaluateRecipe,
             seed: int) -> tuple[dict[str, Estimate], list[dict[str, Estimate]]]:
    """Precision, recall and F1 at overlap 0.5 of boxes with a score of ``level`` or more: of all together, and of each
    class, with intervals of resampled groups (numbers from 0, one an image, shape (rows,))."""
    classes, sure = len(matches.classes), matches.score >= level
    right, wrong = (sure & (matches.state[0] == state) for state in (RIGHT, WRONG))
    column = np.concatenate([matches.label[right], classes + matches.label[wrong], 2 * classes + matches.true_label])
    row = np.concatenate([group[matches.row[right]], group[matches.row[wrong]], group[matches.true_row]])
    sums = sparse.csr_array((np.ones(len(row)), (row, column)), shape=(groups, 3 * classes))

    def scores(total: FloatArray) -> Mapping[str, FloatArray]:
        of = total.reshape(len(total), 3, classes).transpose(1, 0, 2)
        each = dict(zip(("precision", "recall", "f1"), _three(of[0], of[1], of[2]), strict=True))
        found = dict(zip(("precision", "recall", "f1"), _three(*of.sum(axis=2)), strict=True))
        return {**found, **{f"{name} {c}": value[:, c] for name, value in each.items() for c in range(classes)}}

    found = _bootstrapped(sums, scores, recipe, seed)
    names = ("precision", "recall", "f1")
    return ({name: found[name] for name in names},
            [{name: found[f"{name} {c}"] for name in names} for c in range(classes)])


def sure_of(predictions: BoxPredictions, level: float) -> NDArray[np.bool_]:
    """Which boxes have a score of ``level`` or more, bool, shape (m,)."""
    return np.asarray(predictions.score.astype(np.float64) >= level)


def counts_of(predictions: BoxPredictions, truth: BoxTruth, level: float) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Animals found (boxes with a score of ``level`` or more) and true ones in each predicted image, both (n,), and
    where the true number is known: a region of many hides it."""
    place = places(predictions, truth)
    found = np.bincount(predictions.image[sure_of(predictions, level)], minlength=len(predictions))
    true = np.bincount(truth.image[~truth.crowd], minlength=len(truth))[place]
    return found.astype(np.int64), true.astype(np.int64), np.bincount(truth.image[truth.crowd],
                                                                      minlength=len(truth))[place] == 0


def counting(found: Ints, true: Ints, known: NDArray[np.bool_], group: Ints, groups: int,
             recipe: DetectionEvaluateRecipe, seed: int) -> dict[str, Estimate]:
    """Errors of counts, see :data:`COUNTING`, with intervals of resampled groups; images whose number is not known are
    left out. The relative error looks only at images with animals: of none there is no relative error."""
    error = np.where(known, found - true, 0).astype(np.float64)
    some = known & (true > 0)
    off = np.abs(error)
    values = np.stack([known, off, error**2, error, some, np.where(some, off / np.maximum(true, 1), 0),
                       known & (off <= 1), known & (off <= 5)], axis=1).astype(np.float64)
    sums = np.zeros((groups, values.shape[1]))
    np.add.at(sums, group, values)

    def scores(total: FloatArray) -> Mapping[str, FloatArray]:
        images = total[:, 0]
        mean = {"mae": 1, "bias": 3, "within_1": 6, "within_5": 7}
        return {**{name: ratio(total[:, column], images, np.nan) for name, column in mean.items()},
                "rmse": np.sqrt(ratio(total[:, 2], images, np.nan)), "mape": ratio(total[:, 5], total[:, 4], np.nan)}

    estimates = _bootstrapped(sparse.csr_array(sums), scores, recipe, seed)
    return {name: estimates[name] for name in COUNTING}


def _bootstrapped(sums: sparse.csr_array, scores: Callable[[FloatArray], Mapping[str, FloatArray]],
                  recipe: DetectionEvaluateRecipe, seed: int) -> dict[str, Estimate]:
    return bootstrap(sums, scores, resamples=recipe.bootstrap, confidence=recipe.confidence, seed=seed)


def confusion(predictions: BoxPredictions, truth: BoxTruth, level: float) -> Ints:
    """What boxes of each class are found as, at overlap 0.5 and whatever their class.

    Boxes are taken in the order of their scores, each gets the free true box that it overlaps most. Boxes in a region
    of many are left out.

    Returns:
        int64, shape (classes + 1, classes + 1): rows are true classes, columns found ones; the last row is background
        that was taken for an animal, the last column animals that were not found.
    """
    classes = len(truth.classes)
    table = np.zeros((classes + 1, classes + 1), np.int64)
    place = places(predictions, truth)
    sure = predictions.keep(sure_of(predictions, level))
    ends, true_ends = np.cumsum(sure.count), np.cumsum(truth.count)
    for row, there in enumerate(place):
        mine = slice(ends[row] - sure.count[row], ends[row])
        theirs = slice(true_ends[there] - truth.count[there], true_ends[there])
        _confuse(table, sure.boxes[mine], sure.score[mine], sure.label[mine], truth.boxes[theirs], truth.label[theirs],
                 truth.crowd[theirs])
    return table


def _confuse(table: Ints, boxes: NDArray[np.float32], score: NDArray[np.float32], label: Ints,
             true: NDArray[np.float32], true_label: Ints, crowd: NDArray[np.bool_]) -> None:
    """Add one image to the table."""
    overlap = iou(boxes, true, crowd=crowd)
    free = ~crowd
    for d in np.argsort(-score, kind="stable"):
        usual = np.where(free, overlap[d], -1.0)
        best = int(usual.argmax()) if len(usual) else -1
        if best >= 0 and usual[best] >= THRESHOLDS[0]:
            free[best] = False
            table[true_label[best], label[d]] += 1
        elif not (crowd & (overlap[d] >= THRESHOLDS[0])).any():
            table[-1, label[d]] += 1
    np.add.at(table[:, -1], true_label[free], 1)
