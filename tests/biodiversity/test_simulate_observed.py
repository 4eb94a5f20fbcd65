"""Simulated observation tables: as many as were asked for, where and when they were, in patches, and repeatable."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.biodiversity.observations import checked, observation_table
from groundswell.pipelines.biodiversity.simulate.effects import season_rad
from groundswell.pipelines.biodiversity.simulate.observed import FIRST_ID, simulate_observations
from groundswell.pipelines.biodiversity.simulate.recipe import SimulateRecipe
from groundswell.splits.nearest import nearest_m, unit_vectors


def table_of(observed=None, **knobs) -> pd.DataFrame:
    return simulate_observations(build_recipe(SimulateRecipe, {**knobs, "observed": observed or {}}))


@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(0, 300), st.integers(0, 2**40), st.floats(0, 4), st.floats(-80, 80),
       st.floats(-180, 180))
def test_any_table_has_its_count_its_species_and_places_on_the_earth(species, more, seed, spread, latitude, longitude):
    count = 2 * species + more
    frame = table_of({"abundance_spread": spread, "latitude": latitude, "longitude": longitude}, count=count,
                     species=species, seed=seed)
    again = checked(frame.copy(), "simulated")
    assert len(again) == count and again["taxon_name"].nunique() == species
    assert again["taxon_name"].value_counts().min() >= 2
    assert again["gbif_id"].tolist() == list(range(FIRST_ID, FIRST_ID + count))
    assert again["year"].between(2012, 2025).all() and not again["has_vision"].eq(False).any()
    assert len(observation_table(again, group="observer")) == count


def test_the_same_recipe_gives_the_same_table_and_another_seed_another():
    pd.testing.assert_frame_equal(table_of(), table_of())
    assert not table_of(seed=1)["latitude"].equals(table_of(seed=2)["latitude"])


def test_places_lie_in_the_region_and_observations_about_their_spot():
    frame = table_of({"extent_km": 40.0, "places": 30, "spot_m": 25.0})
    middle = nearest_m(frame["latitude"], frame["longitude"], [28.5], [-81.4])
    assert middle.max() < 20_000 * np.sqrt(2) + 200
    near = nearest_m(frame["latitude"], frame["longitude"], frame["latitude"], frame["longitude"], k=2)[:, 1]
    assert np.median(near) < 10


def test_no_species_exceeds_the_cap_and_the_count_stays():
    counts = table_of({"most_per_species": 80, "abundance_spread": 2.0})["taxon_name"].value_counts()
    assert counts.max() == 80 and counts.sum() == 3000


def test_species_that_cannot_have_so_many_observations_are_refused():
    for observed, knobs, text in (({}, {"count": 30}, "40 species of at least 2 observations each do not make 30"),
                                  ({"most_per_species": 3}, {}, "at most 3 .* do not make 3000")):
        with pytest.raises(InputError, match=text):
            table_of(observed, **knobs)


def test_days_lie_between_the_first_and_the_last():
    frame = table_of({"first_day": "2020-03-01", "last_day": "2020-03-03"}, count=200)
    assert set(zip(frame["year"], frame["month"], frame["day"], strict=True)) == {(2020, 3, k) for k in (1, 2, 3)}


def alike(frame: pd.DataFrame) -> float:
    """Share of observations whose nearest one elsewhere, beyond 300 m, is of their species."""
    where = 6_371_000 * unit_vectors(frame["latitude"], frame["longitude"])
    metres = np.linalg.norm(where[:, None] - where[None], axis=2)
    name = frame["taxon_name"].to_numpy()
    return float((name[np.where(metres < 300, np.inf, metres).argmin(axis=1)] == name).mean())


def test_neighbours_are_of_one_species_where_species_grow_in_patches_and_by_chance_where_they_do_not():
    knobs = {"abundance_spread": 0.0, "flowering": 0.0, "extent_km": 30.0}
    assert alike(table_of({**knobs, "patchiness": 2.5}, count=1500, species=20)) > 0.15
    assert alike(table_of({**knobs, "patchiness": 0.0}, count=1500, species=20)) == pytest.approx(0.05, abs=0.02)


def test_species_have_a_season_where_they_flower_and_none_where_they_do_not():
    def concentration(flowering: float) -> float:
        frame = table_of({"flowering": flowering, "patchiness": 0.0}, count=2000, species=10)
        wave = pd.Series(np.exp(1j * season_rad(frame)))
        return float(wave.groupby(frame["taxon_name"]).mean().abs().mean())

    assert concentration(0.0) < 0.15 < 0.4 < concentration(2.0)


def test_visits_have_several_observations_of_one_observer_some_at_the_very_same_spot():
    frame = checked(table_of({"same_spot": 0.5}), "simulated")
    table = observation_table(frame, group="place_day").frame
    shared = table.groupby("group")["sample_id"].transform("size") > 1
    assert 0.15 < shared.mean() < 0.6
    assert (table[shared].groupby("group")["observer"].nunique() == 1).all()
