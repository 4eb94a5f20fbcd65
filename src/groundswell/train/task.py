"""train: the task, a torch module that owns preprocessing, network, loss, metrics and what a prediction is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from groundswell.core.errors import InputError

Batch = Mapping[str, Tensor]
"""Arrays of one batch by name, first axis the sample. Always there: ``row`` (int64, position in the sample table),
``weight`` (float32, 0 for samples that only fill up a process's last batch) and the loader's columns, such as
``label``."""

Sums = dict[str, Tensor]
"""Additive statistics (float64): adding those of two batches gives those of both together. They are what is summed over
an epoch, over processes, and kept in a checkpoint."""


@dataclass(frozen=True)
class Export:
    """What :mod:`groundswell.deploy` needs to write a network to a file.

    Attributes:
        module: maps raw inputs (as read from a source) to probabilities, preprocessing inside; in eval mode.
        inputs: example inputs by name, batch axis first with at least two samples.
        outputs: names of what ``module`` returns.
        dynamic: for each input, its axes that may change, e.g. ``{"x": {0: "batch", 2: "channel"}}``.
        metadata: facts a user of the file needs (classes, rate, window length), JSON-able.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    dynamic: dict[str, dict[int, str]]
    metadata: dict[str, Any] = field(default_factory=dict)


def check_monitor(monitor: str, validation: Mapping[str, float]) -> None:
    """See that ``train.monitor`` names one of the metrics of a validation.

    Raises:
        InputError: it does not.
    """
    known = [f"val_{name}" for name in validation]
    if monitor not in known:
        raise InputError(f"The task has no metric '{monitor}'", where="train.monitor",
                         fix=f"Choose one of: {', '.join(known)}")


class Task(nn.Module, ABC):
    """Base of every task. ``fit`` calls :meth:`forward`; everything after training calls :meth:`predict`.

    Chance comes from the generator that is handed over and from torch's own; both are seeded for each batch. Buffers
    that do not change should not be persistent: the others are shared among processes after each step. Under bf16 or
    float16 :meth:`forward` runs in autocast, and preprocessing that needs all digits switches it off for itself.

    Attributes:
        lower_is_better: names of metrics of which the smallest value is the best; of all others it is the largest.
    """

    lower_is_better: ClassVar[frozenset[str]] = frozenset({"loss"})

    @abstractmethod
    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> tuple[Tensor, Sums]:
        """Loss (scalar, mean over the weighted samples of the batch; 0 if all weights are 0) and additive statistics.

        Args:
            batch: as the loader delivers it, on the module's device.
            generator: source of chance for augmentation, on the same device; ``None`` means no augmentation
                (validation). Dropout follows ``self.training``.
        """

    @abstractmethod
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """What the task predicts for each sample, e.g. ``{"probability": (batch, classes)}``; no augmentation."""

    @abstractmethod
    def metrics(self, sums: Sums) -> dict[str, float]:
        """Metrics of an epoch from its summed statistics; ``loss`` is always among them."""

    def stage(self, number: int) -> None:
        """Take note of the stage of training, from 0, that is under way (see ``train.stages``), also on resuming."""

    def epoch(self, number: int) -> None:
        """Take note of the epoch, from 0, that begins or is under way, also on resuming."""

    def export(self) -> Export:
        """What is written by ``export``.

        Raises:
            NotImplementedError: this task has no exported form.
        """
        raise NotImplementedError(f"{type(self).__name__} has no exported form")
