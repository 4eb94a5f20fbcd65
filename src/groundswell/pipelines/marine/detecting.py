"""marine: a detector in use: a run, an exported file, or an ensemble with its fusion, views and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import inside, read_json, write_json
from groundswell.core.recipe import build_recipe
from groundswell.core.run import RunFolder
from groundswell.data.boxes import BoxPredictions
from groundswell.pipelines.marine.calibration import Calibrator
from groundswell.pipelines.marine.decode import to_original
from groundswell.pipelines.marine.fusion import found_together, surest
from groundswell.pipelines.marine.letterbox import letterbox
from groundswell.pipelines.marine.predicting import Answer, answer_of_file, answer_of_task, decoded
from groundswell.pipelines.marine.prepare.recipe import PrepareRecipe
from groundswell.pipelines.marine.recipe import DetectRecipe, FuseRecipe, MarineRecipe, TtaRecipe
from groundswell.pipelines.marine.task import DetectionTask
from groundswell.pipelines.marine.tta import views

Found = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]
"""Boxes (k, 4) in pixels of the image, scores (k,), labels (k,)."""
ENSEMBLE = "ensemble.json"
SAME_PLACE = 0.9
"""Overlap from which boxes of different classes are one animal when animals are counted."""
_FORMAT = "groundswell ensemble 1"


@dataclass(frozen=True)
class Member:
    """One network of a detector."""

    answer: Answer
    suppress: bool
    detect: DetectRecipe
    weight: float = 1.0


@dataclass(frozen=True)
class OpenDetector:
    """What finds animals in images, whatever it was made of.

    Attributes:
        name: for people.
        members: networks; their boxes are fused where there are several, or several views.
        classes, priority, species: of labels.
        size: edge of the networks' input.
        prepare: images are corrected before they are looked at.
        simulated: it was trained on simulated images.
        fuse, tta: recipes; ``tta`` None looks at the image alone.
        calibrator: turns scores into frequencies; None leaves them as they are.
        thresholds: score of each class from which a box counts.
        correction: how they are corrected, if not as usual.
    """

    name: str
    members: tuple[Member, ...]
    classes: tuple[str, ...]
    priority: tuple[str, ...]
    species: tuple[int, ...]
    size: int
    prepare: bool
    simulated: bool
    fuse: FuseRecipe
    tta: TtaRecipe | None
    calibrator: Calibrator | None
    thresholds: tuple[float, ...]
    correction: PrepareRecipe | None = None

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Found]:
        """Boxes of images uint8 (h, w, 3), RGB, any score from 0.001 on."""
        fitted = [letterbox(self._prepared(image), self.size) for image in images]
        batch = np.ascontiguousarray(np.stack([image.transpose(2, 0, 1) for image, _ in fitted]))
        parts: list[list[Found]] = [[] for _ in images]
        weights: list[float] = []
        for member in self.members:
            for view in views(self.tta) if self.tta else [None]:
                seen = batch if view is None else view.apply(batch)
                boxes, scores = member.answer(seen)
                weights.append(member.weight)
                for part, one in zip(parts, decoded(boxes, scores, size=seen.shape[-1], suppress=member.suppress,
                                                    detect=member.detect), strict=True):
                    part.append((one.boxes if view is None else view.back(one.boxes, self.size), one.score, one.label))
        found = []
        for part, (_, placed) in zip(parts, fitted, strict=True):
            boxes, score, label = found_together(part, weights, self.fuse)
            found.append(to_original((boxes, score, label), placed))
        return [self._calibrated((one.boxes, one.score, one.label)) for one in found]

    def _prepared(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if not self.prepare:
            return image
        from groundswell.pipelines.marine.prepare.underwater import underwater

        return underwater(image) if self.correction is None else underwater(image, self.correction)

    def _calibrated(self, found: Found) -> Found:
        if self.calibrator is None:
            return found
        boxes, _, label = found
        return boxes, self.calibrator.frequency(found[1], label), label

    def counted(self, found: Found) -> Found:
        """Those boxes that reach their class's threshold; of several classes at one place the surest, for one animal
        is counted once."""
        boxes, score, label = found
        sure = score >= np.asarray(self.thresholds, np.float32)[label]
        boxes, score, label = boxes[sure], score[sure], label[sure]
        kept = surest(boxes, score, np.zeros(len(boxes), np.int64), SAME_PLACE)
        return boxes[kept], score[kept], label[kept]

    def predictions(self, names: Sequence[str], found: Sequence[Found], member: str = "model") -> BoxPredictions:
        """What was found as a table."""
        return BoxPredictions.of(list(names), list(found), self.classes, member=member,
                                 note={"simulated": True} if self.simulated else {})


def open_detector(path: Path, *, fold: int = 0, device: str = "cpu") -> OpenDetector:
    """A run's folder, an exported ``.onnx`` file, an ``ensemble.json``, or the folder of one.

    Raises:
        InputError: it is none of them, or not finished.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        return _of_file(path)
    if path.name == ENSEMBLE or (path / ENSEMBLE).is_file():
        return _of_ensemble(path if path.name == ENSEMBLE else path / ENSEMBLE, device)
    for place in ("export", "calibrate", "fuse"):
        if (path / place / ENSEMBLE).is_file():
            return _of_ensemble(path / place / ENSEMBLE, device)
    return _of_run(RunFolder.open(path), fold, device)


def _of_file(path: Path) -> OpenDetector:
    answer, facts = answer_of_file(path)
    try:
        detect = DetectRecipe(confidence=facts["confidence"], iou=facts["iou"], most=facts["most"])
        classes = tuple(str(name) for name in facts["classes"])
        return OpenDetector(path.name, (Member(answer, bool(facts["suppress"]), detect),), classes,
                            tuple(facts["priority"]), tuple(facts["species"]), int(facts["size"]),
                            bool(facts["prepare"]), bool(facts["simulated"]), FuseRecipe(), None, None,
                            (detect.confidence,) * len(classes), _correction(facts))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"The facts in the exported file cannot be read: {error!r}", where=path,
                         fix="Export the run again") from error


def _of_run(run: RunFolder, fold: int, device: str) -> OpenDetector:
    from groundswell.pipelines.workflow import folds_of, load_task

    folds = folds_of(run, fold)
    members: list[Member] = []
    facts: dict[str, Any] = {}
    for number in folds:
        recipe, _, task = load_task(run.path, "marine", number)
        assert isinstance(recipe, MarineRecipe) and isinstance(task, DetectionTask)
        members.append(Member(answer_of_task(task, device), task.engine.suppress, recipe.detect))
        facts = task.facts
    detect = members[0].detect
    return OpenDetector(run.path.name, tuple(members), tuple(facts["classes"]), tuple(facts["priority"]),
                        tuple(facts["species"]), facts["size"], facts["prepare"], facts["simulated"], FuseRecipe(),
                        None, None, (detect.confidence,) * len(facts["classes"]), _correction(facts))


def _correction(facts: dict[str, Any]) -> PrepareRecipe | None:
    known = facts.get("correction")
    return None if known is None else build_recipe(PrepareRecipe, known, where="correction")


def write_ensemble(path: Path, *, members: Sequence[tuple[str, float]], fuse: FuseRecipe, tta: TtaRecipe | None,
                   calibrator: Calibrator | None, thresholds: Sequence[float]) -> None:
    """Write what an ensemble is made of.

    Args:
        path: ``ensemble.json``.
        members: runs or exported files, relative to the folder of ``path`` or that folder's parent, with weights.
        fuse: how boxes are fused.
        tta: views, None for the image alone.
        calibrator: of scores.
        thresholds: of each class.
    """
    write_json(path, {
        "format": _FORMAT, "pipeline": "marine",
        "members": [{"model": name, "weight": float(weight)} for name, weight in members],
        "fuse": fuse.model_dump(mode="json"), "tta": tta.model_dump(mode="json") if tta else None,
        "calibrator": calibrator.to_dict() if calibrator else None, "thresholds": [float(one) for one in thresholds]})


def _of_ensemble(path: Path, device: str) -> OpenDetector:
    facts: Any = read_json(path)
    if not isinstance(facts, dict) or facts.get("format") != _FORMAT:
        raise InputError("This file does not describe an ensemble", where=path,
                         fix="Name one that 'groundswell marine fuse', 'calibrate' or 'pipeline' wrote")
    try:
        return _put_together(path, facts, device)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"The description of the ensemble lacks something or holds something else: {error!r}",
                         where=path, fix="Fuse or calibrate again") from error


def _put_together(path: Path, facts: dict[str, Any], device: str) -> OpenDetector:
    parts = []
    if not facts["members"]:
        raise InputError("The ensemble has no members", where=path, fix="Fuse or calibrate again")
    for member in facts["members"]:
        name = str(member["model"])
        # Members of a deployed package lie beside the file, those of a chain beside its folder.
        root = path.parent if inside(path.parent, name).exists() else path.parent.parent
        model = inside(root, name)
        if model.suffix != ".onnx" and not (model / "recipe.yaml").is_file():  # nor another ensemble, or itself
            raise InputError(f"The ensemble's member '{name}' is neither a run nor an exported file", where=path,
                             fix="Put it back to where it was, or fuse again")
        opened = _of_file(model) if model.suffix == ".onnx" else _of_run(RunFolder.open(model), 0, device)
        parts.append((opened, float(member["weight"])))
    first = parts[0][0]
    for other, _ in parts[1:]:
        if other.classes != first.classes or other.size != first.size:
            raise InputError("The members of this ensemble tell different classes apart, or look at different sizes",
                             where=path)
        if (other.prepare, other.correction) != (first.prepare, first.correction):
            raise InputError("The members of this ensemble learnt from images that were corrected in different ways",
                             where=path, fix="Fuse runs that were trained on the same input")
    if len(facts["thresholds"]) != len(first.classes):
        raise InputError(f"The ensemble has {len(facts['thresholds'])} thresholds for {len(first.classes)} classes",
                         where=path, fix="Fuse or calibrate again")
    calibrator = Calibrator.from_dict(facts["calibrator"]) if facts["calibrator"] else None
    if calibrator is not None and calibrator.classes != first.classes:
        raise InputError("The ensemble's calibration is of other classes than its members'", where=path,
                         fix="Calibrate again")
    return OpenDetector(
        path.parent.name, tuple(Member(one.answer, one.suppress, one.detect, weight)
                                for found, weight in parts for one in found.members),
        first.classes, first.priority, first.species, first.size, first.prepare,
        any(found.simulated for found, _ in parts), build_recipe(FuseRecipe, facts["fuse"], [], where=str(path)),
        build_recipe(TtaRecipe, facts["tta"], [], where=str(path)) if facts["tta"] else None, calibrator,
        tuple(float(one) for one in facts["thresholds"]), first.correction)
