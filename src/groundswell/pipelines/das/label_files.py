"""das: labels read from files: the seed's labels.json and interval tables (CSV, Parquet)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from groundswell.core.errors import InputError
from groundswell.core.files import read_json
from groundswell.core.progress import say
from groundswell.pipelines.das.labels import NOISE, Given, Labels, label_of
from groundswell.pipelines.das.recipe import DasDataRecipe

JOURNALS = "labels"
"""Folder of the journals of answers, in the folder of records."""

LABEL_FILES = ("intervals.csv", "intervals.parquet", "labels.json")
"""What is looked for in a folder when the recipe names no labels, first one first."""


def read_labels_json(path: Path, classes: Sequence[str]) -> Labels:
    """Read the seed's ``labels.json``: ``{file name: 0 | 1}``, class names welcome as well.

    Raises:
        InputError: not such a mapping; the message names the entry.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError("A labels file maps file names to labels", where=path, fix='Write it as {"name.h5": 0, ...}')
    given = []
    for name, value in content.items():
        label = label_of(value, classes)
        if label is None:
            known = ", ".join(f"{k} ({c})" for k, c in enumerate(classes))
            raise InputError(f"'{name}' has the label {value!r}, which is none of {known}", where=path)
        given.append(Given(name, label, where=f"{path}, entry '{name}'"))
    return Labels(tuple(given), str(path))


def read_intervals(path: Path, classes: Sequence[str]) -> Labels:
    """Read an interval table (CSV or Parquet) with the columns record, start, stop, label and, optionally, event_id.

    ``start`` and ``stop`` are seconds from the record's start where the column is a number, and UTC where it holds
    times (a Parquet timestamp, or ISO 8601 text; a time without a zone is UTC). Where the table has ``start_time`` and
    ``stop_time`` as well, these are read instead. A row without start and stop is about the whole
    record, and with the label "noise" (or none) it says that the record was looked at and holds nothing else. Every
    record named in the table is taken as fully looked at: what lies outside its intervals is noise. Records that the
    table does not name are unlabelled.

    Raises:
        InputError: unreadable, a column is missing, or a value makes no sense; the message names the row.
    """
    frame = _read_frame(path)
    begin, end = ("start_time", "stop_time") if {"start_time", "stop_time"} <= set(frame.columns) else ("start", "stop")
    missing = [c for c in ("record", begin, end, "label") if c not in frame.columns]
    if missing:
        raise InputError(f"The interval table lacks the column(s) {', '.join(missing)}", where=path,
                         fix="It needs record, start, stop, label and may have event_id")
    starts, stops = _times(frame[begin], path), _times(frame[end], path)
    events = frame["event_id"] if "event_id" in frame.columns else pd.Series([""] * len(frame))
    rows = zip(frame["record"], frame["label"], starts, stops, events, strict=True)
    given = tuple(_given(path, row, *cells, classes=classes) for row, cells in enumerate(rows, start=1))
    return Labels(given, str(path))


def _read_frame(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(path).reset_index(drop=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True, index_col=False)
    except FileNotFoundError as error:
        raise InputError("There is no such file", where=path) from error
    except pd.errors.ParserWarning as error:
        raise InputError("The rows of the interval table have more fields than its header", where=path) from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"The interval table cannot be read: {error}", where=path) from error


def _empty(value: Any) -> bool:
    return value is None or value is pd.NaT or value is pd.NA or value != value or str(value).strip() == ""


def _times(column: pd.Series[Any], path: Path) -> list[float | np.datetime64 | None]:
    """The column as seconds or as UTC times, whichever the whole of it is; ``None`` where empty."""
    filled = column[[not _empty(v) for v in column]]
    found: list[float | np.datetime64 | None] = [None] * len(column)
    if not len(filled):
        return found
    timestamps = pd.api.types.is_datetime64_any_dtype(filled.dtype)
    numbers = pd.to_numeric(filled, errors="coerce") if not timestamps else None
    values: list[Any]
    if numbers is not None and np.isfinite(numbers.to_numpy(float)).all():
        values = [float(v) for v in numbers]
    else:
        times = pd.to_datetime(filled, utc=True, format="ISO8601", errors="coerce")
        odd = times.isna() if numbers is None or numbers.isna().all() else numbers.isna()
        if odd.any():
            row = int(np.flatnonzero(odd.to_numpy())[0])
            raise InputError(f"'{filled.iloc[row]}' in the column '{column.name}' does not fit: a column holds either "
                             "seconds or UTC times", where=f"{path}, row {int(filled.index[row]) + 1}",
                             fix="Write 12.5, or 2022-09-01T08:15:30.25Z, the same way in every row")
        values = list(times.dt.tz_localize(None).to_numpy("datetime64[ns]"))
    for position, value in zip(filled.index, values, strict=True):
        found[int(position)] = value
    return found


def _given(path: Path, row: int, name: Any, value: Any, start: Any, stop: Any, event: Any, *,
           classes: Sequence[str]) -> Given:
    where = f"{path}, row {row}"
    if _empty(name):
        raise InputError("The record is not named", where=where)
    label = NOISE if _empty(value) and start is None else label_of(value, classes)
    if label is None:
        raise InputError(f"The label {value!r} is none of {', '.join(classes)} or noise", where=where)
    if (start is None) != (stop is None):
        raise InputError("The row has a start without a stop, or a stop without a start", where=where)
    if start is not None and (type(start) is not type(stop) or not start < stop):
        raise InputError(f"The interval from {start} to {stop} is empty or mixes seconds with UTC times", where=where)
    return Given(str(name).strip(), label, start, stop, "" if _empty(event) else str(event).strip(), where)


def read_labels(path: Path, classes: Sequence[str]) -> Labels:
    """Read labels of either form, told apart by the suffix. See :func:`read_labels_json`, :func:`read_intervals`."""
    path = Path(path)
    return read_labels_json(path, classes) if path.suffix.lower() == ".json" else read_intervals(path, classes)


def find_labels(folder: Path, data: DasDataRecipe) -> Labels | None:
    """The labels that the recipe means: its ``labels`` (relative to ``folder``, or as given), or the first of
    ``LABEL_FILES`` in ``folder``. ``None`` where it names none and there are none.

    Raises:
        InputError: the recipe names a file that is not there, or the labels cannot be read.
    """
    if data.labels:
        inside = folder / data.labels
        path = inside if inside.exists() else Path(data.labels)
        if not path.is_file():
            raise InputError("There is no such file of labels, neither in data.folder nor as a path of its own",
                             where=f"data.labels={data.labels}")
        return read_labels(path, data.classes)
    there = [name for name in LABEL_FILES if (folder / name).exists()]
    # Somebody answered in the terminal (the journal is there), and would wonder where the answers went.
    if len(there) > 1 and (folder / JOURNALS).is_dir():
        say(f"Labels are read from {there[0]}; {', '.join(there[1:])} in {folder} is not read. Name another with "
            f"data.labels.")
    return read_labels(folder / there[0], data.classes) if there else None
