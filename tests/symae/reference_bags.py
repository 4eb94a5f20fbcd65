"""Small bags of noise with a pulse in common, for tests of the reference model that need no simulator."""

from __future__ import annotations

import torch
from torch import Tensor


def noise_bags(bags: int = 4, traces: int = 5, length: int = 192, seed: int = 0, sizes: tuple[int, ...] = (),
               common: float = 1.0) -> tuple[Tensor, Tensor]:
    """Standardised traces (bags, traces, length) and their mask; ``sizes`` of bags leave the rest as padding."""
    generator = torch.Generator().manual_seed(seed)
    pulse = torch.nn.functional.avg_pool1d(torch.randn(bags, 1, length, generator=generator), 7, 1, 3)
    x = 3 * common * pulse + torch.randn(bags, traces, length, generator=generator)
    x = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True, correction=0)
    mask = torch.ones(bags, traces, dtype=torch.bool)
    for bag, size in enumerate(sizes):
        mask[bag, size:] = False
    return x * mask[..., None], mask
