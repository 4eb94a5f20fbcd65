"""FEBUS blocks: the repeated rows are left out and nothing else, however blocks overlap."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import record_files as made
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.pipelines.das import formats

FACTS = st.fixed_dictionaries({
    "keep": st.integers(2, 40), "repeated": st.integers(0, 60), "blocks": st.integers(1, 9),
    "channels": st.integers(1, 6), "dtype": st.sampled_from(["float32", "int16", ">f4"]),
    "storage": st.sampled_from([{}, {"chunks": True}, {"chunks": True, "compression": "gzip"}]),
    "trimmed": st.booleans()})


@settings(deadline=None, max_examples=60)
@given(facts=FACTS, data=st.data())
def test_blocks_read_as_the_signal_they_were_cut_from(tmp_path_factory: pytest.TempPathFactory,
                                                      facts: dict, data: st.DataObject) -> None:
    keep, repeated, blocks = facts["keep"], facts["repeated"], facts["blocks"]
    before = repeated // 2
    signal = made.values(blocks * keep + repeated, facts["channels"], facts["dtype"])
    path = tmp_path_factory.mktemp("febus") / "a.h5"
    made.febus(path, signal, keep=keep, before=before, after=repeated - before, blocks=blocks,
               trimmed=facts["trimmed"], overlap=100.0 * repeated / keep, **facts["storage"])
    record = made.only(path)
    expected = signal[before:before + blocks * keep]
    assert (record.format, record.samples, record.channels) == ("febus", blocks * keep, facts["channels"])
    assert (record.axis_order, record.axis_order_known, record.gaps) == ("block,time,channel", "metadata", ())
    assert record.rate_hz == pytest.approx(200.0, rel=1e-12)
    # The time of a block is that of its first kept row.
    assert abs(record.start_time - made.START) <= np.timedelta64(1, "us")
    np.testing.assert_array_equal(made.whole(record), expected)
    start = data.draw(st.integers(0, record.samples - 1))
    stop = data.draw(st.integers(start + 1, record.samples))
    first = data.draw(st.integers(0, record.channels - 1))
    out = np.empty((stop - start, record.channels - first), "float64")
    reader = formats.open_reader(record)
    reader.read(start, stop, first, record.channels, out)
    reader.close()
    np.testing.assert_array_equal(out, expected[start:stop, first:])


@pytest.mark.parametrize(("version", "overlap"), [(True, 100.0), (False, 100.0), (False, None)])
def test_dascore_keeps_the_same_rows(tmp_path: Path, version: bool, overlap: float | None) -> None:
    dascore = pytest.importorskip("dascore")
    signal = made.values(50 * 5 + 50, 7)
    made.febus(tmp_path / "a.h5", signal, keep=50, before=25, after=25, blocks=5, version=version, overlap=overlap)
    record = made.only(tmp_path / "a.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch = dascore.read(tmp_path / "a.h5")[0]
        theirs, start = np.asarray(patch.transpose("time", ...).data), patch.get_coord("time").min()
    np.testing.assert_array_equal(made.whole(record), theirs)
    np.testing.assert_array_equal(theirs, signal[25:275])
    assert abs(record.start_time - start) <= np.timedelta64(1, "us")
    assert record.detail["overlap_known"] == ("guess" if overlap is None else "metadata")


def test_lost_blocks_are_gaps(tmp_path: Path) -> None:
    signal = made.values(50 * 10 + 50, 3)
    made.febus(tmp_path / "a.h5", signal, keep=50, before=25, after=25, blocks=10, overlap=100.0, lost=(3, 6, 7))
    record = made.only(tmp_path / "a.h5")
    assert record.gaps == ((150, 200), (300, 400))
    expected = signal[25:525].copy()
    expected[150:200], expected[300:400] = 0, 0
    np.testing.assert_array_equal(made.whole(record), expected)


def test_a_spectrum_in_blocks_is_no_waveform(tmp_path: Path) -> None:
    made.febus(tmp_path / "a.h5", made.values(300, 3), keep=50, before=0, after=0, blocks=4, overlap=0.0)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.move("fa1-test/Source1/Zone1/StrainRate", "fa1-test/Source1/Zone1/PSD [dB]")
    record = made.only(tmp_path / "a.h5")
    assert (record.kind, record.samples, record.rate_hz, record.axis_order) == ("spectrum", 200, None, "")
    assert record.verdict == "not a waveform: spectrum (PSD [dB])"


def test_each_zone_is_a_record(tmp_path: Path) -> None:
    made.febus(tmp_path / "a.h5", made.values(300, 3), keep=50, before=0, after=0, blocks=4, overlap=0.0)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.copy("fa1-test/Source1/Zone1", "fa1-test/Source1/Zone2")
    assert [record.dataset.split("/")[2] for record in formats.find_records(tmp_path / "a.h5")] == ["Zone1", "Zone2"]


def test_reading_a_window_holds_no_more_than_the_window_and_a_block(tmp_path: Path) -> None:
    signal = made.values(100 * 100 + 100, 200)  # 16 MB as stored
    made.febus(tmp_path / "a.h5", signal, keep=100, before=50, after=50, blocks=100, overlap=100.0)
    record = made.only(tmp_path / "a.h5")
    reader, out = formats.open_reader(record), np.empty((250, 200), "float32")
    reader.read(0, 250, 0, 200, out)
    tracemalloc.start()
    reader.read(5000, 5250, 0, 200, out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    reader.close()
    assert peak < 4 * 100 * 200 * 4
