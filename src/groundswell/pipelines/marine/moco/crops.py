"""marine: animals cut out of images, for classifiers that are asked what features know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.labels import ClassMap
from groundswell.pipelines.marine.letterbox import letterbox
from groundswell.pipelines.marine.prepare.preparing import is_prepared
from groundswell.pipelines.marine.prepare.underwater import underwater
from groundswell.pipelines.marine.recipe import MarineRecipe

MARGIN = 0.1
"""Of a box, on each side, that is seen around the animal."""
LEAST = 8
"""Width and height in pixels below which an animal is too small to be told apart."""
MOST = 4000
"""Boxes of either part; more are thinned out evenly."""


@dataclass(frozen=True)
class Crops:
    """Animals cut out of images.

    Attributes:
        image: uint8 (n, 3, size, size).
        label: class, int64 (n,).
        clip: name, (n,).
    """

    image: NDArray[np.uint8]
    label: NDArray[np.int64]
    clip: NDArray[np.object_]


def crops_of(images: ImageSet, told: ClassMap, names: NDArray[np.object_], recipe: MarineRecipe) -> Crops:
    """Animals of some images with a little around them, each fitted into a square of a view's size.

    Raises:
        InputError: there are none.
    """
    size = recipe.pretrain.size
    prepare = underwater if recipe.data.prepare and not is_prepared(images) else None
    found = list(_boxes(images, told, names))
    found = [found[place] for place in np.unique(np.linspace(0, len(found) - 1, min(MOST, len(found))).astype(int))]
    if not found:
        raise InputError(f"No animal of at least {LEAST} pixels is boxed on these {len(names)} images",
                         where=images.path)
    clip = pd.Series(images.images["clip"].to_numpy(), index=images.images["image"])
    squares = np.empty((len(found), 3, size, size), np.uint8)
    name, image = "", np.empty((0, 0, 3), np.uint8)
    for place, (of, box, _) in enumerate(found):
        if of != name:
            name, image = of, images.read(of) if prepare is None else prepare(images.read(of))
        left, top, right, bottom = box
        squares[place] = letterbox(image[top:bottom, left:right], size)[0].transpose(2, 0, 1)
    return Crops(squares, np.array([label for *_, label in found], np.int64),
                 np.array([clip[of] for of, *_ in found], object))


def _boxes(images: ImageSet, told: ClassMap, names: NDArray[np.object_]) -> Iterator[tuple[str, NDArray[Any], int]]:
    """Name of the image, what is cut out of it in whole pixels, and class of each animal that is large enough."""
    for name in names.tolist():
        known = told.applied(images.annotations(name))
        row = images.images.iloc[images.position(name)]
        limit = np.array([row["width"], row["height"]])
        for box, label, crowd in zip(known.boxes.astype(np.float64), known.label, known.crowd, strict=True):
            extent = box[2:] - box[:2]
            if not crowd and extent.min() >= LEAST:
                low = np.floor(np.maximum(box[:2] - MARGIN * extent, 0))
                high = np.ceil(np.minimum(box[2:] + MARGIN * extent, limit))
                yield name, np.concatenate([low, high]).astype(int), int(label)
