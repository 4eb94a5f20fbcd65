"""What keeps parts apart: distances as they are measured, whatever the boxes say, and values that are shared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from place_tables import AROUND, make_places

from groundswell.splits import buffer
from groundswell.splits.buffer import near_rows, separate
from groundswell.splits.nearest import nearest_m, within_m
from groundswell.splits.parts import EXCLUDED, TEST, TRAIN, VALIDATION


@given(st.integers(0, 10_000), st.sampled_from(AROUND), st.sampled_from([1.0, 30.0, 2e3, 5e4, 3e6, 2.1e7]),
       st.floats(0.05, 0.95))
def test_boxes_leave_no_distance_out(seed, around, metres, share):
    table = make_places(150, seed, around)
    lat, lon = table.column("latitude").to_numpy(), table.column("longitude").to_numpy()
    asked = np.random.default_rng(seed).random(150) < share
    wanted = within_m(lat, lon, lat[~asked], lon[~asked], metres) & asked
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buffer, "_FEW", -1)
        patch.setattr(buffer, "_CHUNK", 40)
        assert (near_rows(lat, lon, asked, ~asked, metres) == wanted).all()
    assert (near_rows(lat, lon, asked, ~asked, metres) == wanted).all()


def test_many_places_all_over_the_world_are_sorted_into_boxes_rightly():
    chance = np.random.default_rng(3)
    lat, lon = np.degrees(np.arcsin(chance.uniform(-1, 1, 80_000))), chance.uniform(-180, 180, 80_000)
    asked = chance.random(80_000) < 0.7
    metres = nearest_m(lat, lon, lat[~asked], lon[~asked])
    for bound in (3e3, 3e4):
        assert (near_rows(lat, lon, asked, ~asked, bound) == (asked & (metres <= bound))).all()


def test_validation_gives_way_to_the_test_and_training_to_what_is_left():
    # On the equator, a degree (111 km) apart: the validated one beside the test goes, so that training beside it stays.
    lon = np.arange(6.0)
    part = np.array([TEST, VALIDATION, TRAIN, TRAIN, VALIDATION, TRAIN], np.int8)
    found, counts = separate(part, np.zeros(6), lon, 120_000.0)
    assert found.tolist() == [TEST, EXCLUDED, TRAIN, EXCLUDED, VALIDATION, EXCLUDED]
    assert counts == {"left_out_by_buffer": {"train": 2, "validation": 1},
                      "left_out_by_ties": {"train": 0, "validation": 0}}
    assert part.tolist() == [TEST, VALIDATION, TRAIN, TRAIN, VALIDATION, TRAIN]
    around = np.array([True, False, False, False, False, False])
    assert separate(part, np.zeros(6), lon, 120_000.0, around=around)[0].tolist() == [
        TEST, EXCLUDED, TRAIN, TRAIN, VALIDATION, TRAIN]


def test_without_a_distance_even_the_same_place_is_not_too_near():
    part = np.array([TEST, TRAIN, VALIDATION], np.int8)
    assert separate(part, np.zeros(3), np.zeros(3), 0.0)[0].tolist() == part.tolist()


def test_what_left_for_what_it_shares_keeps_no_distance_any_more():
    # The validated one shares an observer with the test and goes; training beside it may stay.
    part = np.array([TEST, VALIDATION, TRAIN, VALIDATION], np.int8)
    found, counts = separate(part, np.zeros(4), np.array([0.0, 5, 6, 50]), 120_000.0, {"by": np.array([0, 0, 1, 2])})
    assert found.tolist() == [TEST, EXCLUDED, TRAIN, VALIDATION]
    assert counts["left_out_by_ties"] == {"train": 0, "validation": 1}


def test_buffers_around_the_published_places_drop_as_many_training_samples_as_is_known(real_biodiversity):
    plants = pd.read_csv(real_biodiversity / "central_florida_observations.csv")
    tested = plants["split_reason"].str.startswith("spatial")
    part = np.where(tested, TEST, np.where(plants["split"] == "train", TRAIN, EXCLUDED)).astype(np.int8)
    assert (part == TEST).sum() == 184 and (part == TRAIN).sum() == 6439
    lat, lon = plants["latitude"].to_numpy(), plants["longitude"].to_numpy()
    dropped = [separate(part, lat, lon, km * 1000.0)[1]["left_out_by_buffer"]["train"] for km in (1, 2, 5, 10)]
    assert dropped == [5, 96, 277, 815]
