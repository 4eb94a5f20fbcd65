"""evaluate: which predicted boxes are right: matched once for each image, class and overlap, as COCO does it.

Everything else (curves, average precision, every resample of the bootstrap) only counts what was matched here. The
rules are those of COCO's evaluation (Lin et al. 2014, and its published protocol): boxes of a class are taken in the
order of their scores, each gets the free true box of its class that it overlaps most, if by at least the threshold;
a region of many (crowd) takes any number of boxes, which then count neither as right nor as wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.boxes import iou
from groundswell.core.errors import InputError
from groundswell.data.boxes import BoxPredictions, BoxTruth, boxes_of
from groundswell.evaluate.intervals import FloatArray

Ints = NDArray[np.int64]

THRESHOLDS: FloatArray = np.linspace(0.5, 0.95, 10)
"""Overlaps (intersection over union) that count as a match: COCO's ten; the first is that of mAP50."""

WRONG, RIGHT, IGNORED = 0, 1, 2


@dataclass(frozen=True)
class Matches:
    """Predicted boxes that count, by class and falling score, and whether each is right.

    Attributes:
        row: row of the image in the predictions, int64, shape (m,).
        label: class, int64, shape (m,); it never falls.
        score: float64, shape (m,); it never rises within a class.
        state: WRONG, RIGHT or IGNORED at each overlap asked for, :data:`THRESHOLDS` unless others were, int8, shape
            (overlaps, m).
        box: position of each among the predictions' boxes, int64, shape (m,).
        true_row, true_label: image and class of each true box that is no crowd, int64, shape (g,).
        rows: images, whether they have boxes or not.
        classes: names.
    """

    row: Ints
    label: Ints
    score: FloatArray
    state: NDArray[np.int8]
    box: Ints
    true_row: Ints
    true_label: Ints
    rows: int
    classes: tuple[str, ...]

    def of_rows(self, rows: NDArray[np.bool_]) -> Matches:
        """Those of the images where the mask, shape (rows,), is true; images keep their numbers."""
        here, there = rows[self.row], rows[self.true_row]
        return Matches(self.row[here], self.label[here], self.score[here], self.state[:, here], self.box[here],
                       self.true_row[there], self.true_label[there], self.rows, self.classes)

    def true_boxes(self) -> Ints:
        """True boxes of each class, int64, shape (classes,)."""
        return np.bincount(self.true_label, minlength=len(self.classes)).astype(np.int64)


def places(predictions: BoxPredictions, truth: BoxTruth) -> Ints:
    """Row of the truth for each row of the predictions, int64, shape (n,).

    Raises:
        InputError: the classes differ, or the true boxes of an image are not known.
    """
    if predictions.classes != truth.classes:
        raise InputError(f"Boxes of the classes {', '.join(predictions.classes)} cannot be held against true boxes of "
                         f"{', '.join(truth.classes)}")
    found = pd.Index(truth.sample_id).get_indexer(pd.Index(predictions.sample_id))
    if (found < 0).any():
        raise InputError("The true boxes of a predicted image are not known",
                         where=str(predictions.sample_id[int(np.argmax(found < 0))]))
    return np.asarray(found, np.int64)


def match(predictions: BoxPredictions, truth: BoxTruth, most: int = 100, overlaps: FloatArray = THRESHOLDS) -> Matches:
    """Match predicted with true boxes.

    Args:
        predictions: of any number of images; one that is there twice (two members) counts as two images.
        truth: of at least those images.
        most: boxes of an image and a class that count, the surest ones (COCO's maxDets).
        overlaps: from which a box is a match, rising, shape (overlaps,).

    Raises:
        InputError: the classes differ, or the true boxes of an image are not known.
    """
    place = places(predictions, truth)
    inside = boxes_of(truth.count, place)
    true_row = np.repeat(np.arange(len(place)), truth.count[place])
    true_label, crowd, true_boxes = truth.label[inside], truth.crowd[inside], truth.boxes[inside]
    row, score = predictions.image, predictions.score.astype(np.float64)
    # Sorting is stable: boxes of equal score stay in the order of the predictions, as COCO's do.
    order = np.lexsort((-score, predictions.label, row))
    key = row[order] * len(truth.classes) + predictions.label[order]
    rank = np.arange(len(key)) - np.searchsorted(key, key)
    order, key = order[rank < most], key[rank < most]
    state = np.zeros((len(overlaps), len(order)), np.int8)
    true_order = np.lexsort((crowd, true_label, true_row))
    true_key = (true_row * len(truth.classes) + true_label)[true_order]
    asked, first = np.unique(true_key, return_index=True)
    for pair, start, stop in zip(asked, first, np.searchsorted(true_key, asked, side="right"), strict=True):
        low, high = np.searchsorted(key, [pair, pair + 1])
        if low < high:
            known = true_order[start:stop]
            overlap = iou(predictions.boxes[order[low:high]], true_boxes[known], crowd=crowd[known])
            state[:, low:high] = _states(overlap, crowd[known], overlaps)
    final = np.lexsort((-score[order], predictions.label[order]))
    order, state, usual = order[final], state[:, final], ~crowd
    return Matches(row[order], predictions.label[order], score[order], state, order, true_row[usual],
                   true_label[usual], len(place), truth.classes)


def _states(overlap: FloatArray, crowd: NDArray[np.bool_], overlaps: FloatArray) -> NDArray[np.int8]:
    """What becomes of boxes of one image and class, in the order of their scores.

    Args:
        overlap: of each box with each true one, crowds last, shape (d, g).
        crowd: shape (g,).
        overlaps: from which a box is a match, rising.

    Returns:
        Shape (overlaps, d).
    """
    state = np.zeros((len(overlaps), len(overlap)), np.int8)
    free = np.repeat(~crowd[None], len(overlaps), axis=0)
    steps = np.arange(len(overlaps))
    for d in np.flatnonzero(overlap.max(axis=1) >= overlaps[0]):
        enough = overlap[d] >= overlaps[:, None]
        usual = np.where(enough & free, overlap[d], -1.0)
        # Of equal overlaps COCO takes the last.
        best = overlap.shape[1] - 1 - usual[:, ::-1].argmax(axis=1)
        hit = usual[steps, best] >= 0
        free[steps[hit], best[hit]] = False
        state[hit, d] = RIGHT
        state[~hit & (enough & crowd).any(axis=1), d] = IGNORED
    return state
