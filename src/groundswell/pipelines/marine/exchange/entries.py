"""marine: what was drawn on images, in one form for all formats, and a count of everything that is wrong with it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from groundswell.core.files import shown

SAYS = {
    "unreadable": "entries that cannot be read",
    "unknown_category": "boxes of a category that is neither in the package nor in the table of species",
    "outside_table": "boxes with a class number outside the table",
    "numbered": "boxes whose class is a number without a name; taken as an id of the package",
    "orphan_annotation": "annotations of an image that the file does not list",
    "foreign_image": "images that are not in the package",
    "repeated_image": "images that are there more than once; their boxes were put together",
    "changed_image": "images whose bytes are not those of the manifest; left out",
    "broken_image": "images that cannot be read; left out",
    "size_scaled": "images that were annotated at another size; their boxes were scaled",
    "size_disagrees": "images that were annotated in another shape; left out",
    "not_finite": "boxes with a side that is no number",
    "no_area": "boxes without area",
    "outside_image": "boxes outside their image",
    "clipped": "boxes that left their image; cut to it",
    "repeated_box": "boxes that are there twice; one was kept",
    "contradicting_box": "boxes with two names; the first was kept",
    "turned_box": "turned boxes; the upright box round each was taken",
    "outline": "outlines; the upright box round each was taken",
    "not_a_box": "shapes that are neither a box nor an outline",
    "several_annotators": "images that more than one person annotated; the latest was taken",
    "incomplete_image": "images with an animal whose box could not be used; they count as not annotated, for otherwise "
                        "it would be taught as background",
    "not_reviewed": "images of the package that nobody has reviewed; not imported",
}
"""Kinds of findings, in the order of a report."""
HARMLESS = frozenset({"size_scaled", "clipped", "turned_box", "outline", "repeated_box", "several_annotators",
                      "not_reviewed", "repeated_image", "numbered"})
"""Findings that lose nothing."""
_LOSES = frozenset({"unreadable", "unknown_category", "outside_table", "not_finite", "not_a_box"})
"""Findings about a box that lose the animal it was drawn for."""
_EXAMPLES = 10


@dataclass
class Shape:
    """A box as it was drawn.

    Attributes:
        box: left, top, right, bottom, in units of its entry.
        category: its name, or the number of a class where the format has no names.
        crowd: whether it is a group.
    """

    box: tuple[float, float, float, float]
    category: str | int
    crowd: bool = False


@dataclass
class Entry:
    """An image as somebody reviewed it.

    Attributes:
        name: of the file, with whatever folders and address the tool put before it.
        shapes: its boxes; none: reviewed, and without animals.
        unit: width and height of the image in the units of the boxes; None: pixels.
        stated: width and height in pixels that the file states, or None.
        reviewed: whether somebody did.
        complete: whether every animal that was drawn has its box.
    """

    name: str
    shapes: list[Shape] = field(default_factory=list)
    unit: tuple[float, float] | None = None
    stated: tuple[float, float] | None = None
    reviewed: bool = True
    complete: bool = True


class Findings:
    """Counts of what is wrong, with examples."""

    def __init__(self) -> None:
        self.count: dict[str, int] = {}
        self.examples: dict[str, list[str]] = {}

    def add(self, kind: str, where: str, times: int = 1) -> None:
        """So many more of a kind of :data:`SAYS`."""
        assert kind in SAYS
        self.count[kind] = self.count.get(kind, 0) + times
        seen = self.examples.setdefault(kind, [])
        if len(seen) < _EXAMPLES:
            seen.append(shown(where))

    @contextlib.contextmanager
    def of(self, entry: Entry) -> Iterator[None]:
        """While this is entered, an animal that loses its box is one of this entry."""
        before = self._lost()
        yield
        entry.complete = entry.complete and self._lost() == before

    def _lost(self) -> int:
        return sum(self.count.get(kind, 0) for kind in _LOSES)

    def listed(self) -> list[dict[str, Any]]:
        """For a report."""
        return [{"kind": kind, "count": self.count[kind], "says": says, "examples": self.examples[kind],
                 "harmless": kind in HARMLESS} for kind, says in SAYS.items() if kind in self.count]


def numbers(values: Sequence[Any]) -> tuple[float, ...] | None:
    """Values as numbers; None where one is none. Text that reads as a number is one; a truth value is not."""
    try:
        found = tuple(float(value) for value in values if not isinstance(value, bool))
    except (TypeError, ValueError, OverflowError):
        return None
    return found if len(found) == len(values) else None


def size_of(width: Any, height: Any) -> tuple[float, float] | None:
    """A stated size, or None where there is none."""
    found = numbers((width, height))
    if found is None or not all(math.isfinite(side) and side > 0 for side in found):
        return None
    return found[0], found[1]


def around(points: Sequence[float]) -> tuple[float, float, float, float]:
    """The upright box round points x, y, x, y, ..."""
    across, down = points[0::2], points[1::2]
    return min(across), min(down), max(across), max(down)


def turned(left: float, top: float, width: float, height: float, degrees: float, *,
           centre: tuple[float, float]) -> tuple[float, float, float, float]:
    """The upright box round a box that was turned clockwise about a point; all in units of the same length."""
    if not math.isfinite(degrees):
        return math.nan, math.nan, math.nan, math.nan
    angle = math.radians(degrees)
    corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
    points: list[float] = []
    for x, y in corners:
        x, y = x - centre[0], y - centre[1]
        points += [centre[0] + x * math.cos(angle) - y * math.sin(angle),
                   centre[1] + x * math.sin(angle) + y * math.cos(angle)]
    return around(points)
