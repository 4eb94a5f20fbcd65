"""A run of one epoch on a small simulated store, for tests of what a run gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from groundswell.core.recipe import build_recipe
from groundswell.pipelines.symae.recipe import SymaeRecipe
from groundswell.pipelines.symae.store import BagStore
from groundswell.pipelines.workflow import start_run, train_run


def trained_small(store: BagStore, out: Path, model: dict[str, Any]) -> Path:
    """A run of one epoch."""
    recipe = build_recipe(SymaeRecipe, {
        "data": {"store": str(store.path), "most_traces": 6}, "model": model, "loader": {"threads": 1},
        "evaluate": {"bootstrap": 200, "n_min": 2}, "extract": {"N": 4, "nepochs": 12},
        "train": {"epochs": 1, "batch_size": 8, "threads": 1, "tensorboard": False, "weight_decay": 0.0}})
    train_run(start_run("symae", recipe, out), quiet=True)
    return out
