"""Leaving places out: every sample is tested once, and nothing is learnt from its surroundings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from place_tables import apart_m, make_places

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.splits import buffered
from groundswell.splits.cells import cells_of
from groundswell.splits.parts import TEST, TRAIN, VALIDATION
from groundswell.splits.recipe import SplitRecipe
from groundswell.splits.spatial import divide_spatially


def recipe_of(**keys):
    return build_recipe(SplitRecipe, {"regime": "buffered", "buffer_m": 1000.0, **keys})


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from([0, 2, 5]), st.sampled_from(["cells", "groups"]),
       st.sampled_from([10.0, 2000.0]))
def test_every_sample_is_tested_once_and_its_surroundings_are_not_learnt_from(seed, folds, leave_out, metres):
    table = make_places(150, seed, groups=12 if leave_out == "groups" else 0)
    try:
        division = divide_spatially(table, recipe_of(folds=folds, leave_out=leave_out, buffer_m=metres, seed=seed,
                                                     cell_km=20.0))
    except InputError:
        assume(False)
    parts, far, groups = division.assignment, apart_m(table), table.groups()
    assert ((parts == TEST).sum(axis=1) == 1).all()
    for part in parts.T:
        train, validation, test = (part == code for code in (TRAIN, VALIDATION, TEST))
        assert train.any() and validation.any() and test.any()
        assert far[np.ix_(train, test | validation)].min() > metres - 1e-3
        assert far[np.ix_(validation, test)].min() > metres - 1e-3
        assert not set(groups[test]) & set(groups[train | validation])
    assert len(division.settings["left_out_by_buffer"]) == parts.shape[1]


def test_each_cell_or_group_has_a_fold_of_its_own_where_that_is_asked_for():
    table = make_places(200, 1, groups=7)
    cells = cells_of(table.column("latitude"), table.column("longitude"), "squares", km=30, level=0)
    by_cell = divide_spatially(table.replaced(group=table.column("sample_id")), recipe_of(folds=0, cell_km=30.0))
    assert by_cell.assignment.shape[1] == len(np.unique(cells))
    for part in by_cell.assignment.T:
        assert len(np.unique(cells[part == TEST])) == 1
    by_group = divide_spatially(table, recipe_of(folds=0, leave_out="groups", buffer_m=1.0))
    assert by_group.assignment.shape[1] == 7


def test_dealt_folds_hold_about_as_many_samples_each():
    division = divide_spatially(make_places(2000, 2, spread_km=150.0), recipe_of(folds=4))
    assert np.allclose((division.assignment == TEST).mean(axis=0), 0.25, atol=0.03)


def test_more_folds_than_can_be_kept_are_refused(monkeypatch):
    monkeypatch.setattr(buffered, "_MOST_CODES", 1000)
    with pytest.raises(InputError, match="too many to keep"):
        divide_spatially(make_places(200, 1), recipe_of(folds=0))
