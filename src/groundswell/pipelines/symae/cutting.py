"""symae: one trace prepared: resampled about its P wave, cut to the window, tapered and normalised."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray
from scipy.signal.windows import tukey

from groundswell.pipelines.symae.prepare_recipe import PrepareRecipe
from groundswell.pipelines.symae.raw import RawTrace, UnusableTrace

SEED_SAMPLES, SEED_P = 400, 200
"""The original's records: their length, and where P is in them."""
_SEED_CUT, _SEED_FIRST = (100, 300), 8
_ROLL_OFF = 0.8  # share of the new Nyquist frequency above which amplitudes fall to zero
_MARGIN = 20  # samples of the new rate that are read around the window, so that its ends are not those of a filter
_SAME = 1e-6


def first_time_s(recipe: PrepareRecipe) -> float:
    """Time of sample 0 of prepared traces, seconds after the theoretical P."""
    if recipe.way == "seed":
        return (_SEED_CUT[0] + _SEED_FIRST - SEED_P) * recipe.dt
    return -recipe.before_p_s


def prepared(trace: RawTrace, recipe: PrepareRecipe) -> NDArray[np.float64]:
    """A trace as a network sees it: float64 (nt,), mean 0 and population standard deviation 1 (way groundswell).

    Raises:
        UnusableTrace: not finite, zero (or constant) throughout the window, or shorter than it; names the trace.
    """
    x = trace.samples
    if x.ndim != 1 or len(x) < 2:
        raise UnusableTrace("no row of samples", f"A trace is a row of samples; this one has the shape {x.shape}",
                            where=trace.where)
    if recipe.way == "seed":
        window, _ = windowed(trace, -SEED_P * recipe.dt, recipe.dt, SEED_SAMPLES, recipe.most_padding_s)
        cut = (window * _taper(SEED_SAMPLES, recipe.taper))[slice(*_SEED_CUT)]
        cut = cut * _taper(len(cut), recipe.taper)
        cut = (cut - cut.mean()) / _spread(cut, window, trace)
        return np.asarray(cut[_SEED_FIRST:_SEED_FIRST + recipe.nt], np.float64)
    window, recorded = windowed(trace, -recipe.before_p_s, recipe.dt, recipe.nt, recipe.most_padding_s)
    # What is subtracted before tapering is the mean that the taper weighs, so that nothing has to be afterwards: the
    # ends stay zero, and the mean is zero all the same.
    taper = np.zeros(recipe.nt)
    taper[recorded] = _taper(recorded.stop - recorded.start, recipe.taper)
    x = taper * (window - taper @ window / taper.sum())
    return np.asarray(x / _spread(x, window[recorded], trace), np.float64)


def _taper(count: int, share: float) -> NDArray[np.float64]:
    # Shares that reach no sample divide by numbers too small for scipy.
    return np.asarray(tukey(count, share if share * count >= 1 else 0.0), np.float64)


def _spread(x: NDArray[np.float64], window: NDArray[np.float64], trace: RawTrace) -> float:
    """Standard deviation of ``x``, which ``window`` was made into; a constant that was tapered is still a constant."""
    spread = float(x.std())
    if not min(spread, float(window.std())) > 1e-10 * np.abs(window).max():
        raise UnusableTrace("zero or constant", "The trace is zero or constant throughout the window",
                            where=trace.where)
    return spread


def windowed(trace: RawTrace, first_s: float, dt: float, count: int, most_padding_s: float,
             ) -> tuple[NDArray[np.float64], slice]:
    """Values at ``first_s + i dt`` after the theoretical P, for i from 0 to ``count - 1``, band-limited.

    Where these times are those of samples, the samples are taken as they are. Otherwise the Fourier series of the
    record about the window, without what the new rate cannot hold (amplitudes fall from 0.8 of its Nyquist frequency
    on), is evaluated at them: any ratio of rates, and P anywhere between two samples.

    Returns:
        float64 (count,), zero where nothing was recorded; and the part that was.

    Raises:
        UnusableTrace: the record does not span the window, beyond ``most_padding_s`` of zeros at either end.
    """
    step = dt * trace.rate_hz
    start = trace.p_sample + first_s * trace.rate_hz
    position = start + step * np.arange(count)
    there = np.flatnonzero((position >= -_SAME) & (position <= len(trace.samples) - 1 + _SAME))
    lacking_s = np.array([-position[0], position[-1] - (len(trace.samples) - 1)]) / trace.rate_hz
    if (lacking_s > most_padding_s + _SAME).any() or len(there) < 2:
        have = (-trace.p_sample / trace.rate_hz, (len(trace.samples) - 1 - trace.p_sample) / trace.rate_hz)
        raise UnusableTrace(
            "shorter than the window", f"The record spans {have[0]:.2f} to {have[1]:.2f} s about the theoretical P, "
            f"and the window {first_s:.2f} to {first_s + (count - 1) * dt:.2f} s", where=trace.where,
            fix="Choose a shorter window (nt, dt, before_p_s), allow most_padding_s")
    out, inside = np.zeros(count), slice(int(there[0]), int(there[-1]) + 1)
    position = position[inside]
    as_they_are = abs(step - 1) < _SAME and abs(start - round(start)) < _SAME
    margin = 0 if as_they_are else math.ceil(_MARGIN * max(step, 1.0))
    low = max(0, math.floor(position[0] + _SAME) - margin)
    high = min(len(trace.samples), math.ceil(position[-1] - _SAME) + margin + 1)
    part = np.asarray(trace.samples[low:high], np.float64)
    lost = int((~np.isfinite(part)).sum())
    if lost:
        raise UnusableTrace("not finite", f"{lost} of {len(part)} samples about the P wave are not finite",
                            where=trace.where)
    out[inside] = part if as_they_are else _evaluated(part, position[0] - low, step, len(position))
    return out, inside


def _evaluated(x: NDArray[np.float64], start: float, step: float, count: int) -> NDArray[np.float64]:
    """Band-limited values of ``x`` at the positions ``start + i step``, which lie within it."""
    mean = x.mean()
    margin = min(math.ceil(_MARGIN * max(step, 1.0)), len(x) - 1)
    # Continued by its own point reflection at both ends and faded out, so that it closes to a circle without a jump.
    before, after = 2 * x[0] - x[margin:0:-1], 2 * x[-1] - x[-2:-margin - 2:-1]
    fade = 0.5 - 0.5 * np.cos(np.pi * (np.arange(margin) + 0.5) / max(margin, 1))
    circle = np.concatenate([(before - mean) * fade, x - mean, (after - mean) * fade[::-1]])
    # Frequencies depend on the length alone, and the phases are those of the first position.
    length = len(circle)
    kept, gain = _band(length, step)
    turn = 2j * np.pi * kept * ((start + margin) / length)
    spectrum = np.fft.rfft(circle)[kept] * gain * np.exp(turn)
    return np.asarray((_table(length, step, count) @ spectrum).real + mean, np.float64)


@functools.lru_cache(8)
def _band(length: int, step: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Numbers of the frequencies that the new rate can hold, and what to multiply each by."""
    number = np.arange(length // 2 + 1)
    share = 2 * number / length * max(step, 1.0)  # of the lower of both Nyquist frequencies
    gain = np.clip((1 - share) / (1 - _ROLL_OFF), 0, 1) if step > 1 + _SAME else np.ones(len(number))
    gain = np.sin(gain * np.pi / 2) ** 2
    twice = np.where((number == 0) | (2 * number == length), 1.0, 2.0) / length
    kept = np.flatnonzero(gain > 0)
    return kept, (gain * twice)[kept]


@functools.lru_cache(8)
def _table(length: int, step: float, count: int) -> NDArray[np.complex128]:
    kept, _ = _band(length, step)
    return np.exp(2j * np.pi / length * step * np.outer(np.arange(count), kept))
