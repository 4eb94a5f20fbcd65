"""geomag: the files of a study under the names that the seed gave them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from groundswell.core.files import atomic_path, write_text
from groundswell.data.predictions import Predictions
from groundswell.pipelines.geomag.preprocess import Preprocess
from groundswell.train.weights import write_pth


def fold_stem(stem: str, fold: int) -> str:
    """``GRUModel_7day_fold_1`` for fold 0."""
    return f"{stem}_fold_{fold + 1}"


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write a plain array as ``.npy``, atomically."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array, allow_pickle=False)


def write_answers(folder: Path, stem: str, fold: int, parts: Mapping[str, Predictions]) -> None:
    """Write ``_train_probs.npy``, ``_test_probs.npy`` (float32 (n, 2)) and the labels (int64 (n,)) of a fold.

    ``_holdout_probs.npy`` and its labels come beside them where some windows are held out from every fold.
    """
    for part, predictions in parts.items():
        save_array(folder / f"{fold_stem(stem, fold)}_{part}_probs.npy", predictions.probability.astype(np.float32))
        save_array(folder / f"{fold_stem(stem, fold)}_{part}_labels.npy", predictions.truth.astype(np.int64))


def write_network(folder: Path, stem: str, fold: int, network: nn.Module, preprocess: Preprocess) -> None:
    """Write the network's state dict as a plain ``.pth`` and, beside it, mean and scale of its inputs."""
    path = folder / f"{fold_stem(stem, fold)}.pth"
    write_pth(path, {name: value.detach().cpu() for name, value in network.state_dict().items()})
    if preprocess.scaling == "feature":
        save_array(folder / f"{fold_stem(stem, fold)}_scaling.npy",
                   np.stack([preprocess.mean.cpu().numpy(), preprocess.scale.cpu().numpy()]))


def write_log(path: Path, title: str, epochs_csv: Path | None, epochs: int) -> None:
    """Write ``_logs.txt``: a line an epoch, in the form that :mod:`groundswell.pipelines.geomag.figures` reads."""
    lines = [title]
    if epochs_csv is not None:
        with open(epochs_csv, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                value = {name: float(text) for name, text in row.items() if text and name != "finished"}
                lines.append(
                    f"Epoch {int(value['epoch'])}/{epochs} | train_loss {value['train_loss']:.4f} | "
                    f"train_acc {value['train_accuracy']:.4f} | val_loss {value['val_loss']:.4f} | "
                    f"val_acc {value['val_accuracy']:.4f} | val_f1 {value['val_f1']:.4f} | "
                    f"val_mcc {value['val_mcc']:.4f} | lr {value['learning_rate']:.3e}")
    write_text(path, "\n".join(lines) + "\n")
