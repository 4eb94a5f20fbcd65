"""geomag: files as bytes, whether plain, gzipped or inside a tar archive; nothing is ever unpacked to disk."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from groundswell.core.errors import InputError

_MOST_BYTES = 1 << 30  # of one file, unpacked: a decade of minutes is a third of that
_GZIP = b"\x1f\x8b"
_BROKEN = (OSError, EOFError, zlib.error, tarfile.TarError)


def files_below(paths: Sequence[str | Path]) -> list[tuple[Path, bool]]:
    """Files named, and all files below folders named, in order; and whether the file itself was named.

    Raises:
        InputError: a path does not exist.
    """
    found: list[tuple[Path, bool]] = []
    for path in map(Path, paths):
        if path.is_dir():
            found += [(p, False) for p in sorted(path.rglob("*")) if p.is_file() and not _hidden(p, path)]
        elif path.is_file():
            found.append((path, True))
        else:
            raise InputError("There is no such file or folder", where=path)
    return found


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of a file, or of every regular file in it where it is a tar archive; gzip is undone.

    Raises:
        InputError: unreadable, damaged, or larger than any file of minutes.
    """
    try:
        if tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                for member in archive:
                    if member.isreg():
                        handle = archive.extractfile(member)
                        name = f"{path}: {member.name}"
                        if handle is not None:
                            yield name, _whole(name, handle.read(_MOST_BYTES + 1))
        else:
            with open(path, "rb") as plain:
                yield str(path), _whole(str(path), plain.read(_MOST_BYTES + 1))
    except _BROKEN as error:
        raise InputError(f"The file cannot be read: {error}", where=path,
                         fix="Fetch it again: it is damaged or cut short") from error


def _whole(name: str, data: bytes) -> bytes:
    if data.startswith(_GZIP):
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            data = packed.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise InputError(f"The file holds more than {_MOST_BYTES >> 30} GiB", where=name,
                         fix="Give files of one observatory's minutes, a day to some years each")
    return data
