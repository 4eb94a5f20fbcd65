"""Distances to the nearest: as the formula of great circles gives them, at the poles and across 180° too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.data.sphere import great_circle_km
from groundswell.splits.nearest import EARTH_M, nearest_m, unit_vectors, within_m

spots = st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=30)


def plainly(some, others):
    """Metres between each two, by the haversine formula."""
    lat, lon = np.array(some).T
    return np.array([great_circle_km(lat, lon, other) for other in others]).T * 1000


@given(spots, spots)
def test_the_nearest_is_as_far_as_the_haversine_formula_says(some, others):
    (lat, lon), (other_lat, other_lon) = np.array(some).T, np.array(others).T
    plain = np.sort(plainly(some, others), axis=1)
    # Between antipodes both formulas are flat, and know a distance to some centimetres.
    assert np.allclose(nearest_m(lat, lon, other_lat, other_lon), plain[:, 0], rtol=1e-9, atol=0.5)
    two = nearest_m(lat, lon, other_lat, other_lon, k=2)
    assert two.shape == (len(some), 2)
    if len(others) > 1:
        assert np.allclose(two, plain[:, :2], rtol=1e-9, atol=0.5)
    else:
        assert np.isinf(two[:, 1]).all()


@given(spots, spots, st.sampled_from([0.0, 1.0, 1e3, 1e6, 1.9e7, 3e7]))
def test_what_is_within_a_distance_is_what_is_measured_to_be(some, others, metres):
    (lat, lon), (other_lat, other_lon) = np.array(some).T, np.array(others).T
    measured = nearest_m(lat, lon, other_lat, other_lon)
    assert (within_m(lat, lon, other_lat, other_lon, metres) == (measured <= metres)).all()


def test_a_place_that_is_there_twice_is_its_own_second_nearest():
    assert nearest_m([1.0], [2.0], [1.0, 1.0, 5.0], [2.0, 2.0, 5.0], k=2).tolist() == [[0.0, 0.0]]


def test_a_bound_counts_what_lies_at_it():
    metres = nearest_m([0.0], [0.0], [0.0], [1.0])
    assert metres == pytest.approx(EARTH_M * np.pi / 180)
    assert within_m([0.0], [0.0], [0.0], [1.0], float(metres[0])).all()
    assert not within_m([0.0], [0.0], [0.0], [1.0], float(np.nextafter(metres[0], 0))).any()


def test_where_there_is_no_other_nothing_is_near():
    assert np.isinf(nearest_m([0.0, 1.0], [0.0, 1.0], [], [])).all()
    assert not within_m([0.0, 1.0], [0.0, 1.0], [], [], 1e9).any()
    assert nearest_m([], [], [0.0], [0.0]).shape == (0,)


def test_the_poles_and_the_date_line_are_no_edges():
    assert nearest_m([90.0], [0.0], [90.0], [77.0])[0] < 1e-6
    assert nearest_m([0.0], [180.0], [0.0], [-180.0])[0] < 1e-6
    assert nearest_m([0.0], [179.999], [0.0, 0.0], [-179.999, 179.9])[0] == pytest.approx(222.39, abs=0.01)
    assert np.allclose(unit_vectors([0, 0, 90], [0, 90, 5]), np.eye(3), atol=1e-15)
