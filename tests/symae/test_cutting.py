"""One trace prepared: on the true time axis, band-limited, mean 0 and deviation 1 after tapering."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_files import EVENT, RATE, P, wave
from scipy.signal import resample_poly
from scipy.signal.windows import tukey

from groundswell.pipelines.symae.cutting import first_time_s, prepared, windowed
from groundswell.pipelines.symae.prepare_recipe import PRESETS, PrepareRecipe
from groundswell.pipelines.symae.raw import Earthquake, RawTrace, UnusableTrace


def raw(samples: np.ndarray, rate: float = RATE, p: float = P) -> RawTrace:
    return RawTrace(Earthquake(EVENT), 14, "XX.S", np.asarray(samples, np.float64), rate, p)


@given(st.floats(0.3, 3.0), st.floats(1.0, 40.0), st.floats(0, 1), st.integers(0, 1000))
def test_p_stays_at_zero_on_the_time_axis_at_any_rate(dt: float, rate: float, part: float, seed: int) -> None:
    step = dt * rate
    if 0.5 / max(dt, 1 / rate) < 0.15:
        return  # such a rate cannot hold the pulse
    length = int(260 * rate)
    p = 100 * rate + part
    t = (np.arange(length) - p) / rate
    found, inside = windowed(raw(np.exp(-((t - 1.3) / 6) ** 2) + seed, rate, p), -30.0, dt, 60, 0.0)
    times = -30.0 + dt * np.arange(60)
    assert inside == slice(0, 60) and step > 0
    np.testing.assert_allclose(found - seed, np.exp(-((times - 1.3) / 6) ** 2), atol=2e-3)


def test_what_the_new_rate_cannot_hold_is_taken_out_and_does_not_come_back_as_something_else() -> None:
    t = np.arange(3000) / 10
    slow, fast = np.sin(2 * np.pi * 0.3 * t), np.sin(2 * np.pi * 2.9 * t)
    found, _ = windowed(raw(slow + fast, p=1500), -100.0, 0.5, 400, 0.0)
    expected, _ = windowed(raw(slow, p=1500), -100.0, 0.5, 400, 0.0)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(found, np.sin(2 * np.pi * 0.3 * (50 + 0.5 * np.arange(400))), atol=1e-3)


def test_it_agrees_with_polyphase_resampling_where_that_applies() -> None:
    x = np.convolve(np.random.default_rng(0).normal(size=2000), np.hanning(41), "same")
    found, _ = windowed(raw(x, p=1000), -80.0, 0.5, 320, 0.0)
    np.testing.assert_allclose(found[20:-20], resample_poly(x, 1, 5)[40:360][20:-20], atol=0.05 * x.std())


def test_samples_that_lie_on_the_axis_are_taken_as_they_are() -> None:
    x = np.random.default_rng(1).normal(size=900)
    np.testing.assert_array_equal(windowed(raw(x), -20.0, 0.1, 400, 0.0)[0], x[200:600])


@given(st.integers(0, 1000), st.floats(0, 1), st.floats(-1e4, 1e4), st.floats(1e-6, 1e6))
def test_mean_and_deviation_hold_after_tapering_whatever_offset_and_gain(seed: int, taper: float, offset: float,
                                                                         gain: float) -> None:
    recipe = PrepareRecipe(taper=taper)
    x = prepared(raw(gain * (wave(seed=seed) + offset)), recipe)
    assert x.shape == (192,)
    assert abs(x.mean()) < 1e-9 and abs(x.std() - 1) < 1e-9
    if taper > 0.05:
        assert abs(x[0]) < 1e-9 and abs(x[-1]) < 1e-9
    np.testing.assert_allclose(x, prepared(raw(wave(seed=seed)), recipe), atol=1e-4)


def test_the_seeds_way_is_the_originals_step_by_step() -> None:
    recipe = PrepareRecipe(**PRESETS["seed"])
    x = np.random.default_rng(2).normal(size=400)
    cut = (x * tukey(400, 0.1))[100:300] * tukey(200, 0.1)  # samples 101 to 300, counted from 1
    expected = ((cut - cut.mean()) / cut.std())[8:200]  # samples 9 to 200
    np.testing.assert_allclose(prepared(raw(x, 1.0, 200.0), recipe), expected, atol=1e-12)
    assert first_time_s(recipe) == -92.0 and recipe.least_traces == 21
    longer = np.concatenate([np.zeros(50), x, np.zeros(50)])
    np.testing.assert_allclose(prepared(raw(longer, 1.0, 250.0), recipe), expected, atol=1e-12)


def test_a_record_that_is_a_little_short_may_be_filled_up_if_that_is_asked_for() -> None:
    short = raw(wave()[:850])  # 44.9 s after P
    recipe = PrepareRecipe(before_p_s=36.0)
    with pytest.raises(UnusableTrace, match=r"spans -40\.00 to 44.90 s"):
        prepared(short, recipe)
    x = prepared(short, PrepareRecipe(before_p_s=36.0, most_padding_s=6.0))
    late = -36.0 + 0.45 * np.arange(192) > 44.9
    assert late.any() and (x[late] == 0).all() and abs(x.mean()) < 1e-9 and abs(x.std() - 1) < 1e-9
    assert abs(x[~late][-1]) < 1e-6  # tapered where the record ends


@pytest.mark.parametrize(("samples", "reason"), [
    (np.zeros(900), "zero or constant"), (np.full(900, 7.3), "zero or constant"), (np.ones((30, 30)), "no row"),
    (np.where(np.arange(900) == 500, np.nan, wave()), "not finite"), (wave()[:500], "shorter than the window"),
    (np.where(np.arange(900) == 500, np.inf, wave()), "not finite"), (np.ones(1), "no row")])
@pytest.mark.parametrize("preset", ["groundswell", "seed"])
def test_what_cannot_be_used_is_refused_by_name(samples: np.ndarray, reason: str, preset: str) -> None:
    recipe = PrepareRecipe(**PRESETS[preset] | ({"dt": 0.2} if preset == "seed" else {}))
    with pytest.raises(UnusableTrace) as raised:
        prepared(raw(samples), recipe)
    assert raised.value.reason.startswith(reason) and f"{EVENT}/14/XX.S" in str(raised.value)


def test_a_value_that_is_lost_far_from_the_window_does_no_harm() -> None:
    long = np.concatenate([[np.nan], np.random.default_rng(0).normal(size=3000)])
    assert np.isfinite(prepared(raw(long, p=1500), PrepareRecipe())).all()
