"""das: windows of a record in blocks of neighbours, whose samples are read in one piece."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from groundswell.data.pool import Blocks, Bytes
from groundswell.pipelines.das.formats.hdf5_advice import advise
from groundswell.pipelines.das.record import Record, RecordReader

FORGET = 0.5
"""An archive larger than this part of memory is not kept in the system's: what was read is let go of there."""
READ_ONCE_BYTES = 8 * 2**30
"""From so many bytes of samples on, windows that overlap are read in blocks unless the recipe says otherwise."""
_PLAIN = frozenset({"shuffle", "fletcher32"})


def neighbours(record: NDArray[np.int64], part: NDArray[np.int64], start: NDArray[np.int64], stop: NDArray[np.int64],
               most: int) -> NDArray[np.int64]:
    """Blocks of windows that follow one another without a sample between them.

    Args:
        record: of each window, shape (n,).
        part: which uninterrupted part of the record it lies in.
        start: its first sample.
        stop: one past its last.
        most: windows in a block; a run of neighbours is cut into blocks of so many, the last of them shorter.

    Returns:
        int64, shape (n,): block of each window, from 0, by record and time.
    """
    order = np.lexsort((start, part, record))
    record, part, start, stop = record[order], part[order], start[order], stop[order]
    new = np.r_[True, (np.diff(record) != 0) | (np.diff(part) != 0) | (start[1:] > stop[:-1])][:len(order)]
    run = np.cumsum(new) - 1
    within = np.arange(len(order)) - np.flatnonzero(new)[run]
    blocks = np.empty(len(order), np.int64)
    blocks[order] = np.cumsum(new | (within % most == 0)) - 1
    return blocks


class _Readers(Protocol):
    def reader(self, position: int, record: Record) -> AbstractContextManager[RecordReader]: ...

    def known(self, position: int) -> RecordReader | None: ...

    def close(self) -> None: ...


class BlockReading:
    """What a source of windows does to be one of blocks; see :class:`groundswell.data.pool.BlockSource`.

    A block is the samples of its windows with their margins, in the type in which they are delivered or stored,
    whichever is smaller, and lies in memory as the windows do.
    """

    _records: tuple[Record, ...]
    _channels: list[range]
    _index: NDArray[np.int64]
    _start: NDArray[np.int64]
    _stop: NDArray[np.int64]
    _low: NDArray[np.int64]
    _high: NDArray[np.int64]
    _window: int
    _margin: int
    _dtype: np.dtype[Any]
    _memory: Literal["C", "F"]
    _pool: _Readers

    def _spans(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Of each row: where its window with margins begins, and the samples [low, high) of it that were recorded."""
        begin = self._start[rows] - self._margin
        low = np.maximum(begin, self._low[rows])
        return begin, low, np.minimum(begin + self._window + 2 * self._margin, self._high[rows])

    def blocks(self, rows: NDArray[np.int64], most: int) -> Blocks:
        """See :meth:`groundswell.data.pool.BlockSource.blocks`."""
        rows = np.asarray(rows, np.int64)
        of_row = np.full(len(self._index), -1, np.int64)
        if not len(rows):
            return Blocks(of_row, np.zeros((0, 3), np.int64), np.zeros(0, np.int64))
        found = neighbours(self._index[rows], self._low[rows], self._start[rows], self._stop[rows], most)
        of_row[rows] = found
        _, low, high = self._spans(rows)
        where = np.empty((int(found.max()) + 1, 3), np.int64)
        where[found, 0] = self._index[rows]
        where[:, 1], where[:, 2] = np.iinfo(np.int64).max, -1
        np.minimum.at(where[:, 1], found, low)
        np.maximum.at(where[:, 2], found, high)
        sample = np.array([len(channels) * self._stored(record).itemsize
                           for channels, record in zip(self._channels, self._records, strict=True)], np.int64)
        return Blocks(of_row, where, (where[:, 2] - where[:, 1]) * sample[where[:, 0]])

    def _stored(self, record: Record) -> np.dtype[Any]:
        small = np.dtype(record.dtype).newbyteorder("=") == np.dtype(np.int16)
        return np.dtype(np.int16) if small else self._dtype

    def _view(self, position: int, samples: int, buffer: Bytes) -> NDArray[Any]:
        """A block's buffer as (samples, channels)."""
        dtype, width = self._stored(self._records[position]), len(self._channels[position])
        values = buffer[:samples * width * dtype.itemsize].view(dtype)
        return values.reshape(samples, width) if self._memory == "C" else values.reshape(width, samples).T

    def read_block(self, blocks: Blocks, block: int, buffer: Bytes) -> None:
        """See :meth:`groundswell.data.pool.BlockSource.read_block`."""
        position, low, high = (int(value) for value in blocks.where[block])
        channels = self._channels[position]
        with self._pool.reader(position, self._records[position]) as reader:
            reader.read(low, high, channels.start, channels.stop, self._view(position, high - low, buffer),
                        channels.step)

    def take(self, blocks: Blocks, block: int, buffer: Bytes, row: int, place: int,
             out: Mapping[str, NDArray[Any]]) -> None:
        """See :meth:`groundswell.data.pool.BlockSource.take`."""
        position, begin_block, end_block = (int(value) for value in blocks.where[block])
        begin = int(self._start[row]) - self._margin
        low = max(begin, int(self._low[row]))
        high = min(begin + self._window + 2 * self._margin, int(self._high[row]))
        channels = self._channels[position]
        first, last, width = low - begin, high - begin, len(channels)
        x = out["x"][place]
        x[:first], x[last:], x[first:last, width:] = 0, 0, 0
        values = self._view(position, end_block - begin_block, buffer)
        x[first:last, :width] = values[low - begin_block:high - begin_block]
        out["channels"][place], out["first"][place], out["last"][place] = width, first, last
        out["spacing_m"][place] = (self._records[position].spacing_m or 0.0) * channels.step

    def advise(self, blocks: Blocks, block: int, needed: bool) -> bool:
        """See :meth:`groundswell.data.pool.BlockSource.advise`. Files that fit into memory are never let go of."""
        position, low, high = (int(value) for value in blocks.where[block])
        record = self._records[position]
        index = getattr(self._pool.known(position), "index", None)
        turned = record.axis_order == "channel,time"
        plain = turned or record.axis_order == "time,channel"
        if index is None or not plain or record.detail.get("pieces") or not (needed or self._forgets()):
            return False
        times, channels = range(low, high), self._channels[position]
        return advise(index, channels if turned else times, times if turned else channels, needed)

    def _forgets(self) -> bool:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return sum(record.size_bytes for record in self._records) > FORGET * memory


def pays(records: Sequence[Record], channels: Sequence[range], *, window_samples: int, stride_samples: int) -> bool:
    """Whether windows of these records are worth reading in blocks: a matter of the archive, not of the machine.

    They are where samples are compressed, so that each reading of a chunk costs its decoding; and where windows overlap
    and there are so many samples that the system will not keep them for the next reading.
    """
    if any(compressed(record) for record in records):
        return True
    size = sum(record.samples * len(part) * np.dtype(record.dtype).itemsize
               for record, part in zip(records, channels, strict=True))
    return stride_samples < window_samples and size >= READ_ONCE_BYTES


def compressed(record: Record) -> bool:
    """Whether a record's chunks went through a filter that does more than order or check bytes."""
    words = record.layout.split()
    return words[:1] == ["chunks"] and not _PLAIN.issuperset(words[2:])
