"""geomag: the reader of IAGA-2002 files of minute values.

The format is that of the IAGA Division V working group (https://www.ngdc.noaa.gov/IAGA/vdat/IAGA2002/iaga2002format.html):
header lines of a label and a value that end in ``|``, comments that begin with ``#``, one line that names the columns,
then a line a time with date, time, day of the year and up to four values of ten characters each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag.building.minutes import MinuteSeries, east_of_greenwich, facts_of

_MISSING = 88888.0
"""Values of at least this size stand for missing (99999) or not reported (88888)."""
_FIRST, _WIDTH = 30, 10  # characters before the values, and of each
_TIME = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} ")


def is_iaga(data: bytes) -> bool:
    """Whether a file's content begins as IAGA-2002 does."""
    first = data[:200].split(b"\n", 1)[0].upper()
    return b"FORMAT" in first and b"IAGA-2002" in first


def read_iaga(where: str, data: bytes) -> MinuteSeries:
    """Read the content of an IAGA-2002 file.

    Minutes without a line, and values of 99999 and 88888, are NaN. Letters of columns are as recorded; G is the
    difference of two total fields and U an unknown, neither is used for anything.

    Args:
        where: name of the file, for messages.
        data: its content, unpacked.

    Raises:
        InputError: not IAGA-2002, damaged (the message names the line), or not minute data.
    """
    if not is_iaga(data):
        raise InputError("This is not an IAGA-2002 file: its first line does not say so", where=where)
    lines = data.splitlines()
    head = next((i for i, line in enumerate(lines) if line.lstrip().upper().startswith(b"DATE")), None)
    if head is None:
        raise InputError("The header has no line that names the columns (DATE TIME DOY ...)", where=where)
    fields = _fields(lines[:head], where)
    station, columns = _columns(lines[head], fields, where)
    count = len(lines)
    while count > head + 1 and not lines[count - 1].strip(b" \t\x1a"):
        count -= 1
    body = lines[head + 1:count]
    if not body:
        raise InputError("There are no values in this file", where=where)
    minutes, values = _table(body, len(columns), where, head + 2)
    if "second" in fields.get("data interval type", "").lower():
        raise InputError(f"These are not minute values: {fields['data interval type']}", where=where,
                         fix="Give minute data; one-second data must be averaged by a suitable filter first")
    _check_steps(minutes, where, head + 2, fields)
    grid = np.full((int(minutes[-1] - minutes[0]) + 1, len(columns)), np.nan, np.float32)
    grid[minutes - minutes[0]] = np.where(np.abs(values) >= _MISSING, np.nan, values)
    latitude, longitude = (_degrees(fields, f"geodetic {name}", where) for name in ("latitude", "longitude"))
    return MinuteSeries(station, latitude, east_of_greenwich(longitude), int(minutes[0]), grid, columns,
                        facts_of(where, fields))


def _fields(lines: Sequence[bytes], where: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for number, raw in enumerate(lines, 1):
        line = raw.decode("latin-1").rstrip()
        if not line.endswith("|"):
            raise InputError("A header line does not end in '|'", where=f"{where}, line {number}",
                             fix="The header is damaged; fetch the file again")
        if not line[1:].lstrip().startswith("#"):
            fields[line[1:24].strip().lower()] = line[24:-1].strip()
    return fields


def _columns(line: bytes, fields: dict[str, str], where: str) -> tuple[str, tuple[str, ...]]:
    names = line.decode("latin-1").replace("|", " ").split()[3:]
    code = fields.get("iaga code", "").upper() or (names[0][:3].upper() if names else "")
    letters = tuple(n.upper().removeprefix(code)[-1:] for n in names)
    if not code or not letters or len(letters) > 4 or "" in letters or len(set(letters) - {"U"}) < len(
            [c for c in letters if c != "U"]):
        raise InputError(f"The columns cannot be told from '{' '.join(names)}'", where=where,
                         fix="A column is called by the station's code and a letter, such as ESKX")
    return code, letters


def _degrees(fields: dict[str, str], name: str, where: str) -> float:
    text = fields.get(name, "")
    try:
        value = float(text) if text else float("nan")
    except ValueError as error:
        raise InputError(f"The header's {name} is '{text}'", where=where, fix="Write degrees as a number") from error
    return value if abs(value) <= 360 else float("nan")


def _table(body: list[bytes], columns: int, where: str, first_line: int) -> tuple[NDArray[np.int64],
                                                                                  NDArray[np.float64]]:
    """Minutes since 1970 (n,) and values (n, columns), all lines at once: a year has half a million."""
    width = _FIRST + _WIDTH * columns
    text = np.array(body)
    if text.dtype.itemsize < width:
        raise _damaged(body, columns, where, first_line)
    letters = text.view(np.uint8).reshape(len(body), -1)
    times = np.ascontiguousarray(letters[:, :16])
    spaced = (times[:, 10] == ord(" ")).all() and (letters[:, _FIRST:width:_WIDTH] == ord(" ")).all()
    times[:, 10] = ord("T")
    if not spaced:
        raise _damaged(body, columns, where, first_line)
    try:
        minutes = times.view("S16").ravel().astype("datetime64[m]").astype(np.int64)
        values = np.ascontiguousarray(letters[:, _FIRST:width]).view(f"S{_WIDTH}").astype(np.float64)
    except ValueError as error:
        raise _damaged(body, columns, where, first_line) from error
    if not np.isfinite(values).all():
        raise _damaged(body, columns, where, first_line)
    if (letters[:, 16:23] != np.frombuffer(b":00.000", np.uint8)).any():
        raise _between_minutes(body, columns, where, first_line)
    return minutes, values.reshape(len(body), columns)


def _between_minutes(body: list[bytes], columns: int, where: str, first_line: int) -> InputError:
    row = next(i for i, line in enumerate(body) if line[16:23] != b":00.000")
    if not _TIME.match(body[row]):
        return _damaged(body, columns, where, first_line)
    return InputError(f"These are not minute values: there is one at {body[row][:23].decode()}",
                      where=f"{where}, line {first_line + row}",
                      fix="Give minute data; one-second data must be averaged by a suitable filter first")


def _damaged(body: list[bytes], columns: int, where: str, first_line: int) -> InputError:
    """The error that names the first line which is not as it should be."""
    value = re.compile(rb" +-?\d+(\.\d*)? *")
    for i, line in enumerate(body):
        pieces = [line[_FIRST + _WIDTH * k:_FIRST + _WIDTH * (k + 1)] for k in range(columns)]
        whole = _TIME.match(line) and all(len(p) == _WIDTH and value.fullmatch(p) for p in pieces)
        try:
            np.datetime64(line[:10].decode(), "D") + np.timedelta64(0, "D")
            np.datetime64(f"2000-01-01T{line[11:16].decode()}")
        except ValueError:
            whole = None
        if not whole:
            shown = line[:80].decode("latin-1")
            return InputError(f"A line is damaged: '{shown}'", where=f"{where}, line {first_line + i}",
                              fix="Fetch the file again, or take the line out: a minute without a line is a gap")
    return InputError("The lines cannot be read", where=where, fix="Fetch the file again")


def _check_steps(minutes: NDArray[np.int64], where: str, first_line: int, fields: dict[str, str]) -> None:
    steps = np.diff(minutes)
    if len(steps) and steps.min() <= 0:
        row = int(np.argmax(steps <= 0)) + 1
        raise InputError("Times do not go forward", where=f"{where}, line {first_line + row}",
                         fix="The date or time is damaged, or a line is there twice; fetch the file again")
    interval = fields.get("data interval type", "").lower()
    if steps.min() > 1 if len(steps) else "hour" in interval or "daily" in interval:
        every = f"every {int(steps.min())} minutes" if len(steps) else interval
        raise InputError(f"These are not minute values: they are {every}", where=where, fix="Give minute data")
