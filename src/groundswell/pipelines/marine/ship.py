"""marine: exporting a run: one ONNX file through the parity gate, or plain state dicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.run import RunFolder
from groundswell.deploy.export import ExportResult, export_onnx
from groundswell.pipelines import shipping
from groundswell.pipelines.archive import load_archive
from groundswell.pipelines.marine.data import source_of
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.marine.task import DetectionTask

COMPARED = 104
"""Images of the run's own data that the exported file is compared on."""
_BATCH = 8
_WORDS = shipping.Words("images", "IMAGES", answer="a score or a corner (as a share of the image)")


def export_run(run: RunFolder, *, to: str, out: Path | None, fold: int) -> list[str]:
    """Export a run; see :func:`groundswell.pipelines.shipping.export_run`."""
    return shipping.export_run(run, to=to, out=out, fold=fold, words=_WORDS, onnx=export_onnx_of,
                               weights=write_state_dicts)


def tasks_of(run: RunFolder, folds: Sequence[int]) -> list[DetectionTask]:
    """The trained tasks of some folds, in evaluation mode."""
    return shipping.tasks_of(run, folds, DetectionTask)


def export_onnx_of(run: RunFolder, path: Path, folds: Sequence[int]) -> ExportResult:
    """Write the ONNX file and compare it on images of the run's own data.

    Raises:
        InputError: several folds are asked for: boxes of several networks are fused, not averaged.
        RefusedError: the file disagrees with the network; nothing was written.
    """
    if len(folds) > 1:
        raise InputError("The boxes of several folds' networks cannot be averaged in one file", where=run.path,
                         fix="Export one with --fold 1; `groundswell marine fuse` makes an ensemble of several files")
    task = tasks_of(run, folds)[0]
    return export_onnx(task.export(), path, lambda: images_to_compare(run, task), run=run.path.name)


def images_to_compare(run: RunFolder, task: DetectionTask,
                      count: int = COMPARED) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Letterboxed images of the run's own data, at equal distances, in batches.

    Left out are images at which two places are so nearly alike that rounding decides which of them the network looks
    at more closely (:meth:`Engine.settled`): there even the network does not agree with itself in another batch.
    """
    source = source_of(run.recipe(MarineRecipe), load_archive(run.path))
    rows = np.unique(np.linspace(0, len(source) - 1, min(2 * count, len(source))).astype(np.int64))
    kept: list[NDArray[np.uint8]] = []
    rest: list[NDArray[np.uint8]] = []
    for start in range(0, len(rows), _BATCH):
        chosen = rows[start:start + _BATCH]
        out = {name: field.allocate(len(chosen)) for name, field in source.fields.items()}
        source.read(chosen, out)
        with torch.no_grad():
            settled = task.judged.settled(torch.from_numpy(out["image"]).float() / 255).numpy()
        kept += list(out["image"][settled])
        rest += list(out["image"][~settled])
        if len(kept) >= count:
            break
    kept = kept if len(kept) >= _BATCH else [*kept, *rest]
    for start in range(0, count, _BATCH):
        yield {"image": np.stack([kept[k % len(kept)] for k in range(start, min(start + _BATCH, count))])}


def write_state_dicts(run: RunFolder, folder: Path, folds: Sequence[int]) -> list[Path]:
    """See :func:`groundswell.pipelines.shipping.write_best`."""
    return shipping.write_best(run, folder, folds, tasks_of(run, folds))
