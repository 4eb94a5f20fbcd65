"""Units of different sizes dealt to parts: near their shares, whole, by chance, and so that classes can be learnt."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from groundswell.splits.dealing import best_deal, deal_units

SHARES = (0.7, 0.2, 0.1)
sizes_of_units = st.lists(st.integers(1, 5000), min_size=3, max_size=80).map(np.array)


@given(sizes_of_units, st.integers(0, 99))
def test_parts_come_as_near_their_shares_as_the_largest_unit_lets_them(sizes, seed):
    part = deal_units(sizes, SHARES, seed)
    held = np.bincount(part, weights=sizes, minlength=3)
    assert (np.bincount(part, minlength=3) > 0).all()
    assert (abs(held - np.array(SHARES) * sizes.sum()) <= 2 * sizes.max()).all()


@given(st.integers(0, 50))
def test_with_many_units_the_shares_are_met_and_units_of_every_size_are_tested(seed):
    sizes = np.random.default_rng(seed).pareto(1.0, 2000).astype(np.int64) * 10 + 1
    part = deal_units(sizes, SHARES, seed)
    held = np.bincount(part, weights=sizes, minlength=3) / sizes.sum()
    # A unit that outweighs a part goes to training, however large that then is.
    if sizes.max() < 0.05 * sizes.sum():
        assert np.allclose(held, SHARES, atol=0.01)
        assert np.allclose(np.bincount(part, minlength=3) / len(part), SHARES, atol=0.05)


def test_large_places_are_learnt_from_and_all_others_drawn_equally_often():
    sizes = np.array([200, 60, 55, *[20] * 8, *[3] * 100, *[1] * 300])
    often = np.mean([[deal_units(sizes, SHARES, seed) == k for k in range(3)] for seed in range(400)], axis=0)
    assert (often[0, :3] == 1).all()
    # What the large ones do not take is made good by units of every size alike.
    by_size = np.array([often[:, sizes == size].mean(axis=1) for size in (20, 3, 1)])
    wanted = np.array(SHARES[1:]) * sizes.sum() / sizes[3:].sum()
    assert abs(by_size[:, 1:] - wanted).max() < 0.03


@given(sizes_of_units, st.integers(0, 99), st.data())
def test_only_what_may_move_leaves_training(sizes, seed, data):
    movable = np.array(data.draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes))))
    part = deal_units(sizes, SHARES, seed, movable=movable)
    assert (part[~movable] == 0).all()


def test_the_seed_decides():
    sizes = np.ones(200, np.int64)
    assert (deal_units(sizes, SHARES, 1) == deal_units(sizes, SHARES, 1)).all()
    assert (deal_units(sizes, SHARES, 1) != deal_units(sizes, SHARES, 2)).any()


def test_a_class_of_one_unit_is_learnt_and_not_tested():
    # Unit 7 alone holds class 1: drawn into the test as often as any other, it is in training of the best deal.
    of_row, label = np.arange(20), (np.arange(20) == 7).astype(np.int64)

    def draw(number: int):
        return deal_units(np.ones(20, np.int64), (0.5, 0.2, 0.3), 0, number)

    assert {int(draw(number)[7]) for number in range(16)} == {0, 1, 2}
    assert best_deal(draw, of_row, label)[7] == 0
    of_future = (np.arange(20) < 10).astype(np.int64)
    plain, balanced = (best_deal(draw, of_row, np.zeros(20, np.int64), balance)
                       for balance in ((), [(of_future, 0.3)]))
    assert (balanced[:10] == 2).sum() == 3
    assert (plain == draw(0)).all()
