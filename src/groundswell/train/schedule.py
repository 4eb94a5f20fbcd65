"""train: how the learning rate changes, and when training has gone on for long enough."""

from __future__ import annotations

import math
from typing import Any

from groundswell.train.recipe import TrainRecipe

THRESHOLD = 1e-4
"""Relative change below which a validation loss counts as not lower (torch's ReduceLROnPlateau has the same)."""


class Schedule:
    """The learning rate as a function of the optimiser step and of the validation losses so far.

    plateau: multiplied by ``plateau_factor`` after more than ``plateau_patience`` epochs without a lower validation
    loss; cosine: from the initial rate to zero over all steps of all epochs; none: constant.

    Args:
        recipe: of training.
        steps: optimiser steps of all epochs.
    """

    def __init__(self, recipe: TrainRecipe, steps: int) -> None:
        self._recipe, self._steps = recipe, steps
        self._factor = 1.0
        self._lowest: float | None = None
        self._waited = 0

    def rate(self, step: int) -> float:
        """Learning rate of the step after ``step`` finished ones."""
        base = self._recipe.learning_rate * self._factor
        if self._recipe.scheduler == "cosine":
            return base * (1 + math.cos(math.pi * min(step / self._steps, 1.0))) / 2
        return base

    def epoch_ended(self, validation_loss: float) -> None:
        """Take note of an epoch's validation loss."""
        if self._recipe.scheduler != "plateau":
            return
        if self._lowest is None or validation_loss < self._lowest - abs(self._lowest) * THRESHOLD:
            self._lowest, self._waited = validation_loss, 0
            return
        self._waited += 1
        if self._waited > self._recipe.plateau_patience:
            self._factor *= self._recipe.plateau_factor
            self._waited = 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"factor": self._factor, "lowest": self._lowest, "waited": self._waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self._factor, self._lowest, self._waited = state["factor"], state["lowest"], state["waited"]
