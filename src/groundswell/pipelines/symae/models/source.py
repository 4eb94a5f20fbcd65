"""symae: the pooled source network: from an aligned bag to its source, whatever the number and order of its traces.

Shape letters: b bag, t trace, m trace of a flattened batch, c channel, n time sample.

A strided encoder reads each trace beside the stack of its bag. What it finds is pooled over the bag at every scale and
handed to a U-Net that starts from the stacks: its own, in which each trace has the weight that the encoder gives it,
and the plain one. The answer is a mean and a standard deviation for each sample of the source. As a bag does not say
which polarity is the source's, the network is odd: outside training its answer is the odd part of what the U-Net
computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from groundswell.core.errors import InputError

Pooling = Literal["weighted", "mean"]

_LEAST = 1e-6
_NEVER = -1e4
_LOG_VARIANCE = (-9.0, 3.0)
_STACKS = 3
_FACTS = 2


class SourceEstimate(NamedTuple):
    """A source in the frame of the aligned bag: ``mean`` (b, n), without an offset, and ``log_variance`` (b, n), both
    for a source of unit standard deviation."""

    mean: Tensor
    log_variance: Tensor


class SourceNetwork(nn.Module):
    """See the top of this file.

    Args:
        nt: samples of a trace.
        widths: channels of the U-Net at each scale, from full resolution down; each scale has half the samples.
        trace_widths: channels of the encoder of single traces, from half the resolution down; at most as many as there
            are scales below full resolution.
        pooling: ``"weighted"``: traces that say little count little; ``"mean"``: all count alike.
        stack_only: the U-Net sees nothing but the plain stack. What it finds all the same is what it knows beforehand
            about sources, not what it reads from the bag.

    Raises:
        InputError: the samples cannot be halved as often as there are scales.
    """

    def __init__(self, nt: int = 192, *, widths: Sequence[int] = (24, 32, 48, 64),
                 trace_widths: Sequence[int] = (12, 24, 32), pooling: Pooling = "weighted",
                 stack_only: bool = False) -> None:
        super().__init__()
        halvings = len(widths) - 1
        if nt % 2**halvings or not widths or len(trace_widths) > halvings:
            raise InputError(f"Traces of {nt} samples cannot be halved {halvings} times, or the encoder has more "
                             f"scales ({len(trace_widths)}) than that", where="model", fix="Choose other widths")
        self.nt, self.pooling, self.stack_only = nt, pooling, stack_only
        seen = [] if stack_only else list(trace_widths)
        self.traces = nn.ModuleList(_halving(before, after) for before, after in pairwise([2, *seen]))
        self.weigh = nn.Linear(seen[-1], 1) if seen and pooling == "weighted" else None
        pooled = [0, *seen, *[0] * (halvings - len(seen))]
        first = 1 if stack_only else _STACKS + _FACTS
        self.down = nn.ModuleList(_halving(before, after) for before, after in pairwise(widths))
        inputs = [first, *widths[1:]]
        self.read = nn.ModuleList(_Block(into + extra, width)
                                  for into, extra, width in zip(inputs, pooled, widths, strict=True))
        self.write = nn.ModuleList(_Block(upper + lower, upper)
                                   for upper, lower in pairwise(widths))
        self.out = nn.Conv1d(widths[0], 2, 5, padding=2)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(cast(Tensor, self.out.bias))
        self.gain = nn.Parameter(torch.tensor(0.9))

    def forward(self, x_btn: Tensor, mask_bt: Tensor) -> SourceEstimate:
        """The source of aligned bags.

        Args:
            x_btn: aligned traces of common polarity; what padding holds is not read.
            mask_bt: bool (b, t), false at padding.
        """
        present = mask_bt.to(x_btn.dtype)
        x_btn = x_btn * present[..., None]
        if self.training:
            return self._estimate(x_btn, present)
        one, other = self._estimate(x_btn, present), self._estimate(-x_btn, present)
        variance = 0.5 * (one.log_variance.exp() + other.log_variance.exp())
        return SourceEstimate(0.5 * (one.mean - other.mean), variance.log())

    def _estimate(self, x_btn: Tensor, present_bt: Tensor) -> SourceEstimate:
        count = present_bt.sum(1, keepdim=True).clamp_min(1.0)
        stack = x_btn.sum(1) / count
        size = stack.square().mean(-1, keepdim=True).sqrt().clamp_min(_LEAST)
        stack, x_btn = stack / size, x_btn / size[..., None]
        if self.stack_only:
            base, y_bcn = stack, stack[:, None]
            pooled: list[Tensor] = []
        else:
            base, pooled = self._pooled(x_btn, stack, present_bt)
            off = ((x_btn - stack[:, None]) * present_bt[..., None]).square().sum(1)
            error = (off / ((count - 1).clamp_min(1.0) * count) + _LEAST).sqrt()
            facts = torch.stack([size.log(), count.rsqrt()], 1).expand(-1, -1, self.nt)
            y_bcn = torch.cat([torch.stack([base, stack, error], 1), facts], 1)
        change, log_variance = self._unet(y_bcn, pooled).unbind(1)
        mean = self.gain * base + change
        return SourceEstimate(mean - mean.mean(-1, keepdim=True), log_variance.clamp(*_LOG_VARIANCE))

    def _pooled(self, x_btn: Tensor, stack_bn: Tensor, present_bt: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The weighted stack (b, n) and what the encoder found, pooled over each bag, scale by scale."""
        bags, traces, _ = x_btn.shape
        h_mcn = torch.stack([x_btn, stack_bn[:, None].expand_as(x_btn)], 2).flatten(0, 1)
        found = []
        for layer in self.traces:
            h_mcn = layer(h_mcn)
            found.append(h_mcn)
        logit = torch.zeros_like(present_bt)
        if self.weigh is not None:
            logit = self.weigh(h_mcn.mean(-1)).reshape(bags, traces).float()
        weight = torch.softmax(torch.where(present_bt > 0, logit, _NEVER), 1) * present_bt
        base = (weight[:, None] @ x_btn)[:, 0]
        return base, [torch.einsum("bt,btcn->bcn", weight, h.reshape(bags, traces, *h.shape[1:])) for h in found]

    def _unet(self, y_bcn: Tensor, pooled: list[Tensor]) -> Tensor:
        kept: list[Tensor] = []
        for scale, read in enumerate(self.read):
            if scale:
                y_bcn = self.down[scale - 1](y_bcn)
                if scale <= len(pooled):
                    y_bcn = torch.cat([y_bcn, pooled[scale - 1]], 1)
            y_bcn = read(y_bcn)
            kept.append(y_bcn)
        for scale in range(len(self.write) - 1, -1, -1):
            finer = y_bcn[..., None].expand(-1, -1, -1, 2).flatten(-2)
            y_bcn = self.write[scale](torch.cat([kept[scale], finer], 1))
        return cast(Tensor, self.out(y_bcn)).float()


class _Block(nn.Module):
    """Two convolutions, the second around a short cut."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(before, after, 7, padding=3)
        self.second = nn.Conv1d(after, after, 7, padding=3)

    def forward(self, x_bcn: Tensor) -> Tensor:
        """From (b, c, n) to (b, c', n)."""
        x_bcn = functional.gelu(self.first(x_bcn))
        return x_bcn + functional.gelu(self.second(x_bcn))


def _halving(before: int, after: int) -> nn.Sequential:
    """A convolution that keeps every second sample."""
    return nn.Sequential(nn.Conv1d(before, after, 8, stride=2, padding=3), nn.GELU())
