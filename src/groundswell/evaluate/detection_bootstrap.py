"""evaluate: how far average precision can be trusted: resamples of whole clips, shared by all that is compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.seeds import derive_seed
from groundswell.data.boxes import BoxPredictions, BoxTruth
from groundswell.evaluate.detection_matching import THRESHOLDS, Matches, match, places
from groundswell.evaluate.detection_recipe import DetectionEvaluateRecipe
from groundswell.evaluate.detection_scores import PrecisionCounts, mean_over
from groundswell.evaluate.intervals import Estimate, FloatArray, interval, times_drawn

FEW_GROUPS = 5
"""Fewer groups than this are too few for an interval that could be trusted."""
_NO_TRUTH = "there is no true box of it"


class ResampledPrecision:
    """Average precision of each class at each overlap, with that of every resample of the groups.

    Resamples are a function of the seed and the number of groups: two detectors that are judged on the same images with
    the same seed see the same draws, so that their differences pair them.

    Args:
        matches: of the images.
        group: of each image, text, shape (rows,).
        rows: which images take part; all if absent.
        resamples: how many; 0 for none.
        confidence: of intervals.
        seed: of the drawing.
        steps: which of :data:`THRESHOLDS` are looked at, 0.5 first; where that is all, there is no mean over overlaps.

    Attributes:
        values: shape (classes, steps); NaN where a class has no true box.
        draws: shape (resamples, classes, steps); no resamples where there are fewer than two groups.
    """

    def __init__(self, matches: Matches, group: NDArray[np.object_], rows: NDArray[np.bool_] | None = None, *,
                 resamples: int, confidence: float, seed: int,
                 steps: tuple[int, ...] = tuple(range(len(THRESHOLDS)))) -> None:
        here = np.ones(matches.rows, bool) if rows is None else rows
        kept = matches if rows is None else matches.of_rows(rows)
        names, of_kept = np.unique(np.asarray(group[here], dtype=str), return_inverse=True)
        of = np.zeros(matches.rows, np.int64)
        of[here] = of_kept
        self.groups, self.confidence, self.images = len(names), confidence, int(here.sum())
        self.true_boxes = kept.true_boxes()
        counts = PrecisionCounts(kept, of, self.groups, steps)
        self._groups_of = (counts.true > 0).sum(axis=0)
        self.values = counts.average_precision()[0]
        self.draws = np.full((0, *self.values.shape), np.nan)
        if self.groups > 1 and resamples:
            generator = np.random.default_rng(derive_seed(seed, "bootstrap", self.groups))
            self.draws = counts.average_precision(times_drawn(generator, self.groups, resamples).astype(np.float64))

    def value(self, chosen: NDArray[np.bool_] | None = None, *, overlaps: bool = False) -> float:
        """Mean over classes (those that are chosen), at overlap 0.5 or over all overlaps; NaN without a class."""
        return float(mean_over(self._over(self.values[None], overlaps), chosen)[0])

    def draw(self, chosen: NDArray[np.bool_] | None = None, *, overlaps: bool = False) -> FloatArray:
        """The same of every resample, shape (resamples,)."""
        return mean_over(self._over(self.draws, overlaps), chosen)

    def estimate(self, chosen: NDArray[np.bool_] | None = None, *, overlaps: bool = False, least: int = 0) -> Estimate:
        """The mean with its interval.

        Args:
            chosen: classes, bool, shape (classes,); all if absent.
            overlaps: the mean over all overlaps instead of that at 0.5.
            least: true boxes below which there is no number.
        """
        of = np.ones(len(self.values), bool) if chosen is None else chosen
        boxes = int(self.true_boxes[of].sum())
        if boxes == 0 or boxes < least:
            return Estimate(None, why=_NO_TRUTH if boxes == 0 else f"only {boxes} true box{'es' if boxes > 1 else ''}")
        groups = self.groups if chosen is None or of.sum() > 1 else int(self._groups_of[of].sum())
        return interval(self.value(chosen, overlaps=overlaps), self.draw(chosen, overlaps=overlaps)
                        if len(self.draws) else None, min(groups, self.groups), self.confidence)

    def less(self, other: ResampledPrecision, chosen: NDArray[np.bool_] | None = None, *,
             overlaps: bool = False) -> Estimate:
        """This one's mean less another's in the same resamples, with its interval."""
        if (self.groups, self.images, len(self.draws)) != (other.groups, other.images, len(other.draws)):
            return Estimate(None, why="the two were judged on different images")
        value = self.value(chosen, overlaps=overlaps) - other.value(chosen, overlaps=overlaps)
        draws = self.draw(chosen, overlaps=overlaps) - other.draw(chosen, overlaps=overlaps)
        return interval(value, draws if len(draws) else None, self.groups, self.confidence)

    @staticmethod
    def _over(values: FloatArray, overlaps: bool) -> FloatArray:
        return values.mean(axis=2) if overlaps else values[:, :, 0]


def paired_difference(a: BoxPredictions, b: BoxPredictions, truth: BoxTruth, recipe: DetectionEvaluateRecipe, *,
                      seed: int = 0, overlaps: bool = False, classes: NDArray[np.bool_] | None = None) -> Estimate:
    """mAP of ``a`` less that of ``b`` on the images that both predicted, with the interval of resampled groups.

    Args:
        a, b: each image once in either; their classes are the truth's.
        truth: of at least those images; its groups are drawn.
        recipe: boxes that count, confidence, resamples.
        seed: of the drawing.
        overlaps: mAP50-95 instead of mAP50.
        classes: which take part, bool, shape (classes,); all if absent.

    Returns:
        Above zero where ``a`` is better; an interval without zero says that it is, or is not, beyond these clips.

    Raises:
        InputError: an image is predicted twice by one of them, none by both, or its true boxes are not known.
    """
    for one in (a, b):
        if len(set(one.sample_id)) != len(one):
            raise InputError("A comparison needs each image once; this one holds boxes of several members",
                             fix="Fuse them, or take one member")
    shared = np.isin(a.sample_id, b.sample_id)
    if not shared.any():
        raise InputError("The two detectors have no image in common")
    a = a.take(shared)
    at = {name: row for row, name in enumerate(b.sample_id)}
    b = b.take(np.array([at[name] for name in a.sample_id], np.int64))
    group = truth.group[places(a, truth)]
    steps = tuple(range(len(THRESHOLDS) if overlaps else 1))
    first, second = (ResampledPrecision(match(one, truth, recipe.most), group, resamples=recipe.bootstrap,
                                        confidence=recipe.confidence, seed=seed, steps=steps) for one in (a, b))
    return first.less(second, classes, overlaps=overlaps)


__all__ = ["FEW_GROUPS", "THRESHOLDS", "ResampledPrecision", "paired_difference"]
