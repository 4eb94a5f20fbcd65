"""The probe: it sees a planted difference and none where there is none, and tests on clips that nobody has seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from marine_sets import picture

from groundswell.core.errors import InputError
from groundswell.core.files import read_json
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.marine.images import ImageSet, ImageWriter
from groundswell.pipelines.marine.labels import class_map
from groundswell.pipelines.marine.moco import probe as room
from groundswell.pipelines.marine.moco.crops import Crops, crops_of
from groundswell.pipelines.marine.moco.pretraining import pretrain
from groundswell.pipelines.marine.moco.probe import probe
from groundswell.pipelines.marine.recipe import MarineRecipe

CLASSES = ("spotted", "plain", "striped")


def _animal(label: int, size: int, rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    pattern = [(x // 3 + y // 3) % 2, np.ones((size, size)), (x // 3) % 2][label]
    return np.clip(pattern[..., None] * rng.integers(120, 255, 3) + 20, 0, 255).astype(np.uint8)


def _textured(path: Path, clips: int = 12) -> ImageSet:
    """Animals of a chance colour that only their texture tells apart, one or two on each image."""
    rng = np.random.default_rng(3)
    with ImageWriter(path, classes=CLASSES, note={"simulated": True}) as writer:
        for clip in range(clips):
            for frame in range(3):
                image = picture(50 * clip + frame, 96, 72)
                boxes, labels = [], []
                for place in range(2):
                    label, left, top = int(rng.integers(3)), 4 + 48 * place, int(rng.integers(4, 30))
                    image[top:top + 33, left:left + 33] = _animal(label, 33, rng)
                    boxes.append([left, top, left + 33, top + 33])
                    labels.append(label)
                writer.add(f"c{clip}f{frame}", image, clip=f"clip{clip}", frame=frame, boxes=boxes, label=labels)
    return writer.set


def _recipe(images: ImageSet) -> MarineRecipe:
    return build_recipe(MarineRecipe, {
        "data": {"images": str(images.path), "size": 64}, "model": {"engine": "rtdetr", "name": "rtdetrv2_nano"},
        "loader": {"threads": 1}, "train": {"batch_size": 4, "threads": 1, "tensorboard": False},
        "pretrain": {"epochs": 1, "batch_size": 8, "size": 32, "hidden_dim": 16, "projection_dim": 8},
        "split": {"validation": 0.2, "test": 0.2}})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[MarineRecipe, ImageSet, Path]:
    folder = tmp_path_factory.mktemp("probe")
    images = _textured(folder / "images")
    recipe = _recipe(images)
    pretrain(recipe, folder / "out", quiet=True)
    return recipe, images, folder / "out"


def test_it_tests_on_clips_that_neither_backbone_nor_classifier_has_seen(
        done: tuple[MarineRecipe, ImageSet, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _, images, out = done
    seen: list[Crops] = []
    whole = room._answers

    def watched(engine: Any, learn: Crops, test: Crops, seed: int) -> Any:
        seen.extend([learn, test])
        return whole(engine, learn, test, seed)

    monkeypatch.setattr(room, "_answers", watched)
    found = probe(out, resamples=200)
    learn, test = seen[:2]
    assert not set(learn.clip) & set(test.clip)
    assert len(learn.label) + len(test.label) == len(images.boxes)
    assert (found.learnt, found.tested, found.clips) == (len(learn.label), len(test.label), len(set(test.clip)))
    assert found.classes == CLASSES and found.note == {"simulated": True}


def test_its_numbers_are_written_down_with_intervals_and_words(done: tuple[MarineRecipe, ImageSet, Path]) -> None:
    _, _, out = done
    found = probe(out, resamples=200)
    facts = read_json(out / "probe.json")
    assert found.pretrained.value is not None and found.chance.value is not None
    assert facts["difference"]["value"] == pytest.approx(found.pretrained.value - found.chance.value)
    assert facts["difference"]["low"] <= facts["difference"]["value"] <= facts["difference"]["high"]
    assert f"bootstrap of {found.clips} clips" in facts["sentences"][0] and "simulated" in facts["sentences"][-1]
    assert probe(out, resamples=200) == found  # no chance but that of the seed


def test_it_sees_a_difference_that_is_there_and_none_where_there_is_none(
        done: tuple[MarineRecipe, ImageSet, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, out = done
    rng = np.random.default_rng(0)
    number = iter(range(100))

    def told(engine: Any, learn: Crops, test: Crops, seed: int) -> Any:
        known = rng.uniform(size=len(test.label)) < (0.95 if next(number) % 2 == 0 else 0.3)
        return np.where(known, test.label, (test.label + 1) % 3)

    monkeypatch.setattr(room, "_answers", told)
    better = probe(out, resamples=500).difference
    assert better.low is not None and better.low > 0.2
    monkeypatch.setattr(room, "_answers", lambda engine, learn, test, seed: np.where(
        np.arange(len(test.label)) % 3 > 0, test.label, (test.label + 1) % 3))
    assert probe(out, resamples=500).difference.value == 0


def test_the_classifier_reads_texture_off_features(done: tuple[MarineRecipe, ImageSet, Path]) -> None:
    # A network by chance has features, too: with spots, stripes and neither it must do better than guessing.
    _, _, out = done
    found = probe(out, resamples=200)
    assert found.chance.value is not None and found.chance.value > 0.5


def test_animals_are_cut_out_with_a_little_around_them(done: tuple[MarineRecipe, ImageSet, Path]) -> None:
    recipe, images, _ = done
    crops = crops_of(images, class_map(images), images.images["image"].to_numpy(object)[:1], recipe)
    known = images.annotations("c0f0")
    assert crops.image.shape == (2, 3, 32, 32) and crops.label.tolist() == known.label.tolist()
    left, top, right, bottom = known.boxes[0].astype(int)
    around = images.read("c0f0")[top - 4:bottom + 4, left - 4:right + 4]
    assert np.abs(crops.image[0].mean((1, 2)) - around.mean((0, 1))).max() < 4


def test_animals_too_small_or_regions_of_many_are_left_out(tmp_path: Path) -> None:
    with ImageWriter(tmp_path / "set", classes=("fish",)) as writer:
        writer.add("one", picture(), boxes=[[0, 0, 20, 20], [30, 30, 36, 46], [5, 5, 40, 40]], label=[0, 0, 0],
                   crowd=[False, False, True])
    images = writer.set
    recipe = _recipe(images)
    assert len(crops_of(images, class_map(images), np.array(["one"], object), recipe).label) == 1
    with pytest.raises(InputError, match="No animal"):
        crops_of(images, class_map(images), np.array([], object), recipe)


def test_statistics_of_the_animals_replace_those_of_before(done: tuple[MarineRecipe, ImageSet, Path]) -> None:
    from groundswell.pipelines.marine.engines import build_detector

    torch.manual_seed(0)
    engine = build_detector("rtdetr", "rtdetrv2_nano", 1)
    image = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
    room._normalise_by(engine, image)
    found = room._features(engine, image)
    with torch.no_grad():
        wanted = engine.train().features(torch.from_numpy(image).float() / 255).numpy()
    assert not np.isnan(found).any() and np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.95
