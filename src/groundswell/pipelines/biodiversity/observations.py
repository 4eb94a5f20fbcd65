"""biodiversity: the observation table, read from files of several kinds, checked, and made a sample table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable

Group = Literal["place_day", "place", "observer", "observation"]

COLUMNS = ("observation_id", "gbif_id", "image_index", "taxon_id", "taxon_name", "latitude", "longitude", "year",
           "month", "day", "hour", "image_urls", "has_vision")
"""Columns that every frame has afterwards; further ones are kept."""
_OTHER_NAMES = {"gbifID": "gbif_id", "species": "taxon_name", "decimalLatitude": "latitude",
                "decimalLongitude": "longitude", "lat": "latitude", "lon": "longitude", "lng": "longitude",
                "species_id": "taxon_id", "recordedBy": "observer"}
_DATE = ("year", "month", "day", "hour")
_LIMITS = {"latitude": 90.0, "longitude": 180.0}
_DECIMALS = 5  # of a place: about a metre, as finely as observers' positions are written


def read_observations(path: Path) -> pd.DataFrame:
    """Read and check a table of observations.

    Args:
        path: CSV (comma or semicolon), Parquet, or a store's folder.

    Returns:
        :data:`COLUMNS` (``gbif_id`` and ``image_index`` int64, coordinates float64 in degrees, parts of the date
        nullable Int64, text elsewhere, ``has_vision`` bool), then what else the file has; in the file's order.

    Raises:
        InputError: missing, unreadable, or a row that cannot be used; the message names row and column.
    """
    path = Path(path)
    file = path / "observations.parquet" if path.is_dir() else path
    try:
        frame = _read(file)
    except FileNotFoundError as error:
        raise InputError("There is no such observation table", where=file,
                         fix="Give a CSV, a Parquet file, or a store that has observations") from error
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise InputError(f"The observation table cannot be read: {error}", where=file,
                         fix="Give CSV or Parquet") from error
    return checked(frame, str(file))


def _read(file: Path) -> pd.DataFrame:
    if file.suffix.lower() == ".parquet":
        return pd.read_parquet(file)
    with file.open(encoding="utf-8") as opened:
        first = opened.readline()
    separator = ";" if first.count(";") > first.count(",") else ","
    text = dict.fromkeys(("observation_id", "taxon_id", "species_id", "taxon_name", "species"), str)
    return pd.read_csv(file, sep=separator, dtype=text, float_precision="round_trip")


def checked(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """The frame with the columns of :data:`COLUMNS`, or what is wrong with it.

    Args:
        frame: rows as they were read.
        where: what they were read from, for messages.

    Raises:
        InputError: see :func:`read_observations`.
    """
    from groundswell.pipelines.biodiversity.ids import create_observation_id

    frame = frame.rename(columns={old: new for old, new in _OTHER_NAMES.items()
                                  if old in frame.columns and new not in frame.columns}).reset_index(drop=True)
    if not len(frame):
        raise InputError("The observation table has no rows", where=where, fix="Give one with observations")
    _check_ids(frame, where)
    if "taxon_name" not in frame.columns and "taxon_id" in frame.columns:
        frame["taxon_name"] = frame["taxon_id"]
    _require(frame, ("taxon_name", "latitude", "longitude"), where)
    if "taxon_id" not in frame.columns:
        frame["taxon_id"] = frame["taxon_name"]
    for name in ("taxon_id", "taxon_name"):
        empty = frame[name].isna() | (frame[name].astype(str).str.strip() == "")
        _refuse(frame, empty, f"has no {name}", f"column '{name}'", where)
        frame[name] = frame[name].astype(str)
    for name, most in _LIMITS.items():
        number = pd.to_numeric(frame[name], errors="coerce").astype(np.float64)
        _refuse(frame, ~(number.abs() <= most), f"has a {name} that is not between -{most:g} and {most:g}",
                f"column '{name}'", where)
        frame[name] = number
    _check_dates(frame, where)
    frame["image_urls"] = [_joined(value) for value in frame["image_urls"]] if "image_urls" in frame.columns else ""
    frame["has_vision"] = frame["has_vision"].fillna(False).astype(bool) if "has_vision" in frame.columns else True
    made = [create_observation_id(int(g), int(k)) for g, k in zip(frame["gbif_id"], frame["image_index"], strict=True)]
    if "observation_id" not in frame.columns:
        frame["observation_id"] = made
    repeated = frame["observation_id"].duplicated()
    _refuse(frame, repeated, "repeats an observation_id", "column 'observation_id'", where)
    times_of(frame, where)
    return frame[[*COLUMNS, *(name for name in frame.columns if name not in COLUMNS)]]


def _joined(urls: Any) -> str:
    if isinstance(urls, (list, tuple, np.ndarray)):
        return ";".join(map(str, urls))
    return "" if pd.isna(urls) else str(urls)


def _check_ids(frame: pd.DataFrame, where: str) -> None:
    from groundswell.pipelines.biodiversity.ids import parse_observation_id

    if "observation_id" in frame.columns:
        ids = frame["observation_id"].astype(str)
        if "gbif_id" not in frame.columns and ids.str.fullmatch(r"\d+").all():
            frame["gbif_id"] = ids.astype(np.int64)  # tables of other projects number their observations plainly
            del frame["observation_id"]
        else:
            try:
                pairs = [parse_observation_id(text) for text in ids]
            except InputError as error:
                raise InputError(error.what, where=f"{where}, column 'observation_id'", fix=error.fix) from error
            frame["observation_id"] = ids
            for k, name in enumerate(("gbif_id", "image_index")):
                found = np.array([pair[k] for pair in pairs], np.int64)
                if name in frame.columns:
                    other = pd.to_numeric(frame[name], errors="coerce")
                    _refuse(frame, other != found, f"has an observation_id that does not agree with its {name}",
                            f"column '{name}'", where)
                frame[name] = found
    _require(frame, ("gbif_id",), where)
    if "image_index" not in frame.columns:
        frame["image_index"] = 1
    for name, least in (("gbif_id", 0), ("image_index", 1)):
        number = pd.to_numeric(frame[name], errors="coerce")
        _refuse(frame, ~(number >= least) | (number % 1 != 0), f"has a {name} that is no whole number from {least} on",
                f"column '{name}'", where)
        frame[name] = number.astype(np.int64)


def _check_dates(frame: pd.DataFrame, where: str) -> None:
    for name, (least, most) in zip(_DATE, ((1, 9999), (1, 12), (1, 31), (0, 23)), strict=True):
        if name not in frame.columns:
            frame[name] = pd.array([pd.NA] * len(frame), dtype="Int64")
            continue
        number = pd.to_numeric(frame[name], errors="coerce").astype(np.float64)
        known = ~frame[name].isna().to_numpy()
        _refuse(frame, known & ~((number >= least) & (number <= most) & (number % 1 == 0)).to_numpy(),
                f"has a {name} that is no whole number from {least} to {most}", f"column '{name}'", where)
        frame[name] = number.astype("Int64")


def _require(frame: pd.DataFrame, names: Sequence[str], where: str) -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise InputError(f"The observation table has no column {' and no '.join(repr(n) for n in missing)}",
                         where=where, fix=f"It has: {', '.join(map(str, frame.columns))}")


def _refuse(frame: pd.DataFrame, bad: Any, what: str, column: str, where: str) -> None:
    rows = np.flatnonzero(np.asarray(bad, bool))
    if len(rows):
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        name = f", '{frame['observation_id'].iloc[rows[0]]}'" if "observation_id" in frame.columns else ""
        raise InputError(f"An observation {what}{more}", where=f"{where}, row {rows[0] + 1}{name}, {column}",
                         fix="Correct or remove the row")


def times_of(frame: pd.DataFrame, where: str = "") -> pd.Series[Any]:
    """When each observation was made, UTC, to the day or the hour where that is known; NaT without a whole date.

    Args:
        frame: with the columns of a date and ``observation_id``.
        where: what it was read from, for the message.

    Raises:
        InputError: a date that the calendar does not have.
    """
    known = frame[["year", "month", "day"]].notna().all(axis=1)
    parts = {name: frame.loc[known, name].astype(np.int64) for name in ("year", "month", "day")}
    parts["hour"] = frame.loc[known, "hour"].fillna(0).astype(np.int64)
    found = pd.to_datetime(pd.DataFrame(parts), errors="coerce", utc=True)
    if found.isna().any():
        row = int(found.index[found.isna()][0])
        date = "-".join(str(frame.loc[row, name]) for name in ("year", "month", "day"))
        raise InputError(f"The calendar has no {date}", where=f"{where}{', ' if where else ''}row {row + 1}, "
                         f"'{frame['observation_id'].iloc[row]}', columns 'year', 'month' and 'day'",
                         fix="Correct the date or leave it empty")
    return found.reindex(frame.index)


def observation_table(frame: pd.DataFrame, *, group: Group = "place_day",
                      origin: dict[str, Any] | None = None) -> SampleTable:
    """One sample for each observation, in the frame's order.

    Classes are the species' names in alphabetical order; not every part of a split needs to have every one.

    Args:
        frame: from :func:`read_observations`.
        group: what must never straddle a split: place_day (one visit of one spot), place, observer, or nothing but
            the observation itself.
        origin: facts about the table, such as ``{"simulated": True}``.

    Raises:
        InputError: a date that does not exist; no observers where they are asked for.
    """
    times = times_of(frame)
    place = [f"{lat:.{_DECIMALS}f},{lon:.{_DECIMALS}f}" for lat, lon in zip(frame["latitude"], frame["longitude"],
                                                                            strict=True)]
    ids = frame["observation_id"].astype(str)
    day = times.dt.strftime("%Y-%m-%d").fillna("")
    visits = pd.Series(place, index=frame.index) + "@" + day.where(day != "", ids)  # an unknown day is no common day
    if group == "observer":
        _require(frame, ("observer",), "data.group=observer")
        _refuse(frame, frame["observer"].isna(), "has no observer", "column 'observer'", "data.group=observer")
    groups = {"place_day": visits, "place": pd.Series(place, index=frame.index), "observation": ids}
    classes = sorted(frame["taxon_name"].unique())
    label = pd.Categorical(frame["taxon_name"], categories=classes).codes.astype(np.int64)
    columns = {"sample_id": ids, "record": frame["gbif_id"].astype(str), "label": label,
               "group": frame["observer"].astype(str) if group == "observer" else groups[group],
               "time": times, "latitude": frame["latitude"], "longitude": frame["longitude"],
               "gbif_id": frame["gbif_id"], "image_index": frame["image_index"], "taxon": frame["taxon_name"],
               "taxon_id": frame["taxon_id"], "year": frame["year"], "month": frame["month"], "day": frame["day"],
               "hour": frame["hour"], "place": place, "place_day": visits, "has_vision": frame["has_vision"]}
    if "observer" in frame.columns:
        columns["observer"] = frame["observer"].fillna("").astype(str)
    facts = {"unit": "sample", "open_set": True, **(origin or {})}
    return SampleTable(pd.DataFrame(columns), classes, pipeline="biodiversity", origin=facts)
