"""marine: what simulated animals swim before: ground with rocks, seen level or from above, or open water; plants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.marine.simulate.canvas import Canvas, Colour, Sprite, mix, moved, shade, smooth, turning
from groundswell.pipelines.marine.simulate.water import Picture, clouds
from groundswell.pipelines.marine.vision import cv2

View = Literal["level", "above", "open"]
FARTHEST_M = 14.0

_GROUNDS: tuple[tuple[Colour, Colour], ...] = (
    ((196, 178, 142), (150, 132, 102)), ((128, 118, 100), (84, 82, 74)), ((150, 122, 104), (104, 70, 80)),
    ((118, 122, 86), (74, 84, 60)))
"""Light and dark of sand, rubble, coralline crust and turf."""
_ROCK: tuple[Colour, ...] = ((112, 102, 92), (92, 84, 92), (128, 98, 88), (88, 92, 74))
_PLANT: tuple[Colour, ...] = ((112, 108, 36), (64, 104, 44), (128, 78, 44), (128, 48, 70))


@dataclass(frozen=True)
class Backdrop:
    """What stays the same in a clip.

    Attributes:
        view: how the camera looks.
        seen: float32 (h, w, 3), without water in between; where there is only water, 0.
        distance: float32 (h, w), metres.
        horizon: where the ground ends, as a share of the height; 1 where there is none, 0 or less from above.
        nearest: distance of the ground at the lower edge, metres.
    """

    view: View
    seen: Picture
    distance: NDArray[np.float32]
    horizon: float
    nearest: float

    def ground(self, chance: np.random.Generator) -> tuple[float, float, float]:
        """A place on the ground: x and y as shares of the picture, and its distance."""
        height, width = self.distance.shape
        y = chance.uniform(0.08, 0.92) if self.view == "above" else chance.uniform(self.horizon + 0.12, 0.97)
        x = chance.uniform(0.05, 0.95)
        return x, y, float(self.distance[min(int(y * height), height - 1), min(int(x * width), width - 1)])


def draw_backdrop(chance: np.random.Generator, size: tuple[int, int], view: View, rocks: int) -> Backdrop:
    """A backdrop of chance for a picture of ``size`` (width, height) with so many rocks."""
    width, height = size
    if view == "open":
        return Backdrop(view, np.zeros((height, width, 3), np.float32),
                        np.full((height, width), FARTHEST_M * 2, np.float32), 1.0, FARTHEST_M)
    relief = clouds(chance, size, (3, 6, 12))
    if view == "above":
        horizon, nearest = 0.0, float(chance.uniform(1.2, 2.6))
        distance = np.maximum(nearest * (1 + 0.1 * relief), 0.6)
        texture = clouds(chance, size, (4, 9, 20, 45, 100), 0.75)
    else:
        horizon, nearest = float(chance.uniform(0.15, 0.5)), float(chance.uniform(1.0, 1.8))
        skyline = horizon + 0.05 * clouds(chance, (width, 8), (2, 5, 11))[0][None, :]
        y = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height
        down = (y - skyline) / (1 - skyline)
        distance = np.where(down > 0, nearest / np.maximum(down, nearest / FARTHEST_M), 2 * FARTHEST_M)
        distance = (distance * (1 + 0.06 * relief)).astype(np.float32)
        texture = _in_perspective(chance, size, distance / np.float32(nearest))
    light, dark = (np.array(colour, np.float32) for colour in _GROUNDS[chance.integers(len(_GROUNDS))])
    share = np.clip(0.5 + 0.55 * texture + 0.2 * relief, 0, 1)[..., None]
    seen = dark + (light - dark) * share
    if chance.random() < 0.5:  # the net of light that waves throw on shallow ground
        ridges = 1 - np.abs(clouds(chance, size, (9, 17), 0.6))
        seen *= (0.86 + 0.45 * np.clip(ridges, 0, 1) ** 6)[..., None]
    if view == "level":
        seen[distance > 1.6 * FARTHEST_M] = 0
    made = Backdrop(view, seen.astype(np.float32), distance.astype(np.float32), horizon, nearest)
    for _ in range(rocks):
        _put_rock(made, chance)
    return made


def _in_perspective(chance: np.random.Generator, size: tuple[int, int],
                    stretch: NDArray[np.float32]) -> NDArray[np.float32]:
    """A texture of the ground that grows finer with its distance (h, w), in that of the lower edge."""
    width = size[0]
    tile = clouds(chance, (512, 512), (8, 18, 40, 90), 0.8)
    x = (np.arange(width, dtype=np.float32)[None, :] / width - 0.5) * stretch * 200 + np.float32(chance.uniform(0, 511))
    # There and back over the tile, for its edges do not fit each other.
    x, y = (np.abs(np.mod(part, 1022) - 511).astype(np.float32) for part in (x, stretch * 300))
    wrapped = cv2().remap(tile, x, y, cv2().INTER_LINEAR)
    return np.asarray(wrapped / np.sqrt(stretch), np.float32)


def _put_rock(into: Backdrop, chance: np.random.Generator) -> None:
    x, y, distance = into.ground(chance)
    height, width = into.distance.shape
    length = min(width, height) * chance.uniform(0.2, 0.6) / max(distance / into.nearest, 1.0)
    rock = draw_rock(chance, (x * width, y * height - 0.15 * length * (into.view == "level")), length)
    put(rock, into.seen)
    rows, columns, inner = window(rock, (width, height))
    patch = into.distance[rows, columns]
    patch[rock.alpha[inner] > 0.5] = distance * 0.95


def draw_rock(chance: np.random.Generator, centre: tuple[float, float], length: float) -> Sprite:
    """A rock, with a crust and a few growths on it."""
    base = _ROCK[chance.integers(len(_ROCK))]
    canvas = Canvas(centre, length, (0.55, 0.5), turning(0.0, -1.0 if chance.random() < 0.5 else 1.0))
    angles = np.linspace(0, 2 * np.pi, 11, endpoint=False)
    reach = 0.36 + 0.14 * chance.random(11)
    outline = smooth(np.stack([reach * np.cos(angles), 0.75 * reach * np.sin(angles)], 1))
    canvas.fill(outline, base)
    for count, radius, tone in ((7, 0.08, 0.75), (9, 0.045, 1.25), (14, 0.018, 0.6)):
        places = chance.uniform(-0.4, 0.4, (count, 2)) * (1, 0.7)
        crust = mix(shade(base, tone), _PLANT[chance.integers(len(_PLANT))], 0.35)
        canvas.pattern(outline, [smooth(place + radius * chance.uniform(0.5, 1.2, (7, 1)) * _ring(7))
                                 for place in places], crust)
    return canvas.finish(roundness=0.7)


def _ring(count: int) -> NDArray[np.float64]:
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


@dataclass(frozen=True)
class Plant:
    """A plant that stands on the ground and sways.

    Attributes:
        foot: in the picture, pixels.
        length: pixels.
        distance: metres.
        lies: angle by which it is turned from upright, radians: seen from above plants point anywhere.
        broad: kelp with leaves, or a bush of thin branches.
        colour: of its leaves.
        look: 48 numbers from 0 to 1.
    """

    foot: tuple[float, float]
    length: float
    distance: float
    lies: float
    broad: bool
    colour: Colour
    look: tuple[float, ...]

    def draw(self, seconds: float) -> Sprite:
        """It as it is after so many seconds."""
        turn = turning(self.lies)
        middle = (self.foot[0] + 0.5 * self.length * -turn[0, 1], self.foot[1] - 0.5 * self.length * turn[1, 1])
        canvas = Canvas(middle, self.length, (0.42, 0.54), turn)
        t = np.linspace(0, 1, 12)
        for stem in range(3 if self.broad else 7):
            u = self.look[stem]
            lean = (u - 0.5) * (0.35 if self.broad else 0.7)
            swing = (0.06 * np.sin(seconds * (0.7 + 0.4 * u) + 6 * u)) * t**2
            x = 0.05 * (stem - 1) * self.broad + lean * t + 0.03 * np.sin(7 * t + 6 * u) + swing
            tall = 0.65 + 0.35 * self.look[stem + 8]
            line = np.stack([x, 0.5 - tall * t], 1)
            tone = shade(self.colour, 0.75 + 0.5 * self.look[stem + 16])
            canvas.line(line, 0.03 if self.broad else 0.035, tone, to=0.012)
            for i in range(2, 12):
                self._leaf(canvas, line[i], i + stem, seconds, tone)
        return canvas.finish(roundness=0.3)

    def _leaf(self, canvas: Canvas, at: NDArray[np.float64], number: int, seconds: float, tone: Colour) -> None:
        side = 1 if number % 2 else -1
        if not self.broad:
            canvas.line([at, moved(at, 0.07 * side, -0.06)], 0.016, shade(tone, 1.15), to=0.01)
            return
        droop = 0.03 + 0.03 * np.sin(seconds * 0.9 + number)
        tip = moved(at, 0.17 * side, droop)
        canvas.fill([at, moved(at, 0.05 * side, -0.035), moved(at, 0.12 * side, -0.02 + droop / 2), tip,
                     moved(at, 0.07 * side, 0.03)], shade(tone, 1.0 + 0.25 * self.look[number % 48]))


def draw_plant(chance: np.random.Generator, into: Backdrop, *, before: bool) -> Plant:
    """A plant on the ground; ``before``: it stands so near that animals can be hidden by it."""
    height, width = into.distance.shape
    x, y, distance = into.ground(chance)
    if before:
        y, distance = float(chance.uniform(0.9, 1.15)), 0.8 * into.nearest
    length = min(width, height) * float(chance.uniform(0.4, 0.85)) / max(distance / into.nearest, 0.8)
    lies = float(chance.uniform(-np.pi, np.pi)) if into.view == "above" and not before else 0.0
    return Plant((x * width, y * height), length, distance, lies, bool(chance.random() < 0.6),
                 _PLANT[chance.integers(len(_PLANT))], tuple(chance.random(48).tolist()))


def window(sprite: Sprite, size: tuple[int, int]) -> tuple[slice, slice, tuple[slice, slice]]:
    """Rows and columns of the picture (width, height) that a sprite covers, and the part of the sprite that does."""
    height, width = sprite.alpha.shape
    left, top = max(sprite.left, 0), max(sprite.top, 0)
    right, bottom = max(min(sprite.left + width, size[0]), left), max(min(sprite.top + height, size[1]), top)
    return (slice(top, bottom), slice(left, right),
            (slice(top - sprite.top, bottom - sprite.top), slice(left - sprite.left, right - sprite.left)))


def put(sprite: Sprite, picture: Picture) -> None:
    """Lay a sprite over a picture, in place."""
    rows, columns, inner = window(sprite, (picture.shape[1], picture.shape[0]))
    alpha = sprite.alpha[inner][..., None]
    picture[rows, columns] += alpha * (sprite.colour[inner] - picture[rows, columns])
