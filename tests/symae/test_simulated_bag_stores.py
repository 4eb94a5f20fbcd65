"""Simulated stores: what the recipe asks for, the same each time, with truth that fits the waveforms."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.symae.archive import EventFile
from groundswell.pipelines.symae.pixels import focal_pixel
from groundswell.pipelines.symae.prepare_recipe import PrepareRecipe
from groundswell.pipelines.symae.simulate.recipe import WORLD_NAMES, WorldRecipe
from groundswell.pipelines.symae.simulate.simulating import FROM_PRIOR, simulate_store
from groundswell.pipelines.symae.simulate.worlds import WORLDS
from groundswell.pipelines.symae.store import BagStore

SMALL = {"events": 7, "pixels": (1, 3), "traces": (3, 6), "seed": 5}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> BagStore:
    return simulate_store(tmp_path_factory.mktemp("sim") / "store", **SMALL)


def test_events_pixels_and_traces_are_as_many_as_asked_for(store: BagStore) -> None:
    assert store.simulated and store.has_truth
    assert store.bags["event"].nunique() == 7
    assert store.bags.groupby("event").size().between(1, 3).all()
    assert store.bags["count"].between(3, 6).all()
    assert store.facts.nt == 192 and store.facts.t0 == pytest.approx(-38.4)
    assert list(dict.fromkeys(store.bags["world"])) == ["easy", "noisy", "coda", "hard", "loud"]
    assert not store.traces.duplicated(["event", "station"]).any()


def test_the_truth_in_the_store_makes_its_traces(store: BagStore) -> None:
    for bag in range(len(store)):
        x, clean, source = store.read(bag), store.truth("clean", bag), store.truth("source", bag)
        path, shift, flip = (store.truth(name, bag) for name in ("path", "shift", "flip"))
        frequency = np.fft.rfftfreq(384)
        for trace in range(len(x)):
            whole = np.fft.rfft(np.convolve(source.astype(float), path[trace].astype(float)), 384)
            wave = flip[trace] * np.fft.irfft(whole * np.exp(-2j * np.pi * frequency * shift[trace] / 0.5))[:192]
            assert np.corrcoef(wave, clean[trace])[0, 1] > 1 - 1e-6
        noise = (x - clean).astype(float)
        assert abs(np.corrcoef(noise.ravel(), clean.ravel())[0, 1]) < 0.3
        assert not store.truth("shared", bag)


def test_stations_lie_in_their_pixel_and_far_from_the_event(store: BagStore) -> None:
    traces = store.traces
    np.testing.assert_array_equal(focal_pixel(traces["takeoff"], traces["azimuth"], 4), traces["pixel"])
    assert traces["distance"].between(15, 100).all()
    assert traces["latitude"].between(-90, 90).all() and traces["longitude"].between(-180, 180).all()
    event = store.bags.loc[traces["bag"]].reset_index(drop=True)
    there, here = (np.radians(frame["latitude"]) for frame in (traces, event))
    apart = np.radians(traces["longitude"] - event["longitude"])
    between = np.degrees(np.arccos(np.sin(there) * np.sin(here) + np.cos(there) * np.cos(here) * np.cos(apart)))
    np.testing.assert_allclose(between, traces["distance"], atol=1e-6)


def test_pixels_of_an_event_see_nearly_one_source(store: BagStore) -> None:
    for _, bags in store.bags.groupby("event"):
        sources = [store.truth("source", bag) for bag in bags["bag"]]
        for other in sources[1:]:
            assert np.abs(np.correlate(sources[0], other, "full")).max() / 192 > 0.8


def test_the_same_recipe_gives_the_same_store_and_a_bag_does_not_depend_on_how_many_there_are(
        store: BagStore, tmp_path: Path) -> None:
    assert simulate_store(tmp_path / "again", **SMALL).fingerprint() == store.fingerprint()
    assert simulate_store(tmp_path / "other", **{**SMALL, "seed": 6}).fingerprint() != store.fingerprint()


def test_without_names_worlds_come_from_the_prior(tmp_path: Path) -> None:
    made = simulate_store(tmp_path / "s", **SMALL, worlds=())
    assert set(made.bags["world"]) == {FROM_PRIOR}


def test_flips_and_shared_parts_can_be_asked_for(tmp_path: Path) -> None:
    made = simulate_store(tmp_path / "s", **{**SMALL, "events": 20}, flips=0.5, shared=1.0, worlds=("easy",))
    flips = np.concatenate([made.truth("flip", bag) for bag in range(len(made))])
    assert 0.3 < (flips < 0).mean() < 0.7
    assert all(made.truth("shared", bag) for bag in range(len(made)))


def test_the_archive_written_beside_is_read_as_any_other(tmp_path: Path) -> None:
    made = simulate_store(tmp_path / "s", hdf5=tmp_path / "a.h5", **SMALL)
    archive = EventFile(tmp_path / "a.h5", PrepareRecipe())
    traces = list(archive.traces())
    assert len(traces) == len(made.traces)
    assert archive.facts["pixels"] == {"with_angles": len(traces), "agree": len(traces)}
    first = made.bags.iloc[0]
    with h5py.File(tmp_path / "a.h5") as file:
        group = file[f"{first['event']}/{first['pixel']}"]
        stations = made.traces["station"][:first["count"]]
        np.testing.assert_array_equal(np.stack([group[name][:] for name in stations]), made.read(0))
        assert file.attrs["simulated"]
        assert "shift" not in group[stations[0]].attrs


def test_a_place_that_is_taken_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        simulate_store(tmp_path / "s", **SMALL)
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["mine.txt"]
    (tmp_path / "a.h5").write_text("mine")
    with pytest.raises(InputError, match="something already"):
        simulate_store(tmp_path / "t", hdf5=tmp_path / "a.h5", **SMALL)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(("knobs", "said"), [
    ({"worlds": ["hrad"]}, "did you mean 'hard'"), ({"traces": [1, 4]}, "at least 2"), ({"pixels": [3, 1]}, "pixels"),
    ({"nt": 64}, "need 60 at least"), ({"prior": {"snr_db": [3.0, 1.0]}}, "smaller end first"),
    ({"flip": 0.5}, "did you mean 'flips'")])
def test_knobs_that_cannot_be_are_refused_with_what_can(knobs: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        build_recipe(WorldRecipe, knobs)


def test_every_world_has_a_name_in_recipes() -> None:
    assert set(WORLD_NAMES) == set(WORLDS)
