"""Plain HDF5 and the Bigorre layouts: which array is the record, and where its axes, rate and start come from."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import record_files as made
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.pipelines.das import formats
from groundswell.pipelines.das.formats.generic import axis_order


@pytest.mark.parametrize("name", ["data", "python_processing/sr/data", "sr/data"])
@pytest.mark.parametrize("order", ["time,channel", "channel,time"])
def test_the_bigorre_layouts(tmp_path: Path, name: str, order: str) -> None:
    path = tmp_path / "DAS-BIGORRE_2022-09-03_08-14-22_UTC-0005.h5"
    # Fewer samples than channels: the longer axis is not time.
    data = made.plain(path, made.values(30, 80), name=name, order=order)
    record = made.only(path)
    assert (record.dataset, record.samples, record.channels, record.axis_order) == (name, 30, 80, order)
    assert (record.rate_hz, record.axis_order_known, record.verdict) == (250.0, "metadata", "ok")
    assert record.spacing_m == pytest.approx(4.8)
    assert record.start_time == np.datetime64("2022-09-03T08:14:22", "ns")
    assert record.detail["start_known"] == "file name"
    np.testing.assert_array_equal(made.whole(record), data)


def test_the_first_of_the_search_order_is_the_record_and_the_rest_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    made.plain(path, made.values(60, 10), name="sr/data")
    with h5py.File(path, "a") as file:
        file["python_processing/sr/data"] = made.values(60, 10, seed=2)
        file["eb/0.5_100/data"] = made.values(6, 10)
        file["region/data"] = np.ones((6, 10), "int32")
        file["region/distance"], file["region/time"] = np.arange(10.0), np.arange(6.0)
    record = made.only(path)
    assert record.dataset == "python_processing/sr/data"
    assert sorted(record.detail["also"]) == ["eb/0.5_100/data", "region/data", "sr/data"]


def test_band_energy_and_label_maps_alone_are_no_waveforms(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["eb/0.5_100/data"] = made.values(60, 10)
        file["region/data"] = np.ones((60, 10), "int32")
        file["psd"] = made.values(60, 10)
    records = {record.dataset: record for record in formats.find_records(tmp_path / "a.h5")}
    assert {name: record.kind for name, record in records.items()} == {
        "eb/0.5_100/data": "band energy", "region/data": "label map", "psd": "spectrum"}
    assert {record.verdict for record in records.values()} == {
        "not a waveform: band energy", "not a waveform: label map", "not a waveform: spectrum"}


@given(st.integers(1, 50), st.integers(1, 50), st.booleans(), st.booleans(), st.booleans())
def test_the_order_is_known_exactly_when_lengths_fit_one_way(samples: int, channels: int, with_time: bool,
                                                             with_distance: bool, swapped: bool) -> None:
    shape = (channels, samples) if swapped else (samples, channels)
    order, known = axis_order(shape, samples if with_time else None, channels if with_distance else None)
    if samples != channels and (with_time or with_distance):
        assert (order, known) == ("channel,time" if swapped else "time,channel", "metadata")
    else:
        assert known == "guess"
        assert order == ("time,channel" if shape[0] > shape[1] else "channel,time")


def test_lengths_that_fit_no_axis_leave_a_guess(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"], file["time"] = made.values(60, 10), np.arange(61) / 100
        file.attrs["fs"] = 100.0
    record = made.only(tmp_path / "a.h5")
    assert (record.axis_order, record.axis_order_known, record.rate_hz) == ("time,channel", "guess", 100.0)
    assert record.verdict == "ok"


@pytest.mark.parametrize(("name", "value"), [("dims", "time,distance"), ("Dimensions", [b"time", b"locus"]),
                                             ("axis_order", "time,channel")])
def test_named_axes_count_more_than_lengths(tmp_path: Path, name: str, value: object) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = made.values(10, 60)
        file["data"].attrs[name] = value
    record = made.only(tmp_path / "a.h5")
    assert (record.axis_order, record.axis_order_known, record.samples) == ("time,channel", "metadata", 10)


def test_labels_of_dimensions_name_the_axes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = made.values(60, 60)
        file["data"].dims[0].label, file["data"].dims[1].label = "distance", "time"
    record = made.only(tmp_path / "a.h5")
    assert (record.axis_order, record.axis_order_known) == ("channel,time", "metadata")


def test_without_metadata_the_axes_are_a_guess_and_the_rate_is_unknown(tmp_path: Path) -> None:
    made.plain(tmp_path / "a.h5", made.values(60, 10), name="anything", axes=False)
    record = made.only(tmp_path / "a.h5")
    assert (record.axis_order, record.axis_order_known) == ("time,channel", "guess")
    assert (record.rate_hz, record.spacing_m, record.start_time) == (None, None, None)
    assert record.verdict == "sampling rate unknown"
    assert record.duration_s is None


@pytest.mark.parametrize("where", ["dataset", "group", "root"])
@pytest.mark.parametrize(("attributes", "rate_hz"), [({"rate_hz": 200.0}, 200.0), ({"SamplingRate": [200]}, 200.0),
                                                     ({"dt": np.float32(0.005)}, 200.0), ({"fs": b"200"}, 200.0),
                                                     ({"fs": "unknown"}, None), ({"dt": 0.0}, None)])
def test_a_stated_rate_is_found_where_people_write_it(tmp_path: Path, where: str, attributes: dict[str, object],
                                                      rate_hz: float | None) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["sr/data"] = made.values(60, 10)
        {"dataset": file["sr/data"], "group": file["sr"], "root": file}[where].attrs.update(attributes)
    assert made.only(tmp_path / "a.h5").rate_hz == rate_hz


def test_facts_as_attributes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = made.values(60, 10)
        file["data"].attrs.update({"units": "nm/m/s", "dx": 2.5, "gauge_length": 12, "sampling_rate": 100,
                                   "start_time": "2024-05-06T09:08:09.5+02:00"})
    record = made.only(tmp_path / "a.h5")
    assert (record.units, record.spacing_m, record.gauge_m) == ("nm/m/s", 2.5, 12.0)
    assert record.start_time == made.START
    assert record.detail["start_known"] == "metadata"


def test_every_array_of_a_plain_file_is_a_record(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for cable in ("north", "south"):
            file[f"{cable}/strain"] = made.values(60, 10)
            file[f"{cable}/time"] = made.START_S + np.arange(60) / 50
        file["north/distance"] = np.arange(10)[None, :] * 2.0  # a coordinate of one row is no record
        file["notes"] = np.array([[b"a", b"b"]])
        file["cube"] = np.zeros((2, 3, 4))
        file["soft"] = h5py.SoftLink("/north/strain")
    records = formats.find_records(tmp_path / "a.h5")
    assert [record.dataset for record in records] == ["north/strain", "south/strain"]
    assert {record.rate_hz for record in records} == {50.0}
    assert {record.start_time for record in records} == {made.START}
    assert [record.spacing_m for record in records] == [2.0, None]


def test_a_gap_in_the_time_stamps_is_a_gap_on_the_timeline(tmp_path: Path) -> None:
    data = made.values(300, 4)
    times = made.START_S + np.arange(300) / 100
    times[120:] += 0.37
    times[200:] += 1.00
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"], file["time"] = data.T, times
    record = made.only(tmp_path / "a.h5")
    assert record.gaps == ((120, 157), (237, 337))
    assert (record.samples, record.rate_hz, record.verdict) == (437, 100.0, "ok")
    expected = np.zeros((437, 4), "float32")
    expected[:120], expected[157:237], expected[337:] = data[:120], data[120:200], data[200:]
    np.testing.assert_array_equal(made.whole(record), expected)
    reader, out = formats.open_reader(record), np.ones((30, 2), "float32")
    reader.read(140, 170, 1, 3, out)  # from within a gap into what follows
    reader.close()
    np.testing.assert_array_equal(out, expected[140:170, 1:3])


def test_time_that_runs_backwards_is_named(tmp_path: Path) -> None:
    times = np.arange(300) / 100
    times[150:] -= 1.0
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"], file["time"] = made.values(300, 4), times
    assert "backwards" in made.only(tmp_path / "a.h5").verdict


def test_an_index_under_the_name_of_time_gives_no_rate(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"], file["time"] = made.values(300, 4), np.arange(300)
    assert made.only(tmp_path / "a.h5").rate_hz is None


def test_a_file_without_a_record_says_what_it_holds(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = np.zeros((2, 3, 4))
    with pytest.raises(InputError, match=r"no two-dimensional array.*'/cube' \(2, 3, 4\)"):
        formats.find_records(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("nothing")
    with pytest.raises(InputError, match="no arrays at all"):
        formats.find_records(tmp_path / "a.h5")


def test_an_empty_array_and_an_unwritten_one_are_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", shape=(0, 10), dtype="float32", maxshape=(None, 10))
    assert "empty" in made.only(tmp_path / "a.h5").verdict
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("data", shape=(50, 10), dtype="float32", chunks=(10, 10))
    assert made.only(tmp_path / "b.h5").verdict == "nothing was ever written to it"


@pytest.mark.parametrize("storage", [{}, {"compression": "gzip"}, {"fillvalue": 3.0}])
def test_an_array_that_was_written_in_part_is_named(tmp_path: Path, storage: dict[str, object]) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("data", shape=(55, 10), dtype="float32", chunks=(10, 4), **storage)
        data[:20] = made.values(20, 10)
    record = made.only(tmp_path / "a.h5")
    assert (record.format, record.kind) == ("", "unreadable")
    assert record.verdict == "12 of its 18 chunks were never written"
    with pytest.raises(InputError, match="never written"):
        formats.open_reader(record)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["data"][20:] = made.values(35, 10)
    assert made.only(tmp_path / "a.h5").format == "hdf5"


def test_zeros_are_called_zeros_even_where_the_first_samples_would_do(tmp_path: Path) -> None:
    data = np.zeros((4000, 6), "float32")
    made.plain(tmp_path / "a.h5", data)
    assert made.only(tmp_path / "a.h5").verdict == "all zeros"
    data[1234, 2] = 1e-9
    made.plain(tmp_path / "b.h5", data)
    assert made.only(tmp_path / "b.h5").verdict == "ok"


def test_walk_lists_readable_suffixes_sorted_and_leaves_out_the_unfinished(tmp_path: Path) -> None:
    wanted = ["a.h5", "b/c/x.TDMS", "b/y.hdf5", "b/z.mseed", "q.sgy"]
    for name in [*wanted, "b/.hidden.h5", ".cache/x.h5", "b/x.part.h5", "b/x.h5.part", "notes.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = formats.walk([tmp_path, tmp_path / "b", tmp_path / "notes.txt"])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == sorted([*wanted, "notes.txt"])
    with pytest.raises(InputError, match="no such file"):
        formats.walk([tmp_path / "absent"])
