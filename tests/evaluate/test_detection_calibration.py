"""Scores before and after calibration are judged on the same boxes, by sums that a hand can do, and what is said of the
difference is what its interval says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from box_world import World, annotated

from groundswell.core.errors import InputError
from groundswell.core.files import read_json, write_json
from groundswell.data.boxes import BoxPredictions, BoxTruth
from groundswell.evaluate.detection_calibration import CALIBRATED, compare_calibration
from groundswell.evaluate.detection_matching import match
from groundswell.evaluate.detection_recipe import DetectionEvaluateRecipe
from groundswell.evaluate.detection_reliability import reliability_of

QUICK = DetectionEvaluateRecipe(bootstrap=200)
BOX, AWAY = [0, 0, 10, 10.0], [50, 50, 60, 60.0]


def row_of(scores, right, groups=None):
    """One box in each image; a right one lies on the image's only animal."""
    ids = [f"{k}" for k in range(len(scores))]
    made = BoxPredictions.of(ids, [(np.array([BOX if r else AWAY]), np.array([s]), np.zeros(1))
                                   for s, r in zip(scores, right, strict=True)], ("fish",))
    return made, BoxTruth.of(ids, [annotated(BOX, [0])] * len(ids), ("fish",), group=groups)


def changed(made, score, **note):
    return replace(made, score=np.asarray(score, np.float32), note={**made.note, **note})


def test_the_numbers_are_those_of_sums_by_hand():
    """Bins are fifteenths: 0.9 and 0.92 share one, 0.5 has one, 0.1 one; a box of 0.01 is left out."""
    made, truth = row_of([0.9, 0.92, 0.5, 0.1, 0.01], [1, 0, 1, 0, 0])
    after = changed(made, [0.5, 0.52, 0.5, 0.1, 0.01])
    found = compare_calibration(made, after, truth, QUICK).whole
    assert (found.boxes, found.right) == (4, 2)
    assert found.before.ece.value == pytest.approx((abs(1 - 1.82) + 0.5 + 0.1) / 4, abs=1e-6)
    # Afterwards 0.5, 0.52 and 0.5 share a bin.
    assert found.after.ece.value == pytest.approx((abs(2 - 1.52) + 0.1) / 4, abs=1e-6)
    logs = -np.log([0.9, 0.08, 0.5, 0.9]).sum() / 4
    assert found.before.log_loss.value == pytest.approx(logs, abs=1e-6)
    assert found.before.brier.value == pytest.approx((0.01 + 0.92**2 + 0.25 + 0.01) / 4, abs=1e-6)
    assert found.difference["brier"].value == pytest.approx((0.25 + 0.52**2 - 0.01 - 0.92**2) / 4, abs=1e-6)
    assert [b.samples for b in found.before.bins] == [1, 1, 2]


def test_scores_of_before_are_those_of_the_evaluation():
    world = World(10, 6)
    made = world.guess()
    found = compare_calibration(made, made, world.truth, QUICK, seed=3)
    alone = reliability_of(match(made, world.truth), world.truth.group, QUICK, 3)
    for name in ("ece", "log_loss", "brier"):
        one, other = getattr(found.whole.before, name), getattr(alone, name)
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))
        assert found.whole.difference[name].value == 0
    assert found.whole.difference["ece"].why and not found.helped
    assert any("is not known" in line for line in found.sentences())


def test_boxes_whose_scores_were_all_too_low_are_judged_too():
    rng = np.random.default_rng(0)
    right = rng.uniform(size=400) < 0.5
    made, truth = row_of(np.full(400, 0.02), right, [f"clip {k // 20}" for k in range(400)])
    found = compare_calibration(made, changed(made, np.full(400, 0.5)), truth, QUICK)
    assert found.whole.boxes == 400 and found.helped
    assert found.whole.before.ece.value == pytest.approx(right.mean() - 0.02, abs=1e-6)
    none = compare_calibration(made, made, truth, QUICK)
    assert none.whole.boxes == 0 and "cannot be judged: no box has a score of 0.05 or more" in none.sentences()[0]


def worlds(change):
    rng = np.random.default_rng(1)
    score = rng.uniform(0.06, 0.94, 900)
    right = rng.uniform(size=900) < score
    made, truth = row_of(change(score), right, [f"clip {k // 60}" for k in range(900)])
    return made, changed(made, score), truth


def test_better_worse_and_no_different_are_told_apart():
    bad, good, truth = worlds(np.sqrt)
    helped = compare_calibration(bad, good, truth, QUICK)
    assert helped.helped and "lies below 0" in helped.sentences()[1] and "15 clips" in helped.sentences()[1]
    harmed = compare_calibration(good, bad, truth, QUICK)
    assert not harmed.helped and "lies above 0" in harmed.sentences()[1]
    assert harmed.whole.difference["ece"].value == pytest.approx(-helped.whole.difference["ece"].value)
    near, good, truth = worlds(lambda s: np.clip(s + 0.004, 0, 1))
    same = compare_calibration(near, good, truth, QUICK)
    assert not same.helped and "does not lie below 0" in same.sentences()[1]


def test_clips_that_calibration_saw_prove_nothing():
    bad, good, truth = worlds(np.sqrt)
    note = {CALIBRATED: {"method": "platt", "clips": ["clip 3", "clip 4", "elsewhere"]}}
    found = compare_calibration(bad, changed(good, good.score, **note), truth, QUICK)
    assert found.seen == ("clip 3", "clip 4") and not found.helped
    assert "fitted on 2 of these 15 clips" in found.sentences()[1] and "too hopeful" in found.sentences()[1]
    assert found.to_dict()["fitted_on_too"] == ["clip 3", "clip 4"] and not found.to_dict()["helped"]


def test_one_clip_has_no_interval_and_few_are_said():
    bad, good, truth = worlds(np.sqrt)
    one = BoxTruth(truth.sample_id, truth.count, truth.boxes, truth.label, truth.crowd,
                   np.full(len(truth), "clip", object), truth.classes, truth.priority)
    found = compare_calibration(bad, good, one, QUICK)
    assert not found.helped and "without an interval" in found.sentences()[1]
    three = replace(one, group=np.array([f"clip {k % 3}" for k in range(len(truth))], object))
    found = compare_calibration(bad, good, three, QUICK)
    assert any("cannot be trusted: 3 clips" in line for line in found.sentences())


def test_the_overlap_decides_which_boxes_are_right():
    ids = [f"{k}" for k in range(20)]
    made = BoxPredictions.of(ids, [(np.array([[0, 0, 10, 6.0]]), np.array([0.6]), np.zeros(1))] * 20, ("fish",))
    truth = BoxTruth.of(ids, [annotated(BOX, [0])] * 20, ("fish",))
    assert compare_calibration(made, made, truth, QUICK, overlap=0.55).whole.right == 20
    assert compare_calibration(made, made, truth, QUICK, overlap=0.65).whole.right == 0


def test_crowds_and_critical_species():
    world = World(8, 6, seed=2)
    made = world.guess()
    crowded = replace(world.truth, crowd=np.ones(len(world.truth.label), bool))
    assert compare_calibration(made, made, crowded, QUICK).whole.right == 0
    after = changed(made, made.score**2)
    found = compare_calibration(made, after, world.truth, QUICK)
    only = made.keep(made.label == 0)
    alone = compare_calibration(only, changed(only, only.score**2), world.truth, QUICK)
    assert found.critical.before.ece.value == pytest.approx(alone.whole.before.ece.value)
    assert found.critical.boxes == alone.whole.boxes and "critical species" in found.sentences()[-1]
    assert compare_calibration(made, after, replace(world.truth, priority=(None,) * 3), QUICK).critical is None


def test_it_is_the_same_for_the_same_seed_written_and_drawn(tmp_path):
    bad, good, truth = worlds(np.sqrt)
    found = compare_calibration(bad, good, truth, QUICK, seed=4)
    assert found.to_dict() == compare_calibration(bad, good, truth, QUICK, seed=4).to_dict()
    assert found.to_dict() != compare_calibration(bad, good, truth, QUICK, seed=5).to_dict()
    write_json(tmp_path / "c.json", found.to_dict())
    assert read_json(tmp_path / "c.json")["floor"] == 0.05
    found.draw(tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    low = changed(bad, bad.score * 0.01)
    compare_calibration(low, low, truth, QUICK).draw(tmp_path / "none.png")
    assert (tmp_path / "none.png").is_file()


def test_other_boxes_are_refused():
    world = World(4, 4)
    made = world.guess()
    with pytest.raises(InputError, match="the same boxes"):
        compare_calibration(made, made.keep(made.score > 0.5), world.truth, QUICK)
    with pytest.raises(InputError, match="the same boxes"):
        compare_calibration(made, world.guess(seed=6), world.truth, QUICK)
    with pytest.raises(InputError, match="true boxes of a predicted image are not known"):
        compare_calibration(made, made, world.truth.take(np.arange(3)), QUICK)
