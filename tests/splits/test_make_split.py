"""A split never divides a group, covers every sample, keeps the classes' shares, and says what it cannot do."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_tables import make_table

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.splits.groups import Groups
from groundswell.splits.make import make_split
from groundswell.splits.manifest import TEST, TRAIN, VALIDATION
from groundswell.splits.recipe import SplitRecipe

REGIMES = ("grouped", "kfold", "leave_one_out")
kinds = st.tuples(st.integers(3, 14), st.integers(3, 14), st.integers(0, 6), st.integers(0, 4)).map(
    lambda n: [0] * n[0] + [1] * n[1] + [2] * n[2] + [None] * n[3])


def parts_of_groups(table, assignment):
    frame = pd.DataFrame({"group": table.groups(), "part": assignment}).drop_duplicates()
    assert not frame["group"].duplicated().any(), "a group straddles parts"
    return frame.set_index("group")["part"]


@settings(max_examples=60, deadline=None)
@given(kinds, st.sampled_from(REGIMES), st.integers(0, 2**31), st.randoms(use_true_random=False))
def test_what_every_split_keeps(kinds, regime, seed, random):
    table = make_table(random.sample(kinds, len(kinds)))
    recipe = SplitRecipe(regime=regime, seed=seed, folds=4)
    manifest = make_split(table, recipe)
    assert manifest.audit.passed and manifest.assignment.dtype == np.int8
    groups = Groups.of_table(table)
    for fold in range(manifest.folds):
        column = manifest.assignment[:, fold]
        parts_of_groups(table, column)
        assert np.isin(column, (TRAIN, VALIDATION, TEST)).all(), "every sample is in a part"
        rows = np.concatenate([manifest.rows(part, fold) for part in (TRAIN, VALIDATION, TEST)])
        assert sorted(rows) == list(range(len(table)))
        for part in (TRAIN, VALIDATION) if regime != "grouped" else (TRAIN, VALIDATION, TEST):
            held = set(groups.stratum[np.unique(groups.of_row[manifest.rows(part, fold)])])
            assert {0, 1} <= held, "both classes are learnt from and looked at"
    if regime != "grouped":
        assert ((manifest.assignment == TEST).sum(axis=1) == 1).all(), "every sample is tested exactly once"
    again = make_split(table, recipe)
    assert (again.assignment == manifest.assignment).all()


@settings(max_examples=20, deadline=None)
@given(kinds, st.sampled_from((*REGIMES, "ungrouped")), st.integers(0, 99))
def test_the_order_of_rows_changes_nothing(kinds, regime, seed):
    table = make_table(kinds)
    shuffled = table.take(np.random.default_rng(seed).permutation(len(table)))
    recipe = SplitRecipe(regime=regime, seed=seed, folds=3)
    plain, other = make_split(table, recipe), make_split(shuffled, recipe)
    where = shuffled.positions(table.column("sample_id"))
    assert (other.assignment[where] == plain.assignment).all()


def test_the_seed_data_set_splits_70_20_10_with_both_classes_everywhere():
    table = make_table([0] * 13 + [1] * 6)
    parts = parts_of_groups(table, make_split(table, SplitRecipe()).assignment[:, 0])
    names = [f"group{k:03d}" for k in range(19)]
    earthquakes = np.bincount(parts[names[:13]], minlength=4)[1:].tolist()
    blasts = np.bincount(parts[names[13:]], minlength=4)[1:].tolist()
    assert (earthquakes, blasts) == ([9, 3, 1], [4, 1, 1])


@pytest.mark.parametrize("shares", [(0.2, 0.1), (0.15, 0.15), (0.25, 0.5)])
def test_many_groups_meet_the_shares(shares):
    table = make_table([0] * 130 + [1] * 60 + [2] * 50, windows=2, event_windows=1)
    manifest = make_split(table, SplitRecipe(validation=shares[0], test=shares[1]))
    parts = parts_of_groups(table, manifest.assignment[:, 0])
    got = np.bincount(parts, minlength=4)[1:] / 240
    assert np.allclose(got, (1 - sum(shares), *shares), atol=1.5 / 240)


def test_leave_one_out_tests_each_event_by_itself_and_deals_the_noise():
    table = make_table([0] * 4 + [1] * 3 + [2] * 8)
    manifest = make_split(table, SplitRecipe(regime="leave_one_out"))
    assert manifest.folds == 7
    for fold in range(7):
        tested = set(table.groups()[manifest.rows(TEST, fold)])
        assert f"group{fold:03d}" in tested and len(tested) in (2, 3)
        assert sum(int(name[5:]) < 7 for name in tested) == 1


def test_without_a_single_label_groups_are_still_split():
    table = make_table([None] * 12)
    manifest = make_split(table, SplitRecipe())
    assert [manifest.counts()[0][part] for part in ("train", "validation", "test")] == [54, 12, 6]
    assert make_split(table, SplitRecipe(regime="leave_one_out")).folds == 12


def test_one_event_class_beside_noise_is_two_classes():
    table = make_table([0] * 9)
    assert make_split(table, SplitRecipe()).audit.passed


def test_chance_splits_every_record_and_fails_its_audit():
    table = make_table([0] * 6 + [1] * 6, windows=20)
    manifest = make_split(table, SplitRecipe(regime="ungrouped"))
    assert not manifest.audit.passed
    assert {finding.kind for finding in manifest.audit.findings} == {"group", "event", "record", "overlap"}
    assert manifest.counts() == [{"train": 168, "validation": 48, "test": 24}]


def test_the_class_of_a_group_is_its_commonest_event():
    frame = pd.DataFrame({"sample_id": list("abcdefghijk"), "record": "r",
                          "group": ["one"] * 5 + ["two"] * 2 + ["three"] * 1 + ["four"] * 3,
                          "label": [2, 2, 2, 2, 1, 0, 1, None, 0, 1, 1]})
    groups = Groups.of_table(SampleTable(frame, ("earthquake", "quarry_blast", "noise")))
    # In the order of names: four, one (an event outweighs all noise), three (no label), two (a tie).
    assert groups.stratum.tolist() == [1, 1, -1, 0]
    assert groups.with_event.tolist() == [True, True, False, True]
    assert groups.counts() == {"earthquake": 1, "quarry_blast": 2}
    only_noise = Groups.of_table(SampleTable(frame.assign(label=2), ("earthquake", "quarry_blast", "noise")))
    assert only_noise.stratum.tolist() == [2] * 4 and not only_noise.with_event.any() and only_noise.counts() == {}


@pytest.mark.parametrize(("kinds", "options", "message"), [
    ([0] * 3 + [1] * 3, {"regime": "kfold", "folds": 7}, "at least 7 groups, and there are 6 .earthquake 3"),
    ([0] * 3 + [1] * 3 + [2] * 9, {"regime": "kfold", "folds": 7}, "there are 6"),
    ([0] * 8 + [1] * 2, {}, "at least 3 groups for grouped.*quarry_blast has 2.*leave_one_out"),
    ([0] * 8 + [1], {"regime": "kfold", "folds": 3}, "at least 2 groups for kfold.*quarry_blast has 1"),
    ([0] * 8 + [1], {"regime": "leave_one_out"}, "quarry_blast has 1"),
    ([0, 1], {"regime": "leave_one_out"}, "at least 3 groups, and there are 2"),
    ([0, 0], {}, "at least 3 groups, and there are 2 .earthquake 2"),
    ([], {}, "no samples to split"),
    ([None, None], {}, "at least 3 groups, and there are 2 .none with a label"),
    ([2] * 5, {}, "All labelled samples are 'noise'"),
])
def test_too_little_to_split_is_said_with_counts(kinds, options, message):
    table = make_table(kinds) if kinds else make_table([0]).take(np.array([], np.int64))
    with pytest.raises(InputError, match=message) as caught:
        make_split(table, SplitRecipe(**options))
    assert caught.value.fix and caught.value.exit_status == 2


@pytest.mark.parametrize("regime", [*REGIMES, "ungrouped"])
def test_one_class_only_is_refused(regime):
    table = make_table([0] * 12, noise=False)
    with pytest.raises(InputError, match="All labelled samples are 'earthquake'"):
        make_split(table, SplitRecipe(regime=regime))


def test_noise_of_one_record_alone_cannot_be_tested_and_learnt():
    table = make_table([0] * 4 + [1] * 4 + [2], noise=False)
    for regime in ("kfold", "leave_one_out"):
        with pytest.raises(InputError, match="no sample of 'noise', which 1 of 9 groups hold"):
            make_split(table, SplitRecipe(regime=regime, folds=2))


def test_two_groups_of_each_class_can_be_left_out_one_by_one():
    table = make_table([0, 0, 1, 1])
    manifest = make_split(table, SplitRecipe(regime="leave_one_out"))
    labels = table.labels()
    for fold in range(4):
        assert set(labels[manifest.rows(TRAIN, fold)]) == {0, 1, 2}
    with pytest.raises(InputError, match="nothing is left for the validation part"):
        make_split(table, SplitRecipe(regime="kfold", folds=2))
