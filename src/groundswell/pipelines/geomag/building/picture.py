"""geomag: a picture of a build: data, windows of both classes and events on one time axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from groundswell.evaluate.figures import BLACK, BLUE, GREY, ORANGE, RED, STYLE, png_of
from groundswell.pipelines.geomag.building.gaps import runs_of
from groundswell.pipelines.geomag.building.samples import DAY, Plan, Site

_MOST_STATIONS = 12
_LIGHT = "#D9D9D9"


def timeline(plans: Sequence[Plan], sites: Mapping[str, Site], events: pd.DataFrame) -> bytes:
    """PNG with a panel for each window length and a lane for each station (those with most windows): where there is
    data, windows before events above and controls below it, events used and not used."""
    count = {code: sum(s.station == code for plan in plans for s in plan.samples) for code in sites}
    shown = sorted(sorted(sites, key=lambda code: -count[code])[:_MOST_STATIONS])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13, 1.1 + len(plans) * (1.0 + 0.55 * len(shown))), layout="constrained")
        grid = figure.subplots(len(plans), 1, sharex=True, squeeze=False)
        for axes, plan in zip(grid[:, 0], plans, strict=True):
            _panel(axes, plan, {code: sites[code] for code in shown}, events)
        locator = AutoDateLocator()  # type: ignore[no-untyped-call]
        grid[-1, 0].xaxis.set_major_locator(locator)
        grid[-1, 0].xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        figure.legend(handles=_legend(), loc="outside lower center", ncols=5)
        hidden = len(sites) - len(shown)
        figure.suptitle("Windows before events and controls" + (
            f" ({hidden} of {len(sites)} stations not shown)" if hidden else ""), x=0.01, ha="left", fontsize=12,
            fontweight="bold")
    return png_of(figure)


def _legend() -> list[Patch | Line2D]:
    return [Patch(color=_LIGHT, label="data"), Patch(color=BLUE, label="window before an event"),
            Patch(color=ORANGE, label="control window"),
            Line2D([], [], color=BLACK, marker="v", linestyle="", label="event with a window (larger: magnitude)"),
            Line2D([], [], color=RED, marker="x", linestyle="", label="event not used")]


def _days(minutes: NDArray[np.int64] | Sequence[int]) -> NDArray[np.float64]:
    return np.asarray(minutes, np.float64) / DAY


def _panel(axes: Axes, plan: Plan, sites: Mapping[str, Site], events: pd.DataFrame) -> None:
    at = events["time"].to_numpy("datetime64[m]").astype(np.int64)
    magnitude = events["magnitude"].to_numpy(np.float64)
    for lane, (code, site) in enumerate(sites.items()):
        axes.broken_barh(_data_bars(site), (lane - 0.06, 0.12), color=_LIGHT)
        for label, bottom, colour in ((1, 0.08, BLUE), (0, -0.36, ORANGE)):
            bars = [(s.start_minute / DAY, plan.days) for s in plan.of(label) if s.station == code]
            axes.broken_barh(bars, (lane + bottom, 0.28), facecolor=colour, edgecolor="white", linewidth=0.4)
        used = [s.event for s in plan.of(1) if s.station == code]
        axes.scatter(_days(at[used]), np.full(len(used), lane + 0.42), marker="v", color=BLACK, zorder=3,
                     s=6 + 10 * np.clip(magnitude[used] - 4.5, 0, None), linewidths=0)
        inside = [d.event for d in plan.dropped if d.station == code
                  and site.series.start_minute <= at[d.event] < site.series.stop_minute]
        axes.scatter(_days(at[inside]), np.full(len(inside), lane + 0.42), marker="x", color=RED, s=18, zorder=3,
                     linewidths=1)
    dropped = sum(d.station in sites for d in plan.dropped)
    axes.set_title(f"{plan.days} days: {len(plan.of(1))} before events, {len(plan.of(0))} controls, {dropped} not used")
    axes.set_yticks(range(len(sites)), list(sites))
    axes.set_ylim(-0.5, len(sites) - 0.4)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_edgecolor(GREY)


def _data_bars(site: Site) -> list[tuple[float, float]]:
    """Runs of days with data, as (day, length)."""
    edges = np.unique(np.append(np.arange(0, len(site.series.values), DAY), len(site.series.values)))
    present = np.diff(site.gaps.missing[edges]) < np.diff(edges)
    start, stop = runs_of(np.asarray(present, bool))
    first = site.series.start_minute
    return [((first + int(edges[a])) / DAY, float(edges[b] - edges[a]) / DAY) for a, b in zip(start, stop, strict=True)]
