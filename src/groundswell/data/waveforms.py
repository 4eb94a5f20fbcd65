"""data: predictions that are waveforms, the one form in which evaluation sees a network, a stack or another rival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.parquet import read_with_facts, write_with_facts

Floats32 = NDArray[np.float32]

_META = b"groundswell.waveform_predictions"


@dataclass(frozen=True)
class WaveformPredictions:
    """A waveform for each sample, each the source that a bag of traces has in common, and what was found of the traces.

    Attributes:
        sample_id: text, shape (n,).
        waveform: float32, shape (n, nt); origin, sign and amplitude are free.
        spread: float32, shape (n, nt), standard deviation of the waveform; NaN where none is given.
        shift_s: float32, shape (n, t), seconds by which each trace is late; only differences within a sample have
            meaning. NaN for padding, and where no shifts are given.
        flip: int8, shape (n, t), polarity of each trace, -1 or 1; 0 for padding, and where none are given.
        dt: sampling interval, seconds.
        t0: time of the first sample, seconds.
        member: which model of several, shape (n,), text.
        fold: int64, shape (n,), -1 where there are no folds.
        halves: float32, shape (n, 2, nt), the waveforms of two disjoint halves of each sample's traces; NaN where they
            are not given, ``None`` where no sample has them.
        envelope: the waveforms are envelopes already and can be held against envelopes only.
        note: free facts (``{"simulated": True}``) that travel with every number.

    Raises:
        InputError: shapes disagree, or a value is not finite that must be; the message names the sample.
    """

    sample_id: NDArray[np.object_]
    waveform: Floats32
    spread: Floats32
    shift_s: Floats32
    flip: NDArray[np.int8]
    dt: float
    t0: float
    member: NDArray[np.object_]
    fold: NDArray[np.int64]
    halves: Floats32 | None = None
    envelope: bool = False
    note: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.sample_id)
        if self.waveform.ndim != 2 or len(self.waveform) != n or self.spread.shape != self.waveform.shape:
            raise InputError(f"Waveforms of {n} samples cannot have the shape {self.waveform.shape} with spreads of "
                             f"{self.spread.shape}")
        if self.shift_s.ndim != 2 or len(self.shift_s) != n or self.flip.shape != self.shift_s.shape:
            raise InputError(f"Shifts and polarities of {n} samples cannot have the shapes {self.shift_s.shape} and "
                             f"{self.flip.shape}")
        if self.halves is not None and self.halves.shape != (n, 2, self.waveform.shape[1]):
            raise InputError(f"Two waveforms for each of {n} samples cannot have the shape {self.halves.shape}")
        if not n == len(self.member) == len(self.fold):
            raise InputError(f"Waveforms of {n} samples need as many members and folds; there are {len(self.member)} "
                             f"and {len(self.fold)}")
        if not (np.isfinite(self.dt) and np.isfinite(self.t0) and self.dt > 0):
            raise InputError(f"No time axis starts at {self.t0} s with steps of {self.dt} s")
        self._refuse(~np.isfinite(self.waveform), "A predicted waveform is not finite")
        self._refuse(np.isinf(self.spread) | (self.spread < 0), "A spread is negative or infinite")
        self._refuse(np.isinf(self.shift_s), "A shift is infinite")
        self._refuse(np.abs(self.flip) > 1, "A polarity is neither -1 nor 1, nor 0 for unknown")
        if self.halves is not None:
            flat = self.halves.reshape(n, 2 * self.waveform.shape[1])
            self._refuse(np.isinf(flat), "A waveform of half a bag is infinite")

    def _refuse(self, wrong: NDArray[np.bool_], what: str) -> None:
        if wrong.any():
            raise InputError(what, where=str(self.sample_id[int(np.flatnonzero(wrong.any(axis=1))[0])]))

    def __len__(self) -> int:
        return len(self.sample_id)

    @property
    def times(self) -> NDArray[np.float64]:
        """Seconds of the samples of a waveform, shape (nt,)."""
        return np.asarray(self.t0 + self.dt * np.arange(self.waveform.shape[1]), np.float64)

    @classmethod
    def of(cls, sample_id: Sequence[str] | NDArray[Any], waveform: NDArray[Any], *, dt: float, t0: float,
           spread: NDArray[Any] | None = None, shift_s: NDArray[Any] | None = None, flip: NDArray[Any] | None = None,
           halves: NDArray[Any] | None = None, member: str = "model", fold: int = -1, envelope: bool = False,
           note: dict[str, Any] | None = None) -> WaveformPredictions:
        """Predictions of one member and one fold; what is not given is NaN (or 0, for polarities)."""
        waveform = np.asarray(waveform, np.float32)
        n = len(sample_id)
        given = next((value for value in (shift_s, flip) if value is not None), np.zeros((n, 0)))
        return cls(np.asarray(sample_id, dtype=object), waveform,
                   np.full_like(waveform, np.nan) if spread is None else np.asarray(spread, np.float32),
                   np.full(given.shape, np.nan, np.float32) if shift_s is None else np.asarray(shift_s, np.float32),
                   np.zeros(given.shape, np.int8) if flip is None else np.asarray(flip, np.int8), float(dt), float(t0),
                   np.full(n, member, dtype=object), np.full(n, fold, dtype=np.int64),
                   None if halves is None else np.asarray(halves, np.float32), envelope, dict(note or {}))

    @classmethod
    def concatenate(cls, parts: Sequence[WaveformPredictions]) -> WaveformPredictions:
        """All parts after one another; they must share their time axis. Notes are merged, first one wins."""
        axes = {(p.waveform.shape[1], p.dt, p.t0, p.envelope) for p in parts}
        if len(axes) != 1:
            raise InputError("Waveforms can only be joined when there are some and their time axes agree")
        note: dict[str, Any] = {}
        for part in reversed(parts):
            note.update(part.note)
        traces = max(p.shift_s.shape[1] for p in parts)
        halves = None
        if any(p.halves is not None for p in parts):
            halves = np.concatenate([np.full((len(p), 2, p.waveform.shape[1]), np.nan, np.float32)
                                     if p.halves is None else p.halves for p in parts])
        return cls(np.concatenate([p.sample_id for p in parts]), np.concatenate([p.waveform for p in parts]),
                   np.concatenate([p.spread for p in parts]),
                   np.concatenate([padded(p.shift_s, traces, np.nan) for p in parts]),
                   np.concatenate([padded(p.flip, traces, 0) for p in parts]), parts[0].dt, parts[0].t0,
                   np.concatenate([p.member for p in parts]), np.concatenate([p.fold for p in parts]), halves,
                   parts[0].envelope, note)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> WaveformPredictions:
        """The predictions at these positions or where the mask is true."""
        return WaveformPredictions(
            self.sample_id[rows], self.waveform[rows], self.spread[rows], self.shift_s[rows], self.flip[rows], self.dt,
            self.t0, self.member[rows], self.fold[rows], None if self.halves is None else self.halves[rows],
            self.envelope, self.note)

    def write(self, path: Path) -> None:
        """Write as Parquet, atomically: one row a sample, waveforms and shifts as lists of fixed size."""
        columns: dict[str, pa.Array] = {"sample_id": pa.array(self.sample_id, pa.string()),
                                        "member": pa.array(self.member, pa.string()), "fold": pa.array(self.fold)}
        lists: dict[str, NDArray[Any]] = {"waveform": self.waveform, "spread": self.spread, "shift_s": self.shift_s,
                                          "flip": self.flip}
        if self.halves is not None:
            lists["halves"] = self.halves.reshape(len(self), 2 * self.waveform.shape[1])
        columns |= {name: pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
                    for name, values in lists.items() if values.shape[1]}
        meta = {"dt": self.dt, "t0": self.t0, "samples": self.waveform.shape[1], "traces": self.shift_s.shape[1],
                "halves": self.halves is not None, "envelope": self.envelope, "note": self.note}
        write_with_facts(path, pa.table(columns), _META, meta)

    @classmethod
    def read(cls, path: Path) -> WaveformPredictions:
        """Read what :meth:`write` wrote.

        Raises:
            InputError: missing, damaged or something else.
        """
        table, meta = read_with_facts(path, _META, "predicted waveforms")
        try:
            nt, traces = int(meta["samples"]), int(meta["traces"])
            halves = _lists(table, "halves", 2 * nt, np.float32).reshape(-1, 2, nt) if meta["halves"] else None
            return cls(_texts(table, "sample_id"), _lists(table, "waveform", nt, np.float32),
                       _lists(table, "spread", nt, np.float32), _lists(table, "shift_s", traces, np.float32),
                       _lists(table, "flip", traces, np.int8), float(meta["dt"]), float(meta["t0"]),
                       _texts(table, "member"), table["fold"].to_numpy().astype(np.int64), halves,
                       bool(meta["envelope"]), meta["note"])
        except (KeyError, TypeError, ValueError, AttributeError, pa.ArrowException) as error:
            raise InputError(f"The predicted waveforms are damaged: {error}", where=path,
                             fix="Make them again") from error


def padded(values: NDArray[Any], width: int, filling: float) -> NDArray[Any]:
    """``values`` (n, t) with columns of ``filling`` at the end, up to ``width`` of them in all."""
    return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=filling)


def _texts(table: pa.Table, name: str) -> NDArray[np.object_]:
    return np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=object)


def _lists(table: pa.Table, name: str, width: int, kind: Any) -> NDArray[Any]:
    """A column of lists of fixed size as an array (rows, width); writable, since callers may want to mend it."""
    if width == 0:
        return np.zeros((len(table), 0), kind)
    column = table[name].combine_chunks()
    if column.type.list_size != width or column.null_count:
        raise ValueError(f"the column '{name}' does not hold {width} numbers in every row")
    return np.array(column.flatten().to_numpy(zero_copy_only=False), dtype=kind).reshape(len(table), width)
