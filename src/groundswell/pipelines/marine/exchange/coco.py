"""marine: COCO JSON as annotation tools write it: every annotation that can be used is, and the others are counted."""

from __future__ import annotations

from typing import Any

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.exchange.entries import Entry, Findings, Shape, around, numbers, size_of


def is_coco(value: Any) -> bool:
    """Whether this JSON is COCO."""
    return isinstance(value, dict) and isinstance(value.get("images"), list) and "annotations" in value


def read_coco(value: Any, where: str, findings: Findings) -> list[Entry]:
    """Images of a COCO file, with their boxes.

    An image that is listed counts as reviewed, unless it has no box and says ``"reviewed": false`` or, as
    ``marine convert`` writes it of images that nobody has looked at, ``"annotated": false``.

    Raises:
        InputError: it is no COCO file.
    """
    if not is_coco(value) or not isinstance(value["annotations"], list):
        raise InputError("This is not COCO: it has no lists 'images' and 'annotations'", where=where)
    names = {row.get("id"): str(row.get("name")) for row in value.get("categories") or [] if isinstance(row, dict)
             and isinstance(row.get("id"), int | str)}
    entries: dict[Any, Entry] = {}
    for number, row in enumerate(value["images"]):
        told = isinstance(row, dict) and isinstance(row.get("id"), int | str) and isinstance(row.get("file_name"), str)
        if not told:
            findings.add("unreadable", f"{where}: image {number}")
        elif row["id"] in entries:
            findings.add("repeated_image" if entries[row["id"]].name == row["file_name"] else "unreadable",
                         f"{where}: {row['file_name']}, id {row['id']}")
        else:
            looked = all(row.get(key) is not False for key in ("reviewed", "annotated"))
            entries[row["id"]] = Entry(row["file_name"], stated=size_of(row.get("width"), row.get("height")),
                                       reviewed=looked)
    for number, row in enumerate(value["annotations"]):
        told = isinstance(row, dict) and isinstance(row.get("image_id"), int | str)
        if not told:
            findings.add("unreadable", f"{where}: annotation {number}")
        elif row["image_id"] not in entries:
            findings.add("orphan_annotation", f"{where}: annotation {number} of image {row['image_id']}")
        else:
            entry = entries[row["image_id"]]
            with findings.of(entry):
                shape = _shape(row, names, f"{where}: annotation {number} on {entry.name}", findings)
            if shape is not None:
                entry.shapes.append(shape)
                entry.reviewed = True
    return list(entries.values())


def _shape(row: dict[str, Any], names: dict[Any, str], where: str, findings: Findings) -> Shape | None:
    category = row.get("category_id")
    if not isinstance(category, int | str) or category not in names:
        findings.add("unknown_category", f"{where}: category {category}")
        return None
    crowd = row.get("iscrowd") in (1, True)
    box = row.get("bbox")
    if isinstance(box, list) and len(box) == 4:
        sides = numbers(box)
        if sides is not None:
            left, top, width, height = sides
            return Shape((left, top, left + width, top + height), names[category], crowd)
    outlines = row.get("segmentation")
    if not box and isinstance(outlines, list) and outlines and all(isinstance(part, list) for part in outlines):
        points = numbers([value for part in outlines for value in part])
        if points is not None and len(points) >= 4 and len(points) % 2 == 0:
            findings.add("outline", where)
            return Shape(around(points), names[category], crowd)
    findings.add("unreadable", where)
    return None
