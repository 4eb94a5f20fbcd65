"""marine: from a network's raw answer to boxes: one piece of NumPy for runs, exported files and small computers.

How long it takes never changes what it finds. Shape letters: q place or query, c class, k box found.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.core.boxes import iou as overlap
from groundswell.pipelines.marine.letterbox import Placed, restored

_BLOCK = 256
"""Boxes that are held against each other at once."""


class Detections(NamedTuple):
    """Boxes found in one image, the surest first.

    Attributes:
        boxes: left, top, right, bottom in pixels, float32, (k, 4).
        score: 0 to 1, float32, (k,).
        label: class, int64, (k,).
    """

    boxes: NDArray[np.float32]
    score: NDArray[np.float32]
    label: NDArray[np.int64]


def decode(raw_boxes: NDArray[np.float32], raw_scores: NDArray[np.float32], *, size: int, suppress: bool,
           confidence: float = 0.001, iou: float = 0.7, most: int = 300, single: bool = False) -> Detections:
    """Boxes of one image, the surest first.

    Args:
        raw_boxes: left, top, right, bottom as shares of the input, (q, 4).
        raw_scores: of each class on its own, (q, c).
        size: edge of the input, pixels.
        suppress: drop boxes that overlap a surer one of the same class.
        confidence: least score.
        iou: overlap above which a box is dropped.
        most: boxes, at most.
        single: a place tells of its likeliest class only; else of each that is likely enough, as scores of detectors
            are customarily counted.

    Returns:
        Boxes in pixels of the input; they may reach beyond it.
    """
    scores = np.asarray(raw_scores, np.float32)
    if single and scores.shape[1] > 1:
        scores = np.where(scores == scores.max(1, keepdims=True), scores, -1)
    place, label = np.nonzero(scores >= confidence)
    score = scores[place, label]
    order = np.argsort(-score, kind="stable")
    if not suppress:
        order = order[:most]
    place, label, score = place[order], label[order].astype(np.int64), score[order]
    boxes = np.asarray(raw_boxes, np.float32)[place]
    if suppress:
        kept = _suppressed(boxes, label, iou, most)
        boxes, label, score = boxes[kept], label[kept], score[kept]
    return Detections(boxes * np.float32(size), score, label)


def _suppressed(boxes: NDArray[np.float32], label: NDArray[np.int64], most_overlap: float,
                most: int) -> NDArray[np.int64]:
    """Indices of the boxes, sorted by score, that no surer kept one of their class overlaps; ``most`` at most."""
    apart = 4.0 * max(1.0, float(np.abs(boxes).max(initial=0)))
    shifted = boxes.astype(np.float64) + (label * apart)[:, None]  # classes never overlap
    kept: list[int] = []
    for start in range(0, len(boxes), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(boxes)))
        free = ~(overlap(shifted[block], shifted[kept]) > most_overlap).any(1)
        block = block[free]
        rivals = overlap(shifted[block], shifted[block]) > most_overlap
        alive = np.ones(len(block), bool)
        for number in range(len(block)):
            if alive[number]:
                kept.append(int(block[number]))
                if len(kept) == most:
                    return np.asarray(kept, np.int64)
                alive[number + 1:] &= ~rivals[number, number + 1:]
    return np.asarray(kept, np.int64)


def to_original(detections: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]],
                placed: Placed) -> Detections:
    """Detections in pixels of the letterboxed input brought back to the original image, and cut to it."""
    boxes, score, label = detections
    return Detections(restored(boxes, placed), score, label)
