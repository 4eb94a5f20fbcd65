"""evaluate: the page of an evaluation of waveforms, self-contained and without script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundswell.core.files import write_text
from groundswell.core.optional import available
from groundswell.evaluate import figures
from groundswell.evaluate.report import ReportContext, embed, environment, split_facts
from groundswell.evaluate.waveform_examples import worst_first
from groundswell.evaluate.waveform_page import write_sources_page
from groundswell.evaluate.waveform_pictures import figures_of
from groundswell.evaluate.waveform_scores import SCORES

if TYPE_CHECKING:
    from groundswell.evaluate.waveforms import WaveformEvaluation

_MOST_ANSWERS = 500  # rows of the table of samples, the worst


def write_waveform_report(folder: Path, context: ReportContext) -> Path:
    """Write ``report.html`` to ``folder``: self-contained, no script, nothing loaded from anywhere.

    Where plotly is installed and there are waveforms to show, ``sources.html`` is written beside it, and linked to:
    that one is interactive, self-contained too, and holds plotly's own script.

    Args:
        folder: of the run.
        context: its ``evaluation`` is a :class:`groundswell.evaluate.waveforms.WaveformEvaluation`.

    Raises:
        InputError: a log of epochs cannot be read.
        FailureError: the disk is full.
    """
    values = _values(context)
    if values["answers"] and available("plotly"):
        values["sources"] = write_sources_page(folder, context.title, context.evaluation).name
    path = Path(folder) / "report.html"
    write_text(path, environment().get_template("waveforms.html.j2").render(**values))
    return path


def _values(context: ReportContext) -> dict[str, Any]:
    evaluation: WaveformEvaluation = context.evaluation
    logs = {name: figures.read_epochs(path) for name, path in context.logs.items() if Path(path).is_file()}
    drawn = figures_of(evaluation)
    drawn |= figures.history_told(logs)
    whole, kind = evaluation.whole, SCORES[evaluation.headline]
    rows = [evaluation.answers[place] for place in worst_first(evaluation)]
    rows += [row for row in evaluation.answers if row[evaluation.headline] is None]
    return {
        "title": context.title, "subtitle": context.subtitle, "evaluation": evaluation, "whole": whole,
        "note": evaluation.note, "unit": evaluation.unit, "headline": whole.scores.get(evaluation.headline),
        "headline_title": kind.title, "headline_how": kind.how, "columns": _columns(evaluation),
        "figures": {name: {"source": embed(figures.svg_of(figure), "svg"), "alt": alt}
                    for name, (figure, alt) in drawn.items()},
        "answers": [row | {"beaten": _beaten(row, evaluation)} for row in rows[:_MOST_ANSWERS]],
        "answers_left_out": max(0, len(rows) - _MOST_ANSWERS), "sources": "", "fits": len(logs),
        "pictures": [{"source": embed(p.png, "png"), "caption": p.caption, "alt": p.alt} for p in context.pictures],
        "members": evaluation.members, "split": split_facts(context.manifest),
        "shifts_from": evaluation.truth.shifts_from if evaluation.truth is not None else "",
        "recipe_yaml": context.recipe_yaml, "has_provenance": bool(context.provenance),
        "provenance": json.dumps(context.provenance, indent=2, ensure_ascii=False, default=str),
    }


def _columns(evaluation: WaveformEvaluation) -> list[tuple[str, Any]]:
    """Scores that the model or a rival has a value of, the headline first; shift errors in seconds alone."""
    parts = [part for part in (evaluation.whole, evaluation.unrecoverable) if part is not None and part.scores]
    names = [name for name in SCORES if name != "shift_error_samples" and any(
        scores[name].value is not None for part in parts for scores in (part.scores, *(b.scores for b in part.beside)))]
    return [(name, SCORES[name]) for name in sorted(names, key=lambda name: name != evaluation.headline)]


def _beaten(row: dict[str, Any], evaluation: WaveformEvaluation) -> bool:
    """Whether a rival's number is better than the model's in this sample; bounds are no rivals."""
    ours = row[evaluation.headline]
    rivals = {b.control.name for b in evaluation.whole.beside if b.control.kind == "rival"}
    theirs = [value for name, value in row["rivals"].items() if name in rivals and value is not None]
    if ours is None or not theirs or not row["recoverable"]:
        return False
    return bool(min(theirs) < ours if SCORES[evaluation.headline].less_is_better else max(theirs) > ours)
