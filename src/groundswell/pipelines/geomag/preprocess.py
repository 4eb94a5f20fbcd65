"""geomag: what happens to a window before the network sees it, fitted to the training windows of one fold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_BLOCK_BYTES = 64 << 20  # of float64, while means are taken


class Preprocess(nn.Module):
    """Trend removal and scaling of windows (b, m), m minutes.

    Args:
        minutes: length of a window.
        detrend: what is taken from each window by itself.
        scaling: "feature" divides by :meth:`fit`'s deviations, "window" by the window's own.
    """

    mean: Tensor
    scale: Tensor
    ramp: Tensor

    def __init__(self, minutes: int, detrend: Literal["none", "mean", "linear"],
                 scaling: Literal["feature", "window", "none"]) -> None:
        super().__init__()
        self.detrend, self.scaling = detrend, scaling
        # Learnt from the training part, so they belong to the weights.
        self.register_buffer("mean", torch.zeros(minutes))
        self.register_buffer("scale", torch.ones(minutes))
        ramp = torch.linspace(-1.0, 1.0, minutes)
        self.register_buffer("ramp", ramp / ramp.norm(), persistent=False)

    def forward(self, x_bm: Tensor) -> Tensor:
        """Scaled windows, float32 (b, m)."""
        x_bm = self.without_trend(x_bm.float())
        if self.scaling == "window":
            wide = x_bm.double()
            centred = (wide - wide.mean(1, keepdim=True)).float()
            return centred / centred.square().mean(1, keepdim=True).sqrt().clamp(min=1e-6)
        if self.scaling == "feature":
            return (x_bm - self.mean) / self.scale
        return x_bm

    def without_trend(self, x_bm: Tensor) -> Tensor:
        """Windows less their own mean or straight line."""
        if self.detrend == "none":
            return x_bm
        # A mean of 10,080 values near 20,000 nT depends, in float32, on the order in which they are summed.
        wide = x_bm.double()
        wide = wide - wide.mean(1, keepdim=True)
        if self.detrend == "linear":
            wide = wide - (wide @ self.ramp.double())[:, None] * self.ramp.double()
        return wide.float()

    @torch.no_grad()
    def fit(self, read: Callable[[NDArray[np.int64]], NDArray[np.float32]], rows: NDArray[np.int64]) -> None:
        """Take mean and deviation of every minute over the windows at ``rows``; a constant minute is left as it is.

        Args:
            read: gives the windows at some rows, float32 (rows, m).
            rows: the training windows of a fold, and no others.
        """
        if self.scaling != "feature":
            return
        step = max(1, _BLOCK_BYTES // (8 * len(self.mean)))
        shift: Tensor | None = None
        total, squares = torch.zeros(2, len(self.mean), dtype=torch.float64)
        for start in range(0, len(rows), step):
            block = self.without_trend(torch.from_numpy(read(rows[start:start + step]))).double()
            # Squares of what is left above the first block's mean: fields of 50,000 nT vary by a few.
            shift = block.mean(0) if shift is None else shift
            block -= shift
            total += block.sum(0)
            squares += block.square_().sum(0)
        assert shift is not None
        above = total / len(rows)
        deviation = (squares / len(rows) - above.square()).clamp(min=0).sqrt()
        # float32 knows a field of 50,000 nT to 0.004 nT: less than that is no variation.
        floor = 1e-6 * (shift + above).abs() + 1e-6
        self.mean.copy_(shift + above)
        self.scale.copy_(torch.where(deviation > floor, deviation, 1.0))
