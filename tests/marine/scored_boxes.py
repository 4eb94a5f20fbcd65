"""Simulated boxes whose scores relate to the frequency with which they are right in a known way."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from scipy.special import expit, logit

from groundswell.data.boxes import BoxPredictions, BoxTruth

CLASSES = ("sunflower star", "grouper", "whale")
PRIORITY = ("critical", "important", "general")


def of_scores(score, right, label=None, clip=None, classes=CLASSES, priority=PRIORITY, a_image=10, missed=None):
    """Boxes in a row, ``a_image`` in each image; a right one has a true box where it is, a wrong one has none.

    Args:
        score, right, label, clip: of each box; an image takes the clip of its first box.
        missed: label of true boxes that nothing finds, all in the first image.
    """
    score, right = np.asarray(score, np.float32), np.asarray(right, bool)
    label = np.zeros(len(score), np.int64) if label is None else np.asarray(label)
    clip = np.zeros(len(score), int) if clip is None else np.asarray(clip)
    ids, found, marks, group = [], [], [], []
    for k, start in enumerate(range(0, len(score), a_image)):
        part = slice(start, start + a_image)
        boxes = np.arange(len(score[part]))[:, None] * 20.0 + np.array([0, 0, 10, 10])
        more = np.asarray(missed if missed is not None and k == 0 else [], np.int64)
        away = 5000 + np.arange(len(more))[:, None] * 20.0 + np.array([0, 0, 10, 10])
        truth = np.concatenate([boxes[right[part]], away])
        ids.append(f"image {k:05d}")
        found.append((boxes, score[part], label[part]))
        marks.append(SimpleNamespace(boxes=truth, label=np.concatenate([label[part][right[part]], more]),
                                     crowd=np.zeros(len(truth), bool)))
        group.append(f"clip {clip[start]:03d}")
    return (BoxPredictions.of(ids, found, classes, note={"simulated": True}),
            BoxTruth.of(ids, marks, classes, group=group, priority=priority))


def simulated(seed=0, clips=20, boxes=200, change=lambda z: z, weights=(0.5, 0.3, 0.2), **options):
    """Boxes of clips whose true logits are normal around -1; scores are sigmoids of ``change`` of them."""
    rng = np.random.default_rng(seed)
    z = rng.normal(-1, 2, clips * boxes)
    label = rng.choice(len(weights), len(z), p=weights)
    return of_scores(expit(change(z)), rng.uniform(size=len(z)) < expit(z), label,
                     np.repeat(np.arange(clips), boxes), **options)


def halves(predictions, truth):
    """Predictions of one half of the clips, and of the other."""
    first = truth.group < f"clip {len(np.unique(truth.group)) // 2:03d}"
    return predictions.take(first), predictions.take(~first)


def logits(score):
    return logit(np.asarray(score, np.float64))
