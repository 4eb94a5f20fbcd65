"""Reading observatory files: IAGA-2002, archives, .npz, derived components, joining."""

from __future__ import annotations

import gzip
import io
import tarfile
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from observatory_files import DAY, field, iaga_text

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag.building.iaga import is_iaga, read_iaga
from groundswell.pipelines.geomag.building.minutes import MinuteSeries, join, minute_of, read_npz, with_components
from groundswell.pipelines.geomag.building.packed import contents
from groundswell.pipelines.geomag.building.sources import read_records


def series(values, columns="XYZF", start=0, data_type="", **facts):
    return MinuteSeries("SIM", 0.0, 0.0, start, np.asarray(values, np.float32), tuple(columns),
                        {"file": "made", "data_type": data_type, **facts})


def test_a_file_is_read_as_it_was_written():
    values = field(DAY)
    values[5:9, 1] = np.nan
    read = read_iaga("made.min", iaga_text(values, "2010-03-01", longitude=254.764, skip=(100, 101)).encode())
    assert read.station == "SIM" and read.components == tuple("XYZF") and read.start_minute == minute_of("2010-03-01")
    assert (read.latitude, read.longitude) == (10.0, pytest.approx(-105.236))
    expected = values.astype(np.float32)
    expected[100:102] = np.nan
    assert np.array_equal(read.values, expected, equal_nan=True) and read.values.dtype == np.float32
    assert read.facts["simulated"] is True


@pytest.mark.parametrize("ending", ["\r\n", "  \n", "\n\n"])
def test_line_ends_do_not_matter(ending):
    text = iaga_text(field(30), "2010-03-01")
    body = text.replace("\n", ending) if ending != "\n\n" else text + "\n \n\x1a\n"
    assert np.array_equal(read_iaga("f", body.encode()).values, read_iaga("f", text.encode()).values)


def test_not_reported_is_missing_like_missing():
    text = iaga_text(np.full((3, 4), 88888.0), "2010-03-01")
    assert np.isnan(read_iaga("f", text.encode()).values).all()


@pytest.mark.parametrize("spoil, number", [
    (lambda line: line.replace("20", "2O", 1), 20), (lambda line: line[:45], 21),
    (lambda line: line[:35] + "x" + line[36:], 22),
    (lambda line: line.replace("2010-03-01", "2010-13-01"), 23), (lambda line: line.replace("2010-03", "2010-02"), 24),
    (lambda line: line[:30] + "1" + line[31:], 25), (lambda line: line[:31] + "      nan" + line[40:], 26)])
def test_a_damaged_line_is_named(spoil, number):
    lines = iaga_text(field(60), "2010-03-01").splitlines()
    lines[number - 1] = spoil(lines[number - 1])
    with pytest.raises(InputError, match=f"made.min, line {number}"):
        read_iaga("made.min", "\n".join(lines).encode())


def test_other_rates_are_refused_as_such():
    seconds = iaga_text(field(5), "2010-03-01").replace("00:01:00.000", "00:00:01.000")
    for text, what in ((seconds, "00:00:01"), (iaga_text(field(5), "2010-03-01", step_minutes=60), "every 60 minutes"),
                       (iaga_text(field(5), "2010-03-01", interval="1-second"), "1-second"),
                       (iaga_text(field(1), "2010-03-01", interval="Hourly (00-59)"), "hourly")):
        with pytest.raises(InputError, match=f"not minute values.*{what}"):
            read_iaga("made", text.encode())


def test_what_is_no_observatory_file_is_refused():
    good = iaga_text(field(3), "2010-03-01")
    for text, what in (("hello", "not an IAGA-2002 file"), (good.split("DATE")[0], "names the columns"),
                       (good.rsplit("|", 1)[0] + "|\n", "no values"), (good.replace("|", " ", 1), "line 1"),
                       (good.replace("10.000", "north "), "Latitude|latitude")):
        with pytest.raises(InputError, match=what):
            read_iaga("made", text.encode())


def test_archives_are_read_without_unpacking_and_links_are_not_followed(tmp_path):
    text = iaga_text(field(10), "2010-03-01").encode()
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as archive:
        for name, data in (("../../evil.min", text), ("/abs/b.min.gz", gzip.compress(text)), ("notes.txt", b"hello")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link.min")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    found = dict(contents(tmp_path / "data.tar.gz"))
    assert [is_iaga(data) for data in found.values()] == [True, True, False]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.tar.gz"]
    assert not (tmp_path.parents[1] / "evil.min").exists()
    whole = (tmp_path / "data.tar.gz").read_bytes()
    for broken in (whole[:len(whole) // 2], b"\x1f\x8b" + b"\x00" * 40):
        (tmp_path / "broken.tar.gz").write_bytes(broken)
        with pytest.raises(InputError, match="cannot be read"):
            list(contents(tmp_path / "broken.tar.gz"))


def test_an_npz_series_is_read_and_a_pickle_is_not(tmp_path):
    meta = {"IAGA CODE": "sim", "Geodetic Latitude": "55.3", "Geodetic Longitude": "356.8"}
    values = field(20).astype(np.float32)
    letters = np.array(list("XYZF"))
    np.savez(tmp_path / "a.npz", t0="2003-01-01 00:00:00", values=values, columns=letters, meta=repr(meta))
    read = read_npz("a", (tmp_path / "a.npz").read_bytes())
    assert read.station == "SIM" and read.longitude == pytest.approx(-3.2) and np.array_equal(read.values, values)
    np.savez(tmp_path / "b.npz", t0="2003-01-01", values=values, columns=np.array(["X"], object), meta=repr(meta))
    np.savez(tmp_path / "c.npz", t0="2003-01-01", values=values, columns=letters, meta="__import__('os')")
    for name in "bc":
        with pytest.raises(InputError, match="not a series of minutes"):
            read_npz(name, (tmp_path / f"{name}.npz").read_bytes())
    with pytest.raises(InputError):
        read_npz("cut", (tmp_path / "a.npz").read_bytes()[:200])


@given(st.floats(100, 60000), st.floats(-179, 179))
@settings(max_examples=50, deadline=None)
def test_components_of_one_vector_agree_however_recorded(h, degrees):
    x, y = h * np.cos(np.radians(degrees)), h * np.sin(np.radians(degrees))
    z = 30000.0
    from_xyz = with_components(series([[x, y, z]], "XYZ"), "XYZHFD").values[0]
    from_hdz = with_components(series([[h, degrees * 60, z]], "HDZ"), "XYZHFD").values[0]
    from_hez = with_components(series([[x, y, z]], "HEZ"), "XYZHFD").values[0]
    expected = np.array([x, y, z, h, np.hypot(h, z), degrees * 60])
    for found in (from_xyz, from_hdz, from_hez):
        assert found == pytest.approx(expected, rel=1e-6, abs=2e-2)


def test_a_recorded_total_field_is_taken_and_what_cannot_be_had_is_said():
    assert with_components(series([[3.0, 4.0, 12.0, 99.0]]), "F").values[0, 0] == 99.0
    assert with_components(series([[3.0, 4.0, 12.0, np.nan]]), "FH").values[0].tolist() == [13.0, 5.0]
    with pytest.raises(InputError, match="component Z cannot be had from HDF"):
        with_components(series([[1.0, 2.0, 3.0]], "HDF"), "Z")
    with pytest.raises(InputError, match="no component 'Q'"):
        with_components(series([[1.0, 2.0, 3.0]], "HDF"), "Q")


def test_joining_keeps_gaps_and_counts_what_overlaps():
    a = series(np.arange(10.0)[:, None], "H")
    b = series(np.array([[8.0], [100.0], [np.nan], [11.0]]), "H", start=8)
    c = series([[20.0]], "H", start=20)
    joined = join([a, b, c])
    assert (joined.files, joined.overlapping, joined.disagreeing) == (3, 2, 1)
    found = joined.series.values[:, 0]
    assert len(found) == 21 and found[8] == 8 and found[9] == 100 and np.isnan(found[10]) and found[11] == 11
    assert np.isnan(found[12:20]).all() and found[20] == 20


def test_definitive_data_goes_over_variation_data_whatever_the_order(tmp_path):
    for name, level, kind in (("a", 1.0, "Definitive"), ("b", 2.0, "Quasi-definitive"), ("c", 3.0, "variation")):
        (tmp_path / f"{name}.min").write_text(iaga_text(np.full((5, 4), level), "2010-01-01", data_type=kind))
    records = read_records([str(tmp_path)], ["X"])
    assert (records.stations["SIM"].series.values == 1.0).all() and records.stations["SIM"].disagreeing == 10


def test_a_folder_is_read_and_a_named_file_must_hold_minutes(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="no minute data"):
        read_records([str(tmp_path)], ["H"])
    (tmp_path / "a.min").write_text(iaga_text(field(5), "2010-01-01"))
    assert read_records([str(tmp_path)], ["H"]).passed_over == (str(tmp_path / "notes.txt"),)
    for paths, kwargs, what in (([str(tmp_path / "notes.txt")], {}, "no minute values"),
                                ([str(tmp_path / "absent")], {}, "no such file"),
                                ([str(tmp_path)], {"stations": ["ESK"]}, "no minutes of ESK")):
        with pytest.raises(InputError, match=what):
            read_records(paths, ["H"], **kwargs)


def test_the_real_year_equals_its_array_and_is_read_in_seconds(real_geomag):
    start = time.process_time()
    records = read_records([str(real_geomag / "raw" / "esk2003.tar.gz")], ["X", "Y", "Z", "F"])
    assert time.process_time() - start < 10
    joined = records.stations["ESK"]
    known = read_npz("ESK", (real_geomag / "ESK_2003.npz").read_bytes())
    assert joined.files == 365 and joined.overlapping == 0 and joined.series.start_minute == known.start_minute
    assert np.array_equal(joined.series.values, known.values)
    assert (joined.series.latitude, joined.series.longitude) == (55.3, pytest.approx(-3.2))


def test_the_real_variation_files_equal_their_arrays(real_geomag):
    month, = contents(real_geomag / "raw" / "bou" / "BOU201601vmin.min.gz")
    assert np.array_equal(read_iaga(*month).values, read_npz("m", (real_geomag / "BOU_201601.npz").read_bytes()).values)
    days = [read_iaga(*next(contents(p))) for p in sorted((real_geomag / "raw" / "bou").glob("bou2014*.gz"))]
    known = read_npz("w", (real_geomag / "BOU_201411w1.npz").read_bytes())
    assert join(days).series.components == tuple("HDZF") and np.array_equal(join(days).series.values, known.values)


def test_every_real_observatory_is_read(real_geomag):
    path = real_geomag / "raw" / "intermagnet_20220115.tar.gz"
    parts = [read_iaga(name, data) for name, data in contents(path) if is_iaga(data)]
    assert len(parts) == len({p.station for p in parts}) == 120
    assert all(len(p.values) == DAY and abs(p.latitude) <= 90 and -180 <= p.longitude < 180 for p in parts)
    told = np.concatenate([p.values.ravel() for p in parts])
    assert np.nanmax(np.abs(told)) < 80000
    records = read_records([str(path)], ["H"])
    assert len(records.stations) == 117 and len(records.left_out) == 3  # three recorded nothing that day
