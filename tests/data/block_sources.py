"""Sources for the tests of the pool and of processes. No torch here: a process that reads takes less time to start."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np

from groundswell.core.errors import InputError
from groundswell.data.arrays import ArraySource
from groundswell.data.pool import BlockPool, Blocks
from groundswell.data.source import Field

ROWS = 37
X = np.random.default_rng(1).normal(size=(ROWS, 5, 3)).astype(np.float32)


SERIES = np.random.default_rng(0).normal(size=6000).astype(np.float32)
WIDTH, STRIDE = 20, 10


class Windows:
    """Windows of a long series that overlap by half; counts what it reads, can be slow, and can fail."""

    def __init__(self, count=400, seconds=0.0):
        self.count, self.seconds = count, seconds
        self.block_reads, self.single_reads, self.samples = [], [], 0
        self.bad_samples, self.bad_error = (), lambda: InputError("The file is damaged", where="series")
        self.advised = []
        self.closed = 0
        self.forgets = False
        self.lock = threading.Lock()

    fields = {"x": Field((WIDTH,), np.float32), "k": Field((), np.int64)}

    def __getstate__(self):
        return {k: v for k, v in self.__dict__.items() if k not in ("lock", "bad_error")}

    def __setstate__(self, state):
        self.__init__()
        self.__dict__.update(state)

    def __len__(self):
        return self.count

    def _get(self, low, high):
        with self.lock:
            self.samples += high - low
        time.sleep(self.seconds)
        if any(low <= bad < high for bad in self.bad_samples):
            raise self.bad_error()
        return SERIES[low:high]

    def read(self, rows, out):
        for place, row in enumerate(rows):
            self.single_reads.append(int(row))
            out["x"][place] = self._get(row * STRIDE, row * STRIDE + WIDTH)
            out["k"][place] = row

    def blocks(self, rows, most):
        rows = np.sort(rows)
        begin = np.r_[True, np.diff(rows) > WIDTH // STRIDE]
        run = np.cumsum(begin) - 1
        within = np.arange(len(rows)) - np.flatnonzero(begin)[run]
        of = np.cumsum(begin | (within % most == 0)) - 1
        of_row = np.full(self.count, -1)
        of_row[rows] = of
        low = np.array([rows[of == b].min() for b in range(of.max() + 1)]) * STRIDE
        high = np.array([rows[of == b].max() for b in range(of.max() + 1)]) * STRIDE + WIDTH
        return Blocks(of_row, np.stack([low, high], axis=1), (high - low) * 4)

    def read_block(self, blocks, block, buffer):
        with self.lock:
            self.block_reads.append(block)
        low, high = blocks.where[block]
        buffer.view(np.float32)[:] = self._get(low, high)

    def take(self, blocks, block, buffer, row, place, out):
        low = row * STRIDE - blocks.where[block][0]
        out["x"][place], out["k"][place] = buffer.view(np.float32)[low:low + WIDTH], row

    def advise(self, blocks, block, needed):
        self.advised.append((block, needed))
        return needed or self.forgets

    def close(self):
        self.closed += 1


def expected(rows):
    return SERIES[np.asarray(rows)[:, None] * STRIDE + np.arange(WIDTH)]


def pooled(source, rows=None, *, size=4, budget=10**9):
    rows = np.arange(len(source)) if rows is None else rows
    return BlockPool(source, source.blocks(rows, size), budget)


class Turned(ArraySource):
    """Delivers samples whose memory is turned round, and says which process read them; can fail or end itself."""

    def __init__(self, bad_row=-1, deadly_row=-1, seconds=0.0):
        super().__init__({"x": X})
        self.bad_row, self.deadly_row, self.seconds = bad_row, deadly_row, seconds

    @property
    def fields(self):
        return {"x": Field((5, 3), np.float32, "F"), "process": Field((), np.int64)}

    def read(self, rows, out):
        time.sleep(self.seconds)
        if self.deadly_row in rows:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.bad_row in rows:
            raise InputError("The file ends early ...", where=f"record of row {self.bad_row}", fix="Copy it again")
        super().read(rows, {"x": out["x"]})
        out["process"][:] = os.getpid()


class Logged(Windows):
    """Writes down which process reads which block."""

    def __init__(self, count=400, path=None):
        super().__init__(count)
        self.path = path

    def read_block(self, blocks, block, buffer):
        with open(self.path, "a") as file:
            file.write(f"{os.getpid()} {block}\n")
        super().read_block(blocks, block, buffer)
