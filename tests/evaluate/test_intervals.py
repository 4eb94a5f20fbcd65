"""Intervals have the values of the literature, cover what they should, and say why where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.evaluate.intervals import bootstrap, interval, resample, sums_by_group, wilson


@pytest.mark.parametrize(("hits", "trials", "low", "high"), [
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3 (score, without continuity correction)
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718),
    (28, 50, 0.4231, 0.6884),  # solved by hand
])
def test_wilson_agrees_with_published_values(hits, trials, low, high):
    assert wilson(hits, trials) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.6, 0.999))
def test_wilson_holds_the_share_and_is_symmetric(case, confidence):
    hits, trials = case
    low, high = wilson(hits, trials, confidence)
    assert 0 <= low <= hits / trials <= high <= 1 and low < high
    assert wilson(trials - hits, trials, confidence) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_wilson_of_nothing_is_refused():
    with pytest.raises(ValueError, match="proportion of nothing"):
        wilson(0, 0)


def mean_of(sums):
    return {"mean": sums[:, 0] / sums[:, 1]}


def statistics_of(group, value):
    column = np.concatenate([np.zeros(len(group), int), np.ones(len(group), int)])
    return sums_by_group(np.tile(group, 2), column, 2, np.concatenate([value, np.ones(len(value))]))


def test_a_resample_draws_as_many_groups_as_there_are_with_replacement():
    every = sums_by_group(np.arange(30), np.arange(30), 30)  # one column a group: a sum is how often it was drawn
    times = np.stack(list(resample(every, lambda sums: {str(g): sums[:, g] for g in range(30)}, resamples=4000,
                                   seed=1).values()), axis=1)
    assert times.shape == (4000, 30) and (times == times.round()).all() and (times.sum(1) == 30).all()
    assert times.mean(0) == pytest.approx(np.ones(30), abs=0.1)
    assert times.var(0) == pytest.approx(np.full(30, 29 / 30), abs=0.15)


def test_statistics_add_up_over_groups():
    rng = np.random.default_rng(3)
    group, column, weight = rng.integers(0, 7, 50), rng.integers(0, 4, 50), rng.normal(size=50)
    found = sums_by_group(group, column, 4, weight).toarray()
    for g, c in np.ndindex(*found.shape):
        assert found[g, c] == pytest.approx(weight[(group == g) & (column == c)].sum())


def test_the_same_seed_draws_the_same_and_chunks_change_nothing(monkeypatch):
    statistics = statistics_of(np.arange(9), np.arange(9.0))
    whole = resample(statistics, mean_of, resamples=500, seed=4)["mean"]
    assert np.array_equal(whole, resample(statistics, mean_of, resamples=500, seed=4)["mean"])
    assert not np.array_equal(whole, resample(statistics, mean_of, resamples=500, seed=5)["mean"])
    monkeypatch.setattr("groundswell.evaluate.intervals._CHUNK", 9 * 130)
    assert np.array_equal(whole, resample(statistics, mean_of, resamples=500, seed=4)["mean"])


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says():
    """Windows of a group share its luck; 95 % intervals over groups hold the true mean in 90 to 98 % of the worlds."""
    rng = np.random.default_rng(0)
    held, naive = 0, 0
    for world in range(300):
        group = np.repeat(np.arange(40), 10)
        value = rng.normal(size=40)[group] + 0.3 * rng.normal(size=400) + 1.0
        for by, name in ((group, "grouped"), (np.arange(400), "naive")):
            e = bootstrap(statistics_of(by, value), mean_of, resamples=300, confidence=0.95, seed=world)["mean"]
            inside = e.low <= 1.0 <= e.high
            held, naive = held + (inside and name == "grouped"), naive + (inside and name == "naive")
    assert 0.90 <= held / 300 <= 0.98
    assert naive / 300 < 0.6  # what resampling windows would have claimed


def test_where_there_is_no_interval_the_reason_is_given():
    draws = np.array([0.5, 0.6] * 50)
    assert interval(None, draws, 5, 0.95).why and interval(np.nan, draws, 5, 0.95).value is None
    assert "one group" in interval(0.5, draws, 1, 0.95).why
    assert "too few errors" in interval(1.0, np.ones(100), 5, 0.95).why
    assert "undefined in many" in interval(0.5, np.where(np.arange(100) < 10, np.nan, draws), 5, 0.95).why
    few = interval(0.5, np.where(np.arange(100) < 4, np.nan, draws), 5, 0.95)
    assert (few.low, few.high, few.method) == (0.5, 0.6, "bootstrap")
