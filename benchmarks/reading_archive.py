"""Reading whole archives: cold from the disk, in an order that reads once, and 300 GB in bounded memory."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.reading_files import CHANNELS, Cell, write_prodml, written
from benchmarks.reading_ways import BATCH, CORES, WINDOW, loader_of

ROUNDS = 5
FILES, FILE_SAMPLES = 19, 3_950_080
"""19 files of 15.8 GB."""
CHUNK = (512, CHANNELS)
POOL_MB = 2048
_LIMIT_MB = 800


def _row(what: str, value: Any, target: str = "", reached: bool | None = None) -> dict[str, Any]:
    return {"what": what, "value": value, "target": target, "reached": reached}


def _forget(path: Path) -> float:
    """Let the system drop what it holds of a file; the share of its pages that it holds all the same."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        places = np.linspace(0, os.fstat(descriptor).st_size - 1, 64).astype(int)
        held, byte = 0, bytearray(1)
        for place in places.tolist():
            try:
                held += os.preadv(descriptor, [byte], place, os.RWF_NOWAIT)
            except BlockingIOError:
                continue
        return held / len(places)
    finally:
        os.close(descriptor)


def _pass_of_the_disk(path: Path, block: int) -> float:
    """Bytes per second of one pass from front to back."""
    buffer = bytearray(block)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        started, done = time.perf_counter(), 0
        while got := os.preadv(descriptor, [buffer], done):
            done += got
        return done / (time.perf_counter() - started)
    finally:
        os.close(descriptor)


def cold(work: Path) -> list[dict[str, Any]]:
    """A file that the system holds nothing of: windows one after another beside one plain pass over the disk."""
    path = written(work / "reading", Cell("time,channel", "float32", "contiguous", 1))
    rates: dict[str, list[float]] = {"disk": [], "in a row": [], "random": []}
    held = []
    loaders = {name: loader_of(path.parent / "cold", [path], stride=WINDOW, shuffle=name == "random", prefetch=2)
               for name in ("in a row", "random")}
    turns = random.Random(0)
    for turn in range(ROUNDS + 1):
        found = {}
        for name in turns.sample(list(rates), len(rates)):
            for one in loaders.values():
                one.source.close()  # pages that are mapped are not let go of
            held.append(_forget(path))
            if name == "disk":
                found[name] = _pass_of_the_disk(path, 2**20)
                continue
            loader = loaders[name].loader
            started = time.perf_counter()
            windows = sum(int((batch["weight"] > 0).sum()) for batch in loader.iterate(turn))
            found[name] = windows * WINDOW * CHANNELS * 4 / (time.perf_counter() - started)
        for name, rate in found.items() if turn else ():
            rates[name].append(rate)
    for one in loaders.values():
        one.close()
    disk, ours, free = (float(np.median(rates[name])) for name in ("disk", "in a row", "random"))
    return [_row("disk, one plain pass", f"{disk / 1e6:.0f} MB/s (from {min(rates['disk']) / 1e6:.0f} to "
                                         f"{max(rates['disk']) / 1e6:.0f})"),
            _row("windows in a row", round(ours / disk, 2), "at least 0.85 of the disk", ours >= 0.85 * disk),
            _row("windows in random order", f"{free / disk:.2f} of the disk"),
            _row("pages still held when a pass began", f"{max(held):.0%}", "none", max(held) == 0)]


def _drifting(files: int, windows: int, correlation: float, state: np.random.Generator) -> NDArray[np.float64]:
    """A value for each window, which drifts slowly within each file."""
    values = np.empty((files, windows))
    values[:, 0] = state.standard_normal(files)
    for k in range(1, windows):
        values[:, k] = correlation * values[:, k - 1] + np.sqrt(1 - correlation**2) * state.standard_normal(files)
    return values


def spread(work: Path) -> list[dict[str, Any]]:
    """How batches of the order that reads once mix beside a free permutation, and what it reads (simulated)."""
    from groundswell.data.order import BlockOrder, Order

    files, windows, batch = 200, 116, 64
    rows = np.arange(files * windows)
    state = np.random.default_rng(0)
    orders = {"free": [], "blocks": [], "first and last batches": [], "in a row": []}  # type: dict[str, list[float]]
    for seed in range(12):
        values = _drifting(files, windows, 0.99, state).ravel()
        values -= values.mean()
        blocked = values[BlockOrder(rows, batch, seed, rows // 4, 128).epoch(0)[0][:-1]].mean(axis=1)
        orders["blocks"] += blocked.tolist()
        orders["first and last batches"] += [*blocked[:4], *blocked[-4:]]
        orders["free"] += values[Order(rows, batch, seed).epoch(0)[0][:-1]].mean(axis=1).tolist()
        orders["in a row"] += values[rows[:len(rows) // batch * batch].reshape(-1, batch)].mean(axis=1).tolist()
    size = {name: float(np.std(found)) for name, found in orders.items()}
    ratio = size["blocks"] / size["free"]
    share = _share_of_bytes(work / "spread")
    return [_row("spread of batch means, 4 windows a block, 128 alive", round(ratio, 2), "at most 1.25 of i.i.d.",
                 ratio <= 1.25),
            _row("the same at the ends of an epoch", round(size["first and last batches"] / size["free"], 2)),
            _row("without shuffling", round(size["in a row"] / size["free"], 2)),
            _row("bytes read, of those that windows hold", round(share, 3), "at most 0.65", share <= 0.65)]


def _share_of_bytes(folder: Path) -> float:
    """What the process asked of the system in one epoch, as the system counts it, beside the bytes of all windows."""
    paths = []
    for number in range(20):
        path = folder / f"{number}.h5"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with h5py.File(path, "w") as file:
                values = np.random.default_rng(number).standard_normal((60_000, 32), np.float32)
                file["data"], file["time"], file["distance"] = values, np.arange(60_000) / 250.0, np.arange(32) * 10.0
        paths.append(path)
    loaded = loader_of(folder, paths, read_once=True, pool_mb=64, alive=128)

    def asked() -> int:
        return int(next(line.split()[1] for line in open("/proc/self/io") if line.startswith("rchar")))

    next(iter(loaded.loader.iterate(0)))  # indexes the files
    loaded.source.close()  # empties the pool
    before = asked()
    windows = sum(int((batch["weight"] > 0).sum()) for batch in loaded.loader.iterate(1))
    share = (asked() - before) / (windows * WINDOW * 32 * 4)
    loaded.close()
    return share


def large_archive(folder: Path) -> list[Path]:
    """19 files, 300 GB as one reads them: a few chunks, compressed once, written in place of all."""
    folder.mkdir(parents=True, exist_ok=True)
    state = np.random.default_rng(0)
    packed = []
    for _ in range(7):
        # Channels alternate between two values, so that 2 MB become 2 kB: as much as deflate can do.
        row = np.tile(state.standard_normal(2).astype(np.float32), CHANNELS // 2)
        block = np.ascontiguousarray(np.broadcast_to(row, CHUNK))
        packed.append(zlib.compress(block.reshape(-1).view(np.uint8).reshape(-1, 4).T.tobytes(), 6))
    paths = []
    for number in range(FILES):
        path = folder / f"{number:02d}.h5"
        paths.append(path)
        if path.exists():
            continue
        part = folder / f".{number:02d}.part"
        write_prodml(part, "time,channel", "float32", {"chunks": CHUNK, "compression": "gzip", "shuffle": True},
                     samples=FILE_SAMPLES, empty=True)
        with h5py.File(part, "r+") as file:
            data = file["Acquisition/Raw[0]/RawData"].id
            for k in range(FILE_SAMPLES // CHUNK[0]):
                data.write_direct_chunk((k * CHUNK[0], 0), packed[(k + number) % len(packed)])
        os.replace(part, path)
    return paths


def memory(work: Path) -> list[dict[str, Any]]:
    """500 batches of an archive of 300 GB (as one reads it): the most memory ever held, and whether it grows."""
    folder = work / "archive-300-GB"
    paths = large_archive(folder)
    disk = sum(path.stat().st_blocks * 512 for path in paths)
    done = subprocess.run([sys.executable, "-m", "benchmarks.reading_archive", str(folder)], check=True,
                          capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    batch_mb = BATCH * WINDOW * CHANNELS * 4 / 2**20
    bound = POOL_MB + 3 * batch_mb + _LIMIT_MB
    growth = found["resident_mb"][-1] - found["resident_mb"][1]
    return [_row("archive", f"{FILES} files, {FILES * FILE_SAMPLES * CHANNELS * 4 / 1e9:.0f} GB of samples, "
                            f"{disk / 1e6:.0f} MB on disk, {found['windows']} windows"),
            _row("most memory held over 500 batches", f"{found['peak_mb']:.0f} MiB",
                 f"at most {bound:.0f} MiB: pool {POOL_MB}, 3 batches of {batch_mb:.0f}, {_LIMIT_MB} more",
                 found["peak_mb"] <= bound),
            _row("growth from batch 100 to batch 500", f"{growth:.0f} MiB (of {found['resident_mb'][-1]})",
                 "under 5 % of the peak", growth <= 0.05 * found["peak_mb"]),
            _row("values wrong", found["wrong"], "0", found["wrong"] == 0),
            _row("first batch, entering an epoch in its middle", f"{found['first_s']:.2f} s", "under 1 s",
                 found["first_s"] < 1),
            _row("rate", f"{found['rate']:.0f} windows/s, {found['rate'] * WINDOW * CHANNELS * 4 / 1e6:.0f} MB/s")]


def _watch(folder: Path) -> dict[str, Any]:
    """In a process of its own: 500 batches, and what the system says of the process's memory."""
    def status(name: str) -> int:
        return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith(name))) // 1024

    loaded = loader_of(folder, sorted(folder.glob("*.h5")), read_once=True, pool_mb=POOL_MB, alive=128)
    loader, resident, wrong = loaded.loader, [], 0
    next(iter(loader.iterate(0)))  # opens and indexes the files
    middle = loader.batches // 2
    started = time.perf_counter()
    next(iter(loader.iterate(1, middle)))
    first_s = time.perf_counter() - started
    started = time.perf_counter()
    for number, batch in zip(range(500), loader.iterate(0), strict=False):
        x = batch["x"]
        wrong += int((x[:, :, 0::250] != x[:, :, 2::250]).any()) + int((x[:, :, 0] == x[:, :, 1]).any())
        if number % 100 == 0:
            resident.append(status("VmRSS"))
    rate = 500 * BATCH / (time.perf_counter() - started)
    resident.append(status("VmRSS"))
    return {"peak_mb": status("VmHWM"), "resident_mb": resident, "wrong": wrong, "first_s": first_s, "rate": rate,
            "windows": len(loaded.source), "cores": CORES}


if __name__ == "__main__":
    print(json.dumps(_watch(Path(sys.argv[1]))))
