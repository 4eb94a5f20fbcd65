"""symae: reading the sources of bags with a run or an exported file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path, write_json
from groundswell.core.progress import progress
from groundswell.core.waveforms import best_lag, shifted
from groundswell.pipelines.symae.store import BagStore
from groundswell.pipelines.symae.store_layout import name_of

Floats = NDArray[np.float64]
Answer = Callable[[list[NDArray[np.float32]]], list[dict[str, Floats]]]
"""Maps bags (t, n) to ``source`` and ``spread`` (n,) and, of a run, ``shift_s`` and ``flip`` (t,)."""

_REACH_S = 12.0


def predict_with(model: Path, inputs: Sequence[Path], *, out: Path, aggregate: str = "average", fold: int = 0,
                 batch_size: int = 16, device: str = "auto", plot: Path | None = None) -> int:
    """Estimate the source of every bag of some stores; the exit status.

    Args:
        model: folder of a run, or exported ``.onnx`` file.
        inputs: folders of stores of bags.
        out: ``.json`` (a bag: event, pixel, source, spread, shifts by station) or ``.csv`` (a row for each sample).
        aggregate: only "average": a bag is one answer here.
        fold: one fold's network (from 1), or 0 for the mean of all.
        batch_size: bags at once.
        device: cpu or auto.
        plot: also draw the sources to this PNG.

    Raises:
        InputError: no store, or its traces are of another length than the model's; nothing is written.
    """
    if out.suffix not in (".json", ".csv"):
        raise InputError("Answers are written as .json or .csv", where=f"--out {out}")
    if aggregate != "average":
        raise InputError("Each bag has an answer of its own; there is nothing to vote on", where="--aggregate")
    if plot is not None and plot.suffix.lower() != ".png":
        raise InputError("Pictures are written as .png", where=plot)
    if device not in ("auto", "cpu"):
        raise InputError("Sources are read on the processor", where=f"--device {device}", fix="Choose cpu or auto")
    nt, dt, answer = answer_of(model, fold=fold)
    stores = [BagStore.open(path) for path in inputs]
    for store in stores:
        _check(store, nt, dt)
    rows: list[dict[str, Any]] = []
    with progress(sum(len(store) for store in stores), "predict", "bags") as bar:
        for store in stores:
            for first in range(0, len(store), max(batch_size, 1)):
                bags = list(range(first, min(first + max(batch_size, 1), len(store))))
                found = answer([store.read(bag) for bag in bags])
                rows += [_row(store, bag, one) for bag, one in zip(bags, found, strict=True)]
                bar.advance(len(bags))
    _write(out, model, stores, rows)
    if plot is not None:
        _draw(stores[0], rows[:24], plot)
    simulated = " The waveforms are simulated." if any(store.simulated for store in stores) else ""
    print(f"{len(rows)} bags of {len({row['event'] for row in rows})} events. Wrote {out}. Origin, sign and amplitude "
          f"of a source are free.{simulated}")
    return 0


def answer_of(model: Path, *, fold: int = 0) -> tuple[int, float, Answer]:
    """Samples of a trace, seconds between them, and what a run or an exported file says of bags.

    Raises:
        InputError: there is no such model.
    """
    if model.suffix == ".onnx":
        from groundswell.deploy.artifact import Artifact

        artifact = Artifact.open(model)

        def read(bags: list[NDArray[np.float32]]) -> list[dict[str, Floats]]:
            x = np.zeros((len(bags), max(len(bag) for bag in bags), bags[0].shape[1]), np.float32)
            for i, bag in enumerate(bags):
                x[i, :len(bag)] = bag  # traces of zeros are padding
            found = artifact.run({"x": x})
            return [{name: np.asarray(found[name][i], np.float64) for name in ("source", "spread")}
                    for i in range(len(bags))]

        return int(artifact.metadata["nt"]), float(artifact.metadata["dt"]), read
    from groundswell.core.run import RunFolder
    from groundswell.pipelines.archive import load_archive
    from groundswell.pipelines.symae.data import axis_of
    from groundswell.pipelines.symae.ship import tasks_of
    from groundswell.pipelines.symae.trained import read_sources
    from groundswell.pipelines.workflow import folds_of

    run = RunFolder.open(model)
    tasks = tasks_of(run, folds_of(run, fold))
    axis = axis_of(load_archive(run.path))

    def ask(bags: list[NDArray[np.float32]]) -> list[dict[str, Floats]]:
        each = [read_sources(task, bags) for task in tasks]  # type: ignore[arg-type]
        return [_mean([found[i] for found in each], _REACH_S / axis.dt) for i in range(len(bags))]

    return axis.nt, axis.dt, ask


def _mean(found: list[dict[str, Floats]], reach: float) -> dict[str, Floats]:
    """Answers of several networks as one, each moved and turned to the first; shifts are the first's."""
    first = found[0]
    if len(found) == 1:
        return first
    sources, spreads = [first["source"]], [first["spread"]]
    for one in found[1:]:
        best = best_lag(one["source"], first["source"], reach)
        sources.append(shifted(one["source"] * best.sign, -best.lag))
        spreads.append(shifted(one["spread"], -best.lag).clip(0))
    together = np.stack(sources)
    return {**first, "source": together.mean(0),
            "spread": np.sqrt((np.stack(spreads) ** 2).mean(0) + together.var(0))}


def _check(store: BagStore, nt: int, dt: float) -> None:
    if store.facts.nt != nt or abs(store.facts.dt / dt - 1) > 0.25:
        raise InputError(f"The store has traces of {store.facts.nt} samples {store.facts.dt:g} s apart; the model "
                         f"takes {nt} samples {dt:g} s apart", where=store.path,
                         fix=f"Prepare the records again with --set nt={nt} --set dt={dt:g}")


def _row(store: BagStore, bag: int, found: dict[str, Floats]) -> dict[str, Any]:
    row = store.bags.iloc[bag]
    start, count = int(row["start"]), int(row["count"])
    told: dict[str, Any] = {"bag": name_of(store.bags, bag), "event": str(row["event"]), "pixel": int(row["pixel"]),
                            "traces": count, "dt": store.facts.dt, "t0": store.facts.t0,
                            "source": found["source"].tolist(), "spread": found["spread"].tolist()}
    if "shift_s" in found:
        stations = [str(name) for name in store.traces["station"].iloc[start:start + count]]
        told |= {"stations": stations, "shift_s": found["shift_s"].tolist(),
                 "polarity": [int(value) for value in found["flip"]]}
    return told


def _write(out: Path, model: Path, stores: Sequence[BagStore], rows: list[dict[str, Any]]) -> None:
    if out.suffix == ".json":
        write_json(out, {"model": str(model), "simulated": any(store.simulated for store in stores), "bags": rows})
        return
    frames = [pd.DataFrame({"bag": row["bag"], "event": row["event"], "pixel": row["pixel"],
                            "time_s": row["t0"] + row["dt"] * np.arange(len(row["source"])), "source": row["source"],
                            "spread": row["spread"]}) for row in rows]
    with atomic_path(out) as temporary:
        pd.concat(frames).to_csv(temporary, index=False, float_format="%.6g")


def _draw(store: BagStore, rows: list[dict[str, Any]], path: Path) -> None:
    from groundswell.pipelines.symae.figures import plot_stf, save
    from groundswell.pipelines.symae.signals import time_axis

    save(plot_stf([row["source"] for row in rows], [row["bag"] for row in rows], 1.0, "Sources",
                  times=time_axis(store), spread=[row["spread"] for row in rows], simulated=store.simulated), path)
