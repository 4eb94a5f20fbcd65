"""Windows become events by the stated rule, and nothing but the table says what an event is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from event_world import CLASSES, make_table
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from groundswell.core.errors import InputError
from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.units import aggregate, groups_of, groups_of_units, units_of


def table_of(rows: list[tuple], classes=CLASSES) -> SampleTable:
    frame = pd.DataFrame(rows, columns=["sample_id", "label", "group", "event"]).assign(record="r")
    return SampleTable(frame, classes)


SMALL = table_of([("a", 0, "g", "x"), ("b", 2, "g", "x"), ("c", 1, "h", "y"), ("d", None, "h", "y"), ("e", 2, "n", "")])


def test_truth_of_an_event_is_its_label_that_is_not_noise():
    units = units_of(SMALL)
    assert (units.level, units.names.tolist(), units.truth.tolist()) == ("event", ["x", "y"], [0, 1])
    assert units.of_row.tolist() == [0, 0, 1, 1, -1]
    assert units.classes == ("earthquake", "quarry_blast")
    assert units.group.tolist() == ["g", "h"]


def test_without_events_the_group_is_the_unit():
    table = SMALL.replaced(event="")
    assert units_of(table).level == "group"
    assert units_of(table).names.tolist() == ["g", "h", "n"]
    assert units_of(table).truth.tolist() == [0, 1, -1]


def test_one_event_of_two_classes_is_refused_by_name():
    with pytest.raises(InputError, match="'x' has samples of more than one class"):
        units_of(table_of([("a", 0, "g", "x"), ("b", 1, "g", "x")]))


def predictions(probability, ids="abcde", classes=CLASSES, fold=0):
    return Predictions.of(list(ids), np.zeros(len(ids), int), np.asarray(probability), classes, fold=fold)


P = [[0.6, 0.2, 0.2], [0.0, 0.1, 0.9], [0.3, 0.7, 0.0], [0.5, 0.4, 0.1], [0.2, 0.2, 0.6]]


def test_average_weighs_each_window_by_how_much_it_hears():
    found = aggregate(predictions(P), SMALL)
    assert found.sample_id.tolist() == ["x", "y"] and found.truth.tolist() == [0, 1]
    assert found.probability == pytest.approx(np.array([[0.6 / 0.9, 0.3 / 0.9], [0.8 / 1.9, 1.1 / 1.9]]))


def test_vote_gives_a_windows_weight_to_its_winner():
    found = aggregate(predictions(P), SMALL, "vote")
    assert found.probability == pytest.approx(np.array([[0.8 / 0.9, 0.1 / 0.9], [0.9 / 1.9, 1.0 / 1.9]]))


def test_an_event_that_nothing_was_heard_of_is_undecided():
    found = aggregate(predictions([[0.0, 0.0, 1.0]] * 5), SMALL)
    assert found.probability.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_classes_without_noise_are_averaged_plainly():
    found = aggregate(predictions([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.4, 0.6], [1.0, 0.0]], classes=CLASSES[:2]),
                      SMALL)
    assert found.probability == pytest.approx(np.array([[0.7, 0.3], [0.3, 0.7]]))


def test_an_event_tested_in_two_folds_has_one_answer_and_no_fold():
    both = Predictions.concatenate([predictions(P[:1], "a", fold=0), predictions(P[1:4], "bcd", fold=1)])
    found = aggregate(both, SMALL)
    assert found.sample_id.tolist() == ["x", "y"] and found.fold.tolist() == [-1, 1]


def test_members_of_an_ensemble_answer_for_themselves():
    parts = [Predictions.of(list("abcd"), [0, 2, 1, -1], P[:4], CLASSES, member=m) for m in ("one", "two")]
    found = aggregate(Predictions.concatenate(parts), SMALL)
    assert list(zip(found.sample_id, found.member, strict=True)) == [("x", "one"), ("x", "two"), ("y", "one"),
                                                                    ("y", "two")]


def test_nothing_but_noise_leaves_no_units():
    found = aggregate(predictions(P[4:], "e"), SMALL)
    assert len(found) == 0 and found.probability.shape == (0, 2)


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.float64, (24, 3), elements=st.floats(0, 1)), st.sampled_from(["average", "vote"]), st.randoms())
def test_answers_are_probabilities_whatever_the_order_of_windows(raw, method, random):
    table = make_table(4, 6)
    probability = (raw + 1e-9) / (raw + 1e-9).sum(1, keepdims=True)
    given_order = Predictions.of(table.column("sample_id"), table.labels(), probability, CLASSES)
    found = aggregate(given_order, table, method)
    assert found.probability.min() >= 0 and found.probability.sum(1) == pytest.approx(np.ones(4))
    shuffled = list(range(24))
    random.shuffle(shuffled)
    again = aggregate(given_order.take(np.array(shuffled)), table, method)
    assert again.sample_id.tolist() == found.sample_id.tolist()
    assert again.probability == pytest.approx(found.probability)


def test_groups_are_those_of_the_table():
    table = SMALL.replaced(group=["g", "g", "g", "g", "n"])  # two events in one group
    assert groups_of(predictions(P), table).tolist() == [0, 0, 0, 0, 1]
    assert groups_of_units(aggregate(predictions(P), table), table).tolist() == [0, 0]
