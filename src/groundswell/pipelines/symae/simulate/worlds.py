"""symae: the worlds that seismograms are simulated in: noise, coda, shifts, polarities and kinds of sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NARROWEST_S, WIDEST_S = 0.87, 2.5
"""Widths of pulses (standard deviations of Gaussians, seconds) in ordinary worlds, before the derivative is taken."""


@dataclass(frozen=True)
class World:
    """What a bag of seismograms is made with.

    Attributes:
        snr_db: power of the arriving wave, coda included, over that of the noise in the window, decibels.
        coda: strength of the scattered waves: the later part of each impulse response has :data:`CODA_POWER` times its
            square as power, the direct wave's being 1.
        shift_s: standard deviation of the traces' shifts, seconds.
        flips: chance that a trace has the other polarity, 0 to 0.5 (more is the same as less).
        widths: range of the pulses' widths (standard deviation of a Gaussian, log-uniform), seconds.
        pulses: fewest and most pulses of a source.
        duration_s: the pulses' times lie within this many seconds.
        coda_s: time in which the coda's amplitude falls to 1/e, seconds.
        shared: strength of a part that all paths of a bag have in common, in the units of ``coda``. Nothing in the
            bag tells it from the source: where it is not 0 the source cannot be recovered.
    """

    snr_db: float
    coda: float
    shift_s: float
    flips: float = 0.0
    widths: tuple[float, float] = (NARROWEST_S, WIDEST_S)
    pulses: tuple[int, int] = (2, 7)
    duration_s: float = 24.0
    coda_s: float = 40.0
    shared: float = 0.0


CODA_POWER = 1.75
"""Power of a coda of strength 1, relative to the direct wave's spike."""

ROWS: Mapping[str, World] = {
    "easy": World(6.0, 0.5, 1.5),
    "noisy": World(0.0, 0.5, 1.5),
    "coda": World(6.0, 1.0, 1.5),
    "hard": World(0.0, 1.0, 3.0),
    "loud": World(-5.0, 0.8, 2.0),
}
"""The five rows of the comparison, from easy to hard."""

BESIDE: Mapping[str, World] = {
    **{f"{name}_flips": replace(world, flips=0.5) for name, world in ROWS.items()},
    "narrow": replace(ROWS["easy"], widths=(0.5, 0.9)),
    "wide": replace(ROWS["easy"], widths=(2.5, 4.5)),
    "long": replace(ROWS["easy"], duration_s=45.0),
    "shared": replace(ROWS["easy"], shared=1.0),
}
"""Rows beside the five: half of the traces flipped, sources that no training has met (narrow and wide pulses, 45 s),
and paths with a part in common."""

WORLDS: Mapping[str, World] = {**ROWS, **BESIDE}
"""Every world that has a name."""


@dataclass(frozen=True)
class Prior:
    """The continuous distribution of worlds that training draws from; it covers all five rows.

    Attributes:
        snr_db: range of the signal-to-noise ratio, uniform in decibels.
        coda: range of the coda's strength, uniform.
        shift_s: range of the shifts' standard deviation, uniform, seconds.
        flips: most flips; uniform from 0.
        unflipped: share of bags without any flip.
        shared: share of bags whose paths have a part in common.
    """

    snr_db: tuple[float, float] = (-6.0, 10.0)
    coda: tuple[float, float] = (0.3, 1.2)
    shift_s: tuple[float, float] = (1.0, 3.5)
    flips: float = 0.5
    unflipped: float = 0.5
    shared: float = 0.0


def random_worlds(count: int, generator: np.random.Generator, prior: Prior | None = None) -> list[World]:
    """So many worlds from a prior, sources being those of ordinary worlds.

    Args:
        count: how many.
        generator: where chance comes from.
        prior: the distribution; absent, :class:`Prior`'s own.
    """
    prior = prior or Prior()
    snr, coda, shift = (generator.uniform(*between, count) for between in (prior.snr_db, prior.coda, prior.shift_s))
    flips = np.where(generator.random(count) < prior.unflipped, 0.0, generator.uniform(0, prior.flips, count))
    shared = np.where(generator.random(count) < prior.shared, generator.uniform(0.5, 1.2, count), 0.0)
    return [World(float(snr[i]), float(coda[i]), float(shift[i]), flips=float(flips[i]), shared=float(shared[i]))
            for i in range(count)]
