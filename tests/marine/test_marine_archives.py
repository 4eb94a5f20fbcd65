"""Archives that others made are looked over whole; a hostile one is refused, in one paragraph, before it is read."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from exchange_files import zipped
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.acquire.tars import open_tar
from groundswell.pipelines.marine.exchange.archive_safety import Limits, open_zip, plain_name

SMALL = Limits(files=5, file_bytes=4 << 20, total_bytes=6 << 20, ratio=50)


def _linked(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    return info


def _refused(path: Path, what: str, limits: Limits = SMALL) -> None:
    with pytest.raises(InputError, match=what) as caught, open_zip(path, limits):
        pytest.fail("it was opened")
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_good_zip_is_read(tmp_path):
    path = zipped(tmp_path / "a.zip", [("images/", b""), ("images/a.jpg", b"1"), ("./b.json", b"22")])
    with open_zip(path) as archive:
        assert archive.names == ("images/a.jpg", "b.json")
        assert archive.read("b.json") == b"22" and archive.size("b.json") == 2


@pytest.mark.parametrize("name", ["../a", "images/../../a", "a/..", "/etc/passwd", "//host/share", "C:/a", "c:a",
                                  "..\\a", "images\\a.jpg", "\\a", "a\nb", "a\x7f", "x/" * 30 + "a", "n" * 500])
def test_paths_that_lead_outside_are_refused(tmp_path, name):
    _refused(zipped(tmp_path / "a.zip", [("good.txt", b"1"), (name, b"1")]), "member")


def test_a_name_that_a_zero_byte_hides_is_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", [("goodXbad", b"1")])
    path.write_bytes(path.read_bytes().replace(b"goodXbad", b"good\0bad"))
    _refused(path, "name is none")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path, kind):
    _refused(zipped(tmp_path / "a.zip", [(_linked("images/a.jpg", kind), b"/etc/passwd")]), "link or a device")


@pytest.mark.parametrize("members", [[("a", b"1"), ("a", b"2")], [("a.JPG", b""), ("A.jpg", b"")],
                                     [("x/a", b""), ("x/./a", b"")], [("caf\u00e9", b""), ("cafe\u0301", b"")]])
def test_names_that_are_there_twice_are_refused(tmp_path, members):
    _refused(zipped(tmp_path / "a.zip", members), "twice")


@pytest.mark.parametrize("members", [[("a", b"1"), ("a/b", b"2")], [("a/b/c", b"1"), ("a", b"2")],
                                     [("a", b"1"), ("A/", b"")]])
def test_a_file_that_is_also_a_folder_is_refused(tmp_path, members):
    _refused(zipped(tmp_path / "a.zip", members), "a file and a folder")


def test_bombs_are_refused_by_each_limit(tmp_path):
    zeros = bytes(3 << 20)
    _refused(zipped(tmp_path / "ratio.zip", [("a", zeros)]), "may be a bomb")
    _refused(zipped(tmp_path / "one.zip", [("a", bytes(5 << 20))], zipfile.ZIP_STORED), "at most 4,194,304 are read")
    _refused(zipped(tmp_path / "all.zip", [(f"{n}", zeros) for n in range(3)], zipfile.ZIP_STORED), "GiB")
    _refused(zipped(tmp_path / "many.zip", [(f"{n}", b"") for n in range(6)]), "more than 5 files")
    small = bytes(1 << 19)  # each below the size from which a file is looked at by itself
    _refused(zipped(tmp_path / "sum.zip", [(f"{n}", small) for n in range(5)]), "may be a bomb")


def test_members_that_share_their_bytes_are_refused(tmp_path):
    """The bomb without nesting: many entries of the directory point at one packed stream."""
    path = zipped(tmp_path / "a.zip", [("a", b"x" * 100), ("b", b"y" * 100)], zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    second = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, second + 42, 0)
    path.write_bytes(data)
    _refused(path, "overlap")


def test_encrypted_and_oddly_packed_members_are_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", [("a", b"1")])
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    path.write_bytes(data)
    _refused(path, "encrypted")
    _refused(zipped(tmp_path / "b.zip", [("a", b"1")], zipfile.ZIP_LZMA), "method")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"no zip at all" * 9])
def test_what_is_no_zip_is_refused(tmp_path, data):
    (tmp_path / "a.zip").write_bytes(data)
    _refused(tmp_path / "a.zip", "cannot be read")
    with pytest.raises(InputError, match="no such file"), open_zip(tmp_path / "none.zip"):
        pass


def test_a_damaged_member_is_told_when_it_is_read(tmp_path):
    path = zipped(tmp_path / "a.zip", [("a", b"1" * 50)], zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"1" * 50, b"1" * 49 + b"2"))
    with open_zip(path) as archive, pytest.raises(InputError, match="'a' is damaged"):
        archive.read("a")


def test_a_size_that_lies_is_found(tmp_path):
    """The directory says 10 bytes, the packed stream holds a MiB: no more than was said is ever unpacked."""
    path = zipped(tmp_path / "a.zip", [("a", bytes(1 << 20))])
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.rindex(b"PK\x01\x02") + 24, 10)
    path.write_bytes(data)
    with open_zip(path) as archive, pytest.raises(InputError, match="damaged"):
        archive.read("a")


@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 255))
def test_whatever_is_changed_in_a_zip_ends_in_a_reading_or_a_clear_refusal(tmp_path_factory, data, at, value):
    path = zipped(tmp_path_factory.mktemp("zip") / "a.zip", [("images/a.jpg", data), ("b.json", b"{}")])
    changed = bytearray(path.read_bytes())
    changed[at % len(changed)] = value
    path.write_bytes(changed)
    try:
        with open_zip(path, SMALL) as archive:
            for name in archive.names:
                assert plain_name(name, SMALL) == name
                archive.read(name)
    except InputError:
        pass


def _tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], *, packed: bool = False) -> Path:
    with tarfile.open(path, "w:gz" if packed else "w") as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize("packed", [False, True])
def test_a_good_tar_is_read_whether_packed_or_not(tmp_path, packed):
    path = _tar(tmp_path / "a.tar", [(_member("./", tarfile.DIRTYPE), b""), (_member("./x", tarfile.DIRTYPE), b""),
                                     (_member("./x/a.jpg"), b"1" * 3_000_000), (_member("x/A.jpg"), b"")],
                packed=packed)
    with open_tar(path, Limits(ratio=10_000)) as (names, read):
        assert names == ["x/a.jpg", "x/A.jpg"] and [len(read(name)) for name in names] == [3_000_000, 0]


@pytest.mark.parametrize("info", [
    _member("../a"), _member("/a"), _member("x/../../a"), _member("a\\b"), _member("a", tarfile.SYMTYPE, "/etc/passwd"),
    _member("a", tarfile.LNKTYPE, "good"), _member("a", tarfile.CHRTYPE), _member("a", tarfile.BLKTYPE),
    _member("a", tarfile.FIFOTYPE), _member("good"), _member("good/a")], ids=lambda info: f"{info.name} {info.type!r}")
def test_tars_with_links_devices_and_paths_that_lead_outside_are_refused(tmp_path, info):
    path = _tar(tmp_path / "a.tar", [(_member("good"), b"1"), (info, b"")])
    with pytest.raises(InputError, match="archive"), open_tar(path):
        pytest.fail("it was opened")


def test_tar_bombs_are_refused(tmp_path):
    bomb = _tar(tmp_path / "a.tar.gz", [(_member("a"), bytes(20 << 20))], packed=True)
    with pytest.raises(InputError, match="may be a bomb"), open_tar(bomb, Limits(ratio=50)):
        pass
    many = _tar(tmp_path / "b.tar", [(_member(f"{n}"), b"") for n in range(6)])
    with pytest.raises(InputError, match="more than 5 files"), open_tar(many, SMALL):
        pass


def test_a_tar_header_that_would_fill_the_memory_is_refused(tmp_path):
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, (1 << 33) - 1
    with gzip.open(tmp_path / "a.tar.gz", "wb", 1) as packed:
        packed.write(header.tobuf(tarfile.USTAR_FORMAT))
        packed.write(bytes(1 << 20))
    with pytest.raises(InputError, match="header too large"), open_tar(tmp_path / "a.tar.gz"):
        pass


@pytest.mark.parametrize("cut", [100, 700, 4608, 5000, 9000])
def test_a_tar_that_is_cut_short_is_told(tmp_path, cut):
    path = _tar(tmp_path / "a.tar", [(_member("a"), b"1" * 4000), (_member("b"), b"1" * 4000)])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"cannot be read|cut short"), open_tar(path) as (names, read):
        for name in names:
            read(name)
