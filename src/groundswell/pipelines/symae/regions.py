"""symae: earthquakes binned by epicentre, and how alike the coherent signals of each region are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path, write_json
from groundswell.core.progress import progress
from groundswell.core.waveforms import best_lag, shifted
from groundswell.evaluate.figures import GREY
from groundswell.pipelines.symae.figures import OFFSET, check_scale, colours_of, new_figure, save_all, style
from groundswell.pipelines.symae.pixels import focal_pixel, pixel_centre
from groundswell.pipelines.symae.signals import standard, time_axis
from groundswell.pipelines.symae.store import BagStore
from groundswell.pipelines.symae.trained import Trained, open_trained, read_sources
from groundswell.splits.regions import bounding_box

Floats = NDArray[np.float64]

_MOST_CURVES, _MOST_REGIONS = 30, 12
_TOGETHER = 64


def compare_regions(run: Path, *, nside: int = 4, store: Path | None = None, out: Path | None = None, fold: int = 0,
                    scale: int = 2) -> list[str]:
    """What `symae regions` does; what to tell the person.

    Of each event the bag with most traces is read. Writes ``events.csv`` (region, place, spread), ``pairs.csv``
    (correlation of each two events of a region at their best lag and sign), ``correlation.csv`` (the whole matrix),
    ``regions.json``, a map, the curves coloured by region, and the matrix as a picture.

    Raises:
        InputError: there is no such run or store, no event has a place, or nside is none.
    """
    if not 1 <= nside <= 512:
        raise InputError(f"There are no regions of nside {nside}", where="--nside", fix="Choose 1 to 512")
    check_scale(scale)
    trained = open_trained(run, store=store, fold=fold)
    folder = out or Path(run) / "regions"
    events = events_of(trained.store, nside)
    sources, spreads = _signals(trained, events)
    reach = trained.recipe.evaluate.max_lag_s / trained.store.facts.dt
    matrix = correlations(sources, reach)
    events = events.assign(part=[trained.role_of(name) for name in events["event"]],
                           spread=np.sqrt((spreads**2).mean(1)))
    pairs = pairs_of(events, matrix)
    within, apart = (pairs.loc[pairs["same_region"] == same, "correlation"] for same in (True, False))
    for name, frame in (("events.csv", events), ("pairs.csv", pairs[pairs["same_region"]]), (
            "correlation.csv", pd.DataFrame(matrix, events["event"].tolist(), events["event"].tolist()))):
        with atomic_path(folder / name) as temporary:
            frame.to_csv(temporary, index=name == "correlation.csv", float_format="%.6g")
    facts = {"nside": nside, "simulated": trained.simulated, "events": len(events), "without_a_place":
             int(trained.store.bags["event"].nunique() - len(events)), "regions": _summaries(events, pairs),
             "within": _quantiles(within), "between": _quantiles(apart)}
    write_json(folder / "regions.json", facts)
    drawn = save_all([("map", region_map(events, nside, trained.simulated)),
                      ("curves", region_curves(events, sources, spreads, time_axis(trained.store), reach)),
                      ("correlation", matrix_figure(events, matrix))], folder, scale)
    kinds = events["region"].nunique()
    lines = [trained.caution("")] if trained.caution("") else []
    lines.append(f"{len(events)} events in {kinds} regions of nside {nside}. Correlation of coherent signals at their "
                 f"best lag: {_words(within)} within regions, {_words(apart)} between them. Signals of different "
                 "events may be alike because sources are, not because places are.")
    return [*lines, f"Wrote events.csv, pairs.csv, correlation.csv and {len(drawn)} pictures to {folder}."]


def events_of(store: BagStore, nside: int) -> pd.DataFrame:
    """Events that have a place, by region: event, region (1-based HEALPix in RING order), its centre, the bag read.

    Raises:
        InputError: no event has a place.
    """
    largest = store.bags.sort_values("count", ascending=False, kind="stable").drop_duplicates("event")
    placed = largest[np.isfinite(largest["latitude"]) & np.isfinite(largest["longitude"])]
    if placed.empty:
        raise InputError("No event of the store has a place", where=store.path,
                         fix="Prepare it with a catalogue: symae prepare --catalogue FILE")
    region = focal_pixel(90 - placed["latitude"].to_numpy(), placed["longitude"].to_numpy(), nside)
    colatitude, longitude = pixel_centre(region, nside)
    kept = placed[["event", "latitude", "longitude", "depth_km", "magnitude", "bag", "pixel", "count", "world"]]
    found = kept.assign(region=region, region_latitude=90 - colatitude, region_longitude=_signed(longitude))
    ordered: pd.DataFrame = found.sort_values(["region", "event"], ignore_index=True)
    return ordered


def _signed(longitude: Floats) -> Floats:
    return np.asarray((longitude + 180) % 360 - 180, np.float64)


def _signals(trained: Trained, events: pd.DataFrame) -> tuple[Floats, Floats]:
    sources, spreads = [], []
    with progress(len(events), "regions", "events") as bar:
        for first in range(0, len(events), _TOGETHER):
            part = events.iloc[first:first + _TOGETHER]
            for fold in sorted({trained.fold_of(name) for name in part["event"]}):
                chosen = [i for i, name in enumerate(part["event"]) if trained.fold_of(name) == fold]
                read = read_sources(trained.task_of(str(part["event"].iloc[chosen[0]])),
                                    [trained.store.read(int(part["bag"].iloc[i])) for i in chosen])
                sources += [(first + i, found["source"]) for i, found in zip(chosen, read, strict=True)]
                spreads += [(first + i, found["spread"]) for i, found in zip(chosen, read, strict=True)]
            bar.advance(len(part))
    ordered = [np.stack([wave for _, wave in sorted(waves, key=lambda pair: pair[0])]) for waves in (sources, spreads)]
    return standard(ordered[0]), ordered[1]


def correlations(sources: Floats, reach: float) -> Floats:
    """Correlation (k, k) of waves (k, n) at the lag and sign at which it is largest."""
    rows = [best_lag(wave[None], sources, reach).correlation for wave in sources]
    matrix = np.stack(rows)
    return np.asarray((matrix + matrix.T) / 2, np.float64)


def pairs_of(events: pd.DataFrame, matrix: Floats) -> pd.DataFrame:
    """Every two events with their correlation, and whether they are of one region."""
    one, other = np.triu_indices(len(events), 1)
    region = events["region"].to_numpy()
    name = events["event"].to_numpy(object)
    return pd.DataFrame({"region": region[one], "event": name[one], "other": name[other],
                         "correlation": matrix[one, other], "same_region": region[one] == region[other]})


def _summaries(events: pd.DataFrame, pairs: pd.DataFrame) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for region, part in events.groupby("region"):
        own = pairs.loc[(pairs["region"] == region) & pairs["same_region"], "correlation"]
        found.append({"region": int(str(region)), "events": len(part), "latitude":
                      float(part["region_latitude"].iloc[0]), "longitude": float(part["region_longitude"].iloc[0]),
                      "median_correlation": float(own.median()) if len(own) else None})
    return found


def _quantiles(values: pd.Series[float]) -> dict[str, float | int | None]:
    told = values.quantile([0.25, 0.5, 0.75]).tolist() if len(values) else [None] * 3
    return {"pairs": len(values), "q25": told[0], "median": told[1], "q75": told[2]}


def _words(values: pd.Series[float]) -> str:
    if not len(values):
        return "no pair"
    low, high = values.quantile(0.25), values.quantile(0.75)
    return f"median {values.median():.2f} (middle half {low:.2f} to {high:.2f}, {len(values)} pairs)"


def region_map(events: pd.DataFrame, nside: int, simulated: bool = False) -> Figure:
    """Epicentres coloured by region; regions with one event alone are grey. There is no coastline."""
    colour = region_colours(events)
    box = bounding_box(events["latitude"].to_numpy(), events["longitude"].to_numpy())
    # Longitudes eastward from the western edge: nothing is torn apart at 180 degrees.
    events = events.assign(longitude=box.west + box.eastward(events["longitude"].to_numpy()))
    with style():
        figure = new_figure()
        axes = figure.subplots()
        for region, part in events.groupby("region"):
            known = colour.get(int(str(region)))
            size = 14 + 8 * np.clip(np.nan_to_num(part["magnitude"].to_numpy(np.float64), nan=6.0) - 5, 0, 4) ** 1.5
            axes.scatter(part["longitude"], part["latitude"], s=size, color=known or GREY, edgecolors="white",
                         linewidths=0.5, label=f"{region}: {len(part)} events" if known else None, zorder=3)
            axes.annotate(str(region), (float(part["longitude"].mean()), float(part["latitude"].mean())), xytext=(0, 9),
                          textcoords="offset points", fontsize=7, color=known or GREY, ha="center")
        middle = float(np.clip(events["latitude"].abs().mean(), 0, 75))
        axes.set_aspect(1 / np.cos(np.radians(middle)), adjustable="datalim")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{(value + 180) % 360 - 180:g}"))
        axes.set(xlabel="longitude (degrees)", ylabel="latitude (degrees)",
                 title=f"Epicentres by region of nside {nside}{' (simulated)' if simulated else ''}")
        if colour:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7.5, title="region")
    return figure


def region_colours(events: pd.DataFrame) -> dict[int, object]:
    """A colour for each region of two events or more, the largest of them."""
    counts = events["region"].value_counts()
    return colours_of(sorted(int(region) for region in counts.index[counts > 1][:_MOST_REGIONS]))


def region_curves(events: pd.DataFrame, sources: Floats, spreads: Floats, times: Floats, reach: float) -> Figure:
    """Coherent signals by region, each moved and turned to the first of its region, with bands of 90 %."""
    colour = region_colours(events)
    order = [i for i, region in enumerate(events["region"]) if int(region) in colour] or list(range(len(events)))
    order = order[:_MOST_CURVES]
    first: dict[int, Floats] = {}
    with style():
        figure = new_figure()
        axes = figure.subplots()
        for height, i in enumerate(order):
            region = int(events["region"].iloc[i])
            best = best_lag(sources[i], first.setdefault(region, sources[i]), reach)
            curve, band = (shifted(values, -best.lag) for values in (sources[i] * best.sign, spreads[i]))
            base, shade = OFFSET * height, colour.get(region, GREY)
            axes.fill_between(times, base + curve - 1.645 * band, base + curve + 1.645 * band, color=shade, alpha=0.15,
                              linewidth=0)
            axes.plot(times, base + curve, color=shade, linewidth=1.2)
        names = [f"{events['region'].iloc[i]}: {events['event'].iloc[i]}" for i in order]
        axes.set_yticks(OFFSET * np.arange(len(order)), names, fontsize=max(4.5, min(8.0, 190 / max(len(order), 1))))
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="seconds after the theoretical P", xlim=(times[0], times[-1]),
                 title="Coherent signals by region, moved and turned to the first of it")
    return figure


def matrix_figure(events: pd.DataFrame, matrix: Floats) -> Figure:
    """The matrix of correlations, in the order of regions, with lines between them."""
    edges = np.flatnonzero(np.diff(events["region"].to_numpy()) != 0) + 0.5
    with style():
        figure = new_figure()
        axes = figure.subplots()
        axes.grid(False)
        shown = axes.imshow(matrix, cmap="viridis", vmin=0, vmax=1)
        for edge in edges if len(edges) <= 60 else ():
            axes.axhline(edge, color="white", linewidth=0.5)
            axes.axvline(edge, color="white", linewidth=0.5)
        _name_regions(axes, events["region"].tolist())
        figure.colorbar(shown, label="correlation at the best lag")
        axes.set(title="Correlation of coherent signals, events by region", xlabel="event", ylabel="region")
    return figure


def _name_regions(axes: object, regions: Sequence[int]) -> None:
    places: dict[int, list[int]] = {}
    for i, region in enumerate(regions):
        places.setdefault(int(region), []).append(i)
    if len(places) <= 40:
        axes.set_yticks([float(np.mean(rows)) for rows in places.values()], [str(region) for region in places],  # type: ignore[attr-defined]
                        fontsize=6.5)
