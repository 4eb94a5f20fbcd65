"""Samples taken straight from a file are those that the HDF5 library reads, bit for bit, whatever lies in between."""

from __future__ import annotations

import base64
import os
import pickle
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import record_files as made
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.pipelines.das import formats
from groundswell.pipelines.das.formats import hdf5, hdf5_direct, hdf5_mapped, hdf5_plain
from groundswell.pipelines.das.formats.hdf5_codecs import Undecodable
from groundswell.pipelines.das.formats.hdf5_index import FileIndex, index_of

SHAPE = (211, 53)
FILTERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gzip": {"compression": "gzip"},
    "gzip shuffle fletcher32": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "shuffle fletcher32": {"shuffle": True, "fletcher32": True},
    "fletcher32": {"fletcher32": True},
    "lzf shuffle": {"compression": "lzf", "shuffle": True},
    "blosc lz4": dict(hdf5plugin.Blosc(cname="lz4", shuffle=hdf5plugin.Blosc.SHUFFLE)),
    "blosc zstd bits": dict(hdf5plugin.Blosc(cname="zstd", shuffle=hdf5plugin.Blosc.BITSHUFFLE)),
    "lz4": dict(hdf5plugin.LZ4()),
    "zstd shuffle": {**hdf5plugin.Zstd(), "shuffle": True},
}
LEFT_TO_THE_LIBRARY = {"bitshuffle": dict(hdf5plugin.Bitshuffle()), "blosc2": dict(hdf5plugin.Blosc2()),
                       "scaleoffset": {"scaleoffset": 0}}
CHUNKS = (None, (32, 53), (16, 7), (211, 1), (1, 53), (64, 64), (300, 60))
DTYPES = ("<i2", ">i2", "<i4", ">i4", "<f4", ">f4", "<f8", ">f8", "i1", "u2")


def values(dtype: str, seed: int = 0) -> np.ndarray:
    """Values that compress, but not to nothing."""
    random = np.random.default_rng(seed)
    return np.cumsum(random.integers(-40, 40, SHAPE), axis=0).astype(dtype)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file, with an array for every dtype, chunk shape and filter."""
    path = tmp_path_factory.mktemp("direct")
    with h5py.File(path / "all.h5", "w") as file:
        for dtype in DTYPES:
            for chunks, name in product(CHUNKS, FILTERS):
                if chunks is None and name != "plain":
                    continue
                most = None if chunks is None else tuple(max(a, b) for a, b in zip(chunks, SHAPE, strict=True))
                file.create_dataset(array_name(dtype, chunks, name), data=values(dtype), chunks=chunks, maxshape=most,
                                    **FILTERS[name])
    return path


def array_name(dtype: str, chunks: tuple[int, int] | None, filters: str) -> str:
    return f"{dtype}/{chunks}/{filters}"


def index_in(path: Path, name: str) -> FileIndex:
    with h5py.File(path, "r") as file:
        return index_of(file[name], path)


@st.composite
def ranges(draw: st.DrawFn, length: int) -> range:
    start = draw(st.integers(0, length - 1))
    return range(start, draw(st.integers(start + 1, length)), draw(st.sampled_from([1, 1, 1, 2, 3, 10])))


@settings(deadline=None, max_examples=400)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), chunks=st.sampled_from(CHUNKS), rows=ranges(SHAPE[0]),
       columns=ranges(SHAPE[1]), small=st.booleans())
def test_what_is_taken_from_the_file_is_what_the_library_reads(folder: Path, data: st.DataObject, dtype: str,
                                                               chunks: tuple[int, int] | None, rows: range,
                                                               columns: range, small: bool) -> None:
    filters = "plain" if chunks is None else data.draw(st.sampled_from(sorted(FILTERS)))
    name = array_name(dtype, chunks, filters)
    index = pickle.loads(pickle.dumps(index_in(folder / "all.h5", name)))
    assert not index.why_not and index.layout == ("contiguous" if chunks is None else "chunked")
    wanted = np.dtype(data.draw(st.sampled_from([dtype, np.dtype(dtype).newbyteorder("=").str, "f4", "f8"])))
    out = data.draw(st.sampled_from(["C", "F", "wide", "steps"]))
    shape = len(rows), len(columns)
    target = {"C": lambda: np.full(shape, 77, wanted), "F": lambda: np.full(shape[::-1], 77, wanted).T,
              "wide": lambda: np.full((shape[0], shape[1] + 5), 77, wanted)[:, 2:-3],
              "steps": lambda: np.full((shape[0] * 2, shape[1] * 3), 77, wanted)[::2, ::3]}[out]()
    with pytest.MonkeyPatch.context() as patch:
        if small:  # blocks that hold little, so that these small arrays are read in pieces as large ones are
            patch.setattr(hdf5_plain, "BLOCK", 700)
            patch.setattr(hdf5_direct, "BLOCK", 700)
            patch.setattr(hdf5_plain, "GAP", data.draw(st.sampled_from([0, 100])))
            patch.setattr(hdf5_direct, "GAP", data.draw(st.sampled_from([0, 100])))
        direct, found = hdf5_direct.DirectFile(index), []
        for _ in range(3):  # by reading calls first, through mapped pages from the second time on
            direct.read(rows, columns, target)
            found.append(target.tobytes())
            target[...] = 77
    with h5py.File(folder / "all.h5", "r") as file:
        expected = file[name][rows.start:rows.stop:rows.step, columns.start:columns.stop:columns.step].astype(wanted)
    assert found == [expected.tobytes()] * 3


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_record_in_either_order_reads_as_the_library_reads_it(tmp_path_factory: pytest.TempPathFactory,
                                                                data: st.DataObject) -> None:
    order = data.draw(st.sampled_from(["time,channel", "channel,time"]))
    dtype, chunks = data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from(CHUNKS[:-2]))
    filters = {} if chunks is None else FILTERS[data.draw(st.sampled_from(sorted(FILTERS)))]
    if chunks is not None and order == "channel,time":
        chunks = chunks[::-1]
    path = tmp_path_factory.mktemp("either") / "a.h5"
    array = values(dtype)
    made.plain(path, array, order=order, chunks=chunks, **filters)
    reader = formats.open_reader(made.only(path))
    times, channels = data.draw(ranges(SHAPE[0])), data.draw(ranges(SHAPE[1]))
    memory = data.draw(st.sampled_from("CF"))
    out = np.full((times.stop - times.start, len(channels)), 77, np.dtype(dtype).newbyteorder("="), order=memory)
    reader.read(times.start, times.stop, channels.start, channels.stop, out, channels.step)
    np.testing.assert_array_equal(out, array[times.start:times.stop, channels.start:channels.stop:channels.step])
    assert isinstance(reader, hdf5.Hdf5Reader) and reader.index is not None and not reader.index.why_not
    reader.close()


@pytest.mark.parametrize("storage", [{}, {"chunks": (1, 8, 5)}, {"chunks": (1, 5, 12), "compression": "gzip"},
                                     {"chunks": (2, 24, 12)}, {"chunks": (2, 8, 5)}])
def test_blocks_are_read_like_one_array(tmp_path: Path, storage: dict[str, Any]) -> None:
    signal = made.values(8 * 16, 12, "int16")
    made.febus(tmp_path / "a.h5", signal, keep=16, before=4, after=4, blocks=6, overlap=50, **storage)
    record = made.only(tmp_path / "a.h5")
    reader, out = formats.open_reader(record), np.empty((50, 4), "int16")
    reader.read(30, 80, 1, 12, out, 3)
    np.testing.assert_array_equal(out, signal[34:84, 1:12:3])
    assert isinstance(reader, hdf5.Hdf5Reader) and reader.index is not None
    fits = storage.get("chunks", (1, 24, 12))[:2] in [(1, 24), (1, 8), (2, 24)]
    assert bool(reader.index.why_not) != fits
    reader.close()


@pytest.mark.parametrize("name", sorted(LEFT_TO_THE_LIBRARY))
def test_what_is_not_known_here_is_read_by_the_library(tmp_path: Path, name: str) -> None:
    array = values("<i4")
    made.plain(tmp_path / "a.h5", array, chunks=(32, 53), **LEFT_TO_THE_LIBRARY[name])
    reader = formats.open_reader(made.only(tmp_path / "a.h5"))
    out = np.empty((100, 6), "int32")
    for _ in range(2):
        reader.read(50, 150, 0, 53, out, 10)
        np.testing.assert_array_equal(out, array[50:150, ::10])
        reader = pickle.loads(pickle.dumps(reader))
    assert isinstance(reader, hdf5.Hdf5Reader) and reader.index is not None and "filter" in reader.index.why_not


def test_chunks_never_written_a_user_block_and_odd_numbers_are_read_by_the_library(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=512) as file:
        file["data"] = values("<f4")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("some", SHAPE, "f4", chunks=(32, 53), fillvalue=3)[:40] = values("<f4")[:40]
        file.create_dataset("none", SHAPE, "f4")
        odd = h5py.h5t.STD_I32LE.copy()
        odd.set_precision(24)
        space = h5py.h5s.create_simple(SHAPE)
        h5py.h5d.create(file.id, b"odd", odd, space)
        file["odd"][:] = values("<i4")
    reasons = {name: index_in(tmp_path / path, name).why_not
               for path, name in (("a.h5", "data"), ("b.h5", "some"), ("b.h5", "none"), ("b.h5", "odd"))}
    assert all(reasons.values()), reasons


def test_a_chunk_whose_filters_were_skipped_is_read(tmp_path: Path) -> None:
    array = values("<i2")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("data", SHAPE, "<i2", chunks=(32, 53), shuffle=True, compression="gzip")
        dataset[:] = array
        dataset.id.write_direct_chunk((32, 0), array[32:64].tobytes(), filter_mask=3)
    index = index_in(tmp_path / "a.h5", "data")
    assert index.masks is not None and index.masks[1, 0] == 3
    out = np.empty(SHAPE, "<i2")
    hdf5_direct.DirectFile(index).read(range(SHAPE[0]), range(SHAPE[1]), out)
    np.testing.assert_array_equal(out, array)


EDGES_UNFILTERED = (
    "c-rgqaB<`1lHy|K;9!7(|4@(s6*7Q|tMrvD^Y?HGVq&OZ5<*r816)iDj0_BH{0u;fB_**WaWl+FR|e{U>7_M1U?(WXZD-0x#te*%Dhv!vOpJ_dP_@i"
    "Z8lBI~!@wv2^coA8r@+7pbTu<KH&B#`5##|zunY&#hpbGD%#19|EX-Wz8KIhIFbrDIxT<=$o1=#d1EUBqA|T*3)ZHgtce%JZx;QZ~!hM1kxnMRHu_Kc="
    "zGD~#qhJ(_f>AK+z>5nz7IYLuIA{p`U|?qF<`)*1mRDBS!lnFy9s|P(BL;>IX2818ih-fQj)5V=3Agb8?)yWu")
"""An HDF5 file whose array (6 rows in chunks of 4, shuffled) was made with H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS, which
h5py cannot ask for; compressed."""


def test_edge_chunks_that_were_stored_without_the_shuffle_are_not_unshuffled(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(zlib.decompress(base64.b85decode(EDGES_UNFILTERED)))
    expected, out = np.arange(18, dtype="int32").reshape(6, 3) * 1000, np.empty((6, 3), "int32")
    reader = formats.open_reader(made.only(tmp_path / "a.h5"))
    reader.read(0, 6, 0, 3, out)
    np.testing.assert_array_equal(out, expected)
    with pytest.raises(Undecodable):  # it was the library that read them: chunks within are still taken from the file
        hdf5_direct.DirectFile(index_in(tmp_path / "a.h5", "data")).read(range(6), range(3), out)
    hdf5_direct.DirectFile(index_in(tmp_path / "a.h5", "data")).read(range(4), range(3), out[:4])
    np.testing.assert_array_equal(out[:4], expected[:4])
    reader.close()


@pytest.mark.parametrize("filters", ["gzip", "gzip shuffle fletcher32", "fletcher32", "blosc lz4", "zstd shuffle"])
def test_a_damaged_chunk_is_told_with_file_and_samples(tmp_path: Path, filters: str) -> None:
    path, array = tmp_path / "a.h5", values("<i4")
    made.plain(path, array, chunks=(32, 53), **FILTERS[filters])
    index = index_in(path, "data")
    at, size = int(index.offsets[2, 0]), int(index.sizes[2, 0])
    content = bytearray(path.read_bytes())
    content[at:at + size - 4] = np.random.default_rng(0).bytes(size - 4)
    path.write_bytes(bytes(content))
    record = made.only(path)
    reader, out = formats.open_reader(record), np.empty((32, 53), "int32")
    with pytest.raises(Undecodable):
        hdf5_direct.DirectFile(index_in(path, "data")).read(range(64, 96), range(53), out)
    with pytest.raises(InputError, match=r"damaged: samples 64 to 96 .*a\.h5"):
        reader.read(64, 96, 0, 53, out)
    reader.read(0, 32, 0, 53, out)
    np.testing.assert_array_equal(out, array[:32])
    reader.close()


@pytest.mark.parametrize("storage", [{}, {"chunks": (32, 53)}, {"chunks": (16, 7)},
                                     {"chunks": (32, 53), "compression": "gzip"}])
@pytest.mark.parametrize("order", ["time,channel", "channel,time"])
def test_a_file_that_shrinks_between_the_look_and_the_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                   storage: dict[str, Any], order: str) -> None:
    chunks = storage.get("chunks")
    if chunks and order == "channel,time":
        storage = {**storage, "chunks": chunks[::-1]}
    path = tmp_path / "a.h5"
    made.plain(path, values("<i4"), order=order, **storage)
    reader, out = formats.open_reader(made.only(path)), np.empty((211, 53), "int32")
    reader.read(0, 211, 0, 53, out)
    # Both looks see the file as it was.
    monkeypatch.setattr("groundswell.pipelines.das.formats.reading.check_unchanged", lambda *_: None)
    monkeypatch.setattr(hdf5_direct.DirectFile, "check", lambda self: None)
    os.truncate(path, 4000)
    with pytest.raises(InputError, match="shorter than its record says"):
        reader.read(0, 211, 0, 53, out)
    reader.close()


@pytest.mark.parametrize("mark", [b"TREE", b"SNOD"])
def test_damage_that_is_met_while_opening_names_the_file(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("strain", data=values("<i2"), chunks=(16, 8), compression="gzip")
        made.attrs["fs"] = 100.0
    record, = formats.find_records(path)
    status, data = path.stat(), bytearray(path.read_bytes())
    at = data.rfind(mark)
    data[at:at + 4] = b"XXXX"
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(InputError, match=r"file\.h5"):
        formats.open_reader(record).read(0, 4, 0, 4, np.empty((4, 4), np.int16))


def test_threads_read_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made.plain(tmp_path / "a.h5", values("<i4"))
    reader = formats.open_reader(made.only(tmp_path / "a.h5"))
    both = threading.Barrier(2, timeout=20)
    plain = hdf5_direct.DirectFile.read
    monkeypatch.setattr(hdf5_direct.DirectFile, "read", lambda *args: (both.wait(), plain(*args))[1])
    wrong: list[object] = []

    def work() -> None:
        try:
            reader.read(0, 9, 0, 53, np.empty((9, 53), "int32"))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def looks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each look at mapped pages was granted, as they happen."""
    granted: list[bool] = []
    plain = hdf5_mapped.Mapping.look

    @contextmanager
    def noted(self: hdf5_mapped.Mapping, *args: Any) -> Iterator[Any]:
        with plain(self, *args) as held:
            granted.append(held is not None)
            yield held

    monkeypatch.setattr(hdf5_mapped.Mapping, "look", noted)
    return granted


@pytest.mark.parametrize("storage", [{}, {"chunks": (16, 7)}])
def test_what_is_asked_for_again_is_looked_at_in_mapped_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                              storage: dict[str, Any]) -> None:
    path, granted = tmp_path / "a.h5", looks(monkeypatch)
    made.plain(path, values("<i4"), **storage)
    direct, out = hdf5_direct.DirectFile(index_in(path, "data")), np.empty((10, 53), "int32")
    for expected in (False, True, True):
        granted.clear()
        direct.read(range(10), range(53), out)
        assert set(granted) == {expected}
        np.testing.assert_array_equal(out, values("<i4")[:10])
    with open(path, "r+b"):  # someone may be about to write
        granted.clear()
        direct.read(range(10), range(53), out)
        assert set(granted) == {False}
    del direct
    monkeypatch.setattr(hdf5_mapped, "MOST_BYTES", hdf5_mapped.BUDGET._held)
    direct = hdf5_direct.DirectFile(index_in(path, "data"))
    for _ in range(3):
        granted.clear()
        direct.read(range(10), range(53), out)
        assert set(granted) == {False}


def test_pages_that_are_let_go_of_make_room_for_others(tmp_path: Path) -> None:
    made.plain(tmp_path / "a.h5", values("<i4"))
    before = hdf5_mapped.BUDGET._held
    direct = hdf5_direct.DirectFile(index_in(tmp_path / "a.h5", "data"))
    for _ in range(2):
        direct.read(range(10), range(53), np.empty((10, 53), "int32"))
    assert hdf5_mapped.BUDGET._held > before
    del direct
    assert hdf5_mapped.BUDGET._held == before


def test_a_file_that_shrinks_at_any_moment_never_ends_the_process(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    made.plain(path, np.arange(600 * 1000, dtype="int32").reshape(600, 1000))
    index, content = index_in(path, "data"), path.read_bytes()
    child = os.fork()
    if child == 0:
        code = 77
        try:
            code = _read_for_a_while(index)
        finally:
            os._exit(code)
    ends = time.monotonic() + 3
    while time.monotonic() < ends:
        os.truncate(path, 4000)
        path.write_bytes(content)
        os.utime(path, ns=(index.modified_ns, index.modified_ns))
        time.sleep(0.003)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _read_for_a_while(index: FileIndex) -> int:
    """Read from a file that shrinks and comes back; 0 if some reads came off and some told what was wrong."""
    ends, told, mapped, out = time.monotonic() + 2.5, 0, 0, np.empty((600, 100), "int32")
    direct = None
    while time.monotonic() < ends:
        try:
            direct = direct or hdf5_direct.DirectFile(index)
            direct.read(range(600), range(0, 1000, 10), out)
            mapped += direct._map._pages is not None
        except InputError:
            told += 1
    return 0 if told and mapped else 1


def test_what_was_found_out_goes_to_workers_and_outlives_closing(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    array = values("<i4")
    made.plain(tmp_path / "a.h5", array, chunks=(32, 53), compression="gzip")
    reader, out = formats.open_reader(made.only(tmp_path / "a.h5")), np.empty((10, 53), "int32")
    reader.read(0, 10, 0, 53, out)
    reader.close()
    monkeypatch.setattr(h5py, "File", None)  # nobody needs the library any more
    for again in (reader, pickle.loads(pickle.dumps(reader))):
        again.read(100, 110, 0, 53, out)
        np.testing.assert_array_equal(out, array[100:110])
        again.close()


def test_files_let_go_of_leave_no_descriptors(tmp_path: Path) -> None:
    made.plain(tmp_path / "a.h5", values("<i4"))
    reader, out = formats.open_reader(made.only(tmp_path / "a.h5")), np.empty((10, 53), "int32")
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(5):
        reader.read(0, 10, 0, 53, out)
        reader.read(0, 10, 0, 53, out)
        reader.close()
    assert len(os.listdir("/proc/self/fd")) == len(before)
