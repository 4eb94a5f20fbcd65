"""Folds in time follow one another, each sample is tested once, and the embargo holds between any two parts."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_tables import gaps_days, make_timed_table

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.splits.make import make_split
from groundswell.splits.parts import EXCLUDED, HOLDOUT, PARTS, TEST, TRAIN, VALIDATION
from groundswell.splits.recipe import SplitRecipe


@st.composite
def worlds(draw, steps=(2, 6), events=(44, 70)):
    """Events of two classes in turn, some days apart, each recorded at one to three stations."""
    count = draw(st.integers(*events))
    days = np.cumsum(draw(st.lists(st.integers(*steps), min_size=count, max_size=count)))
    stations = draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
    lengths = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=1, max_size=4))
    return make_timed_table([(float(day), k % 2, range(n)) for k, (day, n) in enumerate(zip(days, stations,
                                                                                            strict=True))],
                            length_days=lengths)


recipes = st.builds(SplitRecipe, regime=st.just("blocks"), folds=st.integers(2, 4), seed=st.integers(0, 2**31),
                    embargo_days=st.sampled_from([0.0, 0.25, 1.0, 4.0, 8.0]), validation=st.sampled_from([0.3, 0.4]),
                    holdout=st.sampled_from([0.0, 0.15]))


def turns(table):
    """Place of each sample's group in time."""
    first = pd.DataFrame({"group": table.groups(), "time": table.column("time")}).groupby("group")["time"].min()
    ranked = first.reset_index().sort_values(["time", "group"])["group"].tolist()
    return np.array([ranked.index(name) for name in table.groups()])


def check(table, recipe, manifest):
    """All that a split into blocks promises, looked at the plain way."""
    gap, labels, turn = gaps_days(table), table.labels(), turns(table)
    start, end = (table.column(name) for name in ("time", "time_end"))
    embargo = pd.Timedelta(days=recipe.embargo_days)
    held, smallest = manifest.assignment[:, 0] == HOLDOUT, np.inf

    def near(part, code):
        rows = part == code
        return ~((end <= start[rows].min() - embargo) | (start >= end[rows].max() + embargo)).to_numpy()

    for part in manifest.assignment.T:
        different = (part[:, None] != part) & (part[:, None] > 0) & (part > 0)
        assert (gap[different] >= recipe.embargo_days - 1e-9).all(), "the embargo holds"
        smallest = min(smallest, gap[different].min())
        frame = pd.DataFrame({"group": table.groups(), "part": part})[part > 0]
        assert (frame.groupby("group")["part"].nunique() == 1).all(), "no group straddles"
        for code in {TRAIN, VALIDATION, TEST} | ({HOLDOUT} if recipe.holdout else set()):
            assert set(labels[part == code]) == {0, 1}, "every class is in every part"
        lost = near(part, TEST) | near(part, VALIDATION) | (near(part, HOLDOUT) if recipe.holdout else False)
        assert not (part[lost] == TRAIN).any() and not (part[~lost] == EXCLUDED).any(), "only the embargo costs samples"
        for code in (TEST, VALIDATION):
            mine = np.unique(turn[part == code])
            between = np.isin(turn, np.arange(mine.min(), mine.max() + 1)) & ~np.isin(turn, mine)
            assert (part[between] == EXCLUDED).all(), "tested and validating samples are each one block of time"
        assert ((part == HOLDOUT) == held).all()
    tested = manifest.assignment == TEST
    assert (tested.sum(axis=1) <= 1).all()
    if recipe.holdout:
        rows = np.flatnonzero(~tested.any(axis=1) & ~held)
        assert near(manifest.assignment[:, 0], HOLDOUT)[rows].all(), "only the holdout and its embargo are not tested"
        assert turn[held].min() > turn[tested.any(axis=1)].max(), "the holdout is the end of the record"
    else:
        assert tested.any(axis=1).all(), "every sample is tested"
    fold = tested.argmax(axis=1)[tested.any(axis=1)]
    assert (np.diff(fold[np.argsort(turn[tested.any(axis=1)], kind="stable")]) >= 0).all(), "blocks follow one another"
    sizes, largest = np.bincount(fold, minlength=recipe.folds), np.unique(turn, return_counts=True)[1].max()
    assert (np.abs(sizes - len(fold) / recipe.folds) <= largest).all(), "blocks are about equally large"
    assert manifest.audit.passed and {"embargo", "group"} <= set(manifest.audit.checked)
    assert manifest.settings["smallest_gap_days"] == pytest.approx(max(0, smallest))


@settings(max_examples=60, deadline=None)
@given(worlds(), recipes)
def test_what_every_split_into_blocks_keeps(table, recipe):
    manifest = make_split(table, recipe)
    check(table, recipe, manifest)
    assert (make_split(table, recipe).assignment == manifest.assignment).all()


@settings(max_examples=60, deadline=None)
@given(worlds(steps=(0, 4), events=(4, 40)), recipes)
def test_where_there_is_too_little_blocks_refuse_and_say_what_to_do(table, recipe):
    try:
        manifest = make_split(table, recipe)
    except InputError as error:
        assert error.exit_status == 2 and "split." in error.where and error.fix
    else:
        check(table, recipe, manifest)


@settings(max_examples=20, deadline=None)
@given(worlds(), recipes, st.integers(0, 99))
def test_the_order_of_rows_changes_nothing(table, recipe, seed):
    shuffled = table.take(np.random.default_rng(seed).permutation(len(table)))
    where = shuffled.positions(table.column("sample_id"))
    assert (make_split(shuffled, recipe).assignment[where] == make_split(table, recipe).assignment).all()


YEARS = make_timed_table([(10.0 * k, k % 2, range(2)) for k in range(100)])


def split(table=YEARS, **options):
    return make_split(table, SplitRecipe(regime="blocks", **options))


def test_the_seed_places_the_validation_and_nothing_else():
    found = [split(seed=seed).assignment for seed in range(8)]
    assert all(((one == TEST) == (found[0] == TEST)).all() for one in found)
    assert len({(one == VALIDATION).tobytes() for one in found}) == 8


def test_a_moment_has_no_length_and_a_gap_of_just_the_embargo_is_enough():
    table = SampleTable(YEARS.frame.drop(columns=["time_end", "start", "stop"]), YEARS.classes)
    for embargo, lost in ((20.0, 2), (20.01, 4)):  # samples at two stations each ten days
        part = split(table, embargo_days=embargo, folds=2).assignment[:, 0]
        assert (part[100:100 + lost] == EXCLUDED).all() and part[100 + lost] != EXCLUDED


def test_an_event_that_lasts_reaches_into_the_next_block():
    frame = YEARS.frame
    frame.loc[78, "time_end"] = frame.loc[78, "time_end"] + pd.Timedelta(days=100)  # of the last group of two blocks
    part = split(SampleTable(frame, YEARS.classes), embargo_days=15).assignment[:, 1]
    assert (part[40:80] == TEST).all() and (part[80:102] == EXCLUDED).all() and part[102] != EXCLUDED
    assert (split(embargo_days=15).assignment[80:104, 1] == EXCLUDED).sum() == 2


def test_one_group_as_large_as_several_blocks_leaves_none_of_them_empty():
    table = make_timed_table([(40.0 * k, k % 2, range(40 if k == 5 else 2)) for k in range(16)])
    with pytest.raises(InputError, match="no sample of"):  # a block of one group has one class
        split(table, folds=4)
    single = SampleTable(table.frame.assign(label=None), table.classes)
    tested = split(single, folds=4).assignment == TEST
    assert (tested.sum(axis=0) > 0).all() and (tested.sum(axis=1) == 1).all()


@pytest.mark.parametrize(("change", "options", "message"), [
    ({}, {"embargo_days": 400}, "In fold 1 of 5 .*400 days.*fewer folds than split.folds=5"),
    ({}, {"embargo_days": 450, "folds": 2}, "In fold 1 of 2 the train"),
    ({}, {"folds": 101}, "at least 101 groups, and there are 100.*split.folds to 100 or less"),
    ({}, {"holdout": 0.97}, "at least 5 groups beside the holdout, and there are 0"),
    ({"label": [0] * 160 + [1] * 40}, {}, "In fold 1 of 5 the test part has no sample of 'event'"),
    ({"label": [0, 1] * 5 + [0] * 190}, {"folds": 2}, "the train part has no sample of 'event'"),
    ({"label": [0, 1] * 80 + [0] * 40}, {"holdout": 0.1}, "Before the folds the holdout part has no sample of 'event'"),
    ({"label": 1}, {}, "All labelled samples are 'event'"),
    ({"time": [None] * 3 + [pd.Timestamp("2003-01-01")] * 197}, {}, "3 sample.s. have no time, first 'ev0000-0'"),
    ({"time_end": pd.Timestamp("2003-01-02", tz="UTC")}, {}, "198 sample.s. end before they start, first 'ev0001-0'"),
    ({"time_end": "soon"}, {}, "A time cannot be read.*time_end"),
])
def test_what_cannot_be_cut_is_refused(change, options, message):
    with pytest.raises(InputError, match=message) as caught:
        split(SampleTable(YEARS.frame.assign(**change), YEARS.classes), **options)
    assert caught.value.exit_status == 2


def test_without_times_there_are_no_blocks():
    with pytest.raises(InputError, match=r"no column 'time'.*regime=kfold"):
        split(SampleTable(YEARS.frame.drop(columns="time"), YEARS.classes))


def test_two_hundred_thousand_samples_are_cut_in_two_seconds():
    days = np.sort(np.random.default_rng(1).uniform(0, 30_000, 50_000))
    n = np.repeat(np.arange(50_000), 4)
    begin = pd.Timestamp("1900-01-01", tz="UTC") + pd.to_timedelta(days[n], unit="D").round("min")
    frame = pd.DataFrame({"sample_id": np.arange(200_000).astype(str), "record": np.arange(200_000).astype(str),
                          "label": n % 2, "group": n.astype(str), "time": begin,
                          "time_end": begin + pd.Timedelta(days=7)})
    table = SampleTable(frame, ("control", "event"))
    began = time.process_time()
    manifest = split(table, holdout=0.1)
    seconds = time.process_time() - began
    assert manifest.audit.passed and set(manifest.counts()[0]) == set(PARTS.values())
    assert seconds < 2, f"{seconds:.1f} s"
