"""Cells of the Earth: each place in one, of one size, the same as the libraries give."""

from __future__ import annotations

import h3
import healpix
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.errors import InputError, MissingExtraError
from groundswell.data.sphere import EARTH_KM
from groundswell.splits.cells import cells_of, centres_of, surrounded, width_km
from groundswell.splits.nearest import nearest_m, unit_vectors

KINDS = [("squares", 50.0, 0), ("h3", 1.0, 4), ("healpix", 1.0, 6)]
places = st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=50)


def world(count, seed=0):
    """Places spread evenly over the Earth."""
    chance = np.random.default_rng(seed)
    return np.degrees(np.arcsin(chance.uniform(-1, 1, count))), chance.uniform(-180, 180, count)


@given(places)
def test_cells_of_h3_and_healpix_are_those_of_the_libraries(pairs):
    lat, lon = np.array(pairs).T
    of_h3 = [h3.str_to_int(h3.latlng_to_cell(a, b, 7)) for a, b in pairs]
    assert cells_of(lat, lon, "h3", km=1, level=7).tolist() == of_h3
    # At a boundary of a hexagon 180° may round to another cell than -180°, which it is the same as.
    of_healpix = healpix.ang2pix(2**5, np.where(lon == 180, -180, lon), lat, lonlat=True)
    assert (cells_of(lat, lon, "healpix", km=1, level=5) == of_healpix).all()


@pytest.mark.parametrize(("kind", "km", "level"), KINDS)
def test_the_middle_of_a_cell_lies_in_it_and_no_place_is_far_from_its_own(kind, km, level):
    lat, lon = world(5000)
    cells = cells_of(lat, lon, kind, km=km, level=level)
    middle = centres_of(cells, kind, km=km, level=level)
    assert (cells_of(*middle, kind, km=km, level=level) == cells).all()
    apart = EARTH_KM * 2 * np.arcsin(np.linalg.norm(unit_vectors(lat, lon) - unit_vectors(*middle), axis=1) / 2)
    assert apart.max() < 1.2 * width_km(kind, km=km, level=level)
    assert cells.min() >= 0 and cells.dtype == np.int64


@pytest.mark.parametrize("km", [1.0, 10.0, 37.0, 300.0, 1000.0])
def test_squares_have_one_size_everywhere_even_at_the_poles(km):
    bands = round(np.pi * EARTH_KM / km)
    edges = np.linspace(-90, 90, bands + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    first = cells_of(middles, np.full(bands, -180.0), "squares", km=km, level=0)
    last = cells_of(middles, np.full(bands, np.nextafter(180, 0)), "squares", km=km, level=0)
    pieces = last - first + 1
    area = 2 * np.pi * EARTH_KM**2 * np.diff(np.sin(np.radians(edges))) / pieces
    assert (abs(area / km**2 - 1) < 0.06).all()
    assert pieces[0] == pieces[-1] == 3
    # Numbers go on from band to band, so that no two cells share one.
    assert (first[1:] == last[:-1] + 1).all() and first[0] == 0


@given(st.floats(-90, 90), st.floats(-180, 180), st.integers(-2, 2), st.sampled_from([0.1, 10.0, 5000.0]))
def test_squares_are_the_same_however_often_one_goes_around(lat, lon, turns, km):
    there = cells_of([lat], [lon], "squares", km=km, level=0)
    # Going around rounds the longitude, which may carry it over a boundary: a place beside it decides then.
    around = cells_of([lat, lat, lat], [lon + 360 * turns + d for d in (-1e-9, 0, 1e-9)], "squares", km=km, level=0)
    assert there[0] in around


def test_both_ends_of_the_world_are_in_cells():
    lat, lon = np.array([90, 90, -90, 0, 0, -90.0]), np.array([180, -180, 180, 180, -180, 0.0])
    cells = cells_of(lat, lon, "squares", km=10, level=0)
    assert cells[0] == cells[1] and cells[3] == cells[4]
    assert cells[0] == cells.max() and cells[2] == 0


@pytest.mark.parametrize(("kind", "km", "level"), KINDS)
def test_cells_in_the_middle_of_the_data_are_surrounded_and_those_at_its_edge_are_not(kind, km, level):
    chance = np.random.default_rng(1)
    lat, lon = chance.uniform(20, 30, 60_000), chance.uniform(-5, 5, 60_000)
    cells = np.unique(cells_of(lat, lon, kind, km=km, level=level))
    inside = surrounded(cells, cells, kind, km=km, level=level)
    middle = np.array(centres_of(cells, kind, km=km, level=level))
    from_edge = np.minimum(5 - abs(middle[0] - 25), (5 - abs(middle[1])) * 0.9) * 111.2 / width_km(
        kind, km=km, level=level)
    assert inside[from_edge > 2].all() and not inside[from_edge < 0.2].any()
    assert 0.3 < inside.mean() < 1


def test_cells_follow_the_squares_across_the_date_line():
    lat, lon = np.zeros(2000), np.linspace(179, 181, 2000)
    cells = cells_of(lat, lon, "squares", km=10, level=0)
    middle = centres_of(cells, "squares", km=10, level=0)
    assert nearest_m(lat, lon, *middle).max() < 8000


def test_cells_that_do_not_exist_are_refused():
    for kind, km, level in (("squares", 0.0, 0), ("squares", np.nan, 0), ("h3", 1, 16), ("healpix", 1, 30)):
        with pytest.raises(InputError):
            cells_of([0.0], [0.0], kind, km=km, level=level)


def test_cells_of_a_library_that_is_not_installed_name_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "healpix", None)
    with pytest.raises(MissingExtraError, match="biodiversity"):
        cells_of([0.0], [0.0], "healpix", km=1, level=3)
