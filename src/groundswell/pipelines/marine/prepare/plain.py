"""marine: the preparation of underwater images step by step in OpenCV and NumPy, as one writes it first: what the fast
way is measured by and must agree with. Nothing in the pipeline calls it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.marine.prepare.recipe import PrepareRecipe
from groundswell.pipelines.marine.vision import cv2


def plain_underwater(image: NDArray[np.uint8], recipe: PrepareRecipe) -> NDArray[np.uint8]:
    """What :func:`groundswell.pipelines.marine.prepare.underwater.underwater` gives, without a thought of speed.

    Args:
        image: uint8 (h, w, 3) RGB.
        recipe: strengths of the three steps, none of them 0.
    """
    corrected: NDArray[np.uint8] = _equalise(_dehaze(_grey_world(image, recipe), recipe), recipe)
    return corrected


def _grey_world(image: Any, recipe: PrepareRecipe) -> Any:
    vision = cv2()
    lab = vision.cvtColor(image, vision.COLOR_RGB2LAB).astype(np.float64)
    for axis in (1, 2):
        cast = np.mean(lab[:, :, axis]) - 128
        lab[:, :, axis] -= np.rint(cast * (lab[:, :, 0] / 255.0) * recipe.strength)
    return vision.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), vision.COLOR_LAB2RGB)


def _dehaze(image: Any, recipe: PrepareRecipe) -> Any:
    vision = cv2()
    window = vision.getStructuringElement(vision.MORPH_RECT, (recipe.window, recipe.window))
    dark = vision.erode(np.min(image, axis=2), window)
    wanted = max(1, int(dark.size * recipe.brightest))
    faintest = np.sort(dark.ravel())[-wanted]
    light = np.maximum(image[dark >= faintest].mean(axis=0), 1).astype(np.float32)
    x = image.astype(np.float32)
    transmission = 1 - np.float32(recipe.omega) * vision.erode(np.min(x / light, axis=2), window)
    transmission = np.maximum(transmission, np.float32(recipe.least_transmission))[:, :, None]
    clear = (x - light) / transmission + light
    return np.clip(np.rint(clear), 0, 255).astype(np.uint8)


def _equalise(image: Any, recipe: PrepareRecipe) -> Any:
    vision = cv2()
    lab = vision.cvtColor(image, vision.COLOR_RGB2LAB)
    lab[:, :, 0] = vision.createCLAHE(clipLimit=recipe.clip, tileGridSize=(recipe.tiles,) * 2).apply(lab[:, :, 0])
    return vision.cvtColor(lab, vision.COLOR_LAB2RGB)
