"""das: vehicles on a road along the fibre: the weight that bends the ground, and the waves that the wheels make."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from groundswell.pipelines.das.simulate.fibre import Cable

_REACH_S = 8.0
_WAVE_M_S = 350.0
_WAVE_BAND_HZ = (4.0, 18.0)
_OFFSET_M = (12.0, 40.0)
_SPEED_M_S = (10.0, 30.0)
_FADE_M = 60.0
"""Distance over which the waves of the wheels fade."""


def add_traffic(noise_ct: NDArray[np.float32], cable: Cable, rate_hz: float, vehicles_per_hour: float, level: float,
                rng: np.random.Generator) -> None:
    """Add passing vehicles to ``noise_ct`` (channels, time samples) in place.

    Each drives along the cable's road at a steady 10 to 30 m/s. At a channel it passes at tau = 0 it leaves the odd
    pulse of a load moving over an elastic ground (of width offset / speed) and a burst of surface waves.
    """
    channels = np.flatnonzero((cable.distance_m >= cable.road_m[0]) & (cable.distance_m <= cable.road_m[1]))
    if not len(channels) or not level:
        return
    samples = noise_ct.shape[1]
    length_m = cable.road_m[1] - cable.road_m[0]
    # Whoever entered the road before the beginning may still be on it.
    before_s = length_m / _SPEED_M_S[0]
    expected = vehicles_per_hour / 3600 * (samples / rate_hz + before_s)
    reach = int(_REACH_S * rate_hz)
    for _ in range(rng.poisson(expected)):
        entry_s, offset_m = rng.uniform(-before_s, samples / rate_hz), rng.uniform(*_OFFSET_M)
        speed_m_s = rng.uniform(*_SPEED_M_S)
        strength, forward = level * np.exp(rng.normal(0, 0.4)), rng.uniform() < 0.5
        driven_m = cable.distance_m[channels] - cable.road_m[0]
        passes_s = entry_s + (driven_m if forward else length_m - driven_m) / speed_m_s
        wheels = _wheels(rng, samples + 4 * reach, rate_hz)
        for channel, middle in zip(channels, np.rint(passes_s * rate_hz).astype(np.int64), strict=True):
            low, high = max(middle - reach, 0), min(middle + reach, samples)
            if low < high:
                tau_s = (np.arange(low, high) - middle) / rate_hz
                noise_ct[channel, low:high] += strength * _passage(tau_s, low, offset_m, speed_m_s, wheels, rate_hz)


def _wheels(rng: np.random.Generator, samples: int, rate_hz: float) -> NDArray[np.float32]:
    """Band-limited random force of unit variance."""
    frequency_hz = np.fft.rfftfreq(samples, 1 / rate_hz)
    band = (frequency_hz > _WAVE_BAND_HZ[0]) & (frequency_hz < min(_WAVE_BAND_HZ[1], 0.45 * rate_hz))
    white = rng.standard_normal((int(band.sum()), 2), dtype=np.float32).view(np.complex64)[:, 0]
    spectrum = np.zeros(len(frequency_hz), np.complex64)
    spectrum[band] = white
    series: NDArray[np.float32] = scipy.fft.irfft(spectrum, samples)
    return series / np.float32(series.std() + 1e-12)


def _passage(tau_s: NDArray[np.float64], first: int, offset_m: float, speed_m_s: float, wheels: NDArray[np.float32],
             rate_hz: float) -> NDArray[np.float32]:
    away_m = np.abs(tau_s) * speed_m_s
    load = tau_s * speed_m_s / offset_m
    delay = np.rint(np.hypot(away_m, offset_m) / _WAVE_M_S * rate_hz).astype(np.int64)
    waves = wheels[first + np.arange(len(tau_s)) + int(_REACH_S * rate_hz) - delay] * np.exp(-away_m / _FADE_M)
    passage: NDArray[np.float32] = (-1.65 * load * np.exp(-(load**2) / 2) + 0.7 * waves).astype(np.float32)
    return passage
