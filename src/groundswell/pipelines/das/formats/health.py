"""das: what ails a record: missing values, dead, constant and saturated channels, told from blocks spread through it.

Memory is bounded by one block; a small record is read whole, of a large one at most ``MOST_BLOCKS`` blocks and
about ``MOST_BYTES`` bytes, and the share that was read is part of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.das.record import Record, RecordReader

BLOCK_BYTES = 32 * 2**20
MOST_BLOCKS = 16
MOST_BYTES = 2**29
_SATURATED_SHARE = 0.01
_SATURATED_SAMPLES = 8
_COARSE = 64  # whole numbers of fewer levels pile up at their extremes without being clipped
_PAGE_BYTES = 4096
WINDOW_SAMPLES = 1024


def read_cost(record: Record, window_samples: int = WINDOW_SAMPLES) -> float | None:
    """Bytes touched per byte used when one window of all channels is read, on average over where it begins.

    Touched are whole chunks (a compressed chunk counts with its size in memory, for all of it is undone), whole
    miniSEED records, all rows of a FEBUS block, and whole pages of 4096 bytes of runs that lie apart.
    """
    samples, channels = min(window_samples, record.samples), record.channels
    if not samples or not channels or not record.dtype:
        return None
    item = np.dtype(record.dtype).itemsize
    used = samples * channels * item
    chunk: list[int] | None = record.detail.get("chunk")
    if chunk and len(chunk) == 2:
        time, channel = chunk if record.axis_order != "channel,time" else chunk[::-1]
        touched = _chunks(samples, record.samples, time) * time * _chunks(channels, channels, channel) * channel
        return touched * item / used
    if "blocks" in record.detail:
        keep = record.detail["blocks"][1]
        if chunk and len(chunk) == 3:
            blocks = _chunks(samples, record.samples, keep)
            return float(blocks * chunk[1] * -(-channels // chunk[2]) * chunk[2] * item / used)
        return 1.0
    if record.axis_order == "channel,time":
        run: int = min(samples, record.detail.get("run", samples)) * item
        # Pages between neighbouring runs are shared, so runs never touch more than their distance.
        apart: int = record.samples * item + record.detail.get("header_bytes", 0) if "run" not in record.detail else run
        return max(1.0, min(run + _PAGE_BYTES - item, apart) / run)
    return (used + _PAGE_BYTES - item) / used


def _chunks(wanted: int, available: int, chunk: int) -> float:
    """Chunks that ``wanted`` samples touch on average, beginning anywhere in ``available``."""
    return min((wanted - 1) / chunk + 1, -(-available // chunk))


@dataclass(frozen=True)
class Health:
    """What was found in the part of a record that was read.

    Attributes:
        share: part of the record's samples that was read, 0 to 1.
        nan_samples: values that are not finite, over all channels.
        dead_channels: channels of nothing but zeros (or of no finite value at all).
        constant_channels: channels of one other value.
        saturated_channels: channels with at least 1 % of their samples (and 8) at their largest or smallest value.
    """

    share: float
    nan_samples: int
    dead_channels: int
    constant_channels: int
    saturated_channels: int

    def verdict(self, channels: int) -> str:
        """Why the record is not fit for training; ``ok`` if nothing speaks against it."""
        if self.dead_channels == channels:
            said = "no finite values" if self.nan_samples else "all zeros"
            return said if self.share == 1 else f"{said} in the {self.share:.1%} that was read"
        if self.nan_samples:
            return f"values that are not finite: {self.nan_samples} in the part read"
        for count, word in ((self.dead_channels + self.constant_channels, "dead or constant"),
                            (self.saturated_channels, "saturated")):
            if 2 * count > channels:
                return f"{word} channels: {count} of {channels}"
        return "ok"


class _Tally:
    """Running extremes of each channel, how often each was met, and how many values were not finite."""

    def __init__(self, channels: int) -> None:
        self.low = np.full(channels, np.inf)
        self.high = np.full(channels, -np.inf)
        self.at_low = np.zeros(channels, np.int64)
        self.at_high = np.zeros(channels, np.int64)
        self.samples = 0
        self.nan_samples = 0

    def add(self, block: NDArray[Any]) -> None:
        """Take in values of shape (time, channel)."""
        values = block
        if block.dtype.kind == "f":
            finite = np.isfinite(block)
            self.nan_samples += int(block.size - np.count_nonzero(finite))
            if self.nan_samples:
                values = np.where(finite, block, np.nan)
        self._extreme(values, np.fmin.reduce(values, axis=0), self.low, self.at_low, np.less)
        self._extreme(values, np.fmax.reduce(values, axis=0), self.high, self.at_high, np.greater)
        self.samples += len(block)

    @staticmethod
    def _extreme(values: NDArray[Any], extreme: NDArray[Any], so_far: NDArray[np.float64], count: NDArray[np.int64],
                 beyond: np.ufunc) -> None:
        here = np.count_nonzero(values == extreme, axis=0)
        new = beyond(extreme, so_far)
        count[new] = 0
        count[new | (extreme == so_far)] += here[new | (extreme == so_far)]
        so_far[new] = extreme[new]

    def health(self, share: float, whole_numbers: bool) -> Health:
        """What the tally says."""
        dead = (self.low > self.high) | ((self.low == 0) & (self.high == 0))
        constant = (self.low == self.high) & ~dead
        most = np.maximum(self.at_low, self.at_high)
        clipped = (most >= max(_SATURATED_SAMPLES, _SATURATED_SHARE * self.samples)) & ~dead & ~constant
        if whole_numbers:
            clipped &= self.high - self.low >= _COARSE
        return Health(share, self.nan_samples, int(dead.sum()), int(constant.sum()), int(clipped.sum()))


def _spread(reader: RecordReader, block_bytes: int, most_blocks: int, most_bytes: float) -> list[tuple[int, int]]:
    """Ranges of samples to read: all of a small record, evenly spread blocks of a large one."""
    record = reader.record
    row = record.channels * max(4, np.dtype(record.dtype).itemsize)
    block = max(1, min(record.samples, block_bytes // row))
    count = -(-record.samples // block)
    if count <= most_blocks:
        return [(start, min(start + block, record.samples)) for start in range(0, record.samples, block)]
    cost = read_cost(record, block) or 1.0
    count = int(max(1, min(most_blocks, most_bytes // (block * row * cost))))
    starts = np.linspace(0, record.samples - block, count).astype(np.int64)
    return [(int(start), int(start) + block) for start in starts]


def _without_gaps(span: tuple[int, int], gaps: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    kept, start = [], span[0]
    for first, last in gaps:
        if last <= start or first >= span[1]:
            continue
        if first > start:
            kept.append((start, first))
        start = last
    return [*kept, (start, span[1])] if start < span[1] else kept


def examine(reader: RecordReader, *, block_bytes: int = BLOCK_BYTES, most_blocks: int = MOST_BLOCKS,
            most_bytes: float = MOST_BYTES) -> Health:
    """Read blocks of a record and tell its health; gaps do not count.

    Args:
        reader: of the record; it stays open.
        block_bytes: largest block held in memory.
        most_blocks: a record of more blocks is sampled at so many places.
        most_bytes: about how much may be touched of a sampled record, however costly its layout.

    Raises:
        InputError: a block cannot be read.
    """
    record = reader.record
    dtype = np.dtype(record.dtype).newbyteorder("=")
    tally, read = _Tally(record.channels), 0
    buffer: NDArray[Any] = np.empty((0, record.channels), dtype)
    for span in _spread(reader, block_bytes, most_blocks, most_bytes):
        for start, stop in _without_gaps(span, record.gaps):
            if len(buffer) < stop - start:
                buffer = np.empty((stop - start, record.channels), dtype)
            block = buffer[:stop - start]
            reader.read(start, stop, 0, record.channels, block)
            tally.add(block)
            read += stop - start
    held = record.samples - sum(last - first for first, last in record.gaps)
    return tally.health(read / held if held else 0.0, dtype.kind in "iu")


def zeros_verdict(reader: RecordReader) -> str:
    """``ok``, or that a record is all zeros: a few samples first, and only if they are zero, blocks spread through it.

    Raises:
        InputError: it cannot be read.
    """
    record = reader.record
    samples, channels = min(16, record.samples), min(64, record.channels)
    probe = np.empty((samples, channels), np.dtype(record.dtype).newbyteorder("="))
    channel = (record.channels - channels) // 2
    for start in sorted({0, (record.samples - samples) // 2, record.samples - samples}):
        reader.read(start, start + samples, channel, channel + channels, probe)
        if probe.any():
            return "ok"
    found = examine(reader)
    return found.verdict(record.channels) if found.dead_channels == record.channels else "ok"
