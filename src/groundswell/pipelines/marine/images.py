"""marine: sets of images: a folder of image files with what is known of each, and the boxes on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import inside, read_json
from groundswell.data.table import SampleTable
from groundswell.pipelines.marine.image_files import Picture, checksum, decode, read_bytes, read_image
from groundswell.pipelines.marine.images_layout import (
    BOXES,
    FACTS,
    IMAGES,
    MAKE_AGAIN,
    SIDES,
    SetFacts,
    read_facts,
    tables_digest,
    typed_boxes,
    typed_images,
)
from groundswell.pipelines.marine.images_writing import ImageWriter

__all__ = ["Annotations", "ImageSet", "ImageWriter"]


@dataclass(frozen=True)
class Annotations:
    """The boxes of one image.

    Attributes:
        boxes: left, top, right, bottom in pixels, float32, shape (n, 4).
        label: index into the set's classes, int64, shape (n,).
        track: number of the animal within its clip, -1 where unknown, int64, shape (n,).
        crowd: whether it is a region of many, bool, shape (n,).
    """

    boxes: NDArray[np.float32]
    label: NDArray[np.int64]
    track: NDArray[np.int64]
    crowd: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.label)


class ImageSet:
    """A folder of images. Nothing in it is ever unpickled, and no path in it leaves it.

    ``images.json`` (facts, fingerprint), ``images.parquet``, ``boxes.parquet`` (columns as in ``images_layout``) and
    ``images/``. It can be pickled, and is opened again where it is unpickled.

    Attributes:
        path: the folder.
        classes: names of what boxes are labelled with, in label order.
        species: id in the table of species for each class, -1 where it is none of them.
        preparation: what was done to the images.
        note: free facts.
        images: one row for each image. Not to be changed.
        boxes: one row for each box, in the order of the images. Not to be changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise InputError("There is no such set of images", where=self.path,
                             fix="Make one with 'groundswell marine organise' or 'groundswell marine simulate'")
        value = read_json(self.path / FACTS)
        self._facts: SetFacts = read_facts(value, self.path / FACTS)
        self.images: pd.DataFrame = typed_images(_read_table(self.path / IMAGES))
        self.boxes: pd.DataFrame = typed_boxes(_read_table(self.path / BOXES), self.images, self._facts.classes)
        self._fingerprint = str(value.get("fingerprint"))
        sizes = {"images": len(self.images), "boxes": len(self.boxes)}
        for name, count in sizes.items():
            if value.get(name) != count:
                raise InputError(f"The set is said to have {value.get(name)} {name}, and its table has {count}",
                                 where=self.path, fix=MAKE_AGAIN)
        if tables_digest(self._facts, self.images, self.boxes) != self._fingerprint:
            raise InputError("The tables of the set do not match its description", where=self.path, fix=MAKE_AGAIN)
        self.classes, self.species = self._facts.classes, self._facts.species
        self.preparation, self.note = self._facts.preparation, self._facts.note
        self._index = pd.Index(self.images["image"])
        self._files: list[str] = self.images["file"].tolist()
        places = self._index.get_indexer(pd.Index(self.boxes["image"]))
        self._stop: NDArray[np.int64] = np.cumsum(np.bincount(places, minlength=len(self.images)))
        self._start: NDArray[np.int64] = np.concatenate([[0], self._stop[:-1]]).astype(np.int64)[:len(self.images)]
        self._sides = self.boxes[SIDES].to_numpy(np.float32)
        self._label, self._track = (self.boxes[name].to_numpy(np.int64) for name in ("label", "track"))
        self._crowd = self.boxes["crowd"].to_numpy(bool)

    @classmethod
    def open(cls, path: str | Path) -> ImageSet:
        """Open a set, its tables seen to fit each other; :meth:`verify` reads every image besides.

        Raises:
            InputError: missing, damaged, its tables and description disagree, or a path in it leaves it.
        """
        return cls(Path(path))

    @classmethod
    def write(cls, path: str | Path, *, classes: Sequence[str], species: Sequence[int] | None = None,
              images: pd.DataFrame, boxes: pd.DataFrame, files: Callable[[str], Path | bytes | NDArray[np.uint8]],
              note: Mapping[str, Any] | None = None, preparation: Mapping[str, Any] | None = None,
              suffix: str = ".jpg", replace: bool = False) -> ImageSet:
        """Write a set from tables and open it. It is there whole, or not at all.

        Args:
            path: the folder; new, or empty.
            classes: names of what boxes are labelled with.
            species: id in the table of species for each class, -1 for none.
            images: a row for each image, columns as in ``images_layout.IMAGE_COLUMNS``; ``file``, ``width``,
                ``height`` and ``checksum`` are worked out.
            boxes: columns as in ``images_layout.BOX_COLUMNS``.
            files: the image of a name: a file, its bytes, or uint8 (h, w, 3) RGB.
            note: free facts.
            preparation: what was done to the images.
            suffix: of images that come as arrays: ``.jpg`` or ``.png``.
            replace: put it in the place of a set that is there.

        Raises:
            InputError: something is there already, or tables and images do not fit each other.
        """
        orphans = sorted(set(boxes["image"]) - set(images["image"]))
        if orphans:
            raise InputError(f"A box is of the image '{orphans[0]}', which is not there", where=BOXES)
        by_image = dict(iter(boxes.groupby("image", sort=False)))
        worked_out = {"file", "width", "height", "checksum"}
        with ImageWriter(path, classes=classes, species=species, note=note, preparation=preparation, suffix=suffix,
                         replace=replace) as writer:
            for row in images.drop(columns=list(worked_out & set(images.columns))).to_dict("records"):
                name = str(row.pop("image"))
                mine = by_image.get(name, boxes.iloc[:0])
                known: dict[str, Any] = {column: mine[column].to_numpy() for column in ("track", "crowd")
                                         if column in mine.columns}
                writer.add(name, files(name), boxes=mine[SIDES].to_numpy(), label=mine["label"].to_numpy(), **known,
                           **{str(key): value for key, value in row.items()})
        return cls(Path(path))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def simulated(self) -> bool:
        """Whether its note says that the images are simulated."""
        return bool(self.note.get("simulated"))

    def fingerprint(self) -> str:
        """Digest of classes, preparation, both tables and (by checksum) the image files; free facts do not count."""
        return self._fingerprint

    def verify(self) -> None:
        """Read every file and compare with its checksum and size.

        Raises:
            InputError: one is missing or was changed after it was written; the message names it.
        """
        for name, total, width, height in self.images[["image", "checksum", "width", "height"]].itertuples(index=False):
            data = read_bytes(self.file(name))
            if checksum(data) != total or decode(data, self.file(name)).shape[:2] != (height, width):
                raise InputError("An image was changed after it was written", where=self.file(name), fix=MAKE_AGAIN)

    def position(self, image: str) -> int:
        """Row of an image.

        Raises:
            InputError: there is none of that name.
        """
        try:
            return int(self._index.get_loc(image))
        except KeyError as error:
            raise InputError(f"There is no image '{image}' in the set", where=self.path) from error

    def file(self, image: str) -> Path:
        """The file of an image, links followed.

        Raises:
            InputError: there is no such image, or its file leads outside the set.
        """
        return inside(self.path, self._files[self.position(image)])

    def read(self, image: str) -> Picture:
        """An image, uint8 (h, w, 3), RGB.

        Raises:
            InputError: there is none, or its file is missing, empty, cut off or no image; the message names the file.
        """
        return read_image(self.file(image))

    def annotations(self, image: str) -> Annotations:
        """The boxes of an image; copies.

        Raises:
            InputError: there is no such image.
        """
        row = self.position(image)
        mine = slice(int(self._start[row]), int(self._stop[row]))
        return Annotations(self._sides[mine].copy(), self._label[mine].copy(), self._track[mine].copy(),
                           self._crowd[mine].copy())

    def counts(self) -> NDArray[np.int64]:
        """Boxes on each image, int64, shape (images,)."""
        return np.asarray(self._stop - self._start, np.int64)

    def table(self, annotated: bool = True) -> SampleTable:
        """A sample table of one row for each image, in order; the group is the clip, so whole clips are held out.

        The label of an image is the rarest class on it, so that a split that is stratified by label shares out rare
        classes first; null where it has no box. ``content`` is the file's checksum: the audit of a split sees an image
        that two parts have. A part need not have every class (fact ``open_set``): clips decide; and one class is enough
        (fact ``background``).

        Args:
            annotated: leave out images whose animals are not boxed.
        """
        frame = self.images
        known = ["time", "latitude", "longitude", "frame", "width", "height", "source", "published_split"]
        rows = pd.DataFrame({
            "sample_id": frame["image"], "record": frame["clip"], "group": frame["clip"], "label": self._rarest(),
            "boxes": self.counts(), "content": frame["checksum"], **{name: frame[name] for name in known}})
        rows = rows[frame["annotated"].to_numpy(bool)] if annotated else rows
        origin = {**self.note, "images": self._fingerprint, "open_set": True, "background": True}
        return SampleTable(rows, self.classes, pipeline="marine", origin=origin)

    def _rarest(self) -> pd.Series[Any]:
        often = np.bincount(self._label, minlength=len(self.classes))
        order = np.argsort(np.argsort(often, kind="stable"), kind="stable")  # of each class, the rarest 0
        best = np.full(len(self), len(self.classes))
        np.minimum.at(best, np.repeat(np.arange(len(self)), self._stop - self._start), order[self._label])
        label = np.append(np.argsort(often, kind="stable"), -1)[best]
        return pd.Series(label).astype("Int64").mask(label < 0)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]


def _read_table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except FileNotFoundError as error:
        raise InputError("A file of the set is missing", where=path, fix=MAKE_AGAIN) from error
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise InputError(f"A file of the set cannot be read: {error}", where=path, fix=MAKE_AGAIN) from error
