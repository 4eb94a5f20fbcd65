"""das: simulated archives are read back as they were made, and their truth agrees with itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.core.seeds import derive_seed
from groundswell.pipelines.das.catalogue import read_catalogue
from groundswell.pipelines.das.formats import find_records, open_reader
from groundswell.pipelines.das.formats.health import examine
from groundswell.pipelines.das.label_files import read_intervals, read_labels_json
from groundswell.pipelines.das.record import Record
from groundswell.pipelines.das.region_maps import read_region_maps
from groundswell.pipelines.das.simulate.archive import (
    Simulator,
    onsets,
    simulate_archive,
    simulate_continuous,
    small_archive,
)
from groundswell.pipelines.das.simulate.observed import ArrayRecord
from groundswell.pipelines.das.simulate.real_noise import ArrayNoise
from groundswell.pipelines.das.simulate.recipe import SimulateRecipe
from groundswell.pipelines.das.simulate.record import add_signal, apply_faults

CLASSES = ("earthquake", "quarry_blast")
QUICK: dict[str, Any] = {"events": 4, "duration_s": 16.0, "snr_db": 15.0, "snr_window_s": 5.0,
                         "fibre": {"channels": 20, "spacing_m": 80.0, "rate_hz": 100.0, "gauge_m": 10.0},
                         "source": {"distance_km": [5.0, 10.0]}}


def recipe_of(**changes: Any) -> SimulateRecipe:
    values = dict(QUICK)
    for key, value in changes.items():
        values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
    return build_recipe(SimulateRecipe, values)


def waveforms(folder: Path) -> dict[str, Record]:
    found = {}
    for path in sorted(folder.glob("*.h5")):
        record, = [r for r in find_records(path) if r.kind == "waveform"]
        found[path.name] = record
    return found


def read(record: Record) -> NDArray[np.float32]:
    """float32 (channels, time samples)."""
    out = np.empty((record.samples, record.channels), np.float32)
    reader = open_reader(record)
    reader.read(0, record.samples, 0, record.channels, out)
    reader.close()
    return np.ascontiguousarray(out.T)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_archive(tmp_path_factory.mktemp("simulated") / "archive")


# Files.

@pytest.mark.parametrize(("layout", "dtype", "axis_order", "dataset"), [
    ("contiguous", "float32", "time,channel", "sr/data"),
    ("chunked", "int16", "time,channel", "python_processing/sr/data"),
    ("gzip", "float32", "channel,time", "data"),
    ("gzip", "int16", "channel,time", "sr/data"),
])
def test_every_layout_is_read_back(tmp_path: Path, layout: str, dtype: str, axis_order: str, dataset: str) -> None:
    recipe = recipe_of(events=2, file={"layout": layout, "dtype": dtype, "axis_order": axis_order, "dataset": dataset})
    out = simulate_archive(recipe, tmp_path / "out")
    simulator, found = Simulator(recipe), waveforms(out)
    assert len(found) == 2
    for number in range(2):
        made = simulator.recording(number)
        record = found[made.name]
        assert record.verdict == "ok" and record.dataset.strip("/") == dataset
        assert (record.samples, record.channels) == (1600, 20)
        assert (record.rate_hz, record.spacing_m, record.gauge_m) == (100.0, 80.0, 10.0)
        assert (record.axis_order, record.axis_order_known) == (axis_order, "metadata")
        assert record.start_time == made.start and record.units == "nanostrain/s"
        assert np.dtype(record.dtype) == np.dtype(dtype)
        with h5py.File(out / made.name) as file:
            assert file.attrs["simulated"] and file[dataset].attrs["simulated"]
            stored = file[dataset]
            assert {"contiguous": stored.chunks is None, "chunked": stored.chunks and not stored.compression,
                    "gzip": stored.compression == "gzip"}[layout]
            scale = float(stored.attrs.get("scale", 1.0))
        assert np.abs(read(record) * scale - made.data_ct).max() <= (0.51 * scale if dtype == "int16" else 0)


def test_names_follow_the_seeds_data_set(archive: Path) -> None:
    for path in archive.glob("*.h5"):
        prefix, day, clock, tail = path.stem.split("_")
        assert prefix == "DAS-SIMULATED" and tail.startswith("UTC-")
        record, = find_records(path)
        assert str(record.start_time)[:19] == f"{day}T{clock.replace('-', ':')}"


def test_the_same_recipe_gives_the_same_files(tmp_path: Path) -> None:
    one, two = (simulate_archive(recipe_of(events=n), tmp_path / str(n)) for n in (2, 4))
    for name, record in waveforms(one).items():
        assert np.array_equal(read(record), read(waveforms(two)[name]))
    kept = {e["event_id"]: e for e in json.loads((two / "truth.json").read_text())["events"]}
    for event in json.loads((one / "truth.json").read_text())["events"]:
        assert kept[event["event_id"]] == event


def test_faults_are_found_in_the_files(tmp_path: Path) -> None:
    recipe = recipe_of(events=1, fibre={"dead_share": 0.2, "saturated_share": 0.1}, snr_db=5.0)
    record, = waveforms(simulate_archive(recipe, tmp_path / "out")).values()
    health = examine(open_reader(record))
    assert (health.dead_channels, health.saturated_channels) == (4, 2)


def test_several_cables_share_an_archive(tmp_path: Path) -> None:
    recipe = recipe_of(events=8, fibre={"more_cables": [[30, 40.0]]})
    found = waveforms(simulate_archive(recipe, tmp_path / "out"))
    assert {(r.channels, r.spacing_m) for r in found.values()} == {(20, 80.0), (30, 40.0)}


# Truth.

def test_truth_agrees_with_itself(archive: Path) -> None:
    found = waveforms(archive)
    truth = json.loads((archive / "truth.json").read_text())
    intervals, picks = pd.read_csv(archive / "intervals.csv"), pd.read_parquet(archive / "picks.parquet")
    labels = json.loads((archive / "labels.json").read_text())
    assert set(labels) == set(found) == set(intervals["record"]) == set(picks["record"])
    assert truth["simulated"] is True and truth["classes"] == list(CLASSES)
    assert SimulateRecipe.model_validate_json(json.dumps(truth["recipe"])).events == len(truth["events"]) == 12
    for event in truth["events"]:
        name, = event["files"]
        record = found[name]
        interval = intervals[intervals["event_id"] == event["event_id"]].iloc[0]
        own = picks[picks["event_id"] == event["event_id"]].sort_values("channel")
        assert interval["record"] == name and interval["label"] == event["label"] == labels[name]
        assert record.rate_hz is not None and record.duration_s is not None and record.start_time is not None
        assert 0 <= interval["start"] < interval["stop"] <= record.duration_s
        assert len(own) == record.channels and (own["p_s"] < own["s_s"]).all()
        assert interval["start"] == pytest.approx(own["p_s"].min(), abs=1 / record.rate_hz)
        assert (own["p_sample"] == np.rint(own["p_s"] * record.rate_hz)).all()
        assert own["distance_m"].to_numpy() == pytest.approx(np.arange(record.channels) * 100.0)
        onset = record.start_time + np.timedelta64(round(own["p_s"].min() * 1e9), "ns")
        assert abs(np.datetime64(event["onset"][:-1]) - onset) <= np.timedelta64(1, "ms")
        assert np.datetime64(event["time"][:-1]) < onset


def test_the_event_stands_out_in_its_interval(archive: Path) -> None:
    intervals = pd.read_csv(archive / "intervals.csv").set_index("record")[["start", "stop"]].to_dict("index")
    ratios = []
    for name, record in waveforms(archive).items():
        data = read(record)
        row, rate_hz = intervals[name], record.rate_hz or 0.0
        power = np.median((data**2), axis=0)
        start, stop = (int(row[edge] * rate_hz) for edge in ("start", "stop"))
        ratios.append(power[start:stop].mean() / power[: start - 20].mean())
    assert np.median(ratios) > 3


def test_labels_are_read_by_the_pipeline(archive: Path) -> None:
    found = waveforms(archive)
    whole = read_labels_json(archive / "labels.json", CLASSES).bind(found)
    parts = read_intervals(archive / "intervals.csv", CLASSES).bind(found)
    for key, record in found.items():
        known, of_file = parts.for_record(key), whole.for_record(key)
        assert known is not None and of_file is not None
        interval, = known.intervals
        assert interval.label == of_file.whole
        assert 0 <= interval.start < interval.stop <= record.samples and interval.event.startswith("sim-")


@pytest.mark.parametrize("name", ["catalogue.csv", "catalogue.xml"])
def test_catalogues_are_read_by_the_pipeline(archive: Path, name: str) -> None:
    catalogue = read_catalogue(archive / name)
    events = json.loads((archive / "truth.json").read_text())["events"]
    assert len(catalogue) == 12
    for (_, row), event in zip(catalogue.iterrows(), events, strict=True):
        assert str(row["event_id"]).endswith(event["event_id"])
        assert row["kind"].replace(" ", "_") == CLASSES[event["label"]]
        assert abs(row["time"] - pd.Timestamp(event["time"])) < pd.Timedelta("2ms")
        assert row["latitude"] == pytest.approx(event["latitude"])
        assert row["longitude"] == pytest.approx(event["longitude"])
        assert row["depth_km"] == pytest.approx(event["depth_km"], abs=1e-3)
        assert row["magnitude"] == pytest.approx(event["magnitude"])
    if name.endswith("csv"):
        assert (catalogue["start"] == [pd.Timestamp(e["onset"]) for e in events]).all()
        assert (catalogue["stop"] == [pd.Timestamp(e["end"]) for e in events]).all()


def test_region_maps_are_read_by_the_pipeline(tmp_path: Path) -> None:
    out = simulate_archive(recipe_of(file={"region": True}), tmp_path / "out")
    found = waveforms(out)
    bound = read_region_maps(found, CLASSES)
    truth = pd.read_csv(out / "intervals.csv").set_index("record")
    for key in found:
        known = bound.for_record(key)
        assert known is not None
        interval, = known.intervals
        row = truth.loc[key]
        assert interval.label == row["label"]
        assert interval.start / 100 == pytest.approx(row["start"], abs=0.6)
        assert interval.stop / 100 == pytest.approx(row["stop"], abs=0.6)


# Continuous archives.

@pytest.mark.parametrize("given", [False, True])
def test_consecutive_files_are_seamless_and_events_cross_them_whole(tmp_path: Path, given: bool) -> None:
    recipe = recipe_of(events=3, duration_s=12.0, noise={"day_db": 6.0}, snr_db=20.0)
    array = ArrayRecord(np.random.default_rng(1).standard_normal((9, 1500)).astype(np.float32), 100.0)
    noise = ArrayNoise([array]) if given else None
    out = simulate_continuous(recipe, tmp_path / "out", hours=4 / 60, noise=noise)
    found = waveforms(out)
    assert len(found) == 20 and not (out / "labels.json").exists()
    starts = [record.start_time for record in found.values()]
    assert all(np.diff(np.asarray(starts)) == np.timedelta64(12, "s"))
    joined = np.concatenate([read(record) for record in found.values()], axis=1)
    # One piece of noise, and each event whole: the files are cuts of it.
    simulator = Simulator(recipe, noise)
    seed = derive_seed(recipe.seed, "das.simulate", "continuous")
    start = np.datetime64("2022-09-01", "ns")
    whole = simulator.background(simulator.cables[0], 0, joined.shape[1], start, seed)
    for number, onset_s in enumerate(onsets(recipe, 240.0)):
        add_signal(whole, simulator.continuous_signal(number, onset_s, seed, start), 0)
    apply_faults(whole, simulator.cables[0], recipe.noise.level_nstrain_s)
    assert np.abs(joined - whole).max() < 1e-5 * np.abs(whole).max()


def test_intervals_of_a_continuous_archive_cover_each_event_once(tmp_path: Path) -> None:
    out = simulate_continuous(recipe_of(events=4, duration_s=8.0), tmp_path / "out", hours=5 / 60)
    found, intervals = waveforms(out), pd.read_csv(out / "intervals.csv")
    events = {e["event_id"]: e for e in json.loads((out / "truth.json").read_text())["events"]}
    crossing = 0
    for event_id, rows in intervals.groupby("event_id"):
        event = events[str(event_id)]
        begin = np.datetime64(event["onset"][:-1], "ns")
        for _, row in rows.iterrows():
            record = found[row["record"]]
            assert record.start_time is not None and 0 <= row["start"] < row["stop"] <= 8.0
            at = record.start_time + np.timedelta64(round(row["start"] * 1e9), "ns")
            assert abs(at - begin) <= np.timedelta64(11, "ms")
            begin = record.start_time + np.timedelta64(round(row["stop"] * 1e9), "ns")
        assert abs(begin - np.datetime64(event["end"][:-1])) <= np.timedelta64(11, "ms")
        assert list(rows["record"]) == event["files"]
        crossing += len(rows) > 1
    assert crossing and set(intervals["event_id"]) == set(events)
    begins = sorted(np.datetime64(e["onset"][:-1]) for e in events.values())
    assert min(np.diff(np.asarray(begins))) >= np.timedelta64(59, "s")
    picks = pd.read_parquet(out / "picks.parquet")
    first = intervals.groupby("event_id").first()
    for event_id, own in picks.groupby("event_id"):
        assert own["p_s"].min() == pytest.approx(first.loc[str(event_id), "start"], abs=0.011)


# What cannot be done.

def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        simulate_archive(recipe_of(), tmp_path)
    with pytest.raises(InputError, match="not empty"):
        simulate_continuous(recipe_of(), tmp_path, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_more_events_than_time_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no room"):
        simulate_continuous(recipe_of(events=10), tmp_path / "out", hours=5 / 60)
    assert not list(tmp_path.rglob("*.h5"))


@pytest.mark.parametrize(("values", "said"), [
    ({"snr_band_hz": [10, 60], "fibre": {"rate_hz": 100.0}}, "at or above half"),
    ({"source": {"distance_km": [10.0, 5.0]}}, "smaller one first"),
    ({"source": {"ripple_rows": [0, 3]}}, "above 0"),
    ({"noise": {"instrument": 0.0, "laser": 0.0, "ambient": 0.0}}, "must be above 0"),
    ({"fibre": {"dead_share": 0.6, "saturated_share": 0.4}}, "fewer than a tenth"),
    ({"fibre": {"chanels": 3}}, "did you mean 'fibre.channels'"),
    ({"duration_s": 1.0}, "greater than or equal to 4"),
])
def test_impossible_knobs_are_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        build_recipe(SimulateRecipe, values)
