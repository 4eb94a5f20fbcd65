"""Polarities: found through noise, and the same whatever the order of the traces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.pipelines.symae.polarity import polarities, signed_peaks


def make(seed: int, count: int, noise: float, turned: float = 0.35, samples: int = 96) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    t = np.arange(samples)
    flips = np.where(rng.random(count) < turned, -1, 1)
    x = np.stack([f * (np.exp(-((t - 40 - d) / 4) ** 2) - 0.7 * np.exp(-((t - 55 - d) / 6) ** 2))
                  for f, d in zip(flips, rng.normal(0, 3, count), strict=True)])
    return x + noise * rng.normal(size=x.shape), flips


@given(st.integers(0, 10_000), st.integers(2, 25), st.floats(0.01, 0.6))
def test_the_order_of_traces_does_not_matter(seed: int, count: int, noise: float) -> None:
    x, _ = make(seed, count, noise)
    order = np.random.default_rng(seed + 1).permutation(count)
    np.testing.assert_array_equal(polarities(x[order], 20), polarities(x, 20)[order])


@given(st.integers(0, 10_000), st.integers(3, 25))
def test_true_polarities_are_found_and_the_larger_part_keeps_its_sign(seed: int, count: int) -> None:
    x, flips = make(seed, count, 0.2)
    found = polarities(x, 20)
    assert found.dtype == np.int8 and found.sum() >= 0
    np.testing.assert_array_equal(found * found[0], flips * flips[0])


def test_turning_every_trace_over_turns_nothing_but_the_whole() -> None:
    x, _ = make(3, 9, 0.2)
    np.testing.assert_array_equal(polarities(-x, 20), polarities(x, 20))


def test_two_traces_of_opposite_sign_are_told_apart_by_their_shape() -> None:
    x, _ = make(0, 2, 0.0, turned=0.0)
    found = polarities(np.stack([x[0], -x[1]]), 20)
    np.testing.assert_array_equal(found, [1, -1])  # the pulse that is larger points up
    np.testing.assert_array_equal(polarities(np.stack([-x[1], x[0]]), 20), [-1, 1])


@pytest.mark.parametrize("most_lag", [5, 30, 500])
def test_peaks_are_those_of_plain_correlation(most_lag: int) -> None:
    x, _ = make(5, 4, 0.3, samples=64)
    peaks = signed_peaks(x, most_lag)
    lags = np.arange(-63, 64)
    for i in range(4):
        for j in range(4):
            cc = np.correlate(x[i], x[j], "full")[np.abs(lags) <= most_lag]
            cc = cc / np.linalg.norm(x[i]) / np.linalg.norm(x[j])
            assert peaks[i, j] == pytest.approx(cc[np.abs(cc).argmax()])


def test_many_traces_are_correlated_in_pieces_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _ = make(6, 30, 0.3)
    whole = signed_peaks(x, 20)
    monkeypatch.setattr("groundswell.pipelines.symae.polarity._AT_ONCE", 10_000)
    np.testing.assert_allclose(signed_peaks(x, 20), whole, atol=1e-12)
