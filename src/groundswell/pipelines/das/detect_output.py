"""das: detected events as a catalogue, in a sentence, and against what is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.das.catalogue import write_catalogue
from groundswell.pipelines.das.detect import Detection, Detections

COLUMNS = ("start", "stop", "class", "probability", "event_probability", "channel_start", "channel_stop", "record",
           "start_s", "duration_s", "windows", "refined", "cable")


def detection_frame(events: Sequence[Detection]) -> pd.DataFrame:
    """Events as a table of :data:`COLUMNS`: UTC times, NaT where a file has none; ``record`` and ``start_s`` say where
    an event starts in any case; channels are half-open."""
    rows = [(e.start_time, e.end_time, e.class_name, e.probability, e.event_probability, e.channel_start,
             e.channel_stop, e.file, e.start_s, e.duration_s, e.windows, e.refined, e.cable) for e in events]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    for column in ("start", "stop"):
        frame[column] = pd.to_datetime(frame[column], utc=True)
    return frame


def write_detections(found: Detections, path: Path) -> list[str]:
    """Write the events as CSV or, by the suffix (.xml, .qml, .quakeml), as QuakeML 1.2, atomically.

    Returns:
        What a person should know: QuakeML leaves out events of files without a start time.
    """
    frame = detection_frame(found.events)
    notes = []
    untimed = frame["start"].isna()
    if Path(path).suffix.lower() in (".xml", ".qml", ".quakeml") and untimed.any():
        notes.append(f"{int(untimed.sum())} event(s) lie in files without a start time and are not in "
                     f"{Path(path).name}: QuakeML has no place for them, CSV has")
        frame = frame[~untimed]
    write_catalogue(frame, path)
    return notes


def summary(found: Detections) -> list[str]:
    """What was looked at, what was found and how fast, as lines for people."""
    hours, gaps_s = found.recorded_s / 3600, sum(gap.duration_s for gap in found.gaps)
    names = sorted({e.class_name for e in found.events})
    counts = ", ".join(f"{sum(e.class_name == n for e in found.events)} {n}" for n in names)
    lines = [f"{len(found.events)} event(s) in {hours:.2f} h of recording" + (f": {counts}" if counts else ""),
             f"{found.wall_s:.1f} s of work: {found.times_real_time:.0f} times real time "
             f"({found.times_real_time_per_core:.0f} per core), {found.bytes_per_s / 2**20:.0f} MiB/s, "
             f"{found.windows} windows"]
    if found.gated:
        lines.append(f"the gate left out {found.gated} of them unseen")
    if found.gaps:
        lines.append(f"{len(found.gaps)} gap(s), {gaps_s:.1f} s in all")
    lines += found.notes
    return lines + [f"{file}: {reason}" for file, reason in found.failures]


@dataclass(frozen=True)
class TrueEvent:
    """An event known to be in the archive: UTC of its onset and end, and its class (empty if unknown)."""

    start_time: np.datetime64
    end_time: np.datetime64
    class_name: str = ""


@dataclass(frozen=True)
class DetectionScore:
    """How a catalogue compares with the truth.

    Attributes:
        recall: share of the true events that were found; ``None`` if there are none.
        found: how many of them.
        events: how many there are.
        false_alarms: detections that touch no true event.
        false_alarms_per_hour: of recording.
        repeated: detections of a true event beyond its first.
        onset_errors_s: detected minus true onset of each event found, float64.
        class_accuracy: share of the events found whose class is right; ``None`` where no class is known.
    """

    recall: float | None
    found: int
    events: int
    false_alarms: int
    false_alarms_per_hour: float
    repeated: int
    onset_errors_s: NDArray[np.float64]
    class_accuracy: float | None


def evaluate_detections(found: Detections, truth: Sequence[TrueEvent], *, tolerance_s: float = 2.0) -> DetectionScore:
    """Compare detections with the true events of the same recording.

    A detection belongs to a true event if their intervals, the true one widened by ``tolerance_s`` either way, overlap.
    Each detection belongs to at most one event and each event is found by at most one detection: pairs are made by
    ascending onset error. A detection that overlaps an event found by another is a repetition, not a false alarm.

    Raises:
        InputError: a detection has no UTC time.
    """
    if any(e.start_time is None for e in found.events):
        raise InputError("Events of files without a start time cannot be compared with times of true events")
    zero = truth[0].start_time if truth else np.datetime64("1970-01-01", "ns")
    starts = _seconds([e.start_time for e in found.events], zero)
    stops = starts + np.array([e.duration_s for e in found.events])
    true_starts = _seconds([t.start_time for t in truth], zero)
    true_stops = _seconds([t.end_time for t in truth], zero)
    overlap = (starts[:, None] <= true_stops + tolerance_s) & (stops[:, None] >= true_starts - tolerance_s)
    error_s = starts[:, None] - true_starts[None]
    pairs: dict[int, int] = {}
    candidates = np.argwhere(overlap)
    for d, t in candidates[np.argsort(np.abs(error_s[overlap]), kind="stable")].tolist():
        if t not in pairs and d not in pairs.values():
            pairs[t] = d
    false_alarms = int((~overlap.any(axis=1)).sum())
    known = [(t, d) for t, d in pairs.items() if truth[t].class_name]
    right = sum(truth[t].class_name == found.events[d].class_name for t, d in known)
    return DetectionScore(
        recall=len(pairs) / len(truth) if truth else None, found=len(pairs), events=len(truth),
        false_alarms=false_alarms,
        false_alarms_per_hour=false_alarms / (found.recorded_s / 3600) if found.recorded_s else 0.0,
        repeated=len(found.events) - false_alarms - len(pairs),
        onset_errors_s=np.array([error_s[d, t] for t, d in sorted(pairs.items())], np.float64),
        class_accuracy=right / len(known) if known else None)


def _seconds(times: Sequence[np.datetime64 | None], zero: np.datetime64) -> NDArray[np.float64]:
    values = np.array(times, "datetime64[ns]") - zero.astype("datetime64[ns]")
    return np.asarray(values.astype(np.int64) * 1e-9, np.float64)
