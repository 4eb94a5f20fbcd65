"""geomag: the building of window folders from observatory files, a catalogue and indices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import write_bytes, write_json
from groundswell.core.progress import progress
from groundswell.pipelines.geomag.building.catalogue import Catalogue, read_catalogues
from groundswell.pipelines.geomag.building.gaps import OK, Gaps, cut, hourly_range
from groundswell.pipelines.geomag.building.indices import Binned, Indices, read_indices
from groundswell.pipelines.geomag.building.matching import plan_windows
from groundswell.pipelines.geomag.building.minutes import MinuteSeries, check_components, iso_minute
from groundswell.pipelines.geomag.building.picture import timeline
from groundswell.pipelines.geomag.building.recipe import BuildRecipe
from groundswell.pipelines.geomag.building.report import BuildReport, Written, report_of
from groundswell.pipelines.geomag.building.rules import dependent_events, judge
from groundswell.pipelines.geomag.building.samples import DAY, Plan, Sample, Site
from groundswell.pipelines.geomag.building.sources import read_records
from groundswell.pipelines.geomag.layout import WindowWriter, window_folder, window_name


def build(recipe: BuildRecipe, out: Path) -> BuildReport:
    """Cut windows before earthquakes and matched control windows, and write them in the folder layout.

    One component goes to ``out`` itself, several to ``out/H`` and so on, each with the same windows. Beside them lie
    ``build.json``, everything that was chosen and left out and why, and ``build.png``, a picture of it. A window
    length for which no windows can be had is left out with a line in the report.

    Args:
        recipe: what to cut from what.
        out: folder to write to.

    Raises:
        InputError: something cannot be read, there are such windows already, no earthquake counts at any station while
            it recorded (the message names the nearest), or no windows are left; then nothing was written.
    """
    out = Path(out)
    check_components(recipe.components)
    roots = _roots(recipe, out)
    for root in roots.values():
        for days in recipe.windows:
            if window_folder(root, days).exists():
                raise InputError("There are windows of this length already", where=window_folder(root, days),
                                 fix="Choose another folder, or remove these first")
    records = read_records(recipe.data, recipe.components, recipe.stations)
    catalogue = read_catalogues(recipe.catalogue)
    indices = read_indices(recipe.indices)
    series = {code: joined.series for code, joined in records.stations.items()}
    sites, activity = make_sites(series, catalogue, indices, recipe)
    require_an_event(sites, catalogue.events, recipe)
    dependent = np.zeros(len(catalogue.events), bool)
    if recipe.events.declustering == "gardner_knopoff":
        dependent = dependent_events(catalogue.events)
    plans = [plan_windows(sites, catalogue.events, dependent, days, recipe) for days in recipe.windows]
    usable = [plan for plan in plans if plan.of(0) and plan.of(1)]
    if not usable:
        raise _nothing_left(plans, recipe)
    written = _write_all(usable, sites, catalogue, indices, recipe, roots)
    report = report_of(out, plans, written, sites, catalogue, records, indices, activity, recipe)
    write_json(out / "build.json", report.facts)
    write_bytes(out / "build.png", timeline(usable, sites, catalogue.events))
    return report


def _roots(recipe: BuildRecipe, out: Path) -> dict[str, Path]:
    """Where each component goes."""
    return {c: out / c if len(recipe.components) > 1 else out for c in recipe.components}


def make_sites(series: dict[str, MinuteSeries], catalogue: Catalogue, indices: Indices,
               recipe: BuildRecipe) -> tuple[dict[str, Site], str]:
    """The stations with their gaps, activity and events; and which activity it is, ``"ap"`` or ``"range"``.

    Raises:
        InputError: ap is asked for and not known for every station's data.
    """
    known = indices.ap is not None and all(_covers(indices.ap, s) for s in series.values())
    if recipe.controls.activity == "ap" and not known:
        raise InputError("Controls are to be matched on ap, which is not known for all of the data", where="indices",
                         fix="Give index files for the whole time, or take 'controls.activity: auto'")
    use_ap = known and recipe.controls.activity != "range"
    at = catalogue.events["time"].to_numpy("datetime64[m]").astype(np.int64)
    sites = {}
    for code, station in series.items():
        judged = judge(catalogue.events, (station.latitude, station.longitude), recipe.events)
        activity = indices.ap if use_ap and indices.ap is not None else hourly_range(station)
        sites[code] = Site(station, Gaps.of(station, recipe.gaps), activity, judged, np.sort(at[judged.qualifies]))
    return sites, "ap" if use_ap else "range"


def _covers(index: Binned, series: MinuteSeries) -> bool:
    return bool(np.isfinite(index.means(np.array([series.start_minute]), len(series.values)))[0])


def require_an_event(sites: dict[str, Site], events: pd.DataFrame, recipe: BuildRecipe) -> None:
    """See that an earthquake counts at one of the stations while it recorded.

    Raises:
        InputError: none does; the message says how near the nearest came.
    """
    at = events["time"].to_numpy("datetime64[m]").astype(np.int64)
    best: tuple[float, str, int] | None = None
    during = np.zeros(len(events), bool)
    for code, site in sites.items():
        inside = (at >= site.series.start_minute) & (at < site.series.stop_minute)
        during |= inside
        if (inside & site.judged.qualifies).any():
            return
        reach = np.where(inside & (site.judged.reach_km > 0), site.judged.reach_km, np.nan)
        share = site.judged.distance_km / reach
        if np.isfinite(share).any():
            nearest = int(np.nanargmin(share))
            best = min(best or (np.inf, "", -1), (float(share[nearest]), code, nearest))
    raise _no_event(sites, events, during, best, recipe)


def _no_event(sites: dict[str, Site], events: pd.DataFrame, during: NDArray[np.bool_],
              best: tuple[float, str, int] | None, recipe: BuildRecipe) -> InputError:
    first = iso_minute(min(s.series.start_minute for s in sites.values()))
    last = iso_minute(max(s.series.stop_minute for s in sites.values()))
    if not during.any():
        return InputError(f"No earthquake of the catalogue happened while a station recorded: data from {first} to "
                          f"{last}, catalogue from {events['time'].iloc[0]:%Y-%m-%d} to "
                          f"{events['time'].iloc[-1]:%Y-%m-%d}", where="catalogue",
                          fix="Give a catalogue of the time of the data")
    rule = recipe.events
    if best is None:
        return InputError(f"None of the {int(during.sum())} earthquakes of the time of the data is allowed by "
                          f"magnitude and depth; the largest has magnitude {events['magnitude'][during].max():g} and "
                          f"events.min_magnitude is {rule.min_magnitude:g}", where="events",
                          fix="Lower events.min_magnitude, or lift events.max_depth_km")
    _, code, nearest = best
    event, judged = events.iloc[nearest], sites[code].judged
    name = "10^(0.43 M) km" if rule.rule == "dobrovolsky" else "events.max_distance_km"
    advice = ("Give longer records or stations nearer to earthquakes, or choose a distance of your own with "
              "'events.rule: distance' and events.max_distance_km" if rule.rule == "dobrovolsky" else
              "Raise events.max_distance_km, or give longer records or stations nearer to earthquakes")
    return InputError(f"None of the {int(during.sum())} earthquakes of the time of the data counts at a station under "
                      f"the rule {rule.rule}. The nearest to counting is {event['event_id']} (magnitude "
                      f"{event['magnitude']:g}, {event['time']:%Y-%m-%d %H:%M}): {judged.distance_km[nearest]:.0f} km "
                      f"from {code}, and events of its size count within {judged.reach_km[nearest]:.0f} km ({name})",
                      where="events", fix=advice)


def _nothing_left(plans: Sequence[Plan], recipe: BuildRecipe) -> InputError:
    told = []
    for plan in plans:
        reasons = pd.Series([d.why for d in plan.dropped], dtype=object).value_counts()
        listed = ", ".join(f"{count} {why}" for why, count in reasons.items())
        told.append(f"{plan.days} days: {len(plan.of(1))} windows before events and {len(plan.of(0))} controls"
                    + (f" (not used: {listed})" if listed else ""))
    blocked = {why: count for why, count in plans[0].controls_unusable.items() if count}
    listed = ", ".join(f"{count} {why}" for why, count in blocked.items())
    return InputError(f"No window length has windows of both classes. {'; '.join(told)}"
                      + (f". Possible controls of {plans[0].days} days that are none: {listed}" if listed else ""),
                      where="events, controls, gaps",
                      fix="Raise events.min_magnitude so that quiet times exist, lower controls.quiet_days, raise "
                          "controls.max_season_days, or give longer records")


def _write_all(plans: Sequence[Plan], sites: dict[str, Site], catalogue: Catalogue, indices: Indices,
               recipe: BuildRecipe, roots: dict[str, Path]) -> list[Written]:
    written = []
    total = sum(len(plan.samples) for plan in plans) * len(roots)
    with progress(total, "write", "windows") as bar:
        for plan in plans:
            context = _context(plan, sites, catalogue, indices, recipe)
            for place, (component, root) in enumerate(roots.items()):
                counts = (len(plan.of(0)), len(plan.of(1)))
                frame = context.copy()
                placebos = 0
                with WindowWriter(root, plan.days, counts, placebo=recipe.placebo_shift_days > 0) as writer:
                    filled = []
                    for sample, row in zip(plan.samples, frame["row"].to_list(), strict=True):
                        site = sites[sample.station]
                        values, count = cut(site.series, sample.start_minute, plan.days * DAY, place)
                        writer.put(sample.label, row, values)
                        filled.append(count)
                        placebos += _put_placebo(writer, sample, row, site, plan.days, place, recipe)
                        bar.advance()
                    frame["filled_minutes"] = filled
                    folder = writer.finish(frame, _facts(component, sites, plan, recipe))
                written.append(Written(plan.days, component, folder, counts, int(sum(filled)), placebos))
    return written


def _put_placebo(writer: WindowWriter, sample: Sample, row: int, site: Site, days: int, place: int,
                 recipe: BuildRecipe) -> int:
    """Write the window so many days earlier, if there is one; how many were written."""
    start = sample.start_minute - recipe.placebo_shift_days * DAY
    if not recipe.placebo_shift_days or site.gaps.judge(np.array([start]), days * DAY)[0] != OK:
        return 0
    writer.put_placebo(sample.label, row, cut(site.series, start, days * DAY, place)[0])
    return 1


def _context(plan: Plan, sites: dict[str, Site], catalogue: Catalogue, indices: Indices,
             recipe: BuildRecipe) -> pd.DataFrame:
    """The sidecar of a plan: one row a window."""
    events, rows = catalogue.events, []
    counters = [0, 0]
    for sample in plan.samples:
        site, minutes = sites[sample.station], plan.days * DAY
        event = sample.event if sample.label else -1
        known = event >= 0
        rows.append({
            "label": sample.label, "row": counters[sample.label], "event_id": sample.event_id,
            "station": sample.station, "start_time": iso_minute(sample.start_minute),
            "latitude": site.series.latitude, "longitude": site.series.longitude, "matched_event": sample.matched,
            "event_time": events["time"].iloc[event].strftime("%Y-%m-%dT%H:%M:%SZ") if known else "",
            "magnitude": float(events["magnitude"].iloc[event]) if known else np.nan,
            "distance_km": round(float(site.judged.distance_km[event]), 1) if known else np.nan,
            "activity": round(sample.activity, 4), "season_days": round(sample.season_days, 2),
            "shift_days": sample.shift_days, **indices.columns(sample.start_minute, minutes)})
        counters[sample.label] += 1
    return pd.DataFrame(rows)


def _facts(component: str, sites: dict[str, Site], plan: Plan, recipe: BuildRecipe) -> dict[str, object]:
    used = sorted({s.station for s in plan.samples})
    return {"simulated": any(bool(sites[code].series.facts.get("simulated")) for code in used), "component": component,
            "unit": "arcmin" if component == "D" else "nT", "made_by": "geomag build",
            "window": window_name(plan.days), "placebo_shift_days": recipe.placebo_shift_days,
            "lead_minutes": recipe.lead_minutes, "rule": recipe.events.rule, "stations": used, "seed": recipe.seed}
