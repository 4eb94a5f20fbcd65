"""das: exporting a run: one ONNX file through the parity gate, or plain state dicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.run import RunFolder
from groundswell.deploy.export import ExportResult, export_onnx
from groundswell.evaluate.figures import read_epochs
from groundswell.pipelines import shipping
from groundswell.pipelines.archive import load_archive
from groundswell.pipelines.das.data import records_of, window_source
from groundswell.pipelines.das.network import export_of, tasks_of
from groundswell.pipelines.das.recipe import DasRecipe
from groundswell.train.checkpoint import read_checkpoint
from groundswell.train.weights import load_best, write_pth

COMPARED = 128
"""Windows of the run's own records that the exported file is compared on."""


_WORDS = shipping.Words("windows", "FILES", shapes="on other batch sizes and channel counts")


def export_run(run: RunFolder, *, to: str, out: Path | None, fold: int) -> list[str]:
    """Export a run; see :func:`groundswell.pipelines.shipping.export_run`."""
    return shipping.export_run(run, to=to, out=out, fold=fold, words=_WORDS, onnx=export_onnx_of,
                               weights=write_state_dicts)


def export_onnx_of(run: RunFolder, path: Path, folds: Sequence[int]) -> ExportResult:
    """Write the ONNX file and compare it on windows of the run's own records."""
    return export_onnx(export_of(run, folds), path, lambda: _windows(run), run=run.path.name)


def _windows(run: RunFolder) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Batches of the run's windows, spread over all records; cables of different width come in batches of their own."""
    recipe, archive = run.recipe(DasRecipe), load_archive(run.path)
    source = window_source(recipe, records_of(archive), archive.table, training=False)
    rows = np.unique(np.linspace(0, len(archive.table) - 1, COMPARED).astype(np.int64))
    rows = np.resize(rows, COMPARED)  # a table smaller than that is gone through more than once
    channels = archive.table.column("channels").to_numpy(np.int64)[rows]
    any_fibre = recipe.model.type == "fibre_cnn"
    try:
        for width in np.unique(channels):
            some = rows[channels == width]
            for first in range(0, len(some), 16):
                piece = some[first:first + 16]
                out = {name: field.allocate(len(piece)) for name, field in source.fields.items()}
                source.read(piece, out)
                x = out["x"].astype(np.float32)
                yield {"x": x[:, :, :width], "spacing_m": out["spacing_m"]} if any_fibre else {"x": x}
    finally:
        source.close()


def write_state_dicts(run: RunFolder, folder: Path, folds: Sequence[int]) -> list[Path]:
    """Write ``best_model.pth`` and a ``checkpoint_epoch_N.pth`` for each kept checkpoint, as plain state dicts.

    With several folds each has its own folder ``fold-K``. Keys: epoch, model_state_dict, val_metrics, config, and in
    checkpoints optimizer_state_dict.
    """
    config = run.recipe(DasRecipe).model_dump(mode="json")
    written = []
    for fold, task in zip(folds, tasks_of(run, folds), strict=True):
        place = folder if len(folds) == 1 else folder / f"fold-{fold + 1}"
        facts = load_best(task, run.fold_path(fold))
        best = place / "best_model.pth"
        write_pth(best, {"epoch": facts["epoch"], "model_state_dict": task.state_dict(),
                         "val_metrics": shipping.of_validation(facts["metrics"]), "config": config})
        written.append(best)
        metrics = read_epochs(run.fold_path(fold) / "logs" / "epochs.csv")
        for checkpoint in sorted((run.fold_path(fold) / "checkpoints").glob("step-*-epoch-*.ckpt")):
            epoch = int(checkpoint.stem.rsplit("-", 1)[1])
            state = read_checkpoint(checkpoint)
            path = place / f"checkpoint_epoch_{epoch}.pth"
            write_pth(path, {"epoch": epoch, "model_state_dict": state["model"],
                             "optimizer_state_dict": state["optimiser"],
                             "val_metrics": shipping.of_validation(
                                 {name: values[epoch - 1] for name, values in metrics.items()}),
                             "config": config})
            written.append(path)
    return written
