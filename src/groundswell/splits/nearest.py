"""splits: how far places on the Earth are from one another, for as many as memory holds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from groundswell.data.sphere import EARTH_KM

EARTH_M = 1000 * EARTH_KM
_CHUNK = 500_000
"""Places asked about at a time, which bounds the memory beside the two sets of places."""
_SLACK = 1e-12
"""Of a chord, in radii: far above its rounding (a nanometre), far below any distance that anybody measures."""


def unit_vectors(lat: ArrayLike, lon: ArrayLike) -> NDArray[np.float64]:
    """Places as points on the sphere of radius one: x to 0° E, y to 90° E, z to the north.

    Args:
        lat, lon: degrees, shape (n,).

    Returns:
        float64, shape (n, 3).
    """
    phi, lam = np.radians(np.asarray(lat, np.float64)), np.radians(np.asarray(lon, np.float64))
    out = np.empty((len(phi), 3))
    level = np.cos(phi)
    np.multiply(level, np.cos(lam), out=out[:, 0])
    np.multiply(level, np.sin(lam), out=out[:, 1])
    np.sin(phi, out=out[:, 2])
    return out


def nearest_m(lat: ArrayLike, lon: ArrayLike, other_lat: ArrayLike, other_lon: ArrayLike,
              k: int = 1) -> NDArray[np.float64]:
    """Great-circle distance in metres from each place to the nearest of other places, on a sphere of 6371 km.

    The nearest by straight line through the Earth is the nearest along its surface, so a k-d tree over unit vectors
    finds it, at the poles and across 180° as anywhere. Rounding is about a nanometre, and centimetres between
    antipodes; the sphere is within 0.6 % of the ellipsoid.

    Args:
        lat, lon: degrees, shape (n,), finite.
        other_lat, other_lon: degrees, shape (m,), finite. A place that is among them too has itself for the nearest.
        k: how many of the nearest to measure. The same place twice among the others counts twice.

    Returns:
        Metres, float64, shape (n,), or (n, k) ascending where k is above 1; inf where there are fewer than k others.
    """
    lat, lon = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
    metres = np.full((len(lat), k), np.inf)
    tree = _tree(other_lat, other_lon, distinct=k == 1)
    if tree is not None:
        ranks = np.arange(1, k + 1)
        for part in _chunks(len(lat)):
            chord = tree.query(unit_vectors(lat[part], lon[part]), k=ranks, workers=-1)[0]
            metres[part] = arc_m(chord)
    return metres[:, 0] if k == 1 else metres


def within_m(lat: ArrayLike, lon: ArrayLike, other_lat: ArrayLike, other_lon: ArrayLike,
             metres: float) -> NDArray[np.bool_]:
    """Whether any of the other places is at most ``metres`` away along a great circle; as :func:`nearest_m` measures.

    Much faster than measuring where most places are far from all others.

    Args:
        lat, lon: degrees, shape (n,), finite.
        other_lat, other_lon: degrees, shape (m,), finite.
        metres: the distance that still counts.

    Returns:
        bool, shape (n,); all False where there are no others.
    """
    lat, lon = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
    near = np.zeros(len(lat), bool)
    tree = _tree(other_lat, other_lon, distinct=True) if metres >= 0 else None
    if tree is not None:
        # The tree leaves out what is exactly at its bound, so it gets a little more, and the arc decides.
        bound = 2 * np.sin(min(metres / (2 * EARTH_M), np.pi / 2)) + _SLACK
        for part in _chunks(len(lat)):
            chord = tree.query(unit_vectors(lat[part], lon[part]), distance_upper_bound=bound, workers=-1)[0]
            near[part] = arc_m(chord) <= metres
    return near


def _chunks(length: int) -> Iterator[slice]:
    for start in range(0, length, _CHUNK):
        yield slice(start, min(start + _CHUNK, length))


def _tree(lat: ArrayLike, lon: ArrayLike, distinct: bool) -> cKDTree | None:
    lat, lon = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
    if not len(lat):
        return None
    if distinct:
        # Thousands of records of one place would all sit in one leaf, to be gone through at each question.
        places = np.unique(lat + 1j * lon)
        lat, lon = places.real, places.imag
    # Sliding midpoints build in half the time of medians and answer as fast on places that cluster.
    return cKDTree(unit_vectors(lat, lon), balanced_tree=False, compact_nodes=False)


def arc_m(chord: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metres along a great circle between points of the unit sphere that lie ``chord`` apart in a straight line."""
    # Rounding may carry a diameter beyond two; no neighbour (inf) stays none.
    arc = 2 * EARTH_M * np.arcsin(np.minimum(chord, 2.0) / 2)
    return np.where(np.isfinite(chord), arc, np.inf)
