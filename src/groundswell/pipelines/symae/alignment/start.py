"""symae: where alignment starts: polarities and lags from the cross-correlations of all pairs of a bag."""

from __future__ import annotations

import torch
from torch import Tensor

from groundswell.pipelines.symae.alignment.fourier import fast_length, peak, spectrum, to_time

_LEAST = 1e-12
_ROUNDS = 20
_REWEIGHTED, _STEPS = 4, 4
_FAR = 2.0  # samples


def pair_start(x: Tensor, mask: Tensor, *, max_lag: int) -> tuple[Tensor, Tensor]:
    """First shifts and polarities, none of which depends on the order of the traces.

    Each pair's largest cross-correlation, of either sign, goes into a matrix; the signs of its leading eigenvector are
    the polarities, and its pairs' lags, weighted with the squares of the correlations, give the shifts by least squares.

    Args:
        x: (b, t, n); padding zero.
        mask: bool (b, t).
        max_lag: largest lag, samples.

    Returns:
        Shifts in samples (late is positive; mean 0 over the bag) and polarities (b, t); both 0 for padding.
    """
    n = x.shape[-1]
    present = mask.to(x.dtype)
    both = present[:, :, None] * present[:, None, :]
    length = fast_length(n + max_lag)
    real, imaginary = spectrum(x / x.square().sum(-1, keepdim=True).clamp_min(_LEAST).sqrt(), length)
    one, other = (real[:, :, None], imaginary[:, :, None]), (real[:, None], imaginary[:, None])
    cross = to_time(one[0] * other[0] + one[1] * other[1], one[1] * other[0] - one[0] * other[1], length, -max_lag,
                    2 * max_lag + 1)
    lag, height, sign = peak(cross, True)
    signed = height * sign * both
    leading = _leading(signed, present)
    flip = torch.where(leading < 0, -1.0, 1.0).to(x.dtype) * present
    # Pairs whose sign contradicts the polarities found a wrong peak.
    agree = (signed * flip[:, :, None] * flip[:, None, :]).clamp_min(0)
    shift = _least_squares(agree.square(), lag, present)
    return shift, flip


def _leading(signed: Tensor, present: Tensor) -> Tensor:
    """Leading eigenvector (b, t) of symmetric matrices, its larger part positive, by powers from the best row."""
    strongest = torch.argmax(signed.square().sum(-1), -1)[:, None, None].expand(-1, 1, signed.shape[-1])
    vector = torch.gather(signed, 1, strongest)[:, 0]
    for _ in range(_ROUNDS):
        vector = (signed @ vector[..., None])[..., 0]
        vector = vector / vector.square().sum(-1, keepdim=True).clamp_min(_LEAST).sqrt()
    majority = torch.where(vector < 0, -present, present).sum(-1, keepdim=True)
    return torch.where(majority < 0, -vector, vector)


def _least_squares(weight: Tensor, lag: Tensor, present: Tensor) -> Tensor:
    """Shifts (b, t) whose differences come nearest to the pairs' lags; pairs that are far off lose their weight."""
    shift, kept = torch.zeros_like(present), weight
    for _ in range(_REWEIGHTED):
        total = kept.sum(-1).clamp_min(_LEAST)
        for _ in range(_STEPS):
            shift = (kept * (lag + shift[:, None, :])).sum(-1) / total
        off = (lag - shift[:, :, None] + shift[:, None, :]) / _FAR
        kept = weight / (1 + off.square())
    shift = shift * present
    return shift - shift.sum(-1, keepdim=True) / present.sum(-1, keepdim=True) * present
