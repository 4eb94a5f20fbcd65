"""core: files that are either whole or not there, and paths that never leave their root."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from groundswell.core.errors import FailureError, InputError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system calls a disk, a quota or a file that is full."""
_HALF = re.compile("[\ud800-\udfff]")
_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Halves of surrogate pairs that do not stand for a byte of a file's name."""
_NAME_BYTES, _PATH_BYTES = 255, 4095
"""Longest name and longest path of a file; the system fails at the first touch of longer ones."""
_YOUNG_S = 60.0


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

    A kill leaves either the old folder or the new one. Where the system cannot exchange two folders in one step and the
    kill falls between two, the next call for ``path`` brings the old one back. That call also removes what killed ones
    had begun to write.

    Args:
        path: the folder; new, or empty.
        replaces: name of a file; a folder that holds it gives way. Empty: nothing that is there does.

    Raises:
        InputError: something is at ``path`` already, or the folder above cannot be written to.
        FailureError: the disk is full.
    """
    path = Path(path)
    _bring_back(path)
    _sweep(path)
    taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if taken and not (replaces and (path / replaces).is_file()):
        raise InputError("There is something here already", where=path, fix="Name another folder, or remove this one")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=".part", dir=path.parent))
    except OSError as error:
        raise InputError(f"Cannot write here: {error.strerror}", where=path.parent,
                         fix="Choose a folder that exists and can be written to") from error
    descriptor = os.open(aside, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks: nobody will take it for left behind either
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new = aside / "new"
        new.mkdir()
        yield new
        if not (taken and _exchanged(new, path)):
            _put(new, path, aside / "old", taken=taken)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise InputError("Something came to be here while it was being made; it was left as it is", where=path,
                             fix="Let one program at a time make it, or name another folder") from error
        if is_full(error):
            raise _no_space(path) from error
        raise
    finally:
        if path.exists() or not (aside / "old").exists():  # else it holds the only copy
            shutil.rmtree(aside, ignore_errors=True)
        os.close(descriptor)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False, and nothing done, where the system or the file system cannot."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
    return bool(rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def _put(new: Path, path: Path, old: Path, *, taken: bool) -> None:
    """Put a folder to ``path`` in two steps: one that gives way goes to ``old``, and comes back if the second fails."""
    try:
        if taken:
            os.replace(path, old)
        os.replace(new, path)
    except BaseException:  # Ctrl-C too may come between the two
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise


def _bring_back(path: Path) -> None:
    """Give ``path`` the folder back that a kill between the two steps of :func:`_put` left without its name."""
    if os.path.lexists(path):
        return
    for aside in _asides(path):
        # With no new folder beside it, the old one had given way already and was being removed.
        if (aside / "old").is_dir() and (aside / "new").is_dir():
            with contextlib.suppress(OSError):
                os.replace(aside / "old", path)
            return


def _asides(path: Path) -> list[Path]:
    """Folders beside ``path`` in which calls for it, and for no name that begins alike, have made it."""
    own = re.compile(re.escape(f".{path.name}-") + r"[a-z0-9_]{8}\.part")  # as tempfile names them
    if not path.parent.is_dir():
        return []
    return [entry for entry in sorted(path.parent.iterdir()) if own.fullmatch(entry.name) and entry.is_dir()]


def _sweep(path: Path) -> None:
    """Remove what killed calls for ``path`` left; not what a living one works in, nor an only copy."""
    for aside in _asides(path):
        with contextlib.suppress(OSError):
            descriptor = os.open(aside, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                if time.time() - os.fstat(descriptor).st_mtime < _YOUNG_S:  # it may be about to be locked
                    continue
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.exists() or not ((aside / "old").is_dir() and (aside / "new").is_dir()):
                    shutil.rmtree(aside, ignore_errors=True)
            finally:
                os.close(descriptor)


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
    """Read JSON from ``path``, as :func:`parse_json` does.

    Raises:
        InputError: missing, unreadable, or not JSON; the message names the line.
    """
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError("There is no such file", where=path) from error
    except json.JSONDecodeError as error:
        raise InputError(f"Not valid JSON: {error.msg}", where=f"{path}, line {error.lineno}",
                         fix="Correct the file and run again") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"Cannot be read: {error}", where=path) from error


def parse_json(text: str) -> Any:
    """What JSON says. Halves of surrogate pairs, which no file and no terminal takes, become U+FFFD.

    Raises:
        ValueError: it is none, or a number in it has thousands of digits.
        RecursionError: it nests too deep.
    """
    value = json.loads(text)
    if "\\ud" in text or "\\uD" in text:
        plain = json.dumps(value, ensure_ascii=False)
        if _HALF.search(plain):
            return json.loads(whole_text(plain))
    return value


def whole_text(text: str) -> str:
    """The text with U+FFFD for halves of surrogate pairs, which cannot be written as UTF-8."""
    return _HALF.sub("\ufffd", text)


def shortened(name: str, most_bytes: int) -> str:
    """As much of a name's beginning as has so many bytes: file systems count these, not characters."""
    return name.encode("utf-8", "replace")[:most_bytes].decode("utf-8", "ignore")


def shown(path: Path | str) -> str:
    """The path as text that every table and terminal takes: bytes of a name that are not UTF-8 are written as \\xff."""
    return os.fsencode(_NO_BYTE.sub("\ufffd", os.fspath(path))).decode("utf-8", "backslashreplace")


def inside(root: Path, name: str | Path) -> Path:
    """Resolve ``name``, which came from a file, against ``root``.

    Raises:
        InputError: the result, symbolic links followed, lies outside ``root``; or no file can be called so.
    """
    root = Path(root).resolve()
    try:
        resolved = (root / name).resolve()
        longest = max((len(os.fsencode(part)) for part in resolved.parts), default=0)
    except (ValueError, RuntimeError) as error:  # characters that no name has; links in a circle
        raise _no_name(root, name) from error
    if longest > _NAME_BYTES or len(os.fsencode(resolved)) > _PATH_BYTES:
        raise _no_name(root, name)
    if not resolved.is_relative_to(root):
        raise InputError(f"The path '{name}' leads outside its folder", where=root,
                         fix="Name files relative to this folder, without '..' and without links that leave it")
    return resolved


def _no_name(root: Path, name: str | Path) -> InputError:
    return InputError(f"No file can have the path {str(name)[:60]!a}", where=root,
                      fix="Name files by their paths relative to this folder")


def free_gib(folder: Path) -> float:
    """Space left on the file system that holds ``folder``, in GiB."""
    folder = Path(folder)
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 2**30
