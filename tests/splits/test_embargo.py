"""The audit finds every gap between two parts that is shorter than the embargo, whatever the record."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_tables import gaps_days, make_timed_table

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.evaluate.controls import resplit
from groundswell.splits.audit import Audit, audit_split
from groundswell.splits.make import make_split
from groundswell.splits.manifest import SplitManifest
from groundswell.splits.parts import EXCLUDED, TEST, TRAIN
from groundswell.splits.recipe import SplitRecipe

YEARS = make_timed_table([(10.0 * k, k % 2, range(2)) for k in range(60)])
BLOCKS = make_split(YEARS, SplitRecipe(regime="blocks"))


def kinds(audit):
    return [finding.kind for finding in audit.findings]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9), st.integers(0, 4), st.integers(0, 4)), min_size=1,
                max_size=20), st.sampled_from([0.0, 1.0, 3.0, 3.5, 7.0]))
def test_short_gaps_are_those_that_comparing_every_pair_finds(rows, embargo):
    day, length, *parts = (np.array(column) for column in zip(*rows, strict=True))
    begin = pd.Timestamp("2003-01-01", tz="UTC") + pd.to_timedelta(day, unit="D")
    table = SampleTable(pd.DataFrame({
        "sample_id": np.arange(len(rows)).astype(str), "record": np.arange(len(rows)).astype(str), "label": 0,
        "group": np.arange(len(rows)).astype(str), "time": begin,
        "time_end": begin + pd.to_timedelta(length, unit="D")}), ("x",))
    assignment = np.stack(parts, axis=1).astype(np.int8)
    audit = audit_split(table, assignment, embargo)
    gap = gaps_days(table)
    between = [gap[(part[:, None] != part) & (part[:, None] > 0) & (part > 0)] for part in assignment.T]
    assert ("embargo" in kinds(audit)) == any((found < embargo).any() for found in between)
    smallest = min((found.min() for found in between if len(found)), default=None)
    assert audit.smallest_gap_days == (None if smallest is None else max(0, smallest))
    for finding in audit.findings:
        assert finding.folds == tuple(k for k, found in enumerate(between) if (found < embargo).any())


def test_a_planted_sample_within_the_embargo_is_found_and_named():
    frame, part = YEARS.frame, BLOCKS.assignment[:, 1]
    source, victim = BLOCKS.rows(TEST, 1)[-2], BLOCKS.rows(TRAIN, 1)[0]
    frame.loc[victim, "time"] = frame.loc[source, "time_end"] + pd.Timedelta(days=12.5)
    frame.loc[victim, "time_end"] = frame.loc[victim, "time"] + pd.Timedelta(days=2)
    audit = audit_split(SampleTable(frame, YEARS.classes), part, 30.0)
    assert kinds(audit) == ["embargo"] and audit.findings[0].count == 1 and audit.smallest_gap_days == 12.5
    first, second = frame["sample_id"][victim], frame["sample_id"][source]
    assert audit.findings[0].examples == (f"'{first}' (train) begins 12.5 days after '{second}' (test) has ended",)


@pytest.mark.parametrize(("gap_days", "line"), [
    (3.0, "1 sample begins within the embargo after one of another part, for example 'b' (test) begins 3.0 days after "
          "'a' (train) has ended."),
    (-1.0, "1 sample begins within the embargo after one of another part, for example 'b' (test) begins before 'a' "
           "(train) ends."),
    (30.0, "Embargo kept: parts lie at least 30.0 days apart in time (30 are asked for).")])
def test_the_summary_is_sentences(gap_days, line):
    begin = pd.Timestamp("2003-01-01", tz="UTC") + pd.to_timedelta([0, 7 + gap_days], unit="D")
    table = SampleTable(pd.DataFrame({"sample_id": ["a", "b"], "record": ["a", "b"], "group": ["a", "b"], "label": 0,
                                      "time": begin, "time_end": begin + pd.Timedelta(days=7)}), ("x",))
    summary = audit_split(table, np.array([TRAIN, TEST], np.int8), 30.0).summary()
    assert line in summary
    assert "Not shared between parts (2 samples, 1 fold): groups, records." in summary


def test_a_split_in_blocks_says_what_it_kept_and_survives_json_and_the_file(tmp_path):
    assert BLOCKS.settings["smallest_gap_days"] == BLOCKS.audit.smallest_gap_days == 38.0
    assert "Embargo kept: parts lie at least 38.0 days apart in time (30 are asked for)." in BLOCKS.audit.summary()
    assert Audit.from_json(BLOCKS.audit.to_json()) == BLOCKS.audit
    BLOCKS.write(tmp_path)
    read = SplitManifest.read(tmp_path, YEARS)
    assert read.audit == BLOCKS.audit and read.settings == BLOCKS.settings


def test_an_audit_written_before_there_were_embargoes_can_be_read():
    facts = make_split(YEARS, SplitRecipe(regime="kfold")).audit.to_json()
    without = {key: value for key, value in facts.items() if not key.endswith("_days")}
    assert Audit.from_json(without) == Audit.from_json(facts)


def test_a_control_that_relabels_keeps_the_embargo():
    table = YEARS.replaced(label=YEARS.labels()[::-1])
    assert resplit(BLOCKS, table, BLOCKS.assignment).audit == BLOCKS.audit
    moved = np.where(BLOCKS.assignment == EXCLUDED, TRAIN, BLOCKS.assignment)
    again = resplit(BLOCKS, table, moved)
    assert kinds(again.audit) == ["embargo"] and again.settings["smallest_gap_days"] == 8.0


def test_only_blocks_ask_for_an_embargo_and_without_times_it_is_not_checked():
    grouped = make_split(YEARS, SplitRecipe(regime="kfold")).audit
    assert "embargo" not in (*grouped.checked, *grouped.unchecked) and grouped.smallest_gap_days is None
    bare = audit_split(SampleTable(YEARS.frame.drop(columns="time"), YEARS.classes), BLOCKS.assignment, 30.0)
    assert bare.unchecked["embargo"] == "the table has no column 'time'" and "embargo" not in bare.checked
    empty = audit_split(YEARS.replaced(time=None), BLOCKS.assignment, 30.0)
    assert empty.unchecked["embargo"] == "the column 'time' is empty"


def test_times_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="end before they start"):
        audit_split(YEARS.replaced(time_end=YEARS.column("time") - pd.Timedelta(days=1)), BLOCKS.assignment, 30.0)


def test_continuous_records_may_be_divided_but_not_overlap():
    table = make_timed_table([(10.0 * k, k % 2, range(2)) for k in range(60)], records="station")
    audit = audit_split(table, BLOCKS.assignment, 30.0)
    assert audit.passed and audit.unchecked == {"record": "records are continuous and may be divided in time"}
    assert "record" in kinds(audit_split(SampleTable(table.frame, table.classes), BLOCKS.assignment, 30.0))
    frame = table.frame
    victim, source = BLOCKS.rows(TEST)[0], BLOCKS.rows(TRAIN)[0]
    frame.loc[victim, ["record", "start", "stop"]] = frame.loc[source, ["record", "start", "stop"]].tolist()
    found = audit_split(SampleTable(frame, table.classes, origin=table.origin), BLOCKS.assignment, 30.0)
    assert kinds(found) == ["overlap"]


def test_a_million_samples_are_audited_in_seconds():
    n = np.arange(1_000_000)
    begin = pd.Timestamp("1950-01-01", tz="UTC") + pd.to_timedelta(n * 30, unit="min")
    table = SampleTable(pd.DataFrame({"sample_id": n.astype(str), "record": n.astype(str), "label": 0,
                                      "group": n.astype(str), "time": begin,
                                      "time_end": begin + pd.Timedelta(days=7)}), ("x",))
    part = np.where(n < 400_000, TRAIN, np.where(n < 402_000, EXCLUDED, TEST)).astype(np.int8)
    began = time.process_time()
    audit = audit_split(table, part, 30.0)
    seconds = time.process_time() - began
    assert audit.passed and audit.smallest_gap_days == pytest.approx((2001 * 30 - 7 * 1440) / 1440)
    assert seconds < 5, f"{seconds:.1f} s"
