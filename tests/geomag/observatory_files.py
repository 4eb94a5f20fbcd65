"""Simulated observatory files and catalogues for the tests of building; nothing in them was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

DAY = 1440


def iaga_text(values, start, *, code="SIM", reported="XYZF", latitude=10.0, longitude=20.0, data_type="variation",
              interval="Average 1-Minute (00:30-01:29)", skip=(), step_minutes=1):
    """An IAGA-2002 file of ``values`` (minutes, components) from ``start`` on; lines at ``skip`` are left out."""
    head = [("Format", "IAGA-2002"), ("Source of Data", "Simulated for tests"), ("Station Name", "Nowhere"),
            ("IAGA CODE", code), ("Geodetic Latitude", f"{latitude:.3f}"), ("Geodetic Longitude", f"{longitude:.3f}"),
            ("Elevation", "0"), ("Reported", reported), ("Sensor Orientation", reported), ("Digital Sampling", "1 s"),
            ("Data Interval Type", interval), ("Data Type", data_type)]
    lines = [f" {label:<22} {value:<45}|" for label, value in head]
    lines.append(f" {'# simulated':<68}|")
    lines.append("DATE       TIME         DOY  " + "".join(f"   {code}{c:<4}" for c in reported) + "   |")
    first = np.datetime64(start, "m")
    for i, row in enumerate(np.atleast_2d(values)):
        if i in skip:
            continue
        at = first + i * step_minutes
        day = int((at.astype("datetime64[D]") - at.astype("datetime64[Y]")).astype(int)) + 1
        written = "".join(f" {99999.0 if np.isnan(v) else v:9.2f}" for v in row)
        lines.append(f"{str(at).replace('T', ' ')}:00.000 {day:03d}   {written}")
    return "\n".join(lines) + "\n"


def field(minutes, seed=0, level=(20000.0, 1000.0, 40000.0)):
    """Simulated X, Y, Z and F, rounded as files are, float64, shape (minutes, 4)."""
    generator = np.random.default_rng(seed)
    daily = 20 * np.sin(2 * np.pi * np.arange(minutes) / DAY)
    xyz = np.array(level) + daily[:, None] + generator.normal(0, 5, (minutes, 3))
    return np.round(np.column_stack([xyz, np.sqrt((xyz**2).sum(axis=1))]), 2)


def write_year(folder: Path, days: int, *, code="SIM", start="2010-01-01", seed=0, missing=(), **header):
    """Files of ten days each; ``missing`` are half-open ranges of minutes set to NaN. Returns the values."""
    values = field(days * DAY, seed)
    for a, b in missing:
        values[a:b] = np.nan
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, days, 10):
        part = values[first * DAY:(first + 10) * DAY]
        at = np.datetime64(start, "D") + first
        name = f"{code.lower()}{str(at).replace('-', '')}vmin.min"
        (folder / name).write_text(iaga_text(part, at, code=code, **header))
    return values


def write_catalogue(path: Path, rows):
    """A USGS-like CSV; ``rows`` are (time, latitude, longitude, magnitude)."""
    lines = ["time,latitude,longitude,depth,mag,magType,id,type"]
    for i, (time, latitude, longitude, magnitude) in enumerate(rows):
        lines.append(f"{np.datetime64(time, 's')}Z,{latitude},{longitude},10,{magnitude},mw,sim{i:03d},earthquake")
    path.write_text("\n".join(lines) + "\n")
    return path
