"""das: the fibre axis brought to the channel spacing that a network was trained at, so that move-outs are comparable.

Shape letters: b batch, c channel as recorded, p position on the new grid, t time sample.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STRETCH = (1 / 64, 8.0)
"""Ratios of spacings beyond these are treated as these."""


def at_reference_spacing(x_bct: Tensor, alive_bc: Tensor, stretch_b: Tensor) -> tuple[Tensor, Tensor]:
    """Means of the living channels within one reference spacing of each new position.

    The mean is taken over the wider of the two spacings: a finer cable is averaged (no aliasing along the fibre), a
    coarser one interpolated linearly. It is a difference of running sums, so it costs the same for any spacing. The
    number of positions follows from the data, also in an exported graph.

    Args:
        x_bct: float32, zero where a channel is not alive.
        alive_bc: bool.
        stretch_b: channel spacing over reference spacing, float32; clipped to :data:`STRETCH`.

    Returns:
        Windows (b, p, t) and which positions had a living channel near them, bool (b, p). There are as many positions
        as the longest cable of the batch needs.
    """
    if not torch.compiler.is_exporting() and bool((stretch_b == 1).all()):
        return x_bct, alive_bc
    channels = x_bct.shape[1]
    stretch_b1 = stretch_b.clamp(*STRETCH)[:, None]
    positions = int(torch.ceil(channels * stretch_b1.max()).to(torch.int64).item())
    if torch.compiler.is_exporting():  # promises about a size that the data decide
        torch._check(positions >= 1)
        torch._check(positions <= channels * int(STRETCH[1]))
    middle_bp = (torch.arange(positions, device=x_bct.device, dtype=torch.float32) + 0.5) / stretch_b1
    half_b1 = (1 / stretch_b1).clamp(min=1.0) / 2
    lower_bp, upper_bp = (middle_bp - half_b1).clamp(0, channels), (middle_bp + half_b1).clamp(0, channels)
    count_bp1 = _integral(alive_bc[:, :, None].to(x_bct.dtype), lower_bp, upper_bp)
    # Beyond half a channel past its end (or amid dead channels) a position knows nothing.
    known_bp = count_bp1[:, :, 0] > 0.25 * torch.minimum(2 * half_b1, stretch_b1.new_tensor(2.0))
    x_bpt = _integral(x_bct, lower_bp, upper_bp) / count_bp1.clamp(min=1e-6)
    return torch.where(known_bp[:, :, None], x_bpt, 0.0), known_bp


def _integral(x_bct: Tensor, lower_bp: Tensor, upper_bp: Tensor) -> Tensor:
    """Integral along the fibre from ``lower_bp`` to ``upper_bp`` (in channels), constant within a channel."""
    # Running sums of a thousand loud channels would swallow quiet ones in float32.
    sums = F.pad(x_bct.double().cumsum(dim=1), (0, 0, 1, 0))
    values = F.pad(x_bct, (0, 0, 0, 1))
    return (_sum_up_to(upper_bp, sums, values) - _sum_up_to(lower_bp, sums, values)).to(x_bct.dtype)


def _sum_up_to(edge_bp: Tensor, sums: Tensor, values: Tensor) -> Tensor:
    whole_bp = edge_bp.floor()
    row_bpt = whole_bp.to(torch.int64)[:, :, None].expand(-1, -1, values.shape[2])
    return sums.gather(1, row_bpt) + (edge_bp - whole_bp)[:, :, None] * values.gather(1, row_bpt)
