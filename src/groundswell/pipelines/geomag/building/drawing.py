"""geomag: the drawing of control windows for events.

A control ends at the same minute of the day as the window it is matched with, so that the phase of the daily variation
cannot tell them apart, and where several stations have a window before one event, they share the control's time if
they can, so that both classes have windows of several stations at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundswell.core.seeds import derive_seed
from groundswell.pipelines.geomag.building.gaps import OK
from groundswell.pipelines.geomag.building.recipe import BuildRecipe, ControlRule
from groundswell.pipelines.geomag.building.samples import DAY, Sample, Site, season_difference_days

_NO_DATA, _UNQUIET, _OVERLAPS, _NO_ACTIVITY = 1, 2, 3, 4
CONTROL_WHY = {_NO_DATA: "data missing", _UNQUIET: "an event inside or near", _OVERLAPS:
                "shares minutes with a window before an event", _NO_ACTIVITY: "activity unknown"}
"""Why a stretch of a station's data cannot be a control."""


@dataclass
class Drawing:
    """State of the drawing of controls for one window length."""

    sites: Mapping[str, Site]
    minutes: int
    lead: int
    rule: ControlRule
    generator: np.random.Generator
    positives: dict[str, NDArray[np.int64]]
    spread: dict[str, float]
    placed: dict[str, list[int]]

    def candidates(self, window: Sample, shifts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64],
                                                                             NDArray[np.float64]]:
        """Cost (infinite where it may not be), reason code and activity of a window moved by so many days each."""
        site, rule = self.sites[window.station], self.rule
        starts = window.start_minute + shifts * DAY
        why = np.where(site.gaps.judge(starts, self.minutes) == OK, 0, _NO_DATA)
        ends = starts + self.minutes + self.lead + round(rule.quiet_days * DAY)
        begins = starts - round(rule.quiet_days_before * DAY)
        unquiet = np.searchsorted(site.event_minutes, ends, side="right") > np.searchsorted(site.event_minutes, begins)
        why = np.where((why == 0) & unquiet, _UNQUIET, why)
        if not rule.overlap_events:
            why = np.where((why == 0) & self._near(self.positives[window.station], starts), _OVERLAPS, why)
        activity = site.activity.means(starts, self.minutes)
        why = np.where((why == 0) & np.isnan(activity), _NO_ACTIVITY, why)
        season, unlike = season_difference_days(shifts), np.abs(activity - window.activity)
        cost = np.hypot(season / rule.season_scale_days, unlike / self.spread[window.station])
        far = (season > rule.max_season_days) | (unlike > (rule.max_activity_difference or np.inf))
        placed = np.array(sorted(self.placed[window.station]), np.int64)
        taken = np.isin(starts, placed) if rule.overlap_controls else self._near(placed, starts)
        return np.where((why != 0) | far | taken, np.inf, cost), why, activity

    def _near(self, others: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a window at ``starts`` shares minutes with one of ``others`` (sorted)."""
        if not len(others):
            return np.zeros(len(starts), bool)
        after = np.searchsorted(others, starts)
        gap = np.minimum(np.abs(others[np.minimum(after, len(others) - 1)] - starts),
                         np.abs(others[np.maximum(after - 1, 0)] - starts))
        return np.asarray(gap < self.minutes, bool)

    def draw(self, windows: Sequence[Sample], shifts: NDArray[np.int64], name: str) -> list[Sample]:
        """At most one control for each window of one event; stations share a time where they can."""
        made: list[Sample] = []
        left = list(windows)
        while left:
            found = [self.candidates(w, shifts) for w in left]
            cost = np.stack([f[0] for f in found])
            able = np.isfinite(cost)
            stations = able.sum(axis=0)
            if not stations.any():
                break
            mean = np.where(able, cost, 0.0).sum(axis=0) / np.maximum(stations, 1)
            mean = np.where(stations == stations.max(), mean, np.inf)
            best = int(self.generator.choice(np.flatnonzero(mean == mean.min())))
            event_id = name if not made else f"{name}-{len({s.event_id for s in made}) + 1}"
            for i in np.flatnonzero(able[:, best]):
                window, shift = left[i], int(shifts[best])
                start = window.start_minute + shift * DAY
                made.append(Sample(0, window.station, event_id, window.matched, start, float(found[i][2][best]),
                                   float(season_difference_days(shifts[best:best + 1])[0]), shift))
                self.placed[window.station].append(start)
            left = [w for w, usable in zip(left, able[:, best], strict=True) if not usable]
        return made


def shifts_of(windows: Sequence[Sample], sites: Mapping[str, Site]) -> NDArray[np.int64]:
    """Every whole number of days that could move one of the windows to another place in its station's data."""
    low = min((sites[w.station].series.start_minute - w.start_minute) // DAY for w in windows)
    high = max((sites[w.station].series.stop_minute - w.start_minute) // DAY for w in windows)
    shifts = np.arange(low, high + 1)
    return np.asarray(shifts[shifts != 0], np.int64)


def begin(sites: Mapping[str, Site], before: Sequence[Sample], days: int,
           recipe: BuildRecipe) -> tuple[Drawing, NDArray[np.float64], dict[str, int]]:
    """The drawing before its first draw; activity and start (minute) of possible controls, shape (n, 2); and why others
    are not possible."""
    drawing = Drawing(sites, days * DAY, recipe.lead_minutes, recipe.controls,
                       np.random.default_rng(derive_seed(recipe.seed, "ties", days)),
                       {code: np.array(sorted(s.start_minute for s in before if s.station == code), np.int64)
                        for code in sites}, dict.fromkeys(sites, 1.0), {code: [] for code in sites})
    unusable = dict.fromkeys(CONTROL_WHY.values(), 0)
    eligible = []
    for code in sites:
        own = [s for s in before if s.station == code]
        if not own:
            continue
        shifts = shifts_of(own[:1], sites)
        _, why, activity = drawing.candidates(own[0], shifts)
        for number, text in CONTROL_WHY.items():
            unusable[text] += int((why == number).sum())
        usable = why == 0
        everything = np.concatenate([activity[usable], [s.activity for s in own]])
        drawing.spread[code] = max(float(everything.std()), 1e-9)
        eligible.append(np.stack([activity[usable], own[0].start_minute + shifts[usable] * float(DAY)], axis=1))
    return drawing, np.concatenate(eligible) if eligible else np.empty((0, 2)), unusable
