"""marine: COCO annotations read, whatever is wrong with single entries, and written."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_folder, read_json, write_json
from groundswell.pipelines.marine.formats.listing import MOST, Item, Listing, find_image, part_of, reason_of
from groundswell.pipelines.marine.formats.preparation import preparation_in, with_preparation
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.images_layout import SIDES
from groundswell.pipelines.marine.species import SpeciesTable, load_species

FILE = "annotations.coco.json"
_FACTS = {"clip": str, "frame": int, "published_split": str, "source": str, "latitude": float, "longitude": float,
          "depth_m": float}
"""Keys of an image that go into a set's table; ``time`` also under COCO's name ``date_captured``."""


def read_coco(path: Path, images: Path | None = None) -> Listing:
    """Images and boxes of a COCO file.

    Images are looked for beside the file, in ``images/`` beside it, or below ``images``. An image without boxes counts
    as one without animals, unless its key ``annotated`` is false or the file has no box at all. Of images the keys
    ``clip``, ``frame``, ``published_split``, ``source``, ``time``, ``latitude``, ``longitude`` and ``depth_m`` are
    kept, of boxes ``track_id`` besides.

    Args:
        path: the JSON file.
        images: folder of the images; None: see above.

    Raises:
        InputError: it is no COCO file.
    """
    path = Path(path)
    value = read_json(path)
    lists = {key: value.get(key) if isinstance(value, dict) else None for key in ("images", "categories")}
    boxes = value.get("annotations") or [] if isinstance(value, dict) else None
    if not all(isinstance(part, list) for part in (*lists.values(), boxes)):
        raise InputError("This is no COCO file: it lacks the lists 'images', 'annotations' or 'categories'", where=path)
    categories = _categories(lists["categories"], path)
    listing = Listing("coco", path, tuple(categories.values()), preparation=preparation_in(value.get("info"), path))
    roots = [Path(images)] if images else [path.parent, path.parent / "images"]
    items = _images(listing, lists["images"] or [], roots, any_box=bool(boxes))
    _boxes(listing, boxes or [], items, {number: index for index, number in enumerate(categories)})
    return listing


def _categories(entries: Any, path: Path) -> dict[int, str]:
    found: dict[int, str] = {}
    for entry in entries:
        number = entry.get("id") if isinstance(entry, dict) else None
        name = str(entry.get("name") or "").strip() if isinstance(entry, dict) else ""
        if not isinstance(number, int) or not name:
            raise InputError(f"A category has no id or no name: {str(entry)[:80]}", where=path)
        if number in found or name in found.values():
            raise InputError(f"The category {number} '{name}' is there twice", where=path)
        found[number] = name
    return dict(sorted(found.items()))


def _images(listing: Listing, entries: list[Any], roots: list[Path], *, any_box: bool) -> dict[Any, Item | None]:
    """Items by id; None for those that are left out."""
    items: dict[Any, Item | None] = {}
    seen: set[str] = set()
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int | str):
            listing.refuse_file(f"images[{place}]", "the entry has no id")
            continue
        number, name = entry["id"], str(entry.get("file_name") or "")
        if number in items or name in seen:
            listing.refuse_file(name or f"images[{place}]", "it is listed twice")
            items.setdefault(number, None)
            continue
        items[number] = None
        seen.add(name)
        try:
            file = find_image(roots, name)
        except InputError as error:
            listing.refuse_file(name or f"images[{place}]", reason_of(error))
            continue
        width, height = entry.get("width"), entry.get("height")
        if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
            listing.refuse_file(name, "its width and height are not given")
            continue
        if max(width, height) > MOST:
            listing.refuse_file(name, "its width and height cannot be right")
            continue
        item = Item(file, name, size=(width, height), annotated=bool(entry.get("annotated", any_box)),
                    facts=_facts(entry, name))
        items[number] = item if listing.add(item) else None
    return items


def _facts(entry: dict[str, Any], name: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"published_split": part_of(name)}
    for key, kind in _FACTS.items():
        try:
            value = kind(entry[key]) if entry.get(key) not in (None, "") else None
        except (TypeError, ValueError, OverflowError):
            continue
        if value is not None and (kind is str or abs(value) <= MOST):
            facts[key] = value
    with contextlib.suppress(ValueError, KeyError):  # times that nobody can read are not known
        facts["time"] = pd.to_datetime(str(entry.get("time") or entry["date_captured"]), utc=True, format="ISO8601")
    return facts


def _boxes(listing: Listing, entries: list[Any], items: dict[Any, Item | None], index: dict[Any, int]) -> None:
    rows: dict[Any, list[tuple[list[float], int, bool, int]]] = {}
    for place, entry in enumerate(entries):
        what = f"annotations[{place}]"
        if not isinstance(entry, dict):
            listing.refuse_box(what, "it is no annotation")
            continue
        number = entry.get("image_id")
        listed = isinstance(number, int | str) and number in items
        item = items[number] if listed else None
        if item is None:
            listing.refuse_box(what, "its image is left out" if listed else "its image is not listed")
        elif not isinstance(entry.get("category_id"), int) or entry["category_id"] not in index:
            listing.lose_box(item, f"{what} of {item.key}", "its category is not listed")
        elif not _sides(entry.get("bbox")):
            listing.lose_box(item, f"{what} of {item.key}", "it is not four finite numbers")
        else:
            left, top, width, height = map(float, entry["bbox"])
            track = entry.get("track_id", -1)
            track = track if isinstance(track, int) and abs(track) <= MOST else -1
            rows.setdefault(number, []).append(([left, top, left + width, top + height], index[entry["category_id"]],
                                                bool(entry.get("iscrowd", 0)), track))
    for number, item in items.items():
        if item is not None:
            item.set_boxes(rows.get(number, []))


def _sides(box: Any) -> bool:
    return (isinstance(box, list) and len(box) == 4
            and all(isinstance(n, int | float) and not isinstance(n, bool) and abs(n) <= MOST for n in box))


def coco_of(images: ImageSet, *, boxes: bool = True, species: SpeciesTable | None = None) -> dict[str, Any]:
    """A set as COCO has it. Categories are the set's classes from 0 on, with the priority as their supercategory.

    Args:
        images: the set.
        boxes: with its boxes.
        species: the table of species; None: that which comes with Groundswell.
    """
    table = species or load_species()
    categories = [{"id": k, "name": name, "supercategory": table.priority_of(number) or "unknown", "species": number}
                  for k, (name, number) in enumerate(zip(images.classes, images.species, strict=True))]
    entries = []
    for k, row in enumerate(images.images.to_dict("records")):
        entry = {"id": k + 1, "file_name": row["file"], "width": row["width"], "height": row["height"],
                 "annotated": row["annotated"], "frame": row["frame"]}
        entry.update({key: row[key] for key in ("clip", "source", "published_split") if row[key]})
        entry.update({key: row[key] for key in ("latitude", "longitude", "depth_m") if row[key] == row[key]})
        entry.update({"date_captured": row["time"].isoformat()} if not pd.isna(row["time"]) else {})
        entries.append(entry)
    info = {"description": "Set of images", **images.note, **with_preparation(images.preparation)}
    return {"info": info, "images": entries, "categories": categories,
            "annotations": _annotations(images) if boxes else []}


def _annotations(images: ImageSet) -> list[dict[str, Any]]:
    frame = images.boxes
    place = pd.Series(np.arange(1, len(images) + 1), index=images.images["image"])
    number = place[frame["image"]].tolist()
    found = []
    rest = (frame[name].tolist() for name in ("label", "crowd", "track"))
    rows = zip(frame[SIDES].to_numpy(np.float64).tolist(), *rest, strict=True)
    for k, ((left, top, right, bottom), label, crowd, track) in enumerate(rows):
        entry = {"id": k + 1, "image_id": number[k], "category_id": label, "iscrowd": int(crowd),
                 "bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top)}
        found.append({**entry, "track_id": track} if track >= 0 else entry)
    return found


def write_coco(images: ImageSet, path: Path, *, boxes: bool = True) -> Path:
    """Write a set as COCO; see :func:`coco_of`.

    Args:
        images: the set.
        path: a JSON file, with file names relative to the set's folder; or a new folder, that also gets the images.
        boxes: with its boxes.

    Returns:
        The JSON file.

    Raises:
        InputError: the file is there, the folder is not empty, or an image cannot be read.
    """
    path, value = Path(path), coco_of(images, boxes=boxes)
    if path.suffix == ".json":
        if path.exists():
            raise InputError("There is something here already", where=path, fix="Name another file, or remove this one")
        write_json(path, value)
        return path
    with atomic_folder(path) as folder:
        (folder / "images").mkdir()
        for name, file in images.images[["image", "file"]].itertuples(index=False):
            (folder / file).write_bytes(images.file(name).read_bytes())
        write_json(folder / FILE, value)
    return path / FILE
