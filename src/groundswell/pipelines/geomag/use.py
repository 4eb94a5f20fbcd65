"""geomag: classifying windows with a run, an exported file or a saved ensemble."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path, write_json
from groundswell.pipelines.geomag.layout import CLASSES, MINUTES_A_DAY, WINDOW_DAYS

Answer = Callable[[NDArray[np.float32]], tuple[NDArray[np.float64], NDArray[np.float64] | None]]
"""Maps windows (b, minutes) to probabilities (b, classes) and, of several members, their variance (b,)."""


def predict_with(model: Path, inputs: Sequence[Path], *, out: Path, aggregate: str = "average", fold: int = 0,
                 batch_size: int = 16, device: str = "auto", plot: Path | None = None) -> int:
    """Classify the windows of some files and write one row for each; the exit status.

    Args:
        model: folder of a run, exported ``.onnx`` file, or the ``_ensemble_config.json`` of a study.
        inputs: ``.npy`` files, shape (n, minutes) or (n, minutes + 1) with a label that is not looked at; or folders of
            them.
        out: ``.json`` or ``.csv``: file, row, class, confidence, variance, probability of each class.
        aggregate: only "average": a window is one answer here.
        fold: one fold's network (from 1), or 0 for all.
        batch_size: windows at once.
        device: cpu, cuda or auto.
        plot: also draw the probabilities to this PNG.

    Raises:
        InputError: a file is missing, of another length than the model's, or not finite; nothing is written.
    """
    if out.suffix not in (".json", ".csv"):
        raise InputError("Answers are written as .json or .csv", where=f"--out {out}")
    if aggregate != "average":
        raise InputError("Each window has an answer of its own; there is nothing to vote on", where="--aggregate")
    if plot is not None and plot.suffix.lower() != ".png":
        raise InputError("Pictures are written as .png", where=plot)
    minutes, answer = answer_of(model, fold=fold, device=device)
    rows: list[dict[str, Any]] = []
    for path in _files(inputs):
        rows += _answers(path, minutes, answer, batch_size)
    frame = pd.DataFrame(rows)
    with atomic_path(out) as temporary:
        if out.suffix == ".csv":
            frame.to_csv(temporary, index=False)
        else:
            write_json(temporary, {"model": str(model), "classes": list(CLASSES), "windows": rows})
    if plot is not None:
        _draw(frame, plot)
    counts = frame["class"].value_counts()
    print(f"{len(frame)} windows: " + ", ".join(f"{counts.get(name, 0)} {name}" for name in CLASSES)
          + f". Wrote {out}. A class is what the model associates a window with; it is not a forecast.")
    return 0


def answer_of(model: Path, *, fold: int = 0, device: str = "auto") -> tuple[int, Answer]:
    """Length of a window in minutes, and what a run, an exported file or an ensemble says of windows.

    Raises:
        InputError: there is no such model or device.
    """
    if model.suffix == ".onnx":
        from groundswell.deploy.artifact import Artifact

        artifact = Artifact.open(model)
        return int(artifact.metadata["minutes"]), lambda x: (
            np.asarray(artifact.run({"x": x})["probability"], np.float64), None)
    import torch

    from groundswell.core.run import RunFolder
    from groundswell.pipelines.geomag.ensembles import answers, ensemble_of_run, minutes_of, open_ensemble
    from groundswell.pipelines.workflow import folds_of

    there = torch.cuda.is_available()
    if device not in ("auto", "cpu", "cuda") or (device == "cuda" and not there):
        raise InputError(f"There is no device '{device}' here", where="--device")
    place = "cuda" if there and device != "cpu" else "cpu"
    if model.suffix == ".json":
        ensemble, minutes = open_ensemble(model, place)
    else:
        run = RunFolder.open(model)
        ensemble = ensemble_of_run(run, folds_of(run, fold)).to(place)
        minutes = minutes_of(ensemble, "")
    return minutes, lambda x: answers(ensemble, torch.from_numpy(x).to(place))


def _files(inputs: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in inputs:
        below = sorted(p for p in path.rglob("*.npy") if not p.name.startswith("placebo")) if path.is_dir() else [path]
        if not below:
            raise InputError("There are no .npy files of windows in this folder", where=path)
        found += below
    return found


def _answers(path: Path, minutes: int, answer: Answer, batch_size: int) -> list[dict[str, Any]]:
    try:
        windows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"The windows cannot be read ({error})", where=path) from error
    if windows.ndim != 2 or windows.shape[1] not in (minutes, minutes + 1):
        known = ", ".join(str(days * MINUTES_A_DAY) for days in WINDOW_DAYS)
        raise InputError(f"The array has the shape {windows.shape}; the model takes windows of {minutes} minutes, one "
                         "a row, with or without a label behind them", where=path,
                         fix=f"Give windows of the model's length (there are models of {known} minutes)")
    rows = []
    for start in range(0, len(windows), batch_size):
        x = np.ascontiguousarray(windows[start:start + batch_size, :minutes], np.float32)
        bad = np.flatnonzero(~np.isfinite(x).all(1))
        if len(bad):
            raise InputError("A window holds values that are not finite", where=f"{path}, row {start + int(bad[0])}",
                             fix="Fill or drop it first")
        probability, variance = answer(x)
        for i, k in enumerate(probability.argmax(1).tolist()):
            rows.append({"file": str(path), "row": start + i, "class": CLASSES[k],
                         "confidence": float(probability[i, k]),
                         "variance": None if variance is None else float(variance[i]),
                         **{f"p_{name}": float(probability[i, j]) for j, name in enumerate(CLASSES)}})
    return rows


def _draw(frame: pd.DataFrame, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots()
    for k, (name, part) in enumerate(frame.groupby("file", sort=False)):
        axes.plot(part.index, part[f"p_{CLASSES[1]}"], ".", markersize=3, color=f"C{k % 10}",
                  label=Path(str(name)).name)
    axes.axhline(0.5, color="0.6", linewidth=0.8)
    axes.set(xlabel="window", ylabel=f"probability of '{CLASSES[1].replace('_', ' ')}'", ylim=(-0.03, 1.03))
    axes.legend(frameon=False, fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
