"""das: one simulated recording: signal and noise at the asked ratio, faults, and everything that is true of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from groundswell.pipelines.das.simulate.fibre import Cable
from groundswell.pipelines.das.simulate.recipe import SimulateRecipe
from groundswell.pipelines.das.simulate.sources import Event, corner_hz, ripple_spectrum, source_pulse
from groundswell.pipelines.das.simulate.wavefield import LEAD_S, Propagation, body_phases

Floats = NDArray[np.float64]
FULL_SCALE = 200.0
"""The digitiser's limit in units of the noise level."""
_ENERGY_SHARE = 0.95


@dataclass(frozen=True)
class Signal:
    """The noise-free record of one event and its truth.

    Attributes:
        event: the source.
        series_ct: float32 (channels, time samples), nanostrain per second, coupling included.
        first: time sample of the file (or of the archive) at which the series begins; may be negative.
        p_s, s_s: arrivals at each channel in seconds on the same clock, float64 (channels,).
        origin_s: origin time on the same clock.
        interval: time samples [start, stop) on the same clock: from the first P arrival until 95 % of the energy is
            past.
        magnitude: moment magnitude.
        site_gain_db: what the magnitude could not supply of the asked ratio.
    """

    event: Event
    series_ct: NDArray[np.float32]
    first: int
    p_s: Floats
    s_s: Floats
    origin_s: float
    interval: tuple[int, int]
    magnitude: float
    site_gain_db: float

    @property
    def corner_hz(self) -> float:
        """Corner frequency of the source."""
        return corner_hz(self.magnitude, self.event.stress_drop_pa)


def make_signal(recipe: SimulateRecipe, propagation: Propagation, event: Event, noise_power: float, *,
                onset_s: float, length: int) -> Signal:
    """The event's signal, scaled by its magnitude to the asked ratio over noise of mean square ``noise_power``.

    Args:
        recipe: definition of the ratio, range of magnitudes.
        propagation: to the event's cable.
        event: the source.
        noise_power: mean square of the noise in the band, over working channels.
        onset_s: when the first P arrival is to be, on the clock of the file.
        length: time samples of the file; signal beyond it does not count for the ratio.
    """
    cable, rate_hz = propagation.cable, propagation.rate_hz
    p_phase, s_phase = body_phases(event, cable)
    origin_s = onset_s - float(p_phase.time_s.min())
    first = round((origin_s - LEAD_S) * rate_hz)
    # The series begins on a sample, so the origin time moves by up to half of one.
    origin_s = first / rate_hz + LEAD_S
    response = propagation.response(event)
    response *= cable.coupling[:, None].astype(np.float32)
    p_s, s_s = origin_s + p_phase.time_s, origin_s + s_phase.time_s
    spectrum, magnitude, gain_db = _scale(recipe, propagation, event, response, noise_power,
                                          p_s - first / rate_hz, length - first)
    series: NDArray[np.float32] = scipy.fft.irfft(spectrum, propagation.samples, axis=-1)
    series *= np.float32(10 ** (gain_db / 20))
    start = int(np.ceil(p_s.min() * rate_hz))
    energy = np.cumsum((series[cable.working].astype(np.float64) ** 2).sum(0))
    stop = first + int(np.searchsorted(energy, _ENERGY_SHARE * energy[-1])) + 1
    return Signal(event, series, first, p_s, s_s, origin_s, (start, max(stop, start + 1)), magnitude, gain_db)


def _scale(recipe: SimulateRecipe, propagation: Propagation, event: Event, response: NDArray[np.complex64],
           noise_power: float, onsets_s: Floats, end: int) -> tuple[NDArray[np.complex64], float, float]:
    """Spectrum at the magnitude that gives the asked ratio, that magnitude, and the decibels that are still missing."""
    working = propagation.cable.working
    band = band_taper(propagation.frequency_hz, recipe.snr_band_hz)
    target_db = event.snr_db
    ripple = ripple_spectrum(event, propagation.frequency_hz)
    # The first pass takes all energy to fall in the ratio's window; the second knows how much did.
    for _ in range(2):
        magnitude = _magnitude(recipe, propagation, event, response[working], band, noise_power, target_db)
        source = source_pulse(event, magnitude, propagation.frequency_hz) / 1e18 * ripple
        spectrum = response * source.astype(np.complex64)
        in_band: NDArray[np.float32] = scipy.fft.irfft(spectrum[working] * band, propagation.samples, axis=-1)
        power = _window_power(in_band, onsets_s[working], recipe.snr_window_s, propagation.rate_hz, end)
        gain_db = event.snr_db - 10 * float(np.log10(power / noise_power))
        target_db += gain_db
    return spectrum, magnitude, gain_db


def _magnitude(recipe: SimulateRecipe, propagation: Propagation, event: Event, response_cf: NDArray[np.complex64],
               band: NDArray[np.float32], noise_power: float, target_db: float) -> float:
    """Magnitude whose signal has the asked ratio, if all of its energy fell in the ratio's window; cut to the range."""
    per_moment = (np.abs(response_cf) ** 2).mean(0, dtype=np.float64) * band**2
    per_moment *= np.abs(ripple_spectrum(event, propagation.frequency_hz)) ** 2
    window = recipe.snr_window_s * propagation.rate_hz

    def excess_db(magnitude: float) -> float:
        pulse = np.abs(source_pulse(event, magnitude, propagation.frequency_hz) / 1e18) ** 2
        power = 2 * float((per_moment * pulse).sum()) / propagation.samples / window
        return float(10 * np.log10(power / noise_power)) - target_db

    low, high = recipe.source.magnitude
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if excess_db(middle) < 0 else (low, middle)
    return (low + high) / 2


def _window_power(series_ct: NDArray[np.float32], onsets_s: Floats, window_s: float, rate_hz: float, end: int) -> float:
    """Mean square from each channel's onset for ``window_s``, cut at sample ``end`` of the series."""
    sample = np.arange(min(series_ct.shape[1], max(end, 1)))
    onset = (onsets_s * rate_hz)[:, None]
    inside = (sample >= onset) & (sample < onset + window_s * rate_hz)
    power = float((series_ct[:, : len(sample)] ** 2)[inside].mean(dtype=np.float64))
    return max(power, 1e-30)


def band_taper(frequency_hz: NDArray[Any], band_hz: tuple[float, float]) -> NDArray[np.float32]:
    """1 inside the band, 0 outside, with cosine flanks a tenth of each corner wide, centred on it."""
    low, high = band_hz
    rise = np.clip((frequency_hz - 0.95 * low) / (0.1 * low), 0, 1)
    fall = np.clip((1.05 * high - frequency_hz) / (0.1 * high), 0, 1)
    taper: NDArray[np.float32] = (np.sin(np.pi / 2 * rise) * np.sin(np.pi / 2 * fall)).astype(np.float32)
    return taper


def band_power(series_ct: NDArray[np.float32], rate_hz: float, band_hz: tuple[float, float]) -> float:
    """Mean square in a band, over all channels and time samples given."""
    samples = series_ct.shape[1]
    spectrum = scipy.fft.rfft(series_ct, axis=-1)
    spectrum *= band_taper(np.fft.rfftfreq(samples, 1 / rate_hz), band_hz)
    return float(2 * (np.abs(spectrum) ** 2).sum(dtype=np.float64) / samples**2 / len(series_ct))


def add_signal(record_ct: NDArray[np.float32], signal: Signal, start: int) -> None:
    """Add what of the signal falls into ``record_ct``, which begins at sample ``start`` of the signal's clock."""
    low = max(signal.first, start)
    high = min(signal.first + signal.series_ct.shape[1], start + record_ct.shape[1])
    if low < high:
        record_ct[:, low - start : high - start] += signal.series_ct[:, low - signal.first : high - signal.first]


def apply_faults(record_ct: NDArray[np.float32], cable: Cable, level: float) -> None:
    """Silence dead channels and pin saturated ones at ``FULL_SCALE`` times ``level``, in place."""
    limit = np.float32(FULL_SCALE * level)
    record_ct[cable.dead] = 0
    record_ct[cable.saturated] *= np.float32(1e3)
    np.clip(record_ct, -limit, limit, out=record_ct)
