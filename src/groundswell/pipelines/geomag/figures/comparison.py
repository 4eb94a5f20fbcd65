"""geomag: families beside one another: a radar of five scores and three scatters for each window length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.projections.polar import PolarAxes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from groundswell.pipelines.geomag.figures.results import Cell, Results, marks_of
from groundswell.pipelines.geomag.figures.style import (
    COLOURS,
    DARK,
    GREY,
    MARKERS,
    PANEL,
    Picture,
    days_of,
    finite,
    frame,
    limits,
    new_figure,
    note,
)

FloatArray = NDArray[np.float64]
FOLDER = "Model_Comparison_Analysis"
METRICS = {"f1": "F1", "precision": "Precision", "recall": "Recall", "specificity": "Specificity",
           "norm_mcc": "Norm. MCC"}

_RADAR_PLACE = (0.17, 0.125, 0.61, 0.68625)  # a square: left, bottom, width, height


@dataclass(frozen=True)
class Averages:
    """Mean and standard deviation over folds of each of :data:`METRICS`, for a family on a window length."""

    model: str
    window: str
    mean: Mapping[str, float]
    std: Mapping[str, float]


def averages_of(cell: Cell) -> Averages | None:
    """What the family's facts record as averages, worked out from the folds' scores where it is not recorded.

    The normalised MCC is (MCC + 1) / 2. ``None`` where one of the scores is not known.
    """
    given, by_fold = cell.facts.get("average_metrics"), cell.facts.get("fold_metrics")
    given, by_fold = (each if isinstance(each, dict) else {} for each in (given, by_fold))
    mean, std = {}, {}
    for name in METRICS:
        folds = _numbers(by_fold.get(name))
        if name == "norm_mcc" and not len(folds):
            folds = (_numbers(by_fold.get("mcc")) + 1) / 2
        value, spread = _number(given.get(name)), _number(given.get(f"{name}_std"))
        if not np.isfinite(value) and len(folds):
            value = float(folds.mean())
        if not np.isfinite(spread) and len(folds):
            spread = float(folds.std())
        if not np.isfinite(value):
            return None
        mean[name], std[name] = value, spread
    return Averages(cell.model, cell.window, mean, std)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")


def _numbers(values: object) -> FloatArray:
    numbers = np.array([_number(v) for v in values] if isinstance(values, list) else [], np.float64)
    return finite(numbers)


def read_averages(results: Results) -> list[Averages]:
    """Of every family and window length that records them, the best F1 over its window lengths first."""
    found = []
    for cell in results.cells:
        averages = averages_of(cell)
        if averages is not None:
            found.append(averages)
        elif cell.facts:
            results.lacks(f"{cell}: no averages of {', '.join(METRICS.values())} are recorded; not compared")
        else:
            results.lacks(f"{cell}: without configuration and summary it is not compared")
    rank = list(overall(found))
    return sorted(found, key=lambda a: rank.index(a.model))


def overall(found: Sequence[Averages]) -> dict[str, float]:
    """F1 of each family, averaged over its window lengths, the best first."""
    models = {a.model for a in found}
    mean = {model: float(np.mean([a.mean["f1"] for a in found if a.model == model])) for model in models}
    return dict(sorted(mean.items(), key=lambda item: (-item[1], item[0])))


def plan(results: Results) -> list[Picture]:
    """Four pictures for each window length, two legends for all; names in :mod:`.draw`."""
    found = read_averages(results)
    if not found:
        return []
    span = radar_span(found)
    pictures = []
    for window in results.windows:
        here = [a for a in found if a.window == window]
        if not here:
            results.lacks(f"{window}: no scores of any family; no comparison")
            continue
        marks = marks_of([c.facts for c in results.of_window(window) if c.model in {a.model for a in here}])
        draws: dict[str, Callable[..., Figure]] = {
            "Radar": partial(draw_radar, span=span), "F1_Mean_vs_Std": draw_stability,
            "Norm_MCC_vs_F1": draw_correlation, "Precision_vs_Recall": draw_trade_off}
        pictures += [Picture(f"{FOLDER}/{name}_{window}.png", partial(draw, here, window, marks=marks))
                     for name, draw in draws.items()]
    order, everything = overall(found), marks_of([c.facts for c in results.cells if c.facts])
    return [*pictures, Picture(f"{FOLDER}/Legend_Radar.png", partial(draw_legend, order, "radar", everything)),
            Picture(f"{FOLDER}/Legend_Scatter.png", partial(draw_legend, order, "scatter", everything))]


def radar_span(found: Sequence[Averages]) -> tuple[float, float]:
    """Scores at the centre and at the rim of every radar, in tenths around all scores: window lengths can be compared.
    """
    floor = max(0.0, float(np.floor((min(min(a.mean.values()) for a in found) - 0.05) * 10)) / 10)
    best = max(max(a.mean.values()) for a in found)
    return floor, min(1.0, float(np.ceil((best + 1e-9) * 10)) / 10)


def draw_radar(found: Sequence[Averages], window: str, marks: str = "",
               span: tuple[float, float] = (0.0, 1.0)) -> Figure:
    """The five scores of each family as a polygon, between those of ``span`` at the centre and at the rim."""
    figure = Figure(figsize=PANEL)
    axes = figure.add_axes(_RADAR_PLACE, projection="polar")
    assert isinstance(axes, PolarAxes)
    axes.set_theta_offset(np.pi / 2)
    axes.set_theta_direction(-1)
    angles = np.linspace(0, 2 * np.pi, len(METRICS), endpoint=False)
    for averages in reversed(found):
        values = [averages.mean[name] for name in METRICS]
        colour = COLOURS[averages.model]
        axes.plot([*angles, angles[0]], [*values, values[0]], color=colour, marker=MARKERS[averages.model],
                  markersize=11, linewidth=3)
        axes.fill([*angles, angles[0]], [*values, values[0]], color=colour, alpha=0.04)
    axes.set_xticks(angles, [name.replace(" ", "\n") for name in METRICS.values()], fontsize=26)
    axes.tick_params(axis="x", pad=12)
    for label, angle in zip(axes.get_xticklabels(), angles, strict=True):
        label.set_horizontalalignment("center" if np.isclose(np.sin(angle), 0) else
                                      "left" if np.sin(angle) > 0 else "right")
    _rings(axes, *span)
    figure.suptitle(days_of(window), y=0.975)
    note(figure, marks, f"Mean over folds; the centre is {span[0]:.1f}, the rim {span[1]:.1f}.")
    return figure


def _rings(axes: PolarAxes, floor: float, rim: float) -> None:
    step = 0.1 if rim - floor <= 0.5 else 0.2
    rings = np.round(np.arange(floor + step, rim + 1e-9, step), 1)
    axes.set_ylim(floor, rim)
    axes.set_rgrids(rings, [f"{r:.1f}" for r in rings], angle=36, fontsize=19, color=DARK,
                    bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.5})
    axes.yaxis.grid(color="#CFCFCF")
    axes.xaxis.grid(color="#CFCFCF")
    axes.spines["polar"].set(color=GREY, linewidth=1.4)


def _scatter(found: Sequence[Averages], window: str, marks: str, x: tuple[str, str], y: tuple[str, str]) -> Figure:
    """A point a family. ``x`` and ``y``: score, and "mean" with a bar of one standard deviation, or "std"."""
    figure = new_figure(PANEL)
    axes = figure.add_subplot()
    spans: list[tuple[float, float]] = []
    for i, (name, kind) in enumerate((x, y)):
        value = np.array([getattr(a, kind)[name] for a in found])
        bar = np.nan_to_num([a.std[name] for a in found]) if "std" not in (x[1], y[1]) else np.zeros(len(found))
        shown = np.isfinite(value)
        spans.append((float((value - bar)[shown].min()), float((value + bar)[shown].max())) if shown.any() else (0, 1))
        least = 0.04 if kind == "mean" else 0.01
        (axes.set_xlim if i == 0 else axes.set_ylim)(*limits(*spans[i], least=least, pad=0.1))
    if y[1] == "std":
        axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))
    for averages in reversed(found):
        _point(axes, averages, x, y)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlabel(_label(*x))
    axes.set_ylabel(_label(*y))
    figure.suptitle(days_of(window))
    note(figure, marks, "Mean and standard deviation over folds." if "std" in (x[1], y[1]) else
         "Mean over folds; bars: one standard deviation.")
    return figure


def _label(name: str, kind: str) -> str:
    return f"{METRICS[name]}, {'mean' if kind == 'mean' else 'standard deviation'}"


def _point(axes: Axes, averages: Averages, x: tuple[str, str], y: tuple[str, str]) -> None:
    at = getattr(averages, x[1])[x[0]], getattr(averages, y[1])[y[0]]
    colour = COLOURS[averages.model]
    if "std" not in (x[1], y[1]):
        axes.errorbar(*at, xerr=np.nan_to_num(averages.std[x[0]]), yerr=np.nan_to_num(averages.std[y[0]]), color=colour,
                      linewidth=2.2, alpha=0.55, capsize=5, zorder=2)
    axes.plot(*at, marker=MARKERS[averages.model], markersize=_size(averages.model), color=colour,
              markeredgecolor="white",
              markeredgewidth=1.4, zorder=3)


def _size(model: str) -> float:
    return 26 if MARKERS[model] in "PX" else 21  # of the same weight to the eye


def draw_stability(found: Sequence[Averages], window: str, marks: str = "") -> Figure:
    """F1: mean over folds against standard deviation; the lower right is high and steady."""
    return _scatter(found, window, marks, ("f1", "mean"), ("f1", "std"))


def draw_correlation(found: Sequence[Averages], window: str, marks: str = "") -> Figure:
    """Normalised MCC against F1."""
    return _scatter(found, window, marks, ("f1", "mean"), ("norm_mcc", "mean"))


def draw_trade_off(found: Sequence[Averages], window: str, marks: str = "") -> Figure:
    """Precision against recall."""
    return _scatter(found, window, marks, ("recall", "mean"), ("precision", "mean"))


def draw_legend(order: Mapping[str, float], kind: str, marks: str = "") -> Figure:
    """The families in their order, with F1 over all window lengths, as a figure of its own."""
    figure = Figure(figsize=(PANEL[0], 1.9 + 0.55 * len(order)))
    line = kind == "radar"
    handles = [Line2D([], [], color=COLOURS[model], marker=MARKERS[model], markersize=13 if line else _size(model),
                      linestyle="-" if line else "", linewidth=4, markeredgecolor=COLOURS[model] if line else "white",
                      label=f"{model} ({value:.3f})") for model, value in order.items()]
    frame(figure.legend(handles=handles, loc="center", title="F1, mean over folds and window lengths", borderpad=0.9,
                        fontsize=26, title_fontproperties={"size": 22}, handlelength=2.4))
    note(figure, marks)
    return figure
