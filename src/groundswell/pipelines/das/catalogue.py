"""das: event catalogues (CSV, QuakeML): read to make intervals of records, written for what was detected."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path
from groundswell.data.catalogue import find_columns, read_delimited, take_columns, utc_times
from groundswell.data.sphere import great_circle_km
from groundswell.pipelines.das.labels import NOISE, label_of
from groundswell.pipelines.das.quakeml import parse_quakeml, quakeml_of
from groundswell.pipelines.das.record import Record

COLUMNS = ("event_id", "time", "latitude", "longitude", "depth_km", "magnitude", "kind", "start", "stop")
"""Of a catalogue: origin ``time``, ``start`` and ``stop`` in UTC; degrees; km; any but event_id may be missing."""

INTERVAL_COLUMNS = ("record", "start", "stop", "label", "event_id")

_CALLED = {
    "event_id": ("event_id", "eventid", "#eventid", "id", "event", "public_id"),
    "time": ("time", "origin_time", "origintime", "datetime", "date_time", "utc"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "long"),
    "depth_km": ("depth_km", "depth", "depth/km"),
    "magnitude": ("magnitude", "mag", "ml", "mw"),
    "kind": ("kind", "type", "event_type", "eventtype", "class", "label", "classe"),
    "start": ("start", "start_time", "onset", "p_time"),
    "stop": ("stop", "end", "end_time", "stop_time"),
    "duration_s": ("duration_s", "duration"),
}
_QUAKEML = (".xml", ".qml", ".quakeml")
_WRITE_TIMES = "Write times as 2022-09-01T08:15:30.25Z"


@dataclass(frozen=True)
class ArrivalRule:
    """When an event is in a record.

    An event that says when it starts and stops is believed. Otherwise, where the event has a place and ``site`` is
    given, waves travel straight from the hypocentre: from the P arrival to ``after_s`` beyond the S arrival. Otherwise
    it lasts for ``duration_s`` from its origin time.

    Attributes:
        site: latitude and longitude of the fibre, in degrees.
        p_km_s, s_km_s: velocities; the defaults are those of the upper crust, vp/vs = 1.73.
        before_s: time added before the beginning, for errors of catalogue and clock.
        after_s: time after the S arrival (or the last pick) for surface waves and coda.
        duration_s: length of an event of which only the time is known.
    """

    site: tuple[float, float] | None = None
    p_km_s: float = 6.0
    s_km_s: float = 3.46
    before_s: float = 1.0
    after_s: float = 20.0
    duration_s: float = 60.0


@dataclass(frozen=True)
class CatalogueIntervals:
    """Intervals made from a catalogue.

    Attributes:
        frame: an interval table: record, start and stop (s from the record's start), label (name), event_id. Records in
            which no event lies have one row, "noise", without start and stop.
        outside: ids of events that lie in no record.
        unknown: ids of events whose kind is none of the classes; they are in no interval, and the records that they lie
            in are not called noise.
        untimed: keys of records without a start time or rate; they are not in the table.
    """

    frame: pd.DataFrame
    outside: tuple[str, ...]
    unknown: tuple[str, ...]
    untimed: tuple[str, ...]


def read_catalogue(path: Path) -> pd.DataFrame:
    """Read a catalogue: QuakeML (.xml, .qml, .quakeml), or text with a header (comma, semicolon, tab or ``|``).

    Returns:
        A frame with ``COLUMNS``; times are ``datetime64[ns, UTC]``, what is not known is NaN, NaT or empty text.

    Raises:
        InputError: unreadable, or an event has neither an origin time nor a start.
    """
    path = Path(path)
    data = _content(path)
    if path.suffix.lower() in _QUAKEML:
        frame = pd.DataFrame(parse_quakeml(data, path), columns=list(COLUMNS))
    else:
        frame = _parse_text(data, path)
    for column in ("time", "start", "stop"):
        frame[column] = utc_times(frame[column], path, _WRITE_TIMES)
    for column in ("latitude", "longitude", "depth_km", "magnitude"):
        frame[column] = pd.to_numeric(frame[column], errors="coerce").astype("float64")
    lost = frame["time"].isna() & frame["start"].isna()
    if lost.any():
        raise InputError("An event has neither an origin time nor a start",
                         where=f"{path}, event {int(lost.argmax()) + 1}")
    for column in ("event_id", "kind"):
        frame[column] = frame[column].fillna("").astype(str).str.strip()
    nameless = frame["event_id"] == ""
    frame.loc[nameless, "event_id"] = [t.strftime("event-%Y%m%dT%H%M%S.%f")[:-3]
                                       for t in frame["time"].fillna(frame["start"])[nameless]]
    return frame


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError("There is no such catalogue", where=path) from error
    except OSError as error:
        raise InputError(f"The catalogue cannot be read: {error.strerror}", where=path) from error


def _parse_text(data: bytes, path: Path) -> pd.DataFrame:
    raw = read_delimited(data, path)
    found = find_columns(raw.columns, _CALLED)
    if found["time"] is None and found["start"] is None:
        raise InputError(f"The catalogue has no column of times; it has {', '.join(map(str, raw.columns))}", where=path,
                         fix="Call the origin time 'time', or give 'start' and 'stop'")
    frame = take_columns(raw, found)
    duration_s = pd.to_numeric(frame.pop("duration_s"), errors="coerce")
    begin = utc_times(frame["start"].where(frame["start"] != "", frame["time"]), path, _WRITE_TIMES)
    implied = (begin + pd.to_timedelta(duration_s, unit="s")).where(frame["stop"] == "")
    frame["start"] = frame["start"].where(implied.isna(), begin.map(_iso))
    frame["stop"] = frame["stop"].where(implied.isna(), implied.map(_iso))
    return frame[list(COLUMNS)]


def _iso(time: Any) -> str:
    return "" if time is pd.NaT or pd.isna(time) else time.isoformat()


def arrivals(catalogue: pd.DataFrame, rule: ArrivalRule) -> pd.DataFrame:
    """When each event begins and ends at the fibre, as columns ``start`` and ``stop`` (UTC, ``datetime64[ns]``).

    See :class:`ArrivalRule`. Distances are great circles on a sphere of 6371 km and depth, joined as a right triangle:
    within 1 % of the true path to 500 km, which is less than the velocities are known to.
    """
    origin = catalogue["time"].fillna(catalogue["start"])
    begin, end = origin.copy(), origin + pd.Timedelta(seconds=rule.duration_s)
    if rule.site is not None:
        along_km = great_circle_km(catalogue["latitude"].to_numpy(), catalogue["longitude"].to_numpy(), rule.site)
        distance_km = pd.Series(np.hypot(along_km, catalogue["depth_km"].fillna(0.0).to_numpy()), catalogue.index)
        placed = distance_km.notna() & catalogue["time"].notna()
        p, s = (pd.to_timedelta((distance_km / v).where(placed), unit="s") for v in (rule.p_km_s, rule.s_km_s))
        begin = begin.where(~placed, origin + p)
        end = end.where(~placed, origin + s + pd.Timedelta(seconds=rule.after_s))
    picked = catalogue["start"].notna()
    stopped = catalogue["stop"].notna()
    begin = begin.where(~picked, catalogue["start"])
    end = end.where(~stopped, catalogue["stop"])
    end = end.where(stopped | ~picked | (end > begin), begin + pd.Timedelta(seconds=rule.duration_s))
    # Start and stop that are both given are exact; everything else is only as good as the catalogue.
    begin = begin.where(picked & stopped, begin - pd.Timedelta(seconds=rule.before_s))
    return pd.DataFrame({"event_id": catalogue["event_id"],
                         "start": begin.dt.tz_localize(None), "stop": end.dt.tz_localize(None)})


def intervals_from_catalogue(catalogue: pd.DataFrame, records: Mapping[str, Record], classes: Sequence[str],
                             rule: ArrivalRule | None = None) -> CatalogueIntervals:
    """Make an interval table: which event lies where in which record.

    An event that lies in several records (split over files, or on several cables) is in each under the same event_id.

    Args:
        catalogue: as :func:`read_catalogue` returns it.
        records: by key; what is no waveform is passed over.
        classes: names of the labels.
        rule: when an event is at the fibre.
    """
    times = arrivals(catalogue, rule or ArrivalRule())
    start, stop = times["start"].to_numpy("datetime64[ns]"), times["stop"].to_numpy("datetime64[ns]")
    labels = [label_of(kind, classes) for kind in catalogue["kind"]]
    ids = catalogue["event_id"].to_list()
    rows: list[tuple[str, float, float, str, str]] = []
    untimed, met = [], np.zeros(len(ids), bool)
    for key, record in records.items():
        if record.kind != "waveform":
            continue
        duration = record.duration_s
        if record.start_time is None or duration is None:
            untimed.append(key)
            continue
        begin = record.start_time.astype("datetime64[ns]")
        inside = np.flatnonzero((start < begin + np.timedelta64(round(duration * 1e9), "ns")) & (stop > begin))
        met[inside] = True
        if all(labels[i] == NOISE for i in inside):
            rows.append((key, np.nan, np.nan, "noise", ""))
        for i in inside:
            label = labels[i]
            if label is not None and label != NOISE:
                a, b = (float((t[i] - begin) / np.timedelta64(1, "ns")) * 1e-9 for t in (start, stop))
                rows.append((key, round(a, 4), round(b, 4), classes[label], ids[i]))
    unknown = tuple(name for name, label in zip(ids, labels, strict=True) if label is None)
    return CatalogueIntervals(pd.DataFrame(rows, columns=list(INTERVAL_COLUMNS)),
                              tuple(name for name, seen in zip(ids, met, strict=True) if not seen), unknown,
                              tuple(untimed))


def write_intervals(frame: pd.DataFrame, path: Path) -> None:
    """Write an interval table as CSV or Parquet, atomically."""
    with atomic_path(Path(path)) as temporary:
        if Path(path).suffix.lower() in (".parquet", ".pq"):
            frame.to_parquet(temporary, index=False)
        else:
            frame.to_csv(temporary, index=False)


def write_catalogue(frame: pd.DataFrame, path: Path) -> None:
    """Write detected events as CSV or, by the suffix (.xml, .qml, .quakeml), as QuakeML 1.2; atomically.

    Args:
        frame: one row for each event: ``start`` and ``stop`` (or ``end``; UTC) and ``class``; optional ``event_id``,
            ``probability`` (0 to 1), ``channel_start``, ``channel_stop``, ``latitude``, ``longitude``, ``depth_km``,
            ``magnitude``, ``record``. Further columns are kept in CSV and become comments in QuakeML.
        path: where to.

    Raises:
        InputError: ``start`` or ``class`` is missing, or the file cannot be written.
    """
    missing = [c for c in ("start", "class") if c not in frame.columns]
    if missing:
        raise InputError(f"A catalogue needs the column(s) {', '.join(missing)}", where=path)
    frame = frame.copy()
    for column in [c for c in ("start", "stop", "end", "time") if c in frame.columns]:
        times = pd.to_datetime(frame[column], utc=True)
        frame[column] = times.dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ").where(times.notna(), "")
    if "event_id" not in frame.columns:
        frame.insert(0, "event_id", [_identifier(row) for row in frame.itertuples(index=False)])
    with atomic_path(Path(path)) as temporary:
        if Path(path).suffix.lower() in _QUAKEML:
            temporary.write_bytes(quakeml_of([{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]))
        else:
            frame.to_csv(temporary, index=False)


def _identifier(row: Any) -> str:
    """A short id that depends on nothing but the event."""
    return hashlib.blake2b(repr(tuple(row)).encode(), digest_size=6).hexdigest()
