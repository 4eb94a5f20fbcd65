"""Pretraining as one call: nothing of what a detector is judged by reaches the backbone, a killed one goes on exactly,
and the weights arrive in the detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from marine_sets import small_set

from groundswell.core.errors import FailureError, InputError
from groundswell.core.files import read_json
from groundswell.core.optional import available
from groundswell.core.recipe import build_recipe
from groundswell.data.loader import Loader
from groundswell.pipelines.marine.detector import backbone_hash, load_start
from groundswell.pipelines.marine.engines import build_detector
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.labels import class_map
from groundswell.pipelines.marine.moco import pretraining
from groundswell.pipelines.marine.moco.learnt import learnt_from
from groundswell.pipelines.marine.moco.pretrained import WEIGHTS, Pretrained, backbone_state
from groundswell.pipelines.marine.moco.pretraining import make_task, pretrain
from groundswell.pipelines.marine.prepare.preparing import prepare_set
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.workflow import workflow_of
from groundswell.splits.manifest import TEST, TRAIN, VALIDATION
from groundswell.train.weights import load_best

NANO = {"engine": "rtdetr", "name": "rtdetrv2_nano"}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return small_set(tmp_path_factory.mktemp("moco") / "images", clips=8, frames=3, note={"simulated": True})


def _recipe(images: ImageSet, model: dict[str, str] = NANO, **parts: dict[str, Any]) -> MarineRecipe:
    values: dict[str, Any] = {
        "data": {"images": str(images.path), "size": 64}, "model": model, "loader": {"threads": 1},
        "train": {"batch_size": 4, "threads": 1, "tensorboard": False},
        "pretrain": {"epochs": 2, "batch_size": 6, "size": 32, "hidden_dim": 16, "projection_dim": 8},
        "split": {"validation": 0.25, "test": 0.25}}
    return build_recipe(MarineRecipe, {name: {**values.get(name, {}), **parts.get(name, {})}
                                       for name in {**values, **parts}})


@pytest.fixture(scope="module")
def done(images: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> tuple[MarineRecipe, Path, list[str]]:
    out = tmp_path_factory.mktemp("moco") / "out"
    recipe = _recipe(images)
    return recipe, out, pretrain(recipe, out, quiet=True)


def _judged(recipe: MarineRecipe, images: ImageSet) -> tuple[set[str], set[str]]:
    """Clips that the detector of the recipe learns from, and those it is validated or tested on, by its own way."""
    workflow = workflow_of("marine")
    archive = workflow.open(recipe)
    manifest = workflow.divide(recipe, archive)
    clip = archive.table.column("group").to_numpy(object)
    return set(clip[manifest.rows(TRAIN)]), set(clip[manifest.rows(VALIDATION)]) | set(clip[manifest.rows(TEST)])


# -- what is learnt from ----------------------------------------------------------------------------------------------


def test_no_image_of_a_clip_that_the_detector_is_judged_by_is_learnt_from(images: ImageSet) -> None:
    recipe = _recipe(images)
    train, judged = _judged(recipe, images)
    learnt = learnt_from(recipe)
    seen = set(learnt.table.column("group").to_numpy(object)[learnt.folds[0]])
    assert judged and seen == train and not seen & judged


def test_images_without_boxes_are_learnt_from_unless_their_clip_is_judged(tmp_path: Path) -> None:
    images = small_set(tmp_path / "images", clips=8, frames=4)
    frame = images.images.copy()
    silent = frame["frame"].to_numpy() == 3  # the empty last image of each clip
    frame["annotated"] = ~silent
    images = ImageSet.write(tmp_path / "some", classes=images.classes, images=frame, boxes=images.boxes,
                            files=images.file)
    recipe = _recipe(images)
    train, _ = _judged(recipe, images)
    learnt = learnt_from(recipe)
    names = set(learnt.table.column("sample_id").to_numpy(object)[learnt.folds[0]])
    assert names == set(frame["image"][frame["clip"].isin(train)]) and silent[frame["image"].isin(names)].any()


def test_another_set_is_searched_for_the_judged_images_and_clips(images: ImageSet, tmp_path: Path) -> None:
    recipe = _recipe(images)
    _, judged = _judged(recipe, images)
    again = images.images.copy()
    again["image"] = "again_" + again["image"]
    again["clip"] = np.where(again["frame"] == 0, again["clip"], "renamed")  # only the checksum knows these
    pool = ImageSet.write(tmp_path / "pool", classes=images.classes, images=again, boxes=images.boxes.iloc[:0],
                          files=lambda name: images.file(name.removeprefix("again_")))
    learnt = learnt_from(_recipe(images, data={"unlabelled": str(pool.path)}))
    names = learnt.table.column("sample_id").to_numpy(object)[learnt.folds[0]]
    original = images.images.set_index("image")["clip"]
    assert len(names) and not {original[name.removeprefix("again_")] for name in names} & judged


def test_each_fold_of_folds_has_its_own_images(images: ImageSet) -> None:
    recipe = _recipe(images, split={"regime": "leave_one_out", "validation": 0.2, "test": 0.15})
    learnt = learnt_from(recipe)
    clip = learnt.table.column("group").to_numpy(object)
    assert learnt.labelled is not None and len(learnt.folds) == learnt.labelled[1].folds > 2
    for fold, rows in enumerate(learnt.folds):
        table, manifest = learnt.labelled
        tested = set(table.column("group").to_numpy(object)[manifest.rows(TEST, fold)])
        assert tested and not tested & set(clip[rows])


def test_where_nothing_is_annotated_all_is_learnt_from_and_that_is_said(images: ImageSet, tmp_path: Path) -> None:
    frame = images.images.assign(annotated=False)
    bare = ImageSet.write(tmp_path / "bare", classes=images.classes, images=frame, boxes=images.boxes.iloc[:0],
                          files=images.file)
    recipe = _recipe(bare, pretrain={"epochs": 1})
    assert len(learnt_from(recipe).folds[0]) == len(bare)
    assert "none could be left out" in " ".join(pretrain(recipe, tmp_path / "out", quiet=True))


def test_too_few_images_are_refused(images: ImageSet, tmp_path: Path) -> None:
    _, judged = _judged(_recipe(images), images)
    frame = images.images[images.images["clip"].isin(judged)]
    pool = ImageSet.write(tmp_path / "pool", classes=images.classes, images=frame, boxes=images.boxes.iloc[:0],
                          files=images.file)
    with pytest.raises(InputError, match="0 can be learnt from"):
        pretrain(_recipe(images, data={"unlabelled": str(pool.path)}), tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


# -- the call ---------------------------------------------------------------------------------------------------------


def test_it_says_what_it_learnt_from_and_what_was_left_out(done: tuple[MarineRecipe, Path, list[str]]) -> None:
    recipe, out, said = done
    text = " ".join(said)
    learnt = learnt_from(recipe)
    images, clips = learnt.left_out()
    assert f"learnt from {len(learnt.folds[0])} images without boxes for 2 epochs" in text
    assert f"{images} images of {clips} clips" in text and "left out" in text
    assert "fewer than the 50000" in text and "simulated" in text
    facts = read_json(out / "pretrained.json")
    assert set(facts) == {"format", "engine", "name", "keys", "hash", "note"} and facts["note"] == {"simulated": True}
    assert pd.read_parquet(out / "images.parquet")["fold_0"].sum() == len(learnt.folds[0])


def test_called_again_it_changes_nothing_and_says_the_same(done: tuple[MarineRecipe, Path, list[str]]) -> None:
    recipe, out, said = done
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file() and file.name != "run.lock"}
    assert pretrain(recipe, out, quiet=True) == said
    assert before == {file: file.read_bytes() for file in before}
    with pytest.raises(InputError, match=r"pretrain.epochs was 2 and is 3"):
        pretrain(recipe.model_copy(update={"pretrain": recipe.pretrain.model_copy(update={"epochs": 3})}), out)
    threads = recipe.model_copy(update={"loader": recipe.loader.model_copy(update={"threads": 2})})
    assert pretrain(threads, out, quiet=True) == said


def test_the_weights_kept_are_the_last_ones(done: tuple[MarineRecipe, Path, list[str]]) -> None:
    recipe, out, _ = done
    task = make_task(recipe, 1)
    assert load_best(task, out / "fold-1")["epoch"] == recipe.pretrain.epochs
    kept = backbone_state(out)
    assert all(torch.equal(kept[key], value) for key, value in task.backbone_state().items())


def test_a_fit_that_was_cut_short_ends_with_the_same_weights(done: tuple[MarineRecipe, Path, list[str]],
                                                             tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, out, said = done
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"checkpoint_every_steps": 1})})
    count = 0
    whole = Loader.iterate

    def fails(self: Loader, epoch: int, start_batch: int = 0) -> Any:
        nonlocal count
        for batch in whole(self, epoch, start_batch):
            count += 1
            if count == 7:  # a look at validation, the first epoch, its validation, a batch of the second epoch
                raise FailureError("the power is gone")
            yield batch

    with monkeypatch.context() as patch, pytest.raises(FailureError, match="power"):
        patch.setattr(Loader, "iterate", fails)
        pretrain(recipe, tmp_path / "out", quiet=True)
    assert not (tmp_path / "out" / "pretrained.json").exists()
    with pytest.raises(InputError, match="not finished"):
        backbone_state(tmp_path / "out")
    assert pretrain(recipe, tmp_path / "out", quiet=True) == said
    assert Pretrained.open(tmp_path / "out").hash == Pretrained.open(out).hash
    assert (tmp_path / "out" / "fold-1" / "logs" / "steps.csv").read_bytes() == (
        out / "fold-1" / "logs" / "steps.csv").read_bytes()


@pytest.mark.slow
def test_two_processes_learn_together(images: ImageSet, tmp_path: Path) -> None:
    recipe = _recipe(images, train={"devices": 2, "accelerator": "cpu"}, pretrain={"batch_size": 4})
    said = " ".join(pretrain(recipe, tmp_path / "out", quiet=True))
    steps = pd.read_csv(tmp_path / "out" / "fold-1" / "logs" / "steps.csv")
    # Twelve images, four for each process at once: two steps an epoch, each over the keys of both.
    assert len(steps) == 4 and np.isfinite(steps["loss"]).all() and "batch of 8" in said
    assert len(backbone_state(tmp_path / "out")) == Pretrained.open(tmp_path / "out").keys


def test_prepared_images_are_not_prepared_again(images: ImageSet, tmp_path: Path) -> None:
    prepared = prepare_set(images, tmp_path / "prepared", quiet=True)
    rows = np.arange(1)
    read = {}
    for name, chosen in (("raw", images), ("prepared", prepared)):
        source = pretraining.source_of(_recipe(chosen, data={"prepare": True}), learnt_from(_recipe(chosen)))
        out = {key: field.allocate(1) for key, field in source.fields.items()}
        source.read(rows, out)
        read[name] = out["image"]
    # The same code either way; JPEG stands between the two.
    assert np.abs(read["raw"].astype(int) - read["prepared"]).mean() < 3


# -- what a detector makes of it --------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [NANO, {"engine": "yolo", "name": "yolo11n"}], ids=["rtdetr", "yolo"])
def test_the_weights_arrive_and_the_first_forward_pass_uses_them(images: ImageSet, tmp_path: Path,
                                                                 model: dict[str, str]) -> None:
    if model["engine"] == "yolo" and not available("ultralytics"):  # importing it would change how numpy prints
        pytest.skip("the extra 'yolo' is not installed")
    recipe = _recipe(images, model, pretrain={"epochs": 1})
    pretrain(recipe, tmp_path / "out", quiet=True)
    encoder = make_task(recipe, 1)
    load_best(encoder, tmp_path / "out" / "fold-1")
    torch.manual_seed(99)
    detector = build_detector(model["engine"], model["name"], 5)
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = detector.eval().features(x)
        wanted = encoder.eval().engine.features(x)
        found = load_start(detector, backbone_state(tmp_path / "out"), kind="backbone")
        after = detector.features(x)
        raw = detector.raw(x)
    mine = [key for key in detector.state_dict() if detector.is_backbone(key)]
    assert found.backbone == found.matched == len(mine) == Pretrained.open(tmp_path / "out").keys > 50
    assert not found.unexpected and not found.reshaped and not found.missing
    assert torch.equal(after, wanted) and not torch.allclose(before, wanted)
    assert found.hash == backbone_hash(detector) == Pretrained.open(tmp_path / "out").hash[0]
    assert torch.isfinite(raw.scores).all()


def test_a_detector_s_task_starts_from_it(done: tuple[MarineRecipe, Path, list[str]]) -> None:
    recipe, out, _ = done
    started = recipe.model_copy(update={"model": recipe.model.model_copy(update={"start": str(out)})})
    workflow = workflow_of("marine")
    archive = workflow.open(started)
    task: Any = workflow.task(started, archive, workflow.divide(started, archive).rows(TRAIN))
    assert backbone_hash(task.engine) == backbone_hash(task.judged) == Pretrained.open(out).hash[0]


def test_a_detector_that_is_judged_by_clips_it_learnt_from_is_refused(done: tuple[MarineRecipe, Path, list[str]],
                                                                      images: ImageSet) -> None:
    recipe, out, _ = done
    learnt = learnt_from(recipe)
    assert learnt.labelled is not None
    table, manifest = learnt.labelled
    pretrained = Pretrained.open(out)
    assert pretrained.fold_for(table, manifest.rows(TRAIN)) == 0
    assert pretrained.fold_for(class_map(images).table(images), manifest.rows(TRAIN)) == 0
    with pytest.raises(InputError, match="judged by"):
        pretrained.fold_for(table, manifest.rows(TEST))
    other = _recipe(images, model={**NANO, "start": str(out)}, split={"seed": 6, "validation": 0.25, "test": 0.25})
    workflow = workflow_of("marine")
    archive = workflow.open(other)
    with pytest.raises(InputError, match="judged by"):
        workflow.task(other, archive, workflow.divide(other, archive).rows(TRAIN))


def test_damaged_or_exchanged_weights_are_refused(done: tuple[MarineRecipe, Path, list[str]], tmp_path: Path) -> None:
    recipe, out, _ = done
    other = tmp_path / "other"
    pretrain(recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": 7})}), other, quiet=True)
    assert Pretrained.open(other).hash != Pretrained.open(out).hash
    path = other / "fold-1" / WEIGHTS
    data = bytearray(path.read_bytes())
    path.write_bytes((out / "fold-1" / WEIGHTS).read_bytes())
    with pytest.raises(InputError, match="not the weights"):
        backbone_state(other)
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="checksum"):
        backbone_state(other)
    with pytest.raises(InputError, match="no fold 2"):
        backbone_state(out, 1)
    with pytest.raises(InputError, match="not the folder of a pretraining"):
        backbone_state(tmp_path)
