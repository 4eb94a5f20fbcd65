"""splits: how far what is tested lies from what is trained on, beside random splits of the same sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.seeds import derive_seed
from groundswell.data.order import permutations
from groundswell.splits.nearest import nearest_m

CURVE_M = (0.0, *(float(10 ** (k / 16)) for k in range(105)))
"""Distances at which cumulative curves are kept: none at all, then sixteen a decade from 1 m to 3,162 km."""
MOST_ASKED = 20_000
"""Samples of one set that are measured at most; a larger set is represented by as many of it, drawn at random."""
_DRAWS, _DRAWS_UP_TO, _LEAST_DRAWS = 99, 20_000, 3
_BAND = (0.025, 0.5, 0.975)


@dataclass(frozen=True)
class Spread:
    """A number over random splits: its median, and the limits that hold 95 % of them (with few draws: all of them)."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Nearness:
    """Distances from a set of places to the nearest training sample.

    Attributes:
        name: of the set: "test", a stratum, "inside the regions", "prediction".
        count: places in the set.
        measured: those that were measured; fewer than ``count`` above :data:`MOST_ASKED`.
        least_m, quarter_m, median_m, three_quarters_m: metres.
        near: by distance in metres, the share of places with a training sample within it.
        identical: share with a training sample at the very same coordinates.
        curve: share within each of :data:`CURVE_M`.
        draws: random splits it was compared with; 0 where it was not, and the rest is empty or None.
        random_median_m, random_identical: over the random splits, for a set of the same size.
        random_near: likewise, by distance.
        random_curve: limits of the random curves, (low, median, high) each as ``curve``.
        farther: share of the random splits whose median is at least as large.
    """

    name: str
    count: int
    measured: int
    least_m: float
    quarter_m: float
    median_m: float
    three_quarters_m: float
    near: dict[float, float]
    identical: float
    curve: tuple[float, ...]
    draws: int = 0
    random_median_m: Spread | None = None
    random_identical: Spread | None = None
    random_near: dict[float, Spread] | None = None
    random_curve: tuple[tuple[float, ...], ...] = ()
    farther: float | None = None

    @property
    def comparison(self) -> str:
        """``"harder"`` (at least twice as far as at random and beyond its limits), ``"farther"`` (beyond them),
        ``"nearer"`` (below them), ``"as random"`` (within them); empty where it was not compared."""
        if self.random_median_m is None:
            return ""
        if self.median_m > self.random_median_m.high:
            return "harder" if self.median_m >= 2 * self.random_median_m.median else "farther"
        return "nearer" if self.median_m < self.random_median_m.low else "as random"


def measure_nearness(name: str, metres: NDArray[np.float64], count: int, near_m: Sequence[float]) -> Nearness:
    """The distances of one set, compared with nothing.

    Args:
        name: of the set.
        metres: distances of those that were measured, shape (m,) with m > 0.
        count: places in the set.
        near_m: distances to give shares for.
    """
    metres = np.sort(metres)
    low, middle, high = map(float, np.quantile(metres, (0.25, 0.5, 0.75)))
    near = dict(zip(map(float, near_m), _share(metres, near_m), strict=True))
    curve = tuple(_share(metres, CURVE_M))
    return Nearness(name, count, len(metres), float(metres[0]), low, middle, high, near, curve[0], curve)


def nearness_of_sets(latitude: NDArray[np.float64], longitude: NDArray[np.float64], train: NDArray[np.int64],
                     sets: Mapping[str, NDArray[np.int64]], near_m: Sequence[float], seed: int,
                     draws: int | None = None) -> list[Nearness]:
    """Distances from each set to the training samples, and the same after the rows of the split were shuffled.

    A random split deals the parts out to the rows anew, so that every part and every set keeps its size and nothing
    else. What a set of six has to be compared with is thus the spread of sets of six.

    Args:
        latitude, longitude: of all rows of the table, degrees, finite, shape (n,).
        train: positions of the training rows.
        sets: positions of the rows of each set, none empty; sets may overlap.
        near_m: distances to give shares for.
        seed: of the shuffling.
        draws: random splits; None takes :func:`draws_of` the rows.
    """
    generator = np.random.default_rng(derive_seed(seed, "nearness"))
    chosen = {name: rows if len(rows) <= MOST_ASKED else np.sort(generator.choice(rows, MOST_ASKED, replace=False))
              for name, rows in sets.items()}
    asked = np.unique(np.concatenate(list(chosen.values())))
    places = {name: np.searchsorted(asked, rows) for name, rows in chosen.items()}
    n = len(latitude)
    draws = draws_of(n) if draws is None else draws

    def distances(rows: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
        return nearest_m(latitude[rows], longitude[rows], latitude[others], longitude[others])

    metres = distances(asked, train)
    found = {name: measure_nearness(name, metres[where], len(sets[name]), near_m) for name, where in places.items()}
    random: dict[str, list[Nearness]] = {name: [] for name in found}
    for draw in range(draws):
        dealt = permutations(n, draw, 1, seed, "random split")[0]
        metres = distances(dealt[asked], dealt[train])
        for name, where in places.items():
            random[name].append(measure_nearness(name, metres[where], len(sets[name]), near_m))
    return [_compared(measured, random[name]) for name, measured in found.items()]


def _compared(found: Nearness, random: Sequence[Nearness]) -> Nearness:
    if not random:
        return found
    medians = np.array([r.median_m for r in random])
    curves = np.quantile(np.array([r.curve for r in random]), _BAND, axis=0)
    facts: dict[str, Any] = {
        "draws": len(random), "random_median_m": spread_of(medians),
        "random_identical": spread_of(np.array([r.identical for r in random])),
        "random_near": {m: spread_of(np.array([r.near[m] for r in random])) for m in found.near},
        "random_curve": tuple(tuple(curve) for curve in curves.tolist()),
        "farther": float((medians >= found.median_m).mean())}
    return Nearness(**{**vars(found), **facts})


def draws_of(n: int) -> int:
    """Random splits that a split of ``n`` rows is compared with: 99, fewer above 20,000 rows, but at least 3."""
    return max(_LEAST_DRAWS, _DRAWS * _DRAWS_UP_TO // max(n, _DRAWS_UP_TO))


def spread_of(values: NDArray[np.float64]) -> Spread:
    """Limits and median of a number over random splits."""
    low, median, high = map(float, np.quantile(values, _BAND))
    return Spread(low, median, high)


def _share(ascending: NDArray[np.float64], within: Sequence[float]) -> list[float]:
    """Share of the distances that are at most each of some."""
    shares: list[float] = (np.searchsorted(ascending, np.asarray(within), side="right") / len(ascending)).tolist()
    return shares
