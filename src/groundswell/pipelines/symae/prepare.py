"""symae: archives of seismograms made into a store of bags, with everything that was left out counted by its reason."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.progress import progress, say
from groundswell.core.seeds import derive_seed
from groundswell.pipelines.symae.catalogue import read_quakes
from groundswell.pipelines.symae.cutting import first_time_s, prepared
from groundswell.pipelines.symae.pixels import pixel_centre
from groundswell.pipelines.symae.polarity import polarities
from groundswell.pipelines.symae.prepare_recipe import PrepareRecipe
from groundswell.pipelines.symae.raw import Earthquake, Left, RawArchive, RawTrace, UnusableTrace
from groundswell.pipelines.symae.store import BagStore, StoreFacts
from groundswell.pipelines.symae.store_writing import refuse_taken

_FEW = "too few traces of this event and pixel"
_KEPT = ("station", "azimuth", "takeoff", "distance", "latitude", "longitude", "pick", "pick_kind", "snr")
_QUAKE = ("latitude", "longitude", "depth_km", "magnitude", "time")


def open_archive(path: Path, recipe: PrepareRecipe, *, catalogue: Path | None = None,
                 stations: Path | None = None) -> RawArchive:
    """An HDF5 file of ``event/pixel/station``, or a folder of SAC or miniSEED.

    Args:
        path: the file or the folder.
        recipe: of the preparation.
        catalogue: QuakeML or text; a folder without SAC headers needs one, an HDF5 file may have one.
        stations: StationXML, or text with network, station, latitude and longitude; for folders.

    Raises:
        InputError: one of them is missing or unreadable.
        MissingExtraError: a folder, and obspy is not installed.
    """
    path = Path(path)
    quakes = read_quakes(catalogue) if catalogue is not None else None
    if path.is_dir():
        from groundswell.pipelines.symae.seismograms import SeismogramFolder
        from groundswell.pipelines.symae.stations import read_stations

        return SeismogramFolder(path, recipe, quakes, read_stations(stations) if stations is not None else None)
    from groundswell.pipelines.symae.archive import EventFile

    return EventFile(path, recipe, quakes)


def prepare(source: RawArchive, recipe: PrepareRecipe, out: Path, *, replace: bool = False) -> BagStore:
    """Make a store of bags: cut, taper and normalise each trace, leave out small pixels, and set polarities.

    The store's ``preparation`` holds the recipe, the archive's name and how many traces were left out for what reason;
    the same is told on stderr.

    Args:
        source: see :func:`open_archive`.
        recipe: how.
        out: folder of the store.
        replace: put it in the place of a store that is there.

    Raises:
        InputError: the archive cannot be read; a trace cannot be used and ``drop_bad`` is not set; an event asked for
            is not in it; a station is in one bag twice; no bag is left; or something is at ``out``. Nothing is
            written then.
    """
    refuse_taken(Path(out), replace)
    dropped: Counter[str] = Counter()
    found = _collect(source, recipe, dropped)
    bags, sizes = _large_enough(found, recipe.least_traces, dropped)
    for reason, count in sorted(dropped.items()):
        say(f"left out {count}: {reason}")
    if not bags:
        largest = max(sizes, key=lambda key: sizes[key], default=None)
        told = f"; the largest is {largest[0]}/{largest[1]} with {sizes[largest]}" if largest is not None else ""
        raise InputError(f"No event and pixel have {recipe.least_traces} traces that can be used{told}",
                         where=source.facts.get("name", ""), fix="One trace cannot tell a source from its path; give "
                         "more stations, or lower prepare.least_traces (2 or more)")
    x, traces, table = _tables(bags, recipe)
    turned = int((traces["flip"] < 0).sum())
    say(f"kept {len(traces)} traces in {len(table)} bags of {table['event'].nunique()} events; {turned} turned over")
    preparation = {"recipe": recipe.model_dump(mode="json"), **source.facts, "dropped": dict(sorted(dropped.items())),
                   "kept": {"traces": len(traces), "bags": len(table), "events": int(table["event"].nunique()),
                            "turned_over": turned, "held_out": int(traces["held_out"].sum())}}
    facts = StoreFacts(recipe.dt, first_time_s(recipe), recipe.nt, preparation)
    return BagStore.create(out, facts, traces, table, x, replace=replace)


Bags = dict[tuple[str, int], list[tuple[RawTrace, NDArray[np.float64]]]]


def _collect(source: RawArchive, recipe: PrepareRecipe, dropped: Counter[str]) -> Bags:
    """Prepared traces by event and pixel; what cannot be used is counted or refused."""
    bags: Bags = {}
    seen: dict[str, None] = {}
    taken: set[tuple[str, int, str]] = set()
    with progress(len(source), "Preparing", "traces") as shown:
        for trace in source.traces():
            shown.advance()
            if isinstance(trace, Left):
                _leave(trace, recipe, dropped)
                continue
            seen[trace.event.name] = None
            if recipe.events and trace.event.name not in recipe.events:
                dropped["of events not asked for"] += 1
                continue
            key = (trace.event.name, trace.pixel, trace.station)
            try:
                if key in taken:
                    raise UnusableTrace("station twice", "A station is in one event twice", where=trace.where,
                                        fix="Keep one record of it")
                values = prepared(trace, recipe)
            except UnusableTrace as error:
                _leave(Left(error), recipe, dropped)
                continue
            taken.add(key)
            # The record itself is let go of: an archive may hold many times what is kept of it.
            bags.setdefault(key[:2], []).append((dataclasses.replace(trace, samples=np.empty(0)), values))
    unknown = [name for name in recipe.events if name not in seen]
    if unknown:
        raise InputError(f"There is no event '{unknown[0]}'", where=source.facts.get("name", ""),
                         fix=f"The events are: {', '.join(list(seen)[:20])}")
    return bags


def _leave(left: Left, recipe: PrepareRecipe, dropped: Counter[str]) -> None:
    if not (left.harmless or recipe.drop_bad):
        raise left.error
    dropped[left.error.reason] += 1


def _large_enough(bags: Bags, least: int, dropped: Counter[str]) -> tuple[Bags, dict[tuple[str, int], int]]:
    """Bags of enough traces, in order of event and pixel and each by station; and the size of every bag."""
    few = sum(len(members) for members in bags.values() if len(members) < least)
    if few:
        dropped[_FEW] += few
    kept = {key: sorted(bags[key], key=lambda member: member[0].station)
            for key in sorted(bags) if len(bags[key]) >= least}
    return kept, {key: len(members) for key, members in bags.items()}


def _tables(bags: Bags, recipe: PrepareRecipe) -> tuple[NDArray[np.float32], pd.DataFrame, pd.DataFrame]:
    """Waveforms with their polarities set, the table of traces and that of bags."""
    waveforms: list[NDArray[np.float64]] = []
    rows: list[dict[str, Any]] = []
    table: list[dict[str, Any]] = []
    for number, ((event, pixel), members) in enumerate(bags.items()):
        x = np.stack([values for _, values in members])
        flips = np.ones(len(x), np.int8)
        if recipe.polarity:
            flips = polarities(x, round(recipe.polarity_lag_s / recipe.dt))
        waveforms.append(x * flips[:, None])
        held_out = stations_held_out([trace.station for trace, _ in members], recipe.stations_out, recipe.seed)
        for (trace, _), flip, out in zip(members, flips.tolist(), held_out.tolist(), strict=True):
            rows.append({"bag": number, "event": event, "pixel": pixel, "flip": flip, "held_out": out,
                         **{name: getattr(trace, name) for name in _KEPT}})
        quake: Earthquake = members[0][0].event
        colatitude, longitude = pixel_centre(pixel, recipe.nside)
        table.append({"event": event, "pixel": pixel, **{name: getattr(quake, name) for name in _QUAKE},
                      "pixel_colatitude": float(colatitude), "pixel_longitude": float(longitude)})
    bags_frame = pd.DataFrame(table)
    return np.concatenate(waveforms).astype(np.float32), pd.DataFrame(rows), bags_frame


def stations_held_out(stations: Iterable[str], share: float, seed: int) -> NDArray[np.bool_]:
    """Which stations of a bag are held out: ``share`` of them, rounded, by their names and ``seed`` alone.

    Names are put in an order that the seed decides and that is the same for every event, so that a station held out of
    one event tends to be held out of all.
    """
    names = list(stations)
    drawn = sorted(range(len(names)), key=lambda i: (derive_seed(seed, "station held out", names[i]), names[i]))
    out = np.zeros(len(names), np.bool_)
    out[drawn[:round(share * len(names))]] = True
    return out
