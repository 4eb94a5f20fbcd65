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
    loss; cosine: from the initial rate to zero over all steps of all epochs; none: constant; stages: constant within an
    epoch, see :class:`~groundswell.train.recipe.Stage`. But for stages, the rate rises in a line over
    ``warmup_epochs``.

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
        if self._recipe.stages:
            number, epoch = self.stage(step * self._recipe.epochs // self._steps)
            stage = self._recipe.stages[number]
            return stage.learning_rate * stage.decay ** epoch
        base = self._recipe.learning_rate * self._factor
        warm = self._recipe.warmup_epochs * self._steps / self._recipe.epochs
        if step + 1 < warm:
            base *= (step + 1) / warm
        if self._recipe.scheduler == "cosine":
            return base * (1 + math.cos(math.pi * min(step / self._steps, 1.0))) / 2
        return base

    def stage(self, epoch: int) -> tuple[int, int]:
        """The stage, from 0, to which an epoch belongs after ``epoch`` finished ones, and the stage's finished epochs.

        Without stages all of training is one. After the last epoch it is the last stage's.
        """
        stages = self._recipe.stages or ()
        for number, stage in enumerate(stages):
            if epoch < stage.epochs or number == len(stages) - 1:
                return number, epoch
            epoch -= stage.epochs
        return 0, epoch

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
