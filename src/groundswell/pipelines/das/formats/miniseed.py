"""das: miniSEED 2: one record of one channel for each SEED id, its pieces merged on one timeline with their gaps.

Channels of an array may begin and end at different samples, so ids are never joined into one array. The headers are
read here, which tells where each piece lies; samples are decoded by ObsPy, only the pieces that are asked for.
"""

from __future__ import annotations

import io
import itertools
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.optional import require
from groundswell.pipelines.das.formats.reading import Reader, stamp
from groundswell.pipelines.das.record import Record

_FIXED = 48
_DTYPES = {1: "int16", 3: "int32", 4: "float32", 5: "float64", 10: "int32", 11: "int32"}
_ENCODINGS = {1: "int16", 3: "int32", 4: "float32", 5: "float64", 10: "Steim-1", 11: "Steim-2"}
_TIME_CORRECTED = 0x02


@dataclass(frozen=True)
class Block:
    """One miniSEED record: where it lies, when it begins, how many samples it holds."""

    seed_id: str
    offset: int
    length: int
    start_ns: int
    samples: int
    rate_hz: float
    encoding: int


def looks_like(head: bytes) -> bool:
    """Whether a file begins with the fixed header of a miniSEED data record."""
    return (len(head) >= _FIXED + 8 and not head[:6].strip(b" 0123456789\0")
            and head[6:7] in (b"D", b"R", b"Q", b"M") and head[7:8] in (b" ", b"\0"))


def _rate(factor: int, multiplier: int) -> float:
    if factor == 0 or multiplier == 0:
        return 0.0
    rate = float(factor) if factor > 0 else -1.0 / factor
    return rate * multiplier if multiplier > 0 else rate / -multiplier


def _start_ns(order: str, header: bytes) -> int:
    year, day, hour, minute, second, _, tenths = struct.unpack_from(f"{order}HHBBBBH", header, 20)
    midnight = np.datetime64(f"{year:04d}-01-01", "ns") + np.timedelta64(day - 1, "D")
    start = int(midnight.astype(np.int64)) + ((hour * 60 + minute) * 60 + second) * 10**9 + tenths * 100_000
    correction: int = struct.unpack_from(f"{order}i", header, 40)[0]
    return int(start if header[36] & _TIME_CORRECTED else start + correction * 100_000)


def _block(header: bytes, offset: int) -> Block:
    """Parse the fixed header and the blockettes 1000 (length, encoding) and 1001 (microseconds).

    Raises:
        ValueError: it is no data record, or lacks blockette 1000.
    """
    if not looks_like(header):
        raise ValueError("no miniSEED record begins there")
    order = ">" if 1 <= struct.unpack_from(">H", header, 22)[0] <= 366 else "<"
    samples, factor, multiplier = struct.unpack_from(f"{order}Hhh", header, 30)
    start_ns, at, length, encoding = _start_ns(order, header), struct.unpack_from(f"{order}H", header, 46)[0], 0, -1
    while _FIXED <= at <= len(header) - 8:
        kind, following = struct.unpack_from(f"{order}HH", header, at)
        if kind == 1000:
            encoding, length = header[at + 4], 1 << min(header[at + 6], 31)
        elif kind == 1001:
            start_ns += struct.unpack_from(f"{order}b", header, at + 5)[0] * 1000
        if following <= at:
            break
        at = following
    if length < 128:
        raise ValueError("the record there does not give its length")
    station, location, channel, network = (header[a:b].decode("ascii", errors="replace").strip(" \0")
                                           for a, b in ((8, 13), (13, 15), (15, 18), (18, 20)))
    return Block(f"{network}.{station}.{location}.{channel}", offset, length, start_ns, samples,
                 _rate(factor, multiplier), encoding)


def read_index(path: Path) -> dict[str, list[Block]]:
    """Every data record of a file by SEED id, in order of time. Only headers are read.

    Raises:
        InputError: truncated or damaged.
    """
    size, offset, found = os.stat(path).st_size, 0, dict[str, list[Block]]()
    with open(path, "rb", buffering=1 << 16) as file:
        while offset < size:
            file.seek(offset)
            try:
                block = _block(file.read(256), offset)
            except (ValueError, struct.error) as error:
                raise InputError(f"The miniSEED file is damaged at byte {offset}: {error}", where=path,
                                 fix="Copy it again from its source") from error
            if offset + block.length > size:
                raise InputError(f"The miniSEED file is truncated: a record at byte {offset} has {block.length} bytes, "
                                 f"{size - offset} are left", where=path, fix="Copy it again from its source")
            if block.samples and block.rate_hz > 0:
                found.setdefault(block.seed_id, []).append(block)
            offset += block.length
    for blocks in found.values():
        blocks.sort(key=lambda block: block.start_ns)
    return found


def timeline(blocks: list[Block]) -> NDArray[np.int64]:
    """First sample of each block on the timeline of the first, shape (blocks,).

    A block that begins within half a sample of where the one before it ends follows it directly, so that the small
    drift of a clock opens no gaps.
    """
    first = np.zeros(len(blocks), np.int64)
    for index, (before, block) in enumerate(itertools.pairwise(blocks), start=1):
        step_ns = 1e9 / before.rate_hz
        late = round((block.start_ns - before.start_ns) / step_ns - before.samples)
        first[index] = first[index - 1] + before.samples + late
    return first


def _gaps(first: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    reached = np.maximum.accumulate(first + lengths)
    open_at = np.flatnonzero(first[1:] > reached[:-1])
    return tuple((int(reached[index]), int(first[index + 1])) for index in open_at)


def describe(path: Path) -> list[Record]:
    """One record for each SEED id, in order of id.

    Raises:
        InputError: truncated, damaged, or without samples.
    """
    index = read_index(path)
    if not index:
        raise InputError("The miniSEED file holds no samples", where=path, fix="Leave it out")
    size_bytes, modified_ns = stamp(path)
    return [_record(path, seed_id, blocks, size_bytes, modified_ns) for seed_id, blocks in sorted(index.items())]


def _record(path: Path, seed_id: str, blocks: list[Block], size_bytes: int, modified_ns: int) -> Record:
    first = timeline(blocks)
    lengths = np.array([block.samples for block in blocks])
    encoding, lead = blocks[0].encoding, blocks[0]
    problem = ""
    if len({block.rate_hz for block in blocks}) > 1:
        problem = "its sampling rate changes within the file"
    elif encoding not in _DTYPES or len({_DTYPES.get(block.encoding) for block in blocks}) > 1:
        problem = f"its samples are of a type that is not read (encoding {encoding})"
    mean = int(np.mean([block.samples for block in blocks]))
    return Record(
        path=path, dataset=seed_id, format="miniseed", samples=int((first + lengths).max()), channels=1,
        rate_hz=lead.rate_hz, spacing_m=None, gauge_m=None, start_time=np.datetime64(lead.start_ns, "ns"),
        axis_order="time", axis_order_known="metadata", dtype=_DTYPES.get(encoding, ""), units="", kind="waveform",
        layout=f"{len(blocks)} records of {lead.length} bytes, {_ENCODINGS.get(encoding, f'encoding {encoding}')}",
        gaps=_gaps(first, lengths), verdict=problem or "ok", size_bytes=size_bytes, modified_ns=modified_ns,
        detail={"start_known": "metadata", "chunk": [mean, 1]})


class MiniseedReader(Reader):
    """Decodes the miniSEED records that a range of samples touches. Where records overlap, the later one counts."""

    def _open(self) -> tuple[BinaryIO, list[Block], NDArray[np.int64]]:
        record = self.record
        blocks = read_index(record.path).get(record.dataset)
        if not blocks:
            raise InputError(f"The file holds no samples of {record.dataset}", where=record.path,
                             fix="Scan the folder again")
        return open(record.path, "rb"), blocks, timeline(blocks)

    def _close(self, handle: tuple[BinaryIO, list[Block], NDArray[np.int64]]) -> None:
        handle[0].close()

    def _read_stored(self, handle: tuple[BinaryIO, list[Block], NDArray[np.int64]], start: int, stop: int,
                     channels: slice, out: NDArray[Any]) -> None:
        file, blocks, first = handle
        out[...] = 0
        # Blocks begin in order of time, yet one may reach beyond the next.
        longest = max(block.samples for block in blocks)
        for index in range(int(np.searchsorted(first, start - longest)), int(np.searchsorted(first, stop))):
            block, at = blocks[index], int(first[index])
            low, high = max(start, at), min(stop, at + block.samples)
            if low < high:
                out[low - start:high - start, 0] = _decode(file, block)[low - at:high - at]


def _decode(file: BinaryIO, block: Block) -> NDArray[Any]:
    core = require("obspy.io.mseed.core", extra="das", purpose="Reading miniSEED")
    raw = os.pread(file.fileno(), block.length, block.offset)
    try:
        traces = core._read_mseed(io.BytesIO(raw))
    except Exception as error:  # ObsPy's own errors share no base that says "damaged"
        raise OSError(f"the record at byte {block.offset} cannot be decoded: {error}") from error
    if len(traces) != 1 or len(traces[0].data) != block.samples:
        raise OSError(f"the record at byte {block.offset} cannot be decoded")
    samples: NDArray[Any] = traces[0].data
    return samples
