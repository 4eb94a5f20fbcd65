"""pipelines: the chain that every pipeline's runs go through, from a recipe to predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import write_text
from groundswell.core.progress import progress, say
from groundswell.core.provenance import provenance
from groundswell.core.recipe import RecipePart, dump_recipe
from groundswell.core.registry import get_pipeline
from groundswell.core.run import RunFolder
from groundswell.data.loader import Loader
from groundswell.data.predictions import Predictions, PredictionTable
from groundswell.data.source import Source
from groundswell.data.table import SampleTable
from groundswell.evaluate.controls import Control, ControlRun, Fit, Runner
from groundswell.evaluate.evaluation import Judged, evaluate
from groundswell.evaluate.report import Picture, ReportContext, write_report
from groundswell.pipelines.archive import Archive, check_recipe, crc_of, load_archive, save_archive
from groundswell.pipelines.loading import (
    TRAINING_SHARE,
    order_facts,
    place_in,
    plain_loader,
    pool_in_words,
    refuse_read_once,
    small_loader,
    training_loader,
)
from groundswell.splits.audit import require_clean
from groundswell.splits.make import make_split
from groundswell.splits.manifest import TEST, TRAIN, VALIDATION, SplitManifest
from groundswell.train.executors import run_tasks
from groundswell.train.fit import fit, load_best
from groundswell.train.launch import check_devices
from groundswell.train.quarantine import BadSamples, Quarantine
from groundswell.train.setup import Setup
from groundswell.train.signals import answered
from groundswell.train.task import Task, check_monitor


class Workflow(ABC):
    """What a pipeline tells the chain. Everything else, from folds to reports, is the same for all."""

    name: str
    skip_single: bool = False
    """Whether a batch of a single sample teaches nothing (batch normalisation has no statistics of one)."""
    predictions: type[PredictionTable] = Predictions
    """The form of what is predicted: class probabilities, waveforms."""

    @abstractmethod
    def open(self, recipe: Any) -> Archive:
        """Find the data that the recipe names, labels joined.

        Raises:
            InputError: it cannot be trained on.
        """

    @abstractmethod
    def source(self, recipe: Any, archive: Archive, *, training: bool) -> Source:
        """A source over all rows of the archive's table."""

    @abstractmethod
    def task(self, recipe: Any, archive: Archive, rows: NDArray[np.int64]) -> Task:
        """A freshly initialised task; class weights and the like come from the training ``rows`` alone."""

    def check_begin(self, archive: Archive) -> None:
        """See that a fit of which nothing is there yet finds all that it is to begin with.

        Raises:
            InputError: it does not; the message names what is missing.
        """
        return

    def trained(self, archive: Archive) -> Archive:
        """The archive for a task whose weights are known: without what they were once to start from, which may be gone
        or another one by now."""
        return archive

    @abstractmethod
    def controls(self, recipe: Any, archive: Archive, fit_of: Callable[[str], Fit]) -> list[tuple[Control, Runner]]:
        """The null controls and rivals that the recipe names.

        Args:
            recipe: of the run.
            archive: of the run.
            fit_of: gives the fit that the control of that name is to use; each keeps its own folder.
        """

    def usable(self, table: SampleTable, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the rows that can teach and be scored: where classes are learnt, those that have a label."""
        return rows[table.labels()[rows] >= 0]

    def read_once(self, recipe: Any, archive: Archive) -> bool:
        """Whether samples share enough of what is read for them to be read in blocks of neighbours, in an order that
        keeps these near one another. A matter of recipe and archive alone, so that the order is the same everywhere.

        Raises:
            InputError: the recipe insists on it, and it cannot be done.
        """
        return refuse_read_once(recipe, f"those of {self.name} have nothing in common")

    def repeats(self, recipe: Any, archive: Archive, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """How often an epoch of training sees each of its ``rows``; ``None`` for once."""
        return None

    def predict(self, recipe: Any, archive: Archive, task: Task, rows: NDArray[np.int64], *, fold: int = -1,
                member: str = "model", device: torch.device | str = "cpu") -> PredictionTable:
        """Predict the samples at ``rows`` of the archive's table, in their order."""
        return predict_rows(self, recipe, archive, task, rows, fold=fold, member=member, device=device)

    def evaluate(self, recipe: Any, archive: Archive, manifest: SplitManifest, predictions: Any, validation: Any,
                 controls: Sequence[ControlRun]) -> Judged:
        """Judge the run's test predictions beside those of its controls."""
        return evaluate(predictions, archive.table, recipe.evaluate, validation=validation, controls=controls,
                        note=notes_of(archive, recipe), seed=recipe.split.seed,
                        not_measured=self.not_measured(recipe, archive), manifest=manifest)

    def report(self, folder: Path, context: ReportContext) -> Path:
        """Write the page of an evaluation; its path."""
        return write_report(folder, context)

    def divide(self, recipe: Any, archive: Archive) -> SplitManifest:
        """The archive's samples divided as the recipe says; see :func:`groundswell.splits.make.make_split`."""
        return make_split(archive.table, recipe.split)

    def check_unchanged(self, archive: Archive) -> None:
        """See that what the archive was made of is still there as it was.

        Raises:
            InputError: it is not; the message names the file.
        """
        return

    def pictures(self, recipe: Any, archive: Archive, evaluation: Any) -> list[Picture]:
        """Example samples for the report."""
        return []

    def not_measured(self, recipe: Any, archive: Archive) -> list[str]:
        """What nobody should read into the numbers, in sentences."""
        return []

    @abstractmethod
    def small(self, folder: Path, seed: int) -> Any:
        """Simulate a few samples below ``folder`` and return a recipe that trains on them for two epochs in seconds.

        It is what the conformance suite runs over every pipeline.
        """

    @abstractmethod
    def export(self, run: RunFolder, path: Path, folds: Sequence[int]) -> dict[str, Any]:
        """Write the run's model (averaged over ``folds``, from 0) to ``path``; the facts of its parity gate.

        Raises:
            RefusedError: the file disagrees with the network; nothing was written.
        """


def workflow_of(name: str) -> Workflow:
    """The workflow of the pipeline called ``name``."""
    found: Workflow = get_pipeline(name).workflow()
    return found


def labelled_rows(table: SampleTable, manifest: SplitManifest, part: int, fold: int) -> NDArray[np.int64]:
    """Rows of one part that have a label."""
    rows = manifest.rows(part, fold)
    return rows[table.labels()[rows] >= 0]


def usable_rows(workflow: Workflow, table: SampleTable, manifest: SplitManifest, part: int,
                fold: int) -> NDArray[np.int64]:
    """Rows of one part that the pipeline can use; the others teach nothing and cannot be scored."""
    return workflow.usable(table, manifest.rows(part, fold))


@dataclass(frozen=True)
class FoldSetup:
    """Builds one process's share of one fold's fit from what lies in the fit's folder (so that it can be pickled)."""

    pipeline: str
    folder: Path
    fold: int

    def __call__(self, rank: int, world: int, device: torch.device) -> Setup:
        """Task and loaders of process ``rank`` of ``world``."""
        workflow = workflow_of(self.pipeline)
        recipe = RunFolder(self.folder).recipe(get_pipeline(self.pipeline).recipe_class())
        archive = load_archive(self.folder)
        if not any((RunFolder(self.folder).fold_path(self.fold) / "checkpoints").glob("*.ckpt")):
            workflow.check_begin(archive)
        manifest = SplitManifest.read(self.folder, archive.table)
        train_rows, validation_rows = (usable_rows(workflow, archive.table, manifest, part, self.fold)
                                       for part in (TRAIN, VALIDATION))
        task = workflow.task(recipe, archive, train_rows)
        loaders = (training_loader(workflow, recipe, archive, train_rows, device, rank=rank, world=world),
                   plain_loader(workflow, recipe, archive, validation_rows, device, rank=rank, world=world,
                                share=1 - TRAINING_SHARE))
        return Setup(task, *loaders, bad_samples(recipe, archive, *loaders), order_facts(workflow, recipe, archive))


def bad_samples(recipe: Any, archive: Archive, *loaders: Loader) -> BadSamples:
    """What the recipe says of samples that cannot be used, and how the archive names them."""
    def why(row: int) -> str:
        return next(filter(None, (loader.why_unread(row) for loader in loaders)), "")

    return BadSamples(recipe.loader.bad_windows, recipe.loader.bad_windows_most, partial(place_in, archive), why)


def predict_rows(workflow: Workflow, recipe: Any, archive: Archive, task: Task, rows: NDArray[np.int64], *,
                 fold: int = -1, member: str = "model", device: torch.device | str = "cpu") -> Predictions:
    """Predict the samples at ``rows`` of the archive's table, in their order; those that are skipped are left out."""
    loader = plain_loader(workflow, recipe, archive, rows, device)
    task = task.to(device).eval()
    quarantine = Quarantine(bad_samples(recipe, archive, loader))
    probability = np.zeros((len(rows), len(archive.table.classes)))
    kept = np.zeros(len(rows), np.int64)
    done = 0
    try:
        with torch.inference_mode():
            for batch in map(quarantine.look, loader.iterate(0)):
                real = batch["weight"] > 0
                part = task.predict(batch)["probability"][real].double().cpu().numpy()
                probability[done:done + len(part)] = part
                kept[done:done + len(part)] = batch["row"][real].cpu().numpy()
                done += len(part)
    finally:
        loader.close()
    quarantine.entries(quarantine.taken())
    probability, chosen = probability[:done], archive.table.take(kept[:done])
    return Predictions.of(chosen.column("sample_id").tolist(), chosen.labels(), probability, archive.table.classes,
                          member=member, fold=fold)


def load_task(folder: Path, pipeline: str, fold: int) -> tuple[Any, Archive, Task]:
    """Recipe, archive and trained task (best weights) of one fold of a fit."""
    workflow = workflow_of(pipeline)
    recipe = RunFolder(folder).recipe(get_pipeline(pipeline).recipe_class())
    check_recipe(RunFolder(folder), recipe)
    archive = load_archive(folder)
    manifest = SplitManifest.read(folder, archive.table)
    rows = usable_rows(workflow, archive.table, manifest, TRAIN, fold)
    task = workflow.task(recipe, workflow.trained(archive), rows)
    load_best(task, RunFolder(folder).fold_path(fold))
    return recipe, archive, task


def fit_fold(pipeline: str, folder: Path, fold: int, quiet: bool = False, checkpoint: Path | None = None) -> Path:
    """Fit (or finish) one fold, then predict its test and validation samples. Returns the fold's folder.

    ``checkpoint``, where it is one of this fold, is gone on from instead of the last one.
    """
    place = RunFolder(folder).fold_path(fold)
    named = checkpoint if checkpoint is not None and checkpoint.parent.parent == place.resolve() else None
    if named is not None and (place / "test.parquet").exists():
        raise InputError(f"Fold {fold + 1} is finished, and its checkpoints are of use no more", where=named,
                         fix="Train again, into another folder")
    if (place / "test.parquet").exists():
        return place
    recipe = RunFolder(folder).recipe(get_pipeline(pipeline).recipe_class())
    fit(FoldSetup(pipeline, folder, fold), recipe.train, place, resume=named or True, quiet=quiet)
    recipe, archive, task = load_task(folder, pipeline, fold)
    workflow, manifest = workflow_of(pipeline), SplitManifest.read(folder, archive.table)
    for part, name in ((VALIDATION, "validation"), (TEST, "test")):
        rows = usable_rows(workflow, archive.table, manifest, part, fold)
        predicted = workflow.predict(recipe, archive, task, rows, fold=fold, device=check_devices(recipe.train))
        predicted.write(place / f"{name}.parquet")
    return place


def folds_of(run: RunFolder, fold: int) -> list[int]:
    """Folds (from 0) meant by a number from the command line: one fold from 1, or all by 0.

    Raises:
        InputError: the run has no such fold, or it is not trained.
    """
    if not (run.path / "predictions.parquet").exists():
        raise InputError("The run is not trained yet", where=run.path, fix=f"Go on with: groundswell resume {run.path}")
    folds = SplitManifest.read(run.path, load_archive(run.path).table).folds
    if not 0 <= fold <= folds:
        raise InputError(f"The run has no fold {fold}", where=run.path, fix=f"It has folds 1 to {folds}; 0 takes all")
    return list(range(folds)) if fold == 0 else [fold - 1]


def fit_folds(pipeline: str, folder: Path, folds: int, *, at_once: int = 1, quiet: bool = False,
              checkpoint: Path | None = None) -> Any:
    """Fit every fold in ``folder`` that is not done yet; the pooled test predictions of all folds."""
    several = at_once > 1 and folds > 1
    tasks = {f"fold {k + 1}": (fit_fold, (pipeline, folder, k, quiet or several, checkpoint)) for k in range(folds)}
    with progress(folds, "fit", "folds", quiet=quiet or not several) as bar:
        run_tasks(tasks, engine="loky" if several else "inline", workers=at_once,
                  finished=lambda name, folder: bar.advance())
    form = workflow_of(pipeline).predictions
    for name in ("validation", "test"):
        parts = [form.read(RunFolder(folder).fold_path(k) / f"{name}.parquet") for k in range(folds)]
        pooled = form.concatenate(parts)
        pooled.write(folder / ("predictions.parquet" if name == "test" else "validation.parquet"))
    return pooled


def open_and_split(pipeline: str, recipe: Any) -> tuple[Archive, SplitManifest]:
    """The recipe's data and their division.

    Raises:
        InputError: the data cannot be used.
        RefusedError: the split leaks and the recipe does not allow it.
    """
    workflow = workflow_of(pipeline)
    archive = workflow.open(recipe)
    for name, reason in archive.table.origin.get("left_out", {}).items():
        say(f"Left out: {name}: {reason}")
    manifest = workflow.divide(recipe, archive)
    require_clean(manifest, recipe.split.allow_leakage)
    return archive, manifest


def start_run(pipeline: str, recipe: Any, out: Path,
              rehearsed: tuple[Archive, SplitManifest] | None = None) -> RunFolder:
    """Check everything, then make the run folder: archive, split with its audit, provenance.

    Args:
        pipeline: its name.
        recipe: of the run.
        out: folder of the run; empty or absent.
        rehearsed: what :func:`open_and_split` gave, where several runs share it and :func:`rehearse` has seen it.

    Raises:
        InputError: the data or the folder cannot be used; nothing was written.
        RefusedError: the split leaks and the recipe does not allow it.
    """
    RunFolder.check_free(out)
    with answered("before the run was begun; nothing was written", out, "Train again when there is time"):
        return _start_run(pipeline, recipe, out, rehearsed)


def _start_run(pipeline: str, recipe: Any, out: Path, rehearsed: tuple[Archive, SplitManifest] | None) -> RunFolder:
    workflow = workflow_of(pipeline)
    archive, manifest = rehearsed or open_and_split(pipeline, recipe)
    if rehearsed is None:
        rehearse(workflow, recipe, archive, manifest)
    facts = provenance(table=archive.table.fingerprint, records=crc_of(archive.records), origin=archive.table.origin)
    run = RunFolder.create(out, recipe, facts)
    try:
        save_archive(archive, run.path)
        manifest.write(run.path)
    except BaseException:
        run.remove()
        raise
    return run


def rehearse(workflow: Workflow, recipe: Any, archive: Archive, manifest: SplitManifest) -> Task:
    """See that the recipe's network, devices, controls and monitored metric fit the data, on one small batch.

    Returns:
        the task of the first fold, not trained.

    Raises:
        InputError: they do not; the message names the key.
    """
    check_devices(recipe.train)
    rows = usable_rows(workflow, archive.table, manifest, TRAIN, 0)
    task = workflow.task(recipe, archive, rows).eval()
    for fold in range(manifest.folds):
        workflow.repeats(recipe, archive, usable_rows(workflow, archive.table, manifest, TRAIN, fold))
    workflow.controls(recipe, archive, lambda name: Refit(workflow.name, recipe, archive.records, Path(name)))
    workflow.read_once(recipe, archive)
    loader = small_loader(workflow, recipe, archive, rows[:2])
    try:
        with torch.inference_mode():
            _, sums = task(next(iter(loader.iterate(0))))
    finally:
        loader.close()
    check_monitor(recipe.train.monitor, task.metrics(sums))
    return task


def plan_run(pipeline: str, recipe: Any, out: Path) -> list[str]:
    """What :func:`start_run` and :func:`train_run` would do, in sentences; writes nothing.

    Raises:
        InputError, RefusedError: as :func:`start_run` would.
    """
    workflow = workflow_of(pipeline)
    archive = workflow.open(recipe)
    manifest = workflow.divide(recipe, archive)
    train, validation, test = (usable_rows(workflow, archive.table, manifest, part, 0)
                               for part in (TRAIN, VALIDATION, TEST))
    parameters = sum(p.numel() for p in rehearse(workflow, recipe, archive, manifest).parameters())
    source = workflow.source(recipe, archive, training=True)
    sample_mib = sum(np.dtype(f.dtype).itemsize * int(np.prod(f.shape)) for f in source.fields.values()) / 2**20
    buffers = recipe.loader.prefetch_batches + 1
    lines = [
        f"Table: {len(archive.table)} samples in {archive.table.column('group').nunique()} groups.",
        f"Split: {manifest.regime}, {manifest.folds} fit(s); in the first, {len(train)} labelled samples train, "
        f"{len(validation)} validate, {len(test)} test.",
        *(f"Left out: {name}: {reason}" for name, reason in archive.table.origin.get("left_out", {}).items()),
        *manifest.audit.summary(),
        f"Network: {parameters:,} parameters.",
        f"Batches: {recipe.train.batch_size} samples of {sample_mib:.2f} MiB; the loader holds "
        f"{buffers * recipe.train.batch_size * sample_mib:.0f} MiB.",
        *pool_in_words(workflow, recipe, archive, train),
        f"Checkpoints: about {3 * 4 * parameters / 2**20:.0f} MiB each, {recipe.train.keep + 1} kept for each fit.",
        f"Would be written to {out}.",
    ]
    require_clean(manifest, recipe.split.allow_leakage)
    return lines


def train_run(run: RunFolder, *, quiet: bool = False, checkpoint: Path | None = None) -> Any:
    """Fit what is not fitted yet in ``run``: the same call starts and resumes.

    Args:
        run: begun by :func:`start_run`.
        quiet: no progress on stderr.
        checkpoint: of one of its folds, to go on from instead of the last one of that fold; what came after it is
            taken back.

    Raises:
        InputError: the run cannot be gone on with; the checkpoint is damaged, not the run's, or of a finished fold.
        TrainingStopped: by a signal, after a checkpoint.
    """
    if not (run.path / "split.json").exists():
        raise InputError("The run was interrupted before it had its split", where=run.path,
                         fix="Remove the folder and train again")
    recipe = run.recipe(get_pipeline(run.pipeline).recipe_class())
    check_recipe(run, recipe)
    later = answered("beside the training itself; what is finished is kept", run.path,
                     f"Go on with: groundswell resume {run.path}")
    with run.lock(), later:
        if run.status["state"] in ("trained", "evaluated"):
            if checkpoint is not None:
                raise InputError("The run is trained, and its checkpoints are of use no more", where=run.path,
                                 fix="Train again, into another folder")
            return workflow_of(run.pipeline).predictions.read(run.path / "predictions.parquet")
        archive = load_archive(run.path)
        workflow_of(run.pipeline).check_unchanged(archive)
        manifest = SplitManifest.read(run.path, archive.table)
        if checkpoint is not None:
            checkpoint = _of_a_fold(run, checkpoint, manifest.folds)
        run.set_status("training")
        pooled = fit_folds(run.pipeline, run.path, manifest.folds, at_once=recipe.train.folds_at_once, quiet=quiet,
                           checkpoint=checkpoint)
        run.set_status("trained")
    return pooled


def _of_a_fold(run: RunFolder, checkpoint: Path, folds: int) -> Path:
    """The checkpoint's whole path; refused where it is none of the run's."""
    path = checkpoint.resolve()
    places = [run.fold_path(k).resolve() / "checkpoints" for k in range(folds)]
    if path.parent not in places:
        raise InputError("This is no checkpoint of the run", where=checkpoint,
                         fix=f"Name one of {', '.join(map(str, places[:3]))}{' ...' if folds > 3 else ''}")
    return path


@dataclass(frozen=True)
class Refit:
    """Fits the run's own network to another table and split: what a control that learns is handed."""

    pipeline: str
    recipe: RecipePart
    records: list[dict[str, Any]]
    folder: Path

    def __call__(self, table: SampleTable, manifest: SplitManifest) -> Any:
        """Pooled test predictions; what is done already in ``folder`` is read, not done again."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "split.json").exists():
            write_text(self.folder / "recipe.yaml", dump_recipe(self.recipe))
            save_archive(Archive(table, self.records), self.folder)
            manifest.write(self.folder)
        train: Any = getattr(self.recipe, "train")  # noqa: B009 - every pipeline's recipe has one
        return fit_folds(self.pipeline, self.folder, manifest.folds, at_once=train.folds_at_once)


def notes_of(archive: Archive, recipe: Any) -> dict[str, Any]:
    """Facts that must stand beside every number of a run."""
    note = dict(archive.table.origin)
    if recipe.split.allow_leakage:
        note["allow_leakage"] = recipe.split.allow_leakage
    return note
