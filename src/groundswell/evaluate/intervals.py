"""evaluate: how far a number can be trusted: Wilson intervals for proportions, a bootstrap of groups for the rest.

Windows of one group (an event, a station-day) resemble each other, so the bootstrap draws whole groups. It needs only
additive statistics of each group, hence a resample is a product of two matrices and not a new evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from groundswell.core.seeds import derive_seed

FloatArray = NDArray[np.float64]
_CHUNK = 4_000_000  # numbers held at once while resampling
_FEW = 10  # right, or wrong


@dataclass(frozen=True)
class Estimate:
    """A number and its interval.

    Attributes:
        value: ``None`` where it is not defined.
        low, high: ends of the interval, ``None`` where there is none.
        method: "wilson", "bootstrap", "wilson of groups", "bootstrap and wilson" or "".
        why: why there is no value or no interval; else empty.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    method: str = ""
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def wilson(hits: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927), without continuity correction.

    Raises:
        ValueError: there are no trials.
    """
    if trials <= 0:
        raise ValueError("a proportion of nothing has no interval")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, spread = hits / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * float(np.sqrt(share * (1 - share) / trials + spread / (4 * trials)))
    # At 0 and at 1 an end is exact; rounding must not move it past the value.
    return (0.0 if hits == 0 else max(0.0, middle - half)), (1.0 if hits == trials else min(1.0, middle + half))


def accuracy_estimate(hits: float, trials: float, confidence: float) -> Estimate:
    """A proportion with its Wilson interval, or why there is none."""
    if trials <= 0:
        return Estimate(None, why="nothing was scored")
    low, high = wilson(hits, trials, confidence)
    return Estimate(hits / trials, low, high, "wilson")


def clustered(estimate: Estimate, groups: int, confidence: float, trials: int = 0) -> Estimate:
    """A share with the interval of its bootstrap or, where that has none (all right, none right, undefined in many
    resamples), with Wilson's interval of as many trials as there are groups: neighbours that answer alike count once.

    Where fewer than ten are right, or wrong, the bootstrap's interval is widened to hold Wilson's of single samples:
    resamples of so few know nothing of groups that had none by chance, and come out narrower than even independent
    samples allow.

    Args:
        estimate: of the bootstrap.
        groups: that were drawn.
        confidence: of the interval.
        trials: samples that the share is of; 0 where the interval is not to be widened.
    """
    if estimate.value is None or groups < 2:
        return estimate
    if estimate.low is None or estimate.high is None:
        low, high = wilson(estimate.value * groups, groups, confidence)
        return Estimate(estimate.value, low, high, "wilson of groups")
    if not trials or min(estimate.value, 1 - estimate.value) * trials >= _FEW:
        return estimate
    low, high = wilson(estimate.value * trials, trials, confidence)
    return Estimate(estimate.value, min(low, estimate.low), max(high, estimate.high), "bootstrap and wilson")


def sums_by_group(group: NDArray[np.int64], column: NDArray[np.int64], columns: int,
                  weight: FloatArray | None = None) -> sparse.csr_array:
    """Additive statistics of each group: entry (g, c) sums ``weight`` over the samples with that group and column.

    Args:
        group: numbers from 0, shape (n,).
        column: which statistic each sample adds to, shape (n,).
        columns: how many statistics there are.
        weight: what it adds, shape (n,); 1 if absent.

    Returns:
        Sparse, shape (groups, columns).
    """
    value = np.ones(len(group)) if weight is None else weight
    groups = int(group.max()) + 1 if len(group) else 0
    return sparse.csr_array((value, (group, column)), shape=(groups, columns))


def times_drawn(generator: np.random.Generator, groups: int, resamples: int) -> NDArray[np.int64]:
    """How often each group is drawn, with replacement, in each of so many resamples; shape (resamples, groups)."""
    drawn = generator.integers(0, groups, (resamples, groups)) + groups * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * groups).reshape(resamples, groups)


def resample(statistics: sparse.csr_array, function: Callable[[FloatArray], Mapping[str, FloatArray]], *,
             resamples: int, seed: int) -> dict[str, FloatArray]:
    """Scores of bootstrap resamples of the groups.

    Args:
        statistics: additive statistics, shape (groups, columns).
        function: maps summed statistics of shape (resamples, columns) to scores of shape (resamples,) by name.
        resamples: how many.
        seed: the draw is a function of it and of the number of groups, so that two evaluations of the same groups
            see the same resamples.

    Returns:
        By name, shape (resamples,); nan where a resample leaves the score undefined.
    """
    groups, columns = statistics.shape
    if groups == 0:
        return {}
    generator = np.random.default_rng(derive_seed(seed, "bootstrap", groups))
    transposed = statistics.T.tocsr()
    found: dict[str, list[FloatArray]] = {}
    step = max(1, min(resamples, _CHUNK // max(groups, columns)))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        times = times_drawn(generator, groups, size).astype(np.float64)
        for name, values in function((transposed @ times.T).T).items():
            found.setdefault(name, []).append(np.asarray(values, dtype=np.float64))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def interval(value: float | None, draws: FloatArray | None, groups: int, confidence: float, why: str = "") -> Estimate:
    """A value with the percentile interval of its resamples.

    There is no interval where fewer than two groups could be drawn, or where the score is undefined in more than one
    resample of twenty. Where every resample gives the same number the bootstrap has seen no variation and says so.
    """
    if value is None or not np.isfinite(value):
        return Estimate(None, why=why or "not defined for these samples")
    if draws is None or groups < 2:
        return Estimate(float(value), why="one group alone cannot be resampled")
    defined = draws[np.isfinite(draws)]
    if len(defined) < 0.95 * len(draws):
        return Estimate(float(value), why="undefined in many resamples: too few groups of some class")
    tail = (1 - confidence) / 2
    low, high = (float(end) for end in np.quantile(defined, [tail, 1 - tail]))
    if high - low < 1e-12:
        return Estimate(float(value), why="every resample gives this number: too few errors to see its spread")
    return Estimate(float(value), low, high, "bootstrap")


def bootstrap(statistics: sparse.csr_array, function: Callable[[FloatArray], Mapping[str, FloatArray]], *,
              resamples: int, confidence: float, seed: int) -> dict[str, Estimate]:
    """Scores of all groups together, each with its percentile interval. See :func:`resample` for the arguments."""
    whole = np.asarray(statistics.sum(axis=0), dtype=np.float64).reshape(1, -1)
    values = {name: float(value[0]) for name, value in function(whole).items()}
    draws = resample(statistics, function, resamples=resamples, seed=seed)
    return {name: interval(value, draws.get(name), statistics.shape[0], confidence) for name, value in values.items()}
