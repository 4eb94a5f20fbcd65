"""symae: relative arrival times with their errors from the cross-correlations of all pairs of a bag."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from groundswell.pipelines.symae.alignment.fourier import correlated, fast_length, peak, spectrum
from groundswell.pipelines.symae.alignment.iccs import Aligned, iccs
from groundswell.pipelines.symae.alignment.stacks import tapered_window

_LEAST = 1e-12


@dataclass(frozen=True)
class Arrivals:
    """Relative arrival times; b bags, t traces. Padding is zero everywhere.

    Attributes:
        shift_s: (b, t), seconds that a trace is late, mean 0 over the bag.
        rms_s: (b, t), root mean square of what a trace's pairs leave unexplained, seconds; 0 in bags of two.
        correlation: (b, t), mean over a trace's pairs, by Fisher's transform.
        aligned: what the times start from.
    """

    shift_s: Tensor
    rms_s: Tensor
    correlation: Tensor
    aligned: Aligned


def mccc(x: Tensor, mask: Tensor, *, dt: float, start: Aligned | None = None, window_s: float | None = 28.0,
         max_lag_s: float = 3.0) -> Arrivals:
    """Multi-channel cross-correlation: lags of all pairs, made consistent by least squares.

    VanDecar & Crosson (1990), BSSA 80, 150-169: the shifts whose differences come nearest to the lags measured and
    whose sum is 0. Each pair counts with the square of its correlation; pairs that correlate negatively do not count.

    Args:
        x: (b, t, n); padding zero.
        mask: bool (b, t), False for padding.
        dt: seconds between samples.
        start: an alignment of ``x`` from which the lags are small; absent, that of :func:`iccs`.
        window_s: use the most energetic so many seconds of the stack only; absent, whole traces.
        max_lag_s: largest lag left after ``start``, seconds.
    """
    start = iccs(x, mask, dt=dt) if start is None else start
    present = mask.to(x.dtype)
    cut = start.x
    if window_s is not None:
        cut = cut * tapered_window(start.stack, window_s, dt)[:, None]
    most = max(1, round(max_lag_s / dt))
    length = fast_length(x.shape[-1] + most)
    cut = cut / cut.square().sum(-1, keepdim=True).clamp_min(_LEAST).sqrt()
    real, imaginary = spectrum(cut, length)
    lag, height, _ = peak(correlated((real[:, :, None], imaginary[:, :, None]), (real[:, None], imaginary[:, None]),
                                     length, most), False)
    pairs = present[:, :, None] * present[:, None, :] * (1 - torch.eye(x.shape[1], dtype=x.dtype, device=x.device))
    height = height.clamp(-0.999, 0.999)
    late = _solved(lag, height.clamp_min(0.0).square() * pairs, present)
    left = (lag - late[:, :, None] + late[:, None, :]) * pairs
    count = pairs.sum(-1)
    rms = (left.square().sum(-1) / (count - 1).clamp_min(1.0)).sqrt() * (count > 1)
    similar = torch.tanh((torch.atanh(height) * pairs).sum(-1) / count.clamp_min(1.0))
    shift_s = (start.shift_s + late * dt) * present
    shift_s = shift_s - shift_s.sum(-1, keepdim=True) / present.sum(-1, keepdim=True).clamp_min(1.0) * present
    return Arrivals(shift_s, rms * dt, similar, start)


def _solved(lag: Tensor, weight: Tensor, present: Tensor) -> Tensor:
    """Weighted least squares (b, t) of antisymmetric lags (b, t, t), with sum 0."""
    weight, lag = weight.double(), lag.double()
    total = torch.diag_embed(weight.sum(-1))
    # The mean is free; ones, scaled like the rest, fix it at 0. A trace that no pair ties to others stays at 0.
    scale = weight.sum((-2, -1))[:, None, None].clamp_min(_LEAST) / weight.shape[-1]
    both = (present[:, :, None] * present[:, None, :]).double()
    loose = torch.diag_embed((weight.sum(-1) <= _LEAST).double()) * scale
    solved: Tensor = torch.linalg.solve(total - weight + both * scale + loose, (weight * lag).sum(-1)[..., None])
    return solved[..., 0].to(present.dtype) * present
