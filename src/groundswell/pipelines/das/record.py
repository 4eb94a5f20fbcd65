"""das: what a record is: one two-dimensional array of strain (or strain rate) found in a file, and how it is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

AxisOrder = Literal["time,channel", "channel,time", "block,time,channel", "time", ""]


@dataclass(frozen=True)
class Record:
    """Facts of one array. Anything the file does not say is ``None`` (or empty), never invented.

    Attributes:
        path: the file.
        dataset: path of the array inside it (HDF5), or an identifier (SEED id); empty where the file is one array.
        format: e.g. ``"hdf5"``, ``"febus"``, ``"prodml"``, ``"silixa"``, ``"optodas"``, ``"miniseed"``.
        samples: time samples after removal of block overlap.
        channels: positions along the fibre.
        rate_hz: sampling rate.
        spacing_m: channel spacing.
        gauge_m: gauge length.
        start_time: UTC, ``datetime64[ns]``.
        axis_order: order of the array's axes in the file.
        axis_order_known: ``"metadata"`` or ``"guess"``.
        dtype: numpy name of the stored type, byte order included where not native.
        units: as the file says.
        kind: ``"waveform"``, ``"spectrum"``, ``"band energy"``, ``"label map"``, ... ; only waveforms are trained on.
        layout: e.g. ``"contiguous"``, ``"chunks 512x1000 gzip"``.
        gaps: half-open sample ranges ``(start, stop)`` within which nothing was recorded.
        verdict: ``"ok"``, or the reason why the record is not used for training.
        size_bytes, modified_ns: of the file, to notice that it was replaced.
        detail: format-specific facts the reader needs (block overlap, time attributes), JSON-able.
    """

    path: Path
    dataset: str
    format: str
    samples: int
    channels: int
    rate_hz: float | None
    spacing_m: float | None
    gauge_m: float | None
    start_time: np.datetime64 | None
    axis_order: AxisOrder
    axis_order_known: Literal["metadata", "guess", ""]
    dtype: str
    units: str
    kind: str
    layout: str
    gaps: tuple[tuple[int, int], ...]
    verdict: str
    size_bytes: int
    modified_ns: int
    detail: dict[str, Any]

    @property
    def duration_s(self) -> float | None:
        """Length in seconds, where the rate is known."""
        return self.samples / self.rate_hz if self.rate_hz else None


class RecordReader(Protocol):
    """Reads pieces of one record. Opened lazily, safe to call from several threads, picklable while closed."""

    record: Record

    def read(self, start: int, stop: int, channel_start: int, channel_stop: int, out: NDArray[Any],
             channel_step: int = 1) -> None:
        """Copy time samples ``[start, stop)`` of channels ``range(channel_start, channel_stop, channel_step)``.

        Args:
            start: first time sample; ``0 <= start < stop <= record.samples``.
            stop: one past the last.
            channel_start: first channel.
            channel_stop: one past the last.
            out: shape (stop - start, channels), any real dtype and strides; (time, channel) always, whatever the file's
                order. It is fastest where ``out`` lies in memory as the file does.
            channel_step: 1 for every channel, 2 for every other one, and so on.

        Raises:
            InputError: the file is gone, damaged, shorter than its record says, or was replaced.
        """
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...
