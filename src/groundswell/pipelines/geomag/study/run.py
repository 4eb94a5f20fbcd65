"""geomag: the study as one call: check, fit what is not fitted, judge, report. The same call begins and resumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from groundswell.core.errors import FailureError, InputError
from groundswell.core.files import write_json
from groundswell.core.progress import progress, say
from groundswell.core.provenance import provenance
from groundswell.core.run import RunFolder
from groundswell.pipelines.archive import Archive
from groundswell.pipelines.geomag.layout import MINUTES_A_DAY, window_name
from groundswell.pipelines.geomag.models import build_model
from groundswell.pipelines.geomag.recipe import NETWORKS, GeomagRecipe, recipe_for
from groundswell.pipelines.geomag.study.fits import (
    Divided,
    divide,
    fit_network,
    fit_rocket,
    marks_of,
    prepare_window,
    refit_network,
)
from groundswell.pipelines.geomag.study.folder import TITLES, StudyFolder
from groundswell.pipelines.geomag.study.judging import conclude, control_task, family_task, leak_task
from groundswell.splits.manifest import SplitManifest
from groundswell.train.executors import TaskResults, run_all

Tasks = dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]


@dataclass(frozen=True)
class Engine:
    """What the fits of a study run on.

    Attributes:
        name: "inline", "loky" (processes of this machine) or "dask".
        workers: fits at once.
        scheduler: address of a Dask scheduler; empty starts a local cluster.
    """

    name: str = "inline"
    workers: int = 1
    scheduler: str = ""

    def check(self) -> Literal["inline", "loky", "dask"]:
        """The engine's name.

        Raises:
            InputError: there is no such engine.
        """
        if self.name not in ("inline", "loky", "dask"):
            raise InputError(f"There is no engine '{self.name}'", where="--engine", fix="Choose inline, loky or dask")
        return self.name  # type: ignore[return-value]


@dataclass(frozen=True)
class StudyOutcome:
    """What a study gave.

    Attributes:
        folder: of the study.
        report: its page.
        scores: what ``study.json`` holds.
        conclusion: in sentences.
    """

    folder: Path
    report: Path
    scores: dict[str, Any]
    conclusion: list[str]


def run_study(recipe: GeomagRecipe, out: Path, engine: Engine | None = None) -> StudyOutcome:
    """Fit families x windows x folds, judge them beside their controls, write results, figures and the report.

    What is finished is found on disk and not done again. A fit that fails, or whose worker keeps dying, leaves a gap
    that is named in the report; everything else is done all the same.

    Args:
        recipe: of the study.
        out: its folder; absent, empty, or begun with the same recipe.
        engine: what the fits run on; in this process if not given.

    Raises:
        InputError: the data, the recipe or the folder cannot be used.
        RefusedError: the split leaks and the recipe does not allow it.
        FailureError: some fits failed; what could be done without them was written.
    """
    engine = engine or Engine()
    engine.check()
    folder = StudyFolder(Path(out).resolve())
    folder.check(recipe)
    windows: dict[int, Divided] = {days: divide(folder, recipe, days) for days in recipe.study.windows}
    folder.begin(recipe)
    with RunFolder(folder.path).lock():
        log = _Log(folder.path / "logs")
        for days, divided in windows.items():
            prepare_window(folder, recipe, days, divided)
        write_json(folder.path / "provenance.json", provenance(
            tables={window_name(days): archive.table.fingerprint for days, (archive, _) in windows.items()}))
        fits = _run(_fit_tasks(folder, recipe, windows), "fits", recipe, engine, log)
        controls = _run(_control_tasks(folder, recipe, windows), "controls", recipe, engine, log)
        judged = _run(_family_tasks(folder, recipe, windows), "verdicts", recipe, engine, log)
        failures = {**fits.failures, **controls.failures, **judged.failures}
        scores, report = conclude(folder, recipe, windows, failures)
        log.line(f"Wrote {report}")
    if failures:
        named = "; ".join(f"{name}: {error.what}" for name, error in failures.items())
        raise FailureError(f"{len(failures)} part(s) of the study failed, everything else was done: {named}",
                           where=folder.path, fix="Look into logs/, mend the cause, and give the same command again")
    return StudyOutcome(folder.path, report, scores, scores["conclusion"])


def _fit_tasks(folder: StudyFolder, recipe: GeomagRecipe,
               windows: Mapping[int, tuple[Archive, SplitManifest]]) -> Tasks:
    study, tasks = str(folder.path), Tasks()
    threads = recipe.study.threads
    for days, (_, manifest) in windows.items():
        for model in recipe.study.models:
            for fold in range(manifest.folds):
                if folder.fold_facts(model, days, fold).exists():
                    continue
                name = f"{TITLES[model]} {window_name(days)} fold {fold + 1}"
                tasks[name] = ((fit_rocket, (study, days, fold, threads)) if model == "minirocket"
                               else (fit_network, (study, model, days, fold)))
        for model in recipe.study.models:
            for deal in range(recipe.study.refits if model in NETWORKS else 0):
                if not (folder.run(model, days).path / "refits" / f"{deal + 1}" / "done.json").exists():
                    tasks[f"{TITLES[model]} {window_name(days)} deal {deal + 1}"] = (
                        refit_network, (study, model, days, deal))
    return tasks


def _control_tasks(folder: StudyFolder, recipe: GeomagRecipe,
                   windows: Mapping[int, tuple[Archive, SplitManifest]]) -> Tasks:
    """Controls and leak probe of each window, which all families share."""
    study, tasks = str(folder.path), Tasks()
    for days, (archive, _) in windows.items():
        for name in recipe.evaluate.controls:
            if name != "permuted_labels" and not (folder.window(days) / "controls" / f"{name}.json").exists():
                tasks[f"control {name} {window_name(days)}"] = (control_task, (study, days, name))
        several = archive.table.column("group").nunique() < len(archive.table)
        if several and recipe.split.regime != "stratified" and not (folder.window(days) / "leak.json").exists():
            tasks[f"leak probe {window_name(days)}"] = (leak_task, (study, days))
    return tasks


def _family_tasks(folder: StudyFolder, recipe: GeomagRecipe,
                  windows: Mapping[int, tuple[Archive, SplitManifest]]) -> Tasks:
    """The verdict on each family whose folds are all fitted."""
    tasks = Tasks()
    for days, (_, manifest) in windows.items():
        for model in recipe.study.models:
            done = all(folder.fold_facts(model, days, k).exists() for k in range(manifest.folds))
            if done and not (folder.run(model, days).path / "scores.json").exists():
                tasks[f"{TITLES[model]} {window_name(days)}"] = (family_task, (str(folder.path), model, days))
    return tasks


def _run(tasks: Tasks, what: str, recipe: GeomagRecipe, engine: Engine, log: _Log) -> TaskResults[Any]:
    if tasks:
        say(f"{len(tasks)} {what} to do")
    with progress(len(tasks), what, what) as bar:
        def finished(name: str, result: Any) -> None:
            log.line(f"Done: {name}")
            bar.advance()

        results = run_all(tasks, engine=engine.check(), workers=engine.workers, threads=recipe.study.threads,
                          scheduler=engine.scheduler, retries=recipe.study.retries, finished=finished)
    for name, error in results.failures.items():
        log.line(f"Failed: {name}: {error}")
        say(f"Failed: {name}: {error.what}")
    return results


class _Log:
    """``logs/training_<time>.log`` of this call, a line an event."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"training_{datetime.now(UTC):%Y%m%d_%H%M%S}.log"

    def line(self, text: str) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}\n")


def plan_study(recipe: GeomagRecipe, out: Path) -> list[str]:
    """What :func:`run_study` would do, in sentences; writes nothing.

    Raises:
        InputError, RefusedError: as :func:`run_study` would.
    """
    folder = StudyFolder(Path(out).resolve())
    folder.check(recipe)
    networks = [model for model in recipe.study.models if model in NETWORKS]
    lines, fits, to_do = [], 0, 0
    for days in recipe.study.windows:
        archive, manifest = divide(folder, recipe, days)
        counts = ", ".join(f"{count} {part}" for part, count in manifest.counts()[0].items())
        lines += [f"Windows of {days} days: {len(archive.table)} in {archive.table.column('group').nunique()} groups; "
                  f"{manifest.regime}, {manifest.folds} folds, in the first {counts}.",
                  *(f"  {line}" for line in [*marks_of(archive.table), *manifest.audit.summary()])]
        for model in networks:
            network = build_model(recipe_for(recipe, model, days).model, days * MINUTES_A_DAY)
            lines.append(f"  {TITLES[model]}: {sum(p.numel() for p in network.parameters()):,} parameters.")
        done = [folder.fold_facts(model, days, k).exists() for model in recipe.study.models
                for k in range(manifest.folds)]
        fits, to_do = fits + len(done), to_do + done.count(False)
    lines.append(f"{fits} fits, of which {to_do} are to do; {recipe.study.permutations} deals of the labels for each "
                 f"p-value; controls: {', '.join(recipe.evaluate.controls)}.")
    lines.append(f"Would be written to {out}.")
    return lines
