"""data: boxes with scores, the one form in which evaluation sees a detector, a fusion, a file or a control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.box_truth import Annotated, BoxTruth, boxes_of, check_boxes, joined, refuse_boxes
from groundswell.data.parquet import read_with_facts, write_with_facts

__all__ = ["Annotated", "BoxPredictions", "BoxTruth", "boxes_of"]

Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]

_META = b"groundswell.box_predictions"
_CORNERS = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class BoxPredictions:
    """Boxes of images; an image may have none. Boxes of one image lie together, images in order.

    Attributes:
        sample_id: text, shape (n,), one for each image and member.
        member: which model of several, shape (n,), text.
        fold: int64, shape (n,), -1 where there are no folds.
        count: int64, shape (n,), boxes of each image; they sum to m.
        boxes: float32, shape (m, 4): left, top, right, bottom, pixels of the original image.
        score: float32, shape (m,), 0 to 1, of the box's class, before any threshold of use.
        label: int64, shape (m,), index into ``classes``.
        classes: class names.
        note: free facts (``{"simulated": True}``) that travel with every number.

    Raises:
        InputError: shapes disagree, a box is not finite, or a score or a label is out of range; the message names the
            image.
    """

    sample_id: NDArray[np.object_]
    member: NDArray[np.object_]
    fold: Ints
    count: Ints
    boxes: Floats32
    score: Floats32
    label: Ints
    classes: tuple[str, ...]
    note: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.sample_id)
        if not n == len(self.member) == len(self.fold) == len(self.count):
            raise InputError(f"Boxes of {n} images need as many members, folds and counts; there are "
                             f"{len(self.member)}, {len(self.fold)} and {len(self.count)}")
        check_boxes(self.sample_id, self.count, self.boxes, self.label, len(self.classes))
        if self.score.shape != self.label.shape:
            raise InputError(f"{len(self.label)} boxes cannot have scores of the shape {self.score.shape}")
        refuse_boxes(~((self.score >= 0) & (self.score <= 1)), "The score of a box is not between 0 and 1",
                     self.sample_id, self.count)

    def __len__(self) -> int:
        return len(self.sample_id)

    @property
    def image(self) -> Ints:
        """Row of the image of each box, int64, shape (m,)."""
        return np.repeat(np.arange(len(self)), self.count)

    @classmethod
    def of(cls, sample_id: Sequence[str] | NDArray[Any],
           detections: Sequence[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]], classes: Sequence[str], *,
           member: str = "model", fold: int = -1, note: Mapping[str, Any] | None = None) -> BoxPredictions:
        """Predictions of one member and one fold: for each image its boxes (k, 4), scores (k,) and labels (k,)."""
        if len(detections) != len(sample_id):
            raise InputError(f"{len(sample_id)} images cannot have {len(detections)} lists of boxes")
        n = len(sample_id)
        return cls(np.asarray(sample_id, dtype=object), np.full(n, member, dtype=object), np.full(n, fold, np.int64),
                   np.array([len(score) for _, score, _ in detections], np.int64),
                   joined([boxes for boxes, _, _ in detections], np.float32).reshape(-1, 4),
                   joined([score for _, score, _ in detections], np.float32),
                   joined([label for _, _, label in detections], np.int64), tuple(classes), dict(note or {}))

    @classmethod
    def concatenate(cls, parts: Sequence[BoxPredictions]) -> BoxPredictions:
        """All parts after one another; they must share their classes. Notes are merged, first one wins."""
        if not parts or any(p.classes != parts[0].classes for p in parts):
            raise InputError("Boxes can only be joined when there are some predictions and their classes agree")
        note: dict[str, Any] = {}
        for part in reversed(parts):
            note.update(part.note)
        return cls(np.concatenate([p.sample_id for p in parts]), np.concatenate([p.member for p in parts]),
                   np.concatenate([p.fold for p in parts]), np.concatenate([p.count for p in parts]),
                   np.concatenate([p.boxes for p in parts]), np.concatenate([p.score for p in parts]),
                   np.concatenate([p.label for p in parts]), parts[0].classes, note)

    def of_image(self, row: int) -> tuple[Floats32, Floats32, Ints]:
        """Boxes (k, 4), scores (k,) and labels (k,) of the image in this row."""
        start = int(self.count[:row].sum())
        part = slice(start, start + int(self.count[row]))
        return self.boxes[part], self.score[part], self.label[part]

    def take(self, rows: NDArray[np.bool_] | Ints) -> BoxPredictions:
        """The predictions of the images at these positions or where the mask is true."""
        inside = boxes_of(self.count, rows)
        return BoxPredictions(self.sample_id[rows], self.member[rows], self.fold[rows], self.count[rows],
                              self.boxes[inside], self.score[inside], self.label[inside], self.classes, self.note)

    def keep(self, boxes: NDArray[np.bool_]) -> BoxPredictions:
        """All images with only those boxes for which the mask, shape (m,), is true."""
        kept = np.bincount(self.image[boxes], minlength=len(self)).astype(np.int64)
        return BoxPredictions(self.sample_id, self.member, self.fold, kept, self.boxes[boxes], self.score[boxes],
                              self.label[boxes], self.classes, self.note)

    def frame(self) -> pd.DataFrame:
        """One row a box: sample_id, left, top, right, bottom, score, label, class, member, fold."""
        rows = self.image
        corners = {name: self.boxes[:, k] for k, name in enumerate(_CORNERS)}
        return pd.DataFrame({"sample_id": self.sample_id[rows], **corners, "score": self.score, "label": self.label,
                             "class": np.asarray(self.classes, dtype=object)[self.label], "member": self.member[rows],
                             "fold": self.fold[rows]})

    def write(self, path: Path) -> None:
        """Write as Parquet, atomically: one row an image; corners, scores and labels as lists."""
        ends = pa.array(np.concatenate([[0], np.cumsum(self.count)]).astype(np.int64))
        values: dict[str, NDArray[Any]] = {**{name: self.boxes[:, k] for k, name in enumerate(_CORNERS)},
                                           "score": self.score, "label": self.label}
        lists = {name: pa.LargeListArray.from_arrays(ends, pa.array(np.ascontiguousarray(column)))
                 for name, column in values.items()}
        table = pa.table({"sample_id": pa.array(self.sample_id, pa.string()),
                          "member": pa.array(self.member, pa.string()), "fold": pa.array(self.fold), **lists})
        write_with_facts(path, table, _META, {"classes": self.classes, "note": self.note})

    @classmethod
    def read(cls, path: Path) -> BoxPredictions:
        """Read what :meth:`write` wrote.

        Raises:
            InputError: missing, damaged or something else.
        """
        table, meta = read_with_facts(path, _META, "predicted boxes")
        try:
            columns = {name: table[name].combine_chunks() for name in (*_CORNERS, "score", "label")}
            count = np.asarray(columns["score"].value_lengths().to_numpy(zero_copy_only=False), np.int64)
            flat = {name: np.array(column.flatten().to_numpy(zero_copy_only=False))
                    for name, column in columns.items()}
            if any((column.value_lengths().to_numpy(zero_copy_only=False) != count).any()
                   for column in columns.values()):
                raise ValueError("an image has not as many corners as scores")
            return cls(_texts(table, "sample_id"), _texts(table, "member"),
                       np.array(table["fold"].to_numpy(), np.int64), count,
                       np.stack([flat[name] for name in _CORNERS], axis=1).astype(np.float32),
                       flat["score"].astype(np.float32), flat["label"].astype(np.int64), tuple(meta["classes"]),
                       meta["note"])
        except (KeyError, TypeError, ValueError, AttributeError, pa.ArrowException) as error:
            raise InputError(f"The predicted boxes are damaged: {error}", where=path, fix="Make them again") from error


def _texts(table: pa.Table, name: str) -> NDArray[np.object_]:
    return np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=object)
