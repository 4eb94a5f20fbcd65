"""geomag: from a folder of windows to the sample table, with what belongs together in one group."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.pipelines.geomag.layout import CLASSES, ClassFile, Layout
from groundswell.splits.audit import CONTINUOUS

UNGROUPED = ("Ungrouped: may be inflated. No table beside the windows says which of them are of one event, so copies "
             "of one event may be in training and in the test.")
"""What stands beside every number of windows without a sidecar."""
_BLOCK_BYTES = 16 << 20


def sample_table(layout: Layout, join_overlaps: Literal["any", "station", "none"]) -> SampleTable:
    """The sample table of a layout.

    With a sidecar the columns are ``event``, ``station``, ``time`` and ``time_end`` (UTC), ``latitude``, ``longitude``,
    ``start`` and ``stop`` (minutes since 1970, so that overlaps at one station are seen), and whatever else the sidecar
    has. ``content`` is a digest of the values. Without a sidecar each window is a group of its own, and ``origin``
    says what that means.

    Args:
        layout: looked at already.
        join_overlaps: which windows that overlap in time belong together, beside those of one event.

    Raises:
        InputError: a start time cannot be read.
    """
    labels = layout.labels()
    row = np.concatenate([np.arange(file.rows) for file in layout.files])
    frame = pd.DataFrame({"sample_id": [f"{layout.days}d-{k}-{i:06d}" for k, i in zip(labels, row, strict=True)],
                          "label": labels, "row": row, "content": np.concatenate([digests(f) for f in layout.files])})
    origin = dict(layout.origin)
    if layout.sidecar is None:
        origin["ungrouped"] = True
        origin["marks"] = [*origin.get("marks", []), UNGROUPED]
        frame["record"] = frame["sample_id"]  # how long the records are that these were cut from is not known
        edges = [_same(frame["content"])]
    else:
        _join_sidecar(frame, layout)
        origin[CONTINUOUS] = True
        edges = [_same(frame["event"]), _same(frame["content"]), _overlapping(frame, join_overlaps)]
    frame["group"] = _group_names(frame, _components(len(frame), edges))
    return SampleTable(frame, CLASSES, pipeline="geomag", origin=origin)


def digests(file: ClassFile) -> NDArray[np.object_]:
    """A digest of the values of each window, hexadecimal text, shape (rows,)."""
    found = np.empty(file.rows, object)
    step = max(1, _BLOCK_BYTES // (file.columns * np.dtype(file.dtype).itemsize))
    for start in range(0, file.rows, step):
        for k, values in enumerate(file.block(start, min(start + step, file.rows))[:, :-1]):
            found[start + k] = hashlib.blake2b(values.data, digest_size=12).hexdigest()
    return found


def _join_sidecar(frame: pd.DataFrame, layout: Layout) -> None:
    sidecar = layout.sidecar
    assert sidecar is not None
    try:
        # A table in memory counts in microseconds or in nanoseconds, as it likes; ours always in nanoseconds.
        time = pd.to_datetime(sidecar["start_time"], utc=True, format="ISO8601").astype("datetime64[ns, UTC]")
    except (TypeError, ValueError) as error:
        raise InputError(f"A start time cannot be read: {str(error).partition('.')[0]}",
                         where=f"{layout.folder}, column 'start_time'",
                         fix="Write times as 2003-10-29T06:11:00Z") from error
    frame["event"], frame["station"] = sidecar["event_id"].astype(str), sidecar["station"].astype(str)
    frame["record"] = frame["station"]
    frame["time"], frame["time_end"] = time, time + pd.Timedelta(days=layout.days)
    frame["start"] = (time.astype("int64") // 60_000_000_000).astype("int64")
    frame["stop"] = frame["start"] + layout.minutes
    known = {"label", "row", "event_id", "station", "start_time"}
    for name in sidecar.columns:
        if name not in known and name not in frame.columns:
            frame[name] = sidecar[name].to_numpy()


Edges = tuple[NDArray[np.int64], NDArray[np.int64]]


def _same(column: pd.Series) -> Edges:
    """Each row with the first that has the same value."""
    codes = pd.factorize(column)[0]
    first = np.unique(codes, return_index=True)[1]
    return np.arange(len(codes)), first[codes].astype(np.int64)


def _overlapping(frame: pd.DataFrame, which: Literal["any", "station", "none"]) -> Edges:
    """Each row with the one before it in time whose window reaches into its own."""
    if which == "none":
        return np.empty(0, np.int64), np.empty(0, np.int64)
    station = pd.factorize(frame["station"])[0] if which == "station" else np.zeros(len(frame), np.int64)
    order = np.lexsort((frame["start"], station))
    start, stop, place = (np.asarray(values)[order] for values in (frame["start"], frame["stop"], station))
    # All windows are of one length, so the furthest end so far is that of the row before.
    joined = np.flatnonzero((start[1:] < stop[:-1]) & (place[1:] == place[:-1]))
    return order[joined].astype(np.int64), order[joined + 1].astype(np.int64)


def _components(rows: int, edges: list[Edges]) -> NDArray[np.int64]:
    one, other = (np.concatenate([edge[k] for edge in edges]) for k in (0, 1))
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(rows, rows))
    found: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return found


def _group_names(frame: pd.DataFrame, group: NDArray[np.int64]) -> list[str]:
    """Groups called by the first of their events (or samples), and by how many more there are."""
    names = frame["event"] if "event" in frame else frame["sample_id"]
    by_group = names.groupby(group)
    first, count = by_group.min(), by_group.nunique()
    called = [name if n == 1 else f"{name} and {n - 1} more" for name, n in zip(first, count, strict=True)]
    return [called[g] for g in group]


def check_groups(table: SampleTable, folds: int) -> None:
    """See that there are groups enough for the folds.

    Raises:
        InputError: there are not; the message says whether it is events that are few, or overlaps that join them.
    """
    groups = int(table.column("group").nunique())
    if groups >= folds:
        return
    events = int(table.column("event").nunique()) if table.has("event") else groups
    if events < folds:
        raise InputError(f"There are {events} events and {folds} folds; each fold tests events of its own",
                         where="split.folds", fix=f"Add events, or set split.folds to at most {max(events, 2)}")
    raise InputError(f"The windows of {events} events overlap in time and make only {groups} group(s), fewer than the "
                     f"{folds} folds: what two windows share must not be in training and in the test",
                     where="data.join_overlaps", fix="Use split.regime=blocks with data.join_overlaps=none (folds in "
                     "time, an embargo between them), windows further apart, or data.join_overlaps=station")
