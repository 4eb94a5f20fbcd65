"""A detector that starts from a run: the run has not learnt from anything that the detector is judged by."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from marine_sets import small_set

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.core.run import RunFolder
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.workflow import FoldSetup, load_task, start_run, workflow_of
from groundswell.splits.manifest import TRAIN
from groundswell.train.weights import BEST, read_weights, write_weights

FOLDS = {"regime": "kfold", "folds": 2}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return small_set(tmp_path_factory.mktemp("starts") / "images", clips=8, frames=3)


def recipe_of(images: ImageSet, start: Path | str = "", **split: Any) -> MarineRecipe:
    return build_recipe(MarineRecipe, {
        "data": {"images": str(images.path), "size": 64}, "loader": {"threads": 1},
        "model": {"name": "rtdetrv2_nano", "average": 0.0, "start": str(start)},
        "train": {"batch_size": 4, "threads": 1, "accelerator": "cpu"}, "evaluate": {"controls": []},
        "split": {"validation": 0.25, "test": 0.25, **split}})


def run_of(recipe: MarineRecipe, folder: Path) -> RunFolder:
    """A run as if it was trained: the weights of each fold are another number."""
    run, workflow = start_run("marine", recipe, folder), workflow_of("marine")
    archive = workflow.open(recipe)
    manifest = workflow.divide(recipe, archive)
    task: Any = workflow.task(recipe, archive, manifest.rows(TRAIN))
    for fold in range(manifest.folds):
        told = {name: torch.full_like(value, fold + 1) for name, value in task.state_dict().items()}
        write_weights(run.fold_path(fold) / BEST, told, {})
    return run


def started(recipe: MarineRecipe, fold: int = 0) -> float:
    """The number that the fold's detector starts from."""
    workflow = workflow_of("marine")
    archive = workflow.open(recipe)
    task: Any = workflow.task(recipe, archive, workflow.divide(recipe, archive).rows(TRAIN, fold))
    values = np.unique(np.concatenate([value.numpy().ravel() for value in task.engine.state_dict().values()]))
    assert len(values) == 1
    return float(values[0])


def test_a_run_that_learnt_from_clips_the_detector_is_judged_by_is_refused(images: ImageSet, tmp_path: Path) -> None:
    first = run_of(recipe_of(images), tmp_path / "first")
    assert started(recipe_of(images, first.path)) == 1
    # Other clips are held out, of which the first run has learnt some.
    with pytest.raises(InputError, match="learnt from images of clips that this detector is judged by"):
        start_run("marine", recipe_of(images, first.path, seed=6), tmp_path / "second")
    assert not (tmp_path / "second").exists()
    assert started(recipe_of(images, first.path, seed=6, allow_leakage="it is to be seen what it is worth")) == 1


def test_clips_of_which_the_run_saw_other_images_are_not_judged_either(images: ImageSet, tmp_path: Path) -> None:
    first = run_of(recipe_of(images), tmp_path / "first")
    assert started(recipe_of(small_set(tmp_path / "same", clips=8, frames=3, seed=1), first.path)) == 1
    more = small_set(tmp_path / "more", clips=8, frames=3, seed=1)
    with pytest.raises(InputError, match="judged by"):
        started(recipe_of(more, first.path, seed=6))


def test_each_fold_starts_from_the_fold_that_did_not_learn_from_its_test(images: ImageSet, tmp_path: Path) -> None:
    first = run_of(recipe_of(images, **FOLDS), tmp_path / "first")
    assert [started(recipe_of(images, first.path, **FOLDS), fold) for fold in (0, 1)] == [1, 2]
    assert len(set(read_weights(first.fold_path(1) / BEST)[0])) > 50


def test_a_trained_run_asks_no_more_what_it_started_from(images: ImageSet, tmp_path: Path) -> None:
    first = run_of(recipe_of(images), tmp_path / "first")
    second = run_of(recipe_of(images, first.path), tmp_path / "second")
    shutil.rmtree(first.path)
    run_of(recipe_of(images, seed=6), tmp_path / "first")  # another one, which learnt from what the second is judged by
    task: Any = load_task(second.path, "marine", 0)[2]
    assert all(torch.equal(value, torch.ones_like(value)) for value in task.engine.state_dict().values())


def test_a_fit_does_not_begin_from_chance_where_its_start_is_gone(images: ImageSet, tmp_path: Path) -> None:
    first = run_of(recipe_of(images), tmp_path / "first")
    second = start_run("marine", recipe_of(images, first.path), tmp_path / "second")
    setup = FoldSetup("marine", second.path, 0)
    weights = setup(0, 1, torch.device("cpu")).task.state_dict()
    first.path.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"not there any more .*first"):
        setup(0, 1, torch.device("cpu"))
    (second.fold_path(0) / "checkpoints").mkdir(parents=True)
    (second.fold_path(0) / "checkpoints" / "step-00000001.ckpt").touch()
    assert setup(0, 1, torch.device("cpu")).task.state_dict().keys() == weights.keys()
