"""biodiversity: exporting a run: one ONNX file through the parity gate, or plain state dicts."""

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
from groundswell.core.files import read_json
from groundswell.core.run import RunFolder
from groundswell.deploy.export import ExportResult, export_onnx
from groundswell.pipelines.biodiversity.data import reader_of, source_of
from groundswell.pipelines.biodiversity.recipe import BiodiversityRecipe
from groundswell.pipelines.biodiversity.task import SpeciesTask
from groundswell.pipelines.workflow import folds_of, load_archive, load_task
from groundswell.train.task import Export
from groundswell.train.weights import load_best, write_pth

COMPARED = 128
"""Observations of the run's own data that the exported file is compared on."""


class _Mean(nn.Module):
    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, vision: Tensor | None = None, language: Tensor | None = None,
                place: Tensor | None = None) -> Tensor:
        return torch.stack([member(vision, language, place) for member in self.members]).mean(dim=0)


def export_run(run: RunFolder, *, to: str, out: Path | None, fold: int) -> list[str]:
    """Export a run; what to tell the person, line by line.

    Raises:
        InputError: no such form, no such fold, or not trained.
        RefusedError: the exported file disagrees with the network; nothing is written.
    """
    folds = folds_of(run, fold)
    if to == "onnx":
        result = export_onnx_of(run, out or run.path / "model.onnx", folds)
        return [f"Wrote {result.path} ({result.path.stat().st_size / 2**20:.1f} MiB) by the exporter "
                f"'{result.exporter}'.",
                f"On {result.parity.samples} observations the largest difference of a probability is "
                f"{result.parity.difference:.1e}; on other batch sizes {result.parity.shape_difference:.1e}.",
                f"Next: groundswell predict {result.path} STORE"]
    if to == "weights":
        return [f"Wrote {path}" for path in write_state_dicts(run, out or run.path, folds)]
    raise InputError(f"There is no form '{to}' to export to", where="--to", fix="Choose onnx or weights")


def tasks_of(run: RunFolder, folds: Sequence[int]) -> list[SpeciesTask]:
    """The trained tasks of some folds, in evaluation mode."""
    tasks = []
    for fold in folds:
        task = load_task(run.path, run.pipeline, fold)[2]
        assert isinstance(task, SpeciesTask)
        tasks.append(task.eval())
    return tasks


def export_of(run: RunFolder, folds: Sequence[int]) -> Export:
    """What is exported of a run: one fold's network, or the mean of several in one graph."""
    exports = [task.export() for task in tasks_of(run, folds)]
    facts = {**exports[0].metadata, "folds": [fold + 1 for fold in folds]}
    module = exports[0].module if len(exports) == 1 else _Mean([e.module for e in exports]).eval()
    return replace(exports[0], module=module, metadata=facts)


def export_onnx_of(run: RunFolder, path: Path, folds: Sequence[int]) -> ExportResult:
    """Write the ONNX file and compare it on observations of the run's own data."""
    return export_onnx(export_of(run, folds), path, lambda: _vectors(run), run=run.path.name)


def _vectors(run: RunFolder) -> Iterator[Mapping[str, NDArray[Any]]]:
    recipe, archive = run.recipe(BiodiversityRecipe), load_archive(run.path)
    source = source_of(recipe, archive)
    rows = np.resize(np.unique(np.linspace(0, len(archive.table) - 1, COMPARED).astype(np.int64)), COMPARED)
    try:
        for first in range(0, COMPARED, 16):
            yield reader_of(source)(rows[first:first + 16])
    finally:
        source.close()


def write_state_dicts(run: RunFolder, folder: Path, folds: Sequence[int]) -> list[Path]:
    """Write ``best_model.pth`` of each fold (below ``fold-K`` where there are several), all plain: the seed's keys
    (model_state_dict, num_classes, species_to_idx, mode, final_accuracy) and epoch, val_metrics, config, manifest."""
    recipe, written = run.recipe(BiodiversityRecipe), []
    split = read_json(run.path / "split.json")
    for fold, task in zip(folds, tasks_of(run, folds), strict=True):
        facts = load_best(task, run.fold_path(fold))
        path = (folder if len(folds) == 1 else folder / f"fold-{fold + 1}") / "best_model.pth"
        metrics = {name.removeprefix("val_"): value for name, value in facts["metrics"].items()
                   if name.startswith("val_")}
        write_pth(path, {
            "epoch": facts["epoch"], "model_state_dict": task.state_dict(), "val_metrics": metrics,
            "num_classes": len(task.classes), "species_to_idx": {name: k for k, name in enumerate(task.classes)},
            "mode": mode_of(recipe), "final_accuracy": metrics.get("accuracy"),
            "manifest": split["assignment_digest"], "config": recipe.model_dump(mode="json")})
        written.append(path)
    return written


def mode_of(recipe: BiodiversityRecipe) -> str:
    """The seed's word for what the classifier sees: language, vision, both; else the modalities."""
    seen = set(recipe.model.modalities)
    return "both" if seen == {"vision", "language"} else "+".join(recipe.model.modalities)
