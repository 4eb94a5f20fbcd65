"""geomag: what a build says of itself: counts, everything left out and why, and how well controls match."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.geomag.building.catalogue import Catalogue
from groundswell.pipelines.geomag.building.indices import Indices
from groundswell.pipelines.geomag.building.minutes import iso_minute
from groundswell.pipelines.geomag.building.recipe import BuildRecipe
from groundswell.pipelines.geomag.building.samples import DAY, YEAR_DAYS, Plan, Sample, Site
from groundswell.pipelines.geomag.building.sources import Records

BALANCED = 0.1
"""Standardised differences up to this size are usually called balanced (Austin 2009, Statistics in Medicine 28)."""
_UNITS = {"ap": "ap, 2 nT", "range": "hourly range"}


@dataclass(frozen=True)
class Written:
    """A folder of windows.

    Attributes:
        days: length of a window.
        component: letter.
        folder: where.
        counts: windows of class 0 and of class 1.
        filled_minutes: missing minutes that were filled in all of them together.
        placebos: windows that have a placebo.
    """

    days: int
    component: str
    folder: Path
    counts: tuple[int, int]
    filled_minutes: int
    placebos: int


@dataclass(frozen=True)
class BuildReport:
    """What was built.

    Attributes:
        lines: for a person.
        facts: the content of ``build.json``.
        folders: the window folders written.
    """

    lines: tuple[str, ...]
    facts: dict[str, Any]
    folders: tuple[Path, ...]


def standardised_difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Difference of the means of ``a`` and ``b`` in units of the root of their mean variance; ``None`` if undefined."""
    if len(a) < 2 or len(b) < 2:
        return None
    spread = float(np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2))
    return round(float(a.mean() - b.mean()) / spread, 4) if spread > 0 else None


def _season(start_minutes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosine and sine of the time of the year."""
    angle = 2 * np.pi * start_minutes / DAY / YEAR_DAYS
    return np.cos(angle), np.sin(angle)


def balance(plan: Plan) -> dict[str, Any]:
    """How like the two classes of a plan are, before matching (all possible controls) and after.

    Differences are standardised: windows before events less controls. Seasons are compared by the cosine and sine of
    the time of the year.
    """
    before, controls = plan.of(1), plan.of(0)

    def compare(activity: NDArray[np.float64], start: NDArray[np.float64]) -> dict[str, float | None]:
        own = np.array([s.activity for s in before], np.float64)
        mine, theirs = _season(np.array([s.start_minute for s in before], np.float64)), _season(start)
        return {"activity": standardised_difference(own, activity),
                **{f"season_{name}": standardised_difference(x, y)
                   for name, x, y in zip(("cosine", "sine"), mine, theirs, strict=True)}}

    season = np.array([s.season_days for s in controls], np.float64)
    return {
        "before_matching": compare(plan.eligible[:, 0], plan.eligible[:, 1]),
        "after_matching": compare(*(np.array([getattr(s, name) for s in controls], np.float64)
                                    for name in ("activity", "start_minute"))),
        "possible_controls": len(plan.eligible),
        "activity_mean_before_events": _mean([s.activity for s in before]),
        "activity_mean_controls": _mean([s.activity for s in controls]),
        "season_difference_days_mean": _mean(season.tolist()),
        "season_difference_days_most": round(float(season.max()), 2) if len(season) else None,
        "controls_earlier_than_event": sum(s.shift_days < 0 for s in controls),
        "controls_later_than_event": sum(s.shift_days > 0 for s in controls),
    }


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if len(values) else None


def report_of(out: Path, plans: Sequence[Plan], written: Sequence[Written], sites: dict[str, Site],
              catalogue: Catalogue, records: Records, indices: Indices, activity: str,
              recipe: BuildRecipe) -> BuildReport:
    """The report of a build."""
    lengths = {f"{plan.days}day": _length_facts(plan, written, catalogue) for plan in plans}
    facts: dict[str, Any] = {
        "simulated": any(bool(site.series.facts.get("simulated")) for site in sites.values()),
        "recipe": recipe.model_dump(mode="json"),
        "stations": {code: _station_facts(code, site, records) for code, site in sites.items()},
        "files": {"read": records.files, "passed_over": list(records.passed_over), "left_out": records.left_out},
        "catalogue": {"earthquakes": len(catalogue.events), "dropped": catalogue.dropped,
                      "first": f"{catalogue.events['time'].iloc[0]:%Y-%m-%dT%H:%M:%SZ}",
                      "last": f"{catalogue.events['time'].iloc[-1]:%Y-%m-%dT%H:%M:%SZ}"},
        "indices": {"read": indices.read, "not_read": list(indices.unread)},
        "activity": activity,
        "lengths": lengths,
    }
    lines = [*_head(sites, catalogue, records, indices, facts["simulated"]),
             *(line for plan in plans for line in _length_lines(plan, lengths[f"{plan.days}day"], activity)),
             f"Written to {out}: " + ", ".join(str(w.folder.relative_to(out)) for w in written)
             + ", build.json, build.png."]
    return BuildReport(tuple(lines), facts, tuple(w.folder for w in written))


def _station_facts(code: str, site: Site, records: Records) -> dict[str, Any]:
    joined, series = records.stations[code], site.series
    return {"latitude": series.latitude, "longitude": series.longitude, "first": iso_minute(series.start_minute),
            "last": iso_minute(series.stop_minute - 1), "minutes": len(series.values),
            "missing": int(site.gaps.missing[-1]), "files": joined.files, "overlapping_minutes": joined.overlapping,
            "disagreeing_minutes": joined.disagreeing, "source": series.facts.get("source", ""),
            "data_type": series.facts.get("data_type", ""), "qualifying_events": len(site.event_minutes)}


def _length_facts(plan: Plan, written: Sequence[Written], catalogue: Catalogue) -> dict[str, Any]:
    mine = [w for w in written if w.days == plan.days]
    ids = catalogue.events["event_id"]
    return {
        "folders": [str(w.folder) for w in mine],
        "windows_before_events": len(plan.of(1)), "controls": len(plan.of(0)),
        "events": len({s.event_id for s in plan.of(1)}),
        "filled_minutes": {w.component: w.filled_minutes for w in mine},
        "placebos": {w.component: w.placebos for w in mine},
        "not_used": {"before_events": dict(Counter(d.why for d in plan.dropped)),
                     "possible_controls": plan.controls_unusable},
        "balance": balance(plan),
        "pairs": [_pair(s) for s in plan.of(0)],
        "dropped": [{"station": d.station, "event_id": ids.iloc[d.event], "why": d.why} for d in plan.dropped],
    }


def _pair(control: Sample) -> dict[str, Any]:
    return {"control": control.event_id, "station": control.station, "event_id": control.matched,
            "start": iso_minute(control.start_minute), "shift_days": control.shift_days,
            "season_days": round(control.season_days, 2), "activity": round(control.activity, 4)}


def _head(sites: dict[str, Site], catalogue: Catalogue, records: Records, indices: Indices,
          simulated: bool) -> list[str]:
    first = iso_minute(min(s.series.start_minute for s in sites.values()))[:10]
    last = iso_minute(max(s.series.stop_minute for s in sites.values()) - 1)[:10]
    minutes, missing = sum(len(s.series.values) for s in sites.values()), sum(
        int(s.gaps.missing[-1]) for s in sites.values())
    disagreeing = sum(j.disagreeing for j in records.stations.values())
    lines = ["The data is simulated."] if simulated else []
    lines.append(f"Stations: {len(sites)}, {_many(records.files, 'file')}, {first} to {last}; {missing:,} of "
                 f"{minutes:,} minutes missing.")
    if disagreeing:
        lines.append(f"Files that overlap differ in {_many(disagreeing, 'minute')}; the later one was taken.")
    dropped = ", ".join(f"{count:,} {why}" for why, count in catalogue.dropped.items())
    lines.append(f"Catalogue: {len(catalogue.events):,} earthquakes" + (f"; left out: {dropped}." if dropped else "."))
    if records.left_out:
        name, why = next(iter(records.left_out.items()))
        lines.append(f"Files left out: {len(records.left_out)}, for example {name}: {why}.")
    if indices.unread:
        lines.append(f"Index files of no known format: {', '.join(Path(name).name for name in indices.unread)}.")
    return lines


def _length_lines(plan: Plan, facts: dict[str, Any], activity: str) -> list[str]:
    unused = ", ".join(f"{count} {why}" for why, count in facts["not_used"]["before_events"].items() if count)
    blocked = ", ".join(f"{count:,} {why}" for why, count in facts["not_used"]["possible_controls"].items() if count)
    name = f"{plan.days} days"
    if not facts["folders"]:
        return [f"{name}: no windows, because {len(plan.of(1))} before events and {len(plan.of(0))} controls were left."
                + (f" Not used: {unused}." if unused else "")
                + (f" Possible controls that are none: {blocked}." if blocked else "")]
    stations, found = len({s.station for s in plan.samples}), facts["balance"]
    lines = [f"{name}: {_many(facts['windows_before_events'], 'window')} before {_many(facts['events'], 'event')} at "
             f"{_many(stations, 'station')}, {_many(facts['controls'], 'control')}."
             + (f" Not used: {unused}." if unused else "")]
    lines.append(f"  Activity ({_UNITS[activity]}): {found['activity_mean_before_events']:.2f} before events, "
                 f"{found['activity_mean_controls']:.2f} in controls; standardised difference "
                 f"{_told(found['after_matching']['activity'])} (before matching "
                 f"{_told(found['before_matching']['activity'])}).")
    lines.append(f"  Season: {found['season_difference_days_mean']:.0f} days apart on average, "
                 f"{found['season_difference_days_most']:.0f} at most. After their event lie "
                 f"{_many(found['controls_later_than_event'], 'control')}, before it "
                 f"{found['controls_earlier_than_event']}.")
    wide = [k for k, v in found["after_matching"].items() if v is not None and abs(v) > BALANCED]
    if wide:
        lines.append(f"  Not balanced (standardised difference above {BALANCED}): {', '.join(wide)}.")
    return lines


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def _told(value: float | None) -> str:
    return "undefined" if value is None else f"{value:+.2f}"
