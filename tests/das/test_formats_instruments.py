"""Files of each instrument, made by the tests: their facts, their values, and the same values through DASCore."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import record_files as made
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.pipelines.das import formats
from groundswell.pipelines.das.formats.segy import ibm_to_float32

MAKERS: dict[str, tuple[Callable[..., None], str, float, float | None, float | None, str]] = {
    # maker: file, rate, spacing, gauge, units
    "prodml": (made.prodml, "p.h5", 500, 1.02, 8, "rad"),
    "optodas": (made.optodas, "o.hdf5", 500, 5, 12.5, "strain/s"),
    "gdr": (made.gdr, "g.h5", 1000, 1.021, 10, ""),
    "silixa": (made.silixa, "s.h5", 500, 0.51, 10, ""),
    "neubrex": (made.neubrex, "n.h5", 1000, 0.41, 0.2, "micro-strain/second"),
    "terra15": (made.terra15, "t.hdf5", 500, 0.8, 7, "m"),
    "ap_sensing": (made.ap_sensing, "a.hdf5", 400, 2, 5, ""),
    "dasdae": (made.dasdae, "d.h5", 200, 3.5, 9, "m / s"),
    "tdms": (made.tdms, "x.tdms", 1000, 1.02, 10, ""),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_facts_and_values_of_each_maker(tmp_path: Path, maker: str) -> None:
    write, name, rate_hz, spacing_m, gauge_m, units = MAKERS[maker]
    data = made.values(40, 70)  # more channels than samples
    write(tmp_path / name, data)
    record = made.only(tmp_path / name)
    assert (record.format, record.samples, record.channels) == (maker, 40, 70)
    assert (record.axis_order, record.axis_order_known, record.verdict) == ("time,channel", "metadata", "ok")
    assert record.rate_hz == pytest.approx(rate_hz, rel=1e-12)
    assert record.spacing_m == pytest.approx(spacing_m, rel=1e-12)
    assert record.gauge_m == pytest.approx(gauge_m, rel=1e-12)
    assert record.units == units
    assert abs(record.start_time - made.START) <= np.timedelta64(1, "us")
    assert record.detail["start_known"] == "metadata"
    np.testing.assert_array_equal(made.whole(record), data)


@pytest.mark.parametrize("maker", [maker for maker in MAKERS if maker not in ("dasdae",)])
def test_dascore_reads_the_same_values_and_times(tmp_path: Path, maker: str) -> None:
    dascore = pytest.importorskip("dascore")
    write, name, *_ = MAKERS[maker]
    write(tmp_path / name, made.values(40, 70))
    record = made.only(tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch = dascore.read(tmp_path / name)[0].transpose("time", ...)
        time = patch.get_coord("time")
        theirs = np.asarray(patch.data)
        start, step = time.min(), time.step
    np.testing.assert_array_equal(made.whole(record), theirs)
    assert abs(record.start_time - start) <= np.timedelta64(1, "us")
    assert record.rate_hz == pytest.approx(1e9 / step.astype(np.int64), rel=1e-6)


def test_prodml_in_the_other_order_and_dimensions_that_contradict_the_counts(tmp_path: Path) -> None:
    data = made.values(40, 70)
    made.prodml(tmp_path / "a.h5", data, order="channel,time")
    assert made.only(tmp_path / "a.h5").axis_order == "channel,time"
    # Some writers name the axes the wrong way round; the number of loci and of time stamps settles it.
    made.prodml(tmp_path / "b.h5", data, order="channel,time", dimensions=[b"time", b"locus"])
    record = made.only(tmp_path / "b.h5")
    assert (record.axis_order, record.samples, record.channels) == ("channel,time", 40, 70)
    np.testing.assert_array_equal(made.whole(record), data)
    made.prodml(tmp_path / "c.h5", made.values(40, 40), dimensions=[])
    assert made.only(tmp_path / "c.h5").axis_order_known == "guess"


def test_prodml_with_lost_packets_has_gaps(tmp_path: Path) -> None:
    stamps = round(made.START_S * 1e6) + np.arange(200) * 2000
    stamps[90:] += 14_000
    made.prodml(tmp_path / "a.h5", made.values(200, 5), stamps=stamps)
    record = made.only(tmp_path / "a.h5")
    assert record.gaps == ((90, 97),)
    assert (record.samples, record.rate_hz) == (207, 500.0)


def test_terra15_leaves_out_a_block_that_was_not_filled(tmp_path: Path) -> None:
    data = made.values(100, 6)
    made.terra15(tmp_path / "a.hdf5", data, unfilled=30)
    record = made.only(tmp_path / "a.hdf5")
    assert (record.samples, record.gaps) == (70, ())
    np.testing.assert_array_equal(made.whole(record), data[:70])


def test_a_start_in_another_time_zone_is_not_taken_for_utc(tmp_path: Path) -> None:
    made.ap_sensing(tmp_path / "a.hdf5", made.values(20, 4))
    with h5py.File(tmp_path / "a.hdf5", "a") as file:
        del file["Metadata/Timezone"]
        file["Metadata/Timezone"] = b"UTC+3"
    record = made.only(tmp_path / "a.hdf5")
    assert record.start_time is None
    assert record.detail["time_zone"] == "UTC+3"


def test_optodas_names_its_scale_in_the_units(tmp_path: Path) -> None:
    made.optodas(tmp_path / "a.hdf5", made.values(20, 4, "int16"))
    with h5py.File(tmp_path / "a.hdf5", "a") as file:
        file["header/dataScale"][()] = np.float32(0.25)
    record = made.only(tmp_path / "a.hdf5")
    assert (record.units, record.detail["scale"], record.dtype) == ("0.25 strain/s", 0.25, "int16")


def test_pickled_attributes_are_never_loaded(tmp_path: Path) -> None:
    made.dasdae(tmp_path / "a.h5", made.values(20, 4))
    mark = tmp_path / "executed"
    with h5py.File(tmp_path / "a.h5", "a") as file:
        pickled = f"cos\nsystem\n(S'touch {mark}'\ntR.".encode()
        file["waveforms/DAS__x"].attrs["_attrs_gauge_length"] = np.bytes_(pickled)
    assert made.only(tmp_path / "a.h5").gauge_m is None
    assert not mark.exists()


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("chunk", [None, 7, 40])
def test_tdms_channel_by_channel_with_a_time_of_its_own_kind(tmp_path: Path, order: str, chunk: int | None) -> None:
    data = made.values(90, 5, "int16")
    made.tdms(tmp_path / "a.tdms", data, interleaved=False, order=order, chunk=chunk, segments=3, start="time")
    record = made.only(tmp_path / "a.tdms")
    assert (record.samples, record.axis_order, record.start_time) == (90, "channel,time", made.START)
    np.testing.assert_array_equal(made.whole(record), data)


@pytest.mark.parametrize(("cut", "reason"), [(-1, "truncated"), (200, "truncated"), (20, "TDMS file cannot be read")])
def test_a_truncated_tdms_file_is_named(tmp_path: Path, cut: int, reason: str) -> None:
    made.tdms(tmp_path / "a.tdms", made.values(90, 5, "int16"))
    content = (tmp_path / "a.tdms").read_bytes()
    (tmp_path / "a.tdms").write_bytes(content[:cut])
    with pytest.raises(InputError, match=reason):
        formats.find_records(tmp_path / "a.tdms")


@settings(deadline=None)
@given(st.lists(st.floats(-1e30, 1e30, allow_nan=False, allow_subnormal=False), min_size=1, max_size=20))
def test_ibm_floats_keep_at_least_twenty_bits(numbers: list[float]) -> None:
    # IBM floats reach from about 5e-79, float32 only from 1e-38: smaller ones become zero.
    exact = np.array([number if abs(number) > 1e-30 else 0.0 for number in numbers])
    np.testing.assert_allclose(ibm_to_float32(made.to_ibm(exact)), exact, rtol=2.0**-20)


def test_ibm_floats_of_the_literature() -> None:
    # System/360 Principles of Operation: 1, -118.625 and true zero.
    words = np.array([0x41100000, 0xC276A000, 0], np.uint32)
    np.testing.assert_array_equal(ibm_to_float32(words), [1.0, -118.625, 0.0])


def test_segy_facts(tmp_path: Path) -> None:
    data = made.values(50, 8)
    made.segy(tmp_path / "a.sgy", data, code=5, text_headers=1)
    record = made.only(tmp_path / "a.sgy")
    assert (record.format, record.samples, record.channels, record.rate_hz) == ("segy", 50, 8, 500.0)
    assert record.start_time == np.datetime64("2024-05-06T07:08:09", "ns")
    assert (record.axis_order, record.dtype, record.spacing_m) == ("channel,time", ">f4", None)


def test_obspy_writes_segy_that_reads_the_same(tmp_path: Path) -> None:
    obspy = pytest.importorskip("obspy")
    data = made.values(50, 3)
    stream = obspy.Stream([obspy.Trace(np.ascontiguousarray(data[:, k]), {"delta": 0.004}) for k in range(3)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream.write(str(tmp_path / "a.sgy"), format="SEGY", data_encoding=5)
    record = made.only(tmp_path / "a.sgy")
    assert record.rate_hz == 250.0
    np.testing.assert_array_equal(made.whole(record), data)


def test_segy_that_is_cut_or_uneven_is_named(tmp_path: Path) -> None:
    made.segy(tmp_path / "a.sgy", made.values(50, 8))
    content = (tmp_path / "a.sgy").read_bytes()
    (tmp_path / "a.sgy").write_bytes(content[:-10])
    with pytest.raises(InputError, match="truncated or has traces of different lengths"):
        formats.find_records(tmp_path / "a.sgy")
    (tmp_path / "a.sgy").write_bytes(content[:3590])
    with pytest.raises(InputError, match="no format that is known"):
        formats.find_records(tmp_path / "a.sgy")


def test_a_segy_header_of_zeros_is_not_taken_for_a_record(tmp_path: Path) -> None:
    (tmp_path / "a.sgy").write_bytes(struct.pack("5000x"))
    with pytest.raises(InputError, match="no format that is known"):
        formats.find_records(tmp_path / "a.sgy")
