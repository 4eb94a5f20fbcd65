"""marine: finding animals in images with a run, an exported file or an ensemble."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path, shown, write_json
from groundswell.core.progress import progress
from groundswell.pipelines.marine.detecting import Found, OpenDetector, open_detector
from groundswell.pipelines.marine.formats.listing import images_below
from groundswell.pipelines.marine.image_files import read_image
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.prepare.preparing import is_prepared


def predict_with(model: Path, inputs: Sequence[Path], *, out: Path, aggregate: str = "average", fold: int = 0,
                 batch_size: int = 16, device: str = "auto", plot: Path | None = None) -> int:
    """Find animals in images, folders of images, or sets; the exit status: 0, or 2 if an image could not be read.

    Args:
        model: folder of a run or a chain, exported ``.onnx`` file, or ``ensemble.json``.
        inputs: image files, folders of them, or sets of images.
        out: ``.json`` (COCO results with the images' names; scores from each class's threshold on) or ``.csv``.
        aggregate: only "average": an image has boxes of its own.
        fold: one fold's network (from 1), or 0 for all, fused.
        batch_size: images at once.
        device: cpu, cuda or auto.
        plot: also draw the first images to this PNG.

    Raises:
        InputError: no model, no images, or not one of them can be read; nothing is written.
    """
    if out.suffix not in (".json", ".csv"):
        raise InputError("Boxes are written as .json or .csv", where=f"--out {out}")
    if aggregate != "average":
        raise InputError("Each image has boxes of its own; there is nothing to vote on", where="--aggregate")
    if plot is not None and plot.suffix.lower() != ".png":
        raise InputError("Pictures are written as .png", where=plot)
    files = [file for path in inputs for file in _files(path)]
    detector = _uncorrected(open_detector(model, fold=fold, device="cpu" if device == "auto" else device), inputs)
    rows: list[dict[str, Any]] = []
    shown: list[tuple[str, NDArray[np.uint8], Found]] = []
    bad: list[str] = []
    with progress(len(files), "predict", "images") as bar:
        for part in _parts(files, max(batch_size, 1)):
            read: list[tuple[Path, NDArray[np.uint8]]] = []
            for file in part:
                try:
                    read.append((file, read_image(file)))
                except InputError as error:
                    bad.append(str(error))
            if read:
                for (file, image), found in zip(read, detector([image for _, image in read]), strict=True):
                    kept = detector.counted(found)
                    rows.append(_row(detector, file, image, kept))
                    shown = [*shown, (file.name, image, kept)] if plot is not None and len(shown) < 9 else shown
            bar.advance(len(part))
    if not rows:
        raise InputError(f"Not one of {len(files)} images can be read", where=bad[0])
    _write(out, model, detector, rows)
    if plot is not None:
        _draw(detector, shown, plot)
    many = sum(len(row["boxes"]) for row in rows)
    simulated = " The detector was trained on simulated images." if detector.simulated else ""
    print(f"{many} animals in {len(rows)} images. Wrote {out}.{simulated}")
    for text in bad:
        print(f"Left out: {text}")
    return 2 if bad else 0


def _uncorrected(detector: OpenDetector, inputs: Sequence[Path]) -> OpenDetector:
    """The detector, told to correct no image that lies in a set of corrected ones."""
    done = [(path / "images.json").is_file() and is_prepared(ImageSet.open(path)) for path in inputs]
    if not detector.prepare or not any(done):
        return detector
    if not all(done):
        raise InputError("Some of the images are corrected already and others are not", where=inputs[done.index(True)],
                         fix="Predict the corrected set and the others apart")
    return replace(detector, prepare=False)


def _files(path: Path) -> list[Path]:
    if (path / "images.json").is_file():
        images = ImageSet.open(path)
        return [images.file(str(name)) for name in images.images["image"]]
    if path.is_dir():
        found = sorted(images_below(path))
        if not found:
            raise InputError("There is no image in this folder", where=path)
        return found
    if not path.is_file():
        raise InputError("There is no such image", where=path)
    return [path]


def _parts(files: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    for start in range(0, len(files), size):
        yield files[start:start + size]


def _row(detector: OpenDetector, file: Path, image: NDArray[np.uint8], found: Found) -> dict[str, Any]:
    boxes, score, label = found
    return {"image": shown(file), "width": image.shape[1], "height": image.shape[0], "boxes": [
        {"bbox": [round(float(v), 2) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])],
         "category": detector.classes[k], "priority": detector.priority[k], "score": round(float(s), 5)}
        for box, s, k in zip(boxes, score, label, strict=True)]}


def _write(out: Path, model: Path, detector: OpenDetector, rows: list[dict[str, Any]]) -> None:
    if out.suffix == ".json":
        write_json(out, {"model": str(model), "simulated": detector.simulated, "classes": list(detector.classes),
                         "calibrated": detector.calibrator is not None, "images": rows})
        return
    import pandas as pd

    flat = [{"image": row["image"], "left": box["bbox"][0], "top": box["bbox"][1], "width": box["bbox"][2],
             "height": box["bbox"][3], "category": box["category"], "priority": box["priority"],
             "score": box["score"]} for row in rows for box in row["boxes"]]
    columns = ["image", "left", "top", "width", "height", "category", "priority", "score"]
    with atomic_path(out) as temporary:
        pd.DataFrame(flat, columns=columns).to_csv(temporary, index=False)


def _draw(detector: OpenDetector, shown: list[tuple[str, NDArray[np.uint8], Found]], path: Path) -> None:
    from groundswell.core.files import write_bytes
    from groundswell.pipelines.marine.pictures import draw_boxes, figure_with, png_of

    figure, panels = figure_with(len(shown), min(3, len(shown)))
    for panel, (name, image, (boxes, score, label)) in zip(panels, shown, strict=True):
        panel.imshow(image)
        draw_boxes(panel, boxes, [f"{detector.classes[k]} {s:.2f}" for k, s in zip(label, score, strict=True)],
                   "#ffb000")
        panel.set_title(name[:44], fontsize=7)
    write_bytes(path, png_of(figure))
