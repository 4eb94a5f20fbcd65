"""symae: what the source and the path network are judged by, with and without a known truth.

Shape letters: b bag, t trace, n time sample.

With a truth: the squared error of the source, moved and turned to where it fits the estimate best (its origin and sign
are nobody's to know); the negative log-likelihood of that error under the estimate's spread; and the squared error of
the traces, as source and code describe them, against the clean ones, relative to their power.

Without: the source found from half of a bag predicts the stack of the other half, whose own error, known from the
scatter of its traces, is allowed for; and the codes' evidence (see :mod:`.path`) stands in for clean traces.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from groundswell.pipelines.symae.alignment.fourier import cross_correlate, peak, shift_traces
from groundswell.pipelines.symae.models.source import SourceEstimate

_LEAST = 1e-6
_FAINTEST = 0.02
_Z90 = 1.6448536269514722
_CLEAN_FLOOR = 0.02


class Target(NamedTuple):
    """What an estimate is held against: ``wave`` (b, n) of unit power, and ``variance`` (b, n) of its own error."""

    wave: Tensor
    variance: Tensor


class SourceTerms(NamedTuple):
    """Terms of the loss and scores, each (b,)."""

    error: Tensor
    surprise: Tensor
    correlation: Tensor
    covered: Tensor


def true_target(estimate_bn: Tensor, source_bn: Tensor, max_lag: int) -> Target:
    """The true source in the frame and polarity of an estimate."""
    with torch.no_grad():
        lag, _, sign = peak(cross_correlate(estimate_bn, source_bn, max_lag), True)
        wave = shift_traces(source_bn, lag) * sign[:, None]
    return Target(wave, torch.zeros_like(wave))


def half_target(aligned_btn: Tensor, mask_bt: Tensor, half_bt: Tensor) -> Target:
    """The stack of a half of aligned bags, scaled so that the part that all traces share has unit power.

    That part's power is the mean product of different traces.
    """
    with torch.no_grad():
        present, half = mask_bt.to(aligned_btn.dtype), half_bt.to(aligned_btn.dtype)
        all_traces = aligned_btn * present[..., None]
        count = present.sum(1).clamp_min(2.0)
        pairs = all_traces.sum(1).square().mean(-1) - all_traces.square().mean(-1).sum(1)
        gain = (pairs / (count * (count - 1))).clamp_min(_FAINTEST).sqrt()[:, None]
        size = half.sum(1, keepdim=True).clamp_min(1.0)
        stack = (aligned_btn * half[..., None]).sum(1) / size
        scatter = ((aligned_btn - stack[:, None]) * half[..., None]).square().sum(1) / (size - 1).clamp_min(1.0)
        # The scatter of a few traces at one sample says little; that around it says more.
        scatter = torch.nn.functional.avg_pool1d(scatter[:, None], 15, 1, 7, count_include_pad=False)[:, 0]
        wave = (stack - stack.mean(-1, keepdim=True)) / gain
        return Target(wave, scatter / size / gain.square())


def source_terms(estimate: SourceEstimate, target: Target) -> SourceTerms:
    """Squared error, surprise, correlation and the share of samples in the 90 % band, of each bag.

    The error counts less where the target is itself in error. The surprise judges the spread alone: the mean is not
    moved by it.
    """
    mean, off = estimate.mean, estimate.mean - target.wave
    error = off.square().mean(-1) / (1 + target.variance.mean(-1))
    variance = estimate.log_variance.exp() + target.variance
    surprise = 0.5 * (variance.log() + off.detach().square() / variance).mean(-1)
    with torch.no_grad():
        norm = (mean.square().sum(-1) * target.wave.square().sum(-1)).clamp_min(_LEAST).sqrt()
        correlation = (mean * target.wave).sum(-1) / norm
        covered = (off.abs() < _Z90 * variance.sqrt()).to(mean.dtype).mean(-1)
    return SourceTerms(error, surprise, correlation, covered)


def path_error(made_btn: Tensor, clean_btn: Tensor, mask_bt: Tensor) -> Tensor:
    """Power of the error of traces over that of the clean ones, mean over each bag (b,)."""
    off = (made_btn - clean_btn).square().mean(-1) / (clean_btn.square().mean(-1) + _CLEAN_FLOOR)
    return bag_mean(off, mask_bt)


def bag_mean(value_bt: Tensor, mask_bt: Tensor) -> Tensor:
    """Mean over the traces of each bag (b,)."""
    present = mask_bt.to(value_bt.dtype)
    return (value_bt * present).sum(1) / present.sum(1).clamp_min(1.0)
