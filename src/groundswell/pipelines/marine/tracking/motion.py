"""marine: where animals will be: a Kalman filter of constant velocity whose clock is in seconds.

Every box is four numbers (centre x, centre y, width, height), each with a rate of change. No noise couples them, so
that the filter of a box is four filters of two states. Noises are shares of the box's size, as ByteTrack has them, but
the random force is one in continuous time: the same animal is followed alike at any frame rate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from groundswell.core.boxes import from_centre_and_size, to_centre_and_size

Floats = NDArray[np.float64]

MEASURED = 0.1
"""Standard deviation of a detected centre or side, as a share of the side."""
SPEED = 2.0
"""Standard deviation of an unknown animal's speed, in its own sizes per second."""
FORCE = 1.5
"""By how much a speed strays in a second, in sizes per second. Sides change as fast as places: animals turn."""


class Motion:
    """Expected boxes of n tracks.

    Attributes:
        value, rate: (n, 4) float64, pixels and pixels per second.
        variance, cross, rate_variance: (n, 4) float64, the filters' covariances.
    """

    def __init__(self) -> None:
        empty = np.zeros((0, 4))
        self.value, self.rate = empty, empty
        self.variance, self.cross, self.rate_variance = empty, empty, empty

    def boxes(self) -> Floats:
        """Expected boxes, left, top, right, bottom, (n, 4); never thinner than a pixel."""
        return from_centre_and_size(np.concatenate([self.value[:, :2], np.maximum(self.value[:, 2:], 1.0)], axis=1))

    def add(self, boxes: Floats) -> None:
        """Begin tracks at ``boxes`` (m, 4), with unknown speeds."""
        value = to_centre_and_size(boxes)
        speed = np.repeat(SPEED * _size(value), 4, axis=1)
        self._set(np.concatenate([self.value, value]), np.concatenate([self.rate, np.zeros_like(value)]),
                  np.concatenate([self.variance, _noise(value)]), np.concatenate([self.cross, np.zeros_like(value)]),
                  np.concatenate([self.rate_variance, speed**2]))

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Drop the tracks that ``rows`` (n,) is false for."""
        self._set(self.value[rows], self.rate[rows], self.variance[rows], self.cross[rows], self.rate_variance[rows])

    def predict(self, step_s: float) -> None:
        """Let ``step_s`` seconds pass."""
        force = (FORCE * _size(self.value)) ** 2  # (n, 1): of all four alike
        self.value = self.value + self.rate * step_s
        self.variance = (self.variance + 2 * step_s * self.cross + step_s**2 * self.rate_variance
                         + force * step_s**3 / 3)
        self.cross = self.cross + step_s * self.rate_variance + force * step_s**2 / 2
        self.rate_variance = self.rate_variance + force * step_s

    def surprise(self, boxes: Floats) -> Floats:
        """How far ``boxes`` (m, 4) lie from where each track is expected, in standard deviations, (n, m)."""
        measured = to_centre_and_size(boxes)
        total = self.variance[:, None] + _noise(self.value)[:, None] + _noise(measured)[None]
        distance: Floats = np.sqrt(((measured[None] - self.value[:, None]) ** 2 / total).sum(axis=2))
        return distance

    def correct(self, rows: NDArray[np.int64], boxes: Floats) -> None:
        """Tracks ``rows`` (m,) were found at ``boxes`` (m, 4)."""
        measured = to_centre_and_size(boxes)
        off = measured - self.value[rows]
        # A box of a part of an animal is small, and no surer for that.
        total = self.variance[rows] + np.maximum(_noise(measured), _noise(self.value[rows]))
        gain, rate_gain = self.variance[rows] / total, self.cross[rows] / total
        self.value[rows] += gain * off
        self.rate[rows] += rate_gain * off
        self.rate_variance[rows] -= rate_gain * self.cross[rows]
        self.cross[rows] *= 1 - gain
        self.variance[rows] *= 1 - gain

    def hold_size(self, rows: NDArray[np.int64]) -> None:
        """Tracks ``rows`` were not found: they move on, but grow and shrink no more."""
        self.rate[rows, 2:] = 0.0

    def _set(self, value: Floats, rate: Floats, variance: Floats, cross: Floats, rate_variance: Floats) -> None:
        self.value, self.rate = value, rate
        self.variance, self.cross, self.rate_variance = variance, cross, rate_variance


def _size(value: Floats) -> Floats:
    sides = np.maximum(value[:, 2:], 1.0)
    found: Floats = np.sqrt(sides[:, :1] * sides[:, 1:])
    return found


def _noise(value: Floats) -> Floats:
    """Variances of what is measured, (n, 4): at least half a pixel's, for boxes are rarely truer."""
    sides = np.maximum(value[:, 2:] * MEASURED, 0.5)
    variances: Floats = np.concatenate([sides, sides], axis=1) ** 2
    return variances
