"""symae: pictures of an extracted event: its signals, their envelopes, alignments, reconstructions, focal sphere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from groundswell.core.waveforms import best_lag, envelope
from groundswell.evaluate.figures import BLACK, BLUE, GREY, ORANGE, RED, SKY
from groundswell.pipelines.symae.coherent import Coherent
from groundswell.pipelines.symae.figures import (
    colours_of,
    image,
    new_figure,
    plot_loss_history,
    plot_stf,
    save,
    save_all,
    style,
    wave,
)
from groundswell.pipelines.symae.signals import STACKS, Signal, standard
from groundswell.pipelines.symae.trained import Trained, bags_of, trace_rows
from groundswell.pipelines.symae.virtual import again

MOST_PIXELS = 12
"""Pixels of an event that get pictures of their own; the largest ones."""
_MOST_TRACES = 30
_BAND = 1.645


def draw_event(folder: Path, trained: Trained, signals: Sequence[Signal], coherent: Coherent | None, *,
               scale: int) -> list[Path]:
    """Draw everything there is to see of an event; the files that were written."""
    paths = save_all(_of_event(trained, signals, coherent), folder, scale)
    save(stf_of(signals, trained.simulated), folder / "sources.svg")
    task, store = trained.task_of(signals[0].event), trained.store
    for signal in sorted(signals, key=lambda one: -len(one.stations))[:MOST_PIXELS]:
        bag = store.bag_of(signal.event, signal.pixel)
        made = again(task, store.read(bag))
        paths += save_all([(f"pixel-{signal.pixel}_{name}", figure) for name, figure in (
            ("signal", signal_figure(signal, trained.simulated)), ("alignment", alignment_figure(signal)),
            ("reconstructions", reconstruction_figure(signal, made)))], folder, scale)
    return [*paths, folder / "sources.svg"]


def _of_event(trained: Trained, signals: Sequence[Signal], coherent: Coherent | None) -> Iterator[tuple[str, Figure]]:
    event, places = signals[0].event, [(one.colatitude, one.longitude) for one in signals]
    names, times = [str(one.pixel) for one in signals], signals[0].times
    yield "sources", stf_of(signals, trained.simulated)
    yield "source_envelopes", plot_stf([one.source_envelope for one in signals], names, 1.0,
                                       f"{event}: envelopes of the coherent signals", times=times, places=places,
                                       simulated=trained.simulated)
    yield "mean_displacement_envelopes", plot_stf([one.mean_envelope for one in signals], names, 1.0,
                                                  f"{event}: mean displacement envelopes", times=times, places=places,
                                                  simulated=trained.simulated)
    yield "shifts", shift_histogram(np.concatenate([one.shift_s for one in signals]), f"{event}: shifts found")
    bags = bags_of(trained.store, event)
    rows = pd.concat([trace_rows(trained.store, bag) for bag in bags], ignore_index=True)
    yield "focal_sphere", focal_sphere(rows, event)
    history = trained.run.fold_path(trained.fold_of(event)) / "logs" / "epochs.csv"
    if history.is_file():
        yield "loss_history", plot_loss_history(history)
    if coherent is not None:
        yield "divergence", divergence_figure(coherent)
        yield "ideal_seismograms", ideal_figure(coherent, times)


def stf_of(signals: Sequence[Signal], simulated: bool) -> Figure:
    """Coherent signals of an event, stacked, each turned to agree with that of the largest bag."""
    first = max(signals, key=lambda one: len(one.stations))
    # Each bag's sign is its own convention.
    signs = [float(best_lag(one.source, first.source, len(one.times) / 4).sign) for one in signals]
    return plot_stf([sign * one.source for sign, one in zip(signs, signals, strict=True)],
                    [str(one.pixel) for one in signals], 1.0, f"{first.event}: coherent signals",
                    times=first.times, places=[(one.colatitude, one.longitude) for one in signals],
                    spread=[one.spread for one in signals], simulated=simulated)


def signal_figure(signal: Signal, simulated: bool = False) -> Figure:
    """The coherent signal with its band beside the stacks, and the envelopes of all."""
    with style():
        figure = new_figure()
        left, right = figure.subplots(1, 2)
        band = _BAND * signal.spread
        left.fill_between(signal.times, signal.source - band, signal.source + band, color=BLUE, alpha=0.18, linewidth=0,
                          label="90 % band")
        _curves(left, signal, lambda values: values)
        _curves(right, signal, envelope if not signal.envelopes else lambda values: values)
        wave(right, signal.times, signal.mean_envelope - signal.mean_envelope.min(), "mean displacement envelope",
             SKY, 1.2, "--")
        made = ", simulated" if simulated else ""
        left.set_title(f"{signal.event}, pixel {signal.label}\n{len(signal.stations)} traces{made}")
        right.set_title("Envelopes")
        left.legend(fontsize=7.5, loc="upper left")
        right.legend(fontsize=7.5, loc="upper left")
    return figure


def _curves(axes: Axes, signal: Signal, form: Any) -> None:
    if signal.true is not None:
        wave(axes, signal.times, form(signal.true), "true (simulated)", BLACK, 2.4)
    for name, colour in zip(STACKS, (ORANGE, RED), strict=True):
        wave(axes, signal.times, form(signal.stacks[name]), STACKS[name], colour, 1.1)
    wave(axes, signal.times, form(signal.source), "coherent signal", BLUE, 1.6)


def alignment_figure(signal: Signal) -> Figure:
    """Traces before and after alignment, the earliest on top, and the stacks of both."""
    return aligned_pair(signal.x, signal.aligned, signal.times, signal.shift_s,
                        f"{signal.event}, pixel {signal.label}")


def aligned_pair(before: NDArray[Any], after: NDArray[Any], times: NDArray[Any], shift_s: NDArray[Any],
                 title: str) -> Figure:
    """Traces (t, n) before and after alignment, in the order of their shifts (t,), and their stacks below."""
    order = np.argsort(shift_s, kind="stable")
    with style():
        figure = new_figure()
        axes = figure.subplots(2, 2, sharex=True, height_ratios=(3, 1))
        for column, (traces, name) in enumerate(((before, "as read"), (after, "aligned, upright"))):
            image(axes[0, column], traces[order], times, f"{title}: {name}" if not column else name)
            axes[0, column].set_xlabel("")
            stack = traces.mean(0)
            wave(axes[1, column], times, stack, "stack", BLUE)
            axes[1, column].set_title(f"stack, standard deviation {stack.std():.2f}", fontsize=9, fontweight="normal")
        top = max(float(np.abs(line.get_ydata()).max()) for panel in axes[1] for line in panel.get_lines()[:1])
        for panel in axes[1]:
            panel.set_ylim(-1.1 * top, 1.1 * top)
    return figure


def reconstruction_figure(signal: Signal, made: NDArray[np.float64]) -> Figure:
    """Traces as read, as reconstructed, and what is left, side by side with the stations' names."""
    shown = np.linspace(0, len(made) - 1, min(len(made), _MOST_TRACES)).round().astype(np.int64)
    left = ((signal.x - made) ** 2).mean() / (signal.x**2).mean()
    with style():
        figure = new_figure()
        axes = figure.subplots(1, 3, sharey=True)
        names = [signal.stations[i] for i in shown]
        for panel, traces, title in ((axes[0], signal.x, f"Pixel {signal.pixel}: as read"), (axes[1], made,
                                      "reconstructed"), (axes[2], signal.x - made, f"left over, {left:.0%} of power")):
            image(panel, traces[shown], signal.times, title, names)
            panel.set_xlabel("seconds after P")
    return figure


def shift_histogram(shift_s: NDArray[Any], title: str, beside: NDArray[Any] | None = None,
                    names: tuple[str, str] = ("network", "picks")) -> Figure:
    """Histogram of shifts, seconds, and of others beside them."""
    both = shift_s if beside is None else np.concatenate([shift_s, beside])
    reach = max(float(np.abs(both[np.isfinite(both)]).max(initial=0)), 0.1)
    bins = np.linspace(-1.02 * reach, 1.02 * reach, 41).tolist()
    with style():
        figure = new_figure()
        axes = figure.subplots()
        axes.hist(shift_s, bins=bins, color=BLUE, alpha=0.85, label=names[0])
        if beside is not None:
            axes.hist(beside, bins=bins, histtype="step", color=ORANGE, linewidth=2, label=names[1])
            axes.legend()
        axes.set(title=title, xlabel="seconds late, mean of each bag 0", ylabel="traces")
    return figure


def focal_sphere(rows: pd.DataFrame, event: str) -> Figure:
    """Where rays leave the source: the focal sphere in equal area, stations coloured by pixel, with pixels' names.

    Take-off angles up to 90° are seen from above (lower hemisphere, Lambert's azimuthal projection); what goes up is
    shown where its opposite would be, as an open mark.

    Args:
        rows: of the store's traces.
        event: named in the title.
    """
    rows = rows[np.isfinite(rows["takeoff"]) & np.isfinite(rows["azimuth"])]
    takeoff, azimuth, pixels = (rows[name].to_numpy() for name in ("takeoff", "azimuth", "pixel"))
    colour, up = colours_of([int(pixel) for pixel in pixels]), takeoff > 90
    x, y = _equal_area(np.where(up, 180 - takeoff, takeoff), np.where(up, azimuth + 180, azimuth))
    steepest = float(np.where(up, 180 - takeoff, takeoff).max(initial=0))
    edge = next(angle for angle in (30.0, 45.0, 60.0, 90.0) if angle >= steepest - 1e-6)
    with style():
        figure = new_figure()
        axes = figure.subplots()
        axes.set_axis_off()
        for angle in (edge / 3, 2 * edge / 3, edge):
            axes.plot(*_equal_area(angle, np.linspace(0, 360, 361)), color=GREY, linewidth=1.4 if angle == edge else .5)
            axes.annotate(f"{angle:g}°", _equal_area(angle, 160.0), fontsize=7.5, color=GREY)
        for text, angle in (("N", 0.0), ("E", 90.0), ("S", 180.0), ("W", 270.0)):
            at = 1.07 * np.array(_equal_area(edge, angle))
            axes.text(at[0], at[1], text, ha="center", va="center")
        for pixel in sorted(colour):
            chosen = pixels == pixel
            name = f"pixel {pixel}: {int(chosen.sum())} traces"
            for mask, face in ((chosen & ~up, colour[pixel]), (chosen & up, "none")):
                if mask.any():
                    axes.scatter(x[mask], y[mask], s=18, facecolors=face, edgecolors=colour[pixel], linewidths=0.7,
                                 label=name, zorder=3)
            axes.annotate(str(pixel), (float(x[chosen].mean()), float(y[chosen].mean())), xytext=(9, 9),
                          textcoords="offset points", color=colour[pixel], fontweight="bold")
        axes.set_aspect("equal")
        axes.set_title(f"{event}: focal sphere, take-off angles to {edge:g}°")
        _legend_once(axes)
    return figure


def _equal_area(down: Any, around: Any) -> tuple[Any, Any]:
    """East and north of rays by angles from the downward vertical and from north, degrees."""
    radius = np.sqrt(2) * np.sin(np.radians(down) / 2)
    return radius * np.sin(np.radians(around)), radius * np.cos(np.radians(around))


def _legend_once(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    kept = dict(zip(labels, handles, strict=True))
    axes.legend(kept.values(), kept.keys(), loc="center left", bbox_to_anchor=(1.12, 0.5),
                ncols=1 + len(kept) // 16, fontsize=8)


def divergence_figure(coherent: Coherent) -> Figure:
    """Divergence of each code, and the objective, by step."""
    steps = np.arange(len(coherent.descent.objective))
    with style():
        figure = new_figure()
        left, right = figure.subplots(1, 2)
        left.plot(steps, coherent.descent.kl, linewidth=1.2)
        left.axhline(coherent.floor, color=GREY, linestyle=":")
        left.annotate("the size of the bag alone", (steps[-1], coherent.floor), ha="right", va="bottom", fontsize=8,
                      color=GREY)
        left.set(title="Divergence of each ideal seismogram", xlabel="step", ylabel="nats")
        right.plot(steps, coherent.descent.objective, color=BLACK)
        right.set(title="Objective: " + ("converged" if coherent.descent.converged else "not converged"),
                  xlabel="step")
    return figure


def ideal_figure(coherent: Coherent, times: NDArray[np.float64]) -> Figure:
    """The ideal seismograms, the same aligned, and the target's virtual waveforms."""
    with style():
        figure = new_figure()
        axes = figure.subplots(1, 3, sharey=True)
        for panel, waves, title in ((axes[0], coherent.ideal, "Ideal seismograms"),
                                    (axes[1], coherent.shifted, "aligned"),
                                    (axes[2], coherent.virtual[coherent.target], "virtual, of the target")):
            for place, values in enumerate(standard(waves)):
                panel.plot(times, 4 * place + values, color=BLUE, linewidth=1)
            panel.set(title=title, xlabel="seconds after P", xlim=(times[0], times[-1]))
            panel.set_yticks([])
    return figure
