"""The corrected t-test gives what is computed by hand, does not cry wolf, and is honest where folds show no spread."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from groundswell.core.errors import InputError
from groundswell.evaluate.comparison import compare_all, corrected_t_test, holm


def test_a_case_by_hand():
    """Differences .02 .04 .00 .06 .03: mean .03, s² = .002/4 = .0005, variance (1/5 + 1/4) s² = .015², t = 2, and with
    4 degrees of freedom F(2) = 1/2 + 3/8 · 2/√2 · (1 - 1/6) = .941942, p = 2 (1 - F)."""
    found = corrected_t_test([0.72, 0.74, 0.70, 0.76, 0.73], [0.70] * 5, test_to_train=0.25)
    assert found.difference == pytest.approx(0.03) and found.folds == 5
    assert found.p == pytest.approx(0.116117, abs=1e-6)
    assert (found.low, found.high) == (pytest.approx(0.03 - 2.776445 * 0.015), pytest.approx(0.03 + 2.776445 * 0.015))


def test_without_shared_training_samples_it_is_the_plain_paired_test_and_with_them_it_is_more_careful():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.1, 0.1, 10), rng.normal(0, 0.1, 10)
    plain = float(ttest_rel(a, b).pvalue)
    assert corrected_t_test(a, b, test_to_train=0.0).p == pytest.approx(plain)
    assert corrected_t_test(a, b, test_to_train=1 / 9).p > plain
    other = corrected_t_test(b, a, test_to_train=1 / 9)
    assert other.p == corrected_t_test(a, b, test_to_train=1 / 9).p and other.difference < 0


def test_no_spread_no_p():
    same = corrected_t_test([0.5, 0.6, 0.7], [0.5, 0.6, 0.7], test_to_train=0.5)
    assert (same.difference, same.p, same.low) == (0, None, None) and "score the same in every fold" in same.why
    shifted = corrected_t_test([0.6, 0.7, 0.8], [0.5, 0.6, 0.7], test_to_train=0.5)
    assert shifted.difference == pytest.approx(0.1) and shifted.p is None and "no spread" in shifted.why


def test_folds_without_a_score_are_left_out_and_too_few_say_so():
    found = corrected_t_test([0.5, np.nan, 0.7, 0.9], [0.4, 0.5, 0.7, 0.6], test_to_train=1 / 3)
    assert found.folds == 3 and found.difference == pytest.approx(0.4 / 3) and found.p is not None
    assert corrected_t_test([0.5, np.nan], [0.4, 0.5], test_to_train=1).why == "one fold alone shows no spread"
    assert corrected_t_test([np.nan], [0.4], test_to_train=1).difference is None
    with pytest.raises(InputError, match="a has 2 folds and b 3"):
        corrected_t_test([1, 2], [1, 2, 3], test_to_train=1, names=("a", "b"))


def test_holms_steps():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_all_pairs_with_those_that_have_no_p_left_out_of_the_correction():
    rng = np.random.default_rng(1)
    base = rng.normal(0.5, 0.02, 5)
    scores = {"gru": base, "copy": base, "better": base + rng.normal(0.2, 0.02, 5)}
    found = {(c.first, c.second): c for c in compare_all(scores, test_to_train=0.25)}
    assert list(found) == [("gru", "copy"), ("gru", "better"), ("copy", "better")]
    assert found["gru", "copy"].p_holm is None and found["gru", "copy"].why
    best = found["gru", "better"]
    assert best.p < 0.01 and best.p_holm == pytest.approx(2 * best.p) and best.high < 0


def test_it_seldom_tells_apart_what_is_alike():
    """Scores of folds that share training samples: their differences have a common part (correlation 1/5)."""
    rng = np.random.default_rng(2)
    common, own = rng.normal(size=(2000, 1)), rng.normal(size=(2000, 5))
    gaps = np.sqrt(0.2) * common + np.sqrt(0.8) * own
    zeros = np.zeros(5)
    corrected = np.mean([corrected_t_test(g, zeros, test_to_train=0.25).p < 0.05 for g in gaps])
    plain = np.mean([corrected_t_test(g, zeros, test_to_train=0.0).p < 0.05 for g in gaps])
    assert corrected < 0.065 and plain > 0.1
