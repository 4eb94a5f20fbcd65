"""marine: what a chain would take: measured on a few images by its own detector, counted out for every stage."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from groundswell.pipelines.archive import Archive
from groundswell.pipelines.marine.chain.plan import Stage, check_folds, only, stages_of
from groundswell.pipelines.marine.data import WORKFLOW, source_of
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.workflow import rehearse, usable_rows
from groundswell.splits.audit import require_clean
from groundswell.splits.manifest import TEST, TRAIN, VALIDATION
from groundswell.train.launch import check_devices

_TIMES = 2
_SECONDS = 8.0
"""About how long the measuring may take: with fewer images than a batch has, where a machine is slow."""


@dataclass(frozen=True)
class Measured:
    """What one image takes on this machine: seconds in training and in use, and MiB of memory for a batch.

    ``images`` were learnt from at once to find out.
    """

    images: int
    train_s: float
    use_s: float
    memory_mib: float
    parameters: int


def estimate_chain(recipe: MarineRecipe, out: Path, *, step: str = "") -> list[str]:
    """Time, memory and disk of every stage, or of those of one step, in sentences; nothing is written.

    A few images are learnt from and looked at on the device that the chain would run on. Time grows with the area of
    the images: of stages at many sizes the mean area counts.

    Raises:
        InputError, RefusedError: as the chain itself would say.
    """
    stages = stages_of(recipe, out)
    chosen = only(stages, step) if step else stages
    archive = WORKFLOW.open(recipe)
    manifest = WORKFLOW.divide(recipe, archive)
    require_clean(manifest, recipe.split.allow_leakage)
    check_folds(recipe, manifest.folds)
    rows = {part: len(usable_rows(WORKFLOW, archive.table, manifest, part, 0)) for part in (TRAIN, VALIDATION, TEST)}
    task = rehearse(WORKFLOW, recipe, archive, manifest)
    found = _measure(recipe, archive, task)
    lines = [f"{recipe.model.name}: {found.parameters:,} parameters; {1e3 * found.train_s:.0f} ms an image in training "
             f"and {1e3 * found.use_s:.0f} ms in use at {recipe.data.size} pixels, measured on {found.images} at once; "
             f"{rows[TRAIN]} images train, {rows[VALIDATION]} validate, {rows[TEST]} test."]
    total_s = total_mib = 0.0
    for stage in chosen:
        seconds, disk = _stage(stage, recipe, found, rows)
        total_s, total_mib = total_s + seconds, total_mib + disk
        lines.append(f"{stage.name:24}{_time(seconds):>12}  memory {found.memory_mib / 1024:5.1f} GiB  "
                     f"disk {disk:7.0f} MiB   {stage.title}")
    lines.append(f"{'all':24}{_time(total_s):>12}  memory {found.memory_mib / 1024:5.1f} GiB  disk {total_mib:7.0f} MiB"
                 "   estimates, not promises")
    return lines


def _measure(recipe: MarineRecipe, archive: Archive, task: Any) -> Measured:
    device = check_devices(recipe.train)
    task = task.to(device).train()
    size = recipe.train.batch_size
    generator = torch.Generator(device).manual_seed(0)

    def step() -> None:
        loss, _ = task(batch, generator)
        loss.backward()
        task.zero_grad()

    batch = _batch(recipe, archive, 1, device)
    one_s, one_mib = _timed(step, device), _memory(device)
    images = max(2, min(size, int(_SECONDS / (1 + _TIMES) / max(one_s, 1e-6))))
    batch = _batch(recipe, archive, images, device)
    train_s, all_mib = _timed(step, device) / images, _memory(device)
    task.eval()
    with torch.inference_mode():
        use_s = _timed(lambda: task.predict(batch), device) / images
    memory = one_mib + (all_mib - one_mib) / (images - 1) * (size - 1)
    parameters = sum(p.numel() for p in task.parameters() if p.requires_grad)
    return Measured(images, train_s, use_s, max(memory, all_mib), parameters)


def _batch(recipe: MarineRecipe, archive: Archive, images: int, device: str) -> dict[str, torch.Tensor]:
    source = source_of(recipe, archive)
    rows = np.resize(np.arange(len(source)), images).astype(np.int64)
    out = {name: field.allocate(images) for name, field in source.fields.items()}
    source.read(rows, out)
    batch = {name: torch.from_numpy(value).to(device) for name, value in out.items()}
    return batch | {"row": torch.from_numpy(rows).to(device), "weight": torch.ones(images, device=device)}


def _memory(device: str) -> float:
    held = torch.cuda.max_memory_allocated() if device == "cuda" else psutil.Process().memory_info().rss
    return held / 2**20


def _timed(work: Callable[[], object], device: str) -> float:
    """Seconds of one call, after a first one that is not counted."""
    work()
    _finish(device)
    begun = time.perf_counter()
    for _ in range(_TIMES):
        work()
    _finish(device)
    return (time.perf_counter() - begun) / _TIMES


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _stage(stage: Stage, recipe: MarineRecipe, found: Measured, rows: dict[int, int]) -> tuple[float, float]:
    weights = 4 * found.parameters / 2**20
    made = stage.recipe
    looked = rows[VALIDATION] + rows[TEST]
    if stage.kind == "fit":
        sizes = made.augment.sizes or (made.data.size,)
        area = sum(size**2 for size in sizes) / len(sizes) / recipe.data.size**2
        each = rows[TRAIN] * found.train_s * area + rows[VALIDATION] * found.use_s * 1.5
        kept = made.train.keep + 1 + (made.train.epochs // made.train.checkpoint_every
                                      if made.train.checkpoint_every else 0)
        return made.train.epochs * each + looked * found.use_s, weights * (3 * kept + 2)
    if stage.kind == "pretrain":
        area = 2 * (made.pretrain.size / recipe.data.size) ** 2
        return made.pretrain.epochs * rows[TRAIN] * found.train_s * area, 12 * weights
    views = 1
    if stage.kind == "calibrate" and made.tta.enabled:
        views = (1 + made.tta.horizontal_flip) * (1 + made.tta.vertical_flip) * len(made.tta.rotations) * len(
            made.tta.scales)
    images = {"mine": rows[TRAIN], "select": made.select.num_samples, "fuse": 0}.get(stage.kind, looked)
    members = max(len(stage.needs), 1)
    return images * views * members * found.use_s, weights * members * (2 if stage.kind == "export" else 0) + 1


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
