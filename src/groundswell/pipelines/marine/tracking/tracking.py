"""marine: from frames to tracks: a detector's boxes of each frame, followed and counted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from groundswell.core.errors import InputError
from groundswell.core.progress import progress
from groundswell.pipelines.marine.tracking.bytetrack import ByteTrack, Sighting, Track
from groundswell.pipelines.marine.tracking.counting import Alert, Counter, Priority, SpeciesCount, priority_of
from groundswell.pipelines.marine.tracking.recipe import TrackRecipe
from groundswell.pipelines.marine.tracking.video import Frame, Frames

Detect = Callable[[list[NDArray[np.uint8]]], Sequence[tuple[ArrayLike, ArrayLike, ArrayLike]]]
"""Images, uint8 (h, w, 3) RGB, to the boxes (n, 4) in their pixels, scores (n,) and classes (n,) of each, from the
recipe's floor on."""

BOX_COLUMNS = ("frame", "time_s", "track", "label", "score", "left", "top", "right", "bottom")
ANIMAL_COLUMNS = ("track", "species", "priority", "first_s", "last_s", "frames", "best_score", "mean_score")


@dataclass(frozen=True)
class Step:
    """What is known after a frame.

    Attributes:
        frame: the frame.
        sightings: tracks found in it, those not counted yet too.
        rows: boxes of animals, as BOX_COLUMNS has them. Those of an animal come from the frame on in which it is
            counted, then with those of the frames before.
        alerts: given by this frame.
        running: animals counted so far, by class.
    """

    frame: Frame
    sightings: list[Sighting]
    rows: list[tuple[Any, ...]]
    alerts: list[Alert]
    running: dict[str, int]


@dataclass(frozen=True)
class Tracks:
    """The animals of a recording.

    Attributes:
        name: the recording.
        classes: what is told apart.
        recipe: how it was tracked.
        fps: frames looked at in a second; never more than the recording has.
        frames: frames looked at.
        duration_s: time from the first of them to the last.
        animals: one row for each animal that was counted (ANIMAL_COLUMNS); times in seconds, frames it was found in.
        counts: one for each class.
        alerts: in the order of their times.
        boxes: their boxes in all frames (BOX_COLUMNS; label is the box's own class), by frame and track; None where
            they were not kept.
        left_out: sentences about what could not be read.
    """

    name: str
    classes: tuple[str, ...]
    recipe: TrackRecipe
    fps: float
    frames: int
    duration_s: float
    animals: pd.DataFrame
    counts: list[SpeciesCount]
    alerts: list[Alert]
    boxes: pd.DataFrame | None
    left_out: tuple[str, ...] = ()


class Follower:
    """Takes the boxes of one frame after another. Its state grows with the animals counted, not with the frames.

    Attributes:
        frames: taken so far.
        alerts: given so far.
        counter: the counts.
    """

    def __init__(self, classes: Sequence[str], recipe: TrackRecipe, priority: Priority | None = None) -> None:
        self.classes, self.recipe, self.priority = tuple(classes), recipe, priority
        self.tracker = ByteTrack(recipe)
        self.counter = Counter(self.classes, recipe.min_hits, priority)
        self.frames, self.alerts = 0, list[Alert]()
        self._waiting: dict[int, list[tuple[Any, ...]]] = {}

    def take(self, frame: Frame, boxes: ArrayLike, score: ArrayLike, label: ArrayLike) -> Step:
        """Take the next frame and what was found in it, which may be nothing.

        Raises:
            InputError: see ByteTrack.update; a class that there is none of.
        """
        kinds = np.asarray(label).reshape(-1)
        if len(kinds) and (kinds.min() < 0 or kinds.max() >= len(self.classes)):
            raise InputError(f"A box has class {int(kinds.max())}, of {len(self.classes)} classes", where="tracking",
                             fix="Give the classes of the detector")
        sightings = self.tracker.update(boxes, score, label, frame.time_s)
        alerts = self.counter.update(sightings, frame.time_s, frame.index)
        rows = [row for sighting in sightings for row in self._due(frame, sighting)]
        for track in self.tracker.ended:
            self._waiting.pop(track.number, None)
        self.counter.forget(self.tracker.ended)
        self.frames += 1
        self.alerts += alerts
        return Step(frame, sightings, rows, alerts, self.counter.running())

    def _due(self, frame: Frame, sighting: Sighting) -> list[tuple[Any, ...]]:
        """The box's row, once its track is an animal, with those that waited; nothing before."""
        track = sighting.track
        row = (frame.index, frame.time_s, track.number, sighting.label, sighting.score, *map(float, sighting.box))
        if track.hits < self.recipe.min_hits:
            self._waiting.setdefault(track.number, []).append(row)
            return []
        return [*self._waiting.pop(track.number, []), row]

    def animals(self) -> pd.DataFrame:
        """The table of Tracks.animals, oldest track first."""
        return pd.DataFrame([self._animal(track) for track in sorted(self.counter.counted, key=lambda t: t.number)],
                            columns=list(ANIMAL_COLUMNS))

    def _animal(self, track: Track) -> tuple[Any, ...]:
        species = self.classes[track.label]
        return (track.number, species, priority_of(self.priority, species), track.first_s, track.last_s, track.hits,
                track.best, track.mean_score)


def track(detect: Detect, frames: Frames | Iterable[Frame], recipe: TrackRecipe, *, classes: Sequence[str],
          priority: Priority | None = None, batch: int = 8, sinks: Sequence[Callable[[Step], None]] = (),
          keep_boxes: bool = True, quiet: bool = False) -> Tracks:
    """Follow and count the animals of a recording.

    Args:
        detect: the detector; it is given ``batch`` images at once, each frame once.
        frames: the recording, at the rate at which it is to be looked at (open_frames with the recipe's fps).
        recipe: how to track. Its fps is that of ``frames``, not looked at here: each frame has its own time.
        classes: names of the detector's classes.
        priority: of a class, by name; alerts are given for critical ones.
        batch: frames in memory at once.
        sinks: called with each frame's step, in order: to draw or to write it.
        keep_boxes: keep all boxes; false bounds memory on a stream.
        quiet: show no progress.

    Raises:
        InputError: a frame that cannot be read; times that do not grow; answers of the detector that do not fit.
    """
    follower, kept, times = Follower(classes, recipe, priority), list[tuple[Any, ...]](), [0.0, 0.0]
    with progress(getattr(frames, "total", None), "Tracking", "frames", quiet=quiet) as shown:
        for group in _batches(frames, batch):
            found = detect([frame.image for frame in group])
            if len(found) != len(group):
                raise InputError(f"The detector answered {len(found)} times for {len(group)} images", where="tracking")
            for frame, (boxes, score, label) in zip(group, found, strict=True):
                step = follower.take(frame, boxes, score, label)
                times = [times[0] if follower.frames > 1 else frame.time_s, frame.time_s]
                if keep_boxes:
                    kept += step.rows
                for sink in sinks:
                    sink(step)
                shown.advance()
    boxes_table = pd.DataFrame(kept, columns=list(BOX_COLUMNS)).sort_values(["frame", "track"], ignore_index=True)
    return Tracks(getattr(frames, "name", ""), follower.classes, recipe, getattr(frames, "fps", recipe.fps),
                  follower.frames, times[1] - times[0], follower.animals(), follower.counter.counts(), follower.alerts,
                  boxes_table if keep_boxes else None, tuple(getattr(frames, "left_out", ())))


def _batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    going = iter(frames)
    while group := list(itertools.islice(going, size)):
        yield group
