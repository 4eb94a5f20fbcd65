"""symae: virtual seismograms: the source of one event on the paths of another, beside spectral-ratio transfer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path, write_json
from groundswell.core.waveforms import envelope, shifted
from groundswell.evaluate.figures import BLACK, BLUE, GREY, ORANGE
from groundswell.pipelines.symae.alignment.iccs import iccs
from groundswell.pipelines.symae.alignment.transfer import spectral_ratio_transfer
from groundswell.pipelines.symae.sac import write_sac_bag
from groundswell.pipelines.symae.scoring import nmse_best_lag
from groundswell.pipelines.symae.signals import prepared, standard, time_axis
from groundswell.pipelines.symae.store import BagStore
from groundswell.pipelines.symae.trained import (
    AnyTask,
    bags_of,
    clean_name,
    open_trained,
    padded_bags,
    read_sources,
    split_name,
    trace_rows,
)
from groundswell.pipelines.symae.virtual import virtual_traces

Floats = NDArray[np.float64]

WATER_LEVELS = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Of which the best stands for spectral ratios where the truth is known: their best case."""
WAYS = {"network": "network", "spectral_ratio": "spectral ratio of ICCS stacks",
        "spectral_ratio_best": "spectral ratio, best water level", "unchanged": "path's own trace, unchanged"}
_SHOWN = 12


@dataclass(frozen=True)
class Redatumed:
    """Virtual traces of t paths.

    Attributes:
        source, path: bags of the store.
        made: (t, n) by way: ``network`` and ``spectral_ratio``; standard deviation of the recorded traces is 1.
        recorded: (t, n), of the path's own event.
        true: (t, n), standardised, or ``None``.
        error: for each of :data:`WAYS`, normalised mean squared error (t,) at the best lag, standardised waves; empty
            where the truth is not known.
        shift_s: (t,), of the paths, found by the network.
    """

    source: int
    path: int
    made: dict[str, Floats]
    recorded: Floats
    true: Floats | None
    error: dict[str, Floats]
    shift_s: Floats


def redatum_events(run: Path, source: str, path: str, *, store: Path | None = None, out: Path | None = None,
                   sac: bool = False, water_level: float = 0.1, fold: int = 0, scale: int = 2) -> list[str]:
    """What `symae redatum` does; what to tell the person.

    Writes ``virtual.npy`` (float32 (t, n)), ``virtual.csv`` (a column for each station, seconds first), the same of the
    spectral ratio, ``redatum.json``, a picture and, with ``sac``, SAC files.

    Raises:
        InputError: there is no such run, event or pixel, or the water level is none.
    """
    from groundswell.pipelines.symae.figures import check_scale, save

    check_scale(scale)
    if not 0 < water_level <= 1:
        raise InputError(f"A water level is a share of the largest power, not {water_level:g}", where="--water-level",
                         fix="Choose a number above 0, at most 1")
    trained = open_trained(run, store=store, fold=fold)
    bags = trained.store
    one, other = (bags_of(bags, *split_name(name))[0] for name in (source, path))
    names = [f"{bags.bags['event'].iloc[bag]}/{bags.bags['pixel'].iloc[bag]}" for bag in (one, other)]
    event = names[0].rpartition("/")[0]
    found = redatumed(bags, one, other, trained.task_of(event), max_shift_s=trained.recipe.model.max_shift_s,
                      reach_s=trained.recipe.evaluate.max_lag_s, water_level=water_level)
    folder = out or Path(run) / "redatum" / "-on-".join(clean_name(name.replace("/", "-")) for name in names)
    _write(folder, bags, found, {"source": names[0], "path": names[1], "run": Path(run).name, "simulated":
                                 bags.simulated, "caution": trained.caution(event), "water_level": water_level})
    stations = [str(name) for name in trace_rows(bags, other)["station"]]
    save(virtual_figure(found, time_axis(bags), stations, f"Source of {names[0]} on paths of {names[1]}"
                        + (" (simulated)" if bags.simulated else "")), folder / "virtual.png", scale)
    written = []
    if sac:
        written = write_sac_bag(folder / "sac", bags, other, found.made["network"], found.shift_s.tolist(), "SYMAE")
    cautions = dict.fromkeys(trained.caution(name.rpartition("/")[0]) for name in names)
    return [*(text for text in cautions if text), *lines_of(found),
            f"Wrote {len(stations)} virtual traces to {folder / 'virtual.npy'} and .csv"
            + (f" and {len(written)} SAC files." if sac else ".")]


def redatumed(store: BagStore, source: int, path: int, task: AnyTask, *, max_shift_s: float, reach_s: float,
              water_level: float = 0.1) -> Redatumed:
    """The source of one bag on the paths of another.

    Args:
        store: both bags, and the truth where it is known: the true source convolved with the true paths, shifted and
            turned as the path's traces are.
        source, path: bags.
        task: trained, in evaluation mode.
        max_shift_s: largest shift of the alignment by stacking, seconds.
        reach_s: farthest that waves are moved to be compared, seconds.
        water_level: of the spectral ratio.
    """
    a, b, dt = store.read(source), store.read(path), store.facts.dt
    network = virtual_traces(task, a, b)
    ratios = _spectral_ratios(a, b, dt, max_shift_s, (water_level, *WATER_LEVELS))
    reads_envelopes = bool(getattr(task, "envelopes", False))
    if reads_envelopes:
        ratios = {level: envelope(wave) for level, wave in ratios.items()}
    recorded = prepared(task, b).astype(np.float64)
    true, error = None, {}
    if store.has_truth and "path" in store.truths:
        true = true_virtual(store, source, path)
        true = standard(envelope(true) if reads_envelopes else true)
        reach = round(reach_s / dt)
        levels = [_errors(ratios[level], true, reach) for level in WATER_LEVELS]
        error = {"network": _errors(network, true, reach), "spectral_ratio": _errors(ratios[water_level], true, reach),
                 "spectral_ratio_best": min(levels, key=lambda values: float(np.median(values))),
                 "unchanged": _errors(recorded, true, reach)}
    return Redatumed(source, path, {"network": network, "spectral_ratio": ratios[water_level]}, recorded, true, error,
                     read_sources(task, [b])[0]["shift_s"])


def true_virtual(store: BagStore, source: int, path: int) -> Floats:
    """True virtual traces (t, n) of a simulated store, without noise, in the amplitudes of truth."""
    wave = store.truth("source", source).astype(np.float64)
    n, paths = len(wave), store.truth("path", path).astype(np.float64)
    whole = np.fft.irfft(np.fft.rfft(wave, 2 * n) * np.fft.rfft(paths, 2 * n), 2 * n)
    late = shifted(whole, store.truth("shift", path).astype(np.float64) / store.facts.dt)
    return np.asarray(late[:, :n] * store.truth("flip", path)[:, None], np.float64)


def _spectral_ratios(a: NDArray[np.float32], b: NDArray[np.float32], dt: float, max_shift_s: float,
                     levels: tuple[float, ...]) -> dict[float, Floats]:
    """Traces of ``b`` over their stack, times the stack of ``a``, by water level."""
    with torch.inference_mode():
        stacks = [iccs(*padded_bags([bag]), dt=dt, max_shift_s=max_shift_s).stack for bag in (a, b)]
        return {level: spectral_ratio_transfer(torch.from_numpy(b), stacks[1], stacks[0], water_level=level)
                .double().numpy() for level in dict.fromkeys(levels)}


def _errors(made: Floats, true: Floats, reach: int) -> Floats:
    """Errors (t,) of standardised traces; the sign of a source is free, one for the bag."""
    both = [np.asarray(nmse_best_lag(sign * standard(made), standard(true), reach), np.float64) for sign in (1.0, -1.0)]
    return min(both, key=lambda values: float(np.median(values)))


def lines_of(found: Redatumed) -> list[str]:
    """The comparison with the truth in a sentence, where it is known."""
    if not found.error:
        return ["How near the virtual traces are to true ones is not known: nobody has recorded them."]
    told = "; ".join(f"{WAYS[name]} {100 * float(np.median(values)):.0f} %" for name, values in found.error.items())
    return [f"Error of the virtual traces against the true ones (simulated; power, at the best lag, median of "
            f"{len(found.recorded)}): {told}."]


def _write(folder: Path, store: BagStore, found: Redatumed, facts: Mapping[str, Any]) -> None:
    rows = trace_rows(store, found.path)
    stations = [str(name) for name in rows["station"]]
    for way, name in (("network", "virtual"), ("spectral_ratio", "spectral_ratio")):
        with atomic_path(folder / f"{name}.npy") as temporary, open(temporary, "wb") as file:
            np.save(file, found.made[way].astype(np.float32), allow_pickle=False)
        frame = pd.DataFrame(found.made[way].T, columns=stations)
        frame.insert(0, "time_s", time_axis(store))
        with atomic_path(folder / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False, float_format="%.6g")
    write_json(folder / "redatum.json", {
        **facts, "dt": store.facts.dt, "t0": store.facts.t0, "stations": stations,
        "shift_s": [float(value) for value in found.shift_s],
        "median_error": {name: float(np.median(values)) for name, values in found.error.items()} or None,
        "error": {name: [float(value) for value in values] for name, values in found.error.items()} or None})


def virtual_figure(found: Redatumed, times: Floats, stations: list[str], title: str) -> Figure:
    """Virtual traces of some stations, the recorded ones of the path's event in grey, the truth in black."""
    from groundswell.pipelines.symae.figures import new_figure, style

    shown = np.linspace(0, len(stations) - 1, min(len(stations), _SHOWN)).round().astype(np.int64)
    sign = 1.0
    if found.true is not None:
        sign = float(np.sign((standard(found.made["network"]) * found.true).sum()) or 1.0)
    with style():
        figure = new_figure()
        left, right = figure.subplots(1, 2, sharey=True)
        for place, i in enumerate(shown):
            for axes, way, colour in ((left, "network", BLUE), (right, "spectral_ratio", ORANGE)):
                last = {"label": True} if place == len(shown) - 1 else {}
                axes.plot(times, 5 * place + standard(found.recorded[i]), color=GREY, linewidth=0.6, alpha=0.7,
                          label="recorded (path's own event)" if last else None)
                if found.true is not None:
                    axes.plot(times, 5 * place + found.true[i], color=BLACK, linewidth=1.8, alpha=0.8,
                              label="true (simulated)" if last else None)
                axes.plot(times, 5 * place + sign * standard(found.made[way][i]), color=colour, linewidth=1.1,
                          label="virtual" if last else None)
        left.set_ylim(-4, 5 * len(shown) + 9)
        left.set_yticks(5 * np.arange(len(shown)), [stations[i] for i in shown], fontsize=6.5)
        for axes, name in ((left, "network"), (right, WAYS["spectral_ratio"])):
            error = found.error.get("network" if axes is left else "spectral_ratio")
            axes.set(xlabel="seconds after the theoretical P", xlim=(times[0], times[-1]),
                     title=name + ("" if error is None else f": error {100 * float(np.median(error)):.0f} %"))
            axes.legend(fontsize=7, loc="upper left")
        figure.suptitle(title, fontsize=10.5)
    return figure
