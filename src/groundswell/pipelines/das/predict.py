"""das: what a model makes of files: one class for each record, whatever its length, in bounded memory. No torch."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path, shown
from groundswell.core.files import write_json as write_json_file
from groundswell.core.names import NOISE
from groundswell.deploy.streaming import Stream, windows
from groundswell.pipelines.das.formats import find_records, open_reader, walk
from groundswell.pipelines.das.predictor import Predictor
from groundswell.pipelines.das.record import Record
from groundswell.pipelines.das.resample import ResampledStream, rate_ratio
from groundswell.pipelines.das.timeline import Piece, PieceStream, recorded_ranges

Aggregate = Literal["vote", "average"]
Progress = Callable[[float, float, str], None]
"""Called with (seconds of recording done, seconds in all, what is being read)."""


@dataclass
class Prediction:
    """What a model makes of one record.

    Attributes:
        file: the file, as given or found.
        dataset: the array in it, where it holds several.
        error: why there is no prediction; empty if there is one.
        predicted_class: index into the model's classes, ``None`` with an error; never that of noise.
        class_name: its name.
        confidence: probability of that class among the event classes, averaged over windows.
        probabilities: that probability of each event class.
        votes: share of the windows that each event class wins, weighted alike.
        event_probability: highest probability over the windows that there is an event at all; ``None`` where the model
            cannot tell.
        windows: number of windows looked at.
        record: facts of the record, ``None`` where it could not be opened.
        notes: what was done to the record so that the model could read it.
        window_start_s: start of each window, seconds of the record; float64, shape (windows,).
        classes: the model's classes, noise included.
        window_probabilities: float64, shape (windows, classes).
    """

    file: str
    dataset: str = ""
    error: str = ""
    predicted_class: int | None = None
    class_name: str | None = None
    confidence: float | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    votes: dict[str, float] = field(default_factory=dict)
    event_probability: float | None = None
    windows: int = 0
    record: Record | None = None
    notes: list[str] = field(default_factory=list)
    window_start_s: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    classes: tuple[str, ...] = ()
    window_probabilities: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))

    def as_json(self) -> dict[str, Any]:
        """The keys of the file written by :func:`write_json`; a failed record has ``error`` instead of a class."""
        place: dict[str, Any] = {"file": self.file}
        if self.dataset:
            place["dataset"] = self.dataset
        if self.error:
            return {**place, "error": self.error}
        values = {name: getattr(self, name) for name in ("predicted_class", "class_name", "confidence", "probabilities",
                                                         "votes", "event_probability", "windows")}
        return {**place, **values, "notes": self.notes}


def event_shares(p_wk: NDArray[np.float64], classes: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities of the event classes from those of windows: averaged, and by vote.

    A window counts by its probability of holding an event, ``1 - p(noise)``: nobody tells the model where the event
    is. The average of class k is the sum of ``p_k`` over the windows divided by the sum of ``1 - p(noise)``; in the
    vote each window gives that weight to its likeliest event class.

    Args:
        p_wk: probabilities, shape (window, class), columns in the order of ``classes``.
        classes: names; the one called ``"noise"``, if any, is not an event.

    Returns:
        Two arrays of shape (event class,), each summing to 1; uniform where no window holds an event at all.
    """
    events = [k for k, name in enumerate(classes) if name != NOISE]
    p_we = p_wk[:, events]
    weight = p_we.sum(axis=1)
    if not weight.sum() > 0:
        uniform = np.full(len(events), 1 / len(events))
        return uniform, uniform
    votes = np.bincount(p_we.argmax(axis=1), weights=weight, minlength=len(events))
    return p_we.sum(axis=0) / weight.sum(), votes / weight.sum()


def predict_inputs(predictor: Predictor, inputs: Sequence[Path], *, aggregate: Aggregate = "average", batch: int = 16,
                   channels: tuple[int, int] | None = None, progress: Progress | None = None) -> list[Prediction]:
    """Predict a class for each record in files and folders.

    A record is read once, piece by piece; buffers are reused, so memory does not grow with its length. Windows never
    cross a gap and a last one ends with the last sample. A record at another sampling rate is resampled as it is read.

    Args:
        predictor: a run or an exported file.
        inputs: files, or folders searched with all their subfolders.
        aggregate: which of the two rules of :func:`event_shares` chooses the class.
        batch: most windows at a time.
        channels: half-open range of channels to look at; all when absent.
        progress: told how far it is.

    Returns:
        One prediction for each record, in the order of the inputs. A file that cannot be predicted is among them with
        its reason in ``error``: one bad file never costs the others.

    Raises:
        InputError: ``batch`` is below 1.
    """
    if batch < 1:
        raise InputError(f"A batch holds at least one window; it is to hold {batch}", where="--batch-size")
    found = [item for path in inputs for item in records_under(Path(path))]
    total_s = sum((item.record.duration_s or 0.0) for item in found if item.record is not None)
    done_s = 0.0
    for item in found:
        if item.error or item.record is None:
            continue
        try:
            for seconds in _predict(predictor, item, item.record, aggregate, batch, channels):
                if progress is not None:
                    progress(done_s + seconds, total_s, item.file)
        except Exception as error:  # whatever a damaged file makes a reader do, it is that file's result
            item.error = reason_of(error)
        done_s += item.record.duration_s or 0.0
    return found


def reason_of(error: Exception) -> str:
    """What to tell a person about a file that failed."""
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def records_under(path: Path) -> list[Prediction]:
    """One empty prediction for each record, or one with the reason why there is none."""
    if not path.exists():
        return [Prediction(str(path), error="There is no such file or folder")]
    found: list[Prediction] = []
    for file in walk([path]):
        try:
            records = find_records(file)
        except Exception as error:
            found.append(Prediction(shown(file), error=reason_of(error)))
            continue
        waveforms = [r for r in records if r.kind == "waveform"]
        chosen = waveforms or list(records[:1])
        for record in chosen:
            found.append(Prediction(str(file), record.dataset if len(chosen) > 1 else "", record=record))
        if not chosen:
            found.append(Prediction(str(file), error="No record was found in this file"))
    return found or [Prediction(str(path), error="There is no file of a known format in this folder")]


def usable(record: Record) -> None:
    """Refuse a record that no model can say anything about.

    Raises:
        InputError: it is not a waveform, is empty, or its sampling rate is unknown.
    """
    if record.kind != "waveform" or record.samples < 1 or record.channels < 1:
        reason = record.verdict if record.verdict not in ("", "ok") else f"it is {record.kind or 'empty'}"
        raise InputError(f"No model can be applied to this record: {reason}", where=record.path)
    if not record.rate_hz:
        raise InputError("The record does not say its sampling rate", where=record.path,
                         fix="A model cannot be applied to time samples of unknown length")


def fits_channels(predictor: Predictor, record: Record, channels: int) -> None:
    """Refuse a number of channels that the model is not made for.

    Raises:
        InputError: the model is bound to another number.
    """
    if predictor.channels is not None and channels != predictor.channels:
        raise InputError(f"The model needs exactly {predictor.channels} channels and is given {channels}",
                         where=record.path,
                         fix="Choose as many with a range of channels, or train a 'fibre_cnn', which takes any number")


def at_model_rate(stream: Stream, rate_hz: float, predictor: Predictor) -> Stream:
    """The stream at the model's sampling rate: itself where that is the same."""
    up, down = rate_ratio(rate_hz, predictor.rate_hz)
    return stream if up == down else ResampledStream(stream, up, down)


def notes_on(predictor: Predictor, record: Record) -> list[str]:
    """What a person should know about how this record was fitted to the model."""
    notes = []
    rate_hz, spacing_m = record.rate_hz or 0.0, record.spacing_m or 0.0
    if rate_ratio(rate_hz, predictor.rate_hz) != (1, 1):
        lost = f"; nothing above {rate_hz / 2:g} Hz was recorded" if rate_hz < predictor.rate_hz else ""
        notes.append(f"resampled from {rate_hz:g} Hz to {predictor.rate_hz:g} Hz{lost}")
    if predictor.spacing_m and not spacing_m and record.channels > 1:
        notes.append(f"channel spacing unknown; the model was trained at {predictor.spacing_m:g} m")
    elif predictor.spacing_m and spacing_m and abs(spacing_m / predictor.spacing_m - 1) > 0.01:
        notes.append(f"channel spacing {spacing_m:g} m; the model was trained at {predictor.spacing_m:g} m")
    if record.axis_order_known == "guess":
        notes.append("order of axes is a guess")
    if record.verdict not in ("", "ok"):
        notes.append(f"record is not fit for training: {record.verdict}")
    return notes


def _predict(predictor: Predictor, result: Prediction, record: Record, aggregate: Aggregate, batch: int,
             channels: tuple[int, int] | None) -> Iterator[float]:
    """Fill in ``result``, yielding how many seconds of the record are done."""
    usable(record)
    rate_hz = record.rate_hz or 0.0
    ranges = recorded_ranges(record)
    result.notes = notes_on(predictor, record)
    if record.gaps:
        missing_s = (record.samples - sum(b - a for a, b in ranges)) / rate_hz
        result.notes.append(f"{len(record.gaps)} gap(s) of {missing_s:.1f} s in all skipped")
    starts_s: list[NDArray[np.float64]] = []
    probabilities: list[NDArray[np.float64]] = []
    nonfinite, flat = 0, True
    for start, stop in _long_enough(ranges, predictor.window_samples * rate_hz / predictor.rate_hz, result.notes):
        inner = PieceStream([Piece(record, start, stop)], open_reader, channels)
        try:
            fits_channels(predictor, record, inner.channels)
            stream = at_model_rate(inner, rate_hz, predictor)
            step_hz = rate_hz * stream.samples / inner.samples if stream is not inner else rate_hz
            for part in windows(stream, predictor.window_samples, predictor.stride_samples, batch=batch):
                probabilities.append(predictor.predict(part.x, record.spacing_m or 0.0))
                starts_s.append(start / rate_hz + part.starts / step_hz)
                nonfinite += part.nonfinite
                flat = flat and bool(part.x.min() == part.x.max())
                yield float(starts_s[-1][-1])
        finally:
            inner.close()
    if flat:
        raise InputError("Every value of this record is the same: there is nothing to predict from", where=record.path)
    if nonfinite:
        result.notes.append(f"{nonfinite} values that are not numbers were taken as zero")
    result.window_start_s, result.window_probabilities = np.concatenate(starts_s), np.concatenate(probabilities)
    _conclude(result, predictor.classes, aggregate)


def _long_enough(ranges: list[tuple[int, int]], window: float, notes: list[str]) -> list[tuple[int, int]]:
    """Ranges that hold a window; the longest one, to be padded with zeros, where none does."""
    if not ranges:
        raise InputError("The whole record is a gap")
    enough = [(a, b) for a, b in ranges if b - a >= window]
    if not enough:
        enough = [max(ranges, key=lambda r: r[1] - r[0])]
        notes.append("shorter than one window of the model; padded with zeros")
    elif len(enough) < len(ranges):
        notes.append(f"{len(ranges) - len(enough)} stretch(es) between gaps are shorter than a window and were skipped")
    return enough


def _conclude(result: Prediction, classes: Sequence[str], aggregate: Aggregate) -> None:
    """Turn the windows' probabilities into the record's class."""
    p_wk = result.window_probabilities
    if not np.isfinite(p_wk).all():
        raise InputError("The model's probabilities are not numbers", fix="Check the record's values and the model")
    events = [k for k, name in enumerate(classes) if name != NOISE]
    average, votes = event_shares(p_wk, classes)
    winner = int(np.argmax(votes if aggregate == "vote" else average))
    result.windows, result.classes = len(p_wk), tuple(classes)
    result.predicted_class, result.class_name = events[winner], classes[events[winner]]
    result.confidence = float(average[winner])
    result.probabilities = {classes[k]: float(p) for k, p in zip(events, average, strict=True)}
    result.votes = {classes[k]: float(v) for k, v in zip(events, votes, strict=True)}
    if NOISE in classes:
        result.event_probability = float(1 - p_wk[:, classes.index(NOISE)].min())
        if result.event_probability < 0.5:
            result.notes.append("no window looks like an event: the class only says which it would be")


def write_json(results: Sequence[Prediction], path: Path) -> None:
    """Write predictions as a JSON list, one object each: ``file``, ``predicted_class``, ``class_name``, ``confidence``
    and more, or ``file`` and ``error``."""
    write_json_file(path, [r.as_json() for r in results])


def write_csv(results: Sequence[Prediction], path: Path) -> None:
    """Write predictions as CSV, one row each; probabilities and votes in a column for each class."""
    names = list(dict.fromkeys(name for r in results for name in r.probabilities))
    columns = ["file", "dataset", "predicted_class", "class_name", "confidence", *(f"p_{n}" for n in names),
               *(f"vote_{n}" for n in names), "event_probability", "windows", "start_time", "duration_s", "rate_hz",
               "channels", "notes", "error"]
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, restval="")
        writer.writeheader()
        for r in results:
            row: dict[str, Any] = {"file": r.file, "dataset": r.dataset, "error": r.error, "notes": "; ".join(r.notes)}
            if r.record is not None:
                start = r.record.start_time
                row |= {"start_time": "" if start is None else f"{np.datetime_as_string(start, unit='ms')}Z",
                        "duration_s": r.record.duration_s, "rate_hz": r.record.rate_hz, "channels": r.record.channels}
            if not r.error:
                row |= {"predicted_class": r.predicted_class, "class_name": r.class_name, "confidence": r.confidence,
                        "windows": r.windows, "event_probability": r.event_probability}
                row |= {f"p_{n}": p for n, p in r.probabilities.items()}
                row |= {f"vote_{n}": v for n, v in r.votes.items()}
            writer.writerow(row)
