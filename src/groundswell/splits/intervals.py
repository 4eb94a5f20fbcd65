"""splits: when samples are, and which of them lie near which: by time, and by place within a record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable

US_PER_DAY = 86_400_000_000
_NEVER, _ALWAYS = np.iinfo(np.int64).max, np.iinfo(np.int64).min


def microseconds(days: float) -> int:
    """Days as whole microseconds."""
    return round(days * US_PER_DAY)


@dataclass(frozen=True)
class Intervals:
    """Stretches [start, stop) of samples on one line of numbers, ascending by start and then by stop.

    Attributes:
        rows: their rows in the table, int64, shape (m,).
        start: int64, shape (m,).
        stop: int64, shape (m,), nowhere less than ``start``.
        samples: rows of the table.
    """

    rows: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    samples: int

    @classmethod
    def of_records(cls, table: SampleTable) -> Intervals:
        """Columns ``start`` and ``stop`` (positions within the record), records one after another on the line.

        Samples that lack one of them, are empty or belong to no record are left out.
        """
        record = table.column("record")
        frame = pd.DataFrame({"start": table.column("start"), "stop": table.column("stop")})
        usable = frame.notna().all(axis=1).to_numpy() & (record != "").to_numpy()
        usable[usable] &= (frame["stop"][usable] > frame["start"][usable]).to_numpy(bool)
        rows = np.flatnonzero(usable)
        codes = pd.factorize(record.iloc[rows])[0]
        # Ranks instead of positions: they order alike, and a record's code times their number cannot overflow.
        edges = np.concatenate([frame["start"].iloc[rows].to_numpy(), frame["stop"].iloc[rows].to_numpy()])
        values, ranks = np.unique(edges, return_inverse=True)
        base = codes.astype(np.int64) * (len(values) + 1)
        return cls._sorted(rows, base + ranks[:len(rows)], base + ranks[len(rows):], len(table))

    @classmethod
    def of_times(cls, table: SampleTable) -> Intervals:
        """Columns ``time`` and, where there, ``time_end``, in microseconds since 1970, whatever the record.

        Samples without a time are left out. One without an end is a moment.

        Raises:
            InputError: there is no column ``time``, an end cannot be read, or it comes before its start.
        """
        begin = table.column("time")
        end = _ends(table) if table.has("time_end") else begin
        usable = begin.notna().to_numpy()
        start, stop = _microseconds(begin), _microseconds(end.fillna(begin))
        early = np.flatnonzero(usable & (stop < start))
        if len(early):
            raise InputError(f"{len(early)} sample(s) end before they start, first "
                             f"'{table.column('sample_id')[early[0]]}'", where="columns 'time' and 'time_end'")
        rows = np.flatnonzero(usable)
        return cls._sorted(rows, start[rows], stop[rows], len(table))

    @classmethod
    def _sorted(cls, rows: NDArray[np.int64], start: NDArray[np.int64], stop: NDArray[np.int64],
                samples: int) -> Intervals:
        ascending = np.lexsort((stop, start))
        return cls(rows[ascending].astype(np.int64), start[ascending], stop[ascending], samples)

    def __len__(self) -> int:
        return len(self.rows)

    def furthest(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """How far the ``chosen`` ones (shape (m,)) up to each place reach, shape (m,); the least int64 before any."""
        return np.maximum.accumulate(np.where(chosen, self.stop, _ALWAYS))

    def near(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which samples of the table cut into one of the ``chosen`` rows of it (both of shape (samples,))."""
        mine = chosen[self.rows]
        following = np.minimum.accumulate(np.where(mine, self.start, _NEVER)[::-1])[::-1]
        marked = np.zeros(self.samples, bool)
        marked[self.rows[(self.furthest(mine) > self.start) | (following < self.stop)]] = True
        return marked


def _microseconds(times: pd.Series[pd.Timestamp]) -> NDArray[np.int64]:
    return np.asarray(times.dt.tz_localize(None), "datetime64[us]").astype(np.int64)


def _ends(table: SampleTable) -> pd.Series[pd.Timestamp]:
    try:
        return pd.to_datetime(table.column("time_end"), utc=True, format="ISO8601")
    except (TypeError, ValueError) as error:
        raise InputError(f"A time cannot be read: {str(error).partition('.')[0]}", where="column 'time_end'",
                         fix="Write times as 2022-09-01T08:00:00Z") from error
