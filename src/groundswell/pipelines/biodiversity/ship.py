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

from groundswell.core.files import read_json
from groundswell.core.run import RunFolder
from groundswell.deploy.export import ExportResult, export_onnx
from groundswell.pipelines import shipping
from groundswell.pipelines.archive import load_archive
from groundswell.pipelines.biodiversity.data import reader_of, source_of
from groundswell.pipelines.biodiversity.recipe import BiodiversityRecipe
from groundswell.pipelines.biodiversity.task import SpeciesTask
from groundswell.train.task import Export

COMPARED = 128
"""Observations of the run's own data that the exported file is compared on."""


class _Mean(nn.Module):
    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, vision: Tensor | None = None, language: Tensor | None = None,
                place: Tensor | None = None) -> Tensor:
        return torch.stack([member(vision, language, place) for member in self.members]).mean(dim=0)


_WORDS = shipping.Words("observations", "STORE")


def export_run(run: RunFolder, *, to: str, out: Path | None, fold: int) -> list[str]:
    """Export a run; see :func:`groundswell.pipelines.shipping.export_run`."""
    return shipping.export_run(run, to=to, out=out, fold=fold, words=_WORDS, onnx=export_onnx_of,
                               weights=write_state_dicts)


def tasks_of(run: RunFolder, folds: Sequence[int]) -> list[SpeciesTask]:
    """The trained tasks of some folds, in evaluation mode."""
    return shipping.tasks_of(run, folds, SpeciesTask)


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
    mode, digest = mode_of(run.recipe(BiodiversityRecipe)), read_json(run.path / "split.json")["assignment_digest"]

    def more(task: SpeciesTask, metrics: Mapping[str, float]) -> dict[str, Any]:
        return {"num_classes": len(task.classes), "species_to_idx": {name: k for k, name in enumerate(task.classes)},
                "mode": mode, "final_accuracy": metrics.get("accuracy"), "manifest": digest}

    return shipping.write_best(run, folder, folds, tasks_of(run, folds), more)


def mode_of(recipe: BiodiversityRecipe) -> str:
    """The seed's word for what the classifier sees: language, vision, both; else the modalities."""
    seen = set(recipe.model.modalities)
    return "both" if seen == {"vision", "language"} else "+".join(recipe.model.modalities)
