"""Divisions by cells: a distance between the parts, no value in two of them, and the same in any order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from place_tables import AROUND, apart_m, make_places, places_of, shuffled

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.data.table import SampleTable
from groundswell.splits.cells import cells_of, surrounded
from groundswell.splits.make import make_split
from groundswell.splits.manifest import SplitManifest
from groundswell.splits.parts import EXCLUDED, TEST, TRAIN, VALIDATION
from groundswell.splits.places import Places
from groundswell.splits.recipe import SplitRecipe
from groundswell.splits.spatial import divide_places, divide_spatially

KINDS = [{"cells": "squares", "cell_km": 10.0}, {"cells": "h3", "cell_level": 5}, {"cells": "healpix", "cell_level": 9}]


def recipe_of(**keys):
    return build_recipe(SplitRecipe, {"regime": "spatial", **keys})


def cells_by(table, recipe):
    return cells_of(table.column("latitude"), table.column("longitude"), recipe.cells, km=recipe.cell_km,
                    level=recipe.cell_level)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from(AROUND), st.sampled_from(KINDS), st.sampled_from([0.0, 500.0, 4000.0]))
def test_no_sample_is_learnt_from_within_the_buffer_of_a_test_and_none_is_lost_for_less(seed, around, kind, metres):
    table, recipe = make_places(120, seed, around), recipe_of(buffer_m=metres, seed=seed, **kind)
    try:
        division = divide_spatially(table, recipe)
    except InputError:
        assume(False)
    part, far = division.assignment[:, 0], apart_m(table)
    train, validation, test, out = (part == code for code in (TRAIN, VALIDATION, TEST, EXCLUDED))
    assert (train | validation | test | out).all() and train.any() and validation.any() and test.any()
    if metres:
        assert far[np.ix_(train, test | validation)].min() > metres - 1e-3
        assert far[np.ix_(validation, test)].min() > metres - 1e-3
        near = far[np.ix_(out, test | validation)].min(axis=1, initial=np.inf) <= metres + 1e-3
        tied = table.column("group").isin(table.column("group")[test | validation])[out]
        assert (near | tied).all()
    # Cells are never divided: what is left of one is in one part.
    cells = cells_by(table, recipe)
    for cell in np.unique(cells[~out]):
        assert len(np.unique(part[(cells == cell) & ~out])) == 1
    counts = division.settings["left_out_by_buffer"]
    assert sum(counts.values()) + sum(division.settings["left_out_by_ties"].values()) == out.sum()


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([
    {"buffer_m": 1000.0}, {"cells": "h3", "cell_level": 5}, {"interior": True, "cell_km": 20.0, "test": 0.05,
                                                               "validation": 0.05},
    {"regime": "temporal", "test_from": "2022-01-01", "match_months": True},
    {"regime": "spatiotemporal", "test_from": "2021-01-01", "buffer_m": 500.0},
    {"regime": "buffered", "buffer_m": 500.0}, {"regime": "buffered", "buffer_m": 50.0, "leave_out": "groups"}]))
def test_the_order_of_the_rows_changes_nothing_and_neither_does_asking_again(seed, keys):
    table, recipe = make_places(300, seed, groups=100 if keys.get("leave_out") else 0), recipe_of(**keys)
    other, order = shuffled(table, seed)
    try:
        division = divide_spatially(table, recipe)
    except InputError:
        with pytest.raises(InputError):
            divide_spatially(other, recipe)
        return
    again = divide_spatially(other, recipe)
    assert (again.assignment == division.assignment[order]).all()
    assert again.settings == division.settings
    if division.stratum is not None:
        assert (again.stratum == division.stratum[order]).all()


def test_shares_are_met_and_seeds_draw_other_cells():
    table = make_places(4000, 0, spread_km=150.0)
    one, other = (divide_spatially(table, recipe_of(seed=seed)).assignment[:, 0] for seed in (1, 2))
    assert np.allclose(np.bincount(one, minlength=4)[1:] / 4000, (0.7, 0.2, 0.1), atol=0.02)
    assert (one != other).mean() > 0.2


def test_arrays_alone_are_divided_as_the_table_is():
    table, recipe = make_places(500, 5), recipe_of(buffer_m=500.0)
    plain = divide_places(places_of(table), recipe)
    assert (plain.assignment == divide_spatially(table, recipe).assignment).all()


def test_cells_that_share_a_visit_are_dealt_together_and_lose_nothing():
    table = make_places(600, 3, spread_km=80.0)
    # A hundred observers of six samples each, neighbours along a line: bundles of some cells.
    along = np.argsort(np.argsort(table.column("longitude").to_numpy(), kind="stable")) // 2
    table = table.replaced(observer=[f"o{k}" if k % 9 == 0 else "" for k in along])
    recipe = recipe_of(together=["observer"], cell_km=5)
    division = divide_spatially(table, recipe)
    assert division.settings["bundles_of_cells"] is not None
    assert (division.assignment != EXCLUDED).all()
    seen = pd.DataFrame({"observer": table.column("observer"), "part": division.assignment[:, 0]})
    assert (seen[seen["observer"] != ""].groupby("observer")["part"].nunique() == 1).all()
    assert (seen[seen["observer"] != ""].groupby("observer").size() > 1).any()


def test_observers_who_went_everywhere_leave_training_where_they_are_tested():
    table = make_places(900, 4, spread_km=80.0)
    observers = np.random.default_rng(0).integers(0, 60, 900)
    table = table.replaced(observer=np.where(np.arange(900) % 5 == 0, "", np.char.add("o", observers.astype(str))))
    division = divide_spatially(table, recipe_of(together=["observer"], test=0.02, validation=0.02))
    part = division.assignment[:, 0]
    assert division.settings["bundles_of_cells"] is None
    assert division.settings["left_out_by_ties"]["train"] > 0
    frame = pd.DataFrame({"observer": table.column("observer"), "part": part})
    frame = frame[(frame["observer"] != "") & (frame["part"] != EXCLUDED)]
    assert (frame.groupby("observer")["part"].nunique() == 1).all()
    assert ((part == TRAIN) & (table.column("observer") == "").to_numpy()).any()


@pytest.mark.parametrize("keys", [{"buffer_m": 500.0}, {"regime": "temporal", "test_from": "2022-01-01"},
                                  {"regime": "spatiotemporal", "test_from": "2021-01-01", "cell_km": 20.0},
                                  {"regime": "buffered", "buffer_m": 500.0}])
def test_the_audit_finds_nothing_shared_and_the_manifest_can_be_read_again(keys, tmp_path):
    # Groups that lie all over: nothing but leaving samples out keeps them from two parts.
    table = make_places(800, 8, groups=400, spread_km=80.0)
    recipe = recipe_of(**{"test": 0.05, "validation": 0.05, **keys})
    manifest = make_split(table, recipe)
    assert manifest.audit.passed and "group" in manifest.audit.checked
    manifest.write(tmp_path)
    assert (SplitManifest.read(tmp_path, table).assignment == manifest.assignment).all()


def test_only_cells_inside_the_data_are_tested_where_that_is_asked_for():
    chance = np.random.default_rng(1)
    frame = pd.DataFrame({"sample_id": np.arange(4000).astype(str), "record": "r", "label": chance.integers(0, 3, 4000),
                          "group": np.arange(4000).astype(str), "latitude": chance.uniform(28, 29, 4000),
                          "longitude": chance.uniform(-82, -81, 4000)})
    table = SampleTable(frame.assign(record=frame["sample_id"]), ("a", "b", "c"))
    recipe = recipe_of(interior=True)
    division = divide_spatially(table, recipe)
    part, cells = division.assignment[:, 0], cells_by(table, recipe)
    inside = surrounded(cells, np.unique(cells), "squares", km=10, level=0)
    assert inside[(part == TEST) | (part == VALIDATION)].all() and not inside[part == TRAIN].all()
    assert division.settings["tested_cells_inside"] == 1
    assert divide_spatially(table, recipe_of()).settings["tested_cells_inside"] < 1
    with pytest.raises(InputError, match="on all sides"):
        divide_spatially(table, recipe_of(interior=True, cell_km=1.0))


def test_classes_that_are_tested_can_be_learnt_where_any_draw_lets_them():
    table = make_places(1500, 9, classes=60, spread_km=100.0)
    part, labels = divide_spatially(table, recipe_of(cell_km=20)).assignment[:, 0], table.labels()
    unknown = ~np.isin(labels, labels[part == TRAIN])
    assert unknown.mean() < 0.01


def changed(table, **columns):
    frame = table.frame
    for name, value in columns.items():
        if value is None:
            frame = frame.drop(columns=name)
        else:
            frame.loc[7, name] = value
    return SampleTable(frame, table.classes)


@pytest.mark.parametrize(("change", "keys", "words"), [
    ({"latitude": None}, {}, "no column 'latitude'"),
    ({"longitude": np.nan}, {}, "s00007.* nan"),
    ({"latitude": 91.0}, {}, "s00007"),
    ({"longitude": 181.0}, {}, "-180 to 180"),
    ({"longitude": np.inf}, {}, "longitude"),
    ({}, {"buffer_m": 1e6}, "part is empty"),
    ({}, {"cell_km": 5000.0}, "too few"),
    ({}, {"together": ["observer"]}, "no column 'observer'"),
    ({"time": None}, {"regime": "temporal", "test_from": "2020-01-01"}, "no times"),
    ({"time": pd.NaT}, {"regime": "temporal", "test_from": "2020-01-01"}, "s00007"),
    ({}, {"regime": "temporal", "test_from": "2030-01-01"}, "2014-01-.* to 2023"),
    ({}, {"regime": "temporal", "test_from": "2010-01-01"}, "no sample before"),
    ({}, {"regime": "spatiotemporal", "test_from": "2023-10-01"}, "unseen place, future"),
    ({}, {"regime": "buffered", "buffer_m": 10.0, "cell_km": 5000.0}, "fewer than folds"),
    ({}, {"regime": "buffered", "buffer_m": 1e6}, "of fold 1 is empty"),
])
def test_what_cannot_be_divided_is_refused_in_a_paragraph(change, keys, words):
    with pytest.raises(InputError, match=words):
        divide_spatially(changed(make_places(200, 1), **change), recipe_of(**keys))


def test_nothing_and_one_class_cannot_be_divided():
    table = make_places(200, 1)
    with pytest.raises(InputError, match="no samples"):
        divide_spatially(table.take(np.zeros(200, bool)), recipe_of())
    with pytest.raises(InputError, match="one class"):
        divide_spatially(table.replaced(label=0), recipe_of())
    unlabelled = divide_spatially(table.replaced(label=pd.array([pd.NA] * 200, "Int64")), recipe_of())
    assert (unlabelled.assignment == TRAIN).any()


def test_arrays_of_different_lengths_are_no_places():
    with pytest.raises(ValueError, match="different numbers"):
        Places(np.zeros(3), np.zeros(3), np.zeros(2, np.int64))


@pytest.mark.parametrize(("keys", "words"), [
    ({"regime": "grouped", "buffer_m": 1000.0}, "buffer_m"), ({"regime": "published", "together": ["a"]}, "together"),
    ({"test_from": "2020-01-01"}, "test_from"), ({"regime": "temporal"}, "needs test_from"),
    ({"regime": "temporal", "test_from": "1.1.2025"}, "2025-01-01"), ({"regime": "buffered"}, "buffer_m"),
    ({"folds": 1}, "2 folds"), ({"folds": 0}, "2 folds"), ({"cells": "h3", "cell_level": 16}, "0 to 15"),
    ({"space": "feature"}, "knndm"), ({"holdout": 0.1}, "holdout"), ({"by": "station"}, "by=station"),
    ({"validation": 0.6, "test": 0.5}, "nothing to train on"), ({"together": ["a", "a"]}, "each once"),
    ({"leave_out": "groups"}, "buffered"), ({"match_months": True}, "temporal or spatiotemporal"),
])
def test_keys_that_the_regime_would_not_keep_are_refused(keys, words):
    with pytest.raises(InputError, match=words):
        recipe_of(**keys)
