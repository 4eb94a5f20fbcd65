"""geomag: colours, sizes and fonts of the pictures, and how they reach the disk."""

from __future__ import annotations

import gc
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.legend import Legend
from numpy.typing import NDArray

from groundswell.core.files import atomic_path

COLOURS = {"GRU": "#E41A1C", "LSTM": "#377EB8", "MLP": "#4DAF4A", "RNN": "#984EA3", "Transformer": "#FF7F00",
           "MiniRocket": "#A65628"}
"""Of the families: ColorBrewer's Set1, as the seed has it."""
MARKERS = {"GRU": "o", "LSTM": "s", "MLP": "^", "RNN": "D", "Transformer": "P", "MiniRocket": "X"}
"""Of the families, for those who cannot tell the colours apart."""
GREY, DARK, RED = "#6E6E6E", "#222222", "#B00020"
FIGSIZE = (18.0, 16.0)
"""Of a figure of four panels, inches."""
PANEL = (9.0, 8.0)
"""Of a figure of one panel."""
_FONTS = ("Arial", "Liberation Sans", "Arimo", "Helvetica", "Nimbus Sans", "DejaVu Sans")
_RUN_LENGTHS = {"compress_type": 3, "compress_level": 6}  # zlib's Z_RLE: pictures of flat areas, three times as fast
_MANY_PIXELS = 1e7


@dataclass(frozen=True)
class Picture:
    """A file that is to be drawn: its place below the folder for pictures, and what draws it."""

    name: str
    draw: Callable[[], Figure]


def font_family() -> str:
    """Arial or, without it, the nearest that is installed; matplotlib itself brings the last one."""
    installed = set(fontManager.get_font_names())
    return next((name for name in _FONTS if name in installed), _FONTS[-1])


def style() -> dict[Any, Any]:
    """Settings for ``matplotlib.rc_context``; nothing is set globally."""
    return {
        "font.family": [font_family()], "font.size": 12, "figure.figsize": FIGSIZE, "figure.facecolor": "white",
        "figure.titlesize": 28, "figure.titleweight": "bold", "axes.titlesize": 28, "axes.labelsize": 32,
        "axes.labelcolor": DARK, "axes.edgecolor": DARK, "axes.linewidth": 1.6, "axes.grid": True,
        "axes.axisbelow": True, "axes.unicode_minus": False, "grid.color": "#E3E3E3", "grid.linewidth": 1.2,
        "xtick.labelsize": 24, "ytick.labelsize": 24, "xtick.major.size": 7, "ytick.major.size": 7,
        "xtick.major.width": 1.6, "ytick.major.width": 1.6, "lines.linewidth": 3.2, "legend.fontsize": 22,
        "legend.title_fontsize": 20, "legend.framealpha": 0.0, "legend.frameon": True, "legend.edgecolor": DARK,
        "legend.fancybox": False, "patch.linewidth": 1.2, "svg.hashsalt": "groundswell",
    }


def frame(legend: Legend) -> Legend:
    """Give a legend a background that is seen through and a border that is seen."""
    legend.get_frame().set(facecolor="none", edgecolor=DARK, linewidth=1.4, alpha=None)
    return legend


def new_figure(size: tuple[float, float]) -> Figure:
    """A figure whose axes, titles and labels make room for one another."""
    figure = Figure(figsize=size, layout="constrained")
    _layout(figure, w_pad=0.16, h_pad=0.14)
    return figure


def _layout(figure: Figure, **settings: Any) -> None:
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(**settings)


def note(figure: Figure, marks: str, explanation: str = "", *, size: float = 18) -> None:
    """Write into the lower left corner, below everything else, what the signs mean and, in red, what the reader must
    know about the data."""
    width, height = figure.get_size_inches()
    columns = max(int((width - 0.3) * 72 / (0.56 * size)), 20)
    below = 0.12
    for text, colour in ((marks, RED), (explanation, GREY)):
        lines = textwrap.wrap(text, columns)
        if lines:
            figure.text(0.15 / width, below / height, "\n".join(lines), fontsize=size, color=colour, ha="left",
                        va="bottom", linespacing=1.25)
            below += len(lines) * 1.32 * size / 72 + 0.04
    _layout(figure, rect=(0, below / height, 1, 1 - below / height))


def limits(low: float, high: float, *, least: float = 0.02, within: tuple[float, float] = (-np.inf, np.inf),
           pad: float = 0.06) -> tuple[float, float]:
    """A range a little wider than the data, at least ``least`` wide; its ends leave ``within`` by the padding only."""
    centre, half = (low + high) / 2, max(high - low, least) / 2
    edge = 2 * half * pad
    return max(centre - half, within[0]) - edge, min(centre + half, within[1]) + edge


def days_of(window: str) -> str:
    """``7-day windows`` for ``7day``."""
    return f"{window.removesuffix('day')}-day windows"


def finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Those that are numbers."""
    return np.asarray(values[np.isfinite(values)])


def save(draw: Callable[[], Figure], path: Path, dpi: int) -> Path:
    """Draw in our style and write the PNG file, whole or not at all; ``path``."""
    with mpl.rc_context(style()):
        figure = draw()
        pixels = float(np.prod(figure.get_size_inches())) * dpi**2
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=dpi, metadata={"Software": None}, pil_kwargs=_RUN_LENGTHS)
    del figure
    if pixels > _MANY_PIXELS:
        gc.collect()  # artists refer to one another in rings and hold their pixels, up to 0.4 GB, until they are found
    return path
