"""evaluate: pictures of an evaluation, as files and as panels of the report. Colours can be told apart by everyone."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path, write_bytes
from groundswell.evaluate.calibration import Calibration
from groundswell.evaluate.intervals import Estimate
from groundswell.evaluate.metrics import Scores

if TYPE_CHECKING:
    from groundswell.evaluate.control_scores import ControlScore
    from groundswell.evaluate.evaluation import CalibrationPair, Evaluation

# Okabe and Ito's palette, in the order it is used here.
BLUE, ORANGE, GREEN, PURPLE, SKY, RED, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#222222")
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)
GREY = "#767676"

STYLE: Any = {  # matplotlib types its keys as literals
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"], "font.size": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY, "axes.labelcolor": BLACK,
    "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.titlepad": 10,
    "xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": BLACK, "ytick.labelcolor": BLACK,
    "axes.grid": True, "grid.color": "#E6E6E6", "grid.linewidth": 0.8, "axes.axisbelow": True,
    "legend.frameon": False, "legend.fontsize": 9, "lines.linewidth": 2, "figure.facecolor": "white",
    "svg.fonttype": "none", "svg.hashsalt": "groundswell",
}

Draw = Callable[[Axes], None]

_MOST_TERMS = 10  # panels of a history beside those that every log has


def panels(draws: Sequence[Draw], width: float = 5.6, height: float = 4.2, columns: int = 2) -> Figure:
    """A figure of panels, each drawn by a function, row by row.

    Args:
        draws: one function a panel.
        width, height: of one panel, inches.
        columns: at most so many panels beside one another.
    """
    columns = min(columns, len(draws))
    rows = -(-len(draws) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        for i, draw in enumerate(draws):
            draw(figure.add_subplot(rows, columns, i + 1))
    return figure


def svg_of(figure: Figure) -> bytes:
    """A figure as SVG, the same bytes for the same figure."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def png_of(figure: Figure, dpi: int = 150) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def nothing(axes: Axes, why: str) -> None:
    """Say in a panel's place why it is empty."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, why, ha="center", va="center", color=GREY, transform=axes.transAxes, wrap=True)


def confusion(scores: Scores) -> Draw:
    """Counts and shares of each true class."""

    def draw(axes: Axes) -> None:
        axes.set_title(f"Confusion, {scores.level}s")
        if not scores.samples:
            return nothing(axes, "nothing was scored")
        count = np.array(scores.confusion)
        share = count / np.maximum(count.sum(1, keepdims=True), 1)
        axes.grid(False)
        axes.imshow(share, cmap="cividis", vmin=0, vmax=1)
        for i, j in np.ndindex(count.shape):
            axes.text(j, i, f"{count[i, j]:,}\n{_percent(share[i, j])}", ha="center", va="center",
                      color="white" if share[i, j] < 0.55 else BLACK, fontsize=11)
        names = [name.replace("_", "\n") for name in scores.classes]
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set(xlabel="predicted", ylabel="true")
        return None

    return draw


def _percent(share: float) -> str:
    """A whole percentage that is 0 or 100 only where the share is."""
    if 0 < share < 0.01 or 0.99 < share < 1:
        return "<1%" if share < 0.5 else ">99%"
    return f"{share:.0%}"


def _interval(estimate: Estimate) -> str:
    if estimate.value is None:
        return "undefined"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _shown_classes(scores: Scores) -> list[str]:
    # With two classes the curves of one are those of the other seen from the other side.
    return list(scores.curves)[1:] if len(scores.classes) == 2 else list(scores.curves)


def roc(scores: Scores) -> Draw:
    """ROC curve of each class against the rest."""

    def draw(axes: Axes) -> None:
        axes.set_title(f"ROC, {scores.level}s: area {_interval(scores.metrics['roc_auc'])}")
        if not scores.curves:
            return nothing(axes, "undefined:\nonly one class was tested")
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2)
        for name, colour in zip(_shown_classes(scores), cycle(PALETTE), strict=False):
            curve = scores.curves[name]
            axes.plot(curve.false_positive_rate, curve.true_positive_rate, color=colour, label=_label(name))
        axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.legend(loc="lower right", title="class against the rest", title_fontsize=9)
        return None

    return draw


def precision_recall(scores: Scores) -> Draw:
    """Precision-recall curve of each class, with its share as a dotted line."""

    def draw(axes: Axes) -> None:
        axes.set_title(f"Precision and recall, {scores.level}s:\nmean area {_interval(scores.metrics['pr_auc'])}")
        if not scores.curves:
            return nothing(axes, "undefined:\nonly one class was tested")
        for name, colour in zip(scores.curves, cycle(PALETTE), strict=False):
            curve = scores.curves[name]
            axes.axhline(curve.prevalence, color=colour, linestyle=":", linewidth=1.2)
            axes.step(curve.recall, curve.precision, where="pre", color=colour,
                      label=f"{_label(name)} ({curve.pr_auc:.3f})")
        axes.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.legend(loc="lower left", title="dotted: share of the class", title_fontsize=9)
        return None

    return draw


def reliability(pair: CalibrationPair, level: str) -> Draw:
    """How often the most probable class is right, against how probable it was said to be."""

    def draw(axes: Axes) -> None:
        axes.set_title(f"Calibration, {level}s")
        if not pair.before.bins:
            return nothing(axes, "nothing was scored")
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2)
        for name, calibration, colour, marker in (("as trained", pair.before, BLUE, "o"),
                                                  ("with temperature", pair.after, ORANGE, "D")):
            if calibration is not None:
                _reliability_line(axes, calibration, name, colour, marker)
        axes.set(xlabel="stated probability", ylabel="share that is right", xlim=(-0.02, 1.02), ylim=(-0.04, 1.04))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), title="expected calibration error",
                    title_fontsize=9)
        return None

    return draw


def _reliability_line(axes: Axes, calibration: Calibration, name: str, colour: str, marker: str) -> None:
    most = max(b.samples for b in calibration.bins)
    x, y = [b.confidence for b in calibration.bins], [b.accuracy.value or 0.0 for b in calibration.bins]
    axes.plot(x, y, color=colour, linewidth=1, alpha=0.6)
    axes.plot([], [], color=colour, marker=marker, linewidth=1, label=f"{name}: {_interval(calibration.ece)}")
    axes.scatter(x, y, s=[18 + 110 * b.samples / most for b in calibration.bins], color=colour, marker=marker,
                 alpha=0.75, linewidths=0)
    for b in calibration.bins:
        if b.accuracy.low is not None and b.accuracy.high is not None:
            axes.plot([b.confidence] * 2, [b.accuracy.low, b.accuracy.high], color=colour, linewidth=1, alpha=0.6)


def controls(evaluation: Evaluation) -> Figure:
    """Accuracy of the model and of every control that was run, with intervals, beside one another."""
    rows = [("model", evaluation.units.accuracy, BLUE, "o")]
    rows += [(c.control.title, c.scores.accuracy, *_mark(c)) for c in _ordered(evaluation.controls) if c.scores]
    return panels([lambda axes: _control_rows(axes, rows, evaluation)], width=6.4, height=1.2 + 0.42 * len(rows))


def _ordered(scored: Sequence[ControlScore]) -> list[ControlScore]:
    return [c for c in scored if c.control.kind == "rival"] + [c for c in scored if c.control.kind == "null"]


def _mark(control: ControlScore) -> tuple[str, str]:
    return (GREEN, "D") if control.control.kind == "rival" else (ORANGE, "s")


def _control_rows(axes: Axes, rows: Sequence[tuple[str, Estimate, str, str]], evaluation: Evaluation) -> None:
    model, rate, right = evaluation.units.accuracy, evaluation.units.majority_rate, 1.02
    if evaluation.units.many:  # then most accuracies are small
        right = min(right, 1.15 * max([0.05, rate or 0.0, *(e.high or e.value or 0.0 for _, e, *_ in rows)]))
    if model.low is not None:
        axes.axvspan(model.low, right, color=BLUE, alpha=0.07, linewidth=0)
    if evaluation.skill is not None and evaluation.skill.chance is not None:
        axes.axvline(evaluation.skill.chance, color=GREY, linestyle="--", linewidth=1.2)
    if rate is not None:
        axes.axvline(rate, color=GREY, linestyle=":", linewidth=1.4)
        label = f"majority rate {rate:.{2 if rate >= 0.05 else 3}f}"
        axes.text(rate, 1.01, label, ha="center", va="bottom", color=GREY, fontsize=9,
                  transform=axes.get_xaxis_transform())
    for y, (_, estimate, colour, marker) in enumerate(rows):
        if estimate.low is not None and estimate.high is not None:
            axes.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=2.4, solid_capstyle="butt")
        if estimate.value is not None:
            axes.plot([estimate.value], [y], marker=marker, color=colour, markersize=8)
        axes.text(1.04, y, _interval(estimate), va="center", fontsize=9, family="monospace",
                  transform=axes.get_yaxis_transform())
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set(xlim=(-0.02 * right / 1.02, right), ylim=(len(rows) - 0.4, -0.6),
             xlabel=f"accuracy of {evaluation.unit}s, {evaluation.recipe.confidence * 100:g} % interval"
                    f"{'' if evaluation.skill is None else '; dashed: chance'}")
    axes.spines["left"].set_visible(False)


def read_epochs(path: Path) -> dict[str, list[float]]:
    """Columns of a log of epochs; cells that are empty become nan.

    Raises:
        InputError: it cannot be read, or has no column ``epoch``.
    """
    try:
        with open(path, newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        columns = {name: [float(row[name] or "nan") for row in rows] for name in (rows[0] if rows else {"epoch": ""})}
    except (OSError, ValueError, TypeError, KeyError, UnicodeDecodeError) as error:
        raise InputError(f"The log of epochs cannot be read: {error}", where=path) from error
    if "epoch" not in columns:
        raise InputError("The log of epochs has no column 'epoch'", where=path)
    return columns


def training_history(logs: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure | None:
    """Loss, scores and learning rate by epoch, one line a fit; training dashed, validation solid. Where the log knows
    no accuracy, every other term it has for training or validation too.

    Args:
        logs: by the name of the fit, what :func:`read_epochs` gives.

    Returns:
        ``None`` where no log has an epoch.
    """
    logs = {name: log for name, log in logs.items() if len(log["epoch"])}
    known = {column for log in logs.values() for column in log}
    wanted = [(title, name) for title, name in (("Loss", "loss"), ("Accuracy", "accuracy"), ("F1 (macro)", "f1_macro"),
                                                ("F1", "f1"), ("Learning rate", "learning_rate"))
              if {name, f"train_{name}", f"val_{name}"} & known]
    if "val_accuracy" not in known:
        # Where no classes are learnt, the terms of the loss and other scores say what happened.
        told = {name for _, name in wanted}
        terms = dict.fromkeys(column.partition("_")[2] for log in logs.values() for column in log
                              if column.startswith(("train_", "val_")))
        wanted[1:1] = [(name.replace("_", " ").capitalize(), name) for name in terms if name not in told][:_MOST_TERMS]
    if not logs or not wanted:
        return None
    return panels([_history(logs, title, name) for title, name in wanted], width=4.2, height=3.1,
                  columns=2 if len(wanted) < 5 else 3)


def _history(logs: Mapping[str, Mapping[str, Sequence[float]]], title: str, name: str) -> Draw:
    def draw(axes: Axes) -> None:
        axes.set_title(title)
        single = len(logs) == 1
        for i, (fit, log) in enumerate(logs.items()):
            for column, part, dash in ((f"train_{name}", "training", "--"), (f"val_{name}", "validation", "-"),
                                       (name, "", "-")):
                if column in log:
                    axes.plot(log["epoch"], log[column], linestyle=dash, linewidth=1.6, alpha=0.9,
                              color=(ORANGE if part == "training" else BLUE) if single else PALETTE[i % len(PALETTE)],
                              label=part if single else fit if part != "training" and len(logs) <= 6 else None)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if name == "learning_rate":
            axes.set_yscale("log")
        elif axes.get_legend_handles_labels()[1] and any(axes.get_legend_handles_labels()[1]):
            axes.legend(title=None if single else "dashed: training", title_fontsize=8, fontsize=8)

    return draw


def history_told(logs: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, tuple[Figure, str]]:
    """The training history under the name ``history``, with what it shows in words; empty where there is none."""
    history = training_history(logs)
    if history is None:
        return {}
    epochs = ", ".join(f"{name}: {len(log['epoch'])}" for name, log in logs.items())
    return {"history": (history, f"Loss, its terms and the learning rate by epoch. Epochs: {epochs}.")}


def write_pngs(drawn: Mapping[str, tuple[Figure, str]], folder: Path) -> list[Path]:
    """Write each figure, by its name, to ``folder/figures`` as PNG; the paths."""
    written = []
    for name, (figure, _) in drawn.items():
        written.append(Path(folder) / "figures" / f"{name}.png")
        write_bytes(written[-1], png_of(figure))
    return written


def write_history(logs: Mapping[str, Path], path: Path) -> bool:
    """Draw logs of epochs (by the name of the fit) to a PNG file; whether there was anything to draw.

    Raises:
        InputError: a log cannot be read.
    """
    figure = training_history({name: read_epochs(log) for name, log in logs.items()})
    if figure is None:
        return False
    with atomic_path(path) as temporary:
        temporary.write_bytes(png_of(figure))
    return True


def _label(name: str) -> str:
    return name.replace("_", " ")
