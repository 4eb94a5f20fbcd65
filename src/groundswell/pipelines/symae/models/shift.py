"""symae: time shifts of traces by a phase ramp, and the network that finds them.

Shape letters: b bag, t trace, m trace of a flattened batch, n time sample.

A shift v has no unit: one is half a trace. Advancing by v gives x'(i) = x(i + v n / 2), that is 96 v samples of 192; it
is circular, as in the reference. An impulse at sample 100 comes to 90.4 with v = 0.1. A trace that is late by tau
seconds is aligned by v = 2 tau / (n dt).
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

SLOPE = 0.1
"""Of the leaky ReLU, wherever this model has one."""


def advance(x: Tensor, shift: Tensor) -> Tensor:
    """Advance each trace by its shift: a positive one moves a trace to earlier times; :func:`delay` is its inverse.

    The spectrum is multiplied by exp(i pi k v), k the signed index of the frequency, and the real part of the inverse
    transform is taken. It is computed in float32 at least, whatever autocast says.

    Args:
        x: (..., n).
        shift: (...), v as described at the top of this file.

    Returns:
        (..., n). The shift of half an even trace's Nyquist frequency is its real part; all else comes back exactly.
    """
    length = x.shape[-1]
    with torch.autocast(x.device.type, enabled=False):
        wide = x if x.dtype == torch.float64 else x.float()
        index = torch.arange(length // 2 + 1, device=x.device, dtype=wide.dtype)
        angle = math.pi * index * shift.to(wide.dtype)[..., None]
        ramp = torch.complex(angle.cos(), angle.sin())
        moved: Tensor = torch.fft.irfft(torch.fft.rfft(wide) * ramp, n=length)
        return moved


def delay(x: Tensor, shift: Tensor) -> Tensor:
    """Undo :func:`advance` by the same shift."""
    return advance(x, -shift)


def to_samples(shift: Tensor, length: int) -> Tensor:
    """Samples by which a trace of ``length`` samples is advanced by ``shift``."""
    return shift * (length / 2)


def glorot(module: nn.Module) -> None:
    """Begin all linear and convolutional layers of a module as the reference does: Glorot's uniform weights, no bias.

    Source: Glorot & Bengio (2010), equation 16.
    """
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Conv1d)):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


class ShiftNet(nn.Module):
    """The shift of each trace from the trace alone; unbounded, 0 to begin with.

    Args:
        length: samples of a trace.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(length, length), nn.LeakyReLU(SLOPE), nn.Linear(length, length),
                                    nn.LeakyReLU(SLOPE), nn.Linear(length, 1))
        self.begin()

    def begin(self) -> None:
        """Forget what was learnt: no trace is shifted."""
        glorot(self)
        nn.init.zeros_(cast(nn.Linear, self.layers[4]).weight)

    def forward(self, x_mn: Tensor) -> Tensor:
        """Shifts (m,), float32 at least."""
        shift: Tensor = self.layers(x_mn).squeeze(-1)
        return shift if shift.dtype == torch.float64 else shift.float()
