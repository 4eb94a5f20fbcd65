"""train: what a pipeline hands to fit: a task and the batches to train and validate it on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

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
    order: Mapping[str, Any] = field(default_factory=dict)
    """What the order of ``train`` follows from beside the recipe of training and the data, as plain numbers and texts.
    A fit is only resumed with the same."""


MakeSetup = Callable[[int, int, torch.device], Setup]
"""Called in each process as (rank, world, device); can be pickled. The task's first weights may be drawn from torch's
generator, which is seeded alike in all processes just before."""
