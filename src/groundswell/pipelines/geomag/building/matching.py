"""geomag: which windows are cut: before events, and at quiet times of like season and activity."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.seeds import derive_seed
from groundswell.pipelines.geomag.building.drawing import begin, shifts_of
from groundswell.pipelines.geomag.building.gaps import OK, WHY
from groundswell.pipelines.geomag.building.recipe import BuildRecipe
from groundswell.pipelines.geomag.building.samples import DAY, Dropped, Plan, Sample, Site


def windows_before_events(sites: Mapping[str, Site], events: pd.DataFrame, dependent: NDArray[np.bool_], days: int,
                          recipe: BuildRecipe) -> tuple[list[Sample], list[Dropped]]:
    """The windows before events of every station, and those that are not used with the reason.

    A station's events are taken from the largest magnitude downwards (the earlier of equals first); one nearer in time
    than the least separation to one taken before is passed over.
    """
    minutes, lead = days * DAY, recipe.lead_minutes
    apart = recipe.events.min_separation_days
    separation = (days if apart is None else apart) * DAY
    at = events["time"].to_numpy("datetime64[m]").astype(np.int64)
    magnitude, ids = events["magnitude"].to_numpy(np.float64), events["event_id"].to_list()
    samples: list[Sample] = []
    dropped: list[Dropped] = []
    for code, site in sites.items():
        # An earthquake of a time without any data leaves nothing to cut, and is not counted as left out.
        recorded = (at - lead > site.series.start_minute) & (at - lead - minutes < site.series.stop_minute)
        chosen = np.flatnonzero(site.judged.qualifies & recorded)
        chosen = chosen[np.lexsort((at[chosen], -magnitude[chosen]))]
        starts = at[chosen] - lead - minutes
        verdicts, activity = site.gaps.judge(starts, minutes), site.activity.means(starts, minutes)
        taken: list[int] = []
        for k, event in enumerate(chosen.tolist()):
            why = _why_not(int(verdicts[k]), bool(dependent[event]), float(activity[k]))
            if not why and taken and np.abs(at[taken] - at[event]).min() < separation:
                why = "too near in time to a larger event"
            if why:
                dropped.append(Dropped(code, event, why))
                continue
            taken.append(event)
            samples.append(Sample(1, code, ids[event], ids[event], int(starts[k]), float(activity[k]), event=event))
    return samples, dropped


def _why_not(verdict: int, dependent: bool, activity: float) -> str:
    if verdict != OK:
        return WHY[verdict]
    if dependent:
        return "an aftershock or foreshock"
    return "activity unknown" if np.isnan(activity) else ""


def plan_windows(sites: Mapping[str, Site], events: pd.DataFrame, dependent: NDArray[np.bool_], days: int,
                 recipe: BuildRecipe) -> Plan:
    """Choose the windows of one length.

    Events draw their controls one after another in an order that the seed decides; each takes the candidate of least
    cost, the root of the sum of squares of the difference in season (in ``season_scale_days``) and in activity (in
    standard deviations of the station's windows before events and possible controls).

    Args:
        sites: by station.
        events: the catalogue.
        dependent: events that declustering rules out, bool, shape (events,).
        days: length of a window.
        recipe: everything else.
    """
    before, dropped = windows_before_events(sites, events, dependent, days, recipe)
    by_event: dict[str, list[Sample]] = {}
    for sample in before:
        by_event.setdefault(sample.matched, []).append(sample)
    drawing, eligible, unusable = begin(sites, before, days, recipe)
    controls: list[Sample] = []
    order = np.random.default_rng(derive_seed(recipe.seed, "controls", days)).permutation(len(by_event))
    names = list(by_event)
    for turn in range(recipe.controls.per_event):
        for place in order.tolist():
            windows = by_event[names[place]]
            name = f"control-{turn * len(names) + place + 1:04d}"
            controls += drawing.draw(windows, shifts_of(windows, sites), name)
    matched = {(c.matched, c.station) for c in controls}
    if not recipe.controls.keep_unmatched:
        dropped += [Dropped(s.station, s.event, "no control like it") for s in before
                    if (s.matched, s.station) not in matched]
        before = [s for s in before if (s.matched, s.station) in matched]
    samples = [*sorted(before, key=_in_time), *sorted(controls, key=_in_time)]
    return Plan(days, tuple(samples), tuple(dropped), unusable, eligible)


def _in_time(sample: Sample) -> tuple[int, str]:
    return sample.start_minute, sample.station
