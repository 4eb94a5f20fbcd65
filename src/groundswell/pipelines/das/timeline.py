"""das: records laid end to end: uninterrupted sections of one cable, read as one stream whatever files they lie in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise, takewhile

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.das.record import Record, RecordReader

Opener = Callable[[Record], RecordReader]
_COMPARED_SAMPLES = 64
_CLOCK_TOLERANCE = 5e-5  # what an instrument's oscillator may be off its nominal rate
_TIME_IN_NAME = re.compile(r"\d{4}[-_]\d{2}[-_]\d{2}T[\d_.:-]+")


@dataclass(frozen=True)
class Piece:
    """Time samples ``[start, stop)`` of one record."""

    record: Record
    start: int
    stop: int


@dataclass(frozen=True)
class Section:
    """An uninterrupted stretch of one cable.

    Attributes:
        pieces: what it consists of, in order.
        rate_hz: sampling rate.
        start_time: UTC of its first sample, ``None`` where no file says.
    """

    pieces: tuple[Piece, ...]
    rate_hz: float
    start_time: np.datetime64 | None

    @property
    def samples(self) -> int:
        """Length in time samples."""
        return sum(p.stop - p.start for p in self.pieces)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.samples / self.rate_hz

    def place(self, sample: int) -> tuple[Record, int]:
        """The record, and the sample in it, of one sample of the section (of its last one, if beyond)."""
        for piece in self.pieces:
            if sample < piece.stop - piece.start:
                return piece.record, piece.start + sample
            sample -= piece.stop - piece.start
        return self.pieces[-1].record, self.pieces[-1].stop - 1


@dataclass(frozen=True)
class Gap:
    """Time between two sections of a cable in which nothing was recorded.

    Attributes:
        start_time: UTC of the first missing sample, ``None`` where unknown.
        duration_s: how long it lasts.
        after: name of the file it follows (or lies in).
    """

    start_time: np.datetime64 | None
    duration_s: float
    after: str


@dataclass
class Cable:
    """All sections of one cable, in the order of time.

    Attributes:
        name: file name (and array) of its first record.
        channels: positions along the fibre.
        spacing_m: channel spacing, ``None`` if unknown.
        sections: uninterrupted stretches.
        gaps: what lies between them.
        notes: what a person should know: duplicated stretches that were left out.
    """

    name: str
    channels: int
    spacing_m: float | None
    sections: list[Section] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def duration_s(self) -> float:
        """Length of what was recorded, in seconds."""
        return sum(s.duration_s for s in self.sections)


def after(start_time: np.datetime64, samples: float, rate_hz: float) -> np.datetime64:
    """The time ``samples`` after ``start_time``, to the nanosecond."""
    return start_time + np.timedelta64(round(samples / rate_hz * 1e9), "ns")


def recorded_ranges(record: Record) -> list[tuple[int, int]]:
    """Half-open sample ranges of a record between its gaps."""
    ranges, at = [], 0
    for start, stop in sorted(record.gaps):
        if start > at:
            ranges.append((at, start))
        at = max(at, stop)
    if at < record.samples:
        ranges.append((at, record.samples))
    return ranges


class PieceStream:
    """Pieces of one or more records as one stream. One file is open at a time.

    Args:
        pieces: what to read, in order; all of the same number of channels.
        opener: makes a reader for a record.
        channels: half-open range of channels; all when absent.

    Attributes:
        piece_at_fault: after a read that raised, the position of the piece that could not be read.

    Raises:
        InputError: the range of channels does not exist, or the pieces differ in channels.
    """

    def __init__(self, pieces: Sequence[Piece], opener: Opener, channels: tuple[int, int] | None = None) -> None:
        width = pieces[0].record.channels
        if any(p.record.channels != width for p in pieces):
            raise InputError("Records with different numbers of channels cannot be read as one",
                             where=pieces[0].record.path)
        first, last = channels if channels is not None else (0, width)
        if not 0 <= first < last <= width:
            raise InputError(f"There are no channels {first} to {last}: the record has {width}",
                             where=pieces[0].record.path, fix=f"Choose a range within 0 to {width}")
        self._pieces, self._opener, self._first, self._last = tuple(pieces), opener, first, last
        self._offsets = np.cumsum([0, *(p.stop - p.start for p in pieces)])
        self._open: tuple[Record, RecordReader] | None = None
        self.piece_at_fault: int | None = None

    @property
    def samples(self) -> int:
        return int(self._offsets[-1])

    @property
    def channels(self) -> int:
        return self._last - self._first

    def read(self, start: int, stop: int, out: NDArray[np.float32]) -> None:
        """See :class:`groundswell.deploy.streaming.Stream`."""
        index = int(np.searchsorted(self._offsets, start, side="right")) - 1
        at = start
        while at < stop:
            piece, offset = self._pieces[index], int(self._offsets[index])
            end = min(stop, int(self._offsets[index + 1]))
            self.piece_at_fault = index
            self._reader(piece.record).read(piece.start + at - offset, piece.start + end - offset, self._first,
                                            self._last, out[at - start : end - start])
            self.piece_at_fault = None
            at, index = end, index + 1

    def _reader(self, record: Record) -> RecordReader:
        if self._open is None or self._open[0] is not record:
            self.close()
            self._open = record, self._opener(record)
        return self._open[1]

    def close(self) -> None:
        """Let go of the file."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


def cables_of(records: Iterable[Record], opener: Opener) -> list[Cable]:
    """Lay records end to end.

    Records belong to one cable if they agree in format, array, channels, spacing, gauge length, units and sampling
    rate, and one starts within half a sample of another's end or later. Where two overlap and hold the same values, the
    overlap is used once; where the values differ, they are two cables. A record without a start time is a cable of its
    own.

    Args:
        records: waveforms of known sampling rate.
        opener: makes a reader for a record, to compare overlapping values.
    """
    found: list[Cable] = []
    kinds: dict[tuple[object, ...], list[_Row]] = {}
    for record in sorted(records, key=_by_time):
        if record.start_time is None:
            found.append(_cable([Piece(record, 0, record.samples)], []))
            continue
        rows = kinds.setdefault(_kind(record), [])
        # Of cables alike in everything, the one whose last file is named most alike comes first.
        alike = sorted(rows, key=partial(_alike, record))
        if not any(row.append(record, opener) for row in alike):
            rows.append(_Row(record))
    found += [_cable(row.pieces, row.notes) for rows in kinds.values() for row in rows]
    return sorted(found, key=lambda c: c.name)


def _alike(record: Record, row: _Row) -> int:
    pairs = zip(str(record.path), str(row.last.path), strict=False)
    return -sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


class _Row:
    """Pieces of one cable in the order of time, as they are found."""

    def __init__(self, record: Record) -> None:
        self.pieces = [Piece(record, 0, record.samples)]
        self.last = record
        self.notes: list[str] = []

    def append(self, record: Record, opener: Opener) -> bool:
        """Put a record at the end, if it belongs there."""
        excess = (_end_ns(self.last) - _start_ns(record)) * 1e-9 * _rate(record)
        # A clock that runs a little slow makes files seem to overlap by what it is off.
        overlap = 0 if excess <= 0.5 + _CLOCK_TOLERANCE * self.last.samples else round(excess)
        if overlap and not _same_values(self.last, record, overlap, opener):
            return False
        if overlap >= record.samples:
            self.notes.append(f"{record.path.name} repeats {self.last.path.name} and was left out")
            return True
        if overlap:
            self.notes.append(f"the first {overlap} samples of {record.path.name} repeat the end of "
                              f"{self.last.path.name} and were used once")
        self.pieces.append(Piece(record, overlap, record.samples))
        self.last = record
        return True


def _by_time(record: Record) -> tuple[int, str, str]:
    return (0 if record.start_time is None else _start_ns(record), str(record.path), record.dataset)


def _kind(record: Record) -> tuple[object, ...]:
    # Some formats write the time into the array's name.
    array = _TIME_IN_NAME.sub("", record.dataset)
    return (record.format, array, record.channels, record.spacing_m, record.gauge_m, record.units, record.rate_hz)


def _rate(record: Record) -> float:
    if record.rate_hz is None:
        raise InputError("The record does not say its sampling rate", where=record.path)
    return record.rate_hz


def _start_ns(record: Record) -> int:
    assert record.start_time is not None
    return int(record.start_time.astype("datetime64[ns]").astype(np.int64))


def _end_ns(record: Record) -> int:
    rate_hz = record.detail.get("measured_hz") or _rate(record)
    return _start_ns(record) + round(record.samples / rate_hz * 1e9)


def _same_values(earlier: Record, later: Record, overlap: int, opener: Opener) -> bool:
    length = min(overlap, later.samples, _COMPARED_SAMPLES)
    start = earlier.samples - overlap
    if start < 0:
        return False
    values = []
    for record, at in ((earlier, start), (later, 0)):
        reader = opener(record)
        try:
            out = np.empty((length, record.channels), np.float32)
            reader.read(at, at + length, 0, record.channels, out)
        finally:
            reader.close()
        values.append(out)
    return bool(np.array_equal(values[0], values[1], equal_nan=True))


def _cable(row: list[Piece], notes: list[str]) -> Cable:
    """Cut a row of pieces into sections at its gaps, those between files and those within them."""
    first = row[0].record
    name = first.path.name + (f"#{first.dataset}" if first.dataset else "")
    cable = Cable(name, first.channels, first.spacing_m, notes=notes)
    whole: list[Piece] = []
    for piece in row:
        whole += [Piece(piece.record, max(a, piece.start), b) for a, b in recorded_ranges(piece.record)
                  if b > piece.start]
    if not whole:
        return cable
    run = [whole[0]]
    for piece, following in pairwise(whole):
        missing_s = _missing_s(piece, following)
        if missing_s > 0.5 / _rate(first):
            cable.sections.append(_section(run))
            cable.gaps.append(Gap(_time_of(piece, piece.stop), missing_s, piece.record.path.name))
            run = []
        run.append(following)
    cable.sections.append(_section(run))
    return cable


def _section(run: list[Piece]) -> Section:
    return Section(tuple(run), _rate(run[0].record), _time_of(run[0], run[0].start))


def _time_of(piece: Piece, sample: int) -> np.datetime64 | None:
    start = piece.record.start_time
    return None if start is None else after(start, sample, _rate(piece.record))


def _missing_s(piece: Piece, following: Piece) -> float:
    if following.record is piece.record:
        return (following.start - piece.stop) / _rate(piece.record)
    rest_s = (piece.record.samples - piece.stop) / _rate(piece.record)  # 0 unless the record ends with a gap
    begin_s = following.start / _rate(following.record)
    return (_start_ns(following.record) - _end_ns(piece.record)) * 1e-9 + rest_s + begin_s
