"""Any part of a record reads as that part of the whole array, whatever the layout, threads and processes."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
import record_files as made
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.pipelines.das import formats

STORAGE = {
    "contiguous": {},
    "chunked": {"chunks": True},
    "gzip": {"chunks": True, "compression": "gzip", "shuffle": True, "fletcher32": True},
}


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, np.ndarray]]:
    """One file of every layout, with the array (time, channel) that is in it."""
    folder = tmp_path_factory.mktemp("layouts")
    found: dict[str, tuple[Path, np.ndarray]] = {}
    for order in ("time,channel", "channel,time"):
        for dtype in ("float32", "int16", ">i2", ">f4", "float64"):
            for name, storage in STORAGE.items():
                path = folder / f"{order.replace(',', '')}-{dtype.strip('>')}{'be' if '>' in dtype else ''}-{name}.h5"
                chunks = {**storage, "chunks": (7, 5)} if storage else {}
                found[path.stem] = (path, made.plain(path, made.values(97, 11, dtype), order=order, **chunks))
    for interleaved in (True, False):
        for order in "<>":
            data, path = made.values(97, 11, "int16"), folder / f"i{interleaved}{order}.tdms"
            made.tdms(path, data, interleaved=interleaved, order=order, chunk=None if interleaved else 20, segments=2)
            found[path.name] = (path, data)
    for code, dtype in ((1, "float32"), (2, "int32"), (3, "int16"), (5, "float32"), (6, "float64")):
        for order in "><":
            data, path = made.values(97, 11, dtype), folder / f"c{code}{order}.sgy"
            made.segy(path, data, code=code, order=order, text_headers=code % 3)
            found[path.name] = (path, data)
    return found


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_any_range_is_the_same_as_the_slice(layouts: dict[str, tuple[Path, np.ndarray]], data: st.DataObject) -> None:
    path, array = layouts[data.draw(st.sampled_from(sorted(layouts)))]
    start = data.draw(st.integers(0, 96))
    stop = data.draw(st.integers(start + 1, 97))
    first = data.draw(st.integers(0, 10))
    last = data.draw(st.integers(first + 1, 11))
    wanted = data.draw(st.sampled_from(["stored", "float64"]))
    record = made.only(path)
    dtype = np.dtype(record.dtype).newbyteorder("=") if wanted == "stored" else np.dtype("float64")
    # A view with steps, as a row of a loader's larger buffer may be.
    out = np.full((stop - start, 2 * (last - first)), 7, dtype)[:, ::2]
    reader = formats.open_reader(record)
    reader.read(start, stop, first, last, out)
    reader.close()
    expected = array[start:stop, first:last]
    if path.name.startswith("c1"):  # IBM floats have 21 to 24 bits of fraction
        np.testing.assert_allclose(out, expected, rtol=2.0**-20)
    else:
        np.testing.assert_array_equal(out, expected)


def test_layouts_are_described_in_full(layouts: dict[str, tuple[Path, np.ndarray]]) -> None:
    record = made.only(layouts["channeltime-i2be-gzip"][0])
    assert record.dtype == ">i2"
    assert record.axis_order == "channel,time"
    assert record.layout == "chunks 7x5 shuffle gzip fletcher32"
    assert record.detail["chunk"] == [7, 5]
    assert made.only(layouts["timechannel-float32-contiguous"][0]).layout == "contiguous"
    assert made.only(layouts["iFalse<.tdms"][0]).layout == "4 pieces, channel by channel"


def test_every_record_survives_json_exactly(layouts: dict[str, tuple[Path, np.ndarray]]) -> None:
    import json

    for path, _ in layouts.values():
        record = made.only(path)
        assert formats.from_json(json.loads(json.dumps(formats.to_json(record)))) == record


def test_a_stored_record_that_lacks_a_fact_is_refused(tmp_path: Path) -> None:
    made.plain(tmp_path / "a.h5", made.values(20, 3))
    stored = formats.to_json(made.only(tmp_path / "a.h5"))
    stored["invented"] = 1
    with pytest.raises(InputError, match="invented"):
        formats.from_json(stored)
    del stored["invented"], stored["samples"]
    with pytest.raises(InputError, match="samples"):
        formats.from_json(stored)


@pytest.mark.parametrize("name", ["timechannel-float32-gzip", "channeltime-int16-contiguous", "iFalse<.tdms",
                                  "c5>.sgy"])
def test_a_reader_goes_through_pickle_open_or_not(layouts: dict[str, tuple[Path, np.ndarray]], name: str) -> None:
    path, array = layouts[name]
    reader = formats.open_reader(made.only(path))
    out = np.empty((5, 2), "float64")
    for _ in range(2):  # before the first read, and with the file open
        copy = pickle.loads(pickle.dumps(reader))
        copy.read(10, 15, 3, 5, out)
        np.testing.assert_array_equal(out, array[10:15, 3:5])
        copy.close()
        reader.read(10, 15, 3, 5, out)
    reader.close()
    reader.read(10, 15, 3, 5, out)  # opens again
    reader.close()


@pytest.mark.parametrize("name", ["timechannel-float32-gzip", "iTrue<.tdms", "c3>.sgy"])
def test_threads_share_a_reader(layouts: dict[str, tuple[Path, np.ndarray]], name: str) -> None:
    path, array = layouts[name]
    reader, wrong = formats.open_reader(made.only(path)), []

    def work(seed: int) -> None:
        random, out = np.random.default_rng(seed), np.empty((9, 4), "float64")
        for _ in range(60):
            start, channel = int(random.integers(0, 88)), int(random.integers(0, 7))
            reader.read(start, start + 9, channel, channel + 4, out)
            if not np.array_equal(out, array[start:start + 9, channel:channel + 4]):
                wrong.append(start)
            if random.random() < 0.05:
                reader.close()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader.close()
    assert not wrong


@pytest.mark.parametrize("name", ["timechannel-float32-gzip", "channeltime-i2be-contiguous", "iFalse<.tdms"])
def test_a_forked_process_reads_on(layouts: dict[str, tuple[Path, np.ndarray]], name: str) -> None:
    path, array = layouts[name]
    reader, out = formats.open_reader(made.only(path)), np.empty((4, 2), array.dtype.newbyteorder("="))
    reader.read(0, 4, 0, 2, out)
    child = os.fork()
    if child == 0:
        try:
            reader.read(50, 54, 3, 5, out)
            os._exit(0 if np.array_equal(out, array[50:54, 3:5]) else 1)
        except BaseException:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    reader.read(50, 54, 3, 5, out)
    np.testing.assert_array_equal(out, array[50:54, 3:5])
    reader.close()


@pytest.mark.parametrize("asked", [(-1, 5, 0, 1), (5, 5, 0, 1), (0, 98, 0, 1), (0, 5, 0, 12), (0, 5, 4, 4)])
def test_a_range_outside_the_record_is_refused(layouts: dict[str, tuple[Path, np.ndarray]],
                                               asked: tuple[int, int, int, int]) -> None:
    reader = formats.open_reader(made.only(layouts["timechannel-float32-gzip"][0]))
    with pytest.raises(InputError, match="not in the record"):
        reader.read(*asked, np.empty((max(0, asked[1] - asked[0]), max(0, asked[3] - asked[2]))))
    with pytest.raises(ValueError, match="shape"):
        reader.read(0, 5, 0, 3, np.empty((5, 4)))


@pytest.mark.parametrize("name", ["timechannel-float32-gzip.h5", "iTrue<.tdms", "c3>.sgy"])
@pytest.mark.parametrize("how", ["replaced", "shrunk", "touched", "gone"])
def test_a_file_that_changed_since_the_scan_is_noticed(layouts: dict[str, tuple[Path, np.ndarray]], tmp_path: Path,
                                                       name: str, how: str) -> None:
    source = layouts[name.removesuffix(".h5")][0]
    path = tmp_path / name
    path.write_bytes(source.read_bytes())
    record = made.only(path)
    reader, out = formats.open_reader(record), np.empty((4, 2), "float64")
    reader.read(0, 4, 0, 2, out)
    content = path.read_bytes()
    if how == "replaced":
        other = tmp_path / "other"
        other.write_bytes(content + b"x")
        os.replace(other, path)
    elif how == "shrunk":
        os.truncate(path, len(content) // 2)
    elif how == "touched":
        os.utime(path, ns=(1, record.modified_ns + 1))
    else:
        path.unlink()
    with pytest.raises(InputError, match=r"changed|no longer"):
        reader.read(0, 4, 0, 2, out)
    with pytest.raises(InputError, match=r"changed|no longer"):
        formats.open_reader(record).read(0, 4, 0, 2, out)
    reader.close()


def test_nothing_is_opened_before_the_first_read_nor_again_for_each(monkeypatch: pytest.MonkeyPatch,
                                                                    tmp_path: Path) -> None:
    made.plain(tmp_path / "a.h5", made.values(50, 4))
    record = made.only(tmp_path / "a.h5")
    opened: list[str] = []
    real = h5py.File.__init__

    def counted(self: h5py.File, name: object, *args: object, **options: object) -> None:
        opened.append(str(name))
        real(self, name, *args, **options)

    monkeypatch.setattr(h5py.File, "__init__", counted)
    reader = formats.open_reader(record)
    assert not opened
    for start in range(20):
        reader.read(start, start + 5, 0, 4, np.empty((5, 4), "float32"))
    reader.close()
    assert opened.count(str(tmp_path / "a.h5")) == 1
