"""data: distances on the Earth, taken as a sphere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EARTH_KM = 6371.0
"""Mean radius."""


def great_circle_km(latitude: NDArray[np.float64], longitude: NDArray[np.float64],
                    site: tuple[float, float]) -> NDArray[np.float64]:
    """Distance along the surface of a sphere of 6371 km to ``site``; NaN where a place is not known.

    The haversine formula; within 0.6 % of the distance on the ellipsoid.

    Args:
        latitude, longitude: of the places, degrees, of one shape.
        site: latitude and longitude, degrees.

    Returns:
        km, float64, of the shape of ``latitude``.
    """
    lat, lon = np.radians(latitude), np.radians(longitude)
    lat0, lon0 = np.radians(site[0]), np.radians(site[1])
    half = np.sin((lat - lat0) / 2) ** 2 + np.cos(lat) * np.cos(lat0) * np.sin((lon - lon0) / 2) ** 2
    # Between antipodes rounding may carry the haversine beyond one.
    return np.asarray(2 * EARTH_KM * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0))), np.float64)
