"""das: windows of records read straight into the loader's buffers."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.source import Field
from groundswell.data.table import SampleTable
from groundswell.pipelines.das import formats
from groundswell.pipelines.das.blocks import BlockReading
from groundswell.pipelines.das.recipe import Channels
from groundswell.pipelines.das.record import Record, RecordReader
from groundswell.pipelines.das.windows import channels_in_use, segments

OPEN_FILES = 128
"""Files kept open at once; an archive may have more files than a process may open."""


class DasWindowSource(BlockReading):
    """Reads windows, with a margin on both sides, of records of one sampling rate. No file is held in memory.

    Windows that overlap can be read in blocks by a :class:`groundswell.data.pool.BlockPool` about this source.

    Fields of a sample: ``x`` (window_samples + 2 * margin, max_channels), float32, or int16 where every record is; the
    window proper is ``x[margin : margin + window_samples]``. ``channels`` int64: real channels of x, the rest is zero.
    ``first``, ``last`` int64: the real time samples of x are ``[first, last)``, the rest is zero: margins end at gaps
    and at the ends of the record. ``spacing_m`` float32, of the channels delivered, 0 if unknown.

    Where every record is stored as (channel, time), so does ``x`` lie in memory; its axes are the same.

    Args:
        records: what ``record_index`` of the table points into.
        table: windows, as :func:`groundswell.pipelines.das.windows.build_index` makes them.
        window_samples: length of a window.
        margin: samples before and after it that are delivered too, as far as they were recorded.
        channels: half-open range of channels, with a step if three numbers; all when absent.
        max_channels: width of ``x``; the largest number of channels in use when absent.
        open_reader: how a record is opened.

    Raises:
        InputError: a record has more channels in use than ``max_channels``, or a row points outside its record.
    """

    def __init__(self, records: Sequence[Record], table: SampleTable, *, window_samples: int, margin: int = 0,
                 channels: Channels | None = None, max_channels: int | None = None,
                 open_reader: Callable[[Record], RecordReader] = formats.open_reader) -> None:
        self._records = tuple(records)
        self._window, self._margin = window_samples, margin
        self._index = table.column("record_index").to_numpy(np.int64)
        self._start, self._stop = (table.column(c).to_numpy(np.int64) for c in ("start", "stop"))
        self._channels = [channels_in_use(record, channels) for record in self._records]
        widths = np.array([len(part) for part in self._channels], np.int64)
        self._low, self._high = self._limits(table)
        used = widths[np.unique(self._index)]
        self._width = int(max_channels if max_channels is not None else used.max(initial=1))
        if used.max(initial=0) > self._width:
            wide = self._records[int(np.argmax(widths))]
            raise InputError(f"{int(used.max())} channels are in use, but no more than {self._width} are expected",
                             where=wide.path, fix="Choose a range by data.channels")
        types = {np.dtype(r.dtype).newbyteorder("=") for r in self._records}
        self._dtype = np.dtype(np.int16) if types == {np.dtype(np.int16)} else np.dtype(np.float32)
        turned = {r.axis_order for r in self._records} == {"channel,time"}
        self._memory: Literal["C", "F"] = "F" if turned else "C"
        self._pool = _Readers(open_reader)

    def _limits(self, table: SampleTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each row the segment that holds it: margins never reach beyond."""
        low, high = np.full(len(table), -1, np.int64), np.full(len(table), -1, np.int64)
        order = np.argsort(self._index, kind="stable")
        bounds = np.searchsorted(self._index[order], np.arange(len(self._records) + 1))
        for position, record in enumerate(self._records):
            rows = order[bounds[position]:bounds[position + 1]]
            parts = np.array(segments(record) or [(0, 0)], np.int64)
            place = np.searchsorted(parts[:, 0], self._start[rows], side="right") - 1
            inside = (place >= 0) & (self._stop[rows] <= parts[:, 1][place]) & (self._start[rows] < self._stop[rows])
            low[rows] = np.where(inside, parts[:, 0][place], -1)
            high[rows] = np.where(inside, parts[:, 1][place], -1)
        if (low < 0).any() or (self._stop - self._start > self._window).any():
            bad = int(np.argmax((low < 0) | (self._stop - self._start > self._window)))
            raise InputError(f"Samples {self._start[bad]} to {self._stop[bad]} are no window of the record",
                             where=str(table.column("sample_id").iloc[bad]),
                             fix="The sample table belongs to other records, or to other windows; make it again")
        return low, high

    @property
    def fields(self) -> Mapping[str, Field]:
        """See the class."""
        shape = (self._window + 2 * self._margin, self._width)
        return {"x": Field(shape, self._dtype, self._memory), "channels": Field((), np.int64),
                "first": Field((), np.int64), "last": Field((), np.int64), "spacing_m": Field((), np.float32)}

    def __len__(self) -> int:
        return len(self._index)

    def read(self, rows: NDArray[np.int64], out: Mapping[str, NDArray[Any]]) -> None:
        """Read windows, record by record and in the order of time within each. See the class for the fields.

        Raises:
            InputError: a record cannot be read; the message names the file.
        """
        rows = np.asarray(rows, np.int64)
        positions, (begin, low, high) = self._index[rows], self._spans(rows)
        out["first"][:], out["last"][:] = low - begin, high - begin
        order = np.lexsort((self._start[rows], positions))
        for position, group in itertools.groupby(order.tolist(), positions.tolist().__getitem__):
            channels = self._channels[position]
            with self._pool.reader(position, self._records[position]) as reader:
                for place in group:
                    span = int(low[place]), int(high[place])
                    self._read_one(reader, span, channels, out["x"][place], int(out["first"][place]))
                    out["channels"][place] = len(channels)
                    out["spacing_m"][place] = (self._records[position].spacing_m or 0.0) * channels.step

    @staticmethod
    def _read_one(reader: RecordReader, span: tuple[int, int], channels: range, x: NDArray[Any], first: int) -> None:
        """Samples of ``span`` into ``x`` from row ``first`` on, zeros everywhere else."""
        last, width = first + span[1] - span[0], len(channels)
        x[:first], x[last:], x[first:last, width:] = 0, 0, 0
        reader.read(*span, channels.start, channels.stop, x[first:last, :width], channels.step)

    def close(self) -> None:
        """Let go of open files. Reading again reopens them."""
        self._pool.close()


class _Readers:
    """Readers by position, each made once and kept; what they know of their files goes through pickle with them.

    At most ``OPEN_FILES`` of those that nobody uses hold their file open, those used last.
    """

    def __init__(self, open_reader: Callable[[Record], RecordReader]) -> None:
        self._open_reader = open_reader
        self._made: dict[int, RecordReader] = {}
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._users: OrderedDict[int, int] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {"_open_reader": self._open_reader, "_made": dict(self._made)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def known(self, position: int) -> RecordReader | None:
        """The reader of a record if it has been made."""
        return self._made.get(position)

    @contextmanager
    def reader(self, position: int, record: Record) -> Iterator[RecordReader]:
        """The reader of a record, open for as long as the block lasts."""
        with self._lock:
            reader = self._made.get(position)
            if reader is None:
                reader = self._made[position] = self._open_reader(record)
            self._users[position] = self._users.get(position, 0) + 1
            self._users.move_to_end(position)
        try:
            yield reader
        finally:
            with self._lock:
                self._users[position] -= 1
                self._close_surplus(OPEN_FILES)

    def close(self) -> None:
        """Close every file that nobody reads now; the others are closed when they come back surplus."""
        with self._lock:
            self._close_surplus(0)

    def _close_surplus(self, keep: int) -> None:
        surplus = len(self._users) - keep
        if surplus > 0:
            for position in [p for p, users in self._users.items() if not users][:surplus]:
                del self._users[position]
                self._made[position].close()
