"""biodiversity: what happens to vectors on the device: pooling, then scaling by the training part."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Read = Callable[[NDArray[np.int64]], Mapping[str, NDArray[np.floating]]]
"""Reads rows: arrays by modality, first axis the row."""

_CHUNK = 256  # observations held at once while the statistics are made


def pooled(vectors: Tensor) -> Tensor:
    """Mean over all axes between the first and the last: (b, ..., f) to (b, f)."""
    return vectors if vectors.ndim == 2 else vectors.flatten(1, -2).mean(dim=1)


class Standardise(nn.Module):
    """Pools vectors and, if asked to, takes each number's z-score over the training part.

    Args:
        widths: of each modality's vectors; others pass as they are.
        scaled: whether to scale; not scaled is what the published classifiers do.
    """

    def __init__(self, widths: Mapping[str, int], *, scaled: bool) -> None:
        super().__init__()
        self.scaled, self.widths = scaled, dict(widths)
        for name, width in self.widths.items():
            self.register_buffer(f"mean_{name}", torch.zeros(width))
            self.register_buffer(f"scale_{name}", torch.ones(width))

    def fit(self, read: Read, rows: NDArray[np.int64]) -> None:
        """Take mean and spread from the training ``rows``; nothing is done where scaling is not asked for."""
        if not self.scaled or not self.widths:
            return
        sums = {name: (np.zeros(width), np.zeros(width)) for name, width in self.widths.items()}
        for first in range(0, len(rows), _CHUNK):
            got = read(rows[first:first + _CHUNK])
            for name, (total, square) in sums.items():
                x = got[name].astype(np.float64).reshape(len(got[name]), -1, self.widths[name]).mean(axis=1)
                total += x.sum(axis=0)
                square += (x * x).sum(axis=0)
        for name, (total, square) in sums.items():
            mean = total / len(rows)
            spread = np.sqrt(np.maximum(square / len(rows) - mean * mean, 0.0))
            self.get_buffer(f"mean_{name}").copy_(torch.from_numpy(mean))
            # A number that never changes says nothing; dividing by its spread would make noise of rounding.
            self.get_buffer(f"scale_{name}").copy_(torch.from_numpy(np.where(spread > 1e-12, spread, 1.0)))

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same names, vectors pooled to (b, f) and scaled."""
        ready = dict(batch)
        for name in self.widths:
            x = pooled(batch[name].float())
            ready[name] = (x - self.get_buffer(f"mean_{name}")) / self.get_buffer(f"scale_{name}") if self.scaled else x
        return ready
