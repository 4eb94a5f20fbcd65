"""marine: views of an image: mirrored, turned, of another size; and the way back for the boxes found in them.

No view cuts anything off: turns are by quarters, a smaller image is surrounded by grey, a larger one has more room.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from groundswell.pipelines.marine.recipe import TtaRecipe

_GREY = 114
_CELL = 32


@dataclass(frozen=True)
class View:
    """One way to look at an input of ``size`` by ``size`` pixels: scaled, then mirrored, then turned.

    Attributes:
        flip_h: left and right changed.
        flip_v: top and bottom changed.
        turns: quarter turns, counter-clockwise.
        scale: of the content.
    """

    flip_h: bool = False
    flip_v: bool = False
    turns: int = 0
    scale: float = 1.0

    @property
    def untouched(self) -> bool:
        """Whether it shows the image as it is."""
        return self == View()

    def size(self, size: int) -> int:
        """Edge of the view of an input with that edge."""
        return size if self.scale <= 1 else math.ceil(size * self.scale / _CELL) * _CELL

    def apply(self, batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The view of images uint8 (b, 3, size, size); its size is that of :meth:`size`."""
        view, size = batch, batch.shape[-1]
        if self.scale != 1:
            inner, canvas = round(size * self.scale), self.size(size)
            resized = functional.interpolate(torch.from_numpy(batch).float(), size=(inner, inner), mode="bilinear",
                                             align_corners=False, antialias=self.scale < 1)
            view = np.full((*batch.shape[:2], canvas, canvas), _GREY, np.uint8)
            view[:, :, :inner, :inner] = resized.round().clamp(0, 255).byte().numpy()
        if self.flip_h:
            view = view[..., ::-1]
        if self.flip_v:
            view = view[..., ::-1, :]
        return np.ascontiguousarray(np.rot90(view, self.turns, axes=(-2, -1)))

    def back(self, boxes: NDArray[Any], size: int) -> NDArray[np.float32]:
        """Boxes (k, 4) in pixels of the view as boxes in pixels of the untouched input of edge ``size``."""
        edge = float(self.size(size))
        left, top, right, bottom = np.asarray(boxes, np.float64).reshape(-1, 4).T
        for _ in range(self.turns % 4):  # a quarter turn back, clockwise: (x, y) comes from (edge - y, x)
            left, top, right, bottom = edge - bottom, left, edge - top, right
        if self.flip_v:
            top, bottom = edge - bottom, edge - top
        if self.flip_h:
            left, right = edge - right, edge - left
        ratio = size / round(size * self.scale)
        return (np.stack([left, top, right, bottom], axis=1) * ratio).astype(np.float32)


def views(recipe: TtaRecipe) -> list[View]:
    """The views of a recipe, the untouched image first; each once (two flips are a half turn)."""
    if not recipe.enabled:
        return [View()]
    flips = itertools.product((False, True) if recipe.horizontal_flip else (False,),
                              (False, True) if recipe.vertical_flip else (False,))
    found: dict[tuple[bool, int, float], View] = {}
    for (flip_h, flip_v), turn, scale in itertools.product(flips, recipe.rotations or (0,), recipe.scales or (1.0,)):
        view = View(flip_h, flip_v, turn // 90, scale)
        found.setdefault((flip_h != flip_v, (view.turns + 2 * flip_v) % 4, scale), view)
    rest = [view for view in found.values() if not view.untouched]
    return [View(), *rest]
