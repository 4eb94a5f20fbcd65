"""Repacking changes how waveforms are stored and nothing else; it overwrites nothing and can be stopped."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tracemalloc
from dataclasses import fields, replace
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
import record_files as made
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.cli.main import main as groundswell
from groundswell.core.errors import FailureError, InputError
from groundswell.pipelines.das import formats, repack_file
from groundswell.pipelines.das import repack as repacking
from groundswell.pipelines.das.checksums import NAME, verify, write_checksums
from groundswell.pipelines.das.record import Record
from groundswell.pipelines.das.repack import Packing, packing_of, repack
from groundswell.pipelines.das.repack_file import tiles

STORED = {"path", "layout", "size_bytes", "modified_ns", "detail"}


def facts(record: Record) -> dict[str, object]:
    return {field.name: getattr(record, field.name) for field in fields(Record) if field.name not in STORED}


def archive(folder: Path) -> Path:
    folder.mkdir()
    (folder / "deep").mkdir()
    gzip = {"chunks": (100, 3), "compression": "gzip", "shuffle": True, "fletcher32": True}
    made.plain(folder / "gzip.h5", made.values(3000, 40), **gzip)
    made.plain(folder / "turned.h5", made.values(3000, 40, "int16"), order="channel,time", chunks=(7, 300))
    made.prodml(folder / "deep" / "prodml.h5", made.values(2000, 30), **gzip)
    made.febus(folder / "deep" / "febus.h5", made.values(2000, 12), keep=200, before=100, after=100, blocks=8)
    made.optodas(folder / "plain.h5", made.values(500, 9))
    (folder / "labels.json").write_text('{"gzip.h5": 0}')
    (folder / ".hidden").write_text("no")
    return folder


@pytest.mark.parametrize("packing", [Packing(), Packing("chunks", 128), Packing("chunks", 0, "lz4"),
                                     Packing("chunks", 256, "gzip")], ids=lambda p: f"{p.layout} {p.compression}")
def test_records_values_times_and_spacing_are_the_same(tmp_path: Path, packing: Packing) -> None:
    old, new = archive(tmp_path / "old"), tmp_path / "new"
    result = repack(old, new, packing)
    assert (len(result.written), result.copied, result.failed) == (5, ["labels.json"], {})
    paths = formats.walk([old])
    assert [path.relative_to(new) for path in formats.walk([new])] == [path.relative_to(old) for path in paths]
    assert (new / "labels.json").read_text() == '{"gzip.h5": 0}' and not (new / ".hidden").exists()
    for path in paths:
        before, after = formats.find_records(path), formats.find_records(new / path.relative_to(old))
        assert [facts(record) for record in before] == [facts(record) for record in after]
        for one, other in zip(before, after, strict=True):
            assert made.whole(one).tobytes() == made.whole(other).tobytes()
            assert other.layout.startswith("contiguous" if packing.layout == "contiguous" else "chunks")
            assert {"lz4": "blosc", "gzip": "gzip", "none": ""}[packing.compression] in other.layout


def test_chunks_hold_all_channels_and_the_time_asked_for(tmp_path: Path) -> None:
    old, new = archive(tmp_path / "old"), tmp_path / "new"
    repack(old, new, Packing("chunks", 128))
    assert made.only(new / "gzip.h5").detail["chunk"] == [128, 40]
    assert made.only(new / "turned.h5").detail["chunk"] == [40, 128]
    assert made.only(new / "deep" / "febus.h5").detail["chunk"][0] == 1


def test_attributes_scales_links_and_references_survive(tmp_path: Path) -> None:
    source, target = tmp_path / "a.h5", tmp_path / "b.h5"
    data = made.values(600, 8)
    data[3, 4] = np.nan
    with h5py.File(source, "w", userblock_size=512, track_order=True) as file:
        x = file.create_dataset("group/data", data=data, chunks=(50, 2), compression="gzip")
        file["group/time"], file["group/distance"] = np.arange(600) / 100.0, np.arange(8) * 2.0
        for axis, name in enumerate(("time", "distance")):
            file[f"group/{name}"].make_scale(name)
            x.dims[axis].attach_scale(file[f"group/{name}"])
            x.dims[axis].label = name
        x.attrs["text"], x.attrs["bytes"], x.attrs["numbers"] = "ünits", np.bytes_(b"fixed"), np.ones((2, 3))
        x.attrs["words"] = np.array(["a", "bc"], dtype=h5py.string_dtype())
        x.attrs["empty"], x.attrs["big"] = h5py.Empty("f4"), np.array([1, 2], ">i2")
        x.attrs["flag"] = np.array([True, False])
        x.attrs["refers"] = file["group/time"].ref
        ended = h5py.h5t.C_S1.copy()  # "time" and a zero
        ended.set_size(5)
        h5py.h5a.create(x.id, b"ended", ended, h5py.h5s.create(h5py.h5s.SCALAR)).write(np.array(b"time"))
        file["also"] = x
        file["soft"], file["away"] = h5py.SoftLink("/group/time"), h5py.ExternalLink("other.h5", "/x")
        file.create_dataset("packed", data=np.arange(1000), chunks=(10,), compression="gzip")
        file["type"] = np.dtype([("a", "i4"), ("b", "f8")])
        file["table"] = np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])
        file["names"] = np.array(["x", "yz"], dtype=h5py.string_dtype())
    with open(source, "r+b") as raw:
        raw.write(b"a block of the user's own")
    repack(source, target, Packing())
    assert target.read_bytes().startswith(b"a block of the user's own")
    with h5py.File(source) as old, h5py.File(target) as new:
        x, y = old["group/data"], new["group/data"]
        assert y.chunks is None and y[()].tobytes() == x[()].tobytes() and new["also"] == y
        assert new["soft"] == new["group/time"] and new.get("away", getlink=True).filename == "other.h5"
        assert new["packed"].compression == "gzip" and new["names"].asstr()[1] == "yz" and new["table"]["b"][0] == 2.0
        assert isinstance(new["type"], h5py.Datatype)
        assert [d.label for d in y.dims] == ["time", "distance"] and y.dims[0][0] == new["group/time"]
        assert new[y.attrs["refers"]] == new["group/time"]
        for name in x.attrs:
            a, b = x.attrs.get_id(name), y.attrs.get_id(name)
            assert a.get_type().equal(b.get_type()) and a.shape == b.shape, name
            if name not in ("refers", "DIMENSION_LIST", "empty"):
                assert np.array_equal(x.attrs[name], y.attrs[name]), name
        assert set(x.attrs) == set(y.attrs) and y.attrs["ended"] == b"time"


def test_references_to_nothing_stay_and_large_attributes_come_along(tmp_path: Path) -> None:
    data = made.values(50, 4)
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file.create_dataset("data", data=data, chunks=(7, 3)).attrs["table"] = np.arange(9000)
        file.attrs["nothing"] = h5py.h5r.Reference()
        file.attrs["some"] = np.array([h5py.h5r.Reference(), file["data"].ref], h5py.ref_dtype)
    repack(tmp_path / "a.h5", tmp_path / "b.h5", Packing())
    with h5py.File(tmp_path / "b.h5") as new:
        np.testing.assert_array_equal(new["data"].attrs["table"], np.arange(9000))
        assert not new.attrs["nothing"] and not new.attrs["some"][0] and new[new.attrs["some"][1]] == new["data"]


@pytest.mark.parametrize("where", ["compound", "vlen", "attribute", "lost"])
def test_references_that_cannot_be_carried_over_are_refused(tmp_path: Path, where: str) -> None:
    # Copied as they are, their bytes would mean other objects of the new file, or none.
    pair = np.dtype([("refers", h5py.ref_dtype), ("number", "i4")])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        refers = file.create_dataset("data", data=made.values(50, 4)).ref
        if where == "compound":
            file["pairs"] = np.array([(refers, 1)], pair)
        elif where == "vlen":
            file.create_dataset("lists", (1,), h5py.vlen_dtype(h5py.ref_dtype))[0] = np.array([refers], h5py.ref_dtype)
        elif where == "attribute":
            file.attrs.create("pair", np.array((refers, 1), pair))
        else:
            file["gone"] = 1
            file.attrs["gone"] = file["gone"].ref
            del file["gone"]
    with pytest.raises(InputError, match=r"hold|carried over|no name leads to"):
        repack(tmp_path / "a.h5", tmp_path / "b.h5", Packing())
    assert not (tmp_path / "b.h5").exists()


def test_real_files_come_through(real_das: Path, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for path in real_das.iterdir():
        if path.suffix in (".h5", ".hdf5") and path.stat().st_size < 40e6:
            (tmp_path / "old" / path.name).write_bytes(path.read_bytes())
    result = repack(tmp_path / "old", tmp_path / "new", Packing("chunks", 0, "lz4"))
    assert not result.failed and len(result.written) >= 10


@settings(deadline=None, max_examples=100)
@given(shape=st.tuples(st.integers(1, 40), st.integers(1, 40)), stored=st.tuples(st.integers(1, 9), st.integers(1, 9)),
       wanted=st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9)), most=st.integers(8, 4000))
def test_tiles_cover_an_array_once_and_keep_within_their_bytes(shape: tuple[int, int], stored: tuple[int, int],
                                                               wanted: tuple[int, int] | None, most: int) -> None:
    wanted = None if wanted is None else tuple(map(min, wanted, shape))  # type: ignore[assignment]
    seen = np.zeros(shape, int)
    for place in tiles(shape, 8, stored, wanted, most):
        seen[place] += 1
        assert seen[place].size * 8 <= max(most, 8)
    assert (seen == 1).all()


def test_memory_is_bounded_by_a_tile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made.plain(tmp_path / "a.h5", made.values(40_000, 64), chunks=(1000, 16))  # 10 MB
    monkeypatch.setattr(repack_file.tiles, "__defaults__", (1_000_000,))
    tracemalloc.start()
    repack(tmp_path / "a.h5", tmp_path / "b.h5", Packing())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6_000_000


def test_a_value_written_wrongly_is_noticed_and_nothing_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made.plain(tmp_path / "a.h5", made.values(3000, 40), chunks=(100, 3))
    forget = repack_file.forget

    def spoil(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file["data"][1234, 5] += 1
        forget(path)

    monkeypatch.setattr(repack_file, "forget", spoil)
    with pytest.raises(FailureError, match="not written as it was read"):
        repack(tmp_path / "a.h5", tmp_path / "b.h5", Packing())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    old = archive(tmp_path / "old")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x.txt").write_text("mine")
    for out in (tmp_path / "full", old, old / "inside", tmp_path):
        with pytest.raises(InputError):
            repack(old, out, Packing())
    with pytest.raises(InputError, match="nothing is overwritten"):
        repack(old / "gzip.h5", old / "plain.h5", Packing())
    repack(old, tmp_path / "new", Packing())
    (tmp_path / "new" / "gzip.h5").unlink()
    (tmp_path / "new" / "gzip.h5").write_text("mine too")
    with pytest.raises(InputError, match="changed since"):
        repack(old, tmp_path / "new", Packing())
    with pytest.raises(InputError, match="other options"):
        repack(old, tmp_path / "new", Packing("chunks", 0, "lz4"))
    assert (tmp_path / "new" / "gzip.h5").read_text() == "mine too"


def test_it_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = archive(tmp_path / "old"), tmp_path / "new"
    write = repacking.write_packed

    def stopped(source: Path, *rest: object) -> None:
        if source.name == "plain.h5":
            raise KeyboardInterrupt
        write(source, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(repacking, "write_packed", stopped)
    with pytest.raises(KeyboardInterrupt):
        repack(old, new, Packing())
    monkeypatch.undo()
    there = {path: path.stat().st_mtime_ns for path in formats.walk([new])}
    assert 0 < len(there) < 5 and not list(new.rglob("*.part*"))
    result = repack(old, new, Packing())
    assert len(result.kept) >= len(there) and "plain.h5" in result.written
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert repack(old, new, Packing()).written == []


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_done(tmp_path: Path,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    old = archive(tmp_path / "old")
    whole = (old / "gzip.h5").read_bytes()
    (old / "cut.h5").write_bytes(whole[:len(whole) // 2])
    assert groundswell(["--quiet", "das", "repack", str(old), str(tmp_path / "new")]) == 2
    out = capsys.readouterr().out
    assert "Left out: cut.h5" in out and "5 file(s) of records rewritten" in out
    assert not (tmp_path / "new" / "cut.h5").exists() and (tmp_path / "new" / "gzip.h5").exists()


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = archive(tmp_path / "old")
    monkeypatch.setattr(repacking, "free_gib", lambda folder: 0.0)
    with pytest.raises(FailureError, match=r"take about .* GiB"):
        repack(old, tmp_path / "new", Packing())
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("compression", ["none", "lz4", "gzip"])
@pytest.mark.parametrize("size", [5_000, 100_000, 300_000])
def test_a_full_disk_stops_the_command_and_blames_no_source(tmp_path: Path, compression: str, size: int) -> None:
    (tmp_path / "old").mkdir()
    for name in ("a.h5", "b.h5"):
        made.plain(tmp_path / "old" / name, made.values(3000, 40))

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    # In a process of its own: HDF5 may crash where it cannot write.
    done = subprocess.run([sys.executable, "-m", "groundswell", "-q", "das", "repack", "old", "new", "--layout",
                           "contiguous" if compression == "none" else "chunks", "--compression", compression],
                          cwd=tmp_path, capture_output=True, text=True, preexec_fn=small_files, check=False)
    assert done.returncode == 1, done.stderr
    assert "No space left" in done.stderr and f"new{os.sep}a.h5" in done.stderr and "damaged" not in done.stderr
    assert "b.h5" not in done.stderr and done.stderr.count("\n") == 1
    assert [path.name for path in (tmp_path / "new").rglob("*") if path.is_file()] == ["repack.json"]


def test_a_list_of_checksums_is_left_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = archive(tmp_path / "old"), tmp_path / "new"
    write_checksums(old)
    assert groundswell(["--quiet", "das", "repack", str(old), str(new)]) == 0
    assert f"Not copied: {NAME}" in capsys.readouterr().out and not (new / NAME).exists()
    write_checksums(new)
    assert verify(new).good and not repack(old, new, Packing()).failed


def test_a_copy_that_differs_is_noticed_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = archive(tmp_path / "old")
    monkeypatch.setattr(repacking.shutil, "copyfile", lambda source, target: target.write_text("other"))
    with pytest.raises(FailureError, match="not what was read"):
        repack(old, tmp_path / "new", Packing())
    assert not (tmp_path / "new" / "labels.json").exists()


def test_a_source_that_changes_meanwhile_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made.plain(tmp_path / "a.h5", made.values(300, 4))
    write = repacking.write_packed

    def touched(source: Path, *rest: object) -> None:
        write(source, *rest)  # type: ignore[arg-type]
        os.utime(source, ns=(1, 1))

    monkeypatch.setattr(repacking, "write_packed", touched)
    with pytest.raises(InputError, match="changed"):
        repack(tmp_path / "a.h5", tmp_path / "b.h5", Packing())
    assert not (tmp_path / "b.h5").exists()


def test_options_that_contradict_one_another_are_refused() -> None:
    assert packing_of("", 0, "none") == Packing()
    assert packing_of("", 0, "lz4") == Packing("chunks", 0, "lz4")
    assert packing_of("", 64, "none") == Packing("chunks", 64)
    for options in (("contiguous", 0, "gzip"), ("contiguous", 5, "none"), ("rows", 0, "none"), ("", 0, "zip"),
                    ("", -1, "none")):
        with pytest.raises(InputError):
            packing_of(*options)


def test_virtual_sets_become_real_ones(tmp_path: Path) -> None:
    data = made.values(400, 6)
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["raw"] = data
    layout = h5py.VirtualLayout(data.shape, data.dtype)
    layout[:] = h5py.VirtualSource("part.h5", "raw", data.shape)
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
        file["time"], file["distance"] = np.arange(400) / 100.0, np.arange(6) * 1.0
    repack(tmp_path / "whole.h5", tmp_path / "new.h5", Packing())
    record = made.only(tmp_path / "new.h5")
    assert record.layout == "contiguous" and made.whole(record).tobytes() == data.tobytes()
    assert facts(record) == facts(replace(made.only(tmp_path / "whole.h5")))
    assert hdf5plugin  # the filters of the sources are known
