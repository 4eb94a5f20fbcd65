"""models: a running mean of a network's weights, which predicts better than the weights of any one step."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class MeanWeights(nn.Module, Generic[Network]):
    """A copy of a network whose weights follow the network's (Polyak and Juditsky, SIAM J. Control Optim. 30, 1992).

    The n-th update moves the copy by ``1 - d`` of the way with ``d = min(decay, n / (n + ramp))``, n from 0: at first
    it is the network itself, then it remembers about the last tenth of all updates (with the default ramp), and in the
    long run the last ``1 / (1 - decay)`` of them. So a run of a few hundred steps gains from it, too. Everything is
    in the state dict, so that a run goes on from a checkpoint as if there had been no break. Whole numbers, such as
    counters, are copied. The copy is always in eval mode.

    Args:
        network: to be followed; it is not registered here.
        decay: in the long run.
        ramp: updates after which half of a weight is remembered.
    """

    def __init__(self, network: Network, decay: float, ramp: float = 10.0) -> None:
        super().__init__()
        self.decay, self.ramp = decay, ramp
        self.network: Network = copy.deepcopy(network).eval().requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.updates: Tensor

    def train(self, mode: bool = True) -> MeanWeights[Network]:
        """The copy stays in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards the weights as they are now."""
        count = float(self.updates)
        keep = min(self.decay, count / (count + self.ramp))
        mine, theirs = self.network.state_dict(), network.state_dict()
        moving = [name for name, value in mine.items() if value.is_floating_point()]
        torch._foreach_lerp_([mine[name] for name in moving], [theirs[name].to(mine[name]) for name in moving],
                             1 - keep)
        for name in set(mine) - set(moving):
            mine[name].copy_(theirs[name])
        self.updates += 1
