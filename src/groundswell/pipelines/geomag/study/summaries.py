"""geomag: summary and ensemble of a family on a window length, under the seed's names."""

from __future__ import annotations

from typing import Any

import numpy as np

from groundswell.core.files import read_json, write_json
from groundswell.data.predictions import Predictions
from groundswell.evaluate.binary import binary_scores
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.evaluate.units import groups_of
from groundswell.pipelines.archive import Archive
from groundswell.pipelines.geomag.ensembles import write_fold_ensemble
from groundswell.pipelines.geomag.layout import window_name
from groundswell.pipelines.geomag.recipe import NETWORKS, GeomagRecipe
from groundswell.pipelines.geomag.study.combining import shares, weighted_f1
from groundswell.pipelines.geomag.study.fits import marks_of
from groundswell.pipelines.geomag.study.folder import StudyFolder, plain
from groundswell.pipelines.geomag.study.results import fold_stem
from groundswell.splits.manifest import SplitManifest

_NAMES = {"f1": "f1_weighted", "precision": "precision_weighted", "recall": "recall_weighted",
          "specificity": "specificity", "mcc": "mcc", "norm_mcc": "norm_mcc", "accuracy": "accuracy",
          "class_0_acc": "class_accuracy_0", "class_1_acc": "class_accuracy_1", "minority_f1": "minority_f1",
          "balanced_accuracy": "balanced_accuracy", "roc_auc": "roc_auc", "pr_auc": "pr_auc", "brier": "brier",
          "ece": "ece"}


def fold_metrics(test: Predictions, archive: Archive, folds: int) -> dict[str, list[float | None]]:
    """Scores of each fold on the windows it tests, by the seed's names; ``None`` where one is not defined."""
    quick = EvaluateRecipe(bootstrap=100)
    each = []
    for fold in range(folds):
        part = test.take(test.fold == fold)
        each.append(binary_scores(part, groups_of(part, archive.table), quick))
    return {name: [scores[ours].value for scores in each] for name, ours in _NAMES.items()}


def average(metrics: dict[str, list[float | None]]) -> dict[str, float | None]:
    """Mean and, under ``<name>_std``, standard deviation over folds of each score."""
    found: dict[str, float | None] = {}
    for name, values in metrics.items():
        defined = [v for v in values if v is not None]
        found[name] = float(np.mean(defined)) if defined else None
        found[f"{name}_std"] = float(np.std(defined)) if defined else None
    return found


def write_summary(folder: StudyFolder, recipe: GeomagRecipe, archive: Archive, manifest: SplitManifest, model: str,
                  days: int, test: Predictions) -> None:
    """Write ``_summary.json``, ``_ensemble_config.json`` and, for networks, ``_ensemble.pth``."""
    stem, files, folds = folder.stem(model, days), folder.files(model), manifest.folds
    validation = [Predictions.read(folder.run(model, days).fold_path(k) / "validation.parquet") for k in range(folds)]
    inner = [weighted_f1(part) for part in validation]
    metrics = fold_metrics(test, archive, folds)
    means = average(metrics)
    f1s = [value if value is not None else 0.0 for value in metrics["f1"]]
    facts = [read_json(folder.fold_facts(model, days, k)) for k in range(folds)]
    common: dict[str, Any] = {
        "pipeline": "geomag", "model_name": f"{stem.split('_')[0]}", "window_name": window_name(days),
        "fold_metrics": metrics, "average_metrics": means, "split": manifest.regime,
        "split_settings": manifest.settings, "audit_passed": manifest.audit.passed,
        "ungrouped": bool(archive.table.origin.get("ungrouped")),
        "simulated": bool(archive.table.origin.get("simulated")), "marks": marks_of(archive.table),
        "allow_leakage": recipe.split.allow_leakage,
        "notes": "Fold metrics are of the outer fold, scored once; the epoch was chosen, and members are weighted, on "
                 "an inner part of groups. Associations in this sample."}
    write_json(files / f"{stem}_summary.json", plain({
        **common, "best_fold": int(np.argmax(f1s)) + 1, "best_val_f1": max(f1s), "val_f1s": metrics["f1"],
        "val_mccs": metrics["mcc"], "inner_val_f1s": inner, "best_epochs": [f.get("best_epoch") for f in facts]}))
    config = {**common, "ensemble_weights": shares(inner).tolist(), "ensemble_method": "f1_weighted",
              "strategy": recipe.study.strategy, "weights_from": "weighted F1 on the inner validation part",
              "members": [f"{fold_stem(stem, k)}.pth" for k in range(folds)] if model in NETWORKS else []}
    if model in NETWORKS:
        write_fold_ensemble(folder.run(model, days), files, stem, folds, plain(config))
    else:
        write_json(files / f"{stem}_ensemble_config.json", plain({**config, "model_params": {
            "transform": "MiniRocket", "classifier": "ridge", "alphas": [f.get("alpha") for f in facts]}}))
