"""biodiversity: naming the species of observations with a run or an exported file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path, write_json
from groundswell.core.progress import progress

TOP = 5

Answer = Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float64]]
"""Maps vectors by modality, first axis the observation, to probabilities (b, species)."""


def predict_with(model: Path, inputs: Sequence[Path], *, out: Path, aggregate: str = "average", fold: int = 0,
                 batch_size: int = 64, device: str = "auto", plot: Path | None = None) -> int:
    """Name the species of a store's observations and write one row for each; the exit status.

    Args:
        model: folder of a run, or exported ``.onnx`` file.
        inputs: one store's folder, and at will tables of observations (CSV, Parquet) whose rows alone are named.
        out: ``.json`` or ``.csv``: observation_id, species, confidence, and the five likeliest species.
        aggregate: only "average": an observation is one answer here.
        fold: one fold's network (from 1), or 0 for the mean of all.
        batch_size: observations at once.
        device: cpu, cuda or auto.
        plot: also draw the confidence on a map to this PNG.

    Raises:
        InputError: no store, a table or a vector is missing; nothing is written.
    """
    if out.suffix not in (".json", ".csv"):
        raise InputError("Answers are written as .json or .csv", where=f"--out {out}")
    if aggregate != "average":
        raise InputError("Each observation has an answer of its own; there is nothing to vote on", where="--aggregate")
    if plot is not None and plot.suffix.lower() != ".png":
        raise InputError("Pictures are written as .png", where=plot)
    facts, answer = answer_of(model, fold=fold, device=device)
    store, frame = _observations(inputs)
    probability = _answers(store, frame, facts, answer, batch_size)
    classes = np.asarray(facts["classes"], object)
    best = np.argsort(-probability, axis=1, kind="stable")[:, :TOP]
    rows = [{"observation_id": frame["observation_id"].iloc[i], "species": classes[best[i, 0]],
             "confidence": float(probability[i, best[i, 0]]),
             **{f"species_{j + 1}": classes[k] for j, k in enumerate(best[i])},
             **{f"p_{j + 1}": float(probability[i, k]) for j, k in enumerate(best[i])}} for i in range(len(frame))]
    with atomic_path(out) as temporary:
        if out.suffix == ".csv":
            pd.DataFrame(rows).to_csv(temporary, index=False)
        else:
            write_json(temporary, {"model": str(model), "simulated": facts["simulated"], "observations": rows})
    if plot is not None:
        _draw(frame, probability.max(axis=1), plot)
    simulated = " The embeddings are simulated." if facts["simulated"] else ""
    print(f"{len(frame)} observations, {len({row['species'] for row in rows})} species named. Wrote {out}.{simulated}")
    return 0


def answer_of(model: Path, *, fold: int = 0, device: str = "auto") -> tuple[dict[str, Any], Answer]:
    """What a model needs (modalities, vision, classes, simulated) and what it answers.

    Raises:
        InputError: there is no such model or device.
    """
    if model.suffix == ".onnx":
        from groundswell.deploy.artifact import Artifact

        artifact = Artifact.open(model)
        facts = {name: artifact.metadata[name] for name in ("modalities", "vision", "classes")}
        return facts, lambda batch: np.asarray(artifact.run(dict(batch))["probability"], np.float64)
    import torch

    from groundswell.core.run import RunFolder
    from groundswell.pipelines.biodiversity.ship import tasks_of
    from groundswell.pipelines.workflow import folds_of

    there = torch.cuda.is_available()
    if device not in ("auto", "cpu", "cuda") or (device == "cuda" and not there):
        raise InputError(f"There is no device '{device}' here", where="--device")
    place = "cuda" if there and device != "cpu" else "cpu"
    run = RunFolder.open(model)
    tasks = [task.to(place) for task in tasks_of(run, folds_of(run, fold))]

    def answer(batch: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        tensors = {name: torch.from_numpy(values).to(place) for name, values in batch.items()}
        with torch.inference_mode():
            each = torch.stack([task.predict(tensors)["probability"] for task in tasks])
        return np.asarray(each.mean(dim=0).double().cpu().numpy(), np.float64)

    first = tasks[0]
    return {"modalities": list(first.modalities), "vision": first.recipe.data.vision,
            "classes": list(first.classes)}, answer


def _observations(inputs: Sequence[Path]) -> tuple[Path, pd.DataFrame]:
    from groundswell.pipelines.biodiversity.observations import read_observations

    stores = [path for path in inputs if path.is_dir()]
    if len(stores) != 1:
        raise InputError(f"One store's folder is needed to read vectors from, and {len(stores)} are given",
                         where="groundswell predict MODEL STORE [TABLE ...]")
    tables = [path for path in inputs if not path.is_dir()] or stores
    frame = pd.concat([read_observations(path) for path in tables], ignore_index=True)
    repeated = frame["observation_id"].duplicated()
    if repeated.any():
        raise InputError("An observation is given twice", where=str(frame["observation_id"][repeated].iloc[0]))
    return stores[0], frame


def _answers(store: Path, frame: pd.DataFrame, facts: dict[str, Any], answer: Answer,
             batch_size: int) -> NDArray[np.float64]:
    from groundswell.data.embeddings.store import EmbeddingStore
    from groundswell.pipelines.biodiversity.observations import observation_table
    from groundswell.pipelines.biodiversity.source import observation_source

    opened = EmbeddingStore.open(store)
    facts["simulated"] = bool(opened.note.get("simulated"))
    source = observation_source(store, facts["vision"], facts["modalities"], observation_table(frame))
    if "vision" in facts["modalities"]:
        opened.verify([facts["vision"]], frame["gbif_id"].to_numpy(np.int64))
    if "language" in facts["modalities"]:
        opened.verify(["language"])
    found = []
    try:
        with progress(len(frame), "predict", "observations") as bar:
            for first in range(0, len(frame), batch_size):
                rows = np.arange(first, min(first + batch_size, len(frame)))
                batch = {name: field.allocate(len(rows)) for name, field in source.fields.items()}
                source.read(rows, batch)
                found.append(answer(batch))
                bar.advance(len(rows))
    finally:
        source.close()
    return np.concatenate(found)


def _draw(frame: pd.DataFrame, confidence: NDArray[np.float64], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5.5), layout="constrained")
    axes = figure.subplots()
    shown = axes.scatter(frame["longitude"], frame["latitude"], c=confidence, s=10, cmap="viridis", vmin=0, vmax=1)
    axes.set_aspect(1 / np.cos(np.radians(float(np.clip(frame["latitude"].abs().mean(), 0, 85)))))
    axes.set(xlabel="longitude (degrees)", ylabel="latitude (degrees)")
    figure.colorbar(shown, label="probability of the species named")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
