"""Signals planted on real minutes, and on files that look like them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.geomag.layout import read_layout
from groundswell.pipelines.geomag.simulate.recipe import SimulateRecipe
from groundswell.pipelines.geomag.simulate.simulating import simulate
from groundswell.pipelines.geomag.simulate.truth import planted, read_truth

DAY = 1440


def minutes_file(path: Path, days: int, *, code: str = "NOW", missing: tuple[tuple[int, int], ...] = ()) -> np.ndarray:
    """A simulated .npz of X and Y like those of real observatories."""
    rng = np.random.default_rng(1)
    values = np.array([17000.0, -1500.0]) + 20 * np.sin(2 * np.pi * np.arange(days * DAY) / DAY)[:, None]
    values = (values + rng.normal(0, 1, values.shape)).astype(np.float32)
    for start, stop in missing:
        values[start:stop] = np.nan
    meta = {"IAGA CODE": code, "Geodetic Latitude": "55.3", "Geodetic Longitude": "356.8",
            "Source of Data": "Test Bureau", "Data Type": "Definitive"}
    np.savez(path, t0=np.array("2003-01-01 00:00:00"), values=values, columns=np.array(["X", "Y"]),
             meta=np.array(str(meta)))
    return values


def test_a_file_of_minutes_is_the_background(tmp_path: Path) -> None:
    values = minutes_file(tmp_path / "now.npz", 60)
    recipe = build_recipe(SimulateRecipe, {
        "windows": [7], "strength": 0.0, "background": {"files": [str(tmp_path / "now.npz")]},
        "stations": {"count": 2, "noise_nt": 0.0, "max_shift_minutes": 0, "gain": [1.0, 1.0]}})
    report = simulate(recipe, tmp_path / "out", draw=False)
    layout = read_layout(tmp_path / "out", 7)
    assert layout.sidecar is not None and sum(report.events[7]) == 8
    h = np.hypot(values[:, 0].astype(np.float64), values[:, 1])
    start = pd.to_datetime(layout.sidecar["start_time"])
    for i, x in enumerate(layout.read(np.arange(len(start)))):
        at = int((start[i] - pd.Timestamp("2003-01-01T00:00Z")).total_seconds() // 60)
        np.testing.assert_allclose(x, h[at:at + 7 * DAY], atol=0.005)
    assert layout.origin["simulated"] is True and layout.origin["background"].startswith("real: NOW, component H")
    assert "kp_max" not in layout.sidecar and layout.sidecar["range_mean_nt"].between(2, 10).all()
    assert set(layout.sidecar["station"]) == {"NOW-SIM1", "NOW-SIM2"}
    assert layout.sidecar["longitude"].between(-16, 10).all()


def test_windows_keep_away_from_long_gaps_and_fill_short_ones(tmp_path: Path) -> None:
    gaps = ((12 * DAY, 13 * DAY), (30 * DAY, 30 * DAY + 20))
    minutes_file(tmp_path / "now.npz", 60, missing=gaps)
    simulate(build_recipe(SimulateRecipe, {"windows": [7], "background": {"files": [str(tmp_path / "now.npz")]}}),
             tmp_path / "out", draw=False)
    layout = read_layout(tmp_path / "out", 7)  # refuses what is not finite
    assert layout.sidecar is not None
    start = pd.to_datetime(layout.sidecar["start_time"])
    day = (start - pd.Timestamp("2003-01-01T00:00Z")) / pd.Timedelta(days=1)
    assert not ((day < 13) & (day + 7 > 12)).any()
    assert ((day < 30) & (day + 7 > 30.02)).any()


def test_one_observatory_is_chosen_where_there_are_several(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for code in ("AAA", "BBB"):
        minutes_file(tmp_path / "raw" / f"{code}.npz", 40, code=code)
    values = {"windows": [7], "background": {"files": [str(tmp_path / "raw")]}}
    with pytest.raises(InputError, match=r"2 observatories \(AAA, BBB\)"):
        simulate(build_recipe(SimulateRecipe, values), tmp_path / "out")
    simulate(build_recipe(SimulateRecipe, values, ["background.station=BBB"]), tmp_path / "out")
    assert read_layout(tmp_path / "out", 7).origin["stations"][0] == "BBB-SIM1"


@pytest.mark.parametrize(("component", "words"), [("Z", "cannot be had|no minutes"), ("H", "room for 1 windows")])
def test_minutes_that_do_not_serve_are_refused(tmp_path: Path, component: str, words: str) -> None:
    minutes_file(tmp_path / "now.npz", 9)
    values = {"windows": [7], "background": {"files": [str(tmp_path / "now.npz")], "component": component}}
    with pytest.raises(InputError, match=words):
        simulate(build_recipe(SimulateRecipe, values), tmp_path / "out")


def test_a_year_of_a_real_observatory(tmp_path: Path, real_geomag: Path) -> None:
    values = {"windows": [7], "stations": {"count": 2}, "background": {
        "files": [str(real_geomag / "ESK_2003.npz")], "indices": [str(real_geomag / "indices")]}}
    arms = {}
    for name, strength in (("planted", 100.0), ("null", 0.0)):
        report = simulate(build_recipe(SimulateRecipe, {**values, "strength": strength}), tmp_path / name, draw=False)
        arms[name] = read_layout(tmp_path / name, 7)
    assert sum(report.events[7]) == 51
    rows = np.arange(102)
    truth = read_truth(tmp_path / "planted", 7)
    waves = np.stack([planted(row, 7) for _, row in truth.iterrows()])
    difference = arms["planted"].read(rows).astype(np.float64) - waves - arms["null"].read(rows)
    assert np.abs(difference).max() <= np.spacing(np.float32(17000))
    frame, origin = arms["null"].sidecar, arms["null"].origin
    assert frame is not None
    assert frame["kp_max"].max() == 9 and frame["dst_min"].min() < -350  # October 2003
    assert origin["simulated"] is True and "ESK" in origin["background"] and "real" in origin["indices"]
    assert np.corrcoef(frame["range_mean_nt"], frame["ap_mean"])[0, 1] > 0.8
