"""biodiversity: what this machine can do at most, copying in memory and reading from the disk; and forgetting files."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

_LARGE = 256 << 20
_TIMES = 7
_MOST_READ = 1 << 30
_READ = 8 << 20
_ENOUGH = 64 << 20


@dataclass(frozen=True)
class Limits:
    """Rates of this machine, in bytes per second.

    Attributes:
        copy: copying 256 MiB in memory, the faster of one thread and one on each core; the best of several times.
        copy_one: the same by one thread.
        disk: reading a file from end to end that the system does not hold; the median. None where the system holds on
            to what it read, or the store is too small to tell.
        cores: processors that this process may use.
    """

    copy: float
    copy_one: float
    disk: float | None
    cores: int


def measure(files: Sequence[Path]) -> Limits:
    """Measure; ``files`` are those whose disk is meant, the largest last."""
    cores = len(os.sched_getaffinity(0))
    one = copy_rate(_LARGE)
    return Limits(max(one, copy_rate(_LARGE, cores)) if cores > 1 else one, one, _disk(files), cores)


def copy_rate(size: int, threads: int = 1) -> float:
    """Bytes per second of copying ``size`` bytes from one place in memory to another, read and written once; the best
    of several times, for it is a limit."""
    # Filled: memory that was never written to is one shared page of zeros, and far too quick to copy.
    source, target = np.ones(max(size, 4096), np.uint8), np.ones(max(size, 4096), np.uint8)
    edges = np.linspace(0, len(source), threads + 1).astype(int)
    pieces = [(target[a:b], source[a:b]) for a, b in itertools.pairwise(edges)]
    times = max(_TIMES, min(200, _LARGE // 4 // len(source)))
    with ThreadPoolExecutor(threads) as pool:
        def copied() -> None:
            if threads == 1:
                np.copyto(target, source)
            else:
                list(pool.map(lambda piece: np.copyto(*piece), pieces))

        return len(source) / min(seconds(copied) for _ in range(times))


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def forget(files: Sequence[Path]) -> None:
    """Ask the system to let go of what it holds of these files. Pages that any process has mapped it keeps."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # what is not on the disk yet cannot be let go
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def read_from_disk() -> int | None:
    """Bytes that this process made the system fetch from disks so far; None where it does not count them."""
    try:
        return int(psutil.Process().io_counters().read_bytes)
    except (AttributeError, OSError, psutil.Error):
        return None


def _disk(files: Sequence[Path]) -> float | None:
    large = [path for path in files if path.stat().st_size >= _ENOUGH][-1:]
    if not large:
        return None
    rates, buffer = [], np.empty(_READ, np.uint8)
    for _ in range(3):
        forget(large)
        before = read_from_disk()
        started, done = time.perf_counter(), _read(large[0], buffer)
        taken, after = time.perf_counter() - started, read_from_disk()
        if before is None or after is None or after - before < done / 2:
            return None
        rates.append(done / taken)
    return float(np.median(rates))


def _read(path: Path, buffer: NDArray[np.uint8]) -> int:
    done = 0
    with open(path, "rb", buffering=0) as file:
        while done < _MOST_READ and (got := file.readinto(buffer.data)):
            done += got
    return done
