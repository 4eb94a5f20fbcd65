"""marine: haze taken away by the dark channel prior, for water scatters light into the camera as haze does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.marine.prepare.recipe import PrepareRecipe
from groundswell.pipelines.marine.vision import cv2


def dehaze(image: NDArray[np.uint8], recipe: PrepareRecipe) -> NDArray[np.uint8]:
    """The image without ``omega`` of its haze (He, Sun and Tang, CVPR 2009, without the matting of the transmission).

    The light of the water is the mean colour where the dark channel is brightest; the paper takes the brightest single
    pixel of those, which is at the mercy of noise and of a glint.

    Args:
        image: (h, w, 3) RGB.
        recipe: window, omega, least transmission, share of brightest pixels.
    """
    vision = cv2()
    planes = vision.split(image)
    light = water_light(planes, recipe)
    # Two arrays of floats are made once and used for every channel: at 1080p, fresh memory costs more than arithmetic.
    share, dark = np.empty(image.shape[:2], np.float32), np.full(image.shape[:2], np.inf, np.float32)
    for plane, level in zip(planes, light, strict=True):
        # A pixel over the light of its channel is one of 256 numbers.
        vision.min(dark, vision.LUT(plane, np.arange(256, dtype=np.float32) / level, dst=share), dst=dark)
    transmission = vision.erode(dark, _window(recipe), dst=dark)
    np.multiply(transmission, np.float32(recipe.omega), out=transmission)
    np.subtract(np.float32(1), transmission, out=transmission)
    np.maximum(transmission, np.float32(recipe.least_transmission), out=transmission)
    for plane, level in zip(planes, light, strict=True):
        radiance = np.subtract(plane, level, out=share, dtype=np.float32)
        np.divide(radiance, transmission, out=radiance)
        np.add(radiance, level, out=radiance)
        vision.add(radiance, 0.0, dst=plane, dtype=vision.CV_8U)  # rounds, and stays within 0 and 255
    merged: NDArray[np.uint8] = vision.merge(planes)
    return merged


def water_light(planes: Sequence[NDArray[np.uint8]], recipe: PrepareRecipe) -> NDArray[np.float32]:
    """Colour of the water itself: float32 (3,), in grey levels and at least 1.

    All pixels count that are as bright in the dark channel as the last of the brightest ones, so that the answer does
    not hang on which of equal pixels come first.

    Args:
        planes: three (h, w) channels.
        recipe: window, share of brightest pixels.
    """
    vision = cv2()
    dark = vision.erode(vision.min(vision.min(planes[0], planes[1]), planes[2]), _window(recipe))
    wanted = max(1, int(dark.size * recipe.brightest))
    counts = vision.calcHist([dark], [0], None, [256], [0, 256]).ravel()
    above = np.cumsum(counts[::-1], dtype=np.float64)
    faintest = 255 - int(np.searchsorted(above, wanted))
    mask = (dark >= faintest).view(np.uint8)
    light = np.array([vision.mean(plane, mask)[0] for plane in planes], np.float32)
    return np.maximum(light, np.float32(1))


def _window(recipe: PrepareRecipe) -> Any:
    return np.ones((recipe.window, recipe.window), np.uint8)
