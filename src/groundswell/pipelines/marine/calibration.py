"""marine: scores of boxes that say how often such boxes are right: a slope and an offset of the logit, per class.

A detector's score of a box is the sigmoid of one number and knows nothing of other classes, so what is fitted is
binary: the box is right, or it is not. "Right" is decided as COCO does it, box by box in the order of the scores,
within the class. The slope is positive, so that boxes of a class keep their order, and with it their average precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from groundswell.core.errors import InputError
from groundswell.data.boxes import BoxPredictions, BoxTruth
from groundswell.evaluate.calibration import TEMPERATURES
from groundswell.evaluate.detection_calibration import CALIBRATED
from groundswell.evaluate.detection_matching import IGNORED, RIGHT, match
from groundswell.evaluate.intervals import FloatArray
from groundswell.pipelines.marine.recipe import CalibrateRecipe

Ints = NDArray[np.int64]
Method = Literal["temperature", "platt"]
FLOOR = 0.01
"""Score from which boxes are fitted. Detectors give hundreds of boxes an image of which nearly all are wrong and score
less; where the truth bends away from a line in the logit, they bend the fit where scores matter. In simulations with
and without such bends, over 4 to 40 clips, the D-ECE of other clips came out as 0.012 to 0.042 with this floor, up to
0.045 with 0.001 and up to 0.073 with 0.05, which leaves too few boxes."""
_SLOPES = (1 / TEMPERATURES[1], 1 / TEMPERATURES[0])
_EDGE = 1e-7  # a score nearer to 0 or 1 counts as this near
_FEWEST_CLIPS = 2


@dataclass(frozen=True)
class Calibrator:
    """Slope and offset of the logit of each class's scores.

    Attributes:
        method: temperature (the offset is 0) or platt.
        classes: names.
        coefficients: slope (above 0) and offset, float64, shape (classes, 2).
        own: whether a class has coefficients of its own or those of all classes together, bool, shape (classes,).
        boxes, right: fitted boxes of each class, and how many of them were right, int64, shape (classes,).
        clips: that it was fitted on, in order; scores of these must not be judged.
        why: why scores are left as they are; empty where they are not.

    Raises:
        InputError: shapes disagree, or a slope is not positive.
    """

    method: Method
    classes: tuple[str, ...]
    coefficients: FloatArray
    own: NDArray[np.bool_]
    boxes: Ints
    right: Ints
    clips: tuple[str, ...]
    why: str = ""

    def __post_init__(self) -> None:
        n = len(self.classes)
        if self.coefficients.shape != (n, 2) or not self.own.shape == self.boxes.shape == self.right.shape == (n,):
            raise InputError(f"A calibration of {n} classes needs a slope and an offset for each")
        if not np.isfinite(self.coefficients).all() or (self.coefficients[:, 0] <= 0).any():
            raise InputError("The slopes of a calibration must be above 0, and all its numbers finite")

    def frequency(self, score: NDArray[Any], label: Ints) -> NDArray[np.float32]:
        """How often boxes of such a score and class are right.

        Args:
            score: 0 to 1, shape (k,).
            label: class, shape (k,).

        Returns:
            float32, shape (k,); it rises with the score within a class, up to rounding.
        """
        if self.why:
            return np.asarray(score, np.float32)
        slope, offset = self.coefficients[label].T
        found: NDArray[np.float32] = expit(slope * _logit(score) + offset).astype(np.float32)
        return found

    def apply(self, predictions: BoxPredictions) -> BoxPredictions:
        """The same boxes with frequencies for scores; a note says that they are.

        Raises:
            InputError: the classes differ, or the scores were calibrated before.
        """
        if predictions.classes != self.classes:
            raise InputError(f"A calibration of {', '.join(self.classes)} cannot be used on scores of "
                             f"{', '.join(predictions.classes)}")
        if CALIBRATED in predictions.note:
            raise InputError("These scores were calibrated before", fix="Start from the scores of the detector")
        note = {**predictions.note, CALIBRATED: {"method": self.method, "clips": list(self.clips)}}
        return replace(predictions, score=self.frequency(predictions.score, predictions.label), note=note)

    def sentences(self) -> list[str]:
        """What it was fitted on, and who shares."""
        if self.why:
            return [f"Scores are left as they are: {self.why}."]
        line = (f"The calibration ({self.method}) was fitted on {self.boxes.sum()} boxes with a score of {FLOOR:g} or "
                f"more in {len(self.clips)} clip{'s' if len(self.clips) > 1 else ''}, {self.right.sum()} of them right")
        sharing = [name for name, own in zip(self.classes, self.own, strict=True) if not own]
        if len(sharing) == len(self.classes) > 1:
            return [f"{line}; one for all classes, for none has enough boxes of its own."]
        return [f"{line}.", *([f"Too few boxes for a calibration of their own, so that of all classes serves them: "
                               f"{', '.join(sharing)}."] if sharing and len(self.classes) > 1 else [])]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        each = zip(self.classes, self.coefficients.tolist(), self.own.tolist(), self.boxes.tolist(),
                   self.right.tolist(), strict=True)
        return {"method": self.method, "why": self.why, "clips": list(self.clips),
                "classes": [{"name": name, "slope": slope, "offset": offset, "own": own, "boxes": boxes, "right": right}
                            for name, (slope, offset), own, boxes, right in each]}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Calibrator:
        """What :meth:`to_dict` gave.

        Raises:
            InputError: damaged.
        """
        try:
            if facts["method"] not in get_args(Method):
                raise ValueError(f"there is no method {facts['method']!r}")
            rows = list(facts["classes"])
            if not all(isinstance(row["own"], bool) for row in rows):
                raise ValueError("'own' is true or false")
            return cls(facts["method"], tuple(str(row["name"]) for row in rows),
                       np.array([[float(row["slope"]), float(row["offset"])] for row in rows]).reshape(-1, 2),
                       np.array([row["own"] for row in rows], bool),
                       np.array([int(row["boxes"]) for row in rows], np.int64),
                       np.array([int(row["right"]) for row in rows], np.int64),
                       tuple(str(clip) for clip in facts["clips"]), str(facts["why"]))
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise InputError(f"The calibration is damaged: {error}", fix="Calibrate again") from error


def fit_calibration(predictions: BoxPredictions, truth: BoxTruth, recipe: CalibrateRecipe) -> Calibrator:
    """Fit slopes and offsets (Platt 1999; with ``temperature`` slopes alone, Guo et al. 2017) by maximum likelihood.

    Args:
        predictions: of images that will not be judged; any scores.
        truth: of at least those images; its groups are the clips.
        recipe: method, overlap from which a box is right, fewest boxes of a class.

    Returns:
        A calibrator; one that leaves scores as they are, and says why, where there is nothing to learn from.

    Raises:
        InputError: the classes differ, the true boxes of an image are not known, or scores were calibrated before.
    """
    if CALIBRATED in predictions.note:
        raise InputError("These scores were calibrated before", fix="Start from the scores of the detector")
    matches = match(predictions, truth, overlaps=np.array([recipe.iou]))
    used = (matches.score >= FLOOR) & (matches.state[0] != IGNORED)
    label, right = matches.label[used], matches.state[0][used] == RIGHT
    x, classes = _logit(matches.score[used]), len(predictions.classes)
    clip = truth.beside(predictions.sample_id).group.astype(str)
    of = np.unique(clip, return_inverse=True)[1][matches.row[used]]
    boxes, hits = np.bincount(label, minlength=classes), np.bincount(label[right], minlength=classes)
    why = _nothing_to_learn(right, recipe.least)
    shared = np.array([1.0, 0.0]) if why else _fit(x, right, recipe.method, np.array([1.0, 0.0]))
    coefficients, own = np.tile(shared, (classes, 1)), np.zeros(classes, bool)
    for c in range(classes if not why else 0):
        mine = label == c
        own[c] = _enough(right[mine], of[mine], recipe.least)
        if own[c]:
            coefficients[c] = _fit(x[mine], right[mine], recipe.method, shared)
    return Calibrator(recipe.method, predictions.classes, coefficients, own, boxes.astype(np.int64),
                      hits.astype(np.int64), tuple(np.unique(clip).tolist()), why)


def _logit(score: NDArray[Any]) -> FloatArray:
    return np.asarray(logit(np.clip(np.asarray(score, np.float64), _EDGE, 1 - _EDGE)))


def _nothing_to_learn(right: NDArray[np.bool_], least: int) -> str:
    if len(right) < least:
        return f"only {len(right)} boxes have a score of {FLOOR:g} or more, and {least} are the fewest to fit on"
    if right.all() or not right.any():
        return f"of {len(right)} boxes {'all' if right.all() else 'none'} are right, so that nothing tells them apart"
    return ""


def _enough(right: NDArray[np.bool_], clip: Ints, least: int) -> bool:
    return len(right) >= least and bool(right.any()) and not right.all() and len(np.unique(clip)) >= _FEWEST_CLIPS


def _fit(x: FloatArray, right: NDArray[np.bool_], method: Method, start: FloatArray) -> FloatArray:
    """Slope and offset that make it likeliest which boxes, of logits ``x``, are right."""
    hits, misses = int(right.sum()), int((~right).sum())
    target = np.where(right, (hits + 1) / (hits + 2), 1 / (misses + 2))

    def loss(given: FloatArray) -> tuple[float, FloatArray]:
        z = given[0] * x + given[1]
        off = expit(z) - target
        return float((np.logaddexp(0, z) - target * z).mean()), np.array([(off * x).mean(), off.mean()])

    fixed = (0.0, 0.0) if method == "temperature" else (-20.0, 20.0)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[_SLOPES, fixed])
    return np.asarray(found.x, np.float64)
