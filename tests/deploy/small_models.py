"""Small untrained DAS tasks and windows for the tests of exporting."""

from __future__ import annotations

import numpy as np
import torch

from groundswell.core.recipe import build_recipe
from groundswell.pipelines.das.recipe import DasRecipe
from groundswell.pipelines.das.task import DasTask

CLASSES = ("earthquake", "quarry_blast", "noise")
WINDOW, CHANNELS, SPACING_M = 256, 12, 10.0


def small_task(kind, *sets):
    """An untrained task whose answers differ clearly from window to window."""
    values = {"data": {"window_samples": WINDOW, "stride_samples": 128},
              "preprocess": {"scaling": "window", "decimate": 2},
              "model": {"type": kind, "hidden_dim": 16, "num_layers": 2, "heads": 4}}
    torch.manual_seed(0)
    task = DasTask(build_recipe(DasRecipe, values, sets), channels=CHANNELS, rate_hz=100.0, spacing_m=SPACING_M,
                   classes=CLASSES)
    with torch.no_grad():
        for p in task.parameters():
            p *= 1.5
    return task.eval()


def windows(count=112, channels=CHANNELS, seed=0):
    """Batches of windows with an offset, a dead channel, a padded end and loud stretches."""
    draw = np.random.default_rng(seed)
    for _ in range(count // 14):
        x = draw.normal(size=(14, WINDOW, channels)) * 10.0 ** draw.uniform(-9, 3) + draw.normal(size=(14, 1, channels))
        x[:, 90:130] *= 10
        x[3, :, 2] = 0
        x[5, 200:] = 0
        yield {"x": x.astype(np.float32), "spacing_m": np.full(14, SPACING_M, np.float32)}
