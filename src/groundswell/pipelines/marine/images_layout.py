"""marine: what a set of images is made of: its facts, the columns of its tables, and what must hold between them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.image_files import SUFFIXES, check_name

FORMAT = "groundswell images 1"
FACTS, IMAGES, BOXES, FOLDER = "images.json", "images.parquet", "boxes.parquet", "images"
MAKE_AGAIN = "Copy it again from where it was whole, or make it again with 'groundswell marine organise' or 'simulate'"
UNKNOWN = -1

IMAGE_COLUMNS: Mapping[str, Any] = {
    "image": "", "file": "", "width": np.int64, "height": np.int64, "clip": "", "frame": UNKNOWN, "source": "own",
    "time": pd.NaT, "latitude": np.nan, "longitude": np.nan, "depth_m": np.nan, "annotated": True,
    "published_split": "", "checksum": "",
}
"""Of images.parquet, with what stands where nothing is known; a type where there must be something. ``file`` is
relative to the set; ``time`` in UTC; ``annotated``: every animal that a person could see is boxed, so an image without
boxes is one without animals; ``checksum``: of the file's bytes. Further columns are kept."""
BOX_COLUMNS: Mapping[str, Any] = {
    "image": "", "left": np.float32, "top": np.float32, "right": np.float32, "bottom": np.float32, "label": np.int64,
    "track": UNKNOWN, "crowd": False,
}
"""Of boxes.parquet: pixels of the image as its file has them; ``crowd``: a region of many."""
SIDES = ["left", "top", "right", "bottom"]
_PLAIN = {"frame": np.int64, "latitude": np.float64, "longitude": np.float64, "depth_m": np.float64, "annotated": bool,
          "track": np.int64, "crowd": bool}


@dataclass(frozen=True)
class SetFacts:
    """What holds for a whole set.

    Attributes:
        classes: names of what boxes are labelled with, in label order.
        species: id in the table of species for each class, -1 where it is none of them.
        preparation: what was done to the images, such as ``{"underwater": {...}}``.
        note: free facts; ``{"simulated": True}`` is honoured by every report.
    """

    classes: tuple[str, ...]
    species: tuple[int, ...]
    preparation: dict[str, Any] = field(default_factory=dict)
    note: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.species) != len(self.classes):
            raise InputError(f"{len(self.classes)} classes have {len(self.species)} species", where="species",
                             fix="Give a species' id, or -1, for each class")
        if len(set(self.classes)) != len(self.classes) or not all(name.strip() for name in self.classes):
            raise InputError(f"Classes have names of their own; given: {', '.join(map(repr, self.classes))}",
                             where="classes")


def typed_images(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns of :data:`IMAGE_COLUMNS`, typed and in their order, and then any others.

    Raises:
        InputError: a name repeats or is none, a size is no size, or a file lies outside ``images/``.
    """
    frame = _typed(frame, IMAGE_COLUMNS, IMAGES)
    for name in frame["image"]:
        check_name(name)
    repeated = frame["image"][frame["image"].duplicated()]
    if len(repeated):
        raise InputError(f"{len(repeated)} image name(s) appear more than once, first '{repeated.iloc[0]}'",
                         where=IMAGES, fix="Name each image once")
    for name, file in zip(frame["image"], frame["file"], strict=True):
        folder, _, last = file.partition("/")
        if folder != FOLDER or Path(last).stem != name or "/" in last or Path(last).suffix not in SUFFIXES:
            raise InputError(f"The image '{name}' has the file '{file}', which is not in the set's folder of images",
                             where=IMAGES, fix=MAKE_AGAIN)
    if (frame[["width", "height"]] < 1).any(axis=None):
        raise InputError("An image has no size", where=IMAGES, fix=MAKE_AGAIN)
    frame["clip"] = frame["clip"].where(frame["clip"] != "", frame["image"])
    frame["time"] = pd.to_datetime(frame["time"], utc=True, format="ISO8601").astype("datetime64[ns, UTC]")
    return frame


def typed_boxes(frame: pd.DataFrame, images: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """The columns of :data:`BOX_COLUMNS`, typed, in the order of the images (and as given within one).

    Raises:
        InputError: a box is of no image, of no class, not finite, without area, or not inside its image.
    """
    frame = _typed(frame, BOX_COLUMNS, BOXES)[list(BOX_COLUMNS)].astype(dict.fromkeys(SIDES, np.float32))
    position = pd.Index(images["image"]).get_indexer(pd.Index(frame["image"]))
    if (position < 0).any():
        raise InputError(f"A box is of the image '{frame['image'].iloc[int(np.argmax(position < 0))]}', which is not "
                         "there", where=BOXES, fix=MAKE_AGAIN)
    order = np.argsort(position, kind="stable")
    frame, position = frame.iloc[order].reset_index(drop=True), position[order]
    label, sides = frame["label"].to_numpy(), frame[SIDES].to_numpy(np.float64)
    limits = np.tile(images[["width", "height"]].to_numpy(np.float64)[position], 2)
    reasons = {
        f"its class {{label}} is not one of 0 to {len(classes) - 1}": (label < 0) | (label >= len(classes)),
        "it is not finite": ~np.isfinite(sides).all(axis=1),
        "it has no area": ~((sides[:, 2:] > sides[:, :2]).all(axis=1)),
        "it leaves its image": (sides < 0).any(axis=1) | (sides > limits).any(axis=1),
    }
    for reason, bad in reasons.items():
        if bad.any():
            row = int(np.argmax(bad))
            raise InputError(f"A box of the image '{frame['image'].iloc[row]}' cannot be right: "
                             f"{reason.format(label=label[row])}", where=f"{BOXES}, row {row}",
                             fix="Correct the box, or leave it out")
    return frame


def _typed(frame: pd.DataFrame, columns: Mapping[str, Any], where: str) -> pd.DataFrame:
    frame = frame.reset_index(drop=True)
    made: dict[str, Any] = {}
    for name, default in columns.items():
        needed = isinstance(default, type)
        if name not in frame.columns and (needed or name in ("image", "file")):
            raise InputError(f"The table lacks the column '{name}'", where=where, fix=MAKE_AGAIN)
        column = frame[name] if name in frame.columns else pd.Series([default] * len(frame), dtype=object)
        kind = default if needed else _PLAIN.get(name)
        try:
            if isinstance(default, str):
                made[name] = column.fillna(default).astype(str).astype(object)
            else:
                made[name] = column if kind is None else (column if needed else column.fillna(default)).astype(kind)
        except (TypeError, ValueError) as error:
            raise InputError(f"The column '{name}' holds something else: {error}", where=where,
                             fix=MAKE_AGAIN) from error
    rest = {name: frame[name] for name in frame.columns if name not in columns}
    return pd.DataFrame({**made, **rest}, index=frame.index)


def tables_digest(facts: SetFacts, images: pd.DataFrame, boxes: pd.DataFrame) -> str:
    """Digest of classes, preparation and both tables, hexadecimal; with each file's checksum, so of all content."""
    digest = hashlib.blake2b(json.dumps([FORMAT, facts.classes, facts.species, facts.preparation],
                                        sort_keys=True).encode(), digest_size=16)
    for frame in (images, boxes):
        for name in frame.columns:
            digest.update(f"\x1f{name}".encode())
            digest.update(pd.util.hash_pandas_object(frame[name], index=False).to_numpy().tobytes())
    return digest.hexdigest()


def read_facts(value: Any, where: Path) -> SetFacts:
    """The facts in what images.json holds.

    Raises:
        InputError: it is no set of images, of another format, or lacks something.
    """
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise InputError(f"This is not a '{FORMAT}'", where=where,
                         fix="It may have been written by another release; make it again")
    try:
        return SetFacts(tuple(map(str, value["classes"])), tuple(map(int, value["species"])),
                        dict(value["preparation"]), dict(value["note"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"The set's description lacks something or holds something else: {error!r}", where=where,
                         fix=MAKE_AGAIN) from error
