"""Dealing labels anew keeps what must be kept, p is uniform where there is nothing, and no deal is without effect."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from groundswell.core.errors import InputError
from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.permutation import (
    aucs,
    fold_statistic,
    mean_over_folds,
    p_value,
    permuted_scores,
    permuted_truths,
)
from groundswell.splits.make import make_split
from groundswell.splits.manifest import HOLDOUT, TEST, TRAIN, VALIDATION, SplitManifest
from groundswell.splits.recipe import SplitRecipe

CLASSES = ("quiet", "before an event")


def make_table(labels, copies=3, groups=None):
    """``copies`` stations of each event; ``groups`` names the group of each event."""
    groups = range(len(labels)) if groups is None else groups
    rows = [{"sample_id": f"e{e}s{s}", "record": f"s{s}", "label": label, "event": f"e{e}", "group": f"g{group}",
             "station": f"s{s}"} for e, (label, group) in enumerate(zip(labels, groups, strict=True))
            for s in range(copies)]
    return SampleTable(pd.DataFrame(rows), CLASSES)


def kfold(table, folds=4, **more):
    return make_split(table, SplitRecipe(regime="kfold", folds=folds, **more))


def answers(table, manifest, score):
    """Predictions of all tested rows from one number a row."""
    p = 1 / (1 + np.exp(-np.asarray(score, float)))
    names, labels = table.column("sample_id").to_numpy(object), table.labels()
    parts = []
    for fold in range(manifest.folds):
        rows = manifest.rows(TEST, fold)
        parts.append(Predictions.of(names[rows], labels[rows], np.stack([1 - p, p], 1)[rows], CLASSES, fold=fold))
    return Predictions.concatenate(parts)


def event_numbers(table):
    return np.array([int(name[1:]) for name in table.column("event")])


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(2, 4))
def test_a_deal_keeps_events_whole_and_the_counts_of_every_fold(seed, folds):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(30) % 3 == 0).astype(int)
    table = make_table(labels, copies=2)
    manifest = kfold(table, folds)
    event, dealt = event_numbers(table), permuted_truths(table, manifest, 8, seed)
    assert dealt.shape == (8, len(table)) and dealt.dtype == np.int8
    for truth in dealt:
        assert all(len(set(truth[event == e])) == 1 for e in range(30))
        for fold in range(folds):
            rows = manifest.rows(TEST, fold)
            assert truth[rows].sum() == table.labels()[rows].sum()
    assert len({tuple(truth) for truth in dealt}) > 1
    assert np.array_equal(dealt[:3], permuted_truths(table, manifest, 3, seed))


def test_every_event_gets_every_label_in_its_turn():
    table = make_table(np.arange(20) % 2)
    dealt = permuted_truths(table, kfold(table), 400, 0)
    share = dealt[:, ::3].mean(0)
    assert share.min() > 0.35 and share.max() < 0.65


def test_groups_of_a_size_swap_their_labels_whole():
    labels = np.repeat([0, 1, 1, 0, 0, 1, 1, 0], 5)
    table = make_table(labels, copies=1, groups=np.repeat(np.arange(8), 5))
    dealt = permuted_truths(table, kfold(table, 2), 50, 0).reshape(50, 8, 5)
    assert (dealt.min(2) == dealt.max(2)).all() and (dealt[:, 0, 0] != labels[0]).any()
    uneven = make_table(labels, copies=1, groups=np.repeat([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [8, 2] * 4 + [0, 0]))
    dealt = permuted_truths(uneven, kfold(uneven, 2), 50, 0)
    assert (dealt.sum(1) == labels.sum()).all() and (dealt != labels).any(1).mean() > 0.9


def test_the_holdout_is_dealt_by_itself_and_unknown_labels_stay():
    table = make_table(np.arange(40) % 2)
    column = table.column("label")
    column[3:6] = pd.NA
    table = table.replaced(label=column)
    manifest = kfold(table, 3, holdout=0.25)
    held = manifest.rows(HOLDOUT)
    dealt = permuted_truths(table, manifest, 20, 1)
    assert len(held) and (dealt[:, held].sum(1) == table.labels()[held].sum()).all()
    assert (dealt[:, held] != table.labels()[held]).any() and (dealt[:, 3:6] == -1).all()


def test_one_event_a_fold_is_no_dead_end():
    """Within the test of a single event there is nothing to deal: such folds are taken together."""
    table = make_table(np.arange(12) % 2, copies=2)
    manifest = make_split(table, SplitRecipe(regime="leave_one_out"))
    assert manifest.folds == 12
    dealt = permuted_truths(table, manifest, 20, 0)
    assert (dealt != table.labels()).any(1).mean() > 0.8 and (dealt.sum(1) == table.labels().sum()).all()
    score = np.where(table.labels() == 1, 2.0, -2.0) + np.random.default_rng(0).normal(size=24)
    result = permuted_scores(answers(table, manifest, score), table, manifest, permutations=199)
    assert result.observed > 0.9 and result.p < 0.02


def test_folds_of_stations_deal_over_all_events_at_once():
    table = make_table(np.arange(16) % 2, copies=3)
    manifest = kfold(table, 3, by="station", purge=False)
    event, dealt = event_numbers(table), permuted_truths(table, manifest, 10, 0)
    assert all(len(set(truth[event == e])) == 1 for truth in dealt for e in range(16))
    assert (dealt != table.labels()).any(1).all()


def test_where_nothing_can_be_dealt_that_is_said():
    table = make_table(np.zeros(8, int))
    assignment = np.full((24, 2), TRAIN, np.int8)
    assignment[:12, 0], assignment[12:, 1] = TEST, TEST
    manifest = SplitManifest.of(table, assignment, "kfold", 0, {})
    with pytest.raises(InputError, match="changes nothing"):
        permuted_truths(table, manifest, 5, 0)
    result = permuted_scores(answers(table, manifest, np.zeros(24)), table, manifest)
    assert result.p is None and "changes nothing" in result.why
    with pytest.raises(InputError, match="split is of 24 samples"):
        permuted_truths(table.take(np.arange(6)), manifest, 5, 0)
    assert permuted_truths(table, manifest, 0, 0).shape == (0, 24)


def test_the_parts_of_a_single_division_are_dealt_apart():
    table = make_table(np.arange(30) % 2)
    manifest = make_split(table, SplitRecipe(regime="grouped"))
    dealt = permuted_truths(table, manifest, 20, 0)
    for part in (TRAIN, VALIDATION, TEST):
        rows = manifest.rows(part)
        assert (dealt[:, rows].sum(1) == table.labels()[rows].sum()).all()
        assert (dealt[:, rows] != table.labels()[rows]).any()


def test_many_areas_at_once_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth, score = rng.integers(0, 2, (20, 31)), rng.normal(size=31).round(1)
    truth[:, 30] = -1
    expected = [roc_auc_score(t[:30], score[:30]) for t in truth]
    assert aucs(score, truth) == pytest.approx(expected)
    each = rng.normal(size=(20, 31)).round(1)
    assert aucs(each, truth) == pytest.approx([roc_auc_score(t[:30], s[:30]) for t, s in zip(truth, each, strict=True)])
    assert np.isnan(aucs(score, np.zeros((1, 31), int)))[0]


def test_the_statistic_is_a_mean_over_folds_or_pooled():
    table = make_table(np.arange(24) % 2, copies=1)
    manifest = kfold(table, 3)
    rng = np.random.default_rng(0)
    score = rng.normal(size=24) + table.labels() + 5 * np.argmax(manifest.assignment == TEST, axis=1)
    p = answers(table, manifest, score)
    each = [roc_auc_score(p.truth[p.fold == k], p.probability[p.fold == k, 1]) for k in range(3)]
    assert fold_statistic(p) == pytest.approx(np.mean(each))
    assert fold_statistic(p, pooled=True) == pytest.approx(roc_auc_score(p.truth, p.probability[:, 1]))
    each = [balanced_accuracy_score(p.truth[p.fold == k], p.predicted[p.fold == k]) for k in range(3)]
    assert fold_statistic(p, "balanced_accuracy") == pytest.approx(np.mean(each))
    # A fold of one class has no area and is left out.
    lame = p.take((p.fold > 0) | (p.truth == 0))
    assert fold_statistic(lame) == pytest.approx(np.mean([roc_auc_score(
        p.truth[p.fold == k], p.probability[p.fold == k, 1]) for k in (1, 2)]))
    with pytest.raises(InputError, match="no statistic 'luck'"):
        fold_statistic(p, "luck")
    assert np.isnan(fold_statistic(p.take(p.truth == 0)))
    assert mean_over_folds(np.array([[1, np.nan], [3, np.nan]]))[0] == 2


def test_p_values_count_the_true_deal_and_ties():
    assert p_value(0.9, np.array([0.1, 0.95, 0.9, 0.5])) == 3 / 5
    assert p_value(2.0, np.zeros(99)) == 0.01
    assert p_value(0.5, np.array([np.nan, 0.1])) == 2 / 3
    assert p_value(np.nan, np.zeros(3)) is None and p_value(0.5, np.zeros(0)) is None
    assert p_value(0.5, np.full(3, np.nan)) is None


def test_a_constant_answer_has_p_one():
    table = make_table(np.arange(20) % 2)
    manifest = kfold(table)
    for statistic in ("roc_auc", "f1_weighted", "mcc"):
        result = permuted_scores(answers(table, manifest, np.zeros(60)), table, manifest, statistic=statistic)
        assert result.p == 1.0, statistic


def test_a_planted_association_has_a_small_p():
    table = make_table(np.arange(40) % 2)
    manifest = kfold(table)
    rng = np.random.default_rng(0)
    score = rng.normal(size=40)[event_numbers(table)] + 1.5 * table.labels()
    for statistic in ("roc_auc", "balanced_accuracy"):
        result = permuted_scores(answers(table, manifest, score), table, manifest, statistic=statistic)
        assert result.p <= 0.02 and result.observed > result.null.mean() + 0.1
        assert len(result.null) == 199


def p_of_nothing(seed, *, copies=4, by_row=False, clustered=False):
    """p of answers that are alike within an event (or, clustered, within a group, whose labels are alike too)."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(12), 8) if clustered else np.arange(32)
    labels = rng.permutation(np.arange(len(groups)) % 2)
    score = rng.normal(size=len(groups))
    if clustered:
        labels, score = rng.permutation(np.arange(12) % 2)[groups], rng.normal(size=12)[groups]
    table = make_table(labels, copies=copies, groups=np.arange(len(groups)) if clustered == "denied" else groups)
    manifest = kfold(table, 2, seed=seed)
    p = answers(table, manifest, score[event_numbers(table)] + 0.1 * rng.normal(size=len(table)))
    if by_row:  # the wrong way: every sample by itself
        ids = table.column("sample_id")
        table = table.replaced(event=ids, group=ids)
    return permuted_scores(p, table, manifest, permutations=99, seed=seed).p


def test_p_is_uniform_where_there_is_nothing():
    p = np.array([p_of_nothing(seed) for seed in range(150)])
    assert abs(p.mean() - 0.5) < 0.08 and (p <= 0.1).mean() < 0.18 and (p <= 0.5).mean() == pytest.approx(0.5, abs=0.13)


def test_dealing_single_samples_would_find_something_in_nothing():
    assert np.mean([p_of_nothing(seed, copies=12, by_row=True) <= 0.1 for seed in range(40)]) > 0.25


def test_groups_of_events_that_share_their_labels_are_not_taken_for_independent():
    careful = np.mean([p_of_nothing(seed, copies=1, clustered=True) <= 0.1 for seed in range(60)])
    careless = np.mean([p_of_nothing(seed, copies=1, clustered="denied") <= 0.1 for seed in range(60)])
    assert careful < 0.2 and careless > 0.25
