"""geomag: geomagnetic indices (ap, Kp, Dst) from the formats they are published in, averaged over windows.

Kp and ap are three-hour indices of the Geomagnetic Observatory Niemegk, GFZ (Matzka et al. 2021, Space Weather 19);
Dst is an hourly one of the World Data Center for Geomagnetism, Kyoto.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag.building.packed import contents, files_below

AP_OF_KP = np.array([0, 2, 3, 4, 5, 6, 7, 9, 12, 15, 18, 22, 27, 32, 39, 48, 56, 67, 80, 94, 111, 132, 154, 179, 207,
                     236, 300, 400], np.float64)
"""ap (in units of 2 nT) of Kp 0o, 0+, 1-, ..., 9o: Kp in thirds is the position."""
_LEAST_KNOWN = 0.9  # of a window's bins
_HOURS = {"ap": 3, "kp": 3, "dst": 1}


@dataclass(frozen=True)
class Binned:
    """Values of equally long stretches of time that follow one another.

    Attributes:
        start_minute: of the first, minutes since 1970.
        bin_minutes: length of each.
        values: float64, NaN where unknown; not to be changed.
    """

    start_minute: int
    bin_minutes: int
    values: NDArray[np.float64]

    def inside(self, starts: NDArray[np.int64], minutes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First bin and the one after the last, of those wholly inside ``[start, start + minutes)``; not clipped.

        What overlaps a window's end is left out, as it holds what came after.
        """
        offset = np.asarray(starts, np.int64) - self.start_minute
        return -(-offset // self.bin_minutes), (offset + minutes) // self.bin_minutes

    @cached_property
    def _running(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Running count and sum of known values, each with a zero before them."""
        known = np.isfinite(self.values)
        sums = np.cumsum(np.where(known, self.values, 0.0))
        return np.concatenate([[0], np.cumsum(known)]).astype(np.int64), np.concatenate([[0.0], sums])

    def means(self, starts: NDArray[np.int64], minutes: int) -> NDArray[np.float64]:
        """Mean of each window; NaN where less than nine tenths of its bins are known."""
        counts, sums = self._running
        first, last = self.inside(starts, minutes)
        a, b = (np.clip(bins, 0, len(self.values)) for bins in (first, last))
        count = counts[b] - counts[a]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (sums[b] - sums[a]) / count
        return np.where(count >= np.maximum(1.0, _LEAST_KNOWN * (last - first)), mean, np.nan)

    def extreme(self, start: int, minutes: int, of: Callable[[NDArray[np.float64]], float]) -> float:
        """``of`` (``numpy.nanmax``, ...) the known bins of one window; NaN as in :meth:`means`."""
        if np.isnan(self.means(np.array([start]), minutes)[0]):
            return float("nan")
        (first,), (last,) = self.inside(np.array([start]), minutes)
        return float(of(self.values[max(0, first):max(0, last)]))


@dataclass(frozen=True)
class Indices:
    """What is known of geomagnetic activity.

    Attributes:
        ap, kp, dst: series, or ``None``.
        read: by file, which index it held.
        unread: files that are none of the known formats.
    """

    ap: Binned | None = None
    kp: Binned | None = None
    dst: Binned | None = None
    read: dict[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

    def columns(self, start: int, minutes: int) -> dict[str, float]:
        """``kp_max``, ``kp_mean``, ``ap_mean``, ``dst_min`` and ``dst_mean`` of a window; NaN where unknown."""
        wanted: dict[str, tuple[Binned | None, Callable[..., float]]] = {
            "kp_max": (self.kp, np.nanmax), "kp_mean": (self.kp, np.nanmean), "ap_mean": (self.ap, np.nanmean),
            "dst_min": (self.dst, np.nanmin), "dst_mean": (self.dst, np.nanmean)}
        return {name: float("nan") if index is None else round(index.extreme(start, minutes, of), 4)
                for name, (index, of) in wanted.items()}


def read_indices(paths: Sequence[str]) -> Indices:
    """Read every index file at ``paths`` (files or folders; .gz and .tar.gz too).

    Known are Dst in the WDC exchange format, ap in the layout of ``apf107.dat``, GFZ's ``Kp_ap`` table, and Kp as CSV
    with a date and eight columns ``K_00`` to ``K_21``. Of a bin in several files the first known value is kept; where
    only one of ap and Kp is known the other follows from it. Files of other formats are listed, not refused.

    Raises:
        InputError: a path is missing, a file damaged, or a file named itself is of no known format.
    """
    found: dict[str, list[pd.Series]] = {"ap": [], "kp": [], "dst": []}
    read: dict[str, str] = {}
    unread: list[str] = []
    for path, named in files_below(paths):
        for name, data in contents(path):
            parsed = parse_index(name, data)
            if parsed:
                read[name] = " and ".join(parsed)
            elif named:
                raise InputError("This is no index file of a known format", where=name,
                                 fix="Known are Dst (WDC), apf107.dat, GFZ's Kp_ap table, and Kp as CSV with K_00 ... "
                                     "K_21; give a folder to have other files passed over")
            else:
                unread.append(name)
            for index, series in parsed.items():
                found[index].append(series)
    ap, kp = _first_known(found["ap"]), _first_known(found["kp"])
    ap_of_kp = kp.map(lambda k: AP_OF_KP[round(3 * k)], na_action="ignore") if len(kp) else kp
    kp_of_ap = ap.map(lambda a: round(int(np.searchsorted(AP_OF_KP, a)) / 3, 3), na_action="ignore") if len(ap) else ap
    whole = {"ap": ap.combine_first(ap_of_kp), "kp": kp.combine_first(kp_of_ap), "dst": _first_known(found["dst"])}
    return Indices(**{name: _binned(series, _HOURS[name]) for name, series in whole.items()}, read=read,
                   unread=tuple(unread))


def _first_known(parts: list[pd.Series]) -> pd.Series:
    """One series, hours since 1970 to value."""
    parts = [p.dropna() for p in parts]
    joined = pd.concat(parts) if parts else pd.Series(dtype="float64", index=np.array([], np.int64))
    return joined[~joined.index.duplicated()].sort_index()


def _binned(series: pd.Series, hours: int) -> Binned | None:
    if series.empty:
        return None
    first, last = int(series.index[0]), int(series.index[-1])
    values = np.full((last - first) // hours + 1, np.nan)
    values[(series.index.to_numpy(np.int64) - first) // hours] = series.to_numpy(np.float64)
    return Binned(first * 60, hours * 60, values)


def parse_index(where: str, data: bytes) -> dict[str, pd.Series]:
    """The indices in a file's content, each a series from hours since 1970 to value; none if the format is unknown.

    Raises:
        InputError: of a known format but damaged; the message names the line.
    """
    lines = [line for line in data.decode("latin-1").splitlines() if line.strip()]
    if not lines:
        return {}
    if lines[0].startswith("DST"):
        return {"dst": _dst(where, lines)}
    if re.match(r"date\s*,\s*k_?00\b", lines[0], re.IGNORECASE):
        return {"kp": _kp_csv(where, data)}
    if re.match(r"[ \d]{2}([ \d]\d){0,1}[ \d]{2,4}", lines[0]) and len(lines[0]) >= 36 and all(
            len(line) == len(lines[0]) and "." not in line[:33] for line in lines[:50]) and _is_apf107(lines[0]):
        return {"ap": _apf107(where, lines)}
    rows = [line.split() for line in lines if not line.startswith("#")]
    if rows and len(rows[0]) == 10 and re.fullmatch(r"\d{4}", rows[0][0]) and re.fullmatch(r"\d\d\.\d+", rows[0][3]):
        return _gfz(where, rows)
    return {}


def _hours_of(day: str) -> int:
    return int(np.datetime64(day, "D").astype(np.int64)) * 24


def _dst(where: str, lines: list[str]) -> pd.Series:
    """Hourly Dst in nT: base value (in 100 nT) and 24 values of four characters; 9999 is missing."""
    hours: list[int] = []
    values: list[float] = []
    for number, line in enumerate(lines, 1):
        if not line.startswith("DST"):
            continue
        try:
            century = int(line[14:16]) if line[14:16].strip() else 19
            first = _hours_of(f"{century:02d}{line[3:5]}-{line[5:7]}-{line[8:10]}")
            base = 100 * int(line[16:20].strip() or 0)
            day = [int(line[20 + 4 * h:24 + 4 * h]) for h in range(24)]
        except ValueError as error:
            raise InputError(f"A line of Dst is damaged: '{line[:40]}'", where=f"{where}, line {number}",
                             fix="Fetch the file again, or take the line out") from error
        hours += range(first, first + 24)
        values += [np.nan if v == 9999 else float(base + v) for v in day]
    return pd.Series(values, index=np.array(hours, np.int64))


def _is_apf107(line: str) -> bool:
    try:
        year, month, day = (int(line[i:i + 3]) for i in (0, 3, 6))
        return 0 <= year <= 99 and 1 <= month <= 12 and 1 <= day <= 31 and all(
            int(line[9 + 3 * k:12 + 3 * k]) >= -1 for k in range(8))
    except ValueError:
        return False


def _apf107(where: str, lines: list[str]) -> pd.Series:
    """ap: year of the century (below 32: of the 2000s), month, day and eight values, three characters each."""
    hours: list[int] = []
    values: list[float] = []
    for number, line in enumerate(lines, 1):
        try:
            year, month, day = (int(line[i:i + 3]) for i in (0, 3, 6))
            first = _hours_of(f"{year + (1900 if year >= 32 else 2000)}-{month:02d}-{day:02d}")
            eight = [int(line[9 + 3 * k:12 + 3 * k]) for k in range(8)]
        except ValueError as error:
            raise InputError(f"A line of ap is damaged: '{line[:40]}'", where=f"{where}, line {number}",
                             fix="Fetch the file again, or take the line out") from error
        hours += range(first, first + 24, 3)
        values += [float(v) if v in AP_OF_KP else np.nan for v in eight]
    return pd.Series(values, index=np.array(hours, np.int64))


def _kp_csv(where: str, data: bytes) -> pd.Series:
    """Kp in decimals (1.667 is 2-): a date and the eight values of its day."""
    try:
        frame = pd.read_csv(io.BytesIO(data))
        first = pd.to_datetime(frame.iloc[:, 0], format="ISO8601").to_numpy("datetime64[D]").astype(np.int64) * 24
        eight = frame.iloc[:, 1:9].to_numpy(np.float64)
    except (ValueError, TypeError) as error:
        raise InputError(f"The table of Kp cannot be read: {error}", where=where) from error
    hours = first[:, None] + np.arange(0, 24, 3)
    known = (eight >= 0) & (eight <= 9)
    return pd.Series(np.where(known, np.round(eight * 3) / 3, np.nan).round(3).ravel(), index=hours.ravel())


def _gfz(where: str, rows: list[list[str]]) -> dict[str, pd.Series]:
    """Kp and ap as GFZ publishes them since 1932: date, first hour, ..., Kp, ap, ...; -1 is missing."""
    hours, kp, ap = [], [], []
    for number, row in enumerate(rows, 1):
        try:
            hours.append(_hours_of(f"{row[0]}-{row[1]}-{row[2]}") + int(float(row[3])))
            k, a = float(row[7]), float(row[8])
        except (ValueError, IndexError) as error:
            raise InputError(f"A line of Kp and ap is damaged: '{' '.join(row)}'", where=f"{where}, value {number}",
                             fix="Fetch the file again, or take the line out") from error
        kp.append(k if 0 <= k <= 9 else np.nan)
        ap.append(a if a >= 0 else np.nan)
    index = np.array(hours, np.int64)
    return {"kp": pd.Series(kp, index=index), "ap": pd.Series(ap, index=index)}
