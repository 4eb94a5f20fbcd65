"""evaluate: pictures of an evaluation of boxes: controls, classes, curves, reliability, mistakes, counts."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from groundswell.evaluate.calibration import Calibration
from groundswell.evaluate.detection_counts import LEVELS
from groundswell.evaluate.detection_parts import ClassRow
from groundswell.evaluate.detection_scores import RECALLS
from groundswell.evaluate.detection_words import number, told
from groundswell.evaluate.figures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALETTE,
    RED,
    SKY,
    nothing,
    panels,
    write_pngs,
)
from groundswell.evaluate.intervals import Estimate

if TYPE_CHECKING:
    from groundswell.evaluate.detection import DetectionEvaluation

PRIORITY_COLOURS = {"critical": RED, "important": ORANGE, "general": GREEN, "": BLUE}
_MOST_CURVES = 6  # classes with a curve of their own
MOST_ROWS = 30  # classes in a chart
MOST_CELLS = 14  # classes in a confusion matrix


def figures_of(evaluation: DetectionEvaluation) -> dict[str, tuple[Figure, str]]:
    """Every picture with what it shows in words, by name; those that have nothing to show are left out."""
    drawn: dict[str, tuple[Figure, str]] = {}
    if not evaluation.whole.scores or evaluation.whole.scores["map50"].value is None:
        return drawn
    rows = _beside(evaluation)
    drawn["controls"] = (panels([lambda axes: _intervals(axes, rows, "mAP50, and mAP50-95 below it in grey")], 6.4,
                                1.3 + 0.55 * len(rows)),
                         f"mAP50 with intervals: {'; '.join(f'{name} {told(e, None)}' for name, e, *_ in rows)}.")
    shown = shown_classes(evaluation)
    if len(shown) > 1:
        drawn["classes"] = (panels([lambda axes: _intervals(axes, _of_classes(shown), "AP50 of each class")], 6.4,
                                   1.3 + 0.32 * len(shown)),
                            _classes_alt(shown))
    drawn["precision_recall"] = (panels([lambda axes: precision_recall(axes, evaluation)], 5.0, 4.4),
                                 f"Precision against recall at overlap 0.5, mean over classes "
                                 f"{number(evaluation.whole.scores['map50'])}.")
    drawn["levels"] = (panels([lambda axes: levels(axes, evaluation)], 5.0, 4.4),
                       "Precision, recall and F1 of all boxes together by the score from which boxes are taken.")
    drawn["reliability"] = (panels([lambda axes: reliability(axes, evaluation)], 5.0, 4.4),
                            f"Share of boxes that are right by their score; expected calibration error "
                            f"{told(evaluation.calibration.ece, None)}.")
    drawn["counting"] = (panels([lambda axes: counting(axes, evaluation)], 5.0, 4.4),
                         f"Animals found against true ones, image by image; mean error "
                         f"{number(evaluation.whole.counting['mae'])}.")
    kept = _confused(evaluation)
    side = max(4.2, 1.9 + 0.52 * (len(kept) + 1))
    drawn["confusion"] = (panels([lambda axes: confusion(axes, evaluation)], side + 0.6, side),
                          _confusion_alt(evaluation))
    return drawn


def write_figures(evaluation: DetectionEvaluation, folder: Path) -> list[Path]:
    """Write each picture to ``folder/figures`` as PNG. Returns the paths."""
    return write_pngs(figures_of(evaluation), folder)


Row = tuple[str, Estimate, Estimate | None, str, str]


def _beside(evaluation: DetectionEvaluation) -> list[Row]:
    scores = evaluation.whole.scores
    rows: list[Row] = [("model", scores["map50"], scores["map50_95"], BLUE, "o")]
    return rows + [(row.control.title, row.scores["map50"], row.scores["map50_95"], ORANGE, "s")
                   for row in evaluation.beside]


def shown_classes(evaluation: DetectionEvaluation) -> list[ClassRow]:
    """Classes with a number, the best first; of very many the best and the worst."""
    ranked = sorted((row for row in evaluation.classes if row.scores["map50"].value is not None),
                    key=lambda row: -(row.scores["map50"].value or 0.0))
    half = MOST_ROWS // 2
    return ranked if len(ranked) <= MOST_ROWS else ranked[:half] + ranked[-half:]


def _of_classes(shown: list[ClassRow]) -> list[Row]:
    return [(f"{row.name} ({row.boxes})", row.scores["map50"], None, PRIORITY_COLOURS.get(row.priority, BLUE), "o")
            for row in shown]


def _classes_alt(shown: list[ClassRow]) -> str:
    return "AP50 of each class: " + "; ".join(f"{row.name} {told(row.scores['map50'], None)}" for row in shown) + "."


def _intervals(axes: Axes, rows: list[Row], label: str) -> None:
    """Numbers with intervals, one above the other."""
    for y, (_, estimate, under, colour, marker) in enumerate(rows):
        for value, at, tint, size in ((under, y + 0.24, GREY, 5), (estimate, y, colour, 8)):
            if value is None or value.value is None:
                continue
            if value.low is not None and value.high is not None:
                axes.plot([value.low, value.high], [at, at], color=tint, linewidth=1.4 if size == 5 else 2.4,
                          solid_capstyle="butt")
            axes.plot([value.value], [at], marker=marker, color=tint, markersize=size)
        axes.text(1.03, y, told(estimate, None).replace("interval ", ""), va="center", fontsize=9,
                  transform=axes.get_yaxis_transform())
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.4, -0.6), xlabel=label)
    axes.spines["left"].set_visible(False)


def precision_recall(axes: Axes, evaluation: DetectionEvaluation) -> None:
    """Precision at or beyond each recall: the mean over classes, and the classes with most true boxes."""
    axes.set_title("Precision and recall, overlap 0.5")
    at = evaluation.curves.at_recall
    index = {name: c for c, name in enumerate(evaluation.class_names)}
    commonest = sorted((row for row in evaluation.classes if row.boxes), key=lambda row: -row.boxes)[:_MOST_CURVES]
    if len(commonest) > 1:
        for row, colour in zip(commonest, cycle(PALETTE), strict=False):
            axes.plot(RECALLS, at[index[row.name]], color=colour, linewidth=1.2,
                      label=f"{row.name} ({number(row.scores['map50'])})")
    known = at[np.isfinite(at).all(axis=1)]
    axes.plot(RECALLS, known.mean(axis=0), color=BLACK, linewidth=2.6,
              label=f"mean of {len(known)} classes" if len(known) > 1 else commonest[0].name)
    axes.set(xlabel="recall", ylabel="precision at that recall or beyond", xlim=(-0.02, 1.02), ylim=(-0.02, 1.05))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=8)


def levels(axes: Axes, evaluation: DetectionEvaluation) -> None:
    """Precision, recall and F1 by the score from which boxes are taken."""
    axes.set_title("Boxes from a score on, all classes")
    found = evaluation.curves
    for name, values, colour in (("precision", found.all_precision, BLUE), ("recall", found.all_recall, ORANGE),
                                 ("F1", found.all_f1, BLACK)):
        axes.plot(LEVELS, values, color=colour, label=name)
    marks = [(evaluation.recipe.count_at, GREY, "counted from"),
             *((e.value or 0.0, SKY, "chosen on validation") for name, e in evaluation.chosen.items()
               if name == "level")]
    for at, colour, text in marks:
        axes.axvline(at, color=colour, linestyle=":", linewidth=1.6, label=f"{text} {at:.2f}")
    axes.set(xlabel="score", xlim=(-0.02, 1.02), ylim=(-0.02, 1.05))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, fontsize=8)


def reliability(axes: Axes, evaluation: DetectionEvaluation) -> None:
    """How often a box is right, against its score."""
    reliability_curve(axes, evaluation.calibration, "Scores as frequencies")


def reliability_curve(axes: Axes, found: Calibration, title: str, colour: str = BLUE) -> None:
    """How often a box is right, against its score; a mark's area says how many boxes it stands for."""
    axes.set_title(title)
    if not found.bins:
        return nothing(axes, found.ece.why)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2)
    most = max(b.samples for b in found.bins)
    x, y = [b.confidence for b in found.bins], [b.accuracy.value or 0.0 for b in found.bins]
    axes.plot(x, y, color=colour, linewidth=1, alpha=0.6)
    axes.scatter(x, y, s=[18 + 110 * b.samples / most for b in found.bins], color=colour, alpha=0.75, linewidths=0)
    for b in found.bins:
        if b.accuracy.low is not None and b.accuracy.high is not None:
            axes.plot([b.confidence] * 2, [b.accuracy.low, b.accuracy.high], color=colour, linewidth=1, alpha=0.6)
    axes.set(xlabel="score of a box", ylabel="share that is right", xlim=(-0.02, 1.02), ylim=(-0.04, 1.04))
    axes.text(0.03, 0.97, f"expected error {told(found.ece, None)}", transform=axes.transAxes, va="top", fontsize=9)
    return None


def counting(axes: Axes, evaluation: DetectionEvaluation) -> None:
    """Animals found against true ones; a mark's area says how many images it stands for."""
    counts = evaluation.counts
    axes.set_title("Animals in an image")
    pairs, times = np.unique(np.stack([counts.true, counts.found], axis=1)[counts.known], axis=0, return_counts=True)
    if not len(pairs):
        return nothing(axes, "the true number is not known")
    top = max(1, int(pairs.max()))
    axes.plot([0, top], [0, top], color=GREY, linestyle=":", linewidth=1.2)
    axes.scatter(pairs[:, 0], pairs[:, 1], s=14 + 220 * times / times.max(), color=BLUE, alpha=0.6, linewidths=0)
    axes.set(xlabel="true", ylabel=f"found (score {evaluation.recipe.count_at:g} or more)",
             xlim=(-0.06 * top - 0.3, 1.06 * top + 0.3), ylim=(-0.06 * top - 0.3, 1.06 * top + 0.3))
    axes.locator_params(integer=True)
    return None


def _confused(evaluation: DetectionEvaluation) -> NDArray[np.int64]:
    """Classes of the confusion matrix: those that are there or were found, of many the commonest."""
    table = evaluation.confusion
    often = table[:-1].sum(axis=1) + table[:, :-1].sum(axis=0)
    there = np.flatnonzero(often)
    return np.asarray(np.sort(there[np.argsort(-often[there], kind="stable")[:MOST_CELLS]]), np.int64)


def confusion(axes: Axes, evaluation: DetectionEvaluation) -> None:
    """What boxes of each class are found as; background last."""
    kept = _confused(evaluation)
    rows = np.append(kept, len(evaluation.class_names))
    count = evaluation.confusion[np.ix_(rows, rows)]
    share = count / np.maximum(count.sum(axis=1, keepdims=True), 1)
    names = [*(evaluation.class_names[c] for c in kept), "background"]
    axes.set_title("What is found as what")
    axes.grid(False)
    axes.imshow(share, cmap="cividis", vmin=0, vmax=1)
    for i, j in np.ndindex(count.shape):
        text = "" if i == j == len(kept) else f"{count[i, j]:,}"
        axes.text(j, i, text, ha="center", va="center", color="white" if share[i, j] < 0.55 else BLACK, fontsize=9)
    axes.set_xticks(range(len(names)), [*names[:-1], "not found"], rotation=40, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel=f"found as (score {evaluation.recipe.count_at:g} or more)", ylabel="true")


def _confusion_alt(evaluation: DetectionEvaluation) -> str:
    table, names = evaluation.confusion, (*evaluation.class_names, "background")
    true, right = int(table[:-1].sum()), int(np.trace(table[:-1, :-1]))
    wrong = table[:-1, :-1].copy()
    np.fill_diagonal(wrong, 0)
    i, j = np.unravel_index(int(wrong.argmax()), wrong.shape) if wrong.any() else (0, 0)
    often = f" The most frequent mistake: {wrong[i, j]} of {names[i]} as {names[j]}." if wrong.any() else ""
    return (f"Of {true} true boxes {right} are found with their class, {int(wrong.sum())} with another, "
            f"{int(table[:-1, -1].sum())} not at all; {int(table[-1, :-1].sum())} boxes are of background.{often}")
