"""symae: simulated sources: a few pulses of different width, as a seismometer that records velocity sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.symae.simulate.worlds import World

Floats = NDArray[np.float64]

ONSET = 0.4
"""Where in the window a source begins, as a share of its length: where P is expected."""
_ONSET_SPREAD_S = 2.0
"""Standard deviation of that beginning, seconds: origin times and hypocentres are never exact."""


@dataclass(frozen=True)
class Pulses:
    """Sources as pulses; b sources, k the most pulses that one has.

    Attributes:
        time_s: (b, k), seconds after the middle of the beginning.
        width_s: (b, k), standard deviations of Gaussians, seconds.
        height: (b, k), of the pulses' slopes, positive; 0 where there is no pulse.
    """

    time_s: Floats
    width_s: Floats
    height: Floats

    def take(self, which: slice) -> Pulses:
        """Some of the sources."""
        return Pulses(self.time_s[which], self.width_s[which], self.height[which])

    def stretched(self, factor: float) -> Pulses:
        """The same sources, so many times as long, pulses and all."""
        return Pulses(self.time_s * factor, self.width_s * factor, self.height)


def draw_pulses(worlds: Sequence[World], generator: np.random.Generator) -> Pulses:
    """One source for each world: pulses at any times within its duration, widths log-uniform, heights 0.3 to 1."""
    fewest, most = (np.array([world.pulses[side] for world in worlds]) for side in (0, 1))
    shape = (len(worlds), int(most.max()))
    there = np.arange(shape[1]) < generator.integers(fewest, most + 1)[:, None]
    duration = np.array([world.duration_s for world in worlds])[:, None]
    narrow, wide = (np.log([world.widths[side] for world in worlds])[:, None] for side in (0, 1))
    begin = generator.normal(0.0, _ONSET_SPREAD_S, (len(worlds), 1))
    width_s = np.exp(narrow + (wide - narrow) * generator.random(shape))
    return Pulses(begin + duration * generator.random(shape), width_s, there * generator.uniform(0.3, 1.0, shape))


def render(pulses: Pulses, nt: int, dt: float) -> NDArray[np.float32]:
    """The sources' time derivatives, sampled; float32 (b, nt), mean 0 and standard deviation 1."""
    middle = pulses.time_s[..., None] + ONSET * nt * dt
    away = (np.arange(nt, dtype=np.float32) * np.float32(dt) - middle.astype(np.float32))
    away /= pulses.width_s.astype(np.float32)[..., None]
    slopes = -away * np.exp(-0.5 * away * away)  # of moment rates as wide as this and as high as they are wide
    return standard(np.einsum("bkn,bk->bn", slopes, pulses.height.astype(np.float32)))


def standard(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """Waves (..., n) with their means taken out and a standard deviation of 1."""
    away: NDArray[np.float32] = wave - wave.mean(-1, keepdims=True)
    away /= away.std(-1, keepdims=True)
    return away
