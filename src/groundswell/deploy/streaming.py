"""deploy: sliding windows over a stream of any length, in memory that does not grow with it. Knows numpy only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError

BUDGET_BYTES = 64 * 2**20
"""Memory for the buffers of one pass, unless told otherwise. A quarter of it is one batch: larger ones leave the
processor's cache and make a network slower, not faster."""
_PIECE_BYTES = 16 * 2**20


class Stream(Protocol):
    """A long array, shape (samples, channels), that is read piece by piece."""

    @property
    def samples(self) -> int:
        """Length in time samples."""
        ...

    @property
    def channels(self) -> int:
        """Width."""
        ...

    def read(self, start: int, stop: int, out: NDArray[np.float32]) -> None:
        """Fill ``out``, shape (stop - start, channels), with time samples ``[start, stop)``."""
        ...


@dataclass(frozen=True)
class ArrayStream:
    """An array in memory as a stream.

    Attributes:
        array: shape (samples, channels).
    """

    array: NDArray[np.float32]

    @property
    def samples(self) -> int:
        return int(self.array.shape[0])

    @property
    def channels(self) -> int:
        return int(self.array.shape[1])

    def read(self, start: int, stop: int, out: NDArray[np.float32]) -> None:
        out[...] = self.array[start:stop]


@dataclass(frozen=True)
class ChannelMean:
    """A stream with each ``factor`` neighbouring channels averaged into one; a remainder is averaged by itself.

    Attributes:
        inner: the stream to average.
        factor: how many channels become one.
    """

    inner: Stream
    factor: int

    @property
    def samples(self) -> int:
        return self.inner.samples

    @property
    def channels(self) -> int:
        return -(-self.inner.channels // self.factor)

    def read(self, start: int, stop: int, out: NDArray[np.float32]) -> None:
        full = self.inner.channels // self.factor
        step = max(1, _PIECE_BYTES // (4 * self.inner.channels))
        piece = np.empty((min(step, stop - start), self.inner.channels), np.float32)
        for at in range(start, stop, step):
            part = piece[: min(step, stop - at)]
            self.inner.read(at, at + len(part), part)
            done = out[at - start : at - start + len(part)]
            np.mean(part[:, : full * self.factor].reshape(len(part), full, self.factor), axis=2, out=done[:, :full])
            if full < self.channels:
                np.mean(part[:, full * self.factor :], axis=1, out=done[:, full])


@dataclass(frozen=True)
class WindowBatch:
    """Some consecutive windows.

    Attributes:
        starts: first time sample of each, int64, shape (batch,).
        x: the windows, float32, shape (batch, time, channel); a view of a buffer that the next batch overwrites.
        nonfinite: how many values that were NaN or infinite were set to zero while these windows were read.
    """

    starts: NDArray[np.int64]
    x: NDArray[np.float32]
    nonfinite: int


def window_starts(samples: int, window: int, stride: int) -> NDArray[np.int64]:
    """Starts of windows that together cover ``samples``: every ``stride``, and one more that ends with the last sample.

    A stream shorter than one window has one window, starting at 0, which the reader pads with zeros. A stride longer
    than the window leaves samples between windows unseen, as it says.

    Raises:
        InputError: a length or stride below 1.
    """
    if samples < 1 or window < 1 or stride < 1:
        raise InputError(f"Windows need at least one sample: {samples} samples, window {window}, stride {stride}")
    if samples <= window:
        return np.zeros(1, np.int64)
    starts = np.arange(0, samples - window + 1, stride, dtype=np.int64)
    last = samples - window
    return starts if starts[-1] == last else np.append(starts, last)


def batch_that_fits(window: int, channels: int, wanted: int, budget_bytes: int = BUDGET_BYTES) -> int:
    """How many windows go into a batch: as many as wanted, fewer where they would take over a quarter of the budget."""
    return max(1, min(wanted, budget_bytes // 4 // max(1, window * channels * 4)))


class _Rolling:
    """The last samples read, in one buffer that moves along the stream; each sample is read once."""

    def __init__(self, stream: Stream, capacity: int) -> None:
        self._stream = stream
        self._buffer = np.empty((capacity, stream.channels), np.float32)
        self._start = self._stop = 0
        self.nonfinite = 0

    def view(self, start: int, stop: int) -> NDArray[np.float32]:
        """Samples ``[start, stop)``; ``start`` never goes back."""
        if stop > self._stop:
            kept = max(0, self._stop - start)
            if kept:
                self._buffer[:kept] = self._buffer[start - self._start : self._stop - self._start]
            ahead = min(start + len(self._buffer), self._stream.samples)
            self._read(start + kept, ahead, self._buffer[kept : ahead - start])
            self._start, self._stop = start, ahead
        return self._buffer[start - self._start : stop - self._start]

    def _read(self, start: int, stop: int, out: NDArray[np.float32]) -> None:
        self._stream.read(start, stop, out)
        with np.errstate(over="ignore", invalid="ignore"):
            suspicious = not np.isfinite(np.add.reduce(out, axis=None))
        if suspicious:
            bad = ~np.isfinite(out)
            self.nonfinite += int(bad.sum())
            out[bad] = 0


def windows(stream: Stream, window: int, stride: int, *, batch: int = 16, starts: NDArray[np.int64] | None = None,
            budget_bytes: int = BUDGET_BYTES) -> Iterator[WindowBatch]:
    """Slide windows over a stream in bounded memory: two buffers, both reused, whatever its length.

    Args:
        stream: what to slide over.
        window: length of a window, in time samples.
        stride: step between the starts of windows.
        batch: most windows at a time; fewer where they are large (:func:`batch_that_fits`).
        starts: ascending starts of the windows wanted; those of :func:`window_starts` when absent.
        budget_bytes: memory for the buffers, exceeded only where a single window needs more.

    Yields:
        Batches in order. NaN and infinities are set to zero and counted: one of them would spoil a whole window.
    """
    wanted = window_starts(stream.samples, window, stride) if starts is None else starts
    size = batch_that_fits(window, stream.channels, min(batch, max(1, len(wanted))), budget_bytes)
    affordable = (budget_bytes - size * window * stream.channels * 4) // (stream.channels * 4)
    # Windows far apart are read one by one, so that what lies between them is not.
    useful = window + (4 * size - 1) * stride if stride < 2 * window else window
    rolling = _Rolling(stream, max(window, min(affordable, useful, stream.samples)))
    x = np.zeros((size, window, stream.channels), np.float32)
    for first in range(0, len(wanted), size):
        some = wanted[first : first + size]
        counted = rolling.nonfinite
        for place, start in enumerate(some.tolist()):
            stop = min(start + window, stream.samples)
            x[place, : stop - start] = rolling.view(start, stop)
        yield WindowBatch(some, x[: len(some)], rolling.nonfinite - counted)
