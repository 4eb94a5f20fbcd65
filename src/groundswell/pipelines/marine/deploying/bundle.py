"""marine: the models of a package: the files of an ensemble in one folder, with a picture whose answer is known."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import inside, read_json, write_json
from groundswell.pipelines.marine.deploying.precision import precision_of
from groundswell.pipelines.marine.detecting import ENSEMBLE, OpenDetector, open_detector, write_ensemble
from groundswell.pipelines.marine.image_files import encode

MODELS, HEALTH = "models", "health"
PICTURE, ANSWER = "picture.png", "answer.json"
SUMS = "SHA256SUMS"
REPORT = "export.json"
"""What an export says of itself, beside its ``ensemble.json``."""
_ANSWER_FORMAT = "groundswell health 1"


@dataclass(frozen=True)
class Part:
    """A network's file in a package.

    Attributes:
        file: its name.
        weight: in the fusion.
        size: edge of its input, pixels.
        precision: fp32 or fp16.
    """

    file: str
    weight: float
    size: int
    precision: str


def members_of(model: Path) -> list[tuple[Path, float]]:
    """The files behind a model, with their weights.

    Args:
        model: folder with an ``ensemble.json``, that file, a chain's folder, or one ``.onnx`` file.

    Raises:
        InputError: there are no exported files.
    """
    path = Path(model)
    if path.suffix == ".onnx":
        return [(path, 1.0)]
    facts = read_json(ensemble_of(path))
    root = ensemble_of(path).parent
    try:
        found = [(inside(root, str(one["model"])), float(one["weight"])) for one in facts["members"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("This file does not describe an ensemble", where=ensemble_of(path),
                         fix="Name one that 'groundswell marine pipeline' exported") from error
    for file, _ in found:
        if file.suffix != ".onnx" or not file.is_file():
            raise InputError("This ensemble is of runs, not of exported files", where=ensemble_of(path),
                             fix="Deploy what the chain's step export wrote, or an .onnx file")
    return found


def ensemble_of(path: Path) -> Path:
    """The ``ensemble.json`` that a path means.

    Raises:
        InputError: there is none.
    """
    for candidate in (path, path / ENSEMBLE, path / "export" / ENSEMBLE):
        if candidate.name == ENSEMBLE and candidate.is_file():
            return candidate
    raise InputError("There is no exported model here", where=path,
                     fix="Name a folder with ensemble.json and .onnx files, such as CHAIN/export, or an .onnx file")


def copy_models(model: Path, folder: Path) -> list[Part]:
    """Copy the files of a model into ``folder``, under names that differ, with an ``ensemble.json``.

    Raises:
        InputError: there are no exported files, one is damaged, or they do not go together.
    """
    from groundswell.deploy.artifact import Artifact
    from groundswell.pipelines.marine.deploying.exporting import file_names

    members = members_of(model)
    opened = open_detector(Path(model) if Path(model).suffix == ".onnx" else ensemble_of(Path(model)))
    parts = []
    folder.mkdir(parents=True, exist_ok=True)
    for name, (file, weight) in zip(file_names([file.stem for file, _ in members]), members, strict=True):
        artifact = Artifact.open(file)
        shutil.copyfile(file, folder / f"{name}.onnx")
        parts.append(Part(f"{name}.onnx", weight, int(artifact.metadata["size"]), precision_of(artifact)))
    write_ensemble(folder / ENSEMBLE, members=[(part.file, part.weight) for part in parts], fuse=opened.fuse,
                   tta=opened.tta, calibrator=opened.calibrator, thresholds=opened.thresholds)
    return parts


def write_health(models: Path, folder: Path) -> None:
    """Write a picture and what the models find in it, so that they can be seen to find it elsewhere, too."""
    picture = health_picture()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PICTURE).write_bytes(encode(picture, ".png"))
    detector = open_detector(models)
    write_json(folder / ANSWER, {"format": _ANSWER_FORMAT, **answer_on(detector, picture)})


def health_picture(width: int = 320, height: int = 240) -> NDArray[np.uint8]:
    """Three bodies with tails in blue water, made up; uint8 (height, width, 3)."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    image = np.stack([20 + 0.1 * y, 90 + 0.1 * x, 140 + 0.2 * y], axis=-1)
    for left, top, long, high, colour in ((80, 70, 34, 14, (220, 180, 60)), (210, 120, 46, 20, (190, 70, 60)),
                                          (140, 190, 26, 12, (230, 230, 220))):
        body = ((x - left) / long) ** 2 + ((y - top) / high) ** 2 < 1
        tail = (np.abs(y - top) < (x - left - 0.8 * long) * 0.8) & (x < left + 1.5 * long)
        image[body | tail] = colour
    return image.round().clip(0, 255).astype(np.uint8)


def answer_on(detector: OpenDetector, picture: NDArray[np.uint8]) -> dict[str, Any]:
    """What is compared: the highest score of each class, and the boxes that are sure."""
    boxes, score, label = detector([picture])[0]
    highest = [float(score[label == k].max(initial=0.0)) for k in range(len(detector.classes))]
    sure = score >= 0.3
    return {"classes": list(detector.classes), "highest": highest,
            "boxes": [[*map(float, box), float(s), int(k)] for box, s, k in
                      zip(boxes[sure], score[sure], label[sure], strict=True)]}


def checksums(folder: Path, names: Sequence[str] | None = None) -> str:
    """Lines as of ``sha256sum`` for all files below a folder, by name."""
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()) if names is None \
        else list(names)
    return "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
                   for name in files if name != SUMS)


