"""Makers of sample tables for the tests of splits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.data.table import SampleTable

CLASSES = ("earthquake", "quarry_blast", "noise")


def make_table(kinds: Sequence[int | None], *, windows: int = 6, event_windows: int = 2,
               noise: bool = True) -> SampleTable:
    """One record and group for each of ``kinds`` (a class, or None for one without labels): ``windows`` overlapping
    windows, of which the first ``event_windows`` hold the event and the others noise (or no label)."""
    rows = []
    for index, kind in enumerate(kinds):
        for window in range(windows):
            label = kind if window < event_windows or kind is None else (2 if noise else None)
            rows.append({"sample_id": f"rec{index:03d}:{window * 512}", "record": f"rec{index:03d}", "label": label,
                         "group": f"group{index:03d}", "event": f"ev{index}" if kind in (0, 1) else "",
                         "start": window * 512, "stop": window * 512 + 1024, "content": f"{index}/{window}"})
    return SampleTable(pd.DataFrame(rows), CLASSES)


DAY_MINUTES = 1440


def make_timed_table(events: Sequence[tuple[float, int, Sequence[int]]], *, length_days: Sequence[float] = (2.0,),
                     records: str = "event") -> SampleTable:
    """A window for each event (its day, its label, the stations that recorded it) and station, of lengths that take
    turns; a record is the whole of a station, or what it recorded of one event."""
    rows = []
    for index, (day, label, stations) in enumerate(events):
        for station in stations:
            name, length = f"ev{index:04d}", length_days[len(rows) % len(length_days)]
            start = round(day * DAY_MINUTES)
            rows.append({"sample_id": f"{name}-{station}", "label": label, "group": name, "event": name,
                         "station": f"st{station}", "content": f"{name}/{station}", "start": start,
                         "record": f"st{station}" + (f"/{name}" if records == "event" else ""),
                         "stop": start + round(length * DAY_MINUTES)})
    frame = pd.DataFrame(rows)
    begin = pd.Timestamp("2003-01-01", tz="UTC")
    frame["time"] = begin + pd.to_timedelta(frame["start"], unit="min")
    frame["time_end"] = begin + pd.to_timedelta(frame["stop"], unit="min")
    return SampleTable(frame, ("control", "event"), origin={"continuous_records": records == "station"})


def gaps_days(table: SampleTable) -> NDArray[np.float64]:
    """From the end of one sample to the start of the other that begins later, the plain way; shape (n, n)."""
    start, end = ((table.column(name) - pd.Timestamp("2003-01-01", tz="UTC")).dt.total_seconds().to_numpy() / 86400
                  for name in ("time", "time_end"))
    first = (start[:, None] < start) | ((start[:, None] == start) & (end[:, None] <= end))
    return np.where(first, start - end[:, None], start[:, None] - end)
