"""symae: how training changes bags: fewer traces, other polarities, noise of other traces.

Shape letters: b bag, t trace, n time sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from groundswell.train.task import Batch

_LEAST = 1e-6
_LOUDER = 2.0


@dataclass(frozen=True)
class Bags:
    """What the source task learns from.

    Attributes:
        x: float32 (b, t, n), zero for padding.
        mask: bool (b, t), false for padding.
        source: float32 (b, n), zero where it is not known.
        labelled: float32 (b,), 1 where source and clean traces are known.
        clean: float32 (b, t, n), the part of ``x`` that is no noise; zero where it is not known.
    """

    x: Tensor
    mask: Tensor
    source: Tensor
    labelled: Tensor
    clean: Tensor

    @classmethod
    def of(cls, batch: Batch) -> Bags:
        """The bags of a batch; without truth in it none are labelled."""
        x = batch["x"].float()
        labelled = batch["labelled"].float() if "labelled" in batch else x.new_zeros(len(x))
        source = batch["source"].float() if "source" in batch else torch.zeros_like(x[:, 0])
        clean = batch["clean"].float() if "clean" in batch else torch.zeros_like(x)
        return cls(x, batch["mask"].bool(), source, labelled, clean)


def fewer_traces(bags: Bags, fewest: int, generator: torch.Generator) -> Bags:
    """Bags of at most so many traces, chosen at random; how many is drawn once for all, small numbers as often as large
    ones (log-uniform from ``fewest``)."""
    most = int(bags.mask.sum(1).max())
    drawn = torch.rand((), generator=generator, device=bags.x.device).item()
    kept = most if most <= fewest else min(most, int(fewest * ((most + 1) / fewest) ** drawn))
    place = torch.rand(bags.mask.shape, generator=generator, device=bags.x.device) + 2.0 * ~bags.mask
    chosen = place.argsort(1)[:, :kept]
    long = chosen[..., None].expand(-1, -1, bags.x.shape[-1])
    return replace(bags, x=bags.x.gather(1, long), clean=bags.clean.gather(1, long), mask=bags.mask.gather(1, chosen))


def other_polarities(bags: Bags, generator: torch.Generator, *, traces: bool) -> Bags:
    """Half of the bags upside down; and, with ``traces``, of half of them some traces, at most half."""
    count, device = len(bags.x), bags.x.device
    sign = _signs(torch.full((count, 1), 0.5, device=device), generator)
    if traces:
        share = 0.5 * torch.rand(count, 1, generator=generator, device=device)
        touched = torch.rand(count, 1, generator=generator, device=device) < 0.5
        sign = sign * _signs((share * touched).expand(bags.mask.shape), generator)
    return replace(bags, x=bags.x * sign[..., None], clean=bags.clean * sign[..., None])


def other_noise(bags: Bags, generator: torch.Generator) -> Bags:
    """Labelled bags with the noise of other traces, up to twice as loud or faint; each trace is standardised again.

    One bag's noise is worth as many bags as there are others to lend it.
    """
    count, traces = bags.mask.shape
    device = bags.x.device
    both = bags.mask & (bags.labelled[:, None] > 0)
    step, along = (int(torch.randint(size, (), generator=generator, device=device)) for size in (count, traces))
    noise = torch.roll(bags.x - bags.clean, (step, along), (0, 1))
    lent = both & torch.roll(both, (step, along), (0, 1))
    louder = torch.exp(math.log(_LOUDER) * (2 * torch.rand(count, 1, 1, generator=generator, device=device) - 1))
    x = bags.clean + louder * noise
    x = x - x.mean(-1, keepdim=True)
    size = x.square().mean(-1, keepdim=True).sqrt().clamp_min(_LEAST)
    changed = lent[..., None]
    return replace(bags, x=torch.where(changed, x / size, bags.x),
                   clean=torch.where(changed, bags.clean / size, bags.clean))


def halves(mask: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Two masks (b, t) that share the traces of each bag, the first at most one shorter; every second trace without a
    generator."""
    order = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape).float()
    if generator is not None:
        order = torch.rand(mask.shape, generator=generator, device=mask.device)
    rank = (order + 1e6 * ~mask).argsort(1).argsort(1)
    return mask & (rank % 2 == 1), mask & (rank % 2 == 0)


def _signs(chance: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(chance.shape, generator=generator, device=chance.device)
    return torch.where(drawn < chance, -1.0, 1.0)
