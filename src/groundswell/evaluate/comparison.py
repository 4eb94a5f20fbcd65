"""evaluate: whether two models differ over the folds of one division, without taking folds for independent trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy import stats

from groundswell.core.errors import InputError

_NO_SPREAD = 1e-12  # of differences that rounding alone tells apart


@dataclass(frozen=True)
class Comparison:
    """Two models on the same folds.

    Attributes:
        first, second: names.
        difference: mean over folds of the first's score minus the second's; ``None`` where no fold has both.
        low, high: ends of the interval, ``None`` where there is none.
        p: two-sided, of no difference; ``None`` where it cannot be had.
        folds: that both were scored in.
        p_holm: adjusted for all comparisons made together, where there were some.
        why: why there is no p; else empty.
    """

    first: str
    second: str
    difference: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    folds: int = 0
    p_holm: float | None = None
    why: str = ""


def corrected_t_test(first: Sequence[float], second: Sequence[float], *, test_to_train: float, confidence: float = 0.95,
                     names: tuple[str, str] = ("first", "second")) -> Comparison:
    """Corrected resampled t-test of paired scores (Nadeau and Bengio 2003).

    Folds share their training samples, so that the plain paired test takes their differences to be more independent
    than they are. The variance of the mean difference is (1/k + test_to_train) times that of the differences (k folds,
    k - 1 degrees of freedom).

    Args:
        first, second: one score a fold, in the same order; folds where one is nan are left out.
        test_to_train: number of test samples divided by that of training samples (1 / (k - 1) in k folds).
        confidence: of the interval.
        names: of the two.

    Raises:
        InputError: the numbers of folds differ.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != other.shape or one.ndim != 1:
        raise InputError(f"{names[0]} has {one.size} folds and {names[1]} {other.size}; they must be the same folds")
    gaps = (one - other)[np.isfinite(one) & np.isfinite(other)]
    k = len(gaps)
    if not k:
        return Comparison(*names, None, why="no fold has a score of both")
    mean = float(gaps.mean())
    if k < 2:
        return Comparison(*names, mean, folds=k, why="one fold alone shows no spread")
    if np.ptp(gaps) <= _NO_SPREAD:
        why = ("both score the same in every fold, so that nothing tells them apart" if abs(mean) <= _NO_SPREAD else
               "they differ by the same amount in every fold, so that no spread is seen to hold it against")
        return Comparison(*names, mean, folds=k, why=why)
    error = float(np.sqrt((1 / k + test_to_train) * gaps.var(ddof=1)))
    half = error * float(stats.t.ppf(0.5 + confidence / 2, k - 1))
    p = float(2 * stats.t.sf(abs(mean) / error, k - 1))
    return Comparison(*names, mean, mean - half, mean + half, p, k)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several (Holm 1979): the chance of a single false alarm among them all is bounded."""
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values, np.float64)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(p) for p in adjusted]


def compare_all(scores: Mapping[str, Sequence[float]], *, test_to_train: float,
                confidence: float = 0.95) -> list[Comparison]:
    """Every pair of models by :func:`corrected_t_test`, with Holm's correction over the pairs that have a p-value.

    Args:
        scores: by model, one a fold.
        test_to_train: as for one pair.
        confidence: of each interval by itself; the intervals are not widened for being several.
    """
    found = [corrected_t_test(scores[a], scores[b], test_to_train=test_to_train, confidence=confidence, names=(a, b))
             for a, b in combinations(scores, 2)]
    adjusted = iter(holm([c.p for c in found if c.p is not None]))
    return [c if c.p is None else replace(c, p_holm=next(adjusted)) for c in found]
