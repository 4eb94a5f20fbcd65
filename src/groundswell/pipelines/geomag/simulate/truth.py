"""geomag: what is true of simulated windows, one row a window, and the planted waveform back from such a row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag.building.minutes import iso_minute
from groundswell.pipelines.geomag.layout import MINUTES_A_DAY, window_folder
from groundswell.pipelines.geomag.simulate.events import Event
from groundswell.pipelines.geomag.simulate.signal import Planted, band_deviation
from groundswell.pipelines.geomag.simulate.stations import Copy, Station

NOTHING = "none"
"""The kind of a window without a signal."""
_NUMBERS = ("amplitude_nt", "centre_minutes", "duration_minutes", "period_minutes", "phase_rad")


def truth_row(event: Event, station: Station, copy: Copy, row: int, signal: Planted, background_nt: NDArray[np.float64],
              ) -> dict[str, Any]:
    """A row of ``truth.csv``.

    Columns beside those of :class:`Planted` (``centre_minutes`` is before the window's end): ``centre_time`` (UTC, to
    the minute), ``background_std_nt`` (the whole window without signal, its station's noise included),
    ``background_band_nt`` (the same in the signal's band, less a straight line), and the amplitude's ratios to both.
    The band is also given where nothing is planted: it is that of the signal which would have been.
    """
    deviation = float(background_nt.std())
    band = band_deviation(background_nt, signal.band_per_minute)
    there = event.label == 1 and signal.amplitude_nt > 0
    amplitude = signal.amplitude_nt if there else 0.0
    facts: dict[str, Any] = {
        "label": event.label, "row": row, "event_id": event.event_id, "station": station.name,
        "shift_minutes": copy.shift_minutes, "gain": copy.gain, "kind": signal.kind if there else NOTHING,
        "amplitude_nt": amplitude}
    facts |= {name: getattr(signal, name) if there else np.nan for name in _NUMBERS[1:]}
    facts["centre_time"] = iso_minute(event.minute - round(signal.centre_minutes)) if there else ""
    return facts | {"background_std_nt": deviation, "background_band_nt": band,
                    "signal_to_background": amplitude / deviation, "signal_to_band": amplitude / band}


def planted(truth: Mapping[str, Any] | pd.Series, days: int) -> NDArray[np.float64]:
    """The waveform that was added to a window of so many days, nT, float64 (minutes,); zeros where nothing was.

    Args:
        truth: a row of ``truth.csv``.
        days: length of the window.
    """
    minutes = days * MINUTES_A_DAY
    if truth["kind"] == NOTHING:
        return np.zeros(minutes)
    return Planted(truth["kind"], *(float(truth[name]) for name in _NUMBERS)).waveform(minutes)


def read_truth(root: Path, days: int) -> pd.DataFrame:
    """The truth of a simulated layout, in the order of class 0's rows, then class 1's; numbers to the last bit.

    Raises:
        InputError: there is none, so that the windows were not simulated.
    """
    path = window_folder(root, days) / "truth.csv"
    try:
        frame = pd.read_csv(path, float_precision="round_trip", dtype={"station": str, "event_id": str})
    except OSError as error:
        raise InputError("There is no truth here; only simulated windows have one", where=path) from error
    return frame.sort_values(["label", "row"], ignore_index=True)
