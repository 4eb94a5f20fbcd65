"""marine: films: of a clip of a set, and simulated ones whose tracks are known."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.simulate.recipe import SceneRecipe
from groundswell.pipelines.marine.simulate.scene import Scene, table_of
from groundswell.pipelines.marine.vision import cv2


def write_video(frames: Iterable[NDArray[np.uint8]], path: str | Path, fps: float) -> int:
    """Write pictures, uint8 (h, w, 3) RGB of one size, as a film (MPEG-4 in .mp4), and say how many they were.

    Raises:
        InputError: no picture, pictures of different sizes, or it cannot be written.
    """
    count, size, film = 0, (0, 0), None
    with atomic_path(Path(path)) as temporary:
        try:
            for image in frames:
                if film is None:
                    size = (image.shape[1], image.shape[0])
                    film = _open(temporary, fps, size, Path(path))
                if (image.shape[1], image.shape[0]) != size:
                    raise InputError("Pictures of one film have one size", where=path)
                film.write(cv2().cvtColor(image, cv2().COLOR_RGB2BGR))
                count += 1
        finally:
            if film is not None:
                film.release()
        if not count:
            raise InputError("A film needs a picture", where=path)
    return count


def _open(path: Path, fps: float, size: tuple[int, int], where: Path) -> Any:
    film = cv2().VideoWriter(str(path), cv2().VideoWriter_fourcc(*"mp4v"), fps, size)
    if not film.isOpened():
        raise InputError("The film cannot be written", where=where, fix="Give a name that ends in .mp4")
    return film


def clip_video(images: ImageSet, clip: str, path: str | Path, fps: float = 5.0) -> int:
    """Write the images of one clip, by their frames, as a film; how many there are.

    Raises:
        InputError: the set has no such clip, or its images differ in size.
    """
    mine = images.images[images.images["clip"] == clip].sort_values(["frame", "image"])
    if mine.empty:
        raise InputError(f"There is no clip '{clip}'", where=images.path)
    return write_video((images.read(name) for name in mine["image"]), path, fps)


def simulate_video(recipe: SceneRecipe, path: str | Path) -> pd.DataFrame:
    """Write a simulated film, the recipe's first clip at its ``fps``, with its truth beside it; give the truth too.

    Returns:
        A row for each animal with a box in each frame: frame, left, top, right, bottom (float32, pixels), label, track,
        visible (share of it that is seen).
    """
    scene, seen = Scene(recipe, 0), {}

    def pictures() -> Iterable[NDArray[np.uint8]]:
        for number, frame in enumerate(scene.frames()):
            seen[number] = frame.seen
            yield frame.image

    write_video(pictures(), path, recipe.fps)
    truth = table_of(seen, "frame")
    with atomic_path(truth_beside(path)) as temporary:
        truth.to_parquet(temporary, index=False)
    return truth


def truth_beside(path: str | Path) -> Path:
    """Where the truth of a simulated film lies: ``film.mp4`` has ``film.truth.parquet``."""
    return Path(path).with_suffix(".truth.parquet")
