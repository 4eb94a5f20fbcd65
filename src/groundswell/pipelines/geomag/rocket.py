"""geomag: MiniRocket with a ridge classifier, the simple rival and sixth model; all of it fitted inside each fold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.optional import require
from groundswell.core.seeds import derive_seed
from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.permutation import (
    PermutationResult,
    aucs,
    fold_statistic,
    mean_over_folds,
    p_value,
    permuted_truths,
)
from groundswell.pipelines.geomag.ridge import Ridge, fit_sigmoid
from groundswell.pipelines.workflow import labelled_rows
from groundswell.splits.manifest import HOLDOUT, TEST, TRAIN, VALIDATION, SplitManifest
from groundswell.train.imbalance import class_weights

ReadWindows = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Gives the windows at some rows of the table, float32 (rows, minutes)."""

KERNELS = 10_000
"""Features asked of MiniRocket; it makes the multiple of 84 below."""
SHORTEST = 9
"""Minutes that a window must have: the length of MiniRocket's kernels."""
_BLOCK_BYTES = 64 << 20  # of windows, while they are transformed
_FIT_BYTES = 128 << 20  # of windows, from which MiniRocket draws those that set its biases
_PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST, "holdout": HOLDOUT}


class RocketTransform:
    """MiniRocket (Dempster et al. 2021, aeon's) of windows less their mean, features standardised on training windows.

    The mean goes because padding a field of 50,000 nT with zeros would drown everything; amplitudes stay. Labels are
    not looked at.

    Args:
        seed: of the windows drawn for biases.
        threads: of the transform; 0 takes those that are allowed.
        kernels: about how many features.

    Raises:
        MissingExtraError: aeon is not installed.
    """

    def __init__(self, seed: int = 0, threads: int = 0, kernels: int = KERNELS) -> None:
        rocket = require("aeon.transformations.collection.convolution_based", extra="geomag",
                         purpose="MiniRocket").MiniRocket
        # Worker processes may allow fewer threads than there are cores, and numba refuses to exceed them.
        allowed = int(require("numba", extra="geomag", purpose="MiniRocket").config.NUMBA_NUM_THREADS)
        self._seed = seed
        self._rocket: Any = rocket(n_kernels=kernels, random_state=derive_seed(seed, "minirocket") % 2**31,
                                   n_jobs=min(threads or allowed, allowed))

    def fit(self, read: ReadWindows, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Fit to the training windows at ``rows``; their features, float32 (rows, features), standardised.

        Raises:
            InputError: a window is shorter than :data:`SHORTEST`, or not finite.
        """
        minutes = read(rows[:1]).shape[1]
        if minutes < SHORTEST:
            raise InputError(f"A window has {minutes} minutes, and MiniRocket needs at least {SHORTEST}")
        most = max(1, _FIT_BYTES // (4 * minutes))
        drawn = rows
        if len(rows) > most:
            chance = np.random.default_rng(derive_seed(self._seed, "minirocket windows"))
            drawn = np.sort(chance.choice(rows, most, replace=False))
        before = np.random.get_state()  # noqa: NPY002 - aeon seeds numpy's common generator; whoever uses it goes on
        try:
            self._rocket.fit(_centred(read(drawn))[:, None])
        finally:
            np.random.set_state(before)  # noqa: NPY002
        features: NDArray[np.float32] = self._features(read, rows)
        self._mean: NDArray[np.float32] = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        spread = features.std(axis=0, dtype=np.float64).astype(np.float32)
        self._spread: NDArray[np.float32] = np.where(spread > 1e-6, spread, np.float32(1.0))
        return self._standardised(features)

    def __call__(self, read: ReadWindows, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Features of the windows at ``rows``, float32 (rows, features).

        Raises:
            InputError: a window is not finite.
        """
        if not len(rows):
            return np.empty((0, len(self._mean)), np.float32)
        return self._standardised(self._features(read, rows))

    def _features(self, read: ReadWindows, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        step = max(1, _BLOCK_BYTES // (4 * read(rows[:1]).shape[1]))
        blocks = [np.asarray(self._rocket.transform(_centred(read(rows[i:i + step]))[:, None]), np.float32)
                  for i in range(0, len(rows), step)]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def _standardised(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        features -= self._mean
        features /= self._spread
        return features


def _centred(x: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(x).all():
        raise InputError("A window holds values that are not finite", fix="Fill or drop it first")
    mean: NDArray[np.float32] = x.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    return x - mean


@dataclass(frozen=True)
class RocketFold:
    """One fold of MiniRocket + ridge.

    Attributes:
        fold: from 0.
        alpha: penalty chosen on the validation part (of scikit-learn's scale); ``None`` where training had one class.
        train, validation, test: predictions of the labelled samples of these parts.
        holdout: of the held-out samples, ``None`` where there are none.
        permuted: ROC-AUC of the test against each set of dealt labels that was learnt, float64 (permutations,); nan
            where the fold tests one class.
    """

    fold: int
    alpha: float | None
    train: Predictions
    validation: Predictions
    test: Predictions
    holdout: Predictions | None
    permuted: NDArray[np.float64]


@dataclass(frozen=True)
class RocketResult:
    """All folds of MiniRocket + ridge."""

    folds: tuple[RocketFold, ...]

    @cached_property
    def test(self) -> Predictions:
        """Of the tested samples, folds pooled."""
        return Predictions.concatenate([fold.test for fold in self.folds])

    @cached_property
    def validation(self) -> Predictions:
        """Of the validation samples, folds pooled."""
        return Predictions.concatenate([fold.validation for fold in self.folds])

    @property
    def train(self) -> tuple[Predictions, ...]:
        """Of the training samples of each fold."""
        return tuple(fold.train for fold in self.folds)

    @property
    def permuted(self) -> NDArray[np.float64]:
        """Mean over folds of the ROC-AUC with each set of dealt labels, shape (permutations,)."""
        return mean_over_folds(np.stack([fold.permuted for fold in self.folds]))


def fit_rocket_fold(read: ReadWindows, table: SampleTable, manifest: SplitManifest, fold: int, *, seed: int = 0,
                    truths: NDArray[np.integer] | None = None, threads: int = 0,
                    kernels: int = KERNELS) -> RocketFold:
    """Fit one fold, with the true labels and with any number of dealt ones at once.

    Transform, standardisation and ridge see training windows alone. The ridge's penalty is chosen, for each set of
    labels by itself, on the validation part, and the logistic curve that makes probabilities is fitted there. Its loss
    is weighted by the square root of inverse class frequency, as that of the networks is: the threshold lies between
    that of frequencies and that of balanced classes. The curve rises, so that areas do not depend on it.

    Args:
        read: gives windows by rows of the table.
        table: of two classes.
        manifest: of this table.
        fold: from 0.
        seed: of MiniRocket.
        truths: further sets of labels, shape (permutations, rows of the table).
        threads: of the transform; 0 takes those that are allowed.
        kernels: features of MiniRocket.

    Raises:
        InputError: there are not two classes, no labelled training sample, or windows that cannot be transformed.
        MissingExtraError: aeon is not installed.
    """
    if len(table.classes) != 2:
        raise InputError(f"MiniRocket + ridge tells two classes apart, and there are {len(table.classes)}")
    labels = table.labels()
    rows = {name: labelled_rows(table, manifest, code, fold) for name, code in _PARTS.items()}
    if not len(rows["train"]):
        raise InputError("There is no labelled window to learn from", where=f"fold {fold + 1}")
    every = labels[None] if truths is None else np.concatenate([labels[None], np.asarray(truths, np.int64)])
    names = table.column("sample_id").to_numpy(dtype=object)

    def told(part: str, probability: NDArray[np.float64]) -> Predictions:
        return Predictions.of(names[rows[part]], labels[rows[part]], np.stack([1 - probability, probability], axis=1),
                              table.classes, member="minirocket", fold=fold)

    if len(np.unique(labels[rows["train"]])) < 2:
        alpha = None
        probability = {part: np.full(len(of), float(labels[rows["train"][0]])) for part, of in rows.items()}
        permuted = aucs(np.zeros(len(rows["test"])), every[1:, rows["test"]])
    else:
        alpha, probability, permuted = _fit(read, rows, every, derive_seed(seed, "fold", fold), threads, kernels)
    made = {part: told(part, probability[part]) for part in rows}
    return RocketFold(fold, alpha, made["train"], made["validation"], made["test"],
                      made["holdout"] if len(rows["holdout"]) else None, permuted)


def _fit(read: ReadWindows, rows: dict[str, NDArray[np.int64]], every: NDArray[np.int64], seed: int, threads: int,
         kernels: int) -> tuple[float, dict[str, NDArray[np.float64]], NDArray[np.float64]]:
    # every: sets of labels (t, rows of the table), the true ones first. Penalty, probabilities by part, dealt areas.
    transform = RocketTransform(seed, threads, kernels)
    ridge = Ridge(transform.fit(read, rows["train"]))
    basis = {"train": ridge.basis()} | {part: ridge.basis(transform(read, of)) for part, of in rows.items()
                                        if part != "train"}
    targets = ridge.targets(_signed(every, rows["train"]))
    alpha = ridge.choose(basis["validation"], targets, _signed(every, rows["validation"]))
    decision = {part: ridge.decide(of, targets, alpha) for part, of in basis.items()}
    true = every[0]
    curve = fit_sigmoid(decision["validation"][:, 0], true[rows["validation"]],
                        class_weights(true[rows["train"]], 2, "sqrt"))
    permuted = aucs(decision["test"][:, 1:].T, every[1:, rows["test"]])
    return float(alpha[0]), {part: curve(of[:, 0]) for part, of in decision.items()}, permuted


def _signed(every: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(every[:, rows] == 1, 1.0, -1.0).T


def fit_rocket(read: ReadWindows, table: SampleTable, manifest: SplitManifest, *, seed: int = 0,
               truths: NDArray[np.integer] | None = None, threads: int = 0, kernels: int = KERNELS) -> RocketResult:
    """Every fold of a split by :func:`fit_rocket_fold`, one after another; features of one fold are held at a time."""
    return RocketResult(tuple(
        fit_rocket_fold(read, table, manifest, fold, seed=seed, truths=truths, threads=threads, kernels=kernels)
        for fold in range(manifest.folds)))


def rocket_permutation_test(read: ReadWindows, table: SampleTable, manifest: SplitManifest, *, permutations: int = 199,
                            seed: int = 0, threads: int = 0, kernels: int = KERNELS) -> PermutationResult:
    """MiniRocket + ridge fitted to the true labels and to labels dealt anew event by event, penalty and all.

    Windows are transformed once a fold and the ridge is decomposed once: deals are further targets of it.

    Returns:
        Mean over folds of the ROC-AUC, observed and with each deal, and p.

    Raises:
        InputError: no deal can change anything, or as :func:`fit_rocket_fold`.
    """
    truths = permuted_truths(table, manifest, permutations, seed)
    result = fit_rocket(read, table, manifest, seed=seed, truths=truths, threads=threads, kernels=kernels)
    if not any(len(np.unique(fold.test.truth)) > 1 for fold in result.folds):
        return PermutationResult(float("nan"), result.permuted, None, why="no fold tests both classes")
    observed = fold_statistic(result.test)
    return PermutationResult(observed, result.permuted, p_value(observed, result.permuted))
