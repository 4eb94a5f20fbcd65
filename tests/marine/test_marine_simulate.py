"""What simulated underwater scenes promise: exact boxes, true tracks, clips of their own, and the same again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.simulate.animals import KINDS
from groundswell.pipelines.marine.simulate.canvas import Canvas, turning
from groundswell.pipelines.marine.simulate.recipe import CLASSES, ON_GROUND, SceneRecipe
from groundswell.pipelines.marine.simulate.scene import LEAST_PIXELS, LEAST_VISIBLE, Frame, Scene
from groundswell.pipelines.marine.simulate.simulating import read_truth, simulate_set, species_of
from groundswell.pipelines.marine.simulate.video import clip_video, simulate_video, truth_beside
from groundswell.pipelines.marine.simulate.water import draw_water
from groundswell.pipelines.marine.species import load_species
from groundswell.pipelines.marine.vision import cv2

SIDES = ["left", "top", "right", "bottom"]


def recipe(**knobs: Any) -> SceneRecipe:
    return build_recipe(SceneRecipe, {"size": [160, 128], "animals": [3, 6], **knobs})


def frames(clips: int = 4, count: int = 3, **knobs: Any) -> list[Frame]:
    made = recipe(clips=clips, frames=count, **knobs)
    return [frame for clip in range(clips) for frame in Scene(made, clip).frames()]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return simulate_set(tmp_path_factory.mktemp("simulated") / "set", seed=5, clips=5, frames=3, size=(128, 96),
                        animals=(2, 4), unlabelled_share=0.4)


def test_the_same_recipe_gives_the_same_set_and_another_seed_another(images: ImageSet, tmp_path: Path) -> None:
    knobs: dict[str, Any] = {"clips": 5, "frames": 3, "size": (128, 96), "animals": (2, 4), "unlabelled_share": 0.4}
    again = simulate_set(tmp_path / "again", seed=5, **knobs)
    assert again.fingerprint() == images.fingerprint()
    assert read_truth(again).equals(read_truth(images))
    assert simulate_set(tmp_path / "other", seed=6, **knobs).fingerprint() != images.fingerprint()


def test_a_clip_does_not_depend_on_the_clips_before_it() -> None:
    alone, within = Scene(recipe(clips=3), 2).frame(1), [list(Scene(recipe(clips=9), clip).frames()) for clip in (0, 2)]
    assert np.array_equal(alone.image, within[1][1].image)
    assert np.array_equal(alone.seen.boxes, within[1][1].seen.boxes)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_box_is_the_box_of_the_pixels_that_show_the_animal(seed: int) -> None:
    found = 0
    for frame in frames(seed=seed, distractors=[4, 8]):
        height, width = frame.owner.shape
        assert frame.image.shape == (height, width, 3)
        assert len(set(frame.seen.track.tolist())) == len(frame.seen.track)
        for box, track, visible in zip(frame.seen.boxes, frame.seen.track, frame.seen.visible, strict=True):
            y, x = np.nonzero(frame.owner == track)
            assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
            assert 0 <= box[0] < box[2] <= width
            assert 0 <= box[1] < box[3] <= height
            assert min(box[2] - box[0], box[3] - box[1]) >= LEAST_PIXELS
            assert LEAST_VISIBLE <= visible <= 1
            found += 1
    assert found > 15


def test_an_animal_behind_others_shows_less_and_keeps_the_box_of_what_shows() -> None:
    shares = np.concatenate([frame.seen.visible for frame in frames(clips=6, animals=[8, 10])])
    assert (shares < 0.9).any()
    assert (shares > 0.999).any()


def test_tracks_keep_their_class_and_move_smoothly() -> None:
    made = recipe(seed=3, frames=30, fps=15.0, animals=[5, 5], turbidity=[0, 0.1])
    labels: dict[int, int] = {}
    last: dict[int, tuple[int, np.ndarray[Any, Any]]] = {}
    steps = []
    for number, frame in enumerate(Scene(made, 0).frames()):
        for box, label, track, visible in zip(frame.seen.boxes, frame.seen.label, frame.seen.track, frame.seen.visible,
                                              strict=True):
            assert labels.setdefault(int(track), int(label)) == label
            middle = (box[:2] + box[2:]) / 2
            before = last.get(int(track))
            if before is not None and before[0] == number - 1 and visible > 0.98:
                steps.append(float(np.hypot(*(middle - before[1]))))
            last[int(track)] = (number, middle)
    assert len(steps) > 40
    assert max(steps) < 14
    assert np.quantile(steps, 0.9) > 0.4


def test_without_motion_nothing_moves() -> None:
    made = recipe(motion=0.0, noise=0.0, snow=[0, 0], distractors=[0, 0], animals=[3, 3])
    one, other = (Scene(made, 0).frame(number) for number in (0, 4))
    assert np.array_equal(one.seen.boxes, other.seen.boxes)


def test_frames_of_a_clip_are_alike_and_those_of_two_clips_are_not() -> None:
    small = [[cv2().resize(frame.image, (16, 16)).astype(float) for frame in Scene(recipe(), clip).frames()][::4]
             for clip in range(6)]
    within = [np.abs(clip[0] - clip[1]).mean() for clip in small]
    between = [np.abs(small[a][0] - small[b][0]).mean() for a in range(6) for b in range(a)]
    assert np.median(between) > 2.5 * np.median(within)


def test_unlabelled_clips_have_no_boxes_and_their_truth_lies_beside(images: ImageSet) -> None:
    silent = ~images.images.set_index("image")["annotated"]
    assert images.images.loc[~images.images["annotated"], "clip"].nunique() == 2
    assert not silent[images.boxes["image"]].any()
    truth = read_truth(images)
    assert truth.loc[truth["image"].map(silent)].shape[0] > 0
    known = truth[~truth["image"].map(silent)].reset_index(drop=True)
    pd.testing.assert_frame_equal(known[[*SIDES, "label", "track"]], images.boxes[[*SIDES, "label", "track"]])


def test_the_set_says_that_it_is_simulated_and_how(images: ImageSet) -> None:
    assert images.simulated
    assert images.note["simulator"]["seed"] == 5
    assert images.read(str(images.images["image"][0])).shape == (96, 128, 3)
    assert set(images.images["source"]) == {"simulated"}
    assert images.images.groupby("clip")["frame"].apply(list).map(lambda found: found == [0, 1, 2]).all()


def test_truth_of_a_set_that_is_not_simulated_is_refused(images: ImageSet, tmp_path: Path) -> None:
    own = ImageSet.write(tmp_path / "own", classes=images.classes, images=images.images[["image", "clip"]],
                         boxes=images.boxes, files=images.file)
    with pytest.raises(InputError, match="not simulated"):
        read_truth(own)


def test_a_folder_that_is_not_empty_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError):
        simulate_set(tmp_path, clips=1, frames=1)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_every_animal_has_its_species_and_a_drawing() -> None:
    table = load_species()
    ids = species_of(CLASSES)
    assert tuple(KINDS) == CLASSES
    assert set(ON_GROUND) < set(CLASSES)
    assert min(ids) >= 0
    assert [table.priority_of(id) for id in ids] == ["critical"] * 8 + ["important"] * 5 + ["general"] * 3
    assert {table.priority_of(id) for id in species_of(recipe().classes)} == {"critical", "important", "general"}


@pytest.mark.parametrize("name", CLASSES)
def test_an_animal_is_as_long_as_asked_and_stays_on_its_canvas(name: str) -> None:
    kind = KINDS[name]
    for phase in (0.0, 2.0, 4.0):
        canvas = Canvas((0.0, 0.0), 100, kind.half, np.eye(2))
        kind.draw(canvas, tuple(np.random.default_rng(int(phase)).random(48).tolist()), phase)
        edges = np.concatenate([canvas.mask[0], canvas.mask[-1], canvas.mask[:, 0], canvas.mask[:, -1]])
        assert not edges.any()
        height, width = canvas.finish().alpha.shape
        assert 70 <= max(height, width) <= 140


@settings(max_examples=40)
@given(x=st.floats(-50, 50), y=st.floats(-50, 50), length=st.floats(12, 300), angle=st.sampled_from([0, 1, 2, 3]))
def test_what_is_drawn_lies_where_it_was_put(x: float, y: float, length: float, angle: int) -> None:
    canvas = Canvas((x, y), length, (0.5, 0.25), turning(angle * np.pi / 2))
    canvas.fill([(-0.5, -0.25), (0.5, -0.25), (0.5, 0.25), (-0.5, 0.25)], (255, 255, 255))
    drawn = canvas.finish()
    solid = drawn.alpha >= 0.5
    down, across = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    box = np.array([drawn.left + across[0], drawn.top + down[0], drawn.left + across[-1] + 1, drawn.top + down[-1] + 1])
    half = np.array([0.5, 0.25] if angle % 2 == 0 else [0.25, 0.5]) * length
    middle = np.array([x, y])
    assert np.abs(box - np.concatenate([middle - half, middle + half])).max() <= 1.5


def test_water_takes_light_with_distance_until_only_the_water_is_seen() -> None:
    water = draw_water(np.random.default_rng(1), (32, 24), 0.4, 1.0)
    seen = np.full((24, 32, 3), 200, np.float32)
    near, mid, far = (water.through(seen, distance, water.veil) for distance in (0.0, 2.0, 1e4))
    assert np.allclose(near, seen * water.tint)
    assert np.allclose(far, water.veil, atol=1e-3)
    assert (np.abs(mid - water.veil) < np.abs(near - water.veil) + 1e-3).mean() > 0.9


def contrast(**knobs: Any) -> float:
    """How far animals' pixels differ from the same scene's without animals."""
    far = []
    for clip in range(6):
        made = recipe(noise=0.0, snow=[0, 0], **knobs)
        frame, empty = Scene(made, clip).frame(0), Scene(made, clip)
        empty._things = [thing for thing in empty._things if thing not in empty.actors]
        without = empty.frame(0).image.astype(float)
        where = frame.owner >= 0
        far += np.abs(frame.image[where] - without[where]).mean(axis=-1).tolist()
    return float(np.mean(far))


def test_hard_scenes_and_turbid_water_hide_animals() -> None:
    plain = contrast(hard=0.0, turbidity=[0.1, 0.1])
    assert contrast(hard=1.0, turbidity=[0.1, 0.1]) < 0.6 * plain
    assert contrast(hard=0.0, turbidity=[0.9, 0.9]) < 0.7 * plain


def test_imbalance_makes_the_first_class_rare() -> None:
    made = recipe(imbalance=50.0, clips=40, frames=1, classes=["lionfish", "shark", "jellyfish"], size=[96, 96])
    label = np.concatenate([[actor.label for actor in Scene(made, clip).actors] for clip in range(40)])
    count = np.bincount(label, minlength=3)
    assert count[0] < count[1] < count[2]
    assert count[2] > 8 * count[0]


@pytest.mark.parametrize(("knobs", "says"), [
    ({"clip": 3}, "did you mean 'clips'"), ({"clips": 0}, "clips"),
    ({"classes": ["lionfsh"]}, "did you mean 'lionfish'"),
    ({"classes": []}, "one at least"), ({"classes": ["shark", "shark"]}, "once"), ({"animals": [4, 2]}, "smaller end"),
    ({"turbidity": [0.2, 1.4]}, "turbidity"), ({"size": [10, 320]}, "64"), ({"noise": -1.0}, "noise"),
    ({"hard": 1.5}, "hard"), ({"unlabelled_share": 2.0}, "unlabelled_share"), ({"scale": [0.0, 1.0]}, "scale"),
    ({"paths": "crossing", "classes": ["sea star"]}, "swims"), ({"fps": 0.0}, "fps"),
])
def test_bad_knobs_are_refused(tmp_path: Path, knobs: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        simulate_set(tmp_path / "set", **knobs)
    assert not list(tmp_path.iterdir())


def test_a_clip_becomes_a_film_of_its_frames(images: ImageSet, tmp_path: Path) -> None:
    assert clip_video(images, "clip0001", tmp_path / "clip.mp4", fps=4.0) == 3
    film = cv2().VideoCapture(str(tmp_path / "clip.mp4"))
    shown = [film.read()[1] for _ in range(3)]
    assert not film.read()[0]
    film.release()
    assert shown[0].shape == (96, 128, 3)
    first = images.read("clip0001_00000").astype(float)
    assert np.abs(shown[0][..., ::-1] - first).mean() < 12
    with pytest.raises(InputError, match="no clip"):
        clip_video(images, "clip9", tmp_path / "none.mp4")
    assert not (tmp_path / "none.mp4").exists()


def test_a_simulated_film_has_animals_crossing_both_ways_and_its_truth_beside(tmp_path: Path) -> None:
    made = recipe(seed=2, paths="crossing", frames=60, fps=10.0, animals=[6, 6], motion=2.0)
    truth = simulate_video(made, tmp_path / "film.mp4")
    assert truth_beside(tmp_path / "film.mp4").is_file()
    assert truth.columns.tolist() == ["frame", *SIDES, "label", "track", "visible"]
    assert pd.read_parquet(truth_beside(tmp_path / "film.mp4")).equals(truth)
    assert truth["frame"].between(0, 59).all()
    middle = truth.assign(x=(truth["left"] + truth["right"]) / 2).groupby("track")["x"]
    way = (middle.last() - middle.first())[middle.size() > 8]
    assert (way > 15).any()
    assert (way < -15).any()
    assert truth["track"].nunique() > 6
