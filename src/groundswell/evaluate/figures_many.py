"""evaluate: pictures that hold hundreds of classes: the commonest confusions, the best and worst found, the strata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from groundswell.evaluate.by_class import ClassRow
from groundswell.evaluate.figures import BLACK, BLUE, GREEN, GREY, ORANGE, Draw, nothing, panels
from groundswell.evaluate.intervals import Estimate
from groundswell.evaluate.metrics import Scores

if TYPE_CHECKING:
    from groundswell.evaluate.evaluation import Evaluation

COMMONEST = 20
"""Classes that a confusion matrix of many classes shows one by one."""
MOST_BARS = 12
"""Classes at either end of the list that a picture of recalls shows."""
_REST = "all others"
_LONGEST = 26  # letters of a name


def commonest(scores: Scores, most: int = COMMONEST) -> tuple[list[str], NDArray[np.int64]]:
    """The confusion matrix of the classes with most tested samples, all others as one.

    Returns:
        Names and counts, shape (names, names), truth along the rows; the others, if there are any, last.
    """
    count = np.asarray(scores.confusion, dtype=np.int64)
    support = count.sum(1)
    order = np.argsort(-support, kind="stable")[:most]
    if len(order) == len(support):
        return [scores.classes[k] for k in order], count[np.ix_(order, order)]
    place = np.full(len(support), len(order))
    place[order] = np.arange(len(order))
    merged = np.zeros((len(order) + 1, len(order) + 1), np.int64)
    np.add.at(merged, (place[:, None], place[None, :]), count)
    return [*(scores.classes[k] for k in order), _REST], merged


def confusion_of_many(scores: Scores) -> Draw:
    """Shares of each of the commonest true classes, in colour; in figures, whole per cents from 5 on."""

    def draw(axes: Axes) -> None:
        if not scores.samples:
            axes.set_title(f"Confusion, {scores.level}s")
            return nothing(axes, "nothing was scored")
        names, count = commonest(scores)
        rest = f", the {len(names) - 1} commonest classes" if names[-1] == _REST else ""
        axes.set_title(f"Confusion, {scores.level}s{rest}: % of each true class")
        share = count / np.maximum(count.sum(1, keepdims=True), 1)
        axes.grid(False)
        # What is shared by all others is no single confusion: it stays grey, and the colours are for the rest.
        shown = share.copy()
        if names[-1] == _REST:
            shown[-1], shown[:, -1] = np.nan, np.nan
        most = max(float(np.nanmax(shown)), 0.05)
        axes.set_facecolor("#EDEDED")
        axes.imshow(shown, cmap="cividis", vmin=0, vmax=most)
        for i, j in zip(*np.nonzero(share >= 0.05), strict=True):
            axes.text(j, i, f"{100 * share[i, j]:.0f}", ha="center", va="center", fontsize=7,
                      color="white" if shown[i, j] < 0.55 * most else BLACK)
        labels = [short(name) for name in names]
        axes.set_xticks(range(len(names)), labels, rotation=90, fontsize=7.5)
        axes.set_yticks(range(len(names)), [f"{label} ({n:,})" for label, n in zip(labels, count.sum(1), strict=True)],
                        fontsize=7.5)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set(xlabel="predicted", ylabel="true (tested)")
        return None

    return draw


def short(name: str) -> str:
    """A name that fits beside a picture."""
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST - 1]}…"


def ends(rows: Sequence[ClassRow], most: int = MOST_BARS) -> list[ClassRow]:
    """Classes that have a number, best first; of more than twice ``most`` the best and the worst ``most``."""
    told = sorted((row for row in rows if row.recall.value is not None),
                  key=lambda row: (-(row.recall.value or 0.0), row.name))
    return told if len(told) <= 2 * most else [*told[:most], *told[-most:]]


def class_recalls(rows: Sequence[ClassRow], n_min: int) -> Figure:
    """Recall of the classes found best and worst, with intervals."""
    shown = ends(rows)
    told = sum(row.recall.value is not None for row in rows)

    def draw(axes: Axes) -> None:
        axes.set_title(f"Recall of each class: {told} of {len(rows)} have {n_min} tested samples"
                       + (f",\nthe best and the worst {MOST_BARS} of them" if told > len(shown) else ""))
        if not shown:
            return nothing(axes, f"no class has {n_min} tested samples")
        for y, row in enumerate(shown):
            _dot(axes, y, row.recall, BLUE, "o")
        axes.set_yticks(range(len(shown)), [f"{short(row.name)} ({row.tested})" for row in shown], fontsize=8)
        if told > len(shown):
            axes.axhline(MOST_BARS - 0.5, color=GREY, linestyle=":", linewidth=1)
        _rows(axes, len(shown), "recall (tested samples in brackets)", 1.02)
        return None

    return panels([draw], width=6.6, height=1.4 + 0.24 * max(len(shown), 4))


def strata(evaluation: Evaluation) -> Figure:
    """Accuracy in each stratum that has a score: the model, its controls, and chance as a grey line."""
    told = [s for s in evaluation.strata.values() if s.scores is not None]

    def draw(axes: Axes) -> None:
        axes.set_title(f"Accuracy of {evaluation.unit}s in each kind of test")
        if not told:
            return nothing(axes, f"no stratum has {evaluation.recipe.n_min} tested {evaluation.unit}s")
        y, furthest = 0.0, 0.05
        ticks: list[tuple[float, str]] = []
        heads: list[str] = []
        for stratum in told:
            assert stratum.scores is not None
            first = y
            heads.append(f"{short(stratum.name)} ({stratum.samples:,})")
            dots = [(heads[-1], stratum.scores.accuracy, BLUE, "o")]
            dots += [(c.control.title, c.accuracy, GREEN if c.control.kind == "rival" else ORANGE,
                      "D" if c.control.kind == "rival" else "s") for c in stratum.controls]
            for name, estimate, colour, marker in dots:
                _dot(axes, y, estimate, colour, marker)
                ticks.append((y, name))
                furthest = max(furthest, estimate.high or estimate.value or 0.0)
                y += 1
            if stratum.skill is not None and stratum.skill.chance is not None:
                axes.plot([stratum.skill.chance] * 2, [first - 0.4, y - 0.6], color=GREY, linestyle=":", linewidth=1.4)
            y += 0.6
        axes.set_yticks([place for place, _ in ticks], [text for _, text in ticks], fontsize=8.5)
        for label, (_, text) in zip(axes.get_yticklabels(), ticks, strict=True):
            label.set_fontweight("bold" if text in heads else "normal")
        _rows(axes, y - 0.6, "accuracy; dotted: chance", min(1.02, 1.1 * furthest))
        return None

    rows = sum(1.6 + len(s.controls) for s in told)
    return panels([draw], width=6.6, height=1.3 + 0.26 * max(rows, 4))


def _dot(axes: Axes, y: float, estimate: Estimate, colour: str, marker: str) -> None:
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
    if estimate.value is not None:
        axes.plot([estimate.value], [y], marker=marker, color=colour, markersize=6)


def _rows(axes: Axes, count: float, label: str, right: float) -> None:
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set(xlim=(-0.02 * right, right), ylim=(count - 0.4, -0.6), xlabel=label)
    axes.spines["left"].set_visible(False)
