"""evaluate: how often training saw each class in each fold, and what guessing by that alone would score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.evaluate.units import units_of
from groundswell.splits.manifest import TRAIN, SplitManifest

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Exposure:
    """What the models were taught, as far as scores depend on it.

    Attributes:
        classes: of units, in the order of the columns of ``counts``.
        counts: training samples of each class in each fold, and in a last row those of all folds together; int64,
            shape (folds + 1, classes).
    """

    classes: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def folds(self) -> int:
        """Number of folds."""
        return len(self.counts) - 1

    def mean_counts(self) -> FloatArray:
        """Training samples of each class, mean over folds, shape (classes,)."""
        return np.asarray(self.counts[-1] / max(self.folds, 1), dtype=np.float64)

    def seen(self, predictions: Predictions) -> NDArray[np.bool_]:
        """Whether the model that answered was taught the true class, shape (n,); False where the truth is unknown."""
        return (predictions.truth >= 0) & (self._of(predictions) > 0)

    def chance(self, predictions: Predictions) -> float | None:
        """Accuracy to be expected of guessing with the training part's frequencies of the classes.

        In one fold it is never above the majority rate of the same samples. ``None`` where nothing is known or was
        taught.
        """
        known = predictions.truth >= 0
        total = self.counts.sum(1)[self._row(predictions)]
        if not known.any() or not total[known].all():
            return None
        return float((self._of(predictions)[known] / total[known]).mean())

    def _row(self, predictions: Predictions) -> NDArray[np.int64]:
        # An answer of no fold, or of several, is held against all folds together.
        inside = (predictions.fold >= 0) & (predictions.fold < self.folds)
        return np.where(inside, predictions.fold, self.folds)

    def _of(self, predictions: Predictions) -> NDArray[np.int64]:
        return np.asarray(self.counts[self._row(predictions), predictions.truth], dtype=np.int64)


def exposure_of(table: SampleTable, manifest: SplitManifest) -> Exposure:
    """Count what each fold trains on.

    Args:
        table: says what is true; a control's may hold other labels, or fewer samples, than the one that was split.
        manifest: says who trains.
    """
    units = units_of(table)
    truth = np.where(units.of_row >= 0, units.truth[units.of_row], -1)
    place = pd.Index(table.column("sample_id")).get_indexer(pd.Index(manifest.sample_id))
    label = np.where(place >= 0, truth[place], -1)
    counts = [np.bincount(label[(column == TRAIN) & (label >= 0)], minlength=len(units.classes))
              for column in manifest.assignment.T]
    return Exposure(units.classes, np.stack([*counts, np.sum(counts, axis=0)]).astype(np.int64))


def prevalence_of(recipe: EvaluateRecipe, exposure: Exposure) -> FloatArray:
    """Share of each class where the model will be used: the recipe's, or that of the training parts; shape (classes,).

    Raises:
        InputError: the recipe names a class that there is not, or none that there is.
    """
    given = recipe.prevalence
    strange = [name for name in given if name not in exposure.classes]
    if strange:
        raise InputError(f"There is no class '{strange[0]}'", where="evaluate.prevalence",
                         fix=f"Classes are: {', '.join(exposure.classes[:5])}"
                             f"{' ...' if len(exposure.classes) > 5 else ''}")
    weight = (np.array([given.get(name, 0.0) for name in exposure.classes]) if given
              else exposure.counts[-1].astype(np.float64))
    return np.asarray(weight / max(weight.sum(), 1e-300), dtype=np.float64)
