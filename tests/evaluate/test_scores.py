"""Areas agree with scikit-learn, intervals hold at both levels, and what is undefined says why."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from groundswell.data.predictions import Predictions
from groundswell.evaluate.metrics import classification_report, score
from groundswell.evaluate.recipe import EvaluateRecipe

QUICK = EvaluateRecipe(bootstrap=100)


def made(n, classes, seed, *, ties=False, skill=1.0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    truth[:classes] = np.arange(classes)
    logits = rng.normal(size=(n, classes)) + skill * np.eye(classes)[truth]
    probability = np.exp(logits.round(0) if ties else logits)
    names = [f"class {k}" for k in range(classes)]
    return Predictions.of([f"s{i}" for i in range(n)], truth, probability / probability.sum(1, keepdims=True), names)


@settings(deadline=None, max_examples=40)
@given(st.integers(8, 120), st.integers(2, 4), st.integers(0, 10**6), st.booleans())
def test_areas_agree_with_scikit_learn(n, classes, seed, ties):
    p = made(n, classes, seed, ties=ties)
    found = score(p, np.arange(n), QUICK, level="event")
    one_hot = np.eye(classes)[p.truth]
    expected = {"roc_auc": roc_auc_score(one_hot, p.probability, average="macro"),
                "pr_auc": average_precision_score(one_hot, p.probability, average="macro")}
    for name, value in expected.items():
        assert found.metrics[name].value == pytest.approx(value, abs=1e-12)
    for k, name in enumerate(p.classes):
        curve = found.curves[name]
        assert curve.roc_auc == pytest.approx(roc_auc_score(one_hot[:, k], p.probability[:, k]))
        assert np.trapezoid(curve.true_positive_rate, curve.false_positive_rate) == pytest.approx(curve.roc_auc)
        assert curve.true_positive_rate[-1] == curve.false_positive_rate[-1] == 1.0


def test_merged_thresholds_move_the_resampled_area_by_little(monkeypatch):
    p = made(3000, 3, 1)
    group = np.arange(3000) // 30
    coarse = score(p, group, QUICK, level="window").metrics
    monkeypatch.setattr("groundswell.evaluate.areas._THRESHOLDS", 10**9)
    exact = score(p, group, QUICK, level="window").metrics
    for name in ("roc_auc", "pr_auc"):
        assert coarse[name].value == exact[name].value
        width = exact[name].high - exact[name].low
        assert abs(coarse[name].low - exact[name].low) < 0.05 * width
        assert abs(coarse[name].high - exact[name].high) < 0.05 * width


def test_units_have_wilson_and_windows_the_bootstrap():
    p = made(60, 2, 2)
    assert score(p, np.arange(60), QUICK, level="event").accuracy.method == "wilson"
    assert score(p, np.arange(60) // 6, QUICK, level="window").accuracy.method == "bootstrap"


def test_intervals_of_alike_windows_are_wider_by_group_than_one_by_one():
    p = made(30, 2, 3)
    many = Predictions.of([f"w{i}" for i in range(300)], np.repeat(p.truth, 10), np.repeat(p.probability, 10, 0),
                          p.classes)
    grouped = score(many, np.arange(300) // 10, QUICK, level="window").accuracy
    alone = score(many, np.arange(300), QUICK, level="window").accuracy
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_a_class_that_was_not_tested_leaves_areas_undefined_by_name():
    p = made(30, 3, 4)
    p = p.take(p.truth != 1)
    found = score(p, np.arange(len(p)), QUICK, level="window")
    assert found.metrics["roc_auc"].value is None and "class 1" in found.metrics["roc_auc"].why
    assert found.by_class["class 1"]["roc_auc"] is None and found.by_class["class 0"]["roc_auc"] is not None
    assert found.metrics["accuracy"].value is not None


def test_unknown_truth_is_counted_and_left_out():
    p = made(20, 2, 5)
    hidden = Predictions.of(p.sample_id, np.where(np.arange(20) < 5, -1, p.truth), p.probability, p.classes)
    found = score(hidden, np.arange(20), QUICK, level="event")
    assert (found.samples, found.unknown, found.groups) == (15, 5, 15)
    nothing = score(hidden.take(hidden.truth < 0), np.arange(5), QUICK, level="event")
    assert nothing.accuracy.value is None and nothing.metrics["mcc"].why == "nothing was scored"
    assert nothing.majority_rate is None


def test_the_report_is_readable_and_complete():
    text = classification_report(score(made(40, 2, 6), np.arange(40), QUICK, level="event"))
    assert "40 events of 40 groups" in text and "class 1" in text and "weighted mean" in text and "roc auc" in text


def test_a_hundred_thousand_windows_take_seconds():
    p = made(100_000, 3, 7)
    begin = time.perf_counter()
    score(p, np.arange(100_000) // 500, EvaluateRecipe(), level="window")
    assert time.perf_counter() - begin < 30  # two seconds on an idle core
