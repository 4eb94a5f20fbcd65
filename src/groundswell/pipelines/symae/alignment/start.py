"""symae: where alignment starts: polarities and lags from the cross-correlations of all pairs of a bag."""

from __future__ import annotations

import torch
from torch import Tensor

from groundswell.pipelines.symae.alignment.fourier import correlated, fast_length, peak, spectrum

_LEAST = 1e-12
_SQUARINGS = 4
_REWEIGHTED, _STEPS = 3, 3
_EXPECTED = 0.7
_FAR = 2.0  # samples
_BAND = 0.65  # of the frequencies up to Nyquist's: enough to find peaks, and the matrix is the costly part


def pair_start(x: Tensor, mask: Tensor, *, max_lag: int) -> tuple[Tensor, Tensor]:
    """First shifts and polarities, none of which depends on the order of the traces.

    Each pair's largest cross-correlation, of either sign, goes into a matrix; the signs of its leading eigenvector are
    the polarities. The pairs' lags, weighted with the squares of those correlations, give the shifts by least squares;
    pairs far off lose their weight.

    Args:
        x: (b, t, n); padding zero.
        mask: bool (b, t).
        max_lag: largest lag, samples.

    Returns:
        Shifts in samples (late is positive; mean 0 over the bag) and polarities (b, t); both 0 for padding.
    """
    present = mask.to(x.dtype)
    length = fast_length(x.shape[-1] + max_lag)
    kept = int(_BAND * (length // 2))
    real, imaginary = spectrum(x, length)
    size = (real[..., :kept].square() + imaginary[..., :kept].square()).sum(-1, keepdim=True).clamp_min(_LEAST).sqrt()
    real, imaginary = real[..., :kept] / size, imaginary[..., :kept] / size
    cross = correlated((real[:, :, None], imaginary[:, :, None]), (real[:, None], imaginary[:, None]), length, max_lag)
    lags = torch.arange(-max_lag, max_lag + 1, device=x.device).to(x.dtype)
    lag, height, sign = peak(cross, True, torch.exp(-0.5 * (lags / (_EXPECTED * max_lag)).square()))
    both = present[:, :, None] * present[:, None, :]
    signed = height * sign * both
    flip = common_signs(signed, present)
    # Pairs whose sign contradicts the polarities found a wrong peak.
    agree = (signed * flip[:, :, None] * flip[:, None, :]).clamp_min(0.0)
    return _least_squares(agree.square(), lag, present), flip


def common_signs(matrix: Tensor, present: Tensor) -> Tensor:
    """Signs (b, t) of the leading eigenvectors of symmetric matrices (b, t, t), mostly 1; 0 for padding."""
    # Powers of the matrix lead from its row that says most to it; a fixed vector to start from could stand across it.
    strongest = torch.argmax(matrix.square().sum(-1), -1)[:, None, None].expand(-1, 1, matrix.shape[-1])
    vector = torch.gather(matrix, 1, strongest)[:, 0]
    for _ in range(_SQUARINGS):
        matrix = matrix @ matrix
        matrix = matrix / matrix.abs().amax((-2, -1), keepdim=True).clamp_min(_LEAST)
    vector = (matrix @ vector[..., None])[..., 0]
    signs = torch.where(vector < 0, -present, present)
    return torch.where(signs.sum(-1, keepdim=True) < 0, -signs, signs)


def _least_squares(weight: Tensor, lag: Tensor, present: Tensor) -> Tensor:
    """Shifts (b, t) whose differences come nearest to the pairs' lags (b, t, t)."""
    shift, kept = torch.zeros_like(present), weight
    for _ in range(_REWEIGHTED):
        total = kept.sum(-1).clamp_min(_LEAST)
        for _ in range(_STEPS):
            shift = (kept * (lag + shift[:, None, :])).sum(-1) / total
        off = (lag - shift[:, :, None] + shift[:, None, :]) / _FAR
        kept = weight / (1 + off.square())
    shift = shift * present
    return shift - shift.sum(-1, keepdim=True) / present.sum(-1, keepdim=True).clamp_min(1.0) * present
