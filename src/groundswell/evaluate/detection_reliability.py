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
_BINS = 15


def reliability_of(matches: Matches, group: NDArray[np.object_], recipe: DetectionEvaluateRecipe, seed: int,
                   bins: int = _BINS) -> Calibration:
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
        nothing = Estimate(None, why=f"no box has a score of {LEAST:g} or more")
        return Calibration(nothing, nothing, nothing, [])
    names, of = np.unique(np.asarray(group, dtype=str), return_inverse=True)
    score, right = matches.score[used], (matches.state[0][used] == RIGHT).astype(np.float64)
    place = np.minimum((score * bins).astype(np.int64), bins - 1)
    likely = np.clip(np.where(right > 0, score, 1 - score), LEAST_PROBABILITY, None)
    values = (np.ones(len(score)), score, right, -np.log(likely), (score - right) ** 2)
    column = np.concatenate([place, place + bins, place + 2 * bins, np.full(len(score), 3 * bins),
                             np.full(len(score), 3 * bins + 1)])
    row = np.tile(of[matches.row[used]], len(values))
    sums = sparse.csr_array((np.concatenate(values), (row, column)), shape=(len(names), 3 * bins + 2))

    def scores(total: FloatArray) -> Mapping[str, FloatArray]:
        count, sure, hits = (total[:, i * bins:(i + 1) * bins] for i in range(3))
        boxes = count.sum(axis=1)
        return {"ece": ratio(np.abs(hits - sure).sum(axis=1), boxes, np.nan),
                "log_loss": ratio(total[:, 3 * bins], boxes, np.nan),
                "brier": ratio(total[:, 3 * bins + 1], boxes, np.nan),
                **{f"bin {b}": ratio(hits[:, b], count[:, b], np.nan) for b in range(bins)}}

    found = bootstrap(sums, scores, resamples=recipe.bootstrap, confidence=recipe.confidence, seed=seed)
    count = np.bincount(place, minlength=bins)
    mean = ratio(np.bincount(place, score, minlength=bins), count.astype(np.float64))
    return Calibration(found["ece"], found["log_loss"], found["brier"],
                       [Bin(int(count[b]), float(mean[b]), found[f"bin {b}"]) for b in range(bins) if count[b]])
