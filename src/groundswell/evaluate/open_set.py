"""evaluate: samples of classes that training had none of, which no answer can be right about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.data.predictions import Predictions
from groundswell.evaluate.areas import class_area_estimates
from groundswell.evaluate.exposure import Exposure
from groundswell.evaluate.intervals import Estimate
from groundswell.evaluate.metrics import Scores, score
from groundswell.evaluate.recipe import EvaluateRecipe


@dataclass(frozen=True)
class OpenSet:
    """Known classes and unseen ones, apart. The headline counts both: who uses a model meets both.

    Attributes:
        known: samples whose class the model that answered was taught.
        unseen: samples whose class it was not.
        unseen_classes: tested samples of each class that some model was tested on without having been taught it.
        scores: of the known samples alone; ``None`` where there is nothing to tell apart.
        auroc: how well the largest probability tells known from unseen: the share of pairs in which the known sample's
            is higher, ties counting half. 0.5 is chance.
    """

    known: int
    unseen: int
    unseen_classes: dict[str, int]
    scores: Scores | None
    auroc: Estimate

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"known": self.known, "unseen": self.unseen, "unseen_classes": self.unseen_classes,
                "scores": None if self.scores is None else self.scores.to_dict(), "auroc": self.auroc.to_dict()}

    def sentence(self) -> str:
        """What follows; empty where every tested class was taught."""
        if not self.unseen:
            return ""
        names = list(self.unseen_classes)
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        classes = f"{len(names)} class{'es' if len(names) > 1 else ''}"
        text = (f"{self.unseen} of {self.known + self.unseen} tested samples are of {classes} that training had "
                f"none of ({shown}): they count as wrong")
        value = None if self.scores is None else self.scores.accuracy.value
        return f"{text}." if value is None else f"{text}, and without them the accuracy is {value:.3f}."


def open_set(predictions: Predictions, group: NDArray[np.int64], exposure: Exposure, recipe: EvaluateRecipe, *,
             level: str, seed: int = 0, prevalence: NDArray[np.float64] | None = None) -> OpenSet:
    """Score known samples apart from unseen ones.

    Args:
        predictions: of units; those whose truth is unknown are left out.
        group: number of each prediction's group, shape (n,).
        exposure: what was taught.
        recipe: confidence, resamples, ``n_min``.
        level: of the predictions.
        seed: of the bootstrap.
        prevalence: for the weighted score, see :func:`groundswell.evaluate.metrics.score`.
    """
    told = predictions.truth >= 0
    predictions, group = predictions.take(told), group[told]
    seen = exposure.seen(predictions)
    known, unseen = int(seen.sum()), int((~seen).sum())
    count = np.bincount(predictions.truth[~seen], minlength=len(predictions.classes))
    names = {name: int(n) for name, n in zip(predictions.classes, count, strict=True) if n}
    scores = None
    if unseen and known >= recipe.n_min:
        scores = score(predictions.take(seen), group[seen], recipe, level=level, seed=seed, prevalence=prevalence)
    return OpenSet(known, unseen, names, scores, _auroc(predictions, group, seen, recipe, seed))


def _auroc(predictions: Predictions, group: NDArray[np.int64], seen: NDArray[np.bool_], recipe: EvaluateRecipe,
           seed: int) -> Estimate:
    known, unseen = int(seen.sum()), int((~seen).sum())
    if not unseen:
        return Estimate(None, why="every tested class was taught")
    if min(known, unseen) < recipe.n_min:
        return Estimate(None, why=f"{known} samples of known classes and {unseen} of unseen ones were tested, and each "
                                  f"needs {recipe.n_min}")
    top = predictions.probability.max(axis=1)
    two = Predictions.of(predictions.sample_id, seen.astype(np.int64), np.stack([1 - top, top], 1), ("unseen", "known"))
    dense = np.unique(group, return_inverse=True)[1].astype(np.int64)
    return class_area_estimates(two, 1, dense, recipe, seed)["roc_auc"]
