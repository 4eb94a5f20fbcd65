"""das: a file seen as memory, in such a way that its shrinking cannot end the process.

Copying out of mapped pages is several times faster than reading calls where what is wanted lies in many small pieces.
But touching a page that a shrunk file no longer has, or that the disk cannot deliver, ends a process by a signal. So

- pages are looked at only while we hold a read lease on the file: the kernel lets nobody truncate it (or open it for
  writing) until the lease is given back, which happens after every copy;
- each stretch is brought in once by a call that can fail, before it is first looked at. What remains is a disk that
  fails later, in reading anew a page that the system took back meanwhile.

Callers get nothing, and use reading calls, where there are no leases (network file systems, files of other owners, a
file that is being written), beyond ``MOST_BYTES`` of mapped pages, and the first time that they ask for a stretch: who
goes through files once gains nothing.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.das.formats.hdf5_scratch import Descriptor

MOST_BYTES = 2**33
"""Pages looked at through mappings, of all files together, and never more than a quarter of the machine's memory. They
are shown as this process's memory, but are the system's cache of the files: it takes them back when it needs room."""
_POPULATE_READ = 22  # MADV_POPULATE_READ, since Linux 5.14
_SET_LEASE, _GET_LEASE, _SET_SIGNAL = (getattr(fcntl, name, -1) for name in ("F_SETLEASE", "F_GETLEASE", "F_SETSIG"))


class _Budget:
    """Bytes of mapped pages in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = 0
        self._machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4

    def take(self, length: int) -> bool:
        """Whether so much more may be mapped; if so it counts from now on."""
        with self._lock:
            if self._held + length > min(MOST_BYTES, self._machine):
                return False
            self._held += length
            return True

    def room(self) -> bool:
        """Whether there is any left to speak of: it is not looked for again and again once it is used up."""
        return self._held < 0.98 * min(MOST_BYTES, self._machine)

    def give(self, length: int) -> None:
        """So much is mapped no more."""
        with self._lock:
            self._held -= length


BUDGET = _Budget()


class Mapping:
    """A file as memory, made at the first look. Threads may look at once; a forked process is refused.

    Args:
        file: open, and kept open by this.
        length: of the file in bytes.
        cells: first byte of each of the pieces that are brought in as a whole, int64, one-dimensional.
        cell_bytes: their length.
    """

    def __init__(self, file: Descriptor, length: int, cells: NDArray[np.int64], cell_bytes: int) -> None:
        self._file, self._length, self._cells, self._cell_bytes = file, length, cells, cell_bytes
        self._asked, self._brought = np.zeros(len(cells), bool), np.zeros(len(cells), bool)
        self._lock, self._bringing = threading.Lock(), threading.Lock()
        self._lookers = 0
        self._process = os.getpid()
        self._refused = min(_SET_LEASE, _GET_LEASE, _SET_SIGNAL) < 0
        self._pages: mmap.mmap | None = None
        self._bytes: NDArray[np.uint8] = np.zeros(0, np.uint8)

    def __del__(self) -> None:
        BUDGET.give(int(np.count_nonzero(self._brought)) * self._cell_bytes)

    @contextmanager
    def look(self, cells: NDArray[np.int64] | slice) -> Iterator[NDArray[np.uint8] | None]:
        """All bytes of the file, of which those in these cells may be looked at.

        Yields:
            the bytes, for as long as the block lasts; ``None`` where they have to be read by calls.
        """
        there = bool(self._brought[cells].all())
        if not (there or self._known(cells)) or not self._enter():
            yield None
            return
        try:
            yield self._bytes if there or self._bring(cells) else None
        finally:
            with self._lock:
                self._lookers -= 1
                if not self._lookers:
                    self._lease(fcntl.F_UNLCK)

    def _known(self, cells: NDArray[np.int64] | slice) -> bool:
        """Whether all of them were asked for before (they are from now on) and there may be room for them."""
        known = bool(self._asked[cells].all())
        self._asked[cells] = True
        return known and not self._refused and BUDGET.room()

    def _bring(self, cells: NDArray[np.int64] | slice) -> bool:
        """Bring in what was not yet; whether everything is there."""
        wanted = np.arange(cells.start, cells.stop) if isinstance(cells, slice) else cells
        with self._bringing:
            missing = np.unique(wanted[~self._brought[wanted]])
            if not len(missing):  # another thread has brought them meanwhile
                return True
            if self._pages is None or not BUDGET.take(len(missing) * self._cell_bytes):
                return False
            try:
                starts = np.sort(self._cells[missing])
                for run in np.split(starts, np.flatnonzero(np.diff(starts) > self._cell_bytes) + 1):
                    at, last = int(run[0]) // mmap.PAGESIZE * mmap.PAGESIZE, int(run[-1])
                    self._pages.madvise(_POPULATE_READ, at, min(last + self._cell_bytes, self._length) - at)
            except OSError as error:
                # A disk that fails is told of as a bad address: a reading call says what it is, or succeeds.
                BUDGET.give(len(missing) * self._cell_bytes)
                self._refused = error.errno == errno.EINVAL  # an older kernel
                return False
            self._brought[missing] = True
        return True

    def _lease(self, kind: int) -> None:
        if kind == fcntl.F_RDLCK:
            # Someone who waits for the lease makes the kernel send a signal, by default one that kills. Giving a lease
            # back forgets what was chosen.
            fcntl.fcntl(self._file.number, _SET_SIGNAL, signal.SIGURG)
        fcntl.fcntl(self._file.number, _SET_LEASE, kind)

    def _enter(self) -> bool:
        """Take the lease, or share the one that other threads hold unless someone waits for it."""
        if self._process != os.getpid():
            return False
        with self._lock:
            try:
                if self._lookers:
                    held = fcntl.fcntl(self._file.number, _GET_LEASE) == fcntl.F_RDLCK
                    self._lookers += held
                    return bool(held)
                self._lease(fcntl.F_RDLCK)
            except BlockingIOError:  # open for writing somewhere
                return False
            except OSError:
                self._refused = True
                return False
            if self._mapped():
                self._lookers = 1
                return True
            self._lease(fcntl.F_UNLCK)
            return False

    def _mapped(self) -> bool:
        """Whether the file is mapped and, now that it cannot shrink, has all its length."""
        if self._file.status().st_size != self._length:
            return False
        if self._pages is None:
            try:
                self._pages = mmap.mmap(self._file.number, self._length, access=mmap.ACCESS_READ)
            except OSError:
                self._refused = True
                return False
            self._bytes = np.frombuffer(self._pages, np.uint8)
        return True
