"""marine: packages for people who draw boxes: images, thumbnails, categories, guidelines and a manifest in one zip."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path
from groundswell.core.progress import progress
from groundswell.pipelines.marine.exchange.guidelines import guidelines_page
from groundswell.pipelines.marine.image_files import Picture, decode, encode, read_bytes
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.species import SpeciesTable, load_species
from groundswell.pipelines.marine.vision import cv2

FORMAT = "groundswell annotation package 1"
ANNOTATIONS, GUIDELINES, MANIFEST = "annotations.json", "guidelines.html", "manifest.json"
THUMBNAIL = 256
"""Longer edge, pixels."""
_MOMENT = (1980, 1, 1, 0, 0, 0)
"""Of every member: the same content makes the same bytes."""


@dataclass(frozen=True)
class Packed:
    """What :func:`make_package` made.

    Attributes:
        path: the zip.
        images: names of the images in it.
        left_out: images that could not be read, a sentence each.
    """

    path: Path
    images: tuple[str, ...]
    left_out: tuple[str, ...]


def make_package(images: ImageSet, chosen: Sequence[str], out: Path, species: SpeciesTable | None = None, *,
                 quiet: bool = False) -> Packed:
    """Pack images for annotation. The same images make the same bytes; the zip is there whole or not at all.

    It holds ``images/``, ``thumbnails/``, ``annotations.json`` (COCO, with every category and no box),
    ``guidelines.html`` and ``manifest.json`` (sizes and SHA-256 of all other members). The id of a category is the
    species' id, and its supercategory the priority; classes of the set outside the table follow after the last id.

    Args:
        images: the set.
        chosen: names of images, in the order they are to be looked at.
        out: the zip.
        species: the table; Groundswell's own when absent.
        quiet: no progress on stderr.

    Raises:
        InputError: no image or one twice is chosen, one is not in the set, or none can be read.
    """
    if len(set(chosen)) != len(chosen) or not chosen:
        raise InputError("An image is chosen twice" if chosen else "No image is chosen", where=images.path,
                         fix="Choose each image once")
    for name in chosen:
        images.position(name)
    table = species or load_species()
    if Path(out).suffix.lower() != ".zip":
        raise InputError("A package is a .zip", where=out, fix="Name it so")
    packed: list[dict[str, Any]] = []
    left_out: list[str] = []
    with atomic_path(Path(out)) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        members = _Members(archive)
        with progress(len(chosen), "Packing", "images", quiet=quiet) as bar:
            for name in chosen:
                try:
                    packed.append(_image(members, images.file(name), name))
                except InputError as error:
                    left_out.append(str(error))
                bar.advance()
        if not packed:
            raise InputError(f"None of the {len(chosen)} images can be read; first: {left_out[0]}", where=images.path)
        listed = categories(images, table)
        members.add(ANNOTATIONS, _json(_coco(packed, listed, images)))
        members.add(GUIDELINES, guidelines_page(table, listed, len(packed), simulated=images.simulated).encode())
        manifest = {"format": FORMAT, "set": images.fingerprint(), "simulated": images.simulated,
                    "preparation": images.preparation, "categories": listed, "images": packed, "files": members.listed}
        members.add(MANIFEST, _json(manifest))
    return Packed(Path(out), tuple(str(row["image"]) for row in packed), tuple(left_out))


def categories(images: ImageSet, table: SpeciesTable) -> list[dict[str, Any]]:
    """All species of the table as COCO categories, and then the set's classes that are none of them."""
    listed: list[dict[str, Any]] = [
        {"id": one.id, "name": one.common_name, "supercategory": one.priority, "scientific_name": one.scientific_name,
         "within": one.within} for one in table]
    known = {row["name"].casefold() for row in listed}
    own = [name for name, id in zip(images.classes, images.species, strict=True) if id < 0]
    return listed + [{"id": len(table) + number, "name": name, "supercategory": "own"}
                     for number, name in enumerate(name for name in own if name.casefold() not in known)]


class _Members:
    """Adds members to a zip, and remembers each one's size and checksum."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.listed: dict[str, dict[str, Any]] = {}

    def add(self, name: str, data: bytes) -> None:
        """One more; images are packed already, and only stored."""
        info = zipfile.ZipInfo(name, _MOMENT)
        info.create_system, info.external_attr = 3, 0o100644 << 16
        info.compress_type = zipfile.ZIP_STORED if "/" in name else zipfile.ZIP_DEFLATED
        self._archive.writestr(info, data)
        self.listed[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _image(members: _Members, path: Path, name: str) -> dict[str, Any]:
    data = read_bytes(path)
    picture = decode(data, path)
    members.add(f"images/{name}{path.suffix}", data)
    members.add(f"thumbnails/{name}.jpg", encode(thumbnail(picture)))
    return {"image": name, "file": f"images/{name}{path.suffix}", "width": picture.shape[1], "height": picture.shape[0]}


def thumbnail(picture: Picture, edge: int = THUMBNAIL) -> Picture:
    """A picture made smaller, so that its longer edge is ``edge`` pixels; a smaller one stays as it is."""
    height, width = picture.shape[:2]
    ratio = min(1.0, edge / max(height, width))
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    made: Picture = cv2().resize(picture, size, interpolation=cv2().INTER_AREA)
    return made


def _coco(packed: list[dict[str, Any]], listed: list[dict[str, Any]], images: ImageSet) -> dict[str, Any]:
    return {
        "info": {"description": "Images to draw boxes on" + (" (simulated)" if images.simulated else ""),
                 "version": FORMAT},
        "licenses": [], "categories": listed,
        "images": [{"id": number, "file_name": row["file"].removeprefix("images/"), "width": row["width"],
                    "height": row["height"]} for number, row in enumerate(packed, start=1)],
        "annotations": [],
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
