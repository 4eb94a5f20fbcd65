"""marine: how much an image is worth annotating, by several criteria, all from raw scores before any threshold.

Every criterion of an image is a mean over boxes, or that of one box, and never a sum: an image does not come first for
having many boxes. Shape letters: q place or query of the network, c class, k box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.core.boxes import iou
from groundswell.pipelines.marine.recipe import SelectRecipe

CRITERIA = ("entropy", "least_confidence", "margin", "variation", "critical", "rarity")
"""By their names in the recipe, where each one's weight is."""
FLOOR = 0.01
"""Raw score from which a place is looked at."""
SEEN = 0.1
"""Raw score from which a critical or rare species counts as seen; the band's lower end where that is lower."""
MATCH = 0.5
"""Overlap from which two boxes, found in two views of an image, are one."""
_MOST = 1000


class Places(NamedTuple):
    """Where something may be in an image, the surest place first.

    Attributes:
        boxes: left, top, right, bottom in pixels of the input, float32, (k, 4).
        scores: of each class on its own, float32, (k, c).
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]

    @property
    def best(self) -> NDArray[np.float32]:
        """Score of each place's likeliest class, (k,)."""
        found: NDArray[np.float32] = self.scores.max(axis=1, initial=0)
        return found


def places_of(raw_boxes: NDArray[np.float32], raw_scores: NDArray[np.float32], *, size: int, overlap: float,
              most: int) -> Places:
    """Places of one image, of whatever score from 0.01 on.

    Answers that overlap are one place, whatever classes they are of, and each class has the highest score that one of
    them gives it: engines of queries tell two likely classes of one animal by two boxes.

    Args:
        raw_boxes: as shares of the input, (q, 4).
        raw_scores: of each class on its own, before any threshold, (q, c).
        size: edge of the input, pixels.
        overlap: intersection over union above which boxes are one place.
        most: places, at most.
    """
    best = raw_scores.max(axis=1)
    order = np.argsort(-best, kind="stable")[:_MOST]
    left = order[best[order] >= FLOOR]
    boxes: list[NDArray[np.float32]] = []
    scores: list[NDArray[np.float32]] = []
    while len(left) and len(boxes) < most:
        near = iou(raw_boxes[left[:1]], raw_boxes[left])[0] > overlap
        near[0] = True
        boxes.append(raw_boxes[left[0]])
        scores.append(raw_scores[left[near]].max(axis=0))
        left = left[~near]
    return Places(np.asarray(boxes, np.float32).reshape(-1, 4) * np.float32(size),
                  np.asarray(scores, np.float32).reshape(-1, raw_scores.shape[1]))


def mirrored(places: Places, size: int) -> Places:
    """Places of a mirrored input as they lie in the input itself, and back."""
    left, top, right, bottom = places.boxes.T
    return Places(np.stack([size - right, top, size - left, bottom], axis=1), places.scores)


def entropy_of(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Binary entropy of scores in bits, float64, of their shape: each score is that of a yes or no of its own."""
    p = np.clip(np.asarray(scores, np.float64), 1e-9, 1 - 1e-9)
    found: NDArray[np.float64] = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return found


def criteria_of(places: Places, views: Sequence[Places], *, band: tuple[float, float], critical: NDArray[np.bool_],
                rare: NDArray[np.float64]) -> dict[str, float]:
    """What speaks for annotating an image, by criterion; 0 is nothing, and no two are on the same scale.

    entropy: binary entropies of a box's scores, summed over its classes (bits), mean over the boxes of the band.
    least_confidence: one minus the score of the surest box; 0 where none reaches the band, for such an image is empty
    as far as the detector can tell. margin: one minus the difference of a box's two likeliest classes, mean over boxes
    from the band's lower end on; 0 for detectors of one class. variation: see :func:`variation_of`, mean over views.
    critical: highest score of a critical species. rarity: highest score of a class times how rare it is.

    Args:
        places: of the image.
        views: of the same image seen otherwise, in the image's own coordinates.
        band: raw scores that count as uncertain, both ends among them.
        critical: which classes are critical species, (c,).
        rare: how rare each class is so far, 0 to 1, (c,).
    """
    best, (low, high) = places.best, band
    inside, seen = (best >= low) & (best <= high), best >= low
    shown = places.scores * (places.scores >= min(SEEN, low))
    found = dict.fromkeys(CRITERIA, 0.0)
    if inside.any():
        found["entropy"] = float(entropy_of(places.scores[inside]).sum(axis=1).mean())
    if seen.any():
        found["least_confidence"] = 1 - float(best.max())
        if places.scores.shape[1] > 1:
            second, first = np.sort(places.scores[seen], axis=1)[:, -2:].T
            found["margin"] = float((1 - (first - second)).mean())
    if views:
        found["variation"] = float(np.mean([variation_of(places, view, low) for view in views]))
    found["critical"] = float(shown[:, critical].max(initial=0))
    found["rarity"] = float((shown * rare).max(initial=0))
    return found


def variation_of(one: Places, other: Places, low: float) -> float:
    """How much the scores of an image's boxes change in another view of it, 0 to 1.

    Boxes are matched by their overlap, one to one. What a matched box changes by is the largest change of any class's
    score; what is found in one view alone changes by its whole score. The mean is over boxes that reach ``low`` in one
    view or the other.
    """
    from scipy.optimize import linear_sum_assignment

    overlaps = iou(one.boxes, other.boxes)
    overlaps[overlaps < MATCH] = 0
    first, second = linear_sum_assignment(overlaps, maximize=True)
    there = overlaps[first, second] > 0
    first, second = first[there], second[there]
    counts = np.maximum(one.best[first], other.best[second]) >= low
    changes = [np.abs(one.scores[first] - other.scores[second]).max(axis=1, initial=0)[counts]]
    for places, matched in ((one, first), (other, second)):
        alone = np.delete(places.best, matched)
        changes.append(alone[alone >= low])
    every = np.concatenate(changes)
    return float(every.mean()) if len(every) else 0.0


def rare_classes(boxes: NDArray[np.int64]) -> NDArray[np.float64]:
    """How rare each class is, by the boxes it has so far (c,): the rarest 1, others by the square root of the ratio."""
    rare = 1 / np.sqrt(1 + boxes.astype(np.float64))
    found: NDArray[np.float64] = rare / rare.max()
    return found


def ranked(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Values as ranks, 0 (lowest) to 1, float64; equal ones share the lower rank, so nothing at all is 0.

    By ranks, no criterion outweighs another because it is on a larger scale or has a few extreme images.
    """
    from scipy.stats import rankdata

    if len(values) < 2:
        return np.zeros(len(values))
    found: NDArray[np.float64] = (rankdata(values, method="min") - 1) / (len(values) - 1)
    return found


def shares_of(values: NDArray[np.float64], recipe: SelectRecipe) -> NDArray[np.float64]:
    """What each criterion adds to the score of each image, (images, criteria): its rank over the pool times the
    recipe's weight, weights made to sum to 1; their sum is the score, 0 to 1."""
    weight = np.array([getattr(recipe, name) for name in CRITERIA], np.float64)
    weight = weight / weight.sum() if weight.sum() else weight
    ranks = np.stack([ranked(column) for column in values.T], axis=1) if len(values) else values
    found: NDArray[np.float64] = ranks * weight
    return found
