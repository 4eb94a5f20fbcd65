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
from groundswell.data.predictions import Predictions, PredictionTable
from groundswell.data.table import SampleTable
from groundswell.evaluate.controls import Control, ControlRun, Outcome, Runner, run_controls
from groundswell.evaluate.evaluation import Judged
from groundswell.evaluate.figures import write_history
from groundswell.evaluate.report import ReportContext
from groundswell.pipelines.archive import Archive, load_archive
from groundswell.pipelines.workflow import Refit, Workflow, workflow_of
from groundswell.splits.manifest import SplitManifest
from groundswell.train.signals import answered

_SIMULATED = "Simulated data: what follows was measured on samples that a program made, and says nothing of real ones."


@dataclass(frozen=True)
class Judgement:
    """What ``evaluate`` gives: the numbers, the sentences, the page."""

    metrics: dict[str, Any]
    text: str
    report: Path


def evaluate_run(run: RunFolder, *, with_controls: bool = True, quiet: bool = False) -> Judgement:
    """Score a trained run beside its controls and write metrics, figures and report into its folder.

    What a control has done already is kept: an interrupted evaluation goes on where it was.

    Raises:
        InputError: the run is not trained yet.
    """
    if not (run.path / "predictions.parquet").exists():
        raise InputError("The run is not trained yet: it has no predictions", where=run.path,
                         fix=f"Go on with: groundswell resume {run.path}")
    later = answered("in the evaluation; what is finished is kept", run.path,
                     f"Go on with: groundswell evaluate {run.path}")
    with run.lock(), later:
        case = _Case.open(run)
        workflow_of(run.pipeline).check_unchanged(case.archive)
        controls: list[ControlRun] = []
        if with_controls:
            keeping = [(control, case.kept(control, runner)) for control, runner in case.controls()]
            controls = run_controls(keeping, case.archive.table, case.manifest, *([] if quiet else [say]))
        evaluation = case.evaluation(controls)
        evaluation.write(run.path)
        write_history(case.logs(), run.path / "figures" / "training_history.png")
        report = case.report(evaluation)
        run.set_status("evaluated", controls=with_controls)
    note = evaluation.note
    told = [*([_SIMULATED] if note.get("simulated") else []), *evaluation.conclusion, *note.get("marks", [])]
    return Judgement(evaluation.to_dict(), "\n".join(told), report)


def write_run_report(run: RunFolder) -> Path:
    """Write the report again from what is in the run's folder; nothing is trained.

    Raises:
        InputError: the run has not been evaluated.
    """
    if run.status["state"] != "evaluated":
        raise InputError("The run has not been evaluated", where=run.path,
                         fix=f"Evaluate it with: groundswell evaluate {run.path}")
    with run.lock():
        case = _Case.open(run)
        controls: list[ControlRun] = []
        if run.status.get("controls"):
            controls = [remembered(control, case.archive.table, run.path / "controls", case.workflow.predictions)
                        for control, _ in case.controls()]
        return case.report(case.evaluation(controls))


@dataclass(frozen=True)
class _Case:
    """A trained run with everything that judging it looks at."""

    run: RunFolder
    recipe: Any
    archive: Archive
    manifest: SplitManifest

    @classmethod
    def open(cls, run: RunFolder) -> _Case:
        archive = load_archive(run.path)
        return cls(run, run.recipe(get_pipeline(run.pipeline).recipe_class()), archive,
                   SplitManifest.read(run.path, archive.table))

    @property
    def workflow(self) -> Workflow:
        return workflow_of(self.run.pipeline)

    def controls(self) -> list[tuple[Control, Runner]]:
        return self.workflow.controls(self.recipe, self.archive,
                                      lambda name: _refit(self.run, self.recipe, self.archive, name))

    def kept(self, control: Control, runner: Runner) -> Runner:
        return kept(control, runner, self.run.path / "controls", self.workflow.predictions)

    def evaluation(self, controls: list[ControlRun]) -> Judged:
        path, form = self.run.path, self.workflow.predictions
        return self.workflow.evaluate(self.recipe, self.archive, self.manifest, form.read(path / "predictions.parquet"),
                                      form.read(path / "validation.parquet"), controls)

    def logs(self) -> dict[str, Path]:
        folds = self.manifest.folds
        return {f"fold {k + 1}" if folds > 1 else "fit": self.run.fold_path(k) / "logs" / "epochs.csv"
                for k in range(folds)}

    def report(self, evaluation: Any) -> Path:
        run, table = self.run, self.archive.table
        return self.workflow.report(run.path, ReportContext(
            title=get_pipeline(run.pipeline).title, evaluation=evaluation, manifest=self.manifest,
            recipe_yaml=run.recipe_path.read_text(encoding="utf-8"),
            provenance={name: fact for name, fact in run.begun.items() if name != "recipe"}, logs=self.logs(),
            pictures=self.workflow.pictures(self.recipe, self.archive, evaluation),
            subtitle=f"Run {run.path.name}: {len(table)} samples in {table.column('group').nunique()} groups."))


def _refit(run: RunFolder, recipe: Any, archive: Archive, name: str) -> Refit:
    if recipe.evaluate.control_epochs:
        train = recipe.train.model_copy(update={"epochs": recipe.evaluate.control_epochs})
        recipe = recipe.model_copy(update={"train": train})
    return Refit(run.pipeline, recipe, archive.records, run.path / "controls" / name)


def kept(control: Control, runner: Runner, folder: Path, form: type[PredictionTable] = Predictions) -> Runner:
    """The runner with its outcome, or the reason why there is none, kept in ``folder``: run once, read afterwards."""

    def run(table: SampleTable, manifest: SplitManifest) -> Outcome:
        found = remembered(control, table, folder, form).outcome
        if found is not None:
            return found
        try:
            outcome = runner(table, manifest)
        except InputError as error:
            write_json(folder / f"{control.name}.json", {"table": table.fingerprint, "why_not": str(error)})
            raise
        keep(control, outcome, table, folder)
        return outcome

    return run


def keep(control: Control, outcome: Outcome, table: SampleTable, folder: Path) -> None:
    """Write a control's outcome, its facts last."""
    outcome.table.write(folder / f"{control.name}.samples.parquet")
    outcome.predictions.write(folder / f"{control.name}.parquet")
    # The only other truth a control is scored against is the run's own.
    write_json(folder / f"{control.name}.json", {"table": table.fingerprint, "also": list(outcome.also)})


def remembered(control: Control, table: SampleTable, folder: Path,
               form: type[PredictionTable] = Predictions) -> ControlRun:
    """What :func:`kept` left in ``folder``."""
    path = folder / f"{control.name}.json"
    if not path.exists():
        return ControlRun(control, None, "it was not run when the run was evaluated")
    facts = read_json(path)
    if "why_not" in facts or facts["table"] != table.fingerprint:
        return ControlRun(control, None, facts.get("why_not", "it was run on other samples"))
    outcome = Outcome(form.read(folder / f"{control.name}.parquet"),
                      SampleTable.read(folder / f"{control.name}.samples.parquet"),
                      dict.fromkeys(facts["also"], table))
    return ControlRun(control, outcome)
