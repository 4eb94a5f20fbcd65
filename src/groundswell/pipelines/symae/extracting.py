"""symae: extracting an event: the coherent signal of each of its pixels, ranked, written and drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.numpy
import torch

from groundswell.core.files import atomic_path, write_bytes, write_json
from groundswell.core.progress import progress
from groundswell.core.waveforms import envelope
from groundswell.pipelines.symae.coherent import Coherent, get_coherent_information
from groundswell.pipelines.symae.ranking import equal_bags, ranks
from groundswell.pipelines.symae.reference_task import ReferenceTask
from groundswell.pipelines.symae.signals import STACKS, Floats, Signal, prepared, signal_of, standard
from groundswell.pipelines.symae.trained import Trained, bags_of, clean_name, open_trained


def extract_event(run: Path, event: str, *, pixel: int | None = None, store: Path | None = None,
                  out: Path | None = None, fold: int = 0, scale: int = 2) -> list[str]:
    """What `symae extract` does; what to tell the person, line by line.

    Writes ``signals.json``, ``curves.csv`` (every curve, with its time), ``traces.csv`` (shift, polarity and
    correlation of every trace), ``signals.safetensors`` (all arrays), of the reference model ``divergence.csv`` (its
    own loss history), and pictures; and the run's parameters, history and weights under the seed's names.

    Raises:
        InputError: there is no such run, event or pixel, or the traces do not fit the network.
    """
    from groundswell.pipelines.symae.figures import check_scale
    from groundswell.pipelines.symae.figures_signals import draw_event
    from groundswell.pipelines.symae.ship_artefacts import save_artefacts

    check_scale(scale)
    trained = open_trained(run, store=store, fold=fold)
    bags = bags_of(trained.store, event, pixel)
    folder = out or Path(run) / "extract" / clean_name(event)
    signals, coherent = signals_of_event(trained, event, bags)
    write_signals(folder, trained, signals, coherent)
    drawn = draw_event(folder, trained, signals, coherent, scale=scale)
    save_artefacts(trained.run)
    return [*lines_of(trained, event, signals, coherent),
            f"Wrote signals.json, curves.csv, traces.csv, signals.safetensors and {len(drawn)} pictures to {folder}."]


def signals_of_event(trained: Trained, event: str, bags: Sequence[int]) -> tuple[list[Signal], Coherent | None]:
    """Signals of some bags of one event, and what the reference model's procedure says of the event besides.

    Each signal's ``facts`` have ``rank`` among the bags and ``score``, what they are ranked by.
    """
    task, store = trained.task_of(event), trained.store
    coherent, candidates = None, list(bags)
    if isinstance(task, ReferenceTask):
        # Ideal seismograms are sought among all pixels of the event, whichever are asked for.
        candidates = bags_of(store, event)
        coherent = _procedure(trained, task, candidates)
    reads = [store.read(bag) for bag in bags]
    names = [f"{event}/{store.bags['pixel'].iloc[bag]}" for bag in bags]
    if coherent is None:
        size, scores = equal_bags(task, reads, names)
        meaning = f"root mean square of the spread of bags of {size} traces each"
    else:
        scores = [coherent.information[candidates.index(bag)] for bag in bags]
        meaning = "mean divergence of a virtual waveform from the bag, less what the bag's size alone makes, nats"
    found = []
    with progress(len(bags), "extract", "pixels") as bar:
        for bag, score, rank in zip(bags, scores, ranks(scores), strict=True):
            instead = None if coherent is None else _instead(coherent, candidates.index(bag))
            signal = signal_of(store, bag, task, max_shift_s=trained.recipe.model.max_shift_s,
                               reach_s=trained.recipe.evaluate.max_lag_s, instead=instead)
            signal.facts.update(rank=rank, score=score, score_is=meaning)
            found.append(signal)
            bar.advance()
    return found, coherent


def _procedure(trained: Trained, task: ReferenceTask, bags: Sequence[int]) -> Coherent:
    keys = trained.recipe.extract
    waves = [torch.from_numpy(prepared(task, trained.store.read(bag))) for bag in bags]
    return get_coherent_information(task.network, waves, N=keys.N, nepochs=keys.nepochs, alpha=keys.alpha,
                                    learning_rate=keys.learning_rate, optimiser=keys.optimiser)


def _instead(coherent: Coherent, place: int) -> Callable[[dict[str, Floats]], dict[str, Floats]]:
    """The signal by the procedure in place of the stack of reconstructions."""
    virtual, spread = coherent.virtual[place], coherent.spread[place]
    mean = virtual.mean(0)
    size = max(float(mean.std()), 1e-9)
    envelopes = standard(envelope(virtual))

    def change(found: dict[str, Floats]) -> dict[str, Floats]:
        return {**found, "source": mean, "spread": spread / size, "source_envelope": standard(envelopes.mean(0)),
                "envelope_spread": envelopes.std(0)}

    return change


def write_signals(folder: Path, trained: Trained, signals: Sequence[Signal], coherent: Coherent | None) -> None:
    """Write what was extracted; see :func:`extract_event`."""
    event = signals[0].event
    write_json(folder / "signals.json", {
        "event": event, "run": trained.run.path.name, "model": trained.recipe.model.type, "fold":
        trained.fold_of(event) + 1, "part": trained.role_of(event), "caution": trained.caution(event),
        "simulated": trained.simulated, "dt": trained.store.facts.dt, "t0": trained.store.facts.t0,
        "pixels": [_facts(signal) for signal in signals],
        "procedure": None if coherent is None else _procedure_facts(trained, coherent)})
    for name, frame in (("curves.csv", pd.concat([_curves(signal) for signal in signals])),
                        ("traces.csv", pd.concat([_traces(signal) for signal in signals]))):
        with atomic_path(folder / name) as temporary:
            frame.to_csv(temporary, index=False, float_format="%.6g")
    arrays = {f"{signal.pixel}/{name}": np.ascontiguousarray(getattr(signal, name), np.float32) for signal in signals
              for name in ("source", "spread", "x", "aligned", "shift_s", "flip", "mean_envelope")}
    for signal in signals:
        arrays |= {f"{signal.pixel}/{name}": wave.astype(np.float32) for name, wave in signal.stacks.items()}
    if coherent is not None:
        bags = [int(trained.store.bags["pixel"].iloc[bag]) for bag in bags_of(trained.store, event)]
        arrays |= {f"{pixel}/virtual": np.ascontiguousarray(made, np.float32)
                   for pixel, made in zip(bags, coherent.virtual, strict=True)}
        arrays |= {name: np.ascontiguousarray(getattr(coherent, name), np.float32) for name in ("ideal", "shifted")}
        steps = pd.DataFrame(coherent.descent.kl, columns=[f"kl_{j + 1}" for j in range(coherent.descent.kl.shape[1])])
        steps.insert(0, "objective", coherent.descent.objective)
        with atomic_path(folder / "divergence.csv") as temporary:
            steps.to_csv(temporary, index_label="step", float_format="%.8g")
    write_bytes(folder / "signals.safetensors", safetensors.numpy.save(arrays))


def _facts(signal: Signal) -> dict[str, Any]:
    return {"pixel": signal.pixel, "colatitude": signal.colatitude, "longitude": signal.longitude,
            "traces": len(signal.stations), **signal.facts, "split_half": signal.split_half,
            "correlation_with_truth": signal.truth or None, "recoverable": signal.recoverable,
            "mean_spread": float(np.sqrt((signal.spread**2).mean())),
            "correlation_with_stack": {name: float((signal.source * wave).mean())
                                       for name, wave in signal.stacks.items()},
            "shift_standard_deviation_s": float(signal.shift_s.std()), "turned_over": int((signal.flip < 0).sum())}


def _procedure_facts(trained: Trained, coherent: Coherent) -> dict[str, Any]:
    return {**trained.recipe.extract.model_dump(mode="json"), "converged": coherent.descent.converged,
            "verdict": coherent.descent.verdict, "floor_nats": coherent.floor,
            "divergence_of_ideal_seismograms_nats": coherent.descent.kl[0].tolist(),
            "less_the_bags_size_nats": (coherent.descent.kl[0] - coherent.floor).tolist(),
            "ideal_seismograms": [{"bag": bag, "trace": trace} for bag, trace in coherent.chosen]}


def _curves(signal: Signal) -> pd.DataFrame:
    return pd.DataFrame({"pixel": signal.pixel, "time_s": signal.times, "source": signal.source,
                         "spread": signal.spread, **signal.stacks, "source_envelope": signal.source_envelope,
                         "mean_displacement_envelope": signal.mean_envelope,
                         **({} if signal.true is None else {"true": signal.true})})


def _traces(signal: Signal) -> pd.DataFrame:
    return pd.DataFrame({"event": signal.event, "pixel": signal.pixel, "station": signal.stations,
                         "shift_s": signal.shift_s, "polarity": signal.flip.astype(np.int64),
                         "correlation": signal.correlation, "iccs_shift_s": signal.iccs_shift_s})


def lines_of(trained: Trained, event: str, signals: Sequence[Signal], coherent: Coherent | None) -> list[str]:
    """What was found, in sentences."""
    lines = [trained.caution(event)] if trained.caution(event) else []
    for signal in sorted(signals, key=lambda one: one.facts["rank"]):
        halves = ", ".join(f"{STACKS.get(name, name)} {value:.3f}" for name, value in signal.split_half.items())
        truth = ", ".join(f"{STACKS.get(name, name)} {value:.3f}" for name, value in signal.truth.items())
        lines.append(f"Pixel {signal.label}, {len(signal.stations)} traces, rank {signal.facts['rank']}: "
                     f"split-half correlation {halves or 'not known (fewer than four traces)'}"
                     + (f"; correlation with the true source {truth}" if truth else "") + "."
                     + ("" if signal.recoverable else " Its paths share a part: the source cannot be recovered."))
    if coherent is not None:
        lines.append(f"{coherent.descent.verdict} Of a divergence, {coherent.floor:.1f} nats are the size of the bag.")
    return lines
