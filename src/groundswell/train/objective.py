"""train: the task as Fabric's wrapper sees it, with everything hidden that the wrapper would round."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Sealed:
    """Carries values past Fabric's wrapper, which would cast every floating tensor it finds to the training precision:
    raw samples have to reach the task's preprocessing, and sums the log, with all their digits."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Objective(nn.Module):
    """A task that takes its batch and gives its sums sealed."""

    def __init__(self, task: nn.Module) -> None:
        super().__init__()
        self.task = task

    def forward(self, sealed: Sealed) -> tuple[Tensor, Sealed]:
        loss, sums = self.task(*sealed.value)
        return loss, Sealed(sums)
