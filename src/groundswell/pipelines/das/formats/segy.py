"""das: SEG-Y revisions 0 to 2 with traces of one length: one trace per channel."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.das.formats.reading import Reader, stamp
from groundswell.pipelines.das.record import Record

_FORMATS = {1: "u4", 2: "i4", 3: "i2", 5: "f4", 6: "f8", 8: "i1", 10: "u4", 11: "u2", 16: "u1"}
_IBM = 1
_HEADERS, _TRACE_HEADER = 3600, 240


@dataclass(frozen=True)
class Header:
    """Where the samples of a SEG-Y file lie."""

    order: str
    code: int
    samples: int
    step_us: int
    traces: int
    first_byte: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a sample as stored; IBM floats as the unsigned words they are."""
        return np.dtype(self.order + _FORMATS[self.code])

    @property
    def trace_bytes(self) -> int:
        """Length of one trace with its header."""
        return _TRACE_HEADER + self.samples * self.dtype.itemsize


def _candidate(head: bytes, order: str) -> tuple[int, int, int, int] | None:
    step, samples, code = (struct.unpack_from(f"{order}H", head, 3200 + at)[0] for at in (16, 20, 24))
    extended = struct.unpack_from(f"{order}h", head, 3504)[0]
    return (step, samples, code, extended) if code in _FORMATS and samples > 0 and -1 <= extended < 1000 else None


def looks_like(head: bytes) -> bool:
    """Whether the first 3600 bytes have a plausible binary header, in either byte order."""
    return len(head) >= _HEADERS and any(_candidate(head, order) is not None for order in "><")


def _header(path: Path) -> Header:
    size = os.stat(path).st_size
    with open(path, "rb") as file:
        head = file.read(_HEADERS)
    for order in "><":
        found = _candidate(head, order) if len(head) == _HEADERS else None
        if found is None:
            continue
        step, samples, code, extended = found
        if extended < 0:
            raise InputError("The SEG-Y file has text headers of unstated number, which is not read", where=path,
                             fix="Rewrite it with a fixed number of text headers")
        header = Header(order, code, samples, step, 0, _HEADERS + 3200 * extended)
        traces, rest = divmod(size - header.first_byte, header.trace_bytes)
        if traces <= 0 or rest:
            raise InputError(f"The SEG-Y file is truncated or has traces of different lengths: after {max(traces, 0)} "
                             f"traces of {samples} samples {rest} bytes are left over", where=path,
                             fix="Copy it again from its source")
        return Header(order, code, samples, step, traces, header.first_byte)
    raise InputError("This is no SEG-Y file: its binary header does not hold", where=path, fix="Leave it out")


def _start_time(trace: bytes, order: str) -> np.datetime64 | None:
    year, day, hour, minute, second = struct.unpack_from(f"{order}5H", trace, 156)
    if not (1900 < year < 2200 and 1 <= day <= 366 and hour < 24 and minute < 60 and second < 61):
        return None
    midnight = np.datetime64(f"{year}-01-01", "ns") + np.timedelta64(day - 1, "D")
    return midnight + np.timedelta64(hour * 3600 + minute * 60 + second, "s")


def describe(path: Path) -> list[Record]:
    """The one record of a SEG-Y file. The format has no channel spacing and no gauge length.

    Raises:
        InputError: truncated, or traces of different lengths.
    """
    header = _header(path)
    with open(path, "rb") as file:
        file.seek(header.first_byte)
        trace = file.read(_TRACE_HEADER)
    step_us = header.step_us or struct.unpack_from(f"{header.order}H", trace, 116)[0]
    size_bytes, modified_ns = stamp(path)
    stored = "float32" if header.code == _IBM else (
        header.dtype.name if header.dtype.isnative else header.dtype.str)
    return [Record(
        path=path, dataset="", format="segy", samples=header.samples, channels=header.traces,
        rate_hz=1e6 / step_us if step_us else None, spacing_m=None, gauge_m=None,
        start_time=_start_time(trace, header.order), axis_order="channel,time", axis_order_known="metadata",
        dtype=stored, units="", kind="waveform", layout="traces" + (" of IBM floats" if header.code == _IBM else ""),
        gaps=(), verdict="ok" if step_us else "sampling rate unknown", size_bytes=size_bytes, modified_ns=modified_ns,
        detail={"start_known": "metadata" if _start_time(trace, header.order) is not None else "",
                "header_bytes": _TRACE_HEADER})]


def ibm_to_float32(words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """IBM System/360 hexadecimal floats (sign, 7-bit exponent of 16 with bias 64, 24-bit fraction) as float32."""
    fraction = (words & 0x00FFFFFF).astype(np.float64) / 2**24
    exponent = ((words >> 24) & 0x7F).astype(np.int32) - 64
    magnitude = np.ldexp(fraction, 4 * exponent)
    return np.where(words >> 31, -magnitude, magnitude).astype(np.float32)


class SegyReader(Reader):
    """Reads the wanted samples of each wanted trace, one read per trace."""

    def _open(self) -> tuple[BinaryIO, Header]:
        return open(self.record.path, "rb"), _header(self.record.path)

    def _close(self, handle: tuple[BinaryIO, Header]) -> None:
        handle[0].close()

    def _read_stored(self, handle: tuple[BinaryIO, Header], start: int, stop: int, channels: slice,
                     out: NDArray[Any]) -> None:
        file, header = handle
        length = (stop - start) * header.dtype.itemsize
        for column, trace in enumerate(range(channels.start, channels.stop, channels.step)):
            offset = header.first_byte + trace * header.trace_bytes + _TRACE_HEADER + start * header.dtype.itemsize
            raw = os.pread(file.fileno(), length, offset)
            if len(raw) != length:
                raise OSError(f"trace {trace} ends early")
            values = np.frombuffer(raw, header.dtype)
            out[:, column] = ibm_to_float32(values) if header.code == _IBM else values
