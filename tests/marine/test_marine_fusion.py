"""Fusion of boxes, and views with their way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import batched_nms

from groundswell.core.errors import InputError
from groundswell.data.boxes import BoxPredictions
from groundswell.pipelines.marine.fusion import fuse, fuse_image, suppressed
from groundswell.pipelines.marine.recipe import FuseRecipe, TtaRecipe
from groundswell.pipelines.marine.tta import View, views

SIZE = 96


def members(seed: int, count: int, classes: int = 3):
    """Boxes of several members around the same animals, with misses, jitter and strays."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.7, (4, 2))
    animals = np.concatenate([low, low + rng.uniform(0.1, 0.3, (4, 2))], 1)
    kinds = rng.integers(0, classes, 4)
    parts = []
    for _ in range(count):
        seen = rng.random(4) < 0.8
        boxes = np.concatenate([animals[seen] + rng.normal(0, 0.01, (int(seen.sum()), 4)),
                                np.tile([[0.8, 0.8, 0.95, 0.95]], (int(rng.integers(0, 2)), 1))])
        labels = np.concatenate([kinds[seen], np.zeros(len(boxes) - int(seen.sum()), np.int64)])
        parts.append((boxes.clip(0, 1), rng.uniform(0.05, 1, len(boxes)), labels.astype(np.int64)))
    return parts


@given(st.integers(0, 10_000), st.integers(1, 4), st.sampled_from([0.4, 0.55, 0.7]))
@settings(max_examples=60, deadline=None)
def test_weighted_boxes_fusion_is_the_published_one(seed, count, overlap) -> None:
    theirs = pytest.importorskip("ensemble_boxes", reason="ensemble-boxes is not installed")
    parts = members(seed, count)
    weights = list(np.random.default_rng(seed).uniform(0.2, 2, count))
    boxes, score, label = fuse_image(parts, weights, FuseRecipe(iou=overlap, floor=0.0))
    once = []  # each member's boxes without its own doubles, as another library takes them out
    for box, one, name in parts:
        kept = batched_nms(torch.tensor(box).double(), torch.tensor(one).double(), torch.tensor(name), overlap).numpy()
        once.append((box[kept], one[kept], name[kept]))
    given_boxes, given_score, given_label = theirs.weighted_boxes_fusion(
        [part[0].tolist() for part in once], [part[1].tolist() for part in once],
        [part[2].tolist() for part in once], weights=weights, iou_thr=overlap, skip_box_thr=0.0)
    ours = sorted(zip(label.tolist(), score.tolist(), boxes.tolist(), strict=True))
    known = sorted(zip(given_label.astype(int).tolist(), given_score.tolist(), given_boxes.tolist(), strict=True))
    assert [one[0] for one in ours] == [one[0] for one in known]
    np.testing.assert_allclose([one[1] for one in ours], [min(one[1], 1) for one in known], atol=1e-5)
    np.testing.assert_allclose([one[2] for one in ours], [one[2] for one in known], atol=1e-5)


@pytest.mark.parametrize("method", ["wbf", "nms"])
def test_a_member_that_answers_twice_does_not_halve_its_own_score(method) -> None:
    sure = (np.array([[10.0, 10, 50, 50]]), np.array([0.8]), np.array([0]))
    twice = (np.array([[10.0, 10, 50, 50], [12.0, 14, 52, 54]]), np.array([0.8, 0.02]), np.array([0, 0]))
    _, alone, _ = fuse_image([sure, sure], [1, 1], FuseRecipe(method=method))
    _, score, _ = fuse_image([sure, twice], [1, 1], FuseRecipe(method=method))
    assert score[0] == pytest.approx(alone[0]) == pytest.approx(0.8)


@pytest.mark.parametrize("method", ["wbf", "nms"])
def test_two_classes_at_one_place_stay_two(method) -> None:
    place = np.array([[10, 10, 50, 50]])
    parts = [(place, np.array([0.9]), np.array([0])), (place + 1, np.array([0.8]), np.array([1]))]
    _, _, label = fuse_image(parts, [1, 1], FuseRecipe(method=method))
    assert sorted(label) == [0, 1]


@pytest.mark.parametrize("method", ["wbf", "nms"])
def test_what_all_members_see_is_surer_than_what_one_sees_and_weights_move_corners(method) -> None:
    parts = [(np.array([[10.0, 10, 50, 50], [70, 70, 90, 90]]), np.array([0.8, 0.8]), np.array([0, 0])),
             (np.array([[14.0, 10, 54, 50]]), np.array([0.8]), np.array([0]))]
    boxes, score, _ = fuse_image(parts, [3, 1], FuseRecipe(method=method))
    assert len(boxes) == 2 and score[0] > score[1]
    assert boxes[0, 0] == pytest.approx(11)


def test_only_the_same_images_and_classes_are_fused_whatever_their_order() -> None:
    one = BoxPredictions.of(["a", "b"], [members(1, 1)[0], members(2, 1)[0]], ["x", "y", "z"])
    turned = one.take(np.array([1, 0]))
    np.testing.assert_allclose(fuse([one, turned], FuseRecipe(), [1, 1]).score,
                               fuse([one, one], FuseRecipe(), [1, 1]).score)
    with pytest.raises(InputError, match="same images"):
        fuse([one, one.take(np.array([0]))], FuseRecipe(), [1, 1])


def test_suppression_keeps_the_surest_of_each_class() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10]])
    found = suppressed(boxes, np.array([0.5, 0.9, 0.7]), np.array([0, 0, 1]), 0.5)
    assert found[1].tolist() == pytest.approx([0.9, 0.7]) and found[2].tolist() == [0, 1]


@given(st.booleans(), st.booleans(), st.integers(0, 3), st.sampled_from([0.75, 0.9, 1.0, 1.1, 1.3]),
       st.integers(0, 70), st.integers(0, 70), st.integers(12, 25), st.integers(12, 25))
@settings(max_examples=80, deadline=None)
def test_a_marked_rectangle_found_in_a_view_comes_back_to_its_place(flip_h, flip_v, turns, scale, left, top, width,
                                                                   height) -> None:
    image = np.zeros((1, 3, SIZE, SIZE), np.uint8)
    image[:, :, top:top + height, left:left + width] = 255
    view = View(flip_h, flip_v, turns, scale)
    seen = view.apply(image)
    assert seen.shape[-1] == view.size(SIZE)
    rows, columns = np.nonzero(seen[0, 0] > 150)
    box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], float)
    slack = 0 if scale == 1 else 1.5
    np.testing.assert_allclose(view.back(box, SIZE)[0], [left, top, left + width, top + height], atol=slack + 1e-4)


def test_views_are_each_seen_once_and_the_image_itself_first() -> None:
    every = views(TtaRecipe(vertical_flip=True, rotations=(0, 90, 180, 270), scales=(1.0,)))
    assert every[0].untouched and len(every) == 8  # the eight symmetries of a square
    picture = np.random.default_rng(0).integers(0, 255, (1, 3, 32, 32), dtype=np.uint8)
    assert len({view.apply(picture).tobytes() for view in every}) == 8
    assert len(views(TtaRecipe())) == 6
    assert views(TtaRecipe(enabled=False)) == [View()]


def test_one_animal_of_which_two_classes_are_thought_is_counted_once() -> None:
    from groundswell.pipelines.marine.detecting import OpenDetector
    from groundswell.pipelines.marine.recipe import FuseRecipe as Fuse

    detector = OpenDetector("d", (), ("a", "b"), ("", ""), (-1, -1), 64, False, False, Fuse(), None, None, (0.3, 0.3))
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10.2], [20, 20, 30, 30]], np.float32)
    kept = detector.counted((boxes, np.array([0.5, 0.6, 0.2], np.float32), np.array([0, 1, 0])))
    assert kept[2].tolist() == [1] and kept[1].tolist() == pytest.approx([0.6])


@pytest.mark.parametrize("method", ["wbf", "nms"])
def test_one_member_alone_is_judged_by_the_boxes_that_it_finds_in_use(method) -> None:
    from groundswell.pipelines.marine.detecting import Member, OpenDetector
    from groundswell.pipelines.marine.recipe import DetectRecipe

    def answer(batch):
        near = np.array([[0.1, 0.1, 0.5, 0.5], [0.12, 0.12, 0.52, 0.52], [0.7, 0.7, 0.9, 0.9]], np.float32)
        scores = np.array([[0.9, 0], [0.6, 0], [0, 0.002]], np.float32)
        return np.stack([near] * len(batch)), np.stack([scores] * len(batch))

    recipe = FuseRecipe(method=method, floor=0.01)
    detector = OpenDetector("d", (Member(answer, False, DetectRecipe(), 0.5),), ("a", "b"), ("", ""), (-1, -1), SIZE,
                            False, False, recipe, None, None, (0.3, 0.3))
    used = detector.predictions(["x"], detector([np.zeros((SIZE, SIZE, 3), np.uint8)]))
    told = fuse([used], recipe, [0.5])
    assert len(used.score) == 3
    for one, other in ((told.boxes, used.boxes), (told.score, used.score), (told.label, used.label)):
        np.testing.assert_array_equal(one, other)
