"""marine: following animals from frame to frame, after ByteTrack (Zhang et al. 2022, ECCV).

Boxes with high scores are matched to where tracks are expected; then boxes with low scores, which often are animals
half hidden, to tracks that were seen in the frame before. What differs from the article: time is in seconds, so that
nothing depends on the frame rate; a track's class is the one that its boxes' scores add up to most for (an animal that
is called two species in turn stays one animal); and what found no match by overlap is matched once more by how
surprising it would be, for at few frames a second a small animal leaves its own box before its speed is known.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from groundswell.core.boxes import area, iou
from groundswell.core.errors import InputError
from groundswell.pipelines.marine.tracking.motion import Floats, Motion
from groundswell.pipelines.marine.tracking.recipe import TrackRecipe

Rows = NDArray[np.int64]


@dataclass
class Track:
    """One animal, as far as it was followed.

    Attributes:
        number: 1, 2, ... in the order in which tracks begin.
        hits: frames it was found in.
        misses: frames it was not found in, between those and since.
        out: frames since it was last found.
        first_s, last_s: when it was first and last found.
        best: its highest score.
        votes: for each class its boxes had, the sum of their scores.
    """

    number: int
    first_s: float
    last_s: float
    hits: int = 0
    misses: int = 0
    out: int = 0
    best: float = 0.0
    votes: dict[int, float] = field(default_factory=dict)

    @property
    def label(self) -> int:
        """The class with most votes; of equal ones the first."""
        return min(self.votes, key=lambda label: (-self.votes[label], label))

    @property
    def mean_score(self) -> float:
        """Mean score of its boxes."""
        return sum(self.votes.values()) / self.hits

    def found(self, score: float, label: int, time_s: float) -> None:
        """It was found in this frame."""
        self.hits, self.out, self.last_s, self.best = self.hits + 1, 0, time_s, max(self.best, score)
        self.votes[label] = self.votes.get(label, 0.0) + score

    def missed(self) -> None:
        """It was not found in this frame."""
        self.misses, self.out = self.misses + 1, self.out + 1


@dataclass(frozen=True)
class Sighting:
    """A track found in a frame: its box as detected (left, top, right, bottom, pixels), score and class of the box."""

    track: Track
    box: Floats
    score: float
    label: int


class ByteTrack:
    """Tracks of one stream of frames. What it keeps is bounded by the animals in sight, not by the stream's length.

    The result is a pure function of the frames' boxes and times; the order of the boxes of a frame does not matter.

    Attributes:
        tracks: those that may still be continued, in the order they began.
        ended: those that the last frame gave up.
    """

    def __init__(self, recipe: TrackRecipe) -> None:
        self.recipe, self.tracks, self.ended = recipe, list[Track](), list[Track]()
        self._motion, self._next, self._time_s = Motion(), 1, -np.inf

    def update(self, boxes: ArrayLike, score: ArrayLike, label: ArrayLike, time_s: float) -> list[Sighting]:
        """Take the next frame, one without any box too.

        Args:
            boxes: (n, 4), left, top, right, bottom, pixels; all that were found, from the recipe's floor on.
            score: (n,), 0 to 1.
            label: (n,), classes.
            time_s: seconds from the recording's start; it must grow from frame to frame.

        Returns:
            The tracks found in this frame, oldest first; those that begin here among them.

        Raises:
            InputError: the time does not grow; boxes and scores that are no numbers, or do not go together.
        """
        if not (np.isfinite(time_s) and time_s > self._time_s):
            raise InputError(f"A frame at {time_s:g} s cannot follow one at {self._time_s:g} s", where="tracking",
                             fix="Give frames in the order of their times, each at a time of its own")
        taken_boxes, taken_score, taken_label = _taken(boxes, score, label, self.recipe)
        if self.tracks:
            self._motion.predict(time_s - self._time_s)
        self._time_s = float(time_s)
        rows, columns = self._matched(taken_boxes, taken_score)
        begin = np.setdiff1d(np.flatnonzero(taken_score >= self.recipe.activation), columns)
        self._motion.correct(rows, taken_boxes[columns])
        self._motion.add(taken_boxes[begin])
        rows = np.concatenate([rows, np.arange(len(begin)) + len(self.tracks)])
        columns = np.concatenate([columns, begin])
        for _ in begin:
            self.tracks.append(Track(self._next, self._time_s, self._time_s))
            self._next += 1
        sightings = []
        for row, column in sorted(zip(rows.tolist(), columns.tolist(), strict=True)):
            self.tracks[row].found(float(taken_score[column]), int(taken_label[column]), self._time_s)
            sightings.append(Sighting(self.tracks[row], taken_boxes[column], float(taken_score[column]),
                                      int(taken_label[column])))
        self._give_up(np.setdiff1d(np.arange(len(self.tracks)), rows))
        return sightings

    def _matched(self, boxes: Floats, score: Floats) -> tuple[Rows, Rows]:
        """Which tracks go on at which boxes."""
        recipe, expected = self.recipe, self._motion.boxes()
        firm = np.array([track.hits >= recipe.min_hits for track in self.tracks], bool)
        in_sight = np.array([track.out == 0 for track in self.tracks], bool)
        strong = score >= recipe.activation
        rows, columns = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        free_rows, free_columns = np.ones(len(expected), bool), np.ones(len(boxes), bool)

        def stage(distance: Floats, which: NDArray[np.bool_], what: NDArray[np.bool_], limit: float) -> None:
            row, column = np.flatnonzero(which & free_rows), np.flatnonzero(what & free_columns)
            a, b = _pairs(distance[np.ix_(row, column)], limit)
            rows.append(row[a])
            columns.append(column[b])
            free_rows[row[a]], free_columns[column[b]] = False, False

        apart = 1 - iou(expected, boxes)
        stage(apart, firm, strong, recipe.match)
        stage(apart, firm & in_sight, ~strong, recipe.weak_match)
        stage(apart, ~firm, strong, recipe.match)
        if recipe.reach > 0:
            stage(self._motion.surprise(boxes), np.ones(len(expected), bool), strong, recipe.reach)
        return np.concatenate(rows), np.concatenate(columns)

    def _give_up(self, missed: Rows) -> None:
        """Count a miss for tracks that were not found; end those out of sight for too long.

        A track with few hits yet is also given up where its misses outnumber them: a flicker is no animal.
        """
        for row in missed:
            self.tracks[row].missed()
        self._motion.hold_size(missed)
        going = np.array([self._time_s - track.last_s <= self.recipe.buffer_s
                          and (track.hits >= self.recipe.min_hits or track.misses <= track.hits)
                          for track in self.tracks], bool)
        self.ended = [track for track, goes in zip(self.tracks, going, strict=True) if not goes]
        self.tracks = [track for track, goes in zip(self.tracks, going, strict=True) if goes]
        self._motion.keep(going)


def _taken(boxes: ArrayLike, score: ArrayLike, label: ArrayLike, recipe: TrackRecipe) -> tuple[Floats, Floats, Rows]:
    """Boxes that take part, strongest first, of those at one place the strongest."""
    box = np.asarray(boxes, np.float64).reshape(-1, 4)
    number, kind = np.asarray(score, np.float64).reshape(-1), np.asarray(label).reshape(-1).astype(np.int64)
    if not len(box) == len(number) == len(kind):
        raise InputError(f"{len(box)} boxes, {len(number)} scores and {len(kind)} classes do not go together",
                         where="tracking")
    if not (np.isfinite(box).all() and np.isfinite(number).all()):
        raise InputError("A box or a score is no finite number", where="tracking",
                         fix="Look at the weights of the detector that gave it")
    taken = np.flatnonzero((number >= recipe.floor) & (area(box) > 0))
    # Ties are broken by place and class, so that the order in which boxes come decides nothing.
    taken = taken[np.lexsort((*box[taken].T, kind[taken], -number[taken]))]
    overlap, kept = iou(box[taken], box[taken]), list[int]()
    for place in range(len(taken)):
        if not kept or overlap[place, kept].max() < recipe.same_place:
            kept.append(place)
    taken = taken[kept]
    return box[taken], number[taken], kind[taken]


def _pairs(distance: Floats, limit: float) -> tuple[Rows, Rows]:
    """The pairs, none further apart than ``limit``, by which the sum of what each is nearer than that is largest."""
    distance = np.minimum(distance, limit)
    rows, columns = linear_sum_assignment(distance)
    near = distance[rows, columns] < limit
    return rows[near].astype(np.int64), columns[near].astype(np.int64)
