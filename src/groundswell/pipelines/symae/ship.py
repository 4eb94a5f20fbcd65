"""symae: exporting a run: one ONNX file through the parity gate, or plain state dicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from groundswell.core.errors import InputError
from groundswell.core.run import RunFolder
from groundswell.deploy.export import ExportResult, export_onnx
from groundswell.pipelines import shipping
from groundswell.pipelines.archive import load_archive
from groundswell.pipelines.symae.data import axis_of, source_of
from groundswell.pipelines.symae.reading import batches
from groundswell.pipelines.symae.recipe import SymaeRecipe
from groundswell.train.task import Export, Task

COMPARED = 128
"""Bags of the run's own data that the exported file is compared on."""


class _Mean(nn.Module):
    """Sources of several folds' networks, averaged: all are in the frame of the same alignment."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = [member(x) for member in self.members]
        return torch.stack([source for source, _ in found]).mean(0), torch.stack([s for _, s in found]).mean(0)


_WORDS = shipping.Words("bags", "STORE", answer="a source", unit=" of its deviation",
                        shapes="with other numbers of bags and traces")


def export_run(run: RunFolder, *, to: str, out: Path | None, fold: int) -> list[str]:
    """Export a run; see :func:`groundswell.pipelines.shipping.export_run`."""
    return shipping.export_run(run, to=to, out=out, fold=fold, words=_WORDS, onnx=export_onnx_of,
                               weights=write_state_dicts)


def tasks_of(run: RunFolder, folds: Sequence[int]) -> list[Task]:
    """The trained tasks of some folds, in evaluation mode."""
    return shipping.tasks_of(run, folds)


def export_onnx_of(run: RunFolder, path: Path, folds: Sequence[int]) -> ExportResult:
    """Write the ONNX file and compare it on bags of the run's own data.

    Raises:
        InputError: the model has no exported form.
    """
    try:
        exports = [task.export() for task in tasks_of(run, folds)]
    except NotImplementedError as error:
        raise InputError(str(error), where=run.path, fix="Export its weights with --to weights") from error
    facts = {**exports[0].metadata, "t0": axis_of(load_archive(run.path)).t0, "folds": [fold + 1 for fold in folds]}
    module = exports[0].module if len(exports) == 1 else _Mean([e.module for e in exports]).eval()
    what: Export = replace(exports[0], module=module, metadata=facts)
    return export_onnx(what, path, lambda: _bags(run), run=run.path.name)


def _bags(run: RunFolder) -> Iterator[Mapping[str, NDArray[Any]]]:
    archive = load_archive(run.path)
    source = source_of(run.recipe(SymaeRecipe), archive)
    rows = np.resize(np.unique(np.linspace(0, len(source) - 1, COMPARED).astype(np.int64)), COMPARED)
    for bags in batches(source, rows, 16):
        yield {"x": bags.x.numpy()}


def write_state_dicts(run: RunFolder, folder: Path, folds: Sequence[int]) -> list[Path]:
    """See :func:`groundswell.pipelines.shipping.write_best`."""
    return shipping.write_best(run, folder, folds, tasks_of(run, folds))
