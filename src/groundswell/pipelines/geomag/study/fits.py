"""geomag: the single fits of a study, each a function of paths and names that any engine can call in any process.

Each leaves what it did in files of its own, and ``done.json`` last; called again it finds that and returns.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from groundswell.core.files import read_json, write_json, write_text
from groundswell.core.recipe import dump_recipe
from groundswell.core.run import RunFolder
from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.permutation import fold_statistic, permuted_truths
from groundswell.pipelines.archive import Archive, load_archive, save_archive
from groundswell.pipelines.geomag.data import WORKFLOW, prepared_reader
from groundswell.pipelines.geomag.layout import window_name
from groundswell.pipelines.geomag.recipe import NETWORKS, GeomagRecipe, recipe_for
from groundswell.pipelines.geomag.rocket import fit_rocket_fold
from groundswell.pipelines.geomag.study.folder import TITLES, StudyFolder, plain
from groundswell.pipelines.geomag.study.results import fold_stem, write_answers, write_log, write_network
from groundswell.pipelines.geomag.task import GeomagTask
from groundswell.pipelines.workflow import (
    Refit,
    fit_fold,
    labelled_rows,
    load_task,
    open_and_split,
    predict_rows,
    rehearse,
    start_run,
)
from groundswell.splits.manifest import HOLDOUT, TEST, TRAIN, VALIDATION, SplitManifest
from groundswell.train.weights import load_best

PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST, "holdout": HOLDOUT}


def window_recipe(recipe: GeomagRecipe, days: int) -> GeomagRecipe:
    """The study's recipe on one window length."""
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"window": days})})


Divided = tuple[Archive, SplitManifest]


def divide(folder: StudyFolder, recipe: GeomagRecipe, days: int) -> Divided:
    """Table and split that every family shares on a window length: those of the study, if it was begun, else new ones,
    on which every network has been rehearsed. Writes nothing.

    Raises:
        InputError, RefusedError: the data, the split or a network cannot be used.
    """
    shared = folder.window(days)
    if (shared / "split.json").exists():
        archive = load_archive(shared)
        WORKFLOW.check_unchanged(archive)
        return archive, SplitManifest.read(shared, archive.table)
    divided = open_and_split("geomag", window_recipe(recipe, days))
    for model in recipe.study.models:
        if model in NETWORKS:
            rehearse(WORKFLOW, recipe_for(recipe, model, days), *divided)
    return divided


def prepare_window(folder: StudyFolder, recipe: GeomagRecipe, days: int, divided: Divided) -> None:
    """Write table and split of a window length, and begin the runs of the networks; what is there stays."""
    shared = folder.window(days)
    if not (shared / "split.json").exists():
        save_archive(divided[0], shared)
        divided[1].write(shared)
    for model in recipe.study.models:
        run = folder.run(model, days)
        if model in NETWORKS and not (run.path / "split.json").exists():
            if run.path.exists():
                shutil.rmtree(run.path)  # of a study that was killed while it began
            start_run("geomag", recipe_for(recipe, model, days), run.path, divided)


def fit_network(study: str, model: str, days: int, fold: int) -> str:
    """Fit one fold of a family on a window length and write what came of it; the fold's folder."""
    folder = StudyFolder(Path(study))
    run, stem = folder.run(model, days), folder.stem(model, days)
    place = run.fold_path(fold)
    if folder.fold_facts(model, days, fold).exists():
        return str(place)
    fit_fold("geomag", run.path, fold, quiet=True)
    recipe, archive, task = load_task(run.path, "geomag", fold)
    assert isinstance(task, GeomagTask)
    manifest = SplitManifest.read(run.path, archive.table)
    parts = {name: Predictions.read(place / f"{name}.parquet") for name in ("validation", "test")}
    for name in ("train", "holdout"):
        rows = labelled_rows(archive.table, manifest, PARTS[name], fold)
        if len(rows):
            parts[name] = predict_rows(WORKFLOW, recipe, archive, task, rows, fold=fold)
            parts[name].write(place / f"{name}.parquet")
    files = folder.files(model)
    write_network(files, stem, fold, task.network, task.preprocess)
    write_log(files / f"{fold_stem(stem, fold)}_logs.txt", _log_title(model, days, fold, archive.table, manifest),
              place / "logs" / "epochs.csv", recipe.train.epochs)
    facts = load_best(task, place)
    shutil.rmtree(place / "checkpoints", ignore_errors=True)
    _finish(folder, model, days, fold, parts, {"best_epoch": facts["epoch"]})
    return str(place)


def fit_rocket(study: str, days: int, fold: int, threads: int) -> str:
    """Fit one fold of MiniRocket + ridge, with all deals of the labels at once; the fold's folder."""
    folder = StudyFolder(Path(study))
    place = folder.run("minirocket", days).fold_path(fold)
    if folder.fold_facts("minirocket", days, fold).exists():
        return str(place)
    recipe, archive = folder.recipe(), load_archive(folder.window(days))
    manifest = SplitManifest.read(folder.window(days), archive.table)
    read = prepared_reader(recipe, archive)
    assert read is not None
    truths = deals(recipe, archive.table, manifest)
    fitted = fit_rocket_fold(read, archive.table, manifest, fold, seed=recipe.split.seed, truths=truths,
                             threads=threads)
    parts = {"train": fitted.train, "validation": fitted.validation, "test": fitted.test}
    if fitted.holdout is not None and len(fitted.holdout):
        parts["holdout"] = fitted.holdout
    for name, predictions in parts.items():
        predictions.write(place / f"{name}.parquet")
    write_log(folder.files("minirocket") / f"{fold_stem(folder.stem('minirocket', days), fold)}_logs.txt",
              _log_title("minirocket", days, fold, archive.table, manifest), None, 0)
    _finish(folder, "minirocket", days, fold, parts, {"alpha": fitted.alpha, "permuted_statistic":
                                                      np.asarray(fitted.permuted, np.float64).tolist()})
    return str(place)


def _log_title(model: str, days: int, fold: int, table: SampleTable, manifest: SplitManifest) -> str:
    counts = ", ".join(f"{len(labelled_rows(table, manifest, code, fold))} {name}" for name, code in PARTS.items())
    marks = "".join(f" {mark}" for mark in marks_of(table))
    return f"{TITLES[model]} on windows of {days} days, fold {fold + 1} of {manifest.folds}: {counts} windows.{marks}"


def marks_of(table: SampleTable) -> list[str]:
    """What must stand beside every number of a table, in sentences."""
    simulated = ["Simulated data."] if table.origin.get("simulated") else []
    return [*simulated, *table.origin.get("marks", [])]


def _finish(folder: StudyFolder, model: str, days: int, fold: int, parts: dict[str, Predictions],
            facts: dict[str, Any]) -> None:
    write_answers(folder.files(model), folder.stem(model, days), fold,
                  {name: part for name, part in parts.items() if name != "validation"})
    write_json(folder.fold_facts(model, days, fold), plain({"model": model, "window": window_name(days),
                                                            "fold": fold + 1, **facts}))


def deals(recipe: GeomagRecipe, table: SampleTable, manifest: SplitManifest) -> NDArray[np.int64]:
    """The study's deals of the labels, event by event within the tested folds, shape (permutations, rows)."""
    return np.asarray(permuted_truths(table, manifest, recipe.study.permutations, recipe.split.seed), np.int64)


def refit_network(study: str, model: str, days: int, deal: int) -> float:
    """Fit a family to one deal of the labels, on the same folds; its statistic against the dealt labels."""
    folder = StudyFolder(Path(study))
    place = folder.run(model, days).path / "refits" / f"{deal + 1}"
    if (place / "done.json").exists():
        return float(read_json(place / "done.json")["statistic"])
    recipe, archive = folder.recipe(), load_archive(folder.window(days))
    manifest = SplitManifest.read(folder.window(days), archive.table)
    truth = deals(recipe, archive.table, manifest)[deal]
    column = archive.table.column("label")
    column[truth >= 0] = truth[truth >= 0]
    table = archive.table.replaced(label=column)
    dealt = SplitManifest.of(table, manifest.assignment, manifest.regime, manifest.seed, manifest.settings)
    if place.exists():
        shutil.rmtree(place)
    predicted = Refit("geomag", recipe_for(recipe, model, days), archive.records, place)(table, dealt)
    statistic = fold_statistic(predicted)
    for fold in place.glob("fold-*"):
        shutil.rmtree(fold)
    write_json(place / "done.json", {"statistic": statistic})
    return statistic


def pooled(folder: StudyFolder, model: str, days: int, folds: int, part: str) -> Predictions | None:
    """Predictions of a part by every fold's fit; ``None`` where a fold has none."""
    paths = [folder.run(model, days).fold_path(k) / f"{part}.parquet" for k in range(folds)]
    return Predictions.concatenate([Predictions.read(p) for p in paths]) if all(p.exists() for p in paths) else None


def missing_folds(folder: StudyFolder, models: Sequence[str], days: int, folds: int) -> list[tuple[str, int]]:
    """Fits that are not done."""
    return [(m, k) for m in models for k in range(folds) if not folder.fold_facts(m, days, k).exists()]


def write_pooled(run: RunFolder, folds: int, recipe: GeomagRecipe) -> None:
    """For MiniRocket + ridge, which has no run of its own: the pooled files that a run has."""
    for name, file in (("test", "predictions"), ("validation", "validation")):
        parts = [Predictions.read(run.fold_path(k) / f"{name}.parquet") for k in range(folds)]
        Predictions.concatenate(parts).write(run.path / f"{file}.parquet")
    write_text(run.path / "recipe-of-the-study.yaml", dump_recipe(recipe))


def single_threads(threads: int) -> None:
    """Give torch so many threads in this process; 0 leaves its choice."""
    if threads:
        torch.set_num_threads(threads)
