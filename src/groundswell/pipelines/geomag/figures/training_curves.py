"""geomag: accuracy and loss by epoch of every family on one window length, averaged over folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatterSciNotation, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from groundswell.pipelines.geomag.figures.results import (
    CURVES,
    Cell,
    Results,
    marks_of,
    read_answers,
    read_log,
    read_weights,
)
from groundswell.pipelines.geomag.figures.style import (
    COLOURS,
    DARK,
    FIGSIZE,
    GREY,
    Picture,
    days_of,
    finite,
    frame,
    limits,
    new_figure,
    note,
)

FloatArray = NDArray[np.float64]
FOLDER = "Performance_Analysis"
_TITLES = {"train_acc": "Training accuracy", "val_acc": "Validation accuracy", "train_loss": "Training loss",
           "val_loss": "Validation loss"}
_LOGARITHMIC_FROM = 30.0  # times the smallest mean loss


@dataclass(frozen=True)
class Curve:
    """A quantity by epoch, weighted over the folds that have the epoch.

    Attributes:
        epoch, mean, spread: shape (epochs,); spread is the weighted standard deviation over folds.
        folds: how many folds each epoch has, shape (epochs,).
    """

    epoch: FloatArray
    mean: FloatArray
    spread: FloatArray
    folds: NDArray[np.int64]


@dataclass(frozen=True)
class Training:
    """Curves of a family, by the names in the logs, and its validation accuracy at the folds' last epochs.

    ``logs`` of its ``all_folds`` folds could be read.
    """

    model: str
    curves: dict[str, Curve]
    last_accuracy: float
    logs: int
    all_folds: int


def weighted_curve(logs: Sequence[Mapping[str, FloatArray]], weights: FloatArray, name: str) -> Curve:
    """Weighted mean and standard deviation by epoch.

    Folds may have stopped at different epochs. Weights are shared out among those that have the epoch, and how many
    these are is told.

    Args:
        logs: of the folds, each with ``epoch`` and ``name``.
        weights: of the folds, shape (folds,).
    """
    epochs = np.unique(np.concatenate([log["epoch"] for log in logs]))
    table = np.full((len(logs), len(epochs)), np.nan)
    for row, log in zip(table, logs, strict=True):
        row[np.searchsorted(epochs, log["epoch"])] = log[name]
    here = np.isfinite(table)
    share = np.where(here, np.maximum(weights, 1e-12)[:, None], 0.0)
    share = share / np.maximum(share.sum(0), 1e-300)
    mean = (share * np.where(here, table, 0.0)).sum(0)
    spread = np.sqrt((share * np.where(here, table - mean, 0.0) ** 2).sum(0))
    kept = here.any(0)
    return Curve(epochs[kept], mean[kept], spread[kept], here.sum(0)[kept])


def read_training(results: Results, cell: Cell) -> Training | None:
    """Curves of a family on a window length from its folds' logs; ``None`` where no log has an epoch."""
    logs = {fold: log for fold in range(1, cell.folds + 1) if (log := read_log(results, cell, fold)) is not None}
    if not logs:
        return None
    weights = read_weights(results, cell)[[fold - 1 for fold in logs]]
    curves = {name: weighted_curve(list(logs.values()), weights, name) for name in CURVES}
    last = np.array([finite(log["val_acc"])[-1] if np.isfinite(log["val_acc"]).any() else np.nan
                     for log in logs.values()])
    known = np.isfinite(last)
    share = np.maximum(weights[known], 1e-12)
    accuracy = float((share * last[known]).sum() / share.sum()) if known.any() else float("nan")
    return Training(cell.model, curves, accuracy, len(logs), cell.folds)


def majority_rate(results: Results, cells: Sequence[Cell]) -> float | None:
    """Share of the commoner class among the windows that the folds of the first readable family test."""
    for cell in cells:
        answers = [read_answers(results, cell, fold) for fold in range(1, cell.folds + 1)]
        if answers and all(answer is not None for answer in answers):
            ones = float(np.concatenate([answer[1] for answer in answers if answer is not None]).mean())
            return max(ones, 1 - ones)
    return None


def plan(results: Results) -> list[Picture]:
    """``Performance_Analysis/Model_Performance_{window}.png`` for each window length with a log."""
    pictures = []
    for window in results.windows:
        cells = results.of_window(window)
        found = [training for cell in cells if (training := read_training(results, cell)) is not None]
        if not found:
            results.lacks(f"{window}: no log of any family holds an epoch; no training curves")
            continue
        found.sort(key=lambda t: -np.nan_to_num(t.last_accuracy, nan=-1.0))
        shown = [cell for cell in cells if cell.model in {training.model for training in found}]
        marks, rate = marks_of([cell.facts for cell in shown]), majority_rate(results, shown)
        pictures.append(Picture(f"{FOLDER}/Model_Performance_{window}.png",
                                lambda found=found, window=window, marks=marks, rate=rate:  # type: ignore[misc]
                                draw(found, window, marks, rate)))
    return pictures


def draw(found: Sequence[Training], window: str, marks: str = "", majority: float | None = None) -> Figure:
    """Training and validation beside one another, accuracy above loss; families in the order given."""
    figure = new_figure(FIGSIZE)
    grid = figure.add_gridspec(3, 2, height_ratios=(1, 1, 0.13 * (1 + -(-len(found) // 3))))
    for i, name in enumerate(CURVES):
        _panel(figure.add_subplot(grid[i // 2, i % 2]), found, name, majority if name == "val_acc" else None)
    handles = [Line2D([], [], color=COLOURS[t.model], linewidth=5, label=_label(t))
               for t in found]
    stopped = any((t.curves[name].folds < t.logs).any() for t in found for name in CURVES)
    below = figure.add_subplot(grid[2, :])
    below.set_axis_off()
    frame(below.legend(handles=handles, loc="center", ncols=3, borderpad=0.8, columnspacing=2.5,
                       title="Validation accuracy at the last epoch, weighted over folds"))
    figure.suptitle(f"{days_of(window)}: training and validation, weighted mean over folds")
    note(figure, marks, "Bands: one weighted standard deviation over folds."
         + (" Dotted: some folds had stopped before; the mean is of the others." if stopped else ""))
    return figure


def _label(training: Training) -> str:
    few = f", {training.logs} of {training.all_folds} folds" if training.logs < training.all_folds else ""
    return f"{training.model} ({training.last_accuracy:.3f}{few})"


def _panel(axes: Axes, found: Sequence[Training], name: str, majority: float | None) -> None:
    curves = [(t, t.curves[name]) for t in reversed(found) if len(t.curves[name].epoch)]  # the best on top
    for training, curve in curves:
        colour, whole = COLOURS[training.model], curve.folds == training.logs
        axes.fill_between(curve.epoch, curve.mean - curve.spread, curve.mean + curve.spread, color=colour, alpha=0.13,
                          linewidth=0)
        point = "o" if len(curve.epoch) == 1 else None
        axes.plot(curve.epoch, np.where(whole, curve.mean, np.nan), color=colour, marker=point, markersize=12)
        if not whole.all():
            # The dotted part begins where the whole one ends, so that the curve has no gap.
            partial = ~whole | np.append(~whole[1:], False) | np.insert(~whole[:-1], 0, False)
            axes.plot(curve.epoch, np.where(partial, curve.mean, np.nan), color=colour, linestyle=(0, (1, 1.2)))
    axes.set_xlabel("Epoch")
    axes.set_ylabel(_TITLES[name])
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 2.5, 5, 10]))
    if curves:
        _range(axes, [curve for _, curve in curves], accuracy=name.endswith("acc"), also=majority)
    if majority is not None:
        low, high = axes.get_ylim()
        axes.set_ylim(low, max(high, majority + 0.1 * (high - low)))  # room for what is written on the line
        axes.axhline(majority, color=GREY, linestyle=(0, (6, 4)), linewidth=2.2, zorder=1)
        axes.annotate(f"always the commoner class: {majority:.3f}", (1, majority), (-8, 5), color=DARK, fontsize=18,
                      xycoords=axes.get_yaxis_transform(), textcoords="offset points", ha="right", va="bottom",
                      bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1.5})


def _range(axes: Axes, curves: Sequence[Curve], *, accuracy: bool, also: float | None) -> None:
    """As much of the vertical axis as the curves and their bands need; losses of several magnitudes on a log scale."""
    means = np.concatenate([c.mean for c in curves])
    lows, highs = (np.concatenate([c.mean + sign * c.spread for c in curves]) for sign in (-1, 1))
    if not accuracy and means.min() > 0 and means.max() > _LOGARITHMIC_FROM * means.min():
        axes.set_yscale("log")
        axes.set_ylim(means.min() / 1.5, highs.max() * 1.2)
        axes.yaxis.set_major_formatter(LogFormatterSciNotation())
        axes.yaxis.set_minor_formatter(NullFormatter())
        return
    ends = [*lows, *highs, *([] if also is None else [also])]
    axes.set_ylim(*limits(float(min(ends)), float(max(ends)), within=(0.0, 1.0 if accuracy else np.inf)))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
