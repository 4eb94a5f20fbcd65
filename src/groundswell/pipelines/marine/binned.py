"""marine: mean average precision while training: from counts that add up over batches, epochs and processes.

Scores are sorted into bins, so what is said within a bin counts as said at once: the result is a little below the exact
one of :mod:`groundswell.evaluate`, and is used to choose the best epoch only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from groundswell.core.boxes import iou
from groundswell.pipelines.marine.decode import Detections

BINS = 200
"""Bins of the score's square root: finer where scores are low, as they are when training begins."""
_POINTS = np.linspace(0, 1, 101)


def bin_of(score: NDArray[np.float32]) -> NDArray[np.int64]:
    """The bin of each score, from 0."""
    found: NDArray[np.int64] = np.clip(np.sqrt(score) * BINS, 0, BINS - 1).astype(np.int64)
    return found


def count(found: Detections, boxes: NDArray[np.float32], label: NDArray[np.int64], into: NDArray[np.float64],
          overlap: float = 0.5) -> None:
    """Add the detections of one image to counts, by the rules of COCO: the surest first takes the box of its class
    that it overlaps most; those that lie in an ignored box are not counted.

    Args:
        found: the surest first.
        boxes: of the truth, in the same pixels, (m, 4).
        label: (m,); -1 padding, -2 ignored.
        into: float64 (classes, 2, BINS): right and wrong ones.
        overlap: at least, for a box to be found.
    """
    known, ignored = label >= 0, label == -2
    truth, truth_label = boxes[known], label[known]
    shared = iou(found.boxes, truth) * (found.label[:, None] == truth_label[None, :])
    right, taken = np.zeros(len(found.score), bool), np.zeros(len(truth), bool)
    for number in np.flatnonzero((shared >= overlap).any(1)):
        free = np.where(taken, 0.0, shared[number])
        best = int(free.argmax())
        if free[best] >= overlap:
            right[number] = taken[best] = True
    counted = np.ones(len(right), bool)
    if ignored.any():
        hidden = iou(found.boxes, boxes[ignored], crowd=np.ones(int(ignored.sum()), bool))
        counted = right | (hidden < overlap).all(1)
    np.add.at(into, (found.label[counted], (~right[counted]).astype(np.int64), bin_of(found.score[counted])), 1.0)


def average_precision(counts: NDArray[np.float64], truths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average precision of each class at 101 recalls, (classes,); NaN where a class has no boxes.

    Args:
        counts: as :func:`count` adds them up.
        truths: boxes of each class, (classes,).
    """
    right, wrong = np.cumsum(counts[:, :, ::-1], axis=2).transpose(1, 0, 2)
    result = np.full(len(counts), np.nan)
    for label in np.flatnonzero(truths > 0):
        recall = right[label] / truths[label]
        precision = right[label] / np.maximum(right[label] + wrong[label], 1e-12)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(recall, _POINTS - 1e-9)
        result[label] = np.append(best, 0.0)[at].mean()
    return result


def mean_average_precision(counts: NDArray[np.float64], truths: NDArray[np.float64]) -> float:
    """Mean over the classes that have boxes; 0 where none has."""
    each = average_precision(counts, truths)
    return float(np.nanmean(each)) if (truths > 0).any() else 0.0
