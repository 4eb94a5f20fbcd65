"""marine: archives that others made: looked over whole before anything of them is read, and never unpacked by name."""

from __future__ import annotations

import contextlib
import itertools
import re
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from groundswell.core.errors import InputError

MIB = 1 << 20
_DRIVE = re.compile(r"[A-Za-z]:")
BROKEN = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile, NotImplementedError, RuntimeError,
           ValueError)
_ENCRYPTED = 0x1 | 0x40 | 0x2000
FIX = "Do not use this archive, or have it made again without what is wrong"


@dataclass(frozen=True)
class Limits:
    """What an archive may hold at most.

    Attributes:
        files: how many.
        file_bytes: of one, unpacked.
        total_bytes: of all, unpacked.
        ratio: of unpacked to packed bytes, of all together and of each file above a MiB.
        depth: folders within folders.
        name_bytes: of a name with its folders.
    """

    files: int = 200_000
    file_bytes: int = 512 * MIB
    total_bytes: int = 64 << 30
    ratio: float = 200.0
    depth: int = 12
    name_bytes: int = 400


def plain_name(name: str, limits: Limits) -> str:
    """The name of a member, relative, with single slashes.

    Raises:
        InputError: it is absolute, leads outside, or cannot be a name of a file everywhere.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    shown = ascii(name[:100])
    if name.startswith(("/", "\\")) or _DRIVE.match(name):
        raise InputError(f"The archive has a member with an absolute path, {shown}", fix=FIX)
    if ".." in parts or "\\" in name:
        raise InputError(f"The archive has a member whose path leads outside or is not portable, {shown}", fix=FIX)
    if not parts or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise InputError(f"The archive has a member whose name is none, {shown}", fix=FIX)
    if len(parts) > limits.depth or len(name.encode("utf-8", "replace")) > limits.name_bytes:
        raise InputError(f"The archive has a member whose path is too deep or too long, {shown}", fix=FIX)
    return "/".join(parts)


def apart(names: Iterable[str], folders: Iterable[str], *, cases: bool = False) -> None:
    """Refuse names that are there twice, and files that are folders of others.

    Args:
        names: of files.
        folders: of folders.
        cases: whether names that differ only in case, or in how letters are composed, are two.
    """
    def plain(name: str) -> str:
        return name if cases else unicodedata.normalize("NFC", name).casefold()

    seen: dict[str, str] = {}
    for name in names:
        key = plain(name)
        if key in seen:
            raise InputError(f"The archive has '{name}' twice, or differing in case only", fix=FIX)
        seen[key] = name
    above = {plain(name) for name in folders}
    for key in seen:
        parts = key.split("/")
        above.update("/".join(parts[:count]) for count in range(1, len(parts)))
    clash = next((seen[key] for key in seen if key in above), None)
    if clash is not None:
        raise InputError(f"In the archive '{clash}' is a file and a folder", fix=FIX)


class Total:
    """Counts members against the limits, one by one, so that a bomb is found before it is looked through."""

    def __init__(self, packed: int, limits: Limits) -> None:
        self._packed, self._limits = packed, limits
        self._files = self._total = 0

    def add(self, name: str, size: int) -> None:
        """One more file."""
        limits = self._limits
        self._files, self._total = self._files + 1, self._total + size
        if self._files > limits.files:
            raise InputError(f"The archive has more than {limits.files:,} files", fix=FIX)
        if size < 0 or size > limits.file_bytes:
            raise InputError(f"In the archive '{name}' has {size:,} bytes; at most {limits.file_bytes:,} are read",
                             fix=FIX)
        if self._total > limits.total_bytes:
            raise InputError(f"The archive holds more than {limits.total_bytes / 2**30:.3g} GiB", fix=FIX)
        if self._total > MIB and self._total > limits.ratio * self._packed:
            raise InputError(f"The archive has {self._packed:,} bytes and would unpack to {self._total:,} or more: "
                             "it may be a bomb", fix=FIX)


class SafeZip:
    """A zip that was looked over. Nothing of it is written anywhere.

    Attributes:
        names: of its files, in their order.
    """

    def __init__(self, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> None:
        self._archive, self._members = archive, members
        self.names = tuple(members)

    def size(self, name: str) -> int:
        """Bytes of a file, unpacked."""
        return self._members[name].file_size

    def read(self, name: str) -> bytes:
        """A file's bytes, its checksum seen to be right.

        Raises:
            InputError: it is damaged.
        """
        try:
            return self._archive.read(self._members[name])
        except BROKEN as error:
            raise InputError(f"In the archive '{name}' is damaged: {error}", where=self._archive.filename or "",
                             fix="Fetch the archive again") from error


@contextlib.contextmanager
def open_zip(path: Path, limits: Limits = Limits()) -> Iterator[SafeZip]:
    """Open a zip that others made.

    Raises:
        InputError: it is none or damaged; a member's name is absolute, leads outside, is there twice, or is a file and
            a folder; a member is a link, a device or encrypted; members overlap; or it holds more than ``limits``.
    """
    with told(path):
        archive = zipfile.ZipFile(path)
    with archive:
        with told(path):
            members = _checked(archive, Path(path).stat().st_size, limits)
        yield SafeZip(archive, members)


def _checked(archive: zipfile.ZipFile, packed: int, limits: Limits) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    names, folders, total, ends = [], [], Total(packed, limits), []
    for member in archive.infolist():
        if "\x00" in member.orig_filename or "\\" in member.orig_filename:
            raise InputError(f"The archive has a member whose name is none, {member.orig_filename[:100]!a}",
                             fix=FIX)
        name, kind = plain_name(member.filename, limits), stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(f"In the archive '{name}' is a link or a device, not a file", fix=FIX)
        if member.flag_bits & _ENCRYPTED:
            raise InputError(f"In the archive '{name}' is encrypted", fix="Have it made without a password")
        if member.is_dir():
            folders.append(name)
            continue
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"In the archive '{name}' is packed by a method that is not read", fix="Use deflate")
        if member.file_size > MIB and member.file_size > limits.ratio * member.compress_size:
            raise InputError(f"In the archive '{name}' has {member.compress_size:,} bytes and would unpack to "
                             f"{member.file_size:,}: it may be a bomb", fix=FIX)
        total.add(name, member.file_size)
        ends.append((member.header_offset, member.header_offset + 30 + member.compress_size))
        names.append(name)
        members[name] = member
    apart(names, folders)
    ends.sort()
    if any(start < end for (_, end), (start, _) in itertools.pairwise(ends)):
        raise InputError("Members of the archive overlap: it may be a bomb", fix=FIX)
    return members


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """What is wrong with an archive, with its place."""
    try:
        yield
    except InputError as error:
        raise InputError(error.what, where=error.where or path, fix=error.fix) from error
    except FileNotFoundError as error:
        raise InputError("There is no such file", where=path) from error
    except BROKEN as error:
        raise InputError(f"The archive cannot be read: {error}", where=path,
                         fix="Fetch it again: it is damaged or cut short, or of another kind") from error
