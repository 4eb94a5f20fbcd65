"""geomag: the making of simulated windows in the folder layout, with the truth beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from groundswell.core.errors import InputError
from groundswell.core.files import write_bytes
from groundswell.core.progress import Progress, progress
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.geomag.building.gaps import hourly_range
from groundswell.pipelines.geomag.building.minutes import iso_minute
from groundswell.pipelines.geomag.layout import WindowWriter, window_folder, window_name
from groundswell.pipelines.geomag.simulate.background import Background, simulated_background
from groundswell.pipelines.geomag.simulate.events import EVENTS, Event, draw_events, overlaps
from groundswell.pipelines.geomag.simulate.picture import Example, draw_examples
from groundswell.pipelines.geomag.simulate.real_background import real_background
from groundswell.pipelines.geomag.simulate.recipe import SimulateRecipe
from groundswell.pipelines.geomag.simulate.signal import DAY, Floats, Planted, draw_signal, strength_of, timing_of
from groundswell.pipelines.geomag.simulate.stations import Copy, Recorder, Station, draw_copy, make_stations
from groundswell.pipelines.geomag.simulate.truth import truth_row

_EXAMPLES = 2  # events of each class
_NEAR_MINUTES = 12 * 60  # of a smooth signal; of an oscillation two dozen periods


@dataclass(frozen=True)
class SimulateReport:
    """What was simulated.

    Attributes:
        lines: for a person.
        folders: the window folders written, shortest windows first.
        events: number of events of each class, by length in days.
    """

    lines: tuple[str, ...]
    folders: tuple[Path, ...]
    events: dict[int, tuple[int, int]]


@dataclass(frozen=True)
class _Window:
    """One window: ``row`` is its place in its class's file; ``placebo_nt`` is ``None`` where there is none."""

    event: Event
    station: Station
    row: int
    copy: Copy
    signal: Planted
    background_nt: Floats
    planted_nt: Floats
    placebo_nt: Floats | None


@dataclass(frozen=True)
class _Made:
    """The windows of one length: where they are, their truth, how many have a placebo, and some of them."""

    folder: Path
    truth: pd.DataFrame
    placebos: int
    examples: list[Example]


def simulate(recipe: SimulateRecipe, out: Path, *, draw: bool = True) -> SimulateReport:
    """Write simulated windows of every length, their truth (``truth.csv`` beside ``samples.csv``) and a picture.

    Args:
        recipe: the knobs.
        out: folder to write to.
        draw: also draw the picture, ``simulated.png``.

    Raises:
        InputError: there are such windows already, the signal lies outside the windows, real minutes cannot be used,
            or the background is too short; then nothing was written.
    """
    out = Path(out)
    _check(recipe, out)
    background = real_background(recipe.background) if recipe.background.files else simulated_background(
        recipe.background, recipe.seed)
    events = draw_events(recipe, background.series)
    stations = make_stations(recipe, background.series)
    recorder = Recorder(recipe, background.series)
    made = {}
    with progress(sum(map(len, events.values())) * len(stations), "simulate", "windows") as bar:
        for days, happened in events.items():
            made[days] = _write(recipe, out, days, happened, stations, background, recorder, bar)
    if draw:
        write_bytes(out / "simulated.png", draw_examples(made[min(made)].examples, min(made), background.description))
    counts = {days: tuple(sum(e.label == k for e in found) for k in (0, 1)) for days, found in events.items()}
    return SimulateReport(tuple(_lines(recipe, background, events, made)), tuple(m.folder for m in made.values()),
                          {days: (int(n[0]), int(n[1])) for days, n in counts.items()})


def small_windows(out: Path, seed: int = 42) -> Path:
    """16 events at 2 stations in windows of 7 days, in about a second: for tests and first tries; ``out`` itself."""
    recipe = build_recipe(SimulateRecipe, {"seed": seed, "events": 16, "windows": [7], "stations": {"count": 2},
                                           "background": {"years": 0.4}})
    simulate(recipe, out, draw=False)
    return Path(out)


def _check(recipe: SimulateRecipe, out: Path) -> None:
    for days in recipe.windows:
        if window_folder(out, days).exists():
            raise InputError("There are windows of this length already", where=window_folder(out, days),
                             fix="Choose another folder, or remove these first")
    lead, _ = timing_of(recipe)
    if lead > min(recipe.windows) * DAY:
        raise InputError(f"The signal's middle is {lead / DAY:g} days before the event, outside windows of "
                         f"{min(recipe.windows)} days", where="signal.lead_days",
                         fix="Take a shorter lead, or longer windows only")


def _write(recipe: SimulateRecipe, out: Path, days: int, events: Sequence[Event], stations: Sequence[Station],
           background: Background, recorder: Recorder, bar: Progress) -> _Made:
    """Write the windows of one length."""
    near = round(24 * recipe.signal.period_minutes) if recipe.signal.kind == "ulf" else _NEAR_MINUTES
    counts = [sum(e.label == k for e in events) * len(stations) for k in (0, 1)]
    truth, sidecar, examples, placebos = [], [], [], 0
    context = {e.number: _context(background, e, days * DAY) for e in events}
    with WindowWriter(out, days, (counts[0], counts[1]), placebo=_placebo_shift(recipe, days) > 0) as writer:
        for window in _windows(recipe, days, events, stations, recorder):
            label = window.event.label
            writer.put(label, window.row, window.background_nt + window.planted_nt)
            if window.placebo_nt is not None:
                writer.put_placebo(label, window.row, window.placebo_nt)
                placebos += 1
            truth.append(truth_row(window.event, window.station, window.copy, window.row, window.signal,
                                   window.background_nt))
            sidecar.append(_sidecar_row(window, days) | context[window.event.number])
            if not window.station.number and window.row < _EXAMPLES * len(stations):
                examples.append(Example(window.event.event_id, label, window.background_nt, window.planted_nt, near))
            bar.advance()
        table = pd.DataFrame(truth)
        folder = writer.finish(pd.DataFrame(sidecar), _facts(recipe, background, stations, days),
                               beside={"truth.csv": table.to_csv(index=False)})
    return _Made(folder, table, placebos, examples)


def _windows(recipe: SimulateRecipe, days: int, events: Sequence[Event], stations: Sequence[Station],
             recorder: Recorder) -> Iterator[_Window]:
    """Every window of one length, event by event and station by station."""
    minutes, earlier = days * DAY, _placebo_shift(recipe, days) * DAY
    row = [0, 0]
    for event in events:
        for station in stations:
            copy = draw_copy(recipe, event.number, station.number)
            signal = draw_signal(recipe, event.number, station.number)
            seen = recorder.record(event, station, copy, minutes)
            assert seen is not None  # events are drawn where the background is
            placebo = recorder.record(event, station, copy, minutes, earlier) if earlier else None
            wave = signal.waveform(minutes) if event.label else np.zeros(minutes)
            yield _Window(event, station, row[event.label], copy, signal, seen, wave, placebo)
            row[event.label] += 1


def _sidecar_row(window: _Window, days: int) -> dict[str, Any]:
    event, station = window.event, window.station
    return {"label": event.label, "row": window.row, "event_id": event.event_id, "station": station.name,
            "start_time": iso_minute(event.minute - days * DAY), "latitude": station.latitude,
            "longitude": station.longitude}


def _placebo_shift(recipe: SimulateRecipe, days: int) -> int:
    return days if recipe.placebo_shift_days is None else recipe.placebo_shift_days


def _context(background: Background, event: Event, minutes: int) -> dict[str, Any]:
    """Columns of the sidecar that all stations share: the event's time, and activity."""
    start = event.minute - minutes
    told: dict[str, Any] = {"event_time": iso_minute(event.minute) if event.label else ""}
    if background.indices is not None:
        told |= background.indices.columns(start, minutes)
    if not background.simulated:
        told["range_mean_nt"] = round(float(hourly_range(background.series).means(np.array([start]), minutes)[0]), 4)
    return told


def _facts(recipe: SimulateRecipe, background: Background, stations: Sequence[Station], days: int) -> dict[str, Any]:
    strength = strength_of(recipe)
    return {"simulated": True, "component": recipe.background.component, "unit": "nT", "made_by": "geomag simulate",
            "window": window_name(days), "placebo_shift_days": _placebo_shift(recipe, days), **background.facts,
            "planted": recipe.signal.kind if strength else "nothing: the labels are chance", "strength_nt": strength,
            "stations": [s.name for s in stations], "seed": recipe.seed, "recipe": recipe.model_dump(mode="json")}


def _lines(recipe: SimulateRecipe, background: Background, events: dict[int, list[Event]],
           made: dict[int, _Made]) -> list[str]:
    strength = strength_of(recipe)
    lead, duration = timing_of(recipe)
    lines = ["These windows are simulated.", f"Background: {background.description}."]
    lines.append(f"Planted in class 1: {recipe.signal.kind} of {strength:g} nT, {duration / DAY:g} days long, its "
                 f"middle {lead / DAY:g} days before the event." if strength else
                 "Nothing is planted: the labels are chance, and whatever tells the classes apart is luck or a leak.")
    for days in sorted(recipe.windows):
        if days not in made:
            lines.append(f"{days} days: left out; the background has no room for two events.")
            continue
        lines += _length_lines(recipe, days, events[days], made[days])
    return lines


def _length_lines(recipe: SimulateRecipe, days: int, events: list[Event], made: _Made) -> list[str]:
    ones = sum(e.label for e in events)
    wanted = recipe.events or EVENTS
    fewer = f" ({wanted} were asked for; no more have room)" if len(events) < wanted else ""
    lines = [f"{days} days: {len(events)} events{fewer}, {ones} of them of class 1, at {recipe.stations.count} "
             f"stations: {len(made.truth)} windows, {made.placebos} with a placebo, in {made.folder}."]
    there = made.truth[made.truth["amplitude_nt"] > 0]
    if len(there):
        lines.append(f"  The signal's amplitude is {there['signal_to_background'].median():.2g} of the background's "
                     f"standard deviation (median), {there['signal_to_band'].median():.2g} in its own band.")
    pairs = overlaps(events, days * DAY + recipe.stations.max_shift_minutes)
    if pairs:
        lines.append(f"  {pairs} pair(s) of neighbouring events share minutes of the background: divide these windows "
                     "in time (split.regime=blocks with data.join_overlaps=none).")
    return lines
