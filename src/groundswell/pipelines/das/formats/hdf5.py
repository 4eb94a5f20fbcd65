"""das: an array in an HDF5 file as a record, and the reader of such records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import inside
from groundswell.pipelines.das.formats import contents
from groundswell.pipelines.das.formats.clock import Clock
from groundswell.pipelines.das.formats.hdf5_codecs import Undecodable
from groundswell.pipelines.das.formats.hdf5_direct import DirectFile
from groundswell.pipelines.das.formats.hdf5_index import FileIndex, index_of
from groundswell.pipelines.das.formats.reading import Reader, check_unchanged, stamp
from groundswell.pipelines.das.formats.storage import storage
from groundswell.pipelines.das.record import AxisOrder, Record


@dataclass(frozen=True)
class Facts:
    """What a format knows of one of its arrays; :func:`record_of` joins it with what HDF5 knows."""

    format: str
    order: AxisOrder
    order_known: str
    clock: Clock
    channels: int
    spacing_m: float | None = None
    gauge_m: float | None = None
    units: str = ""
    kind: str = "waveform"
    verdict: str = ""
    start_known: str = "metadata"
    detail: Mapping[str, Any] = field(default_factory=dict)


def dtype_name(dtype: np.dtype[Any]) -> str:
    """``int16`` for native byte order, ``>i2`` for the other; numpy understands both."""
    return dtype.name if dtype.isnative else dtype.str


def record_of(dataset: h5py.Dataset, path: Path, facts: Facts) -> Record:
    """The record of ``dataset``. A fault of its storage makes its kind ``unreadable`` and its format empty."""
    place = storage(dataset, path)
    clock = facts.clock
    size_bytes, modified_ns = stamp(path)
    detail: dict[str, Any] = {"start_known": facts.start_known if clock.start_time is not None else "", **facts.detail}
    if place.chunk:
        detail["chunk"] = list(place.chunk)
    if place.sources:
        detail["sources"] = [list(source) for source in place.sources]
    if len(clock.pieces) > 1 or clock.pieces[0] != (0, 0, clock.samples):
        detail["pieces"] = [list(piece) for piece in clock.pieces]
    if clock.measured_hz is not None:
        detail["measured_hz"] = clock.measured_hz
    verdict = place.fault or facts.verdict or clock.problem or not_a_waveform(facts.kind)
    if not verdict and not clock.rate_hz:
        verdict = "sampling rate unknown"
    fault = bool(place.fault)
    return Record(
        path=path, dataset=str(dataset.name).lstrip("/"), format="" if fault else facts.format,
        samples=clock.samples, channels=facts.channels, rate_hz=clock.rate_hz, spacing_m=facts.spacing_m,
        gauge_m=facts.gauge_m, start_time=clock.start_time, axis_order=facts.order,
        axis_order_known="metadata" if facts.order_known == "metadata" else "guess" if facts.order_known else "",
        dtype=dtype_name(dataset.dtype), units=facts.units, kind="unreadable" if fault else facts.kind,
        layout=place.text, gaps=clock.gaps, verdict=verdict or "ok", size_bytes=size_bytes, modified_ns=modified_ns,
        detail=detail)


def not_a_waveform(kind: str) -> str:
    """The verdict on an array that is no waveform; empty for one that is."""
    return "" if kind == "waveform" else f"not a waveform: {kind}"


@dataclass
class _Opened:
    """What a reader holds open: the file itself, or the library's handle, or both."""

    direct: DirectFile | None = None
    file: h5py.File | None = None


class Hdf5Reader(Reader):
    """Reads a two-dimensional data set in either axis order.

    Where the samples lie is found out at the first read and goes through pickle; from then on they are taken straight
    from the file, by several threads at once. What cannot be read so goes through the HDF5 library, one at a time.
    """

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.index: FileIndex | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "index": self.index}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.index = state["index"]

    def files(self) -> Iterable[tuple[Path, int, int]]:
        """The file, and the sources of a virtual data set."""
        yield from super().files()
        for name, size_bytes, modified_ns in self.record.detail.get("sources", ()):
            yield inside(self.record.path.parent, name), size_bytes, modified_ns

    def _open(self) -> _Opened:
        opened = _Opened()
        if self.index is None:
            opened.file = self._library()
            index = index_of(opened.file[self.record.dataset], self.record.path)
            check_unchanged(self.record.path, self.record.size_bytes, self.record.modified_ns)
            self.index = index
        if not self.index.why_not:
            self._close(opened)
            try:
                opened = _Opened(DirectFile(self.index))
            except OSError as error:
                raise InputError(f"The file cannot be opened: {error.strerror}", where=self.record.path,
                                 fix="Check its permissions") from error
        elif opened.file is None:
            opened.file = self._library()
        return opened

    def _library(self) -> h5py.File:
        try:
            return h5py.File(self.record.path, "r", locking="best-effort")
        except OSError as error:
            raise InputError(f"The HDF5 file cannot be opened: {contents.reason_of(error)}", where=self.record.path,
                             fix="Copy it again from its source") from error

    def _close(self, handle: _Opened) -> None:
        if handle.file is not None:
            handle.file.close()

    def _side_by_side(self, handle: _Opened) -> bool:
        return handle.direct is not None

    def _read_stored(self, handle: _Opened, start: int, stop: int, channels: slice, out: NDArray[Any]) -> None:
        if handle.direct is not None:
            handle.direct.check()
            try:
                self._read_direct(handle.direct, range(start, stop), as_range(channels), out)
                return
            except Undecodable:
                pass
            # The library tells what is wrong with the chunk, or knows better.
            with self._lock, self._library() as file:
                self._read_library(file[self.record.dataset], start, stop, channels, out)
        elif handle.file is not None:
            self._read_library(handle.file[self.record.dataset], start, stop, channels, out)

    def _read_direct(self, direct: DirectFile, times: range, channels: range, out: NDArray[Any]) -> None:
        if self.record.axis_order == "channel,time":
            direct.read(channels, times, out.T)
        else:
            direct.read(times, channels, out)

    def _read_library(self, dataset: h5py.Dataset, start: int, stop: int, channels: slice, out: NDArray[Any]) -> None:
        if self.record.axis_order == "channel,time":
            out[...] = dataset[channels, start:stop].T
        elif out.flags.c_contiguous and out.dtype == dataset.dtype.newbyteorder("="):
            # Where HDF5 writes nothing, what the caller's memory held before must not pass for samples.
            out[...] = 0
            dataset.read_direct(out, np.s_[start:stop, channels])
        else:
            out[...] = dataset[start:stop, channels]


def as_range(channels: slice) -> range:
    """The channels that a slice with all three numbers means."""
    return range(channels.start, channels.stop, channels.step)
