"""das: a cheap look at a window's energy that spares the network the windows in which nothing rises at all."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_BLOCK_S = 0.5
_MEMORY_S = 60.0
_CHANNELS = 128
_GROUPS = 16


class EnergyGate:
    """Short-term over long-term energy of groups of channels, over whole windows.

    The energy (variance) of half-second blocks is averaged over neighbouring channels, at most 128 of them in at most
    16 groups. A window passes if, in any group, its loudest block stands at ``least`` times the median block of the
    last minute: an event on one part of the fibre passes too.

    Args:
        least: ratio at which a window passes.
        rate_hz: sampling rate of the windows.
    """

    def __init__(self, least: float, rate_hz: float) -> None:
        self._least, self._block = least, max(1, round(_BLOCK_S * rate_hz))
        self._rate_hz = rate_hz
        self._usual: deque[NDArray[np.float32]] = deque()
        self._seen = -1

    def passes(self, x_btc: NDArray[np.float32], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which windows of a batch the network should see.

        Args:
            x_btc: consecutive windows, shape (batch, time, channel).
            starts: first sample of each; ascending from call to call.
        """
        energy = self._energy(x_btc)
        self._remember(energy, starts)
        usual = np.maximum(np.median(np.concatenate(self._usual), axis=0), np.finfo(np.float32).tiny)
        passes: NDArray[np.bool_] = ((energy.max(axis=1) / usual).max(axis=1) >= self._least)
        return passes

    def _energy(self, x_btc: NDArray[np.float32]) -> NDArray[np.float32]:
        """Shape (batch, block, group)."""
        step = -(-x_btc.shape[2] // _CHANNELS)
        x = x_btc[:, :, ::step]
        batch, length, channels = x.shape
        size = min(self._block, length)
        blocks = length // size
        parts = x[:, : blocks * size].reshape(batch, blocks, size, channels)
        variance = parts.var(axis=2)
        edges = np.linspace(0, channels, min(_GROUPS, channels) + 1).astype(int)
        return np.stack([variance[:, :, a:b].mean(axis=2) for a, b in pairwise(edges)], axis=2)

    def _remember(self, energy: NDArray[np.float32], starts: NDArray[np.int64]) -> None:
        """Add the blocks not seen before to the last minute's, and forget older ones."""
        kept = max(1, round(_MEMORY_S / _BLOCK_S))
        for start, blocks in zip(starts.tolist(), energy, strict=True):
            fresh = blocks if self._seen < 0 else blocks[max(0, -(-(self._seen - start) // self._block)):]
            if len(fresh):
                self._usual.append(fresh)
                self._seen = start + len(blocks) * self._block
        while len(self._usual) > 1 and sum(map(len, self._usual)) - len(self._usual[0]) >= kept:
            self._usual.popleft()
