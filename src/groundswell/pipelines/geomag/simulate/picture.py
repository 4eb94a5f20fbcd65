"""geomag: a picture of simulated windows, with and without what was planted in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from groundswell.evaluate.figures import BLUE, GREY, ORANGE, STYLE, png_of
from groundswell.pipelines.geomag.layout import MINUTES_A_DAY


@dataclass(frozen=True)
class Example:
    """A window to be drawn.

    Attributes:
        name: of its event.
        label: 0 or 1.
        background_nt: without signal, float64 (minutes,).
        planted_nt: signal, float64 (minutes,); zeros where there is none.
        near_minutes: so many show what the signal looks like from near.
    """

    name: str
    label: int
    background_nt: NDArray[np.float64]
    planted_nt: NDArray[np.float64]
    near_minutes: int


def draw_examples(examples: Sequence[Example], days: int, background: str) -> bytes:
    """PNG: each window whole, and around the strongest part of its signal (of a control: its end)."""
    examples = sorted(examples, key=lambda e: e.label)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13, 2.1 * len(examples) + 1.0), layout="constrained")
        grid = figure.subplots(len(examples), 2, squeeze=False, width_ratios=(2.2, 1))
        for (whole, near), example in zip(grid, examples, strict=True):
            _draw(whole, example, 0, len(example.background_nt), linewidth=0.7)
            middle = int(np.abs(example.planted_nt).argmax()) if example.planted_nt.any() else len(example.planted_nt)
            half = example.near_minutes // 2
            middle = min(max(middle, half), len(example.planted_nt) - half)
            _draw(near, example, middle - half, middle + half, linewidth=1.2)
            kind = "before an event (1)" if example.label else "control (0)"
            whole.set_title(f"{kind}: {example.name}")
            near.set_title(f"{example.near_minutes / 60:g} hours of it")
            whole.set_ylabel("nT less mean")
        for axes in grid[-1]:
            axes.set_xlabel("days before the event")
        handles, names = grid[-1, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3)
        figure.suptitle(f"Simulated windows of {days} days. Background {background}", x=0.01, ha="left", fontsize=11,
                        fontweight="bold")
    return png_of(figure)


def _draw(axes: Axes, example: Example, first: int, stop: int, *, linewidth: float) -> None:
    day = (np.arange(first, stop) - len(example.background_nt)) / MINUTES_A_DAY
    level = example.background_nt.mean()
    seen = example.background_nt[first:stop] - level
    axes.plot(day, seen + example.planted_nt[first:stop], color=BLUE, linewidth=linewidth, label="window")
    if example.planted_nt.any():
        axes.plot(day, seen, color=GREY, linewidth=linewidth, label="without the planted signal")
        axes.plot(day, example.planted_nt[first:stop], color=ORANGE, linewidth=1.2, label="planted")
    axes.margins(x=0)
