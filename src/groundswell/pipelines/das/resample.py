"""das: a stream at another sampling rate, resampled piece by piece with the same result as resampling it whole."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, resample_poly

from groundswell.core.errors import InputError
from groundswell.deploy.streaming import Stream

SAME_RATE = 1e-3
"""Rates that differ by less than this share are taken to be the same: no classifier feels a stretch of 0.1 %."""
_HALF_WIDTH = 10  # zero crossings of the filter either side, at the lower of the two rates
_LARGEST_TERM = 5000
_MOST_UP, _MOST_DOWN = 20.0, 1000.0
_PIECE_BYTES = 32 * 2**20


def rate_ratio(from_hz: float, to_hz: float) -> tuple[int, int]:
    """Whole numbers ``(up, down)`` with ``from_hz * up / down`` equal to ``to_hz`` within 0.1 %.

    Rates that differ by less than that give (1, 1). The simplest such ratio is taken, exact where one exists with
    terms up to 5000.

    Raises:
        InputError: a rate that is not positive; ``to_hz`` above 20 times, or below a thousandth of, ``from_hz``.
    """
    if not (from_hz > 0 and to_hz > 0):
        raise InputError(f"Cannot resample from {from_hz} Hz to {to_hz} Hz")
    ratio = to_hz / from_hz
    if abs(ratio - 1) < SAME_RATE:
        return 1, 1
    if not 1 / _MOST_DOWN <= ratio <= _MOST_UP:
        raise InputError(f"Resampling from {from_hz:g} Hz to {to_hz:g} Hz is beyond reason",
                         fix="Check the record's sampling rate, or use a model trained near it")
    close = Fraction(ratio).limit_denominator(_LARGEST_TERM)
    if abs(float(close) / ratio - 1) > 1e-9:  # no exact ratio: the simplest that is close enough
        terms = (Fraction(ratio).limit_denominator(2**n) for n in range(13))
        close = next((f for f in terms if f > 0 and abs(float(f) / ratio - 1) < SAME_RATE), close)
    return close.numerator, close.denominator


def _low_pass(up: int, down: int) -> NDArray[np.float32]:
    largest = max(up, down)
    taps = firwin(2 * _HALF_WIDTH * largest + 1, 1 / largest, window=("kaiser", 5.0))
    return np.asarray(taps, np.float32)


def resample_whole(x_tc: NDArray[np.float32], up: int, down: int) -> NDArray[np.float32]:
    """Polyphase resampling along the first axis by ``up / down``, the edges continued by their last value."""
    if up == down:
        return x_tc
    return np.asarray(resample_poly(x_tc, up, down, axis=0, window=_low_pass(up, down), padtype="edge"), np.float32)


class ResampledStream:
    """A stream at ``up / down`` times its sampling rate. Equal to :func:`resample_whole` of the whole, for any pieces.

    Args:
        inner: the stream as recorded; it must not contain gaps.
        up: interpolation factor.
        down: decimation factor.
    """

    def __init__(self, inner: Stream, up: int, down: int) -> None:
        self._inner, self._up, self._down = inner, up, down
        self._samples = -(-inner.samples * up // down)
        # How far the filter reaches, in samples of the inner stream.
        self._reach = -(-_HALF_WIDTH * max(up, down) // up) + 1
        self._taps = _low_pass(up, down)

    @property
    def samples(self) -> int:
        return self._samples

    @property
    def channels(self) -> int:
        return self._inner.channels

    def read(self, start: int, stop: int, out: NDArray[np.float32]) -> None:
        """See :class:`groundswell.deploy.streaming.Stream`."""
        # Memory follows the piece: what is read for it, and the filter's copy of that.
        step = max(1, _PIECE_BYTES // (4 * self.channels) * self._up // max(self._up, self._down))
        for at in range(start, stop, step):
            end = min(at + step, stop)
            out[at - start : end - start] = self._piece(at, end)

    def _piece(self, start: int, stop: int) -> NDArray[np.float32]:
        # The block starts at a multiple of `down`, where an inner and an outer sample coincide: same filter phases.
        first = max(0, (start * self._down // self._up - self._reach) // self._down * self._down)
        last = min(self._inner.samples, -(-(stop - 1) * self._down // self._up) + self._reach + 1)
        block = np.empty((last - first, self.channels), np.float32)
        self._inner.read(first, last, block)
        # (channel, time) is what the filter runs through fastest.
        done = resample_poly(np.ascontiguousarray(block.T), self._up, self._down, axis=1, window=self._taps,
                             padtype="edge")
        origin = first // self._down * self._up
        piece: NDArray[np.float32] = done[:, start - origin : stop - origin].T
        return piece
