"""Short simulated windows in memory: red noise that stations of one event share, and a signal where one is planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from groundswell.data.table import SampleTable
from groundswell.splits.make import make_split
from groundswell.splits.recipe import SplitRecipe

CLASSES = ("quiet", "before_event")
MINUTES = 400
KERNELS = 336


def needs_aeon():
    pytest.importorskip("aeon", reason="MiniRocket comes with the extra 'geomag'")


def make_world(events=40, stations=3, *, signal=0.0, seed=0, columns=None):
    """Table, windows and earlier windows (rows, MINUTES) float32; ``signal`` is the height of waves in class 1."""
    rng = np.random.default_rng(seed)
    rows, windows, earlier = [], [], []
    for e in range(events):
        label = e % 2
        common, before = (np.cumsum(rng.normal(size=MINUTES)) * 0.3 + rng.normal(size=MINUTES) for _ in range(2))
        at = int(rng.integers(20, MINUTES - 140))
        common[at:at + 120] += signal * label * np.hanning(120) * np.sin(2 * np.pi * np.arange(120) / 8)
        for s in range(stations):
            windows.append(20000.0 + rng.uniform(0.7, 1.3) * common + 0.1 * rng.normal(size=MINUTES))
            earlier.append(20000.0 + rng.uniform(0.7, 1.3) * before + 0.1 * rng.normal(size=MINUTES))
            rows.append({"sample_id": f"e{e}s{s}", "record": f"S{s}", "station": f"S{s}", "event": f"e{e}",
                         "group": f"e{e}", "label": label,
                         "time": pd.Timestamp("2001-01-01", tz="UTC") + pd.Timedelta(hours=rng.uniform(0, 70000)),
                         "kp_max": rng.uniform(1, 7), "dst_min": -rng.exponential(30)})
    table = SampleTable(pd.DataFrame(rows).assign(**(columns or {})), CLASSES, pipeline="geomag",
                        origin={"simulated": True})
    return table, np.asarray(windows, np.float32), np.asarray(earlier, np.float32)


def folds_of(table, folds=4, **more):
    return make_split(table, SplitRecipe(regime="kfold", folds=folds, validation=0.25, **more))


def reader(windows):
    def read(rows):
        return windows[rows].copy()

    return read
