"""Real files of every format: the facts stated for them, and the same values as DASCore and ObsPy give."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from record_files import whole

from groundswell.pipelines.das import formats

# file: format, samples, channels, rate, spacing, gauge, start, order
FACTS = {
    "valencia_febus_example.h5": ("febus", 1250, 100, 250, 16.8, 30.4, "2020-09-02T07:21:46", "block,time,channel"),
    "prodml_2.0.h5": ("prodml", 2500, 512, 200, 1.02095, 10, "1970-01-01T00:00:00", "time,channel"),
    "iDAS005_hdf5_example.626.h5": ("prodml", 1000, 1152, 1000, 1.02095, 10, "2019-05-31T08:38:50", "time,channel"),
    "iDAS005_tdms_example.626.tdms": ("tdms", 1000, 1152, 1000, 1.02095, 10, "2019-05-31T08:38:50", "time,channel"),
    "decimated_optodas.hdf5": ("optodas", 5000, 51, 500, 51.065, 10.213, "2023-10-27T14:23:37", "time,channel"),
    "gdr_1.h5": ("gdr", 10000, 10, 1000, 1.021, 10, "2016-03-08T17:40:30", "time,channel"),
    "deformation_rate_event_1.hdf5": ("dasdae", 900, 225, 2000, 5.71733, None, "2022-06-04T15:27:44", "time,channel"),
    "h5_simple_1.h5": ("hdf5", 200, 100, 250, None, None, "2023-09-04T20:05:06", "time,channel"),
    "h5_simple_2.h5": ("hdf5", 200, 100, 250, 1, None, "2023-09-04T20:18:49", "channel,time"),
    "neubrex_das_1.h5": ("neubrex", 30, 17534, 1000, 0.410675, 0.205337, "2023-05-22T06:25:34", "time,channel"),
    "small_channel_patch.sgy": ("segy", 20, 10, 250, None, None, "2017-09-18T00:00:00", "channel,time"),
    "fiberis_sensor_2019-03-28T160419Z.h5": ("prodml", 30, 6100, 0.1, 1.02095, 7.14667, "2019-03-28T16:04:19",
                                             "channel,time"),
    "fiberis_sensor_2019-03-28T160919Z.h5": ("prodml", 30, 6100, 0.1, 1.02095, 7.14667, "2019-03-28T16:09:19",
                                             "channel,time"),
    "fiberis_sensor_2019-03-28T161419Z.h5": ("prodml", 30, 6100, 0.1, 1.02095, 7.14667, "2019-03-28T16:14:19",
                                             "channel,time"),
    "geofon_1D_HSF.mseed": ("miniseed", 452914, 1, 250, None, None, "2021-06-16T16:59:52", "time"),
    "geofon_5J_HSF.mseed": ("miniseed", 1623458, 1, 100, None, None, "2020-01-31T00:59:53", "time"),
    "geofon_ZH_HSF.mseed": ("miniseed", 677629, 1, 250, None, None, "2021-06-17T22:59:51", "time"),
}
DTYPES = {"prodml_2.0.h5": "int16", "iDAS005_hdf5_example.626.h5": "int16", "iDAS005_tdms_example.626.tdms": "int16",
          "fiberis_sensor_2019-03-28T160419Z.h5": "int32", "geofon_5J_HSF.mseed": "int32"}


@pytest.mark.parametrize("name", FACTS)
def test_a_real_file_has_the_facts_stated_for_it(real_das: Path, name: str) -> None:
    (record,) = formats.find_records(real_das / name)
    kind, samples, channels, rate_hz, spacing_m, gauge_m, start, order = FACTS[name]
    assert (record.format, record.samples, record.channels, record.axis_order) == (kind, samples, channels, order)
    assert record.axis_order_known == "metadata"
    assert record.rate_hz == pytest.approx(rate_hz, rel=1e-12)
    assert record.spacing_m == (None if spacing_m is None else pytest.approx(spacing_m, rel=1e-5))
    assert record.gauge_m == (None if gauge_m is None else pytest.approx(gauge_m, rel=1e-5))
    assert str(record.start_time.astype("datetime64[s]")) == start
    assert record.kind == "waveform"
    assert record.gaps == ()
    assert record.verdict == ("all zeros" if name == "neubrex_das_1.h5" else "ok")
    assert record.dtype == DTYPES.get(name, record.dtype)


def test_the_spectrum_and_the_band_energies_are_called_what_they_are(real_das: Path) -> None:
    (spectrum,) = formats.find_records(real_das / "febus_2.h5")
    assert (spectrum.kind, spectrum.samples, spectrum.channels) == ("spectrum", 3001, 101)
    assert spectrum.rate_hz is None
    assert spectrum.axis_order == ""
    assert spectrum.verdict.startswith("not a waveform: spectrum (PSD")
    bands = formats.find_records(real_das / "prodml_fbe_1.h5")
    assert [band.kind for band in bands] == ["band energy"] * 5
    assert [band.verdict for band in bands][2] == "not a waveform: band energy, 9.28 to 50.3 Hz"
    assert {(band.samples, band.channels, band.spacing_m) for band in bands} == {(453, 301, 1.0209523)}


def test_each_channel_of_a_three_channel_miniseed_file_is_a_record_of_its_own_length(real_das: Path) -> None:
    records = formats.find_records(real_das / "etna_9n_3chan_10s.mseed")
    assert [(record.dataset, record.samples) for record in records] == [
        ("9N.00066..HSF", 13735), ("9N.00067..HSF", 13729), ("9N.00068..HSF", 13556)]
    assert {record.rate_hz for record in records} == {1000.0}


@pytest.mark.parametrize("name", [name for name in FACTS if not name.endswith((".mseed", ".sgy"))])
def test_values_are_those_that_dascore_reads(real_das: Path, name: str) -> None:
    dascore = pytest.importorskip("dascore")
    (record,) = formats.find_records(real_das / name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch = dascore.read(real_das / name)[0]
        theirs = np.asarray(patch.transpose("time", ...).data)
        start = patch.get_coord("time").min()
    ours = whole(record)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)
    assert abs(record.start_time - start) < np.timedelta64(1, "us")


@pytest.mark.parametrize("name", ["geofon_1D_HSF.mseed", "geofon_5J_HSF.mseed", "geofon_ZH_HSF.mseed",
                                  "etna_9n_3chan_10s.mseed"])
def test_values_are_those_that_obspy_reads(real_das: Path, name: str) -> None:
    obspy = pytest.importorskip("obspy")
    for record in formats.find_records(real_das / name):
        (trace,) = obspy.read(str(real_das / name)).select(id=record.dataset)
        ours = whole(record)
        assert ours.dtype == trace.data.dtype
        np.testing.assert_array_equal(ours[:, 0], trace.data)
        assert abs(record.start_time - np.datetime64(trace.stats.starttime.ns, "ns")) <= np.timedelta64(1, "us")
        assert record.rate_hz == trace.stats.sampling_rate


def test_the_same_second_is_the_same_as_hdf5_and_as_tdms(real_das: Path) -> None:
    (hdf5,) = formats.find_records(real_das / "iDAS005_hdf5_example.626.h5")
    (tdms,) = formats.find_records(real_das / "iDAS005_tdms_example.626.tdms")
    np.testing.assert_array_equal(whole(hdf5), whole(tdms))


def test_ibm_floats_of_a_real_segy_file_are_those_that_obspy_unpacks(real_das: Path) -> None:
    unpack = pytest.importorskip("obspy.io.segy.unpack")
    path = real_das / "small_channel_patch.sgy"
    (record,) = formats.find_records(path)
    ours = whole(record)
    raw = path.read_bytes()
    import io

    for channel in range(record.channels):
        trace = io.BytesIO(raw[3600 + channel * 320 + 240:3600 + (channel + 1) * 320])
        np.testing.assert_array_equal(ours[:, channel], unpack.unpack_4byte_ibm(trace, 20, ">"))
