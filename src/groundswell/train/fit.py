"""train: fit, the loop that trains a task. A fit that was killed at any moment and resumed gives, on the CPU, the same
weights and logs to the byte as one that was not."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from groundswell.core.errors import InputError
from groundswell.core.files import FULL
from groundswell.core.progress import Progress, progress
from groundswell.core.seeds import derive_seed, seed_everything
from groundswell.train.checkpoint import CheckpointFolder, full_disk, read_checkpoint
from groundswell.train.launch import Stop, launch
from groundswell.train.logs import RunLogs, check_logs
from groundswell.train.recipe import TrainRecipe
from groundswell.train.setbacks import NotFiniteError, Setback, set_back
from groundswell.train.setup import MakeSetup
from groundswell.train.state import Place
from groundswell.train.training import Training
from groundswell.train.weights import BEST, load_best

__all__ = ["FitResult", "fit", "load_best"]


@dataclass(frozen=True)
class FitResult:
    """How a fit ended.

    Attributes:
        folder: of the fit.
        best: file with the best weights; :func:`load_best` reads it.
        best_epoch: the epoch (from 1) they are from.
        monitor: what they are best by.
        best_value: its value.
        metrics: of that epoch: ``train_`` and ``val_`` and the names of the task's metrics.
        epochs: finished epochs.
        steps: optimiser steps.
        stopped_early: whether early stopping ended it.
    """

    folder: Path
    best: Path
    best_epoch: int
    monitor: str
    best_value: float
    metrics: dict[str, float]
    epochs: int
    steps: int
    stopped_early: bool


@dataclass(frozen=True)
class _Job:
    setup: MakeSetup
    recipe: TrainRecipe
    folder: Path
    resume: bool | Path
    quiet: bool


def fit(setup: MakeSetup, recipe: TrainRecipe, folder: Path, *, resume: bool | Path = False,
        quiet: bool = False) -> FitResult:
    """Train a task.

    In ``folder`` there will be ``weights/best.safetensors``, ``checkpoints/``, ``logs/epochs.csv``, ``logs/steps.csv``
    (nothing of the clock in these two), ``logs/timing.csv`` and ``logs/tensorboard/``.

    Args:
        setup: gives each process its task and batches. With several devices it is pickled for each of them.
        recipe: how to train. Under torchrun ``devices`` must be the number of its processes.
        folder: made if need be.
        resume: go on from the last checkpoint, or begin if there is none yet; or from this checkpoint of the folder.
        quiet: no progress on stderr.

    Raises:
        InputError: the recipe, the data or the folder cannot be used; the checkpoint asked for is missing or damaged.
        FailureError: the loss is not finite, again and again; the disk is full; a process died.
        TrainingStopped: by SIGTERM, SIGUSR1 or Ctrl-C, after a checkpoint.
    """
    return launch(_train, _Job(setup, recipe, Path(folder).resolve(), resume, quiet), recipe)


def _train(fabric: Fabric, stop: Stop, job: _Job) -> FitResult:
    try:
        with ExitStack() as stack:
            checkpoints = _open_folder(job) if fabric.global_rank == 0 else None
            if checkpoints is not None:
                stack.callback(checkpoints.close)
            place = _trained(fabric, stop, job, checkpoints)
    except OSError as error:  # of a log; checkpoints and weights speak for themselves
        if error.errno not in FULL:
            raise
        raise full_disk(error, job.folder) from error
    return FitResult(job.folder, job.folder / BEST, place.best_epoch, job.recipe.monitor, place.best_value,
                     place.best_metrics, place.epoch, place.step, place.stopped_early)


def _trained(fabric: Fabric, stop: Stop, job: _Job, checkpoints: CheckpointFolder | None) -> Place:
    """Train to the end; where a step is not finite, begin again from the last checkpoint, as often as is allowed."""
    found = _try(fabric, stop, job, checkpoints, None)
    while isinstance(found, Setback):
        found = _try(fabric, stop, job, checkpoints, found)
    return found


def _try(fabric: Fabric, stop: Stop, job: _Job, checkpoints: CheckpointFolder | None,
         setback: Setback | None) -> Place | Setback:
    # A function of its own: what failed is let go of before the next try takes its memory.
    with ExitStack() as stack:
        seed_everything(derive_seed(job.recipe.seed, "initial"))
        parts = job.setup(fabric.global_rank, fabric.world_size, fabric.device)
        stack.callback(parts.train.close)
        stack.callback(parts.validation.close)
        training = Training(fabric, parts, job.recipe, job.folder, stop, checkpoints)
        _begin(training, job, stack, setback)
        try:
            _loop(training, job)
        except NotFiniteError as error:
            return set_back(training.place, error, job.recipe.nan_retries, training.setbacks)
        return training.place


def _loop(training: Training, job: _Job) -> None:
    """The whole of training: epochs of batches, each followed by a validation and a checkpoint."""
    place, recipe = training.place, job.recipe
    with progress(recipe.epochs * training.batches, "train", "batches", quiet=job.quiet or training.logs is None,
                  done=place.epoch * training.batches + place.batch) as bar:
        while not place.finished:
            started = time.monotonic()
            if place.batch < training.batches:
                for index, batch in enumerate(training.parts.train.iterate(place.epoch, place.batch), place.batch):
                    training.batch(index, batch)
                    training.save_if_due()
                    bar.advance()
            trained = time.monotonic()
            metrics = training.validate()
            training.end_epoch(metrics, trained - started, time.monotonic() - trained)
            _note(bar, training, metrics)
            if not place.finished:
                training.stop_if_asked()


def _begin(training: Training, job: _Job, stack: ExitStack, setback: Setback | None) -> None:
    """Find out early what cannot work, then go to where an earlier process, or this one, left off."""
    training.monitored(training.validate(most=1))
    checkpoints = training.checkpoints
    path = None
    if setback is not None:
        path = training.fabric.broadcast(checkpoints.latest() if checkpoints else None)
    elif job.resume:
        path = job.resume if isinstance(job.resume, Path) else checkpoints.latest() if checkpoints else None
        path = training.fabric.broadcast(path)
    state = read_checkpoint(path) if path else None
    if state is not None and path is not None:
        training.restore(state, path)
    if checkpoints is not None:
        _open_logs(training, checkpoints, state, path, stack)
    known = [line["row"] for line in training.logs.quarantine.lines()] if training.logs is not None else []
    training.quarantine.known = set(training.fabric.broadcast(known))
    if setback is not None:
        training.go_back(setback)
    training.stop_if_asked()


def _open_logs(training: Training, checkpoints: CheckpointFolder, state: dict[str, Any] | None, path: Path | None,
               stack: ExitStack) -> None:
    """In the process that writes: what lies after the checkpoint at ``path`` is taken back."""
    recipe = training.recipe
    checkpoints.check_space(training.state(), recipe.epochs)
    folder, lengths = training.folder / "logs", state["logs"] if state else {}
    check_logs(folder, lengths, state.get("log_crc32", {}) if state else {})  # before anything is taken back
    checkpoints.forget_after(path)
    training.logs = RunLogs(folder, lengths, epochs=training.place.epoch, step=training.place.step,
                            tensorboard=recipe.tensorboard)
    stack.callback(training.logs.close)
    training.write_best()
    training.settle_best()


def _open_folder(job: _Job) -> CheckpointFolder:
    folder = job.folder / "checkpoints"
    if isinstance(job.resume, Path) and job.resume.resolve().parent != folder:
        raise InputError("Only a checkpoint of the folder that is trained in can be resumed", where=job.resume,
                         fix=f"Name one of {folder}")
    checkpoints = CheckpointFolder(folder, keep=job.recipe.keep, every=job.recipe.checkpoint_every, report=_say)
    for left in (job.folder / BEST).parent.glob(".*.part*"):  # of a process that was killed while writing
        left.unlink()
    if not job.resume and (checkpoints.paths() or (job.folder / "logs" / "steps.csv").exists()):
        checkpoints.close()
        raise InputError("Something was trained in this folder already", where=job.folder,
                         fix="Resume it, or choose another folder")
    return checkpoints


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _note(bar: Progress, training: Training, metrics: dict[str, float]) -> None:
    monitor = training.recipe.monitor
    shown = {"val_loss": metrics["loss"], monitor: training.monitored(metrics)}
    bar.note(f"epoch {training.place.epoch}/{training.recipe.epochs}, "
             + ", ".join(f"{name} {value:.4g}" for name, value in shown.items()))
