"""The pool delivers what its source would, reads blocks once, and keeps within its budget."""

import pickle

import numpy as np
import pytest
from block_sources import WIDTH, Windows, expected, pooled
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.data.loader import Loader
from groundswell.data.order import BlockOrder, Order
from groundswell.data.pool import BlockSource, pool_of


def loader(pool, *, batch=16, alive=16, threads=1, prefetch=0, seed=5, **options):
    rows = np.flatnonzero(pool.blocks.of_row >= 0)
    order = BlockOrder(rows, batch, seed, pool.blocks.of_row[rows], alive)
    return Loader(pool, order, {}, threads=threads, prefetch_batches=prefetch, **options)


def check(batches):
    count = 0
    for batch in batches:
        rows = batch["row"].numpy()
        assert (batch["x"].numpy() == expected(rows)).all() and (batch["k"].numpy() == rows).all()
        count += 1
    return count


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 59), min_size=1, max_size=60, unique=True), st.integers(1, 6), st.integers(0, 4000),
       st.integers(1, 4), st.integers(0, 2), st.integers(1, 9), st.integers(1, 9), st.data())
def test_whatever_the_budget_the_data_are_right(rows, size, budget, threads, prefetch, batch, alive, data):
    source = Windows(60)
    pool = pooled(source, np.array(rows), size=size, budget=budget)
    made = loader(pool, batch=batch, alive=alive, threads=threads, prefetch=prefetch)
    for epoch in range(2):
        start = data.draw(st.integers(0, made.batches))
        assert check(made.iterate(epoch, start)) == made.batches - start
        # A thread must hold what it works with, even where there is no room for it.
        assert pool.held_bytes <= max(budget, 0) + (4 * threads + 1) * int(pool.blocks.size_bytes.max())
    made.close()
    assert pool.held_bytes == 0 and source.closed


@pytest.mark.parametrize("threads", [1, 4])
def test_each_block_is_read_once_and_few_samples_twice(threads):
    source = Windows()
    pool = pooled(source, budget=32 * 50 * 4)
    made = loader(pool, threads=threads, prefetch=2, alive=24)
    for epoch in range(3):
        source.block_reads, source.single_reads, source.samples = [], [], 0
        check(made.iterate(epoch))
        assert sorted(source.block_reads) == list(range(len(pool.blocks))) and not source.single_reads
        assert source.samples <= 0.65 * len(source) * WIDTH, "of what window by window would be read"
        assert pool.held_bytes <= 32 * 50 * 4
    made.close()


def test_a_pool_too_small_reads_again_as_little_as_can_be():
    reads = {}
    for name, budget in (("roomy", 24), ("small", 8), ("tiny", 1)):
        source = Windows()
        made = loader(pooled(source, budget=budget * 50 * 4), alive=24)
        check(made.iterate(0))
        reads[name] = len(source.block_reads)
        made.close()
    assert reads["roomy"] == 100 < reads["small"] < reads["tiny"] <= 400
    assert reads["small"] < 330, "what is wanted last makes way first"


def test_what_has_room_stays_from_pass_to_pass():
    source = Windows()
    made = loader(pooled(source))
    for epoch in range(3):
        check(made.iterate(epoch))
    assert len(source.block_reads) == 100
    made.close()
    check(made.iterate(0))
    assert len(source.block_reads) == 200, "closing lets go of it"
    made.close()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("prefetch", [0, 3])
@pytest.mark.parametrize("budget", [500, 10**6])
def test_order_and_data_do_not_depend_on_threads_prefetching_or_the_budget(threads, prefetch, budget):
    plain = [batch["row"].tolist() for batch in loader(pooled(Windows())).iterate(1)]
    slow = loader(pooled(Windows(seconds=0.0005), budget=budget), threads=threads, prefetch=prefetch)
    assert [batch["row"].tolist() for batch in slow.iterate(1)] == plain
    check(slow.iterate(1, 7))
    slow.close()


def test_threads_that_want_one_block_wait_for_the_one_that_reads_it():
    source = Windows(8, seconds=0.05)
    pool = pooled(source, size=8)
    made = Loader(pool, Order(np.arange(8), 8, 1), {}, threads=4, prefetch_batches=0)
    check(made.iterate(0))
    assert source.block_reads == [0]
    made.close()


def test_in_any_order_of_rows_the_pool_serves():
    source = Windows()
    pool = pooled(source, budget=10 * 200)
    made = Loader(pool, Order(np.arange(400), 16, 1, shuffle=False), {}, threads=2)
    check(made.iterate(0))
    assert sorted(source.block_reads) == list(range(100))
    assert pool.held_bytes <= 5 * 200, "one after another, few are needed at a time"
    made.close()


def test_rows_in_no_block_are_read_from_the_source():
    source = Windows()
    pool = pooled(source, np.arange(100))
    out = {name: field.allocate(4) for name, field in pool.fields.items()}
    pool.read(np.array([3, 200, 5, 399]), out)
    assert (out["x"] == expected([3, 200, 5, 399])).all() and source.single_reads == [200, 399]
    assert isinstance(source, BlockSource) and len(pool) == 400 and pool_of(pool) is pool and pool_of(source) is None


@pytest.mark.parametrize("threads", [1, 3])
def test_of_a_damaged_block_only_the_damaged_rows_are_refused(threads):
    source = Windows()
    source.bad_samples = (1003,)  # in windows 99 and 100
    made = loader(pooled(source), threads=threads, skip_unreadable=True)
    unread = []
    for batch in made.iterate(0):
        bad = batch["unread"].numpy() != 0
        unread += batch["row"].numpy()[bad].tolist()
        assert (batch["x"].numpy()[~bad] == expected(batch["row"].numpy()[~bad])).all()
        assert (batch["x"].numpy()[bad] == 0).all() and (batch["weight"].numpy()[bad] == 0).all()
    assert sorted(unread) == [99, 100] and "damaged" in made.why_unread(99)
    made.close()
    made = loader(pooled(source), threads=threads, prefetch=2)
    with pytest.raises(InputError, match="The file is damaged"):
        check(made.iterate(0))
    source.bad_samples = ()
    check(made.iterate(0))
    made.close()


def test_other_errors_reach_the_reader_unchanged_and_those_who_wait_try_themselves():
    source = Windows(8, seconds=0.02)
    source.bad_samples, source.bad_error = (5,), lambda: MemoryError("no more")
    made = Loader(pooled(source, size=8), Order(np.arange(8), 8, 1), {}, threads=4, prefetch_batches=0)
    with pytest.raises(MemoryError, match="no more"):
        next(made.iterate(0))
    source.bad_samples = ()
    check(made.iterate(0))
    made.close()


def test_the_system_is_told_what_comes_and_what_is_done_with():
    source = Windows()
    made = loader(pooled(source, budget=40 * 200), prefetch=0)
    check(made.iterate(0))
    done = [block for block, needed in source.advised if not needed]
    assert sorted(done) == list(range(100)), "each block once"
    coming = {block for block, needed in source.advised if needed}
    assert len(coming) >= 90, "all but those of the first batch are told of before they are read"
    for forgets in (False, True, True):
        source.advised, source.forgets = [], forgets
        check(made.iterate(1))
        told = len([block for block, needed in source.advised if needed])
    assert told >= 90, "what the system has let go of is told of again"
    source.advised, source.forgets = [], False
    check(made.iterate(2))
    source.advised = []
    check(made.iterate(3))
    assert not [block for block, needed in source.advised if needed], "what it most likely has is not"
    made.close()


def test_a_pool_pickles_without_its_blocks():
    pool = pooled(Windows())
    check(loader(pool).iterate(0))
    other = pickle.loads(pickle.dumps(pool))
    assert other.held_bytes == 0 and pool.held_bytes > 0
    check(loader(other).iterate(0))
    other.shared_by(2)
    check(loader(other).iterate(0))
