"""das: a continuous archive into a list of events: windows slid across file boundaries, thresholded and refined."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.names import NOISE
from groundswell.deploy.streaming import ChannelMean, Stream, WindowBatch, window_starts, windows
from groundswell.pipelines.das.detections import Curve, Detection, Detections, DetectSettings
from groundswell.pipelines.das.formats import open_reader
from groundswell.pipelines.das.gate import EnergyGate
from groundswell.pipelines.das.onset import locate
from groundswell.pipelines.das.predict import Progress, event_shares, fits_channels, reason_of, records_under, usable
from groundswell.pipelines.das.predictor import Predictor
from groundswell.pipelines.das.record import Record
from groundswell.pipelines.das.resample import ResampledStream, rate_ratio
from groundswell.pipelines.das.timeline import Cable, PieceStream, Section, after, cables_of

__all__ = ["Curve", "DetectSettings", "Detection", "Detections", "detect", "event_spans"]


def event_spans(p_event: NDArray[np.float64], starts_s: NDArray[np.float64], window_s: float,
                settings: DetectSettings) -> list[tuple[int, int]]:
    """Runs of windows that make one event each, by hysteresis.

    A run starts with a probability at the threshold and goes on, either way, while it is at the release. Runs closer
    than ``merge_gap_s`` (from the end of one's last window to the start of the other's first) are merged, and what then
    has fewer than ``min_windows`` windows at the threshold is dropped.

    Args:
        p_event: float64, shape (windows,).
        starts_s: start of each window, ascending.
        window_s: length of a window.
        settings: threshold, release, merge_gap_s, min_windows.

    Returns:
        Half-open ranges of windows, in order, disjoint.
    """
    held = np.concatenate([[False], p_event >= settings.released, [False]])
    edges = np.flatnonzero(held[1:] != held[:-1]).reshape(-1, 2)
    strong = np.concatenate([[0], np.cumsum(p_event >= settings.threshold)])
    spans: list[tuple[int, int]] = []
    for start, stop in edges.tolist():
        if strong[stop] == strong[start]:
            continue
        if spans and starts_s[start] - (starts_s[spans[-1][1] - 1] + window_s) < settings.merge_gap_s:
            spans[-1] = (spans[-1][0], stop)
        else:
            spans.append((start, stop))
    return [(a, b) for a, b in spans if strong[b] - strong[a] >= settings.min_windows]


def detect(predictor: Predictor, inputs: Sequence[Path], settings: DetectSettings | None = None, *,
           progress: Progress | None = None) -> Detections:
    """Find events in files and folders.

    Files whose ends and starts meet within half a sample are one stream: windows slide across the boundary, and an
    event that lies on it is one event. Gaps are reported, never bridged. Memory is bounded, however long the archive.

    Args:
        predictor: a model with a noise class.
        inputs: files, or folders searched with all their subfolders.
        settings: thresholds and strides.
        progress: told how far it is.

    Raises:
        InputError: the model has no noise class.
    """
    settings = settings or DetectSettings()
    if NOISE not in predictor.classes:
        raise InputError(f"This model knows only {' and '.join(predictor.classes)}: it cannot say that nothing happens",
                         where=predictor.description,
                         fix="Train with interval labels ('groundswell das label FOLDER --events CATALOGUE') and "
                             "data.noise_class: true")
    began, cpu_began = time.perf_counter(), time.process_time()
    found = Detections(threshold=settings.threshold)
    records = _records(predictor, inputs, settings, found)
    cables = cables_of(records, open_reader)
    total_s = sum(cable.duration_s for cable in cables)
    for cable in cables:
        found.gaps += cable.gaps
        found.notes += cable.notes
        for section in cable.sections:
            _Scan(predictor, cable, settings, found, progress, total_s).run(section)
    found.wall_s, found.cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    return found


def _records(predictor: Predictor, inputs: Sequence[Path], settings: DetectSettings, found: Detections) -> list[Record]:
    """Records the model can be applied to; the others go to the failures with their reason."""
    records = []
    for item in (item for path in inputs for item in records_under(Path(path))):
        try:
            if item.error or item.record is None:
                raise InputError(item.error)
            usable(item.record)
            first, last = settings.channels or (0, item.record.channels)
            fits_channels(predictor, item.record, -(-(last - first) // settings.average_channels))
            up, down = rate_ratio(item.record.rate_hz or 0.0, predictor.rate_hz)
        except InputError as error:
            found.failures.append((item.file, item.error or str(error)))
            continue
        if up != down:
            note = f"resampled from {item.record.rate_hz:g} Hz to {predictor.rate_hz:g} Hz"
            found.notes += [note] if note not in found.notes else []
        records.append(item.record)
    return records


class _Scan:
    """One pass over a section: probabilities of its windows, then the events among them."""

    def __init__(self, predictor: Predictor, cable: Cable, settings: DetectSettings, found: Detections,
                 progress: Progress | None, total_s: float) -> None:
        self.predictor, self.cable, self.settings, self.found = predictor, cable, settings, found
        self.progress, self.total_s = progress, total_s
        self.spacing_m = (cable.spacing_m or 0.0) * settings.average_channels

    def run(self, section: Section) -> None:
        """Scan a section. A file in it that cannot be read becomes a failure, and the section falls in two there."""
        rest: Section | None = section
        while rest is not None:
            rest = self._run_to_failure(rest)

    def _run_to_failure(self, section: Section) -> Section | None:
        """Scan up to a file that cannot be read; return what lies behind it."""
        starts: list[NDArray[np.int64]] = []
        p_wk: list[NDArray[np.float64]] = []
        following = None
        while True:
            inner = PieceStream(section.pieces, open_reader, self.settings.channels)
            try:
                self._predict(section, inner, starts, p_wk)
                self._conclude(section, inner, np.concatenate(starts), np.concatenate(p_wk))
                return following
            except InputError as error:
                bad = inner.piece_at_fault
                if bad is None:
                    raise
                record = section.pieces[bad].record
                self.found.failures.append((str(record.path), reason_of(error)))
                following = following or _part(section, bad + 1, len(section.pieces))
                before = _part(section, 0, bad)
                if before is None:
                    return following
                section = before
                self._forget_beyond(section, starts, p_wk)
            finally:
                inner.close()

    def _stream(self, section: Section, inner: PieceStream) -> tuple[Stream, float]:
        """What the model sees, and its sampling rate."""
        up, down = rate_ratio(section.rate_hz, self.predictor.rate_hz)
        stream: Stream = inner
        if self.settings.average_channels > 1:
            stream = ChannelMean(stream, self.settings.average_channels)
        if up != down:
            stream = ResampledStream(stream, up, down)
        return stream, section.rate_hz * up / down

    def _predict(self, section: Section, inner: PieceStream, starts: list[NDArray[np.int64]],
                 p_wk: list[NDArray[np.float64]]) -> None:
        """Append the probabilities of all windows that are not there yet."""
        stream, rate_hz = self._stream(section, inner)
        width, settings = self.predictor.window_samples, self.settings
        stride = self.predictor.stride_samples
        if settings.stride_s is not None:
            stride = max(1, round(settings.stride_s * rate_hz))
        wanted = window_starts(stream.samples, width, stride)
        if starts:
            wanted = wanted[wanted > starts[-1][-1]]
        gate = EnergyGate(settings.gate, rate_hz) if settings.gate else None
        for part in windows(stream, width, stride, batch=settings.batch, starts=wanted):
            p_wk.append(self._judge(part, gate))
            starts.append(part.starts)
            if self.progress is not None:
                done_s = self.found.recorded_s + float(part.starts[-1]) / rate_hz
                self.progress(done_s, self.total_s, self.cable.name)

    def _judge(self, part: WindowBatch, gate: EnergyGate | None) -> NDArray[np.float64]:
        """Probabilities of a batch of windows; those the gate leaves out are noise."""
        if gate is None:
            return self.predictor.predict(part.x, self.spacing_m)
        chosen = gate.passes(part.x, part.starts)
        p_wk = np.zeros((len(part.x), len(self.predictor.classes)))
        p_wk[:, self.predictor.classes.index(NOISE)] = 1.0
        if chosen.any():
            p_wk[chosen] = self.predictor.predict(part.x[chosen], self.spacing_m)
        self.found.gated += int(len(chosen) - chosen.sum())
        return p_wk

    def _forget_beyond(self, section: Section, starts: list[NDArray[np.int64]],
                       p_wk: list[NDArray[np.float64]]) -> None:
        """Keep the windows that lie within a section that has become shorter, all but those that touch its new end."""
        up, down = rate_ratio(section.rate_hz, self.predictor.rate_hz)
        limit = section.samples * up // down - self.predictor.window_samples - round(self.predictor.rate_hz)
        while starts and starts[-1][-1] > limit:
            starts.pop()
            p_wk.pop()

    def _conclude(self, section: Section, inner: PieceStream, starts: NDArray[np.int64],
                  p_wk: NDArray[np.float64]) -> None:
        """Turn the probabilities of a section's windows into a curve and events."""
        up, down = rate_ratio(section.rate_hz, self.predictor.rate_hz)
        rate_hz = section.rate_hz * up / down
        starts_s, window_s = starts / rate_hz, self.predictor.window_samples / rate_hz
        p_event = 1 - p_wk[:, self.predictor.classes.index(NOISE)]
        self.found.curves.append(Curve(self.cable.name, section.start_time, starts_s, window_s, p_event))
        for first, stop in event_spans(p_event, starts_s, window_s, self.settings):
            self.found.events.append(self._event(section, inner, starts_s[first:stop], window_s, p_wk[first:stop]))
        self.found.windows += len(starts)
        self.found.recorded_s += section.duration_s
        self.found.read_bytes += sum((p.stop - p.start) * p.record.channels * np.dtype(p.record.dtype).itemsize
                                     for p in section.pieces)

    def _event(self, section: Section, inner: PieceStream, starts_s: NDArray[np.float64], window_s: float,
               p_wk: NDArray[np.float64]) -> Detection:
        predictor = self.predictor
        p_event = 1 - p_wk[:, predictor.classes.index(NOISE)]
        strong = np.flatnonzero(p_event >= self.settings.threshold)
        spans = [(float(starts_s[k]), float(starts_s[k]) + window_s) for k in (int(strong[0]), len(starts_s) - 1)]
        extent = locate(inner, section.rate_hz, spans[0], spans[1])
        shares, _ = event_shares(p_wk, predictor.classes)
        events = [name for name in predictor.classes if name != NOISE]
        sample = min(round(extent.onset_s * section.rate_hz), section.samples - 1)
        record, at = section.place(sample)
        offset = self.settings.channels[0] if self.settings.channels else 0
        return Detection(
            cable=self.cable.name, file=str(record.path), start_s=at / section.rate_hz,
            duration_s=min(extent.end_s, section.duration_s) - sample / section.rate_hz,
            # Counted from the file it lies in: an instrument's clock drifts over a long section.
            start_time=None if record.start_time is None else after(record.start_time, at, section.rate_hz),
            channel_start=extent.channel_start + offset, channel_stop=extent.channel_stop + offset,
            class_name=events[int(np.argmax(shares))], probability=float(shares.max()),
            event_probability=float(p_event.max()), windows=len(starts_s), refined=extent.refined)


def _part(section: Section, first: int, stop: int) -> Section | None:
    """The pieces ``[first, stop)`` of a section, ``None`` if there are none."""
    pieces = section.pieces[first:stop]
    if not pieces:
        return None
    skipped = sum(p.stop - p.start for p in section.pieces[:first])
    start = None if section.start_time is None else after(section.start_time, skipped, section.rate_hz)
    return replace(section, pieces=pieces, start_time=start)

