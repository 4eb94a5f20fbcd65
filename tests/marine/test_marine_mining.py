"""Hard negatives come from the training part, and what may be an unlabelled animal is looked at first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from groundswell.core.files import read_json
from groundswell.core.recipe import build_recipe
from groundswell.core.run import RunFolder
from groundswell.data.boxes import BoxPredictions, BoxTruth
from groundswell.pipelines.archive import load_archive
from groundswell.pipelines.marine.data import WORKFLOW
from groundswell.pipelines.marine.images import Annotations
from groundswell.pipelines.marine.mining import false_alarms, mine
from groundswell.pipelines.marine.recipe import MarineRecipe, SpecialiseRecipe
from groundswell.splits.manifest import TRAIN, SplitManifest


def annotated(*boxes, crowd=False):
    n = len(boxes)
    return Annotations(np.array(boxes, np.float32).reshape(-1, 4), np.zeros(n, np.int64), np.full(n, -1),
                       np.full(n, crowd))


def found(*rows):
    return [(np.array([box for box, _ in row], np.float32).reshape(-1, 4),
             np.array([score for _, score in row], np.float32), np.zeros(len(row), np.int64)) for row in rows]


ANIMAL, ELSEWHERE = (10, 10, 50, 50), (100, 100, 140, 140)


def test_a_sure_box_without_an_animal_is_a_hard_negative_and_others_are_not() -> None:
    truth = BoxTruth.of(["a", "b", "c"], [annotated(ANIMAL), annotated(), annotated(ELSEWHERE, crowd=True)], ["fish"],
                        group=["x", "x", "y"])
    predictions = BoxPredictions.of(["a", "b", "c"], found(
        [(ANIMAL, 0.9), (ELSEWHERE, 0.6)], [(ANIMAL, 0.4), (ELSEWHERE, 0.7)], [(ELSEWHERE, 0.7)]), ["fish"])
    negatives, review = false_alarms(predictions, truth, SpecialiseRecipe())
    assert [(one.image, round(one.score, 2)) for one in negatives] == [("b", 0.7), ("a", 0.6)]
    assert review == []


def test_what_may_be_an_animal_nobody_annotated_is_put_aside() -> None:
    truth = BoxTruth.of(["a0", "a1", "b0"], [annotated(ANIMAL), annotated(), annotated()], ["fish"],
                        group=["a", "a", "b"])
    predictions = BoxPredictions.of(["a0", "a1", "b0"], found(
        [(ANIMAL, 0.9)], [((12, 12, 52, 52), 0.6)], [(ELSEWHERE, 0.95)]), ["fish"])
    negatives, review = false_alarms(predictions, truth, SpecialiseRecipe(), frames=np.array([0, 1, 0]))
    assert negatives == []
    assert [(one.image, one.why) for one in review] == [
        ("b0", "score 0.95"), ("a1", "an animal is annotated there in a neighbouring frame")]


def test_a_round_has_a_limit_and_keeps_the_surest() -> None:
    truth = BoxTruth.of(["a"], [annotated()], ["fish"])
    predictions = BoxPredictions.of(["a"], found([((k * 10, 0, k * 10 + 8, 8), 0.5 + k / 100) for k in range(20)]),
                                    ["fish"])
    negatives, _ = false_alarms(predictions, truth, SpecialiseRecipe(most=5))
    assert [round(one.score, 2) for one in negatives] == [0.69, 0.68, 0.67, 0.66, 0.65]


@pytest.fixture(scope="module")
def mined(small_detector: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """What was mined with a run. A detector taught this briefly is sure of nothing: with a lower threshold, and a match
    only where boxes are nearly the same, whatever it sees is a false alarm."""
    path = tmp_path_factory.mktemp("mined") / "negatives.json"
    return path, mine(small_detector, path, SpecialiseRecipe(threshold=0.05, iou=0.95, most=40))


def test_mining_a_run_looks_at_its_training_part_alone(small_detector: RunFolder,
                                                       mined: tuple[Path, list[str]]) -> None:
    path, lines = mined
    archive = load_archive(small_detector.path)
    rows = SplitManifest.read(small_detector.path, archive.table).rows(TRAIN, 0)
    found = read_json(path)
    assert len(found["negatives"]) == 40 and found["images"] == len(rows)
    training = set(archive.table.column("sample_id").to_numpy(object)[rows])
    assert {row["image"] for row in found["negatives"] + found["review"]} <= training
    assert all(row["why"] for row in found["review"]) and not any(row["why"] for row in found["negatives"])
    assert "40 hard negatives" in lines[0]
    sheet = path.with_suffix(".review.png")
    assert sheet.is_file() == bool(found["review"]) and all(str(sheet) in line for line in lines[1:])


def test_what_was_mined_is_learnt_from_in_the_next_run(small_detector: RunFolder,
                                                       mined: tuple[Path, list[str]]) -> None:
    archive = load_archive(small_detector.path)
    rows = SplitManifest.read(small_detector.path, archive.table).rows(TRAIN, 0)
    on = {row["image"] for row in read_json(mined[0])["negatives"]}
    before = small_detector.recipe(MarineRecipe).model_dump(mode="json")
    recipe = build_recipe(MarineRecipe, {**before, "sampling": {"negatives": str(mined[0])}})
    times = WORKFLOW.repeats(recipe, archive, rows)
    assert times is not None
    names = archive.table.column("sample_id").to_numpy(object)[rows]
    assert {str(name) for name, count in zip(names, times, strict=True) if count == 2} == on
    assert set(times.tolist()) <= {1, 2}
