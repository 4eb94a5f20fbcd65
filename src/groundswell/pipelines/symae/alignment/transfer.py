"""symae: the classical way to put another source on a path: ratios of spectra, with a water level."""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST = 1e-12


def spectral_ratio_transfer(trace: Tensor, source: Tensor, other: Tensor, *, water_level: float = 0.1) -> Tensor:
    """What the trace would be if the other source had sent it: its spectrum over its source's, times the other's.

    Where the source's power falls below a share of its largest the share is divided by instead (Helmberger & Wiggins
    1971; Clayton & Wiggins 1976), which keeps noise in check and loses those frequencies. Shift and polarity are the
    trace's. Nothing wraps around.

    Args:
        trace: (..., n), of source b.
        source: (..., n), estimate of b, broadcast against ``trace``.
        other: (..., n), estimate of a.
        water_level: share of the largest power.

    Returns:
        (..., n).
    """
    n = trace.shape[-1]
    through, divisor, wanted = (torch.fft.rfft(wave, 2 * n) for wave in (trace, source, other))
    power = divisor.abs().square()
    floor = (water_level * power.amax(-1, keepdim=True)).clamp_min(_LEAST)
    ratio = through * divisor.conj() / torch.maximum(power, floor)
    virtual: Tensor = torch.fft.irfft(ratio * wanted, 2 * n)
    return virtual[..., :n]
