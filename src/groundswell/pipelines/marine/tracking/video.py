"""marine: recordings as a stream of frames, at the rate at which they are looked at.

Videos (also H.265), folders of images and clips of a set of images. Only one frame is in memory at a time.
"""

from __future__ import annotations

import contextlib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.image_files import READABLE, looks_readable, read_image
from groundswell.pipelines.marine.vision import cv2


@dataclass(frozen=True)
class Frame:
    """One frame that is looked at.

    Attributes:
        index: its number in the recording, from 0, those that are passed over counted.
        time_s: seconds from the recording's start.
        image: uint8 (h, w, 3), RGB.
    """

    index: int
    time_s: float
    image: NDArray[np.uint8]


class Frames(ABC):
    """A recording; each iteration goes through it from its start.

    Attributes:
        name: file or folder it comes from, without its path.
        rate_hz: frames it has in a second.
        fps: frames of it that are looked at in a second, the rate of the video that shows them.
        total: about how many frames that will be; None where it is not known.
        left_out: sentences about what could not be read in the last iteration.
    """

    name: str
    rate_hz: float
    fps: float
    total: int | None
    left_out: list[str]

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """The frames that are looked at, in their order, with growing times."""


class _Due:
    """Which frames are looked at: of every 1/fps seconds the first."""

    def __init__(self, fps: float, rate_hz: float) -> None:
        self._fps, self._half, self._last = fps, 0.5 / rate_hz, -1

    def __call__(self, time_s: float) -> bool:
        # Half a frame of grace: at 60 frames a second each twelfth is looked at for 5, however its time is rounded.
        slot = math.floor((time_s + self._half) * self._fps)
        due = slot > self._last
        self._last = max(slot, self._last)
        return due


class Video(Frames):
    """A video file."""

    def __init__(self, path: Path, *, fps: float, partial: bool = False) -> None:
        """Look at ``path`` at ``fps`` frames a second.

        Args:
            path: the file.
            fps: frames to look at in a second; a file with fewer is looked at whole.
            partial: take a file that breaks off for as long as it goes, and say so in ``left_out``.

        Raises:
            InputError: missing, or no video that can be read.
        """
        self.path, self.name, self.left_out = Path(path), Path(path).name, []
        self._partial = partial
        capture = self._opened()
        rate, frames = float(capture.get(cv2().CAP_PROP_FPS)), int(capture.get(cv2().CAP_PROP_FRAME_COUNT))
        capture.release()
        self.rate_hz = rate if math.isfinite(rate) and 0 < rate <= 1000 else 30.0
        self.fps = min(fps, self.rate_hz)
        self._frames = frames if frames > 0 else None
        self.total = math.ceil(frames / self.rate_hz * self.fps) if frames > 0 else None

    def __iter__(self) -> Iterator[Frame]:
        """See Frames.

        Raises:
            InputError: after the last frame that could be read, where the file promises more and ``partial`` is false.
        """
        self.left_out = []
        capture, due, index, time_s = self._opened(), _Due(self.fps, self.rate_hz), 0, -math.inf
        try:
            while capture.grab():
                time_s = self._time(capture, index, time_s)
                if due(time_s):
                    read, image = capture.retrieve()
                    if not read or image is None:
                        break
                    yield Frame(index, time_s, _rgb(image))
                index += 1
        finally:
            capture.release()
        self._check_end(index)

    def _time(self, capture: Any, index: int, before: float) -> float:
        """The frame's own time where the file has one (rates vary), else what its number says."""
        told = float(capture.get(cv2().CAP_PROP_POS_MSEC)) / 1000
        if math.isfinite(told) and told > before and (index == 0 or told > 0):
            return max(told, 0.0)
        return before + 1 / self.rate_hz if index else 0.0

    def _check_end(self, read: int) -> None:
        # What a container says of its length may be an estimate; a frame or one in fifty is let pass.
        if read == 0:
            raise InputError("No frame of this video can be read", where=self.path,
                             fix="Copy it again from where it was recorded, or play it to see what it holds")
        if self._frames is not None and read < self._frames - max(1, self._frames // 50):
            sentence = f"This video breaks off: {read} of its {self._frames} frames can be read"
            if not self._partial:
                raise InputError(sentence, where=self.path,
                                 fix="Copy it again, or take what there is of it with --partial")
            self.left_out.append(f"{sentence} ({self.path})")

    def _opened(self) -> Any:
        if not self.path.is_file():
            raise InputError("There is no such video", where=self.path)
        with _quiet():
            capture = cv2().VideoCapture(str(self.path), cv2().CAP_FFMPEG)
        if not capture.isOpened():
            raise InputError("This is no video that can be read", where=self.path,
                             fix="Give an .mp4, .mov, .mkv or .avi that a player shows, or a folder of images")
        return capture


class ImageFolder(Frames):
    """A folder of images, in the order of the numbers in their names. Damaged ones are left out and named."""

    def __init__(self, path: Path, *, fps: float, rate_hz: float | None = None) -> None:
        """Look at the images of ``path``, which were taken at ``rate_hz`` (None: at ``fps``, all are looked at).

        Raises:
            InputError: no such folder, or none in it is an image.
        """
        self.path, self.name, self.left_out = Path(path), Path(path).name, []
        if not self.path.is_dir():
            raise InputError("There is no such folder of images", where=self.path)
        self._files = sorted(filter(looks_readable, self.path.iterdir()), key=_natural)
        if not self._files:
            raise InputError("There is no image in this folder", where=self.path,
                             fix=f"Give a folder of images ({', '.join(sorted(READABLE))}) or a video")
        self.rate_hz = rate_hz or fps
        self.fps = min(fps, self.rate_hz)
        self.total = math.ceil(len(self._files) / self.rate_hz * self.fps)

    def __iter__(self) -> Iterator[Frame]:
        """See Frames.

        Raises:
            InputError: not one image could be read.
        """
        self.left_out = []
        due, read = _Due(self.fps, self.rate_hz), 0
        for index, file in enumerate(self._files):
            if due(index / self.rate_hz):
                try:
                    image = read_image(file)
                except InputError as error:
                    self.left_out.append(str(error))
                    continue
                read += 1
                yield Frame(index, index / self.rate_hz, image)
        if not read:
            raise InputError("Not one image of this folder can be read", where=self.path)


class Clip(Frames):
    """Images of one clip that something else reads, such as a set of images."""

    def __init__(self, name: str, images: Iterable[tuple[int, Any]], read: Any, *, fps: float, rate_hz: float) -> None:
        """Look at ``images``: numbers of frames at ``rate_hz``, and what ``read`` turns into uint8 (h, w, 3) RGB."""
        self.name, self.left_out, self._read = name, [], read
        self._images = sorted(images, key=lambda pair: pair[0])
        self.rate_hz, self.fps = rate_hz, min(fps, rate_hz)
        self.total = None

    def __iter__(self) -> Iterator[Frame]:
        """See Frames."""
        due = _Due(self.fps, self.rate_hz)
        for index, what in self._images:
            if due(index / self.rate_hz):
                yield Frame(index, index / self.rate_hz, self._read(what))


def open_frames(path: Path, *, fps: float, rate_hz: float | None = None, partial: bool = False) -> Frames:
    """The recording at ``path``: a video file, or a folder of images taken at ``rate_hz``.

    Raises:
        InputError: missing, or nothing that can be read.
    """
    path = Path(path)
    if path.is_dir():
        return ImageFolder(path, fps=fps, rate_hz=rate_hz)
    return Video(path, fps=fps, partial=partial)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV complains on stderr in its own words; our error says what is wrong."""
    logging = cv2().utils.logging
    before = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)


def _natural(file: Path) -> tuple[list[tuple[int, str]], str]:
    """By the numbers in a name, not by their digits: frame 9 comes before frame 10."""
    parts = re.split(r"([0-9]+)", file.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts], file.name


def _rgb(image: Any) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = cv2().cvtColor(image, cv2().COLOR_BGR2RGB)
    return found
