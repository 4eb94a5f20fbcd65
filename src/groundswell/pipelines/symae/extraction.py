"""symae: the source of a bag and the shifts of its traces: align, estimate, align on what was estimated, and again.

Shape letters: b bag, t trace, n time sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from groundswell.pipelines.symae.alignment.iccs import Aligned, iccs
from groundswell.pipelines.symae.alignment.matched import matched
from groundswell.pipelines.symae.models.reference import check_bags
from groundswell.pipelines.symae.models.source import SourceEstimate

if TYPE_CHECKING:
    from groundswell.pipelines.symae.source_task import SourceTask

_LEAST = 1e-6


class Extraction(NamedTuple):
    """What a bag says; padding is zero everywhere.

    Attributes:
        source: float32 (b, n), zero mean and unit standard deviation; origin and sign are a matter of convention: the
            frame is that of ``aligned``, and most traces of a bag have ``flip`` 1.
        spread: float32 (b, n), standard deviation of the source's error.
        shift_s: float32 (b, t), seconds that a trace is late, mean 0 over the bag.
        flip: float32 (b, t), -1 or 1.
        aligned: float32 (b, t, n), the traces shifted back and upright.
        settled: float32 (b,), correlation of the source with that of the round before; 1 without realignment.
    """

    source: Tensor
    spread: Tensor
    shift_s: Tensor
    flip: Tensor
    aligned: Tensor
    settled: Tensor


def start(task: SourceTask, x: Tensor, mask: Tensor, iterations: int | None = None) -> Aligned:
    """Bags aligned on their own stacks, or left as they are by a task that does not align."""
    if task.aligned:
        rounds = task.rounds if iterations is None else min(iterations, task.rounds)
        return iccs(x, mask, dt=task.dt, max_shift_s=task.max_shift_s, iterations=rounds, polarity=task.polarity)
    present = mask.to(x.dtype)
    stack = x.sum(1) / present.sum(1, keepdim=True).clamp_min(1.0)
    return Aligned(x, torch.zeros_like(present), present, stack, torch.zeros_like(present))


def again(task: SourceTask, x: Tensor, mask: Tensor, estimate: SourceEstimate) -> Aligned:
    """Bags aligned on an estimate of their sources."""
    return matched(x, mask, estimate.mean, dt=task.dt, max_shift_s=task.max_shift_s, polarity=task.polarity)


def extract(task: SourceTask, x: Tensor, mask: Tensor, realign: int | None = None) -> Extraction:
    """Sources and shifts of bags.

    Args:
        task: trained, in evaluation mode.
        x: float32 (b, t, n), each trace of zero mean and unit standard deviation; padding is zeros.
        mask: bool (b, t), false for padding.
        realign: rounds of aligning on the source that was found; absent, the task's own number.

    Raises:
        InputError: wrong shapes, a bag with fewer than two traces, or values that are not finite.
    """
    check_bags(x, mask, task.nt)
    return extracted(task, x, mask, realign)


def extracted(task: SourceTask, x: Tensor, mask: Tensor, realign: int | None = None) -> Extraction:
    """As :func:`extract`, without looking at the values: what is exported."""
    rounds = (task.realign if realign is None else realign) if task.aligned else 0
    found = start(task, x, mask)
    estimate = task.network(found.x, mask)
    settled = torch.ones_like(x[:, 0, 0])
    for _ in range(rounds):
        found, before = again(task, x, mask, estimate), estimate.mean
        estimate = task.network(found.x, mask)
        settled = _correlation(before, estimate.mean)
    size = estimate.mean.square().mean(-1, keepdim=True).sqrt().clamp_min(_LEAST)
    sign = torch.where(found.flip.sum(-1, keepdim=True) < 0, -1.0, 1.0)
    return Extraction(sign * estimate.mean / size, (0.5 * estimate.log_variance).exp() / size, found.shift_s,
                      sign * found.flip, sign[..., None] * found.x, settled)


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    size = (a.square().sum(-1) * b.square().sum(-1)).clamp_min(_LEAST**2).sqrt()
    return (a * b).sum(-1) / size
