"""biodiversity: the larger tables of simulated vision vectors, whose means are the smaller ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from groundswell.core.seeds import derive_seed
from groundswell.pipelines.biodiversity.simulate.effects import VISION, Floats

SHAPES: Mapping[str, tuple[int, ...]] = {
    "vision_mean": (VISION,), "vision_temporal": (8, VISION), "vision_grid": (8, 3, 3, VISION),
    "vision": (8, 24, 24, VISION)}
"""Axes of a row: frame, row and column of cells or patches, number. A cell is a square of 8 x 8 patches."""
_PATCHES = 8  # on an edge of a cell


def rows_of(tiers: Sequence[str], pooled: Floats, numbers: NDArray[np.int64], *, spread: float,
            seed: int) -> dict[str, Floats]:
    """Rows of some tables, made from pooled vectors.

    Frames differ from their observation's pooled vector, cells from their frame and patches from their cell by normal
    numbers whose mean is taken away, so that the mean over a larger table's frames, cells or patches is the smaller
    table's row to rounding. They depend on the seed and the observation's number alone.

    Args:
        tiers: names among :data:`SHAPES`.
        pooled: float32, shape (n, 1408).
        numbers: of the observations, int64 (n,).
        spread: standard deviation of each of the three differences.
        seed: of the store.

    Returns:
        float32 of shape (n, ...) by name, in the order asked for.
    """
    made: dict[str, Floats] = {"vision_mean": pooled}
    for name, step in (("vision_temporal", _frames), ("vision_grid", _cells), ("vision", _patches)):
        if not set(tiers) & set(list(SHAPES)[len(made):]):
            break
        out = np.empty((len(pooled), *SHAPES[name]), np.float32)
        above = made[list(SHAPES)[len(made) - 1]]
        for i, number in enumerate(numbers.tolist()):
            chance = np.random.default_rng(derive_seed(seed, "biodiversity.simulate", name, number))
            step(above[i], spread, chance, out[i])
        made[name] = out
    return {name: made[name] for name in tiers}


def _frames(pooled: Floats, spread: float, chance: np.random.Generator, out: Floats) -> None:
    chance.standard_normal(dtype=np.float32, out=out)
    out -= out.mean(axis=0)
    out *= np.float32(spread)
    out += pooled


def _cells(frames: Floats, spread: float, chance: np.random.Generator, out: Floats) -> None:
    chance.standard_normal(dtype=np.float32, out=out)
    out -= out.mean(axis=(1, 2), keepdims=True)
    out *= np.float32(spread)
    out += frames[:, None, None]


def _patches(cells: Floats, spread: float, chance: np.random.Generator, out: Floats) -> None:
    chance.standard_normal(dtype=np.float32, out=out)
    frames, edge = cells.shape[0], cells.shape[1]
    blocks = out.reshape(frames, edge, _PATCHES, edge, _PATCHES, VISION)
    blocks -= blocks.mean(axis=(2, 4), keepdims=True)
    blocks *= np.float32(spread)
    blocks += cells[:, :, None, :, None]
