"""Scores of two classes agree with scikit-learn, their intervals are of groups, and what is undefined says why."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from groundswell.core.errors import InputError
from groundswell.core.metrics import BINARY, SUMMARIES, binary_summary, confusion_matrix
from groundswell.data.predictions import Predictions
from groundswell.evaluate.binary import SCORES, binary_scores
from groundswell.evaluate.calibration import calibrate
from groundswell.evaluate.recipe import EvaluateRecipe

QUICK = EvaluateRecipe(bootstrap=200)
CLASSES = ("quiet", "before an event")


def made(n, seed, *, share=0.4, skill=1.0):
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < share).astype(int)
    truth[:2] = (0, 1)
    p = 1 / (1 + np.exp(-(rng.normal(size=n) + skill * (2 * truth - 1)).round(1)))
    return Predictions.of([f"s{i}" for i in range(n)], truth, np.stack([1 - p, p], 1), CLASSES)


def values(p, **more):
    return {name: e.value for name, e in binary_scores(p, np.arange(len(p)), QUICK, **more).items()}


@settings(deadline=None, max_examples=40)
@given(st.integers(8, 100), st.integers(0, 10**6), st.sampled_from([0.15, 0.5, 0.8]))
def test_scores_agree_with_scikit_learn(n, seed, share):
    p = made(n, seed, share=share)
    y, chosen, p1 = p.truth, p.predicted, p.probability[:, 1]
    rare = 1 if (y == 1).sum() <= (y == 0).sum() else 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weighted = reference.precision_recall_fscore_support(y, chosen, average="weighted", zero_division=0)
        each = reference.f1_score(y, chosen, average=None, labels=[0, 1], zero_division=0)
        recall = reference.recall_score(y, chosen, average=None, labels=[0, 1], zero_division=0)
        expected = {
            "accuracy": reference.accuracy_score(y, chosen), "precision_weighted": weighted[0],
            "recall_weighted": weighted[1], "f1_weighted": weighted[2], "f1_0": each[0], "f1_1": each[1],
            "minority_f1": each[rare], "sensitivity": recall[1], "specificity": recall[0],
            "class_accuracy_0": recall[0], "class_accuracy_1": recall[1],
            "balanced_accuracy": reference.balanced_accuracy_score(y, chosen),
            "mcc": reference.matthews_corrcoef(y, chosen), "roc_auc": reference.roc_auc_score(y, p1),
            "norm_mcc": (reference.matthews_corrcoef(y, chosen) + 1) / 2,
            "pr_auc": reference.average_precision_score(y, p1), "brier": 2 * np.mean((p1 - y) ** 2)}
    found = values(p)
    assert tuple(found) == SCORES and set(SCORES) - set(expected) == {"ece"}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name
    assert found["ece"] == calibrate(p, np.arange(n), QUICK).ece.value


def test_the_positive_class_can_be_the_first_and_the_minority_that_of_training():
    p = made(60, 3, share=0.2)
    found, other = values(p), values(p, positive=0)
    assert found["sensitivity"] == other["specificity"] != found["specificity"] == other["sensitivity"]
    assert found["roc_auc"] == pytest.approx(other["roc_auc"]) and found["pr_auc"] != other["pr_auc"]
    assert other["pr_auc"] == pytest.approx(reference.average_precision_score(p.truth == 0, p.probability[:, 0]))
    assert found["minority_f1"] == found["f1_1"] == other["minority_f1"]
    assert values(p, minority=0)["minority_f1"] == found["f1_0"] != found["f1_1"]


def test_copies_of_events_do_not_narrow_the_intervals():
    p = made(40, 1, skill=0.5)
    many = Predictions.of([f"w{i}" for i in range(400)], np.repeat(p.truth, 10), np.repeat(p.probability, 10, 0),
                          CLASSES)
    grouped = binary_scores(many, np.arange(400) // 10, QUICK)
    alone = binary_scores(many, np.arange(400), QUICK)
    for name in ("f1_weighted", "minority_f1", "specificity", "norm_mcc", "roc_auc", "brier"):
        assert grouped[name].value == pytest.approx(alone[name].value) and grouped[name].method == "bootstrap", name
        assert grouped[name].high - grouped[name].low > 2 * (alone[name].high - alone[name].low), name


def test_units_have_wilsons_interval_and_samples_the_bootstraps():
    p = made(40, 1)
    assert binary_scores(p, np.arange(40), QUICK, level="event")["accuracy"].method == "wilson"
    assert binary_scores(p, np.arange(40), QUICK)["accuracy"].method == "bootstrap"


def test_one_class_leaves_undefined_what_needs_both_and_names_what_is_missing():
    p = made(40, 2)
    found = binary_scores(p.take(p.truth == 0), np.arange(int((p.truth == 0).sum())), QUICK)
    undefined = {name for name, e in found.items() if e.value is None}
    assert undefined == {"balanced_accuracy", "mcc", "norm_mcc", "minority_f1", "roc_auc", "pr_auc", "sensitivity",
                         "class_accuracy_1", "f1_1"}
    assert all("none of 'before an event'" in found[name].why for name in undefined)
    assert found["specificity"].value == found["accuracy"].value


def test_nothing_one_group_and_three_classes():
    p = made(20, 2)
    hidden = Predictions.of(p.sample_id, np.full(20, -1), p.probability, CLASSES)
    assert {e.why for e in binary_scores(hidden, np.arange(20), QUICK).values()} == {"nothing was scored"}
    single = binary_scores(p, np.zeros(20, int), QUICK)
    assert all(e.value is not None and e.low is None and "one group" in e.why for e in single.values())
    three = Predictions.of(["a"], [0], [[1, 0, 0]], ("a", "b", "c"))
    with pytest.raises(InputError, match="two classes, and there are 3"):
        binary_scores(three, np.zeros(1, int), QUICK)


def test_the_majority_guesser_of_an_uneven_task_has_the_scores_that_give_it_away():
    """1,661 against 999: weighted F1 looks like half of something, the other scores like nothing."""
    truth = np.repeat([0, 1], [1661, 999])
    confusion = confusion_matrix(truth, np.zeros_like(truth), 2)
    found = {name: float(value) for name, value in binary_summary(confusion).items()}
    assert set(found) == {*SUMMARIES, *BINARY}
    assert found["f1_weighted"] == pytest.approx(0.480, abs=5e-4)
    assert (found["f1_1"], found["norm_mcc"], found["balanced_accuracy"], found["sensitivity"]) == (0, 0.5, 0.5, 0)
