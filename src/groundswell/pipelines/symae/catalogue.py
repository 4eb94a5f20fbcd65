"""symae: earthquakes from a catalogue (QuakeML, or text of any separator), found by their origin times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from groundswell.core.errors import InputError
from groundswell.data.catalogue import find_columns, read_delimited, take_columns, utc_times
from groundswell.data.quakeml import facts_of, parse_events
from groundswell.pipelines.symae.raw import Earthquake

SAME_S = 60.0
"""An event whose name tells its origin time is that of the catalogue within so many seconds."""

_CALLED = {
    "name": ("event", "name", "event_id", "eventid", "#eventid", "id", "public_id"),
    "time": ("time", "origin_time", "origintime", "datetime", "date_time", "utc"),
    "latitude": ("latitude", "lat"), "longitude": ("longitude", "lon", "long"),
    "depth_km": ("depth_km", "depth", "depth/km"), "magnitude": ("magnitude", "mag", "mw", "ml"),
}


class Quakes:
    """Earthquakes in the order of their origin times, named ``20130524_054448`` after these.

    Args:
        frame: columns time (UTC), latitude, longitude, depth_km, magnitude.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        frame = frame.sort_values("time", kind="stable", ignore_index=True)
        self._seconds = frame["time"].to_numpy("datetime64[ns]").astype(np.int64) / 1e9
        names = frame["time"].dt.strftime("%Y%m%d_%H%M%S")
        again = names.groupby(names).cumcount()
        names = names.where(again == 0, names + "_" + (again + 1).astype(str))
        places = frame[["latitude", "longitude", "depth_km", "magnitude"]].to_numpy(np.float64).tolist()
        self._quakes = [Earthquake(str(name), place[0], place[1], place[2], place[3], time)
                        for name, place, time in zip(names, places, frame["time"], strict=True)]

    def __len__(self) -> int:
        return len(self._quakes)

    def between(self, first_s: float, last_s: float) -> list[Earthquake]:
        """Earthquakes with origin times in this range, seconds since 1970, UTC."""
        low, high = np.searchsorted(self._seconds, [first_s, last_s])
        return self._quakes[int(low):int(high)]

    def near(self, time: Any) -> Earthquake | None:
        """The earthquake nearest to ``time`` (UTC), within ``SAME_S``."""
        if pd.isna(time) or not len(self):
            return None
        apart = np.abs(self._seconds - pd.Timestamp(time).timestamp())
        nearest = int(np.argmin(apart))
        return self._quakes[nearest] if apart[nearest] <= SAME_S else None


def read_quakes(path: Path) -> Quakes:
    """Read a catalogue: QuakeML 1.2, or text whose first line names its columns.

    Raises:
        InputError: missing or unreadable, without times or places, without an event, or an event lacks either.
        MissingExtraError: QuakeML, and defusedxml is not installed.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"The catalogue of events cannot be read: {error.strerror}", where=path) from error
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        frame = pd.DataFrame([facts_of(event) for event in parse_events(data, where=path, extra="symae")])
        if not frame.empty:
            frame["depth_km"] = pd.to_numeric(frame["depth_m"], errors="coerce") / 1000
    else:
        raw = read_delimited(data, path)
        found = find_columns(raw.columns, _CALLED)
        lacking = [name for name in ("time", "latitude", "longitude", "depth_km") if found[name] is None]
        if lacking:
            raise InputError(f"The catalogue has no column for {', '.join(lacking)}; it has "
                             f"{', '.join(map(str, raw.columns))}", where=path,
                             fix="Call them time, latitude, longitude, depth_km and magnitude")
        frame = take_columns(raw, found)
    if frame.empty:
        raise InputError("There is no event in the catalogue", where=path)
    frame["time"] = utc_times(frame["time"], path, "Write times as 2022-09-01T08:15:30Z")
    numbers = {name: pd.to_numeric(frame[name], errors="coerce").astype("float64")
               for name in ("latitude", "longitude", "depth_km", "magnitude")}
    frame = frame.assign(**numbers)
    whole = (frame["time"].notna() & frame["latitude"].between(-90, 90) & frame["longitude"].between(-360, 360)
             & frame["depth_km"].between(-10, 1000))
    if not whole.all():
        raise InputError("An event has no time, place or depth (km), which its P waves are reckoned from",
                         where=f"{path}, event {int(np.argmin(whole)) + 1}")
    return Quakes(frame)
