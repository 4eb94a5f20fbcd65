"""geomag: scores of families, rivals and ensembles beside those of controls that must not be able to do the job."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from groundswell.core.errors import InputError
from groundswell.core.files import read_json
from groundswell.pipelines.geomag.figures.results import WINDOWS, Results
from groundswell.pipelines.geomag.figures.style import (
    COLOURS,
    DARK,
    GREY,
    Picture,
    days_of,
    limits,
    new_figure,
    note,
    save,
)
from groundswell.pipelines.geomag.study.folder import TITLES

FOLDER = "Controls"
KINDS = {"model": "Families", "rival": "Simple rival", "ensemble": "Ensembles", "null": "Null controls"}
"""Kinds of rows in the order in which they are drawn, and what their part is called."""
METRICS = {"roc_auc": "ROC-AUC", "pr_auc": "PR-AUC", "f1": "F1", "mcc": "MCC"}
_MARKERS = {"model": "o", "rival": "D", "ensemble": "h", "null": "s"}
_ROW_IN = 0.62
_LABEL_COLUMNS = 36


@dataclass(frozen=True)
class Row:
    """One score; ``low``, ``high`` and ``p`` are nan where they are not known."""

    title: str
    kind: str
    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class ControlScores:
    """Scores of one window length, all of one metric; what the reader must know of them in ``marks``."""

    window: str
    metric: str
    chance: float
    unit: str
    marks: str
    rows: list[Row]


def read_controls(path: Path) -> ControlScores:
    """Read ``controls_{window}.json`` as a study writes it. Families come best first, other rows as they are written.

    Raises:
        InputError: the file is absent or damaged.
    """
    found = read_json(path)
    try:
        given = [dict(row) for row in found["rows"]]
        metric = str(given[0]["metric"]) if given else "roc_auc"
        rows = [_row(row) for row in given if row["metric"] == metric and _number(row["value"]) is not None]
        window, chance = str(found["window"]), float(found["chance"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"Not the scores of a study beside its controls: {type(error).__name__} {error}", where=path,
                         fix="Have the study written anew") from error
    order = list(KINDS)
    rows.sort(key=lambda row: (order.index(row.kind), -row.value if row.kind == "model" else 0.0))
    return ControlScores(window, metric, chance, str(found.get("unit", "windows")), _marks(found.get("note")), rows)


def _row(row: Mapping[str, Any]) -> Row:
    if row["kind"] not in KINDS:
        raise ValueError(f"kind {row['kind']!r}")
    low, high, p = (_number(row.get(name)) for name in ("low", "high", "p"))
    return Row(str(row["title"]), str(row["kind"]), float(row["value"]), *(np.nan if v is None else v
                                                                           for v in (low, high, p)))


def _number(value: Any) -> float | None:
    return None if value is None or not np.isfinite(float(value)) else float(value)


def _marks(facts: Any) -> str:
    if not isinstance(facts, dict):
        return ""
    lines = [str(mark) for mark in facts.get("marks") or []]
    if facts.get("simulated") and not any("imulated" in line for line in lines):
        lines.insert(0, "Simulated data.")
    if facts.get("ungrouped") and not any("ngrouped" in line for line in lines):
        lines.append("Ungrouped: may be inflated.")
    return " ".join(lines)


def plan(results: Results) -> list[Picture]:
    """``Controls/controls_{window}.png`` for each ``controls_{window}.json``."""
    pictures = []
    for window in WINDOWS:
        path = results.folder / f"controls_{window}.json"
        if not path.exists():
            if window in results.windows:
                results.lacks(f"{window}: {path.name} is absent; scores are not drawn beside controls")
            continue
        try:
            scores = read_controls(path)
        except InputError as error:
            results.lacks(f"{window}: {path.name} is damaged: {error.what}")
            continue
        if not scores.rows:
            results.lacks(f"{window}: {path.name} holds no score")
            continue
        pictures.append(Picture(f"{FOLDER}/controls_{window}.png", partial(draw, scores)))
    return pictures


def draw_controls(path: Path, out: Path, *, dpi: int = 600) -> Path:
    """Draw one ``controls_{window}.json`` to a PNG file; ``out``.

    Raises:
        InputError: the file is absent or damaged.
    """
    return save(partial(draw, read_controls(path)), Path(out), dpi)


def draw(scores: ControlScores) -> Figure:
    """An interval a row, chance as a line; families coloured, controls grey; values and p-values at the right."""
    kinds = [kind for kind in KINDS if any(row.kind == kind for row in scores.rows)]
    high = sum(_height(row.title) for row in scores.rows) + len(kinds)
    figure = new_figure((18, 3.6 + _ROW_IN * max(high, 3)))
    axes, text = figure.subplots(1, 2, sharey=True, width_ratios=(1.42, 1))
    text.set_axis_off()
    text.set_xlim(0, 1)
    figure.suptitle(f"{days_of(scores.window)}: association in this sample, beside controls")
    note(figure, scores.marks)
    if not scores.rows:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "Nothing was scored.", ha="center", va="center", fontsize=24, transform=axes.transAxes)
        return figure
    _rows(axes, text, scores, kinds)
    ends = [scores.chance, *(v for row in scores.rows for v in (row.value, row.low, row.high) if np.isfinite(v))]
    axes.set_xlim(*limits(min(ends), max(ends), least=0.1, within=(0.0, 1.0) if min(ends) >= 0 else (-1.0, 1.0)))
    axes.axvline(scores.chance, color=DARK, linestyle=(0, (6, 4)), linewidth=2.2, zorder=1)
    axes.annotate(f"chance {scores.chance:g}", (scores.chance, 1), (0, 6), xycoords=axes.get_xaxis_transform(),
                  textcoords="offset points", ha="center", va="bottom", fontsize=20)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.set_xlabel(f"{METRICS.get(scores.metric, scores.metric)} of {scores.unit}")
    return figure


def _rows(axes: Axes, text: Axes, scores: ControlScores, kinds: Sequence[str]) -> None:
    """Rows from the top, a heading above each kind."""
    y, ticks, labels = 0.0, [], []
    for kind in kinds:
        ticks.append(y + 0.5)
        labels.append(KINDS[kind])
        y += 1
        for row in (row for row in scores.rows if row.kind == kind):
            middle = y + _height(row.title) / 2
            _interval(axes, row, middle)
            text.text(0.0, middle, _written(row), va="center", fontsize=22)
            text.text(0.98, middle, _p(row), va="center", ha="right", fontsize=22)
            ticks.append(middle)
            labels.append(_short(row.title))
            y += _height(row.title)
    axes.set_yticks(ticks, labels)
    for label in axes.get_yticklabels():
        heading = label.get_text() in KINDS.values()
        label.set(fontsize=20 if heading else 22, fontweight="bold" if heading else "normal",
                  color=GREY if heading else DARK)
    axes.set_ylim(y + 0.2, 0)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines[["left", "top", "right"]].set_visible(False)
    text.text(0.0, 0.5, "value [interval]", va="center", fontsize=20, color=GREY, fontweight="bold")
    if any(np.isfinite(row.p) for row in scores.rows):
        text.text(0.98, 0.5, "p", va="center", ha="right", fontsize=20, color=GREY, fontweight="bold")


def _interval(axes: Axes, row: Row, y: float) -> None:
    colour = _colour(row)
    if np.isfinite(row.low) and np.isfinite(row.high):
        axes.plot([row.low, row.high], [y, y], color=colour, linewidth=5, solid_capstyle="butt")
    axes.plot(row.value, y, marker=_MARKERS[row.kind], color=colour, markersize=17, markeredgecolor="white",
              markeredgewidth=1.4)


def _colour(row: Row) -> str:
    if row.kind == "null":
        return "#8C8C8C"
    if row.kind == "ensemble":
        return DARK
    family = next((title for title in TITLES.values() if row.title.lower().startswith(title.lower())), None)
    return COLOURS[family] if family else DARK


def _short(title: str) -> str:
    """A title on three lines at most."""
    return textwrap.fill(title, _LABEL_COLUMNS, max_lines=3, placeholder=" …")


def _height(title: str) -> float:
    return 1.0 + 0.5 * _short(title).count("\n")


def _written(row: Row) -> str:
    interval = f" [{row.low:.3f}, {row.high:.3f}]" if np.isfinite(row.low) and np.isfinite(row.high) else ""
    return f"{row.value:.3f}{interval}"


def _p(row: Row) -> str:
    if not np.isfinite(row.p):
        return ""
    return "<0.001" if row.p < 0.001 else f"{row.p:.3f}"
