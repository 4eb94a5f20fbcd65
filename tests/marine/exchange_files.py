"""Annotations in the formats that people send them in, and zips of any content, for tests."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path

from groundswell.pipelines.marine.exchange.cvat import write_cvat
from groundswell.pipelines.marine.exchange.labelstudio import write_labelstudio
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.species import load_species

SPECIES = load_species()
NAMES = (SPECIES[0].common_name, SPECIES[29].common_name, "diver")
IDS = (0, 29, -1)


def zipped(path: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]], method=zipfile.ZIP_DEFLATED) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as archive:
        warnings.simplefilter("ignore", UserWarning)  # of names that are there twice
        for name, data in members:
            archive.writestr(name, data)
    return path


def as_coco(images: ImageSet) -> dict:
    """A set's boxes as COCO, with the categories of a package."""
    listed = [{"id": one.id, "name": one.common_name} for one in SPECIES] + [{"id": 36, "name": "diver"}]
    number = {row["name"]: row["id"] for row in listed}
    value = {"categories": listed, "images": [], "annotations": []}
    for row in images.images.to_dict("records"):
        id = len(value["images"]) + 1
        value["images"].append({"id": id, "file_name": Path(row["file"]).name, "width": row["width"],
                                "height": row["height"]})
        drawn = images.annotations(row["image"])
        for (left, top, right, bottom), label in zip(drawn.boxes.tolist(), drawn.label, strict=True):
            value["annotations"].append({"id": len(value["annotations"]), "image_id": id, "iscrowd": 0,
                                         "category_id": number[images.classes[label]],
                                         "bbox": [left, top, right - left, bottom - top]})
    return value


def as_yolo(images: ImageSet, folder: Path) -> Path:
    """A set's boxes as YOLO text files."""
    (folder / "labels").mkdir(parents=True)
    (folder / "data.yaml").write_text(json.dumps({"names": list(images.classes)}))
    for row in images.images.to_dict("records"):
        drawn, sides = images.annotations(row["image"]), (row["width"], row["height"])
        lines = []
        for box, label in zip(drawn.boxes.astype(float), drawn.label, strict=True):
            middle, size = (box[:2] + box[2:]) / 2 / sides, (box[2:] - box[:2]) / sides
            lines.append(" ".join(map(repr, [int(label), *middle.tolist(), *size.tolist()])))
        (folder / "labels" / f"{row['image']}.txt").write_text("\n".join(lines))
    return folder


def written(images: ImageSet, folder: Path, kind: str) -> Path:
    """A set's boxes in a format."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "coco":
        (folder / "a.json").write_text(json.dumps(as_coco(images)))
        return folder / "a.json"
    if kind == "yolo":
        return as_yolo(images, folder / "yolo")
    if kind == "yolo zip":
        with zipfile.ZipFile(folder / "a.zip", "w") as archive:
            made = as_yolo(images, folder / "yolo")
            for file in sorted(made.rglob("*")):
                archive.write(file, file.relative_to(made))
        return folder / "a.zip"
    if kind == "cvat":
        write_cvat(images, folder / "annotations.xml")
        return folder / "annotations.xml"
    write_labelstudio(images, folder / "a.json", prefix="/data/upload/3/0badcafe-")
    return folder / "a.json"
