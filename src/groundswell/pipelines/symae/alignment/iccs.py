"""symae: iterative cross-correlation and stacking: traces aligned on their own stack, polarities found on the way."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from groundswell.pipelines.symae.alignment.fourier import fast_length, peak, spectrum, to_time, turned
from groundswell.pipelines.symae.alignment.stacks import tapered_window
from groundswell.pipelines.symae.alignment.start import pair_start

_LEAST = 1e-12


@dataclass(frozen=True)
class Aligned:
    """Bags aligned; b bags, t traces, n samples. Padding is zero everywhere.

    Attributes:
        x: (b, t, n), each trace at its place and with its polarity, ``flip * x(t + shift)``.
        shift_s: (b, t), seconds that a trace is late, mean 0 over the bag.
        flip: (b, t), -1 or 1; 0 for padding. Which of the two is which is not known.
        stack: (b, n), mean of ``x`` over the bag.
        correlation: (b, t), of each aligned trace with the stack.
    """

    x: Tensor
    shift_s: Tensor
    flip: Tensor
    stack: Tensor
    correlation: Tensor


def iccs(x: Tensor, mask: Tensor, *, dt: float, max_shift_s: float = 10.0, iterations: int = 10,
         polarity: bool = True, window_s: float | None = None, template: Tensor | None = None) -> Aligned:
    """Align bags: each trace on the stack, the stack from the aligned traces, and again.

    After Lou, van der Lee & Lloyd (2013), doi 10.1785/0220120033. With ``polarity`` the start is a matrix of
    cross-correlations of all pairs (see :func:`pair_start`), so that the order of the traces has no say; without, it is
    the stack of the traces as they are. Fixed numbers of steps and real arithmetic: the whole can be exported.

    Args:
        x: (b, t, n); padding zero.
        mask: bool (b, t), False for padding.
        dt: seconds between samples.
        max_shift_s: no trace is moved by more, seconds, relative to where it stands.
        iterations: rounds; shifts have settled long before ten.
        polarity: traces may be upside down.
        window_s: correlate with the most energetic so many seconds of the stack only; absent, with all.
        template: (b, n), correlate with this instead of the stack, in every round; nothing else is started from.
    """
    n = x.shape[-1]
    most = round(max_shift_s / dt)
    length = fast_length(2 * n)
    present = mask.to(x.dtype)
    real, imaginary = spectrum(x, length)
    size = x.square().sum(-1).clamp_min(_LEAST).sqrt()
    flip, samples = present, torch.zeros_like(present)
    if template is None and polarity:
        samples, flip = pair_start(x, mask, max_lag=most)
    fixed = None if template is None else spectrum(template, length)
    for _ in range(iterations):
        placed = turned(real, imaginary, -samples, length)
        target = fixed or _stacked(placed, flip, length, n, dt, window_s)
        norm = _power(target, length).clamp_min(_LEAST).sqrt()
        cross = _correlated(placed, target, length, most) / (size * norm[:, None])[..., None]
        allowed = (samples[..., None] + torch.arange(-most, most + 1, device=x.device)).abs() <= most + 0.5
        lag, _, sign = peak(torch.where(allowed, cross, torch.zeros_like(cross) if polarity else -torch.ones_like(cross)),
                            polarity)
        samples = (samples + lag) * present
        flip = sign * present
    samples = samples - (samples.sum(-1, keepdim=True) / present.sum(-1, keepdim=True)) * present
    placed = turned(real, imaginary, -samples, length)
    aligned = to_time(*placed, length, 0, n) * flip[..., None]
    stack = aligned.sum(1) / present.sum(-1)[:, None]
    against = stack if template is None else template
    norms = aligned.square().sum(-1).clamp_min(_LEAST).sqrt() * against.square().sum(-1).clamp_min(_LEAST).sqrt()[:, None]
    return Aligned(aligned, samples * dt, flip, stack, (aligned * against[:, None]).sum(-1) / norms)


Parts = tuple[Tensor, Tensor]


def _stacked(placed: Parts, flip: Tensor, length: int, n: int, dt: float, window_s: float | None) -> Parts:
    """Transform (b, f) of the bags' mean, cut to its most energetic window where one is asked for."""
    share = (flip / flip.abs().sum(-1, keepdim=True))[:, None]
    real, imaginary = ((share @ part)[:, 0] for part in placed)
    if window_s is None:
        return real, imaginary
    stack = to_time(real, imaginary, length, 0, n)
    return spectrum(stack * tapered_window(stack, window_s, dt), length)


def _correlated(placed: Parts, target: Parts, length: int, most: int) -> Tensor:
    real, imaginary = placed
    other_real, other_imaginary = (part[:, None] for part in target)
    return to_time(real * other_real + imaginary * other_imaginary, imaginary * other_real - real * other_imaginary,
                   length, -most, 2 * most + 1)


def _power(target: Parts, length: int) -> Tensor:
    """Sum of squares (b,) of the series whose transform this is, by Parseval's theorem."""
    both = target[0].square() + target[1].square()
    return (2 * both.sum(-1) - both[:, 0] - both[:, -1]) / length
