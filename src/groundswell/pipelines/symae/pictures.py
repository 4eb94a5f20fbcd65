"""symae: bags before and after alignment, for the report."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.waveforms import best_lag, shifted
from groundswell.evaluate.figures import png_of
from groundswell.evaluate.report import Picture
from groundswell.evaluate.waveform_examples import worst_first
from groundswell.pipelines.archive import Archive
from groundswell.pipelines.symae.data import axis_of, source_of, store_of
from groundswell.pipelines.symae.figures import plot_stf
from groundswell.pipelines.symae.figures_signals import aligned_pair

DOTS = 130
_MOST_CURVES = 12


def alignment_pictures(recipe: Any, archive: Archive, evaluation: Any) -> list[Picture]:
    """The tested bag of the middle score and the worst one, aligned by the network; and the sources of one event.

    Args:
        recipe: of the run.
        archive: its bags.
        evaluation: a :class:`groundswell.evaluate.waveforms.WaveformEvaluation`.
    """
    if evaluation.predictions["model"].envelope:
        return []  # there are no waves to align
    order = worst_first(evaluation) or list(range(len(evaluation.answers)))
    chosen = {"worst": order[0], "middle": order[len(order) // 2]} if len(order) > 2 else {"only": order[0]}
    pictures = [_aligned(recipe, archive, evaluation, str(evaluation.answers[place]["name"]), rank)
                for rank, place in reversed(chosen.items())]
    sources = _sources(archive, evaluation)
    return pictures + ([sources] if sources is not None else [])


def _aligned(recipe: Any, archive: Archive, evaluation: Any, name: str, rank: str) -> Picture:
    source, axis, given = source_of(recipe, archive), axis_of(archive), evaluation.predictions["model"]
    row = int(archive.table.positions([name])[0])
    bag, places = source.bag(row), source.places(row)
    x = store_of(archive).read(bag)[places].astype(np.float64)
    at = int(np.flatnonzero(given.sample_id == name)[0])
    shift, flip = (values[at, :len(x)].astype(np.float64) for values in (given.shift_s, given.flip))
    aligned = shifted(x, -shift / axis.dt) * flip[:, None]
    times = axis.t0 + axis.dt * np.arange(axis.nt)
    made = _made(archive)
    figure = aligned_pair(x, aligned, times, shift, name)
    gain = aligned.mean(0).std() / max(float(x.mean(0).std()), 1e-9)
    return Picture(png_of(figure, DOTS), f"The {rank} tested bag by its headline score, {name}: {len(x)} traces as "
                   "read and as the network aligned them, in the order of their shifts. The stack gained a factor of "
                   f"{gain:.2f} in amplitude.{made}",
                   f"Traces of {name} before and after alignment as two images, with their stacks below.")


def _sources(archive: Archive, evaluation: Any) -> Picture | None:
    """Sources of the tested event that most pixels saw."""
    given, table = evaluation.predictions["model"], archive.table
    rows = table.positions(given.sample_id.tolist())
    events: NDArray[Any] = table.column("record").to_numpy(object)[rows]
    names, counts = np.unique(events.astype(str), return_counts=True)
    if not len(names) or counts.max() < 2:
        return None
    event = names[int(counts.argmax())]
    shown = np.flatnonzero(events == event)[:_MOST_CURVES]
    bags = store_of(archive).bags.iloc[table.column("bag").to_numpy(np.int64)[rows[shown]]]
    places = list(zip(bags["pixel_colatitude"], bags["pixel_longitude"], strict=True))
    waves = given.waveform[shown].astype(np.float64)
    # Each bag's sign is its own convention; here all take that of the largest.
    sign = best_lag(waves, waves[int(bags["count"].to_numpy().argmax())], waves.shape[1] / 4).sign
    figure = plot_stf(waves * sign[:, None], [str(pixel) for pixel in bags["pixel"]], 1.0, f"{event}: sources",
                      times=given.times, places=places,
                      spread=given.spread[shown] if np.isfinite(given.spread[shown]).all() else None)
    return Picture(png_of(figure, DOTS), f"Sources of the tested event {event} as seen through {len(shown)} pixels of "
                   "the focal sphere, with bands of 90 % and their mean on top; labels give each pixel's colatitude "
                   f"and longitude. Each is turned to agree with that of the largest bag.{_made(archive)}",
                   f"Curves of {len(shown)} sources of {event}, one above another, coloured by pixel.")


def _made(archive: Archive) -> str:
    return " Waveforms simulated." if store_of(archive).simulated else ""
