"""marine: tar archives that others made: looked over whole before anything of them is read, and never unpacked."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.exchange.archive_safety import FIX, MIB, Limits, Total, apart, plain_name, told

DOWNLOADED = Limits(files=2_000_000, total_bytes=512 << 30)
"""For whole data sets."""
_SPAN = 16 * MIB
"""Most bytes that are asked of an archive at once: a header that wants more is a bomb."""


class _Careful(io.RawIOBase):
    """Reads from a file, in spans that fit into memory, whatever a header asks for."""

    def __init__(self, of: IO[bytes] | gzip.GzipFile) -> None:
        self._of = of

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0 or size > _SPAN:
            raise InputError("The archive has a header too large to be one: it may be a bomb", fix=FIX)
        return self._of.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._of.seek(offset, whence)

    def tell(self) -> int:
        return self._of.tell()


@contextlib.contextmanager
def open_tar(path: Path, limits: Limits = DOWNLOADED) -> Iterator[tuple[list[str], Callable[[str], bytes]]]:
    """Open a tar archive, plain or gzipped, that others made: names of its files in order, and what reads one.

    Reading in the order of the names goes through the archive once more; any other order is slow where it is gzipped.

    Raises:
        InputError: it is none or damaged; a member's name is absolute, leads outside, is there twice, or is a file and
            a folder; a member is a link, a device or a file with holes; or it holds more than ``limits``.
    """
    with contextlib.ExitStack() as stack:
        with told(path):
            plain = stack.enter_context(open(path, "rb"))
            packed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            opened = stack.enter_context(gzip.GzipFile(fileobj=plain)) if packed else plain
            archive = stack.enter_context(tarfile.open(fileobj=_Careful(opened), mode="r:", errorlevel=2))
            members = _members(archive, Path(path).stat().st_size, limits)
            opened.seek(archive.offset)
            if opened.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # a broken header reads as the end
                raise EOFError("it does not end as an archive does")

        def read(name: str) -> bytes:
            with told(path):
                taken = archive.extractfile(members[name])
                assert taken is not None
                pieces = list(iter(lambda: taken.read(MIB), b""))
                if sum(map(len, pieces)) != members[name].size:
                    raise EOFError(f"'{name}' is cut short")
                return b"".join(pieces)

        yield list(members), read


def _members(archive: tarfile.TarFile, packed: int, limits: Limits) -> dict[str, tarfile.TarInfo]:
    members: dict[str, tarfile.TarInfo] = {}
    names, folders, total = [], [], Total(packed, limits)
    for member in archive:
        if member.isdir() and not [part for part in member.name.split("/") if part not in ("", ".")]:
            continue  # the archive's own root
        name = plain_name(member.name, limits)
        if member.isdir():
            folders.append(name)
            continue
        if not member.isreg() or member.issparse():
            raise InputError(f"In the archive '{name}' is a link, a device or a file with holes, not a plain file",
                             fix=FIX)
        total.add(name, member.size)
        names.append(name)
        members[name] = member
    apart(names, folders, cases=True)  # nothing is unpacked by its name
    return members
