"""das: labels that people gave, of whole records and of intervals in them, and how they are joined to records.

They are joined when training starts, to the records that are there then; nothing here is ever cached.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from groundswell.core.errors import InputError
from groundswell.pipelines.das.record import Record

NOISE = -1
"""Label of what was looked at and holds no event."""

_SAME_MEANING = (
    frozenset({"earthquake", "eq", "quake", "seisme"}),
    frozenset({"quarryblast", "qb", "blast", "explosion", "miningexplosion", "chemicalexplosion", "controlledexplosion",
               "industrialexplosion", "tir", "tirdecarriere"}),
    frozenset({"noise", "bruit", "none", "noevent"}),
)


def _plain(text: str) -> str:
    """Lower-case letters and digits of ``text`` without accents."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed.lower() if c.isascii() and c.isalnum())


def label_of(value: Any, classes: Sequence[str]) -> int | None:
    """The label meant by a number or a word ("1", "QB", "quarry blast"): an index into ``classes``, or ``NOISE``.

    ``None`` where it means none of the classes.
    """
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
        return int(number) if number.is_integer() and 0 <= number < len(classes) else None
    except (TypeError, ValueError):
        word = _plain(str(value))
    plain = [_plain(name) for name in classes]
    if word in plain:
        return plain.index(word)
    for meaning in _SAME_MEANING:
        if word in meaning:
            named = [k for k, name in enumerate(plain) if name in meaning]
            return named[0] if named else (NOISE if "noise" in meaning else None)
    return None


@dataclass(frozen=True)
class Interval:
    """A stretch of a record with one label, in time samples ``[start, stop)``; it may reach beyond the record."""

    start: int
    stop: int
    label: int
    event: str


@dataclass(frozen=True)
class RecordLabels:
    """What is known of one record.

    Attributes:
        whole: label of the whole record, or ``None`` when intervals say it all.
        event: event of the whole record, empty with intervals.
        intervals: events in it, by start; none at all means that the record was looked at and is noise.
    """

    whole: int | None = None
    event: str = ""
    intervals: tuple[Interval, ...] = ()


@dataclass(frozen=True)
class Given:
    """One label as it was given.

    Attributes:
        name: record key, path inside the folder, or plain file name.
        label: index into the classes, or ``NOISE``.
        start, stop: seconds from the record's start (float) or UTC times; ``None`` for the whole record.
        event: event id, may be empty.
        where: file and row, for messages.
    """

    name: str
    label: int
    start: float | np.datetime64 | None = None
    stop: float | np.datetime64 | None = None
    event: str = ""
    where: str = ""


@dataclass(frozen=True)
class Labels:
    """Labels as given, not yet bound to records."""

    given: tuple[Given, ...]
    source: str

    def bind(self, records: Mapping[str, Record], others: Iterable[str] = ()) -> BoundLabels:
        """Join the labels to records.

        Args:
            records: the records in use, by key; their sampling rates are known.
            others: keys of records that are there too but not used; labels may name them and have no effect.

        Raises:
            InputError: labels for files that are not there, a name that fits several files, contradicting labels of
                one record, an interval outside its record, or UTC times for a record without a start time.
        """
        names = names_of([*records, *others])
        self._refuse_missing(names)
        of_record: dict[str, list[Given]] = {}
        for given in self.given:
            for key in names[given.name]:
                of_record.setdefault(key, []).append(given)
        return BoundLabels({key: _bind(key, records[key], found) for key, found in of_record.items() if key in records})

    def _refuse_missing(self, names: Mapping[str, list[str]]) -> None:
        missing = sorted({g.name for g in self.given if g.name not in names})
        if missing:
            shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            raise InputError(f"{len(missing)} label(s) name files that are not among the records: {shown}",
                             where=self.source,
                             fix="Correct the names, take these entries out, or put the files back into the folder")
        for given in self.given:
            if len({file_of(key) for key in names[given.name]}) > 1:
                raise InputError(f"The name '{given.name}' fits several files: {', '.join(names[given.name][:5])}",
                                 where=given.where, fix="Give the path inside the folder, not the file name alone")


@dataclass(frozen=True)
class BoundLabels:
    """Labels by record key."""

    records: Mapping[str, RecordLabels]

    def for_record(self, key: str) -> RecordLabels | None:
        """What is known of the record, ``None`` if nobody labelled it."""
        return self.records.get(key)

    def joined(self, other: BoundLabels) -> BoundLabels:
        """Both together. Intervals of the two are added up; intervals take the place of a whole record's label."""
        merged = dict(self.records)
        for key, new in other.records.items():
            old = merged.get(key)
            if old is None or old.whole is not None:
                merged[key] = new if old is None or new.whole is None else old
            elif new.whole is None:
                merged[key] = RecordLabels(intervals=_by_start(old.intervals + new.intervals))
        return BoundLabels(merged)


def file_of(key: str) -> str:
    """The file's path inside the folder, from a record key."""
    return key.partition("#")[0]


def event_of_file(key: str) -> str:
    """Event of a record whose label is of the whole file: the file's path without its suffix.

    Numbered suffixes (``..._UTC-005.h5``) stay: they are other events of the same day.
    """
    return str(PurePosixPath(file_of(key)).with_suffix(""))


def names_of(records: Iterable[str]) -> dict[str, list[str]]:
    """Record keys by every name they can be called: key, path inside the folder, plain file name.

    A path always wins over a plain file name, so ``a.h5`` means the one in the folder itself, if it is there.
    """
    exact: dict[str, list[str]] = {}
    loose: dict[str, list[str]] = {}
    for key in records:
        path = file_of(key)
        exact.setdefault(key, []).append(key)
        if path != key:
            exact.setdefault(path, []).append(key)
        loose.setdefault(PurePosixPath(path).name, []).append(key)
    return {**loose, **exact}


def _by_start(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    return tuple(sorted(set(intervals), key=lambda i: (i.start, i.stop, i.label, i.event)))


def _bind(key: str, record: Record, found: Sequence[Given]) -> RecordLabels:
    whole = [g for g in found if g.start is None and g.label != NOISE]
    parts = [g for g in found if g.start is not None and g.label != NOISE]
    if whole and (parts or len({(g.label, g.event) for g in whole}) > 1):
        raise InputError(f"The record '{key}' is labelled more than once, and not alike",
                         where=f"{whole[0].where}; {(parts or whole)[-1].where}",
                         fix="Keep one label for the whole record, or intervals only")
    if whole:
        return RecordLabels(whole[0].label, whole[0].event or event_of_file(key))
    return RecordLabels(intervals=_by_start(_samples(key, record, g) for g in parts))


def _samples(key: str, record: Record, given: Given) -> Interval:
    rate = record.rate_hz
    if rate is None:
        raise InputError(f"The record '{key}' has no known sampling rate, so times in it cannot be found",
                         where=given.where, fix="Set data.rate_hz, or leave the record out")

    def seconds(value: float | np.datetime64 | None) -> float:
        if not isinstance(value, np.datetime64):
            return float(value or 0.0)
        if record.start_time is None:
            raise InputError(f"The record '{key}' has no start time, so UTC times in it cannot be found",
                             where=given.where, fix="Give start and stop in seconds from the record's start")
        return float((value - record.start_time) / np.timedelta64(1, "ns")) * 1e-9

    start, stop = seconds(given.start), seconds(given.stop)
    if stop <= 0 or start * rate >= record.samples:
        raise InputError(f"The interval {start:.2f} s to {stop:.2f} s lies outside the record '{key}', which is "
                         f"{record.samples / rate:.2f} s long", where=given.where,
                         fix="Give seconds (not samples) from the record's start, or UTC times")
    return Interval(round(start * rate), max(round(stop * rate), round(start * rate) + 1), given.label,
                    given.event or f"{key}@{start:.2f}s")
