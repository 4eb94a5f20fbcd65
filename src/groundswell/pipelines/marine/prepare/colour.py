"""marine: colours moved towards grey, for water takes red away first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.marine.vision import cv2

_GREY = 128
"""What a colour axis of Lab holds where there is no colour, in images of 8 bits."""


def grey_world(image: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
    """The image with its mean colour moved to grey, the more the brighter a pixel is.

    The mean of each colour axis of Lab is taken for the cast (the grey world of Buchsbaum, J. Franklin Inst. 310,
    1980); each pixel moves against it by ``strength * lightness`` of it, as dark pixels have little colour to give.

    Args:
        image: (h, w, 3) RGB.
        strength: 1 moves a white pixel by the whole cast.
    """
    vision = cv2()
    lightness, *axes = vision.split(vision.cvtColor(image, vision.COLOR_RGB2LAB))
    moved = [_moved(axis, lightness, strength) for axis in axes]
    corrected: NDArray[np.uint8] = vision.cvtColor(vision.merge([lightness, *moved]), vision.COLOR_LAB2RGB)
    return corrected


def _moved(axis: NDArray[np.uint8], lightness: NDArray[np.uint8], strength: float) -> Any:
    vision = cv2()
    cast = vision.mean(axis)[0] - _GREY
    # A pixel's shift hangs on its lightness alone, of which there are 256: a table, and arithmetic of whole numbers.
    table = np.rint(abs(cast) * (np.arange(256) / 255.0) * strength)
    shift = vision.LUT(lightness, np.minimum(table, 255).astype(np.uint8))
    return vision.subtract(axis, shift) if cast > 0 else vision.add(axis, shift)
