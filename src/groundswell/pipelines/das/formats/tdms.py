"""das: Silixa TDMS (National Instruments): segments of samples, all channels of one type."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.das.formats.clock import from_text
from groundswell.pipelines.das.formats.reading import Reader, stamp
from groundswell.pipelines.das.record import Record

SIGNATURE = b"TDSm"
_LEAD_IN = 28
_METADATA, _NEW_LIST, _RAW, _INTERLEAVED, _BIG_ENDIAN, _DAQMX = 2, 4, 8, 32, 64, 128
_TYPES = {1: "i1", 2: "i2", 3: "i4", 4: "i8", 5: "u1", 6: "u2", 7: "u4", 8: "u8", 9: "f4", 10: "f8"}
_STRING, _BOOLEAN, _TIME = 0x20, 0x21, 0x44
_NO_DATA, _AS_BEFORE = 0xFFFFFFFF, 0


@dataclass
class Segment:
    """Samples that lie together: ``chunks`` times (channel by channel, or interleaved) ``values`` per channel."""

    offset: int
    values: int
    chunks: int
    interleaved: bool

    @property
    def samples(self) -> int:
        """Time samples of the segment."""
        return self.values * self.chunks


@dataclass
class Layout:
    """What the metadata of a TDMS file say."""

    properties: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    dtype: str = ""
    channels: int = 0
    values: int = 0
    segments: list[Segment] = field(default_factory=list)

    @property
    def samples(self) -> int:
        """Time samples of all segments."""
        return sum(segment.samples for segment in self.segments)


class _Cursor:
    """Takes values out of a block of metadata, never past its end."""

    def __init__(self, block: bytes, order: str) -> None:
        self.block, self.order, self.at = block, order, 0

    def take(self, code: str) -> Any:
        found = struct.unpack_from(self.order + code, self.block, self.at)
        self.at += struct.calcsize(self.order + code)
        return found[0] if len(found) == 1 else found

    def text(self) -> str:
        length = self.take("I")
        if length > len(self.block) - self.at:
            raise struct.error("a text runs past the metadata")
        self.at += length
        return self.block[self.at - length:self.at].decode("utf-8", errors="replace")

    def property(self) -> tuple[str, Any]:
        name, kind = self.text(), self.take("I")
        readers: dict[int, Callable[[], Any]] = {_STRING: self.text, _BOOLEAN: lambda: bool(self.take("B")),
                                                 _TIME: self.time}
        if kind in readers:
            return name, readers[kind]()
        if kind not in _TYPES:
            raise struct.error(f"property '{name}' is of an unknown type ({kind})")
        dtype = np.dtype(self.order + _TYPES[kind])
        self.at += dtype.itemsize
        return name, np.frombuffer(self.block, dtype, 1, self.at - dtype.itemsize)[0].item()

    def time(self) -> np.datetime64:
        # Seconds since 1904, with a fraction in units of 2**-64 s.
        fraction, seconds = self.take("Qq") if self.order == "<" else self.take("qQ")[::-1]
        return np.datetime64("1904-01-01", "ns") + np.timedelta64(seconds, "s") + np.timedelta64(
            round(fraction * 2.0**-64 * 1e9), "ns")


def _read_objects(cursor: _Cursor, layout: Layout, fresh: bool) -> None:
    """Take a segment's object list: the file's properties, and type and length of its channels."""
    channels = 0
    for _ in range(cursor.take("I")):
        path = cursor.text()
        index = cursor.take("I")
        if index not in (_NO_DATA, _AS_BEFORE):
            kind, dimension, values = cursor.take("IIQ")
            if kind not in _TYPES or dimension != 1:
                raise struct.error(f"channel {path} has samples of an unknown type ({kind})")
            if channels and (layout.code, layout.values) != (_TYPES[kind], values):
                raise struct.error(f"channel {path} differs from the others in type or length")
            layout.code, layout.values = _TYPES[kind], values
        channels += index != _NO_DATA
        for _ in range(cursor.take("I")):
            name, found = cursor.property()
            if path == "/":
                layout.properties[name] = found
    if channels and (fresh or not layout.channels):
        if layout.segments and channels != layout.channels:
            raise struct.error("its segments have different channels")
        layout.channels = channels


def _layout(path: Path) -> Layout:
    layout, size, start = Layout(), os.stat(path).st_size, 0
    with open(path, "rb") as file:
        while start < size:
            file.seek(start)
            lead = file.read(_LEAD_IN)
            if len(lead) < _LEAD_IN or lead[:4] != SIGNATURE:
                raise _damaged(path, f"no segment begins at byte {start}")
            mask = struct.unpack_from("<I", lead, 4)[0]
            order = ">" if mask & _BIG_ENDIAN else "<"
            next_segment, raw = struct.unpack_from(f"{order}QQ", lead, 12)
            stop = start + _LEAD_IN + next_segment
            if stop > size or raw > next_segment:
                raise _damaged(path, f"it is truncated: a segment should reach byte {stop}, the file has {size}")
            if mask & _DAQMX:
                raise _damaged(path, "its samples are raw DAQmx data, which is not read")
            if mask & _METADATA:
                try:
                    _read_objects(_Cursor(file.read(raw), order), layout, bool(mask & _NEW_LIST))
                except (struct.error, ValueError) as error:
                    raise _damaged(path, str(error)) from error
            if mask & _RAW:
                _add_segment(layout, path, order, (start + _LEAD_IN + raw, stop), bool(mask & _INTERLEAVED))
            start = stop
    if not layout.samples:
        raise _damaged(path, "it has no samples")
    return layout


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"The TDMS file cannot be read: {reason}", where=path, fix="Copy it again from its source")


def _add_segment(layout: Layout, path: Path, order: str, span: tuple[int, int], interleaved: bool) -> None:
    if not layout.channels or not layout.values:
        raise _damaged(path, "it has samples before any channel is described")
    dtype = order + layout.code
    if layout.segments and dtype != layout.dtype:
        raise _damaged(path, "its segments hold samples of different types")
    layout.dtype = dtype
    row = layout.channels * np.dtype(dtype).itemsize
    chunks, rest = divmod(span[1] - span[0], row * layout.values)
    if rest % row:
        raise _damaged(path, f"a segment of {span[1] - span[0]} bytes is no multiple of its rows of {row} bytes")
    if chunks:
        layout.segments.append(Segment(span[0], layout.values, chunks, interleaved))
    if rest:  # the writer was stopped within a chunk, which then has fewer values of each channel
        layout.segments.append(Segment(span[1] - rest, rest // row, 1, interleaved))


def describe(path: Path) -> list[Record]:
    """The one record of a TDMS file as Silixa's iDAS writes it.

    Raises:
        InputError: truncated, damaged, or of a layout that is not read.
    """
    layout = _layout(path)
    facts = layout.properties
    rate, spacing = facts.get("SamplingFrequency[Hz]"), facts.get("SpatialResolution[m]")
    start = next((time for name in ("GPSTimeStamp", "CPUTimeStamp") if (time := _instant(facts.get(name))) is not None),
                 None)
    size_bytes, modified_ns = stamp(path)
    dtype = np.dtype(layout.dtype)
    interleaved = all(segment.interleaved for segment in layout.segments)
    detail: dict[str, Any] = {"start_known": "metadata" if start is not None else ""}
    if not interleaved:
        detail["run"] = min(segment.values for segment in layout.segments)
    gauge = facts.get("GaugeLength")
    return [Record(
        path=path, dataset="", format="tdms", samples=layout.samples, channels=layout.channels,
        rate_hz=float(rate) if rate else None, gauge_m=float(gauge) if gauge else None,
        spacing_m=float(spacing) * float(facts.get("Fibre Length Multiplier") or 1) if spacing else None,
        start_time=start, axis_order="time,channel" if interleaved else "channel,time", axis_order_known="metadata",
        dtype=dtype.name if dtype.isnative else dtype.str, units="", kind="waveform",
        layout=f"{len(layout.segments)} pieces" + (", interleaved" if interleaved else ", channel by channel"),
        gaps=(), verdict="ok" if rate else "sampling rate unknown", size_bytes=size_bytes, modified_ns=modified_ns,
        detail=detail)]


def _instant(found: Any) -> np.datetime64 | None:
    if isinstance(found, np.datetime64):
        return found if found > np.datetime64("1970-01-02") else None
    return from_text(found) if isinstance(found, str) else None


class TdmsReader(Reader):
    """Reads the wanted samples, segment by segment: rows where channels are interleaved, runs where they are not."""

    def _open(self) -> tuple[BinaryIO, Layout]:
        return open(self.record.path, "rb"), _layout(self.record.path)

    def _close(self, handle: tuple[BinaryIO, Layout]) -> None:
        handle[0].close()

    def _read_stored(self, handle: tuple[BinaryIO, Layout], start: int, stop: int, channels: slice,
                     out: NDArray[Any]) -> None:
        file, layout = handle
        dtype, width = np.dtype(layout.dtype), layout.channels
        first = 0
        for segment in layout.segments:
            last = first + segment.samples
            low, high = max(start, first), min(stop, last)
            if low < high and segment.interleaved:
                raw = _exactly(file, (high - low) * width * dtype.itemsize,
                               segment.offset + (low - first) * width * dtype.itemsize)
                out[low - start:high - start] = np.frombuffer(raw, dtype).reshape(-1, width)[:, channels]
            elif low < high:
                self._read_runs(file, layout, segment, (low - first, high - first), channels,
                                out[low - start:high - start])
            first = last

    @staticmethod
    def _read_runs(file: BinaryIO, layout: Layout, segment: Segment, span: tuple[int, int], channels: slice,
                   out: NDArray[Any]) -> None:
        dtype, values = np.dtype(layout.dtype), segment.values
        for chunk in range(span[0] // values, (span[1] - 1) // values + 1):
            low, high = max(span[0], chunk * values), min(span[1], (chunk + 1) * values)
            for column, channel in enumerate(range(channels.start, channels.stop, channels.step)):
                at = (chunk * layout.channels + channel) * values + low - chunk * values
                raw = _exactly(file, (high - low) * dtype.itemsize, segment.offset + at * dtype.itemsize)
                out[low - span[0]:high - span[0], column] = np.frombuffer(raw, dtype)


def _exactly(file: BinaryIO, length: int, offset: int) -> bytes:
    raw = os.pread(file.fileno(), length, offset)
    if len(raw) != length:
        raise OSError(f"{length} bytes were wanted at byte {offset}, {len(raw)} were there")
    return raw
