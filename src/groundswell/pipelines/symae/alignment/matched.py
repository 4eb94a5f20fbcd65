"""symae: traces aligned on a source that is known, by the posterior of each trace's shift and polarity.

Shape letters: b bag, t trace, n time sample, l lag.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from groundswell.pipelines.symae.alignment.fourier import correlated, fast_length, peak, spectrum, to_time, turned
from groundswell.pipelines.symae.alignment.iccs import Aligned

_LEAST = 1e-9
_FLATTENED = 4.0
_FIRST_SPREAD, _LEAST_SPREAD = 5.0, 1.0  # samples
_PRIOR_TRACES = 2.0
_UPRIGHT, _TURNED = 1.0, 0.2
_FIRST_UPRIGHT, _SURE = 0.7, 0.98
_FIRST_HEIGHT, _PEAK_LAGS = 0.7, 3.0


class _World(NamedTuple):
    """What a bag's traces have in common, each (b, 1, 1)."""

    height: Tensor
    noise: Tensor
    upright: Tensor
    spread: Tensor


def matched(x: Tensor, mask: Tensor, template: Tensor, *, dt: float, max_shift_s: float = 10.0, polarity: bool = True,
            iterations: int = 6) -> Aligned:
    """Align bags on a known source.

    Correlations with the template are partly whitened: scattered waves have the source's own spectrum, so a plain
    correlation is as broad as the source is and takes what came later into its peak. Of each trace, every lag and
    polarity has a posterior probability, from Gaussian noise in the correlation and a Gaussian of the bag's shifts; the
    height of the true peaks, the level of the noise, the spread of the shifts and the share of traces that are upright
    are found for each bag by expectation and maximisation. So a bag without flips keeps its traces upright where the
    correlation alone would be in doubt. The likeliest lag and polarity are taken. The arithmetic is real and of fixed
    length: it can be exported.

    Args:
        x: (b, t, n), as read; padding zero.
        mask: bool (b, t), False for padding.
        template: (b, n), in the frame in which shifts are expected to lie around 0.
        dt: seconds between samples.
        max_shift_s: no trace is moved by more, seconds, but for the mean over the bag.
        polarity: traces may be upside down.
        iterations: of expectation and maximisation.

    Returns:
        As :func:`~groundswell.pipelines.symae.alignment.iccs.iccs` does, ``correlation`` being that with the template.
        The frame is the template's, moved by the mean shift, and the polarity is the template's.
    """
    n, most = x.shape[-1], round(max_shift_s / dt)
    length = fast_length(n + most)
    present = mask.to(x.dtype)
    count = present.sum(-1, keepdim=True).clamp_min(1.0)
    parts = spectrum(x, length)
    real, imaginary = spectrum(template[:, None], length)
    power = real.square() + imaginary.square()
    weight = 1 / (power + _FLATTENED * power.mean(-1, keepdim=True) + _LEAST)
    cross = correlated(parts, (real * weight, imaginary * weight), length, most)
    cross = cross / cross.square().mean(-1, keepdim=True).mean(1, keepdim=True).clamp_min(_LEAST**2).sqrt()
    scores = _scores(cross, present, count[..., None], polarity, iterations)
    lags = cross.shape[-1]
    flip = torch.where(torch.argmax(scores, -1) < lags, 1.0, -1.0).to(x.dtype) * present
    kept = scores[..., :lags]
    if polarity:
        kept = torch.where(flip[..., None] < 0, scores[..., lags:], kept)
    samples = peak(kept, False)[0] * present
    samples = samples - samples.sum(-1, keepdim=True) / count * present
    aligned = to_time(*turned(*parts, -samples, length), length, 0, n) * flip[..., None]
    stack = aligned.sum(1) / count
    norms = aligned.square().sum(-1) * template.square().sum(-1, keepdim=True)
    correlation = (aligned * template[:, None]).sum(-1) / norms.clamp_min(_LEAST).sqrt()
    return Aligned(aligned, samples * dt, flip, stack, correlation)


def _scores(cross: Tensor, present: Tensor, count: Tensor, polarity: bool, iterations: int) -> Tensor:
    """Log posteriors but for a constant: of each lag upright, then with ``polarity`` of each turned, (b, t, 2 l)."""
    there = present[..., None]
    size = cross.shape[-1]
    lags = (torch.arange(size, device=cross.device) - (size - 1) // 2).to(cross.dtype)

    def total(value: Tensor) -> Tensor:
        return (value * there).sum((1, 2), keepdim=True)

    noise = total(cross.square()) / count / size
    one = torch.ones_like(noise)
    first = (cross.abs() if polarity else cross).amax(-1, keepdim=True)
    world = _World(_FIRST_HEIGHT * total(first) / count, noise, _FIRST_UPRIGHT * one, _FIRST_SPREAD**2 * one)
    for _ in range(iterations):
        share = torch.softmax(_posterior(cross, lags, world, polarity), -1)
        upright, turned_ = share[..., :size], share[..., size:] if polarity else torch.zeros_like(share)
        both = upright + turned_
        height = total((upright - turned_) * cross) / count
        spread = (total(both * lags.square()) + _PRIOR_TRACES * _FIRST_SPREAD**2) / (count + _PRIOR_TRACES)
        share_upright = ((total(upright) + _UPRIGHT) / (count + _UPRIGHT + _TURNED)).clamp(1 - _SURE, _SURE)
        # The peak itself, a few lags wide, is no noise.
        left = (noise - height.square() * _PEAK_LAGS / size).clamp_min(0.05 * noise + _LEAST)
        world = _World(height.clamp_min(0.0), left, share_upright, spread.clamp_min(_LEAST_SPREAD**2))
    return _posterior(cross, lags, world, polarity)


def _posterior(cross: Tensor, lags: Tensor, world: _World, polarity: bool) -> Tensor:
    likely, before = world.height * cross / world.noise, -lags.square() / (2 * world.spread)
    if not polarity:
        return likely + before
    return torch.cat([likely + before + world.upright.log(), before - likely + (1 - world.upright).log()], -1)
