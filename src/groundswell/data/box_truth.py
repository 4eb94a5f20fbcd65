"""data: the boxes that are known to be true of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError

Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]


class Annotated(Protocol):
    """Boxes of one image, as a set of images gives them."""

    @property
    def boxes(self) -> NDArray[Any]:
        """Left, top, right, bottom, pixels of the image, shape (k, 4)."""
        ...

    @property
    def label(self) -> NDArray[Any]:
        """Index of the class, shape (k,)."""
        ...

    @property
    def crowd(self) -> NDArray[Any]:
        """Whether a box is a region of many, shape (k,)."""
        ...


@dataclass(frozen=True)
class BoxTruth:
    """The boxes that are known to be true of images whose animals are all annotated.

    Attributes:
        sample_id: text, shape (n,), each once.
        count: int64, shape (n,), boxes of each image; they sum to m.
        boxes: float32, shape (m, 4): left, top, right, bottom, pixels of the original image.
        label: int64, shape (m,), index into ``classes``.
        crowd: bool, shape (m,): a region of many, in which boxes are neither right nor wrong.
        group: text, shape (n,): the clip, dive or deployment of each image.
        classes: class names.
        priority: of each class: critical, important, general; ``None`` where it has none.

    Raises:
        InputError: shapes disagree, an image is there twice, a box is not finite, a label is out of range.
    """

    sample_id: NDArray[np.object_]
    count: Ints
    boxes: Floats32
    label: Ints
    crowd: NDArray[np.bool_]
    group: NDArray[np.object_]
    classes: tuple[str, ...]
    priority: tuple[str | None, ...]

    def __post_init__(self) -> None:
        n = len(self.sample_id)
        if not n == len(self.count) == len(self.group) or len(self.priority) != len(self.classes):
            raise InputError(f"The true boxes of {n} images need as many counts and groups, and each class a priority")
        if len(set(self.sample_id)) != n:
            raise InputError("The true boxes of an image are given twice")
        check_boxes(self.sample_id, self.count, self.boxes, self.label, len(self.classes))
        if self.crowd.shape != self.label.shape:
            raise InputError(f"{len(self.label)} boxes cannot have {self.crowd.shape} marks of crowds")

    def __len__(self) -> int:
        return len(self.sample_id)

    @property
    def image(self) -> Ints:
        """Row of the image of each box, int64, shape (m,)."""
        return np.repeat(np.arange(len(self)), self.count)

    @classmethod
    def of(cls, sample_id: Sequence[str] | NDArray[Any], annotations: Sequence[Annotated], classes: Sequence[str], *,
           group: Sequence[str] | NDArray[Any] | None = None, priority: Sequence[str | None] | None = None) -> BoxTruth:
        """The annotations of each image; without groups each image is one, without priorities no class has any."""
        if len(annotations) != len(sample_id):
            raise InputError(f"{len(sample_id)} images cannot have {len(annotations)} annotations")
        return cls(np.asarray(sample_id, dtype=object), np.array([len(a.label) for a in annotations], np.int64),
                   joined([a.boxes for a in annotations], np.float32).reshape(-1, 4),
                   joined([a.label for a in annotations], np.int64), joined([a.crowd for a in annotations], bool),
                   np.asarray(sample_id if group is None else group, dtype=object), tuple(classes),
                   tuple([None] * len(classes) if priority is None else priority))

    def of_image(self, row: int) -> tuple[Floats32, Ints, NDArray[np.bool_]]:
        """Boxes (k, 4), labels (k,) and marks of crowds (k,) of the image in this row."""
        start = int(self.count[:row].sum())
        part = slice(start, start + int(self.count[row]))
        return self.boxes[part], self.label[part], self.crowd[part]

    def take(self, rows: NDArray[np.bool_] | Ints) -> BoxTruth:
        """The truth of the images at these positions or where the mask is true."""
        inside = boxes_of(self.count, rows)
        return BoxTruth(self.sample_id[rows], self.count[rows], self.boxes[inside], self.label[inside],
                        self.crowd[inside], self.group[rows], self.classes, self.priority)

    def beside(self, sample_id: NDArray[np.object_]) -> BoxTruth:
        """The truth of these images, in their order.

        Raises:
            InputError: one is unknown; its true boxes must not be taken for none.
        """
        place = pd.Index(self.sample_id).get_indexer(pd.Index(sample_id))
        if (place < 0).any():
            raise InputError("The true boxes of a predicted image are not known",
                             where=str(sample_id[int(np.argmax(place < 0))]))
        return self.take(np.asarray(place, np.int64))


def boxes_of(count: Ints, rows: NDArray[np.bool_] | Ints) -> Ints:
    """Positions of the boxes of the images at ``rows``, where image k has ``count[k]`` of them; int64."""
    chosen: NDArray[np.intp] = np.arange(len(count))[rows]
    many = count[chosen]
    first = (np.cumsum(count) - count)[chosen]
    within = np.arange(int(many.sum())) - np.repeat(np.cumsum(many) - many, many)
    return np.asarray(np.repeat(first, many) + within, np.int64)


def joined(parts: Sequence[NDArray[Any]], kind: Any) -> NDArray[Any]:
    """All parts after one another as numbers of one kind; empty ones may have any shape."""
    filled = [np.asarray(part, kind) for part in parts if len(part)]
    return np.concatenate(filled) if filled else np.zeros(0, kind)


def check_boxes(sample_id: NDArray[np.object_], count: Ints, boxes: Floats32, label: Ints, classes: int) -> None:
    """Refuse boxes (m, 4) of images, ``count`` of each, with wrong shapes, corners or labels."""
    if boxes.ndim != 2 or boxes.shape[1] != 4 or label.shape != (len(boxes),):
        raise InputError(f"Boxes cannot have the shape {boxes.shape} with {len(label)} labels")
    if (count < 0).any() or count.sum() != len(boxes):
        raise InputError(f"The counts of boxes sum to {int(count.sum())}, but there are {len(boxes)} boxes")
    refuse_boxes(np.asarray(~np.isfinite(boxes).all(axis=1)), "A box is not finite", sample_id, count)
    refuse_boxes((label < 0) | (label >= classes), f"The label of a box is not one of 0 to {classes - 1}", sample_id,
                 count)


def refuse_boxes(wrong: NDArray[np.bool_], what: str, sample_id: NDArray[np.object_], count: Ints) -> None:
    """Refuse the boxes that the mask (m,) marks, by the name of the first one's image."""
    if wrong.any():
        raise InputError(what, where=str(sample_id[np.repeat(np.arange(len(count)), count)[int(np.argmax(wrong))]]))
