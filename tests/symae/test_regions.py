"""Earthquakes by region: bins of epicentres, correlations that know no lag and sign, tables and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.pipelines.symae.pixels import focal_pixel, pixel_centre
from groundswell.pipelines.symae.regions import compare_regions, correlations, events_of, pairs_of
from groundswell.pipelines.symae.signals import standard
from groundswell.pipelines.symae.store import BagStore


def test_each_event_is_in_the_region_of_its_epicentre_once(small_bags: BagStore) -> None:
    events = events_of(small_bags, 4)
    assert len(events) == small_bags.bags["event"].nunique() and events["event"].is_unique
    np.testing.assert_array_equal(events["region"], focal_pixel(90 - events["latitude"], events["longitude"], 4))
    assert events["region"].is_monotonic_increasing
    for row in events.to_dict("records"):
        own = small_bags.bags[small_bags.bags["event"] == row["event"]]
        assert row["count"] == own["count"].max()


@given(st.floats(-89, 89), st.floats(-180, 180), st.sampled_from([1, 2, 4, 8, 16]))
def test_an_epicentre_lies_near_the_centre_of_its_region(latitude: float, longitude: float, nside: int) -> None:
    colatitude, east = pixel_centre(focal_pixel(90 - latitude, longitude, nside), nside)
    there, here = np.radians(90 - float(colatitude)), np.radians(latitude)
    apart = np.arccos(np.clip(np.sin(there) * np.sin(here) + np.cos(there) * np.cos(here)
                              * np.cos(np.radians(float(east) - longitude)), -1, 1))
    assert np.degrees(apart) < 60 / nside


def test_correlations_are_symmetric_and_blind_to_lag_and_sign() -> None:
    wave = standard(np.gradient(np.exp(-((np.arange(128) - 60.0) ** 2) / 12)))
    waves = np.stack([wave, -np.roll(wave, 9), standard(np.random.default_rng(1).normal(size=128))])
    matrix = correlations(waves, 20)
    np.testing.assert_allclose(matrix, matrix.T)
    np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-6)
    assert matrix[0, 1] > 0.999 and matrix[0, 2] < 0.8


def test_pairs_know_whether_they_are_of_one_region() -> None:
    events = pd.DataFrame({"event": ["a", "b", "c"], "region": [1, 1, 2]})
    pairs = pairs_of(events, np.array([[1, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 1]]))
    assert pairs["same_region"].tolist() == [True, False, False] and pairs["correlation"].tolist() == [0.9, 0.1, 0.2]


def test_tables_and_pictures_are_written(source_run: Path, tmp_path: Path, small_bags: BagStore) -> None:
    lines = compare_regions(source_run, nside=1, out=tmp_path / "r", scale=1)
    assert any("within regions" in line and "between them" in line for line in lines)
    events = pd.read_csv(tmp_path / "r" / "events.csv")
    matrix = pd.read_csv(tmp_path / "r" / "correlation.csv", index_col=0)
    assert len(events) == 10 and matrix.shape == (10, 10) and set(events["part"]) == {"train", "validation", "test"}
    told = json.loads((tmp_path / "r" / "regions.json").read_text())
    assert sum(region["events"] for region in told["regions"]) == 10 and told["simulated"]
    pairs = pd.read_csv(tmp_path / "r" / "pairs.csv")
    assert len(pairs) == told["within"]["pairs"]
    assert {"map.png", "curves.png", "correlation.png"} <= {path.name for path in (tmp_path / "r").iterdir()}


def test_events_without_a_place_have_no_region(small_bags: BagStore, tmp_path: Path) -> None:
    bags = small_bags.bags.assign(latitude=np.nan)
    x = np.concatenate([small_bags.read(bag) for bag in range(len(small_bags))])
    lost = BagStore.create(tmp_path / "lost", small_bags.facts, small_bags.traces, bags, x)
    with pytest.raises(InputError, match=r"No event of the store has a place.*--catalogue"):
        events_of(lost, 4)


def test_nside_is_a_number_of_healpix(source_run: Path) -> None:
    with pytest.raises(InputError, match="no regions of nside 0"):
        compare_regions(source_run, nside=0)
