"""Average precision is COCO's, to the last digits, and a resample of groups is what matching the drawn images anew
would give."""

from __future__ import annotations

import json

import numpy as np
import pytest
from box_world import CLASSES, World, annotated, coco_average_precision
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.data.boxes import BoxPredictions, BoxTruth
from groundswell.evaluate.detection_matching import IGNORED, RIGHT, WRONG, match
from groundswell.evaluate.detection_scores import PrecisionCounts, average_precision, mean_over


def nothing():
    return np.zeros((0, 4)), np.zeros(0), np.zeros(0)


def judged(true, found, crowd=None, most=100):
    truth = BoxTruth.of(["a"], [annotated(true, [0] * len(true), crowd)], ("fish",))
    made = BoxPredictions.of(["a"], [(np.array([b for b, _ in found], float).reshape(-1, 4),
                                      np.array([s for _, s in found], float), np.zeros(len(found)))], ("fish",))
    return match(made, truth, most), average_precision(made, truth, most)


# Coarse corners and scores make ties of overlap and of score frequent: there the order of boxes decides.
CORNER = st.integers(0, 6)
BOX = st.tuples(CORNER, CORNER, st.integers(1, 6), st.integers(1, 6)).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])


@st.composite
def sets(draw):
    images = draw(st.integers(1, 5))
    marks, found = [], []
    for _ in range(images):
        true = draw(st.lists(st.tuples(BOX, st.integers(0, 2), st.integers(0, 4)), max_size=5))
        marks.append(annotated([b for b, _, _ in true], [c for _, c, _ in true], [k == 0 for *_, k in true]))
        given_ = draw(st.lists(st.tuples(BOX, st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9]), st.integers(0, 2)),
                               max_size=8))
        near = [(true[k % len(true)][0], 0.6, true[k % len(true)][1]) for k in range(draw(st.integers(0, 3)))
                ] if true else []
        boxes = given_ + near
        found.append((np.array([b for b, _, _ in boxes], float).reshape(-1, 4), np.array([s for _, s, _ in boxes]),
                      np.array([c for *_, c in boxes])) if boxes else nothing())
    ids = [f"image {k}" for k in range(images)]
    return BoxPredictions.of(ids, found, CLASSES), BoxTruth.of(ids, marks, CLASSES)


@settings(max_examples=100)
@given(sets(), st.sampled_from([1, 2, 100]))
def test_average_precision_is_that_of_coco(made, most):
    predictions, truth = made
    ours, theirs = average_precision(predictions, truth, most), coco_average_precision(predictions, truth, most)
    assert np.array_equal(np.isnan(ours), np.isnan(theirs))
    assert np.allclose(ours, theirs, atol=1e-6, rtol=0, equal_nan=True)


@pytest.mark.parametrize("many", [20, 100])
def test_recalls_that_fall_on_a_hundredth_are_counted_as_coco_does(many):
    """35 of 100 is below COCO's point 0.35, which lies a rounding error above it."""
    boxes = np.arange(many)[:, None] * 10.0 + np.array([0, 0, 5, 5.0])
    truth = BoxTruth.of(["a"], [annotated(boxes, [0] * many)], ("fish",))
    for right in range(0, many + 1, many // 20):
        found = np.concatenate([boxes[:right], np.full((1, 4), [0, 100, 5, 105.0]), boxes[right:]])
        made = BoxPredictions.of(["a"], [(found, np.linspace(0.9, 0.1, many + 1), np.zeros(many + 1))], ("fish",))
        assert np.allclose(average_precision(made, truth, 500), coco_average_precision(made, truth, 500), atol=1e-9)


def test_a_larger_world_agrees_with_coco_too():
    world = World(12, 8)
    made = world.guess(5.0, extra=3)
    assert np.allclose(average_precision(made, world.truth), coco_average_precision(made, world.truth), atol=1e-9)


def test_real_annotations_with_moved_boxes_agree_with_coco(real_marine):
    facts = json.loads((real_marine / "deepfish_boxes_640" / "annotations.coco.json").read_text())
    number = {c["id"]: k for k, c in enumerate(facts["categories"])}
    ids = {i["id"]: i["file_name"] for i in facts["images"]}
    by_image = {key: [] for key in ids}
    for mark in facts["annotations"]:
        by_image[mark["image_id"]].append(mark)
    marks = [annotated([[x, y, x + w, y + h] for x, y, w, h in (m["bbox"] for m in found)],
                       [number[m["category_id"]] for m in found]) for found in by_image.values()]
    classes = [c["name"] for c in facts["categories"]]
    truth = BoxTruth.of(list(ids.values()), marks, classes)
    rng, found = np.random.default_rng(0), []
    for mark in marks:
        side = np.tile(mark.boxes[:, 2:] - mark.boxes[:, :2], 2)
        boxes = np.concatenate([mark.boxes + side * rng.normal(0, s, side.shape) for s in (0.03, 0.1, 0.3)])
        boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], 1)
        found.append((boxes, rng.uniform(size=len(boxes)),
                      np.where(rng.uniform(size=len(boxes)) < 0.1, 0, np.tile(mark.label, 3))))
    made = BoxPredictions.of(list(ids.values()), found, classes)
    ours = average_precision(made, truth)
    assert 0.1 < np.nanmean(ours) < 0.9
    assert np.allclose(ours, coco_average_precision(made, truth), atol=1e-6, rtol=0, equal_nan=True)


def test_a_second_box_on_the_same_animal_is_wrong_and_one_in_a_crowd_is_neither():
    box, far = [0, 0, 10, 10], [50, 50, 90, 90]
    found, _ = judged([box], [(box, 0.9), (box, 0.8)])
    assert found.state[0].tolist() == [RIGHT, WRONG]
    found, precision = judged([box, far], [(box, 0.5), ([60, 60, 70, 70], 0.9), ([61, 60, 70, 70], 0.8)], [False, True])
    assert found.state[0].tolist() == [IGNORED, IGNORED, RIGHT] and np.allclose(precision, 1)
    assert len(found.true_label) == 1


def test_wrong_everywhere_is_zero_even_where_boxes_of_another_image_would_fit():
    """Matching across images would find half of them."""
    box, other = [0, 0, 10, 10], [20, 20, 30, 30]
    truth = BoxTruth.of(["a", "b"], [annotated([box], [0]), annotated([other], [0])], ("fish",))
    made = BoxPredictions.of(["a", "b"], [(np.array([b], float), np.array([0.9]), np.zeros(1)) for b in (other, box)],
                             ("fish",))
    assert np.array_equal(average_precision(made, truth), np.zeros((1, 10)))


def test_images_without_animals_cost_precision_and_classes_without_truth_have_no_number():
    box = [0, 0, 10, 10]
    truth = BoxTruth.of(["a", "b"], [annotated([box], [0]), annotated([], [])], ("fish", "whale"))
    spot = (np.array([box], float), np.array([0.9]), np.zeros(1))
    sure = (np.array([box, box], float), np.array([0.95, 0.3]), np.array([0, 1]))
    found = average_precision(BoxPredictions.of(["a", "b"], [spot, sure], truth.classes), truth)
    assert np.allclose(found[0], 0.5) and np.isnan(found[1]).all()
    assert mean_over(found.T).tolist() == [0.5] * 10


@settings(max_examples=40)
@given(sets(), st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_a_resample_is_what_the_drawn_images_would_score(made, times):
    predictions, truth = made
    # Boxes of equal score lie in an order that drawing images more than once cannot keep: make scores differ.
    rng = np.random.default_rng(0)
    score = rng.permutation(np.linspace(0.1, 0.9, max(1, len(predictions.score))))[:len(predictions.score)]
    predictions = BoxPredictions(*(getattr(predictions, name) for name in ("sample_id", "member", "fold", "count",
                                   "boxes")), score.astype(np.float32), predictions.label, predictions.classes)
    times = np.array(times[:len(predictions)])
    counts = PrecisionCounts(match(predictions, truth), np.arange(len(predictions)), len(predictions))
    found = counts.average_precision(np.stack([times, np.ones_like(times)]))
    drawn = predictions.take(np.repeat(np.arange(len(times)), times))
    assert np.allclose(found[0], average_precision(drawn, truth), atol=1e-9, equal_nan=True)
    assert np.allclose(found[1], average_precision(predictions, truth), atol=1e-9, equal_nan=True)


def test_truth_that_is_not_known_is_not_taken_for_none():
    world = World(2, 2)
    made = world.guess()
    with pytest.raises(InputError, match="not known"):
        match(made, world.truth.take(np.array([0, 1])))
    with pytest.raises(InputError, match="cannot be held against"):
        match(made, BoxTruth.of(world.ids, world.marks, ("a", "b", "c")))
