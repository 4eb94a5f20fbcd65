"""geomag: which stretches of a station's minutes can be windows, and the filling of short gaps in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.geomag.building.indices import Binned
from groundswell.pipelines.geomag.building.minutes import MinuteSeries
from groundswell.pipelines.geomag.building.recipe import GapRule

OK, OUTSIDE, LONG_GAP, MUCH_MISSING = range(4)
WHY = {OUTSIDE: "not wholly inside the data", LONG_GAP: "a gap too long to fill", MUCH_MISSING: "too much missing"}
_LEAST_OF_AN_HOUR = 30  # minutes


@dataclass(frozen=True)
class Gaps:
    """Where a station's minutes are missing (in any of its components).

    Attributes:
        start_minute: of the series.
        missing: running count of missing minutes, int64, shape (minutes + 1,).
        long_start, long_stop: half-open positions of the runs longer than the rule fills, int64.
        rule: what a window may have.
    """

    start_minute: int
    missing: NDArray[np.int64]
    long_start: NDArray[np.int64]
    long_stop: NDArray[np.int64]
    rule: GapRule

    @classmethod
    def of(cls, series: MinuteSeries, rule: GapRule) -> Gaps:
        """Look a series through."""
        absent: NDArray[np.bool_] = np.asarray(np.isnan(series.values).any(axis=1), bool)
        start, stop = runs_of(absent)
        long = stop - start > rule.max_gap_minutes
        return cls(series.start_minute, np.concatenate([[0], np.cumsum(absent)]).astype(np.int64), start[long],
                   stop[long], rule)

    def judge(self, starts: NDArray[np.int64], minutes: int) -> NDArray[np.int64]:
        """``OK`` for each window ``[start, start + minutes)`` that can be used, or the code of why not.

        Only what lies inside a window counts: a run of missing minutes that reaches over its edge is as long as the
        part inside.
        """
        first = np.asarray(starts, np.int64) - self.start_minute
        total = len(self.missing) - 1
        outside = (first < 0) | (first + minutes > total)
        a = np.clip(first, 0, max(0, total - minutes))
        b = np.minimum(a + minutes, total)
        much = self.missing[b] - self.missing[a] > self.rule.max_filled_share * minutes
        verdict = np.where(much, MUCH_MISSING, np.where(self._holds_long(a, b), LONG_GAP, OK))
        return np.where(outside, OUTSIDE, verdict)

    def _holds_long(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
        if not len(self.long_start):
            return np.zeros(len(a), bool)
        # Of the long runs that touch a window, all but the first and last lie in it whole.
        first = np.searchsorted(self.long_stop, a, side="right")
        last = np.searchsorted(self.long_start, b, side="left") - 1
        longest = np.zeros(len(a), np.int64)
        for run in (first, last):
            safe = np.clip(run, 0, len(self.long_start) - 1)
            inside = np.minimum(self.long_stop[safe], b) - np.maximum(self.long_start[safe], a)
            longest = np.maximum(longest, inside)
        return np.where(first <= last, (last - first > 1) | (longest > self.rule.max_gap_minutes), False)


def runs_of(flags: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Half-open runs of true values: their starts and their stops, int64."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return edges[::2].astype(np.int64), edges[1::2].astype(np.int64)


def cut(series: MinuteSeries, start: int, minutes: int, component: int) -> tuple[NDArray[np.float32], int]:
    """A window of one component with its gaps filled, float32, shape (minutes,), and how many minutes were filled.

    Missing minutes lie on the straight line between the nearest known ones of the window; before the first and after
    the last known one that one's value is held, so that nothing from outside the window enters it.
    """
    values = series.values[start - series.start_minute:start - series.start_minute + minutes, component]
    absent = np.isnan(values)
    if not absent.any():
        return values, 0
    at = np.arange(minutes)
    filled = values.astype(np.float64)
    filled[absent] = np.interp(at[absent], at[~absent], filled[~absent])
    return filled.astype(np.float32), int(absent.sum())


def hourly_range(series: MinuteSeries) -> Binned:
    """Largest less smallest value of the first component in each UTC hour, NaN where half of the hour is missing."""
    lead = series.start_minute % 60
    values = series.column(series.components[0])
    pad_stop = -(lead + len(values)) % 60
    hours = np.concatenate([np.full(lead, np.nan), values, np.full(pad_stop, np.nan)]).reshape(-1, 60)
    known = np.isfinite(hours)
    spread = np.where(known, hours, -np.inf).max(axis=1) - np.where(known, hours, np.inf).min(axis=1)
    enough = known.sum(axis=1) >= _LEAST_OF_AN_HOUR
    return Binned(series.start_minute - lead, 60, np.where(enough, spread, np.nan))

