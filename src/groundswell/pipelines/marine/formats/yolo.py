"""marine: folders of YOLO labels with their dataset.yaml, read and written."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from groundswell.core.boxes import from_centre_and_size, to_centre_and_size
from groundswell.core.errors import InputError
from groundswell.core.files import atomic_folder, inside, whole_text
from groundswell.pipelines.marine.formats.crowds import rows_without_crowds
from groundswell.pipelines.marine.formats.listing import LEADS_OUT, MOST, Item, Listing, images_below, plain_part
from groundswell.pipelines.marine.formats.preparation import preparation_in, with_preparation
from groundswell.pipelines.marine.images import ImageSet

FILE = "dataset.yaml"
CLIPS = "clips.csv"
"""Beside dataset.yaml: clip and frame of each image, for which YOLO has no place."""
_DESCRIPTIONS = (FILE, "data.yaml", "dataset.yml", "data.yml")
_SPLITS = ("train", "val", "valid", "test")


def description_of(folder: Path) -> Path | None:
    """The description of a folder of YOLO labels; None where there is none."""
    return next((folder / name for name in (*_DESCRIPTIONS, "classes.txt") if (folder / name).is_file()), None)


def has_labels(folder: Path) -> bool:
    """Whether an image below a folder has YOLO labels: a text with a box in its first line."""
    folder = Path(folder).resolve()
    for image in images_below(folder):
        try:
            text = _labels_of(folder, image).read_text("utf-8")
            _parsed(next(filter(None, map(str.strip, text.splitlines())), "").split(), MOST)
        except (OSError, ValueError, InputError):
            continue
        return True
    return False


def read_yolo(folder: Path) -> Listing:
    """Images and boxes of a folder with ``dataset.yaml`` (or ``classes.txt``).

    Labels lie beside the images, or in ``labels`` where the images are in ``images``. An image with an empty file of
    labels is one without animals; one without a file is not annotated. Lines are ``class x y width height`` as shares
    of the image, or ``class`` and the corners of an outline, of which the box is taken. The part that dataset.yaml
    lists an image in is kept as ``published_split``.

    Raises:
        InputError: the description is missing or unusable, or a path in it leaves the folder.
    """
    folder = Path(folder)
    description = description_of(folder)
    if description is None:
        raise InputError(f"There is no {FILE} and no classes.txt", where=folder,
                         fix="Add one: without the names of the classes their numbers mean nothing")
    classes, parts, preparation = _described(description)
    listing = Listing("yolo", folder, classes, preparation=preparation)
    clips = _clips(folder / CLIPS)
    seen: set[Path] = set()
    for part, path in _images_of(listing, folder.resolve(), parts):
        real, key = path.resolve(), path.relative_to(folder.resolve()).as_posix()
        if real in seen:
            listing.refuse_file(key, "it is listed twice")
            continue
        seen.add(real)
        if not path.is_file():
            listing.refuse_file(key, "there is no such image")
            continue
        item = Item(real, key, facts={"published_split": part, **clips.get(path.stem, {})})
        _read_labels(listing, item, _labels_of(folder.resolve(), path))  # beside a link, not beside what it leads to
        listing.add(item)
    return listing


def _described(path: Path) -> tuple[tuple[str, ...], dict[str, Any], dict[str, Any]]:
    """Names of classes, places of the parts, and what was done to the images."""
    if path.suffix == ".txt":
        return names_of(_text_of(path), path), {}, {}
    try:
        value = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"The description cannot be read: {error}", where=path) from error
    names = value.get("names") if isinstance(value, dict) else None
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[k] for k in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str | int) and str(name).strip() for name in names):
        raise InputError("The description lacks 'names', a list of class names or a mapping from 0 on", where=path)
    if value.get("nc", len(names)) != len(names):
        raise InputError(f"The description says nc: {value['nc']} and names {len(names)} classes", where=path,
                         fix="Correct one of them")
    parts = {key: value[key] for key in _SPLITS if value.get(key)}
    return tuple(whole_text(str(name)).strip() for name in names), parts, preparation_in(value, path)


def names_of(text: str, where: Path | str) -> tuple[str, ...]:
    """Names of classes, one a line: the number of a class is that of its line.

    Raises:
        InputError: a line between others is empty, so that it is not sure which number the next has.
    """
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if not all(lines):
        raise InputError("A line between the names of classes is empty, and their numbers are those of their lines",
                         where=f"{where}, line {lines.index('') + 1}",
                         fix="Take the line out if no class has its number; otherwise name the class")
    return tuple(lines)


def _images_of(listing: Listing, folder: Path, parts: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    """Part and image; all images below the folder where no parts are named."""
    def leaving(path: Path) -> None:
        listing.refuse_file(path.relative_to(folder).as_posix(), LEADS_OUT)

    if not parts:
        yield from (("", path) for path in images_below(folder, leaving=leaving))
        return
    for part, entries in parts.items():
        for entry in entries if isinstance(entries, list) else [entries]:
            path = _inside(folder, str(entry))
            if path.suffix == ".txt" and path.is_file():
                for line in _lines_of(path):
                    yield part, _inside(folder, line)
            elif path.is_dir():
                yield from ((part, found) for found in images_below(path, folder, leaving))
            else:
                raise InputError(f"The part '{part}' is said to be in '{entry}', which is not there", where=folder)


def _lines_of(path: Path) -> list[str]:
    """The lines of a list that are not empty."""
    return list(filter(None, map(str.strip, _text_of(path).splitlines())))


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"This list cannot be read: {error}", where=path) from error


def _inside(folder: Path, entry: str) -> Path:
    # Exports of Roboflow name '../train/images' where they mean 'train/images'.
    stripped = entry.removeprefix("../")
    if stripped != entry and not stripped.startswith("../") and inside(folder, stripped).exists():
        return inside(folder, stripped)
    return inside(folder, entry)


def _labels_of(folder: Path, image: Path) -> Path:
    parts = list(image.relative_to(folder).parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return inside(folder, Path(*parts).with_suffix(".txt"))


def _read_labels(listing: Listing, item: Item, path: Path) -> None:
    if not path.is_file():
        return
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        listing.refuse_file(str(path), "its labels cannot be read; the image counts as not annotated")
        return
    item.annotated = True
    rows: list[tuple[list[float], int, bool, int]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            label, sides = _parsed(line.split(), len(listing.classes))
        except ValueError as error:
            listing.lose_box(item, f"{path.name}, line {number} of {item.key}", str(error))
            continue
        rows.append((sides, label, False, -1))
    item.set_boxes(rows)


def _parsed(fields: list[str], classes: int) -> tuple[int, list[float]]:
    try:
        values = [float(text) for text in fields]
    except ValueError as error:
        raise ValueError("it holds something that is no number") from error
    if not all(abs(value) <= MOST for value in values):
        raise ValueError("it is not finite")
    if len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
        raise ValueError("it is not a class and four numbers")
    if values[0] != int(values[0]) or not 0 <= values[0] < classes:
        raise ValueError("its class is not one of those listed")
    if len(values) == 5:
        return int(values[0]), from_centre_and_size(np.array(values[1:]))[0].tolist()
    corners = np.array(values[1:]).reshape(-1, 2)
    return int(values[0]), [*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()]


def _clips(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["image"]: {"clip": row["clip"], "frame": int(row["frame"])} for row in csv.DictReader(file)
                    if row.get("image") and row.get("clip") and re.fullmatch(r"-?\d{1,9}", row.get("frame") or "")}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        # Without its clips frames of one could come to be on both sides of a split.
        raise InputError(f"The table of clips cannot be read: {error}", where=path,
                         fix="Correct it, or take it away") from error


def write_yolo(images: ImageSet, folder: Path, parts: Mapping[str, str] | None = None) -> Path:
    """Write a set as ``{part}/images``, ``{part}/labels`` and ``dataset.yaml``; the images are copied.

    Images that are not annotated get no file of labels. Annotated images with a region of many are left out: YOLO has
    none.

    Args:
        images: the set.
        folder: new or empty.
        parts: train, val or test of each image by name; None: as published, or else train.

    Returns:
        dataset.yaml.

    Raises:
        InputError: the folder is not empty, an image cannot be read, or every image has a region of many.
    """
    rows = rows_without_crowds(images)
    usual = {"valid": "val", "validation": "val", "": "train"}
    with atomic_folder(Path(folder)) as new, (new / CLIPS).open("w", newline="", encoding="utf-8") as clips:
        table = csv.writer(clips)
        table.writerow(["image", "clip", "frame"])
        used = set()
        for row in rows:
            name = row["image"]
            published = parts[name] if parts is not None else plain_part(row["published_split"])
            part = usual.get(published, published)
            used.add(part)
            for kind in ("images", "labels"):
                (new / part / kind).mkdir(parents=True, exist_ok=True)
            (new / part / row["file"]).write_bytes(images.file(name).read_bytes())
            table.writerow([name, row["clip"], row["frame"]])
            if row["annotated"]:
                text = "".join(_lines(images, name, row["width"], row["height"]))
                (new / part / "labels" / f"{name}.txt").write_text(text, "utf-8")
        value = {"path": ".", **{part: f"{part}/images" for part in sorted(used | {"train", "val"})},
                 "names": dict(enumerate(images.classes)), **with_preparation(images.preparation)}
        for part in ("train", "val"):
            (new / part / "images").mkdir(parents=True, exist_ok=True)
        (new / FILE).write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), "utf-8")
    return Path(folder) / FILE


def _lines(images: ImageSet, name: str, width: int, height: int) -> Iterator[str]:
    known = images.annotations(name)
    shares = to_centre_and_size(known.boxes) / np.array([width, height, width, height])
    for label, box in zip(known.label.tolist(), shares.tolist(), strict=True):
        yield " ".join([str(label), *(f"{value:.8f}" for value in box)]) + "\n"
