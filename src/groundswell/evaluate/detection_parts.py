"""evaluate: parts of a test in which boxes are predicted (all images, a source, a priority, a class), with numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from groundswell.evaluate.controls import Control
from groundswell.evaluate.detection_bootstrap import ResampledPrecision
from groundswell.evaluate.detection_counts import at_level, counting
from groundswell.evaluate.detection_matching import Matches
from groundswell.evaluate.detection_recipe import DetectionEvaluateRecipe
from groundswell.evaluate.intervals import Estimate

Ints = NDArray[np.int64]
State = Literal["beaten", "not beaten", "leak", "unknown", "not run"]
PRIORITIES = ("critical", "important", "general")


@dataclass(frozen=True)
class Counts:
    """Found and true animals of each predicted image, and where the true number is known; all of shape (rows,)."""

    found: Ints
    true: Ints
    known: NDArray[np.bool_]


@dataclass(frozen=True)
class DetectionPart:
    """Some of the images, judged on their own.

    Attributes:
        name: of the source; empty for the whole.
        images, groups, boxes: how many there are; boxes are true ones.
        scores: map50, map50_95, and precision, recall and f1 at ``evaluate.count_at``; empty where there are too few.
        counting: see :data:`groundswell.evaluate.detection_counts.COUNTING`; empty likewise.
        why: why there are no numbers; else empty.
    """

    name: str
    images: int
    groups: int
    boxes: int
    scores: dict[str, Estimate]
    counting: dict[str, Estimate]
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"images": self.images, "groups": self.groups, "boxes": self.boxes, "why": self.why,
                "scores": {name: value.to_dict() for name, value in self.scores.items()},
                "counting": {name: value.to_dict() for name, value in self.counting.items()}}


@dataclass(frozen=True)
class ClassRow:
    """A class, or a priority with all its classes.

    Attributes:
        name: of the class or the priority.
        priority: of the class, empty where it has none; of a priority its name.
        classes: how many have a true box (1 for a class that has).
        boxes: true ones; images and groups: where they are.
        scores: map50 (of one class its AP50), map50_95, precision, recall, f1.
    """

    name: str
    priority: str
    classes: int
    boxes: int
    images: int
    groups: int
    scores: dict[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"name": self.name, "priority": self.priority, "classes": self.classes, "boxes": self.boxes,
                "images": self.images, "groups": self.groups,
                "scores": {name: value.to_dict() for name, value in self.scores.items()}}


@dataclass(frozen=True)
class Beside:
    """A control beside the model.

    Attributes:
        control: which.
        images: it was judged on.
        scores: its map50 and map50_95; empty where it was not run.
        difference: the model's mAP50 less its own in the same resamples.
        also: mAP50 of the same boxes against other truths, by what these are.
        state: "beaten" (the interval of the difference lies above zero), "not beaten", "leak" (see
            :func:`groundswell.evaluate.detection_words.verdict`), "unknown" (no interval) or "not run".
        sentence: the same in words.
    """

    control: Control
    images: int
    scores: dict[str, Estimate]
    difference: Estimate
    also: dict[str, Estimate] = field(default_factory=dict)
    state: State = "unknown"
    sentence: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"name": self.control.name, "kind": self.control.kind, "says": self.control.says, "images": self.images,
                "scores": {name: value.to_dict() for name, value in self.scores.items()},
                "difference": self.difference.to_dict(),
                "also": {name: value.to_dict() for name, value in self.also.items()},
                "verdict": self.state, "sentence": self.sentence}


def judge_part(name: str, matches: Matches, group: NDArray[np.object_], counts: Counts,
               recipe: DetectionEvaluateRecipe, seed: int, *, rows: NDArray[np.bool_] | None = None,
               least: int = 0) -> tuple[DetectionPart, ResampledPrecision]:
    """Scores of some of the images.

    Args:
        name: of the part.
        matches: of all images.
        group: of each image, text, shape (rows,).
        counts: of each image.
        recipe: confidence, resamples, the score from which boxes are counted.
        seed: of the bootstrap.
        rows: which images are in the part; all if absent.
        least: true boxes below which there are no numbers.
    """
    here = np.ones(matches.rows, bool) if rows is None else rows
    precision = ResampledPrecision(matches, group, rows, resamples=recipe.bootstrap, confidence=recipe.confidence,
                                   seed=seed)
    images, boxes = int(here.sum()), int(precision.true_boxes.sum())
    if boxes < least:
        return DetectionPart(name, images, precision.groups, boxes, {}, {},
                             f"only {boxes} true box{'' if boxes == 1 else 'es'}"), precision
    kept = matches if rows is None else matches.of_rows(rows)
    of = numbers(group, here)
    together, _ = at_level(kept, of, precision.groups, recipe.count_at, recipe, seed)
    scores = {"map50": precision.estimate(), "map50_95": precision.estimate(overlaps=True), **together}
    errors = counting(counts.found[here], counts.true[here], counts.known[here], of[here], precision.groups, recipe,
                      seed)
    return DetectionPart(name, images, precision.groups, boxes, scores, errors), precision


def numbers(group: NDArray[np.object_], here: NDArray[np.bool_]) -> Ints:
    """Numbers from 0 of the groups of some images, int64, shape (rows,); 0 elsewhere."""
    found = np.zeros(len(group), np.int64)
    found[here] = np.unique(np.asarray(group[here], dtype=str), return_inverse=True)[1]
    return found


def class_rows(matches: Matches, group: NDArray[np.object_], precision: ResampledPrecision,
               priority: tuple[str | None, ...], recipe: DetectionEvaluateRecipe, seed: int) -> list[ClassRow]:
    """Each class that has a true box or was found, in the order of the classes."""
    of = numbers(group, np.ones(len(group), bool))
    _, levels = at_level(matches, of, precision.groups, recipe.count_at, recipe, seed)
    found = np.bincount(matches.label[matches.score >= recipe.count_at], minlength=len(matches.classes))
    rows = []
    for c, name in enumerate(matches.classes):
        boxes = int(precision.true_boxes[c])
        if not boxes and not found[c]:
            continue
        images = np.unique(matches.true_row[matches.true_label == c])
        rows.append(ClassRow(name, priority[c] or "", int(boxes > 0), boxes, len(images), len(np.unique(of[images])),
                             _class_scores(precision, np.arange(len(matches.classes)) == c, levels[c], recipe)))
    return rows


def _class_scores(precision: ResampledPrecision, chosen: NDArray[np.bool_], level: dict[str, Estimate],
                  recipe: DetectionEvaluateRecipe) -> dict[str, Estimate]:
    scores = {"map50": precision.estimate(chosen, least=recipe.n_min),
              "map50_95": precision.estimate(chosen, overlaps=True, least=recipe.n_min)}
    few = scores["map50"]
    return {**scores, **({name: Estimate(None, why=few.why) for name in level} if few.value is None else level)}


def priority_rows(matches: Matches, group: NDArray[np.object_], precision: ResampledPrecision,
                  priority: tuple[str | None, ...], recipe: DetectionEvaluateRecipe) -> list[ClassRow]:
    """Each priority with its classes, the critical ones first; without any where no class has a priority."""
    of = numbers(group, np.ones(len(group), bool))
    rows = []
    for name in (*PRIORITIES, *sorted({p for p in priority if p} - set(PRIORITIES))):
        chosen = np.array([p == name for p in priority], dtype=bool)
        boxes = int(precision.true_boxes[chosen].sum())
        if not chosen.any():
            continue
        images = np.unique(matches.true_row[chosen[matches.true_label]])
        rows.append(ClassRow(name, name, int((precision.true_boxes[chosen] > 0).sum()), boxes, len(images),
                             len(np.unique(of[images])),
                             {"map50": precision.estimate(chosen, least=recipe.n_min),
                              "map50_95": precision.estimate(chosen, overlaps=True, least=recipe.n_min)}))
    return rows
