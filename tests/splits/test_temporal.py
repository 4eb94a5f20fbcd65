"""Past and future, in seen places and in others: what is learnt from lies before, and what is called unseen is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from place_tables import apart_m, make_places

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.data.table import SampleTable
from groundswell.splits.cells import cells_of
from groundswell.splits.make import make_split
from groundswell.splits.parts import EXCLUDED, TEST, TRAIN, VALIDATION
from groundswell.splits.recipe import SplitRecipe
from groundswell.splits.spatial import divide_spatially
from groundswell.splits.temporal import STRATA


def recipe_of(regime="temporal", **keys):
    return build_recipe(SplitRecipe, {"regime": regime, "test_from": "2021-07-01", **keys})


def times_of(table):
    return table.column("time").dt.tz_localize(None).to_numpy()


@given(st.integers(0, 10_000), st.floats(0.05, 0.9))
def test_learning_is_before_choosing_and_choosing_before_testing(seed, share):
    table = make_places(200, seed)
    part, times = divide_spatially(table, recipe_of(validation=share)).assignment[:, 0], times_of(table)
    assert ((part == TEST) == (times >= np.datetime64("2021-07-01"))).all() and (part != EXCLUDED).all()
    assert times[part == TRAIN].max() < times[part == VALIDATION].min() <= times[part == VALIDATION].max()
    past = (part != TEST).sum()
    assert abs((part == VALIDATION).sum() - share * past) <= 3


def test_months_that_only_one_side_has_are_in_no_part():
    table = make_places(2000, 1)
    times = table.column("time").dt
    future_spring = (times.year < 2021) | (times.month <= 5)
    table = table.take(((times.year < 2022) & future_spring & (times.month != 2)).to_numpy() | (
        (times.year >= 2021) & (times.month == 2)).to_numpy())
    division = divide_spatially(table, recipe_of(test_from="2021-01-01", match_months=True))
    part, month = division.assignment[:, 0], table.column("time").dt.month.to_numpy()
    assert set(month[part == TEST]) == {1, 3, 4, 5} == set(month[(part == TRAIN) | (part == VALIDATION)])
    assert division.settings["matched_months"] == [1, 3, 4, 5]
    lost = division.settings["left_out_by_months"]
    assert lost["future"] == (month[times_of(table) >= np.datetime64("2021-01-01")] == 2).sum() > 0
    assert lost["past"] + lost["future"] == (part == EXCLUDED).sum()
    with pytest.raises(InputError, match="No month"):
        winter = table.take((month == 1) & (times_of(table) < np.datetime64("2021-01-01")) | (
            (month == 4) & (times_of(table) >= np.datetime64("2021-01-01"))))
        divide_spatially(winter, recipe_of(test_from="2021-01-01", match_months=True))


def test_the_date_may_have_an_hour_and_a_zone():
    table = make_places(100, 2)
    there = table.column("time").dt.tz_localize(None).sort_values().iloc[60]
    just = divide_spatially(table, recipe_of(test_from=f"{there:%Y-%m-%d}T02:00:00+02:00")).assignment[:, 0]
    after = divide_spatially(table, recipe_of(test_from=f"{there:%Y-%m-%d}T00:00:01")).assignment[:, 0]
    on_that_day = times_of(table) == there.to_numpy()
    assert (just[on_that_day] == TEST).all() and not (after[on_that_day] == TEST).any()


def test_a_past_of_one_moment_cannot_be_divided():
    table = make_places(50, 3)
    times = np.where(np.arange(50) < 30, np.datetime64("2020-01-01"), np.datetime64("2022-01-01"))
    with pytest.raises(InputError, match="one moment"):
        divide_spatially(table.replaced(time=times), recipe_of())


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 500.0, 3000.0]), st.sampled_from([5.0, 15.0]), st.booleans())
def test_places_are_seen_or_unseen_as_they_are_called(seed, metres, km, match):
    table = make_places(400, seed)
    recipe = recipe_of("spatiotemporal", buffer_m=metres, cell_km=km, seed=seed, match_months=match)
    try:
        division = divide_spatially(table, recipe)
    except InputError:
        assume(False)
    part, stratum, far = division.assignment[:, 0], division.stratum, apart_m(table)
    past = times_of(table) < np.datetime64("2021-07-01")
    cells = cells_of(table.column("latitude"), table.column("longitude"), "squares", km=km, level=0)
    train, validation, test = (part == code for code in (TRAIN, VALIDATION, TEST))
    assert past[train | validation].all()
    assert ((stratum != "") == test).all() and set(stratum[test]) == set(STRATA)
    assert (np.char.endswith(stratum[test].astype(str), "past") == past[test]).all()
    seen = np.char.startswith(stratum.astype(str), "seen")
    assert np.isin(cells[seen], cells[train]).all() and not np.isin(cells[test & ~seen], cells[train]).any()
    if metres:
        unseen = test & ~seen
        assert far[np.ix_(train, unseen | validation)].min() > metres - 1e-3
        assert far[np.ix_(validation, unseen)].min(initial=np.inf) > metres - 1e-3
    assert not set(cells[validation]) & set(cells[train | test])
    groups = table.groups()
    assert not set(groups[test]) & set(groups[train | validation])


def test_a_share_of_the_visits_to_seen_places_is_held_out_whole():
    table = make_places(3000, 5, groups=800, spread_km=30.0)
    # Groups of one cell and of the past, as visits are.
    cells = cells_of(table.column("latitude"), table.column("longitude"), "squares", km=10, level=0)
    past = (times_of(table) < np.datetime64("2021-07-01")).astype(int).astype(str)
    table = table.replaced(group=[f"{c}/{p}/{g[-1]}" for c, p, g in zip(cells, past, table.groups(), strict=True)])
    division = divide_spatially(table, recipe_of("spatiotemporal", test=0.2))
    part, stratum = division.assignment[:, 0], division.stratum
    held = stratum == "seen place, past"
    assert held.sum() / (held.sum() + (part == TRAIN).sum()) == pytest.approx(0.2, abs=0.02)
    assert division.settings["left_out_by_ties"] == {"train": 0, "validation": 0}
    assert division.settings["strata"] == {name: int((stratum == name).sum()) for name in STRATA}


def test_a_place_first_visited_in_the_future_is_unseen_or_left_out():
    table = make_places(1500, 6, spread_km=60.0)
    frame = table.frame
    # Two spots where nobody went in the past: one far from all others, one a step from where many went.
    busy = frame.loc[0, ["latitude", "longitude"]].to_numpy(float)
    late = frame.iloc[:40].copy()
    late["latitude"], late["longitude"] = [40.0] * 20 + [busy[0] + 0.011] * 20, [-81.4] * 20 + [busy[1]] * 20
    late["sample_id"], late["record"] = [f"late{k}" for k in range(40)], [f"late{k}" for k in range(40)]
    late["group"], late["time"] = [f"late{k}" for k in range(40)], pd.Timestamp("2022-05-05", tz="UTC")
    both = SampleTable(pd.concat([frame, late]), table.classes)
    kinds = set()
    for seed in range(6):
        division = divide_spatially(both, recipe_of("spatiotemporal", buffer_m=2000.0, cell_km=1.0, seed=seed))
        part, stratum = division.assignment[-40:, 0], division.stratum[-40:]
        kinds |= set(zip(part[:20].tolist(), stratum[:20].tolist(), strict=True))
        assert not (stratum[20:] == "seen place, future").any()
    # The far one is unseen, or of a validation cell and in no part; never seen.
    assert kinds <= {(TEST, "unseen place, future"), (EXCLUDED, "")} and (TEST, "unseen place, future") in kinds


def test_the_manifest_keeps_the_strata():
    manifest = make_split(make_places(600, 7), recipe_of("spatiotemporal", buffer_m=300.0))
    assert manifest.stratum is not None and set(manifest.stratum) == {*STRATA, ""}
    assert manifest.settings["strata"]["unseen place, future"] > 0
