"""marine: what organising plans for every image before the first is touched, and what it does to one image."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundswell.core.boxes import area, clipped
from groundswell.core.errors import InputError
from groundswell.core.files import shortened
from groundswell.pipelines.marine.formats.listing import (
    Item,
    Listing,
    clip_and_frame,
    collection_of,
    number_of,
    part_named,
)
from groundswell.pipelines.marine.image_files import SUFFIXES, checksum, decode, encode, read_bytes
from groundswell.pipelines.marine.organise_recipe import OrganiseRecipe
from groundswell.pipelines.marine.vision import cv2

_ASPECT = 0.01
"""Relative difference of proportions up to which an image of another size than its annotations is the same picture."""
_SMALLEST = 1.0
"""Pixels: a side of a box that is shorter is none."""


@dataclass(frozen=True)
class Planned:
    """An image that is to come into the set.

    Attributes:
        name: in the set.
        item: as it was found.
        listing: number of the place it was found in.
        clip, frame: what it is grouped by.
    """

    name: str
    item: Item
    listing: int
    clip: str
    frame: int


@dataclass(frozen=True)
class Done:
    """What became of the file of an image; a line of the journal.

    Attributes:
        name: in the set.
        stamp: of the file it was made of and how, see :func:`stamp_of`.
        file: of the image in the set, relative to it; empty where it is refused.
        size: width and height in the set.
        original: width and height of the picture the boxes go with.
        bytes: length of the file.
        checksum: of the file in the set.
        of: checksum of the file it was made of.
        shrunk, turned, rescaled: it was shrunk; written as its boxes see it, for its EXIF orientation would have other
            programs turn it; its annotations are for another size of the same picture.
        reason: why it is refused.
    """

    name: str
    stamp: str
    file: str = ""
    size: tuple[int, int] = (0, 0)
    original: tuple[int, int] = (0, 0)
    bytes: int = 0
    checksum: str = ""
    of: str = ""
    shrunk: bool = False
    turned: bool = False
    rescaled: bool = False
    reason: str = ""

    def line(self) -> str:
        """For the journal."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def read(cls, line: str) -> Done:
        """From the journal.

        Raises:
            ValueError: it is no such line: the process was killed while it wrote.
        """
        try:
            value = json.loads(line)
            return cls(**{**value, "size": tuple(value["size"]), "original": tuple(value["original"])})
        except (TypeError, KeyError) as error:
            raise ValueError("no line of a journal") from error


def plan(listings: Sequence[Listing], recipe: OrganiseRecipe) -> list[Planned]:
    """A name in the set, a clip and a frame for every image; these depend on what was found alone.

    The name is that of the file; where two files have one, each but the first gets eight digits of a digest of its path
    besides. With several collections, clips that only a path speaks of are apart from those of another collection; the
    published parts of one collection, named one by one, are one collection all the same.
    """
    taken: set[str] = set()
    found: list[Planned] = []
    pattern = re.compile(recipe.clip) if recipe.clip else None
    collections = [collection_of(listing.path) for listing in listings]
    several = len(set(collections)) > 1
    for number, (listing, collection) in enumerate(zip(listings, collections, strict=True)):
        part = part_named(listing.path)
        for item in listing.items:
            if part and not item.facts.get("published_split"):
                item.facts["published_split"] = part
            stem = re.sub(r"[^\w.()+=@ -]", "_", item.file.stem).lstrip(". ")
            stem = shortened(stem, 150) or "image"
            digest = hashlib.blake2b(f"{number}/{item.key}".encode(), digest_size=4).hexdigest()
            name = stem if stem not in taken else f"{stem}_{digest}"
            taken.add(name)
            clip, frame = _clip(item, pattern)
            if several and "clip" not in item.facts:
                clip = f"{collection.name}/{clip}"
            found.append(Planned(name, item, number, clip, frame))
    return found


def _clip(item: Item, pattern: re.Pattern[str] | None) -> tuple[str, int]:
    clip, frame = clip_and_frame(item.key)
    if pattern is not None:
        hit = pattern.search(item.key)
        if hit and hit["clip"]:
            told = number_of(hit.groupdict().get("frame") or "")
            clip, frame = hit["clip"], frame if told is None else told
    return str(item.facts.get("clip", clip)), int(item.facts.get("frame", frame))


def stamp_of(planned: Planned, recipe: OrganiseRecipe) -> str:
    """Digest of all that the file in the set depends on: path, length and time of the original, its size as annotated,
    and the size it may have."""
    try:
        facts = planned.item.file.stat()
    except OSError:
        return ""
    text = [str(planned.item.file), facts.st_size, facts.st_mtime_ns, planned.item.size, recipe.width, recipe.height]
    return hashlib.blake2b(json.dumps(text).encode(), digest_size=16).hexdigest()


def make_file(planned: Planned, recipe: OrganiseRecipe, folder: Path) -> Done:
    """Put an image into a set, shrunk if need be; files that may stay as they are are copied byte for byte.

    Args:
        planned: the image.
        recipe: how large it may be.
        folder: of the set.

    Returns:
        What was done; a refused image has a reason.
    """
    stamp, item = stamp_of(planned, recipe), planned.item
    try:
        data = read_bytes(item.file)
        image, turned, rescaled = _as_annotated(data, item)
    except InputError as error:
        return Done(planned.name, stamp, reason=error.what[0].lower() + error.what[1:])
    height, width = image.shape[:2]
    scale = min(1.0, recipe.width / width, recipe.height / height)
    suffix = item.file.suffix.lower()
    source = checksum(data)
    if scale < 1:
        cv = cv2()
        edges = max(1, round(width * scale)), max(1, round(height * scale))
        image = np.asarray(cv.resize(image, edges, interpolation=cv.INTER_AREA), np.uint8)
    if scale < 1 or turned or suffix not in SUFFIXES:
        suffix = ".png" if suffix == ".png" else ".jpg"
        data = encode(image, suffix)
    file = f"images/{planned.name}{suffix}"
    part = folder / "images" / f".{planned.name}.part"
    part.write_bytes(data)
    os.replace(part, folder / file)
    original = item.size or (width, height)
    return Done(planned.name, stamp, file, (image.shape[1], image.shape[0]), original, len(data), checksum(data),
                source, scale < 1, turned, rescaled)


def _as_annotated(data: bytes, item: Item) -> tuple[NDArray[np.uint8], bool, bool]:
    """The picture as its boxes see it; whether EXIF has it turned; whether its annotations are for another size."""
    image = decode(data, item.file)
    # EXIF data begin a JPEG ("Exif"), and stand anywhere in PNG ("eXIf") and WebP ("EXIF").
    told = b"exif" in (data[:4096] if data.startswith(b"\xff\xd8") else data).lower()
    lying = decode(data, item.file, upright=False) if told else image
    turned = image.shape != lying.shape or not np.array_equal(image, lying)
    if item.size is None or (image.shape[1], image.shape[0]) == item.size:
        return image, turned, False
    if (lying.shape[1], lying.shape[0]) == item.size:
        return lying, turned, False
    width, height = item.size
    if abs(image.shape[1] * height / (image.shape[0] * width) - 1) <= _ASPECT:
        return image, turned, True
    raise InputError(f"It is {image.shape[1]} by {image.shape[0]} pixels, and its annotations are for {width} by "
                     f"{height}")


LEAVES = "it leaves its image"
"""Why a box is refused of which too little lies in its image: the animal is there all the same, if only in part."""


def place_boxes(planned: Planned, done: Done, recipe: OrganiseRecipe) -> tuple[NDArray[np.float64], NDArray[np.bool_],
                                                                            dict[int, str]]:
    """Boxes of an image in pixels of its file in the set.

    Returns:
        the boxes, float64 (n, 4), cut to the image; which of them were cut by more than rounding (n,); and the reasons
        of those that are refused, by place.
    """
    width, height = done.size
    item, edges = planned.item, np.array([width, height, width, height], np.float64)
    scale = edges if item.size is None else edges / np.tile(np.array(done.original, np.float64), 2)
    boxes = item.boxes * scale
    inside = clipped(boxes, width, height)
    whole, left = area(boxes), area(inside)
    refused: dict[int, str] = {}
    for k in range(len(boxes)):
        sides = boxes[k, 2:] - boxes[k, :2]
        if (sides <= 0).any():
            refused[k] = "it has no area"
        elif left[k] < recipe.inside * whole[k]:
            refused[k] = LEAVES if left[k] > 0 else "it is outside of its image"
        elif (inside[k, 2:] - inside[k, :2] < _SMALLEST).any():
            refused[k] = "it is smaller than a pixel"
    return inside, np.abs(inside - boxes).max(axis=1, initial=0) > 1, refused
