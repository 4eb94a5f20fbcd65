"""geomag: all minute data that a recipe names, as one series a station."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from groundswell.core.errors import InputError
from groundswell.core.progress import progress
from groundswell.pipelines.geomag.building.iaga import is_iaga, read_iaga
from groundswell.pipelines.geomag.building.minutes import (
    Joined,
    MinuteSeries,
    check_components,
    join,
    read_npz,
    with_components,
)
from groundswell.pipelines.geomag.building.packed import contents, files_below

_ZIP = b"PK\x03\x04"
_STANDING = {"quasi": 2, "definitive": 3, "provisional": 1}  # in this order: "quasi-definitive" holds two of them


@dataclass(frozen=True)
class Records:
    """Minute data of several stations.

    Attributes:
        stations: by IAGA code, in its order; every series has the components asked for, in that order.
        files: files of minutes that were read.
        passed_over: files in folders and archives that hold no minutes.
        left_out: by file name, why its minutes are not used.
    """

    stations: dict[str, Joined]
    files: int
    passed_over: tuple[str, ...]
    left_out: dict[str, str]


def read_records(paths: Sequence[str], components: Sequence[str], stations: Sequence[str] = ()) -> Records:
    """Read every file of minutes at ``paths`` (files or folders) and join those of a station.

    Where files overlap, definitive data goes over quasi-definitive, that over provisional and that over variation
    data; among equals the file that is read later wins (folders and archives in the order of their names).

    Memory holds 2.1 MB for a component and year of a station.

    Raises:
        InputError: a path is missing, a file damaged, a named file holds no minutes, nothing is left, a station asked
            for is not there, or a component is unknown.
    """
    check_components(components)
    wanted = {code.upper() for code in stations}
    parts: dict[str, list[MinuteSeries]] = {}
    passed, left_out, files = [], {}, 0
    listed = files_below(paths)
    with progress(len(listed), "read", "files") as bar:
        for path, named in listed:
            members = sorted(contents(path), key=lambda member: member[0])
            found = [series for series in (_read(*member) for member in members) if series is not None]
            if not found and named:
                raise InputError("There are no minute values in this file", where=path,
                                 fix="Give IAGA-2002 files, or .npz files with t0, values, columns and meta")
            passed += [str(path)] if not found else []
            for series in found:
                if wanted and series.station not in wanted:
                    continue
                files += 1
                try:
                    parts.setdefault(series.station, []).append(with_components(series, components))
                except InputError as error:
                    left_out[str(series.facts["file"])] = error.what
            bar.advance()
    parts = {code: found for code, found in parts.items() if found}
    _check_found(parts, wanted, left_out, paths)
    joined = {code: join(sorted(parts.pop(code), key=_standing)) for code in sorted(parts)}
    return Records(joined, files, tuple(passed), left_out)


def _read(where: str, data: bytes) -> MinuteSeries | None:
    if is_iaga(data):
        return read_iaga(where, data)
    if data.startswith(_ZIP) and where.lower().endswith(".npz"):
        return read_npz(where, data)
    return None


def _standing(series: MinuteSeries) -> int:
    told = str(series.facts["data_type"]).lower()
    return next((rank for word, rank in _STANDING.items() if word in told), 0)


def _check_found(parts: dict[str, list[MinuteSeries]], wanted: set[str], left_out: dict[str, str],
                 paths: Sequence[str]) -> None:
    missing = sorted(wanted - set(parts))
    if missing or not parts:
        why = f"; left out: {next(iter(left_out.items()))}" if left_out else ""
        what = f"no minutes of {', '.join(missing)}" if missing else "no minute data"
        raise InputError(f"There are {what}{why}", where=", ".join(paths),
                         fix="Give IAGA-2002 files (plain, .gz, .tar.gz) that hold the components asked for")
    for code, found in parts.items():
        if not all(abs(s.latitude) <= 90 and abs(s.longitude) <= 180 for s in found[-1:]):
            raise InputError(f"The header of {code} gives no place, and distances to earthquakes need one",
                             where=found[-1].facts["file"], fix="Complete 'Geodetic Latitude' and 'Geodetic Longitude'")
