"""marine: the score of each class from which a box counts as an animal."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from groundswell.core.files import write_bytes
from groundswell.core.metrics import ratio
from groundswell.data.boxes import BoxPredictions, BoxTruth
from groundswell.evaluate.detection_figures import PRIORITY_COLOURS
from groundswell.evaluate.detection_matching import IGNORED, RIGHT, Matches, match
from groundswell.evaluate.figures import BLACK, GREY, PALETTE, nothing, panels, png_of
from groundswell.evaluate.intervals import FloatArray
from groundswell.pipelines.marine.recipe import CalibrateRecipe

Ints = NDArray[np.int64]
BETA = {"f1": 1.0, "recall": 2.0, "precision": 0.5}
"""How many times as much recall counts as precision, in the F measure (van Rijsbergen 1979) that is maximised."""
EQUAL = 0.02
"""Scores whose F measure is at most this below the best are as good. A class takes the middle of them, which in
simulations found 0.7 % to 1.2 % more F1 in other clips than the one score that was best by chance; a critical species
takes the lowest, for an animal that is missed costs more than one that is looked at in vain."""
UNKNOWN = 0.25
"""The threshold where no box is right, so that nothing can be chosen: the one that boxes are shown from."""
_MOST_CURVES = 6


@dataclass(frozen=True)
class Curve:
    """Boxes of a class, or of all, from a falling score on.

    Attributes:
        score: different scores, falling, shape (k,).
        found, right: boxes with that score or more, and how many of them are right, shape (k,).
        true: true boxes.
    """

    score: FloatArray
    found: FloatArray
    right: FloatArray
    true: int

    def f(self, beta: float) -> FloatArray:
        """The F measure at each score, shape (k,)."""
        return ratio((1 + beta**2) * self.right, beta**2 * self.true + self.found)


@dataclass(frozen=True)
class Thresholds:
    """The score of each class from which a box counts.

    Attributes:
        values: float64, shape (classes,); scores equal to it count.
        classes: names.
        priority: of each class.
        own: whether it was chosen by the class's own boxes or by those of all, bool, shape (classes,).
        measure, precision, recall: of each class at its threshold, in the images it was chosen on, which makes them
            too hopeful, float64, shape (classes,); NaN where undefined.
        curves: of each class, then of all.
        optimise: f1, recall or precision.
        images, clips: that they were chosen on.
    """

    values: FloatArray
    classes: tuple[str, ...]
    priority: tuple[str | None, ...]
    own: NDArray[np.bool_]
    measure: FloatArray
    precision: FloatArray
    recall: FloatArray
    curves: tuple[Curve, ...]
    optimise: str
    images: int
    clips: int

    def sentences(self) -> list[str]:
        """What was chosen, by what, and for whom."""
        if not self.curves[-1].right.any():
            return [f"No threshold could be chosen: of the boxes in {self.images} images none is right. Boxes count "
                    f"from {UNKNOWN:g} on."]
        chosen = [f"{name} {value:.2f}" for name, value, own in zip(self.classes, self.values, self.own, strict=True)
                  if own]
        sharing = [(name, value) for name, value, own in zip(self.classes, self.values, self.own, strict=True)
                   if not own]
        lines = [f"Thresholds were chosen on {self.images} images of {self.clips} clip{'' if self.clips == 1 else 's'} "
                 f"by {self._by()}{': ' if chosen else ''}{', '.join(chosen)}."]
        if sharing:
            lines.append("Too few boxes for a threshold of their own, so that all classes together chose it: "
                         f"{', '.join(f'{name} {value:.2f}' for name, value in sharing)}.")
        if "critical" in self.priority:
            lines.append(f"Of scores whose {self._measure()} is within {EQUAL:g} of the best, critical species take "
                         "the lowest, which misses fewest animals, and others the middle.")
        return lines

    def _measure(self) -> str:
        return "F1" if self.optimise == "f1" else f"F{BETA[self.optimise]:g}"

    def _by(self) -> str:
        more = {"f1": "", "recall": ", in which recall counts twice as much as precision",
                "precision": ", in which precision counts twice as much as recall"}
        return f"the highest {self._measure()}{more[self.optimise]}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        rows = zip(self.classes, self.values, self.own, self.measure, self.precision, self.recall, self.curves,
                   strict=False)
        return {"optimise": self.optimise, "images": self.images, "clips": self.clips,
                "classes": [{"name": name, "threshold": float(value), "own": bool(own), "measure": _known(measure),
                             "precision": _known(precision), "recall": _known(recall), "true_boxes": curve.true}
                            for name, value, own, measure, precision, recall, curve in rows]}

    def draw(self, path: Path) -> None:
        """Write a picture: the measure by score, with the thresholds; and precision and recall at them."""
        many = len(self.classes)
        write_bytes(path, png_of(panels([self._curves, self._rows], 5.6, max(4.4, 1.6 + 0.3 * many))))

    def _curves(self, axes: Axes) -> None:
        axes.set_title(f"{self._measure()} by the score from which boxes count")
        often = sorted((c for c in range(len(self.classes)) if self.own[c]), key=lambda c: -self.curves[c].true)
        whole = self.curves[-1]
        if not len(whole.score):
            return nothing(axes, "there is no box")
        beta = BETA[self.optimise]
        axes.step(whole.score, whole.f(beta), where="pre", color=BLACK, linewidth=2.4, label="all classes")
        for c, colour in zip(often[:_MOST_CURVES], cycle(PALETTE), strict=False):
            curve = self.curves[c]
            axes.step(curve.score, curve.f(beta), where="pre", color=colour, linewidth=1.3, label=self.classes[c])
            axes.plot([self.values[c]], [self.measure[c]], marker="o", color=colour)
        axes.set(xlabel="score", ylabel=self._measure(), xlim=(-0.02, 1.02), ylim=(-0.02, 1.05))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=8)
        return None

    def _rows(self, axes: Axes) -> None:
        axes.set_title("Thresholds; precision and recall there")
        for y, (value, own, priority) in enumerate(zip(self.values, self.own, self.priority, strict=True)):
            colour = PRIORITY_COLOURS.get(priority or "", BLACK)
            axes.plot([0, value], [y, y], color=colour, linewidth=1.2, alpha=0.5)
            axes.plot([value], [y], marker="o", color=colour, fillstyle="full" if own else "none")
            axes.text(1.03, y, f"{_text(self.precision[y])} / {_text(self.recall[y])}", va="center", fontsize=8,
                      color=GREY, transform=axes.get_yaxis_transform())
        axes.set_yticks(range(len(self.classes)), self.classes, fontsize=8)
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="threshold (hollow: shared)", xlim=(-0.02, 1.02), ylim=(len(self.classes) - 0.4, -0.6))


def thresholds_of(predictions: BoxPredictions, truth: BoxTruth, recipe: CalibrateRecipe) -> Thresholds:
    """Choose the threshold of each class.

    The F measure of a class's boxes is looked at from each of its scores on; of those that are as good as the best
    (:data:`EQUAL`) critical species take the lowest, others the middle. Halfway to the next lower score lies the
    threshold. A class with fewer than ``recipe.least`` true boxes or boxes, or without a right one, takes the threshold
    that all boxes together choose.

    Args:
        predictions: of images that will not be judged; calibrated, where calibrated scores are used.
        truth: of at least those images.
        recipe: overlap from which a box is right, what is optimised, fewest boxes of a class.

    Raises:
        InputError: the classes differ, or the true boxes of an image are not known.
    """
    matches = match(predictions, truth, overlaps=np.array([recipe.iou]))
    beta, classes, true = BETA[recipe.optimise], len(predictions.classes), matches.true_boxes()
    curves = (*(_curve(matches, matches.label == c, int(true[c])) for c in range(classes)),
              _curve(matches, np.ones(len(matches.label), bool), int(true.sum())))
    own = np.array([_enough(curve, recipe.least) for curve in curves[:-1]], bool)
    values = np.array([_best(curves[c] if own[c] else curves[-1], beta, truth.priority[c] == "critical")
                       for c in range(classes)])
    at = [_at(curve, value, beta) for curve, value in zip(curves[:-1], values, strict=True)]
    measure, precision, recall = np.array(at).reshape(-1, 3).T
    clips = np.unique(truth.beside(predictions.sample_id).group.astype(str))
    return Thresholds(values, predictions.classes, truth.priority, own, measure, precision, recall, curves,
                      recipe.optimise, len(predictions), len(clips))


def _curve(matches: Matches, of: NDArray[np.bool_], true: int) -> Curve:
    used = of & (matches.state[0] != IGNORED)
    score, right = matches.score[used], matches.state[0][used] == RIGHT
    order = np.argsort(-score, kind="stable")
    score, right = score[order], right[order]
    # Boxes of equal score count together or not at all.
    last = np.append(score[1:] != score[:-1], True)[:len(score)]
    return Curve(score[last], np.arange(1, len(score) + 1)[last].astype(np.float64),
                 np.cumsum(right)[last].astype(np.float64), true)


def _enough(curve: Curve, least: int) -> bool:
    return bool(min(curve.true, curve.found[-1] if len(curve.found) else 0) >= least and curve.right[-1] > 0)


def _best(curve: Curve, beta: float, lowest: bool) -> float:
    """The threshold of a curve: the lowest or the middle of the scores that are as good as the best."""
    if not curve.right.any():
        return UNKNOWN
    values = curve.f(beta)
    good = np.flatnonzero(values >= values.max() - EQUAL)
    place = int(good[-1])
    if not lowest:
        place = int((curve.score >= curve.score[good[[0, -1]]].mean()).sum()) - 1
        # Between two peaks the middle may be a valley.
        place = place if place in good else int(values.argmax())
    if place + 1 == len(curve.score):
        return float(curve.score[place])
    # Scores are float32, and so is what they are compared with.
    middle = np.float32((curve.score[place] + curve.score[place + 1]) / 2)
    return float(middle if middle > curve.score[place + 1] else curve.score[place])


def _at(curve: Curve, threshold: float, beta: float) -> tuple[float, float, float]:
    """F measure, precision and recall from a threshold on."""
    many = int((curve.score >= threshold).sum())
    if not many or not curve.true:
        return (0.0 if curve.true else np.nan), np.nan, (0.0 if curve.true else np.nan)
    right, found = curve.right[many - 1], curve.found[many - 1]
    return float(curve.f(beta)[many - 1]), float(right / found), float(right / curve.true)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _text(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "–"
