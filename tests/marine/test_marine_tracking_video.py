"""What reading and drawing recordings promises: the frames asked for with their true times, and videos that play."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.tracking.annotating import COLOURS, YOUNG, annotated_video, draw
from groundswell.pipelines.marine.tracking.bytetrack import Sighting, Track
from groundswell.pipelines.marine.tracking.recipe import TrackRecipe
from groundswell.pipelines.marine.tracking.tracking import Step, track
from groundswell.pipelines.marine.tracking.video import Clip, Frame, ImageFolder, Video, open_frames
from groundswell.pipelines.marine.vision import cv2


def _video(path: Path, frames: int, rate_hz: float, size: tuple[int, int] = (64, 48)) -> Path:
    """A video in which frame k is as bright as 4 k."""
    out = cv2().VideoWriter(str(path), cv2().VideoWriter_fourcc(*"MJPG"), rate_hz, size)
    assert out.isOpened()
    for index in range(frames):
        out.write(np.full((size[1], size[0], 3), 4 * index, np.uint8))
    out.release()
    return path


def test_frames_between_are_passed_over_and_each_has_its_own_time(tmp_path: Path) -> None:
    video = Video(_video(tmp_path / "a.avi", 60, 30), fps=5)
    frames = list(video)
    assert [frame.index for frame in frames] == list(range(0, 60, 6))
    assert [frame.time_s for frame in frames] == pytest.approx([index / 30 for index in range(0, 60, 6)], abs=1e-3)
    assert [round(frame.image.mean() / 4) for frame in frames] == list(range(0, 60, 6))
    assert (video.fps, video.rate_hz, video.total) == (5, 30, 10)
    assert [frame.index for frame in video] == list(range(0, 60, 6))  # It can be gone through again.


def test_a_recording_with_fewer_frames_than_asked_for_is_looked_at_whole(tmp_path: Path) -> None:
    video = Video(_video(tmp_path / "a.avi", 12, 4), fps=25)
    assert [frame.index for frame in video] == list(range(12))
    assert video.fps == 4


@given(fps=st.floats(0.2, 60), rate_hz=st.floats(1, 120))
def test_at_any_rate_frames_come_as_often_as_asked(fps: float, rate_hz: float) -> None:
    clip = Clip("clip", [(index, index) for index in range(300)], lambda index: np.zeros((1, 1, 3), np.uint8),
                fps=fps, rate_hz=rate_hz)
    frames = list(clip)
    expected = 300 / rate_hz * min(fps, rate_hz)
    assert expected - 1 <= len(frames) <= expected + 2
    steps = np.diff([frame.index for frame in frames])
    wanted = rate_hz / min(fps, rate_hz)
    assert all(math.floor(wanted) <= step <= math.ceil(wanted) for step in steps)


def test_the_tracker_is_told_the_true_time_between_frames(tmp_path: Path) -> None:
    times = []
    track(lambda images: [([], [], [])] * len(images), Video(_video(tmp_path / "a.avi", 30, 10), fps=3), TrackRecipe(),
          classes=("fish",), sinks=[lambda step: times.append(step.frame.time_s)], quiet=True)
    assert times == pytest.approx([0.0, 0.3, 0.7, 1.0, 1.3, 1.7, 2.0, 2.3, 2.7], abs=1e-3)


def test_images_of_a_folder_come_by_number_and_damaged_ones_are_named(tmp_path: Path) -> None:
    for index in (10, 9, 1, 2):
        cv2().imwrite(str(tmp_path / f"frame{index}.png"), np.full((8, 8, 3), 10 * index, np.uint8))
    (tmp_path / "frame3.png").write_bytes(b"")
    (tmp_path / "frame4.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("no image either")
    folder = open_frames(tmp_path, fps=5)
    assert isinstance(folder, ImageFolder)
    frames = list(folder)
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [10, 20, 90, 100]
    assert [frame.time_s for frame in frames] == pytest.approx([0.0, 0.2, 0.8, 1.0])
    assert ["frame3.png" in folder.left_out[0], "frame4.png" in folder.left_out[1]] == [True, True]
    assert len(folder.left_out) == 2
    half = open_frames(tmp_path, fps=5, rate_hz=10)
    assert [int(frame.image[0, 0, 0]) for frame in half] == [10, 90]


def test_colours_are_red_green_blue(tmp_path: Path) -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[:, :, 2] = 200  # OpenCV writes blue first.
    cv2().imwrite(str(tmp_path / "red.png"), red)
    (frame,) = ImageFolder(tmp_path, fps=5)
    assert frame.image[0, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize("content", [b"", b"no video at all" * 50])
def test_what_is_no_video_is_refused_in_a_sentence(tmp_path: Path, content: bytes,
                                                   capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"no video that can be read.*a\.mp4"):
        open_frames(path, fps=5)
    assert capfd.readouterr().err == ""


def test_what_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such video"):
        open_frames(tmp_path / "none.mp4", fps=5)
    with pytest.raises(InputError, match="no image in this folder"):
        open_frames(tmp_path, fps=5)
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="Not one image"):
        list(open_frames(tmp_path, fps=5))


def test_a_video_that_breaks_off_is_refused_or_taken_for_what_there_is(real_marine: Path, tmp_path: Path) -> None:
    data = bytearray(sorted((real_marine / "mbari_clips").glob("*.mp4"))[-1].read_bytes())
    middle = len(data) // 2
    data[middle:middle + 200_000] = bytes(200_000)
    (tmp_path / "torn.mp4").write_bytes(data)
    with pytest.raises(InputError, match="breaks off: 16 of its 32 frames"):
        list(Video(tmp_path / "torn.mp4", fps=60))
    partial = Video(tmp_path / "torn.mp4", fps=60, partial=True)
    assert len(list(partial)) == 16
    assert "16 of its 32 frames" in partial.left_out[0]
    (tmp_path / "cut.mp4").write_bytes(data[:middle])
    with pytest.raises(InputError, match="no video that can be read"):
        Video(tmp_path / "cut.mp4", fps=5)


def test_real_h265_recordings_are_read(real_marine: Path) -> None:
    for path in sorted((real_marine / "mbari_clips").glob("*.mp4")):
        video = Video(path, fps=5)
        frames = list(video)
        assert video.rate_hz == pytest.approx(60 / 1.001)
        assert [frame.index for frame in frames] == [0, 12, 24]
        assert [frame.time_s for frame in frames] == pytest.approx([0, 0.2002, 0.4004], abs=1e-3)
        assert all(frame.image.shape == (1080, 1920, 3) and frame.image.std() > 5 for frame in frames)


def _sighting(hits: int, label: int = 0, box: tuple[float, ...] = (20, 40, 90, 80)) -> Sighting:
    return Sighting(Track(4, 0.0, 1.0, hits=hits, votes={label: 1.0}), np.array(box, float), 0.8, label)


def test_drawing_shows_priorities_and_leaves_the_image_as_it_was() -> None:
    image = np.full((120, 160, 3), 60, np.uint8)
    names = {"classes": ("Lionfish", "Shark"), "min_hits": 3, "priority": {"Lionfish": "critical", "Shark": "general"}}
    for sighting, colour in ((_sighting(5), COLOURS["critical"]), (_sighting(5, 1), COLOURS["general"]),
                             (_sighting(1), YOUNG)):
        drawn = draw(image, [sighting], {"Lionfish": 3}, time_s=1.0, **names)
        assert tuple(drawn[60, 20]) == colour
        assert drawn.shape == image.shape
    assert (image == 60).all()
    many = draw(image, [_sighting(5, box=(-50, -50, 500, 500))], {f"species {k}": k for k in range(40)}, **names)
    assert many.shape == image.shape


def test_an_annotated_video_has_all_frames_at_the_rate_they_were_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "annotated.mp4"
    with annotated_video(path, fps=4, classes=("Lionfish",), min_hits=3) as sink:
        for index in range(9):
            size = (75, 101, 3) if index != 4 else (200, 120, 3)
            frame = Frame(index, index / 4, np.full(size, 100, np.uint8))
            sink(Step(frame, [_sighting(5)], [], [], {"Lionfish": 1}))
        assert not path.exists()
    video = Video(path, fps=30)
    assert video.rate_hz == pytest.approx(4)
    frames = list(video)
    assert len(frames) == 9
    assert {frame.image.shape for frame in frames} == {(76, 102, 3)}


def test_no_half_a_video_stays_where_drawing_fails(tmp_path: Path) -> None:
    def break_off() -> None:
        with annotated_video(tmp_path / "a.mp4", fps=4, classes=("Lionfish",), min_hits=3) as sink:
            sink(Step(Frame(0, 0.0, np.zeros((20, 20, 3), np.uint8)), [], [], [], {}))
            raise InputError("broken")

    with pytest.raises(InputError):
        break_off()
    assert list(tmp_path.iterdir()) == []
