"""What a split in space costs where there are ten million places, and what sorting them into boxes spares."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.geomag import Rows, row
from groundswell.core.recipe import build_recipe
from groundswell.splits.buffer import near_rows
from groundswell.splits.nearest import within_m
from groundswell.splits.parts import EXCLUDED, TEST, TRAIN, VALIDATION
from groundswell.splits.places import Places
from groundswell.splits.recipe import SplitRecipe
from groundswell.splits.spatial import divide_places

PLACES = 10_000_000
BUFFER_M = 1000.0
CORES = 2
CLUSTERS, CLASSES, DAYS = 2000, 5000, 5500
REGIONS = {"regional": (28.0, -81.0, 0.7), "worldwide": None}
"""Where clusters lie: latitude, longitude and degrees around them, or all over the Earth."""
ARMS: dict[str, dict[str, Any]] = {
    "squares of 10 km": {"regime": "spatial"}, "H3 at resolution 6": {"regime": "spatial", "cells": "h3"},
    "HEALPix of order 10": {"regime": "spatial", "cells": "healpix", "cell_level": 10},
    "squares of 10 km, past and future": {"regime": "spatiotemporal", "test_from": "2023-01-01"},
    "squares of 10 km, five folds": {"regime": "buffered"}}
MEASURED = "squares of 10 km"
"""The arm that the target is for, and that is measured worldwide too."""


def simulate(count: int, region: str, seed: int = 0) -> Places:
    """Places in clusters of very different size and width, a tenth of them at spots that others are at too, with
    classes as unequal as those of species, visits that are groups, and days of fifteen years. Simulated."""
    chance = np.random.default_rng(seed)
    around = REGIONS[region]
    if around is None:
        north, east = np.degrees(np.arcsin(chance.uniform(-1, 1, CLUSTERS))), chance.uniform(-180, 180, CLUSTERS)
        width = 10 ** chance.uniform(-2, 0.3, CLUSTERS)
    else:
        north, east = (around[k] + chance.normal(0, around[2], CLUSTERS) for k in (0, 1))
        width = 10 ** chance.uniform(-2.5, -1, CLUSTERS)
    weight = chance.pareto(1.0, CLUSTERS) + 0.1
    cluster = chance.choice(CLUSTERS, count, p=weight / weight.sum())
    lat = np.clip(north[cluster] + width[cluster] * chance.normal(size=count), -90, 90)
    stretch = np.maximum(0.05, np.cos(np.radians(lat)))
    lon = np.mod(east[cluster] + width[cluster] * chance.normal(size=count) / stretch + 180, 360) - 180
    again = np.flatnonzero(chance.random(count) < 0.1)
    spot = chance.integers(0, count, len(again))
    lat[again], lon[again] = lat[spot], lon[spot]
    day = chance.integers(0, DAYS, count)
    # A visit: what was seen on one day within some hundred metres.
    square = (np.rint(lat * 500) * 1_000_000 + np.rint(lon * 500)).astype(np.int64) * DAYS + day
    return Places(lat, lon, np.minimum(chance.zipf(1.3, count) - 1, CLASSES - 1).astype(np.int64),
                  (np.datetime64("2010-01-01") + day).astype("datetime64[us]"), {"group": _codes(square)})


def _codes(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return pd.factorize(values, sort=True)[0].astype(np.int64)


def splits(work: Path) -> Rows:
    """Ten million simulated places, regional and worldwide, divided by cells with a buffer of 1 km on two cores."""
    rows: Rows = []
    for region in REGIONS:
        for name in ARMS if region == "regional" else (MEASURED,):
            command = [sys.executable, "-m", "benchmarks.biodiversity_splits", region, name]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True,
                                    env={**os.environ, "GROUNDSWELL_QUIET": "1"}).stdout
            found = json.loads(answer)
            judged = name == MEASURED
            rows.append(row(f"{region}, {name}", f"{found['seconds']:.1f} s ({found['cpu']:.1f} s of a "
                            f"processor), {found['gb']:.2f} GB at most, of which "
                            f"{found['places_gb']:.2f} are the places; {found['parts']}",
                            "under 120 s and 4 GB" if judged else "",
                            found["seconds"] < 120 and found["gb"] < 4 if judged else None))
            print(f"      {rows[-1]['what']}: {rows[-1]['value']}", flush=True)
        rows += _spared(region)
    return rows


def _spared(region: str) -> Rows:
    # The plain way: every training place asks a tree of all tested ones.
    places = simulate(PLACES, region)
    part = divide_places(places, build_recipe(SplitRecipe, {"regime": "spatial"})).assignment[:, 0]
    train, test = part == TRAIN, (part == TEST) | (part == VALIDATION)
    started = time.perf_counter()
    boxed = near_rows(places.lat, places.lon, train, test, BUFFER_M)
    between = time.perf_counter()
    plain = within_m(places.lat[train], places.lon[train], places.lat[test], places.lon[test], BUFFER_M)
    ended = time.perf_counter()
    same = bool((boxed[train] == plain).all())
    return [row(f"{region}, {len(places):,} places: boxes first, and asking a tree of all",
                f"{between - started:.2f} s and {ended - between:.2f} s"),
            row(f"{region}: the same places left out", same, "True", same)]


def peak_gb() -> float:
    """The most memory that this process ever held; what getrusage counts goes over from the process that started it."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e6


def measure(region: str, name: str) -> dict[str, Any]:
    """One arm, in this process."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    places = simulate(PLACES, region)
    arrays = (places.lat, places.lon, places.label, places.time, places.ties["group"])
    recipe = build_recipe(SplitRecipe, {"buffer_m": BUFFER_M, **ARMS[name]})
    started, used = time.perf_counter(), time.process_time()
    parts = divide_places(places, recipe).assignment
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    counts = [f"{word} {np.mean(parts == code):.1%}" for word, code in (
        ("train", TRAIN), ("validation", VALIDATION), ("test", TEST), ("in the buffer or tied", EXCLUDED))]
    return {"seconds": seconds, "cpu": cpu, "gb": peak_gb(), "parts": ", ".join(counts),
            "places_gb": sum(array.nbytes for array in arrays if array is not None) / 1e9}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2])))
