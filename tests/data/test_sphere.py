"""Distances on the sphere: known values, and what must hold of any two places."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.data.sphere import EARTH_KM, great_circle_km

places = st.tuples(st.floats(-90, 90), st.floats(-360, 360))


def between(a, b):
    return great_circle_km(np.array([a[0]]), np.array([a[1]]), b)[0]


def test_distances_have_their_known_values():
    # A quarter of the equator; a degree of a meridian; London to New York.
    assert between((0.0, 90.0), (0.0, 0.0)) == pytest.approx(6371 * np.pi / 2)
    assert between((43.0, 0.5), (44.0, 0.5)) == pytest.approx(111.195, abs=1e-3)
    assert between((51.5074, -0.1278), (40.7128, -74.0060)) == pytest.approx(5570, abs=5)


@given(places, places)
def test_distances_are_the_same_both_ways_and_around_the_earth(a, b):
    found = between(a, b)
    assert 0 <= found <= EARTH_KM * np.pi
    # Near an antipode the haversine is flat: there a distance is known to some metres only.
    assert found == pytest.approx(between(b, a), abs=0.01)
    assert found == pytest.approx(between(a, (b[0], b[1] + 360)), abs=0.01)


@given(places)
def test_antipodes_are_half_the_circumference_apart(place):
    assert between((-place[0], place[1] + 180), place) == pytest.approx(EARTH_KM * np.pi, abs=0.01)


def test_a_place_that_is_not_known_has_no_distance():
    found = great_circle_km(np.array([np.nan, 1.0, 1.0]), np.array([2.0, np.nan, 2.0]), (1.0, 2.0))
    assert np.isnan(found[:2]).all() and found[2] == 0
