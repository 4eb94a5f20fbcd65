"""marine: simulated underwater scenes: one clip's backdrop, water and animals, frame by frame, with exact boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.seeds import derive_seed
from groundswell.pipelines.marine.simulate.actors import Actor, cast_actors
from groundswell.pipelines.marine.simulate.backdrop import Plant, View, draw_backdrop, draw_plant, put, window
from groundswell.pipelines.marine.simulate.canvas import Sprite
from groundswell.pipelines.marine.simulate.recipe import ON_GROUND, SceneRecipe
from groundswell.pipelines.marine.simulate.water import Picture, Snow, draw_water
from groundswell.pipelines.marine.vision import cv2

LEAST_VISIBLE = 0.25
"""Share of an animal that must be seen for a box."""
LEAST_PIXELS = 6
"""Shorter side that a box must have."""
_HIDDEN = 0.72
"""Share of what is behind it that an animal takes on where it is hardest to see."""
_NOBODY, _PLANT = -1, -2


@dataclass(frozen=True)
class Seen:
    """The n animals of a frame that have boxes.

    Attributes:
        boxes: float32 (n, 4), left, top, right, bottom of what is seen of each animal, pixels.
        label, track: int64 (n,).
        visible: float32 (n,), share of the animal that is seen.
    """

    boxes: NDArray[np.float32]
    label: NDArray[np.int64]
    track: NDArray[np.int64]
    visible: NDArray[np.float32]


@dataclass(frozen=True)
class Frame:
    """A picture and who is in it.

    Attributes:
        image: uint8 (h, w, 3), RGB.
        seen: the animals that have boxes.
        owner: int16 (h, w), the track of the animal that a pixel shows; negative: none.
    """

    image: NDArray[np.uint8]
    seen: Seen
    owner: NDArray[np.int16]


def table_of(seen: Mapping[Any, Seen], column: str) -> pd.DataFrame:
    """A row for each animal: ``column`` (the mapping's key), left, top, right, bottom, label, track, visible."""
    parts = list(seen.values())
    boxes, label, track, visible = (np.concatenate([getattr(part, name) for part in parts])
                                    for name in ("boxes", "label", "track", "visible"))
    sides = dict(zip(("left", "top", "right", "bottom"), boxes.T, strict=True))
    keys = pd.Series(list(seen)).repeat([len(part.label) for part in parts]).reset_index(drop=True)
    return pd.DataFrame({column: keys, **sides, "label": label, "track": track, "visible": visible})


class Scene:
    """One clip: whatever stays the same in it, and its frames.

    Args:
        recipe: the knobs.
        clip: its number. The same recipe and number give the same scene, whatever else is made.
    """

    def __init__(self, recipe: SceneRecipe, clip: int) -> None:
        self._recipe, self._clip = recipe, clip
        chance = np.random.default_rng(derive_seed(recipe.seed, "marine.simulate", "clip", clip))
        view = _view(recipe, chance)
        self.backdrop = draw_backdrop(chance, recipe.size, view, _some(chance, recipe.distractors, 0.6))
        self.water = draw_water(chance, recipe.size, float(chance.uniform(*recipe.turbidity)),
                                float(chance.uniform(*recipe.cast)))
        plants = 0 if self.backdrop.view == "open" else _some(chance, recipe.distractors, 0.5)
        self.plants = [draw_plant(chance, self.backdrop, before=bool(chance.random() < 0.4)) for _ in range(plants)]
        self._snow = Snow(chance, recipe.size, float(chance.uniform(*recipe.snow)))
        self.actors = cast_actors(recipe, clip, self.backdrop)
        things: list[Actor | Plant] = [*self.actors, *self.plants]
        self._things = sorted(things, key=lambda thing: -thing.distance)
        self._clean = self._behind()
        self._lens = _lens(recipe.size, float(chance.uniform(0.0, 0.35))) * np.float32(
            np.clip(chance.uniform(85, 130) / self._clean.mean(), 0.8, 2.2))  # a camera exposes for what it sees
        grid = (recipe.size[1] + 64, recipe.size[0] + 64, 3)
        self._noise = chance.standard_normal(grid, np.float32) * np.float32(recipe.noise)

    def frames(self) -> Iterator[Frame]:
        """All frames of the clip, in order."""
        return (self.frame(number) for number in range(self._recipe.frames))

    def frame(self, number: int) -> Frame:
        """One frame of the clip."""
        seconds = number / self._recipe.fps
        picture = self._clean.copy()
        owner = np.full(picture.shape[:2], _NOBODY, np.int16)
        there: list[tuple[Actor, Sprite, int]] = []
        for thing in self._things:
            sprite = thing.draw(seconds)
            if sprite is None:
                continue
            rows, columns, inner = window(sprite, self._recipe.size)
            solid = sprite.alpha >= 0.5 * (thing.kind.opacity if isinstance(thing, Actor) else 1.0)
            owner[rows, columns][solid[inner]] = thing.track if isinstance(thing, Actor) else _PLANT
            self._lay(picture, sprite, thing)
            if isinstance(thing, Actor):
                there.append((thing, sprite, int(solid.sum())))
        self._snow.add(picture, seconds)
        return self._seen(number, picture, owner, there)

    def _behind(self) -> Picture:
        water, backdrop = self.water, self.backdrop
        seen = water.through(backdrop.seen, backdrop.distance, water.veil)
        wide = water.blur * 4 * min(self._recipe.size) / 320
        if wide > 0.3:
            soft = cv2().GaussianBlur(seen, (0, 0), wide)
            seen += np.clip(backdrop.distance / 5, 0, 1)[..., None] * (soft - seen)
        return np.ascontiguousarray(seen, np.float32)

    def _lay(self, picture: Picture, sprite: Sprite, thing: Actor | Plant) -> None:
        rows, columns, inner = window(sprite, self._recipe.size)
        if rows.stop <= rows.start or columns.stop <= columns.start:
            return
        if isinstance(thing, Actor) and self._recipe.classes[thing.label] in ON_GROUND:
            _shadow(picture, sprite, thing.length, 0.45 * (1 - _HIDDEN * self._recipe.hard))
        alpha, colour = sprite.alpha[inner], sprite.colour[inner]
        wide = self.water.blur * thing.distance * min(self._recipe.size) / 320
        if wide > 0.35:
            both = cv2().GaussianBlur(np.dstack([colour * alpha[..., None], alpha]), (0, 0), wide)
            alpha, colour = both[..., 3], both[..., :3] / np.maximum(both[..., 3:], 1e-3)
        got = self.water.through(colour, thing.distance, self.water.veil[rows, columns])
        if isinstance(thing, Actor):
            got += np.float32(_HIDDEN * self._recipe.hard) * (self._clean[rows, columns] - got)
        put(Sprite(columns.start, rows.start, got.astype(np.float32), alpha), picture)

    def _seen(self, number: int, picture: Picture, owner: NDArray[np.int16],
              there: list[tuple[Actor, Sprite, int]]) -> Frame:
        chance = np.random.default_rng(derive_seed(self._recipe.seed, "marine.simulate", "camera", self._clip, number))
        picture *= self._lens
        if self._recipe.noise:
            down, across = chance.integers(0, 65, 2).tolist()
            height, width = owner.shape
            picture += self._noise[down:down + height, across:across + width]
        image = np.clip(picture, 0, 255, out=picture).astype(np.uint8)
        rows: list[tuple[float, ...]] = []
        for actor, sprite, whole in there:
            box, count = _box(owner, sprite, actor.track)
            if box and count >= LEAST_VISIBLE * whole and min(box[2] - box[0], box[3] - box[1]) >= LEAST_PIXELS:
                rows.append((*box, actor.label, actor.track, count / whole))
        table = np.array(sorted(rows, key=lambda row: row[5]), np.float64).reshape(-1, 7)
        label, track = table[:, 4:6].astype(np.int64).T
        return Frame(image, Seen(table[:, :4].astype(np.float32), label, track, table[:, 6].astype(np.float32)), owner)


def _box(owner: NDArray[np.int16], sprite: Sprite, track: int) -> tuple[tuple[int, ...], int]:
    """The box of a track's pixels, and how many there are; ``()`` where there is none."""
    rows, columns, _ = window(sprite, (owner.shape[1], owner.shape[0]))
    mine = owner[rows, columns] == track
    down, across = np.flatnonzero(mine.any(axis=1)), np.flatnonzero(mine.any(axis=0))
    if not len(down):
        return (), 0
    return (columns.start + int(across[0]), rows.start + int(down[0]), columns.start + int(across[-1]) + 1,
            rows.start + int(down[-1]) + 1), int(mine.sum())


def _shadow(picture: Picture, sprite: Sprite, length: float, strength: float) -> None:
    """Darken the ground a little below and beside an animal that lies on it."""
    wide = max(0.03 * length, 0.6)
    soft = cv2().GaussianBlur(sprite.alpha, (0, 0), wide) * np.float32(strength)
    move = max(round(0.04 * length), 1)
    put(Sprite(sprite.left + move, sprite.top + move, np.zeros_like(sprite.colour), soft), picture)


def _view(recipe: SceneRecipe, chance: np.random.Generator) -> View:
    swim = any(name not in ON_GROUND for name in recipe.classes)
    crawl = any(name in ON_GROUND for name in recipe.classes)
    drawn = chance.random()
    if (drawn < 0.2 and swim and recipe.paths == "mixed") or (drawn < 0.4 and not crawl):
        return "open"
    return "above" if drawn > 0.75 else "level"


def _some(chance: np.random.Generator, between: tuple[int, int], share: float) -> int:
    return round(share * float(chance.integers(between[0], between[1] + 1)))


def _lens(size: tuple[int, int], dark: float) -> Picture:
    """How much less light reaches the picture's corners, (h, w, 3)."""
    y = np.linspace(-1, 1, size[1], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, size[0], dtype=np.float32)[None, :]
    return np.repeat((1 - np.float32(dark) * 0.5 * (x * x + y * y) ** 1.5)[..., None], 3, axis=2)
