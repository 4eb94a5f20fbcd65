"""A planted miscalibration is found and undone, by validation samples alone."""

from __future__ import annotations

import numpy as np
import pytest

from groundswell.data.predictions import Predictions
from groundswell.evaluate.calibration import apply_temperatures, calibrate, fit_temperature, fit_temperatures
from groundswell.evaluate.recipe import EvaluateRecipe


def planted(n, temperature, seed, *, fold=0, prefix="s"):
    """Truth drawn from the stated probabilities, which are then sharpened as a model too sure of itself would."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(n, 3))
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = (honest.cumsum(1) < rng.random(n)[:, None]).sum(1)
    sharp = np.exp(logits * temperature)
    return Predictions.of([f"{prefix}{i}" for i in range(n)], truth, sharp / sharp.sum(1, keepdims=True),
                          ["a", "b", "c"], fold=fold)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_planted_temperature_is_found(temperature):
    found = fit_temperature(planted(8000, temperature, 0))
    assert found.value == pytest.approx(temperature, rel=0.06) and not found.at_bound and found.samples == 8000


def test_tempering_mends_new_predictions_and_keeps_their_answers():
    temperatures = fit_temperatures(planted(5000, 3.0, 1))
    test = planted(5000, 3.0, 2)
    after = apply_temperatures(test, temperatures)
    recipe, group = EvaluateRecipe(bootstrap=200), np.arange(5000) // 5
    worse, better = calibrate(test, group, recipe), calibrate(after, group, recipe)
    assert worse.ece.low > better.ece.high and worse.ece.value > 0.15 > 0.03 > better.ece.value
    assert worse.log_loss.low > better.log_loss.high and worse.brier.low > better.brier.high
    assert np.array_equal(test.predicted, after.predicted)
    assert after.probability.sum(1) == pytest.approx(np.ones(5000))


def test_each_fold_has_its_own_temperature():
    validation = Predictions.concatenate([planted(4000, 2.0, 3), planted(4000, 0.5, 4, fold=1, prefix="t")])
    found = fit_temperatures(validation)
    assert found["model", 0].value == pytest.approx(2.0, rel=0.1)
    assert found["model", 1].value == pytest.approx(0.5, rel=0.1)
    test = Predictions.concatenate([planted(50, 2.0, 5, fold=1), planted(50, 2.0, 6, fold=7, prefix="t")])
    after = apply_temperatures(test, found)
    assert not np.allclose(after.probability[:50], test.probability[:50])
    assert np.array_equal(after.probability[50:], test.probability[50:])  # no model of that fold was fitted


def test_calibration_error_by_hand():
    p = Predictions.of(list("abcd"), [0, 1, 0, 0], [[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]], ["x", "y"])
    found = calibrate(p, np.arange(4), EvaluateRecipe(bins=10, bootstrap=100))
    # Half of the samples are right by 0.5 where 0.9 was stated, half are right always where 0.6 was.
    assert found.ece.value == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)
    assert found.log_loss.value == pytest.approx(-(np.log(0.9) + np.log(0.1) + 2 * np.log(0.6)) / 4)
    assert found.brier.value == pytest.approx((0.02 + 1.62 + 0.32 * 2) / 4)
    assert [(b.samples, b.confidence, b.accuracy.value) for b in found.bins] == [(2, pytest.approx(0.6), 1.0),
                                                                              (2, pytest.approx(0.9), 0.5)]


def test_certainty_without_errors_ends_at_the_bound_and_says_so():
    p = Predictions.of(list("abcd"), [0, 1, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.9, 0.1], [0.1, 0.9]], ["x", "y"])
    assert fit_temperature(p).at_bound
    assert fit_temperature(p.take(np.zeros(4, bool))) is None


def test_a_probability_of_exactly_zero_is_no_infinity():
    p = Predictions.of(["a", "b"], [0, 1], [[0.0, 1.0], [0.0, 1.0]], ["x", "y"])
    assert np.isfinite(calibrate(p, np.arange(2), EvaluateRecipe(bootstrap=100)).log_loss.value)
    assert np.isfinite(apply_temperatures(p, fit_temperatures(p)).probability).all()
