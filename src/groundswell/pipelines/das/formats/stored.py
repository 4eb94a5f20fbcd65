"""das: a record as JSON values and back, so that an index can keep it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from groundswell.core.errors import InputError
from groundswell.pipelines.das.record import Record


def to_json(record: Record) -> dict[str, Any]:
    """Every field by its name; the path as text, the start as ISO 8601 (UTC), ranges as lists."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    values["path"] = str(record.path)
    values["start_time"] = None if record.start_time is None else str(record.start_time)
    values["gaps"] = [list(gap) for gap in record.gaps]
    return values


def _optional_float(value: Any) -> float | None:
    return None if value is None else float(value)


def from_json(values: Mapping[str, Any]) -> Record:
    """The record that :func:`to_json` wrote.

    Raises:
        InputError: a fact is missing or of the wrong kind.
    """
    known = {field.name for field in fields(Record)}
    try:
        if set(values) != known:
            raise KeyError(", ".join(sorted(set(values) ^ known)))
        start = values["start_time"]
        exact = {
            "path": Path(values["path"]),
            "samples": int(values["samples"]),
            "channels": int(values["channels"]),
            "start_time": None if start is None else np.datetime64(start, "ns"),
            "gaps": tuple((int(first), int(last)) for first, last in values["gaps"]),
            "detail": dict(values["detail"]),
        }
        exact |= {name: _optional_float(values[name]) for name in ("rate_hz", "spacing_m", "gauge_m")}
        return Record(**{**values, **exact})
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"A stored record does not hold: {error}", where=str(values.get("path", "")),
                         fix="Delete the index; it is built anew from the files") from error
