"""Windows out of blocks are the windows that are read one by one, whatever the records, gaps, margins and channels."""

from __future__ import annotations

import pickle
import time

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_source import archives, dirty, table_of
from window_archive import memory_record, open_memory, write_file

from groundswell.data.loader import Loader
from groundswell.data.order import BlockOrder
from groundswell.data.pool import BlockPool, BlockSource
from groundswell.pipelines.das.blocks import compressed, neighbours, pays
from groundswell.pipelines.das.formats import find_records, hdf5_advice
from groundswell.pipelines.das.formats.hdf5_index import index_of
from groundswell.pipelines.das.recipe import DasDataRecipe
from groundswell.pipelines.das.source import DasWindowSource
from groundswell.pipelines.das.windows import build_index


@given(records=archives(), window=st.integers(2, 12), stride=st.integers(1, 14), margin=st.integers(0, 15),
       tail=st.sampled_from(["drop", "pad"]), channels=st.sampled_from([None, (0, 2), (0, 7, 2), (1, 6, 3)]),
       turned=st.booleans(), most=st.integers(1, 6), budget=st.sampled_from([0, 300, 10**6]), data=st.data())
@settings(max_examples=150, deadline=None)
def test_windows_out_of_blocks_are_the_windows_themselves(records, window, stride, margin, tail, channels, turned, most,
                                                          budget, data):
    table = table_of(records, window, stride, tail)
    if not len(table):
        return
    source = DasWindowSource(records, table, window_samples=window, margin=margin, channels=channels,
                             open_reader=open_memory)
    if turned:
        source._memory = "F"
    assert isinstance(source, BlockSource)
    some = np.array(data.draw(st.lists(st.integers(0, len(table) - 1), min_size=1, unique=True)), np.int64)
    blocks = source.blocks(some, most)
    assert (np.flatnonzero(blocks.of_row >= 0) == np.sort(some)).all()
    assert np.bincount(blocks.of_row[some]).max() <= most
    rows = np.array(data.draw(st.lists(st.sampled_from(some.tolist()), min_size=1, max_size=12)), np.int64)
    plain, pooled = dirty(source, len(rows)), dirty(source, len(rows))
    source.read(rows, plain)
    BlockPool(source, blocks, budget).read(rows, pooled)
    for name in plain:
        assert pooled[name].strides == plain[name].strides
        np.testing.assert_array_equal(pooled[name], plain[name])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 30)), min_size=1, max_size=40,
                unique=True), st.integers(1, 12), st.integers(1, 5))
def test_blocks_are_runs_of_neighbours_of_one_part_of_one_record(found, window, most):
    record, part, start = np.array(found).T
    start = start + 100 * part
    blocks = neighbours(record, part, start, start + window, most)
    assert set(blocks) == set(range(blocks.max() + 1))
    for block in range(blocks.max() + 1):
        mine = blocks == block
        assert len(set(zip(record[mine], part[mine], strict=True))) == 1 and mine.sum() <= most
        ordered = np.sort(start[mine])
        assert (np.diff(ordered) <= window).all(), "no sample lies between them"
    # As few blocks as there can be: a run is cut only where it is full.
    order = np.lexsort((start, part, record))
    runs = np.cumsum([k == 0 or (record[a], part[a]) != (record[b], part[b]) or start[a] > start[b] + window
                      for k, (b, a) in enumerate(zip(np.r_[-1, order[:-1]], order, strict=True))])
    assert blocks.max() + 1 == sum(-(-int(n) // most) for n in np.bincount(runs)[1:])


def test_blocks_are_the_same_on_every_machine_and_do_not_depend_on_margins_or_channels():
    records = [memory_record(f"m{k}", np.zeros((400, 5), np.int16), gaps=[(150, 170)]) for k in range(3)]
    table = table_of(records, 16, 8)
    rows = np.random.default_rng(1).permutation(len(table))[: len(table) // 2]
    found = [DasWindowSource(records, table, window_samples=16, open_reader=open_memory, **options)
             .blocks(rows if k % 2 else rows[::-1], 4)
             for k, options in enumerate(({}, {"margin": 9}, {"channels": (1, 3)}))]
    assert all((blocks.of_row == found[0].of_row).all() for blocks in found)
    assert found[1].size_bytes.sum() > found[0].size_bytes.sum() > found[2].size_bytes.sum()


@pytest.mark.parametrize("order", ["time,channel", "channel,time"])
@pytest.mark.parametrize("options", [{}, {"chunks": (64, 4)}, {"chunks": (50, 6), "compression": "gzip"}])
def test_files_are_read_once_and_give_what_they_hold(tmp_path, order, options):
    for k in range(3):
        values = np.random.default_rng(k).integers(-999, 999, (1000, 6)).astype(np.int16)
        write_file(tmp_path / f"{k}.h5", values=values, order=order)
        if options:
            with h5py.File(tmp_path / f"{k}.h5", "r+") as file:
                kept = file["sr/data"][:]
                del file["sr/data"]
                chunks = options["chunks"] if order == "time,channel" else options["chunks"][::-1]
                file.create_dataset("sr/data", data=kept, **{**options, "chunks": chunks})
    records, table = build_index(tmp_path, DasDataRecipe(window_samples=64, stride_samples=32))
    assert pays(records, [range(6)] * 3, window_samples=64, stride_samples=32) == ("compression" in options)
    source = DasWindowSource(records, table, window_samples=64, margin=5)
    rows = np.arange(len(table))
    plain = dirty(source, len(rows))
    source.read(rows, plain)
    pool = BlockPool(source, source.blocks(rows, 4), 10**6)
    made = Loader(pool, BlockOrder(rows, 8, 1, pool.blocks.of_row, 16), {}, threads=2)
    seen = 0
    for batch in made.iterate(0):
        for name in plain:
            np.testing.assert_array_equal(batch[name].numpy(), plain[name][batch["row"].numpy()])
        seen += int((batch["weight"] > 0).sum())
    assert seen == len(rows) and pool.reads == len(pool.blocks)
    assert pool.read_bytes < 0.75 * sum(plain["x"][row].nbytes for row in rows)
    made.close()


def test_what_is_compressed_or_large_and_overlapping_is_read_once():
    def record(layout, samples=1000):
        made = memory_record("p", np.zeros((10, 4), np.float32), samples=samples)
        return type(made)(**{**made.__dict__, "layout": layout})

    for layout, wanted in (("contiguous", False), ("chunks 64x4", False), ("chunks 64x4 shuffle", False),
                           ("chunks 64x4 shuffle gzip", True), ("chunks 64x4 lz4", True), ("virtual, 2 sources", False),
                           ("chunks 64x4 fletcher32 filter 40000", True)):
        assert compressed(record(layout)) == wanted
    large = record("contiguous", 8 * 2**30 // 16)
    for stride, wanted in ((512, True), (1024, False)):
        assert pays([large], [range(4)], window_samples=1024, stride_samples=stride) == wanted
    assert not pays([large], [range(3)], window_samples=1024, stride_samples=512), "of channels in use"


def test_advice_names_the_bytes_that_are_read(tmp_path):
    write_file(tmp_path / "a.h5", samples=4000, channels=100)
    record = find_records(tmp_path / "a.h5")[0]
    with h5py.File(record.path) as file:
        index = index_of(file[record.dataset], record.path)
    assert hdf5_advice.spans(index, range(10, 30), range(100)).tolist() == [[index.offset + 4000, 8000]]
    few = hdf5_advice.spans(index, range(10, 30), range(50, 60))
    assert few.tolist() == [[index.offset + 4000 + 200, 19 * 400 + 40]], "near one another, in one piece"
    for needed in (True, False):
        hdf5_advice.advise(index, range(4000), range(100), needed)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        data = file.create_dataset("d", (4096, 64), np.float32, chunks=(512, 64), compression="gzip")
        data[:] = np.random.default_rng(0).normal(size=(4096, 64))
        index = index_of(data, tmp_path / "b.h5")
    found = hdf5_advice.spans(index, range(600, 1100), range(64))
    touched = {(int(index.offsets[k, 0]), int(index.sizes[k, 0])) for k in (1, 2)}
    assert all(any(a <= o and o + n <= a + b for a, b in found.tolist()) for o, n in touched)
    assert found[:, 1].sum() <= sum(n for _, n in touched) + 8192


def test_the_first_batch_after_a_resume_comes_within_a_second_of_150000_windows():
    values = np.random.default_rng(0).normal(size=(5_010, 2)).astype(np.float32)
    records = [memory_record(f"big{k}", values) for k in range(150)]
    table = table_of(records, 20, 5)
    rows = np.arange(len(table))
    assert len(table) > 149_000
    source = DasWindowSource(records, table, window_samples=20, margin=3, open_reader=open_memory)
    content, taken_s = pickle.dumps(source), []
    for _ in range(3):  # the best of three: the machine's other work is not ours to answer for
        source = pickle.loads(content)
        started = time.perf_counter()
        blocks = source.blocks(rows, 4)
        made = Loader(BlockPool(source, blocks, 10**7), BlockOrder(rows, 64, 1, blocks.of_row), {}, threads=2)
        first = next(made.iterate(7, made.batches - 3))
        taken_s.append(time.perf_counter() - started)
        made.close()
        assert first["x"].shape == (64, 26, 2)
    assert min(taken_s) < 1
