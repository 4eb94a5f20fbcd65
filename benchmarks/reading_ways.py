"""Ways of getting batches of windows from a file: a memory copy, the naive way, cached h5py, dascore, and ours.

Every way delivers the same values: batches of 16 windows of 1024 time samples in the file's own type, in random
order, so that nobody waits for a conversion that the others do not make.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters, as the naive way has to
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.reading_files import CHANNELS, SAMPLES, Cell

WINDOW, STRIDE, BATCH = 1024, 512, 16
DATASET = "Acquisition/Raw[0]/RawData"
CORES = len(os.sched_getaffinity(0))
Pass = Callable[[int], float]
"""Reads so many batches, given how many, and returns windows per second."""


def starts(batches: int, seed: int) -> NDArray[np.int64]:
    """First samples of random windows, (batches, BATCH)."""
    windows = (SAMPLES - WINDOW) // STRIDE + 1
    random = np.random.default_rng(seed)
    turns = [random.permutation(windows) for _ in range(-(-batches * BATCH // windows))]
    found: NDArray[np.int64] = (np.concatenate(turns)[:batches * BATCH] * STRIDE).reshape(batches, BATCH)
    return found


def _timed(batches: Iterator[Any], count: int) -> float:
    started = time.perf_counter()
    got = 0
    for _ in batches:
        got += 1
        if got == count:
            break
    return got * BATCH / (time.perf_counter() - started)


def _buffer(cell: Cell) -> NDArray[Any]:
    # Filled: memory that was never written to is one shared page of zeros, and far too quick to copy.
    width = -(-CHANNELS // cell.every)
    return np.ones((BATCH, width, WINDOW) if cell.by_channel else (BATCH, WINDOW, width), cell.dtype)


def memory_copy(cell: Cell, memory: NDArray[Any]) -> Pass:
    """The limit: the same values from an array in memory, in the file's order, into one reused batch."""
    out = _buffer(cell)

    def run(count: int) -> float:
        def batches() -> Iterator[None]:
            for rows in starts(count, 1):
                for place, start in enumerate(rows):
                    part = memory[::cell.every, start:start + WINDOW] if cell.by_channel else \
                        memory[start:start + WINDOW, ::cell.every]
                    np.copyto(out[place], part)
                yield None
        return _timed(batches(), count)
    return run


def _window(data: Any, start: int, cell: Cell, whole: bool) -> NDArray[Any]:
    """One window as (time, channel); ``whole`` reads all channels and leaves out the others afterwards."""
    stop = start + WINDOW
    if cell.by_channel:
        read = data[:, start:stop][::cell.every] if whole else data[::cell.every, start:stop]
        return np.ascontiguousarray(read.T)
    return np.ascontiguousarray(data[start:stop][:, ::cell.every] if whole else data[start:stop, ::cell.every])


class _Naive(torch.utils.data.Dataset[Any]):
    """The usual data set: the file is opened for each window."""

    def __init__(self, path: Path, cell: Cell, whole: bool) -> None:
        self.path, self.cell, self.whole = path, cell, whole

    def __len__(self) -> int:
        return (SAMPLES - WINDOW) // STRIDE + 1

    def __getitem__(self, index: int) -> NDArray[Any]:
        with h5py.File(self.path) as file:
            return _window(file[DATASET], index * STRIDE, self.cell, self.whole)


def naive(path: Path, cell: Cell, workers: int) -> Pass:
    """A DataLoader over a file that is opened for each window; its processes are started once and not counted.

    Of a subset of channels it takes the quicker way: to read just these, or all and leave out the rest.
    """
    seconds = []
    for whole in (False, True):
        started = time.perf_counter()
        for index in range(2):
            _Naive(path, cell, whole)[index]
        seconds.append(time.perf_counter() - started)
    data = _Naive(path, cell, cell.every > 1 and seconds[1] < seconds[0])
    state = torch.Generator().manual_seed(1)
    sampler = torch.utils.data.RandomSampler(data, replacement=True, num_samples=BATCH * 10**6, generator=state)
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH, sampler=sampler, num_workers=workers)
    endless: list[Iterator[Any]] = []

    def run(count: int) -> float:
        # One endless pass: what its processes read ahead while others were measured (two batches each) is thrown away.
        if not endless:
            endless.append(iter(loader))
        for _ in range(2 * workers):
            next(endless[0])
        return _timed(endless[0], count)
    return run


def cached(path: Path, cell: Cell) -> Pass:
    """h5py at its best: the file stays open, and windows are read straight into one reused batch."""
    out = _buffer(cell)
    probe = np.empty(out.shape[1:], out.dtype)
    file = h5py.File(path)
    data = file[DATASET]

    def place(start: int, into: NDArray[Any], whole: bool) -> None:
        time_, channel = slice(start, start + WINDOW), slice(None, None, cell.every)
        if not whole:
            data.read_direct(into, (channel, time_) if cell.by_channel else (time_, channel))
        else:
            into[...] = data[:, time_][channel] if cell.by_channel else data[time_][:, channel]

    seconds = []
    for whole in (False, True):
        started = time.perf_counter()
        place(0, probe, whole)
        seconds.append(time.perf_counter() - started)
    whole = cell.every > 1 and seconds[1] < seconds[0]

    def run(count: int) -> float:
        def batches() -> Iterator[None]:
            for rows in starts(count, 1):
                for index, start in enumerate(rows):
                    place(int(start), out[index], whole)
                yield None
        return _timed(batches(), count)
    return run


def with_dascore(path: Path, cell: Cell) -> Pass | None:
    """dascore, told the format, asked for one window at a time; ``None`` where it is not installed."""
    try:
        import dascore
    except ImportError:
        return None
    begin = np.datetime64("2024-05-06T07:08:09.5", "ns")
    step = np.timedelta64(2_000_000, "ns")

    def one(start: int) -> NDArray[Any]:
        span = (begin + start * step, begin + (start + WINDOW - 1) * step)
        patch = dascore.read(path, file_format="PRODML", file_version="2.0", time=span)[0]
        read = patch.transpose("time", ...).data[:, ::cell.every]
        if read.shape[0] != WINDOW:
            raise ValueError(f"dascore read {read.shape[0]} time samples for a window of {WINDOW}")
        return np.ascontiguousarray(read)

    def run(count: int) -> float:
        # A quarter of a batch tells: each window takes some hundredths of a second, most of it for the description.
        rows = starts(count, 1)[:, :BATCH // 4]
        started = time.perf_counter()
        for part in rows:
            np.stack([one(int(start)) for start in part])
        return rows.size / (time.perf_counter() - started)
    return run


@dataclass
class Loaded:
    """A loader with the source it reads."""

    loader: Any
    source: Any

    def close(self) -> None:
        """Let go of buffers and files."""
        self.loader.close()


def loader_of(folder: Path, paths: list[Path], *, every: int = 1, stride: int = STRIDE, shuffle: bool = True,
              prefetch: int = 2, read_once: bool = False, pool_mb: int = 2048, alive: int = 128) -> Loaded:
    """Our loader over some files, which are linked into ``folder`` if they are not in it; whole batches only.

    ``read_once`` is what a recipe's ``auto`` chooses for compressed archives and for large ones.
    """
    from groundswell.data.loader import Loader
    from groundswell.data.order import BlockOrder, Order
    from groundswell.data.pool import BlockPool
    from groundswell.pipelines.das.recipe import DasDataRecipe
    from groundswell.pipelines.das.source import DasWindowSource
    from groundswell.pipelines.das.windows import build_index

    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        # The same bytes under several names: to the loader these are different records.
        if path.parent != folder and not (folder / f"{number}.h5").exists():
            (folder / f"{number}.h5").hardlink_to(path)
    channels = {} if every == 1 else {"channels": (0, CHANNELS, every)}
    data = DasDataRecipe.model_validate({"folder": str(folder), "window_samples": WINDOW, "stride_samples": stride,
                                         **channels})
    records, table = build_index(folder, data)
    source: Any = DasWindowSource(records, table, window_samples=WINDOW, margin=0, channels=data.channels)
    rows = np.arange(len(table) // BATCH * BATCH, dtype=np.int64)
    order: Any = Order(rows, BATCH, 0, shuffle=shuffle)
    if read_once:
        blocks = source.blocks(rows, 4)
        order = BlockOrder(rows, BATCH, 0, blocks.of_row[rows], alive)
        source = BlockPool(source, blocks, pool_mb * 2**20)
    return Loaded(Loader(source, order, {}, threads=CORES, prefetch_batches=prefetch), source)


class Ours:
    """Our loader with its recipe's defaults, over an archive of ``LINKS`` files; timed in whole epochs.

    Compressed files are read once, as the recipe's ``read_once: auto`` has it, with a pool that is to this archive as
    the default is to one of a few hundred files: a quarter of the blocks are alive, and the pool has room for a third.
    """

    LINKS = 3

    def __init__(self, path: Path, cell: Cell, prefetch: int) -> None:
        itemsize = np.dtype(cell.dtype).itemsize
        block_bytes = (WINDOW + 3 * STRIDE) * -(-CHANNELS // cell.every) * itemsize
        blocks = self.LINKS * ((SAMPLES - WINDOW) // STRIDE + 1) // 4
        self.loaded = loader_of(path.parent / "archive", [path] * self.LINKS, every=cell.every, prefetch=prefetch,
                                read_once=cell.storage in ("gzip", "lz4"), alive=max(1, blocks // 4),
                                pool_mb=max(1, blocks * block_bytes // 3 // 2**20))
        self.epoch = 0

    def __call__(self, count: int) -> float:
        """Windows per second over so many batches, rounded up to whole epochs."""
        loader = self.loaded.loader
        epochs = -(-count // loader.batches)
        started = time.perf_counter()
        for epoch in range(self.epoch, self.epoch + epochs):
            for _ in loader.iterate(epoch):
                pass
        self.epoch += epochs
        return epochs * loader.batches * BATCH / (time.perf_counter() - started)

    def close(self) -> None:
        """Let go of buffers and files."""
        self.loaded.close()
