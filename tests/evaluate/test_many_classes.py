"""Hundreds of classes: scores agree with scikit-learn and with the whole confusion matrix, cost little, and are not
claimed of what was hardly tested."""

from __future__ import annotations

import csv
import json
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    balanced_accuracy_score,
    f1_score,
    matthews_corrcoef,
    precision_score,
    recall_score,
    top_k_accuracy_score,
)
from species_world import skilled, species_table, split_by

from groundswell.core.errors import InputError
from groundswell.core.metrics import summary, top_k, weighted_recall
from groundswell.data.predictions import Predictions
from groundswell.evaluate.controls import (
    MAJORITY,
    PERMUTED,
    Control,
    ControlRun,
    Outcome,
    _agreement,
    _agreement_of_many,
    majority,
    permuted_labels,
)
from groundswell.evaluate.evaluation import evaluate
from groundswell.evaluate.figures_many import commonest, ends
from groundswell.evaluate.intervals import bootstrap, sums_by_group
from groundswell.evaluate.metrics import classification_report, score
from groundswell.evaluate.permutation import _statistics, permuted_truths
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.splits.manifest import TRAIN, VALIDATION

QUICK = EvaluateRecipe(bootstrap=200)
RIVAL = Control("probe", "linear probe", "rival", "A straight line.", "A straight line")


def random_predictions(n, classes, seed, skill=1.0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), truth] += skill
    probability = np.exp(logits)
    return Predictions.of([f"s{i}" for i in range(n)], truth, probability / probability.sum(1, keepdims=True),
                          [f"class {k}" for k in range(classes)])


@settings(deadline=None, max_examples=25)
@given(st.integers(5, 150), st.integers(7, 60), st.integers(0, 10**6), st.sampled_from([0.0, 2.0]))
def test_scores_agree_with_scikit_learn(n, classes, seed, skill):
    p = random_predictions(n, classes, seed, skill)
    found = {name: e.value for name, e in score(p, np.arange(n) // 3, QUICK, level="sample").metrics.items()}
    truth, predicted, every = p.truth, p.predicted, np.arange(classes)
    assert found["top5_accuracy"] == pytest.approx(top_k_accuracy_score(truth, p.probability, k=5, labels=every))
    occurring = np.unique(truth)  # scikit-learn warns of predicted classes that do not occur, and then does the same
    assert found["balanced_accuracy"] == pytest.approx(
        recall_score(truth, predicted, labels=occurring, average="macro", zero_division=0))
    if set(predicted) <= set(occurring):
        assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    for name, function in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        for mean in ("macro", "weighted"):
            assert found[f"{name}_{mean}"] == pytest.approx(
                function(truth, predicted, average=mean, zero_division=0)), (name, mean)
    assert found["mcc"] == pytest.approx(matthews_corrcoef(truth, predicted))


def test_three_sums_a_class_give_the_intervals_of_the_whole_matrix():
    p = random_predictions(400, 15, 3)
    group = np.arange(400) // 8
    whole = bootstrap(sums_by_group(group, p.truth * 15 + p.predicted, 225),
                      lambda sums: summary(sums.reshape(-1, 15, 15)), resamples=300, confidence=0.95, seed=4)
    found = score(p, group, EvaluateRecipe(bootstrap=300), level="sample", seed=4).metrics
    for name, estimate in whole.items():
        assert found[name] == estimate, name


def test_equal_probabilities_share_the_places_among_the_five():
    level = np.full((3, 8), 1 / 8)
    assert top_k(level, np.array([0, 3, 7]), 5) == pytest.approx([5 / 8] * 3)  # whatever the order of classes
    certain = np.eye(8)[[2, 2]]
    assert top_k(certain, np.array([2, 6]), 5) == pytest.approx([1, 4 / 7])
    assert top_k(certain, np.array([2, 6]), 1) == pytest.approx([1, 0])


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 9), st.integers(0, 10**6))
def test_a_share_of_places_is_a_share_whatever_the_ties(classes, seed):
    rng = np.random.default_rng(seed)
    probability = rng.integers(1, 4, (20, classes)) / 1.0
    held = np.stack([top_k(probability, np.full(20, c), 2) for c in range(classes)])
    assert (held >= 0).all() and (held <= 1).all()
    assert held.sum(0) == pytest.approx(np.full(20, min(2, classes)))  # two places are dealt out in each sample


def test_weighing_recall_by_prevalence_undoes_the_capping_of_species():
    """In the truth common species are easy; capped at 50 of each they are no longer common. Reweighting finds the
    accuracy among all observations again, plain accuracy does not."""
    rng = np.random.default_rng(0)
    natural = rng.dirichlet(np.full(60, 0.4))
    recall = 0.2 + 0.7 * natural / natural.max()
    goal = float((natural * recall).sum())
    held = 0
    for world in range(40):
        rng = np.random.default_rng(world)
        truth = np.repeat(np.arange(60), np.minimum(50, np.maximum(8, (natural * 5000).astype(int))))
        right = rng.uniform(size=len(truth)) < recall[truth]
        given = np.where(right, truth, (truth + 1) % 60)
        p = Predictions.of([str(i) for i in range(len(truth))], truth, np.eye(60)[given], [str(k) for k in range(60)])
        found = score(p, np.arange(len(truth)), EvaluateRecipe(bootstrap=200), level="sample", seed=world,
                      prevalence=natural).metrics
        weighted, plain = found["prevalence_weighted_accuracy"], found["accuracy"]
        held += weighted.low <= goal <= weighted.high
        assert plain.high < goal
    assert held >= 34  # 95 % intervals


def test_weighted_recall_leaves_untested_classes_out():
    hits, support = np.array([[2.0, 0, 1]]), np.array([[4.0, 0, 1]])
    assert weighted_recall(hits, support, np.array([1.0, 5, 3])) == pytest.approx([(0.5 + 3) / 4])
    assert np.isnan(weighted_recall(hits, support, np.array([0.0, 1, 0]))).all()


@pytest.fixture(scope="module")
def world():
    table = species_table(4000, 60)
    return table, split_by(table)


@pytest.fixture(scope="module")
def evaluation(world):
    table, manifest = world
    runs = [ControlRun(MAJORITY, majority(table, manifest)),
            ControlRun(RIVAL, Outcome(skilled(table, manifest, 1.5, seed=9), table))]
    return evaluate(skilled(table, manifest, 3.0), table, QUICK, controls=runs, manifest=manifest,
                    validation=skilled(table, manifest, 3.0, part=VALIDATION))


def test_prevalence_is_that_of_training_unless_the_recipe_says_otherwise(world, evaluation):
    table, manifest = world
    taught = np.bincount(table.labels()[manifest.rows(TRAIN)], minlength=60)
    assert list(evaluation.prevalence.values()) == pytest.approx(taught / taught.sum())
    one = EvaluateRecipe(bootstrap=100, prevalence={"Species 004": 3.0})
    found = evaluate(skilled(table, manifest, 3.0), table, one, manifest=manifest)
    row = next(row for row in found.by_class if row.name == "Species 004")
    tested = evaluation.predictions["units"]
    recall = (tested.predicted == 4)[tested.truth == 4].mean()
    assert found.units.metrics["prevalence_weighted_accuracy"].value == pytest.approx(recall) and row.tested > 0
    with pytest.raises(InputError, match=r"no class 'Species 4'.*evaluate\.prevalence"):
        evaluate(skilled(table, manifest, 3.0), table, EvaluateRecipe(prevalence={"Species 4": 1.0}), manifest=manifest)
    with pytest.raises(ValueError, match="0 or more"):
        EvaluateRecipe(prevalence={"a": -1.0})


def test_a_class_that_was_hardly_tested_gets_no_number_but_the_reason(evaluation):
    n_min = evaluation.recipe.n_min
    few, enough = ([row for row in evaluation.by_class if (row.tested < n_min) is small] for small in (True, False))
    assert few and enough
    for row in few:
        assert row.recall.value is row.precision is row.f1 is row.top5 is None and row.mistaken == ""
        assert row.why == f"{row.tested} tested sample{'' if row.tested == 1 else 's'}, and a number needs 30"
        assert evaluation.units.by_class[row.name] == {
            "precision": None, "recall": None, "f1": None, "support": row.tested, "roc_auc": None, "pr_auc": None}
    tested = evaluation.predictions["units"]
    for row in enough:
        k = tested.classes.index(row.name)
        assert row.recall.value == pytest.approx((tested.predicted[tested.truth == k] == k).mean())
        assert row.recall.low <= row.recall.value <= row.recall.high and row.why == ""
        assert row.top5 >= row.recall.value
    assert sum(row.tested for row in evaluation.by_class) == len(tested)
    text = classification_report(evaluation.units)
    assert f"{few[0].name}" in text and f"{'-':>9}" in text


def test_two_classes_of_events_are_shown_however_few():
    p = random_predictions(12, 2, 0)
    row = score(p, np.arange(12), EvaluateRecipe(n_min=1000, bootstrap=100), level="event").by_class["class 0"]
    assert None not in row.values()


def test_files_hold_what_a_reader_needs_and_no_matrix_of_hundreds(evaluation, tmp_path):
    paths = evaluation.write(tmp_path)
    assert all(path.stat().st_size > 100 for path in paths)
    names = {str(path.relative_to(tmp_path)) for path in paths}
    assert names == {"metrics.json", "test_results.json", "classification_report.txt", "by_class.csv",
                     "confusion_matrix.png", "figures/confusion_matrix.png", "figures/calibration.png",
                     "figures/controls.png", "figures/by_class.png", "figures/strata.png"}
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert "windows" not in metrics and "confusion" not in metrics["units"] and metrics["unit"] == "sample"
    assert metrics["units"]["metrics"]["top5_accuracy"]["value"] > metrics["units"]["metrics"]["accuracy"]["value"]
    assert "not measured with more than 12 classes" in metrics["units"]["metrics"]["roc_auc"]["why"]
    assert all(5 <= len(row["probability"]) <= 6 and row["truth"] in row["probability"] for row in metrics["answers"])
    assert (tmp_path / "metrics.json").stat().st_size < 600 * len(metrics["answers"]) + 400_000
    with open(tmp_path / "by_class.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["class"] for row in rows] == list(evaluation.units.classes)
    assert all((row["recall"] == "") == bool(row["why"]) for row in rows)
    assert float(rows[0]["tested_samples"]) == metrics["by_class"][rows[0]["class"]]["tested"]
    results = json.loads((tmp_path / "test_results.json").read_text())
    assert results["accuracy"] == metrics["units"]["metrics"]["accuracy"]["value"] and results["roc_auc"] is None


def test_pictures_show_the_commonest_and_the_ends(evaluation):
    names, count = commonest(evaluation.units)
    support = np.array(evaluation.units.confusion).sum(1)
    assert len(names) == 21 and count.sum() == evaluation.units.samples
    assert count.sum(1)[:20].tolist() == sorted(support.tolist(), reverse=True)[:20]
    few, small = commonest(evaluation.units, 1000)
    assert len(few) == 60 and small.sum() == evaluation.units.samples
    recalls = [row.recall.value for row in ends(evaluation.by_class, 3)]
    assert len(recalls) == 6 and recalls == sorted(recalls, reverse=True)


def test_dealing_hundreds_of_classes_by_counting_is_dealing_by_products():
    rng = np.random.default_rng(1)
    truth, dealt, one_hot = rng.integers(0, 9, 50), rng.integers(0, 9, 50), np.eye(9)
    masks = (rng.uniform(size=(4, 50)) < 0.5).astype(float)
    for candidate in (None, dealt):
        assert _agreement_of_many(masks, truth, candidate, one_hot) == pytest.approx(
            _agreement(masks, truth, candidate, one_hot))


def test_labels_of_more_than_127_classes_are_dealt_whole():
    table = species_table(600, 200)
    manifest = split_by(table)
    dealt = permuted_truths(table, manifest, 2)
    assert dealt.min() >= 0 and dealt.max() > 127
    for one in dealt:
        assert np.bincount(one, minlength=200).tolist() == np.bincount(table.labels(), minlength=200).tolist()
    p = skilled(table, manifest, 3.0)
    truths = np.stack([p.truth, np.roll(p.truth, 1)])
    found = _statistics(p.probability, truths, "balanced_accuracy")
    expected = score(p, np.arange(len(p)), EvaluateRecipe(bootstrap=100), level="sample").metrics["balanced_accuracy"]
    assert found[0] == pytest.approx(expected.value) and found[1] < found[0]


def test_seven_thousand_samples_of_232_species_are_judged_in_seconds_and_little_memory():
    table = species_table(9000, 232, places=700)
    manifest = split_by(table, new_places=0.6)
    runs = [ControlRun(MAJORITY, majority(table, manifest)),
            ControlRun(PERMUTED, permuted_labels(lambda t, m: skilled(t, m, 0.0))(table, manifest)),
            *(ControlRun(RIVAL, Outcome(skilled(table, manifest, s), table)) for s in (1.0, 2.0))]
    predictions, validation = skilled(table, manifest, 3.0), skilled(table, manifest, 3.0, part=VALIDATION)
    assert len(predictions) > 5500
    tracemalloc.start()
    begin = time.perf_counter()
    evaluate(predictions, table, EvaluateRecipe(), validation=validation, controls=runs, manifest=manifest)
    seconds, peak = time.perf_counter() - begin, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300 * 2**20
    assert seconds < 60  # three on an idle core, without the tracing
