"""das: the networks of a run, ready to predict: one fold's, or several averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from groundswell.core.errors import InputError
from groundswell.core.run import RunFolder
from groundswell.pipelines import shipping
from groundswell.pipelines.das.predictor import Predictor
from groundswell.pipelines.das.task import DasTask, TaskPredictor
from groundswell.pipelines.workflow import folds_of
from groundswell.train.task import Export


class MeanPredictor:
    """Several predictors of one kind whose probabilities are averaged.

    Args:
        members: at least one; alike in everything but their weights.
        description: one line for people.
    """

    def __init__(self, members: Sequence[Predictor], description: str) -> None:
        self._members = tuple(members)
        self.description = description
        first = self._members[0]
        self.classes, self.channels = first.classes, first.channels
        self.window_samples, self.stride_samples = first.window_samples, first.stride_samples
        self.rate_hz, self.spacing_m = first.rate_hz, first.spacing_m

    def predict(self, x: NDArray[np.float32], spacing_m: float) -> NDArray[np.float64]:
        """Mean probability, shape (batch, class), of windows, shape (batch, time, channel)."""
        answers = np.stack([member.predict(x, spacing_m) for member in self._members])
        return np.asarray(answers.mean(axis=0), np.float64)


class _MeanModule(nn.Module):
    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor, spacing_m: Tensor | None = None) -> Tensor:
        answers = [member(x, spacing_m) for member in self.members]
        return torch.stack(answers).mean(dim=0)


def tasks_of(run: RunFolder, folds: Sequence[int]) -> list[DasTask]:
    """The trained tasks of some folds, in evaluation mode."""
    return shipping.tasks_of(run, folds, DasTask)


def run_predictor(path: Path, *, fold: int = 0, device: str = "auto") -> Predictor:
    """The model of a run as a predictor, through torch.

    Args:
        path: the run's folder.
        fold: one fold (from 1), or 0 for the mean of all.
        device: cpu, cuda, or auto for cuda where there is one.

    Raises:
        InputError: there is no such run, fold or device, or the run is not trained.
    """
    there = torch.cuda.is_available()
    if device not in ("auto", "cpu", "cuda") or (device == "cuda" and not there):
        raise InputError(f"There is no device '{device}' here", where="--device",
                         fix=f"Choose auto{', cpu or cuda' if there else ' or cpu'}")
    run = RunFolder.open(path)
    folds = folds_of(run, fold)
    place = ("cuda" if there else "cpu") if device == "auto" else device
    members = [TaskPredictor(task, f"fold {k + 1} of {path}", device=place)
               for k, task in zip(folds, tasks_of(run, folds), strict=True)]
    if len(members) == 1:
        return members[0]
    return MeanPredictor(members, f"mean of {len(members)} folds of {path}")


def export_of(run: RunFolder, folds: Sequence[int]) -> Export:
    """What is exported of a run: one fold's network, or the mean of several in one graph."""
    exports = [task.export() for task in tasks_of(run, folds)]
    first = exports[0]
    facts = {**first.metadata, "folds": [fold + 1 for fold in folds]}
    if len(exports) == 1:
        return replace(first, metadata=facts)
    return replace(first, module=_MeanModule([e.module for e in exports]).eval(), metadata=facts)
