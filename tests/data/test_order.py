"""The order is a pure function of (seed, epoch), whoever asks and wherever they begin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.data.order import Order, permutations

GOLDEN = [[2, 6, 0, 7, 4, 5, 3, 1], [6, 4, 7, 0, 2, 1, 5, 3]]
sizes = st.tuples(st.integers(1, 60), st.integers(1, 9), st.integers(1, 4))


@given(st.integers(0, 40), st.integers(0, 10**6), st.integers(0, 5))
def test_permutations_are_complete_and_can_be_entered_anywhere(length, first, count):
    found = permutations(length, first, count, 7, "test")
    assert found.dtype == np.int64
    assert (np.sort(found, axis=1) == np.arange(length)).all()
    for k in range(count):
        assert (permutations(length, first + k, 1, 7, "test")[0] == found[k]).all()


def test_permutations_never_change():
    # A run that is resumed years later, with another numpy, must see the same order.
    assert permutations(8, 0, 2, 42, "order").tolist() == GOLDEN


@given(sizes, st.integers(0, 2**40), st.integers(0, 50))
def test_an_epoch_holds_every_row_once_and_filling_at_weight_zero(size, seed, epoch):
    n, batch, world = size
    rows = np.arange(100, 100 + n)
    seen = []
    for rank in range(world):
        order = Order(rows, batch, seed, rank=rank, world=world)
        got, weight = order.epoch(epoch)
        assert got.shape == weight.shape == (order.batches, batch)
        assert (got.dtype, weight.dtype) == (np.int64, np.float32)
        assert order.batches == -(-n // (batch * world)), "every process has the same number of batches"
        assert np.isin(got, rows).all() and np.isin(weight, (0, 1)).all()
        flat = weight.ravel()
        assert (np.diff(flat) <= 0).all(), "filling comes last"
        assert flat[:max(0, order.batches - 1) * batch].all(), "only the last batch is filled up"
        seen.append(got[weight > 0])
    together = np.concatenate(seen)
    assert sorted(together) == list(rows), "processes share no row, and miss none"
    assert max(map(len, seen)) - min(map(len, seen)) <= 1


@given(sizes, st.integers(0, 20))
def test_without_shuffling_rows_keep_their_order(size, epoch):
    n, batch, world = size
    rows = np.arange(n)[::-1] * 3
    parts = [Order(rows, batch, 1, shuffle=False, rank=rank, world=world).epoch(epoch) for rank in range(world)]
    assert (parts[0][0].ravel()[:1] == rows[0]).all()
    dealt = np.stack([got.ravel() for got, _ in parts], axis=1).ravel()
    kept = np.stack([weight.ravel() for _, weight in parts], axis=1).ravel() > 0
    assert (dealt[kept] == rows).all()


def test_epochs_and_seeds_differ_and_the_same_ones_agree():
    rows = np.arange(1000)
    def first(seed, epoch):
        return Order(rows, 10, seed).epoch(epoch)[0].tolist()
    assert first(1, 0) == first(1, 0)
    assert len({str(first(seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)}) == 6


@given(st.lists(st.integers(0, 3), min_size=1, max_size=80), st.integers(1, 7), st.integers(1, 3), st.integers(0, 9))
def test_balanced_epochs_draw_every_class_equally_often(labels, batch, world, epoch):
    labels = np.array(labels)
    rows = np.arange(len(labels)) + 5
    kinds = np.unique(labels)
    drawn = []
    for rank in range(world):
        got, weight = Order(rows, batch, 3, balance=labels, rank=rank, world=world).epoch(epoch)
        drawn.append(got[weight > 0])
    counts = np.bincount(np.concatenate(drawn) - 5, minlength=len(labels))
    per_class = [counts[labels == kind].sum() for kind in kinds]
    assert set(per_class) == {-(-len(labels) // len(kinds))}


def test_balanced_epochs_leave_out_no_row_for_long_and_favour_none():
    labels = np.array([0] * 90 + [1] * 7)
    order = Order(np.arange(97), 8, 3, balance=labels)
    counts = np.zeros(97, int)
    for epoch in range(40):
        got, weight = order.epoch(epoch)
        np.add.at(counts, got[weight > 0], 1)
    for label in (0, 1):
        mine = counts[labels == label]
        assert mine.max() - mine.min() <= 1, "an endless sequence of permutations gives each row its turn"
    assert counts[labels == 0].sum() == counts[labels == 1].sum() == 40 * 49


def test_a_class_of_one_beside_a_million_is_drawn_quickly():
    labels = np.zeros(10**6, np.int64)
    labels[0] = 1
    got, weight = Order(np.arange(10**6), 1024, 1, balance=labels).epoch(9)
    assert (got[weight > 0] == 0).sum() == 500_000


@given(sizes, st.booleans(), st.integers(0, 50))
def test_a_last_batch_of_one_is_skipped_in_each_process_and_nothing_else(size, balanced, epoch):
    n, batch, world = size
    options = {"balance": np.arange(n) % 2} if balanced else {}
    for rank in range(world):
        plain = Order(np.arange(n), batch, 7, rank=rank, world=world, **options)
        order = Order(np.arange(n), batch, 7, rank=rank, world=world, skip_single=True, **options)
        (rows, weight), (kept, left) = plain.epoch(epoch), order.epoch(epoch)
        assert (rows == kept).all() and order.batches == plain.batches
        alone = weight[-1].sum() == 1 and batch > 1 and plain.batches > 1
        assert (left[:-1] == weight[:-1]).all()
        assert (left[-1] == (0 if alone else weight[-1])).all()
        assert left.sum() > 0 or not weight.sum(), "an epoch is never skipped whole"


def test_a_row_that_was_skipped_comes_back_in_another_epoch():
    order = Order(np.arange(9), 4, 3, skip_single=True)
    skipped = []
    for epoch in range(40):
        rows, weight = order.epoch(epoch)
        assert weight.sum() == 8
        skipped.append(*(set(range(9)) - set(rows[weight > 0])))
    assert len(set(skipped)) > 4


def test_what_cannot_be_ordered_is_refused():
    with pytest.raises(InputError, match="no samples to load"):
        Order(np.array([], np.int64), 4, 1)
    with pytest.raises(InputError, match="1 of 3 samples to be balanced have no label"):
        Order(np.arange(3), 4, 1, balance=np.array([0, -1, 1]))
    with pytest.raises(ValueError, match="twice"):
        Order(np.array([1, 1]), 4, 1)
    with pytest.raises(ValueError, match="one class for each row"):
        Order(np.arange(3), 4, 1, balance=np.array([0, 1]))
    with pytest.raises(ValueError, match="needs shuffle"):
        Order(np.arange(2), 4, 1, shuffle=False, balance=np.array([0, 1]))
    with pytest.raises(ValueError, match="skipping a single row needs shuffle"):
        Order(np.arange(3), 2, 1, shuffle=False, skip_single=True)
    for wrong in ({"batch_size": 0}, {"rank": 2, "world": 2}, {"rank": -1}):
        with pytest.raises(ValueError, match="no order"):
            Order(np.arange(3), **{"batch_size": 2, "seed": 1, **wrong})


def test_later_changes_to_the_given_rows_change_nothing():
    rows = np.arange(5)
    order = Order(rows, 5, 1, shuffle=False)
    rows[:] = 0
    assert order.epoch(0)[0].tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("world", [1, 2])
def test_repeated_rows_come_as_often_as_asked_and_never_more(world):
    rows, repeats = np.arange(5) * 10, np.array([1, 3, 1, 2, 1])
    seen = []
    for rank in range(world):
        order = Order(rows, 2, 7, rank=rank, world=world, repeats=repeats)
        drawn, weight = order.epoch(3)
        seen += drawn[weight > 0].tolist()
    assert sorted(seen) == sorted(np.repeat(rows, repeats).tolist())
    with pytest.raises(ValueError, match="repeats"):
        Order(rows, 2, 7, repeats=np.array([1, 0, 1, 1, 1]))
