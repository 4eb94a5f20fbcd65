"""symae: where simulated earthquakes and stations are, and the pixels of the focal sphere that join them.

Places are for maps and tables; nothing is traced through the Earth, and waveforms do not depend on them, but for the
direction of rupture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.pipelines.symae.pixels import focal_pixel, pixel_centre

Floats = NDArray[np.float64]

NSIDE = 4
"""Of the focal sphere's pixels."""
_REGIONS = np.array([(-20.0, -178.0, 560.0), (29.0, 139.0, 430.0), (-6.0, 154.0, 80.0), (50.0, 153.0, 500.0),
                     (-8.0, -71.0, 600.0), (-7.0, 120.0, 590.0), (37.0, 71.0, 190.0), (44.0, 148.0, 60.0)])
"""Latitude, longitude and depth (km) about which deep and intermediate earthquakes happen."""
_TELESEISMIC = (13.0, 45.0)
"""Take-off angles, degrees from the downward vertical, of P waves to 25 to 95 degrees away."""
_DISTANCE = np.array([(13.0, 95.0), (18.0, 78.0), (24.0, 60.0), (30.0, 42.0), (36.0, 28.0), (45.0, 20.0)])
"""Take-off angle and roughly the distance that it leads to, degrees."""


@dataclass(frozen=True)
class Stations:
    """Stations of one bag, each array (t,), degrees: azimuth and take-off angle at the source, distance and place."""

    azimuth: Floats
    takeoff: Floats
    distance: Floats
    latitude: Floats
    longitude: Floats


def place_events(count: int, generator: np.random.Generator) -> pd.DataFrame:
    """Events with name, time, latitude, longitude, depth_km and magnitude; about eight regions of the real Earth."""
    region = _REGIONS[generator.integers(0, len(_REGIONS), count)]
    minutes = np.sort(generator.choice(20 * 365 * 24 * 60, count, replace=False))
    time = pd.Timestamp("2001-01-01", tz="UTC") + pd.to_timedelta(minutes, unit="min")
    return pd.DataFrame({
        "event": [f"{when:%Y%m%d_%H%M%S}_sim" for when in time], "time": time,
        "latitude": region[:, 0] + generator.normal(0, 3, count),
        "longitude": (region[:, 1] + generator.normal(0, 3, count) + 180) % 360 - 180,
        "depth_km": np.clip(region[:, 2] + generator.normal(0, 40, count), 10, 680),
        "magnitude": generator.uniform(6.0, 7.6, count).round(1)})


def teleseismic_pixels() -> NDArray[np.int64]:
    """Pixels whose centre is the take-off angle of a wave that is seen far away."""
    pixels = np.arange(1, 12 * NSIDE**2 + 1)
    takeoff, _ = pixel_centre(pixels, NSIDE)
    return pixels[(takeoff > _TELESEISMIC[0]) & (takeoff < _TELESEISMIC[1])]


def place_stations(latitude: float, longitude: float, pixel: int, count: int,
                   generator: np.random.Generator) -> Stations:
    """So many stations that an event at a place (degrees) sees through a pixel of its focal sphere."""
    low, high = np.cos(np.radians(_TELESEISMIC[::-1]))
    takeoff, azimuth = np.empty(0), np.empty(0)
    while len(takeoff) < count:
        down = np.degrees(np.arccos(generator.uniform(low, high, 64 * count)))
        around = generator.uniform(0, 360, 64 * count)
        inside = focal_pixel(down, around, NSIDE) == pixel
        takeoff, azimuth = np.append(takeoff, down[inside]), np.append(azimuth, around[inside])
    takeoff, azimuth = takeoff[:count], azimuth[:count]
    distance = np.interp(takeoff, *_DISTANCE.T)
    return Stations(azimuth, takeoff, distance, *_reached(latitude, longitude, azimuth, distance))


def direction(takeoff: Floats | float, azimuth: Floats | float) -> Floats:
    """Unit vectors (..., 3) of rays that leave at these angles, degrees: north, east, down."""
    down, around = np.radians(takeoff), np.radians(azimuth)
    return np.stack([np.sin(down) * np.cos(around), np.sin(down) * np.sin(around), np.cos(down)], -1)


def _reached(latitude: float, longitude: float, azimuth: Floats, distance: Floats) -> tuple[Floats, Floats]:
    """Latitude and longitude, degrees, so far from a place along great circles."""
    from_pole, away, around = np.radians(90 - latitude), np.radians(distance), np.radians(azimuth)
    height = np.cos(from_pole) * np.cos(away) + np.sin(from_pole) * np.sin(away) * np.cos(around)
    east = np.arctan2(np.sin(away) * np.sin(around),
                      np.cos(away) * np.sin(from_pole) - np.sin(away) * np.cos(from_pole) * np.cos(around))
    return np.degrees(np.arcsin(np.clip(height, -1, 1))), (longitude + np.degrees(east) + 180) % 360 - 180
