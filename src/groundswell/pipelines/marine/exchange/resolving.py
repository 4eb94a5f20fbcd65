"""marine: drawn boxes made into labelled boxes of a set: which image, which class, and whether they can be right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.boxes import area, clipped, iou
from groundswell.pipelines.marine.exchange.entries import Entry, Findings, Shape
from groundswell.pipelines.marine.species import UNKNOWN, SpeciesTable

SAME = 0.98
"""Overlap from which two boxes of an image are one: no two animals cover each other so."""
_SLACK = 1.0
"""Pixels by which a box may leave its image without a word: tools round."""
_ASPECT = 0.01
_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")
"""What Label Studio puts before the names of files that are uploaded to it."""


class Names:
    """Finds the image that an entry is of, by its file's name without folders and suffix, and never by a part of it."""

    def __init__(self, known: Sequence[str]) -> None:
        self._known = frozenset(known)

    def of(self, name: str) -> str | None:
        """The image, or None."""
        last = PurePosixPath(name.replace("\\", "/")).name
        stem = PurePosixPath(last).stem
        uploaded = _UPLOADED.fullmatch(stem)
        return next((found for found in (stem, last, uploaded[1] if uploaded else "") if found in self._known), None)


class Classes:
    """Labels for the categories of annotations: the set's own classes first, then species of the table, as needed.

    Args:
        names: the set's classes.
        species: id of each in the table, or -1.
        table: of species.
        numbered: what numbers without names mean: categories of the package, by id.
    """

    def __init__(self, names: Sequence[str], species: Sequence[int], table: SpeciesTable,
                 numbered: dict[int, str]) -> None:
        self.names, self.species = list(names), list(species)
        self._table, self._numbered = table, numbered
        self._own = {name.casefold(): place for place, name in enumerate(self.names)}
        self._of_species = {id: place for place, id in reversed(list(enumerate(self.species))) if id >= 0}
        self._allowed = {name.casefold() for name in numbered.values()}

    def label(self, shape: Shape, where: str, findings: Findings) -> int | None:
        """The label of a box; None where there is none."""
        name = shape.category
        if isinstance(name, int):
            if name not in self._numbered:
                findings.add("outside_table", f"{where}: class {name}")
                return None
            name = self._numbered[name]
        key = " ".join(name.split()).casefold()
        if key in self._own:
            return self._own[key]
        one = self._table.by_name(name)
        if one is not None:
            if one.id not in self._of_species:
                self._of_species[one.id] = self._added(one.common_name, one.id)
            return self._of_species[one.id]
        if key in self._allowed:
            self._own[key] = self._added(name, UNKNOWN)
            return self._own[key]
        findings.add("unknown_category", f"{where}: '{name}'")
        return None

    def _added(self, name: str, id: int) -> int:
        self.names.append(name)
        self.species.append(id)
        return len(self.names) - 1


def scale(entry: Entry, width: int, height: int, where: str, findings: Findings) -> tuple[float, float] | None:
    """Pixels for one unit across and down; None where the image was annotated in another shape."""
    if entry.stated is not None and entry.stated != (width, height):
        wide, high = width / entry.stated[0], height / entry.stated[1]
        if abs(wide / high - 1) > _ASPECT:
            findings.add("size_disagrees",
                         f"{where}: {entry.stated[0]:g} x {entry.stated[1]:g}, not {width} x {height}")
            return None
        findings.add("size_scaled", where)
    unit = entry.unit or entry.stated or (width, height)
    return width / unit[0], height / unit[1]


def resolved(entry: Entry, image: str, width: int, height: int, classes: Classes,
             findings: Findings) -> dict[str, NDArray[Any]] | None:
    """Boxes, labels and crowds of an entry, as :meth:`ImageWriter.add` takes them; None where the image cannot be used.

    Boxes that leave the image are cut; those that are nowhere, without area, of no class or there twice are left out;
    each is counted.
    """
    factor = scale(entry, width, height, image, findings)
    if factor is None:
        return None
    kept: list[tuple[NDArray[np.float64], int, bool]] = []
    for number, shape in enumerate(entry.shapes):
        where = f"{image}, box {number}"
        label = classes.label(shape, where, findings)
        box = None if label is None else _inside(shape, factor, (width, height), where, findings)
        if label is not None and box is not None:
            kept.append((box, label, shape.crowd))
    boxes = np.array([box for box, _, _ in kept]).reshape(-1, 4)
    label_of = np.array([label for _, label, _ in kept], np.int64)
    crowd = np.array([one for _, _, one in kept], bool)
    first = _first(boxes, label_of, image, findings)
    return {"boxes": boxes[first], "label": label_of[first], "crowd": crowd[first]}


def _inside(shape: Shape, factor: tuple[float, float], size: tuple[int, int], where: str,
            findings: Findings) -> NDArray[np.float64] | None:
    with np.errstate(over="ignore", invalid="ignore"):
        box = np.array(shape.box, np.float64) * (*factor, *factor)
    if not np.isfinite(box).all():
        findings.add("not_finite", where)
        return None
    if not (box[2:] > box[:2]).all():
        findings.add("no_area", where)
        return None
    cut: NDArray[np.float64] = clipped(box[None], *size).astype(np.float32).astype(np.float64)
    if not area(cut)[0] > 0:
        findings.add("outside_image" if (box[:2] >= size).any() or (box[2:] <= 0).any() else "no_area", where)
        return None
    if np.abs(cut[0] - box).max() > _SLACK:
        findings.add("clipped", where)
    found: NDArray[np.float64] = cut[0]
    return found


def _first(boxes: NDArray[np.float64], label: NDArray[np.int64], image: str, findings: Findings) -> NDArray[np.int64]:
    """Rows of boxes that no earlier row is the same as."""
    kept: list[int] = []
    for row, overlaps in enumerate(iou(boxes, boxes)):
        same = [other for other in kept if overlaps[other] >= SAME]
        if same:
            kind = "repeated_box" if label[same[0]] == label[row] else "contradicting_box"
            findings.add(kind, f"{image}, {boxes[row].round(1).tolist()}")
        else:
            kept.append(row)
    return np.array(kept, np.int64)
