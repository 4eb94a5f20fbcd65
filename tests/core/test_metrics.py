"""Scores agree with scikit-learn, one matrix or many at a time."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from groundswell.core.metrics import SUMMARIES, confusion_matrix, majority_rate, per_class, summary

PAIRS = st.integers(2, 5).flatmap(lambda k: st.tuples(
    st.just(k), st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), min_size=1, max_size=60)))


@settings(deadline=None, max_examples=150)
@given(PAIRS)
def test_agrees_with_scikit_learn(case):
    classes, pairs = case
    truth, predicted = np.array(pairs, dtype=np.int64).T
    confusion = confusion_matrix(truth, predicted, classes)
    assert np.array_equal(confusion, reference.confusion_matrix(truth, predicted, labels=range(classes)))
    found = summary(confusion)
    assert tuple(found) == SUMMARIES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {"accuracy": reference.accuracy_score(truth, predicted),
                    "balanced_accuracy": reference.balanced_accuracy_score(truth, predicted),
                    "mcc": reference.matthews_corrcoef(truth, predicted)}
        for average in ("macro", "weighted"):
            p, r, f, _ = reference.precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
            expected |= {f"precision_{average}": p, f"recall_{average}": r, f"f1_{average}": f}
        p, r, f, s = reference.precision_recall_fscore_support(truth, predicted, labels=range(classes),
                                                               zero_division=0)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    each = per_class(confusion)
    for name, value in {"precision": p, "recall": r, "f1": f, "support": s}.items():
        assert each[name] == pytest.approx(value, abs=1e-12), name


def test_many_matrices_at_once_equal_one_at_a_time():
    stack = np.random.default_rng(0).integers(0, 9, (4, 6, 3, 3)).astype(float)
    together = summary(stack)
    for i, j in np.ndindex(4, 6):
        alone = summary(stack[i, j])
        assert all(together[name][i, j] == alone[name] for name in SUMMARIES)


def test_unknown_truth_and_weights():
    truth, predicted = np.array([0, 1, -1, 1]), np.array([0, 0, 1, 1])
    weight = np.array([1.0, 0.0, 1.0, 0.5], np.float32)
    assert confusion_matrix(truth, predicted, 2, weight).tolist() == [[1.0, 0.0], [0.0, 0.5]]


def test_nothing_to_score_is_not_a_number():
    empty = np.zeros((2, 2))
    assert all(np.isnan(value) for value in summary(empty).values())
    assert np.isnan(majority_rate(empty))


def test_majority_guesser_of_the_literature():
    """1661 against 999 samples: a constant answer has weighted F1 0.480 and macro F1 0.384."""
    found = summary(np.array([[1661.0, 0.0], [999.0, 0.0]]))
    assert found["f1_weighted"] == pytest.approx(0.480, abs=5e-4)
    assert found["f1_macro"] == pytest.approx(0.384, abs=5e-4)
    assert found["mcc"] == 0.0
