"""What counting promises: each animal once, late enough to be one, and an alert for each that matters most."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from swimming_animals import CLASSES, HEIGHT, WIDTH, blank, detected, number_of, swim

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.tracking.recipe import TrackRecipe
from groundswell.pipelines.marine.tracking.results import track_to_folder, write_tracks
from groundswell.pipelines.marine.tracking.scores import TrackScores, score_tracks
from groundswell.pipelines.marine.tracking.tracking import Follower, Tracks, track
from groundswell.pipelines.marine.tracking.video import Clip, Frame

PRIORITY = {"Lionfish": "critical", "Grouper": "important", "Shark": "general"}
LIONFISH, GROUPER, SHARK = range(3)
HERE = [100.0, 100.0, 180.0, 140.0]


def _follow(frames: list[list[tuple[list[float], float, int]]], **changes: object) -> Tracks:
    """Track frames, each a list of boxes with score and class, five a second."""
    def detect(images: list[np.ndarray]) -> list[tuple[list, list, list]]:
        found = [frames[number_of(image)] for image in images]
        return [([box for box, _, _ in one], [score for _, score, _ in one], [label for _, _, label in one])
                for one in found]

    return track(detect, blank(len(frames)), TrackRecipe(**changes), classes=CLASSES, priority=PRIORITY, quiet=True)


def _numbers(tracks: Tracks) -> dict[str, int]:
    return {count.species: count.count for count in tracks.counts}


def test_an_animal_counts_once_it_was_found_often_enough_and_never_again() -> None:
    seen = [(HERE, 0.9, GROUPER)]
    assert _numbers(_follow([[seen[0]]] * 2)) == {"Lionfish": 0, "Grouper": 0, "Shark": 0}
    assert _numbers(_follow([[seen[0]]] * 3)) == {"Lionfish": 0, "Grouper": 1, "Shark": 0}
    tracks = _follow([[seen[0]]] * 60)
    assert _numbers(tracks) == {"Lionfish": 0, "Grouper": 1, "Shark": 0}
    assert (tracks.counts[GROUPER].first_s, tracks.counts[GROUPER].last_s) == (0.0, 59 / 5)
    assert (tracks.counts[SHARK].first_s, tracks.counts[SHARK].last_s) == (None, None)
    assert tracks.boxes is not None
    assert tracks.boxes["frame"].tolist() == list(range(60))  # Those before it was counted too.


def test_flickers_are_not_counted_and_have_no_boxes() -> None:
    tracks = _follow([[(HERE, 0.9, SHARK)] if frame % 4 == 0 else [] for frame in range(80)])
    assert sum(_numbers(tracks).values()) == 0
    assert tracks.boxes is not None
    assert tracks.boxes.empty
    assert tracks.frames == 80


def test_a_count_moves_with_what_an_animal_turns_out_to_be() -> None:
    frames = [[(HERE, 0.9, SHARK)]] * 3 + [[(HERE, 0.8, LIONFISH)]] * 6
    tracks = _follow(frames)
    assert _numbers(tracks) == {"Lionfish": 1, "Grouper": 0, "Shark": 0}
    assert tracks.animals["species"].tolist() == ["Lionfish"]
    assert [(alert.species, alert.frame) for alert in tracks.alerts] == [("Lionfish", 6)]
    assert [count.most_at_once for count in tracks.counts] == [1, 0, 0]


def test_each_critical_animal_gives_one_alert_when_it_is_counted() -> None:
    far = [600.0, 100.0, 680.0, 140.0]
    frames = [[(HERE, 0.9, LIONFISH)] + ([(far, 0.8, LIONFISH)] if frame > 10 else []) for frame in range(40)]
    tracks = _follow(frames)
    assert [(alert.frame, alert.track, alert.time_s) for alert in tracks.alerts] == [(2, 1, 0.4), (13, 2, 2.6)]
    assert tracks.alerts[1].box == tuple(far)
    assert tracks.counts[LIONFISH].most_at_once == 2
    assert tracks.animals["priority"].tolist() == ["critical", "critical"]


def test_priorities_may_be_told_by_a_function_or_not_at_all() -> None:
    frames = [Frame(index, index / 5, np.zeros((2, 2, 3), np.uint8)) for index in range(4)]
    for priority, alerts in ((PRIORITY.__getitem__, 1), (None, 0), ({"Shark": "critical"}, 0)):
        follower = Follower(CLASSES, TrackRecipe(), priority)
        for frame in frames:
            follower.take(frame, [HERE], [0.9], [LIONFISH])
        assert len(follower.alerts) == alerts


def test_frames_without_boxes_reach_the_tracker_through_every_door() -> None:
    seen = []

    def detect(images: list[np.ndarray]) -> list[tuple[list, list, list]]:
        return [([], [], [])] * len(images)

    tracks = track(detect, blank(11), TrackRecipe(), classes=CLASSES, batch=4, quiet=True,
                   sinks=[lambda step: seen.append(step.frame.index)])
    assert seen == list(range(11))
    assert (tracks.frames, tracks.duration_s) == (11, 2.0)


def test_animals_are_found_again_and_counted_despite_misses_jitter_wrong_names_and_false_boxes() -> None:
    scores = TrackScores()
    for seed in range(100, 104):
        truth = swim(seed)
        tracks = track(lambda images, truth=truth, seed=seed: [detected(truth, number_of(image), seed)
                                                               for image in images],
                       blank(200), TrackRecipe(), classes=CLASSES, quiet=True)
        scores += score_tracks(truth, tracks.boxes)
    assert scores.idf1 >= 0.7
    assert scores.count_error <= 0.15


def test_small_animals_that_turn_fast_are_counted_once_for_being_looked_for_where_they_may_be() -> None:
    errors = []
    for reach in (0.0, 3.0):
        scores = TrackScores()
        for seed in range(2):
            truth = swim(seed, pace=(0.1, 0.4))
            tracks = track(lambda images, truth=truth, seed=seed: [detected(truth, number_of(image), seed)
                                                                   for image in images],
                           blank(200), TrackRecipe(reach=reach), classes=CLASSES, quiet=True)
            scores += score_tracks(truth, tracks.boxes)
        errors.append(scores.count_error)
    assert errors[1] <= 0.15 < 0.4 < errors[0]


def test_a_detector_that_does_not_fit_is_refused() -> None:
    frame = Frame(0, 0.0, np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(InputError, match="has class 7"):
        track(lambda images: [([HERE], [0.9], [7])], [frame], TrackRecipe(), classes=CLASSES, quiet=True)
    with pytest.raises(InputError, match="answered 0 times for 1"):
        track(lambda images: [], [frame], TrackRecipe(), classes=CLASSES, quiet=True)


def test_what_a_stream_leaves_in_memory_grows_with_animals_not_with_frames() -> None:
    follower = Follower(CLASSES, TrackRecipe(), PRIORITY)
    for index in range(5000):
        flicker = [(index * 37) % 900, 300.0, (index * 37) % 900 + 40.0, 330.0]
        boxes = [HERE, flicker] if index % 7 == 0 else [HERE]
        follower.take(Frame(index, index / 5, np.zeros((1, 1, 3), np.uint8)), boxes, [0.9] * len(boxes),
                      [LIONFISH] * len(boxes))
        assert len(follower._waiting) <= 3
        assert sum(map(len, follower._waiting.values())) <= 3
    assert len(follower.counter.counted) == 1
    assert len(follower.counter._under) == len(follower.counter._alerted) == len(follower.alerts) == 1


def _swimmers(tmp_path: Path) -> tuple[Tracks, Path]:
    truth = swim(3, animals=5, seconds=8)

    def read(index: int) -> np.ndarray:
        image = np.full((HEIGHT // 2, WIDTH // 2, 3), 90, np.uint8)
        image[0, :2, 0] = divmod(index, 256)
        return image

    def detect(images: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        found = [detected(truth, number_of(image), 3) for image in images]
        return [(boxes / 2, score, label) for boxes, score, label in found]

    frames = Clip("swimmers", [(index, index) for index in range(40)], read, fps=5, rate_hz=5)
    tracks = track_to_folder(detect, frames, tmp_path / "out", TrackRecipe(), classes=CLASSES, priority=PRIORITY,
                             note={"simulated": True}, quiet=True)
    return tracks, tmp_path / "out"


def test_all_that_is_known_of_a_recording_is_written(tmp_path: Path) -> None:
    tracks, folder = _swimmers(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == [
        "alerts.csv", "animals.csv", "annotated.mp4", "boxes.csv", "counts.csv", "tracks.json"]
    told = json.loads((folder / "tracks.json").read_text())
    assert (told["recording"], told["frames"], told["note"]) == ("swimmers", 40, {"simulated": True})
    assert TrackRecipe(**told["recipe"]) == tracks.recipe
    with open(folder / "counts.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["species"]: int(row["count"]) for row in rows} == _numbers(tracks)
    assert sum(_numbers(tracks).values()) == len(tracks.animals) == len(told["animals"]) > 2
    with open(folder / "boxes.csv", newline="") as file:
        boxes = list(csv.DictReader(file))
    assert len(boxes) == tracks.animals["frames"].sum()
    assert {row["species"] for row in boxes} <= set(CLASSES)
    with open(folder / "alerts.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(tracks.alerts) == len(told["alerts"])


def test_a_recording_without_an_animal_is_written_too(tmp_path: Path) -> None:
    write_tracks(_follow([[]] * 4), tmp_path)
    assert json.loads((tmp_path / "tracks.json").read_text())["animals"] == []
    assert (tmp_path / "animals.csv").read_text().count("\n") == 1


def test_nothing_is_left_of_a_recording_that_breaks_off(tmp_path: Path) -> None:
    def read(index: int) -> np.ndarray:
        if index == 5:
            raise InputError("This image is damaged")
        return np.zeros((20, 30, 3), np.uint8)

    frames = Clip("broken", [(index, index) for index in range(9)], read, fps=5, rate_hz=5)
    with pytest.raises(InputError, match="damaged"):
        track_to_folder(lambda images: [([], [], [])] * len(images), frames, tmp_path / "out", TrackRecipe(), batch=2,
                        classes=CLASSES, quiet=True)
    assert list((tmp_path / "out").iterdir()) == []
