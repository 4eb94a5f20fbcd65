"""biodiversity: pictures of the audit of a split: distances, likeness, months."""

from __future__ import annotations

from calendar import month_abbr

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from groundswell.evaluate import figures
from groundswell.splits.autocorrelation import Autocorrelation
from groundswell.splits.nearness import CURVE_M
from groundswell.splits.parts import PARTS, TEST, TRAIN, VALIDATION
from groundswell.splits.spatial_results import SpatialAudit
from groundswell.splits.spatial_words import metres_text

_WIDTH, _HEIGHT = 8.4, 4.4
_COLOURS = (figures.BLUE, figures.RED, figures.GREEN, figures.PURPLE, figures.ORANGE, figures.BLACK)
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)))
_PAST = 1.4  # what of the axis is shown past the last curve's end


def distances_figure(audit: SpatialAudit) -> Figure:
    """Cumulative curves of the distance to the nearest training sample, beside those of random splits."""

    def draw(axes: Axes) -> None:
        whole = audit.nearness[0]
        metres = np.maximum(CURVE_M, 1.0)[1:]  # the curve's first value, of distance nought, is where it comes in
        if whole.random_curve:
            low, _, high = (np.asarray(curve)[1:] for curve in whole.random_curve)
            axes.fill_between(metres, 100 * low, 100 * high, color="#D5DADE", linewidth=0,
                              label=f"random tests of {whole.count:,}: 95 % of {whole.draws}")
        sets = audit.main_sets()
        validation = audit.of(PARTS[VALIDATION])
        for k, n in enumerate(sets):
            axes.plot(metres, 100 * np.asarray(n.curve)[1:], color=_COLOURS[k % 6], linestyle=_DASHES[k % 6],
                      label=f"{n.name} ({n.count:,})")
        if validation is not None:
            axes.plot(metres, 100 * np.asarray(validation.curve)[1:], color=figures.SKY, linewidth=1.4,
                      label=f"validation ({validation.count:,})")
        ends = [float(metres[np.argmax(np.asarray(n.curve)[1:] >= 1)]) for n in sets if n.curve[-1] >= 1]
        _distance_axis(axes, 1.0, max([*ends, audit.autocorrelation.range_m, 100.0]) * _PAST)
        _mark_range(axes, audit.autocorrelation, 12)
        axes.set(ylabel="% with training within", ylim=(0, 100),
                 xlabel="distance to the nearest training observation; on the left edge, 1 m or less")
        axes.set_title("How near the test is to training")

    return _figure(draw)


def likeness_figure(audit: SpatialAudit) -> Figure | None:
    """How many times as often as by chance two observations are of one label, by distance; None where not measured."""
    likeness = audit.autocorrelation
    if likeness.why:
        return None

    def draw(axes: Axes) -> None:
        ends = np.asarray(likeness.edges_m)
        positive = ends[ends > 0]
        least = float(positive[0]) / 2 if len(positive) else 1.0
        shown = np.maximum(ends, least)
        middle = np.sqrt(shown[1:] * shown[:-1])
        axes.fill_between(middle, 0.01, np.asarray(likeness.envelope), color="#D5DADE", linewidth=0,
                          label=f"by chance: up to here in 95 % of {likeness.deals} dealings")
        axes.axhline(1, color=figures.GREY, linewidth=1)
        axes.plot(middle, likeness.ratio, color=figures.BLUE, marker="o", markersize=4.5,
                  label="pairs of this distance" + ("; leftmost, of one place" if ends[1] == 0 else ""))
        highest = max(*likeness.ratio, *likeness.envelope, 2.0)
        axes.set(yscale="log", ylim=(min([0.5, *(r for r in likeness.ratio if r > 0)]), 1.25 * highest),
                 ylabel=f"pairs of one {audit.labels.noun[0]}, × chance", xlabel="distance between two observations")
        ticks = [t for t in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if t <= 1.25 * highest]
        axes.yaxis.set_major_locator(FixedLocator(ticks))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_minor_locator(NullLocator())
        _distance_axis(axes, least, float(shown[-1]))
        _mark_range(axes, likeness, 1.1 * highest)
        axes.set_title("How far observations are alike")

    return _figure(draw)


def months_figure(audit: SpatialAudit) -> Figure | None:
    """Share of each month in training, validation and test; None where months are not known."""
    season = audit.season
    if season is None:
        return None

    def draw(axes: Axes) -> None:
        styles = {PARTS[TRAIN]: "#A9B3BC", PARTS[VALIDATION]: figures.SKY, PARTS[TEST]: figures.BLUE}
        parts = [name for name in styles if name in season.months]
        wide = 0.8 / len(parts)
        for k, name in enumerate(parts):
            counts = np.asarray(season.months[name])
            axes.bar(np.arange(1, 13) + (k - (len(parts) - 1) / 2) * wide, 100 * counts / max(counts.sum(), 1), wide,
                     color=styles[name], label=f"{name} ({counts.sum():,})")
        axes.set_xticks(range(1, 13), list(month_abbr)[1:])
        axes.tick_params(axis="x", length=0)
        axes.grid(axis="x", visible=False)
        axes.set(ylabel="% of the part's observations")
        axes.set_title("Months of the parts")

    return _figure(draw, height=3.2)


def _figure(draw: figures.Draw, height: float = _HEIGHT) -> Figure:
    with mpl.rc_context(figures.STYLE):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained", dpi=150)
        draw(figure.add_subplot())
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def _mark_range(axes: Axes, likeness: Autocorrelation, height: float) -> None:
    if likeness.range_m > 0 and not likeness.why:
        axes.axvline(likeness.range_m, color=figures.ORANGE, linewidth=1.5)
        axes.annotate(f"range {metres_text(likeness.range_m)}", (likeness.range_m, height), xytext=(-4, 0), va="top",
                      textcoords="offset points", ha="right", fontsize=9, color="#9A5B00")


def _distance_axis(axes: Axes, least: float, most: float) -> None:
    axes.set(xscale="log", xlim=(least, most))
    axes.xaxis.set_major_locator(FixedLocator([10.0**k for k in range(-3, 8) if least <= 10.0**k <= most]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda metres, _: _plain(metres)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _plain(metres: float) -> str:
    return f"{metres:g} m" if metres < 1000 else f"{metres / 1000:,g} km"
