"""marine: images fitted into a square, and boxes brought back out of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundswell.core.boxes import Boxes, clipped
from groundswell.pipelines.marine.vision import cv2

PADDING = 114
"""Grey of what the image does not fill, as the detectors of the field have it."""


class Placed(NamedTuple):
    """Where an image lies in the square, pixels: pixel x of the original is at ``x * ratio + left``, but for the ratio
    of the shorter side, which is such that it comes to whole pixels (:meth:`scales`)."""

    ratio: float
    left: float
    top: float
    width: float
    height: float

    @classmethod
    def of(cls, values: NDArray[Any]) -> Placed:
        """From the five numbers that the source delivers."""
        return cls(*(float(value) for value in values))

    def scales(self) -> NDArray[np.float64]:
        """What left, top, right and bottom are multiplied by, (4,)."""
        longest = max(self.width, self.height)
        ratio = round(self.ratio * longest) / longest  # all digits of it, also where it came as float32
        x, y = (max(1, round(side * ratio)) / side for side in (self.width, self.height))
        return np.array([x, y, x, y])

    def boxes(self, boxes: Boxes) -> NDArray[np.float32]:
        """Boxes of the original in pixels of the square, float32, (n, 4)."""
        shift = np.array([self.left, self.top, self.left, self.top])
        return np.asarray(np.asarray(boxes, np.float64).reshape(-1, 4) * self.scales() + shift, np.float32)


def place(width: int, height: int, size: int) -> tuple[Placed, int, int]:
    """Where an image goes in a square of ``size``, and the width and height it has there."""
    ratio = min(size / height, size / width)
    inner_width, inner_height = max(1, round(width * ratio)), max(1, round(height * ratio))
    left, top = round((size - inner_width) / 2 - 0.1), round((size - inner_height) / 2 - 0.1)
    return Placed(ratio, left, top, width, height), inner_width, inner_height


def letterbox(image: NDArray[np.uint8], size: int) -> tuple[NDArray[np.uint8], Placed]:
    """Fit an image into a square, centred, keeping its proportions; smaller ones are enlarged.

    Args:
        image: uint8 (h, w, 3).
        size: edge of the square, pixels.

    Returns:
        uint8 (size, size, 3), and where the image lies in it.
    """
    cv = cv2()
    height, width = image.shape[:2]
    placed, inner_width, inner_height = place(width, height, size)
    if (inner_width, inner_height) != (width, height):
        image = cv.resize(image, (inner_width, inner_height), interpolation=cv.INTER_LINEAR)
    square = np.full((size, size, 3), PADDING, np.uint8)
    top, left = int(placed.top), int(placed.left)
    square[top:top + inner_height, left:left + inner_width] = image
    return square, placed


def restored(boxes: Boxes, placed: Placed) -> NDArray[np.float32]:
    """Boxes in pixels of the square, (n, 4), brought back to pixels of the original and cut to it, float32."""
    shift = np.array([placed.left, placed.top, placed.left, placed.top])
    back = (np.asarray(boxes, np.float64).reshape(-1, 4) - shift) / placed.scales()
    return clipped(back, placed.width, placed.height).astype(np.float32)
