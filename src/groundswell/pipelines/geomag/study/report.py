"""geomag: the page of a study: one file, no script, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from groundswell import __version__
from groundswell.core.files import read_json, write_text
from groundswell.evaluate.report import decimal
from groundswell.pipelines.geomag.study.folder import StudyFolder

COLUMNS = (("roc_auc", "ROC-AUC"), ("f1_weighted", "weighted F1"), ("minority_f1", "F1 of the rarer class"),
           ("balanced_accuracy", "balanced accuracy"), ("mcc", "MCC"))
"""Scores of the first table."""
MORE_COLUMNS = (("accuracy", "accuracy"), ("precision_weighted", "weighted precision"), ("specificity", "specificity"),
                ("sensitivity", "sensitivity"), ("norm_mcc", "norm. MCC"), ("pr_auc", "PR-AUC"), ("brier", "Brier"),
                ("ece", "calibration error"))
"""Scores of the second table."""


def write_study_report(folder: StudyFolder, scores: Mapping[str, Any], pictures: Mapping[str, Path],
                       pages: Sequence[str]) -> Path:
    """Write ``report.html`` of a study.

    Args:
        folder: of the study.
        scores: what ``study.json`` holds.
        pictures: by window name, the drawing of scores beside controls.
        pages: reports of single families, relative to the study's folder.
    """
    recipe = folder.recipe()
    environment = Environment(loader=ChoiceLoader([PackageLoader("groundswell.pipelines.geomag"),
                                                   PackageLoader("groundswell.evaluate")]),
                              autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["decimal"] = decimal
    shown = {name: _embed(pictures[name]) if name in pictures else "" for name in scores["windows"]}
    text = environment.get_template("study.html.j2").render(
        title="Geomagnetic windows before earthquakes and matched controls",
        subtitle=f"Study {folder.path.name}: {len(recipe.study.models)} families on {len(recipe.study.windows)} window "
                 f"length{'s' if len(recipe.study.windows) != 1 else ''}.",
        scores=scores, columns=COLUMNS, more_columns=MORE_COLUMNS, pictures=shown,
        confidence=recipe.evaluate.confidence, pages=list(pages), version=__version__,
        recipe_yaml=(folder.path / "study.yaml").read_text(encoding="utf-8"),
        provenance=json.dumps(read_json(folder.path / "provenance.json"), indent=2, ensure_ascii=False, default=str))
    path = folder.path / "report.html"
    write_text(path, text)
    return path


def _embed(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
