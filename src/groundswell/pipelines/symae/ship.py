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
from groundswell.pipelines.symae.data import axis_of, source_of
from groundswell.pipelines.symae.reading import batches
from groundswell.pipelines.symae.recipe import SymaeRecipe
from groundswell.pipelines.workflow import folds_of, load_archive, load_task
from groundswell.train.task import Export, Task
from groundswell.train.weights import load_best, write_pth

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


def export_run(run: RunFolder, *, to: str, out: Path | None, fold: int) -> list[str]:
    """Export a run; what to tell the person, line by line.

    Raises:
        InputError: no such form, no such fold, not trained, or a model that has no exported form.
        RefusedError: the exported file disagrees with the network; nothing is written.
    """
    folds = folds_of(run, fold)
    if to == "onnx":
        result = export_onnx_of(run, out or run.path / "model.onnx", folds)
        return [f"Wrote {result.path} ({result.path.stat().st_size / 2**20:.1f} MiB) by the exporter "
                f"'{result.exporter}'.",
                f"On {result.parity.samples} bags the largest difference of a source is {result.parity.difference:.1e} "
                f"of its deviation; with other numbers of bags and traces {result.parity.shape_difference:.1e}.",
                f"Next: groundswell predict {result.path} STORE"]
    if to == "weights":
        return [f"Wrote {path}" for path in write_state_dicts(run, out or run.path, folds)]
    raise InputError(f"There is no form '{to}' to export to", where="--to", fix="Choose onnx or weights")


def tasks_of(run: RunFolder, folds: Sequence[int]) -> list[Task]:
    """The trained tasks of some folds, in evaluation mode."""
    return [load_task(run.path, run.pipeline, fold)[2].eval() for fold in folds]


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
    """Write ``best_model.pth`` of each fold (below ``fold-K`` where there are several): epoch, model_state_dict,
    val_metrics, config, all plain."""
    config, written = run.recipe(SymaeRecipe).model_dump(mode="json"), []
    for fold, task in zip(folds, tasks_of(run, folds), strict=True):
        facts = load_best(task, run.fold_path(fold))
        path = (folder if len(folds) == 1 else folder / f"fold-{fold + 1}") / "best_model.pth"
        metrics = {name.removeprefix("val_"): value for name, value in facts["metrics"].items()
                   if name.startswith("val_")}
        write_pth(path, {"epoch": facts["epoch"], "model_state_dict": task.state_dict(), "val_metrics": metrics,
                         "config": config})
        written.append(path)
    return written
