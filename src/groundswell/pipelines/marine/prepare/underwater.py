"""marine: one underwater image corrected: colour, haze, contrast. The same code before training and in use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.prepare.colour import grey_world
from groundswell.pipelines.marine.prepare.contrast import equalise
from groundswell.pipelines.marine.prepare.haze import dehaze
from groundswell.pipelines.marine.prepare.recipe import PrepareRecipe

DEFAULT = PrepareRecipe()
"""The seed's parameters."""


def underwater(image: NDArray[np.uint8], recipe: PrepareRecipe = DEFAULT) -> NDArray[np.uint8]:
    """An underwater image with colours nearer to grey, less haze and more local contrast.

    The result depends on the image and the recipe alone; a step whose strength is 0 is left out. One thread.

    Args:
        image: uint8 (h, w, 3) RGB; not changed.
        recipe: strengths of the three steps.

    Returns:
        uint8 (h, w, 3) RGB.

    Raises:
        InputError: not an image of that form.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"Not an image of three colours in 8 bits: {image.dtype} of shape {image.shape}",
                         fix="Give uint8 (height, width, 3) in RGB")
    corrected = np.ascontiguousarray(image)
    if recipe.strength:
        corrected = grey_world(corrected, recipe.strength)
    if recipe.omega:
        corrected = dehaze(corrected, recipe)
    if recipe.clip:
        corrected = equalise(corrected, recipe.clip, recipe.tiles)
    return corrected.copy() if np.shares_memory(corrected, image) else corrected
