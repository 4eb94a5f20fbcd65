"""marine: images and their boxes read straight into the loader's buffers, fitted into a square."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.source import Field
from groundswell.data.table import SampleTable
from groundswell.evaluate.detection_controls import annotations_of, moved
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.letterbox import letterbox

PADDING_LABEL = -1
IGNORED_LABEL = -2
Prepare = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


class DetectionSource:
    """Delivers images of a set in squares.

    Fields of a sample, with M the most boxes on any image of the set (at least one): ``image`` uint8 (3, size, size)
    RGB; ``boxes`` float32 (M, 4), left, top, right, bottom in pixels of the square, zero where there is none;
    ``box_label`` int64 (M,), -1 where there is none and -2 where a box is there that no loss is to look at (a crowd, or
    a class that is not told apart); ``placed`` float32 (5,): ratio, left, top, original width and height
    (:class:`groundswell.pipelines.marine.letterbox.Placed`).

    Several threads may read at once; it can be pickled.

    Args:
        images: the set.
        table: rows of the set's own table, or some of them.
        size: edge of the square, pixels.
        classes_of: new class of each of the set's classes, -1 where it is not told apart (int64, (classes,)); None: as
            in the set.
        prepare: what is done to an image, uint8 (h, w, 3) RGB, before it is fitted in; True: what ``marine prepare``
            does, unless it was done to the set; False or None: nothing.

    Raises:
        InputError: the table names an image that the set has not.
    """

    def __init__(self, images: ImageSet, table: SampleTable, *, size: int,
                 classes_of: NDArray[np.int64] | None = None,
                 prepare: Prepare | bool | None = None) -> None:
        self._images, self._size = images, size
        self._prepare: Prepare | None = _preparation(images) if prepare is True else prepare or None
        self._names: list[str] = table.column("sample_id").tolist()
        for name in self._names:
            images.position(name)
        of = np.arange(len(images.classes)) if classes_of is None else np.asarray(classes_of, np.int64)
        if of.shape != (len(images.classes),):
            raise InputError(f"{len(images.classes)} classes are mapped by {of.shape} numbers", where=images.path)
        self._of = np.where(of < 0, IGNORED_LABEL, of)
        # A control deals the annotations of clips to other clips.
        self._donors = [str(name) for name in annotations_of(table)]
        self._most = max(1, int(images.counts().max(initial=0)))

    @property
    def fields(self) -> Mapping[str, Field]:
        """See the class."""
        return {"image": Field((3, self._size, self._size), np.uint8), "boxes": Field((self._most, 4), np.float32),
                "box_label": Field((self._most,), np.int64), "placed": Field((5,), np.float32)}

    def __len__(self) -> int:
        return len(self._names)

    def name(self, row: int) -> str:
        """Which image a row is."""
        return self._names[row]

    def read(self, rows: NDArray[np.int64], out: Mapping[str, NDArray[Any]]) -> None:
        """See :class:`groundswell.data.source.Source` and the class."""
        out["boxes"][...] = 0
        out["box_label"][...] = PADDING_LABEL
        for index, row in enumerate(np.asarray(rows).tolist()):
            name = self._names[row]
            image = self._images.read(name)
            if self._prepare is not None:
                image = self._prepare(image)
            square, placed = letterbox(image, self._size)
            out["image"][index] = square.transpose(2, 0, 1)
            out["placed"][index] = placed
            donor = self._donors[row]
            known = self._images.annotations(donor)
            boxes = known.boxes if donor == name else moved(known.boxes, self._size_of(donor), self._size_of(name))
            out["boxes"][index, :len(known)] = placed.boxes(boxes)
            out["box_label"][index, :len(known)] = np.where(known.crowd, IGNORED_LABEL, self._of[known.label])

    def _size_of(self, name: str) -> tuple[float, float]:
        row = self._images.images.iloc[self._images.position(name)]
        return float(row["width"]), float(row["height"])

    def close(self) -> None:
        """Holds nothing open."""


def _preparation(images: ImageSet) -> Prepare | None:
    """What is left to do to images that are to be prepared."""
    if "underwater" in images.preparation:
        return None
    from groundswell.pipelines.marine.prepare.underwater import underwater

    return underwater
