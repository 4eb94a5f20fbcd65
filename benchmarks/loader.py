"""Windows per second of the loader beside the usual ways, taken in turns in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from groundswell.data.loader import Loader
from groundswell.data.order import Order
from groundswell.pipelines.das.formats import find_records
from groundswell.pipelines.das.recipe import DasDataRecipe
from groundswell.pipelines.das.source import DasWindowSource
from groundswell.pipelines.das.windows import build_index

SAMPLES, CHANNELS, WINDOW, BATCH, BATCHES = 60_000, 1000, 1024, 16, 6


class _Naive(torch.utils.data.Dataset[Any]):
    """The usual data set: the file is opened for each window."""

    def __init__(self, path: Path, starts: np.ndarray) -> None:
        self.path, self.starts = path, starts

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> np.ndarray:
        start = int(self.starts[index])
        with h5py.File(self.path) as file:
            return np.asarray(file["data"][start:start + WINDOW], np.float32)


def _naive(path: Path, starts: np.ndarray, workers: int) -> Iterator[Any]:
    return iter(torch.utils.data.DataLoader(_Naive(path, starts), batch_size=BATCH, num_workers=workers))


def _rate(batches: Callable[[], Iterator[Any]]) -> float:
    """Windows per second of one pass."""
    started = time.perf_counter()
    windows = sum(BATCH for _ in batches())
    return windows / (time.perf_counter() - started)


def loader(work: Path) -> list[dict[str, Any]]:
    """Contiguous float32 (time, channel), warm cache: naive, cached h5py, ours, and a memory copy."""
    folder = work / "loader"
    path = folder / "noise.h5"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            data = file.create_dataset("data", (SAMPLES, CHANNELS), np.float32)
            data[:] = np.random.default_rng(0).standard_normal((SAMPLES, CHANNELS), dtype=np.float32)
            file["distance"], file["time"] = np.arange(CHANNELS) * 10.0, np.arange(SAMPLES) / 250.0
    rows = np.random.default_rng(1).integers(0, 116, BATCH * BATCHES) * 512
    # Filled: memory that was never written to is one shared page of zeros, and far too quick to copy.
    memory, out = np.ones((SAMPLES, CHANNELS), np.float32), np.ones((BATCH, WINDOW, CHANNELS), np.float32)

    def copied() -> Iterator[Any]:
        for first in range(0, len(rows), BATCH):
            for place, start in enumerate(rows[first:first + BATCH]):
                np.copyto(out[place], memory[start:start + WINDOW])
            yield out

    def cached() -> Iterator[Any]:
        with h5py.File(path) as file:
            data = file["data"]
            for first in range(0, len(rows), BATCH):
                yield np.stack([data[s:s + WINDOW] for s in rows[first:first + BATCH]])

    records, table = build_index(folder, DasDataRecipe(folder=str(folder)))
    assert find_records(path)[0].samples == SAMPLES
    source = DasWindowSource(records, table, window_samples=WINDOW, margin=0, channels=None, max_channels=CHANNELS)
    order = Order(np.arange(len(table), dtype=np.int64)[:BATCH * BATCHES], BATCH, 0)
    ways: dict[str, Callable[[], Iterator[Any]]] = {
        "memory copy": copied, "cached h5py, stacked": cached, "naive, 0 workers": lambda: _naive(path, rows, 0),
        "naive, 2 workers": lambda: _naive(path, rows, 2)}
    for prefetch in (0, 2):
        ours = Loader(source, order, {}, threads=2, prefetch_batches=prefetch)
        ways[f"ours, prefetch {prefetch}"] = lambda ours=ours: ours.iterate(0)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(4):
        for name, way in ways.items():
            rates[name].append(_rate(way))
    limit = float(np.median(rates["memory copy"][1:]))
    return [{"what": name, "value": f"{np.median(found[1:]):.0f} windows/s, "
                                    f"{limit / float(np.median(found[1:])):.2f} times the copy's time"}
            for name, found in rates.items()]
