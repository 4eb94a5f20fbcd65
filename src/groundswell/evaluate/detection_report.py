"""evaluate: the page of an evaluation of boxes, self-contained and without script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundswell.core.files import write_text
from groundswell.evaluate import figures
from groundswell.evaluate.detection_bootstrap import FEW_GROUPS
from groundswell.evaluate.detection_figures import MOST_CELLS, MOST_ROWS, figures_of
from groundswell.evaluate.report import ReportContext, embed, environment, split_facts

if TYPE_CHECKING:
    from groundswell.evaluate.detection import DetectionEvaluation

_MOST_CLIPS = 300  # rows of the table of clips, the worst
_COUNTING = (("mae", "mean error"), ("rmse", "root mean square error"), ("bias", "bias"), ("mape", "relative error"),
             ("within_1", "within one"), ("within_5", "within five"))
_SHARES = ("mape", "within_1", "within_5")


def write_detection_report(folder: Path, context: ReportContext) -> Path:
    """Write ``report.html`` to ``folder``: self-contained, no script, nothing loaded from anywhere.

    Args:
        folder: of the run.
        context: its ``evaluation`` is a :class:`groundswell.evaluate.detection.DetectionEvaluation`; its pictures show
            images with boxes.

    Raises:
        InputError: a log of epochs cannot be read.
        FailureError: the disk is full.
    """
    path = Path(folder) / "report.html"
    write_text(path, environment().get_template("detection.html.j2").render(**_values(context)))
    return path


def _values(context: ReportContext) -> dict[str, Any]:
    evaluation: DetectionEvaluation = context.evaluation
    logs = {name: figures.read_epochs(path) for name, path in context.logs.items() if Path(path).is_file()}
    drawn = figures_of(evaluation)
    drawn |= figures.history_told(logs)
    whole = evaluation.whole
    return {
        "title": context.title, "subtitle": context.subtitle, "evaluation": evaluation, "whole": whole,
        "note": evaluation.note, "unit": evaluation.unit, "headline": whole.scores.get("map50"),
        "few": 0 < whole.groups < FEW_GROUPS,
        "figures": {name: {"source": embed(figures.svg_of(figure), "svg"), "alt": alt}
                    for name, (figure, alt) in drawn.items()},
        "counting": [(title, whole.counting[name], name in _SHARES) for name, title in _COUNTING if whole.counting],
        "classes": sorted(evaluation.classes, key=lambda row: (row.scores["map50"].value is None,
                                                               -(row.scores["map50"].value or 0.0), row.name)),
        "most_rows": MOST_ROWS, "most_cells": MOST_CELLS,
        "clips": evaluation.clips[:_MOST_CLIPS], "clips_left_out": max(0, len(evaluation.clips) - _MOST_CLIPS),
        "pictures": [{"source": embed(p.png, "png"), "caption": p.caption, "alt": p.alt} for p in context.pictures],
        "members": evaluation.members, "fits": len(logs), "split": split_facts(context.manifest),
        "recipe_yaml": context.recipe_yaml, "has_provenance": bool(context.provenance),
        "provenance": json.dumps(context.provenance, indent=2, ensure_ascii=False, default=str),
    }
