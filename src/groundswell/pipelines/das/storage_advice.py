"""das: how much longer windows take to read than they would from a contiguous file, and the command that mends it.

The model adds up what the reader does for one window: bytes copied, runs and chunks looked up, bytes undone from each
compression, each with a cost measured on one core of an ordinary server (benchmarks/reading.py is the measurement).
Factors are good to about a factor of two: enough to tell storage that costs nothing from storage that costs hours.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from groundswell.pipelines.das.record import Record

SLOW = 3.0
"""From this factor on a record is named."""
WINDOW_SAMPLES = 1024
_COPY = 0.1
"""Nanoseconds for each byte copied from the system's cache into a batch: 10 GB/s."""
_RUN = 300.0
"""Nanoseconds for each run of bytes that is asked of the file."""
_CHUNK = 2000.0
"""Nanoseconds for each chunk that is looked up and put in its place."""
_ROW = 10.0
"""Nanoseconds for each piece of a row that is copied out of a chunk."""
_VALUE = 1.0
"""Nanoseconds for each value where the pieces are single values."""
_UNDO = {"gzip": 0.7, "shuffle": 0.1, "fletcher32": 0.3, "lz4": 0.3, "blosc": 0.35, "blosc2": 0.35, "bitshuffle": 0.3,
         "zstd": 0.9}
"""Nanoseconds for each byte, as it is in memory, that a filter is undone for."""
_SLOW_UNDO = 4.0
"""The same where only the HDF5 library can, one thread at a time."""
_LIBRARY = 0.3
"""Nanoseconds for each byte that goes through the HDF5 library."""
_LIBRARY_RUN = 3000.0
_NOT_HDF5 = frozenset({"miniseed", "segy", "tdms"})


@dataclass(frozen=True)
class Cost:
    """What one window costs to read.

    Attributes:
        factor: times as long as from a contiguous (time, channel) file.
        touched: bytes undone or copied for each byte used.
        why: the largest part of it, in words.
    """

    factor: float
    touched: float
    why: str


def cost_of(record: Record, window_samples: int = WINDOW_SAMPLES) -> Cost | None:
    """The cost of a window of all channels, each read on its own; ``None`` for a record that repacking cannot mend."""
    samples = min(window_samples, record.samples)
    if record.format in _NOT_HDF5 or record.kind != "waveform" or samples < 1 or record.channels < 1:
        return None
    used = samples * record.channels * np.dtype(record.dtype).itemsize
    parts = _parts(record, samples, used)
    least = used * _COPY + _RUN
    why = max(parts, key=lambda name: parts[name][0])
    touched = max(size for _, size in parts.values()) / used
    return Cost((used * _COPY + sum(time for time, _ in parts.values())) / least, max(1.0, touched), why)


def _parts(record: Record, samples: int, used: int) -> dict[str, tuple[float, float]]:
    """Costs beside the copy into the batch: in nanoseconds, with the bytes they touch, by what they are."""
    words = record.layout.split()
    chunk: list[int] | None = record.detail.get("chunk")
    if words[:1] == ["virtual,"]:
        runs = record.channels if record.axis_order == "channel,time" else 1
        return {"the HDF5 library puts it together from other files": (used * _LIBRARY + runs * _LIBRARY_RUN, used)}
    if not chunk:
        runs = record.channels if record.axis_order == "channel,time" else 1
        return {f"{runs} run(s) of the file are read for each window": (runs * _RUN, used)}
    count, rows = _chunks(record, samples, chunk)
    touched = count * float(np.prod(chunk)) * np.dtype(record.dtype).itemsize
    filters = words[2:]
    # Of chunks that are stored as they are only the rows that are wanted are touched; of others all.
    pieces = min(rows * _ROW, samples * record.channels * _VALUE)
    parts: dict[str, tuple[float, float]] = {
        f"{count:.0f} chunks of {words[1]} are put together for each window": (count * _CHUNK + pieces, used)}
    undo = sum(_UNDO.get(name, _SLOW_UNDO) for name in filters)
    if filters:
        parts[f"{' and '.join(filters)} must be undone for {touched / used:.1f} bytes to use one"] = (
            touched * undo, touched)
    return parts


def _chunks(record: Record, samples: int, chunk: list[int]) -> tuple[float, float]:
    """Chunks that a window touches on average over where it begins, and pieces of rows copied out of them."""
    if len(chunk) == 3:  # FEBUS: (block, time, channel), of each block ``keep`` rows
        keep = max(1, int(record.detail.get("blocks", (0, chunk[1]))[1]))
        blocks = min((samples - 1) / keep + 1, -(-record.samples // keep))
        return blocks * -(-record.channels // chunk[2]), samples * -(-record.channels / chunk[2])
    time, channel = chunk if record.axis_order != "channel,time" else chunk[::-1]
    along = min((samples - 1) / time + 1, -(-record.samples // time))
    across = -(-record.channels // channel)
    rows = along * record.channels if record.axis_order == "channel,time" else samples * across
    return along * across, rows


def advice(records: Iterable[Record], folder: Path, window_samples: int = WINDOW_SAMPLES) -> list[str]:
    """What :func:`told` says of records.

    Args:
        records: those in use.
        folder: that they lie in, for the command.
        window_samples: length of the windows to be read.
    """
    return told([(str(record.path), stored_as(record.layout, record.axis_order, record.dtype), cost.factor, cost.why)
                 if (cost := cost_of(record, window_samples)) is not None else (str(record.path), "", 1.0, "")
                 for record in records], folder)


def stored_as(layout: str, axis_order: str, dtype: str) -> str:
    """How a record is stored, in words."""
    return f"{layout}, ({axis_order.replace(',', ', ')}), {dtype}"


def told(found: Sequence[tuple[str, str, float, str]], folder: Path) -> list[str]:
    """Lines that name slow storage with its factor, one for each kind of it, and the command that mends it.

    Args:
        found: for each record its path, how it is stored, its factor, and why.
        folder: that the records lie in, for the command.

    Returns:
        nothing where no record is slower by ``SLOW`` or more.
    """
    kinds: dict[str, list[tuple[float, str, str]]] = {}
    for path, stored, factor, why in found:
        if factor >= SLOW:
            kinds.setdefault(stored, []).append((factor, why, path))
    if not kinds:
        return []
    lines = []
    for stored, slow in sorted(kinds.items(), key=lambda item: -max(item[1])[0]):
        factor, why, path = max(slow)
        lines.append(f"Slow storage: {len(slow)} of {len(found)} record(s) are {stored}: a window takes about "
                     f"{factor:.0f} times as long to read as from a contiguous file, for {why} (such as "
                     f"{Path(path).name}).")
    target = folder.with_name(f"{folder.stem or 'archive'}-repacked{folder.suffix}")
    return [*lines, f"Mend it: groundswell das repack {shlex.quote(str(folder))} {shlex.quote(str(target))} "
                    "(--compression lz4 keeps it smaller, and reads slower than without)."]
