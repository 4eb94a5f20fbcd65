"""Controls of detectors know nothing but boxes of the training part, or annotations of other clips."""

from __future__ import annotations

import numpy as np
import pytest
from box_world import CLASSES, World
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.boxes import iou
from groundswell.core.errors import InputError
from groundswell.data.boxes import BoxPredictions
from groundswell.evaluate.controls import run_controls
from groundswell.evaluate.detection_controls import (
    CLASS_PRIOR,
    DETECTION_CONTROLS,
    PERMUTED_BOXES,
    annotations_of,
    class_prior,
    deal_annotations,
    dealt_truth,
    moved,
    permuted_boxes,
)
from groundswell.evaluate.detection_scores import average_precision
from groundswell.splits.manifest import TEST


def test_boxes_without_looking_are_the_same_for_every_image_and_come_from_training():
    world = World(8, 5, seed=2)
    manifest, asked = world.split(), []
    outcome = class_prior(lambda table: asked.append(table) or world.truth)(world.table, manifest)
    made, rows = outcome.predictions, manifest.rows(TEST, 0)
    assert made.sample_id.tolist() == [world.ids[r] for r in rows] and asked == [world.table]
    first = made.of_image(0)
    assert all(np.array_equal(x, y) for k in range(len(made)) for x, y in zip(first, made.of_image(k), strict=True))
    learnt = world.truth.take(np.setdiff1d(np.arange(len(world.ids)), rows))
    assert all(iou(first[0][[k]], learnt.boxes[learnt.label == first[2][k]]).max() > 0.999
               for k in range(len(first[1])))
    assert (np.diff(first[1]) <= 0).all() and 0 < first[1].max() <= 1 and made.note == {"simulated": True}
    for label in range(3):
        of = first[0][first[2] == label]
        assert (iou(of, of) - np.eye(len(of)) < 0.5).all()


def test_its_scores_are_frequencies_and_it_finds_what_never_moves():
    world = World(4, 5, seed=2)
    still = World(4, 5, seed=2)
    still.marks = [world.marks[0]] * 20
    truth = type(world.truth).of(world.ids, still.marks, CLASSES, group=world.table.groups())
    made = class_prior(lambda table: truth)(world.table, world.split()).predictions
    assert np.nanmean(average_precision(made, truth)[:, 0]) == 1 and (made.of_image(0)[1] == 1).all()
    assert len(made.of_image(0)[1]) == len(world.marks[0].label)


def test_boxes_follow_the_size_of_each_image():
    world = World(4, 2, seed=2)
    wide = world.table.replaced(width=np.where(np.arange(8) % 2, 640, 320))
    made = class_prior(lambda table: world.truth)(wide, world.split()).predictions
    ratio = np.array([made.of_image(k)[0][0, 0] for k in range(len(made))])
    sizes = wide.column("width").to_numpy()[wide.positions(made.sample_id.tolist())]
    assert np.allclose(ratio / sizes, ratio[0] / sizes[0])
    assert np.allclose(moved([[1, 2, 3, 4]], (10, 10), (20, 5)), [[2, 1, 6, 2]])


@settings(max_examples=25)
@given(st.integers(2, 7), st.integers(1, 5), st.integers(0, 3))
def test_no_clip_keeps_its_own_annotations_and_each_is_given_once(clips, frames, seed):
    world = World(clips, frames, seed=3)
    table = deal_annotations(world.table, seed)
    donor = annotations_of(table)
    of = dict(zip(world.ids, world.table.groups(), strict=True))
    pairs = {(own, of[name]) for own, name in zip(world.table.groups(), donor, strict=True)}
    assert all(own != other for own, other in pairs)
    assert len({own for own, _ in pairs}) == len({other for _, other in pairs}) == len(pairs) == clips
    # Frames stay in the order of time, so that neighbours have boxes that are alike.
    assert all(a.split("/")[1] == b.split("/")[1] for a, b in zip(world.ids, donor, strict=True))
    assert annotations_of(world.table).tolist() == world.ids


def test_dealt_truth_is_the_donors_on_the_image_s_own_size():
    world = World(4, 3, seed=2, animals=(1, 3))
    table = deal_annotations(world.table.replaced(width=np.repeat([320, 640, 320, 640], 3)))
    truth = dealt_truth(world.truth, table)
    wide = dict(zip(world.ids, table.column("width"), strict=True))
    for k, (name, donor) in enumerate(zip(world.ids, annotations_of(table), strict=True)):
        theirs = world.truth.of_image(world.ids.index(donor))
        boxes, label, _ = truth.of_image(k)
        assert np.array_equal(label, theirs[1]) and np.allclose(boxes[:, 1::2], theirs[0][:, 1::2])
        assert np.allclose(boxes[:, ::2], theirs[0][:, ::2] * wide[name] / wide[donor])
    assert truth.group.tolist() == world.table.groups().tolist()
    same = dealt_truth(world.truth, world.table)
    assert np.array_equal(same.boxes, world.truth.boxes) and same.sample_id.tolist() == world.ids


def test_the_fit_of_dealt_annotations_sees_the_same_split_and_survives_the_disk(tmp_path):
    world, seen = World(8, 4, seed=2), []

    def fit(table, manifest):
        seen.append((table, manifest))
        return world.guess().take(manifest.rows(TEST, 0))

    outcome = permuted_boxes(fit, 3)(world.table, world.split())
    (table, manifest), = seen
    assert np.array_equal(manifest.assignment, world.split().assignment)
    assert outcome.table is table and list(outcome.also.values()) == [world.table]
    table.write(tmp_path / "t.parquet")
    assert type(table).read(tmp_path / "t.parquet").column("annotations_of").tolist() == annotations_of(table).tolist()
    again = permuted_boxes(fit, 3)(world.table, world.split())
    assert annotations_of(again.table).tolist() == annotations_of(table).tolist()


def test_what_cannot_be_run_is_a_reason_and_no_end():
    world = World(1, 4, animals=(0, 0))
    runs = run_controls([(CLASS_PRIOR, class_prior(lambda table: world.truth)),
                         (PERMUTED_BOXES, permuted_boxes(lambda *_: None))], world.table, world.split())
    assert [run.outcome for run in runs] == [None, None]
    assert "has no boxes" in runs[0].why_not and "only one group" in runs[1].why_not
    assert list(DETECTION_CONTROLS) == ["class_prior", "permuted_labels"]


def test_true_boxes_that_are_missing_are_named():
    world = World(2, 2)
    with pytest.raises(InputError, match="not known"):
        dealt_truth(world.truth.take(np.arange(2)), world.table)
    assert BoxPredictions.of([], [], CLASSES).count.sum() == 0
