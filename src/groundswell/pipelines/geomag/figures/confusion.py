"""geomag: the confusion of each family on each window length, averaged over the folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from groundswell.core.metrics import confusion_matrix, ratio
from groundswell.pipelines.geomag.figures.results import Answers, Cell, Results, marks_of, read_answers
from groundswell.pipelines.geomag.figures.style import DARK, FIGSIZE, PANEL, Picture, days_of, note
from groundswell.pipelines.geomag.layout import CLASSES

FloatArray = NDArray[np.float64]
FOLDER = "Individual_Confusion_Matrices"
_COLOURS = "Blues"
_PLACE = (0.22, 0.21, 0.75, 0.65)  # of the matrix in every figure: left, bottom, width, height


@dataclass(frozen=True)
class MeanConfusion:
    """Windows of each (true, assigned) class.

    Attributes:
        counts: mean over folds, shape (2, 2), rows are the truth.
        share: mean count by the mean of its row, shape (2, 2); nan where a class does not occur.
        spread: standard deviation over folds of the folds' own shares, shape (2, 2).
        folds: how many there are.
        all_folds: how many there should be.
    """

    counts: FloatArray
    share: FloatArray
    spread: FloatArray
    folds: int
    all_folds: int


def mean_confusion(answers: Sequence[Answers], all_folds: int | None = None) -> MeanConfusion:
    """Average the confusion of folds; a window is assigned to its more probable class.

    Args:
        answers: of each fold.
        all_folds: how many there should be; as many as there are, if absent.
    """
    each = np.stack([confusion_matrix(label, probability.argmax(1), 2) for probability, label in answers])
    counts = each.mean(0)
    shares = ratio(each, each.sum(2, keepdims=True), np.nan)
    known = np.isfinite(shares)
    n = np.maximum(known.sum(0), 1)
    mean = np.where(known, shares, 0).sum(0) / n
    spread = np.sqrt((np.where(known, shares - mean, 0) ** 2).sum(0) / n)
    share = ratio(counts, counts.sum(1, keepdims=True), np.nan)
    return MeanConfusion(counts, share, spread, len(each), all_folds or len(each))


def read_confusion(results: Results, cell: Cell) -> MeanConfusion | None:
    """Confusion of a family from the windows its folds test; ``None`` where no fold can be read."""
    answers = [read_answers(results, cell, fold) for fold in range(1, cell.folds + 1)]
    known = [answer for answer in answers if answer is not None]
    if not known:
        results.lacks(f"{cell}: no fold has answers; its confusion is not drawn")
        return None
    return mean_confusion(known, cell.folds)


def plan(results: Results) -> list[Picture]:
    """``Individual_Confusion_Matrices/{Model}_{window}_confusion_matrix.png`` and ``horizontal_colorbar.png``."""
    pictures = []
    for cell in results.cells:
        confusion = read_confusion(results, cell)
        if confusion is not None:
            pictures.append(Picture(f"{FOLDER}/{cell.model}_{cell.window}_confusion_matrix.png",
                                    partial(draw, cell, confusion)))
    return [*pictures, Picture(f"{FOLDER}/horizontal_colorbar.png", draw_colorbar)] if pictures else []


def draw(cell: Cell, confusion: MeanConfusion) -> Figure:
    """One matrix: colour and large figures are shares of the true class, on the same scale in every picture."""
    figure = Figure(figsize=PANEL)
    axes = figure.add_axes(_PLACE)
    axes.imshow(np.nan_to_num(confusion.share), cmap=_COLOURS, vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(2, 2):
        share = confusion.share[i, j]
        colour = "white" if share > 0.55 else DARK
        known = np.isfinite(share)
        axes.text(j, i - 0.08, f"{100 * share:.1f} %" if known else "none", ha="center", va="center", color=colour,
                  fontsize=42, fontweight="bold")
        below = f"± {100 * confusion.spread[i, j]:.1f} %\n{confusion.counts[i, j]:,.1f} windows" if known else ""
        axes.text(j, i + 0.2, below, ha="center", va="center", color=colour, fontsize=22)
    names = [name.replace("_", " ") for name in CLASSES]
    axes.set_xticks((0, 1), names, fontsize=28)
    axes.set_yticks((0, 1), names, fontsize=28, rotation=90, va="center")
    axes.tick_params(length=0, pad=10)
    axes.grid(False)
    axes.set(xlabel="Assigned class", ylabel="True class")
    axes.axhline(0.5, color="white", linewidth=4)
    axes.axvline(0.5, color="white", linewidth=4)
    few = f" of {confusion.all_folds}" if confusion.folds < confusion.all_folds else ""
    folds = f"mean of {confusion.folds}{few} fold{'s' if confusion.all_folds != 1 else ''}"
    axes.set_title(f"{cell.model}, {days_of(cell.window)}\n{folds}", fontsize=28, fontweight="bold", pad=12)
    note(figure, marks_of([cell.facts]))
    return figure


def draw_colorbar() -> Figure:
    """The scale of all matrices."""
    figure = Figure(figsize=(FIGSIZE[0], 2.4))
    axes = figure.add_axes((0.04, 0.58, 0.92, 0.3))
    scale = ScalarMappable(Normalize(0, 100), mpl.colormaps[_COLOURS])
    bar = figure.colorbar(scale, cax=axes, orientation="horizontal", ticks=np.arange(0, 101, 20))
    bar.set_label("Share of the true class (%)")
    bar.outline.set_linewidth(1.4)
    return figure
