"""symae: where stations stand, from StationXML or from a table."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from groundswell.core.errors import InputError
from groundswell.core.optional import require
from groundswell.data.catalogue import find_columns, read_delimited, take_columns

_CALLED = {"network": ("network", "net", "#network"), "station": ("station", "sta", "code", "name"),
           "latitude": ("latitude", "lat", "stla"), "longitude": ("longitude", "lon", "long", "stlo")}

Stations = Mapping[str, tuple[float, float]]
"""Latitude and longitude, degrees, by ``network.station``."""


def read_stations(path: Path) -> Stations:
    """Read StationXML, or text with network, station, latitude and longitude (as FDSN services give it).

    Raises:
        InputError: missing, unreadable, without these columns, or a station without a place.
        MissingExtraError: StationXML, and obspy or defusedxml is not installed.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"The stations cannot be read: {error.strerror}", where=path) from error
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return _station_xml(path, data)
    raw = read_delimited(data, path)
    found = find_columns(raw.columns, _CALLED)
    lacking = [name for name, column in found.items() if column is None]
    if lacking:
        raise InputError(f"The table of stations has no column for {', '.join(lacking)}; it has "
                         f"{', '.join(map(str, raw.columns))}", where=path,
                         fix="Call them network, station, latitude and longitude")
    frame = take_columns(raw, found)
    latitude, longitude = (pd.to_numeric(frame[name], errors="coerce") for name in ("latitude", "longitude"))
    placed = latitude.between(-90, 90) & longitude.between(-360, 360)
    names = (frame["network"].str.strip() + "." + frame["station"].str.strip()).tolist()
    if not placed.all():
        raise InputError(f"The station {names[int((~placed).argmax())]} has no place", where=path,
                         fix="Give latitude and longitude in degrees")
    return {name: (float(a), float(b)) for name, a, b in zip(names, latitude, longitude, strict=True)}


def _station_xml(path: Path, data: bytes) -> Stations:
    # obspy parses with entities on; what declares any is refused before.
    require("defusedxml.ElementTree", extra="symae", purpose="Reading StationXML")
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    obspy = require("obspy", extra="symae", purpose="Reading StationXML")
    try:
        fromstring(data, forbid_dtd=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inventory = obspy.read_inventory(str(path), format="STATIONXML")
    except (ParseError, DefusedXmlException, ValueError, TypeError, AttributeError, LookupError) as error:
        raise InputError(f"The StationXML cannot be read: {error!r}", where=path) from error
    return {f"{network.code}.{station.code}": (float(station.latitude), float(station.longitude))
            for network in inventory for station in network}
