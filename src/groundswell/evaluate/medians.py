"""evaluate: medians (and means) of scores that each sample has, with intervals from a bootstrap of whole groups.

A median is no function of sums, so that the resamples of :mod:`groundswell.evaluate.intervals` do not serve. Here a
resample gives each sample a weight, how often its group was drawn, and the weighted median is read off sorted scores.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from groundswell.core.seeds import derive_seed
from groundswell.evaluate.intervals import Estimate, FloatArray, interval, times_drawn

How = Literal["median", "mean"]

_CHUNK = 4_000_000  # numbers held at once while resampling


class GroupBootstrap:
    """Resamples of the groups of some samples: every score of these samples sees the same ones, so that they pair.

    Args:
        group: of each sample, anything that can be sorted, shape (n,).
        resamples: how many.
        confidence: coverage of intervals.
        seed: the draw is a function of it and of the number of groups.
    """

    def __init__(self, group: NDArray[np.object_], *, resamples: int, confidence: float, seed: int) -> None:
        names, self._of = np.unique(np.asarray(group, dtype=str), return_inverse=True)
        self.groups = len(names)
        self.confidence = confidence
        generator = np.random.default_rng(derive_seed(seed, "bootstrap", self.groups))
        # So few draws of so few groups are small: an int16 holds how often one of them comes up.
        self._times = (times_drawn(generator, self.groups, resamples).astype(np.int16) if self.groups > 1
                       else np.zeros((0, self.groups), np.int16))

    def estimate(self, values: FloatArray, how: How, why: str = "") -> Estimate:
        """The median or mean of the values, shape (n,), that are not NaN; with ``why`` where there is none."""
        return self._judged(_centre(values, how), self.draws(values, how), np.isfinite(values), why)

    def difference(self, values: FloatArray, others: FloatArray, how: How, why: str = "") -> Estimate:
        """Median (or mean) of ``values`` less that of ``others``, over samples that have both."""
        both = np.isfinite(values) & np.isfinite(others)
        values, others = np.where(both, values, np.nan), np.where(both, others, np.nan)
        value = _centre(values, how) - _centre(others, how)
        return self._judged(value, self.draws(values, how) - self.draws(others, how), both, why)

    def ratio(self, values: FloatArray, others: FloatArray, how: How, why: str = "") -> Estimate:
        """Median (or mean) of ``values`` over that of ``others``, over samples that have both."""
        both = np.isfinite(values) & np.isfinite(others)
        values, others = np.where(both, values, np.nan), np.where(both, others, np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.divide(_centre(values, how), _centre(others, how))
            draws = self.draws(values, how) / self.draws(others, how)
        return self._judged(float(value), draws, both, why)

    def draws(self, values: FloatArray, how: How) -> FloatArray:
        """The median or mean in every resample, shape (resamples,); NaN where a resample has no value."""
        known = np.flatnonzero(np.isfinite(values))
        if not len(known) or not len(self._times):
            return np.full(len(self._times), np.nan)
        order = known[np.argsort(values[known], kind="stable")]
        step = max(1, _CHUNK // len(order))
        centre = _weighted_mean if how == "mean" else _weighted_median
        of, values = self._of[order], values[order]
        return np.concatenate([centre(values, self._times[first:first + step, of].astype(np.float64))
                               for first in range(0, len(self._times), step)])

    def _judged(self, value: float, draws: FloatArray, known: NDArray[np.bool_], why: str) -> Estimate:
        groups = len(np.unique(self._of[known]))
        return interval(value, draws if len(draws) else None, groups, self.confidence, why)


def _centre(values: FloatArray, how: How) -> float:
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan")
    return float(np.median(known) if how == "median" else np.mean(known))


def _weighted_mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    total = weights.sum(axis=1)
    return np.asarray(np.where(total > 0, weights @ values / np.maximum(total, 1), np.nan))


def _weighted_median(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Medians of sorted values (n,) that are there as often as whole weights (resamples, n) say."""
    counted = np.cumsum(weights, axis=1)
    total = counted[:, -1:]
    last = len(values) - 1
    lower = np.minimum((counted < total / 2).sum(axis=1), last)
    upper = np.minimum((counted <= total / 2).sum(axis=1), last)
    return np.asarray(np.where(total[:, 0] > 0, (values[lower] + values[upper]) / 2, np.nan))
