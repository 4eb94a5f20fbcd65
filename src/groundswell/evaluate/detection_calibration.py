"""evaluate: whether calibration brought the scores of boxes closer to the frequency with which they are right.

Scores before and after are compared on the same boxes and in the same resamples of whole groups (clips), so that the
difference has an interval of its own. Boxes take part whose score is :data:`LEAST` or more before or after: nobody uses
weaker ones, they are nearly all wrong, and there are so many that they would hide the error of the others. An error
that cannot be below 0 leans upwards in resamples, the more so the smaller it is: the interval of the difference says
rather too little for calibration than too much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy import sparse

from groundswell.core.errors import InputError
from groundswell.core.files import write_bytes
from groundswell.data.boxes import BoxPredictions, BoxTruth
from groundswell.evaluate.calibration import Calibration
from groundswell.evaluate.detection_bootstrap import FEW_GROUPS
from groundswell.evaluate.detection_figures import reliability_curve
from groundswell.evaluate.detection_matching import IGNORED, RIGHT, match
from groundswell.evaluate.detection_recipe import DetectionEvaluateRecipe
from groundswell.evaluate.detection_reliability import (
    BINS,
    LEAST,
    no_reliability,
    reliability_from,
    reliability_scores,
    reliability_sums,
)
from groundswell.evaluate.detection_words import told
from groundswell.evaluate.figures import BLUE, ORANGE, nothing, panels, png_of
from groundswell.evaluate.intervals import Estimate, FloatArray, bootstrap

CALIBRATED = "calibrated"
"""Name of the note of predictions whose scores were calibrated: the method, and the clips it was fitted on."""
SCORES = ("ece", "log_loss", "brier")


@dataclass(frozen=True)
class Compared:
    """Some boxes before and after.

    Attributes:
        boxes, right: how many take part, and how many of them are right.
        before, after: calibration of their scores.
        difference: after less before of each of :data:`SCORES`; below 0 where calibration helped.
    """

    boxes: int
    right: int
    before: Calibration
    after: Calibration
    difference: Mapping[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"boxes": self.boxes, "right": self.right, "before": self.before.to_dict(),
                "after": self.after.to_dict(),
                "difference": {name: one.to_dict() for name, one in self.difference.items()}}


@dataclass(frozen=True)
class Comparison:
    """Scores before and after calibration.

    Attributes:
        whole: all boxes.
        critical: those of critical classes; ``None`` where there are none.
        images, groups: that were judged.
        overlap: from which a box is right.
        seen: groups that calibration was fitted on too; none, if all is well.
        simulated: the images are.
        confidence: of intervals.
    """

    whole: Compared
    critical: Compared | None
    images: int
    groups: int
    overlap: float
    seen: tuple[str, ...]
    simulated: bool
    confidence: float

    @property
    def helped(self) -> bool:
        """Whether the interval of the difference of D-ECE lies below 0, on groups that calibration did not see."""
        high = self.whole.difference["ece"].high
        return high is not None and high < 0 and not self.seen

    def sentences(self) -> list[str]:
        """What follows, most important first."""
        one = self.whole
        over = (f"Over {self.images} {'simulated ' if self.simulated else ''}image{'' if self.images == 1 else 's'} of "
                f"{self._clips()}")
        if one.before.ece.value is None:
            return [f"{over} calibration cannot be judged: {one.before.ece.why}."]
        lines = [f"{over}, the expected calibration error (D-ECE) of {one.boxes} boxes with a score of {LEAST:g} or "
                 f"more, right from an overlap of {self.overlap:g} on, is {told(one.before.ece, self.confidence)} "
                 f"before and {told(one.after.ece, self.confidence)} after calibration.", self._verdict()]
        if 1 < self.groups < FEW_GROUPS:
            lines.append(f"The intervals cannot be trusted: {self._clips()} say little of how clips differ.")
        lines.append("; ".join(
            f"{name} {told(getattr(one.before, key), None)} before, {told(getattr(one.after, key), None)} after, "
            f"difference {_signed(one.difference[key])}" for key, name in (("log_loss", "The log loss is"),
                                                                            ("brier", "the Brier score"))) + ".")
        if self.critical is not None and self.critical.before.ece.value is not None:
            lines.append(f"Of {self.critical.boxes} boxes of critical species the D-ECE is "
                         f"{told(self.critical.before.ece, None)} before and {told(self.critical.after.ece, None)} "
                         f"after, difference {_signed(self.critical.difference['ece'])}.")
        return lines

    def _verdict(self) -> str:
        difference = self.whole.difference["ece"]
        if difference.low is None or difference.high is None:
            return (f"The D-ECE changes by {_signed(difference)}, without an interval ({difference.why}): whether "
                    "calibration helps with other clips is not known.")
        if self.seen:
            return (f"Calibration was fitted on {len(self.seen)} of these {self._clips()}: the difference of the "
                    f"D-ECE, {_signed(difference)}, is too hopeful and shows nothing of other clips.")
        begins = f"The interval of the difference of the D-ECE, {_signed(difference)},"
        if difference.high < 0:
            return f"{begins} lies below 0: calibration brought scores closer to frequencies in these {self._clips()}."
        if difference.low > 0:
            return f"{begins} lies above 0: calibration took scores further from frequencies in these {self._clips()}."
        return f"{begins} does not lie below 0: these {self._clips()} do not show that calibration helped."

    def _clips(self) -> str:
        return f"{self.groups} clip{'' if self.groups == 1 else 's'}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"images": self.images, "groups": self.groups, "overlap": self.overlap, "floor": LEAST, "bins": BINS,
                "confidence": self.confidence, "fitted_on_too": list(self.seen), "helped": self.helped,
                **self.whole.to_dict(), "critical": None if self.critical is None else self.critical.to_dict()}

    def draw(self, path: Path) -> None:
        """Write a picture: reliability before and after, and below it how many boxes have which score."""
        parts = ((self.whole.before, "Before calibration", ORANGE), (self.whole.after, "After calibration", BLUE))
        curves = [lambda axes, one=one: reliability_curve(axes, *one) for one in parts]
        counts = [lambda axes, one=one: _counts(axes, *one) for one in parts]
        write_bytes(path, png_of(panels([*curves, *counts], 4.8, 3.6)))


def compare_calibration(before: BoxPredictions, after: BoxPredictions, truth: BoxTruth,
                        recipe: DetectionEvaluateRecipe, *, overlap: float = 0.5, seed: int = 0) -> Comparison:
    """D-ECE, log loss and Brier score of boxes before and after calibration, with intervals of resampled groups.

    Args:
        before, after: the same boxes, of images that calibration did not see; only their scores differ.
        truth: of at least those images; its groups are drawn.
        recipe: boxes that count, confidence, resamples.
        overlap: from which a box is right.
        seed: of the bootstrap.

    Raises:
        InputError: the boxes are not the same, or the true boxes of an image are not known.
    """
    same = (before.classes == after.classes and np.array_equal(before.sample_id, after.sample_id) and
            np.array_equal(before.count, after.count) and np.array_equal(before.boxes, after.boxes) and
            np.array_equal(before.label, after.label))
    if not same:
        raise InputError("Calibration is compared on the same boxes before and after; these are not the same")
    truth = truth.beside(before.sample_id)
    names, of = np.unique(truth.group.astype(str), return_inverse=True)
    state = [_states(one, truth, recipe.most, overlap) for one in (before, after)]
    score = [one.score.astype(np.float64) for one in (before, after)]
    # Either score: a detector whose scores are all too low must not be judged on none of its boxes. What is looked at
    # still depends on score and class alone, so a frequency that holds for all boxes holds for these.
    used = (np.maximum(*score) >= LEAST) & (state[0] != IGNORED) & (state[1] != IGNORED)
    group = of[before.image]
    critical = np.array([level == "critical" for level in truth.priority], bool)[before.label]

    def compared(boxes: NDArray[np.bool_]) -> Compared:
        return _compared([one[boxes] for one in score], [(one[boxes] == RIGHT).astype(np.float64) for one in state],
                         group[boxes], len(names), recipe, seed)

    fitted = after.note.get(CALIBRATED, {}).get("clips", [])
    return Comparison(compared(used), compared(used & critical) if (used & critical).any() else None, len(before),
                      len(names), overlap, tuple(sorted(set(names.tolist()) & set(fitted))),
                      bool(before.note.get("simulated")), recipe.confidence)


def _states(predictions: BoxPredictions, truth: BoxTruth, most: int, overlap: float) -> NDArray[np.int8]:
    """Whether each box is right, shape (m,); those beyond the most that count are ignored."""
    matches = match(predictions, truth, most, np.array([overlap]))
    state = np.full(len(predictions.score), IGNORED, np.int8)
    state[matches.box] = matches.state[0]
    return state


def _compared(score: list[FloatArray], right: list[FloatArray], group: NDArray[np.int64], groups: int,
              recipe: DetectionEvaluateRecipe, seed: int) -> Compared:
    if not len(group):
        none = no_reliability(f"no box has a score of {LEAST:g} or more")
        return Compared(0, 0, none, none, dict.fromkeys(SCORES, none.ece))
    sums = [reliability_sums(s, r, group, groups) for s, r in zip(score, right, strict=True)]
    wide = sums[0].shape[1]

    def scores(total: FloatArray) -> dict[str, FloatArray]:
        before, after = reliability_scores(total[:, :wide]), reliability_scores(total[:, wide:])
        return {**{f"before {name}": value for name, value in before.items()},
                **{f"after {name}": value for name, value in after.items()},
                **{name: after[name] - before[name] for name in SCORES}}

    found = bootstrap(sparse.csr_array(sparse.hstack(sums)), scores, resamples=recipe.bootstrap,
                      confidence=recipe.confidence, seed=seed)
    before, after = (reliability_from({name.removeprefix(f"{when} "): value for name, value in found.items()
                                       if name.startswith(when)}, one)
                     for when, one in zip(("before", "after"), score, strict=True))
    return Compared(len(group), int(right[0].sum()), before, after, {name: found[name] for name in SCORES})


def _counts(axes: Axes, found: Calibration, title: str, colour: str) -> None:
    """Boxes in each bin of the score."""
    axes.set_title(f"Boxes, {title[:1].lower()}{title[1:]}")
    if not found.bins:
        return nothing(axes, found.ece.why)
    axes.bar([(min(int(b.confidence * BINS), BINS - 1) + 0.5) / BINS for b in found.bins],
             [b.samples for b in found.bins], width=0.85 / BINS, color=colour, alpha=0.75)
    axes.set(xlabel="score of a box", ylabel="boxes", yscale="log", xlim=(-0.02, 1.02), ylim=(0.7, None))
    return None


def _signed(estimate: Estimate) -> str:
    if estimate.value is None:
        return "no number"
    ends = "" if estimate.low is None or estimate.high is None else f" ({estimate.low:+.3f} to {estimate.high:+.3f})"
    return f"{estimate.value:+.3f}{ends}".replace("-", "−")
