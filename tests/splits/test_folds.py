"""Groups are shared out whole, each stratum as near the wanted shares as its size allows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from groundswell.splits.folds import apportion, deal_folds, draw_parts, leave_one_out

SHARES = (0.7, 0.2, 0.1)
strata = st.lists(st.integers(-1, 3), min_size=1, max_size=80).map(np.array)


@given(st.integers(0, 500), st.lists(st.floats(-1, 1), min_size=3, max_size=3))
def test_apportioned_numbers_add_up_and_stay_near_their_quota(size, owed):
    owed = np.array(owed) - np.mean(owed)
    quota = size * np.array(SHARES) + owed
    counts = apportion(size, quota)
    assert counts.sum() == size and (counts >= 0).all()
    if size >= 3:
        assert (counts >= 1).all()
        assert (np.abs(counts - quota) < 3).all()
    if size >= 30:
        assert (np.abs(counts - quota) < 1).all(), "largest remainders never miss by a whole one"
    assert not size or counts[0] >= 1


def test_known_allocations():
    assert apportion(19, 19 * np.array(SHARES)).tolist() == [13, 4, 2]
    assert apportion(3, 3 * np.array(SHARES)).tolist() == [1, 1, 1]
    assert apportion(10, 10 * np.array(SHARES)).tolist() == [7, 2, 1]
    assert apportion(1, 1 * np.array(SHARES)).tolist() == [1, 0, 0]


@given(strata, st.integers(0, 99))
def test_parts_follow_the_shares_in_every_stratum_and_over_all(stratum, seed):
    part = draw_parts(stratum, SHARES, seed)
    found = np.unique(stratum)
    for value in found:
        counts = np.bincount(part[stratum == value], minlength=3)
        assert counts[0] >= 1, "training is never without a stratum"
        if counts.sum() >= 3:
            assert (counts >= 1).all()
            assert (np.abs(counts - counts.sum() * np.array(SHARES)) <= 2).all()
    total = np.bincount(part, minlength=3)
    assert (np.abs(total - len(stratum) * np.array(SHARES)) <= 1 + len(found)).all()
    assert (draw_parts(stratum, SHARES, seed) == part).all()


def test_rounding_errors_do_not_add_up_over_strata():
    stratum = np.repeat(np.arange(12), 7)  # 7 groups: 4.9, 1.4, 0.7; rounded alone always 5, 1, 1
    total = np.bincount(draw_parts(stratum, SHARES, 1), minlength=3)
    assert (np.abs(total - 84 * np.array(SHARES)) <= 1 + 12 * 0.3).all()
    assert np.abs(total - 84 * np.array(SHARES)).max() < np.abs(12 * np.array([5, 1, 1]) - 84 * np.array(SHARES)).max()


@given(strata, st.integers(2, 7), st.integers(0, 99))
def test_folds_are_even_in_every_stratum_and_over_all(stratum, folds, seed):
    fold = deal_folds(stratum, folds, seed)
    for chosen in [np.ones(len(stratum), bool)] + [stratum == value for value in np.unique(stratum)]:
        counts = np.bincount(fold[chosen], minlength=folds)
        assert counts.sum() == chosen.sum() and counts.max() - counts.min() <= 1
    assert (deal_folds(stratum, folds, seed) == fold).all()


@given(strata, st.integers(0, 99))
def test_leaving_one_out_gives_each_lone_group_its_fold_and_deals_the_rest(stratum, seed):
    alone = stratum > 0
    if not alone.any():
        alone[0] = True
    fold = leave_one_out(stratum, alone, seed)
    assert sorted(fold[alone]) == list(range(alone.sum()))
    rest = np.bincount(fold[~alone], minlength=alone.sum())
    assert rest.max() - rest.min() <= 1 and rest.sum() == (~alone).sum()


def test_another_seed_draws_another_split():
    stratum = np.repeat([0, 1], 20)
    assert len({draw_parts(stratum, SHARES, seed).tobytes() for seed in range(10)}) == 10
    assert len({deal_folds(stratum, 5, seed).tobytes() for seed in range(10)}) == 10
