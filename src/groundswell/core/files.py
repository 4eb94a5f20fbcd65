"""core: files that are either whole or not there, and paths that never leave their root."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from groundswell.core.errors import FailureError, InputError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system calls a disk, a quota or a file that is full."""


def is_full(error: BaseException) -> bool:
    """Whether it was raised because there is no space left to write to."""
    # HDF5's errors carry the system's number in their text only.
    told = re.search(r"errno = (\d+)", str(error))
    return getattr(error, "errno", None) in FULL or (told is not None and int(told[1]) in FULL)


def _no_space(path: Path) -> FailureError:
    return FailureError("No space left on the device; nothing was changed", where=path,
                        fix=f"Free some space ({free_gib(path.parent):.1f} GiB left) and run again")


def _sync_folder(folder: Path) -> None:
    # A rename is only durable once the folder that holds the name has reached the disk.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on leaving without error, fsync it and rename it into place.

    An exception, a kill or a full disk leaves whatever was at ``path`` before untouched.

    Raises:
        FailureError: the disk is full.
        InputError: the folder cannot be written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=f".part{path.suffix}", dir=path.parent)
    except OSError as error:
        if is_full(error):
            raise _no_space(path) from error
        raise InputError(f"Cannot write here: {error.strerror}", where=path.parent,
                         fix="Choose a folder that exists and can be written to") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as done:
            os.fsync(done.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError, ValueError, KeyError) as error:  # HDF5's come as any of them
        if is_full(error):
            raise _no_space(path) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path, *, replaces: str = "") -> Iterator[Path]:
    """Yield an empty folder beside ``path`` that takes its place when the block ends without an error, or vanishes.

    Args:
        path: the folder; new, or empty.
        replaces: name of a file; a folder that holds it gives way. Empty: nothing that is there does.

    Raises:
        InputError: something is at ``path`` already, or the folder above cannot be written to.
        FailureError: the disk is full.
    """
    path = Path(path)
    taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if taken and not (replaces and (path / replaces).is_file()):
        raise InputError("There is something here already", where=path, fix="Name another folder, or remove this one")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=".part", dir=path.parent))
    except OSError as error:
        raise InputError(f"Cannot write here: {error.strerror}", where=path.parent,
                         fix="Choose a folder that exists and can be written to") from error
    try:
        new = aside / "new"
        new.mkdir()
        yield new
        if taken:
            os.replace(path, aside / "old")
        try:
            os.replace(new, path)
        except OSError:
            if taken:
                os.replace(aside / "old", path)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise InputError("Something came to be here while it was being made; it was left as it is", where=path,
                             fix="Let one program at a time make it, or name another folder") from error
        if is_full(error):
            raise _no_space(path) from error
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically. NaN and infinities are refused: JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON from ``path``.

    Raises:
        InputError: missing, unreadable, or not JSON; the message names the line.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError("There is no such file", where=path) from error
    except json.JSONDecodeError as error:
        raise InputError(f"Not valid JSON: {error.msg}", where=f"{path}, line {error.lineno}",
                         fix="Correct the file and run again") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot be read: {error}", where=path) from error


def inside(root: Path, name: str | Path) -> Path:
    """Resolve ``name``, which came from a file, against ``root``.

    Raises:
        InputError: the result, symbolic links followed, lies outside ``root``.
    """
    root = Path(root).resolve()
    resolved = (root / name).resolve()
    if not resolved.is_relative_to(root):
        raise InputError(f"The path '{name}' leads outside its folder", where=root,
                         fix="Name files relative to this folder, without '..' and without links that leave it")
    return resolved


def free_gib(folder: Path) -> float:
    """Space left on the file system that holds ``folder``, in GiB."""
    folder = Path(folder)
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 2**30
