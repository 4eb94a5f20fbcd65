"""marine: sets of images written: every file beside the set's place first, then renamed into it at once."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_folder, write_json
from groundswell.pipelines.marine.image_files import SUFFIXES, check_name, checksum, decode, encode, read_bytes
from groundswell.pipelines.marine.images_layout import (
    BOX_COLUMNS,
    BOXES,
    FACTS,
    FOLDER,
    FORMAT,
    IMAGE_COLUMNS,
    IMAGES,
    SIDES,
    UNKNOWN,
    SetFacts,
    tables_digest,
    typed_boxes,
    typed_images,
)

if TYPE_CHECKING:
    from groundswell.pipelines.marine.images import ImageSet

_SLACK = 0.5
"""Pixels by which a box may leave its image and is cut to it: rounding, not a mistake."""


def write_tables(folder: Path, facts: SetFacts, images: pd.DataFrame, boxes: pd.DataFrame) -> None:
    """Write both tables and the description of a set whose image files lie in ``folder/images`` already.

    Raises:
        InputError: the tables do not fit each other.
    """
    images = typed_images(images)
    boxes = typed_boxes(boxes, images, facts.classes)
    images.to_parquet(folder / IMAGES, index=False)
    boxes.to_parquet(folder / BOXES, index=False)
    write_json(folder / FACTS, {
        "format": FORMAT, "classes": facts.classes, "species": facts.species, "preparation": facts.preparation,
        "note": facts.note, "images": len(images), "boxes": len(boxes),
        "fingerprint": tables_digest(facts, images, boxes)})


class ImageWriter:
    """Writes a set image by image. ``with ImageWriter(...) as writer: writer.add(...)``; then ``writer.set`` is open.

    The set is there whole when the block has ended, and not at all where an exception left it.

    Args:
        path: the folder; new, or empty.
        classes: names of what boxes are labelled with.
        species: id in the table of species for each class, -1 for none; None: none is any.
        note: free facts.
        preparation: what was done to the images.
        suffix: of images that come as arrays: ``.jpg`` (quality 95) or ``.png`` (exact).
        replace: put it in the place of a set that is there.

    Raises:
        InputError: something is there already.
    """

    def __init__(self, path: str | Path, *, classes: Sequence[str], species: Sequence[int] | None = None,
                 note: Mapping[str, Any] | None = None, preparation: Mapping[str, Any] | None = None,
                 suffix: str = ".jpg", replace: bool = False) -> None:
        self.path = Path(path)
        self._facts = SetFacts(tuple(classes), tuple(species if species is not None else [UNKNOWN] * len(classes)),
                               dict(preparation or {}), dict(note or {}))
        self._suffix = suffix
        self._images: list[dict[str, Any]] = []
        self._boxes: list[_Boxes] = []
        self._names: set[str] = set()
        self._place = atomic_folder(self.path, replaces=FACTS if replace else "")
        self._folder = Path()

    def __enter__(self) -> ImageWriter:
        self._folder = self._place.__enter__()
        (self._folder / FOLDER).mkdir()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if error is not None:
            self._place.__exit__(kind, error, trace)
            return
        with contextlib.ExitStack() as stack:
            stack.push(self._place)
            images = pd.DataFrame(self._images, columns=None if self._images else list(IMAGE_COLUMNS))
            write_tables(self._folder, self._facts, images, _table(self._boxes))

    @property
    def set(self) -> ImageSet:
        """The finished set."""
        from groundswell.pipelines.marine.images import ImageSet

        return ImageSet.open(self.path)

    def __len__(self) -> int:
        return len(self._images)

    def add(self, name: str, image: NDArray[np.uint8] | Path | bytes, *, clip: str = "",
            boxes: NDArray[Any] | Sequence[Any] = (), label: NDArray[Any] | Sequence[int] = (),
            track: NDArray[Any] | Sequence[int] | None = None, crowd: NDArray[Any] | Sequence[bool] | None = None,
            annotated: bool = True, frame: int = UNKNOWN, source: str = "own", **columns: Any) -> None:
        """Add an image with its boxes.

        Args:
            name: without a suffix; unique.
            image: uint8 (h, w, 3) RGB, or a JPEG or PNG file, or the bytes of one, which are kept as they are.
            clip: what must not straddle a split: camera clip, dive, deployment; empty: the image is one by itself.
            boxes: (n, 4), left, top, right, bottom in pixels; up to half a pixel outside is cut.
            label: (n,), index into the classes.
            track: (n,), number of the animal within the clip; None: unknown.
            crowd: (n,), regions of many; None: none is.
            annotated: whether every animal is boxed.
            frame: number of the frame within the clip; -1: unknown.
            source: where it comes from: fathomnet, deepfish, own, simulated, ...
            columns: of :data:`IMAGE_COLUMNS`, or further ones.

        Raises:
            InputError: the name is taken or none, the image is no image, or a box cannot be right.
        """
        if check_name(name) in self._names:
            raise InputError(f"The image name '{name}' is given twice", where=self.path, fix="Name each image once")
        data, suffix, (height, width) = self._data(name, image)
        mine = _boxes(name, boxes, label, track, crowd)
        limit = np.array([width, height, width, height])
        near = np.clip(mine.sides, 0, limit)
        cut = np.where(np.abs(mine.sides - near) <= _SLACK, near, mine.sides).astype(np.float32)
        mine = dataclasses.replace(mine, sides=cut)
        row = {**columns, "image": name, "file": f"{FOLDER}/{name}{suffix}", "width": width, "height": height,
               "clip": clip or name, "frame": frame, "source": source, "annotated": annotated,
               "checksum": checksum(data)}
        if not mine.sound(limit, len(self._facts.classes)):  # a table for each image would take longer than its file
            typed_boxes(_table([mine]), pd.DataFrame([row]), self._facts.classes)
        (self._folder / str(row["file"])).write_bytes(data)
        self._names.add(name)
        self._images.append(row)
        self._boxes.append(mine)

    def _data(self, name: str, image: NDArray[np.uint8] | Path | bytes) -> tuple[bytes, str, tuple[int, int]]:
        if isinstance(image, np.ndarray):
            return encode(image, self._suffix), self._suffix, (image.shape[0], image.shape[1])
        data = read_bytes(Path(image)) if not isinstance(image, bytes) else image
        shape = decode(data, name if isinstance(image, bytes) else image).shape
        suffix = Path(image).suffix.lower() if not isinstance(image, bytes) else ""
        if suffix not in SUFFIXES:
            suffix = {b"\xff\xd8": ".jpg", b"\x89P": ".png"}.get(data[:2], "")
        if not suffix:
            return encode(decode(data, name), self._suffix), self._suffix, (shape[0], shape[1])
        return data, suffix, (shape[0], shape[1])


@dataclasses.dataclass(frozen=True)
class _Boxes:
    """The boxes of one image."""

    name: str
    sides: NDArray[np.floating[Any]]
    label: NDArray[np.int64]
    track: NDArray[np.int64]
    crowd: NDArray[np.bool_]

    def sound(self, limit: NDArray[np.int64], classes: int) -> bool:
        """Whether every box is of a class, has an area, and lies inside the image."""
        inside = (self.sides >= 0) & (self.sides <= limit)
        area = self.sides[:, 2:] > self.sides[:, :2]
        return bool(inside.all() and area.all() and ((self.label >= 0) & (self.label < classes)).all())


def _boxes(name: str, boxes: Any, label: Any, track: Any, crowd: Any) -> _Boxes:
    sides = np.asarray(boxes, np.float64).reshape(-1, 4)
    label = np.asarray(label, np.int64).reshape(-1)
    track = np.full(len(sides), UNKNOWN) if track is None else np.asarray(track, np.int64).reshape(-1)
    crowd = np.zeros(len(sides), bool) if crowd is None else np.asarray(crowd, bool).reshape(-1)
    if not len(sides) == len(label) == len(track) == len(crowd):
        raise InputError(f"The image '{name}' has {len(sides)} boxes, {len(label)} labels, {len(track)} tracks and "
                         f"{len(crowd)} marks of crowds")
    return _Boxes(name, sides, label, track, crowd)


def _table(parts: Sequence[_Boxes]) -> pd.DataFrame:
    if not parts:
        return pd.DataFrame(columns=list(BOX_COLUMNS))
    sides, label, track, crowd = (np.concatenate([getattr(part, name) for part in parts])
                                  for name in ("sides", "label", "track", "crowd"))
    frame = pd.DataFrame(dict(zip(SIDES, sides.T, strict=True)))
    names = np.repeat(np.array([part.name for part in parts], object), [len(part.label) for part in parts])
    return frame.assign(image=names, label=label, track=track, crowd=crowd)[list(BOX_COLUMNS)]
