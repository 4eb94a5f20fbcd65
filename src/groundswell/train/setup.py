"""train: what a pipeline hands to fit: a task and the batches to train and validate it on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from groundswell.train.quarantine import BadSamples
from groundswell.train.task import Task


class Batches(Protocol):
    """Batches that can be entered anywhere; :class:`groundswell.data.loader.Loader` is one."""

    @property
    def batches(self) -> int:
        """Batches in an epoch, the same for every process."""
        ...

    def iterate(self, epoch: int, start_batch: int = 0) -> Iterator[dict[str, Tensor]]:
        """The batches of an epoch from ``start_batch`` on; each is valid until the next one is asked for."""
        ...

    def close(self) -> None:
        """Let go of threads, buffers and files."""
        ...


@dataclass(frozen=True)
class Setup:
    """One process's share of a fit."""

    task: Task
    train: Batches
    validation: Batches
    bad: BadSamples = field(default_factory=BadSamples)
    """What becomes of samples that cannot be read or are not finite."""


MakeSetup = Callable[[int, int, torch.device], Setup]
"""Called in each process as (rank, world, device); can be pickled. The task's first weights may be drawn from torch's
generator, which is seeded alike in all processes just before."""
