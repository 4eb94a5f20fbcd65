"""marine: downloaded images shrunk to a size that detectors are trained at; smaller ones keep their bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from groundswell.pipelines.marine.image_files import decode, encode
from groundswell.pipelines.marine.vision import cv2

WIDEST, HIGHEST = 1920, 1080


@dataclass(frozen=True)
class Fitted:
    """An image file that fits.

    Attributes:
        data: bytes of a JPEG or PNG file.
        suffix: ``.jpg`` or ``.png``.
        size: width and height, pixels.
        original: width and height before.
    """

    data: bytes
    suffix: str
    size: tuple[int, int]
    original: tuple[int, int]


def fitted(data: bytes, where: str | Path, *, widest: int = WIDEST, highest: int = HIGHEST) -> Fitted:
    """An image file shrunk to fit, by the mean over area; one that fits and is JPEG or PNG keeps its bytes.

    Raises:
        InputError: it is empty, cut off, or no image.
    """
    picture = decode(data, where)
    height, width = picture.shape[:2]
    ratio = min(1.0, widest / width, highest / height)
    suffix = {b"\xff\xd8": ".jpg", b"\x89P": ".png"}.get(data[:2], "")
    if ratio == 1.0 and suffix:
        return Fitted(data, suffix, (width, height), (width, height))
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    small = np.asarray(cv2().resize(picture, size, interpolation=cv2().INTER_AREA), np.uint8)
    suffix = suffix or ".jpg"
    return Fitted(encode(small, suffix), suffix, size, (width, height))
