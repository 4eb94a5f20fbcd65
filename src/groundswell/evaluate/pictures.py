"""evaluate: which pictures an evaluation gets as files; with hundreds of classes others than with a few."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from groundswell.core.files import write_bytes
from groundswell.evaluate.figures import confusion, controls, panels, png_of, precision_recall, reliability, roc
from groundswell.evaluate.figures_many import class_recalls, confusion_of_many, strata
from groundswell.evaluate.metrics import Scores

if TYPE_CHECKING:
    from groundswell.evaluate.evaluation import Evaluation


_COUNTS_FIT = 6  # classes, as counts in the cells of a matrix


def write_figures(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write each picture to ``folder/figures`` as PNG, the confusion matrix to ``folder`` too. Returns the paths."""
    levels = [evaluation.units] if evaluation.of_samples else [evaluation.units, evaluation.windows]
    pairs = [(evaluation.calibration["units"], evaluation.unit), (evaluation.calibration["windows"], "window")]
    figures = {"confusion_matrix": confusion_figure(levels)}
    if not evaluation.units.many:
        figures |= {"roc": panels([roc(scores) for scores in levels]),
                    "precision_recall": panels([precision_recall(scores) for scores in levels])}
    figures["calibration"] = panels([reliability(pair, level) for pair, level in pairs[:len(levels)]])
    figures["controls"] = controls(evaluation)
    if evaluation.of_samples:
        figures["by_class"] = class_recalls(evaluation.by_class, evaluation.recipe.n_min)
    if evaluation.strata:
        figures["strata"] = strata(evaluation)
    written = []
    for name, figure in figures.items():
        for place in (folder / "figures", folder) if name == "confusion_matrix" else (folder / "figures",):
            write_bytes(place / f"{name}.png", png_of(figure))
            written.append(place / f"{name}.png")
    return written


def confusion_figure(levels: Sequence[Scores], width: float = 5.6, height: float = 4.2) -> Figure:
    """Confusion matrices beside one another; of more than a few classes in colour, larger, and only the commonest."""
    if len(levels[0].classes) > _COUNTS_FIT:
        return panels([confusion_of_many(scores) for scores in levels], 8.4, 7.4, 1)
    return panels([confusion(scores) for scores in levels], width, height)
