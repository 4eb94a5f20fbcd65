"""Makers of samples that have a place, and distances between them the plain way, for the tests of splits in space."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.data.sphere import great_circle_km
from groundswell.data.table import SampleTable
from groundswell.splits.places import Places

AROUND = ((28.4, -81.4), (0.0, 179.99), (89.7, 10.0), (-89.9, -100.0), (60.0, 0.0))
"""Where places are made: in Florida, astride the date line, near both poles, and astride Greenwich."""


def make_places(count: int, seed: int, around: tuple[float, float] = AROUND[0], *, spread_km: float = 40.0,
                classes: int = 4, groups: int = 0) -> SampleTable:
    """Clusters of samples within some tens of km of a place, several at one spot, of ten years; a group for each spot
    and day, or ``groups`` by chance. Simulated."""
    chance = np.random.default_rng(seed)
    clusters = chance.normal(0, spread_km, (max(3, count // 10), 2))
    north, east = (clusters[chance.integers(0, len(clusters), count)] + chance.normal(0, spread_km / 12, (count, 2))).T
    again = chance.random(count) < 0.2
    north[again], east[again] = north[0], east[0]
    bearing, arc = np.arctan2(east, north), np.hypot(north, east) / 6371.0
    phi, lam = np.radians(around)
    sine = np.sin(phi) * np.cos(arc) + np.cos(phi) * np.sin(arc) * np.cos(bearing)
    lon = np.degrees(lam + np.arctan2(np.sin(bearing) * np.sin(arc) * np.cos(phi), np.cos(arc) - np.sin(phi) * sine))
    lat, lon = np.degrees(np.arcsin(np.clip(sine, -1, 1))), (lon + 180) % 360 - 180
    day = chance.integers(0, 3650, count)
    spot_day = [f"{a:.5f},{b:.5f}/{c}" for a, b, c in zip(lat, lon, day, strict=True)]
    frame = pd.DataFrame({
        "sample_id": [f"s{k:05d}" for k in range(count)], "record": [f"r{k:05d}" for k in range(count)],
        "label": chance.integers(0, classes, count), "latitude": lat, "longitude": lon,
        "group": [f"g{k}" for k in chance.integers(0, groups, count)] if groups else spot_day,
        "time": pd.Timestamp("2014-01-01") + pd.to_timedelta(day, unit="D")})
    return SampleTable(frame, tuple(f"class {k}" for k in range(classes)), origin={"simulated": True})


def apart_m(table: SampleTable) -> NDArray[np.float64]:
    """Metres between each two samples by the haversine formula, shape (n, n)."""
    lat, lon = table.column("latitude").to_numpy(), table.column("longitude").to_numpy()
    return np.array([great_circle_km(lat, lon, site) for site in zip(lat, lon, strict=True)]) * 1000


def shuffled(table: SampleTable, seed: int) -> tuple[SampleTable, NDArray[np.int64]]:
    """The rows in another order, and that order."""
    order = np.random.default_rng(seed).permutation(len(table))
    return table.take(order), order


def places_of(table: SampleTable, **ties: NDArray[np.int64]) -> Places:
    """The arrays of a table without what is tied in it, but for ``ties``."""
    return Places(table.column("latitude").to_numpy(), table.column("longitude").to_numpy(), table.labels(),
                  np.asarray(table.column("time").dt.tz_localize(None), "datetime64[us]"), ties)
