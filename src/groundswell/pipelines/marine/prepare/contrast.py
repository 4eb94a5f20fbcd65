"""marine: local contrast of the lightness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.marine.vision import cv2


def equalise(image: NDArray[np.uint8], clip: float, tiles: int) -> NDArray[np.uint8]:
    """The image with its lightness equalised tile by tile (CLAHE; Zuiderveld, Graphics Gems IV, 1994).

    Args:
        image: (h, w, 3) RGB.
        clip: clip limit of a tile's histogram, in multiples of the even one.
        tiles: tiles each way.
    """
    vision = cv2()
    lightness, first, second = vision.split(vision.cvtColor(image, vision.COLOR_RGB2LAB))
    lightness = vision.createCLAHE(clipLimit=clip, tileGridSize=(tiles, tiles)).apply(lightness)
    equalised: NDArray[np.uint8] = vision.cvtColor(vision.merge([lightness, first, second]), vision.COLOR_LAB2RGB)
    return equalised
