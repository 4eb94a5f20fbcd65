"""The grid of places and times: its formula, no seams, exact gradients, and that it learns what depends on where."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from groundswell.core.errors import InputError
from groundswell.pipelines.biodiversity.models.place import (
    GRIDS,
    PRIMES,
    SIZES,
    PlaceEncoder,
    place_vector,
    season_of,
)

latitudes = st.floats(-89, 89)
longitudes = st.floats(-180, 180)
years = st.floats(1990, 2040)
SMALL = {"levels": 4, "log2_entries": 6}


def encoder(seed=0, **more):
    """One whose entries differ, in float64, so that what is continuous can be seen to be so."""
    torch.manual_seed(seed)
    made = PlaceEncoder(**{**SMALL, **more}).double()
    with torch.no_grad():
        made.table.uniform_(-1, 1)
    return made


def at(*place):
    return torch.tensor([place], dtype=torch.float64)


def by_hand(made, latitude, longitude, elevation_m, year, *, base_km=1024.0, base_years=16.0, radius_km=6371.0):
    """Features of one place, one number at a time, from the formula of the docstring."""
    radius, phi, lam = radius_km + elevation_m / 1000, math.radians(latitude), math.radians(longitude)
    position = (radius * math.cos(phi) * math.cos(lam), radius * math.cos(phi) * math.sin(lam), radius * math.sin(phi),
                year)
    table = made.table.detach().numpy()
    entries, found = 2**made.log2_entries, []
    for level in range(made.levels):
        scaled = [value / (cell / 2**level) for value, cell in zip(position, [base_km] * 3 + [base_years], strict=True)]
        for number, axes in enumerate(GRIDS):
            total = np.zeros(made.features)
            for corner in range(8):
                bits = [corner >> 2 & 1, corner >> 1 & 1, corner & 1]
                index, weight = 0, 1.0
                for axis, bit, prime in zip(axes, bits, PRIMES, strict=True):
                    below = math.floor(scaled[axis])
                    index ^= (below + bit) * prime
                    part = scaled[axis] - below
                    weight *= part if bit else 1 - part
                total += weight * table[(level * 4 + number) * entries + index % entries]
            found += total.tolist()
    return [*found, *(f(2 * math.pi * k * year) for f in (math.cos, math.sin) for k in (1, 2))]


@given(latitudes, longitudes, st.floats(-100, 5000), years)
def test_features_follow_the_formula(latitude, longitude, elevation_m, year):
    made = encoder()
    found = made(at(latitude, longitude, elevation_m, year))[0]
    assert found.shape == (made.width,) == (4 * 4 * 2 + 4,)
    np.testing.assert_allclose(found.detach().numpy(), by_hand(made, latitude, longitude, elevation_m, year),
                               rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_sizes(size):
    made, named = PlaceEncoder(size), SIZES[size]
    assert sum(p.numel() for p in made.parameters()) == 4 * named.levels * 2**named.log2_entries * 2
    assert made.width == 8 * named.levels + 4 and made(at(28.5, -81.4, 0.0, 2020.3)).dtype == torch.float32
    assert float(made.cells[-1, 0]) == 1024 / 2 ** (named.levels - 1) and float(made.table.detach().abs().max()) <= 1e-4
    assert made.state_dict().keys() == {"table"}


@pytest.mark.parametrize("coordinates", ["ecef", "geographic"])
@given(latitude=latitudes, year=years)
def test_there_is_no_seam_at_180_degrees(coordinates, latitude, year):
    made = encoder(coordinates=coordinates)
    east, west = made(at(latitude, 180.0, 0.0, year)), made(at(latitude, -180.0, 0.0, year))
    torch.testing.assert_close(east, west, rtol=0, atol=1e-9)
    near = made(at(latitude, -180.0 + 1e-7, 0.0, year)) - made(at(latitude, 180.0 - 1e-7, 0.0, year))
    assert near.abs().max() < 1e-5
    assert (made(at(latitude, 90.0, 0.0, year)) - east).abs().max() > 1e-3  # elsewhere it is another place


@pytest.mark.parametrize("coordinates", ["ecef", "geographic"])
@given(latitude=latitudes, longitude=longitudes, year=years, turn=st.floats(0, 6.28))
def test_a_small_step_makes_a_small_difference(coordinates, latitude, longitude, year, turn):
    # Finest cells are 128 km and 2 years: 1e-6 of them moves a feature by little, across any border of cells.
    made = encoder(coordinates=coordinates)
    here = at(latitude, longitude, 10.0, year)
    step = torch.tensor([[1e-6 * math.cos(turn), 1e-6 * math.sin(turn), 0.1, 1e-6]], dtype=torch.float64)
    assert (made(here + step) - made(here)).abs().max() < 2e-5


def test_poles_have_no_longitude():
    made = encoder()
    torch.testing.assert_close(made(at(90.0, 0.0, 0.0, 2020.0)), made(at(90.0, 123.0, 0.0, 2020.0)))


@pytest.mark.parametrize("coordinates", ["ecef", "geographic"])
def test_gradients_are_those_of_finite_differences(coordinates):
    made = encoder(coordinates=coordinates)
    place = torch.tensor([[28.53, -81.42, 30.0, 2019.71], [-12.3, 179.3, 5.0, 2001.13]], dtype=torch.float64,
                         requires_grad=True)
    assert torch.autograd.gradcheck(made, (place,), eps=1e-6, atol=1e-5)
    table = made.table

    def of_table(values):
        return torch.func.functional_call(made, {"table": values}, (place.detach(),))

    assert torch.autograd.gradcheck(of_table, (table.detach().clone().requires_grad_(),), eps=1e-6, atol=1e-6)
    made(place)[:, :-4].sum().backward()
    touched = set(made.entries(place).unique().tolist())
    assert set(table.grad.abs().sum(1).nonzero().flatten().tolist()) <= touched
    assert float(table.grad.sum()) == pytest.approx(2 * 4 * 4 * 2)  # weights of a cell's corners add up to one


def test_order_of_places_does_not_matter():
    made, r = encoder(), np.random.default_rng(0)
    place = torch.tensor(np.stack([r.uniform(-80, 80, 50), r.uniform(-180, 180, 50), r.uniform(0, 900, 50),
                                   r.uniform(2000, 2025, 50)], 1))
    order = torch.tensor(r.permutation(50))
    assert torch.equal(made(place)[order], made(place[order]))
    torch.testing.assert_close(made(place[7:8])[0], made(place)[7])
    torch.testing.assert_close(made(place.float()), made(place), rtol=0, atol=1e-3)  # a metre and an hour


@given(years, st.integers(-30, 30))
def test_seasons_come_back_each_year_and_years_do_not(year, later):
    torch.testing.assert_close(season_of(torch.tensor([year])), season_of(torch.tensor([year + later])), rtol=0,
                               atol=2e-2)
    exact = torch.tensor([year, year + later], dtype=torch.float64)
    torch.testing.assert_close(season_of(exact)[0], season_of(exact)[1], rtol=0, atol=1e-10)


def test_season_can_be_left_out():
    made = encoder(season=False)
    assert made.width == 32 and made(at(28.5, -81.4, 0.0, 2020.3)).shape == (1, 32)
    whole = encoder()(at(28.5, -81.4, 0.0, 2020.25))[0, -4:]
    torch.testing.assert_close(whole, torch.tensor([0.0, -1, 1, 0], dtype=torch.float64), rtol=0, atol=1e-9)


def test_corners_own_their_entries():
    made = encoder(coordinates="geographic")
    # Latitude, elevation and year 0 lie on corners of every level, and so does longitude 0.
    corner = made(at(0.0, 0.0, 0.0, 0.0))[0, :-4].reshape(4, 4, 2)
    entries = made.entries(at(0.0, 0.0, 0.0, 0.0))[0, :, :, 0]
    assert torch.equal(corner, made.table[entries])


def test_entries_are_spread_evenly():
    r = np.random.default_rng(1)
    place = torch.tensor(np.stack([r.uniform(27, 29, 4_000), r.uniform(-82, -80, 4_000), np.zeros(4_000),
                                   r.uniform(2010, 2025, 4_000)], 1))
    made = PlaceEncoder("tiny", levels=12)
    finest = made.entries(place)[:, -1]
    assert finest.min() >= 0 and made.entries(place).max() < len(made.table)
    for grid in range(4):
        counts = torch.bincount(finest[:, grid].flatten() & 1023, minlength=1024).double()
        assert counts.min() > 0 and counts.std() / counts.mean() < 0.8


def test_sizes_that_make_no_grid_are_refused():
    for wrong in ({"levels": 0}, {"growth": 1.0}, {"base_km": 0.0}, {"features": 0}):
        with pytest.raises(InputError, match="No grid has"):
            PlaceEncoder(**wrong)
    with pytest.raises(InputError, match="no coordinates 'utm'"):
        PlaceEncoder(coordinates="utm")


def test_what_is_predicted_of_a_place_has_no_seam_either():
    x = place_vector(torch.tensor([[28.5, 180.0, 50.0, 2019.0], [28.5, -180.0, 50.0, 2019.0],
                                   [28.5, 180.0, 50.0, 2020 - 1e-9]], dtype=torch.float64))
    torch.testing.assert_close(x[0], x[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(x[0, 5:], x[2, 5:], rtol=0, atol=1e-7)
    torch.testing.assert_close(x[:, :3].norm(dim=1), torch.ones(3, dtype=torch.float64))
    assert x[0, 3] == 0.05 and x[0, 4] == 2019


def test_it_learns_what_depends_on_place_and_season():
    r = np.random.default_rng(2)
    place = torch.tensor(np.stack([r.uniform(27, 29, 700), r.uniform(-82, -80, 700), np.zeros(700),
                                   r.uniform(2012, 2025, 700)], 1))
    truth = (torch.sin(4 * place[:, 0]) + torch.cos(5 * place[:, 1]) + torch.cos(2 * math.pi * place[:, 3])).float()
    torch.manual_seed(0)
    grid = PlaceEncoder("tiny")
    network = nn.Sequential(grid, nn.Linear(grid.width, 32), nn.ReLU(), nn.Linear(32, 1))
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        (network(place[:500])[:, 0] - truth[:500]).square().mean().backward()
        optimiser.step()
    with torch.no_grad():
        error = (network(place[500:])[:, 0] - truth[500:]).square().mean()
    assert error < 0.2 * truth.var()
