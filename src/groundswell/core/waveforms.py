"""core: waveforms compared where their origin, sign and amplitude are free: best lags, shifts, envelopes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_FINER = 8  # points of a cross-correlation for each sample, before a parabola refines its peak
_LEAST = 1e-12


class BestLag(NamedTuple):
    """The best agreement of two waves, each of the leading shape.

    Attributes:
        correlation: at the best lag, -1 to 1; 0 where one of the waves is constant.
        lag: samples; positive where the first is later.
        sign: -1 or 1, the polarity at which they agree best.
    """

    correlation: Floats
    lag: Floats
    sign: Floats


def best_lag(a: NDArray[Any], b: NDArray[Any], max_lag: float, *, sign: bool = True) -> BestLag:
    """Correlation of waves at the lag (and, with ``sign``, the polarity) at which it is largest.

    Means are taken out first; nothing wraps around, so that what a lag moves out of the window is lost. Lags are found
    between samples: the cross-correlation is interpolated within its own band and its peak refined by a parabola.

    Args:
        a: (..., n), all finite.
        b: (..., n), broadcast against ``a``.
        max_lag: samples to either side.
        sign: polarity is unknown too.
    """
    first, second = (_centred(wave) for wave in (a, b))
    n = first.shape[-1]
    reach = int(min(max(max_lag, 0), n - 1))
    length = scipy.fft.next_fast_len(n + reach + 1, real=True)
    product = scipy.fft.rfft(first, length) * scipy.fft.rfft(second, length).conj()
    if length % 2 == 0:
        product[..., -1] *= 0.5  # the highest frequency stands for both of its signs once it lies inside the band
    fine = _FINER * scipy.fft.irfft(product, _FINER * length)
    lags = np.arange(-_FINER * reach, _FINER * reach + 1)
    place, height, polarity = _peak(fine[..., lags], sign)
    norm = np.sqrt(np.maximum((first**2).sum(-1) * (second**2).sum(-1), _LEAST))
    return BestLag(np.clip(height / norm, -1.0, 1.0), (place - _FINER * reach) / _FINER, polarity)


def shifted(x: NDArray[Any], samples: NDArray[Any] | float) -> Floats:
    """Waves moved later by any number of samples: y(t) = x(t - samples), limited to their band; zeros come in.

    Args:
        x: (..., n).
        samples: (...), at most n either way.
    """
    n = x.shape[-1]
    length = 2 * scipy.fft.next_fast_len(n)
    turn = np.exp(-2j * np.pi * scipy.fft.rfftfreq(length) * np.asarray(samples, np.float64)[..., None])
    moved: Floats = scipy.fft.irfft(scipy.fft.rfft(np.asarray(x, np.float64), length) * turn, length)[..., :n]
    return moved


def envelope(x: NDArray[Any]) -> Floats:
    """Amplitude of the analytic signal (Hilbert transform) of waves (..., n)."""
    n = x.shape[-1]
    gain = np.zeros(n)
    gain[0] = 1.0
    gain[1:(n + 1) // 2] = 2.0
    if n % 2 == 0:
        gain[n // 2] = 1.0
    return np.asarray(np.abs(scipy.fft.ifft(scipy.fft.fft(np.asarray(x, np.float64)) * gain)), np.float64)


def _centred(wave: NDArray[Any]) -> Floats:
    wave = np.asarray(wave, np.float64)
    centred: Floats = wave - wave.mean(-1, keepdims=True)
    return centred


def _peak(values: Floats, sign: bool) -> tuple[Floats, Floats, Floats]:
    """Place, height and sign of the largest value along the last axis, refined by a parabola."""
    best = np.argmax(np.abs(values) if sign else values, axis=-1)[..., None]
    inner = np.clip(best, 1, max(values.shape[-1] - 2, 1))
    value = np.take_along_axis(values, best, -1)[..., 0]
    polarity = np.where(value < 0, -1.0, 1.0) if sign else np.ones_like(value)
    if values.shape[-1] < 3:
        return best[..., 0].astype(np.float64), value * polarity, polarity
    left, middle, right = (np.take_along_axis(values, inner + step, -1)[..., 0] * polarity for step in (-1, 0, 1))
    curvature, slope = left - 2 * middle + right, right - left
    # At an end of the lags there is no parabola.
    refined = (inner == best)[..., 0] & (curvature < 0)
    part = np.where(refined, -0.5 * slope / np.where(refined, curvature, -1.0), 0.0)
    return best[..., 0] + part, value * polarity + 0.25 * slope * part, polarity
