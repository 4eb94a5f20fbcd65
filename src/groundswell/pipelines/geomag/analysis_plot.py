"""geomag: the findings about a folder of windows as one picture."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from groundswell.evaluate.figures import BLACK, BLUE, GREY, ORANGE, RED, Draw, panels
from groundswell.pipelines.geomag.analysis import Analysis, WindowAnalysis
from groundswell.pipelines.geomag.analysis_sidecar import LIMIT, NumberBalance
from groundswell.pipelines.geomag.layout import CLASSES, MINUTES_A_DAY, ClassFile, read_windows, window_folder

COLOURS = (BLUE, ORANGE)
_EXAMPLES = 3  # of each class
_STATIONS = 12
_CAP = 2.0  # largest difference that is drawn to scale
_MONTHS = "JFMAMJJASOND"
_NAMES = tuple(f"{label}: {name.replace('_', ' ')}" for label, name in enumerate(CLASSES))


def figure_of(analysis: Analysis) -> Figure:
    """Counts of every window length; of the first with a sidecar the balance by month, station and number; examples."""
    shown = next((w for w in analysis.found if w.sidecar is not None), analysis.found[0])
    draws = [_counts(analysis)]
    if shown.sidecar is not None:
        draws += [_numbers(shown), _bars(shown, "month"), _bars(shown, "station")]
    examples = [_read_examples(analysis, shown, label) for label in (0, 1)]
    spread = [np.ptp(row[np.isfinite(row)]) for _, x in examples for row in x if np.isfinite(row).any()]
    step = 1.1 * float(np.median(spread)) if spread and np.median(spread) > 0 else 1.0
    figure = panels([*draws, *(_examples(shown, label, rows, x, step) for label, (rows, x) in enumerate(examples))])
    told = " (simulated)" if shown.simulated else ""
    figure.suptitle(f"{analysis.folder.name}: {analysis.assessment.lower()}{told}", x=0.01, ha="left", fontsize=13,
                    fontweight="bold")
    return figure


def _counts(analysis: Analysis) -> Draw:
    def draw(axes: Axes) -> None:
        axes.set_title("Windows of each class")
        for k, window in enumerate(analysis.found):
            for label, count in enumerate(window.class_counts):
                axes.barh(k, count, left=sum(window.class_counts[:label]), color=COLOURS[label], height=0.6,
                          label=_NAMES[label] if k == 0 else None)
                axes.text(sum(window.class_counts[:label]) + count / 2, k,
                          f"{count:,}\n{100 * window.class_proportions[label]:.1f}%", ha="center", va="center",
                          color="white" if label == 0 else BLACK, fontsize=9)
        axes.set_yticks(range(len(analysis.found)), [
            f"{w.days} days\n{w.imbalance_analysis.imbalance_ratio:.2f}:1\n{w.imbalance_analysis.severity}"
            for w in analysis.found])
        axes.set_ylim(len(analysis.found) - 0.4, -0.9)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("windows")
        axes.legend(loc="upper right", ncols=2)

    return draw


def _numbers(window: WindowAnalysis) -> Draw:
    assert window.sidecar is not None
    found = window.sidecar

    def draw(axes: Axes) -> None:
        axes.set_title(f"Differences between the classes, {window.days} days")
        chance = min(found.chance, _CAP)
        axes.axvspan(-chance, chance, color="#EEEEEE", zorder=0, label="chance (one standard error, by events)")
        for side in (-LIMIT, LIMIT):
            axes.axvline(side, color=GREY, linestyle=":", linewidth=1.2, label=f"±{LIMIT:g}" if side > 0 else None)
        for k, number in enumerate(found.numbers):
            _dot(axes, k, number)
        axes.set_yticks(range(len(found.numbers)), [number.column for number in found.numbers])
        axes.set_ylim(len(found.numbers) - 0.5, -1.6)
        axes.set_xlim(-_CAP * 1.15, _CAP * 1.15)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("class 1 less class 0, standard deviations")
        axes.legend(loc="upper right", ncols=2)

    return draw


def _dot(axes: Axes, place: int, number: NumberBalance) -> None:
    if number.difference is None:
        axes.text(0, place, "not known in both classes", ha="center", va="center", color=GREY, fontsize=9)
        return
    colour = RED if number.shortcut else BLACK
    at = max(-_CAP, min(_CAP, number.difference))
    axes.plot([0, at], [place, place], color=colour, linewidth=2)
    axes.plot(at, place, color=colour, marker="o" if abs(number.difference) <= _CAP else ">" if at > 0 else "<",
              markersize=7)
    size = f"{number.difference:+.2f}" if math.isfinite(number.difference) else "without end"
    axes.annotate(size, (at, place), (9 if at >= 0 else -9, 0), textcoords="offset points", va="center", fontsize=9,
                  ha="left" if at >= 0 else "right")


def _bars(window: WindowAnalysis, column: str) -> Draw:
    assert window.sidecar is not None
    found = next(c for c in window.sidecar.categories if c.column == column)
    if column == "month":
        names = [str(k) for k in range(1, 13)]
    else:
        names = sorted(found.counts, key=lambda name: -sum(found.counts[name]))[:_STATIONS]
    left_out = len(found.counts) - len(set(names) & found.counts.keys())

    def draw(axes: Axes) -> None:
        more = f", {left_out} more not shown" if left_out else ""
        axes.set_title(f"By {column}, {window.days} days: association with the class {found.association:.2f}{more}")
        place = np.arange(len(names))
        for label in (0, 1):
            axes.bar(place + 0.4 * label - 0.2, [found.counts.get(name, [0, 0])[label] for name in names], 0.38,
                     color=COLOURS[label], label=_NAMES[label])
        axes.set_xticks(place, list(_MONTHS) if column == "month" else names,
                        rotation=45 if column == "station" and len(names) > 8 else 0)
        axes.set_xlim(min(-0.6, len(names) / 2 - 2), max(len(names) - 0.4, len(names) / 2 + 1))
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel("windows")
        axes.margins(y=0.2)
        axes.legend(loc="upper right", ncols=2)

    return draw


def _read_examples(analysis: Analysis, window: WindowAnalysis,
                   label: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """A few windows of a class, each less its own median, and their rows; what is not finite is NaN."""
    path = window_folder(analysis.folder, window.days) / f"data_{label}.npy"
    file = ClassFile.of(path, label, window.n_features + 1)
    rows = np.unique(np.linspace(0, file.rows - 1, _EXAMPLES).astype(np.int64))
    x = np.empty((len(rows), window.n_features), np.float32)
    read_windows([file], rows, x)
    x[~np.isfinite(x)] = np.nan
    for row in x:
        row -= np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.float32(0)
    return rows, x


def _examples(window: WindowAnalysis, label: int, rows: NDArray[np.int64], x: NDArray[np.float32], step: float) -> Draw:
    def draw(axes: Axes) -> None:
        axes.set_title(f"Windows of class {_NAMES[label]}, {window.days} days")
        days = (np.arange(window.n_features) - window.n_features) / MINUTES_A_DAY
        for k, row in enumerate(x):
            axes.plot(days, row - k * step, color=COLOURS[label], linewidth=0.6)
        axes.set_yticks([-k * step for k in range(len(rows))], [f"row {row}" for row in rows])
        axes.set_ylim(-(len(rows) - 0.3) * step, 0.7 * step)
        axes.set_xlabel(f"days before the end of the window; traces are {step:,.0f} nT apart")

    return draw
