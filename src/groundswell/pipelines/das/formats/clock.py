"""das: when samples were taken: time stamps of any unit into a start, a rate and the gaps between stored pieces."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Piece = tuple[int, int, int]
"""(first sample on the timeline, first sample as stored, length): stored samples that follow without a gap."""

NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_SPELLINGS = {
    "s": "s", "sec": "s", "second": "s", "seconds": "s", "ms": "ms", "millisecond": "ms", "milliseconds": "ms",
    "us": "us", "µs": "us", "microsecond": "us", "microseconds": "us", "ns": "ns", "nanosecond": "ns",
    "nanoseconds": "ns",
}
_EARLIEST_EPOCH_S = 1e8  # March 1973: below it, seconds count from the record's own start
_CLOCK_TOLERANCE = 5e-5  # what a free-running oscillator and rounded time stamps may be off
_MOST_SUSPECTS = 4096
_NEIGHBOURS, _FEWEST = 16, 8


@dataclass(frozen=True)
class Clock:
    """When a record's samples were taken.

    Attributes:
        samples: length of the timeline, gaps included.
        rate_hz: sampling rate; ``None`` if unknown.
        start_time: UTC of the first sample, ``datetime64[ns]``; ``None`` if unknown.
        pieces: where the stored samples lie on the timeline.
        measured_hz: the rate as the time stamps have it, before it was set to the nominal one.
        problem: why the time stamps cannot be used; empty if they can.
    """

    samples: int
    rate_hz: float | None
    start_time: np.datetime64 | None
    pieces: tuple[Piece, ...]
    measured_hz: float | None = None
    problem: str = ""

    @property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """Half-open ranges of the timeline between the pieces."""
        ends = [(start, start + length) for start, _, length in self.pieces]
        return tuple((left[1], right[0]) for left, right in itertools.pairwise(ends) if right[0] > left[1])


def steady(samples: int, rate_hz: float | None, start_time: np.datetime64 | None) -> Clock:
    """A clock without time stamps: every sample follows the one before it."""
    return Clock(samples, rate_hz, start_time, ((0, 0, samples),))


def nominal_rate(measured_hz: float) -> float:
    """The rate, or the inverse of the period, of three significant digits if it is within 50 ppm of ``measured_hz``."""
    candidates = [float(f"{measured_hz:.3g}"), 1 / float(f"{1 / measured_hz:.3g}")]
    best = min(candidates, key=lambda rate: abs(rate - measured_hz))
    return best if abs(best - measured_hz) <= _CLOCK_TOLERANCE * measured_hz else measured_hz


def unit_of(text: str) -> str:
    """The unit of time that ``text`` names: s, ms, us or ns; empty if it names none."""
    words = text.strip().split()
    return _SPELLINGS.get(words[0].lower(), "") if words else ""


def _epoch_unit(value: float) -> str:
    for unit in ("ns", "us", "ms", "s"):
        if abs(value) >= _EARLIEST_EPOCH_S * 1e9 / NANOSECONDS[unit]:
            return unit
    return ""


def _offsets_ns(stamps: NDArray[Any], unit: str) -> NDArray[np.int64]:
    if stamps.dtype.kind in "iu":
        # Unsigned differences would wrap where time runs backwards.
        return (stamps.astype(np.int64) - np.int64(stamps[0])) * NANOSECONDS[unit]
    return np.rint((stamps.astype(np.float64) - float(stamps[0])) * NANOSECONDS[unit]).astype(np.int64)


def _start_time(first: Any, unit: str) -> np.datetime64:
    if isinstance(first, (int, np.integer)):
        return np.datetime64(int(first) * NANOSECONDS[unit], "ns")
    whole = int(np.floor(float(first)))
    return np.datetime64(whole * NANOSECONDS[unit] + round((float(first) - whole) * NANOSECONDS[unit]), "ns")


def _missing_at(offsets: NDArray[np.int64], step: float) -> tuple[list[tuple[int, int]], bool]:
    """``(stored sample, samples missing before it)`` for each gap, and whether time ever runs backwards.

    A single late time stamp is jitter; a gap is a shift that the neighbours share. Within a few samples of either end
    the two cannot be told apart, and jitter is assumed.
    """
    steps = np.diff(offsets)
    suspects = np.flatnonzero((steps > 1.5 * step) | (steps < 0.5 * step)) + 1
    if len(suspects) > _MOST_SUSPECTS:
        overall = (offsets[-1] - offsets[0]) / (len(offsets) - 1)
        return [], abs(overall - step) > 0.01 * step

    def level(first: int, stop: int) -> float:
        place = np.arange(first, stop)
        return float(np.median(offsets[first:stop] - step * place))

    gaps: list[tuple[int, int]] = []
    settled, before = 0, 0.0
    for here in map(int, suspects):
        if not _FEWEST <= here <= len(offsets) - _FEWEST:
            continue
        if here - _NEIGHBOURS >= settled:
            before = level(here - _NEIGHBOURS, here)
        elif not gaps:
            before = level(0, here)
        after = level(here, min(here + _NEIGHBOURS, len(offsets)))
        missing = round((after - before) / step)
        if missing < 0:
            return gaps, True
        if missing:
            gaps.append((here, missing))
            settled, before = here, after
    return gaps, False


def from_stamps(stamps: NDArray[Any], unit: str = "", *, samples: int | None = None) -> Clock:
    """The clock of a record whose samples have time stamps.

    Numbers too small to be a time since 1970 count from the record's own start, which then stays unknown. Whole
    numbers that small without a unit are an index, not a time: nothing is concluded from them.

    Args:
        stamps: one time per stored sample, shape (samples,), real.
        unit: s, ms, us or ns; empty to tell from the size of the numbers.
        samples: stored samples, if the stamps stop short of them (only the stamped ones are kept).
    """
    count = len(stamps) if samples is None else min(samples, len(stamps))
    stamps = stamps[:count]
    if count < 2 or not np.isfinite(stamps[[0, -1]].astype(np.float64)).all():
        return steady(count, None, None)
    epoch = _epoch_unit(float(stamps[0]))
    if not unit and not epoch and stamps.dtype.kind in "iu":
        return steady(count, None, None)
    unit = unit or epoch or "s"
    absolute = abs(float(stamps[0])) * NANOSECONDS[unit] >= _EARLIEST_EPOCH_S * NANOSECONDS["s"]
    start = _start_time(stamps[0], unit) if absolute else None
    offsets = _offsets_ns(stamps, unit)
    return _with_gaps(offsets, start)


def _with_gaps(offsets: NDArray[np.int64], start: np.datetime64 | None) -> Clock:
    count = len(offsets)
    step, measured, gaps, edges = float(np.median(np.diff(offsets))), 0.0, list[tuple[int, int]](), [0, count]
    # Once to find the longest unbroken piece, once more with the step that it has: that of neighbours is too coarse
    # for long gaps where stamps are rounded.
    for _ in range(2):
        gaps, broken = _missing_at(offsets, step) if step > 0 else ([], True)
        edges = [0, *(here for here, _ in gaps), count]
        first, stop = max(itertools.pairwise(edges), key=lambda edge: edge[1] - edge[0])
        if broken or offsets[stop - 1] <= offsets[first]:
            reason = "jump backwards or are irregular" if step > 0 else "do not increase"
            return Clock(count, None, start, ((0, 0, count),), problem=f"its time stamps {reason}")
        measured = 1e9 * (stop - first - 1) / float(offsets[stop - 1] - offsets[first])
        step = 1e9 / nominal_rate(measured)
    pieces, shift = [], 0
    for left, right, missing in zip(edges[:-1], edges[1:], [0, *(missing for _, missing in gaps)], strict=True):
        shift += missing
        pieces.append((left + shift, left, right - left))
    return Clock(count + shift, nominal_rate(measured), start, tuple(pieces), measured)


_ISO = re.compile(r"^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2}(?:\.\d+)?)\s*(?:Z|\(?(?:UTC|GMT)\)?)?\s*"
                  r"(?:([+-])(\d{2}):?(\d{2})?)?$")
_DAY_FIRST = re.compile(r"^(\d{1,2})/(\d{1,2})/(\d{4})\s+(\d{1,2})(:\d{2}:\d{2}(?:\.\d+)?)\s*(?:\(?(?:UTC|GMT)\)?)?$")
_IN_NAME = re.compile(r"(?<!\d)(\d{4})[-_.]?(\d{2})[-_.]?(\d{2})[T _-]?(\d{2})[-_.:h]?(\d{2})[-_.:m]?(\d{2})(?!\d)")


def _instant(text: str) -> np.datetime64 | None:
    try:
        return np.datetime64(text, "ns")
    except ValueError:
        return None


def from_text(text: str) -> np.datetime64 | None:
    """UTC of an ISO 8601 or day-first time, offset applied; ``None`` if it is neither. No offset means UTC."""
    text = text.strip()
    if found := _DAY_FIRST.match(text):
        day, month, year, hour, rest = found.groups()
        return _instant(f"{year}-{int(month):02d}-{int(day):02d}T{int(hour):02d}{rest}")
    found = _ISO.match(text)
    if not found:
        return None
    local = _instant(f"{found[1]}T{found[2]}")
    if local is None or not found[3]:
        return local
    ahead = np.timedelta64(int(found[4]) * 60 + int(found[5] or 0), "m")
    return local - ahead if found[3] == "+" else local + ahead


def from_file_name(name: str) -> np.datetime64 | None:
    """The date and time of day in a file's name, taken as UTC; ``None`` if there is none."""
    for found in _IN_NAME.finditer(name):
        year, month, day, hour, minute, second = found.groups()
        if 1990 <= int(year) <= 2100:
            instant = _instant(f"{year}-{month}-{day}T{hour}:{minute}:{second}")
            if instant is not None:
                return instant
    return None
