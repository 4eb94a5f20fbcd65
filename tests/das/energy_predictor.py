"""A predictor that knows energy and nothing else: enough to test everything around a network without one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class EnergyPredictor:
    """An event is a window whose loudest quarter second stands far above ``noise_rms``; a blast has a low pitch."""

    classes: tuple[str, ...] = ("earthquake", "quarry_blast", "noise")
    window_samples: int = 200
    stride_samples: int = 100
    rate_hz: float = 100.0
    channels: int | None = None
    spacing_m: float = 10.0
    description: str = "energy"
    noise_rms: float = 1.0
    calls: int = 0

    def predict(self, x, spacing_m):
        assert x.ndim == 3 and x.shape[1] == self.window_samples and x.dtype == np.float32
        self.calls += 1
        blocks = self.window_samples // 25
        energy = (x[:, : blocks * 25] ** 2).reshape(len(x), blocks, 25, -1).mean(axis=(2, 3)).max(axis=1)
        event = 1 / (1 + np.exp(np.clip(-8 * (np.log10(energy / self.noise_rms**2 + 1e-12) - 0.5), -50, 50)))
        pitch = (np.diff(x, axis=1) ** 2).mean(axis=(1, 2)) / ((x**2).mean(axis=(1, 2)) + 1e-12)
        high = 1 / (1 + np.exp(-20 * (pitch - 1.0)))
        p = np.stack([event * high, event * (1 - high), 1 - event], axis=1).astype(np.float64)
        if "noise" not in self.classes:
            p = np.stack([high, 1 - high], axis=1).astype(np.float64)
        return p


def burst(x: np.ndarray, start: int, length: int, *, hz: float = 40.0, rate_hz: float = 100.0, level: float = 6.0,
          channels: slice = slice(None), delay: float = 0.0) -> None:
    """Add a decaying tone to ``x`` (time, channel) from ``start``, ``delay`` samples later per channel."""
    for c in range(*channels.indices(x.shape[1])):
        at = start + round(delay * c)
        n = min(length, len(x) - at)
        t = np.arange(n)
        x[at : at + n, c] += level * np.exp(-2 * t / length) * np.sin(2 * np.pi * hz * t / rate_hz + 0.3 * c)


def noise(samples: int, channels: int, seed: int = 0) -> np.ndarray:
    """White noise of unit deviation, float32 (time, channel)."""
    return np.random.default_rng(seed).standard_normal((samples, channels)).astype(np.float32)
