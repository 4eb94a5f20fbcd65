"""marine: from images to boxes, by a task or by an exported file, with the same letterbox and the same decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.boxes import BoxPredictions
from groundswell.data.order import Order
from groundswell.data.table import SampleTable
from groundswell.pipelines.marine.decode import Detections, decode, to_original
from groundswell.pipelines.marine.letterbox import Placed, letterbox
from groundswell.pipelines.marine.recipe import DetectRecipe, MarineRecipe
from groundswell.pipelines.marine.source import DetectionSource
from groundswell.pipelines.marine.task import DetectionTask
from groundswell.train.task import Task

FLOOR = 0.001
"""Score from which boxes are kept for evaluation; what lies below can change no score by a visible amount."""

Answer = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Maps letterboxed images uint8 (b, 3, s, s) to raw boxes (b, q, 4), shares of the input, and scores (b, q, c)."""


def answer_of_task(task: DetectionTask, device: torch.device | str = "cpu") -> Answer:
    """A task's raw scores."""
    task = task.to(device).eval()

    def answer(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with torch.inference_mode():
            raw = task.raw(torch.from_numpy(images).to(device))
        return raw.boxes.float().cpu().numpy(), raw.scores.float().cpu().numpy()

    return answer


def answer_of_file(path: Path) -> tuple[Answer, dict[str, Any]]:
    """An exported file's raw scores, and its facts.

    Raises:
        InputError: it is no detector.
    """
    from groundswell.deploy.artifact import Artifact

    artifact = Artifact.open(path)
    if artifact.metadata.get("pipeline") != "marine":
        raise InputError("This exported file is no detector of this pipeline", where=path)

    def answer(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        found = artifact.run({"image": images.astype(np.float32)})
        return found["boxes"], found["scores"]

    return answer, artifact.metadata


def decoded(boxes: NDArray[np.float32], scores: NDArray[np.float32], *, size: int, suppress: bool,
            detect: DetectRecipe, confidence: float = FLOOR) -> list[Detections]:
    """Raw answers of a batch as boxes in pixels of the network's input."""
    return [decode(b, s, size=size, suppress=suppress, confidence=confidence, iou=detect.iou, most=detect.most)
            for b, s in zip(boxes, scores, strict=True)]


def predict_rows(recipe: MarineRecipe, table: SampleTable, source: DetectionSource, task: Task,
                 rows: NDArray[np.int64], *, fold: int = -1, member: str = "model",
                 device: torch.device | str = "cpu", note: dict[str, Any] | None = None) -> BoxPredictions:
    """Boxes of the images at ``rows`` of a table, in pixels of the original images."""
    assert isinstance(task, DetectionTask)
    return answered_rows(recipe, table, source, answer_of_task(task, device), rows, suppress=task.engine.suppress,
                         fold=fold, member=member, note=note)


def answered_rows(recipe: MarineRecipe, table: SampleTable, source: DetectionSource, answer: Answer,
                  rows: NDArray[np.int64], *, suppress: bool, fold: int = -1, member: str = "model",
                  note: dict[str, Any] | None = None) -> BoxPredictions:
    """As :func:`predict_rows`, whatever answers: a task or an exported file."""
    names = table.column("sample_id").to_numpy(object)
    found: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    batches, weights = Order(rows, recipe.train.batch_size, recipe.train.seed, shuffle=False).epoch(0)
    for chosen, weight in zip(batches, weights, strict=True):
        chosen = chosen[weight > 0]
        out = {name: field.allocate(len(chosen)) for name, field in source.fields.items()}
        source.read(chosen, out)
        boxes, scores = answer(out["image"])
        for one, placed in zip(decoded(boxes, scores, size=recipe.data.size, suppress=suppress, detect=recipe.detect),
                               out["placed"], strict=True):
            kept = to_original(one, Placed.of(placed))
            found.append((kept.boxes, kept.score, kept.label))
    return BoxPredictions.of(names[rows].tolist(), found, table.classes, member=member, fold=fold, note=note)


def detect_images(answer: Answer, images: Sequence[NDArray[np.uint8]], *, size: int, suppress: bool,
                  detect: DetectRecipe, confidence: float = FLOOR) -> list[Detections]:
    """Boxes of some images (h, w, 3), RGB, in their own pixels."""
    fitted = [letterbox(image, size) for image in images]
    batch = np.stack([image.transpose(2, 0, 1) for image, _ in fitted])
    found = decoded(*answer(batch), size=size, suppress=suppress, detect=detect, confidence=confidence)
    return [to_original(one, placed) for one, (_, placed) in zip(found, fitted, strict=True)]
