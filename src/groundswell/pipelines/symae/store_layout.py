"""symae: what a store of bags is made of: its facts, the columns of its tables and the shapes of its truth."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from groundswell.core.errors import InputError

FORMAT = "groundswell bags 1"
MAKE_AGAIN = "Copy it again from where it was whole, or make it again with 'groundswell symae prepare' or 'simulate'"

TRACE_COLUMNS: Mapping[str, Any] = {
    "bag": np.int64, "event": "", "pixel": np.int64, "station": "", "azimuth": np.nan, "takeoff": np.nan,
    "distance": np.nan, "latitude": np.nan, "longitude": np.nan, "pick": np.nan, "pick_kind": "", "flip": 1,
    "snr": np.nan, "held_out": False,
}
"""Of traces.parquet, with what stands where nothing is known; a type where there must be something. Degrees; ``pick``
in seconds on the time axis; ``flip`` int8, the polarity that was applied; ``held_out`` marks stations kept apart."""

BAG_COLUMNS: Mapping[str, Any] = {
    "bag": np.int64, "event": "", "pixel": np.int64, "start": np.int64, "count": np.int64, "latitude": np.nan,
    "longitude": np.nan, "depth_km": np.nan, "magnitude": np.nan, "time": pd.NaT, "pixel_colatitude": np.nan,
    "pixel_longitude": np.nan, "world": "",
}
"""Of bags.parquet; ``latitude`` to ``time`` are the event's; ``pixel_colatitude`` (the take-off angle) and
``pixel_longitude`` (the azimuth) are the centre of the pixel, degrees; ``world`` names a simulated row, or is empty."""

TRUTH: Mapping[str, tuple[str, str, Any]] = {
    "source": ("bag", "nt", np.float32), "shift": ("trace", "", np.float32), "flip": ("trace", "", np.int8),
    "clean": ("trace", "nt", np.float32), "path": ("trace", "nt", np.float32), "shared": ("bag", "", np.bool_),
}
"""One row for each what, with samples or without, dtype. ``shift`` in seconds; ``shared``: the paths share a part."""
NEEDED_TRUTH = ("source", "shift", "flip", "clean")


@dataclass(frozen=True)
class StoreFacts:
    """What holds for every trace of a store.

    Attributes:
        dt: seconds between samples.
        t0: time of sample 0, seconds after the theoretical P arrival (so it is negative).
        nt: samples in a trace.
        preparation: how the traces were prepared, and how many were dropped for what reason.
        note: free facts; ``{"simulated": True}`` is honoured by every report.
    """

    dt: float
    t0: float
    nt: int
    preparation: dict[str, Any] = field(default_factory=dict)
    note: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.nt >= 2 and math.isfinite(self.t0) and math.isfinite(self.dt) and self.dt > 0):
            raise InputError(f"A store needs two samples or more, some time apart; given: nt {self.nt}, "
                             f"dt {self.dt} s, t0 {self.t0} s")

    def as_json(self) -> dict[str, Any]:
        """For store.json."""
        return asdict(self)


def typed_traces(traces: pd.DataFrame) -> pd.DataFrame:
    """The columns of :data:`TRACE_COLUMNS`, typed and in their order, and then any others.

    Raises:
        InputError: a column that must be there is missing, or holds something else.
    """
    frame = _typed(traces, TRACE_COLUMNS, "traces")
    return frame.astype({"flip": np.int8})


def typed_bags(bags: pd.DataFrame, traces: pd.DataFrame) -> pd.DataFrame:
    """The columns of :data:`BAG_COLUMNS`, typed; ``start`` and ``count`` come from the traces.

    Args:
        bags: one row for each bag, in the order of their numbers.
        traces: as :func:`typed_traces` returns them.

    Raises:
        InputError: rows of a bag do not lie together, a bag has fewer than two, or two bags are of one event and pixel.
    """
    numbers = traces["bag"].to_numpy(np.int64)
    if not len(bags):
        raise InputError("A store needs at least one bag")
    if len(numbers) and ((np.diff(numbers) < 0).any() or numbers[0] < 0 or numbers[-1] >= len(bags)):
        raise InputError(f"Traces must lie together by bag, 0 to {len(bags) - 1}", where="column 'bag' of the traces")
    count = np.bincount(numbers, minlength=len(bags))
    frame = bags.assign(bag=np.arange(len(bags)), start=np.cumsum(count) - count, count=count)
    frame = _typed(frame, BAG_COLUMNS, "bags")
    if (count < 2).any():
        raise InputError("A bag needs two traces or more: one cannot tell its source from its path",
                         where=name_of(frame, int(np.argmax(count < 2))))
    again = frame.duplicated(["event", "pixel"])
    if again.any():
        raise InputError("Two bags are of one event and one pixel", where=name_of(frame, int(np.argmax(again))))
    same = (traces["event"].to_numpy() == frame["event"].to_numpy()[numbers]) & (
        traces["pixel"].to_numpy() == frame["pixel"].to_numpy()[numbers])
    if not same.all():
        raise InputError("A trace is of another event or pixel than its bag", where=f"trace {int(np.argmin(same))}")
    return frame


def name_of(bags: pd.DataFrame, bag: int) -> str:
    """Event and pixel of a bag, as people are told of it and as samples are named: ``event/pixel``."""
    return f"{bags['event'].iloc[bag]}/{bags['pixel'].iloc[bag]}"


def _typed(frame: pd.DataFrame, columns: Mapping[str, Any], which: str) -> pd.DataFrame:
    missing = [name for name, default in columns.items() if isinstance(default, type) and name not in frame.columns]
    if missing or "event" not in frame.columns:
        raise InputError(f"The table of {which} lacks the column(s) {', '.join(missing or ['event'])}")
    made: dict[str, Any] = {}
    for name, default in columns.items():
        column = frame[name] if name in frame.columns else pd.Series(default, index=frame.index)
        try:
            made[name] = _cast(column, default)
        except (TypeError, ValueError) as error:
            raise InputError(f"The column '{name}' of the {which} holds something else: {error}") from error
    others = {str(name): frame[name] for name in frame.columns if name not in columns}
    return pd.DataFrame({**made, **others}).reset_index(drop=True)


def _cast(column: pd.Series[Any], default: Any) -> pd.Series[Any]:
    if default is pd.NaT:
        return pd.to_datetime(column, utc=True, format="ISO8601").astype("datetime64[ns, UTC]")
    if isinstance(default, str):
        return column.fillna("").astype(str).astype(object)
    if isinstance(default, bool):
        return column.fillna(False).astype(bool)
    return column.astype(default if isinstance(default, type) else np.float64 if default != 1 else np.int8)


def tables_digest(facts: StoreFacts, traces: pd.DataFrame, bags: pd.DataFrame) -> str:
    """Digest of the time axis and of both tables' content, hexadecimal; free facts do not count."""
    digest = hashlib.blake2b(json.dumps([facts.dt, facts.t0, facts.nt]).encode(), digest_size=16)
    for frame in (traces, bags):
        for name in sorted(frame.columns):
            digest.update(f"\x1f{name}".encode())
            digest.update(pd.util.hash_pandas_object(frame[name], index=False).to_numpy().tobytes())
    return digest.hexdigest()


def truth_shape(name: str, traces: int, bags: int, nt: int) -> tuple[int, ...]:
    """Shape of one array of truth."""
    of, samples, _ = TRUTH[name]
    return (traces if of == "trace" else bags, *((nt,) if samples else ()))


def read_facts(value: Any, where: Path) -> StoreFacts:
    """The facts in what store.json holds.

    Raises:
        InputError: it is no store, of another format, or lacks something.
    """
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise InputError(f"This is not a '{FORMAT}'", where=where,
                         fix="It may have been written by another release; make it again")
    try:
        return StoreFacts(float(value["dt"]), float(value["t0"]), int(value["nt"]), dict(value["preparation"]),
                          dict(value["note"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"The store's description lacks something or holds something else: {error!r}", where=where,
                         fix=MAKE_AGAIN) from error
