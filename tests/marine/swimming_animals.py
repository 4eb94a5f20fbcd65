"""Animals that swim through a picture, and what a detector with faults would find of them. All of it is simulated."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from groundswell.pipelines.marine.tracking.video import Frame

WIDTH, HEIGHT = 1280, 720
CLASSES = ("Lionfish", "Grouper", "Shark")
Found = tuple[np.ndarray, np.ndarray, np.ndarray]


def swim(seed: int, *, animals: int = 12, seconds: float = 40.0, fps: float = 5.0,
         pace: tuple[float, float] = (0.05, 0.25)) -> pd.DataFrame:
    """True boxes: frame, track, label, left, top, right, bottom.

    Each animal crosses the picture once, while it swings up and down ``pace`` times in a second.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for animal in range(animals):
        label, size = int(rng.integers(len(CLASSES))), rng.uniform(50, 130)
        sides = np.array([size, size * rng.uniform(0.4, 0.8)])
        speed, start = rng.uniform(60, 140), rng.uniform(0, seconds * 0.6)
        way = float(rng.choice([-1, 1]))
        at = np.array([0.0 if way > 0 else WIDTH, rng.uniform(80, HEIGHT - 80)])
        swing, turns = rng.uniform(10, 60), rng.uniform(*pace)
        for frame in range(int(start * fps), int(seconds * fps)):
            age = frame / fps - start
            centre = at + np.array([way * speed * age, swing * np.sin(2 * np.pi * turns * age)])
            corners = np.concatenate([centre - sides / 2, centre + sides / 2])
            seen = np.clip(corners, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
            if (seen[2] - seen[0]) * (seen[3] - seen[1]) > 0.3 * sides.prod():
                rows.append((frame, animal, label, *seen))
    return pd.DataFrame(rows, columns=["frame", "track", "label", "left", "top", "right", "bottom"])


def detected(truth: pd.DataFrame, frame: int, seed: int, *, misses: float = 0.15, jitter: float = 0.04,
             wrong: float = 0.1, false: float = 0.3) -> Found:
    """Boxes, scores, classes of a frame: some missed, all a little off, some of a wrong class, some of nothing."""
    rng = np.random.default_rng([seed, frame])
    here = truth[truth["frame"] == frame]
    here = here[rng.random(len(here)) > misses]
    boxes = here[["left", "top", "right", "bottom"]].to_numpy(float)
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], (1, 2))
    boxes = boxes + rng.normal(0, jitter, boxes.shape) * sides
    label = here["label"].to_numpy()
    label = np.where(rng.random(len(label)) < wrong, rng.integers(len(CLASSES), size=len(label)), label)
    score = rng.uniform(0.15, 0.95, len(label))
    corner = rng.uniform(0, [WIDTH - 80, HEIGHT - 80], (rng.poisson(false), 2))
    boxes = np.concatenate([boxes, np.concatenate([corner, corner + 60], axis=1)])
    score = np.concatenate([score, rng.uniform(0.1, 0.5, len(corner))])
    return boxes, score, np.concatenate([label, rng.integers(len(CLASSES), size=len(corner))])


def blank(count: int, fps: float = 5.0) -> Iterator[Frame]:
    """Frames that show nothing; their image tells their number in its first two pixels' red."""
    for index in range(count):
        image = np.zeros((2, 4, 3), np.uint8)
        image[0, :2, 0] = divmod(index, 256)
        yield Frame(index, index / fps, image)


def number_of(image: np.ndarray) -> int:
    """Which of the blank frames it is."""
    return int(image[0, 0, 0]) * 256 + int(image[0, 1, 0])
