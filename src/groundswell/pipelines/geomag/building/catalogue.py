"""geomag: earthquake catalogues (CSV of several layouts, QuakeML 1.2), read into one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from groundswell.core.errors import InputError
from groundswell.data.catalogue import find_columns, plain_name, read_delimited, take_columns, utc_times
from groundswell.data.quakeml import facts_of, parse_events
from groundswell.data.sphere import great_circle_km
from groundswell.pipelines.geomag.building.minutes import east_of_greenwich
from groundswell.pipelines.geomag.building.packed import contents

COLUMNS = ("event_id", "time", "latitude", "longitude", "depth_km", "magnitude")
"""Of a catalogue: text; UTC; degrees (longitude -180 to 180); km, NaN where unknown; and of whatever scale."""

_CALLED = {
    "event_id": ("id", "event_id", "eventid", "#eventid", "public_id"),
    "time": ("time", "origin_time", "origintime", "datetime", "date_time", "utc"),
    "date": ("date",),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "long"),
    "depth_km": ("depth", "depth_km", "depth/km"),
    "magnitude": ("mag", "magnitude", "mw", "ml"),
    "kind": ("type", "kind", "event_type", "eventtype"),
}
_EARTHQUAKE = ("", "earthquake", "eq", "not reported", "not existing")
_SAME_S, _SAME_KM = 30.0, 100.0


@dataclass(frozen=True)
class Catalogue:
    """Earthquakes in the order of time.

    Attributes:
        events: a frame with ``COLUMNS``; ids are unique.
        dropped: how many entries were left out, by reason.
    """

    events: pd.DataFrame
    dropped: dict[str, int]


def read_catalogues(paths: Sequence[str | Path]) -> Catalogue:
    """Read catalogues and join them.

    Only earthquakes are kept (other kinds are counted), with a time, a place and a magnitude. Of entries of different
    catalogues within 30 s and 100 km of each other, the first catalogue's is kept.

    Raises:
        InputError: missing, unreadable, without the needed columns, with a time that is none, or without earthquakes.
    """
    frames: list[pd.DataFrame] = []
    dropped: dict[str, int] = {}
    for path in map(Path, paths):
        if not path.is_file():
            raise InputError("There is no such catalogue", where=path)
        for name, data in contents(path):
            frame = _checked(_parse(name, data), name, dropped)
            frames.append(_without_known(frames, frame, dropped))
    events = pd.concat(frames, ignore_index=True).sort_values("time", kind="stable", ignore_index=True)
    if events.empty:
        raise InputError("There are no earthquakes in the catalogue", where=", ".join(map(str, paths)))
    nameless = events["event_id"] == ""
    events.loc[nameless, "event_id"] = events["time"][nameless].dt.strftime("event-%Y%m%dT%H%M%S")
    again = events.groupby("event_id").cumcount()
    events["event_id"] = events["event_id"].where(again == 0, events["event_id"] + "-" + (again + 1).astype(str))
    return Catalogue(events[list(COLUMNS)], dropped)


def _parse(where: str, data: bytes) -> pd.DataFrame:
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return pd.DataFrame(_quakeml(where, data), columns=[*COLUMNS, "kind"])
    return _text(where, data)


def _text(where: str, data: bytes) -> pd.DataFrame:
    raw = read_delimited(data, where)
    found = find_columns(raw.columns, _CALLED)
    lacking = [c for c in ("latitude", "longitude", "magnitude") if found[c] is None]
    if found["time"] is None and found["date"] is None:
        lacking.insert(0, "time")
    if lacking:
        raise InputError(f"The catalogue has no column for {', '.join(lacking)}; it has "
                         f"{', '.join(dict.fromkeys(map(plain_name, raw.columns)))}", where=where,
                         fix="Call them time (or date and time), latitude, longitude, depth, mag, id and type")
    frame = pd.DataFrame({name: column.str.strip() for name, column in take_columns(raw, found).items()})
    if found["date"] is not None:
        frame["time"] = _joined_times(frame["date"], frame["time"])
    return frame.drop(columns="date")


def _joined_times(date: pd.Series[Any], time: pd.Series[Any]) -> pd.Series[Any]:
    """A date and a time of day as ISO 8601. Slashes put the month first, as the USGS does; where either column holds
    the whole, as a few entries of one known catalogue do, that is taken."""
    parts = date.str.extract(r"^(\d{1,2})/(\d{1,2})/(\d{4})$")
    written = parts[2] + "-" + parts[0].str.zfill(2) + "-" + parts[1].str.zfill(2)
    day = written.where(written.notna(), date)
    whole = day.where(day.str.contains(r"\d[T ]\d"), time.where(time.str.contains(r"\d[T ]\d")))
    clock = time.where(time != "", "00:00:00")
    return whole.where(whole.notna(), day + "T" + clock).where(date != "", time)


def _checked(frame: pd.DataFrame, where: str, dropped: dict[str, int]) -> pd.DataFrame:
    """The earthquakes of one catalogue, complete and typed."""
    kind = frame["kind"].fillna("").str.strip().str.lower()
    earthquake = kind.isin(_EARTHQUAKE)
    for name, count in kind[~earthquake].value_counts().items():
        dropped[str(name)] = dropped.get(str(name), 0) + int(count)
    frame = frame[earthquake].copy()
    frame["time"] = utc_times(frame["time"], where, "Write times as 2022-09-01T08:15:30Z, or dates as month/day/year "
                                                    "beside a time")
    for column in ("latitude", "longitude", "depth_km", "magnitude"):
        frame[column] = pd.to_numeric(frame[column], errors="coerce").astype("float64")
    placed = frame["latitude"].between(-90, 90) & frame["longitude"].between(-360, 360)
    complete = placed & frame["magnitude"].notna() & frame["time"].notna()
    if not complete.all():
        dropped["without time, place or magnitude"] = dropped.get("without time, place or magnitude", 0) + int(
            (~complete).sum())
    frame = frame[complete].copy()
    frame["longitude"] = frame["longitude"].map(east_of_greenwich)
    frame["event_id"] = frame["event_id"].fillna("").astype(str).str.strip()
    return frame[list(COLUMNS)]


def _without_known(before: Sequence[pd.DataFrame], frame: pd.DataFrame, dropped: dict[str, int]) -> pd.DataFrame:
    """What of a further catalogue the ones before it do not list."""
    known = pd.concat(before) if before else frame[:0]
    if known.empty or frame.empty:
        return frame
    known = known.sort_values("time", kind="stable")
    seconds = known["time"].to_numpy("datetime64[ns]").astype(np.int64) / 1e9
    places = known[["latitude", "longitude"]].to_numpy()
    own = frame["time"].to_numpy("datetime64[ns]").astype(np.int64) / 1e9
    first, last = np.searchsorted(seconds, own - _SAME_S), np.searchsorted(seconds, own + _SAME_S, side="right")
    twice = np.zeros(len(frame), bool)
    for i in np.flatnonzero(first < last):
        near = places[first[i]:last[i]]
        site = (float(frame["latitude"].iloc[i]), float(frame["longitude"].iloc[i]))
        twice[i] = (great_circle_km(near[:, 0], near[:, 1], site) <= _SAME_KM).any()
    if twice.any():
        dropped["listed twice"] = dropped.get("listed twice", 0) + int(twice.sum())
    return frame[~twice]


def _quakeml(where: str, data: bytes) -> list[dict[str, Any]]:
    """Events of QuakeML; the preferred origin and magnitude, or else the first."""
    rows: list[dict[str, Any]] = [dict(facts_of(event)) for event in parse_events(data, where=where, extra="geomag")]
    for row in rows:
        row["depth_km"] = pd.to_numeric(row.pop("depth_m") or "nan", errors="coerce") / 1000
    return rows
