"""Checksums of whole files tell flipped bytes that no reader notices; a list is never bent to fit a damaged file."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import record_files as made

from groundswell.cli.main import main as groundswell
from groundswell.core.errors import InputError
from groundswell.pipelines.das import checksums, scan
from groundswell.pipelines.das.checksums import NAME, verify, write_checksums
from groundswell.pipelines.das.predict import records_under
from groundswell.pipelines.das.record_index import find_all


def archive(folder: Path) -> Path:
    (folder / "deep").mkdir(parents=True)
    for name in ("a.h5", "deep/b.h5", "c.h5"):
        made.plain(folder / name, made.values(300, 8, seed=len(name)))
    return folder


def flip(path: Path, place: int) -> None:
    """Flip one bit and leave size and times as they were: what a bad disk does."""
    status = path.stat()
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 4]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_flipped_bit_in_contiguous_samples_is_told_by_verify_only(tmp_path: Path,
                                                                    capsys: pytest.CaptureFixture[str]) -> None:
    folder = archive(tmp_path / "x")
    assert groundswell(["--quiet", "das", "scan", str(folder), "--checksums"]) == 0
    assert groundswell(["--quiet", "das", "verify", str(folder)]) == 0
    flip(folder / "c.h5", 6000)
    assert (scan.scan([folder])["verdict"] == "ok").all()
    capsys.readouterr()
    assert groundswell(["--quiet", "das", "verify", str(folder)]) == 2
    out = capsys.readouterr().out
    assert "CHANGED: c.h5" in out and "2 file(s) are as they were; 1 are not" in out


def test_the_list_is_what_sha256sum_reads(tmp_path: Path) -> None:
    folder = archive(tmp_path / "x")
    write_checksums(folder)
    assert subprocess.run(["sha256sum", "--check", "--quiet", NAME], cwd=folder, check=False).returncode == 0
    assert [line[66:] for line in (folder / NAME).read_text().splitlines()] == ["a.h5", "c.h5", "deep/b.h5"]


def test_missing_truncated_and_new_files_are_told_apart(tmp_path: Path) -> None:
    folder = archive(tmp_path / "x")
    write_checksums(folder)
    (folder / "a.h5").unlink()
    os.truncate(folder / "deep/b.h5", 100)
    made.plain(folder / "new.h5", made.values(30, 3))
    found = verify(folder)
    assert (found.missing, found.changed, found.unlisted, found.same) == (["a.h5"], ["deep/b.h5"], ["new.h5"], ["c.h5"])
    assert not found.good


def test_new_files_are_added_but_a_hash_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = archive(tmp_path / "x")
    write_checksums(folder)
    made.plain(folder / "new.h5", made.values(30, 3))
    assert write_checksums(folder).unlisted == ["new.h5"]
    before = (folder / NAME).read_bytes()
    flip(folder / "a.h5", 6000)
    made.plain(folder / "newer.h5", made.values(30, 3))
    assert groundswell(["--quiet", "das", "scan", str(folder), "--checksums"]) == 2
    assert "a.h5 has changed since" in capsys.readouterr().err
    assert (folder / NAME).read_bytes() == before


@pytest.mark.parametrize("line", ["nonsense", "a" * 64 + "  ../out.h5", "b" * 64 + "  /etc/hostname", "c" * 63 + "  x"])
def test_a_damaged_list_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    folder = archive(tmp_path / "x")
    write_checksums(folder)
    with open(folder / NAME, "a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match="line 4"):
        verify(folder)


@pytest.mark.parametrize("name", ["a\u2028b.h5", "a\x85b.h5", "a\x0bb.h5", "a\x0cb.h5", os.fsdecode(b"a\xffb.h5")])
def test_odd_names_are_listed_and_read_back(tmp_path: Path, name: str) -> None:
    folder = archive(tmp_path / "x")
    (folder / "a.h5").rename(folder / name)
    write_checksums(folder)
    assert verify(folder).same == sorted([name, "c.h5", "deep/b.h5"])
    assert subprocess.run(["sha256sum", "--check", "--quiet", NAME], cwd=folder, check=False).returncode == 0
    (folder / name).unlink()
    assert groundswell(["--quiet", "das", "verify", str(folder)]) == 2


def test_a_name_that_is_not_utf8_is_told_of_and_its_hash_kept(tmp_path: Path, capfd: Any) -> None:
    folder = archive(tmp_path / "x")
    (folder / "a.h5").rename(folder / os.fsdecode(b"a\xffb.h5"))
    table = tmp_path / "records.csv"
    assert groundswell(["--quiet", "das", "scan", str(folder), "--checksums", "--strict", "--out", str(table)]) == 2
    rows = pd.read_csv(table).set_index("path")["verdict"]
    assert "not UTF-8" in rows[str(folder / "a\\xffb.h5")]
    assert (rows == "ok").sum() == 2
    assert verify(folder).same == sorted([os.fsdecode(b"a\xffb.h5"), "c.h5", "deep/b.h5"])
    assert find_all(folder).failed.keys() == {"a\\xffb.h5"}
    found = {prediction.file: prediction.error for prediction in records_under(folder)}
    assert "Rename" in found[str(folder / "a\\xffb.h5")]


@pytest.mark.parametrize("letter", ["\n", "\r", "\\"])
def test_names_that_no_line_can_hold_are_refused(tmp_path: Path, letter: str) -> None:
    folder = archive(tmp_path / "x")
    (folder / "a.h5").rename(folder / f"a{letter}b.h5")
    with pytest.raises(InputError, match="Rename"):
        write_checksums(folder)


def test_a_list_with_carriage_returns_is_read(tmp_path: Path) -> None:
    folder = archive(tmp_path / "x")
    write_checksums(folder)
    (folder / NAME).write_bytes((folder / NAME).read_bytes().replace(b"\n", b"\r\n"))
    assert len(verify(folder).same) == 3


def test_a_file_that_may_not_be_looked_at_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = archive(tmp_path / "x")
    write_checksums(folder)
    stat = os.stat

    def refused(path: Any, *args: Any, **more: Any) -> os.stat_result:
        if str(path).endswith("b.h5"):
            raise PermissionError(errno.EACCES, "refused", str(path))
        return stat(path, *args, **more)

    monkeypatch.setattr(os, "stat", refused)
    monkeypatch.setattr(checksums, "sha256_of", _refusing(checksums.sha256_of))
    for found in (verify(folder), write_checksums(folder)):
        assert (found.unreadable, found.same) == (["deep/b.h5"], ["a.h5", "c.h5"])


def _refusing(hashing: Any) -> Any:
    def hashed(path: Path, *rest: Any) -> str:
        path.stat()  # opening needs what looking needs; a test may run as one who may do all
        return str(hashing(path, *rest))
    return hashed


def test_without_a_list_one_is_told_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--checksums"):
        verify(archive(tmp_path / "x"))
    with pytest.raises(InputError, match="folder"):
        write_checksums(tmp_path / "x" / "a.h5")
