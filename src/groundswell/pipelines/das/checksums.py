"""das: hashes of whole files, in the form that ``sha256sum -c`` reads, and the check that they still hold.

A flipped bit in samples that are stored as they are is read without any complaint; only a hash of all bytes tells.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from groundswell.core.errors import InputError
from groundswell.core.files import write_bytes
from groundswell.core.progress import progress
from groundswell.pipelines.das import formats

NAME = "SHA256SUMS"
"""The file of hashes, in the folder whose files it lists."""
_BLOCK = 4 * 2**20


@dataclass
class Verified:
    """What was found.

    Attributes:
        same: files whose bytes are those that were hashed.
        changed, missing, unreadable: files that are not, by path inside the folder.
        unlisted: files of records that have no hash.
    """

    same: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether every listed file is as it was."""
        return not (self.changed or self.missing or self.unreadable)


def sha256_of(path: Path, advance: Callable[[int], None] | None = None) -> str:
    """Hex SHA-256 of a file's bytes; ``advance`` is told how many were read."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        buffer = memoryview(bytearray(_BLOCK))
        while size := file.readinto(buffer):
            digest.update(buffer[:size])
            if advance is not None:
                advance(size)
    return digest.hexdigest()


def read_checksums(folder: Path) -> dict[str, str]:
    """Hashes by path inside the folder.

    Raises:
        InputError: there is no list, a line of it is of another form, or a path leads out of the folder.
    """
    path = folder / NAME
    if not path.is_file():
        raise InputError("There are no checksums to compare with", where=path,
                         fix=f"Make them while the files are good: groundswell das scan {folder} --checksums")
    found: dict[str, str] = {}
    # A line ends by a line feed only: names may hold whatever else ends a line of text. Names that are not UTF-8 keep
    # their bytes. A list that was edited elsewhere may have got carriage returns; no name in it ends by one.
    lines = path.read_bytes().decode("utf-8", "surrogateescape").removesuffix("\n").split("\n")
    for number, line in enumerate(lines if lines != [""] else [], start=1):
        digest, _, name = line.removesuffix("\r").partition("  ")
        if len(digest) != 64 or set(digest) - set("0123456789abcdef") or not name:
            raise InputError("This is no line of checksums: 64 hexadecimal digits, two spaces, a path",
                             where=f"{path}, line {number}", fix="Restore the file, or remove it and make it again")
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(f"The path '{name}' leads outside its folder", where=f"{path}, line {number}",
                             fix="Name files relative to the folder, without '..'")
        found[name] = digest
    return found


def _names(folder: Path) -> list[str]:
    """Files of records in the folder, by path inside it; those whose names a line cannot hold are refused."""
    names = [path.relative_to(folder).as_posix() for path in formats.walk([folder]) if _is_file(path)]
    odd = [name for name in names if set(name) & set("\n\r\\")]
    if odd:
        raise InputError(f"The name {odd[0]!r} cannot stand in a list of checksums", where=folder,
                         fix="Rename the file")
    return names


def _is_file(path: Path) -> bool:
    """Whether it is a file; what may not be looked at counts as one, to be told as unreadable."""
    try:
        return path.is_file()
    except OSError:
        return True


def _size(path: Path) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _hashed(folder: Path, names: Sequence[str], what: str) -> dict[str, str | None]:
    """Hashes of files; ``None`` for one that cannot be read."""
    sizes = [_size(folder / name) for name in names]
    hashes: dict[str, str | None] = {}
    with progress(max(1, sum(sizes) // 2**20), what, "MiB") as bar:
        done = 0

        def advance(size: int) -> None:
            nonlocal done
            before, done = done, done + size
            bar.advance(done // 2**20 - before // 2**20)

        for name in names:
            bar.note(name)
            try:
                hashes[name] = sha256_of(folder / name, advance)
            except OSError:
                hashes[name] = None
    return hashes


def write_checksums(folder: Path) -> Verified:
    """Hash every file of records below ``folder`` into ``SHA256SUMS``; files that are listed already must be as listed.

    Returns:
        what was compared with an earlier list; ``unlisted`` are the files that were added now. Where a listed file has
        changed or cannot be read the list is left as it was: a hash is never replaced.

    Raises:
        InputError: there is no such folder, or the list there is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("Checksums are kept in a folder, beside its files", where=folder, fix="Name the folder")
    before = read_checksums(folder) if (folder / NAME).exists() else {}
    hashes = _hashed(folder, _names(folder), "checksums")
    result = Verified(missing=sorted(set(before) - set(hashes)))
    for name, digest in hashes.items():
        listed = before.get(name)
        if digest is None:
            result.unreadable.append(name)
        elif listed is None:
            result.unlisted.append(name)
        else:
            (result.same if listed == digest else result.changed).append(name)
    if not result.changed and not result.unreadable:
        lines = sorted((name, digest) for name, digest in {**before, **hashes}.items() if digest is not None)
        text = "".join(f"{digest}  {name}\n" for name, digest in lines)
        write_bytes(folder / NAME, text.encode("utf-8", "surrogateescape"))
    return result


def verify(folder: Path) -> Verified:
    """Compare every file that is listed in the folder's ``SHA256SUMS`` with its hash.

    Raises:
        InputError: there is no list, or it is damaged.
    """
    folder = Path(folder)
    listed = read_checksums(folder)
    there = [name for name in listed if _is_file(folder / name)]
    result = Verified(missing=sorted(set(listed) - set(there)), unlisted=sorted(set(_names(folder)) - set(listed)))
    for name, digest in _hashed(folder, there, "verify").items():
        part = result.unreadable if digest is None else result.same if digest == listed[name] else result.changed
        part.append(name)
    return result
