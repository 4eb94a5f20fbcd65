"""A holdout is the same in every fold, of every class, and audited like every part; stratified folds are by chance."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_tables import make_table

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.splits.audit import audit_split
from groundswell.splits.make import make_split
from groundswell.splits.manifest import SplitManifest
from groundswell.splits.parts import HOLDOUT, TEST, TRAIN, VALIDATION
from groundswell.splits.recipe import SplitRecipe

BY_GROUP = ("grouped", "kfold", "leave_one_out")
BY_SAMPLE = ("ungrouped", "stratified")
kinds = st.tuples(st.integers(5, 14), st.integers(5, 14), st.integers(2, 6)).map(
    lambda n: [0] * n[0] + [1] * n[1] + [2] * n[2])


def names_of(table, rows):
    return set(table.groups()[rows])


@settings(max_examples=60, deadline=None)
@given(kinds, st.sampled_from(BY_GROUP + BY_SAMPLE), st.sampled_from([0.1, 0.25]), st.integers(0, 2**31))
def test_what_every_holdout_keeps(kinds, regime, share, seed):
    table = make_table(kinds)
    manifest = make_split(table, SplitRecipe(regime=regime, holdout=share, folds=3, seed=seed))
    held = manifest.rows(HOLDOUT)
    wanted = len(table) if regime in BY_SAMPLE else len(kinds)
    size = len(held) if regime in BY_SAMPLE else len(names_of(table, held))
    assert abs(size - share * wanted) <= 3
    assert set(table.labels()[held]) >= {0, 1}
    for fold in range(manifest.folds):
        assert (manifest.rows(HOLDOUT, fold) == held).all(), "no fold ever sees it"
        parts = [manifest.rows(part, fold) for part in (TRAIN, VALIDATION, TEST, HOLDOUT)]
        assert sorted(np.concatenate(parts)) == list(range(len(table))), "every sample is in a part"
        if regime in BY_GROUP:
            assert sum(len(names_of(table, rows)) for rows in parts) == len(kinds), "no group straddles"
    tested = (manifest.assignment == TEST).sum(axis=1)
    assert not tested[held].any()
    if regime not in ("grouped", "ungrouped"):
        assert (np.delete(tested, held) == 1).all()
    assert manifest.audit.passed == (regime in BY_GROUP)
    assert manifest.settings["holdout"] == share and set(manifest.counts()[0]) == {"train", "validation", "test",
                                                                                     "holdout"}


@settings(max_examples=20, deadline=None)
@given(kinds, st.sampled_from(BY_GROUP + BY_SAMPLE), st.sampled_from([0.0, 0.2]), st.integers(0, 99))
def test_the_order_of_rows_changes_nothing(kinds, regime, share, seed):
    table = make_table(kinds)
    shuffled = table.take(np.random.default_rng(seed).permutation(len(table)))
    recipe = SplitRecipe(regime=regime, seed=seed, folds=3, holdout=share)
    where = shuffled.positions(table.column("sample_id"))
    assert (make_split(shuffled, recipe).assignment[where] == make_split(table, recipe).assignment).all()


def test_what_is_shared_with_the_holdout_is_a_leak():
    table = make_table([0] * 6 + [1] * 6)
    manifest = make_split(table, SplitRecipe(regime="kfold", folds=3, holdout=0.2))
    frame = table.frame
    victim, source = manifest.rows(HOLDOUT)[0], manifest.rows(TRAIN)[0]
    frame.loc[victim, "content"] = frame.loc[source, "content"]
    audit = audit_split(SampleTable(frame, table.classes), manifest.assignment)
    assert [finding.kind for finding in audit.findings] == ["content"]
    assert "and holdout of fold 1" in audit.findings[0].examples[0]


def test_a_holdout_survives_the_file_and_is_named_there(tmp_path):
    table = make_table([0] * 6 + [1] * 6)
    made = make_split(table, SplitRecipe(regime="kfold", folds=3, holdout=0.2))
    made.write(tmp_path)
    read = SplitManifest.read(tmp_path, table)
    assert (read.rows(HOLDOUT, 2) == made.rows(HOLDOUT)).all() and read.counts() == made.counts()
    assert made.parts == {TRAIN: "train", VALIDATION: "validation", TEST: "test", HOLDOUT: "holdout"}
    assert HOLDOUT not in make_split(table, SplitRecipe()).parts


def test_too_little_beside_a_holdout_is_said():
    with pytest.raises(InputError, match="at least 5 groups beside the holdout, and there are 4"):
        make_split(make_table([0] * 4 + [1] * 4), SplitRecipe(regime="kfold", holdout=0.5))


# -- folds of single samples -------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(kinds, st.integers(2, 6), st.integers(0, 2**31))
def test_stratified_folds_share_out_each_class_evenly(kinds, folds, seed):
    table = make_table(kinds)
    manifest = make_split(table, SplitRecipe(regime="stratified", folds=folds, seed=seed))
    labels = table.labels()
    assert manifest.folds == folds and ((manifest.assignment == TEST).sum(axis=1) == 1).all()
    for label in range(3):
        counts = [(labels[manifest.rows(TEST, k)] == label).sum() for k in range(folds)]
        assert max(counts) - min(counts) <= 1
        for part in (TRAIN, VALIDATION):
            assert all((labels[manifest.rows(part, k)] == label).any() for k in range(folds))
    validating = [len(manifest.rows(VALIDATION, k)) / len(manifest.rows(TRAIN, k)) for k in range(folds)]
    assert np.allclose(validating, 0.25, atol=0.15)


def test_stratified_folds_leak_unless_every_sample_stands_alone():
    table = make_table([0] * 6 + [1] * 6)
    recipe = SplitRecipe(regime="stratified", folds=3)
    assert {finding.kind for finding in make_split(table, recipe).audit.findings} == {"group", "event", "record",
                                                                                       "overlap"}
    alone = pd.DataFrame({"sample_id": [str(k) for k in range(30)], "record": [str(k) for k in range(30)],
                          "group": [str(k) for k in range(30)], "label": [0, 1] * 15})
    assert make_split(SampleTable(alone, ("a", "b")), recipe).audit.passed


def test_too_few_samples_for_stratified_folds_are_counted_as_samples():
    alone = pd.DataFrame({"sample_id": list("abcd"), "record": "r", "group": "g", "label": [0, 1, 0, 1]})
    with pytest.raises(InputError, match=r"stratified needs at least 5 samples, and there are 4 .a 2, b 2"):
        make_split(SampleTable(alone, ("a", "b")), SplitRecipe(regime="stratified"))


def test_two_hundred_thousand_samples_are_dealt_in_two_seconds():
    n = np.arange(200_000)
    frame = pd.DataFrame({"sample_id": n.astype(str), "record": (n // 4).astype(str), "label": n % 2,
                          "group": (n // 4).astype(str)})
    table = SampleTable(frame, ("a", "b"))
    for regime in ("stratified", "kfold"):
        began = time.process_time()
        make_split(table, SplitRecipe(regime=regime, holdout=0.1))
        seconds = time.process_time() - began
        assert seconds < 2, f"{regime}: {seconds:.1f} s"
