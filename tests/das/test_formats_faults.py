"""Whatever is wrong with a file is said in words; nothing outside its folder is read."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import record_files as made
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.pipelines.das import formats
from groundswell.pipelines.das.formats.apart import Apart


def found(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        formats.find_records(path)
    assert str(path) in str(caught.value)
    return caught.value.what


def test_missing_empty_and_unknown_files(tmp_path: Path) -> None:
    assert "No such file" in found(tmp_path / "absent.h5")
    (tmp_path / "empty.h5").touch()
    assert found(tmp_path / "empty.h5") == "The file is empty"
    (tmp_path / "text.h5").write_text("not a record\n" * 300)
    assert "no format that is known" in found(tmp_path / "text.h5")
    assert "cannot be listed" in found(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    made.plain(tmp_path / "a.h5", made.values(20, 3))
    (tmp_path / "a.h5").chmod(0)
    assert "permission denied" in found(tmp_path / "a.h5")


def test_a_truncated_hdf5_file_is_named(tmp_path: Path) -> None:
    made.plain(tmp_path / "a.h5", made.values(2000, 30))
    os.truncate(tmp_path / "a.h5", 50_000)
    assert "truncated" in found(tmp_path / "a.h5")


def test_a_file_that_is_being_written_is_named(tmp_path: Path) -> None:
    script = ("import h5py, sys\nfile = h5py.File(sys.argv[1], 'w', locking=True)\nfile['data'] = [[1.0, 2.0]] * 9\n"
              "file.flush()\nprint('ready', flush=True)\nsys.stdin.read()\nfile.close()")
    writer = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "a.h5")], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, env={**os.environ, "HDF5_USE_FILE_LOCKING": "TRUE"})
    assert writer.stdout is not None
    assert writer.stdin is not None
    writer.stdout.readline()
    said = found(tmp_path / "a.h5")
    writer.stdin.close()
    writer.wait()
    writer.stdout.close()
    assert "another process" in said
    assert made.only(tmp_path / "a.h5").samples == 9


def test_a_damaged_chunk_is_found_where_it_is_read(tmp_path: Path) -> None:
    data = made.plain(tmp_path / "a.h5", made.values(400, 8), chunks=(50, 8), compression="gzip", fletcher32=True)
    with h5py.File(tmp_path / "a.h5") as file:
        info = file["data"].id.get_chunk_info(3)
    with open(tmp_path / "a.h5", "r+b") as raw:
        raw.seek(info.byte_offset + info.size // 2)
        raw.write(b"\x55\xaa\x55\xaa")
    record = made.only(tmp_path / "a.h5")
    assert record.verdict == "ok"  # the damage lies where the first look does not
    reader, out = formats.open_reader(record), np.empty((50, 8), "float32")
    reader.read(0, 50, 0, 8, out)
    np.testing.assert_array_equal(out, data[:50])
    with pytest.raises(InputError, match="damaged: samples 150 to 200"):
        reader.read(150, 200, 0, 8, out)
    reader.close()


def test_external_links_are_named_and_not_followed(tmp_path: Path) -> None:
    made.plain(tmp_path / "other.h5", made.values(60, 4))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/data")
        file["gone"] = h5py.ExternalLink("absent.h5", "/data")
    said = found(tmp_path / "a.h5")
    assert "'elsewhere', a link to another file (other.h5:/data)" in said
    assert "'gone', a link to another file (absent.h5:/data)" in said


@pytest.mark.parametrize("name", ["Acquisition", "Acoustic", "DAS", "waveforms", "data_product", "fa1/Source1", "time"])
def test_links_under_the_names_that_instruments_use_do_no_harm(tmp_path: Path, name: str) -> None:
    made.plain(tmp_path / "a.h5", made.values(60, 4), axes=False, rate_hz=100)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.attrs["fs"] = 100.0
        file[name] = h5py.ExternalLink("absent.h5", "/data")
    record, link = formats.find_records(tmp_path / "a.h5")
    assert (record.dataset, record.verdict) == ("data", "ok")
    assert (link.dataset, link.format, link.kind) == (name, "", "unreadable")
    assert "absent.h5:/data" in link.verdict
    with pytest.raises(InputError, match="not followed"):
        formats.open_reader(link)


def test_samples_in_external_storage_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    made.values(60, 4).tofile(secret)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", (60, 4), "float32", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
    record = made.only(tmp_path / "a.h5")
    assert (record.format, record.kind) == ("", "unreadable")
    assert "secret.bin" in record.verdict
    with pytest.raises(InputError, match="stored in another file"):
        formats.open_reader(record)


def virtual(path: Path, sources: list[str], *, samples: int = 60, rows: int | None = None) -> None:
    layout = h5py.VirtualLayout((samples * len(sources) if rows is None else rows, 4), "float32")
    for number, name in enumerate(sources):
        layout[number * samples:(number + 1) * samples] = h5py.VirtualSource(name, "data", (samples, 4))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("data", layout)
        file["time"] = made.START_S + np.arange(file["data"].shape[0]) / 100


def test_a_virtual_data_set_reads_as_one_record(tmp_path: Path) -> None:
    parts = [made.plain(tmp_path / f"{k}.h5", made.values(60, 4, seed=k)) for k in range(3)]
    virtual(tmp_path / "all.h5", ["0.h5", "1.h5", "2.h5"])
    record = made.only(tmp_path / "all.h5")
    assert (record.samples, record.layout, record.verdict) == (180, "virtual, 3 sources", "ok")
    np.testing.assert_array_equal(made.whole(record), np.concatenate(parts))
    reader, out = formats.open_reader(record), np.empty((9, 4), "float32")
    os.utime(tmp_path / "1.h5", ns=(5, 5))
    with pytest.raises(InputError, match=r"1\.h5"):
        reader.read(0, 9, 0, 4, out)  # a source that changed counts as the file having changed
    reader.close()


@pytest.mark.parametrize(("source", "reason"), [
    ("absent.h5", "source 'absent.h5' is missing"), ("../outside.h5", "outside its folder"),
    ("/etc/hostname", "outside its folder"), ("text.h5", "cannot be opened"), ("other.h5", "has no array 'data'"),
    ("short.h5", "too small"), ("again.h5", "yet another file")])
def test_a_virtual_data_set_with_a_source_it_cannot_have_is_named(tmp_path: Path, source: str, reason: str) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    made.plain(tmp_path / "outside.h5", made.values(60, 4))
    made.plain(folder / "good.h5", made.values(60, 4))
    made.plain(folder / "other.h5", made.values(60, 4), name="else")
    made.plain(folder / "short.h5", made.values(50, 4))
    virtual(folder / "again.h5", ["good.h5"])
    (folder / "text.h5").write_text("not HDF5")
    virtual(folder / "a.h5", ["good.h5", source])
    record = made.only(folder / "a.h5")
    assert (record.format, record.kind) == ("", "unreadable")
    assert reason in record.verdict


def test_a_virtual_data_set_of_a_pattern_of_names_is_named(tmp_path: Path) -> None:
    forever = h5py.h5s.UNLIMITED
    here = h5py.h5s.create_simple((60, 4), (forever, 4))
    here.select_hyperslab((0, 0), (forever, 1), (60, 4), (60, 4))
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.VIRTUAL)
    creation.set_virtual(here, b"part-%b.h5", b"data", h5py.h5s.create_simple((60, 4)))
    made.plain(tmp_path / "part-0.h5", made.values(60, 4))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_FLOAT, here, creation)
    assert "named by a pattern" in made.only(tmp_path / "a.h5").verdict


def test_a_virtual_data_set_with_holes_is_named(tmp_path: Path) -> None:
    made.plain(tmp_path / "good.h5", made.values(60, 4))
    virtual(tmp_path / "a.h5", ["good.h5"], rows=80)
    assert "of which 25% has no source" in made.only(tmp_path / "a.h5").verdict


def mapped(path: Path, shape: tuple[int, int], *parts: tuple[object, str, str, tuple[int, int]]) -> str:
    """The verdict on a virtual data set of ``(where, file, array, shape of it)``."""
    layout = h5py.VirtualLayout(shape, "float32")
    for where, name, array, size in parts:
        layout[where] = h5py.VirtualSource(name, array, size)
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("data", layout)
        file["time"] = made.START_S + np.arange(shape[0]) / 100
    return next(record for record in formats.find_records(path) if record.dataset == "data").verdict


@pytest.mark.parametrize(("second", "rows"), [(slice(20, 80), 120), (slice(20, 80), 80), (slice(59, 119), 119),
                                              (slice(0, 60), 120), (slice(1, 120, 2), 120)])
def test_a_virtual_data_set_with_sources_that_overlap_is_named(tmp_path: Path, second: slice, rows: int) -> None:
    for name in ("a.h5", "b.h5"):
        made.plain(tmp_path / name, made.values(60, 4))
    verdict = mapped(tmp_path / "all.h5", (rows, 4), (slice(0, 60), "a.h5", "data", (60, 4)),
                     (second, "b.h5", "data", (60, 4)))
    assert "sources 'a.h5' and 'b.h5' overlap" in verdict


def test_the_smallest_hole_in_a_virtual_data_set_is_named(tmp_path: Path) -> None:
    made.plain(tmp_path / "a.h5", made.values(999, 4))
    verdict = mapped(tmp_path / "all.h5", (1000, 4), (slice(0, 999), "a.h5", "data", (999, 4)))
    assert "less than 1% has no source" in verdict


def test_a_virtual_data_set_of_interleaved_sources_and_of_channels_reads(tmp_path: Path) -> None:
    halves = [made.plain(tmp_path / f"{k}.h5", made.values(60, 4, seed=k)) for k in range(2)]
    for name, rows, where in (("turns.h5", (120, 4), [slice(k, 120, 2) for k in range(2)]),
                              ("sides.h5", (60, 8), [np.s_[:, :4], np.s_[:, 4:]])):
        assert mapped(tmp_path / name, rows, *((where[k], f"{k}.h5", "data", (60, 4)) for k in range(2))) == "ok"
        whole = np.zeros(rows, "float32")
        whole[where[0]], whole[where[1]] = halves
        np.testing.assert_array_equal(made.whole(made.only(tmp_path / name)), whole)


def test_a_virtual_data_set_on_arrays_of_its_own_file(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5", "c.h5"):
        made.plain(tmp_path / name, made.values(60, 4), name="part", axes=False)
    assert mapped(tmp_path / "a.h5", (60, 4), (slice(0, 60), ".", "part", (60, 4))) == "ok"
    assert "source '.' has no array 'absent'" in mapped(tmp_path / "b.h5", (60, 4),
                                                        (slice(0, 60), ".", "absent", (60, 4)))
    assert "too small" in mapped(tmp_path / "c.h5", (80, 4), (slice(0, 80), ".", "part", (80, 4)))


def test_a_virtual_data_set_of_a_source_that_was_written_in_part_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", (60, 4), "float32", chunks=(20, 4))[:20] = 1
    verdict = mapped(tmp_path / "all.h5", (60, 4), (slice(0, 60), "a.h5", "data", (60, 4)))
    assert "source 'a.h5' has an array 'data' that was not written in full: 2 of its 3 chunks" in verdict


def test_a_virtual_data_set_without_a_fixed_length_is_named(tmp_path: Path) -> None:
    made.plain(tmp_path / "a.h5", made.values(60, 4), chunks=(20, 4), maxshape=(None, 4))
    layout = h5py.VirtualLayout((60, 4), "float32", maxshape=(None, 4))
    source = h5py.VirtualSource("a.h5", "data", (60, 4), maxshape=(None, 4))
    layout[:h5py.h5s.UNLIMITED] = source[:h5py.h5s.UNLIMITED]
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
    assert "source 'a.h5' has no fixed length" in made.only(tmp_path / "all.h5").verdict


def test_what_memory_held_before_never_passes_for_samples(tmp_path: Path) -> None:
    virtual(tmp_path / "all.h5", ["a.h5", "b.h5"])
    for name in ("a.h5", "b.h5"):
        made.plain(tmp_path / name, made.values(60, 4))
    record = made.only(tmp_path / "all.h5")
    # As if the look had missed that the sources overlap and leave the end without one.
    layout = h5py.VirtualLayout((120, 4), "float32")
    layout[:60] = h5py.VirtualSource("a.h5", "data", (60, 4))
    layout[20:80] = h5py.VirtualSource("b.h5", "data", (60, 4))
    with h5py.File(tmp_path / "all.h5", "a") as file:
        del file["data"]
        file.create_virtual_dataset("data", layout)
    status = (tmp_path / "all.h5").stat()
    record = dataclasses.replace(record, size_bytes=status.st_size, modified_ns=status.st_mtime_ns)
    out = np.full((120, 4), 7, "float32")
    reader = formats.open_reader(record)
    reader.read(0, 120, 0, 4, out)
    reader.close()
    assert not out[80:].any()


def test_incomplete_descriptions_are_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file.create_group("Acquisition").attrs.update({"NumberOfLoci": 4, "SpatialSamplingInterval": 1.0,
                                                       "schemaVersion": "2.0"})
    assert "PRODML file holds no two-dimensional array" in found(tmp_path / "p.h5")
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file.attrs.update({"file_version": 6, "sensing_range_start": 0.0, "dx": 1.0, "nx": 4, "data_product": "x"})
    assert "does not hold the data product" in found(tmp_path / "t.h5")
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_group("fa/Source1").attrs.update({"AmpliPower": 1, "Hostname": b"x", "WholeExtent": 0,
                                                      "SamplingRate": 1})
    assert "FEBUS file holds no array of blocks" in found(tmp_path / "f.h5")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file.attrs["__format__"] = "DASDAE"
        file.create_group("waveforms")
    assert "holds no patch" in found(tmp_path / "d.h5")


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("healthy")
    data = made.values(60, 6, "int16")
    made.plain(folder / "plain.h5", data, chunks=(20, 6), compression="gzip")
    made.prodml(folder / "prodml.h5", data)
    made.febus(folder / "febus.h5", made.values(70, 6), keep=10, before=5, after=5, blocks=6, overlap=100.0)
    made.tdms(folder / "x.tdms", data)
    made.segy(folder / "x.sgy", data, code=3)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def apart() -> Iterator[Apart]:
    with Apart(limit_s=5) as worker:
        yield worker


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_ends_the_looking(healthy: dict[str, bytes], apart: Apart, tmp_path: Path,
                                    data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(healthy)))
    content = bytearray(healthy[name])
    for _ in range(data.draw(st.integers(1, 6))):
        # Most of what describes a file stands at its beginning.
        at = data.draw(st.one_of(st.integers(0, min(4000, len(content) - 1)), st.integers(0, len(content) - 1)))
        content[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(1, len(content) - 1)):]
    (tmp_path / name).write_bytes(bytes(content))
    looked = apart.look(tmp_path / name, health=True)
    assert looked.path == tmp_path / name
    assert bool(looked.reason) != bool(looked.records)


def test_a_file_that_never_ends_is_given_up(tmp_path: Path) -> None:
    made.plain(tmp_path / "a.h5", made.values(60, 4))
    with Apart(limit_s=4) as worker:
        assert worker.look(tmp_path / "a.h5", health=True).reason == ""
        worker.limit_s = 0.2
        assert worker.process is not None
        os.kill(worker.process.pid, signal.SIGSTOP)
        assert "had not come back after 0.2 s" in worker.look(tmp_path / "a.h5", health=True).reason
        worker.limit_s = 4
        assert worker.look(tmp_path / "a.h5", health=True).reason == ""


def test_a_crash_in_the_library_is_a_reason_and_the_next_file_is_looked_at(apart: Apart, tmp_path: Path) -> None:
    made.plain(tmp_path / "a.h5", made.values(60, 4))
    process = apart.look(tmp_path / "a.h5", health=False) and apart.process
    assert process is not None
    os.kill(process.pid, signal.SIGSEGV)
    process.wait()
    looked = apart.look(tmp_path / "a.h5", health=True)
    assert "brought down the library that reads it (signal 11)" in looked.reason
    assert looked.records == ()
    ((record, health),) = apart.look(tmp_path / "a.h5", health=True).records
    assert record == made.only(tmp_path / "a.h5")
    assert health is not None
    assert health.share == 1.0
