"""marine: the task of a run: a detector of the recipe's kind, with the weights it is to start from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundswell.core.errors import InputError
from groundswell.core.run import RunFolder
from groundswell.data.table import SampleTable
from groundswell.pipelines.archive import Archive, load_archive
from groundswell.pipelines.marine.detector import Arrival, load_start
from groundswell.pipelines.marine.engines import build_detector
from groundswell.pipelines.marine.engines.user_weights import read_user_weights
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.labels import ClassMap, class_map
from groundswell.pipelines.marine.moco.pretrained import FILE as PRETRAINED
from groundswell.pipelines.marine.moco.pretrained import Pretrained, held_out
from groundswell.pipelines.marine.prepare.preparing import recipe_of
from groundswell.pipelines.marine.prepare.recipe import PrepareRecipe
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.marine.sampling import class_weights_of
from groundswell.pipelines.marine.task import DetectionTask
from groundswell.pipelines.workflow import usable_rows, workflow_of
from groundswell.splits.manifest import TRAIN, SplitManifest
from groundswell.train.weights import BEST, read_weights

Kind = Literal["backbone", "detector"]


def build_task(recipe: MarineRecipe, archive: Archive, told: ClassMap, images: ImageSet,
               rows: NDArray[np.int64]) -> DetectionTask:
    """A task with first weights by chance, or those of ``model.start``; class weights are of the training rows."""
    engine = build_detector(recipe.model.engine, recipe.model.name, len(told.names))
    start = archive.records[0]["start"]
    # What a run started from may be gone by the time that it goes on from a checkpoint.
    if start and Path(start).exists():
        state, kind = start_of(Path(start), recipe, archive.table, rows)
        load_start(engine, state, kind=kind)
    weights = class_weights_of(recipe, images, told, archive.table, rows)
    return DetectionTask(engine, classes=told.names, size=recipe.data.size, augment=recipe.augment,
                         detect=recipe.detect, average=recipe.model.average,
                         class_weights=None if weights is None else torch.from_numpy(weights),
                         epochs=recipe.train.epochs, facts=facts_of(recipe, archive, told))


def facts_of(recipe: MarineRecipe, archive: Archive, told: ClassMap) -> dict[str, Any]:
    """What a user of an exported file needs beside it."""
    correction = recipe_of(archive.records[0]["preparation"]) or (PrepareRecipe() if recipe.data.prepare else None)
    return {"pipeline": "marine", "model": recipe.model.name, "engine": recipe.model.engine,
            "classes": list(told.names), "species": [int(number) for number in told.species],
            "priority": list(told.priority), "size": recipe.data.size, "iou": recipe.detect.iou,
            "most": recipe.detect.most, "confidence": recipe.detect.confidence,
            "prepare": correction is not None, "correction": correction.model_dump(mode="json") if correction else None,
            "simulated": bool(archive.table.origin.get("simulated"))}


def start_of(path: Path, recipe: MarineRecipe, table: SampleTable | None = None,
             rows: NDArray[np.int64] | None = None) -> tuple[Mapping[str, Tensor], Kind]:
    """The engine's weights that a pretraining, a run or a file holds, and how far they go.

    Args:
        path: of the pretraining, the run or the file.
        recipe: of the detector.
        table, rows: what the detector learns from; with them a pretraining or a run is seen to know nothing of the
            other rows, and of several folds the one that does not is taken.

    Raises:
        InputError: there are none, they are another network's, or they know what the detector is judged by.
    """
    if path.is_file():
        found = read_user_weights(path)
        return DetectionTask.engine_state(found) or found, "detector"  # of `groundswell export --to weights`, or not
    if (path / PRETRAINED).is_file():
        learnt = Pretrained.open(path)
        if (learnt.engine, learnt.name) != (recipe.model.engine, recipe.model.name):
            raise InputError(f"The pretraining is of {learnt.name}, and the recipe has {recipe.model.name}", where=path,
                             fix="Pretrain the detector's own backbone")
        fold = learnt.fold_for(table, rows) if table is not None and rows is not None else 0
        return learnt.state(fold), "backbone"
    run = RunFolder.open(path)
    theirs = run.recipe(MarineRecipe)
    if (theirs.model.engine, theirs.model.name) != (recipe.model.engine, recipe.model.name):
        raise InputError(f"The run is of {theirs.model.name}, and the recipe has {recipe.model.name}", where=path,
                         fix="Start from a run of the same detector")
    # A leak that the recipe allows stands beside every number.
    judged = table is not None and rows is not None and not recipe.split.allow_leakage
    fold = _fold_for(run, table, rows) if judged and table is not None and rows is not None else 0
    if not (run.fold_path(fold) / BEST).exists():
        raise InputError("The run to start from is not trained yet", where=path,
                         fix=f"Go on with: groundswell resume {path}")
    tensors, _ = read_weights(run.fold_path(fold) / BEST)
    return DetectionTask.engine_state(tensors), "detector"


def _fold_for(run: RunFolder, table: SampleTable, rows: NDArray[np.int64]) -> int:
    """The fold of a run that learnt from no image, and of no clip, that a detector learning from ``rows`` is judged by.

    Raises:
        InputError: there is none.
    """
    theirs = load_archive(run.path).table
    manifest, clip, content = SplitManifest.read(run.path, theirs), theirs.column("group"), theirs.column("content")
    for fold in range(manifest.folds):
        learnt = usable_rows(workflow_of("marine"), theirs, manifest, TRAIN, fold)
        if not held_out(clip.iloc[learnt], content.iloc[learnt], table, rows).any():
            return fold
    raise InputError("The run to start from learnt from images of clips that this detector is judged by",
                     where=run.path, fix="Train with the same images and the same split.* keys, or start from chance")


def check_start(recipe: MarineRecipe, told: ClassMap | None = None) -> Arrival | None:
    """See that the weights to start from are there and fit; what would arrive, ``None`` where there are none.

    Args:
        recipe: of the detector.
        told: what it is to tell apart; None: what the recipe's images have.

    Raises:
        InputError: they are missing or another network's.
    """
    if not recipe.model.start:
        return None
    path = Path(recipe.model.start)
    if not path.exists():
        raise InputError("The weights to start from are not there", where=f"model.start: {path}",
                         fix="Name the folder of a pretraining or a run, or a .pth file")
    state, kind = start_of(path, recipe)
    told = told or class_map(ImageSet.open(recipe.data.images), recipe.data.classes)
    return load_start(build_detector(recipe.model.engine, recipe.model.name, len(told.names)), state, kind=kind)
