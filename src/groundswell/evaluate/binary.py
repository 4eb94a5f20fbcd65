"""evaluate: every score of a task of two classes, each with an interval from resampled groups."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.metrics import binary_summary
from groundswell.data.predictions import Predictions
from groundswell.evaluate.areas import class_area_estimates
from groundswell.evaluate.calibration import calibrate
from groundswell.evaluate.intervals import Estimate, accuracy_estimate, bootstrap, sums_by_group
from groundswell.evaluate.recipe import EvaluateRecipe

SCORES = ("accuracy", "balanced_accuracy", "f1_weighted", "precision_weighted", "recall_weighted", "sensitivity",
          "specificity", "mcc", "norm_mcc", "class_accuracy_0", "class_accuracy_1", "f1_0", "f1_1", "minority_f1",
          "roc_auc", "pr_auc", "brier", "ece")
"""What :func:`binary_scores` gives, in the order reports show it."""
_OF_BOTH = ("balanced_accuracy", "mcc", "norm_mcc", "minority_f1", "roc_auc", "pr_auc")
_DIRECT = ("brier", "ece", "roc_auc", "pr_auc", "minority_f1")


def binary_scores(predictions: Predictions, group: NDArray[np.int64], recipe: EvaluateRecipe, *, positive: int = 1,
                  minority: int | None = None, level: str = "sample", seed: int = 0) -> dict[str, Estimate]:
    """Scores of predictions of two classes, by the names of :data:`SCORES`.

    ``recall_weighted`` is accuracy by another name. ``roc_auc`` and ``pr_auc`` are those of the positive class.
    ``brier`` is summed over both classes (0 to 2, as everywhere in this room; twice the mean of (p - y)**2), ``ece``
    that of the more probable class. What asks for both classes, or for one that does not occur, has no value and says
    why; with a single group there are values without intervals.

    Args:
        predictions: those whose truth is unknown are left out.
        group: number of each prediction's group, shape (n,); whole groups are resampled.
        recipe: confidence, resamples, bins.
        positive: index of the positive class.
        minority: index of the rarer class, where the training samples say so; by default the rarer one among the
            truths (the positive one if they are alike).
        level: "sample" or "window", which resemble their neighbours; any other is a unit of its own, whose accuracy
            gets Wilson's interval.
        seed: of the bootstrap.

    Raises:
        InputError: there are not two classes.
    """
    names = predictions.classes
    if len(names) != 2:
        raise InputError(f"These scores are for two classes, and there are {len(names)}: {', '.join(names)}")
    known = predictions.truth >= 0
    predictions, group = predictions.take(known), np.unique(group[known], return_inverse=True)[1].astype(np.int64)
    if not len(predictions):
        return {name: Estimate(None, why="nothing was scored") for name in SCORES}
    count = np.bincount(predictions.truth, minlength=2)
    if minority is None:
        minority = positive if count[0] == count[1] else int(count.argmin())
    found = _confusion_estimates(predictions, group, recipe, positive, seed)
    found["minority_f1"] = found[f"f1_{minority}"]
    if level not in ("sample", "window"):
        hits = float((predictions.predicted == predictions.truth).sum())
        found["accuracy"] = accuracy_estimate(hits, len(predictions), recipe.confidence)
    calibration = calibrate(predictions, group, recipe, seed)
    found |= {"brier": calibration.brier, "ece": calibration.ece}
    if count.all():
        found |= class_area_estimates(predictions, positive, group, recipe, seed)
    else:
        missing = int(count.argmin())
        why = f"needs samples of both classes, and there is none of '{names[missing]}'"
        rate = "sensitivity" if missing == positive else "specificity"
        found |= {name: Estimate(None, why=why)
                  for name in (*_OF_BOTH, f"class_accuracy_{missing}", f"f1_{missing}", rate)}
    return {name: found[name] for name in SCORES}


def _confusion_estimates(predictions: Predictions, group: NDArray[np.int64], recipe: EvaluateRecipe, positive: int,
                         seed: int) -> dict[str, Estimate]:
    def scores(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        every = binary_summary(sums.reshape(-1, 2, 2), positive)
        return {name: every[name] for name in SCORES if name not in _DIRECT}

    return bootstrap(sums_by_group(group, 2 * predictions.truth + predictions.predicted, 4), scores,
                     resamples=recipe.bootstrap, confidence=recipe.confidence, seed=seed)
