"""An evaluation says what was found, in files a person and a program can read."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from event_world import logistic_fit, make_split, make_table, validation_fit

from groundswell.data.predictions import Predictions
from groundswell.evaluate.controls import MAJORITY, PERMUTED, Control, Outcome, majority, permuted_labels, run_controls
from groundswell.evaluate.evaluation import evaluate
from groundswell.evaluate.figures import read_epochs, write_history
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.evaluate.units import units_of

QUICK = EvaluateRecipe(bootstrap=200)


@pytest.fixture(scope="module")
def world():
    table = make_table(40, skill=1.5)
    return table, make_split(table)


@pytest.fixture(scope="module")
def evaluation(world):
    table, manifest = world
    runs = run_controls([(MAJORITY, majority), (PERMUTED, permuted_labels(logistic_fit))], table, manifest)
    return evaluate(logistic_fit(table, manifest), table, QUICK, validation=validation_fit(table, manifest),
                    controls=runs, not_measured=["How it does on another cable."])


def oracle(table, share_right, kind="rival"):
    """A control that gives the true answer for a share of the events, and the wrong one for the rest."""
    units = units_of(table)
    right = np.arange(len(units)) < round(share_right * len(units))
    answer = np.where(right, units.truth, 1 - units.truth)[units.of_row]
    probability = np.eye(3)[answer]
    predictions = Predictions.of(table.column("sample_id"), table.labels(), probability, table.classes)
    control = Control("oracle", "the oracle", kind, "Knows the answer.", "An oracle", "the answer", "it was told.")
    return control, lambda table, manifest: Outcome(predictions, table)


def test_everything_is_scored_at_both_levels(evaluation, world):
    assert (evaluation.units.level, evaluation.units.samples) == ("event", 40)
    assert evaluation.windows.samples == len(world[0]) == 480
    assert evaluation.folds == (0, 1, 2, 3, 4) and len(evaluation.temperatures) == 5
    assert evaluation.units.classes == ("earthquake", "quarry_blast")
    assert evaluation.note == {"simulated": True}
    right = sum(row["right"] for row in evaluation.answers)
    assert evaluation.units.accuracy.value == right / 40
    assert f"{right} of 40 events are classified correctly" in evaluation.conclusion[0]
    assert {row["fold"] for row in evaluation.answers} == {1, 2, 3, 4, 5}
    assert {row["windows"] for row in evaluation.answers} == {12}


def test_a_temperature_changes_no_score_but_calibration(evaluation, world):
    table, manifest = world
    without = evaluate(logistic_fit(table, manifest), table, QUICK)
    assert without.units == evaluation.units and without.windows == evaluation.windows
    assert without.calibration["windows"].before == evaluation.calibration["windows"].before
    assert without.calibration["windows"].after is None and evaluation.calibration["windows"].after is not None
    assert any("no validation predictions were given" in line for line in without.not_measured)
    assert any("Controls: none was run" in line for line in without.not_measured)


def test_what_is_missing_is_said(evaluation):
    assert "Performance on real records: the data are simulated." in evaluation.not_measured
    assert evaluation.not_measured[-1] == "How it does on another cable."


def test_the_files_are_there_and_hold_the_numbers(evaluation, tmp_path):
    paths = evaluation.write(tmp_path)
    assert all(path.stat().st_size > 100 for path in paths)
    names = {str(path.relative_to(tmp_path)) for path in paths}
    assert names == {"metrics.json", "test_results.json", "classification_report.txt", "confusion_matrix.png",
                     "figures/confusion_matrix.png", "figures/roc.png", "figures/precision_recall.png",
                     "figures/calibration.png", "figures/controls.png"}
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["units"]["metrics"]["accuracy"]["value"] == evaluation.units.accuracy.value
    assert [c["name"] for c in metrics["controls"]] == ["majority", "permuted_labels"]
    assert metrics["controls"][0]["verdict"] == "inside"
    assert len(metrics["answers"]) == 40 and metrics["settings"]["confidence"] == 0.95
    results = json.loads((tmp_path / "test_results.json").read_text())
    assert set(results) == {"accuracy", "precision", "recall", "f1", "roc_auc"}
    assert results["recall"] == pytest.approx(results["accuracy"])  # weighted recall is accuracy
    text = (tmp_path / "classification_report.txt").read_text()
    assert "40 events of 40 groups" in text and "480 windows of 40 groups" in text
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in names if name.endswith("png"))


def test_the_same_evaluation_writes_the_same_bytes(evaluation, tmp_path):
    for place in ("one", "two"):
        evaluation.write(tmp_path / place)
    for path in (tmp_path / "one").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


@pytest.mark.parametrize(("share", "words", "beaten"), [
    (1.0, "The rival the oracle is better than the model", False),
    (0.0, "The model is better than the rival the oracle", True),
    (0.7, "cannot be told apart", False),
])
def test_a_rival_is_compared_on_the_same_events(share, words, beaten):
    table = make_table(40, skill=0.8)
    manifest = make_split(table)
    found = evaluate(logistic_fit(table, manifest), table, QUICK,
                     controls=run_controls([oracle(table, share)], table, manifest))
    control = found.controls[0]
    assert words in control.verdict.sentence and control.verdict.beaten is beaten
    assert control.difference.value == pytest.approx(found.units.accuracy.value - share)
    assert control.verdict.sentence in found.conclusion


def test_a_null_control_that_does_the_job_is_called_out_even_where_the_model_is_better(world):
    table, manifest = world
    perfect_predictions = oracle(table, 1.0)[1](table, manifest).predictions
    cheat = run_controls([oracle(table, 0.75, "null")], table, manifest)
    found = evaluate(perfect_predictions, table, QUICK, controls=cheat)
    assert found.controls[0].verdict.state == "above" and found.controls[0].verdict.beaten
    assert "An oracle reaches 0.750" in found.conclusion[2] and "it was told." in found.conclusion[2]
    assert "part of its score comes from elsewhere" in found.conclusion[2]
    poor = evaluate(oracle(table, 0.7)[1](table, manifest).predictions, table, QUICK, controls=cheat)
    assert "does not lie above the upper bound of: the oracle" in poor.conclusion[1]
    assert "does not show that the model knows more than the answer" in poor.conclusion[2]


def test_a_reason_for_a_leaking_split_stays_beside_the_numbers(world):
    table, manifest = world
    given = dataclasses.replace(logistic_fit(table, manifest), note={"allow_leakage": "to compare with 2019"})
    found = evaluate(given, table, QUICK)
    assert found.to_dict()["note"] == {"simulated": True, "allow_leakage": "to compare with 2019"}


def test_a_test_part_without_events_has_no_score_and_says_so(world, tmp_path):
    table = world[0]
    noise = table.take(table.labels() == 2).replaced(event="", group="quiet")
    predictions = Predictions.of(noise.column("sample_id"), noise.labels(), np.full((len(noise), 3), 1 / 3),
                                 noise.classes)
    found = evaluate(predictions, noise, QUICK, validation=predictions)
    assert found.units.accuracy.value is None and found.conclusion == ["There is no score: nothing was scored."]
    assert found.windows.metrics["roc_auc"].value is None
    found.write(tmp_path)  # JSON without nan, pictures without data
    assert json.loads((tmp_path / "metrics.json").read_text())["units"]["majority_rate"] is None


LOG = ("epoch,train_loss,val_loss,train_accuracy,val_accuracy,learning_rate\n"
       "1,1.0,1.1,0.5,0.5,0.001\n2,0.5,,0.7,0.6,0.001\n")


def test_training_history_is_drawn_from_the_logs(tmp_path):
    (tmp_path / "epochs.csv").write_text(LOG)
    columns = read_epochs(tmp_path / "epochs.csv")
    assert columns["epoch"] == [1, 2] and np.isnan(columns["val_loss"][1])
    assert write_history({"fold 1": tmp_path / "epochs.csv"}, tmp_path / "training_history.png")
    assert (tmp_path / "training_history.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "empty.csv").write_text(LOG.splitlines()[0] + "\n")
    assert not write_history({"fold 1": tmp_path / "empty.csv"}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize("text", ["epoch,train_loss\n1,high\n", "a,b\n1,2\n", "\xff"])
def test_a_log_that_is_none_is_named(tmp_path, text):
    from groundswell.core.errors import InputError

    (tmp_path / "epochs.csv").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"log of epochs .*epochs\.csv"):
        read_epochs(tmp_path / "epochs.csv")
