"""Small archives for the tests of labels, windows and the source: records in memory, and files in the seed's layout."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from groundswell.pipelines.das.record import Record

VALUES: dict[str, np.ndarray] = {}
OPENED: list[str] = []


def memory_record(name, values, *, rate_hz=100.0, spacing_m=5.0, gaps=(), start="2022-09-01T00:00:00", verdict="ok",
                  kind="waveform", known="metadata", dtype=None, samples=None) -> Record:
    """A record whose values (time, channel) are kept in ``VALUES`` under its name."""
    VALUES[name] = values
    return Record(path=Path(name), dataset="data", format="memory", samples=samples or len(values),
                  channels=values.shape[1], rate_hz=rate_hz, spacing_m=spacing_m, gauge_m=None,
                  start_time=np.datetime64(start, "ns") if start else None, axis_order="time,channel",
                  axis_order_known=known, dtype=dtype or values.dtype.name, units="", kind=kind, layout="contiguous",
                  gaps=tuple(gaps), verdict=verdict, size_bytes=values.nbytes, modified_ns=0, detail={})


class MemoryReader:
    """Reads ``VALUES``; complains about a read across a gap or beyond the record, or if closed while it reads."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.opened, self.reading = False, 0
        OPENED.append(str(record.path))

    def read(self, start, stop, channel_start, channel_stop, out, channel_step=1) -> None:
        self.opened = True
        self.reading += 1
        assert 0 <= start < stop <= self.record.samples
        assert all(stop <= a or start >= b for a, b in self.record.gaps), "read across a gap"
        channels = slice(channel_start, channel_stop, channel_step)
        out[...] = VALUES[str(self.record.path)][start:stop, channels]
        assert self.opened, "closed while it was read"
        self.reading -= 1

    def close(self) -> None:
        self.opened = False


def open_memory(record: Record) -> MemoryReader:
    """What the source is given to open records."""
    return MemoryReader(record)


def write_file(path: Path, *, samples=1000, channels=6, rate_hz=100.0, spacing_m=5.0, seed=0, dtype="float32",
               values=None, gap=None, order="time,channel") -> np.ndarray:
    """A file in the seed's layout: ``sr/data`` with ``sr/distance`` and ``sr/time``; returns its values."""
    if values is None:
        values = np.random.default_rng(seed).normal(0, 100, (samples, channels)).astype(dtype)
    samples, channels = values.shape
    time_s = np.arange(samples) / rate_hz
    if gap is not None:  # (first sample after it, how many are missing)
        time_s[gap[0]:] += gap[1] / rate_hz
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["sr/data"] = values if order == "time,channel" else values.T
        file["sr/distance"] = np.arange(channels) * spacing_m
        file["sr/time"] = time_s
    return values
