"""das: a long record made as small as a screen without losing what stands out, in memory that does not grow with it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.das.record import Record, RecordReader
from groundswell.pipelines.das.timeline import recorded_ranges

_PIECE_BYTES = 32 * 2**20
_SEGMENTS = 4


@dataclass(frozen=True)
class Reduced:
    """The largest and smallest value of each cell, and each channel's mean.

    Attributes:
        high: float32, shape (time bins, channels); NaN where nothing was recorded.
        low: the same for the smallest.
        mean: of each channel over what was read, float64, shape (channels,).
        start: first time sample.
        stop: one past the last.
    """

    high: NDArray[np.float32]
    low: NDArray[np.float32]
    mean: NDArray[np.float64]
    start: int
    stop: int

    def peaks(self, rows: int) -> NDArray[np.float32]:
        """The value farthest from its channel's mean in each cell, sign kept, less that mean.

        Args:
            rows: most rows of neighbouring channels; each row shows the farthest of its channels.

        Returns:
            Float32, shape (rows or fewer, time bins).
        """
        mean = self.mean.astype(np.float32)
        up, down = self.high - mean, self.low - mean
        signed = np.where(up >= -down, up, down)
        channels = signed.shape[1]
        edges = np.linspace(0, channels, min(rows, channels) + 1).astype(int)
        out = np.empty((len(edges) - 1, len(signed)), np.float32)
        for row, (a, b) in enumerate(pairwise(edges)):
            block = signed[:, a:b]
            size = np.where(np.isnan(block), -1.0, np.abs(block))
            out[row] = np.take_along_axis(block, size.argmax(axis=1)[:, None], axis=1)[:, 0]
        return out


def reduce_record(reader: RecordReader, start: int, stop: int, channels: tuple[int, int], columns: int) -> Reduced:
    """Read a stretch of a record once and keep the extremes of each time bin and channel.

    Args:
        reader: of the record.
        start: first time sample.
        stop: one past the last.
        channels: half-open range.
        columns: most time bins.
    """
    width = channels[1] - channels[0]
    bins = max(1, min(columns, stop - start))
    edges = start + np.linspace(0, stop - start, bins + 1).round().astype(np.int64)
    high = np.full((bins, width), -np.inf, np.float32)
    low = np.full((bins, width), np.inf, np.float32)
    total, counted = np.zeros(width), np.zeros(width, np.int64)
    step = max(1, _PIECE_BYTES // (4 * width))
    buffer = np.empty((min(step, stop - start), width), np.float32)
    for first, last in _within(reader.record, start, stop):
        for at in range(first, last, step):
            part = buffer[: min(step, last - at)]
            reader.read(at, at + len(part), channels[0], channels[1], part)
            finite = np.isfinite(part)
            if not finite.all():
                part[~finite] = np.nan
            total += np.nansum(part, axis=0, dtype=np.float64)
            counted += finite.sum(axis=0)
            _extremes(part, at, edges, high, low)
    empty = high < low
    high[empty] = low[empty] = np.nan
    return Reduced(high, low, total / np.maximum(counted, 1), start, stop)


def _within(record: Record, start: int, stop: int) -> list[tuple[int, int]]:
    return [(max(a, start), min(b, stop)) for a, b in recorded_ranges(record) if a < stop and b > start]


def _extremes(part: NDArray[np.float32], at: int, edges: NDArray[np.int64], high: NDArray[np.float32],
              low: NDArray[np.float32]) -> None:
    """Fold a piece that starts at sample ``at`` into the bins it touches."""
    first = int(np.searchsorted(edges, at, side="right")) - 1
    last = int(np.searchsorted(edges, at + len(part), side="left"))
    offsets = np.maximum(edges[first:last] - at, 0)
    high[first:last] = np.fmax(high[first:last], np.fmax.reduceat(part, offsets, axis=0))
    low[first:last] = np.fmin(low[first:last], np.fmin.reduceat(part, offsets, axis=0))


def spectrogram(reader: RecordReader, start: int, stop: int, channel: int, columns: int,
                rate_hz: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Power spectral density over time of one channel, in dB; at most a few segments are read for each column.

    Welch's estimate from up to four Hann-windowed segments, evenly spread over the column.

    Returns:
        Frequencies in Hz, shape (frequencies,), and decibels relative to (unit squared per Hz), shape (frequencies,
        columns or fewer); NaN where nothing was recorded.
    """
    length = int(2 ** np.clip(np.floor(np.log2(max(8, (stop - start) / 16))), 3, 9))
    if stop - start < length:
        length = stop - start
    columns = max(1, min(columns, (stop - start) // max(1, length // 2)))
    edges = start + np.linspace(0, stop - start, columns + 1)
    ranges = _within(reader.record, start, stop)
    window = np.asarray(np.hanning(length + 2)[1:-1], np.float64)
    power = np.full((length // 2 + 1, columns), np.nan)
    buffer = np.empty((length, 1), np.float32)
    for column in range(columns):
        last = max(edges[column], edges[column + 1] - length)
        some = [_spectrum(reader, min(round(at), stop - length), channel, ranges, window, buffer)
                for at in np.linspace(edges[column], last, _SEGMENTS if last > edges[column] else 1)]
        found = [s for s in some if s is not None]
        if found:
            power[:, column] = np.mean(found, axis=0)
    density = power * 2 / (rate_hz * (window**2).sum())
    frequencies = np.asarray(np.fft.rfftfreq(length, 1 / rate_hz), np.float64)
    return frequencies, 10 * np.log10(np.maximum(density, np.finfo(np.float64).tiny))


def _spectrum(reader: RecordReader, at: int, channel: int, ranges: list[tuple[int, int]],
              window: NDArray[np.float64], buffer: NDArray[np.float32]) -> NDArray[np.float64] | None:
    if not any(a <= at and at + len(window) <= b for a, b in ranges):
        return None
    reader.read(at, at + len(window), channel, channel + 1, buffer)
    x = buffer[:, 0].astype(np.float64)
    if not np.isfinite(x).all():
        return None
    spectrum: NDArray[np.float64] = np.abs(np.fft.rfft((x - x.mean()) * window)) ** 2
    return spectrum
