"""Rare critical species are seen more often in training, by the training part alone, and no image is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from marine_sets import picture

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.core.run import RunFolder
from groundswell.pipelines.archive import load_archive
from groundswell.pipelines.marine.data import WORKFLOW, classes_of, images_of
from groundswell.pipelines.marine.images import ImageSet, ImageWriter
from groundswell.pipelines.marine.labels import class_map
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.marine.sampling import boxes_per_class, class_weights_of, repeats_of
from groundswell.pipelines.workflow import FoldSetup
from groundswell.splits.manifest import TRAIN, VALIDATION, SplitManifest

CLASSES, IDS = ("lionfish", "purple sea urchin", "shark"), (0, 1, 29)
LABELS = ([0], [2], [], [2, 2], [1, 2], [1, 1, 1], [0, 0, 0, 0], [2])
"""Classes of the boxes on each image; the last two are not in the training part."""
ROWS = np.arange(6)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    with ImageWriter(tmp_path_factory.mktemp("sampling") / "set", classes=CLASSES, species=IDS) as writer:
        for k, labels in enumerate(LABELS):
            boxes = [[2 + 3 * n, 2, 20 + 3 * n, 20] for n in range(len(labels))]
            writer.add(f"i{k}", picture(k), clip=f"c{k}", boxes=np.array(boxes, float).reshape(-1, 4), label=labels)
    return writer.set


def repeats(images: ImageSet, rows: np.ndarray = ROWS, **sampling: Any) -> list[int] | None:
    recipe = build_recipe(MarineRecipe, {"sampling": sampling})
    told = class_map(images)
    found = repeats_of(recipe, images, told, told.table(images), rows)
    return None if found is None else found.tolist()


def test_images_of_critical_species_come_more_often_and_others_once(images: ImageSet) -> None:
    assert repeats(images, oversampling_ratio=3, min_per_class=0) == [3, 1, 1, 1, 3, 3]
    assert repeats(images) is None


def test_rarer_critical_species_come_more_often_up_to_a_limit(images: ImageSet) -> None:
    # Of the training images, one box is a lionfish and four are urchins: 2 * (4 / 1) ** 0.5 and 2 * (4 / 4) ** 0.5.
    assert repeats(images, oversampling_ratio=2, min_per_class=4) == [4, 1, 1, 1, 2, 2]
    assert repeats(images, oversampling_ratio=2, min_per_class=10_000, max_repeat=5) == [5, 1, 1, 1, 5, 5]


def test_only_the_training_rows_say_what_is_rare(images: ImageSet) -> None:
    told = class_map(images)
    table = told.table(images)
    assert boxes_per_class(images, told, table, ROWS).sum(0).tolist() == [1, 4, 4]
    assert boxes_per_class(images, told, table, np.arange(8)).sum(0).tolist() == [5, 4, 5]
    # With the four lionfish of the other part it would come as often as the urchins.
    assert repeats(images, oversampling_ratio=2, min_per_class=4) != repeats(
        images, np.arange(8), oversampling_ratio=2, min_per_class=4)[:6]  # type: ignore[index]


@settings(max_examples=40)
@given(st.floats(1, 20), st.integers(0, 2000), st.floats(1, 20), st.integers(1, 6))
def test_no_image_is_left_out_and_none_comes_beyond_the_limit(images: ImageSet, ratio: float, least: int, most: float,
                                                              count: int) -> None:
    found = repeats(images, ROWS[:count], oversampling_ratio=ratio, min_per_class=least, max_repeat=most)
    assert found is None or (len(found) == count and min(found) >= 1 and max(found) <= np.ceil(max(ratio, most)))
    assert found is None or all(found[k] == 1 for k in range(1, min(count, 4)))  # no critical species, or empty


def test_a_broken_factor_is_rounded_by_the_name_alone(images: ImageSet) -> None:
    found = repeats(images, oversampling_ratio=2.5, min_per_class=0)
    assert found is not None and set(np.array(found)[[0, 4, 5]]) <= {2, 3}
    assert repeats(images, ROWS[::-1], oversampling_ratio=2.5, min_per_class=0) == found[::-1]


def test_images_that_hard_negatives_were_found_on_come_once_more(images: ImageSet, tmp_path: Path) -> None:
    listed = tmp_path / "negatives.json"
    listed.write_text(json.dumps({"negatives": [{"image": "i2"}, {"image": "i2"}, {"image": "i0"}]}))
    assert repeats(images, negatives=str(listed)) == [2, 1, 2, 1, 1, 1]


def test_hard_negatives_outside_the_training_part_are_refused(images: ImageSet, tmp_path: Path) -> None:
    listed = tmp_path / "negatives.json"
    listed.write_text(json.dumps({"negatives": [{"image": "i2"}, {"image": "i7"}]}))
    with pytest.raises(InputError, match="not in the training part, first 'i7'"):
        repeats(images, negatives=str(listed))
    with pytest.raises(InputError, match="no such list"):
        repeats(images, negatives=str(tmp_path / "none.json"))


@pytest.mark.parametrize("kind", ["default", "balanced", "critical_heavy"])
def test_class_weights_have_the_mean_one(kind: str, images: ImageSet) -> None:
    told = class_map(images)
    found = class_weights_of(build_recipe(MarineRecipe, {"sampling": {"class_weights": kind}}), images, told,
                             told.table(images), ROWS)
    if kind == "default":
        assert found is None
        return
    assert found is not None and found.mean() == pytest.approx(1) and found.dtype == np.float32
    ratio = found[0] / found[2]
    assert ratio == pytest.approx(2 if kind == "balanced" else 3)  # one box against four; critical against general


def test_a_run_repeats_images_in_training_and_none_in_validation(small_detector: RunFolder) -> None:
    archive = load_archive(small_detector.path)
    recipe = small_detector.recipe(MarineRecipe)
    images = images_of(archive)
    manifest = SplitManifest.read(small_detector.path, archive.table)
    train, validation = manifest.rows(TRAIN, 0), manifest.rows(VALIDATION, 0)
    more = build_recipe(MarineRecipe, {**recipe.model_dump(mode="json"), "sampling": {"oversampling_ratio": 3}})
    times = WORKFLOW.repeats(more, archive, train)
    assert times is not None and times.max() >= 3 and times.min() >= 1
    assert boxes_per_class(images, classes_of(more, images), archive.table, train).shape[0] == len(train)
    setup = FoldSetup("marine", small_detector.path, 0)(0, 1, torch.device("cpu"))
    try:
        batches = [batch["weight"] for batch in setup.validation.iterate(0)]
    finally:
        setup.train.close()
        setup.validation.close()
    assert int(sum(float(weight.sum()) for weight in batches)) == len(validation)
