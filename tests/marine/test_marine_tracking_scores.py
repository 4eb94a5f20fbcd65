"""What scores of tracks promise: the numbers of their definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.boxes import iou
from groundswell.core.errors import InputError
from groundswell.pipelines.marine.tracking.scores import EDGES, TrackScores, score_tracks

COLUMNS = ["frame", "track", "label", *EDGES]


def _table(rows: list[tuple[int, int, float]], label: int = 0) -> pd.DataFrame:
    """Boxes of 10 by 10 pixels at a place each: (frame, track, left)."""
    return pd.DataFrame([(frame, track, label, left, 0.0, left + 10, 10.0) for frame, track, left in rows],
                        columns=COLUMNS)


TABLES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 24)), max_size=12,
                  unique_by=lambda row: row[:2]).map(lambda rows: _table([(f, t, float(x)) for f, t, x in rows]))


def _best_identities(truth: pd.DataFrame, found: pd.DataFrame) -> int:
    """Of all ways to give each animal a track of its own or none, the most boxes that agree."""
    animals, tracks = sorted(truth["track"].unique()), sorted(found["track"].unique())

    near = iou(truth[EDGES].to_numpy(), found[EDGES].to_numpy()) >= 0.5
    near &= truth["frame"].to_numpy()[:, None] == found["frame"].to_numpy()[None]

    def agree(animal: int, track: int) -> int:
        return int(near[truth["track"] == animal][:, found["track"] == track].sum())

    worth = {(a, b): agree(a, b) for a in animals for b in tracks}
    choices = itertools.permutations([*tracks, *([None] * len(animals))], len(animals))
    return max(sum(worth.get(pair, 0) for pair in zip(animals, choice, strict=True)) for choice in choices)


@given(truth=TABLES, found=TABLES)
def test_idf1_is_that_of_the_best_of_all_assignments(truth: pd.DataFrame, found: pd.DataFrame) -> None:
    scores = score_tracks(truth, found)
    best = _best_identities(truth, found)
    assert scores.identities == best
    if len(truth) + len(found):
        false, missed = len(found) - best, len(truth) - best
        assert scores.idf1 == pytest.approx(2 * best / (2 * best + false + missed))


@given(truth=TABLES)
def test_the_truth_judged_by_itself_is_perfect_whatever_its_tracks_are_called(truth: pd.DataFrame) -> None:
    # Two animals at one place cannot be told apart: of those only one stays.
    truth = truth.drop_duplicates(["frame", "left"])
    truth = truth.assign(left=truth["left"] * 20, right=truth["left"] * 20 + 10)
    scores = score_tracks(truth, truth.assign(track=9 - truth["track"]))
    assert (scores.missed, scores.false, scores.switches) == (0, 0, 0)
    if len(truth):
        assert (scores.mota, scores.idf1, scores.count_error) == (1.0, 1.0, 0.0)


def test_an_animal_that_changes_its_track_is_one_switch_and_half_the_identity() -> None:
    truth = _table([(frame, 1, 5.0 * frame) for frame in range(10)])
    found = truth.assign(track=[7] * 5 + [8] * 5)
    scores = score_tracks(truth, found)
    assert (scores.switches, scores.mota) == (1, pytest.approx(0.9))
    assert scores.idf1 == pytest.approx(0.5)
    assert scores.count_error == 1.0


def test_a_match_that_still_holds_is_kept_where_another_would_overlap_more() -> None:
    truth = _table([(0, 1, 0.0), (1, 1, 0.0)])
    found = _table([(0, 5, 1.0), (1, 5, 2.0), (1, 6, 0.0)])
    scores = score_tracks(truth, found)
    assert (scores.switches, scores.false, scores.missed) == (0, 1, 0)


def test_misses_and_false_boxes_are_counted() -> None:
    truth = _table([(frame, 1, 0.0) for frame in range(8)])
    found = _table([*((frame, 1, 0.0) for frame in range(6)), (3, 2, 100.0), (9, 2, 100.0)])
    scores = score_tracks(truth, found)
    assert (scores.missed, scores.false) == (2, 2)
    assert scores.mota == pytest.approx(1 - 4 / 8)


def test_frames_that_were_passed_over_do_not_count() -> None:
    truth = _table([(frame, 1, 0.0) for frame in range(12)])
    found = truth[truth["frame"] % 4 == 0]
    assert score_tracks(truth, found, frames=[0, 4, 8]).mota == 1.0
    assert score_tracks(truth, found).mota < 0.5


def test_counts_are_judged_by_class_so_that_errors_do_not_cancel() -> None:
    truth = pd.concat([_table([(0, 1, 0.0), (0, 2, 50.0)], label=0), _table([(0, 3, 100.0)], label=1)])
    found = pd.concat([_table([(0, 1, 0.0)], label=0), _table([(0, 3, 100.0), (0, 4, 150.0)], label=1)])
    scores = score_tracks(truth, found)
    assert scores.count_errors() == {0: -0.5, 1: 1.0}
    assert scores.count_error == pytest.approx(2 / 3)


def test_a_track_of_several_names_counts_as_the_one_its_scores_speak_for() -> None:
    found = _table([(0, 1, 0.0), (1, 1, 0.0), (2, 1, 0.0)]).assign(label=[0, 0, 2], score=[0.2, 0.2, 0.9])
    assert score_tracks(found, found).counts == {2: 1}


def test_recordings_add_up() -> None:
    truth = _table([(frame, 1, 0.0) for frame in range(4)])
    both = score_tracks(truth, truth) + score_tracks(truth, truth.iloc[:0])
    assert both.idf1 == pytest.approx(2 * 4 / 12)
    assert both.counts == {0: 1}
    assert both.true_counts == {0: 2}
    assert np.isnan(TrackScores().mota)
    assert np.isnan(TrackScores().idf1)


def test_a_track_in_two_places_at_once_is_refused() -> None:
    table = _table([(0, 1, 0.0), (0, 1, 50.0)])
    with pytest.raises(InputError, match="two boxes in one frame"):
        score_tracks(table, table)
