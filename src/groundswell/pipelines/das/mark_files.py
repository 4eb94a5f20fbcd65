"""das: what a catalogue or an interval table says about one record, in seconds from its start."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from groundswell.core.errors import InputError
from groundswell.pipelines.das.catalogue import ArrivalRule, arrivals, read_catalogue
from groundswell.pipelines.das.label_files import read_intervals
from groundswell.pipelines.das.labels import NOISE
from groundswell.pipelines.das.record import Record

_CLASSES = ("earthquake", "quarry_blast")


def read_marks(events: Path, record: Record) -> list[tuple[float, float | None, str]]:
    """Start, stop and name of every event that falls into ``record``.

    A table with the columns ``record`` and ``label`` is an interval table; anything else is a catalogue.

    Raises:
        InputError: unreadable, or UTC times meet a record without a start time.
    """
    if _is_interval_table(events):
        return _of_intervals(events, record)
    catalogue = read_catalogue(events)
    when = arrivals(catalogue, ArrivalRule())
    found: list[tuple[float, float | None, str]] = []
    for kind, name, start, stop in zip(catalogue["kind"], catalogue["event_id"], when["start"], when["stop"],
                                       strict=True):
        begin_s = _seconds(start.to_datetime64(), record, events)
        end_s = _seconds(stop.to_datetime64(), record, events)
        if end_s > 0 and begin_s < (record.duration_s or 0.0):
            found.append((begin_s, end_s, kind or name))
    return found


def _is_interval_table(path: Path) -> bool:
    if path.suffix.lower() in (".parquet", ".pq"):
        return True
    try:
        with open(path, encoding="utf-8-sig") as handle:
            header = handle.readline().lower()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The events cannot be read: {error}", where=path) from error
    columns = {name.strip() for name in header.replace(";", ",").split(",")}
    return {"record", "label"} <= columns


def _of_intervals(path: Path, record: Record) -> list[tuple[float, float | None, str]]:
    found: list[tuple[float, float | None, str]] = []
    for given in read_intervals(path, _CLASSES).given:
        file, _, dataset = given.name.partition("#")
        if Path(file).name != record.path.name or (dataset and dataset != record.dataset):
            continue
        if given.label == NOISE or given.start is None or given.stop is None:
            continue
        found.append((_seconds(given.start, record, path), _seconds(given.stop, record, path), _CLASSES[given.label]))
    return found


def _seconds(time: float | np.datetime64, record: Record, path: Path) -> float:
    if not isinstance(time, np.datetime64):
        return float(time)
    if record.start_time is None:
        raise InputError("Its UTC times cannot be drawn on a record that does not say when it starts", where=path)
    return float((time.astype("datetime64[ns]") - record.start_time) / np.timedelta64(1, "ns")) * 1e-9
