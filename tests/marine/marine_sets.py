"""Small sets of images for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from groundswell.pipelines.marine.images import ImageSet, ImageWriter

CLASSES = ("fish", "shark", "eel")


def picture(seed: int = 0, width: int = 64, height: int = 48) -> np.ndarray:
    """A smooth picture of chance, so that JPEG changes little of it."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 8, 3)).astype(np.float32)
    rows, columns = np.linspace(0, 5, height), np.linspace(0, 7, width)
    low, left = rows.astype(int).clip(0, 4), columns.astype(int).clip(0, 6)
    y, x = (rows - low)[:, None, None], (columns - left)[None, :, None]
    top = coarse[low][:, left] * (1 - x) + coarse[low][:, left + 1] * x
    bottom = coarse[low + 1][:, left] * (1 - x) + coarse[low + 1][:, left + 1] * x
    return (top * (1 - y) + bottom * y).astype(np.uint8)


def small_set(path: Path, *, clips: int = 3, frames: int = 2, classes: tuple[str, ...] = CLASSES,
              seed: int = 0, **facts: Any) -> ImageSet:
    """``clips`` clips of ``frames`` images; the class of clip k is k modulo the classes, image 0 of a clip has a second
    box of class 0, and the last image of each has none."""
    rng = np.random.default_rng(7)
    with ImageWriter(path, classes=classes, **facts) as writer:
        for clip in range(clips):
            for frame in range(frames):
                corner = rng.uniform(2, 20, (2, 2))
                boxes = np.concatenate([corner, corner + rng.uniform(4, 20, (2, 2))], axis=1)
                label = [clip % len(classes), 0]
                count = 2 if frame == 0 else 0 if frame == frames - 1 else 1
                drawn = picture(1000 * seed + 100 * clip + frame)
                writer.add(f"c{clip}f{frame}", drawn, clip=f"clip{clip}", frame=frame,
                           boxes=boxes[:count], label=label[:count], source="own" if clip % 2 else "deepfish")
    return writer.set
