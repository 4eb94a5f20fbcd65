"""miniSEED: one record a channel, gaps from the headers, values as ObsPy decodes them."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import record_files as made
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.pipelines.das import formats

obspy = pytest.importorskip("obspy")
T0 = obspy.UTCDateTime(2024, 5, 6, 7, 8, 9, 123456)


def write(path: Path, parts: list[tuple[float, np.ndarray]], *, station: str = "A0001", **options: object) -> None:
    """Parts that begin so many seconds after ``T0``, at 100 Hz."""
    traces = [obspy.Trace(data, {"network": "XX", "station": station, "channel": "HSF", "sampling_rate": 100.0,
                                 "starttime": T0 + seconds}) for seconds, data in parts]
    obspy.Stream(traces).write(str(path), format="MSEED", **options)


def counts(samples: int, dtype: str = "int32", seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=samples) * 500 + 3).astype(dtype)


@pytest.mark.parametrize(("encoding", "dtype"), [("STEIM1", "int32"), ("STEIM2", "int32"), ("INT16", "int16"),
                                                 ("INT32", "int32"), ("FLOAT32", "float32"), ("FLOAT64", "float64")])
@pytest.mark.parametrize("byteorder", [0, 1])
def test_every_encoding_in_both_byte_orders(tmp_path: Path, encoding: str, dtype: str, byteorder: int) -> None:
    data = counts(3000, dtype)
    write(tmp_path / "a.mseed", [(0, data)], encoding=encoding, byteorder=byteorder, reclen=512)
    record = made.only(tmp_path / "a.mseed")
    assert (record.dataset, record.samples, record.channels, record.rate_hz) == ("XX.A0001..HSF", 3000, 1, 100.0)
    assert (record.dtype, record.axis_order, record.verdict) == (dtype, "time", "ok")
    assert record.start_time == np.datetime64("2024-05-06T07:08:09.123456", "ns")
    np.testing.assert_array_equal(made.whole(record)[:, 0], data)


@settings(deadline=None, max_examples=40)
@given(lengths=st.lists(st.integers(50, 700), min_size=1, max_size=5), pauses=st.lists(st.integers(1, 400), min_size=5,
                                                                                    max_size=5), data=st.data())
def test_pieces_lie_on_one_timeline_with_their_gaps(tmp_path_factory: pytest.TempPathFactory, lengths: list[int],
                                                    pauses: list[int], data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("seed") / "a.mseed"
    at, parts, gaps = 0, [], []
    for number, (length, pause) in enumerate(zip(lengths, pauses, strict=False)):
        parts.append((at, counts(length, seed=number)))
        gaps.append((at + length, at + length + pause))
        at += length + pause
    order = data.draw(st.permutations(range(len(parts))))
    write(path, [(parts[k][0] / 100, parts[k][1]) for k in order], reclen=512)
    record = made.only(path)
    total = gaps[-1][0]
    expected = np.zeros(total, "int32")
    for first, part in parts:
        expected[first:first + len(part)] = part
    assert (record.samples, record.gaps) == (total, tuple(gaps[:-1]))
    start = data.draw(st.integers(0, total - 1))
    stop = data.draw(st.integers(start + 1, total))
    reader, out = formats.open_reader(record), np.ones((stop - start, 1), "float32")
    reader.read(start, stop, 0, 1, out)
    reader.close()
    np.testing.assert_array_equal(out[:, 0], expected[start:stop])


def test_a_clock_that_drifts_by_less_than_half_a_sample_opens_no_gap(tmp_path: Path) -> None:
    parts = [(k * 2.0 + 0.003 * k, counts(200, seed=k)) for k in range(12)]
    for k, part in enumerate(parts):
        write(tmp_path / f"{k}", [part], reclen=512)
    (tmp_path / "a.mseed").write_bytes(b"".join((tmp_path / f"{k}").read_bytes() for k in range(12)))
    record = made.only(tmp_path / "a.mseed")
    assert (record.samples, record.gaps) == (2400, ())
    np.testing.assert_array_equal(made.whole(record)[:, 0], np.concatenate([part for _, part in parts]))


def test_overlapping_pieces_the_later_one_counts(tmp_path: Path) -> None:
    write(tmp_path / "a.mseed", [(0, counts(300)), (2, counts(300, seed=1))], reclen=4096)
    record = made.only(tmp_path / "a.mseed")
    assert (record.samples, record.gaps) == (500, ())
    np.testing.assert_array_equal(made.whole(record)[:, 0], np.concatenate([counts(300)[:200], counts(300, seed=1)]))


def test_channels_of_one_file_are_records_of_their_own(tmp_path: Path) -> None:
    for station, samples in (("B", 900), ("A", 700)):
        write(tmp_path / station, [(0, counts(samples))], station=station)
    (tmp_path / "a.mseed").write_bytes((tmp_path / "B").read_bytes() + (tmp_path / "A").read_bytes())
    records = formats.find_records(tmp_path / "a.mseed")
    assert [(record.dataset, record.samples) for record in records] == [("XX.A..HSF", 700), ("XX.B..HSF", 900)]


def test_a_truncated_or_damaged_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.mseed", [(0, counts(3000))], reclen=512)
    content = (tmp_path / "a.mseed").read_bytes()
    (tmp_path / "a.mseed").write_bytes(content[:-100])
    with pytest.raises(InputError, match="truncated"):
        formats.find_records(tmp_path / "a.mseed")
    (tmp_path / "a.mseed").write_bytes(content[:512] + b"\xff" * 512 + content[1024:])
    with pytest.raises(InputError, match="damaged at byte 512"):
        formats.find_records(tmp_path / "a.mseed")


def test_a_million_samples_are_found_at_once(tmp_path: Path) -> None:
    write(tmp_path / "a.mseed", [(0, counts(1_600_000))], reclen=4096)
    began = time.process_time()
    record = made.only(tmp_path / "a.mseed")
    found_s = time.process_time() - began
    assert record.samples == 1_600_000
    reader, out = formats.open_reader(record), np.empty((1024, 1), "float32")
    reader.read(0, 1024, 0, 1, out)
    began = time.process_time()
    for start in range(0, 512_000, 5120):
        reader.read(start, start + 1024, 0, 1, out)
    read_s = time.process_time() - began
    reader.close()
    assert found_s < 2
    assert read_s < 2  # a hundred windows: only the records they touch are decoded
