"""evaluate: average precision by COCO's rules, for all images or for thousands of resamples of their groups at once.

Average precision (Everingham et al. 2010, with the 101 points of recall of Lin et al. 2014) looks at the largest
precision at or beyond each of 101 recalls. That is always one at a box that is right: wrong boxes after it leave the
recall and lower the precision. So a resample needs no new matching and no new sorting: at the few boxes that are right,
how many right and how many wrong ones came before, each as often as its group was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from groundswell.data.boxes import BoxPredictions, BoxTruth
from groundswell.evaluate.detection_matching import IGNORED, RIGHT, THRESHOLDS, Matches, match
from groundswell.evaluate.intervals import FloatArray

Ints = NDArray[np.int64]

RECALLS: FloatArray = np.linspace(0.0, 1.0, 101)
_ROUNDED_UP = np.arange(101) / 100 < RECALLS  # points that lie a rounding error above the hundredth they stand for
_CHUNK = 4_000_000  # numbers held at once
_DENSE = 0.1  # share of entries from which a matrix is no longer worth keeping sparse


@dataclass(frozen=True)
class _Curve:
    """Boxes of one class at one overlap: the group of each right one (p,), and for each group the wrong ones that
    come between it and the right one before, (p, groups)."""

    right: Ints
    wrong: NDArray[np.float64] | sparse.csr_array


class PrecisionCounts:
    """What average precision is counted from, by group.

    Args:
        matches: of the images.
        group: number of each image's group, from 0, shape (rows,).
        groups: how many there are.
        steps: which of :data:`THRESHOLDS` are wanted, their positions.
    """

    def __init__(self, matches: Matches, group: Ints, groups: int, steps: tuple[int, ...] = tuple(range(10))) -> None:
        self.classes, self.groups, self.steps = len(matches.classes), groups, steps
        true = np.zeros((groups, self.classes))
        np.add.at(true, (group[matches.true_row], matches.true_label), 1.0)
        self.true = true
        edges = np.searchsorted(matches.label, np.arange(self.classes + 1))
        of = group[matches.row]
        self._curves = [[_curve(matches.state[step, low:high], of[low:high], groups) for step in steps]
                        for low, high in pairwise(edges)]

    def average_precision(self, times: FloatArray | None = None) -> FloatArray:
        """Average precision of each class at each overlap, when each group counts so many times.

        Args:
            times: shape (resamples, groups); each group once if absent.

        Returns:
            Shape (resamples, classes, steps); NaN where a class has no true box.
        """
        weight = np.ones((1, self.groups)) if times is None else np.asarray(times, np.float64)
        positives = weight @ self.true
        found = np.full((len(weight), self.classes, len(self.steps)), np.nan)
        for c in np.flatnonzero(self.true.sum(axis=0) > 0):
            for s, curve in enumerate(self._curves[c]):
                size = max(1, _CHUNK // max(len(curve.right), self.groups, 1))
                for start in range(0, len(weight), size):
                    part = slice(start, start + size)
                    found[part, c, s] = _area(curve, weight[part], positives[part, c])
        return found


def _curve(state: NDArray[np.int8], group: Ints, groups: int) -> _Curve:
    counted = state != IGNORED
    right, group = state[counted] == RIGHT, group[counted]
    between = np.cumsum(right) - right  # right boxes before this one: the place of the next
    points = int(right.sum())
    wrong = ~right & (between < points)
    entries = sparse.csr_array((np.ones(int(wrong.sum())), (between[wrong], group[wrong])), shape=(points, groups))
    entries.sum_duplicates()
    return _Curve(group[right], entries.toarray() if entries.nnz > _DENSE * points * groups else entries)


def _area(curve: _Curve, weight: FloatArray, positives: FloatArray) -> FloatArray:
    """Average precision in each resample, shape (resamples,)."""
    if not len(curve.right):
        return np.where(positives > 0, 0.0, np.nan)
    hits = np.cumsum(weight[:, curve.right], axis=1)
    misses = np.cumsum(np.asarray(curve.wrong @ weight.T).T, axis=1)
    precision = hits / (hits + misses + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        # A quotient of whole numbers is exact where it is whole, so that rounding it down is too.
        hundredths = np.minimum(100 * hits / positives[:, None], 100)
    whole = np.floor(hundredths)
    reached = np.where(np.isfinite(whole), whole, 0).astype(np.int64)
    passed = reached + 1 - ((hundredths == whole) & _ROUNDED_UP[reached])
    gained = np.diff(passed, axis=1, prepend=0)
    return np.where(positives > 0, (best * gained).sum(axis=1) / len(RECALLS), np.nan)


def mean_over(values: FloatArray, chosen: NDArray[np.bool_] | None = None) -> FloatArray:
    """Mean of (resamples, classes) over the classes (of those that are chosen) that have a value; NaN without any."""
    if chosen is not None:
        values = values[:, chosen]
    known = np.isfinite(values)
    many = known.sum(axis=1)
    return np.where(many > 0, np.where(known, values, 0).sum(axis=1) / np.maximum(many, 1), np.nan)


def average_precision(predictions: BoxPredictions, truth: BoxTruth, most: int = 100) -> FloatArray:
    """COCO's average precision of each class at each of :data:`THRESHOLDS`, for areas of all sizes.

    Args:
        predictions: of images.
        truth: of at least those images.
        most: boxes of an image and a class that count.

    Returns:
        Shape (classes, 10); NaN for classes without a true box. Its first column's mean over the others is mAP50, the
        mean of all mAP50-95.

    Raises:
        InputError: the classes differ, or the true boxes of an image are not known.
    """
    found = match(predictions, truth, most)
    each: FloatArray = PrecisionCounts(found, np.zeros(found.rows, np.int64), 1).average_precision()[0]
    return each


__all__ = ["RECALLS", "THRESHOLDS", "PrecisionCounts", "average_precision", "mean_over"]
