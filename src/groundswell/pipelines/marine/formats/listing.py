"""marine: what a folder or file of somebody else's holds: images, boxes, and what of it cannot be used and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import inside, shown
from groundswell.pipelines.marine.image_files import READABLE

PARTS = ("train", "val", "valid", "validation", "test")
"""What folders of a published division are called."""
_LAYOUT = frozenset({*PARTS, "images", "labels", "annotations", "jpegimages", "annotated", "labeled", "unlabeled",
                     "raw"})
"""Names of folders that say nothing about the clip."""
MOST = 2**63 - 1
"""Largest number that a table holds; a number beyond it, whatever it is said to be, is taken for none."""
_TOLD = 1000
"""Characters of a name or a reason that a report has at most."""
_EXPORTED = re.compile(r"[_.](?:jpe?g|png|bmp|tiff?|webp)\.rf\.[0-9a-f]{8,}$", re.IGNORECASE)
_FRAME = re.compile(r"^(?P<clip>.*?)(?:[_\-. ]+(?:f|frame)?[_\-. ]?|(?<=[^0-9])f(?:rame)?)(?P<frame>\d{1,9})$",
                    re.IGNORECASE)


@dataclass(frozen=True)
class Refused:
    """Something that is left out.

    Attributes:
        what: the file, or the box as it stands there.
        reason: why.
        kind: ``"file"`` or ``"box"``.
    """

    what: str
    reason: str
    kind: str = "file"


@dataclass
class Item:
    """An image as somebody else's files describe it.

    Attributes:
        file: where it is.
        key: what it is called there; unique in its listing.
        boxes: left, top, right, bottom, float64, (n, 4); pixels of ``size``, or shares of the image where that is None.
        label: index into the listing's classes, int64, (n,).
        crowd: regions of many, bool, (n,).
        track: number of the animal within its clip, -1 unknown, int64, (n,).
        size: width and height that the boxes go with; None: boxes are shares.
        annotated: whether every animal is boxed.
        incomplete: a box of it could not be used, so that it counts as not annotated, whatever ``annotated`` says.
        facts: columns of a set's table of images that are known: clip, frame, published_split, time, ...
    """

    file: Path
    key: str
    boxes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    label: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    crowd: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    track: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    size: tuple[int, int] | None = None
    annotated: bool = False
    incomplete: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    def set_boxes(self, rows: Sequence[tuple[Sequence[float], int, bool, int]]) -> None:
        """Boxes from rows of sides, label, crowd and track."""
        self.boxes = np.array([sides for sides, _, _, _ in rows], np.float64).reshape(-1, 4)
        self.label = np.array([label for _, label, _, _ in rows], np.int64)
        self.crowd = np.array([crowd for _, _, crowd, _ in rows], bool)
        self.track = np.array([track for _, _, _, track in rows], np.int64)


@dataclass
class Listing:
    """What was found in one place.

    Attributes:
        form: coco, yolo, voc or folder.
        path: the place.
        classes: names that labels stand for.
        items: images that are there, in a fixed order.
        refused: what is left out already.
        preparation: what was done to the images, as a set says it.
    """

    form: str
    path: Path
    classes: tuple[str, ...]
    items: list[Item] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    preparation: dict[str, Any] = field(default_factory=dict)

    def add(self, item: Item) -> bool:
        """Take an image in, or leave it out where its path is not UTF-8; whether it was taken."""
        good = shown(item.file) == str(item.file) and shown(item.key) == item.key
        if good:
            self.items.append(item)
        else:
            self.refuse_file(item.key, "its name is not UTF-8, and tables keep names as text")
        return good

    def refuse_box(self, what: str, reason: str) -> None:
        """Leave a box out."""
        self.refused.append(Refused(_told(what), _told(reason), "box"))

    def lose_box(self, item: Item, what: str, reason: str) -> None:
        """Leave a box out that stood for an animal: not every animal of its image is boxed then."""
        self.refuse_box(what, reason)
        item.incomplete = True

    def refuse_file(self, what: str, reason: str) -> None:
        """Leave a file out."""
        self.refused.append(Refused(_told(what), _told(reason)))


def _told(text: str) -> str:
    """Text out of somebody's files, for a report and a terminal: what steers a terminal is spelt out."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: ascii(found[0])[1:-1], shown(text)[:_TOLD])


def find_image(roots: Sequence[Path], name: str) -> Path:
    """The image that a file names, below one of ``roots``.

    Raises:
        InputError: it leads out of its folder, is none, or is in none of them.
    """
    if not name or Path(name).is_absolute():
        raise InputError(f"The path '{name}' is not relative to its folder")
    for root in roots:
        found = inside(root, name)
        if found.is_file():
            return found
    raise InputError("There is no such image")


LEADS_OUT = "it is a link that leads out of its folder"
"""Why an image is refused."""


def reason_of(error: InputError) -> str:
    """What an error says, as a reason: a clause without place and advice."""
    return error.what[0].lower() + error.what[1:]


def plain_part(text: str) -> str:
    """The name of a published part as the name of a folder or file; empty where it could be none."""
    return text if re.fullmatch(r"\w[\w-]{0,40}", text) else ""


def images_below(folder: Path, within: Path | None = None, leaving: Callable[[Path], None] | None = None
                 ) -> Iterator[Path]:
    """Image files below a folder, in a fixed order; hidden ones are passed over.

    Args:
        folder: where to look.
        within: the folder, this one or one above it, that links may not leave.
        leaving: is told of each link that does; it is passed over.
    """
    root = (within or folder).resolve()
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.suffix.lower() not in READABLE or not path.is_file():
            continue
        if path.resolve().is_relative_to(root):
            yield path
        elif leaving is not None:
            leaving(path)


def clip_and_frame(key: str) -> tuple[str, int]:
    """The clip and the frame that the name of an image speaks of; itself and -1 where it speaks of none.

    ``dive7/cam2_000123.jpg`` is frame 123 of the clip ``dive7/cam2``; a folder counts unless its name is one of a usual
    layout (``images``, ``train``, ...). What Roboflow appends to names is not part of them.
    """
    path = Path(key)
    stem = _EXPORTED.sub("", path.name) if _EXPORTED.search(path.name) else _EXPORTED.sub("", path.stem)
    stem = re.sub(r"\.(?:jpe?g|png|bmp|tiff?|webp)$", "", stem, flags=re.IGNORECASE)
    folders = [part for part in path.parent.parts if part.lower() not in _LAYOUT]
    found = _FRAME.match(stem)
    if found:
        return "/".join([*folders, *([found["clip"]] if found["clip"] else [])]) or stem, int(found["frame"])
    if stem.isdecimal() and folders:
        return "/".join(folders), int(stem[:9])
    return "/".join(folders) or stem, -1


def number_of(text: str) -> int | None:
    """A frame's number as somebody wrote it; None where it is none that a table holds."""
    return int(text) if re.fullmatch(r"\d{1,19}", text, re.ASCII) and int(text) <= MOST else None


def part_of(key: str) -> str:
    """The published part that a path speaks of, as its folder is called; empty where there is none."""
    return next((part for part in Path(key).parent.parts if part.lower() in PARTS), "")


def collection_of(path: Path) -> Path:
    """The folder of the whole collection that a listing is of: without folders of a usual layout at its end.

    ``data/train``, ``data/instances_test.json`` and ``data/annotations/val.json`` are all of ``data``: frames of one
    clip may lie in each of them.
    """
    path = path.resolve()
    if path.suffix and not path.is_dir():
        path = path.parent
    while path.name.lower() in _LAYOUT and path.parent != path:
        path = path.parent
    return path


def part_named(path: Path) -> str:
    """The published part that the name of a listing, or of its folder, speaks of; empty where there is none."""
    if path.suffix.lower() == ".json":  # instances_train.json
        last = re.split(r"[_.\- ]", path.stem)[-1]
        if last.lower() in PARTS:
            return last
        path = path.parent
    return part_of((path.resolve().relative_to(collection_of(path)) / "any").as_posix())
