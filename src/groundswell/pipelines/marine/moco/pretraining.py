"""marine: pretraining as one call: MoCo v3 on what the detector is not judged by. The same call begins and resumes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path, read_json, write_json, write_text
from groundswell.core.progress import say
from groundswell.core.provenance import provenance
from groundswell.core.recipe import dump_recipe, load_recipe
from groundswell.core.run import RunFolder
from groundswell.core.seeds import derive_seed
from groundswell.data.loader import Loader
from groundswell.data.order import Order
from groundswell.pipelines.marine.detector import state_hash
from groundswell.pipelines.marine.engines import build_detector
from groundswell.pipelines.marine.moco.learnt import Learnt, learnt_from
from groundswell.pipelines.marine.moco.pretrained import LEARNT, WEIGHTS, Pretrained
from groundswell.pipelines.marine.moco.task import MocoTask
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.marine.source import DetectionSource
from groundswell.train.fit import FitResult, fit, load_best
from groundswell.train.launch import check_devices
from groundswell.train.recipe import TrainRecipe
from groundswell.train.setup import Setup
from groundswell.train.weights import write_weights

RECIPE = "pretrain.yaml"
RESULT = "pretraining.json"
ZOOM = 2
"""Edge of what is read over that of a view: a view of a quarter of an image still has its pixels."""
CHECKED = 256
"""Images, of those that are learnt from, whose fixed views are looked at after each epoch. Nothing is chosen by it."""
_FROM_TRAIN = ("seed", "devices", "accelerator", "precision", "threads", "clip_norm", "checkpoint_every",
               "checkpoint_epochs", "checkpoint_every_steps", "keep", "tensorboard")
_FREE = {("loader", "threads"), ("loader", "prefetch_batches"), ("train", "threads")}
"""Keys that may change when a pretraining is gone on with."""


def pretrain(recipe: MarineRecipe, out: Path, *, quiet: bool = False) -> list[str]:
    """Pretrain the backbone of the recipe's detector on images alone; boxes are not looked at.

    Images of clips that the same recipe's detector is validated or tested on are left out, by the same split. ``out``
    holds ``pretrain.yaml``, ``images.parquet`` (what each fold learnt from), a folder for each fold of the split (one,
    but for folds of every clip), in it ``weights/backbone.safetensors``, ``pretraining.json``, and ``pretrained.json``,
    by which detectors know it (``model.start``).

    Args:
        recipe: ``pretrain`` says what is learnt, how long and how fast; of ``train`` the seed, the devices and the
            checkpoints are taken.
        out: folder; absent, empty, or begun with the same recipe.
        quiet: no progress on stderr.

    Returns:
        what was found, in sentences.

    Raises:
        InputError: the images, the recipe or the folder cannot be used.
        MissingExtraError: the extra marine is not installed, or that of the engine.
    """
    run = RunFolder(Path(out).resolve())
    learnt = learnt_from(recipe)
    if not (run.path / RECIPE).exists():
        _begin(run, recipe, learnt)
    _check_same(run, recipe, learnt)
    with run.lock():
        if not (run.path / RESULT).exists():
            fitted = [fit(PretrainSetup(recipe, fold), training_of(recipe, learnt, fold), run.fold_path(fold),
                          resume=True, quiet=quiet) for fold in range(len(learnt.folds))]
            pretrained = _keep(run, recipe, learnt)
            write_json(run.path / RESULT, {"sentences": _sentences(recipe, learnt, pretrained, fitted),
                                           "folds": [result.metrics for result in fitted]})
            pretrained.write()  # last: its presence is what makes the pretraining a finished one
        elif not (run.path / "pretrained.json").exists():
            _keep(run, recipe, learnt).write()
    return list(read_json(run.path / RESULT)["sentences"])


def training_of(recipe: MarineRecipe, learnt: Learnt, fold: int) -> TrainRecipe:
    """How the backbone is trained: AdamW along a cosine to the end, whose weights are kept."""
    own, taken = recipe.pretrain, {name: getattr(recipe.train, name) for name in _FROM_TRAIN}
    return TrainRecipe(**taken, epochs=own.epochs, batch_size=min(own.batch_size, len(learnt.folds[fold])),
                       learning_rate=own.learning_rate, weight_decay=own.weight_decay, scheduler="cosine",
                       warmup_epochs=min(own.warmup_epochs, own.epochs / 4), early_stopping_patience=0,
                       monitor="val_steps", use_class_weights=False)


@dataclass(frozen=True)
class PretrainSetup:
    """Builds one process's share of one fold's fit. Can be pickled."""

    recipe: MarineRecipe
    fold: int

    def __call__(self, rank: int, world: int, device: torch.device) -> Setup:
        """Task and loaders of process ``rank`` of ``world``."""
        recipe, learnt = self.recipe, learnt_from(self.recipe)
        train, rows = training_of(recipe, learnt, self.fold), learnt.folds[self.fold]
        some = rows[np.unique(np.linspace(0, len(rows) - 1, min(CHECKED, len(rows))).astype(np.int64))]

        def load(chosen: NDArray[np.int64], shuffle: bool) -> Loader:
            order = Order(chosen, train.batch_size, train.seed, shuffle=shuffle, rank=rank, world=world)
            return Loader(source_of(recipe, learnt), order, {}, device=device, threads=recipe.loader.threads,
                          prefetch_batches=recipe.loader.prefetch_batches, workers=recipe.loader.workers)

        batches = load(rows, True)
        return Setup(make_task(recipe, train.epochs * batches.batches), batches, load(some, False))


def source_of(recipe: MarineRecipe, learnt: Learnt) -> DetectionSource:
    """Images in squares of twice a view's edge, prepared as the detector's are; their boxes are delivered unused."""
    return DetectionSource(learnt.images, learnt.table, size=ZOOM * recipe.pretrain.size, prepare=recipe.data.prepare)


def make_task(recipe: MarineRecipe, steps: int) -> MocoTask:
    """A freshly initialised task; its first weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(recipe.train.seed, "weights"))
        return MocoTask(build_detector(recipe.model.engine, recipe.model.name, 1), recipe.pretrain, steps)


def _begin(run: RunFolder, recipe: MarineRecipe, learnt: Learnt) -> None:
    RunFolder.check_free(run.path)
    check_devices(recipe.train)
    make_task(recipe, 1)
    try:
        with atomic_path(run.path / LEARNT) as temporary:
            learnt.frame().to_parquet(temporary, index=False)
        if learnt.labelled is not None:
            learnt.labelled[0].write(run.path / "samples.parquet")
            learnt.labelled[1].write(run.path)
        write_json(run.path / "provenance.json", provenance(table=learnt.table.fingerprint,
                                                            origin=learnt.table.origin))
        write_text(run.path / RECIPE, dump_recipe(recipe))  # last: its presence is what makes the folder a pretraining
    except BaseException:
        run.remove()
        raise
    few = len(learnt.folds[0])
    if few < recipe.pretrain.min_images:
        say(f"{few} images are fewer than pretrain.min_images={recipe.pretrain.min_images}: it may not help")


def _check_same(run: RunFolder, recipe: MarineRecipe, learnt: Learnt) -> None:
    before, now = load_recipe(MarineRecipe, run.path / RECIPE).model_dump(mode="json"), recipe.model_dump(mode="json")
    changed = [f"{part}.{key} was {before[part][key]!r} and is {now[part][key]!r}"
               for part, keys in {"data": now["data"], "model": ("engine", "name"), "pretrain": now["pretrain"],
                                  "split": now["split"], "train": _FROM_TRAIN, "loader": now["loader"]}.items()
               for key in keys if (part, key) not in _FREE and before[part].get(key) != now[part][key]]
    if not changed and not pd.read_parquet(run.path / LEARNT).equals(learnt.frame()):
        changed = ["the images, or the clips that the detector is judged by, have changed"]
    if changed:
        raise InputError(f"The pretraining in this folder has another recipe: {'; '.join(changed)}", where=run.path,
                         fix="Go on with the recipe it was begun with, or choose another folder with --out")


def _keep(run: RunFolder, recipe: MarineRecipe, learnt: Learnt) -> Pretrained:
    """Write each fold's backbone on its own."""
    hashes, keys = [], 0
    for fold in range(len(learnt.folds)):
        task = make_task(recipe, 1)
        load_best(task, run.fold_path(fold))
        state = task.backbone_state()
        hashes.append(state_hash(state.items()))
        keys = len(state)
        write_weights(run.fold_path(fold) / WEIGHTS, state, {
            "engine": recipe.model.engine, "name": recipe.model.name, "hash": hashes[-1]})
    note: dict[str, bool | str] = {"simulated": True} if learnt.images.simulated else {}
    note |= {"allow_leakage": recipe.split.allow_leakage} if recipe.split.allow_leakage else {}
    return Pretrained(run.path, recipe.model.engine, recipe.model.name, keys, tuple(hashes), note)


def _sentences(recipe: MarineRecipe, learnt: Learnt, pretrained: Pretrained, fitted: list[FitResult]) -> list[str]:
    images, clips = learnt.left_out()
    few, batch = len(learnt.folds[0]), training_of(recipe, learnt, 0).batch_size * recipe.train.devices

    def share(name: str) -> str:
        return f"{100 * math.fsum(result.metrics[name] for result in fitted) / len(fitted):.0f} %"

    many = f" Of {len(fitted)} folds, each with a backbone of its own, this is the first." if len(fitted) > 1 else ""
    lines = [f"The backbone of {recipe.model.name} ({pretrained.keys} entries of its state dict) learnt from {few} "
             f"images without boxes for {recipe.pretrain.epochs} epochs.{many}"]
    if learnt.labelled is None:
        lines.append("No image is annotated yet, so none could be left out: judge detectors that start from it by "
                     "clips that it has not seen.")
    else:
        lines.append(f"{images} images of {clips} clips that the detector of the same recipe is validated or tested "
                     "on were left out: nothing of them reached the backbone.")
    spread = math.fsum(result.metrics["val_spread"] for result in fitted) / len(fitted)
    lines.append(f"In the last epoch {share('train_right')} of views had their partner nearest of a batch of {batch}, "
                 f"and {share('val_right')} of fixed views; the vectors' spread is {spread:.2f} (0: collapsed, 1: "
                 "everywhere).")
    if few < recipe.pretrain.min_images:
        lines.append(f"Images are fewer than the {recipe.pretrain.min_images} of pretrain.min_images, so that it may "
                     "not help: compare with a detector that starts from chance.")
    if learnt.images.simulated:
        lines.append("The images are simulated: this shows that the method works, and nothing of real animals.")
    return lines
