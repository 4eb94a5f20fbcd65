"""pipelines: judging a run: its controls on its own split, the evaluation, the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundswell.core.errors import InputError
from groundswell.core.files import read_json, write_json
from groundswell.core.progress import say
from groundswell.core.registry import get_pipeline
from groundswell.core.run import RunFolder
from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.controls import Control, ControlRun, Outcome, Runner, run_controls
from groundswell.evaluate.evaluation import Evaluation, evaluate
from groundswell.evaluate.figures import write_history
from groundswell.evaluate.report import ReportContext, write_report
from groundswell.pipelines.workflow import Archive, Refit, load_archive, notes_of, workflow_of
from groundswell.splits.manifest import SplitManifest


@dataclass(frozen=True)
class Judgement:
    """What ``evaluate`` gives: the numbers, the sentences, the page."""

    metrics: dict[str, Any]
    text: str
    report: Path


def evaluate_run(run: RunFolder, *, with_controls: bool = True) -> Judgement:
    """Score a trained run beside its controls and write metrics, figures and report into its folder.

    What a control has done already is kept: an interrupted evaluation goes on where it was.

    Raises:
        InputError: the run is not trained yet.
    """
    if not (run.path / "predictions.parquet").exists():
        raise InputError("The run is not trained yet: it has no predictions", where=run.path,
                         fix=f"Go on with: groundswell resume {run.path}")
    with run.lock():
        recipe = run.recipe(get_pipeline(run.pipeline).recipe_class())
        archive = load_archive(run.path)
        workflow_of(run.pipeline).check_unchanged(archive)
        manifest = SplitManifest.read(run.path, archive.table)
        controls: list[ControlRun] = []
        if with_controls:
            offered = _controls(run, recipe, archive)
            kept = [(control, _kept(control, runner, run.path / "controls")) for control, runner in offered]
            controls = run_controls(kept, archive.table, manifest, say)
        evaluation = _evaluation(run, recipe, archive, controls)
        evaluation.write(run.path)
        write_history(_logs(run, manifest), run.path / "figures" / "training_history.png")
        report = _report(run, archive, manifest, evaluation)
        run.set_status("evaluated", controls=with_controls)
    return Judgement(evaluation.to_dict(), "\n".join(evaluation.conclusion), report)


def write_run_report(run: RunFolder) -> Path:
    """Write the report again from what is in the run's folder; nothing is trained.

    Raises:
        InputError: the run has not been evaluated.
    """
    if run.status["state"] != "evaluated":
        raise InputError("The run has not been evaluated", where=run.path,
                         fix=f"Evaluate it with: groundswell evaluate {run.path}")
    with run.lock():
        recipe = run.recipe(get_pipeline(run.pipeline).recipe_class())
        archive = load_archive(run.path)
        manifest = SplitManifest.read(run.path, archive.table)
        controls: list[ControlRun] = []
        if run.status.get("controls"):
            offered = _controls(run, recipe, archive)
            controls = [_remembered(control, archive.table, run.path / "controls") for control, _ in offered]
        return _report(run, archive, manifest, _evaluation(run, recipe, archive, controls))


def _controls(run: RunFolder, recipe: Any, archive: Archive) -> list[tuple[Control, Runner]]:
    return workflow_of(run.pipeline).controls(recipe, archive, lambda name: _refit(run, recipe, archive, name))


def _evaluation(run: RunFolder, recipe: Any, archive: Archive, controls: list[ControlRun]) -> Evaluation:
    return evaluate(Predictions.read(run.path / "predictions.parquet"), archive.table, recipe.evaluate,
                    validation=Predictions.read(run.path / "validation.parquet"), controls=controls,
                    note=notes_of(archive, recipe), seed=recipe.split.seed,
                    not_measured=workflow_of(run.pipeline).not_measured(recipe, archive))


def _refit(run: RunFolder, recipe: Any, archive: Archive, name: str) -> Refit:
    if recipe.evaluate.control_epochs:
        train = recipe.train.model_copy(update={"epochs": recipe.evaluate.control_epochs})
        recipe = recipe.model_copy(update={"train": train})
    return Refit(run.pipeline, recipe, archive.records, run.path / "controls" / name)


def _kept(control: Control, runner: Runner, folder: Path) -> Runner:
    """The runner with its outcome kept in ``folder``: run once, read afterwards."""

    def run(table: SampleTable, manifest: SplitManifest) -> Outcome:
        found = _remembered(control, table, folder).outcome
        if found is not None:
            return found
        try:
            outcome = runner(table, manifest)
        except InputError as error:
            write_json(folder / f"{control.name}.json", {"table": table.fingerprint, "why_not": str(error)})
            raise
        outcome.table.write(folder / f"{control.name}.samples.parquet")
        outcome.predictions.write(folder / f"{control.name}.parquet")
        # The only other truth a control is scored against is the run's own.
        write_json(folder / f"{control.name}.json", {"table": table.fingerprint, "also": list(outcome.also)})
        return outcome

    return run


def _remembered(control: Control, table: SampleTable, folder: Path) -> ControlRun:
    path = folder / f"{control.name}.json"
    if not path.exists():
        return ControlRun(control, None, "it was not run when the run was evaluated")
    facts = read_json(path)
    if "why_not" in facts or facts["table"] != table.fingerprint:
        return ControlRun(control, None, facts.get("why_not", "it was run on other samples"))
    outcome = Outcome(Predictions.read(folder / f"{control.name}.parquet"),
                      SampleTable.read(folder / f"{control.name}.samples.parquet"),
                      dict.fromkeys(facts["also"], table))
    return ControlRun(control, outcome)


def _logs(run: RunFolder, manifest: SplitManifest) -> dict[str, Path]:
    return {f"fold {k + 1}" if manifest.folds > 1 else "fit": run.fold_path(k) / "logs" / "epochs.csv"
            for k in range(manifest.folds)}


def _report(run: RunFolder, archive: Archive, manifest: SplitManifest, evaluation: Evaluation) -> Path:
    pipeline = get_pipeline(run.pipeline)
    recipe = run.recipe(pipeline.recipe_class())
    return write_report(run.path, ReportContext(
        title=pipeline.title, evaluation=evaluation, manifest=manifest,
        recipe_yaml=run.recipe_path.read_text(encoding="utf-8"), provenance=read_json(run.path / "provenance.json"),
        logs=_logs(run, manifest), pictures=workflow_of(run.pipeline).pictures(recipe, archive, evaluation),
        subtitle=f"Run {run.path.name}: {len(archive.table)} samples in "
                 f"{archive.table.column('group').nunique()} groups."))
