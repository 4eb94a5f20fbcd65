"""symae: iterative cross-correlation and stacking: traces aligned on their own stack, polarities found on the way."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from groundswell.pipelines.symae.alignment.fourier import (
    Parts,
    correlated,
    fast_length,
    peak,
    spectrum,
    to_time,
    turned,
)
from groundswell.pipelines.symae.alignment.stacks import tapered_window
from groundswell.pipelines.symae.alignment.start import common_signs, pair_start

_LEAST = 1e-12
_EXPECTED = 0.6


@dataclass(frozen=True)
class Aligned:
    """Bags aligned; b bags, t traces, n samples. Padding is zero everywhere.

    Attributes:
        x: (b, t, n), each trace at its place and with its polarity, ``flip * x(t + shift)``.
        shift_s: (b, t), seconds that a trace is late, mean 0 over the bag.
        flip: (b, t), -1 or 1; 0 for padding. Most traces of a bag have 1: which polarity is the source's is not known.
        stack: (b, n), mean of ``x`` over the bag.
        correlation: (b, t), of each aligned trace with the stack, or with the template where one was given.
    """

    x: Tensor
    shift_s: Tensor
    flip: Tensor
    stack: Tensor
    correlation: Tensor


def iccs(x: Tensor, mask: Tensor, *, dt: float, max_shift_s: float = 10.0, iterations: int = 6,
         polarity: bool = True, window_s: float | None = None, template: Tensor | None = None) -> Aligned:
    """Align bags: each trace on the stack of the others, the stack from the aligned traces, and again.

    After Lou, van der Lee & Lloyd (2013), doi 10.1785/0220120033, with two changes, both of which bring the found
    shifts nearer to the true ones in noise. A trace is correlated with the stack of the *other* traces, as its own
    noise would hold it where it stands. And correlations are weighted with a Gaussian of the whole shift (standard
    deviation 0.6 of ``max_shift_s``), as peaks far away are mostly others than that of the direct wave.

    With ``polarity`` the start is a matrix of cross-correlations of all pairs (:func:`pair_start`), so that the order
    of the traces has no say; without, it is the stack of the traces as they are. The numbers of steps are fixed and
    the arithmetic is real: the whole can be exported.

    Args:
        x: (b, t, n); padding zero.
        mask: bool (b, t), False for padding.
        dt: seconds between samples.
        max_shift_s: no trace is moved by more, seconds, from where it stands, but for the mean over the bag.
        iterations: rounds; after six shifts have settled.
        polarity: traces may be upside down.
        window_s: correlate with the most energetic so many seconds of the stack only; absent, with all.
        template: (b, n), correlate with this in every round instead of the stack.
    """
    n, most = x.shape[-1], round(max_shift_s / dt)
    length = fast_length(n + 3 * most)
    present = mask.to(x.dtype)
    count = present.sum(-1, keepdim=True).clamp_min(1.0)
    parts = spectrum(x, length)
    samples, flip = pair_start(x, mask, max_lag=most) if polarity else (torch.zeros_like(present), present)
    fixed = None if template is None else spectrum(template[:, None], length)
    own = correlated(parts, parts, length, most)
    lags = torch.arange(-most, most + 1, device=x.device).to(x.dtype)
    for _ in range(iterations):
        placed = turned(*parts, -samples, length)
        if fixed is not None:
            cross = correlated(placed, fixed, length, most)
        else:
            target, alone = _stacked(placed, flip / count, length, n, window_s, dt)
            own = own if alone is None else correlated(placed, alone, length, most)
            cross = correlated(placed, target, length, most) - (flip / count)[..., None] * own
        whole = (samples[..., None] + lags) / most
        likely = torch.exp(-0.5 * (whole / _EXPECTED).square()) * (whole.abs() <= 1.0)
        lag, _, sign = peak(cross, polarity, likely)
        # Of what parts a trace from the others, its part is (count - 1) / count: the others move as well.
        samples = samples + lag * present * (1.0 if fixed is not None else (count - 1) / count)
        flip = sign * present
    return _finished(x, parts, samples, flip, present, length, dt, polarity and template is None, template)


def _stacked(placed: Parts, share: Tensor, length: int, n: int, window_s: float | None,
             dt: float) -> tuple[Parts, Parts | None]:
    """Transforms of the bags' means (b, 1, f) and, where a window is cut out of them, of each trace (b, t, f)."""
    real, imaginary = (share[:, None] @ part for part in placed)
    if window_s is None:
        return (real, imaginary), None
    stack = to_time(real, imaginary, length, 0, n)
    window = tapered_window(stack, window_s, dt)
    return spectrum(stack * window, length), spectrum(to_time(*placed, length, 0, n) * window, length)


def _finished(x: Tensor, parts: Parts, samples: Tensor, flip: Tensor, present: Tensor, length: int, dt: float,
              resolve: bool, template: Tensor | None) -> Aligned:
    samples = samples - (samples.sum(-1, keepdim=True) / present.sum(-1, keepdim=True).clamp_min(1.0)) * present
    aligned = to_time(*turned(*parts, -samples, length), length, 0, x.shape[-1]) * present[..., None]
    if resolve:
        # Two traces alone may each have turned towards the other.
        unit = aligned / aligned.square().sum(-1, keepdim=True).clamp_min(_LEAST).sqrt()
        flip = common_signs(unit @ unit.transpose(1, 2), present)
    aligned = aligned * flip[..., None]
    stack = aligned.sum(1) / present.sum(-1, keepdim=True).clamp_min(1.0)
    against = stack if template is None else template
    norms = aligned.square().sum(-1) * against.square().sum(-1, keepdim=True)
    correlation = (aligned * against[:, None]).sum(-1) / norms.clamp_min(_LEAST).sqrt()
    return Aligned(aligned, samples * dt, flip, stack, correlation)
