"""Scores become frequencies where they were none, stay where they were, and boxes keep their order; thresholds are
those that counting by hand would choose."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored_boxes import CLASSES, halves, logits, of_scores, simulated

from groundswell.core.errors import InputError
from groundswell.core.files import read_json, write_json
from groundswell.data.boxes import BoxPredictions
from groundswell.evaluate.detection_calibration import compare_calibration
from groundswell.evaluate.detection_recipe import DetectionEvaluateRecipe
from groundswell.evaluate.detection_scores import average_precision
from groundswell.pipelines.marine.calibration import Calibrator, fit_calibration
from groundswell.pipelines.marine.recipe import CalibrateRecipe
from groundswell.pipelines.marine.thresholds import UNKNOWN, thresholds_of

QUICK = DetectionEvaluateRecipe(bootstrap=300)


@pytest.mark.parametrize("seed", [0, 1])
def test_platt_mends_scores_on_clips_it_did_not_see(seed):
    made, truth = simulated(seed, clips=24, change=lambda z: 2 * z + 1)
    fitted, judged = halves(made, truth)
    found = fit_calibration(fitted, truth, CalibrateRecipe())
    assert np.allclose(found.coefficients, [0.5, -0.5], atol=0.12) and found.own.all()
    compared = compare_calibration(judged, found.apply(judged), truth, QUICK)
    assert compared.helped and compared.whole.difference["ece"].high < 0
    assert compared.whole.before.ece.value > 0.1 and compared.whole.after.ece.value < 0.035
    assert compared.whole.difference["log_loss"].high < 0 and compared.whole.difference["brier"].high < 0
    assert any("lies below 0" in line and "12 clips" in line for line in compared.sentences())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_temperature_is_found_again(temperature):
    made, truth = simulated(clips=20, boxes=400, change=lambda z: z / temperature)
    found = fit_calibration(made, truth, CalibrateRecipe(method="temperature"))
    # A score of z / T is brought back by the slope T; scores below the floor are not fitted.
    assert np.allclose(found.coefficients[:, 0], temperature, rtol=0.1) and (found.coefficients[:, 1] == 0).all()


def test_frequencies_stay_what_they_are():
    made, truth = simulated(3, clips=30)
    fitted, judged = halves(made, truth)
    found = fit_calibration(fitted, truth, CalibrateRecipe())
    assert np.abs(found.frequency(made.score, made.label) - made.score).max() < 0.06
    compared = compare_calibration(judged, found.apply(judged), truth, QUICK)
    assert compared.whole.before.ece.value < 0.03 and compared.whole.after.ece.value < 0.035
    assert not compared.helped and any("does not lie below 0" in line for line in compared.sentences())


@given(st.lists(st.integers(1, 999).map(lambda k: k / 1000), min_size=2, max_size=30), st.floats(0.05, 5),
       st.floats(-3, 3))
def test_boxes_of_a_class_keep_their_order(score, slope, offset):
    found = Calibrator("platt", ("fish",), np.array([[slope, offset]]), np.array([True]), np.array([9]), np.array([3]),
                       ("a",))
    score = np.sort(np.array(score, np.float32))
    given_ = found.frequency(score, np.zeros(len(score), np.int64))
    assert (np.diff(given_) >= 0).all() and given_.dtype == np.float32 and ((given_ >= 0) & (given_ <= 1)).all()
    # Scores that differ by more than rounding stay apart.
    apart = (np.diff(logits(score)) * slope > 0.01) & (given_[1:] < 0.999)
    assert (np.diff(given_)[apart] > 0).all()


def test_average_precision_stays_though_classes_are_fitted_apart():
    made, truth = simulated(5, change=lambda z: 1.5 * z + 2)
    after = fit_calibration(made, truth, CalibrateRecipe()).apply(made)
    assert np.allclose(average_precision(made, truth), average_precision(after, truth), equal_nan=True, atol=1e-9)
    assert after.note["simulated"] and after.note["calibrated"]["method"] == "platt"
    assert np.array_equal(after.boxes, made.boxes) and np.array_equal(after.label, made.label)


def test_each_class_has_its_own_fit_and_a_rare_one_shares():
    rng = np.random.default_rng(0)
    z, label = rng.normal(0, 1.5, 6020), np.repeat([0, 1, 2], [3000, 3000, 20])
    order = rng.permutation(len(z))
    shift = np.array([1.0, -1.0, 0.0])[label]
    score = 1 / (1 + np.exp(-(z + shift)))
    right = rng.uniform(size=len(z)) < 1 / (1 + np.exp(-z))
    made, truth = of_scores(score[order], right[order], label[order], np.arange(len(z)) // 500)
    found = fit_calibration(made, truth, CalibrateRecipe())
    assert found.own.tolist() == [True, True, False]
    assert np.allclose(found.coefficients[:2, 1], [-1, 1], atol=0.15)
    assert -0.3 < found.coefficients[2, 1] < 0.3
    assert found.sentences()[1].endswith("that of all classes serves them: whale.")


def test_boxes_of_one_clip_are_not_enough_for_a_class():
    made, truth = simulated(clips=1, boxes=600)
    found = fit_calibration(made, truth, CalibrateRecipe())
    assert not found.own.any() and not found.why
    assert found.sentences() == ["The calibration (platt) was fitted on "
                                 f"{found.boxes.sum()} boxes with a score of 0.01 or more in 1 clip, "
                                 f"{found.right.sum()} of them right; one for all classes, for none has enough boxes "
                                 "of its own."]


@pytest.mark.parametrize(("right", "says"), [(True, "all are right"), (False, "none are right")])
def test_scores_stay_where_nothing_can_be_learnt(right, says):
    score = np.linspace(0.1, 0.9, 60)
    made, truth = of_scores(score, np.full(60, right))
    found = fit_calibration(made, truth, CalibrateRecipe())
    assert says in found.why and found.sentences()[0].startswith("Scores are left as they are")
    assert np.array_equal(found.apply(made).score, made.score)
    few = fit_calibration(*of_scores(score[:20], np.arange(20) > 9), CalibrateRecipe())
    assert "only 20 boxes" in few.why
    nothing = fit_calibration(*of_scores(np.full(90, 0.005), np.arange(90) > 9), CalibrateRecipe())
    assert "only 0 boxes" in nothing.why


def test_boxes_that_a_line_parts_are_fitted_without_an_end():
    """All right ones above all wrong ones: without Platt's targets the slope would grow without bounds."""
    score = np.linspace(0.02, 0.98, 200)
    made, truth = of_scores(score, score > 0.6, clip=np.arange(200) // 50)
    found = fit_calibration(made, truth, CalibrateRecipe())
    assert 1 < found.coefficients[0, 0] < 20
    frequency = found.frequency(np.array([0.3, 0.95], np.float32), np.zeros(2, np.int64))
    assert frequency[0] < 0.1 and frequency[1] > 0.9


def test_a_calibration_survives_the_disk(tmp_path):
    made, truth = simulated(change=lambda z: 2 * z + 1)
    found = fit_calibration(made, truth, CalibrateRecipe())
    write_json(tmp_path / "c.json", found.to_dict())
    again = Calibrator.from_dict(read_json(tmp_path / "c.json"))
    assert again.to_dict() == found.to_dict() and again.clips == found.clips and len(found.clips) == 20
    assert np.array_equal(again.apply(made).score, found.apply(made).score)


def _damage(change):
    made, truth = simulated(boxes=40)
    facts = json.loads(json.dumps(fit_calibration(made, truth, CalibrateRecipe()).to_dict()))
    change(facts)
    return facts


@pytest.mark.parametrize("change", [
    lambda f: f.pop("method"), lambda f: f.update(method="isotonic"), lambda f: f.update(classes=3),
    lambda f: f["classes"][0].update(slope=-1.0), lambda f: f["classes"][0].update(slope="steep"),
    lambda f: f["classes"][1].update(offset=float("nan")), lambda f: f["classes"][2].pop("name"),
    lambda f: f.update(clips=None), lambda f: f["classes"][0].update(own="yes"),
    lambda f: f["classes"][0].update(slope=None)])
def test_a_damaged_calibration_is_refused(change):
    with pytest.raises(InputError, match="calibration is damaged"):
        Calibrator.from_dict(_damage(change))


@pytest.mark.parametrize("facts", [None, [], "platt", {}])
def test_something_else_is_no_calibration(facts):
    with pytest.raises(InputError, match="calibration is damaged"):
        Calibrator.from_dict(facts)


def test_scores_are_calibrated_once_and_with_their_own_classes():
    made, truth = simulated(boxes=60)
    found = fit_calibration(made, truth, CalibrateRecipe())
    with pytest.raises(InputError, match="calibrated before"):
        found.apply(found.apply(made))
    with pytest.raises(InputError, match="calibrated before"):
        fit_calibration(found.apply(made), truth, CalibrateRecipe())
    other = BoxPredictions.of(["a"], [(np.zeros((0, 4)), np.zeros(0), np.zeros(0))], ("a", "b", "c"))
    with pytest.raises(InputError, match="cannot be used on scores of a, b, c"):
        found.apply(other)


# Thresholds

TEN = (np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05]),
       np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 1], bool))


def chosen(optimise, priority, missed=1):
    made, truth = of_scores(*TEN, classes=("fish",), priority=(priority,), missed=[0] * missed)
    return thresholds_of(made, truth, CalibrateRecipe(optimise=optimise, least=2))


def test_the_threshold_is_that_of_counting_by_hand():
    """Of 6 animals, 5 are found in all: F1 is 6/9 at 0.7, 6/10 at 0.6, 8/11 at 0.5, 8/12 at 0.4."""
    found = chosen("f1", "general")
    assert found.values[0] == pytest.approx(0.45) and found.own.all()
    assert found.measure[0] == pytest.approx(8 / 11)
    assert (found.precision[0], found.recall[0]) == pytest.approx((4 / 5, 4 / 6))


def test_recall_and_precision_move_it_down_and_up():
    """F2 is 5 r / (4 * 6 + n): 20/29 at 0.5, 25/34 at 0.05; F0.5 is 1.25 r / (1.5 + n): 3.75/4.5 at 0.7."""
    low, high = chosen("recall", "general"), chosen("precision", "general")
    assert low.values[0] == pytest.approx(0.05) and low.measure[0] == pytest.approx(25 / 34)
    assert high.values[0] == pytest.approx(0.65) and high.measure[0] == pytest.approx(3.75 / 4.5)


def test_critical_species_take_the_lowest_of_scores_that_are_as_good():
    """The surest 60 boxes are right, so that F1 is 1 there; with 58 to 62 boxes it is within 0.02 of that."""
    score, right = np.linspace(0.99, 0.01, 99), np.arange(99) < 60
    values = []
    for priority in ("critical", "general", None):
        made, truth = of_scores(score, right, classes=("fish",), priority=(priority,))
        values.append(thresholds_of(made, truth, CalibrateRecipe()))
    critical, general, none = values
    assert general.values[0] == none.values[0] == pytest.approx(0.395) and general.measure[0] == 1
    assert critical.values[0] == pytest.approx(0.375) and critical.measure[0] == pytest.approx(120 / 122)
    assert "critical species take the lowest" in " ".join(critical.sentences())
    assert "critical" not in " ".join(general.sentences())


def test_rare_classes_share_and_nothing_right_is_told():
    made, truth = simulated(weights=(0.6, 0.398, 0.002), boxes=60)
    found = thresholds_of(made, truth, CalibrateRecipe())
    assert found.own.tolist() == [True, True, False]
    assert 0 < found.values[2] < 1 and f"whale {found.values[2]:.2f}" in found.sentences()[1]
    wrong = thresholds_of(*of_scores(np.linspace(0.1, 0.9, 40), np.zeros(40, bool)), CalibrateRecipe())
    assert (wrong.values == UNKNOWN).all() and not wrong.own.any()
    assert wrong.sentences()[0].startswith("No threshold could be chosen")


@given(st.lists(st.tuples(st.integers(1, 2**20).map(lambda k: k / 2**20), st.booleans(), st.integers(0, 2)),
                min_size=1, max_size=60),
       st.sampled_from(["f1", "recall", "precision"]))
def test_a_threshold_reads_the_same_in_float32(rows, optimise):
    """Boxes are compared with thresholds in float32 where they are used: no box may change sides."""
    score, right, label = (np.array(column) for column in zip(*rows, strict=True))
    made, truth = of_scores(score, right, label)
    found = thresholds_of(made, truth, CalibrateRecipe(optimise=optimise, least=2))
    assert ((found.values > 0) & (found.values <= 1)).all()
    assert np.array_equal(made.score >= found.values.astype(np.float32)[made.label],
                          made.score.astype(np.float64) >= found.values[made.label])


@pytest.mark.parametrize("optimise", ["f1", "recall", "precision"])
def test_thresholds_are_written_and_drawn(optimise, tmp_path):
    made, truth = simulated(boxes=60)
    found = thresholds_of(made, truth, CalibrateRecipe(optimise=optimise))
    write_json(tmp_path / "t.json", found.to_dict())
    rows = read_json(tmp_path / "t.json")["classes"]
    assert [row["name"] for row in rows] == list(CLASSES)
    assert [row["threshold"] for row in rows] == found.values.tolist()
    found.draw(tmp_path / "t.png")
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_no_box_at_all_has_thresholds_and_a_picture(tmp_path):
    made, truth = of_scores(np.zeros(1), np.zeros(1, bool))
    none = made.keep(np.zeros(1, bool))
    found = thresholds_of(none, truth, CalibrateRecipe())
    found.draw(tmp_path / "t.png")
    write_json(tmp_path / "t.json", found.to_dict())
    assert (found.values == UNKNOWN).all()
    assert fit_calibration(none, truth, CalibrateRecipe()).why.startswith("only 0 boxes")
