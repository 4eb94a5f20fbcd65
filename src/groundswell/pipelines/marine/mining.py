"""marine: hard negatives: false alarms on the training part, and what among them may be an animal nobody annotated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.boxes import iou
from groundswell.core.files import write_json
from groundswell.core.run import RunFolder
from groundswell.data.boxes import BoxPredictions, BoxTruth
from groundswell.pipelines.marine.data import classes_of, images_of, source_of
from groundswell.pipelines.marine.predicting import predict_rows
from groundswell.pipelines.marine.recipe import MarineRecipe, SpecialiseRecipe
from groundswell.pipelines.marine.truth import truth_of
from groundswell.pipelines.workflow import load_task
from groundswell.splits.manifest import TRAIN, SplitManifest

REVIEW_SCORE = 0.8
"""Score from which a false alarm is rather an animal that nobody annotated: the detector has never seen it as one."""
REVIEW_FRAMES = 3
"""Frames before and after an image in which an annotated animal at the same place speaks for one here, too."""


@dataclass(frozen=True)
class FalseAlarm:
    """A box without a match.

    Attributes:
        image: its name.
        left, top, right, bottom: pixels.
        label: of the box.
        score: of the box.
        why: empty for a hard negative; why it may be an animal otherwise.
    """

    image: str
    left: float
    top: float
    right: float
    bottom: float
    label: int
    score: float
    why: str


def false_alarms(predictions: BoxPredictions, truth: BoxTruth, recipe: SpecialiseRecipe, *,
                 frames: NDArray[np.int64] | None = None) -> tuple[list[FalseAlarm], list[FalseAlarm]]:
    """Hard negatives, the surest first, and what a person should look at before anything learns from it.

    A box of ``threshold`` or more that overlaps no true box of its image by ``iou``, of whatever class, is a false
    alarm. (One that lies on an animal of another class is a confusion, and no background.) It is put aside for review
    if its score is so high that it may well be right, or if an animal is annotated at its place in a frame just before
    or after.

    Args:
        predictions: of images of the training part.
        truth: of these images, in any order.
        recipe: thresholds and the most hard negatives.
        frames: number of each predicted image within its clip, -1 unknown.
    """
    beside = truth.beside(predictions.sample_id)
    neighbours = _neighbours(beside, frames)
    negatives: list[FalseAlarm] = []
    review: list[FalseAlarm] = []
    for row, name in enumerate(predictions.sample_id):
        boxes, score, label = predictions.of_image(row)
        sure = score >= recipe.threshold
        if not sure.any():
            continue
        boxes, score, label = boxes[sure], score[sure], label[sure]
        true, _, crowd = beside.of_image(row)
        alarm = iou(boxes, true, crowd=crowd).max(axis=1, initial=0.0) < recipe.iou
        near = _annotated_near(beside, neighbours[row])
        for k in np.flatnonzero(alarm):
            why = ""
            if score[k] >= REVIEW_SCORE:
                why = f"score {score[k]:.2f}"
            elif iou(boxes[k:k + 1], near).max(initial=0.0) >= 0.3:
                why = "an animal is annotated there in a neighbouring frame"
            left, top, right, bottom = (float(value) for value in boxes[k])
            (review if why else negatives).append(FalseAlarm(str(name), left, top, right, bottom, int(label[k]),
                                                             float(score[k]), why))
    order: Callable[[FalseAlarm], Any] = lambda one: (-one.score, one.image, one.left)  # noqa: E731
    return sorted(negatives, key=order)[:recipe.most], sorted(review, key=order)


def _neighbours(truth: BoxTruth, frames: NDArray[np.int64] | None) -> list[list[int]]:
    if frames is None:
        return [[] for _ in range(len(truth))]
    place = {(group, int(frame)): row for row, (group, frame) in enumerate(zip(truth.group, frames, strict=True))
             if frame >= 0}
    steps = [step for step in range(-REVIEW_FRAMES, REVIEW_FRAMES + 1) if step]
    return [[place[key] for step in steps if frame >= 0 and (key := (group, int(frame) + step)) in place]
            for group, frame in zip(truth.group, frames, strict=True)]


def _annotated_near(truth: BoxTruth, rows: list[int]) -> NDArray[np.float32]:
    found = [truth.of_image(row)[0] for row in rows]
    return np.concatenate(found) if found else np.zeros((0, 4), np.float32)


def mine(run: RunFolder, out: Path, recipe: SpecialiseRecipe | None = None, *, fold: int = 0) -> list[str]:
    """Look for false alarms of a run on its own training part; write ``out`` (JSON) and a sheet of what to review.

    Returns:
        what was found, in sentences.
    """
    loaded, archive, task = load_task(run.path, "marine", fold)
    assert isinstance(loaded, MarineRecipe)
    recipe = recipe or loaded.specialise
    manifest = SplitManifest.read(run.path, archive.table)
    # No other part is ever looked at: what is learnt from it would leak.
    rows = manifest.rows(TRAIN, fold)
    images = images_of(archive)
    told = classes_of(loaded, images)
    found = predict_rows(loaded, archive.table, source_of(loaded, archive), task, rows, fold=fold)
    frames = archive.table.column("frame").to_numpy(np.int64)[rows]
    negatives, review = false_alarms(found, truth_of(images, told, archive.table), recipe, frames=frames)
    write_json(out, {"run": str(run.path), "threshold": recipe.threshold, "iou": recipe.iou, "images": len(rows),
                     "classes": list(told.names), "negatives": [asdict(one) for one in negatives],
                     "review": [asdict(one) for one in review]})
    lines = [f"Looked at the {len(rows)} training images: {len(negatives)} hard negatives on "
             f"{len({one.image for one in negatives})} images, {len(review)} false alarms to review first."]
    if review:
        from groundswell.pipelines.marine.pictures import crops_sheet

        sheet = out.with_suffix(".review.png")
        crops_sheet(images, [(one.image, (one.left, one.top, one.right, one.bottom),
                              f"{told.names[one.label]} {one.score:.2f}: {one.why}") for one in review[:48]], sheet)
        lines.append(f"What may be animals that nobody annotated: {sheet}")
    return lines
