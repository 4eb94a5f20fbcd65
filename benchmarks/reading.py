"""Windows per second of every way of reading, for every axis order, type, storage and choice of channels.

All ways of a cell are measured in turns, in a new random order each round, and compared by their medians.
"""

from __future__ import annotations

import gc
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.reading_files import Cell, cells, in_memory, written
from benchmarks.reading_targets import Rates, as_row, markdown, targets
from benchmarks.reading_ways import BATCH, Ours, Pass, cached, memory_copy, naive, with_dascore

ROUNDS = int(os.environ.get("GROUNDSWELL_BENCH_ROUNDS", "3"))
_SECONDS = 0.25
"""How long one way is measured in one round, about."""


def measure(work: Path, cell: Cell) -> Rates:
    """Median windows per second of each way, over ``ROUNDS`` rounds after one that only warms up."""
    path = written(work, cell)
    ours = {"ours": Ours(path, cell, 0), "ours, prefetch": Ours(path, cell, 2)}
    ways: dict[str, Pass] = {f"naive {workers}": naive(path, cell, workers) for workers in (0, 1, 2)}
    ways |= {"copy": memory_copy(cell, in_memory(cell)), "h5py": cached(path, cell), **ours}
    dascore = with_dascore(path, cell)
    if dascore is not None:
        ways["dascore"] = dascore
    counts = {}
    for name, way in ways.items():
        rate = way(1)
        counts[name] = int(np.clip(_SECONDS * rate / BATCH, 1 if name == "dascore" else 2, 60))
    found: dict[str, list[float]] = {name: [] for name in ways}
    turns = random.Random(0)
    for _ in range(ROUNDS):
        names = list(ways)
        turns.shuffle(names)
        for name in names:
            found[name].append(ways[name](counts[name]))
    for own in ours.values():
        own.close()
    del ways, ours
    gc.collect()  # ends the processes of the naive way
    return {name: float(np.median(rates)) for name, rates in found.items()}


def reading(work: Path) -> list[dict[str, Any]]:
    """Every storage beside a memory copy, the naive way, cached h5py and dascore (simulated records, warm)."""
    torch.set_num_threads(1)
    measured: list[tuple[Cell, Rates]] = []
    rows: list[dict[str, Any]] = []
    for cell in cells():
        started = time.perf_counter()
        rates = measure(work / "reading", cell)
        measured.append((cell, rates))
        rows += [as_row(cell, rates, target) for target in targets(cell, rates)]
        shown = ", ".join(f"{name} {rate:.0f}" for name, rate in sorted(rates.items()))
        print(f"   {cell.name}: {shown} ({time.perf_counter() - started:.0f} s)", flush=True)
    print(markdown(measured), flush=True)
    table = [{"cell": cell.name, "rates": {name: round(rate, 1) for name, rate in rates.items()}}
             for cell, rates in measured]
    return [*rows, {"what": "windows per second", "value": f"{len(measured)} cells", "table": table}]
