"""What following animals promises: one animal, one track, at any frame rate and in any order of boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swimming_animals import detected, swim

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.tracking.bytetrack import ByteTrack
from groundswell.pipelines.marine.tracking.motion import Motion
from groundswell.pipelines.marine.tracking.recipe import PRESETS, TrackRecipe


def _box(x: float, y: float = 200.0, width: float = 80.0, height: float = 40.0) -> list[float]:
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def _numbers(tracker: ByteTrack, boxes: list[list[float]], time_s: float, score: float = 0.9) -> list[int]:
    return [sighting.track.number for sighting in
            tracker.update(np.array(boxes).reshape(-1, 4), [score] * len(boxes), [0] * len(boxes), time_s)]


@settings(max_examples=30)
@given(fps=st.floats(0.5, 120), speed=st.floats(-30, 30), start=st.floats(0, 500))
def test_a_steady_animal_is_one_track_at_any_frame_rate(fps: float, speed: float, start: float) -> None:
    tracker = ByteTrack(TrackRecipe())
    for frame in range(40):
        assert _numbers(tracker, [_box(500 + speed * frame / fps)], start + frame / fps) == [1]
    assert tracker.tracks[0].hits == 40


@settings(max_examples=30)
@given(st.floats(2, 60))
def test_how_far_an_animal_swims_on_unseen_does_not_depend_on_the_frame_rate(fps: float) -> None:
    motion = Motion()
    motion.add(np.array([_box(100)]))
    for frame in range(1, round(4 * fps) + 1):
        motion.predict(1 / fps)
        motion.correct(np.array([0]), np.array([_box(100 + 50 * frame / fps)]))
    motion.predict(1.0)
    centre = motion.boxes()[0, [0, 2]].mean()
    assert centre == pytest.approx(100 + 50 * (round(4 * fps) / fps + 1), abs=6)


def test_an_animal_faster_than_its_own_length_per_frame_is_followed_once_its_speed_is_known() -> None:
    tracker, x, step = ByteTrack(TrackRecipe()), 0.0, 0.0
    for frame in range(30):
        step = min(step + 8, 120)
        x += step
        assert _numbers(tracker, [_box(x)], frame / 5) == [1]


def test_two_animals_that_cross_keep_their_tracks() -> None:
    tracker = ByteTrack(TrackRecipe())
    for frame in range(41):
        time_s = frame / 5
        there, back = _box(100 + 60 * time_s, 200), _box(580 - 60 * time_s, 230)
        seen = {sighting.track.number: sighting.box for sighting in
                tracker.update([back, there], [0.9, 0.8], [0, 0], time_s)}
        first = min(seen, key=lambda number: abs(seen[number][1] - there[1]))
        assert set(seen) == {1, 2}
        if frame == 0:
            goes_there = first
        assert first == goes_there


@settings(max_examples=20)
@given(gap=st.floats(0.1, 0.9), fps=st.sampled_from([5.0, 12.5, 30.0]), speed=st.floats(-60, 60))
def test_an_animal_missed_for_less_than_the_buffer_keeps_its_track(gap: float, fps: float, speed: float) -> None:
    tracker = ByteTrack(TrackRecipe(buffer_s=1.0))
    for frame in range(round(6 * fps)):
        time_s = frame / fps
        hidden = 3 < time_s < 3 + gap
        expected = [] if hidden else [1]
        assert _numbers(tracker, [] if hidden else [_box(600 + speed * time_s)], time_s) == expected


@pytest.mark.parametrize("fps", [5.0, 30.0])
def test_an_animal_that_comes_back_after_the_buffer_is_another_track(fps: float) -> None:
    tracker = ByteTrack(TrackRecipe(buffer_s=1.0))
    seen = [_numbers(tracker, [] if 2 < frame / fps < 3.5 else [_box(300)], frame / fps)
            for frame in range(round(6 * fps))]
    assert seen[0] == [1]
    assert seen[-1] == [2]


def test_frames_without_boxes_end_tracks() -> None:
    tracker = ByteTrack(TrackRecipe(buffer_s=1.0))
    for frame in range(5):
        _numbers(tracker, [_box(300)], frame / 5)
    ended = []
    for frame in range(5, 20):
        assert _numbers(tracker, [], frame / 5) == []
        ended += [track.number for track in tracker.ended]
    assert (ended, tracker.tracks) == ([1], [])


@settings(max_examples=10)
@given(seed=st.integers(0, 50), order=st.randoms(use_true_random=False))
def test_the_order_of_a_frames_boxes_decides_nothing(seed: int, order: object) -> None:
    truth = swim(seed, animals=5, seconds=4)
    straight, mixed = ByteTrack(TrackRecipe()), ByteTrack(TrackRecipe())
    for frame in range(20):
        boxes, score, label = detected(truth, frame, seed)
        rows = list(range(len(score)))
        order.shuffle(rows)  # type: ignore[attr-defined]
        a = straight.update(boxes, score, label, frame / 5)
        b = mixed.update(boxes[rows], score[rows], label[rows], frame / 5)
        assert [(s.track.number, s.box.tolist(), s.label) for s in a] == [
            (s.track.number, s.box.tolist(), s.label) for s in b]


def test_a_weak_box_continues_a_track_but_begins_none() -> None:
    tracker = ByteTrack(TrackRecipe(activation=0.25, floor=0.1))
    assert _numbers(tracker, [_box(300)], 0.0, score=0.2) == []
    for frame in range(1, 5):
        assert _numbers(tracker, [_box(300)], frame / 5) == [1]
    assert _numbers(tracker, [_box(300)], 1.0, score=0.2) == [1]
    assert _numbers(tracker, [_box(300)], 1.2, score=0.05) == []


def test_an_animal_called_two_species_in_turn_is_one_track_of_the_likelier() -> None:
    tracker = ByteTrack(TrackRecipe())
    for frame in range(20):
        label = 1 if frame % 3 == 0 else 2
        tracker.update([_box(300)], [0.8], [label], frame / 5)
    assert [(track.number, track.label, track.hits) for track in tracker.tracks] == [(1, 2, 20)]


def test_two_boxes_at_one_place_are_one_animal_and_two_side_by_side_are_two() -> None:
    tracker = ByteTrack(TrackRecipe())
    found = tracker.update([_box(300), _box(301), _box(360)], [0.5, 0.8, 0.7], [0, 1, 0], 0.0)
    assert sorted((sighting.score, sighting.label) for sighting in found) == [(0.7, 0), (0.8, 1)]


def test_a_flicker_is_given_up_before_the_buffer_is_over() -> None:
    tracker = ByteTrack(TrackRecipe(buffer_s=5.0, min_hits=3))
    _numbers(tracker, [_box(300)], 0.0)
    _numbers(tracker, [], 0.2)
    assert [track.number for track in tracker.tracks] == [1]
    _numbers(tracker, [], 0.4)
    assert tracker.tracks == []


@pytest.mark.parametrize(("boxes", "score", "label", "time_s", "says"), [
    ([_box(1)], [0.9], [0], 1.0, "cannot follow one at 1 s"),
    ([_box(1)], [0.9], [0], float("nan"), "cannot follow"),
    ([_box(float("nan"))], [0.9], [0], 2.0, "no finite number"),
    ([_box(1)], [0.9, 0.8], [0], 2.0, "do not go together"),
])
def test_what_cannot_be_tracked_is_refused(boxes: list, score: list, label: list, time_s: float, says: str) -> None:
    tracker = ByteTrack(TrackRecipe())
    tracker.update([], [], [], 1.0)
    with pytest.raises(InputError, match=says):
        tracker.update(boxes, score, label, time_s)


def test_the_seeds_two_settings_are_kept() -> None:
    nano, shore = PRESETS["nano"], PRESETS["shore"]
    assert (nano.activation, nano.buffer_s * 30, nano.match, nano.fps) == (0.25, 30, 0.8, 5)
    assert (shore.activation, shore.buffer_s * 30, shore.match) == pytest.approx((0.15, 50, 0.85))
    with pytest.raises(ValueError, match="floor"):
        TrackRecipe(activation=0.2, floor=0.3)


def test_what_is_kept_does_not_grow_with_the_stream() -> None:
    tracker, most = ByteTrack(TrackRecipe()), 0
    for frame in range(5000):
        place = 40.0 * (frame % 50)
        _numbers(tracker, [] if frame % 50 > 30 else [_box(place), _box(place, 500)], frame / 5)
        most = max(most, len(tracker.tracks) + len(tracker.ended) + len(tracker._motion.value))
        assert all(len(track.votes) == 1 for track in tracker.tracks)
    assert most <= 12
    assert tracker._next > 150
