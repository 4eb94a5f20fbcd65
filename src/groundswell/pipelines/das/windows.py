"""das: records cut into windows, labels joined to them, and the sample table that comes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import read_json
from groundswell.core.names import NOISE
from groundswell.data.table import SampleTable
from groundswell.pipelines.das.label_files import find_labels
from groundswell.pipelines.das.labels import BoundLabels, Interval, Labels, RecordLabels, file_of
from groundswell.pipelines.das.recipe import Channels, DasDataRecipe, DasRecipe
from groundswell.pipelines.das.record import Record
from groundswell.pipelines.das.record_index import Found, find_all
from groundswell.pipelines.das.region_maps import read_region_maps
from groundswell.pipelines.das.selection import select

UNKNOWN = -1


@dataclass(frozen=True)
class Cut:
    """Windows of one record.

    Attributes:
        windows: int64, shape (n, 2), by start: sample ranges ``[start, stop)``. A range shorter than the window is the
            padded end of a segment.
        left: sample ranges that are recorded but in no window, by start.
    """

    windows: NDArray[np.int64]
    left: tuple[tuple[int, int], ...]


def segments(record: Record) -> list[tuple[int, int]]:
    """Sample ranges between the record's gaps, by start, none of them empty."""
    found, position = [], 0
    for start, stop in sorted(record.gaps):
        if start > position:
            found.append((position, min(start, record.samples)))
        position = max(position, stop)
    if position < record.samples:
        found.append((position, record.samples))
    return found


def cut(record: Record, window: int, stride: int, tail: str = "drop") -> Cut:
    """Cut a record into windows that never straddle a gap.

    Args:
        record: what to cut.
        window: length in samples.
        stride: step between starts, in samples, counted anew from the beginning of each segment.
        tail: ``"drop"`` leaves the samples after the last full window out; ``"pad"`` makes one more, shorter window.
    """
    ranges: list[NDArray[np.int64]] = []
    left: list[tuple[int, int]] = []
    for begin, end in segments(record):
        count = max(0, (end - begin - window) // stride + 1)
        starts = begin + stride * np.arange(count, dtype=np.int64)
        covered = int(starts[-1]) + window if count else begin
        following = begin + stride * count
        stops = starts + window
        if tail == "pad" and covered < end and following < end:
            starts, stops = np.append(starts, following), np.append(stops, end)
            covered = end
        ranges.append(np.stack([starts, stops], axis=1))
        # A stride longer than the window leaves samples between windows as well.
        left += [(int(a), int(b)) for a, b in zip(stops[:-1], starts[1:], strict=True) if a < b]
        if covered < end:
            left.append((covered, end))
    windows = np.concatenate(ranges) if ranges else np.empty((0, 2), np.int64)
    return Cut(windows, tuple(left))


@dataclass(frozen=True)
class Labelled:
    """Labels of the windows of one record.

    Attributes:
        label: int64, shape (n,): class, ``UNKNOWN`` where not known or where an event only grazes the window.
        noise: bool, shape (n,): holds no part of any event, in a record that was looked at.
        event: text, shape (n,): event id, empty where there is none.
    """

    label: NDArray[np.int64]
    noise: NDArray[np.bool_]
    event: NDArray[np.object_]


def label_windows(windows: NDArray[np.int64], given: RecordLabels | None, event_overlap: float) -> Labelled:
    """Join what is known of a record to its windows.

    A window carries the label of the event that it shares most samples with, if these are at least ``event_overlap``
    of the window or of the event, whichever is shorter. In a record with exactly one event every window, noise too,
    names that event: it is what is scored.
    """
    n = len(windows)
    label, noise, event = np.full(n, UNKNOWN, np.int64), np.zeros(n, bool), np.full(n, "", object)
    if given is None:
        return Labelled(label, noise, event)
    if given.whole is not None:
        label[:], event[:] = given.whole, given.event
        return Labelled(label, noise, event)
    most = np.zeros(n, np.int64)
    for interval in given.intervals:
        rows, shared = _shared_samples(windows, interval)
        better = shared > most[rows]
        rows, shared = rows[better], shared[better]
        shorter = np.minimum(windows[rows, 1] - windows[rows, 0], interval.stop - interval.start)
        most[rows] = shared
        event[rows] = interval.event
        label[rows] = np.where(shared >= event_overlap * shorter, interval.label, UNKNOWN)
    noise = most == 0
    events = {i.event for i in given.intervals}
    if len(events) == 1:
        event[:] = events.pop()
    return Labelled(label, noise, event)


def _shared_samples(windows: NDArray[np.int64], interval: Interval) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the windows that touch the interval, and how many samples each shares with it."""
    # Starts and stops both grow, so the windows touched are one run of them.
    first = int(np.searchsorted(windows[:, 1], interval.start, side="right"))
    last = int(np.searchsorted(windows[:, 0], interval.stop, side="left"))
    rows = np.arange(first, max(first, last), dtype=np.int64)
    return rows, np.minimum(windows[rows, 1], interval.stop) - np.maximum(windows[rows, 0], interval.start)


def build_index(folder: Path, data: DasDataRecipe, *, labels: Labels | None = None,
                cache: Path | None = None) -> tuple[list[Record], SampleTable]:
    """Find the records of a folder, join the labels, cut them into windows.

    Facts of the files come from an index that is kept beside them and holds only for files that did not change; labels
    are read anew each time.

    Args:
        folder: folder of records, read with its subfolders.
        data: which records and labels, and how to cut.
        labels: labels to use instead of those the recipe names.
        cache: file of the index; ``folder/.groundswell/records.parquet`` when absent.

    Returns:
        The records in use and the table of their windows; ``record_index`` of the table is a position in the records.
        ``table.origin["left_out"]`` says which records are not in use and why, ``["samples_left"]`` how many recorded
        samples of the others are in no window, ``["simulated"]`` is true where the folder's truth.json says so.

    Raises:
        InputError: no record can be used, sampling rates are mixed, windows are longer than every record, or labels
            do not fit (see :meth:`Labels.bind`).
    """
    folder = Path(folder)
    chosen, left_out = select(find_all(folder, cache), data, where=folder)
    bound, with_noise = _labels_for(folder, data, chosen, left_out, labels)
    classes = (*data.classes, NOISE) if with_noise and data.noise_class else tuple(data.classes)
    parts, samples_left = [], 0
    for position, (key, item) in enumerate(chosen.items()):
        pieces = cut(item.record, data.window_samples, data.stride_samples, data.tail)
        samples_left += sum(b - a for a, b in pieces.left)
        parts.append(_rows_of(position, key, item, pieces, bound.for_record(key), data))
    frame = pd.concat(parts, ignore_index=True)
    longest = max(b - a for item in chosen.values() for a, b in segments(item.record))
    if longest < data.window_samples:
        raise InputError(f"Windows of {data.window_samples} samples are longer than every record: the longest "
                         f"uninterrupted one has {longest} samples", where=folder,
                         fix=f"Set data.window_samples to {longest} or less")
    frame["group"] = _groups(list(chosen), frame)
    origin: dict[str, Any] = {"folder": str(folder), "left_out": left_out, "samples_left": samples_left}
    if any(_is_simulated(place) for place in {folder, *(item.record.path.parent for item in chosen.values())}):
        origin["simulated"] = True
    return [item.record for item in chosen.values()], SampleTable(frame, classes, pipeline="das", origin=origin)


def _is_simulated(folder: Path) -> bool:
    """Whether the simulator's truth lies beside the records."""
    truth = folder / "truth.json"
    said = read_json(truth) if truth.is_file() else None
    return isinstance(said, dict) and said.get("simulated") is True


def _labels_for(folder: Path, data: DasDataRecipe, chosen: Mapping[str, Found], left_out: Iterable[str],
                labels: Labels | None) -> tuple[BoundLabels, bool]:
    """Labels of the chosen records, and whether some of them are about parts of a record (so that there is noise)."""
    records = {key: item.record for key, item in chosen.items()}
    given = labels if labels is not None else find_labels(folder, data)
    bound = given.bind(records, left_out) if given is not None else BoundLabels({})
    if data.region_labels:
        bound = bound.joined(read_region_maps(records, data.classes, data.channels))
    return bound, any(known.whole is None for known in bound.records.values())


def _rows_of(position: int, key: str, item: Found, pieces: Cut, given: RecordLabels | None,
             data: DasDataRecipe) -> pd.DataFrame:
    """The table's rows of one record, without the group."""
    record, windows = item.record, pieces.windows
    known = label_windows(windows, given, data.event_overlap)
    keep = np.ones(len(windows), bool)
    label = known.label.copy()
    if data.noise_class:
        label[known.noise] = len(data.classes)
        keep[_surplus(known.noise, data.noise_windows_per_record)] = False
    elif given is not None and given.whole is None:
        keep = known.label != UNKNOWN
    starts, stops = windows[keep, 0], windows[keep, 1]
    channels = channels_in_use(record, data.channels)
    return pd.DataFrame({
        "sample_id": [f"{key}:{start}" for start in starts], "record": key,
        "label": pd.Series(label[keep], dtype="Int64").replace(UNKNOWN, pd.NA),
        "group": "", "event": known.event[keep].astype(str).astype(object),
        "time": _times(record, starts), "start": starts, "stop": stops, "rate_hz": float(record.rate_hz or np.nan),
        "channels": np.int64(len(channels)), "spacing_m": float((record.spacing_m or np.nan) * channels.step),
        "content": [f"{item.content}:{a}-{b}" for a, b in zip(starts, stops, strict=True)],
        "record_index": np.int64(position),
    })


def _times(record: Record, starts: NDArray[np.int64]) -> pd.DatetimeIndex:
    """UTC of these samples; NaT where the record does not know its start."""
    begin = record.start_time if record.start_time is not None else np.datetime64("NaT", "ns")
    offset_ns = np.round(starts / (record.rate_hz or 1.0) * 1e9).astype("timedelta64[ns]")
    return pd.DatetimeIndex(begin.astype("datetime64[ns]") + offset_ns, tz="UTC")


def _surplus(noise: NDArray[np.bool_], limit: int) -> NDArray[np.int64]:
    """Positions of noise windows beyond ``limit``, those kept being evenly spread; 0 limits nothing."""
    rows = np.flatnonzero(noise)
    if limit == 0 or len(rows) <= limit:
        return rows[:0]
    kept = np.round((np.arange(limit) + 0.5) * len(rows) / limit - 0.5).astype(np.int64)
    return np.delete(rows, kept)


def channels_in_use(record: Record, channels: Channels | None) -> range:
    """The channels of this record that a recipe's ``data.channels`` means."""
    first, last, step = (*channels, 1)[:3] if channels is not None else (0, record.channels, 1)
    return range(min(first, record.channels), min(last, record.channels), step)


def _groups(keys: Sequence[str], frame: pd.DataFrame) -> pd.Series[Any]:
    """Connected components of records and events: neither an event nor a file ever lies in two groups.

    A group is called by its event where it has exactly one, otherwise by its first record.
    """
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for key in keys:
        parent[root(("record", key))] = root(("file", file_of(key)))
    pairs = frame.loc[frame["event"] != "", ["record", "event"]].drop_duplicates()
    for key, event in pairs.itertuples(index=False):
        parent[root(("event", event))] = root(("record", key))
    events: dict[tuple[str, str], set[str]] = {}
    for event in pairs["event"]:
        events.setdefault(root(("event", event)), set()).add(event)
    names: dict[tuple[str, str], str] = {}
    for key in keys:
        its = events.get(root(("record", key)), set())
        names.setdefault(root(("record", key)), f"event {next(iter(its))}" if len(its) == 1 else f"record {key}")
    return frame["record"].map({key: names[root(("record", key))] for key in keys})


def check_trainable(table: SampleTable, recipe: DasRecipe) -> None:
    """See that there is something to learn: every class of the table has labelled windows, and there are two or more.

    Raises:
        InputError: no labels at all, labels of one class only, or a class without any; the message says where labels
            were looked for.
    """
    folder = recipe.data.folder
    counts = np.bincount(table.labels()[table.labels() >= 0], minlength=len(table.classes))
    if not counts.sum():
        raise InputError("Not one window has a label", where=recipe.data.labels or folder,
                         fix=f"Run 'groundswell das label {folder}', or name the labels by data.labels")
    present = [name for name, count in zip(table.classes, counts, strict=True) if count]
    absent = [name for name, count in zip(table.classes, counts, strict=True) if not count]
    if len(present) == 1:
        raise InputError(f"All {int(counts.sum())} labelled windows are of one class, '{present[0]}'; there is nothing "
                         "to tell apart", where=recipe.data.labels or folder,
                         fix=f"Label records of the class(es) {', '.join(absent) or 'noise'} too")
    if absent:
        advice = "set data.noise_class to false" if absent == [NOISE] else "take the class out of data.classes"
        raise InputError(f"No window is labelled '{absent[0]}'", where=recipe.data.labels or folder,
                         fix=f"Label some, or {advice}")
