"""splits: where a model will be applied: places read from a file, or a grid over the samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import ConvexHull

from groundswell.core.errors import InputError
from groundswell.splits.nearest import unit_vectors
from groundswell.splits.places import Places

Plane = NDArray[np.float64]
_THIN = 4.0
"""Rows of a grid that a hull must have room for, or it counts as a line."""


def read_points(path: Path) -> NDArray[np.float64]:
    """Places that a model will be applied to, from a CSV with the columns ``latitude`` and ``longitude``.

    Args:
        path: the file; further columns are not looked at.

    Returns:
        Latitude and longitude in degrees, float64, shape (m, 2), in the order of the file.

    Raises:
        InputError: there is no such file, it is no table, lacks a column, holds no row, or a row has no place on the
            Earth.
    """
    points = read_columns(path, ("latitude", "longitude"))
    try:
        Places(points[:, 0], points[:, 1], np.full(len(points), -1, np.int64),
               sample_id=np.array([f"row {row}" for row in range(1, len(points) + 1)], object))
    except InputError as error:
        raise InputError(error.what.replace("sample(s)", "place(s)"), where=path, fix="Correct these rows") from error
    return points


def read_columns(path: Path, names: Sequence[str]) -> NDArray[np.float64]:
    """Some columns of a CSV as numbers, float64, shape (m, columns).

    Raises:
        InputError: there is no such file, it is no table, lacks a column, holds no row, or a value is no finite number.
    """
    try:
        frame = pd.read_csv(path)
    except FileNotFoundError as error:
        raise InputError("There is no such file of prediction points", where=path) from error
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"The prediction points cannot be read as a table: {str(error).strip()}", where=path,
                         fix=f"Write them as CSV with the columns {', '.join(names)}") from error
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise InputError(f"The prediction points have no column '{absent[0]}'", where=path,
                         fix=f"Name the columns {', '.join(names)}; the file has: "
                             f"{', '.join(map(str, frame.columns))}")
    if not len(frame):
        raise InputError("The file of prediction points holds none", where=path)
    values = np.column_stack([_numbers(frame[name]) for name in names])
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise InputError(f"{len(np.unique(bad[:, 0]))} prediction point(s) lack a number, first row {row + 1}: "
                         f"'{frame[names[column]].iloc[row]}' for {names[column]}", where=path,
                         fix="Correct these rows, or leave them out")
    return values


def _numbers(column: pd.Series[Any]) -> NDArray[np.float64]:
    return np.asarray(pd.to_numeric(column, errors="coerce"), np.float64)


def prediction_grid(lat: ArrayLike, lon: ArrayLike, count: int) -> NDArray[np.float64]:
    """A regular grid over the extent of samples, for where nobody said what a model will be applied to.

    The extent is the convex hull of the samples on Lambert's azimuthal equal-area map around their middle, so that
    every point stands for the same area at any latitude, across 180° and at a pole. What lies between the samples is
    in it, water too; nothing outside. The grid is square on the map and turned along its long axis. Samples on a line
    give points along that line, samples at one place that place.

    Args:
        lat, lon: of the samples, degrees, shape (n,), finite, n > 0. Neither their order nor repetition matters.
        count: points wanted; the grid has about so many.

    Returns:
        Latitude and longitude in degrees, float64, shape (m, 2).
    """
    places = np.unique(np.asarray(lat, np.float64) + 1j * np.asarray(lon, np.float64))
    vectors = unit_vectors(places.real, places.imag)
    axes = _axes(vectors)
    flat = _to_plane(vectors, axes)
    middle = flat.mean(axis=0)
    _, _, turn = np.linalg.svd(flat - middle, full_matrices=False)
    turned = (flat - middle) @ turn.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    long, wide = high - low if turned.shape[1] == 2 else (0.0, 0.0)
    if long <= 1e-12:
        return np.column_stack([places.real[:1], places.imag[:1]])
    if wide < _THIN * long / count:
        along = np.linspace(low[0], high[0], max(count, 2))
        grid = np.column_stack([along, np.full(len(along), (low[1] + high[1]) / 2)])
    else:
        grid = _lattice(turned, low, high, count)
    return _to_earth(grid @ turn + middle, axes)


def _lattice(turned: Plane, low: Plane, high: Plane, count: int) -> Plane:
    hull = ConvexHull(turned)
    step = np.sqrt(hull.volume / count)  # of a hull in the plane, volume is its area
    lines = [(a + b) / 2 + step * (np.arange(cells) - (cells - 1) / 2)
             for a, b in zip(low, high, strict=True) for cells in [max(1, int(np.ceil((b - a) / step)))]]
    grid = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 2)
    inside = np.ones(len(grid), bool)
    for a, b, c in hull.equations:
        inside &= grid[:, 0] * a + grid[:, 1] * b + c <= 1e-12
    return np.asarray(grid[inside] if inside.any() else turned[hull.vertices].mean(axis=0, keepdims=True), np.float64)


def _axes(vectors: Plane) -> Plane:
    # Rows: towards the middle of the map, then two directions on it.
    centre = vectors.mean(axis=0)
    if np.linalg.norm(centre) < 1e-9:
        centre = vectors[0]
    centre = centre / np.linalg.norm(centre)
    aside = np.cross(centre, np.eye(3)[np.argmin(abs(centre))])
    aside /= np.linalg.norm(aside)
    return np.stack([centre, aside, np.cross(centre, aside)])


def _to_plane(vectors: Plane, axes: Plane) -> Plane:
    towards, x, y = axes @ vectors.T
    # The antipode of the middle is the whole rim of the map; it must come out somewhere on it.
    scale = np.sqrt(2.0 / np.maximum(1.0 + towards, 1e-12))
    return np.column_stack([scale * x, scale * y])


def _to_earth(flat: Plane, axes: Plane) -> Plane:
    square = np.minimum((flat**2).sum(axis=1), 4.0)
    level = np.sqrt(1.0 - square / 4)
    x, y, z = (np.column_stack([1.0 - square / 2, level * flat[:, 0], level * flat[:, 1]]) @ axes).T
    return np.column_stack([np.degrees(np.arcsin(np.clip(z, -1, 1))), np.degrees(np.arctan2(y, x))])
