"""What resampling a stream promises: the same as resampling the whole, whatever the pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from groundswell.core.errors import InputError
from groundswell.deploy.streaming import ArrayStream, windows
from groundswell.pipelines.das import resample
from groundswell.pipelines.das.resample import ResampledStream, rate_ratio, resample_whole


@settings(max_examples=60, deadline=None)
@given(samples=st.integers(1, 500), up=st.integers(1, 9), down=st.integers(1, 9), data=st.data())
def test_pieces_are_pieces_of_the_whole(samples, up, down, data):
    whole = np.random.default_rng(samples).normal(5, 1, size=(samples, 3)).astype(np.float32)
    up, down = up // np.gcd(up, down), down // np.gcd(up, down)
    if up == down:
        return
    expected = resample_whole(whole, up, down)
    stream = ResampledStream(ArrayStream(whole), up, down)
    assert stream.samples == len(expected)
    start = data.draw(st.integers(0, stream.samples - 1))
    stop = data.draw(st.integers(start + 1, stream.samples))
    out = np.empty((stop - start, 3), np.float32)
    stream.read(start, stop, out)
    np.testing.assert_allclose(out, expected[start:stop], rtol=1e-5, atol=1e-5)


def test_streamed_in_blocks_equals_scipy_on_the_whole(monkeypatch):
    monkeypatch.setattr(resample, "_PIECE_BYTES", 4 * 2 * 64)
    whole = np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32)
    up, down = rate_ratio(250, 200)
    expected = resample_poly(whole, up, down, axis=0, window=("kaiser", 5.0), padtype="edge")
    got = np.zeros_like(expected)
    for part in windows(ResampledStream(ArrayStream(whole), up, down), 100, 100, batch=3, budget_bytes=20_000):
        for start, x in zip(part.starts, part.x, strict=True):
            got[start : start + 100] = x
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_tone_survives_and_what_would_alias_does_not():
    t = np.arange(10_000) / 1000
    both = np.stack([np.sin(2 * np.pi * 7 * t), np.sin(2 * np.pi * 180 * t)], axis=1).astype(np.float32)
    stream = ResampledStream(ArrayStream(both), *rate_ratio(1000, 200))
    out = np.empty((stream.samples, 2), np.float32)
    stream.read(0, stream.samples, out)
    inner = out[100:-100]
    expected = np.sin(2 * np.pi * 7 * np.arange(stream.samples) / 200)[100:-100]
    assert np.abs(inner[:, 0] - expected).max() < 0.01
    assert np.abs(inner[:, 1]).max() < 0.01


def test_a_constant_stays_constant_to_the_very_edge():
    flat = np.full((100, 1), 1e3, np.float32)
    np.testing.assert_allclose(resample_whole(flat, 4, 5), 1e3, rtol=2e-3)


@pytest.mark.parametrize(("from_hz", "to_hz", "ratio"), [
    (250, 200, (4, 5)), (200, 250, (5, 4)), (1000, 250, (1, 4)), (200, 200, (1, 1)), (199.99, 200, (1, 1)),
    (100 / 3, 100, (3, 1)), (0.1, 1, (10, 1)), (5000, 5, (1, 1000))])
def test_ratio(from_hz, to_hz, ratio):
    assert rate_ratio(from_hz, to_hz) == ratio


@given(from_hz=st.floats(0.5, 5000), to_hz=st.floats(10, 500))
def test_any_pair_of_sensible_rates_has_a_close_ratio_of_small_terms(from_hz, to_hz):
    if not 1e-3 <= to_hz / from_hz <= 20:
        return
    up, down = rate_ratio(from_hz, to_hz)
    assert abs(from_hz * up / down / to_hz - 1) < 1.1e-3
    assert down <= 5000


@pytest.mark.parametrize("rates", [(0, 200), (250, -1), (0.1, 200), (5000, 1)])
def test_impossible_rates_are_refused(rates):
    with pytest.raises(InputError):
        rate_ratio(*rates)
