"""Values that two parts may not share: the test stays whole, and the rest loses little."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from groundswell.splits.parts import EXCLUDED, TEST, TRAIN, VALIDATION
from groundswell.splits.ties import bundle_units, settle


def settled(part, codes):
    part = np.array(part, np.int8)
    settle(part, np.array(codes, np.int64))
    return part.tolist()


@given(st.lists(st.tuples(st.sampled_from([EXCLUDED, TRAIN, TRAIN, VALIDATION, TEST]), st.integers(-1, 8)), min_size=1,
                max_size=80))
def test_no_value_is_in_two_parts_and_the_test_stays_whole(rows):
    before, codes = np.array(rows).T
    after = np.array(settled(before, codes))
    assert ((after == before) | (after == EXCLUDED)).all()
    assert (after[before == TEST] == TEST).all() and (after[codes < 0] == before[codes < 0]).all()
    for code in range(9):
        kept = set(after[codes == code]) - {EXCLUDED}
        assert len(kept) <= 1
        # What only one part had stays.
        if len(set(before[codes == code]) - {EXCLUDED}) <= 1:
            assert (after[codes == code] == before[codes == code]).all()
    untested = ~np.isin(codes, codes[(before == TEST) & (codes >= 0)]) | (codes < 0)
    assert 2 * (after == VALIDATION).sum() >= (untested & (before == VALIDATION)).sum()


def test_what_is_tied_to_the_test_leaves_training_and_validation():
    assert settled([TEST, TRAIN, VALIDATION, TRAIN, VALIDATION], [0, 0, 0, 1, 2]) == [
        TEST, EXCLUDED, EXCLUDED, TRAIN, VALIDATION]
    assert settled([TEST, TRAIN, VALIDATION], [-1, -1, -1]) == [TEST, TRAIN, VALIDATION]


def test_a_value_of_training_and_validation_stays_where_more_of_it_is():
    part, codes = [TRAIN] * 5 + [VALIDATION] * 5, [0, 0, 0, 1, 2, 0, 1, 1, 1, 3]
    assert settled(part, codes) == [TRAIN] * 3 + [EXCLUDED, TRAIN, EXCLUDED] + [VALIDATION] * 4


def test_observers_who_were_everywhere_leave_validation_half_of_its_samples():
    codes = np.tile(np.arange(20), 50)
    part = np.where(np.arange(1000) < 800, TRAIN, VALIDATION)
    after = np.array(settled(part, codes))
    assert (after == VALIDATION).sum() == 100 and (after == TRAIN).sum() == 400


@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 11), st.integers(-1, 6), st.integers(-1, 6)), max_size=40))
def test_bundles_are_what_a_chain_of_shared_values_joins(units, rows):
    of_row = np.array([row[0] % units for row in rows], np.int64)
    ties = {"a": np.array([row[1] for row in rows], np.int64), "b": np.array([row[2] for row in rows], np.int64)}
    bundle = list(range(units))
    for codes in ties.values():
        for i, one in enumerate(codes):
            for j, other in enumerate(codes):
                if one == other >= 0:
                    old, new = bundle[of_row[j]], bundle[of_row[i]]
                    bundle = [new if b == old else b for b in bundle]
    found = bundle_units(of_row, units, ties)
    assert found.shape == (units,)
    assert all((found[i] == found[j]) == (bundle[i] == bundle[j]) for i in range(units) for j in range(units))
