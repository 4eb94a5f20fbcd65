"""das: where in time and along the fibre an event lies, once a model has said in which windows it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter, uniform_filter1d
from scipy.signal import butter, sosfilt

from groundswell.deploy.streaming import Stream

ONSET_BAND_HZ = (5.0, 40.0)
"""Where P waves of local and regional events stand out of what traffic and the sea do to a fibre."""
BODY_BAND_HZ = (2.0, 20.0)
"""Where most of an event's energy is, surface waves included."""
_BIN_S = 0.05
_NOISE_S = 20.0
_SHORT_S, _LONG_S = 0.5, 3.0
_CAP = 8.0
_LEAST_RISE = 4.0  # of the noise's own deviation
_BEYOND_NOISE = 1.25  # of the largest rise in the noise
_LEAST_SHARE = 0.06  # of the largest rise: how weak a P wave before its S wave may be
_SETTLE_S = 2.0
_BODY_S = 60.0
_ABOVE_NOISE = 4.0
_OVER = 2.0
_PIECE_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Extent:
    """Where an event lies.

    Attributes:
        onset_s: its first arrival, seconds from the start of the stream.
        end_s: when its energy stands at twice the noise for the last time, within its windows.
        channel_start: first channel on which it stands above the noise before it.
        channel_stop: one past the last.
        refined: whether an arrival was found; otherwise the times are those of the windows.
    """

    onset_s: float
    end_s: float
    channel_start: int
    channel_stop: int
    refined: bool


def energy_bins(stream: Stream, start: int, stop: int, rate_hz: float, samples_per_bin: int,
                band_hz: tuple[float, float]) -> NDArray[np.float32]:
    """Mean square of every channel in short bins, within a band as far as the sampling rate reaches.

    Read in pieces of bounded size that overlap by the time the filter needs to settle.

    Returns:
        Float32, shape (bins, channels); samples that do not fill a bin at the end are left out.
    """
    bins = (stop - start) // samples_per_bin
    out = np.empty((bins, stream.channels), np.float32)
    step = max(1, _PIECE_BYTES // (4 * stream.channels * samples_per_bin))
    settle = round(_SETTLE_S * rate_hz)
    sos = _band(rate_hz, band_hz)
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


def _band(rate_hz: float, band_hz: tuple[float, float]) -> NDArray[np.float32] | None:
    low, high = band_hz
    if rate_hz < 5 * low:
        return None
    if high < 0.4 * rate_hz:
        return np.asarray(butter(2, (low, high), "bandpass", fs=rate_hz, output="sos"), np.float32)
    return np.asarray(butter(2, low, "highpass", fs=rate_hz, output="sos"), np.float32)


def rise(energy: NDArray[np.float32], before: int, after: int) -> NDArray[np.float64]:
    """By how much energy rises at each bin: the mean of the stack over ``after`` bins less that over ``before`` bins.

    The stack is the mean over channels of log(1 + energy / noise), the noise being the channel's median and the ratio
    capped at 8: a short-term against a long-term average (Allen, 1978) that one loud channel, or a car passing a few of
    them, hardly moves. Channels without any noise are dead and do not count.

    Args:
        energy: shape (bins, channels).
        before: length of the long-term average, which ends where the bin begins.
        after: length of the short-term one, which begins there.

    Returns:
        Float64, shape (bins,); 0 at both ends, where an average would be too short, and everywhere if all are dead.
    """
    noise = np.median(energy, axis=0)
    alive = np.isfinite(noise) & (noise > 0)
    out = np.zeros(len(energy))
    if not alive.any() or len(energy) <= before + after:
        return out
    stack = np.log1p(np.minimum(energy[:, alive] / noise[alive], _CAP)).mean(axis=1, dtype=np.float64)
    total = np.concatenate([[0.0], np.cumsum(stack)])
    at = np.arange(before // 2, len(energy) - after + 1)
    first = np.maximum(at - before, 0)
    out[at[0] : at[-1] + 1] = (total[at + after] - total[at]) / after - (total[at] - total[first]) / (at - first)
    return out


def locate(stream: Stream, rate_hz: float, first: tuple[float, float], last: tuple[float, float]) -> Extent:
    """Refine the windows of an event to its onset, end and channels.

    The onset is sought from half a window before the first window that holds the event to half a window beyond it: had
    it come earlier, the window before would have held most of the event. It is the first time that the stacked energy
    (:func:`rise`) rises by four times the deviation of the 20 s before, by more than it ever did there, and by 6 % of
    its largest rise, so that a weak P wave is not passed over for the S wave; then the steepest rise within a second.

    Args:
        stream: an uninterrupted section, (time, channel), as recorded.
        rate_hz: its sampling rate.
        first: start and stop of the event's first window, seconds.
        last: start and stop of its last window.
    """
    width_s = first[1] - first[0]
    samples_per_bin = max(1, round(_BIN_S * rate_hz))
    bin_s = samples_per_bin / rate_hz
    start = max(0, round((first[0] - width_s / 2 - _NOISE_S) * rate_hz))
    stop = min(stream.samples, round((first[1] + width_s / 2) * rate_hz))
    energy = energy_bins(stream, start, stop, rate_hz, samples_per_bin, ONSET_BAND_HZ)
    sought = min(max(0, round((first[0] - width_s / 2 - start / rate_hz) / bin_s)), len(energy))
    onset = _onset_bin(energy, sought, bin_s)
    if onset is None:
        return Extent(first[0], last[1], 0, stream.channels, False)
    onset_s = start / rate_hz + onset * bin_s
    return _body(stream, rate_hz, samples_per_bin, onset_s, max(last[1], onset_s + 1.0))


def _body(stream: Stream, rate_hz: float, samples_per_bin: int, onset_s: float, last_s: float) -> Extent:
    """The end and the channels of an event whose onset is known."""
    bin_s = samples_per_bin / rate_hz
    second = max(1, round(1.0 / bin_s))

    def between(start_s: float, stop_s: float) -> NDArray[np.float32]:
        start, stop = max(0, round(start_s * rate_hz)), min(stream.samples, round(stop_s * rate_hz))
        return energy_bins(stream, start, stop, rate_hz, samples_per_bin, BODY_BAND_HZ)

    noise = between(onset_s - 2 * _LONG_S, onset_s)
    body = between(onset_s, min(last_s, onset_s + _BODY_S))
    if not len(noise) or not len(body):
        return Extent(onset_s, last_s, 0, stream.channels, True)
    level = noise.mean(axis=0)
    tail_s = max(onset_s, last_s - _BODY_S)
    tail = body if tail_s == onset_s else between(tail_s, last_s)
    channels = _channels(level, body, second)
    loud = _loud_bins(level[slice(*channels)], tail[:, slice(*channels)], second)
    return Extent(onset_s, min(max(tail_s + loud * bin_s, onset_s + 1.0), last_s), channels[0], channels[1], True)


def _onset_bin(energy: NDArray[np.float32], sought: int, bin_s: float) -> int | None:
    before, after = max(3, round(_LONG_S / bin_s)), max(1, round(_SHORT_S / bin_s))
    risen = rise(energy, before, after)
    quiet, here = risen[before:sought], risen[sought:]
    if not len(here) or here.max() <= 0:
        return None
    # Close to the start of a section there is no noise to learn from: half the largest rise is then asked for.
    known = len(quiet) >= 2 * before
    if known:
        deviation = 1.4826 * float(np.median(np.abs(quiet - np.median(quiet))))
        beyond = min(_BEYOND_NOISE * float(quiet.max()), 0.5 * float(here.max()))  # what passed before must not hide it
        least = max(_LEAST_RISE * deviation, _LEAST_SHARE * float(here.max()), beyond)
    else:
        least = 0.5 * float(here.max())
    if here.max() < least:
        return None
    crossing = int(np.flatnonzero(here >= least)[0])
    return sought + crossing + int(np.argmax(here[crossing : crossing + max(1, round(1.0 / bin_s))]))


def _channels(before: NDArray[np.float32], event: NDArray[np.float32], second: int) -> tuple[int, int]:
    """Range of channels on which the event stands above the noise, half-open; all where it does on none."""
    # The loudest second of each channel: waves arrive at different times along the fibre.
    loudest = uniform_filter1d(event, max(1, min(second, len(event))), axis=0, mode="nearest").max(axis=0)
    ratio = np.where(before > 0, loudest / np.maximum(before, np.finfo(np.float32).tiny), 0.0)
    above = np.flatnonzero(median_filter(ratio, size=min(5, len(ratio)), mode="nearest") >= _ABOVE_NOISE)
    return (int(above[0]), int(above[-1]) + 1) if len(above) else (0, len(ratio))


def _loud_bins(before: NDArray[np.float32], event: NDArray[np.float32], second: int) -> int:
    """How many bins pass until the energy, averaged over a second, stands at twice the noise for the last time."""
    level = np.maximum(before, np.finfo(np.float32).tiny)
    mean = uniform_filter1d(np.median(event / level, axis=1), max(1, second), mode="nearest")
    loud = np.flatnonzero(mean >= _OVER)
    return int(loud[-1]) + 1 if len(loud) else 0
