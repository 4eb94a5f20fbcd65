"""marine: simulated water: how it dims, tints and veils what lies behind it, and what floats in it.

An image is I = J exp(-b z) + V (1 - exp(-s z)) for each channel: J what there is, z its distance, b how fast the water
takes its light, V the light that the water itself sends to the camera, s how fast that builds up (Akkaynak and Treibitz
2018, who found that b and s differ).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.marine.vision import cv2

Picture = NDArray[np.float32]
"""float32 (h, w, 3), 0 to 255."""

# Kinds of water: the tint of light that came down through it, the colour of its own light, and what it takes of red,
# green and blue on every metre. Open ocean, temperate coast, harbour, tropical reef: after Jerlov's types, by eye.
_KINDS = (((0.42, 0.82, 1.0), (12.0, 92.0, 158.0), (0.30, 0.07, 0.04)),
          ((0.60, 0.96, 0.80), (30.0, 112.0, 96.0), (0.26, 0.06, 0.11)),
          ((0.85, 0.95, 0.62), (104.0, 116.0, 72.0), (0.16, 0.10, 0.22)),
          ((0.50, 0.95, 0.97), (28.0, 138.0, 160.0), (0.34, 0.05, 0.04)))


@dataclass(frozen=True)
class Water:
    """The water of a clip.

    Attributes:
        dims: (3,), b of the formula, a metre.
        veils: (3,), s of the formula, a metre.
        tint: (3,), of the light that falls on things.
        veil: float32 (h, w, 3), V of the formula, brighter towards the surface.
        blur: pixels of blur on every metre, in pictures with a shorter side of 320.
        turbidity: 0 to 1.
        depth_m: of the camera under the surface.
    """

    dims: NDArray[np.float32]
    veils: NDArray[np.float32]
    tint: NDArray[np.float32]
    veil: Picture
    blur: float
    turbidity: float
    depth_m: float

    def through(self, seen: Picture, distance: NDArray[np.float32] | float, veil: Picture) -> Picture:
        """What the camera gets of things (h, w, 3) at a distance (one, or (h, w)), before ``veil`` (h, w, 3)."""
        far = np.asarray(distance, np.float32)[..., None]
        got: Picture = seen * (self.tint * np.exp(-self.dims * far)) + veil * (1 - np.exp(-self.veils * far))
        return got


def draw_water(chance: np.random.Generator, size: tuple[int, int], turbidity: float, cast: float) -> Water:
    """Water of a chance kind, as turbid and as coloured as asked for.

    Args:
        chance: what decides.
        size: width and height of the picture.
        turbidity, cast: 0 to 1, see the recipe.
    """
    tint, veil, takes = (np.array(part, np.float32) for part in _KINDS[chance.integers(len(_KINDS))])
    grey = np.float32(veil.mean())
    colour = (grey + (veil - grey) * np.float32(0.15 + 0.85 * cast)) * np.float32(chance.uniform(0.75, 1.2))
    scatter = np.float32(0.02 + 0.62 * turbidity**1.5)
    dims = takes * np.float32(0.15 + 0.85 * cast) + scatter
    veils = np.float32(0.08) + scatter * np.array([0.95, 1.0, 1.1], np.float32)
    return Water(dims, veils, 1 - (1 - tint) * np.float32(cast), _lit(chance, size, colour), 0.5 * turbidity,
                 turbidity, float(chance.uniform(2, 30)))


def _lit(chance: np.random.Generator, size: tuple[int, int], colour: NDArray[np.float32]) -> Picture:
    """Light of the water over the picture: brighter towards the surface, with slanting beams."""
    width, height = size
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    slope, strength = chance.uniform(-0.5, 0.5), chance.uniform(0.0, 0.22)
    beams = np.interp(((x + slope * y) * 9 + 5).ravel(), np.arange(20), chance.standard_normal(20))
    beams = beams.reshape(height, width)
    falls = chance.uniform(0.35, 0.8)
    light = 1.25 - falls * y + strength * np.clip(beams, -1, 2) * (1 - y) ** 1.5
    # Near the surface the light is whiter: less water has coloured it.
    white = np.float32(0.3) * (1 - y[..., None]) ** 2
    lit: Picture = (light[..., None] * (colour * (1 - white) + white * colour.max())).astype(np.float32)
    return lit


def clouds(chance: np.random.Generator, size: tuple[int, int], cells: tuple[float, ...],
           fades: float = 0.55) -> NDArray[np.float32]:
    """Smooth chance, float32 (h, w), about -1 to 1: ``cells`` patches across at each octave, each fainter by
    ``fades``."""
    width, height = size
    made = np.zeros((height, width), np.float32)
    weight, total = 1.0, 0.0
    for count in cells:
        grid = (max(round(count * height / width) + 2, 2), max(round(count) + 2, 2))
        coarse = chance.standard_normal(grid).astype(np.float32)
        made += np.float32(weight) * cv2().resize(coarse, size, interpolation=cv2().INTER_CUBIC)
        total += weight**2
        weight *= fades
    return made / np.float32(np.sqrt(total) * 1.4)


class Snow:
    """Marine snow: specks that sink and drift, near ones large and out of focus.

    Args:
        chance: what decides.
        size: width and height of the picture.
        amount: 0 to 1.
    """

    def __init__(self, chance: np.random.Generator, size: tuple[int, int], amount: float) -> None:
        self._size, self._scale = size, min(size) / 320
        count = round(160 * amount)
        self._at = chance.random((count, 2))
        self._speed = np.stack([chance.normal(0.01, 0.008, count), chance.uniform(0.005, 0.03, count)], 1)
        self._radius = np.exp(chance.normal(-0.25, 0.55, count)) * self._scale
        self._bright = chance.uniform(18, 120, count) / (1 + 0.4 * (self._radius / self._scale) ** 2)

    def add(self, picture: Picture, seconds: float) -> None:
        """Add it to a picture, in place, as it is after so many seconds."""
        if not len(self._at):
            return
        width, height = self._size
        layer = np.zeros((height, width), np.uint8)
        at = ((self._at + self._speed * seconds) % 1.0) * (width, height) * 16
        for (x, y), radius, bright in zip(np.rint(at).astype(int).tolist(), self._radius.tolist(),
                                          self._bright.tolist(), strict=True):
            cv2().circle(layer, (x, y), max(round(radius * 16), 8), bright, -1, cv2().LINE_AA, 4)
        soft = cv2().blur(layer, (3, 3)) if self._scale < 2 else cv2().blur(layer, (5, 5))
        picture += soft.astype(np.float32)[..., None]
