"""geomag: a ridge classifier of two classes whose one eigendecomposition serves all strengths and all sets of labels.

Shape letters: n training rows, m asked rows, f features, r directions (n or f, the fewer), t targets (sets of labels).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.special import expit

FloatArray = NDArray[np.float64]

STRENGTHS = np.logspace(-3, 3, 10)
"""Penalties that are tried, in units of the mean squared length of a centred training row."""
_BLOCK_BYTES = 32 << 20  # of float64, while Gram matrices are summed
_LEAST_SLOPE = 1e-3  # per deviation: never a constant or falling curve, which would lose or turn the order of answers


@dataclass(frozen=True)
class Targets:
    """Labels as a ridge sees them: ``rotated`` float64 (r, t), and their means ``middle`` (t,)."""

    rotated: FloatArray
    middle: FloatArray


class Ridge:
    """Ridge regression on targets -1 and 1, intercept not penalised: scikit-learn's ``RidgeClassifier``, many at once.

    With fewer rows than features the Gram matrix of rows is decomposed (n by n), else that of features, in float64,
    summed over blocks; then each strength and each target costs two small products.

    Args:
        x: features of the training rows, float32 or float64 (n, f); a reference is kept.
    """

    def __init__(self, x: NDArray[np.floating]) -> None:
        self._x, self._mean = x, x.mean(axis=0, dtype=np.float64)
        self._by_rows = len(x) <= x.shape[1]
        gram = self._rows_gram(x) if self._by_rows else self._features_gram()
        values, self._vectors = eigh(gram, overwrite_a=True, check_finite=False, driver="evd")
        self.values: FloatArray = np.maximum(values, 0.0)
        self.unit = float(self.values.sum()) / len(x) or 1.0

    def _rows_gram(self, x: NDArray[np.floating]) -> FloatArray:
        """Products of centred rows with the centred training rows, float64 (m, n)."""
        gram = np.zeros((len(x), len(self._x)))
        step = max(1, _BLOCK_BYTES // (8 * max(len(x), len(self._x))))
        for start in range(0, x.shape[1], step):
            part = slice(start, start + step)
            ours = self._x[:, part] - self._mean[part]
            gram += (ours if x is self._x else x[:, part] - self._mean[part]) @ ours.T
        return gram

    def _features_gram(self) -> FloatArray:
        gram = np.zeros((self._x.shape[1],) * 2)
        step = max(1, _BLOCK_BYTES // (8 * self._x.shape[1]))
        for start in range(0, len(self._x), step):
            part = self._x[start:start + step] - self._mean
            gram += part.T @ part
        return gram

    def basis(self, x: NDArray[np.floating] | None = None) -> FloatArray:
        """Rows (m, f), or else the training rows, in the directions of the decomposition: float64 (m, r)."""
        if x is None:
            x = self._x
        if self._by_rows:
            return np.asarray(self._vectors * self.values if x is self._x else self._rows_gram(x) @ self._vectors)
        return np.asarray((x - self._mean) @ self._vectors)

    def targets(self, y: NDArray[np.floating]) -> Targets:
        """Labels -1 and 1 of the training rows, shape (n, t), ready to be fitted."""
        middle = y.mean(axis=0)
        centred = y - middle
        if not self._by_rows:
            centred = self._x.T.astype(np.float64) @ centred - np.outer(self._mean, centred.sum(axis=0))
        return Targets(self._vectors.T @ centred, middle)

    def decide(self, basis: FloatArray, targets: Targets, penalty: NDArray[np.floating] | float) -> FloatArray:
        """Decision values, float64 (m, t): above 0 for the class of the label 1.

        Args:
            basis: of the asked rows.
            targets: what to fit.
            penalty: scikit-learn's ``alpha``, one for all or one a target (t,).
        """
        return np.asarray(basis @ (targets.rotated / (self.values[:, None] + penalty)) + targets.middle)

    def choose(self, basis: FloatArray, targets: Targets, y: NDArray[np.floating]) -> FloatArray:
        """The penalty of each target whose decision values go best with labels ``y`` of other rows, shape (t,).

        What is maximised is the correlation, which is the squared error after the best straight line, since a logistic
        curve is fitted afterwards. Of equal ones the strongest is taken; where no correlation is defined (one class),
        the middle of the grid.

        Args:
            basis: of rows that were kept out of training, by group: leaving out single training rows would leave copies
                of the same event in, and reward whoever remembers them.
            targets: what is fitted.
            y: -1 and 1, shape (m, t).
        """
        best = np.full(y.shape[1], -np.inf)
        chosen = np.full(y.shape[1], STRENGTHS[len(STRENGTHS) // 2])
        for strength in STRENGTHS[::-1]:
            found = _correlation(self.decide(basis, targets, strength * self.unit), y)
            better = found > best + 1e-9
            best[better], chosen[better] = found[better], strength
        return chosen * self.unit


def _correlation(a: FloatArray, b: NDArray[np.floating]) -> FloatArray:
    """Of columns (m, t), nan where one does not vary; shape (t,)."""
    if not len(a):
        return np.full(a.shape[1], np.nan)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    size = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    flat = size <= 1e-12 * len(a)
    return np.where(flat, np.nan, (a * b).sum(axis=0) / np.where(flat, 1.0, size))


@dataclass(frozen=True)
class Sigmoid:
    """A logistic curve from decision values to the probability of class 1."""

    slope: float
    intercept: float

    def __call__(self, decision: FloatArray) -> FloatArray:
        """Probabilities, same shape."""
        return np.asarray(expit(self.slope * decision + self.intercept), np.float64)


def fit_sigmoid(decision: FloatArray, truth: NDArray[np.int64], weight: FloatArray) -> Sigmoid:
    """A rising logistic curve for decision values of rows that were not fitted to (Platt 1999, his softened targets).

    Where ``truth`` has one class there is nothing to fit; the curve then has slope 2 and gives 0.5 at 0.

    Args:
        decision: shape (m,).
        truth: 0 and 1, shape (m,).
        weight: of each class, shape (2,). Equal ones make probabilities frequencies; others move the threshold.
    """
    count = np.bincount(truth, minlength=2)
    if not count.all():
        return Sigmoid(2.0, 0.0)
    middle, spread = float(decision.mean()), float(decision.std()) or 1.0
    z = (decision - middle) / spread
    target = np.where(truth == 1, (count[1] + 1) / (count[1] + 2), 1 / (count[0] + 2))
    share = weight[truth] / weight[truth].sum()

    def loss(line: FloatArray) -> tuple[float, FloatArray]:
        logit = line[0] * z + line[1]
        # -t log p - (1 - t) log(1 - p), written so that nothing overflows
        value = np.maximum(logit, 0) - target * logit + np.log1p(np.exp(-np.abs(logit)))
        slope = share * (expit(logit) - target)
        return float(share @ value), np.array([slope @ z, slope.sum()])

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B",
                     bounds=[(_LEAST_SLOPE, None), (None, None)])
    slope = float(found.x[0]) / spread
    return Sigmoid(slope, float(found.x[1]) - slope * middle)
