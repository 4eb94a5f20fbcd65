"""marine: Pascal VOC annotations, one XML file an image, read through defusedxml, and written."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_folder, parse_json
from groundswell.core.optional import require
from groundswell.pipelines.marine.formats.crowds import rows_without_crowds
from groundswell.pipelines.marine.formats.listing import (
    MOST,
    Item,
    Listing,
    find_image,
    number_of,
    part_of,
    plain_part,
    reason_of,
)
from groundswell.pipelines.marine.formats.preparation import checked
from groundswell.pipelines.marine.image_files import READABLE
from groundswell.pipelines.marine.images import ImageSet

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_Objects = list[tuple[str, list[float]]]


def annotations_of(folder: Path) -> list[Path]:
    """The XML files of a folder of Pascal VOC: those in ``Annotations``, or else all below it."""
    named = folder / "Annotations"
    return sorted(path for path in (named if named.is_dir() else folder).rglob("*.xml")
                  if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def read_voc(folder: Path) -> Listing:
    """Images and boxes of a folder of Pascal VOC: ``Annotations/*.xml`` and ``JPEGImages``, or XML beside images.

    VOC counts pixels from 1 and names the last pixel of a box. Where a box of the folder begins at 0 it was not written
    so, and all are taken as they stand. Classes are the names found, in alphabetical order.

    Raises:
        InputError: there is no such folder, or no XML file in it; or they say different things of what was done to the
            images.
        MissingExtraError: defusedxml is not installed.
    """
    folder = Path(folder)
    files = annotations_of(folder) if folder.is_dir() else []
    if not files:
        raise InputError("There are no Pascal VOC annotations here", where=folder)
    listing = Listing("voc", folder, ())
    read: list[tuple[Item, _Objects]] = []
    prepared: list[dict[str, Any]] = []
    seen: set[Path] = set()
    for path in files:
        try:
            item, objects, preparation = _read(listing, folder, path)
            if item.file in seen:
                raise InputError("Its image has annotations already")
        except InputError as error:
            listing.refuse_file(path.relative_to(folder).as_posix(), reason_of(error))
            continue
        seen.add(item.file)
        read.append((item, objects))
        prepared.append(preparation)
        if preparation != prepared[0]:
            raise InputError("This annotation does not say of the preparation of its image what the first one says",
                             where=path, fix="Make sets of them apart, or take the files as they were written")
    listing.preparation = prepared[0] if prepared else {}
    listing.classes = tuple(sorted({name for _, objects in read for name, _ in objects}))
    first = 0.0 if any(min(sides[:2]) < 1 for _, objects in read for _, sides in objects) else 1.0
    for item, objects in read:
        item.set_boxes([([sides[0] - first, sides[1] - first, sides[2], sides[3]], listing.classes.index(name), False,
                         -1) for name, sides in objects])
        listing.add(item)
    return listing


def _read(listing: Listing, folder: Path, path: Path) -> tuple[Item, _Objects, dict[str, Any]]:
    xml = require("defusedxml.ElementTree", extra="marine", purpose="Reading Pascal VOC")
    try:
        root = xml.fromstring(path.read_bytes())
    except (ET.ParseError, LookupError) as error:
        raise InputError(f"It is no XML: {error}") from error
    except ValueError as error:  # what defusedxml refuses
        raise InputError(f"It declares entities, which is not safe ({type(error).__name__})") from error
    if root.tag != "annotation":
        raise InputError("It is no Pascal VOC annotation")
    file = _image(folder, path, (root.findtext("filename") or "").strip())
    key = path.relative_to(folder).as_posix()
    try:
        size = int(root.findtext("size/width") or 0), int(root.findtext("size/height") or 0)
    except ValueError as error:
        raise InputError("Its width and height are not whole numbers") from error
    if min(size) < 1 or max(size) > MOST:
        raise InputError("Its width and height are not given, or cannot be right")
    facts = {"published_split": part_of(key), **_clip(root)}
    item = Item(file, key, size=size, annotated=True, facts=facts)
    objects: _Objects = []
    for place, entry in enumerate(root.iter("object")):
        name = (entry.findtext("name") or "").strip()
        sides = [_number(entry.findtext(f"bndbox/{side}")) for side in _SIDES]
        if not name:
            listing.lose_box(item, f"object {place} of {key}", "it has no name")
        elif not all(abs(side) <= MOST for side in sides):
            listing.lose_box(item, f"object {place} of {key}", "it is not four finite numbers")
        else:
            objects.append((name, sides))
    return item, objects, _preparation(root, path)


def _image(folder: Path, path: Path, name: str) -> Path:
    """The image of an annotation: that which it names, or else the one that is called as it is."""
    roots = [folder / "JPEGImages", folder / "images", path.parent, folder]
    roots = [root for root in roots if root.is_dir()]
    try:
        return find_image(roots, name)
    except InputError as error:
        same = [root / f"{path.stem}{suffix}" for root in roots for suffix in sorted(READABLE)]
        found = next((image for image in same if image.is_file()), None)
        if found is None or "outside" in error.what:
            raise
        return found.resolve()


def _clip(root: ET.Element) -> dict[str, str | int]:
    clip, frame = root.findtext("source/clip"), number_of((root.findtext("source/frame") or "").strip())
    return {**({"clip": clip} if clip else {}), **({} if frame is None else {"frame": frame})}


def _preparation(root: ET.Element, path: Path) -> dict[str, Any]:
    try:
        return checked(parse_json(root.findtext("source/preparation") or "{}"), path)
    except (ValueError, RecursionError) as error:
        raise InputError(f"What it says of the preparation of its image is no JSON: {error}") from error


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def write_voc(images: ImageSet, folder: Path) -> Path:
    """Write a set as ``Annotations``, ``JPEGImages`` and ``ImageSets/Main``; images that are not annotated have no XML.

    Pixels count from 1, with fractions. Annotated images with a region of many are left out: VOC has none.

    Args:
        images: the set.
        folder: new or empty.

    Returns:
        The folder.

    Raises:
        InputError: the folder is not empty, an image cannot be read, or every image has a region of many.
    """
    rows = rows_without_crowds(images)
    with atomic_folder(Path(folder)) as new:
        for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (new / name).mkdir(parents=True)
        parts: dict[str, list[str]] = {}
        for row in rows:
            name = row["image"]
            source = images.file(name)
            (new / "JPEGImages" / source.name).write_bytes(source.read_bytes())
            parts.setdefault(plain_part(row["published_split"]) or "all", []).append(name)
            if row["annotated"]:
                tree = _tree(images, row, source.name)
                ET.indent(tree)
                (new / "Annotations" / f"{name}.xml").write_bytes(ET.tostring(tree, encoding="utf-8"))
        for part, names in parts.items():
            (new / "ImageSets/Main" / f"{part}.txt").write_text("\n".join(names) + "\n", "utf-8")
    return Path(folder)


def _tree(images: ImageSet, row: Mapping[Any, Any], file: str) -> ET.Element:
    root = ET.Element("annotation")

    def put(above: ET.Element, **texts: object) -> None:
        for tag, text in texts.items():
            ET.SubElement(above, tag).text = str(text)

    put(root, folder="JPEGImages", filename=file)
    done = {"preparation": json.dumps(images.preparation)} if images.preparation else {}
    put(ET.SubElement(root, "source"), database=row["source"], clip=row["clip"], frame=row["frame"], **done)
    put(ET.SubElement(root, "size"), width=row["width"], height=row["height"], depth=3)
    known = images.annotations(str(row["image"]))
    for box, label in zip(known.boxes.tolist(), known.label.tolist(), strict=True):
        entry = ET.SubElement(root, "object")
        put(entry, name=images.classes[label], truncated=0, difficult=0)
        sides = (box[0] + 1, box[1] + 1, box[2], box[3])
        put(ET.SubElement(entry, "bndbox"), **{side: f"{value:.4f}" for side, value in zip(_SIDES, sides, strict=True)})
    return root
