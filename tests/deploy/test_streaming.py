"""What sliding windows over a stream promises: the same windows as cutting the whole array, in bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.deploy.streaming import ArrayStream, ChannelMean, batch_that_fits, window_starts, windows


class Counting(ArrayStream):
    """An array stream that remembers what was read."""

    read_samples = 0

    def read(self, start, stop, out):
        assert 0 <= start < stop <= self.samples and out.shape == (stop - start, self.channels)
        type(self).read_samples += stop - start
        super().read(start, stop, out)


class Endless:
    """Zeros without end: a stream larger than any memory."""

    channels = 100
    samples = 2_000_000

    def read(self, start, stop, out):
        out[...] = 0


@given(samples=st.integers(1, 400), window=st.integers(1, 60), stride=st.integers(1, 80))
def test_starts_cover_everything_a_stride_within_the_window_can_cover(samples, window, stride):
    starts = window_starts(samples, window, stride)
    assert (np.diff(starts) > 0).all() and starts[0] == 0
    if samples >= window:
        assert starts[-1] + window == samples
    else:
        assert len(starts) == 1
    if stride <= window:
        seen = np.zeros(samples, bool)
        for s in starts:
            seen[s : s + window] = True
        assert seen.all()
    regular = starts[starts % stride == 0]
    assert len(regular) >= max(1, (samples - window) // stride + 1)


@settings(max_examples=60)
@given(samples=st.integers(1, 300), channels=st.integers(1, 4), window=st.integers(1, 40), stride=st.integers(1, 60),
       batch=st.integers(1, 7), budget=st.integers(1, 8000))
def test_windows_of_a_stream_are_the_windows_of_the_whole(samples, channels, window, stride, batch, budget):
    whole = np.random.default_rng(samples).normal(size=(samples, channels)).astype(np.float32)
    got_starts, got = [], []
    Counting.read_samples = 0
    for part in windows(Counting(whole), window, stride, batch=batch, budget_bytes=budget):
        assert 1 <= len(part.starts) <= batch and part.nonfinite == 0
        got_starts.append(part.starts.copy())
        got.append(part.x.copy())
    starts = window_starts(samples, window, stride)
    padded = np.concatenate([whole, np.zeros((window, channels), np.float32)])
    assert (np.concatenate(got_starts) == starts).all()
    np.testing.assert_array_equal(np.concatenate(got), np.stack([padded[s : s + window] for s in starts]))
    assert Counting.read_samples <= samples  # nothing is read twice


def test_only_the_windows_asked_for_are_made():
    whole = np.arange(200, dtype=np.float32).reshape(100, 2)
    starts = np.array([3, 50, 90])
    parts = list(windows(ArrayStream(whole), 10, 5, starts=starts, batch=8))
    np.testing.assert_array_equal(parts[0].x[:, 0, 0], [6, 100, 180])


def test_buffers_are_reused_and_memory_does_not_follow_length():
    tracemalloc.start()
    buffers = {part.x.__array_interface__["data"][0] for part in windows(Endless(), 1000, 50_000, budget_bytes=8 << 20)}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(buffers) == 1
    assert peak < 10 << 20


def test_a_wide_stream_gets_smaller_batches():
    assert batch_that_fits(1024, 100, 16) == 16
    assert batch_that_fits(1024, 1000, 16) == 4
    assert batch_that_fits(1024, 18_958, 16) == 1
    assert batch_that_fits(1024, 1_000_000, 16) == 1


def test_values_that_are_not_numbers_become_zero_and_are_counted():
    whole = np.ones((100, 3), np.float32)
    whole[7, 1], whole[60, 2] = np.nan, -np.inf
    parts = [(p.x.copy(), p.nonfinite) for p in windows(ArrayStream(whole), 10, 10, batch=3)]
    x = np.concatenate([p[0] for p in parts])
    assert np.isfinite(x).all() and (x == 0).sum() == 2 and sum(p[1] for p in parts) == 2


@given(channels=st.integers(1, 13), factor=st.integers(1, 6), start=st.integers(0, 10), length=st.integers(1, 20))
def test_averaging_channels_keeps_every_channel(channels, factor, start, length):
    whole = np.random.default_rng(channels).normal(size=(40, channels)).astype(np.float32)
    stream = ChannelMean(ArrayStream(whole), factor)
    out = np.empty((length, stream.channels), np.float32)
    stream.read(start, start + length, out)
    for c in range(stream.channels):
        expected = whole[start : start + length, c * factor : (c + 1) * factor].mean(axis=1)
        np.testing.assert_allclose(out[:, c], expected, rtol=1e-5, atol=1e-6)


def test_impossible_windows_are_refused():
    with pytest.raises(InputError, match="at least one sample"):
        window_starts(10, 0, 1)
