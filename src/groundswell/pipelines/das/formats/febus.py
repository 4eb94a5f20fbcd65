"""das: FEBUS A1 HDF5: blocks of (time, channel) that may repeat samples of their neighbours.

A block holds the samples of one block time and, before and after it, samples that its neighbours hold too. What is
kept of each block is its middle part; the kept parts follow one another without a seam.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.das.formats import contents, hdf5
from groundswell.pipelines.das.formats.clock import Clock, Piece, steady
from groundswell.pipelines.das.formats.generic import kind_of
from groundswell.pipelines.das.formats.hdf5 import Facts, Hdf5Reader
from groundswell.pipelines.das.formats.hdf5_direct import DirectFile
from groundswell.pipelines.das.record import Record

_MARKS = ("AmpliPower", "Hostname", "WholeExtent", "SamplingRate")
_TEMPLATE_OVERLAP = 100.0
"""Per cent of a block that is repeated where the file does not say: what the instrument's own template sets."""
_HARDWARE_RATE_HZ = 1e8  # early files give the digitiser's clock as SamplingRate


def _sources(file: h5py.File) -> Iterator[h5py.Group]:
    for _, group in contents.members(file):
        for name, source in contents.members(group) if isinstance(group, h5py.Group) else ():
            if name.startswith("Source") and isinstance(source, h5py.Group) and all(m in source.attrs for m in _MARKS):
                yield source


def recognises(file: h5py.File) -> bool:
    """Whether some instrument's group holds a source with FEBUS's attributes."""
    return next(_sources(file), None) is not None


@dataclass(frozen=True)
class Blocks:
    """How blocks become one timeline: ``keep`` rows from row ``first`` on, of each of ``count`` blocks."""

    count: int
    first: int
    keep: int
    step_s: float
    overlap_known: bool


def _block_time_s(zone: h5py.Group, times: NDArray[np.float64]) -> float | None:
    block_rate_millihertz = contents.number(zone, "BlockRate")
    if block_rate_millihertz:
        return 1000.0 / block_rate_millihertz
    return float(np.median(np.diff(times))) if len(times) > 1 else None


def _step_s(zone: h5py.Group) -> float | None:
    spacing = np.ravel(np.asarray(contents.value(zone, "Spacing"), dtype=np.float64))
    from_spacing = float(spacing[1]) / 1000 if spacing.size > 1 and spacing[1] > 0 else None
    rate_hz = contents.number(zone, "SamplingRate")
    # Files that carry a version have the true step in Spacing; before, it was in SamplingRate.
    if "Version" not in zone.attrs and rate_hz and rate_hz < _HARDWARE_RATE_HZ:
        return 1 / rate_hz
    return from_spacing


def blocks_of(zone: h5py.Group, shape: tuple[int, int, int], times: NDArray[np.float64]) -> Blocks | None:
    """Which rows of each block are kept; ``None`` if the file does not say how long a sample is.

    The repeated rows, where their number is odd, are one more at a block's end than at its beginning.
    """
    step_s, rows = _step_s(zone), shape[1]
    if not step_s:
        return None
    extent = np.ravel(np.asarray(contents.value(zone, "Extent"), dtype=np.float64))
    block_time_s = _block_time_s(zone, times)
    trimmed = extent.size > 2 and extent[2] != 0
    overlap = contents.number(zone, "Overlap", "BlockOverlap")
    if trimmed and block_time_s:
        keep = round(block_time_s / step_s)
    else:
        keep = round(rows / (1 + (_TEMPLATE_OVERLAP if overlap is None else overlap) / 100))
    keep = max(1, min(keep, rows))
    return Blocks(shape[0], (rows - keep) // 2, keep, step_s, trimmed or overlap is not None)


def _pieces(blocks: Blocks, times: NDArray[np.float64]) -> tuple[tuple[Piece, ...], bool]:
    """Where blocks lie on the timeline (whole blocks may be missing), and whether their times ever go back."""
    if len(times) != blocks.count or blocks.count < 2:
        return ((0, 0, blocks.count * blocks.keep),), False
    hops = np.diff(times)
    usual = float(np.median(hops))
    if usual <= 0 or (hops <= 0).any():
        return ((0, 0, blocks.count * blocks.keep),), True
    missing = np.maximum(np.rint(hops / usual).astype(np.int64) - 1, 0)
    edges = [0, *map(int, np.flatnonzero(missing) + 1), blocks.count]
    shift, pieces = 0, []
    for left, right in itertools.pairwise(edges):
        shift += int(missing[left - 1]) if left else 0
        pieces.append(((left + shift) * blocks.keep, left * blocks.keep, (right - left) * blocks.keep))
    return tuple(pieces), False


def _clock(zone: h5py.Group, blocks: Blocks, times: NDArray[np.float64]) -> Clock:
    pieces, backwards = _pieces(blocks, times)
    origin = np.ravel(np.asarray(contents.value(zone, "Origin"), dtype=np.float64))
    start = None
    if times.size and times[0] > 0:
        # A block's time is that of its reference sample; Origin leads from it to the block's first row.
        first_s = times[0] + (origin[1] / 1000 if origin.size > 1 else 0.0) + blocks.first * blocks.step_s
        start = np.datetime64(round(first_s * 1e6) * 1000, "ns")
    last = pieces[-1]
    return Clock(last[0] + last[2], 1 / blocks.step_s, start, pieces,
                 problem="its block times do not increase" if backwards else "")


def describe(file: h5py.File, path: Path) -> list[Record]:
    """Records of a FEBUS file, one per zone and array.

    Raises:
        InputError: no zone holds an array of blocks.
    """
    records = []
    for source in _sources(file):
        stamps = contents.array(source, "time")
        times = np.empty(0) if stamps is None else np.ravel(np.asarray(stamps[()], dtype=np.float64))
        for _, zone in contents.members(source):
            for _, dataset in contents.members(zone) if isinstance(zone, h5py.Group) else ():
                if isinstance(dataset, h5py.Dataset) and len(dataset.shape or ()) == 3 and dataset.dtype.kind in "fiu":
                    records.append(_record(zone, dataset, times, path))
    if not records:
        raise InputError("The FEBUS file holds no array of blocks", where=path, fix="Leave it out")
    return records


def _record(zone: h5py.Group, dataset: h5py.Dataset, times: NDArray[np.float64], path: Path) -> Record:
    count, rows, channels = map(int, dataset.shape)
    name = str(dataset.name).rsplit("/", 1)[-1]
    kind = kind_of(name)
    blocks = blocks_of(zone, (count, rows, channels), times) if kind == "waveform" else None
    detail: dict[str, Any] = {"blocks": [0, rows]}
    if blocks is None:  # a spectrum, or rows of unknown length: what the file holds, row after row
        start = np.datetime64(round(times[0] * 1e6) * 1000, "ns") if times.size and times[0] > 0 else None
        clock = steady(count * rows, None, start)
    else:
        clock = _clock(zone, blocks, times)
        detail = {"blocks": [blocks.first, blocks.keep],
                  "overlap_known": "metadata" if blocks.overlap_known else "guess"}
    spacing = np.ravel(np.asarray(contents.value(zone, "Spacing"), dtype=np.float64))
    facts = Facts("febus", "block,time,channel", "metadata", clock, channels,
                  spacing_m=float(spacing[0]) if spacing.size and spacing[0] > 0 else None,
                  gauge_m=contents.number(zone, "GaugeLength"), units="nstrain/s", kind=kind, detail=detail)
    if kind != "waveform":  # rows of a spectrum are frequencies: there is no axis of time
        facts = replace(facts, order="", order_known="", units="", verdict=f"{hdf5.not_a_waveform(kind)} ({name})")
    return hdf5.record_of(dataset, path, facts)


class FebusReader(Hdf5Reader):
    """Reads blocks as one array (time, channel), the repeated rows left out; holds one block at a time at most."""

    def _read_direct(self, direct: DirectFile, times: range, channels: range, out: NDArray[Any]) -> None:
        first, keep = self.record.detail["blocks"]
        rows = direct.index.block_rows
        for block in range(times.start // keep, (times.stop - 1) // keep + 1):
            low, high = max(times.start, block * keep), min(times.stop, (block + 1) * keep)
            shift = block * (rows - keep) + first
            direct.read(range(low + shift, high + shift), channels, out[low - times.start:high - times.start])

    def _read_library(self, dataset: h5py.Dataset, start: int, stop: int, channels: slice, out: NDArray[Any]) -> None:
        first, keep = self.record.detail["blocks"]
        for block in range(start // keep, (stop - 1) // keep + 1):
            low, high = max(start, block * keep), min(stop, (block + 1) * keep)
            row = first - block * keep
            out[low - start:high - start] = dataset[block, low + row:high + row, channels]
