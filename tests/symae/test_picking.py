"""Arrivals from learned shifts: tables, errors that mean something, comparison with picks, SAC files and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from groundswell.core.errors import InputError
from groundswell.core.waveforms import shifted
from groundswell.pipelines.symae.arrivals import standard_error
from groundswell.pipelines.symae.picking import align_run, align_store, measured
from groundswell.pipelines.symae.prepare import open_archive, prepare
from groundswell.pipelines.symae.prepare_recipe import PrepareRecipe
from groundswell.pipelines.symae.sac import write_sac_bag
from groundswell.pipelines.symae.signals import standard
from groundswell.pipelines.symae.store import BagStore


@pytest.fixture(scope="module")
def picked(small_bags: BagStore, tmp_path_factory: pytest.TempPathFactory) -> BagStore:
    """The same bags with the true shifts for picks, and nothing else of the truth."""
    true = np.concatenate([small_bags.truth("shift", bag) for bag in range(len(small_bags))])
    x = np.concatenate([small_bags.read(bag) for bag in range(len(small_bags))])
    return BagStore.create(tmp_path_factory.mktemp("picked") / "bags", small_bags.facts,
                           small_bags.traces.assign(pick=true + 1.5, pick_kind="MCCC"), small_bags.bags, x)


def test_a_row_for_every_trace_with_its_pick_beside(source_run: Path, picked: BagStore, tmp_path: Path) -> None:
    lines = align_run(source_run, store=picked.path, out=tmp_path / "a", scale=1)
    table, same = pd.read_csv(tmp_path / "a" / "arrivals.csv"), pd.read_parquet(tmp_path / "a" / "arrivals.parquet")
    assert len(table) == len(same) == len(picked.traces)
    assert table["station"].tolist() == picked.traces["station"].tolist()
    np.testing.assert_allclose(table.groupby(["event", "pixel"])["shift_s"].mean(), 0, atol=1e-5)
    assert set(table["polarity"]) <= {-1, 1} and (table["standard_error_s"] > 0).all()
    assert table["correlation"].between(-1, 1).all()
    told = json.loads((tmp_path / "a" / "arrivals.json").read_text())
    off = (table["shift_s"] - table["pick"]).groupby([table["event"], table["pixel"]]).transform(lambda v: v - v.mean())
    assert told["picks"]["kinds"] == ["MCCC"] and told["truth"] is None
    assert told["picks"]["shift_s"]["median_s"] == pytest.approx(float(off.abs().median()), abs=1e-3)
    assert told["picks"]["shift_s"]["median_s"] < 0.3
    assert any("Median difference from the picks in the store" in line for line in lines)
    assert (tmp_path / "a" / "shifts.png").exists() and list((tmp_path / "a").glob("alignment_*.png"))


def test_stacking_alone_needs_no_run_and_knows_the_truth_of_simulated_bags(small_bags: BagStore,
                                                                           tmp_path: Path) -> None:
    event = str(small_bags.bags["event"].iloc[0])
    align_store(small_bags.path, event=event, out=tmp_path / "a", scale=1)
    told = json.loads((tmp_path / "a" / "arrivals.json").read_text())
    assert told["by"] == "iccs" and told["simulated"]
    assert told["truth"]["shift_s"]["median_s"] == told["truth"]["iccs_shift_s"]["median_s"] < 0.3
    assert set(pd.read_csv(tmp_path / "a" / "arrivals.csv")["event"]) == {event}


def test_an_unknown_event_is_named_with_those_there_are(small_bags: BagStore, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no event 'x'.*The events are"):
        align_store(small_bags.path, event="x", out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_standard_errors_are_those_of_noise_moving_a_known_wave() -> None:
    chance = np.random.default_rng(0)
    wave = standard(np.exp(-((np.arange(128) - 60.0) ** 2) / 12))
    noise = 0.2 * chance.normal(size=(400, 128))
    error = standard_error(wave + noise, wave, 0.5)
    slope = np.gradient(wave, 0.5)
    expected = 0.2 / np.sqrt((slope**2).sum())
    assert np.median(error) == pytest.approx(expected, rel=0.15)
    # And it is how far the best fit really moves.
    lags = np.linspace(-0.5, 0.5, 201)
    moved = np.stack([shifted(wave, lag / 0.5) for lag in lags])
    found = lags[((wave + noise) @ moved.T).argmax(1)]
    assert found.std() == pytest.approx(expected, rel=0.2)


def test_a_trace_against_the_signal_has_no_error_to_tell() -> None:
    wave = standard(np.sin(np.arange(64) / 4))
    assert np.isnan(standard_error(-wave[None], wave, 0.5)[0])


def test_picks_survive_sac_and_preparation(source_run: Path, small_bags: BagStore, tmp_path: Path) -> None:
    pytest.importorskip("obspy")
    event = str(small_bags.bags["event"].iloc[0])
    align_run(source_run, event=event, out=tmp_path / "a", sac=True, scale=1)
    table = pd.read_csv(tmp_path / "a" / "arrivals.csv").set_index("station")
    recipe = PrepareRecipe(dt=0.5, nt=100, before_p_s=20.0, p_header="t0", pick_header="t3", pick_kind="SYMAE",
                           polarity=False, least_traces=2)
    store = prepare(open_archive(tmp_path / "a" / "sac", recipe), recipe, tmp_path / "back")
    names = [name.split(".")[1] for name in store.traces["station"]]
    ours = {str(name).split(".")[1][-8:]: row for name, row in table["shift_s"].items()}
    # Simulated rays are not those of an Earth model: pixels change, and two traces may end up alone.
    assert len(store.traces) >= len(table) - 2
    np.testing.assert_allclose(store.traces["pick"], [ours[name] for name in names], atol=2e-3)
    assert set(store.traces["pick_kind"]) == {"SYMAE"}
    # One event again, at the place where it was.
    there = small_bags.bags[small_bags.bags["event"] == event].iloc[0]
    np.testing.assert_allclose(store.bags["latitude"], there["latitude"], atol=1e-3)
    assert set(store.bags["event"]) == {event.removesuffix("_sim")}


def test_sac_headers_say_where_and_when(small_bags: BagStore, tmp_path: Path) -> None:
    obspy = pytest.importorskip("obspy")
    count = int(small_bags.bags["count"].iloc[0])
    paths = write_sac_bag(tmp_path, small_bags, 0, small_bags.read(0), [0.25] * (count - 1) + [np.nan], "ICCS",
                          polarity=[1.0] * count)
    trace = obspy.read(str(paths[0]))[0]
    header, row, event = trace.stats.sac, small_bags.traces.iloc[0], small_bags.bags.iloc[0]
    np.testing.assert_array_equal(trace.data, small_bags.read(0)[0])
    assert trace.stats.delta == 0.5 and header.b == pytest.approx(-25.6) and header.t0 == 0.0
    assert header.t3 == 0.25 and header.kt3.strip() == "ICCS" and header.user0 == 1.0
    assert header.stla == pytest.approx(row["latitude"], abs=1e-3) and header.evdp == pytest.approx(event["depth_km"])
    network, station = str(row["station"]).split(".")[:2]
    assert (trace.stats.network, trace.stats.station) == (network, station[-8:])
    origin = trace.stats.starttime - header.b + header.o
    assert abs(origin.timestamp - pd.Timestamp(event["time"]).timestamp()) < 0.01
    assert getattr(obspy.read(str(paths[-1]))[0].stats.sac, "t3", -12345.0) == -12345.0


def test_two_traces_are_enough(source_run: Path, small_bags: BagStore, tmp_path: Path) -> None:
    x = small_bags.read(0)[:2]
    traces = small_bags.traces.iloc[:2].assign(bag=0)
    pair = BagStore.create(tmp_path / "two", small_bags.facts, traces, small_bags.bags.iloc[:1].assign(bag=0), x)
    found = measured(pair, 0, None, 10.0)
    assert found.shift_s.sum() == pytest.approx(0, abs=1e-5) and np.isfinite(found.error_s).all()


def test_learned_shifts_reach_the_analysts_picks_of_a_real_event(real_symae: Path, tmp_path: Path) -> None:
    recipe = PrepareRecipe()
    store = prepare(open_archive(real_symae / "real_events_P_10Hz.h5", recipe), recipe, tmp_path / "fiji")
    align_store(store.path, event="20110915_193104_fij", out=tmp_path / "a", scale=1)
    told = json.loads((tmp_path / "a" / "arrivals.json").read_text())["picks"]
    assert told["shift_s"]["count"] == 163 and told["shift_s"]["median_s"] < 0.1 and told["shift_s"]["p95_s"] < 0.2
