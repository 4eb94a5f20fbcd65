"""das: where in time and along the fibre an event lies, once a model has said in which windows it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter, uniform_filter1d
from scipy.signal import butter, sosfilt

from groundswell.deploy.streaming import Stream

BAND_HZ = (1.0, 20.0)
"""Where local and regional events stand out of the noise of a fibre; what the energy is measured in."""
_BIN_S = 0.05
_NOISE_S = 6.0
_GROUPS = 64
_SETTLE_S = 2.0
_RISE = 2.0
_LEAST_GROUPS = 3
_PIECE_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Extent:
    """Where an event lies.

    Attributes:
        onset_s: its first arrival, seconds from the start of the stream.
        end_s: when the energy is back within twice the noise before it, or where the windows end.
        channel_start: first channel on which it stands above the noise before it.
        channel_stop: one past the last.
        refined: whether an arrival was found; otherwise the times are those of the windows.
    """

    onset_s: float
    end_s: float
    channel_start: int
    channel_stop: int
    refined: bool


def energy_bins(stream: Stream, start: int, stop: int, rate_hz: float, samples_per_bin: int) -> NDArray[np.float32]:
    """Mean square of every channel in short bins, within :data:`BAND_HZ` where the sampling rate reaches that far.

    Read in pieces of bounded size that overlap by the time the filter needs to settle.

    Returns:
        Float32, shape (bins, channels); samples that do not fill a bin at the end are left out.
    """
    bins = (stop - start) // samples_per_bin
    out = np.empty((bins, stream.channels), np.float32)
    step = max(1, _PIECE_BYTES // (4 * stream.channels * samples_per_bin))
    settle = round(_SETTLE_S * rate_hz)
    sos = _band(rate_hz)
    for first in range(0, bins, step):
        last = min(first + step, bins)
        here, there = start + first * samples_per_bin, start + last * samples_per_bin
        before = min(settle, here)
        x = np.empty((there - here + before, stream.channels), np.float32)
        stream.read(here - before, there, x)
        x[~np.isfinite(x)] = 0
        x -= x[0] if sos is not None else x.mean(axis=0)
        if sos is not None:
            x = sosfilt(sos, x, axis=0)
        x_bsc = x[before:].reshape(last - first, samples_per_bin, stream.channels)
        out[first:last] = np.einsum("bsc,bsc->bc", x_bsc, x_bsc) / samples_per_bin
    return out


def _band(rate_hz: float) -> NDArray[np.float32] | None:
    low, high = BAND_HZ
    if rate_hz < 5 * low:
        return None
    if high < 0.4 * rate_hz:
        return np.asarray(butter(2, (low, high), "bandpass", fs=rate_hz, output="sos"), np.float32)
    return np.asarray(butter(2, low, "highpass", fs=rate_hz, output="sos"), np.float32)


def change_point(energy: NDArray[np.floating]) -> tuple[int, float]:
    """The bin at which a series of energies most likely changes its level.

    The minimum of Akaike's criterion over two exponential distributions, k log(mean before) + (n - k) log(mean after):
    the picker of Maeda (1985) applied to energies, whose mean is the variance of the signal.

    Returns:
        The first bin of the new level and the ratio of the new to the old; (0, 1.0) where there are too few bins.
    """
    n = len(energy)
    if n < 6:
        return 0, 1.0
    total = np.cumsum(energy, dtype=np.float64)
    k = np.arange(2, n - 1)
    floor = max(float(total[-1]) / n * 1e-9, 1e-300)
    before, behind = np.maximum(total[k - 1] / k, floor), np.maximum((total[-1] - total[k - 1]) / (n - k), floor)
    best = int(np.argmin(k * np.log(before) + (n - k) * np.log(behind)))
    return int(k[best]), float(behind[best] / before[best])


def arrival(energy: NDArray[np.floating], smooth_bins: int) -> int | None:
    """The bin in which energy first rises for good: the change point before the maximum, then any earlier one that
    still stands above the noise (a P wave before a stronger S wave)."""
    peak = int(np.argmax(uniform_filter1d(energy, smooth_bins, mode="nearest")))
    pick, ratio = change_point(energy[: peak + smooth_bins])
    if ratio < _RISE:
        return None
    for _ in range(3):
        earlier, ratio = change_point(energy[:pick])
        settled = pick - earlier >= smooth_bins // 2 and earlier >= smooth_bins // 2
        if ratio < _RISE or not settled:
            break
        pick = earlier
    return pick


def locate(stream: Stream, rate_hz: float, first: tuple[float, float], last: tuple[float, float]) -> Extent:
    """Refine the windows of an event to its onset, end and channels.

    The onset is sought from one window's length before the first window that holds the event to that window's end. The
    energy of every channel is scaled by its own noise; neighbouring channels are stacked into at most 64 groups; each
    group's first arrival is picked (:func:`arrival`); the onset is the tenth percentile of the groups' arrivals, which
    a car passing near a few channels does not move.

    Args:
        stream: an uninterrupted section, (time, channel), as recorded.
        rate_hz: its sampling rate.
        first: start and stop of the event's first window, seconds.
        last: start and stop of its last window.
    """
    length_s, width = stream.samples / rate_hz, first[1] - first[0]
    samples_per_bin = max(1, round(_BIN_S * rate_hz))
    bin_s = samples_per_bin / rate_hz
    sought = max(0.0, first[0] - width)
    start = max(0, round((sought - _NOISE_S) * rate_hz))
    stop = min(stream.samples, round(min(first[1] + width / 2, length_s) * rate_hz))
    energy = energy_bins(stream, start, stop, rate_hz, samples_per_bin)
    smooth_bins = max(2, round(1.0 / bin_s))
    unrefined = Extent(first[0], last[1], 0, stream.channels, False)
    if len(energy) < 3 * smooth_bins:
        return unrefined
    noise = np.quantile(energy, 0.25, axis=0) / 0.75
    alive = np.isfinite(noise) & (noise > 0)
    if not alive.any():
        return unrefined
    scaled = energy[:, alive] / noise[alive]
    onset = _onset_bin(scaled, smooth_bins)
    if onset is None:
        return unrefined
    onset_s = start / rate_hz + onset * bin_s
    before = energy[max(0, onset - round(_NOISE_S / bin_s)) : max(onset, 1)]
    channels = _channels(before, energy[onset:], alive)
    end_s = _end_s(stream, rate_hz, samples_per_bin, before.mean(axis=0), channels, (onset_s, last))
    return Extent(onset_s, end_s, channels[0], channels[1], True)


def _onset_bin(scaled: NDArray[np.float32], smooth_bins: int) -> int | None:
    groups = np.array_split(np.arange(scaled.shape[1]), min(_GROUPS, scaled.shape[1]))
    # Within a group one loud channel must not drown the others.
    picks = [arrival(np.minimum(scaled[:, g], 50 * np.median(scaled[:, g], axis=1, keepdims=True) + 50).mean(axis=1),
                     smooth_bins) for g in groups]
    found = np.array([p for p in picks if p is not None])
    if len(found) >= min(_LEAST_GROUPS, len(groups)):
        return int(np.quantile(found, 0.1, method="nearest"))
    return arrival(np.median(scaled, axis=1), smooth_bins)


def _channels(before: NDArray[np.float32], event: NDArray[np.float32], alive: NDArray[np.bool_]) -> tuple[int, int]:
    """Range of channels on which the event stands above the noise, half-open; all where it does on none."""
    level = np.maximum(before.mean(axis=0), 1e-30)
    # The loudest second of each channel: waves arrive at different times along the fibre.
    loudest = uniform_filter1d(event, max(1, min(20, len(event))), axis=0, mode="nearest").max(axis=0)
    ratio = np.where(alive, loudest / level, 0.0)
    smooth = median_filter(ratio, size=min(5, len(ratio)), mode="nearest")
    above = np.flatnonzero(smooth >= 2 * _RISE)
    return (int(above[0]), int(above[-1]) + 1) if len(above) else (0, len(ratio))


def _end_s(stream: Stream, rate_hz: float, samples_per_bin: int, noise: NDArray[np.float32],
           channels: tuple[int, int], span: tuple[float, tuple[float, float]]) -> float:
    """When the energy of the event's channels last stands at twice the noise, within the last window."""
    onset_s, (last_start_s, last_stop_s) = span
    start = round(max(onset_s, last_start_s - (last_stop_s - last_start_s)) * rate_hz)
    stop = min(stream.samples, round(last_stop_s * rate_hz))
    if stop - start < 2 * samples_per_bin:
        return last_stop_s
    energy = energy_bins(stream, start, stop, rate_hz, samples_per_bin)[:, slice(*channels)]
    level = np.maximum(noise[slice(*channels)], 1e-30)
    mean = uniform_filter1d(np.median(energy / level, axis=1), max(2, round(rate_hz / samples_per_bin)), mode="nearest")
    loud = np.flatnonzero(mean >= _RISE)
    end_s = start / rate_hz + (int(loud[-1]) + 1 if len(loud) else 0) * samples_per_bin / rate_hz
    return float(min(max(end_s, onset_s + 1.0), max(last_stop_s, onset_s + 1.0)))
