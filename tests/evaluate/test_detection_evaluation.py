"""An evaluation of boxes says what was found beside its controls, where it may be trusted, and what it cannot know."""

from __future__ import annotations

import json

import numpy as np
import pytest
from box_world import CLASSES, World, annotated

from groundswell.core.errors import InputError
from groundswell.data.boxes import BoxPredictions, BoxTruth
from groundswell.evaluate.controls import ControlRun, Outcome
from groundswell.evaluate.detection import evaluate_boxes
from groundswell.evaluate.detection_bootstrap import paired_difference
from groundswell.evaluate.detection_controls import CLASS_PRIOR, PERMUTED_BOXES, deal_annotations
from groundswell.evaluate.detection_counts import LEVELS, confusion, counting, counts_of, curves
from groundswell.evaluate.detection_matching import match
from groundswell.evaluate.detection_recipe import DetectionEvaluateRecipe
from groundswell.evaluate.detection_reliability import reliability_of
from groundswell.evaluate.detection_scores import average_precision

QUICK = DetectionEvaluateRecipe(bootstrap=200, n_min=4)


def weak(world, seed=9):
    """What scores next to nothing: boxes far from where they should be."""
    return world.guess(60, seed=seed, confused=0.6)


def runs_of(world, prior=None, dealt=None):
    return [ControlRun(CLASS_PRIOR, Outcome(weak(world) if prior is None else prior, world.table)),
            ControlRun(PERMUTED_BOXES, Outcome(weak(world, 10) if dealt is None else dealt,
                                               deal_annotations(world.table), {"against the true boxes": world.table}))]


def evaluated(world=None, guess=None, **options):
    world = world or World(12, 5, seed=2)
    return evaluate_boxes(world.guess() if guess is None else guess, world.truth, world.table, QUICK, **options), world


def test_the_first_sentence_holds_the_score_its_interval_and_the_controls():
    world = World(12, 5, seed=2)
    found, _ = evaluated(world, controls=runs_of(world))
    score, first = found.whole.scores["map50"], found.conclusion[0]
    assert score.value == pytest.approx(np.nanmean(average_precision(world.guess(), world.truth)[:, 0]))
    assert score.low < score.value < score.high and score.value > 0.5
    assert f"mAP50 is {score.value:.3f} (95 % interval {score.low:.3f} to {score.high:.3f})" in first
    for row in found.beside:
        assert f"reaches {row.scores['map50'].value:.3f}" in first and row.state == "beaten"
        assert row.difference.low > 0 and "is better than" in row.sentence
    assert "simulated images" in first and any("nothing of real animals" in line for line in found.conclusion)


def test_a_model_that_knows_no_more_than_a_control_is_told_so():
    world = World(12, 5, seed=2)
    found, _ = evaluated(world, guess=weak(world, 3), controls=runs_of(world))
    assert [row.state for row in found.beside] == ["not beaten"] * 2
    assert "where animals of each class usually are" in found.beside[0].sentence
    alone, _ = evaluated(world)
    assert "no control stands beside it" in alone.conclusion[0]
    assert any(line.startswith("Controls: none was run") for line in alone.not_measured)


def test_a_network_that_finds_dealt_boxes_again_accuses_the_split():
    world = World(12, 5, seed=2)
    table = deal_annotations(world.table)
    at = {name: k for k, name in enumerate(world.ids)}
    marks = [world.marks[at[name]] for name in table.column("annotations_of")]
    found_again = BoxPredictions.of(world.ids, [(m.boxes, np.full(len(m.label), 0.9), m.label) for m in marks], CLASSES)
    found, _ = evaluated(world, controls=runs_of(world, dealt=found_again))
    row = found.beside[1]
    assert row.scores["map50"].value == pytest.approx(1) and row.state == "leak"
    noisy = BoxPredictions.concatenate([found_again])
    noisy.score[:] = np.random.default_rng(0).uniform(size=len(noisy.score))
    noisy.label[::7] = (noisy.label[::7] + 1) % 3
    row = evaluated(world, controls=runs_of(world, dealt=noisy))[0].beside[1]
    assert row.state == "leak" and "the split leaks" in row.sentence
    assert row.also["against the true boxes"].value < 0.3


def test_few_groups_and_allowed_leakage_are_said_beside_the_score():
    few, _ = evaluated(World(3, 8, seed=4, animals=(2, 4)))
    assert few.whole.groups == 3 and any("only 3 groups: the interval cannot be trusted" in s for s in few.conclusion)
    one, _ = evaluated(World(1, 8, seed=4, animals=(3, 4), simulated=False), note={"allow_leakage": "a trial"})
    assert one.whole.scores["map50"].low is None and "without an interval" in one.conclusion[0]
    assert "simulated" not in " ".join(one.conclusion)
    assert any("leaks, and that was allowed" in line for line in one.conclusion)
    assert any("one group" in line for line in one.conclusion)


def test_priorities_average_their_classes_and_say_where_there_are_too_few_boxes():
    world = World(12, 5, seed=2, priority=("critical", "critical", None))
    found, _ = evaluated(world)
    each = average_precision(world.guess(), world.truth)[:, 0]
    assert [row.name for row in found.priorities] == ["critical"]
    assert found.priorities[0].scores["map50"].value == pytest.approx(each[:2].mean())
    assert found.priorities[0].boxes == sum(row.boxes for row in found.classes if row.priority == "critical")
    none, _ = evaluated(World(12, 5, seed=2, classes=("a", "b", "c"), priority=("important", "general", None)))
    assert any("no number for critical species: none of the classes is one" in line for line in none.conclusion)
    strict = evaluate_boxes(world.guess(), world.truth, world.table, DetectionEvaluateRecipe(bootstrap=100, n_min=999))
    assert all(row.scores["map50"].value is None and "only" in row.scores["map50"].why for row in strict.classes)
    assert strict.whole.scores["map50"].value == pytest.approx(each.mean())
    assert any("too few true boxes" in line for line in strict.not_measured)


def test_sources_and_clips_are_judged_on_their_own_images():
    found, world = evaluated()
    reef = (world.table.column("source") == "reef").to_numpy()
    alone = average_precision(world.guess().take(reef), world.truth)
    assert found.sources["reef"].scores["map50"].value == pytest.approx(np.nanmean(alone[:, 0]))
    assert found.sources["reef"].images == reef.sum() and len(found.clips) == 12
    clip = next(row for row in found.clips if row["boxes"])
    here = world.table.groups() == clip["name"]
    assert clip["map50"] == pytest.approx(np.nanmean(average_precision(world.guess().take(here), world.truth)[:, 0]))


def test_counts_leave_out_what_cannot_be_known_and_empty_images_have_no_relative_error():
    group, known = np.zeros(3, np.int64), np.array([True, True, True])
    found = counting(np.array([3, 2, 0]), np.array([2, 0, 0]), known, group, 1, QUICK, 0)
    assert found["mape"].value == pytest.approx(0.5) and found["mae"].value == pytest.approx(1)
    assert found["rmse"].value == pytest.approx(np.sqrt(5 / 3)) and found["within_1"].value == pytest.approx(2 / 3)
    assert found["bias"].value == pytest.approx(1) and found["within_5"].value == 1
    empty = counting(np.array([3, 2]), np.array([0, 0]), known[:2], group[:2], 1, QUICK, 0)
    assert empty["mape"].value is None and empty["mae"].value == pytest.approx(2.5)
    box = [0, 0, 9, 9]
    truth = BoxTruth.of(["a", "b"], [annotated([box, box], [0, 0], [True, False]), annotated([box], [0])], CLASSES)
    made = BoxPredictions.of(["b", "a"], [(np.array([box, box], float), np.array([0.9, 0.2]), np.zeros(2))] * 2,
                             CLASSES)
    many, true, certain = counts_of(made, truth, 0.25)
    assert many.tolist() == [1, 1] and true.tolist() == [1, 1] and certain.tolist() == [True, False]


def test_confusion_adds_up_to_every_true_and_every_counted_box():
    world = World(8, 5, seed=2)
    made = world.guess(confused=0.4)
    table = confusion(made, world.truth, 0.3)
    assert table[:-1].sum() == len(world.truth.label) and table[:, :-1].sum() == (made.score >= 0.3).sum()
    assert np.array_equal(table[:-1].sum(axis=1), np.bincount(world.truth.label, minlength=3)) and table[-1, -1] == 0
    box, far = [0, 0, 10, 10], [100, 100, 110, 110]
    truth = BoxTruth.of(["a"], [annotated([box, far, [200, 200, 300, 300]], [0, 1, 2], [False, False, True])], CLASSES)
    made = BoxPredictions.of(["a"], [(np.array([box, [210, 210, 220, 220], [150, 0, 160, 9]], float), np.full(3, 0.9),
                                      np.array([2, 2, 1]))], CLASSES)
    table = confusion(made, truth, 0.5)
    assert table.tolist() == [[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]


def test_curves_are_those_of_counting_by_hand():
    world = World(8, 5, seed=2)
    made = world.guess()
    found = match(made, world.truth)
    curve = curves(found)
    for step in (0, 25, 60):
        sure = found.score >= LEVELS[step]
        right = (found.state[0][sure] == 1).sum()
        assert curve.all_precision[step] == pytest.approx(right / sure.sum())
        assert curve.all_recall[step] == pytest.approx(right / len(world.truth.label))
    assert np.allclose(curve.at_recall.mean(axis=1), average_precision(made, world.truth)[:, 0])
    assert curve.all_f1[int(curve.best_level() * 100 + 0.5)] == np.nanmax(curve.all_f1)


def test_scores_that_are_frequencies_have_no_calibration_error():
    rng, n = np.random.default_rng(0), 4000
    score = rng.uniform(0.05, 1, n)
    right = rng.uniform(size=n) < score
    box, away = np.array([[0, 0, 9, 9.0]]), np.array([[50, 50, 60, 60.0]])
    ids = [f"{k}" for k in range(n)]
    truth = BoxTruth.of(ids, [annotated(box, [0])] * n, ("fish",))
    for change, low, high in ((lambda s: s, 0, 0.03), (np.sqrt, 0.1, 0.4)):
        made = BoxPredictions.of(ids, [(box if r else away, np.array([change(s)]), np.zeros(1))
                                       for r, s in zip(right, score, strict=True)], ("fish",))
        found = reliability_of(match(made, truth), truth.group, QUICK, 0)
        assert low <= found.ece.value < high
        assert sum(b.samples for b in found.bins) == (change(score) >= 0.05).sum()


def test_the_validation_part_chooses_the_score_that_the_test_part_is_read_at():
    world = World(12, 5, seed=2)
    made, half = world.guess(), np.arange(60) < 30
    found = evaluate_boxes(made.take(half), world.truth, world.table, QUICK, validation=made.take(~half))
    level = curves(match(made.take(~half), world.truth)).best_level()
    assert found.chosen["level"].value == level and 0 < found.chosen["f1"].value <= 1
    assert not evaluated(world)[0].chosen


def test_differences_are_paired():
    world = World(12, 5, seed=2)
    good, bad = world.guess(1.0), world.guess(6.0, seed=6)
    gap = paired_difference(good, bad, world.truth, QUICK)
    assert gap.low > 0 and gap.value == pytest.approx(
        np.nanmean(average_precision(good, world.truth)[:, 0]) - np.nanmean(average_precision(bad, world.truth)[:, 0]))
    back = paired_difference(bad, good.take(np.arange(60)[::-1]), world.truth, QUICK)
    assert back.value == pytest.approx(-gap.value) and back.low == pytest.approx(-gap.high, abs=0.02)
    assert paired_difference(good, good, world.truth, QUICK).value == 0
    part = paired_difference(good, bad.take(np.arange(20)), world.truth, QUICK, overlaps=True)
    assert part.value == pytest.approx(np.nanmean(average_precision(good.take(np.arange(20)), world.truth)) -
                                       np.nanmean(average_precision(bad.take(np.arange(20)), world.truth)))
    with pytest.raises(InputError, match="several members"):
        paired_difference(BoxPredictions.concatenate([good, bad]), bad, world.truth, QUICK)
    with pytest.raises(InputError, match="no image in common"):
        paired_difference(good.take(np.arange(3)), bad.take(np.arange(3, 6)), world.truth, QUICK)


def test_members_stand_beside_the_whole():
    world = World(8, 5, seed=2)
    both = BoxPredictions.concatenate([world.guess(1.0, member="a"), world.guess(6.0, member="b", seed=8)])
    found, _ = evaluated(world, guess=both)
    assert found.members["a"]["map50"] > found.members["b"]["map50"]
    alone = average_precision(world.guess(1.0), world.truth)[:, 0]
    assert found.members["a"]["map50"] == pytest.approx(np.nanmean(alone))
    assert any("2 members predicted" in line for line in found.conclusion)


def test_the_same_seed_gives_the_same_intervals():
    world = World(8, 5, seed=2)
    a, b, c = (evaluate_boxes(world.guess(), world.truth, world.table, QUICK, seed=s).to_dict() for s in (1, 1, 2))
    assert a == b and a["scores"]["map50"]["low"] != c["scores"]["map50"]["low"]


@pytest.mark.parametrize("guess", [
    lambda w: BoxPredictions.of(w.ids, [(np.zeros((0, 4)), np.zeros(0), np.zeros(0))] * len(w.ids), w.classes),
    lambda w: w.guess().take(np.zeros(len(w.ids), bool)), lambda w: w.guess(500, extra=0)])
def test_a_model_that_finds_nothing_is_judged_too(guess, tmp_path):
    world = World(6, 3, seed=2)
    found, _ = evaluated(world, guess=guess(world))
    assert not found.whole.scores["map50"].value
    found.write(tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["scores"]["map50"]["value"] in (0.0, None)


def test_images_without_any_animal_have_counts_but_no_score(tmp_path):
    world = World(6, 3, animals=(0, 0))
    found, _ = evaluated(world)
    assert "there is no score" in found.conclusion[0] and found.whole.counting["mae"].value > 0
    assert found.whole.counting["mape"].value is None
    found.write(tmp_path)


def test_metrics_are_read_by_the_list_of_runs(tmp_path):
    from groundswell.cli.models import _headline

    world = World(12, 5, seed=2)
    found, _ = evaluated(world, controls=[*runs_of(world)[:1], ControlRun(PERMUTED_BOXES, None, "it was not asked")])
    found.write(tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    head = _headline(metrics)
    score = found.whole.scores["map50"]
    assert head["value"] == score.value and head["interval"] == [score.low, score.high]
    assert head["metric"] == "image map50" and head["note"] == "simulated data"
    assert head["best_null_control"] == {"name": "class_prior", "value": found.beside[0].scores["map50"].value}
    assert metrics["not_run"] == [{"name": "permuted_labels", "why": "it was not asked"}]
    names = ("controls", "classes", "precision_recall", "levels", "reliability", "counting", "confusion")
    assert all((tmp_path / "figures" / f"{name}.png").stat().st_size > 5000 for name in names)


def test_what_is_not_known_is_refused():
    world = World(4, 3)
    with pytest.raises(InputError, match="not in the table"):
        evaluate_boxes(World(5, 3).guess(), world.truth, world.table, QUICK)
    with pytest.raises(InputError, match="not known"):
        evaluate_boxes(world.guess(), world.truth.take(np.arange(3)), world.table, QUICK)
