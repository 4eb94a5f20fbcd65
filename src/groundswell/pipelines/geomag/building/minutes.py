"""geomag: a station's field on a regular grid of minutes, joined from files, and the components derived from it."""

from __future__ import annotations

import ast
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError

COMPONENTS = ("X", "Y", "Z", "H", "F", "D")
"""Components that can be asked for."""
MINUTES_OF_ARC = 60.0
_MOST_YEARS = 200


@dataclass(frozen=True)
class MinuteSeries:
    """Minutes of one station.

    Attributes:
        station: IAGA code, upper case.
        latitude, longitude: degrees, the latter -180 to 180; NaN where unknown.
        start_minute: first minute, in minutes since 1970-01-01 00:00 UTC.
        values: float32, shape (minutes, components); nT, D in minutes of arc; NaN where missing.
        components: letter of each column.
        facts: of the file, such as data_type and source.
    """

    station: str
    latitude: float
    longitude: float
    start_minute: int
    values: NDArray[np.float32]
    components: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def stop_minute(self) -> int:
        """The minute after the last."""
        return self.start_minute + len(self.values)

    def column(self, component: str) -> NDArray[np.float64]:
        """One component as float64, shape (minutes,)."""
        return self.values[:, self.components.index(component)].astype(np.float64)


def minute_of(time: Any) -> int:
    """Minutes since 1970 of a time, rounded down."""
    return int(np.datetime64(time, "m").astype(np.int64))


def iso_minute(minute: int) -> str:
    """``2003-10-24T00:01:00Z`` for minutes since 1970."""
    return f"{np.datetime64(int(minute), 'm')}:00Z"


def east_of_greenwich(longitude: float) -> float:
    """A longitude of 0 to 360 degrees as one of -180 to 180."""
    return round((longitude + 180.0) % 360.0 - 180.0, 9)


def check_components(components: Sequence[str]) -> None:
    """See that every component is one that there is.

    Raises:
        InputError: it is not.
    """
    unknown = [c for c in components if c not in COMPONENTS]
    if unknown:
        raise InputError(f"There is no component '{unknown[0]}'", where="components",
                         fix=f"Known components: {', '.join(COMPONENTS)}")


def with_components(series: MinuteSeries, components: Sequence[str]) -> MinuteSeries:
    """The series with these components, recorded or derived.

    The horizontal field comes from X and Y, from H and D, or from H and E. With E recorded (the variation files of the
    USGS), H and E are the two horizontal components along and across the sensor's own axes, in nT; then X and Y are
    those two, in the observatory's frame, and the horizontal intensity is ``hypot(H, E)``. From H and D (minutes of
    arc) come ``X = H cos D`` and ``Y = H sin D``; where D is counted from a baseline, as in variation data, that is the
    observatory's frame again. H is ``hypot(X, Y)``; D is ``atan2(Y, X)``; F, where not a single minute of the file is
    recorded, is ``hypot(X, Y, Z)``. Of Z nothing is derived. Everything is done in float64 and kept in float32.

    Raises:
        InputError: a component is unknown or cannot be had from what is recorded.
    """
    check_components(components)
    columns = []
    for component in components:
        values = _component(series, component)
        if values is None:
            raise InputError(f"The component {component} cannot be had from {''.join(series.components)}",
                             where=series.facts.get("file", series.station),
                             fix="Ask for a recorded one, or leave the station out")
        columns.append(values.astype(np.float32))
    return MinuteSeries(series.station, series.latitude, series.longitude, series.start_minute,
                        np.stack(columns, axis=1), tuple(components), series.facts)


def _recorded(series: MinuteSeries, component: str) -> NDArray[np.float64] | None:
    if component not in series.components:
        return None
    values = series.column(component)
    return None if np.isnan(values).all() else values


def _component(series: MinuteSeries, component: str) -> NDArray[np.float64] | None:
    recorded = _recorded(series, component)
    across = _recorded(series, "E")
    if component == "F" and recorded is None:
        flat, z = _horizontal(series), _recorded(series, "Z")
        return None if flat is None or z is None else np.hypot(np.hypot(*flat), z)
    if component in "ZF" or (recorded is not None and (component != "H" or across is None)):
        return recorded
    if component == "H" and across is None and _recorded(series, "X") is None:
        return None
    flat = _horizontal(series)
    if flat is None:
        return None
    x, y = flat
    if component in "XY":
        return x if component == "X" else y
    return np.asarray(np.hypot(x, y) if component == "H" else np.degrees(np.arctan2(y, x)) * MINUTES_OF_ARC, np.float64)


def _horizontal(series: MinuteSeries) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    x, y, h, d, e = (_recorded(series, c) for c in "XYHDE")
    if x is not None and y is not None:
        return x, y
    if h is not None and e is not None:
        return h, e
    if h is not None and d is not None:
        angle = np.radians(d / MINUTES_OF_ARC)
        return h * np.cos(angle), h * np.sin(angle)
    return None


@dataclass(frozen=True)
class Joined:
    """A station's files as one series.

    Attributes:
        series: minutes from the first file's first to the last file's last; NaN where there is none.
        files: how many were joined.
        overlapping: minutes that more than one file holds.
        disagreeing: of these, minutes in which they differ; the later file's value was kept.
    """

    series: MinuteSeries
    files: int
    overlapping: int
    disagreeing: int


def join(parts: Sequence[MinuteSeries]) -> Joined:
    """Join the files of one station, later ones over earlier ones; what a later one lacks stays.

    Raises:
        InputError: they have other components, or lie centuries apart.
    """
    first, last = min(p.start_minute for p in parts), max(p.stop_minute for p in parts)
    head = parts[-1]
    if last - first > _MOST_YEARS * 366 * 1440:
        raise InputError(f"The files of {head.station} reach from {iso_minute(first)} to {iso_minute(last)}",
                         where=head.facts.get("file", head.station), fix="Look for a damaged date in one of them")
    values = np.full((last - first, len(head.components)), np.nan, np.float32)
    overlapping = disagreeing = 0
    for part in parts:
        if part.components != head.components:
            raise InputError(f"The files of {head.station} hold {''.join(part.components)} and "
                             f"{''.join(head.components)}", where=part.facts.get("file", head.station),
                             fix="Ask for components that both can give")
        place = values[part.start_minute - first:part.stop_minute - first]
        known, new = ~np.isnan(place), ~np.isnan(part.values)
        both = known & new
        overlapping += int(both.any(axis=1).sum())
        disagreeing += int((both & (place != part.values)).any(axis=1).sum())
        np.copyto(place, part.values, where=new)
    facts = {**head.facts, "simulated": any(p.facts.get("simulated") for p in parts)}
    series = MinuteSeries(head.station, head.latitude, head.longitude, first, values, head.components, facts)
    return Joined(series, len(parts), overlapping, disagreeing)


def read_npz(where: str, data: bytes) -> MinuteSeries:
    """A series from an ``.npz`` file: ``t0`` (ISO 8601 text), ``values`` (minutes, components), ``columns`` (letters)
    and ``meta`` (the written form of a dict with the fields of an IAGA-2002 header).

    Raises:
        InputError: one of these is missing or not as described.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            t0, values = str(archive["t0"]), np.asarray(archive["values"], np.float32)
            columns, meta = tuple(str(c) for c in archive["columns"]), ast.literal_eval(str(archive["meta"]))
        fields = {str(k).lower(): str(v) for k, v in meta.items()}
        latitude, longitude = float(fields["geodetic latitude"]), float(fields["geodetic longitude"])
        series = MinuteSeries(fields["iaga code"].upper(), latitude, east_of_greenwich(longitude), minute_of(t0),
                              np.where(np.abs(values) >= 88888.0, np.float32(np.nan), values), columns,
                              facts_of(where, fields))
    except (KeyError, ValueError, SyntaxError, OSError, EOFError, AttributeError, MemoryError, RecursionError,
            zipfile.BadZipFile) as error:
        raise InputError(f"This is not a series of minutes: {type(error).__name__} {error}", where=where,
                         fix="Save t0, values, columns and meta with numpy.savez") from error
    if values.ndim != 2 or values.shape[1] != len(columns) or not len(values):
        raise InputError(f"Values of shape {values.shape} do not go with the columns {''.join(columns)}", where=where)
    return series


def facts_of(where: str, fields: dict[str, str]) -> dict[str, Any]:
    """What of a header is kept; whether it calls its data simulated."""
    told = " ".join((fields.get("source of data", ""), fields.get("data type", ""))).lower()
    return {"file": where, "source": fields.get("source of data", ""), "data_type": fields.get("data type", ""),
            "simulated": "simulat" in told or "synthetic" in told}
