"""train: what the processes of a fit tell one another. With one process all of it is free."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed, nn

from groundswell.core.errors import InputError
from groundswell.train.setup import Setup


class Processes:
    """All processes of a fit, as one of them sees them. Every process has to make the same calls in the same order.

    Args:
        fabric: launched.
    """

    def __init__(self, fabric: Fabric) -> None:
        self._count = fabric.world_size

    def summed(self, value: Tensor) -> Tensor:
        """The sum of what each process gives; of the shape and type of ``value``, which stays as it is."""
        if self._count > 1:
            value = value.clone()
            distributed.all_reduce(value)
        return value

    def gathered(self, value: Any) -> list[Any]:
        """What each process gives, which can be pickled, in their order."""
        if self._count == 1:
            return [value]
        values: list[Any] = [None] * self._count
        distributed.all_gather_object(values, value)
        return values

    def share_buffers(self, module: nn.Module) -> None:
        """Give every process the running statistics of the first one, so that one copy is all a checkpoint needs."""
        if self._count == 1:
            return
        named = [value for name, value in module.state_dict(keep_vars=True).items()
                 if not isinstance(value, nn.Parameter)]
        for dtype in {value.dtype: None for value in named}:
            alike = [value for value in named if value.dtype == dtype]
            flat = torch.cat([value.reshape(-1) for value in alike])
            distributed.broadcast(flat, 0)
            pieces = torch.split(flat, [value.numel() for value in alike])
            for value, new in zip(alike, pieces, strict=True):
                value.copy_(new.view_as(value))

    def agreed_batches(self, parts: Setup) -> int:
        """How many batches an epoch of training has.

        Raises:
            InputError: that, or the number of batches to validate on, is 0 or not the same in all processes.
        """
        counts = self.gathered((parts.train.batches, parts.validation.batches))
        if len(set(counts)) > 1 or not all(min(count) > 0 for count in counts):
            raise InputError(f"Every process needs the same number of batches, at least 1, to train and to validate; "
                             f"they have {sorted(set(counts))}")
        return int(counts[0][0])
