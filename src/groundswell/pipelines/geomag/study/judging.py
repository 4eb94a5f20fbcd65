"""geomag: what a study's fits are worth: controls of each window, scores of each family, and what follows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from groundswell.core.errors import GroundswellError, InputError
from groundswell.core.files import atomic_path, read_json, write_json
from groundswell.core.run import RunFolder
from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.binary import binary_scores
from groundswell.evaluate.comparison import compare_all
from groundswell.evaluate.controls import Outcome
from groundswell.evaluate.intervals import Estimate
from groundswell.evaluate.permutation import fold_statistic, mean_over_folds, p_value, permuted_scores
from groundswell.evaluate.units import groups_of
from groundswell.pipelines.archive import Archive, load_archive
from groundswell.pipelines.geomag.data import WORKFLOW
from groundswell.pipelines.geomag.layout import window_name
from groundswell.pipelines.geomag.probe import probe_leak
from groundswell.pipelines.geomag.recipe import NETWORKS, GeomagRecipe
from groundswell.pipelines.geomag.study.combining import ensemble_of_families, ensemble_of_folds
from groundswell.pipelines.geomag.study.fits import marks_of, pooled, window_recipe
from groundswell.pipelines.geomag.study.folder import TITLES, StudyFolder, plain
from groundswell.pipelines.geomag.study.sentences import above_chance, conclusion
from groundswell.pipelines.geomag.study.summaries import write_summary
from groundswell.pipelines.judge import evaluate_run, keep, kept, remembered
from groundswell.pipelines.workflow import Refit, train_run
from groundswell.splits.manifest import SplitManifest

STATISTIC = "roc_auc"
"""What p-values, comparisons and the drawing of controls look at: it does not depend on a threshold or on balance."""


def control_task(study: str, days: int, name: str) -> str:
    """Run one control on a window's split, or remember why it cannot be run; what is done is not done again."""
    folder = StudyFolder(Path(study))
    place = folder.window(days) / "controls"
    if (place / f"{name}.json").exists():
        return name
    recipe, archive, manifest = opened(folder, days)
    chosen = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"controls": (name,)})})
    [(control, runner)] = WORKFLOW.controls(chosen, archive, lambda name: Refit("geomag", chosen, archive.records,
                                                                                place / name))
    own = pooled(folder, "minirocket", days, manifest.folds, "test") if name == "minirocket" else None
    if own is not None:
        keep(control, Outcome(own, archive.table), archive.table, place)
        return name
    try:
        kept(control, runner, place)(archive.table, manifest)
    except InputError:
        return name  # the reason is kept
    return name


def leak_task(study: str, days: int) -> str:
    """See how much higher the simple rival scores on folds of single windows; kept in ``leak.json``."""
    folder = StudyFolder(Path(study))
    path = folder.window(days) / "leak.json"
    if not path.exists():
        recipe, archive, manifest = opened(folder, days)
        test = pooled(folder, "minirocket", days, manifest.folds, "test")
        write_json(path, probe_leak(recipe, archive, None if test is None else (manifest, test)).to_dict())
    return str(path)


def family_task(study: str, model: str, days: int) -> str:
    """Judge one family on one window: scores, p-value, summary, ensemble of its folds, page of its own."""
    folder = StudyFolder(Path(study))
    run = folder.run(model, days)
    path = run.path / "scores.json"
    if path.exists():
        return str(path)
    recipe, archive, manifest = opened(folder, days)
    folds = manifest.folds
    test = pooled(folder, model, days, folds, "test")
    if test is None:
        raise InputError("Some of its folds are missing", where=f"{TITLES[model]} {window_name(days)}")
    if model in NETWORKS:
        train_run(run, quiet=True)
        _lend_controls(folder.window(days) / "controls", run)
        evaluate_run(run, quiet=True)
    scores = binary_scores(test, groups_of(test, archive.table), recipe.evaluate, seed=recipe.split.seed)
    row: dict[str, Any] = {"name": model, "title": TITLES[model], "kind": "rival" if model == "minirocket" else "model",
                           "metrics": {name: e.to_dict() for name, e in scores.items()},
                           **_p_value(folder, recipe, model, days, test, archive.table, manifest)}
    row["ensembles"] = _ensemble_of_folds(folder, recipe, archive.table, model, days, folds)
    write_summary(folder, recipe, archive, manifest, model, days, test)
    write_json(path, plain(row))
    return str(path)


def opened(folder: StudyFolder, days: int) -> tuple[GeomagRecipe, Archive, SplitManifest]:
    """Recipe, archive and split that the families share on a window."""
    archive = load_archive(folder.window(days))
    return window_recipe(folder.recipe(), days), archive, SplitManifest.read(folder.window(days), archive.table)


def _lend_controls(source: Path, run: RunFolder) -> None:
    """Controls were run once for the window; each family's page shows them."""
    (run.path / "controls").mkdir(exist_ok=True)
    for path in sorted(source.iterdir()) if source.is_dir() else []:
        if path.is_file():
            with atomic_path(run.path / "controls" / path.name) as temporary:
                shutil.copyfile(path, temporary)


def _p_value(folder: StudyFolder, recipe: GeomagRecipe, model: str, days: int, test: Predictions, table: SampleTable,
             manifest: SplitManifest) -> dict[str, Any]:
    deals = recipe.study.permutations
    if not deals:
        return {"p": None, "p_method": "", "permutations": 0}
    observed = fold_statistic(test, STATISTIC)
    if model == "minirocket":
        each = [read_json(folder.fold_facts(model, days, k))["permuted_statistic"] for k in range(manifest.folds)]
        null = mean_over_folds(np.asarray(each, np.float64))
        return {"p": p_value(observed, null), "p_method": "refitted", "permutations": len(null),
                "observed": observed, "null": null.tolist()}
    if recipe.study.refits:
        refits = folder.run(model, days).path / "refits"
        null = np.array([read_json(path)["statistic"] for path in sorted(refits.glob("*/done.json"))])
        return {"p": p_value(observed, null), "p_method": "refitted", "permutations": len(null), "observed": observed,
                "null": null.tolist()}
    result = permuted_scores(test, table, manifest, permutations=deals, seed=recipe.split.seed, statistic=STATISTIC)
    return {"p": result.p, "p_method": "answers fixed", "permutations": deals, "observed": result.observed,
            "null": result.null.tolist()}


def _ensemble_of_folds(folder: StudyFolder, recipe: GeomagRecipe, table: SampleTable, model: str, days: int,
                       folds: int) -> dict[str, Any]:
    paths = [folder.run(model, days).fold_path(k) for k in range(folds)]
    if not all((path / "holdout.parquet").exists() for path in paths):
        return {}
    made = ensemble_of_folds([Predictions.read(path / "holdout.parquet") for path in paths],
                             [Predictions.read(path / "validation.parquet") for path in paths], recipe.study.strategy)
    return {name: {metric: e.to_dict() for metric, e in binary_scores(
        part, groups_of(part, table), recipe.evaluate, seed=recipe.split.seed).items()} for name, part in made.items()}


# -- everything together -------------------------------------------------------------------------------------------


def window_scores(folder: StudyFolder, days: int) -> dict[str, Any]:
    """All that is known of a window length, JSON-able."""
    recipe, archive, manifest = opened(folder, days)
    table = archive.table
    rows, missing = [], []
    for model in recipe.study.models:
        path = folder.run(model, days).path / "scores.json"
        if path.exists():
            rows.append(_tagged(read_json(path)))
        else:
            missing.append(f"{TITLES[model]} on windows of {days} days: some of its folds are missing.")
    fold_ensembles = _fold_ensembles(rows, recipe)
    rows += _family_ensemble(folder, recipe, archive, manifest, days)
    rows += [_control_row(folder, recipe, archive, manifest, days, name) for name in recipe.evaluate.controls
             if name not in ("minirocket", "permuted_labels") or (name == "minirocket" and name not in
                                                                   recipe.study.models)]
    counts = np.bincount(table.labels()[table.labels() >= 0], minlength=2)
    leak = folder.window(days) / "leak.json"
    return {"days": days, "samples": len(table),
            "events": int(table.column("event").nunique()) if table.has("event") else "an unknown number of",
            "stations": _stations(table), "groups": int(table.column("group").nunique()),
            "classes_text": f"{counts[1]} before events, {counts[0]} controls", "counts": counts.tolist(),
            "split_text": _split_text(recipe, manifest), "audit": manifest.audit.summary(),
            "rows": rows, "fold_ensembles": fold_ensembles,
            "comparisons": _comparisons(folder, recipe, manifest, days), "missing": missing,
            "permutations": recipe.study.permutations, "leak": read_json(leak) if leak.exists() else None}


def _tagged(row: dict[str, Any]) -> dict[str, Any]:
    return {"tag": "rival" if row["kind"] == "rival" else "family", "says": "", "verdict": "", "above": False,
            "why": "", **row}


def _stations(table: SampleTable) -> str:
    if not table.has("station"):
        return "unknown stations"
    n = table.column("station").nunique()
    return f"{n} station{'s' if n != 1 else ''}"


def _split_text(recipe: GeomagRecipe, manifest: SplitManifest) -> str:
    held = f", {recipe.split.holdout:.0%} of the groups held out from every fold" if recipe.split.holdout else ""
    how = {"kfold": f"{manifest.folds} folds of {'events' if recipe.split.by == 'group' else recipe.split.by + 's'}",
           "blocks": f"{manifest.folds} blocks in time with an embargo of {recipe.split.embargo_days:g} days",
           "leave_one_out": f"{manifest.folds} folds of one group each",
           "stratified": f"{manifest.folds} folds of single windows by chance"}
    return f"Split: {how.get(manifest.regime, manifest.regime)}{held}; the epoch is chosen on an inner part of groups."


def _fold_ensembles(rows: list[dict[str, Any]], recipe: GeomagRecipe) -> list[dict[str, Any]]:
    named = {"f1_weighted": "weighted by F1", "equal": "equal weights"}
    return [_ensemble_row(f"{row['title']}, {named[name]}", metrics,
                          f"The folds' networks together ({recipe.study.strategy.replace('_', ' ')}), on groups that "
                          "none of them saw.")
            for row in rows for name, metrics in row.get("ensembles", {}).items()]


def _ensemble_row(title: str, metrics: Mapping[str, Any], says: str) -> dict[str, Any]:
    return {"name": "ensemble", "title": title, "kind": "ensemble", "tag": "ensemble", "metrics": dict(metrics),
            "p": None, "p_method": "", "says": says, "verdict": "", "above": False, "why": ""}


def _family_ensemble(folder: StudyFolder, recipe: GeomagRecipe, archive: Archive, manifest: SplitManifest,
                     days: int) -> list[dict[str, Any]]:
    families: list[str] = [m for m in recipe.study.models
                           if m in NETWORKS and (folder.run(m, days).path / "scores.json").exists()]
    if len(families) < 2:
        return []
    parts = {part: {m: [Predictions.read(folder.run(m, days).fold_path(k) / f"{part}.parquet")
                        for k in range(manifest.folds)] for m in families} for part in ("test", "validation")}
    made = ensemble_of_families(parts["test"], parts["validation"], recipe.study.strategy)
    rows = []
    for name, part in made.items():
        scores = binary_scores(part, groups_of(part, archive.table), recipe.evaluate, seed=recipe.split.seed)
        rows.append(_ensemble_row(
            f"all families, {'weighted by F1' if name == 'f1_weighted' else 'equal weights'}",
            {metric: e.to_dict() for metric, e in scores.items()},
            f"The {len(families)} families of each fold together, on the windows that this fold tests; weights from "
            "the inner validation parts."))
    return rows


def _control_row(folder: StudyFolder, recipe: GeomagRecipe, archive: Archive, manifest: SplitManifest, days: int,
                 name: str) -> dict[str, Any]:
    chosen = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"controls": (name,)})})
    [(control, _)] = WORKFLOW.controls(chosen, archive,
                                       lambda name: Refit("geomag", chosen, archive.records, Path(name)))
    run = remembered(control, archive.table, folder.window(days) / "controls")
    row: dict[str, Any] = {"name": name, "title": control.title, "kind": control.kind, "says": control.says,
                           "metrics": None, "p": None, "p_method": "", "tag": "not run", "above": False,
                           "verdict": "", "why": f"Not run: {run.why_not}"}
    if run.outcome is None:
        return row
    given = run.outcome.predictions
    scores = binary_scores(given, groups_of(given, run.outcome.table), recipe.evaluate, seed=recipe.split.seed)
    auc = scores[STATISTIC]
    above = above_chance(auc.to_dict())
    verdict = _verdict(control.means, auc, above) if control.kind == "null" else ""
    result = permuted_scores(given, run.outcome.table, manifest, permutations=recipe.study.permutations,
                             seed=recipe.split.seed, statistic=STATISTIC) if (
        recipe.study.permutations and name != "majority" and len(run.outcome.table) == len(archive.table)) else None
    return {**row, "metrics": {metric: e.to_dict() for metric, e in scores.items()}, "above": above,
            "tag": "rival" if control.kind == "rival" else "does the job" if above else "at chance",
            "verdict": verdict, "why": "", "p": result.p if result else None,
            "p_method": "answers fixed" if result else ""}


def _verdict(means: str, auc: Estimate, above: bool) -> str:
    if auc.value is None:
        return f"No ROC-AUC: {auc.why}."
    if above:
        return f"Its ROC-AUC lies above one half: {means}"
    return "Its ROC-AUC does not lie above one half, as it must not."


def _comparisons(folder: StudyFolder, recipe: GeomagRecipe, manifest: SplitManifest,
                 days: int) -> list[dict[str, Any]]:
    """Families against one another, by the folds' ROC-AUC."""
    by_family = {}
    for model in recipe.study.models:
        test = pooled(folder, model, days, manifest.folds, "test")
        if test is not None:
            by_family[TITLES[model]] = [fold_statistic(test.take(test.fold == k), STATISTIC)
                                        for k in range(manifest.folds)]
    counts = manifest.counts()
    ratio = float(np.mean([c["test"] / max(c["train"], 1) for c in counts]))
    if len(by_family) < 2:
        return []
    return [{"first": c.first, "second": c.second, "difference": c.difference, "low": c.low, "high": c.high, "p": c.p,
             "p_holm": c.p_holm, "why": c.why}
            for c in compare_all(by_family, test_to_train=ratio, confidence=recipe.evaluate.confidence)]


def conclude(folder: StudyFolder, recipe: GeomagRecipe, windows: Mapping[int, tuple[Archive, SplitManifest]],
             failures: Mapping[str, GroundswellError]) -> tuple[dict[str, Any], Path]:
    """Put everything together: ``study.json``, files for the figures, pictures, ``report.html``."""
    from groundswell.pipelines.geomag.figures.controls import draw_controls
    from groundswell.pipelines.geomag.study.report import write_study_report

    first = next(iter(windows.values()))[0].table
    found = {window_name(days): window_scores(folder, days) for days in windows}
    scores: dict[str, Any] = {
        "simulated": bool(first.origin.get("simulated")), "background": _background(first), "marks":
            list(first.origin.get("marks", [])), "allow_leakage": recipe.split.allow_leakage,
        "failures": {name: str(error) for name, error in failures.items()}, "windows": found,
        "not_measured": [*(line for w in found.values() for line in w["missing"]),
                         *WORKFLOW.not_measured(recipe, next(iter(windows.values()))[0]), *_unscored(recipe)]}
    scores["conclusion"] = conclusion(scores)
    write_json(folder.path / "study.json", plain(scores))
    pictures = {}
    for name, window in found.items():
        path = folder.results / f"controls_{name}.json"
        write_json(path, _for_figures(name, window, marks_of(first)))
        pictures[name] = draw_controls(path, folder.window(window["days"]) / "controls.png", dpi=110)
    pages = [f"runs/{folder.stem(m, d)}/report.html" for d in windows for m in recipe.study.models
             if (folder.run(m, d).path / "report.html").exists()]
    return scores, write_study_report(folder, json.loads(json.dumps(plain(scores))), pictures, pages)


def _background(table: SampleTable) -> str:
    return f"Background: {table.origin['background']}." if table.origin.get("background") else ""


def _unscored(recipe: GeomagRecipe) -> list[str]:
    lines = []
    if not recipe.split.holdout:
        lines.append("Ensembles of a family's folds: every window was in the training part of some of them. Set "
                     "split.holdout to keep groups aside for this.")
    if not recipe.study.refits and recipe.study.permutations:
        lines.append("The networks' p-values deal the labels anew against fixed answers; the networks were not "
                     "fitted to dealt labels (study.refits does that).")
    return lines


def _for_figures(name: str, window: Mapping[str, Any], marks: list[str]) -> dict[str, Any]:
    rows = []
    for row in window["rows"]:
        estimate = (row["metrics"] or {}).get(STATISTIC)
        if estimate and estimate["value"] is not None:
            rows.append({"name": row["name"], "title": row["title"], "kind": row["kind"], "metric": STATISTIC,
                         "value": estimate["value"], "low": estimate["low"], "high": estimate["high"], "p": row["p"]})
    return {"window": name, "chance": 0.5, "unit": "windows", "note": {"marks": marks, "simulated": "Simulated data."
                                                                       in marks}, "rows": rows}
