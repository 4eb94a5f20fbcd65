"""marine: how good tracks are: MOTA (Bernardin and Stiefelhagen 2008), IDF1 (Ristani et al. 2016), errors of counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from groundswell.core.boxes import iou
from groundswell.core.errors import InputError

EDGES = ["left", "top", "right", "bottom"]


@dataclass(frozen=True)
class TrackScores:
    """Sums over frames, which can be added over recordings.

    Attributes:
        truths, found: boxes of the truth and of what is judged.
        missed, false, switches: boxes of the truth without a match, boxes without a truth, and how often a true
            animal's boxes went on under another track.
        identities: boxes that agree where each true animal is one track and each track one animal, by the assignment
            over the whole recording that makes them most (IDTP).
        true_counts, counts: animals by class.
    """

    truths: int = 0
    found: int = 0
    missed: int = 0
    false: int = 0
    switches: int = 0
    identities: int = 0
    true_counts: Mapping[int, int] = field(default_factory=dict)
    counts: Mapping[int, int] = field(default_factory=dict)

    @property
    def mota(self) -> float:
        """1 - (missed + false + switches) / truths; may be negative; NaN without a truth."""
        return 1 - (self.missed + self.false + self.switches) / self.truths if self.truths else float("nan")

    @property
    def idf1(self) -> float:
        """2 IDTP / (truths + found); NaN where there is neither."""
        both = self.truths + self.found
        return 2 * self.identities / both if both else float("nan")

    @property
    def count_error(self) -> float:
        """Sum over classes of how far their counts are off, as a share of all animals; NaN without any."""
        labels = {*self.true_counts, *self.counts}
        off = sum(abs(self.counts.get(label, 0) - self.true_counts.get(label, 0)) for label in labels)
        total = sum(self.true_counts.values())
        return off / total if total else float("nan")

    def count_errors(self) -> dict[int, float]:
        """For each class that has animals: (counted - true) / true."""
        return {label: (self.counts.get(label, 0) - true) / true
                for label, true in sorted(self.true_counts.items()) if true}

    def __add__(self, other: TrackScores) -> TrackScores:
        """Both recordings together."""
        def both(a: Mapping[int, int], b: Mapping[int, int]) -> dict[int, int]:
            return {label: a.get(label, 0) + b.get(label, 0) for label in sorted({*a, *b})}

        return TrackScores(self.truths + other.truths, self.found + other.found, self.missed + other.missed,
                           self.false + other.false, self.switches + other.switches,
                           self.identities + other.identities, both(self.true_counts, other.true_counts),
                           both(self.counts, other.counts))


def score_tracks(truth: pd.DataFrame, tracks: pd.DataFrame, *, least: float = 0.5,
                 frames: Sequence[int] | None = None) -> TrackScores:
    """Judge the tracks of one recording. Boxes match whatever their classes; classes are judged by the counts.

    Args:
        truth: columns frame, track, label, left, top, right, bottom (pixels); one row a box.
        tracks: the same columns (Tracks.boxes).
        least: overlap, intersection over union, from which boxes match.
        frames: the frames that were looked at; others of the truth do not count. None: all.

    Raises:
        InputError: a track has two boxes in one frame.
    """
    if frames is not None:
        truth = truth[truth["frame"].isin(frames)]
    for table in (truth, tracks):
        if table.duplicated(["frame", "track"]).any():
            raise InputError("A track has two boxes in one frame", where="tracks to be judged")
    true_row, found_row = _numbered(truth), _numbered(tracks)
    together = np.zeros((int(true_row.max(initial=-1)) + 1, int(found_row.max(initial=-1)) + 1), np.int64)
    last: dict[int, int] = {}
    matched = switches = 0
    for a, b in _frames(truth, tracks):
        near = iou(truth[EDGES].to_numpy(float)[a], tracks[EDGES].to_numpy(float)[b])
        pair_a, pair_b = np.nonzero(near >= least)
        np.add.at(together, (true_row[a][pair_a], found_row[b][pair_b]), 1)
        for animal, found in _correspondence(true_row[a], found_row[b], near, last, least):
            switches += last.get(animal, found) != found
            last[animal] = found
            matched += 1
    chosen = linear_sum_assignment(together, maximize=True)
    return TrackScores(len(truth), len(tracks), len(truth) - matched, len(tracks) - matched, switches,
                       int(together[chosen].sum()), _counts(truth), _counts(tracks))


def _frames(truth: pd.DataFrame, tracks: pd.DataFrame) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """For each frame in which both have boxes, in order: their rows."""
    a, b = truth["frame"].to_numpy(), tracks["frame"].to_numpy()
    by_a, by_b = np.argsort(a, kind="stable"), np.argsort(b, kind="stable")
    for frame in np.intersect1d(a, b):
        yield (by_a[slice(*np.searchsorted(a[by_a], [frame, frame + 1]))],
               by_b[slice(*np.searchsorted(b[by_b], [frame, frame + 1]))])


def _correspondence(animals: NDArray[np.int64], found: NDArray[np.int64], near: NDArray[np.float64],
                    last: Mapping[int, int], least: float) -> list[tuple[int, int]]:
    """Who is matched to whom in a frame: as before where that still holds, then most pairs with most overlap."""
    pairs, near = [], np.where(near >= least, near, 0.0)
    column = {int(name): place for place, name in enumerate(found)}
    for row, animal in enumerate(animals.tolist()):
        place = column.get(last.get(animal, -1), -1)
        if place >= 0 and near[row, place] > 0:
            pairs.append((animal, int(found[place])))
            near[row, :], near[:, place] = 0.0, 0.0
    # A pair more outweighs any overlap: none is above 1.
    rows, columns = linear_sum_assignment(np.where(near > 0, near + len(animals) + len(found), 0.0), maximize=True)
    pairs += [(int(animals[row]), int(found[place])) for row, place in zip(rows, columns, strict=True)
              if near[row, place] > 0]
    return pairs


def _numbered(table: pd.DataFrame) -> NDArray[np.int64]:
    return np.unique(table["track"].to_numpy(), return_inverse=True)[1].astype(np.int64).reshape(-1)


def _counts(table: pd.DataFrame) -> dict[int, int]:
    """Animals by class; a track that was called several is the class most of its scores, or boxes, speak for."""
    votes: dict[object, dict[int, float]] = {}
    weight = table["score"].to_numpy(float) if "score" in table else np.ones(len(table))
    for track, label, share in zip(table["track"].tolist(), table["label"].tolist(), weight.tolist(), strict=True):
        votes.setdefault(track, {}).setdefault(label, 0.0)
        votes[track][label] += share
    chosen = [min(vote, key=lambda label: (-vote[label], label)) for vote in votes.values()]
    return {label: chosen.count(label) for label in sorted({*chosen})}
