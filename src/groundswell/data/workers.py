"""data: processes that read batches into memory they share with the loader. By choice; threads are the default."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import util
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import FailureError
from groundswell.data.guard import GuardedSource
from groundswell.data.order import Order
from groundswell.data.pool import pool_of
from groundswell.data.sharing import Arrays, Descriptor, SharedBuffers

GRACE_S = 5.0
"""How long a process that was told to end may take before it is killed."""
_QUIET = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@dataclass(frozen=True)
class _Begin:
    """A pass begins."""

    number: int
    epoch: int
    start: int


@dataclass(frozen=True)
class _Read:
    """A batch is to be read into a slot."""

    number: int
    slot: int
    batch: int


@dataclass(frozen=True)
class _Done:
    """A process has done its share of a batch: why rows could not be read, or the pickled error that ended it."""

    number: int
    batch: int
    reasons: Mapping[int, str]
    error: bytes = b""


@dataclass(frozen=True)
class _Share:
    """What a process is given when it starts."""

    source: GuardedSource
    order: Order
    buffers: SharedBuffers
    memory: Descriptor
    index: int
    count: int


class Workers:
    """Processes that fill the buffers of a ring, and end with the process that started them.

    With a pool each reads its own share of the blocks in every batch, so that no block is read twice; otherwise batches
    go round. Which process reads what has no effect on what is read.

    Args:
        source: goes to each process pickled.
        order: the loader's.
        slots: buffers in the ring.
        count: processes.

    Attributes:
        arrays: of each slot, by name.
    """

    def __init__(self, source: GuardedSource, order: Order, slots: int, count: int) -> None:
        buffers = SharedBuffers(dict(source.fields), order.batch_size, slots)
        descriptor = buffers.create()
        self._together, self._count = pool_of(source) is not None, count
        self._number, self.arrays = buffers.opened(descriptor)
        self._connections: list[Connection] = []
        self._processes: list[SpawnProcess] = []
        self._waiting: dict[int, set[int]] = {}
        self._said: dict[int, list[_Done]] = {}
        # Also when the program ends without close(): multiprocessing would wait for ever for those it cannot terminate.
        self.close = util.Finalize(self, _end, (self._connections, self._processes), exitpriority=10)
        context = multiprocessing.get_context("spawn")
        # Requests to stop are for the process that trains: it still needs batches to come to a clean point.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _QUIET)
        try:
            for index in range(count):
                mine, theirs = context.Pipe()
                share = _Share(source, order, buffers, Descriptor(descriptor), index, count)
                process = context.Process(target=_work, args=(share, theirs), daemon=True,
                                          name=f"groundswell-worker-{index}")
                self._connections.append(mine)
                process.start()
                theirs.close()
                self._processes.append(process)
        except BaseException:
            self.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(descriptor)

    def begin(self, epoch: int, start: int) -> None:
        """Begin a pass; the one before was ended."""
        self._number[0] += 1
        self._waiting.clear()
        self._said.clear()
        self._tell(range(self._count), _Begin(int(self._number[0]), epoch, start))

    def submit(self, slot: int, batch: int) -> None:
        """Have a batch read into the arrays of a slot."""
        those = range(self._count) if self._together else range(batch % self._count, batch % self._count + 1)
        self._waiting[batch] = set(those)
        self._tell(those, _Read(int(self._number[0]), slot, batch))

    def _tell(self, those: Sequence[int], message: _Begin | _Read) -> None:
        for index in those:
            try:
                self._connections[index].send(message)
            except OSError as error:
                raise self._died(index) from error

    def done(self, batch: int, seconds: float) -> bool:
        """Whether a batch is in its slot; waits for an answer for at most so long.

        Raises:
            FailureError: a process died.
        """
        if self._waiting[batch]:
            listened = {self._connections[index]: index for those in self._waiting.values() for index in those}
            for ready in wait(list(listened), seconds):
                assert isinstance(ready, Connection)
                try:
                    said: _Done = ready.recv()
                except (EOFError, OSError) as error:
                    raise self._died(listened[ready]) from error
                self._waiting[said.batch].discard(listened[ready])
                self._said.setdefault(said.batch, []).append(said)
        return not self._waiting[batch]

    def result(self, batch: int) -> dict[int, str]:
        """Of a batch that is in its slot: why rows could not be read, by row.

        Raises:
            Exception: what reading raised in the process, of the same kind and with the same text.
        """
        del self._waiting[batch]
        reasons: dict[int, str] = {}
        for said in self._said.pop(batch):
            reasons |= said.reasons
            if said.error:
                raise pickle.loads(said.error)  # noqa: S301 - of our own process, through our own pipe
        return reasons

    def finish(self, seconds: float | None) -> bool:
        """End the pass once what is being read is read; false if that has not happened after so many seconds."""
        self._number[0] += 1  # what waits for its turn is passed over
        try:
            for batch in list(self._waiting):
                while not self.done(batch, seconds if seconds is not None else 3600.0):
                    if seconds is not None:
                        return False
        except FailureError:
            return False
        return True

    def _died(self, index: int) -> FailureError:
        process = self._processes[index]
        process.join(GRACE_S)
        code = process.exitcode
        how = signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"
        return FailureError(f"Process {index} of the loader died ({how})",
                            fix="Look at the memory of this machine, or set loader.workers=0")


def _end(connections: list[Connection], processes: list[SpawnProcess]) -> None:
    """Tell processes to end by closing their pipes, and see that they do."""
    for connection in connections:
        connection.close()
    for process in processes:
        process.join(GRACE_S)
        if process.is_alive():
            process.kill()
            process.join()
    connections.clear()
    processes.clear()


def _work(share: _Share, connection: Connection) -> None:
    """What a process does: read its shares of batches until its pipe is closed."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    number, slots = share.buffers.opened(share.memory.number)
    os.close(share.memory.number)
    source = share.source
    pool = pool_of(source)
    if pool is not None:
        pool.shared_by(share.count)
    rows: NDArray[np.int64] = np.empty((0, 0), np.int64)
    with contextlib.suppress(EOFError, OSError):  # the pipe is closed
        while True:
            message = connection.recv()
            if isinstance(message, _Begin):
                rows = share.order.epoch(message.epoch)[0]
                if pool is not None:
                    coming = rows[message.start:].ravel()
                    pool.plan(coming[_mine(pool.blocks.of_row[coming], share)])
                continue
            source.reasons.clear()
            error = b""
            if message.number == number[0]:
                try:
                    _read(share, rows, message.batch, slots[message.slot])
                except Exception as raised:
                    error = packed(raised)
            connection.send(_Done(message.number, message.batch, dict(source.reasons), error))
    source.close()


def _mine(blocks: NDArray[np.int64], share: _Share) -> NDArray[np.bool_]:
    mine: NDArray[np.bool_] = blocks % share.count == share.index
    return mine


def _read(share: _Share, batches: NDArray[np.int64], batch: int, out: Arrays) -> None:
    pool, rows = pool_of(share.source), batches[batch]
    if pool is None:
        share.source.read(rows, out)
        return
    following = batches[batch + 1:batch + 2].ravel()
    pool.expect(following[_mine(pool.blocks.of_row[following], share)])
    places = np.flatnonzero(_mine(pool.blocks.of_row[rows], share))
    for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
        if len(run):
            part = slice(run[0], run[-1] + 1)
            share.source.read(rows[part], {name: array[part] for name, array in out.items()})


def packed(error: Exception) -> bytes:
    """The error pickled; where it does not come out of that as it went in, one that says the same in words."""
    try:
        pickled = pickle.dumps(error)
        again = pickle.loads(pickled)  # noqa: S301 - what was pickled just before
        if type(again) is type(error) and str(again) == str(error):
            return pickled
    except Exception:  # whatever somebody's error class does
        pass
    return pickle.dumps(FailureError(f"Reading failed: {type(error).__name__}: {error}"))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
