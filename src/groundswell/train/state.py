"""train: the parts of a fit's state that are neither weights nor optimiser: its place, its sums, its chance."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from groundswell.train.task import Sums


@dataclass
class Place:
    """How far a fit has come."""

    epoch: int = 0
    """Finished epochs."""
    batch: int = 0
    """Batches done of the epoch under way."""
    step: int = 0
    """Optimiser steps done."""
    best_epoch: int = 0
    """The epoch (from 1) with the best monitored value; 0 before the first one has ended."""
    best_step: int = 0
    best_value: float = math.nan
    best_metrics: dict[str, float] = field(default_factory=dict)
    waited: int = 0
    """Epochs since the best one."""
    finished: bool = False
    stopped_early: bool = False
    setbacks: int = 0
    """How often the fit went back to an earlier checkpoint because a step was not finite."""
    left_out: list[int] = field(default_factory=list)
    """Those steps (by the number of steps before them), which are not taken again."""
    slowed: float = 1.0
    """What the learning rate is multiplied by since."""
    blamed: list[list[int]] = field(default_factory=list)
    """Rows of the sample table that each of those steps was to learn from (those known to be at fault, if any are)."""

    def epoch_ended(self, value: float, metrics: dict[str, float], *, lower: bool, patience: int, epochs: int) -> None:
        """Move on to the next epoch; see whether the one that ended was the best, and whether it was the last.

        Args:
            value: the monitored one.
            metrics: all of the epoch's.
            lower: whether a lower value is better. An equal one never is.
            patience: epochs without a better value before training stops; 0 never stops early.
            epochs: after which training ends in any case.
        """
        self.epoch, self.batch = self.epoch + 1, 0
        if not self.best_epoch or (value < self.best_value if lower else value > self.best_value):
            self.best_epoch, self.best_step, self.best_value, self.waited = self.epoch, self.step, value, 0
            self.best_metrics = metrics
        else:
            self.waited += 1
        self.stopped_early = 0 < patience <= self.waited
        self.finished = self.stopped_early or self.epoch >= epochs


def add(total: Sums, part: Sums) -> None:
    """Add a batch's statistics to those of the epoch, in float64."""
    for name, value in part.items():
        value = value.detach().double()
        total[name] = total[name] + value if name in total else value.clone()


def reseed(seed: int, device: torch.device) -> None:
    """Seed python, numpy and torch (its CPU generator and that of ``device``), for each batch.

    ``torch.manual_seed`` would also leave a note, with a traceback, for every kind of device that is not in use, at
    seven times the cost.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the one that third-party code draws from
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def generators() -> dict[str, Any]:
    """State of the generators of python, numpy and torch in this process."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - the one that third-party code draws from
    return {"python": random.getstate(), "numpy": [kind, np.asarray(keys).tolist(), *rest],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None}


def set_generators(state: dict[str, Any]) -> None:
    """Undo :func:`generators`."""
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
