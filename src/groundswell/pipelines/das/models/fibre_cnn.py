"""das: fibre_cnn, a 2-D network over fibre and time that knows no absolute channel number.

It sees a window as a picture of the wavefield: filters over a few neighbouring channels and a fraction of a second tell
frequencies and apparent velocities apart (the fibre axis is brought to one spacing first, so a velocity is a velocity
on every cable); the logarithm of their energy keeps contrasts and forgets polarity; convolutions look for arrivals and
their move-out; and means and maxima over all living positions forget where on the cable they were.

Shape letters: b batch, f feature, c channel, p position along the fibre, t time sample, k class.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundswell.core.errors import InputError
from groundswell.pipelines.das.models.fibre_grid import at_reference_spacing
from groundswell.pipelines.das.preprocess import Prepared

KERNEL = (5, 33)
"""Positions and time samples that a filter of the first layer spans."""
POOL = 4
"""Steps of the first layer over which energy is averaged."""
QUIETEST = 1e-3
"""Energy added before the logarithm, relative to that of the window's typical channel."""
SHARPNESS = 2.0
"""Of the smooth maximum over fibre and time."""


class FibreCnn(nn.Module):
    """Filters, log-energy, strided convolutions, masked mean and smooth maximum, one linear layer.

    Args:
        samples: time samples of a window, at least 16.
        classes: number of logits.
        width: features of the last block; each block before has half as many, the filters an eighth.
        blocks: convolutions after the energy layer, each halves both axes.
        dropout: share of activations dropped in training.

    Raises:
        InputError: the window is too short.
    """

    def __init__(self, samples: int, classes: int, *, width: int, blocks: int, dropout: float) -> None:
        super().__init__()
        if samples < 4 * POOL:
            raise InputError(f"fibre_cnn needs windows of {4 * POOL} time samples after decimation, not {samples}",
                             where="data.window_samples", fix="Take longer windows or decimate less")
        filters = max(16, width // 8)
        self.filters = nn.Conv2d(1, filters, KERNEL, stride=2, padding=(KERNEL[0] // 2, KERNEL[1] // 2), bias=False)
        with torch.no_grad():
            self.filters.weight.copy_(_wavelets(filters))
        self.normalise = nn.BatchNorm2d(filters)
        self.blocks = nn.ModuleList()
        before = filters
        for block in range(blocks):
            after = max(filters, width // 2 ** max(0, blocks - 1 - block))
            self.blocks.append(_Block(before, after))
            before = after
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * before + 2 * filters, classes))

    def forward(self, window: Prepared, stretch_b: Tensor) -> Tensor:
        """Logits (b, k).

        Args:
            window: of any number of channels.
            stretch_b: channel spacing over that of the cable trained on, float32; 1 where unknown.
        """
        x_bpt, alive_bp = at_reference_spacing(window.x_bct, window.alive_bc, stretch_b)
        h_bfpt, mask_b1pt = self._energy(x_bpt, alive_bp, window.valid_bt)
        pooled = [_mean(h_bfpt, mask_b1pt), _peak(h_bfpt, mask_b1pt)]
        for block in self.blocks:
            h_bfpt, mask_b1pt = block(h_bfpt, mask_b1pt)
        pooled += [_mean(h_bfpt, mask_b1pt), _peak(h_bfpt, mask_b1pt)]
        logits_bk: Tensor = self.head(torch.cat(pooled, dim=1))
        return logits_bk

    def _energy(self, x_bpt: Tensor, alive_bp: Tensor, valid_bt: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised logarithm of the energy that each filter lets through, and where it means something."""
        energy = F.avg_pool2d(self.filters(x_bpt.unsqueeze(1)).float().square(), (1, POOL))
        # A filter that reaches over dead channels or the cable's end has less to add up.
        near = energy.new_full((1, 1, KERNEL[0]), 1 / KERNEL[0])
        share_bp = F.conv1d(alive_bp.to(energy.dtype)[:, None], near, stride=2, padding=KERNEL[0] // 2)[:, 0]
        energy = energy / share_bp.clamp(min=1 / KERNEL[0])[:, None, :, None]
        valid_bt = valid_bt[:, :: 2 * POOL][:, : energy.shape[3]]
        mask_b1pt = (_either(alive_bp)[:, None, :, None] & valid_bt[:, None, None, :]).to(energy.dtype)
        h_bfpt: Tensor = self.normalise(torch.log(energy + QUIETEST))
        return h_bfpt * mask_b1pt, mask_b1pt


class _Block(nn.Module):
    """Convolution that halves both axes; what is masked stays zero, so that padding has no influence."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
        self.normalise = nn.BatchNorm2d(after)

    def forward(self, h_bfpt: Tensor, mask_b1pt: Tensor) -> tuple[Tensor, Tensor]:
        mask_b1pt = _either(mask_b1pt[:, :, :, ::2] > 0, axis=2).to(mask_b1pt.dtype)
        return torch.relu(self.normalise(self.convolution(h_bfpt))) * mask_b1pt, mask_b1pt


def _wavelets(filters: int) -> Tensor:
    """First weights (f, 1, *KERNEL): plane waves under a bell, of unit norm.

    Frequencies rise in equal ratios from one period in a filter's length to 0.4 cycles a time sample; wavenumbers go
    round standing still (vertical incidence), and both directions at two slownesses. Phases are drawn by chance. From
    random weights the same filters are found, only much later.
    """
    along, time = (torch.linspace(-1, 1, size + 2)[1:-1] for size in KERNEL)
    bell = torch.outer(torch.cos(along * torch.pi / 2), torch.cos(time * torch.pi / 2))
    order = torch.arange(filters)
    frequency = (1 / KERNEL[1]) * (0.4 * KERNEL[1]) ** (order / max(1, filters - 1))
    wavenumber = torch.tensor([0.0, 0.1, -0.1, 0.25, -0.25])[order % 5]
    position = torch.arange(KERNEL[0])[None, :, None] - KERNEL[0] // 2
    sample = torch.arange(KERNEL[1])[None, None, :] - KERNEL[1] // 2
    cycles = frequency[:, None, None] * sample - wavenumber[:, None, None] * position
    waves = bell * torch.cos(2 * torch.pi * (cycles + torch.rand(filters, 1, 1)))
    normed: Tensor = waves / waves.flatten(1).norm(dim=1)[:, None, None]
    return normed.unsqueeze(1)


def _either(mask: Tensor, axis: int = 1) -> Tensor:
    """Whether either of two neighbours counts, for every pair along an axis; a last one alone for itself."""
    size = mask.shape[axis]
    partner = torch.cat([mask.narrow(axis, 1, size - 1), torch.zeros_like(mask.narrow(axis, 0, 1))], dim=axis)
    both = mask | partner
    return both[:, ::2] if axis == 1 else both[:, :, ::2]


def _mean(h_bfpt: Tensor, mask_b1pt: Tensor) -> Tensor:
    return h_bfpt.sum(dim=(2, 3)) / mask_b1pt.sum(dim=(2, 3)).clamp(min=1)


def _peak(h_bfpt: Tensor, mask_b1pt: Tensor) -> Tensor:
    """Smooth maximum, log-mean-exp: unlike the maximum it does not grow with the number of positions."""
    mask_b1pt = mask_b1pt.float()
    raised = torch.exp(SHARPNESS * h_bfpt.float().clamp(max=20.0)) * mask_b1pt
    mean_bf = raised.sum(dim=(2, 3)) / mask_b1pt.sum(dim=(2, 3)).clamp(min=1)
    return torch.log(mean_bf + 1e-6) / SHARPNESS
