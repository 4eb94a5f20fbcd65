"""marine: the canvas that simulated animals are drawn on: filled shapes in lengths of the animal, and their mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.marine.vision import cv2

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Colour = tuple[float, float, float]
"""Red, green, blue, 0 to 255."""

_SHIFT = 4
"""Binary digits behind the point in the coordinates that OpenCV gets."""
_STEPS = 2**_SHIFT


@dataclass(frozen=True)
class Sprite:
    """A drawn thing and where it lies in the picture; h by w pixels, which may reach over the picture's edge.

    Attributes:
        left, top: of its first pixel in the picture.
        colour: float32 (h, w, 3), 0 to 255, without water in between.
        alpha: float32 (h, w), how much of each pixel it covers, 0 to 1.
    """

    left: int
    top: int
    colour: NDArray[np.float32]
    alpha: NDArray[np.float32]


class Canvas:
    """Shapes in the animal's own coordinates: x ahead, y down, its middle at 0, its length 1.

    Args:
        centre: where the animal's middle lies in the picture, pixels, x and y.
        length: of the animal in the picture, pixels.
        half: how far the drawing may reach from its middle, along and across, in lengths.
        turn: (2, 2), what is done to the coordinates: mirroring, foreshortening, rotation.
    """

    def __init__(self, centre: tuple[float, float], length: float, half: tuple[float, float], turn: Floats) -> None:
        self._cv2 = cv2()
        # Small animals are a few pixels: they need the finer grid for edges that are smooth.
        self.fine = 3 if length < 48 else 2 if length < 600 else 1
        corners = np.array([[-half[0], -half[1]], [half[0], -half[1]]]) @ turn.T
        reach = np.abs(corners).max(axis=0) * length + 2
        low = np.floor(np.asarray(centre) - reach).astype(int)
        high = np.ceil(np.asarray(centre) + reach).astype(int)
        self.left, self.top = int(low[0]), int(low[1])
        width, height = (int(side) for side in high - low)
        self.unit = length * self.fine
        self._turn = turn.T * (self.unit * _STEPS)
        self._move = ((np.asarray(centre) - low) * self.fine - 0.5) * _STEPS
        self.colour: Bytes = np.zeros((height * self.fine, width * self.fine, 3), np.uint8)
        self.mask: Bytes = np.zeros((height * self.fine, width * self.fine), np.uint8)

    def _pixels(self, points: Any) -> NDArray[np.int32]:
        placed: NDArray[np.int32] = np.rint(np.asarray(points, np.float64) @ self._turn + self._move).astype(np.int32)
        return placed

    def fill(self, points: Any, colour: Colour, *, solid: bool = True) -> None:
        """A filled polygon (n, 2); one that is not solid is a pattern, which shows where something solid is."""
        at = self._pixels(points)[None]
        self._cv2.fillPoly(self.colour, at, colour, shift=_SHIFT)
        if solid:
            self._cv2.fillPoly(self.mask, at, 255, shift=_SHIFT)

    def line(self, points: Any, width: float, colour: Colour, *, to: float | None = None, solid: bool = True,
             other: Colour | None = None) -> None:
        """A line through points (n, 2) with round joints, ``width`` wide at its beginning and ``to`` at its end.

        Every second piece has the ``other`` colour, where there is one. However thin, a solid line covers about a pixel
        of the picture: thinner ones would flicker.
        """
        at = self._pixels(points).tolist()
        last = len(at) - 2
        thinnest = 1.2 * self.fine if solid else 1.0
        less = (width - (width if to is None else to)) / max(last, 1)
        for number in range(last + 1):
            across = round(max((width - less * number) * self.unit, thinnest))
            here = colour if other is None or number % 2 == 0 else other
            self._cv2.line(self.colour, at[number], at[number + 1], here, across, self._cv2.LINE_8, _SHIFT)
            if solid:
                self._cv2.line(self.mask, at[number], at[number + 1], 255, across, self._cv2.LINE_8, _SHIFT)

    def dots(self, points: Any, radius: float, colour: Colour, *, solid: bool = False) -> None:
        """Discs around points (n, 2)."""
        across = max(round(radius * self.unit * _STEPS), _STEPS // 2)
        for x, y in self._pixels(points).tolist():
            self._cv2.circle(self.colour, (x, y), across, colour, -1, self._cv2.LINE_8, _SHIFT)
            if solid:
                self._cv2.circle(self.mask, (x, y), across, 255, -1, self._cv2.LINE_8, _SHIFT)

    def pattern(self, inside: Any, shapes: list[Any], colour: Colour) -> None:
        """Polygons of a colour, seen only where they lie within the polygon ``inside``."""
        before, where = self.colour.copy(), np.zeros_like(self.mask)
        self._cv2.fillPoly(where, self._pixels(inside)[None], 255, shift=_SHIFT)
        for shape in shapes:
            self._cv2.fillPoly(self.colour, self._pixels(shape)[None], colour, shift=_SHIFT)
        self._cv2.copyTo(before, self._cv2.bitwise_not(where), self.colour)

    def finish(self, *, roundness: float = 0.45, opacity: float = 1.0) -> Sprite:
        """The drawing lit from above, as if its shapes were round, on the picture's grid."""
        mask, colour, left, top = self._drawn()
        colour = self._cv2.bitwise_and(colour, colour, mask=mask)
        # How deep inside the shape a pixel lies stands for how much its surface faces the viewer.
        facing = self._cv2.distanceTransform(mask, self._cv2.DIST_L2, 3)
        if self.fine > 1:
            grid = (mask.shape[1] // self.fine, mask.shape[0] // self.fine)
            colour, mask, facing = (self._cv2.resize(part, grid, interpolation=self._cv2.INTER_AREA)
                                    for part in (colour, mask, facing))
        facing *= np.float32(1 / max(0.08 * self.unit, 1.0))
        light = np.sqrt(np.minimum(facing, 1, out=facing), out=facing)
        light *= np.float32(roundness)
        light += np.float32(1 - 0.8 * roundness)
        light *= np.linspace(1.12, 0.85, len(mask), dtype=np.float32)[:, None]
        cover = mask.astype(np.float32) * np.float32(1 / 255)
        light /= np.maximum(cover, 1e-3)
        lit = colour * light[..., None]
        return Sprite(left, top, np.minimum(lit, 255, out=lit), cover * np.float32(opacity))

    def _drawn(self) -> tuple[Bytes, Bytes, int, int]:
        """Mask and colour of the part that is drawn on, in whole pixels of the picture, and its left and top."""
        x, y, width, height = self._cv2.boundingRect(self.mask)
        left, top = x // self.fine, y // self.fine
        right, bottom = max(-(-(x + width) // self.fine), left + 1), max(-(-(y + height) // self.fine), top + 1)
        rows = slice(top * self.fine, bottom * self.fine)
        columns = slice(left * self.fine, right * self.fine)
        return (np.ascontiguousarray(self.mask[rows, columns]), np.ascontiguousarray(self.colour[rows, columns]),
                self.left + left, self.top + top)


def smooth(points: Any, each: int = 6) -> Floats:
    """A closed curve through points (n, 2), ``each`` points for every one given (Catmull and Rom 1974)."""
    p = np.asarray(points, np.float64)
    before, after, next_but_one = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    t = np.linspace(0, 1, each, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (part[:, None, :] for part in (before, p, after, next_but_one))
    curve: Floats = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
                   + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    flat: Floats = curve.reshape(-1, 2)
    return flat


def moved(points: Any, x: float, y: float) -> Floats:
    """Points (..., 2) shifted by so much."""
    there: Floats = np.asarray(points, np.float64) + np.array((x, y))
    return there


def shade(colour: Colour, factor: float) -> Colour:
    """A colour lighter (above 1) or darker (below)."""
    red, green, blue = (min(max(part * factor, 0.0), 255.0) for part in colour)
    return red, green, blue


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """``share`` of the other colour in the one."""
    red, green, blue = (a + (b - a) * share for a, b in zip(one, other, strict=True))
    return red, green, blue


def turning(angle: float, along: float = 1.0, across: float = 1.0) -> Floats:
    """Foreshortened (or, by a negative factor, mirrored), then rotated by ``angle``, radians, clockwise in pictures."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c * along, -s * across], [s * along, c * across]])
