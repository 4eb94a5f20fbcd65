"""core: a file that one process at a time may hold; the system lets go of it however that process ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from groundswell.core.errors import BusyError, InputError
from groundswell.core.progress import say

CANNOT = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.ESTALE, errno.EIO})
"""What a file system says that knows no locks, as some network file systems are mounted."""


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[tuple[bool, str]]:
    """Hold ``path``, which is made if need be, while this is entered.

    Where the file system of ``path`` cannot lock, a file of this machine stands in for it: other processes of the same
    machine are kept out, those of other machines are not, and that is said.

    Yields:
        whether this process holds it now; and, if it does not, what its holder wrote there.

    Raises:
        InputError: the file cannot be made.
    """
    with contextlib.ExitStack() as stack:
        descriptor = _opened(path, stack)
        mine = _locked(descriptor)
        if mine is None:
            name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
            descriptor = _opened(Path(tempfile.gettempdir()) / f"groundswell-{os.getuid()}-{name}.lock", stack)
            mine = _locked(descriptor)
            say(f"The file system of {path.parent} cannot lock files: processes on other machines are not kept out of "
                "this folder. Let none of them work in it.")
        if mine is False:
            yield False, os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            return
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        yield True, ""


@contextlib.contextmanager
def held(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold ``path``, which is made if need be and whose content stays as it is, or do not begin.

    Args:
        path: the file; it may be the very one that is written.
        wait: until another process lets go of it.

    Raises:
        BusyError: another process holds it, and ``wait`` is off.
        InputError: the file cannot be made.
    """
    with contextlib.ExitStack() as stack:
        descriptor = _opened(path, stack)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise BusyError("Another process writes here", where=path.parent,
                            fix="Wait for it, or stop it; what it has finished stays") from error
        yield


def _opened(path: Path, stack: contextlib.ExitStack) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise InputError(f"Cannot write here: {error.strerror}", where=path.parent,
                         fix="Choose a folder that exists and can be written to") from error
    stack.callback(os.close, descriptor)
    return descriptor


def _locked(descriptor: int) -> bool | None:
    """Whether the file could be locked; None if that cannot be said."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in CANNOT:
            raise
        return None
    return True
