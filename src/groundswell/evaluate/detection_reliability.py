"""evaluate: whether the score of a box is the frequency with which such boxes are right."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from groundswell.core.metrics import ratio
from groundswell.evaluate.calibration import LEAST_PROBABILITY, Bin, Calibration
from groundswell.evaluate.detection_matching import IGNORED, RIGHT, Matches
from groundswell.evaluate.detection_recipe import DetectionEvaluateRecipe
from groundswell.evaluate.intervals import Estimate, FloatArray, bootstrap

LEAST = 0.05
"""Scores from which boxes are looked at: below them nearly all boxes are wrong, and nobody uses them."""
BINS = 15
"""Of equal width, from 0 to 1."""


def reliability_of(matches: Matches, group: NDArray[np.object_], recipe: DetectionEvaluateRecipe, seed: int,
                   bins: int = BINS) -> Calibration:
    """Scores against frequencies at overlap 0.5, with intervals of resampled groups.

    The expected calibration error is that of detections (D-ECE, after Küppers et al. 2020) over bins of the score; the
    log loss and the Brier score are those of "this box is right", binary.

    Args:
        matches: of the images.
        group: of each image, text, shape (rows,).
        recipe: confidence, resamples.
        seed: of the bootstrap.
        bins: of equal width.
    """
    used = (matches.score >= LEAST) & (matches.state[0] != IGNORED)
    if not used.any():
        return no_reliability(f"no box has a score of {LEAST:g} or more")
    names, of = np.unique(np.asarray(group, dtype=str), return_inverse=True)
    score, right = matches.score[used], (matches.state[0][used] == RIGHT).astype(np.float64)
    sums = reliability_sums(score, right, of[matches.row[used]], len(names), bins)
    found = bootstrap(sums, reliability_scores, resamples=recipe.bootstrap, confidence=recipe.confidence, seed=seed)
    return reliability_from(found, score, bins)


def no_reliability(why: str) -> Calibration:
    """No numbers, and the reason."""
    nothing = Estimate(None, why=why)
    return Calibration(nothing, nothing, nothing, [])


def reliability_sums(score: FloatArray, right: FloatArray, group: NDArray[np.int64], groups: int,
                     bins: int = BINS) -> sparse.csr_array:
    """Sums over the boxes of each group that D-ECE, log loss and Brier score follow from.

    Args:
        score: 0 to 1, shape (k,).
        right: 1 for boxes that are, else 0, shape (k,).
        group: number of each box's group, from 0, shape (k,).
        groups: how many there are.
        bins: of equal width.

    Returns:
        Shape (groups, 3 bins + 2): boxes, scores and right boxes of each bin, log loss, squared error.
    """
    place = bin_of(score, bins)
    likely = np.clip(np.where(right > 0, score, 1 - score), LEAST_PROBABILITY, None)
    values = (np.ones(len(score)), score, right, -np.log(likely), (score - right) ** 2)
    column = np.concatenate([place, place + bins, place + 2 * bins, np.full(len(score), 3 * bins),
                             np.full(len(score), 3 * bins + 1)])
    return sparse.csr_array((np.concatenate(values), (np.tile(group, len(values)), column)),
                            shape=(groups, 3 * bins + 2))


def reliability_scores(total: FloatArray) -> dict[str, FloatArray]:
    """What sums of :func:`reliability_sums`, shape (r, 3 bins + 2), say: ``ece``, ``log_loss``, ``brier`` and the share
    of right boxes in each ``bin b``, each of shape (r,)."""
    bins = (total.shape[1] - 2) // 3
    count, sure, hits = (total[:, i * bins:(i + 1) * bins] for i in range(3))
    boxes = count.sum(axis=1)
    return {"ece": ratio(np.abs(hits - sure).sum(axis=1), boxes, np.nan),
            "log_loss": ratio(total[:, 3 * bins], boxes, np.nan),
            "brier": ratio(total[:, 3 * bins + 1], boxes, np.nan),
            **{f"bin {b}": ratio(hits[:, b], count[:, b], np.nan) for b in range(bins)}}


def reliability_from(found: Mapping[str, Estimate], score: FloatArray, bins: int = BINS) -> Calibration:
    """The estimates of :func:`reliability_scores` with the mean score and the boxes of each bin that has any."""
    place = bin_of(score, bins)
    count = np.bincount(place, minlength=bins)
    mean = ratio(np.bincount(place, score, minlength=bins), count.astype(np.float64))
    return Calibration(found["ece"], found["log_loss"], found["brier"],
                       [Bin(int(count[b]), float(mean[b]), found[f"bin {b}"]) for b in range(bins) if count[b]])


def bin_of(score: FloatArray, bins: int = BINS) -> NDArray[np.int64]:
    """The bin of each score."""
    return np.minimum((score * bins).astype(np.int64), bins - 1)
