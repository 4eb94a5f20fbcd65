"""The files that the reading benchmarks read: one recording in every axis order, type and storage, written once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

SAMPLES = int(os.environ.get("GROUNDSWELL_BENCH_SAMPLES", "60000"))
"""Time samples of a file: 240 MB as float32, far more than a processor's caches hold."""
CHANNELS = 1000
ORDERS, DTYPES = ("time,channel", "channel,time"), ("float32", "int16")
STORAGES: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunks 512x1000": {"chunks": (512, 1000)},
    "chunks 1000x64": {"chunks": (1000, 64)},
    "chunks automatic": {"chunks": True},
    "gzip": {"chunks": (512, 1000), "compression": "gzip", "compression_opts": 4, "shuffle": True},
    "lz4": {"chunks": (512, 1000), **hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE)},
}
"""Storage by name. Chunks are (time, channel); files in the other order have them turned round."""
_STEP = 6000


@dataclass(frozen=True)
class Cell:
    """One file and what is read of it."""

    order: str
    dtype: str
    storage: str
    every: int
    """1 reads all channels, 10 every tenth."""

    @property
    def name(self) -> str:
        """As it stands in the table."""
        order = "(time, channel)" if self.order == "time,channel" else "(channel, time)"
        return f"{order} {self.dtype} {self.storage}, {'all' if self.every == 1 else 'a tenth'}"

    @property
    def by_channel(self) -> bool:
        """Whether the file's order is (channel, time)."""
        return self.order == "channel,time"


def every_cell() -> list[Cell]:
    """Every cell of the table."""
    return [Cell(order, dtype, storage, step)
            for storage in STORAGES for order in ORDERS for dtype in DTYPES for step in (1, 10)]


def cells() -> list[Cell]:
    """The cells to be measured: those whose name has all words of GROUNDSWELL_BENCH_ONLY, or all."""
    words = os.environ.get("GROUNDSWELL_BENCH_ONLY", "").split()
    return [cell for cell in every_cell() if all(word in cell.name for word in words)]


def recording(dtype: str, first: int, samples: int, channels: int = CHANNELS) -> NDArray[Any]:
    """Part of the recording, (time, channel): counts of a digitiser, which drift from channel to channel; as float32
    they have been multiplied by the instrument's factor, as is usual."""
    random = np.random.default_rng(first)
    counts = random.standard_normal((samples, channels), np.float32) * 60.0
    counts += 40 * np.sin(np.arange(first, first + samples, dtype=np.float32) / 37)[:, None]
    whole = counts.astype(np.int16)
    return whole if dtype == "int16" else whole * np.float32(0.0116)


def written(folder: Path, cell: Cell) -> Path:
    """The cell's file in a folder of its own, written if it is not there; in the PRODML layout, which others read."""
    where = folder / f"{cell.order.replace(',', '-')}-{cell.dtype}-{cell.storage.replace(' ', '-')}-{SAMPLES}"
    path = where / "recording.h5"
    if not path.exists():
        where.mkdir(parents=True, exist_ok=True)
        storage = dict(STORAGES[cell.storage])
        if cell.by_channel and isinstance(storage.get("chunks"), tuple):
            storage["chunks"] = storage["chunks"][::-1]
        part = where / ".recording.part"
        write_prodml(part, cell.order, cell.dtype, storage, SAMPLES)
        os.replace(part, path)
    return path


def write_prodml(path: Path, order: str, dtype: str, storage: dict[str, Any], samples: int,
                 empty: bool = False) -> None:
    """One acquisition of ``samples`` at 500 Hz; ``empty`` leaves its samples to be written by someone else."""
    stamps = 1_714_979_289_500_000 + np.arange(samples, dtype=np.int64) * 2000
    names = [b"time", b"locus"] if order == "time,channel" else [b"locus", b"time"]
    first, last = (f"{np.datetime64(int(stamp), 'us')}+00:00".encode() for stamp in stamps[[0, -1]])
    with h5py.File(path, "w") as file:
        acquisition = file.create_group("Acquisition")
        acquisition.attrs.update({"NumberOfLoci": CHANNELS, "SpatialSamplingInterval": np.float32(10),
                                  "SpatialSamplingIntervalUnit": b"m", "GaugeLength": 10.0, "schemaVersion": b"2.0",
                                  "PulseRate": 1e4, "PulseWidth": 10.0, "uuid": b"0", "VendorCode": b"simulated",
                                  "StartLocusIndex": 0})
        raw = acquisition.create_group("Raw[0]")
        raw.attrs.update({"OutputDataRate": np.float32(500), "NumberOfLoci": CHANNELS, "RawDataUnit": b"rad"})
        shape = (samples, CHANNELS) if order == "time,channel" else (CHANNELS, samples)
        data = raw.create_dataset("RawData", shape, dtype, **storage)
        data.attrs.update({"Dimensions": names, "PartStartTime": first, "PartEndTime": last})
        for start in range(0, 0 if empty else samples, _STEP):
            part = recording(dtype, start, min(_STEP, samples - start))
            if order == "time,channel":
                data[start:start + len(part)] = part
            else:
                data[:, start:start + len(part)] = part.T
        times = raw.create_dataset("RawDataTime", data=stamps)
        times.attrs.update({"PartStartTime": first, "PartEndTime": last})


def in_memory(cell: Cell) -> NDArray[Any]:
    """All of the recording as an array in the file's own axis order; not to be changed."""
    return _whole(cell.dtype, cell.by_channel, SAMPLES)


@lru_cache(4)
def _whole(dtype: str, by_channel: bool, samples: int) -> NDArray[Any]:
    whole = np.concatenate([recording(dtype, start, min(_STEP, samples - start)) for start in range(0, samples, _STEP)])
    return np.ascontiguousarray(whole.T) if by_channel else whole
