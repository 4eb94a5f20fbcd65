"""The chain's stages: each begins with its predecessor's weights, in the order of the seed."""

from __future__ import annotations

import pytest
from marine_sets import small_set
from pydantic import ValidationError

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.marine.chain.estimate import estimate_chain
from groundswell.pipelines.marine.chain.plan import check_folds, only, stages_of
from groundswell.pipelines.marine.chain.running import run_chain
from groundswell.pipelines.marine.recipe import STEPS, MarineRecipe


def chain(**values):
    return build_recipe(MarineRecipe, values)


def test_each_step_begins_with_its_predecessors_weights(tmp_path) -> None:
    stages = {stage.name: stage for stage in stages_of(chain(), tmp_path)}
    start = {name: stage.recipe.model.start.removeprefix(f"{tmp_path.resolve()}/") for name, stage in stages.items()
             if stage.kind == "fit"}
    assert start == {
        "baseline": "pretrain", "specialise/round-1": "baseline", "specialise/round-2": "specialise/round-1",
        "specialise/round-3": "specialise/round-2", "variants/recall": "specialise/round-3",
        "variants/balanced": "specialise/round-3", "variants/precision": "specialise/round-3",
        "multiscale/recall": "variants/recall", "multiscale/balanced": "variants/balanced",
        "multiscale/precision": "variants/precision"}
    assert stages["fuse"].needs == ("multiscale/recall", "multiscale/balanced", "multiscale/precision")
    assert list(dict.fromkeys(stage.step for stage in stages.values())) == list(STEPS)


def test_what_a_stage_needs_comes_before_it(tmp_path) -> None:
    for steps in (STEPS, ("baseline", "variants", "fuse"), ("baseline", "specialise", "export"), ("baseline",)):
        seen = set()
        for stage in stages_of(chain(steps=steps), tmp_path):
            assert set(stage.needs) <= seen, stage.name
            seen.add(stage.name)


def test_variants_differ_as_the_seed_says(tmp_path) -> None:
    stages = {stage.name: stage.recipe for stage in stages_of(chain(), tmp_path)}
    recall, precision = stages["variants/recall"], stages["variants/precision"]
    assert (recall.detect.confidence, stages["variants/balanced"].detect.confidence,
            precision.detect.confidence) == (0.15, 0.25, 0.40)
    assert recall.augment.degrees == 10 and recall.augment.mixup == 0.15
    assert precision.augment.mosaic == 0.5 and precision.augment.hsv_s == 0.5
    assert recall.sampling.class_weights == "balanced" and precision.sampling.class_weights == "critical_heavy"
    many = stages["multiscale/recall"]
    assert many.augment.sizes == (480, 512, 576, 640, 704, 768) and many.augment.degrees == 10
    assert many.train.batch_size == 12


def test_specialising_mines_on_the_model_before_and_oversamples(tmp_path) -> None:
    stages = {stage.name: stage for stage in stages_of(chain(), tmp_path)}
    assert stages["specialise/mined-2"].needs == ("specialise/round-1",)
    second = stages["specialise/round-2"].recipe
    assert second.sampling.negatives.endswith("specialise/mined-2/negatives.json")
    assert second.sampling.oversampling_ratio == 3.0
    epochs = [stages[f"specialise/round-{k}"].recipe.train.epochs for k in (1, 2, 3)]
    assert sum(epochs) == 200 and max(epochs) - min(epochs) <= 1


def test_the_split_is_the_same_in_every_stage(tmp_path) -> None:
    recipes = [stage.recipe for stage in stages_of(chain(split={"seed": 7}), tmp_path)]
    assert {(recipe.split.seed, recipe.split.regime, recipe.data.images) for recipe in recipes} == {
        (7, "grouped", "images")}


def test_a_shore_ensemble_has_members_of_two_networks(tmp_path) -> None:
    recipe = chain(model={"engine": "yolo", "name": "yolo11x"}, variants={"networks": ["yolo11x", "yolov8x"]})
    stages = {stage.name: stage.recipe for stage in stages_of(recipe, tmp_path)}
    assert stages["variants/yolov8x-recall"].model.start == ""
    assert stages["variants/recall"].model.start.endswith("round-3")
    assert stages["multiscale/yolov8x-recall"].model.start.endswith("variants/yolov8x-recall")
    assert len([name for name in stages if name.startswith("multiscale/")]) == 6


@pytest.mark.parametrize("values, told", [
    ({"multiscale": {"sizes": [500]}}, "multiples of 32"), ({"tta": {"scales": [1.0, 0.0]}}, "from 0.1 to 4"),
    ({"tta": {"scales": [-1.0]}}, "from 0.1 to 4"), ({"variants": {"networks": ["rtdetrv2_r19"]}}, "rtdetrv2_r18"),
    ({"select": {"band": [0.7, 0.3]}}, "from 0.7 to 0.3"), ({"select": {"band": [0.3, 1.5]}}, "0 to 1"),
    ({"variants": {"networks": ["yolo11x"]}}, "engine rtdetr"),
    ({"variants": {"networks": ["rtdetrv2_r18", "rtdetrv2_r18"]}}, "different networks")])
def test_what_a_late_step_cannot_use_is_refused_before_the_first(values, told) -> None:
    with pytest.raises(InputError, match=told):
        chain(**values)


def test_a_chain_of_several_folds_is_refused_before_its_first_step(tmp_path) -> None:
    images = small_set(tmp_path / "images", clips=8)
    recipe = chain(data={"images": str(images.path)}, split={"regime": "kfold", "folds": 2})
    for ask in (estimate_chain, run_chain):
        with pytest.raises(InputError, match="specialise takes one division into parts, and this one has 2 folds"):
            ask(recipe, tmp_path / "chain")
    assert not (tmp_path / "chain").exists()
    check_folds(recipe.model_copy(update={"steps": ("baseline", "variants", "fuse")}), 2)
    check_folds(recipe, 1)


def test_steps_are_named_in_their_order_or_refused(tmp_path) -> None:
    with pytest.raises(ValidationError, match="in this order"):
        MarineRecipe(steps=("fuse", "baseline"))
    with pytest.raises(InputError, match="no step 'fusing'"):
        only(stages_of(chain(), tmp_path), "fusing")
    with pytest.raises(InputError, match="no step 'fusing'"):  # before images are opened, let alone timed
        estimate_chain(chain(), tmp_path, step="fusing")
