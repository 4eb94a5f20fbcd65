"""symae: what is made of aligned traces without learning: windowed stacks and envelopes."""

from __future__ import annotations

import torch
from torch import Tensor

_TAPERED = 0.1


def tapered_window(stack: Tensor, window_s: float, dt: float) -> Tensor:
    """Weights (..., n) that keep the most energetic ``window_s`` of a stack (..., n), a tenth tapered at each end."""
    n = stack.shape[-1]
    width = max(2, min(n, round(window_s / dt)))
    energy = torch.cumsum(stack.square(), -1)
    before = torch.cat([torch.zeros_like(energy[..., :1]), energy], -1)
    first = torch.argmax(before[..., width:] - before[..., : n - width + 1], -1, keepdim=True)
    edge = max(1, round(_TAPERED * width))
    place = torch.arange(n, device=stack.device) - first
    inward = torch.minimum(place + 1, width - place).to(stack.dtype).clamp(0, edge)
    return torch.sin(0.5 * torch.pi * inward / edge).square()


def windowed_stack(stack: Tensor, window_s: float = 28.0, *, dt: float) -> Tensor:
    """The stack (..., n) with all but its most energetic ``window_s`` seconds set to zero, tapered.

    Scattered waves go on after the source has ended; what lies outside its duration can only be they, or noise.
    """
    return stack * tapered_window(stack, window_s, dt)


def envelope(x: Tensor) -> Tensor:
    """Amplitude of the analytic signal (Hilbert transform) of traces (..., n)."""
    n = x.shape[-1]
    gain = torch.zeros(n, dtype=x.dtype, device=x.device)
    gain[0] = 1.0
    gain[1:(n + 1) // 2] = 2.0
    if n % 2 == 0:
        gain[n // 2] = 1.0
    analytic: Tensor = torch.fft.ifft(torch.fft.fft(x) * gain)
    return analytic.abs()
