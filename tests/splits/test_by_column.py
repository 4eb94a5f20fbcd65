"""Folds by the values of a column test each value whole, and learn from nothing that is tied to a tested sample."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_tables import make_timed_table

from groundswell.core.errors import InputError, RefusedError
from groundswell.data.table import SampleTable
from groundswell.splits.audit import require_clean
from groundswell.splits.make import make_split
from groundswell.splits.parts import EXCLUDED, HOLDOUT, TEST, TRAIN, VALIDATION
from groundswell.splits.recipe import SplitRecipe


@st.composite
def worlds(draw):
    """Events at one to three of six stations; windows of one station may overlap, and some events are one group."""
    count = draw(st.integers(40, 70))
    days = np.cumsum(draw(st.lists(st.integers(1, 4), min_size=count, max_size=count)))
    copies = draw(st.lists(st.sampled_from([1, 1, 1, 2]), min_size=count, max_size=count))
    table = make_timed_table([(float(day), k % 2, [(k // 2 + c) % 6 for c in range(n)]) for k, (day, n) in
                              enumerate(zip(days, copies, strict=True))],
                             records=draw(st.sampled_from(["event", "station"])))
    group = table.column("group").replace({"ev0004": "ev0002", "ev0007": "ev0003"})
    return table.replaced(group=group)


recipes = st.builds(SplitRecipe, regime=st.sampled_from(["kfold", "leave_one_out"]), folds=st.integers(2, 6),
                    by=st.just("station"), seed=st.integers(0, 2**31), holdout=st.sampled_from([0.0, 0.15]))


def tied(table):
    """Which samples share a group, event, record, content or stretch of a record, the plain way; shape (n, n)."""
    continuous = table.origin["continuous_records"]
    record, start, stop = (table.column(name).to_numpy() for name in ("record", "start", "stop"))
    found = (record[:, None] == record) & (start[:, None] < stop) & (start < stop[:, None])
    for name in ("group", "event", "content", *(() if continuous else ("record",))):
        values = table.column(name).to_numpy()
        found |= values[:, None] == values
    return found


def check(table, recipe, manifest):
    ties, labels = tied(table), table.labels()
    held = manifest.assignment[:, 0] == HOLDOUT
    assert held.any() == bool(recipe.holdout)
    for part in manifest.assignment.T:
        assert ((part == HOLDOUT) == held).all()
        gone = ties[(part == TEST) | held].any(axis=0) & (part != TEST) & ~held
        assert (part[gone] == EXCLUDED).all(), "what is tied to a tested sample is purged"
        assert (part[~gone] != EXCLUDED).all(), "and nothing else is"
        assert set(table.column("station")[part == TEST]).isdisjoint(table.column("station")[np.isin(part, (1, 2))])
        for code in (TRAIN, VALIDATION):
            assert set(labels[part == code]) == {0, 1}, "both classes are learnt from and looked at"
        frame = pd.DataFrame({"group": table.groups(), "part": part})[part > 0]
        assert (frame.groupby("group")["part"].nunique() == 1).all(), "no group straddles"
    tested = (manifest.assignment == TEST).sum(axis=1)
    lost = held | ties[held].any(axis=0)
    assert (tested[~lost] == 1).all() and not tested[lost].any(), "all but the holdout is tested once"
    fold = pd.Series((manifest.assignment == TEST).argmax(axis=1))[tested > 0]
    assert (fold.groupby(table.column("station")[tested > 0]).nunique() == 1).all(), "values are tested whole"
    assert not {"group", "event", "content"} & {finding.kind for finding in manifest.audit.findings}


@settings(max_examples=60, deadline=None)
@given(worlds(), recipes)
def test_what_every_split_by_station_keeps(table, recipe):
    manifest = make_split(table, recipe)
    check(table, recipe, manifest)
    assert (make_split(table, recipe).assignment == manifest.assignment).all()


@settings(max_examples=20, deadline=None)
@given(worlds(), st.integers(0, 99), st.sampled_from([0.0, 0.15]))
def test_the_order_of_rows_changes_nothing(table, seed, holdout):
    shuffled = table.take(np.random.default_rng(seed).permutation(len(table)))
    where = shuffled.positions(table.column("sample_id"))
    recipe = SplitRecipe(regime="leave_one_out", by="station", seed=seed, holdout=holdout)
    assert (make_split(shuffled, recipe).assignment[where] == make_split(table, recipe).assignment).all()


APART = make_timed_table([(5.0 * k, k // 6 % 2, [k % 6]) for k in range(120)], records="station")


def split(table=APART, **options):
    return make_split(table, SplitRecipe(**{"regime": "leave_one_out", "by": "station", **options}))


def test_each_station_is_left_out_once_and_nothing_is_lost():
    manifest = split()
    assert manifest.folds == 6 and manifest.audit.passed and manifest.settings["by"] == "station"
    assert manifest.counts() == [{"train": 80, "validation": 20, "test": 20}] * 6
    assert split(regime="kfold", folds=3).counts() == [{"train": 64, "validation": 16, "test": 40}] * 3


@pytest.mark.parametrize("column", ["group", "event", "content", "record"])
def test_a_tie_of_each_kind_takes_a_sample_out_of_training(column):
    table = SampleTable(APART.frame.assign(record=APART.column("sample_id")), APART.classes)
    source, victim = 0, 7  # of stations 0 and 1
    frame = table.frame
    frame.loc[victim, column] = frame.loc[source, column]
    before, after = split(table).assignment, split(SampleTable(frame, table.classes)).assignment
    assert before[victim, 0] != EXCLUDED and after[victim, 0] == EXCLUDED and after[source, 1] == EXCLUDED
    assert (after == EXCLUDED).sum() == (1 + 1 if column != "group" else 2)


def test_an_overlap_within_a_continuous_record_takes_a_sample_out_of_training():
    frame = APART.frame
    frame.loc[7, ["record", "start", "stop"]] = ["st0", frame.loc[0, "stop"] - 1, frame.loc[0, "stop"] + 100]
    found = split(SampleTable(frame, APART.classes, origin=APART.origin)).assignment == EXCLUDED
    assert np.argwhere(found).tolist() == [[0, 1], [7, 0]]


EVERYWHERE = make_timed_table([(5.0 * k, k % 2, range(3)) for k in range(20)], records="station")


def test_every_event_at_every_station_leaves_nothing_and_the_message_says_why():
    with pytest.raises(InputError, match=r"Fold 1 tests station 'st0', and each of the 40 other samples shares a group"
                                         r".*every event is recorded at every station") as caught:
        split(EVERYWHERE)
    for way_out in ("regime=blocks", "split.by=group", "split.purge=false", "split.allow_leakage"):
        assert way_out in caught.value.fix


def test_without_purging_stations_are_still_apart_and_the_audit_says_what_is_shared():
    manifest = split(EVERYWHERE, purge=False)
    assert manifest.counts() == [{"train": 32, "validation": 8, "test": 20}] * 3
    assert {finding.kind for finding in manifest.audit.findings} == {"group", "event"}
    with pytest.raises(RefusedError, match="20 groups are in more than one part"):
        require_clean(manifest, "")
    groups = EVERYWHERE.groups()
    for fold in range(3):
        assert set(groups[manifest.rows(TRAIN, fold)]).isdisjoint(groups[manifest.rows(VALIDATION, fold)])


def test_too_little_left_is_said_with_numbers():
    table = make_timed_table([(5.0 * k, k % 2, [1] if k < 4 else range(2)) for k in range(40)])
    with pytest.raises(InputError, match=r"Fold 1 tests station 'st0', and the validation.* 4 samples.*36 that were"):
        split(table.replaced(label=[0, 0, 0, 1, *table.labels()[4:].tolist()]))


@pytest.mark.parametrize(("change", "options", "message"), [
    ({}, {"by": "sensor"}, "no column 'sensor' to make folds of.*Use one of: sample_id"),
    ({"station": ["", None] + ["a", "b"] * 59}, {}, "2 sample.s. have no 'station', first 'ev0000-0'"),
    ({"station": "a"}, {}, "leave_one_out by 'station' has 1 value"),
    ({}, {"regime": "kfold", "folds": 7}, "kfold by 'station' has 6 value"),
    ({"label": 0}, {}, "All labelled samples are 'control'"),
])
def test_what_cannot_be_dealt_is_refused(change, options, message):
    with pytest.raises(InputError, match=message) as caught:
        split(SampleTable(APART.frame.assign(**change), APART.classes, origin=APART.origin), **options)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("regime", ["grouped", "ungrouped", "stratified", "blocks"])
def test_by_goes_with_the_regimes_that_deal_values_out(regime):
    with pytest.raises(ValueError, match="by=station goes with regime kfold or leave_one_out"):
        SplitRecipe(regime=regime, by="station")


def test_two_hundred_thousand_samples_are_dealt_in_two_seconds():
    n = np.arange(200_000)
    frame = pd.DataFrame({"sample_id": n.astype(str), "record": (n % 40).astype(str), "label": n // 40 % 2,
                          "group": (n // 2).astype(str), "event": (n // 2).astype(str), "content": n.astype(str),
                          "station": (n % 40).astype(str), "start": n * 10, "stop": n * 10 + 300})
    table = SampleTable(frame, ("control", "event"), origin={"continuous_records": True})
    began = time.process_time()
    manifest = split(table, regime="kfold", folds=10, holdout=0.1)
    seconds = time.process_time() - began
    assert manifest.audit.passed
    assert seconds < 2, f"{seconds:.1f} s"
