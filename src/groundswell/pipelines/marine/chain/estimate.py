"""marine: what a chain would take: measured on a few batches of its own detector, counted out for every stage."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from groundswell.pipelines.marine.chain.plan import Stage, stages_of
from groundswell.pipelines.marine.data import WORKFLOW, source_of
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.workflow import Archive, rehearse, usable_rows
from groundswell.splits.audit import require_clean
from groundswell.splits.manifest import TEST, TRAIN, VALIDATION
from groundswell.train.launch import check_devices

_BATCHES = 2


@dataclass(frozen=True)
class Measured:
    """What one image takes on this machine: seconds in training and in use, and MiB of memory for a batch."""

    train_s: float
    use_s: float
    memory_mib: float
    parameters: int


def estimate_chain(recipe: MarineRecipe, out: Path) -> list[str]:
    """Time, memory and disk of every stage, in sentences; nothing is written.

    A few batches are trained and predicted on the device that the chain would run on. Time grows with the area of the
    images: of stages at many sizes the mean area counts.

    Raises:
        InputError, RefusedError: as the chain itself would say.
    """
    archive = WORKFLOW.open(recipe)
    manifest = WORKFLOW.divide(recipe, archive)
    require_clean(manifest, recipe.split.allow_leakage)
    rows = {part: len(usable_rows(WORKFLOW, archive.table, manifest, part, 0)) for part in (TRAIN, VALIDATION, TEST)}
    task = rehearse(WORKFLOW, recipe, archive, manifest)
    found = _measure(recipe, archive, task)
    lines = [f"{recipe.model.name}: {found.parameters:,} parameters; {1e3 * found.train_s:.0f} ms an image in training "
             f"and {1e3 * found.use_s:.0f} ms in use at {recipe.data.size} pixels, measured on {_BATCHES} batches; "
             f"{rows[TRAIN]} images train, {rows[VALIDATION]} validate, {rows[TEST]} test."]
    total_s = total_mib = 0.0
    for stage in stages_of(recipe, out):
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
    source, size = source_of(recipe, archive), recipe.train.batch_size
    rows = np.resize(np.arange(len(source)), size).astype(np.int64)
    out = {name: field.allocate(size) for name, field in source.fields.items()}
    source.read(rows, out)
    batch = {name: torch.from_numpy(value).to(device) for name, value in out.items()}
    batch |= {"row": torch.from_numpy(rows).to(device), "weight": torch.ones(size, device=device)}
    generator = torch.Generator(device).manual_seed(0)

    def step() -> None:
        loss, _ = task(batch, generator)
        loss.backward()
        task.zero_grad()

    train_s = _timed(step) / size
    task.eval()
    with torch.inference_mode():
        use_s = _timed(lambda: task.predict(batch)) / size
    memory = torch.cuda.max_memory_allocated() if device == "cuda" else psutil.Process().memory_info().rss
    return Measured(train_s, use_s, memory / 2**20, sum(p.numel() for p in task.parameters() if p.requires_grad))


def _timed(work: Any) -> float:
    work()
    begun = time.perf_counter()
    for _ in range(_BATCHES):
        work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - begun) / _BATCHES


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
