"""Simulated windows: exact truth, a null arm, copies of stations, no shared minutes, and honest words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.geomag.layout import Layout, read_layout
from groundswell.pipelines.geomag.simulate.events import deal_labels, place
from groundswell.pipelines.geomag.simulate.recipe import SimulateRecipe
from groundswell.pipelines.geomag.simulate.signal import STRENGTH_NT, Planted, band_deviation
from groundswell.pipelines.geomag.simulate.simulating import simulate, small_windows
from groundswell.pipelines.geomag.simulate.truth import planted, read_truth

DAY = 1440
KINDS = ("bay", "drift", "ulf")
SMALL: dict[str, Any] = {"seed": 3, "events": 12, "windows": [7], "stations": {"count": 3},
                         "background": {"years": 0.4}}


def make(out: Path, **values: Any) -> Layout:
    recipe = build_recipe(SimulateRecipe, {**SMALL, **values})
    simulate(recipe, out, draw=False)
    return read_layout(out, min(recipe.windows))


def everything(layout: Layout, *, placebo: bool = False) -> np.ndarray:
    return layout.read(np.arange(len(layout.labels())), placebo=placebo)


@pytest.fixture(scope="module")
def null(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return make(tmp_path_factory.mktemp("null"), strength=0.0)


@pytest.fixture(scope="module", params=KINDS)
def arm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return make(tmp_path_factory.mktemp(request.param), signal={"kind": request.param})


def test_data_less_the_planted_signal_is_the_null_arm(arm: Layout, null: Layout) -> None:
    truth = read_truth(arm.folder.parent, 7)
    waves = np.stack([planted(row, 7) for _, row in truth.iterrows()])
    with_signal, without = everything(arm).astype(np.float64), everything(null).astype(np.float64)
    step = float(np.spacing(np.float32(np.abs(without).max())))
    assert np.abs(with_signal - waves - without).max() <= step
    assert (waves[truth["label"] == 0] == 0).all()
    largest = np.abs(waves[truth["label"] == 1]).max(1)
    share = largest / truth.loc[truth["label"] == 1, "amplitude_nt"].to_numpy()
    assert share.max() <= 1 and share.min() > np.cos(np.pi / 10) * 0.999  # ten minutes a period, at the least
    assert (with_signal[truth["label"] == 0] == without[truth["label"] == 0]).all()


def test_strength_changes_nothing_but_the_signal(arm: Layout, null: Layout) -> None:
    assert arm.sidecar is not None and null.sidecar is not None
    pd.testing.assert_frame_equal(arm.sidecar, null.sidecar)
    drawn = ["label", "row", "event_id", "station", "shift_minutes", "gain", "background_std_nt"]
    pd.testing.assert_frame_equal(read_truth(arm.folder.parent, 7)[drawn], read_truth(null.folder.parent, 7)[drawn])
    np.testing.assert_array_equal(everything(arm, placebo=True), everything(null, placebo=True))
    truth = read_truth(null.folder.parent, 7)
    assert set(truth["kind"]) == {"none"} and not truth["amplitude_nt"].any()


def test_the_truth_is_of_its_sample_and_within_the_ranges_asked_for(arm: Layout) -> None:
    truth, sidecar = read_truth(arm.folder.parent, 7), arm.sidecar
    assert sidecar is not None
    pd.testing.assert_frame_equal(truth[["label", "row", "event_id", "station"]],
                                  sidecar[["label", "row", "event_id", "station"]])
    assert truth["shift_minutes"].between(0, 120).all() and truth["shift_minutes"].nunique() > 20
    assert truth["gain"].between(0.7, 1.3).all() and truth["gain"].std() == pytest.approx(0.6 / 12**0.5, rel=0.25)
    ones = truth[truth["label"] == 1]
    kind = ones["kind"].iloc[0]
    share = ones["amplitude_nt"] / STRENGTH_NT[kind]
    assert share.between(0.8, 1.2).all() and share.std() > 0.05
    jitter = ones["centre_minutes"] - ones["centre_minutes"].median()
    assert jitter.abs().max() <= 20 and jitter.std() > 1
    ends = pd.to_datetime(sidecar["event_time"][truth["label"] == 1])
    middle = (ends - pd.to_datetime(ones["centre_time"])).dt.total_seconds() / 60
    assert np.abs(middle - ones["centre_minutes"]).max() <= 0.5
    assert (truth["signal_to_background"] * truth["background_std_nt"]).to_numpy() == pytest.approx(
        truth["amplitude_nt"].to_numpy())
    assert (ones["signal_to_band"] > ones["signal_to_background"]).all()


def test_a_bay_and_a_drift_stand_at_fixed_minutes_and_an_oscillation_does_not() -> None:
    rng = np.random.default_rng(0)
    for kind in ("bay", "drift"):
        waves = [Planted(kind, 1.0, 1440.0 + rng.uniform(-10, 10), 720.0).waveform(7 * DAY)  # type: ignore[arg-type]
                 for _ in range(100)]
        assert np.abs(np.mean(waves, axis=0)).max() > 0.99
    phases = rng.uniform(0, 2 * np.pi, 400)
    summed = np.mean([Planted("ulf", 1.0, 1440.0, 2880.0, 10.0, p).waveform(7 * DAY) for p in phases], axis=0)
    assert np.abs(summed).max() < 4 / len(phases) ** 0.5


def test_one_event_has_one_phase_at_all_stations_and_events_have_many(tmp_path: Path) -> None:
    truth = read_truth(make(tmp_path, signal={"kind": "ulf"}).folder.parent, 7)
    ones = truth[truth["label"] == 1]
    assert (ones.groupby("event_id")["phase_rad"].nunique() == 1).all()
    assert ones["phase_rad"].nunique() == ones["event_id"].nunique() == 6
    wave = planted(ones.iloc[0], 7)
    frequency = np.fft.rfftfreq(len(wave))
    assert 1 / frequency[np.abs(np.fft.rfft(wave)).argmax()] == pytest.approx(10, abs=0.05)


def test_band_deviation_sees_a_sine_in_its_band_only() -> None:
    wave = 3 * np.sin(2 * np.pi * np.arange(7 * DAY) / 10)
    trend = np.linspace(0, 500, 7 * DAY)
    assert band_deviation(wave + trend, (0.09, 0.11)) == pytest.approx(3 / 2**0.5, rel=1e-3)
    assert band_deviation(wave + trend, (0.2, 0.3)) < 0.05


def test_stations_record_the_same_background(null: Layout) -> None:
    x, sidecar = everything(null).astype(np.float64), null.sidecar
    assert sidecar is not None
    corr = np.corrcoef(x)
    event = sidecar["event_id"].to_numpy()
    same = event[:, None] == event
    np.fill_diagonal(same, val=False)
    other = event[:, None] != event
    assert np.median(corr[same]) > 0.7 > 0.5 > np.median(corr[other])
    # To the shift and the gain of the truth, two stations differ by their noise alone.
    truth = read_truth(null.folder.parent, 7)
    a, b = truth.index[event == event[0]][:2]
    late = int(truth["shift_minutes"][a] - truth["shift_minutes"][b])
    first, second = (x[i] / truth["gain"][i] for i in (a, b))
    first, second = (first[late:], second[:len(second) - late]) if late > 0 else (first[:late or None],
                                                                                 second[-late:])
    assert (first - second).std() == pytest.approx(np.hypot(1 / truth["gain"][a], 1 / truth["gain"][b]), rel=0.05)


def test_both_classes_have_the_same_background(null: Layout) -> None:
    std = read_truth(null.folder.parent, 7).groupby("label")["background_std_nt"].median()
    assert 0.4 < std[0] / std[1] < 2.5


@pytest.mark.parametrize("kind", ["bay", "drift"])
def test_what_is_planted_separates_held_out_events_and_nothing_does_in_the_null_arm(tmp_path: Path, null: Layout,
                                                                                    kind: str) -> None:
    layout = make(tmp_path, signal={"kind": kind})

    def score(of: Layout) -> float:
        x = everything(of).astype(np.float64)
        x -= x.mean(1, keepdims=True)
        wave = Planted(kind, 1.0, 720.0 if kind == "bay" else 2160.0, 720.0 if kind == "bay" else 4320.0)  # type: ignore[arg-type]
        shape = wave.waveform(7 * DAY)
        return float(roc_auc_score(of.labels(), x @ (shape - shape.mean())))

    assert score(layout) > 0.97
    assert 0.15 < score(null) < 0.85


def test_a_short_window_is_the_end_of_a_long_one(tmp_path: Path) -> None:
    simulate(build_recipe(SimulateRecipe, {**SMALL, "windows": [14, 7], "events": 6}), tmp_path, draw=False)
    short, long = read_layout(tmp_path, 7), read_layout(tmp_path, 14)
    assert short.sidecar is not None and long.sidecar is not None
    key = ["event_id", "station"]
    both = short.sidecar.reset_index().merge(long.sidecar.reset_index(), on=key, suffixes=("", "_long"))
    assert len(both) >= 9
    a, b = short.read(both["index"].to_numpy()), long.read(both["index_long"].to_numpy())
    assert (a == b[:, 7 * DAY:]).all()
    ends = [pd.to_datetime(each["start_time"]) + pd.Timedelta(days=d) for each, d in ((short.sidecar, 7),
                                                                                    (long.sidecar, 14))]
    assert set(ends[1]) <= set(ends[0])


@pytest.mark.parametrize("windows", [[7], [7, 14, 30]])
def test_no_minute_is_in_windows_of_two_events(tmp_path: Path, windows: list[int]) -> None:
    simulate(build_recipe(SimulateRecipe, {"windows": windows, "stations": {"count": 1}, "placebo_shift_days": 0,
                                           "background": {"years": 1.0}}), tmp_path, draw=False)
    for days in windows:
        layout = read_layout(tmp_path, days)
        assert layout.sidecar is not None
        start = pd.to_datetime(layout.sidecar["start_time"]).sort_values()
        assert start.diff().min() >= pd.Timedelta(days=days, minutes=120)
        ones = int(layout.labels().sum())
        assert abs(ones - len(start) / 2) <= 1
    assert len(read_layout(tmp_path, 7).labels()) >= 48


def test_a_short_background_gives_what_fits_and_says_so(tmp_path: Path) -> None:
    recipe = build_recipe(SimulateRecipe, {"stations": {"count": 1}, "background": {"years": 0.12}})
    report = simulate(recipe, tmp_path, draw=False)
    assert report.events[7] == (3, 3) and sum(report.events[14]) == 3 and 30 not in report.events
    text = "\n".join(report.lines)
    assert "6 events (52 were asked for; no more have room)" in text and "30 days: left out" in text
    assert [f.name for f in report.folders] == ["window-7", "window-14"]


def test_overlaps_are_allowed_when_asked_for_and_told(tmp_path: Path) -> None:
    values = {**SMALL, "windows": [7, 30], "events": 30, "stations": {"count": 1}, "allow_overlap": True}
    report = simulate(build_recipe(SimulateRecipe, values), tmp_path, draw=False)
    assert sum(report.events[7]) == 30 and sum(report.events[30]) > 20
    assert "share minutes of the background" in "\n".join(report.lines)
    apart = simulate(build_recipe(SimulateRecipe, {**values, "events": 12, "allow_overlap": False}), tmp_path / "b",
                     draw=False)
    assert "share minutes" not in "\n".join(apart.lines)


def test_events_keep_the_spacing_asked_for(tmp_path: Path) -> None:
    layout = make(tmp_path, events=5, spacing_days=25.0)
    assert layout.sidecar is not None
    starts = pd.to_datetime(layout.sidecar["start_time"]).drop_duplicates().sort_values()
    assert len(starts) == 5 and starts.diff().min() >= pd.Timedelta(days=25)


def test_the_share_of_class_1_is_the_one_asked_for(tmp_path: Path) -> None:
    labels = make(tmp_path, share=0.25).labels()
    assert (labels == 1).sum() == 3 * 3 and (labels == 0).sum() == 9 * 3


def test_labels_are_chance_and_follow_the_seed(tmp_path: Path) -> None:
    def order(seed: int, name: str) -> list[int]:
        layout = make(tmp_path / name, seed=seed, stations={"count": 1}, placebo_shift_days=0)
        assert layout.sidecar is not None
        return layout.sidecar.sort_values("start_time")["label"].tolist()

    first = order(1, "a")
    assert first == order(1, "b")
    assert any(order(seed, str(seed)) != first for seed in (2, 3))


def test_the_same_seed_writes_the_same_files(tmp_path: Path) -> None:
    a, b = make(tmp_path / "a"), make(tmp_path / "b")
    for name in ("data_0.npy", "data_1.npy", "placebo_0.npy", "samples.csv", "truth.csv", "origin.json"):
        assert (a.folder / name).read_bytes() == (b.folder / name).read_bytes()
    other = make(tmp_path / "c", seed=4)
    assert (a.folder / "data_0.npy").read_bytes() != (other.folder / "data_0.npy").read_bytes()


def test_placebos_are_the_same_samples_from_earlier_without_the_signal(tmp_path: Path) -> None:
    layout = make(tmp_path, events=6, placebo_shift_days=8, strength=1000.0,
                  stations={"count": 2, "noise_nt": 0.0, "max_shift_minutes": 0, "gain": [1.0, 1.0]})
    x, earlier = everything(layout), everything(layout, placebo=True)
    assert layout.sidecar is not None
    there = np.isfinite(earlier).all(1)
    assert there.sum() >= 8
    assert (np.abs(earlier[there] - earlier[there].mean(1, keepdims=True)).max(1) < 500).all()  # no 1000 nT bay
    start = pd.to_datetime(layout.sidecar["start_time"])
    for i in np.flatnonzero(there):
        for j in np.flatnonzero(layout.labels() == 0):  # of a control everything is background
            late = int((start[i] - pd.Timedelta(days=8) - start[j]).total_seconds() // 60)
            if 0 <= late < 6 * DAY:
                np.testing.assert_array_equal(earlier[i][:7 * DAY - late], x[j][late:])


def test_a_placebo_that_the_background_does_not_reach_is_missing(tmp_path: Path) -> None:
    layout = make(tmp_path, events=16, background={"years": 0.33})
    missing = np.isnan(everything(layout, placebo=True)).all(1)
    assert layout.sidecar is not None
    start = pd.to_datetime(layout.sidecar["start_time"])
    assert missing.any() and start[missing].max() < pd.Timestamp("2001-01-08T02:00Z") <= start[~missing].min()


def test_origin_says_simulated_and_how(arm: Layout, null: Layout) -> None:
    for layout in (arm, null):
        origin = layout.origin
        assert origin["simulated"] is True and origin["made_by"] == "geomag simulate" and origin["unit"] == "nT"
        assert origin["background"].startswith("simulated") and "simulated" in origin["indices"]
        assert build_recipe(SimulateRecipe, origin["recipe"]).seed == origin["seed"] == 3
    assert null.origin["strength_nt"] == 0 and "chance" in null.origin["planted"]
    assert arm.origin["planted"] in KINDS


def test_indices_beside_simulated_windows(null: Layout) -> None:
    frame = null.sidecar
    assert frame is not None and "range_mean_nt" not in frame
    assert frame[["kp_max", "kp_mean", "ap_mean", "dst_min", "dst_mean"]].notna().all().all()
    assert (frame.groupby("event_id")["kp_max"].nunique() == 1).all()
    assert frame["latitude"].between(45, 55).all() and frame["station"].nunique() == 3


def test_small_windows_are_small_and_quick_to_learn(tmp_path: Path) -> None:
    root = small_windows(tmp_path / "data", 1)
    layout = read_layout(root, 7)
    assert [file.rows for file in layout.files] == [16, 16]
    assert layout.sidecar is not None and layout.sidecar["event_id"].nunique() == 16


@pytest.mark.parametrize("kind", ["bay", "ulf"])
def test_examples_are_drawn(tmp_path: Path, kind: str) -> None:
    simulate(build_recipe(SimulateRecipe, {**SMALL, "events": 4, "signal": {"kind": kind}}), tmp_path)
    assert (tmp_path / "simulated.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("sets", "words"), [
    (["signal.kind=spike"], "signal.kind"), (["windows=[9]"], "7, 14, 30"), (["stations.gain=[1.3, 0.7]"], "gain"),
    (["strenght=3"], "strength"), (["strength=-1"], "strength"), (["background.component=Z"], "background.files"),
    (["share=1"], "share"), (["stations.count=0"], "stations.count")])
def test_wrong_knobs_are_refused_by_name(sets: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build_recipe(SimulateRecipe, {}, sets)


@pytest.mark.parametrize(("values", "words"), [
    ({"background": {"files": ["nowhere.npz"]}}, "no such file"),
    ({"background": {"years": 0.02}}, "room for 0 windows"),
    ({"events": 400}, "room for .* windows of 7 days.* 400 are needed"),
    ({"signal": {"lead_days": 9.0}}, "outside windows of 7 days"),
    ({"signal": {"kind": "ulf", "period_minutes": 4.0, "lead_days": 40.0}}, "outside windows")])
def test_what_cannot_be_simulated_is_said_and_leaves_nothing(tmp_path: Path, values: dict[str, Any],
                                                              words: str) -> None:
    with pytest.raises(InputError, match=words):
        simulate(build_recipe(SimulateRecipe, {**SMALL, "events": None, **values}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_windows_that_are_there_are_not_overwritten(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(InputError, match="already"):
        make(tmp_path)


def test_truth_is_for_simulated_windows_only(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only simulated"):
        read_truth(tmp_path, 7)


@given(st.lists(st.booleans(), min_size=1, max_size=200), st.integers(1, 20), st.integers(0, 30), st.integers(0, 99))
@settings(deadline=None, max_examples=200)
def test_places_are_free_apart_and_as_many_as_can_be(free: list[bool], spacing: int, count: int, seed: int) -> None:
    able = np.array(free)
    found = place(able, spacing, count, np.empty(0, np.int64), np.random.default_rng(seed))
    assert able[found].all() and (np.diff(found) >= spacing).all()
    most, last = 0, -spacing
    for at in np.flatnonzero(able):
        if at - last >= spacing:
            most, last = most + 1, at
    assert len(found) == min(count, most)
    more = place(able, max(1, spacing // 2), 2 * count, found, np.random.default_rng(seed))
    assert set(found) <= set(more) and (np.diff(more) >= max(1, spacing // 2)).all()


@given(st.integers(2, 40), st.floats(0.05, 0.95), st.integers(0, 9))
def test_labels_keep_the_share(count: int, share: float, seed: int) -> None:
    labels = deal_labels({7: np.arange(count)}, share, np.random.default_rng(seed))
    assert sum(labels.values()) == np.clip(round(share * count), 1, count - 1)
