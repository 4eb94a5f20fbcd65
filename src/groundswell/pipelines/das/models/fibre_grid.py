"""das: channels put where those of the cable trained on would be, so that a filter sees a wave alike on any cable.

Channels are picked, never averaged or interpolated: an average of neighbours is quieter, and an interpolation smoother,
than anything the network has seen, and it takes either for a property of the wave. So a finer cable loses channels and
a coarser one appears with dead channels in between, both in whole steps. A spacing between two steps leaves an error of
the apparent velocity, a factor of 1.75 at most and mostly towards faster: slow waves would be taken for surface waves.

Shape letters: b batch, c channel as recorded, p position on the new grid, t time sample.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

COARSEST = 8
"""A cable of more than so many reference spacings between channels is treated as one of so many."""
FINEST = 1 / 256
"""A spacing below this share of the reference is treated as this."""
_TOLERANCE = 0.25


def at_reference_spacing(x_bct: Tensor, alive_bc: Tensor, stretch_b: Tensor) -> tuple[Tensor, Tensor]:
    """Windows on the grid of the cable trained on.

    The number of positions follows from the data, also in an exported graph.

    Args:
        x_bct: float32, zero where a channel is not alive.
        alive_bc: bool.
        stretch_b: channel spacing over reference spacing, float32.

    Returns:
        Windows (b, p, t) and which positions hold a living channel, bool (b, p). There are as many positions as the
        longest cable of the batch needs.
    """
    if not torch.compiler.is_exporting() and bool((stretch_b == 1).all()):
        return x_bct, alive_bc
    channels = x_bct.shape[1]
    apart_b, every_b = whole_steps(stretch_b)
    longest = torch.ceil(channels * (apart_b / every_b).max()).to(torch.int64)
    positions = cast(int, longest.item())  # int() would ask for the number while a graph is being exported
    if torch.compiler.is_exporting():  # promises about a size that the data decide
        torch._check(positions >= 1)
        torch._check(positions <= channels * COARSEST)
    position_p = torch.arange(positions, device=x_bct.device)
    nth_bp = position_p // apart_b[:, None]
    row_bp = nth_bp * every_b[:, None]
    held_bp = (position_p == nth_bp * apart_b[:, None]) & (row_bp < channels)
    row_bp = row_bp.clamp(max=channels - 1)
    alive_bp = alive_bc.gather(1, row_bp) & held_bp
    x_bpt = x_bct.gather(1, row_bp[:, :, None].expand(-1, -1, x_bct.shape[2]))
    return x_bpt * alive_bp[:, :, None], alive_bp


def whole_steps(stretch_b: Tensor) -> tuple[Tensor, Tensor]:
    """How many positions apart the channels of a coarser cable are put, and every how many-th of a finer one is taken.

    Both int64 (b,); at least one of the two is 1. Spacings within 0.8 to 1.25 of the reference count as the reference.
    """
    stretch_b = stretch_b.clamp(FINEST, float(COARSEST))  # exporters promote no whole number
    apart_b = (stretch_b + 1 - _TOLERANCE).floor().clamp(1, COARSEST)
    every_b = (1 / stretch_b + _TOLERANCE).floor().clamp(min=1)
    return apart_b.to(torch.int64), every_b.to(torch.int64)
