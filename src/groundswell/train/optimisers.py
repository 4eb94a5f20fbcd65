"""train: the optimisers that a recipe can name."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from groundswell.train.recipe import TrainRecipe


def make_optimiser(parameters: list[nn.Parameter], recipe: TrainRecipe) -> torch.optim.Optimizer:
    """AdamW or SGD; with SGD only what has more than one dimension decays."""
    # Fused steps are exact and much faster, but do their own unscaling with float16, which clipping cannot follow.
    fused = recipe.precision != "16"
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay, fused=fused)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}]
    return torch.optim.SGD([group for group in groups if group["params"]], recipe.learning_rate,
                           momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=fused)
