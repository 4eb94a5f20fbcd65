"""evaluate: what is known to be true of samples whose waveforms are predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.evaluate.intervals import FloatArray


class KnownRows(NamedTuple):
    """The truth beside rows of predictions: see :class:`WaveformTruth` for what each is."""

    waveform: FloatArray
    shift_s: FloatArray
    flip: NDArray[np.int8]
    recoverable: NDArray[np.bool_]


@dataclass(frozen=True)
class WaveformTruth:
    """What is known to be true of samples; those it does not name are unknown.

    Attributes:
        sample_id: text, shape (n,), each once.
        waveform: shape (n, nt), on the time steps of the predictions; rows of NaN where it is not known.
        shift_s: shape (n, t), seconds by which each trace is late; NaN for padding and where not known.
        flip: int8, shape (n, t), polarity, -1 or 1; 0 for padding and where not known.
        recoverable: bool, shape (n,); False where the paths of all traces share a part, which nothing in the traces
            tells from the source.
        shifts_from: what the shifts are, to follow "against": true, or measured by someone.

    Raises:
        InputError: shapes disagree, or a sample is there twice.
    """

    sample_id: NDArray[np.object_]
    waveform: FloatArray
    shift_s: FloatArray
    flip: NDArray[np.int8]
    recoverable: NDArray[np.bool_]
    shifts_from: str = "the true shifts"

    def __post_init__(self) -> None:
        n = len(self.sample_id)
        if not n == len(self.waveform) == len(self.shift_s) == len(self.flip) == len(self.recoverable):
            raise InputError(f"The truth of {n} samples needs as many waveforms, shifts, polarities and marks")
        if len(set(self.sample_id)) != n:
            raise InputError("The truth of a sample is given twice")

    @classmethod
    def of(cls, sample_id: Sequence[str] | NDArray[Any], *, nt: int, waveform: NDArray[Any] | None = None,
           shift_s: NDArray[Any] | None = None, flip: NDArray[Any] | None = None,
           recoverable: NDArray[Any] | None = None, shifts_from: str = "the true shifts") -> WaveformTruth:
        """What is given, the rest unknown (and recoverable)."""
        n = len(sample_id)
        return cls(np.asarray(sample_id, dtype=object),
                   np.full((n, nt), np.nan) if waveform is None else np.asarray(waveform, np.float64),
                   np.full((n, 0), np.nan) if shift_s is None else np.asarray(shift_s, np.float64),
                   np.zeros((n, 0), np.int8) if flip is None else np.asarray(flip, np.int8),
                   np.ones(n, bool) if recoverable is None else np.asarray(recoverable, bool), shifts_from)

    def beside(self, sample_id: NDArray[np.object_]) -> KnownRows:
        """The truth of these samples, one row for each, unknown (and recoverable) where it is not given."""
        place = pd.Index(self.sample_id).get_indexer(pd.Index(sample_id))
        known = place >= 0

        def rows(values: NDArray[Any], unknown: float) -> NDArray[Any]:
            found = np.full((len(place), *values.shape[1:]), unknown, values.dtype)
            found[known] = values[place[known]]
            return found

        return KnownRows(rows(self.waveform, np.nan), rows(self.shift_s, np.nan), rows(self.flip, 0),
                         rows(self.recoverable, True))
