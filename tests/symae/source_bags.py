"""Simulated bags and a small task, for tests of the improved model. Everything is simulated."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from groundswell.pipelines.symae.simulate.bags import simulate_bags
from groundswell.pipelines.symae.source_task import SourceTask

NT = 192


def simulated(bags: int = 4, traces: int = 6, *, world: str = "easy", seed: int = 0,
              sizes: tuple[int, ...] = (), labelled: float = 1.0) -> dict[str, Tensor]:
    """A batch as the loader delivers it; ``sizes`` of bags leave the rest as padding."""
    made = simulate_bags(world, bags, traces, generator=np.random.default_rng(seed))
    mask = torch.ones(bags, traces, dtype=torch.bool)
    for bag, size in enumerate(sizes):
        mask[bag, size:] = False
    there = mask.float()
    batch = {"x": torch.from_numpy(made.x) * there[..., None], "mask": mask, "source": torch.from_numpy(made.source),
             "clean": torch.from_numpy(made.clean) * there[..., None], "labelled": torch.full((bags,), labelled),
             "shift": torch.from_numpy(made.shift_s) / made.dt * there, "flip": torch.from_numpy(made.flip) * there,
             "weight": torch.ones(bags), "row": torch.arange(bags)}
    if not labelled:
        batch |= {name: torch.zeros_like(batch[name]) for name in ("source", "clean", "shift", "flip")}
    return batch


def small_task(**options: Any) -> SourceTask:
    """A task with a few thousand weights, the same every time, that does not begin with the stack alone."""
    torch.manual_seed(0)
    task = SourceTask(NT, 0.5, **{"widths": (6, 8, 8), "trace_widths": (4, 6), "q": 8, **options})
    torch.nn.init.normal_(task.network.out.weight, std=0.05)
    return task
