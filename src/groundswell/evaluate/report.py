"""evaluate: one page that can be sent by mail and read without a network: what was found and how far to trust it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from groundswell.core.files import write_text
from groundswell.core.metrics import SUMMARIES
from groundswell.evaluate import figures
from groundswell.evaluate.calibration import Calibration
from groundswell.evaluate.evaluation import Evaluation
from groundswell.evaluate.figures_many import class_recalls, ends, strata
from groundswell.evaluate.intervals import Estimate
from groundswell.evaluate.metrics import EXTRAS, Scores
from groundswell.evaluate.pictures import confusion_figure
from groundswell.evaluate.skill import rate_text
from groundswell.splits.manifest import SplitManifest

_MOST_ANSWERS = 500  # rows of the table of events; the wrong ones come first and are never left out before right ones


@dataclass(frozen=True)
class Picture:
    """A picture to show: PNG bytes, a caption, and what it shows in words for those who cannot see it."""

    png: bytes
    caption: str
    alt: str


@dataclass(frozen=True)
class ReportContext:
    """What a report is made of. Text may come from files: everything is escaped.

    Attributes:
        title: of the page.
        evaluation: scores, controls, calibration; of whatever kind the page that is written shows.
        manifest: the split, with its audit.
        recipe_yaml: the resolved recipe.
        provenance: where the numbers come from, JSON-able.
        logs: logs of epochs by the name of the fit ("fold 1"); missing files are passed over.
        pictures: example windows and the like.
        subtitle: one line below the title.
    """

    title: str
    evaluation: Any
    manifest: SplitManifest | None = None
    recipe_yaml: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    logs: Mapping[str, Path] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    subtitle: str = ""


def write_report(folder: Path, context: ReportContext) -> Path:
    """Write ``report.html`` to ``folder``: self-contained, no script, nothing loaded from anywhere.

    Raises:
        InputError: a log of epochs cannot be read.
        FailureError: the disk is full.
    """
    path = Path(folder) / "report.html"
    write_text(path, environment().get_template("report.html.j2").render(**_values(context)))
    return path


def environment() -> Environment:
    """What pages are rendered by: everything is escaped, and a name that is missing is an error."""
    made = Environment(loader=PackageLoader("groundswell.evaluate"), autoescape=True, undefined=StrictUndefined,
                       trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"words": _words, "estimate": estimate_text, "share": _share, "decimal": decimal, "rate": rate_text}
    return made


def _values(context: ReportContext) -> dict[str, Any]:
    evaluation: Evaluation = context.evaluation
    logs = {name: figures.read_epochs(path) for name, path in context.logs.items() if Path(path).is_file()}
    wrong_first = sorted(evaluation.answers, key=lambda row: (row["right"] is not False, row["right"] is None))
    return {
        "title": context.title, "subtitle": context.subtitle, "evaluation": evaluation,
        "headline": evaluation.units.accuracy, "controls": evaluation.controls, "note": evaluation.note,
        "unit": evaluation.unit, "figures": _figures(evaluation, logs), "fits": len(logs),
        "pictures": [{"source": embed(p.png, "png"), "caption": p.caption, "alt": p.alt} for p in context.pictures],
        "metric_rows": [_metric_row(name, evaluation.units, evaluation.windows) for name in
                        ("accuracy", *(n for n in EXTRAS if n in evaluation.units.metrics), *SUMMARIES[1:],
                         *(() if evaluation.units.many else ("roc_auc", "pr_auc")))],
        "both_levels": not evaluation.of_samples, "many": evaluation.units.many,
        "answers": wrong_first[:_MOST_ANSWERS], "answers_left_out": max(0, len(wrong_first) - _MOST_ANSWERS),
        "answer_folds": any(row["fold"] for row in evaluation.answers),
        "calibration_rows": _calibration_rows(evaluation), "temperatures": _temperatures(evaluation),
        "split": split_facts(context.manifest), "stratum_controls": _stratum_controls(evaluation),
        "recipe_yaml": context.recipe_yaml,
        "provenance": json.dumps(context.provenance, indent=2, ensure_ascii=False, default=str),
        "has_provenance": bool(context.provenance),
    }


def _stratum_controls(evaluation: Evaluation) -> list[str]:
    """Titles of the controls that stand beside strata, the same for all that have scores."""
    return next(([c.control.title for c in s.controls] for s in evaluation.strata.values() if s.scores is not None), [])


def embed(data: bytes, kind: str) -> str:
    """A picture ("svg" or "png") as the source of an image that needs no file beside the page."""
    return f"data:image/{'svg+xml' if kind == 'svg' else kind};base64,{base64.b64encode(data).decode()}"


def _figures(evaluation: Evaluation, logs: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, dict[str, str]]:
    """Every picture with what it shows in words, by name."""
    units, windows, pairs = evaluation.units, evaluation.windows, evaluation.calibration
    one = figures.panels
    drawn = {
        "controls": (figures.controls(evaluation), _controls_alt(evaluation)),
        "confusion_units": (confusion_figure([units], 4.6, 4.2), _confusion_alt(units)),
        "reliability_units": (one([figures.reliability(pairs["units"], evaluation.unit)], 4.6, 4.2),
                              _reliability_alt(evaluation, "units", evaluation.unit)),
    }
    if not units.many:
        drawn |= {"roc": (one([figures.roc(units)], 4.6, 4.2), _area_alt("ROC", units, "roc_auc")),
                  "precision_recall": (one([figures.precision_recall(units)], 4.6, 4.2),
                                       _area_alt("Precision-recall", units, "pr_auc"))}
    if evaluation.of_samples:
        drawn["by_class"] = (class_recalls(evaluation.by_class, evaluation.recipe.n_min), _by_class_alt(evaluation))
    else:
        drawn |= {"confusion_windows": (confusion_figure([windows], 4.6, 4.2), _confusion_alt(windows)),
                  "reliability_windows": (one([figures.reliability(pairs["windows"], "window")], 4.6, 4.2),
                                          _reliability_alt(evaluation, "windows", "window"))}
    if evaluation.strata:
        drawn["strata"] = (strata(evaluation), _strata_alt(evaluation))
    history = figures.training_history(logs)
    if history is not None:
        epochs = ", ".join(f"{name}: {len(log['epoch'])}" for name, log in logs.items())
        drawn["history"] = (history, f"Loss, scores and learning rate by epoch. Epochs: {epochs}.")
    return {name: {"source": embed(figures.svg_of(figure), "svg"), "alt": alt}
            for name, (figure, alt) in drawn.items()}


def _controls_alt(evaluation: Evaluation) -> str:
    rows = [f"model {estimate_text(evaluation.units.accuracy)}"]
    rows += [f"{c.control.title} {estimate_text(c.scores.accuracy)}" for c in evaluation.controls if c.scores]
    return f"Accuracy of {evaluation.unit}s with intervals: {'; '.join(rows)}."


def _confusion_alt(scores: Scores) -> str:
    if scores.many:
        wrong = np.array(scores.confusion)
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:5]
        pairs = [(int(i) // len(wrong), int(i) % len(wrong)) for i in order]
        rows = [f"{wrong[i, j]} of {scores.classes[i]} as {scores.classes[j]}" for i, j in pairs if wrong[i, j]]
        return (f"Confusion matrix of {scores.level}s of the commonest of {len(scores.classes)} classes. The most "
                f"frequent mistakes: {'; '.join(rows) or 'none'}.")
    rows = [f"of {name}: " + ", ".join(f"{count} as {other}" for count, other in zip(row, scores.classes, strict=True))
            for name, row in zip(scores.classes, scores.confusion, strict=True)]
    return f"Confusion matrix of {scores.level}s. {'; '.join(rows)}."


def _by_class_alt(evaluation: Evaluation) -> str:
    shown = ends(evaluation.by_class)
    rows = [f"{row.name} {estimate_text(row.recall)}" for row in (shown[:1] + shown[-1:] if len(shown) > 1 else shown)]
    return f"Recall of each class with intervals; best and worst: {'; '.join(rows) or 'no class has enough samples'}."


def _strata_alt(evaluation: Evaluation) -> str:
    rows = [f"{name} {'no score' if s.scores is None else estimate_text(s.scores.accuracy)}"
            for name, s in evaluation.strata.items()]
    return f"Accuracy of the model and its controls in each kind of test: {'; '.join(rows)}."


def _area_alt(what: str, scores: Scores, name: str) -> str:
    return f"{what} curve of {scores.level}s, area {estimate_text(scores.metrics[name])}."


def _reliability_alt(evaluation: Evaluation, which: str, level: str) -> str:
    pair = evaluation.calibration[which]
    after = f"; with temperature {estimate_text(pair.after.ece)}" if pair.after else ""
    return (f"Reliability curve of {level}s: expected calibration error as trained {estimate_text(pair.before.ece)}"
            f"{after}.")


_TITLES = {"mcc": "Matthews correlation", "roc_auc": "ROC area", "pr_auc": "precision-recall area",
           "top5_accuracy": "top-5 accuracy", "prevalence_weighted_accuracy": "prevalence-weighted accuracy"}


def _metric_row(name: str, units: Scores, windows: Scores) -> dict[str, Any]:
    return {"name": _TITLES.get(name, _words(name).replace("f1", "F1")), "units": units.metrics[name],
            "windows": windows.metrics[name]}


def _calibration_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    rows = []
    levels = [("units", f"{evaluation.unit}s"), *([] if evaluation.of_samples else [("windows", "windows")])]
    for which, level in levels:
        pair = evaluation.calibration[which]
        states: list[tuple[str, Calibration | None]] = [("as trained", pair.before), ("with temperature", pair.after)]
        rows += [{"level": level, "state": state, "ece": c.ece, "log_loss": c.log_loss, "brier": c.brier}
                 for state, c in states if c is not None]
    return rows


def _temperatures(evaluation: Evaluation) -> str:
    found = evaluation.temperatures
    if len(found) > 10:
        values = sorted(t.value for t in found.values())
        text = f"{values[0]:.2f} to {values[-1]:.2f} for {len(values)} models"
    else:
        text = ", ".join(f"{t.value:.2f}" + (f" (fold {fold + 1})" if fold >= 0 and len(found) > 1 else "")
                         for (_, fold), t in found.items())
    edge = sum(t.at_bound for t in found.values())
    return f"{text}; {edge} of them at the edge of the range, as when validation shows no error" if edge else text


def split_facts(manifest: SplitManifest | None) -> dict[str, Any] | None:
    """What a page says of the split: its regime, its audit and its counts; ``None`` without one."""
    if manifest is None:
        return None
    return {"regime": manifest.regime, "seed": manifest.seed, "folds": manifest.folds,
            "passed": manifest.audit.passed, "lines": manifest.audit.summary(), "parts": list(manifest.parts.values()),
            "counts": manifest.counts()}


def _words(text: object) -> str:
    return str(text).replace("_", " ")


def _share(value: float) -> str:
    """A probability for a table: never a rounded 1 or 0 that is none."""
    if 0.9995 <= value < 1:
        return ">0.999"
    return "<0.001" if 0 < value < 0.0005 else f"{value:.3f}"


def estimate_text(estimate: Estimate) -> str:
    """A number with its interval for a sentence, or that it is undefined."""
    if estimate.value is None:
        return "undefined"
    if estimate.low is None or estimate.high is None:
        return decimal(estimate.value)
    return f"{decimal(estimate.value)} ({decimal(estimate.low)} to {decimal(estimate.high)})"


def decimal(value: float) -> str:
    """Three decimals, with a minus sign that is one."""
    return f"{value:.3f}".replace("-", "−")
