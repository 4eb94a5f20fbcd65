"""symae: Gaussians with diagonal covariance, how those of a bag's traces become one, and how far two are apart.

Shape letters: b bag, t trace, p length of a code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """Independent normal variables.

    Attributes:
        mean: (..., p).
        log_std: (..., p), natural logarithm of the standard deviation.
    """

    mean: Tensor
    log_std: Tensor

    def sample(self, generator: torch.Generator | None) -> Tensor:
        """One reparameterised draw (..., p); the mean where there is no generator."""
        if generator is None:
            return self.mean
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + self.log_std.exp() * noise


def product_of_gaussians(mean: Tensor, log_precision: Tensor, mask: Tensor) -> Gaussian:
    """The normalised product of a bag's Gaussians: one belief about what its traces have in common.

    precision = sum of exp(l_i), mean = sum of exp(l_i) m_i / precision; no prior is among the factors. It does not
    depend on the order of the traces, and traces outside the mask do not enter.

    Args:
        mean: (b, t, p), of each trace.
        log_precision: (b, t, p), of each trace.
        mask: bool (b, t); each bag needs a trace.

    Returns:
        (b, p).
    """
    inside = mask[..., None]
    log_precision = log_precision.masked_fill(~inside, -math.inf)
    total = log_precision.logsumexp(dim=1)
    share = (log_precision - total[:, None]).exp()
    return Gaussian((share * mean.masked_fill(~inside, 0.0)).sum(dim=1), -0.5 * total)


def kl_from_standard(found: Gaussian) -> Tensor:
    """Kullback-Leibler divergence (...) of ``found`` from the standard normal distribution, in nats."""
    variance = (2 * found.log_std).exp()
    return 0.5 * (variance + found.mean.square() - 1 - 2 * found.log_std).sum(dim=-1)


def kl_between(one: Gaussian, other: Gaussian) -> Tensor:
    """KL(one || other), nats, over the last axis; the others are broadcast."""
    log_ratio = one.log_std - other.log_std
    distance = (one.mean - other.mean) * (-other.log_std).exp()
    return 0.5 * ((2 * log_ratio).exp() + distance.square() - 1 - 2 * log_ratio).sum(dim=-1)


def bag_size_floor(traces: Tensor | int, length: int) -> Tensor:
    """What KL(bag || one of its traces) is at least for the bag's size alone, if all traces are equally precise.

    The product of n equal precisions is n times as precise: p (ln n - 1 + 1/n) / 2, e.g. 47 nats for 60 traces and
    p = 30. To be taken off before bags of different sizes are ranked.

    Args:
        traces: n, of each bag.
        length: p, of a code.

    Returns:
        Shape of ``traces``.
    """
    count = torch.as_tensor(traces, dtype=torch.get_default_dtype())
    return 0.5 * length * (count.log() - 1 + 1 / count)
