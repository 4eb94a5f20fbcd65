"""das: pictures of records, predictions and detections, as PNG files. Colours can be told apart by everyone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import write_bytes
from groundswell.evaluate.figures import BLACK, BLUE, GREY, PALETTE, RED, STYLE, png_of
from groundswell.pipelines.das.detect import Curve, Detection, Detections
from groundswell.pipelines.das.detect_output import TrueEvent
from groundswell.pipelines.das.extremes import Reduced, reduce_record, spectrogram
from groundswell.pipelines.das.formats import find_records, open_reader
from groundswell.pipelines.das.predict import Prediction
from groundswell.pipelines.das.record import Record, RecordReader

COLUMNS, ROWS = 1600, 800
"""Most pixels of a picture's inside, along time and along the fibre."""
_DPI = 150
_CURVE_POINTS = 3000
_MOST_ROWS = 12
_LONG_RECORD = 20  # windows
_HALO = (patheffects.withStroke(linewidth=3, foreground="white"),)


@dataclass(frozen=True)
class Mark:
    """An event to draw on a record.

    Attributes:
        start_s: onset, seconds from the record's start.
        stop_s: end, ``None`` where only the onset is known.
        name: what to call it.
        channels: half-open range of channels, ``None`` for all.
    """

    start_s: float
    stop_s: float | None = None
    name: str = ""
    channels: tuple[int, int] | None = None


def marks_of(events: Path, record: Record) -> tuple[Mark, ...]:
    """Events of a catalogue (CSV, QuakeML) or of an interval table that fall into a record.

    Raises:
        InputError: unreadable, or a catalogue's UTC times meet a record without a start time.
    """
    from groundswell.pipelines.das.mark_files import read_marks

    return tuple(Mark(*values) for values in read_marks(events, record))


def plot_waterfall(record: Record | Path, out: Path, *, start_s: float = 0.0, length_s: float | None = None,
                   channels: tuple[int, int] | None = None, events: Sequence[Mark] = (),
                   picks: Mapping[str, NDArray[np.float64]] | None = None, clip_percentile: float = 99.0) -> None:
    """Draw a record as time against fibre above the trace of a channel in its middle; a record of one channel as a
    trace above its spectrogram.

    Each pixel shows the value farthest from its channel's mean, sign kept, so that a short wave survives any length of
    record. The record is read once, in bounded memory.

    Args:
        record: the record, or a file (its first waveform is drawn).
        out: PNG to write, atomically.
        start_s: seconds from the record's start.
        length_s: seconds to draw; to the end when absent.
        channels: half-open range of channels; all when absent.
        events: to mark.
        picks: arrivals, by phase: seconds from the record's start for every channel of the record, NaN for none.
        clip_percentile: amplitudes beyond this percentile get the colour at the end of the scale.

    Raises:
        InputError: the record cannot be read, or the stretch or channels asked for do not exist.
    """
    record = _first_waveform(record) if isinstance(record, Path) else record
    first, last = channels or (0, record.channels)
    if not 0 <= first < last <= record.channels:
        raise InputError(f"There are no channels {first} to {last}: the record has {record.channels}",
                         where=record.path)
    if not 0 < clip_percentile <= 100:
        raise InputError(f"The percentile must be above 0 and at most 100; it is {clip_percentile}")
    rate_hz = record.rate_hz or 1.0
    start = round(start_s * rate_hz)
    stop = record.samples if length_s is None else min(record.samples, start + round(length_s * rate_hz))
    if not 0 <= start < stop:
        raise InputError(f"There is nothing from {start_s:g} s on: the record lasts {record.samples / rate_hz:g} s",
                         where=record.path)
    reader = open_reader(record)
    try:
        reduced = reduce_record(reader, start, stop, (first, last), COLUMNS)
        with mpl.rc_context(STYLE):
            if last - first == 1:
                figure = _trace(reader, reduced, first, events)
            else:
                figure = _waterfall(record, reduced, (first, last), events, picks or {}, clip_percentile)
            figure.suptitle(_title(record), x=0.01, ha="left", fontsize=11, fontweight="bold")
    finally:
        reader.close()
    write_bytes(out, png_of(figure, _DPI))


def _first_waveform(path: Path) -> Record:
    records = find_records(path)
    found = [r for r in records if r.kind == "waveform"] or records
    if not found:
        raise InputError("There is no record in this file", where=path)
    return found[0]


def _title(record: Record) -> str:
    facts = [f"{record.rate_hz:g} Hz" if record.rate_hz else "rate unknown",
             f"{record.channels} channel{'s' if record.channels > 1 else ''}"]
    facts += [f"every {record.spacing_m:.4g} m"] if record.spacing_m and record.channels > 1 else []
    facts += [f"gauge {record.gauge_m:.4g} m"] if record.gauge_m else []
    facts += [record.verdict] if record.verdict not in ("", "ok") else []
    return f"{record.path.name}   {' · '.join(facts)}"


def _clock_unit(length_s: float) -> tuple[float, str]:
    """Seconds in the unit that suits a time axis of this length, and its name."""
    if length_s > 3 * 3600:
        return 3600.0, "h"
    return (60.0, "min") if length_s > 600 else (1.0, "s")


def _time_label(record: Record, unit: str) -> str:
    if record.rate_hz is None:
        return "time samples (sampling rate unknown)"
    if record.start_time is None:
        return f"time ({unit}) from the start of the file"
    stamp = str(record.start_time.astype("datetime64[ms]")).replace("T", " ")
    return f"time ({unit}) after {stamp} UTC"


def _waterfall(record: Record, reduced: Reduced, channels: tuple[int, int], events: Sequence[Mark],
               picks: Mapping[str, NDArray[np.float64]], clip_percentile: float) -> Figure:
    rate_hz, image = record.rate_hz or 1.0, reduced.peaks(ROWS)
    limit = _scale(image, clip_percentile)
    seconds, unit = _clock_unit((reduced.stop - reduced.start) / rate_hz)
    per_channel = record.spacing_m / 1000 if record.spacing_m else 1.0
    left, right = reduced.start / rate_hz / seconds, reduced.stop / rate_hz / seconds
    figure = Figure(figsize=(11, 7.2), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    colours = mpl.colormaps["RdBu_r"].with_extremes(bad="#BBBBBB")
    drawn = axes.imshow(image, aspect="auto", origin="lower", cmap=colours, vmin=-limit, vmax=limit,
                        interpolation="nearest",
                        extent=(left, right, channels[0] * per_channel, channels[1] * per_channel))
    bar = figure.colorbar(drawn, ax=axes, extend="both", pad=0.01, aspect=35)
    bar.set_label(f"{record.units or 'amplitude (unit unknown)'}, clipped at percentile {clip_percentile:g}")
    axes.grid(False)
    axes.set_ylabel("distance along the fibre (km)" if record.spacing_m else "channel")
    _draw_events(axes, events, seconds, (left, right), per_channel)
    _middle_trace(below, reduced, channels[0], left, right)
    below.set_xlabel(_time_label(record, unit))
    places = (np.arange(record.channels) + 0.5) * per_channel
    for (phase, at_s), colour in zip(picks.items(), (BLACK, "#6A3D9A", GREY), strict=False):
        axes.plot(np.asarray(at_s) / seconds, places, color=colour, linewidth=1.3, label=phase, path_effects=_HALO)
    if picks:
        axes.legend(loc="lower right", frameon=True, title="arrivals")
    axes.set_xlim(left, right)
    axes.set_ylim(channels[0] * per_channel, channels[1] * per_channel)
    return figure


def _middle_trace(axes: Axes, reduced: Reduced, first: int, left: float, right: float) -> None:
    """The channel in the middle of those that record something, between its extremes."""
    alive = np.flatnonzero(np.nan_to_num(reduced.high - reduced.low).max(axis=0) > 0)
    channel = int(alive[len(alive) // 2]) if len(alive) else reduced.high.shape[1] // 2
    steps = len(reduced.high)
    at = left + (np.arange(steps) + 0.5) * (right - left) / steps
    mean = reduced.mean[channel]
    axes.fill_between(at, reduced.low[:, channel] - mean, reduced.high[:, channel] - mean, color=BLUE, linewidth=0.6)
    axes.set_ylabel(f"channel {first + channel}")


def _scale(image: NDArray[np.float32], percentile: float) -> float:
    """The amplitude at the end of the colours: a percentile of the pixels. Up to a tenth of the rows do not count if
    they are eight times as loud as the middle one: a few saturated channels would hide all others."""
    size = np.where(np.isfinite(image), np.abs(image), 0.0)
    level = np.median(size, axis=1)
    loud = level > 8 * np.median(level)
    seen = image[~loud] if np.median(level) > 0 and loud.sum() <= 0.1 * len(loud) else image
    values = np.abs(seen[np.isfinite(seen)])
    if not values.size:
        return 1.0
    return float(np.percentile(values, percentile)) or float(values.max()) or 1.0


def _draw_events(axes: Axes, events: Sequence[Mark], seconds: float, limits: tuple[float, float],
                 per_channel: float | None) -> None:
    """A dark line at each onset, a thin one at each end, between the event's channels if they are known; its name
    above."""
    for mark in events:
        begin, end = mark.start_s / seconds, None if mark.stop_s is None else mark.stop_s / seconds
        if begin > limits[1] or (begin if end is None else end) < limits[0]:
            continue
        shown = max(begin, limits[0])
        if per_channel is not None and mark.channels is not None:
            rows = [c * per_channel for c in mark.channels]
            for at, width in ((begin, 2.0), (end, 1.0)):
                if at is not None:
                    axes.plot([at, at], rows, color=BLACK, linewidth=width, path_effects=_HALO, scalex=False)
        else:
            axes.axvline(begin, color=BLACK, linewidth=1.6, path_effects=_HALO)
            if end is not None:
                axes.axvline(end, color=BLACK, linewidth=1, linestyle=(0, (4, 3)), path_effects=_HALO)
        axes.annotate(mark.name.replace("_", " "), (shown, 1.0), xycoords=("data", "axes fraction"), xytext=(2, 4),
                      textcoords="offset points", fontsize=9, color=BLACK, annotation_clip=False)


def _trace(reader: RecordReader, reduced: Reduced, channel: int, events: Sequence[Mark]) -> Figure:
    record = reader.record
    rate_hz = record.rate_hz or 1.0
    seconds, unit = _clock_unit((reduced.stop - reduced.start) / rate_hz)
    left, right = reduced.start / rate_hz / seconds, reduced.stop / rate_hz / seconds
    figure = Figure(figsize=(11, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.3))
    at = np.linspace(left, right, len(reduced.high) + 1)[:-1] + (right - left) / len(reduced.high) / 2
    mean = reduced.mean[0]
    upper.fill_between(at, reduced.low[:, 0] - mean, reduced.high[:, 0] - mean, color=BLUE, linewidth=0.6)
    upper.set_ylabel(record.units or "amplitude")
    frequencies, density = spectrogram(reader, reduced.start, reduced.stop, channel, COLUMNS // 2, rate_hz)
    seen = density[1:][np.isfinite(density[1:])]
    low, high = np.percentile(seen, (2, 99.5)) if seen.size else (0.0, 1.0)
    colours = mpl.colormaps["cividis"].with_extremes(bad="#BBBBBB")
    drawn = lower.imshow(density, aspect="auto", origin="lower", cmap=colours, vmin=low, vmax=high,
                         extent=(left, right, 0, frequencies[-1]), interpolation="nearest")
    bar = figure.colorbar(drawn, ax=lower, extend="both", pad=0.01, aspect=22)
    bar.set_label(f"power density, dB re ({record.units or 'unit'})²/Hz")
    lower.grid(False)
    lower.set_ylabel("frequency (Hz)")
    lower.set_xlabel(_time_label(record, unit))
    for axes in (upper, lower):
        named = events if axes is upper else [Mark(m.start_s, m.stop_s) for m in events]
        _draw_events(axes, named, seconds, (left, right), None)
        axes.set_xlim(left, right)
    return figure


def plot_predictions(results: Sequence[Prediction], out: Path) -> None:
    """Draw how many records each class has, how sure the model is, and, for long records, its opinion over time.

    Args:
        results: predictions; failed ones are counted in the title.
        out: PNG to write, atomically.
    """
    good = [r for r in results if not r.error]
    names = list(dict.fromkeys(name for r in good for name in r.probabilities))
    colours = _colours(names)
    longest = sorted((r for r in good if r.windows >= _LONG_RECORD), key=lambda r: -r.windows)[:_MOST_ROWS // 2]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4 + 1.7 * len(longest)), layout="constrained")
        grid = figure.add_gridspec(1 + len(longest), 2, height_ratios=(2.2, *(1 for _ in longest)))
        counts = [sum(r.class_name == name for r in good) for name in names]
        bars, sure = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
        drawn = bars.bar([n.replace("_", " ") for n in names], counts, color=[colours[n] for n in names], width=0.6)
        bars.bar_label(drawn)
        bars.set(title="Predicted classes", ylabel="records")
        bars.grid(axis="x", visible=False)
        base = np.zeros(20)
        for name in names:
            held, edges = np.histogram([r.confidence or 0.0 for r in good if r.class_name == name], 20, (0, 1))
            sure.bar(edges[:-1], held, 0.05, base, align="edge", color=colours[name], label=name.replace("_", " "))
            base += held
        sure.set(title="Confidence", xlabel="probability of the predicted class", ylabel="records", xlim=(0, 1))
        if names:
            sure.legend()
        for row, result in enumerate(longest, start=1):
            _opinion(figure.add_subplot(grid[row, :]), result, colours)
        failed = len(results) - len(good)
        figure.suptitle(f"{len(good)} record(s) predicted" + (f", {failed} failed" if failed else ""), x=0.01,
                        ha="left", fontsize=12, fontweight="bold")
    write_bytes(out, png_of(figure, _DPI))


def _colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each class, the same in every picture."""
    return {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(sorted(names))}


def _opinion(axes: Axes, result: Prediction, colours: Mapping[str, str]) -> None:
    """Probability of each event class over a record."""
    p_wk, at_s = result.window_probabilities, result.window_start_s
    seconds, unit = _clock_unit(float(at_s[-1]))
    for name in result.probabilities:
        x, y = _envelope(at_s / seconds, p_wk[:, result.classes.index(name)])
        axes.plot(x, y, color=colours[name], linewidth=1)
    axes.set(ylim=(-0.02, 1.02), ylabel="probability", xlabel=f"start of the window ({unit})",
             xlim=(0, float(at_s[-1]) / seconds))
    axes.set_title(Path(result.file).name + (f" {result.dataset}" if result.dataset else ""), fontsize=9)


def _envelope(x: NDArray[Any], y: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """A curve of at most a few thousand points whose maxima are all kept."""
    if len(y) <= _CURVE_POINTS:
        return x, y
    edges = np.linspace(0, len(y), _CURVE_POINTS + 1).astype(int)[:-1]
    return x[edges], np.maximum.reduceat(y, edges)


def plot_detections(found: Detections, out: Path, truth: Sequence[TrueEvent] = ()) -> None:
    """Draw the probability of an event over time, one row for each cable, with the events found and any true ones.

    Args:
        found: what :func:`groundswell.pipelines.das.detect.detect` returned.
        out: PNG to write, atomically.
        truth: true events, drawn below the curve.
    """
    cables = list(dict.fromkeys(curve.cable for curve in found.curves))
    names = list(dict.fromkeys([*(e.class_name for e in found.events), *(t.class_name for t in truth)]))
    colours = _colours(names)
    shown = cables[:_MOST_ROWS]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 1.2 + 2.4 * max(1, len(shown))), layout="constrained")
        rows = figure.subplots(max(1, len(shown)), 1, squeeze=False)[:, 0]
        for axes, cable in zip(rows, shown, strict=False):
            curves = [c for c in found.curves if c.cable == cable]
            _timeline(axes, curves, [e for e in found.events if e.cable == cable], found.threshold, colours, truth)
            axes.set_title(cable, fontsize=9, pad=18)
        handles = [mpl.patches.Patch(color=colours[n], label=n.replace("_", " ") or "event") for n in sorted(names)]
        if handles:
            rows[0].legend(handles=handles, loc="upper right", ncols=len(handles), bbox_to_anchor=(1.0, 1.32))
        left_out = f"; {len(cables) - len(shown)} more cables not drawn" if len(cables) > len(shown) else ""
        figure.suptitle(f"{len(found.events)} event(s) in {found.recorded_s / 3600:.2f} h, "
                        f"{found.times_real_time:.0f} times real time{left_out}", x=0.01, ha="left", fontsize=12,
                        fontweight="bold")
    write_bytes(out, png_of(figure, _DPI))


def _timeline(axes: Axes, curves: Sequence[Curve], events: Sequence[Detection], threshold: float,
              colours: Mapping[str, str], truth: Sequence[TrueEvent]) -> None:
    zero = min((c.start_time for c in curves if c.start_time is not None), default=None)
    begins = [_since(c.start_time, zero) for c in curves]
    ends = [b + float(c.window_start_s[-1]) + c.window_s for b, c in zip(begins, curves, strict=True)]
    seconds, unit = _clock_unit(max(ends))
    for begin, curve in zip(begins, curves, strict=True):
        x, y = _envelope((begin + curve.window_start_s + curve.window_s / 2) / seconds, curve.p_event)
        axes.fill_between(x, 0, y, color="#D9D9D9", linewidth=0)
        axes.plot(x, y, color=GREY, linewidth=0.8)
    for (_, gap_start), (gap_stop, _) in zip(zip(begins, ends, strict=True), zip(begins[1:], ends[1:], strict=True),
                                             strict=False):
        axes.axvspan(gap_start / seconds, gap_stop / seconds, facecolor="white", edgecolor="#CCCCCC", hatch="///",
                     linewidth=0, zorder=0)
    axes.axhline(threshold, color=RED, linewidth=1, linestyle=(0, (5, 4)))
    for event in events:
        begin = event.start_s if event.start_time is None else _since(event.start_time, zero)
        axes.axvspan(begin / seconds, (begin + event.duration_s) / seconds, color=colours[event.class_name], alpha=0.35,
                     linewidth=0)
        axes.plot(begin / seconds, 1.07, marker="v", markersize=6, color=colours[event.class_name], clip_on=False)
    for true in truth if zero is not None else ():
        begin, end = _since(true.start_time, zero), _since(true.end_time, zero)
        if end >= 0 and begin <= max(ends):
            axes.plot([begin / seconds, max(end, begin + max(ends) / 500) / seconds], [-0.07, -0.07], linewidth=5,
                      color=colours[true.class_name], solid_capstyle="butt", clip_on=False)
    stamp = "the start of the file" if zero is None else f"{str(zero.astype('datetime64[s]')).replace('T', ' ')} UTC"
    axes.set(ylim=(-0.12 if len(truth) else 0, 1.02), xlim=(0, max(ends) / seconds), yticks=(0, 0.5, 1),
             ylabel="p(event)", xlabel=f"time ({unit}) after {stamp}")


def _since(time: np.datetime64 | None, zero: np.datetime64 | None) -> float:
    return 0.0 if time is None or zero is None else float((time - zero) / np.timedelta64(1, "ns")) * 1e-9
