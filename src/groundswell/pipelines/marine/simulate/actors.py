"""marine: simulated animals on their way: who is in a clip, when, where, and how each is turned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from groundswell.core.seeds import derive_seed
from groundswell.pipelines.marine.simulate.animals import KINDS, Kind
from groundswell.pipelines.marine.simulate.backdrop import Backdrop
from groundswell.pipelines.marine.simulate.canvas import Canvas, Floats, Sprite, turning
from groundswell.pipelines.marine.simulate.recipe import ON_GROUND, SceneRecipe

_NEAREST_M, _FARTHEST_M = 0.9, 3.2
"""Distances of swimmers."""
_SMALLEST_SHARE, _SMALLEST_PIXELS = 0.05, 12.0
"""Length below which no animal is drawn: of the picture's shorter side, and in pixels."""


@dataclass(frozen=True)
class Actor:
    """One animal of a clip.

    Attributes:
        track: its number within the clip.
        label: of its class.
        kind: what it is.
        length: pixels.
        distance: metres.
        begins, ends: seconds between which it is there.
        path: passes: from side to side; lingers: to and fro.
        start: where it is when it begins, or around where it lingers, pixels.
        reach: how far it lingers, pixels, across and down.
        speed: pixels a second; negative where it passes from right to left.
        look: 48 numbers from 0 to 1 by which it differs from its kin.
        flat: how much shorter it looks from front to back where it lies on the ground.
    """

    track: int
    label: int
    kind: Kind
    length: float
    distance: float
    begins: float
    ends: float
    path: Literal["passes", "lingers"]
    start: tuple[float, float]
    reach: tuple[float, float]
    speed: float
    look: tuple[float, ...]
    flat: float

    def at(self, seconds: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """Place (pixels) and velocity (pixels a second)."""
        since = (seconds - self.begins) * (self.speed != 0)
        pulse = 0.6 + self.look[40]
        if self.path == "passes":
            bob, lag = self.reach[1], 6.3 * self.look[41]
            return ((self.start[0] + self.speed * since, self.start[1] + bob * np.sin(pulse * since + lag)),
                    (self.speed, bob * pulse * np.cos(pulse * since + lag)))
        turn = abs(self.speed) / max(self.reach[0], 1e-6)
        here, there = turn * since + 6.3 * self.look[42], 0.7 * turn * since + 6.3 * self.look[43]
        return ((self.start[0] + self.reach[0] * np.sin(here), self.start[1] + self.reach[1] * np.sin(there)),
                (abs(self.speed) * np.cos(here), 0.7 * turn * self.reach[1] * np.cos(there)))

    def _turned(self, seconds: float, velocity: tuple[float, float]) -> Floats:
        vx, vy = velocity
        u = self.look[44]
        if self.kind.moves == "crawls":
            return turning(0.0, 1.0, self.flat) @ turning(6.3 * u + 0.1 * np.sin(0.3 * seconds))
        if self.kind.moves == "headed":
            heading = np.arctan2(vy, vx) if abs(vx) + abs(vy) > 1e-6 else 6.3 * u
            return turning(heading, 1.0, 0.75 + 0.25 * self.look[45])
        if self.kind.moves == "drifts":
            return turning(0.5 * (u - 0.5) + 0.1 * np.sin(0.5 * seconds + 6.3 * u))
        # Half turned towards or away from the camera it looks shorter; while it turns round, shortest.
        facing = vx / max(abs(self.speed), 1e-6) if abs(self.speed) > 1e-6 else (1.0 if u < 0.5 else -1.0)
        facing = np.copysign(max(abs(np.tanh(3 * facing)), 0.35), facing)
        tilt = 0.4 * (self.look[46] - 0.5) + 0.4 * np.arctan2(vy, max(abs(vx), 1e-6)) * (abs(self.speed) > 1e-6)
        return turning(float(tilt * np.sign(facing)), float(facing * (0.72 + 0.28 * self.look[45])))

    def draw(self, seconds: float) -> Sprite | None:
        """It as it is at a time; None where it is not there."""
        if not self.begins <= seconds < self.ends:
            return None
        seconds *= self.speed != 0  # who does not swim keeps still
        place, velocity = self.at(seconds)
        canvas = Canvas(place, self.length, self.kind.half, self._turned(seconds, velocity))
        lively = self.kind.beat * (0.8 + 0.4 * self.look[47])
        self.kind.draw(canvas, self.look, 2 * np.pi * (lively * seconds + self.look[44]))
        return canvas.finish(opacity=self.kind.opacity)


def cast_actors(recipe: SceneRecipe, clip: int, backdrop: Backdrop) -> list[Actor]:
    """Everyone who appears in a clip. Where one has swum out of the picture, another comes after it.

    Args:
        recipe: the knobs.
        clip: its number.
        backdrop: where they are.
    """
    chance = np.random.default_rng(derive_seed(recipe.seed, "marine.simulate", "animals", clip))
    lasts = recipe.frames / recipe.fps
    actors: list[Actor] = []
    for _ in range(int(chance.integers(recipe.animals[0], recipe.animals[1] + 1))):
        begins, first = 0.0, True
        while begins < lasts:
            actors.append(_one(recipe, len(actors), backdrop, begins, first, chance))
            begins, first = actors[-1].ends, False
    return actors


def _one(recipe: SceneRecipe, track: int, backdrop: Backdrop, begins: float, first: bool,
         chance: np.random.Generator) -> Actor:
    # Who comes later must swim in from a side: nothing springs up in the middle.
    label, name = _who(recipe, chance, swims=backdrop.view == "open" or recipe.paths == "crossing" or not first)
    kind, (width, height) = KINDS[name], recipe.size
    short = min(width, height)
    scale = float(np.exp(chance.uniform(*np.log(recipe.scale))))
    look = tuple(chance.random(48).tolist())
    if name in ON_GROUND:
        x, y, distance = backdrop.ground(chance)
        length = _length(kind.length * scale / distance, short)
        reach = (0.15 * length, 0.05 * length)
        return Actor(track, label, kind, length, distance, 0.0, np.inf, "lingers", (x * width, y * height), reach,
                     kind.speed * length * recipe.motion, look,
                     1.0 if backdrop.view == "above" else 0.7)
    distance = float(np.exp(chance.uniform(np.log(_NEAREST_M), np.log(_FARTHEST_M))))
    length = _length(kind.length * scale / distance, short)
    speed = kind.speed * length * recipe.motion * float(chance.uniform(0.7, 1.3))
    y = float(chance.uniform(0.1, 0.9)) * height
    if recipe.paths == "crossing" or not first or (chance.random() < 0.5 and kind.moves in ("upright", "headed")):
        side, way = 0.5 * length + 2, width + length + 4
        done = float(chance.uniform(-0.3 if recipe.paths == "crossing" else 0.12, 0.8)) if first else 0.0
        forward = bool(chance.random() < 0.5)
        start = -side if forward else width + side
        ends = np.inf
        if speed > 0:
            begins -= done * way / speed
            ends = begins + way / speed
        else:
            start += (abs(done) * way) * (1 if forward else -1)
        return Actor(track, label, kind, length, distance, begins, ends, "passes", (start, y), (0.0, 0.04 * length),
                     speed if forward else -speed, look, 1.0)
    reach = (float(chance.uniform(0.08, 0.3)) * width, float(chance.uniform(0.02, 0.1)) * height)
    x = float(chance.uniform(0.12, 0.88)) * width
    return Actor(track, label, kind, length, distance, begins, np.inf, "lingers", (x, y), reach, speed, look, 1.0)


def _length(share: float, short: int) -> float:
    return max(share * short, _SMALLEST_SHARE * short, _SMALLEST_PIXELS)


def _who(recipe: SceneRecipe, chance: np.random.Generator, *, swims: bool) -> tuple[int, str]:
    count = len(recipe.classes)
    weights = recipe.imbalance ** (np.arange(count) / max(count - 1, 1))
    if swims:
        weights = weights * np.array([name not in ON_GROUND for name in recipe.classes])
    label = int(chance.choice(count, p=weights / weights.sum()))
    return label, recipe.classes[label]
