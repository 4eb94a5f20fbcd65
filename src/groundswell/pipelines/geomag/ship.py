"""geomag: exporting a run: one ONNX file through the parity gate, or plain state dicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from groundswell.core.run import RunFolder
from groundswell.deploy.export import ExportResult, export_onnx
from groundswell.pipelines import shipping
from groundswell.pipelines.archive import load_archive
from groundswell.pipelines.geomag.data import reader_of
from groundswell.pipelines.geomag.task import GeomagTask
from groundswell.train.task import Export

COMPARED = 128
"""Windows of the run's own data that the exported file is compared on."""


class _Mean(nn.Module):
    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([member(x) for member in self.members]).mean(dim=0)


_WORDS = shipping.Words("windows", "WINDOWS.npy")


def export_run(run: RunFolder, *, to: str, out: Path | None, fold: int) -> list[str]:
    """Export a run; see :func:`groundswell.pipelines.shipping.export_run`."""
    return shipping.export_run(run, to=to, out=out, fold=fold, words=_WORDS, onnx=export_onnx_of,
                               weights=write_state_dicts)


def tasks_of(run: RunFolder, folds: Sequence[int]) -> list[GeomagTask]:
    """The trained tasks of some folds, in evaluation mode."""
    return shipping.tasks_of(run, folds, GeomagTask)


def export_of(run: RunFolder, folds: Sequence[int]) -> Export:
    """What is exported of a run: one fold's network, or the mean of several in one graph."""
    exports = [task.export() for task in tasks_of(run, folds)]
    facts = {**exports[0].metadata, "folds": [fold + 1 for fold in folds]}
    module = exports[0].module if len(exports) == 1 else _Mean([e.module for e in exports]).eval()
    return replace(exports[0], module=module, metadata=facts)


def export_onnx_of(run: RunFolder, path: Path, folds: Sequence[int]) -> ExportResult:
    """Write the ONNX file and compare it on windows of the run's own data."""
    return export_onnx(export_of(run, folds), path, lambda: _windows(run), run=run.path.name)


def _windows(run: RunFolder) -> Iterator[Mapping[str, NDArray[Any]]]:
    archive = load_archive(run.path)
    read = reader_of(archive)
    assert read is not None
    rows = np.resize(np.unique(np.linspace(0, len(archive.table) - 1, COMPARED).astype(np.int64)), COMPARED)
    for first in range(0, COMPARED, 16):
        yield {"x": read(rows[first:first + 16])}


def write_state_dicts(run: RunFolder, folder: Path, folds: Sequence[int]) -> list[Path]:
    """See :func:`groundswell.pipelines.shipping.write_best`."""
    return shipping.write_best(run, folder, folds, tasks_of(run, folds))
