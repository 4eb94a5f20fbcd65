"""Archives of event/pixel/station made for a test: one P wave, late by a little here and there, some turned over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from groundswell.pipelines.symae.raw import Earthquake, Left, RawTrace

RATE, P, LENGTH = 10.0, 400.0, 900
EVENT = "20110915_193104_fij"


def wave(late_s: float = 0.0, sign: float = 1.0, *, rate: float = RATE, length: int = LENGTH, p: float = P,
         noise: float = 0.05, seed: int = 0) -> np.ndarray:
    """Two pulses of some seconds after P, in weak noise."""
    t = (np.arange(length) - p) / rate - late_s
    pulses = np.exp(-((t - 2) / 1.2) ** 2) - 0.6 * np.exp(-((t - 6) / 1.5) ** 2)
    return sign * pulses + noise * np.random.default_rng(seed).normal(size=length)


def bag(count: int, seed: int = 0, flips: float = 0.0) -> dict[str, np.ndarray]:
    """Stations of one pixel, by name."""
    rng = np.random.default_rng(seed)
    return {f"XX.S{i:03d}": wave(rng.normal(0, 1), -1 if rng.random() < flips else 1, seed=seed * 1000 + i)
            for i in range(count)}


def write(path: Path, events: Mapping[str, Mapping[int | str, Mapping[str, Any]]], *, layout: bool = True) -> Path:
    """An HDF5 file; azimuths and take-off angles are left out."""
    with h5py.File(path, "w") as file:
        if layout:
            file.attrs["layout"] = f"event/pixel/station; {RATE:g} Hz; sample {P:g} = theoretical P"
        for event, pixels in events.items():
            group = file.create_group(event)
            group.attrs.update({"evla": -21.6, "evlo": -179.5, "depth_km": 644.6, "mag": 7.3})
            for pixel, stations in pixels.items():
                for station, samples in stations.items():
                    group.create_dataset(f"{pixel}/{station}", data=samples)
    return path


class Listed:
    """An archive of traces in memory, in the order given."""

    facts: dict[str, Any] = {"archive": "test", "name": "test"}

    def __init__(self, stations: Mapping[str, np.ndarray], pixel: int = 14) -> None:
        self._traces = [RawTrace(Earthquake(EVENT), pixel, name, x, RATE, P) for name, x in stations.items()]

    def __len__(self) -> int:
        return len(self._traces)

    def traces(self) -> Iterator[RawTrace | Left]:
        yield from self._traces
