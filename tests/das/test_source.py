"""The source of windows: what it delivers is a plain slice of the record, whatever was in the buffers before."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from window_archive import OPENED, VALUES, MemoryReader, memory_record, open_memory, write_file

from groundswell.core.errors import InputError
from groundswell.data.loader import Loader
from groundswell.data.order import Order
from groundswell.data.source import Source
from groundswell.data.table import SampleTable
from groundswell.pipelines.das import source as source_module
from groundswell.pipelines.das.recipe import DasDataRecipe
from groundswell.pipelines.das.source import DasWindowSource
from groundswell.pipelines.das.windows import build_index, cut, segments


def table_of(records, window, stride, tail="drop"):
    import pandas as pd

    rows = [(f"{r.path}:{a}", str(r.path), None, str(r.path), a, b, k)
            for k, r in enumerate(records) for a, b in cut(r, window, stride, tail).windows]
    columns = ["sample_id", "record", "label", "group", "start", "stop", "record_index"]
    frame = pd.DataFrame(rows, columns=columns).astype({"start": "int64", "stop": "int64", "record_index": "int64"})
    return SampleTable(frame, ("a", "b"), pipeline="das")


def dirty(source, samples):
    """Buffers as the loader hands them on: full of an earlier batch."""
    out = {name: field.allocate(samples) for name, field in source.fields.items()}
    for buffer in out.values():
        buffer[...] = 77
    return out


def expected(record, start, *, window, margin, channels, width, dtype):
    """The plain way: sample by sample from the record in memory."""
    x = np.zeros((window + 2 * margin, width), dtype)
    values = VALUES[str(record.path)]
    begin, end = next((a, b) for a, b in segments(record) if a <= start < b)
    values = values[:, slice(*channels)] if channels else values
    real = [k for k in range(len(x)) if begin <= start - margin + k < end]
    for k in real:
        x[k, :values.shape[1]] = values[start - margin + k]
    return x, values.shape[1], real[0], real[-1] + 1


@st.composite
def archives(draw):
    records = []
    integers = draw(st.booleans())
    for k in range(draw(st.integers(1, 3))):
        samples, channels = draw(st.integers(12, 80)), draw(st.integers(3, 7))
        edges = sorted(draw(st.sets(st.integers(0, samples), max_size=4)))
        gaps = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False) if (a, b) != (0, samples)]
        kind = np.int16 if integers else draw(st.sampled_from([np.int16, np.float32]))
        values = np.random.default_rng(k).integers(1, 1000, (samples, channels)).astype(kind)
        records.append(memory_record(f"r{k}", values, gaps=gaps, spacing_m=draw(st.sampled_from([None, 4.0]))))
    return records


@given(records=archives(), window=st.integers(2, 12), stride=st.integers(1, 9), margin=st.integers(0, 15),
       tail=st.sampled_from(["drop", "pad"]), channels=st.sampled_from([None, (0, 2), (2, 5), (0, 7, 2), (1, 6, 3)]),
       data=st.data())
@settings(max_examples=150, deadline=None)
def test_what_is_read_is_a_plain_slice_whose_margins_end_at_gaps(records, window, stride, margin, tail, channels, data):
    table = table_of(records, window, stride, tail)
    source = DasWindowSource(records, table, window_samples=window, margin=margin, channels=channels,
                             open_reader=open_memory)
    assert isinstance(source, Source) and len(source) == len(table)
    integers = all(r.dtype == "int16" for r in records)
    assert source.fields["x"].dtype == (np.int16 if integers else np.float32)
    if not len(table):
        return
    rows = np.array(data.draw(st.lists(st.integers(0, len(table) - 1), min_size=1, max_size=8)), np.int64)
    out = dirty(source, len(rows))
    source.read(rows, out)
    frame = table.frame
    for place, row in enumerate(rows):
        record = records[frame["record_index"][row]]
        x, width, first, last = expected(record, frame["start"][row], window=window, margin=margin, channels=channels,
                                         width=source.fields["x"].shape[1], dtype=source.fields["x"].dtype)
        np.testing.assert_array_equal(out["x"][place], x)
        assert (out["channels"][place], out["first"][place], out["last"][place]) == (width, first, last)
        assert out["spacing_m"][place] == (record.spacing_m or 0.0) * (*(channels or ()), 1, 1, 1)[2]
    source.close()


def test_a_batch_opens_each_record_once_and_reads_it_in_the_order_of_time(monkeypatch):
    records = [memory_record(f"r{k}", np.zeros((100, 2), np.float32)) for k in range(3)]
    source = DasWindowSource(records, table_of(records, 10, 10), window_samples=10, open_reader=open_memory)
    reads = []
    plain = MemoryReader.read
    monkeypatch.setattr(MemoryReader, "read", lambda reader, *args: (
        reads.append((str(reader.record.path), args[0])), plain(reader, *args)))
    OPENED.clear()
    rows = np.random.default_rng(0).permutation(30)
    source.read(rows, dirty(source, 30))
    assert len(reads) == 30 and reads == sorted(reads) and sorted(OPENED) == ["r0", "r1", "r2"]


def test_a_pickled_source_takes_along_what_its_readers_know_and_reads_the_same():
    records = [memory_record("r", np.arange(200, dtype=np.float32).reshape(100, 2))]
    source = DasWindowSource(records, table_of(records, 10, 5), window_samples=10, margin=3, open_reader=open_memory)
    rows = np.arange(len(source))
    before = dirty(source, len(rows))
    source.read(rows, before)
    OPENED.clear()
    copy = pickle.loads(pickle.dumps(source))
    after = dirty(copy, len(rows))
    copy.read(rows, after)
    assert not OPENED  # the reader came along, and what it knows of its file with it
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


def test_threads_share_a_source_while_readers_are_closed_for_want_of_room(monkeypatch):
    monkeypatch.setattr(source_module, "OPEN_FILES", 2)
    records = [memory_record(f"t{k}", np.full((60, 3), k + 1, np.float32)) for k in range(6)]
    source = DasWindowSource(records, table_of(records, 10, 10), window_samples=10, open_reader=open_memory)
    wrong = []

    def work(seed):
        try:
            for rows in np.random.default_rng(seed).integers(0, len(source), (60, 5)):
                out = dirty(source, 5)
                source.read(rows, out)
                if not (out["x"] == (rows // 6 + 1)[:, None, None]).all():
                    wrong.append(rows)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    source.close()
    rows, out = np.arange(3), dirty(source, 3)
    source.read(rows, out)
    assert (out["x"] == 1).all()


def test_the_width_can_be_set_but_not_below_what_is_in_use():
    records = [memory_record("r", np.ones((30, 4), np.float32))]
    table = table_of(records, 10, 10)
    source = DasWindowSource(records, table, window_samples=10, max_channels=9, open_reader=open_memory)
    out = dirty(source, 1)
    source.read(np.array([0]), out)
    assert out["x"].shape == (1, 10, 9) and (out["x"][0, :, 4:] == 0).all() and (out["x"][0, :, :4] == 1).all()
    with pytest.raises(InputError, match="4 channels are in use"):
        DasWindowSource(records, table, window_samples=10, max_channels=3)


def test_a_table_of_other_records_is_refused():
    records = [memory_record("r", np.ones((30, 4), np.float32))]
    table = table_of(records, 10, 10)
    for changed in ({"start": 25, "stop": 35}, {"record_index": 1}, {"stop": table.column("start") + 11}):
        with pytest.raises(InputError, match="no window of the record"):
            DasWindowSource(records, table.replaced(**changed), window_samples=10)


def test_big_endian_integers_stay_integers():
    records = [memory_record("r", np.ones((30, 4), np.int16), dtype=">i2")]
    source = DasWindowSource(records, table_of(records, 10, 10), window_samples=10, open_reader=open_memory)
    assert source.fields["x"].dtype == np.int16


def test_files_on_disk_are_read_and_a_replaced_one_is_named(tmp_path):
    values = {"a.h5": write_file(tmp_path / "a.h5", seed=1, dtype="int16"),
              "b.h5": write_file(tmp_path / "b.h5", seed=2, dtype="int16", channels=4, order="channel,time")}
    records, table = build_index(tmp_path, DasDataRecipe(window_samples=100, stride_samples=50))
    source = DasWindowSource(records, table, window_samples=100, margin=20)
    rows = np.arange(len(table))[::-1].copy()
    out = dirty(source, len(rows))
    source.read(rows, out)
    assert out["x"].dtype == np.int16
    for place, row in enumerate(rows):
        name, start = table.column("record")[row], int(table.column("start")[row])
        width = values[name].shape[1]
        np.testing.assert_array_equal(out["x"][place, 20:120, :width], values[name][start:start + 100])
    source.close()
    write_file(tmp_path / "b.h5", seed=3, samples=500)
    with pytest.raises(InputError, match=r"b\.h5"):
        source.read(rows, out)
    source.close()


def test_channel_by_channel_files_lie_so_in_memory_and_hold_the_same_values(tmp_path):
    batches = {}
    for order in ("time,channel", "channel,time"):
        folder = tmp_path / order
        for k in range(2):
            write_file(folder / f"{k}.h5", seed=k, channels=7, order=order)
        data = DasDataRecipe(folder=str(folder), window_samples=100, stride_samples=50, channels="1:7:2")
        records, table = build_index(folder, data)
        source = DasWindowSource(records, table, window_samples=100, margin=8, channels=data.channels)
        assert source.fields["x"].memory == ("C" if order == "time,channel" else "F")
        loader = Loader(source, Order(np.arange(len(table)), 6, seed=1), {}, threads=2, prefetch_batches=1)
        batches[order] = [{name: (t.numpy().copy(), t.stride()) for name, t in b.items()} for b in loader.iterate(0)]
        loader.close()
        assert table.column("channels").eq(3).all() and table.column("spacing_m").eq(10.0).all()
    for along, across in zip(*batches.values(), strict=True):
        assert along["x"][1] == (116 * 3, 3, 1) and across["x"][1] == (116 * 3, 1, 116)
        assert (along["spacing_m"][0] == 10).all()
        for name in along:
            np.testing.assert_array_equal(along[name][0], across[name][0])


@pytest.mark.parametrize("channels", [(0, 5, 0), (3, 3), (-1, 4)])
def test_a_range_of_channels_that_is_none_is_refused(tmp_path, channels):
    write_file(tmp_path / "a.h5")
    with pytest.raises(InputError, match="not a range of channels"):
        build_index(tmp_path, DasDataRecipe(window_samples=100, stride_samples=50, channels=channels))
