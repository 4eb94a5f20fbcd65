"""Decoding: what comes of raw scores, by rules that can be checked by hand and against another implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.boxes import iou
from groundswell.pipelines.marine.binned import BINS, average_precision, count, mean_average_precision
from groundswell.pipelines.marine.decode import Detections, decode, to_original
from groundswell.pipelines.marine.letterbox import letterbox


def raw(seed, places=200, classes=3):
    chance = np.random.default_rng(seed)
    centre, side = chance.uniform(0.1, 0.9, (places, 2)), chance.uniform(0.02, 0.4, (places, 2))
    boxes = np.concatenate([centre - side / 2, centre + side / 2], 1).astype(np.float32)
    return boxes, (chance.random((places, classes)) ** 3).astype(np.float32)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), threshold=st.sampled_from([0.3, 0.5, 0.7]), most=st.sampled_from([5, 40, 1000]))
def test_suppression_is_that_of_torchvision(seed, threshold, most):
    from torchvision.ops import batched_nms

    boxes, scores = raw(seed)
    found = decode(boxes, scores, size=640, suppress=True, confidence=0.05, iou=threshold, most=most)
    place, label = np.nonzero(scores >= 0.05)
    keep = batched_nms(torch.from_numpy(boxes[place]).double() * 640, torch.from_numpy(scores[place, label]).double(),
                       torch.from_numpy(label), threshold).numpy()[:most]
    assert np.allclose(found.score, scores[place, label][keep])
    assert np.allclose(found.boxes, boxes[place][keep] * 640, atol=1e-3)
    assert np.array_equal(found.label, label[keep])


def test_the_surest_are_kept_whatever_their_number():
    boxes, scores = raw(1, places=2000)
    few = decode(boxes, scores, size=64, suppress=True, most=10)
    many = decode(boxes, scores, size=64, suppress=True, most=100)
    assert len(few.score) == 10 and np.array_equal(many.score[:10], few.score)
    assert (np.diff(many.score) <= 0).all()


def test_classes_do_not_suppress_each_other():
    boxes = np.array([[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.5]], np.float32)
    scores = np.array([[0.9, 0.0], [0.0, 0.8]], np.float32)
    assert decode(boxes, scores, size=100, suppress=True).label.tolist() == [0, 1]


def test_a_set_of_queries_is_not_suppressed():
    boxes = np.array([[0.1, 0.1, 0.5, 0.5]] * 2, np.float32)
    scores = np.array([[0.9], [0.8]], np.float32)
    assert len(decode(boxes, scores, size=100, suppress=False).score) == 2
    assert len(decode(boxes, scores, size=100, suppress=True).score) == 1


def test_a_place_tells_of_one_class_where_asked():
    boxes, scores = np.array([[0.1, 0.1, 0.5, 0.5]], np.float32), np.array([[0.9, 0.6, 0.1]], np.float32)
    assert decode(boxes, scores, size=10, suppress=True, confidence=0.5).label.tolist() == [0, 1]
    assert decode(boxes, scores, size=10, suppress=True, confidence=0.5, single=True).label.tolist() == [0]


def test_nothing_found_is_an_empty_answer():
    found = decode(np.zeros((0, 4), np.float32), np.zeros((0, 3), np.float32), size=10, suppress=True)
    assert found.boxes.shape == (0, 4) and found.label.dtype == np.int64
    boxes, scores = raw(0)
    assert len(decode(boxes, scores * 0, size=10, suppress=True).score) == 0


def test_boxes_come_back_to_the_original_image():
    image = np.zeros((90, 160, 3), np.uint8)
    _, placed = letterbox(image, 64)
    found = Detections(placed.boxes(np.array([[10, 20, 50, 60]])), np.ones(1, np.float32), np.zeros(1, np.int64))
    assert to_original(found, placed).boxes[0] == pytest.approx([10, 20, 50, 60], abs=1e-3)


def exact_map50(found, truths, classes):
    """By its definition, image by image: a plain second implementation."""
    values = []
    for label in range(classes):
        rows, total = [], 0
        for one, (boxes, names) in zip(found, truths, strict=True):
            mine = boxes[names == label]
            total, taken = total + len(mine), set()
            for box, score in zip(one.boxes[one.label == label], one.score[one.label == label], strict=True):
                over = iou(box[None], mine)[0] if len(mine) else np.zeros(0)
                over = np.array([0.0 if number in taken else value for number, value in enumerate(over)])
                hit = len(over) > 0 and over.max() >= 0.5
                if hit:
                    taken.add(int(over.argmax()))
                rows.append((score, hit))
        if not total:
            continue
        hits = np.cumsum([hit for _, hit in sorted(rows, key=lambda row: -row[0])])
        recall, precision = hits / total, hits / np.arange(1, len(hits) + 1)
        values.append(np.mean([precision[recall >= point].max(initial=0) for point in np.linspace(0, 1, 101)]))
    return float(np.mean(values))


def made_up(seed, images=20, classes=3):
    """Truths, and detections that are truths moved a little, with others among them."""
    chance = np.random.default_rng(seed)
    found, truths = [], []
    for _ in range(images):
        boxes, _ = raw(int(chance.integers(1 << 30)), places=int(chance.integers(0, 8)))
        names = chance.integers(0, classes, len(boxes))
        wrong, _ = raw(int(chance.integers(1 << 30)), places=10)
        near = boxes + chance.normal(0, 0.02, boxes.shape).astype(np.float32)
        all_boxes = np.concatenate([near, wrong]).astype(np.float32)
        score = np.concatenate([chance.beta(4, 2, len(near)), chance.beta(1, 4, len(wrong))]).astype(np.float32)
        label = np.concatenate([names, chance.integers(0, classes, len(wrong))])
        order = np.argsort(-score)
        found.append(Detections(all_boxes[order], score[order], label[order]))
        truths.append((boxes, names))
    return found, truths


@pytest.mark.parametrize("seed", range(6))
def test_binned_precision_is_a_little_below_the_exact_one(seed):
    found, truths = made_up(seed)
    counts, number = np.zeros((3, 2, BINS)), np.zeros(3)
    for one, (boxes, names) in zip(found, truths, strict=True):
        count(one, boxes, names, counts)
        np.add.at(number, names, 1)
    exact = exact_map50(found, truths, 3)
    assert exact - 0.03 < mean_average_precision(counts, number) <= exact + 1e-9
    assert 0.2 < exact < 1


def test_all_wrong_is_zero_and_all_right_is_one():
    boxes, names = raw(3, places=6)[0], np.array([0, 0, 1, 1, 2, 2])
    apart = np.eye(6, dtype=np.float32)[:, :2] * 0 + np.arange(6, dtype=np.float32)[:, None]
    boxes = np.concatenate([apart, apart + 0.5], 1)
    for shift, expected in ((0.0, 1.0), (50.0, 0.0)):
        counts, number = np.zeros((3, 2, BINS)), np.array([2.0, 2.0, 2.0])
        count(Detections(boxes + np.float32(shift), np.full(6, 0.5, np.float32), names), boxes, names, counts)
        assert average_precision(counts, number) == pytest.approx([expected] * 3)


def test_what_lies_in_an_ignored_box_is_no_false_alarm_and_a_class_without_boxes_does_not_count():
    boxes, names = np.array([[0, 0, 1, 1], [2, 2, 4, 4]], np.float32), np.array([0, -2])
    found = Detections(np.array([[2, 2, 3, 3], [0, 0, 1, 1]], np.float32), np.array([0.9, 0.5], np.float32),
                       np.array([0, 0]))
    counts, number = np.zeros((2, 2, BINS)), np.array([1.0, 0.0])
    count(found, boxes, names, counts)
    assert counts.sum() == 1 and mean_average_precision(counts, number) == 1.0
    assert np.isnan(average_precision(counts, number)[1])
    assert mean_average_precision(counts, np.zeros(2)) == 0.0
