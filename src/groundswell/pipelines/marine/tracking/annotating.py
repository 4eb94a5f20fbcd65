"""marine: a video that shows what was tracked: boxes, names, numbers of tracks and running counts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import FailureError
from groundswell.core.files import atomic_path, free_gib
from groundswell.pipelines.marine.tracking.bytetrack import Sighting
from groundswell.pipelines.marine.tracking.counting import Priority, priority_of
from groundswell.pipelines.marine.tracking.tracking import Step
from groundswell.pipelines.marine.vision import cv2

COLOURS = {"critical": (255, 0, 0), "important": (255, 165, 0), "general": (0, 255, 0)}
"""RGB by priority, the seed's."""
PLAIN, YOUNG, DARK, LIGHT = (0, 200, 255), (190, 190, 190), (20, 20, 20), (255, 255, 255)
"""Of an animal without a priority, of a track that is not counted yet, and of text and what lies under it."""
LINES = 12
"""Most classes whose counts are shown."""


def draw(image: NDArray[np.uint8], sightings: Sequence[Sighting], running: dict[str, int], *, classes: Sequence[str],
         min_hits: int, priority: Priority | None = None, time_s: float | None = None) -> NDArray[np.uint8]:
    """The image with what was found in it drawn on it; uint8 (h, w, 3), RGB, as it came; the original is not touched.

    An animal has its species and track number; a track with fewer than ``min_hits`` is grey and has none.
    """
    canvas, unit = np.array(image, np.uint8, order="C"), max(1, round(min(image.shape[:2]) / 360))
    for sighting in sorted(sightings, key=lambda sighting: sighting.track.hits >= min_hits):
        left, top, right, bottom = (round(float(edge)) for edge in sighting.box)
        counted, species = sighting.track.hits >= min_hits, classes[sighting.track.label]
        colour = COLOURS.get(priority_of(priority, species), PLAIN) if counted else YOUNG
        cv2().rectangle(canvas, (left, top), (right, bottom), colour, 2 * unit if counted else unit)
        if counted:
            _text(canvas, f"{species} #{sighting.track.number} {sighting.score:.2f}", left, top, colour, unit)
    lines = [] if time_s is None else [f"{time_s:.1f} s"]
    most = sorted(running.items(), key=lambda pair: (-pair[1], pair[0]))
    lines += [f"{species}: {count}" for species, count in most[:LINES]]
    if len(most) > LINES:
        lines.append(f"{len(most) - LINES} more")
    for place, line in enumerate(lines):
        _text(canvas, line, 4 * unit, (16 * unit + 2) * (place + 1) + 4 * unit, DARK, unit)
    return canvas


@contextlib.contextmanager
def annotated_video(path: Path, *, fps: float, classes: Sequence[str], min_hits: int,
                    priority: Priority | None = None) -> Iterator[Callable[[Step], None]]:
    """A sink that writes an MP4 (MPEG-4 Part 2: desktop players show it, browsers do not) of the frames looked at.

    It plays at ``fps``, as fast as things happened. Frames of another size than the first are fitted into it.

    Raises:
        FailureError: the video cannot be written.
    """
    with atomic_path(path) as temporary:
        writer = _Writer(temporary, path, fps)

        def write(step: Step) -> None:
            writer.add(draw(step.frame.image, step.sightings, step.running, classes=classes, min_hits=min_hits,
                            priority=priority, time_s=step.frame.time_s))

        try:
            yield write
        except BaseException:
            writer.close()
            raise
        writer.finish()


class _Writer:
    def __init__(self, temporary: Path, path: Path, fps: float) -> None:
        self._temporary, self._path, self._fps = temporary, path, fps
        self._out: Any = None
        self._size, self._frames = (0, 0), 0

    def add(self, image: NDArray[np.uint8]) -> None:
        height, width = image.shape[:2]
        if self._out is None:
            self._size = (width + width % 2, height + height % 2)  # The format halves its colours.
            self._out = cv2().VideoWriter(str(self._temporary), cv2().CAP_FFMPEG, cv2().VideoWriter_fourcc(*"mp4v"),
                                          self._fps, self._size)
            if not self._out.isOpened():
                raise FailureError("This video cannot be written", where=self._path,
                                   fix="Track without a video, or choose another folder")
        self._out.write(np.ascontiguousarray(_fitted(image, *self._size)[:, :, ::-1]))
        self._frames += 1

    def close(self) -> None:
        if self._out is not None:
            self._out.release()

    def finish(self) -> None:
        """OpenCV reports no error of writing: what was written is looked at."""
        self.close()
        if self._out is None:
            return
        check = cv2().VideoCapture(str(self._temporary), cv2().CAP_FFMPEG)
        frames = int(check.get(cv2().CAP_PROP_FRAME_COUNT)) if check.isOpened() else 0
        check.release()
        if frames != self._frames:
            raise FailureError(f"Only {frames} of {self._frames} frames of the video arrived on the disk",
                               where=self._path,
                               fix=f"Free some space ({free_gib(self._path.parent):.1f} GiB left) and run again")


def _fitted(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    if image.shape[:2] == (height, width):
        return image
    share = min(width / image.shape[1], height / image.shape[0], 1.0)
    small = image if share == 1 else cv2().resize(image, (max(1, round(image.shape[1] * share)),
                                                          max(1, round(image.shape[0] * share))))
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[:small.shape[0], :small.shape[1]] = small
    return canvas


def _text(canvas: NDArray[np.uint8], text: str, left: int, bottom: int, colour: tuple[int, int, int],
          unit: int) -> None:
    """Text on a bar of ``colour``, above ``bottom`` or, where there is no room, below; never off the image's sides."""
    face, scale = cv2().FONT_HERSHEY_SIMPLEX, 0.4 * unit
    (width, height), under = cv2().getTextSize(text, face, scale, unit)
    left = max(0, min(left, canvas.shape[1] - width - 2 * unit))
    bottom = bottom if bottom - height - under - 2 * unit >= 0 else height + under + 2 * unit
    cv2().rectangle(canvas, (left, bottom - height - under - 2 * unit), (left + width + 2 * unit, bottom), colour, -1)
    red, green, blue = colour
    shade = DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else LIGHT
    cv2().putText(canvas, text, (left + unit, bottom - under), face, scale, shade, unit, cv2().LINE_AA)
