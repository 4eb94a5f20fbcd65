"""geomag: ROC curves of every family, averaged over the folds on a common grid, a panel for each window length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from groundswell.pipelines.geomag.figures.results import Answers, Cell, Results, marks_of, read_answers
from groundswell.pipelines.geomag.figures.style import COLOURS, GREY, Picture, days_of, frame, new_figure, note

FloatArray = NDArray[np.float64]
FOLDER = "ROC_analysis"
GRID_POINTS = 201
_PANEL_IN = (7.0, 13.2)


@dataclass(frozen=True)
class MeanRoc:
    """ROC of a family on a window length.

    Attributes:
        fpr: the common grid from 0 to 1, shape (points,).
        tpr: mean over folds at each of them, shape (points,); 0 at the first, 1 at the last.
        areas: under each fold's own curve, shape (folds,).
        all_folds: how many there should be.
    """

    model: str
    fpr: FloatArray
    tpr: FloatArray
    areas: FloatArray
    all_folds: int

    @property
    def auc(self) -> float:
        """Mean of the folds' areas."""
        return float(self.areas.mean())

    @property
    def standard_error(self) -> float:
        """Standard deviation of the folds' areas (n - 1) by the root of their number; nan for one fold.

        Folds share their training windows, so it says too little of what other windows would give.
        """
        n = len(self.areas)
        return float(self.areas.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")


def mean_roc(model: str, answers: Sequence[Answers], all_folds: int | None = None) -> MeanRoc:
    """Average the curves of folds.

    Args:
        model: the family.
        answers: of each fold, with labels of both classes.
        all_folds: how many there should be; as many as there are, if absent.
    """
    grid = np.linspace(0.0, 1.0, GRID_POINTS)
    curves, areas = [], []
    for probability, label in answers:
        fpr, tpr, _ = roc_curve(label, probability[:, 1])
        curves.append(np.interp(grid, fpr, tpr))
        areas.append(float(roc_auc_score(label, probability[:, 1])))
    mean = np.mean(curves, axis=0)
    mean[0], mean[-1] = 0.0, 1.0
    return MeanRoc(model, grid, mean, np.array(areas), all_folds or len(areas))


def read_roc(results: Results, cell: Cell) -> MeanRoc | None:
    """ROC of a family from the windows its folds test; ``None`` where no fold has windows of both classes."""
    answers = []
    for fold in range(1, cell.folds + 1):
        answer = read_answers(results, cell, fold)
        if answer is None:
            continue
        if len(np.unique(answer[1])) < 2:
            results.lacks(f"{cell} fold {fold}: its tested windows are of one class; it has no ROC curve")
            continue
        answers.append(answer)
    return mean_roc(cell.model, answers, cell.folds) if answers else None


def plan(results: Results) -> list[Picture]:
    """``ROC_analysis/multi_model_roc_curves.png``."""
    found: dict[str, list[MeanRoc]] = {}
    shown: list[Cell] = []
    for window in results.windows:
        read = [(cell, roc) for cell in results.of_window(window) if (roc := read_roc(results, cell)) is not None]
        found[window] = sorted((roc for _, roc in read), key=lambda roc: -roc.auc)
        shown += [cell for cell, _ in read]
        if not read:
            results.lacks(f"{window}: no answers of any family; its ROC curves are not drawn")
    found = {window: rocs for window, rocs in found.items() if rocs}
    marks = marks_of([cell.facts for cell in shown])
    return [Picture(f"{FOLDER}/multi_model_roc_curves.png", partial(draw, found, marks))] if found else []


def draw(found: Mapping[str, Sequence[MeanRoc]], marks: str = "") -> Figure:
    """A panel for each window length, its families in the order given."""
    figure = new_figure((max(_PANEL_IN[0] * len(found), 12.0), _PANEL_IN[1]))
    most = max(len(rocs) for rocs in found.values())
    upper, lower = figure.subplots(2, len(found), squeeze=False, height_ratios=(7.2, 1.2 + 0.48 * most))
    for axes, below, (window, rocs) in zip(upper, lower, found.items(), strict=True):
        _panel(axes, window, rocs)
        _legend(below, rocs)
    upper[0].set_ylabel("True positive rate")
    figure.suptitle("Mean ROC over folds: association in this sample")
    note(figure, marks)
    return figure


def _panel(axes: Axes, window: str, rocs: Sequence[MeanRoc]) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (6, 4)), linewidth=2.2)
    for roc in reversed(rocs):
        axes.plot(roc.fpr, roc.tpr, color=COLOURS[roc.model])
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="False positive rate", aspect="equal",
             title=days_of(window), xticks=np.linspace(0, 1, 6), yticks=np.linspace(0, 1, 6))


def _legend(axes: Axes, rocs: Sequence[MeanRoc]) -> None:
    handles = [Line2D([], [], color=COLOURS[roc.model], linewidth=5, label=_label(roc)) for roc in rocs]
    handles.append(Line2D([], [], color=GREY, linestyle=(0, (3, 2)), linewidth=2.2, label="chance 0.500"))
    axes.set_axis_off()
    frame(axes.legend(handles=handles, loc="upper center", borderpad=0.8, fontsize=23,
                      title="AUC ± standard error over folds"))


def _label(roc: MeanRoc) -> str:
    error = f" ± {roc.standard_error:.3f}" if np.isfinite(roc.standard_error) else ""
    few = f" ({len(roc.areas)} of {roc.all_folds} folds)" if len(roc.areas) < max(roc.all_folds, 2) else ""
    return f"{roc.model} {roc.auc:.3f}{error}{few}"
