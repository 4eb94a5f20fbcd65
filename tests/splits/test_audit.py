"""The audit finds every leak that is planted, and nothing where there is none."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_tables import make_table

from groundswell.data.table import SampleTable
from groundswell.splits.audit import Audit, audit_split
from groundswell.splits.make import make_split
from groundswell.splits.parts import EXCLUDED, TEST, TRAIN, VALIDATION
from groundswell.splits.recipe import SplitRecipe

TABLE = make_table([0] * 8 + [1] * 8)
CLEAN = make_split(TABLE, SplitRecipe()).assignment
FOLDED = make_split(TABLE, SplitRecipe(regime="kfold", folds=4)).assignment


def kinds(audit):
    return [finding.kind for finding in audit.findings]


def plant(kind, victim, source):
    """The table with one sample, ``victim``, made to share something with another, ``source``."""
    frame = TABLE.frame
    if kind == "overlap":  # begins at the last time sample of the other one
        stop = int(frame.loc[source, "stop"])
        frame.loc[victim, ["record", "start", "stop"]] = [frame.loc[source, "record"], stop - 1, stop + 1023]
    else:
        frame.loc[victim, kind] = frame.loc[source, kind]
    return SampleTable(frame, TABLE.classes)


def test_a_clean_split_passes_and_says_what_was_looked_at():
    for assignment in (CLEAN, FOLDED, CLEAN[:, 0]):
        audit = audit_split(TABLE, assignment)
        assert audit.passed and audit.findings == () and audit.unchecked == {}
        assert audit.checked == ("group", "event", "record", "content", "overlap")
    assert audit.summary() == ["Not shared between parts (96 samples, 1 fold): groups, events, records, content, "
                               "overlaps."]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["group", "event", "record", "content", "overlap"]), st.sampled_from([CLEAN, FOLDED]), st.data())
def test_a_planted_leak_of_each_kind_is_found_and_named(kind, assignment, data):
    fold = data.draw(st.integers(0, assignment.shape[1] - 1))
    first, second = data.draw(st.permutations([TRAIN, VALIDATION, TEST]))[:2]
    has_event = (TABLE.column("event") != "").to_numpy()
    victim = data.draw(st.sampled_from(list(np.flatnonzero((assignment[:, fold] == first) & has_event))))
    source = data.draw(st.sampled_from(list(np.flatnonzero((assignment[:, fold] == second) & has_event))))
    audit = audit_split(plant(kind, victim, source), assignment)
    assert not audit.passed
    # A window that moves into another record leaks that record, too, and may lie in its way there.
    allowed = {kind, "overlap"} if kind == "record" else {kind, "record"} if kind == "overlap" else {kind}
    assert kind in kinds(audit) and set(kinds(audit)) <= allowed
    finding = next(f for f in audit.findings if f.kind == kind)
    assert fold in finding.folds
    if kind == "overlap":
        assert finding.count >= 1 and "overlaps" in finding.examples[0]
    else:
        assert finding.count == 1 and str(TABLE.column(kind)[source]) in finding.examples[0]
    assert any(finding.sentence(audit.folds) == line for line in audit.summary())


def test_a_shared_value_in_different_folds_only_is_no_leak():
    table = make_table([0, 1])
    row = np.repeat([0, 1], 6)
    assignment = np.stack([np.where(row == 0, TRAIN, TEST), np.where(row == 0, TEST, TRAIN)], axis=1).astype(np.int8)
    assert audit_split(table, assignment).passed


def test_excluded_samples_share_nothing():
    table = make_table([0])
    assignment = np.array([TRAIN, TRAIN, EXCLUDED, EXCLUDED, EXCLUDED, EXCLUDED], np.int8)
    assert audit_split(table, assignment).passed
    assignment[-1] = TEST
    assert kinds(audit_split(table, assignment)) == ["group", "event", "record"]


def test_ranges_that_only_touch_do_not_overlap():
    frame = pd.DataFrame({"sample_id": ["a", "b", "c"], "record": "r", "label": 0, "group": "g",
                          "start": [0, 100, 199], "stop": [100, 200, 300]})
    def found(assignment):
        audit = audit_split(SampleTable(frame, ("x",)), np.array(assignment, np.int8))
        return [(f.count, f.examples) for f in audit.findings if f.kind == "overlap"]
    assert found([TRAIN, TEST, TEST]) == []
    assert found([TRAIN, TRAIN, TEST]) == [(1, ("'c' (test) overlaps 'b' (train)",))]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-5, 20), st.integers(0, 9), st.integers(0, 3)), min_size=1,
                max_size=25))
def test_overlaps_are_those_that_comparing_every_pair_finds(rows):
    record, start, length, part = (np.array(column) for column in zip(*rows, strict=True))
    frame = pd.DataFrame({"sample_id": np.arange(len(rows)).astype(str), "record": [f"r{k}" for k in record],
                          "label": 0, "group": np.arange(len(rows)).astype(str), "start": start,
                          "stop": start + length})
    audit = audit_split(SampleTable(frame, ("x",)), part.astype(np.int8))
    expected = any(
        record[i] == record[j] and part[i] != part[j] and part[i] > 0 and part[j] > 0 and min(length[i], length[j]) > 0
        and start[i] < start[j] + length[j] and start[j] < start[i] + length[i]
        for i in range(len(rows)) for j in range(i))
    assert ("overlap" in kinds(audit)) == expected


def test_what_cannot_be_checked_is_said():
    frame = TABLE.frame.drop(columns=["start", "stop", "event"]).assign(content="")
    audit = audit_split(SampleTable(frame, TABLE.classes), CLEAN)
    assert audit.passed and audit.checked == ("group", "record")
    assert audit.unchecked == {"event": "the table has no column 'event'", "content": "the column 'content' is empty",
                               "overlap": "the table has no column 'start' and no 'stop'"}
    assert "Not checked: content (the column 'content' is empty)." in audit.summary()


def test_empty_and_missing_values_are_no_values():
    frame = TABLE.frame
    frame["event"] = ""
    frame["content"] = pd.Series([None] * (len(frame) - 1) + ["x"], dtype=object)
    frame["start"] = frame["start"].astype("Int64")
    frame.loc[frame.index[:90], "start"] = pd.NA
    audit = audit_split(SampleTable(frame, TABLE.classes), CLEAN)
    assert audit.passed and audit.checked == ("group", "record", "content", "overlap")
    assert list(audit.unchecked) == ["event"]


def test_an_audit_survives_json():
    audit = make_split(TABLE, SplitRecipe(regime="ungrouped")).audit
    assert not audit.passed
    assert Audit.from_json(audit.to_json()) == audit
    assert audit.to_json()["passed"] is False and audit.to_json()["summary"] == audit.summary()
    assert all(len(finding.examples) == 5 for finding in audit.findings)


def test_sentences_are_sentences():
    table = plant("content", int(np.flatnonzero(CLEAN[:, 0] == TEST)[0]), int(np.flatnonzero(CLEAN[:, 0] == TRAIN)[0]))
    sentence = audit_split(table, CLEAN).summary()[0]
    assert sentence.startswith("1 piece of content is in more than one part, for example content '")
    assert sentence.endswith("' in train and test.")
    ungrouped = make_split(TABLE, SplitRecipe(regime="ungrouped")).audit.summary()
    assert ungrouped[0].startswith("15 groups are in more than one part, for example group 'group000' in train")
    folded = audit_split(table, FOLDED).summary()[0]
    assert " of 4 folds, for example content '" in folded and folded.endswith(".")


def test_an_assignment_that_is_none_is_refused():
    for wrong in (CLEAN[:-1], np.full(len(TABLE), 5, np.int8), np.full(len(TABLE), -1, np.int8)):
        with pytest.raises(ValueError, match="does not go with a table of 96 rows"):
            audit_split(TABLE, wrong)


def test_a_million_samples_are_audited_in_seconds():
    n = 1_000_000
    index = np.arange(n)
    frame = pd.DataFrame({"sample_id": index.astype(str), "record": (index // 200).astype(str), "label": index % 2,
                          "group": (index // 1000).astype(str), "event": (index // 1000).astype(str),
                          "start": index % 200 * 512, "stop": index % 200 * 512 + 1024, "content": index.astype(str)})
    frame.loc[778_777, "content"] = "5"
    table = SampleTable(frame, ("a", "b"))
    assignment = (1 + (index // 1000) % 3).astype(np.int8)
    began = time.process_time()
    audit = audit_split(table, assignment)
    seconds = time.process_time() - began
    assert kinds(audit) == ["content"] and audit.findings[0].count == 1
    assert seconds < 5, f"{seconds:.1f} s"
