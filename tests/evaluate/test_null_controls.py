"""Controls that must not be able to do the job cannot, and one that can is found out."""

from __future__ import annotations

import numpy as np
import pytest
from event_world import CLASSES, logistic_fit, make_split, make_table, pooled_fit
from sklearn.neighbors import KNeighborsClassifier

from groundswell.core.errors import FailureError, InputError
from groundswell.evaluate.controls import (
    MAJORITY,
    PERMUTED,
    ControlRun,
    learning_rows,
    majority,
    permuted_labels,
    run_controls,
)
from groundswell.evaluate.evaluation import evaluate
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.evaluate.units import units_of
from groundswell.splits.manifest import TEST, TRAIN, VALIDATION, SplitManifest

QUICK = EvaluateRecipe(bootstrap=200)


def scored(table, manifest, control, runner, fit=logistic_fit):
    found = evaluate(fit(table, manifest), table, QUICK, controls=run_controls([(control, runner)], table, manifest))
    return found.controls[0]


@pytest.mark.parametrize("folds", [5, 40])
def test_majority_scores_the_majority_rate_even_with_one_event_left_out(folds):
    table = make_table(40)
    found = scored(table, make_split(table, folds), MAJORITY, majority)
    assert found.scores.accuracy.value == found.scores.majority_rate == 0.5
    assert found.scores.metrics["roc_auc"].value == 0.5
    assert (found.verdict.state, found.verdict.beaten) == ("inside", True)


def test_majority_names_the_most_frequent_class_of_events_not_of_windows():
    table = make_table(11)  # six earthquakes, five blasts, and noise in most windows
    manifest = make_split(table, 3)
    predictions = majority(table, manifest).predictions
    assert set(predictions.predicted) == {0} and len(predictions) == len(table)


def test_permutation_deals_the_classes_of_whole_events_and_leaves_noise():
    table = make_table(40)
    manifest = make_split(table)
    seen = {}

    def fit(other, split):
        seen["table"], seen["split"] = other, split
        return logistic_fit(other, split)

    outcome = permuted_labels(fit, 7)(table, manifest)
    before, after = table.labels(), seen["table"].labels()
    assert (after[before == 2] == 2).all() and (after[before != 2] != 2).all()
    truth, dealt = units_of(table).truth, units_of(seen["table"]).truth  # refuses an event of two classes
    assert np.bincount(truth).tolist() == np.bincount(dealt).tolist()
    assert (truth == dealt).mean() == 0.5  # as independent of the truth as can be
    assert seen["split"].table_fingerprint == seen["table"].fingerprint != table.fingerprint
    assert np.array_equal(seen["split"].assignment, manifest.assignment)
    assert outcome.table is seen["table"] and outcome.also["against the true classes"] is table


def test_dealt_classes_tell_nothing_within_any_part_either():
    table = make_table(60)
    manifest = make_split(table)
    dealt = {}
    permuted_labels(lambda other, split: dealt.update(table=other) or logistic_fit(other, split))(table, manifest)
    truth, new, of_row = units_of(table).truth, units_of(dealt["table"]).truth, units_of(table).of_row
    for fold in range(5):
        for part in (TRAIN, TEST):
            rows = np.unique(of_row[manifest.rows(part, fold)])
            assert abs((truth[rows] == new[rows]).mean() - 0.5) <= 0.17


def test_permuted_labels_stay_near_the_majority_rate_where_nothing_leaks():
    runs = []
    for seed in range(10):
        table = make_table(40, seed=seed)
        runs.append(scored(table, make_split(table), PERMUTED, permuted_labels(logistic_fit, seed)))
    assert [run.verdict.state for run in runs].count("above") <= 1  # by chance one in forty
    assert np.mean([run.scores.accuracy.value for run in runs]) == pytest.approx(0.5, abs=0.08)
    assert all(run.also["against the true classes"].method == "wilson" for run in runs)


def test_permuted_labels_find_a_leak():
    """Each event has a signature of its own. Split by window, the nearest neighbour knows it again, dealt or not."""
    table = make_table(40, skill=0.0)
    event = np.array([int(name[2:]) for name in table.column("event")])
    signature = np.random.default_rng(5).normal(size=(40, 4))[event]
    signature = np.c_[signature, 10.0 * (table.labels() == 2)]

    def fit(other, split):
        return pooled_fit(other, split, signature, lambda: KNeighborsClassifier(1))

    clean = scored(table, make_split(table), PERMUTED, permuted_labels(fit), fit)
    leaking = scored(table, make_split(table, grouped=False), PERMUTED, permuted_labels(fit), fit)
    assert clean.verdict.state != "above"
    assert leaking.verdict.state == "above" and leaking.scores.accuracy.value > 0.9
    assert "the split leaks" in leaking.verdict.sentence


def test_one_class_cannot_be_permuted():
    table = make_table(6)
    table = table.take(np.isin(table.labels(), [0, 2]) & (units_of(table).truth[units_of(table).of_row] == 0))
    manifest = SplitManifest.of(table, np.full((len(table), 1), TEST, np.int8), "grouped", 1, {})
    run, = run_controls([(PERMUTED, permuted_labels(logistic_fit))], table, manifest)
    assert run.outcome is None and "only one class" in run.why_not


def test_a_control_that_cannot_run_becomes_a_reason_and_one_that_breaks_is_named():
    table = make_table(10)
    manifest = make_split(table, 2)

    def impossible(table, manifest):
        raise InputError("The records do not say when they begin")

    def broken(table, manifest):
        raise FailureError("No space left on the device", fix="Free some")

    lines = []
    runs = run_controls([(MAJORITY, impossible)], table, manifest, lines.append)
    assert runs == [ControlRun(MAJORITY, None, "The records do not say when they begin.")]
    assert lines == ["Control: majority"]
    found = evaluate(logistic_fit(table, manifest), table, QUICK, controls=runs)
    assert found.controls[0].verdict.state == "not run"
    assert any("do not say when they begin" in line for line in found.not_measured)
    assert "The control 'majority' was not run. The records do not say when they begin." in found.conclusion
    with pytest.raises(FailureError, match="The control 'majority' failed: No space left"):
        run_controls([(MAJORITY, broken)], table, manifest)


def test_what_a_control_learns_from_is_never_tested():
    table = make_table(20)
    manifest = make_split(table)
    for fold in range(5):
        taught = learning_rows(manifest, fold)
        assert not np.isin(taught, manifest.rows(TEST, fold)).any()
        assert len(taught) == len(manifest.rows(TRAIN, fold)) + len(manifest.rows(VALIDATION, fold))
    assert table.classes == CLASSES
