"""splits: k folds whose nearest-neighbour distances match those of what is to be predicted (kNNDM).

A score over folds says how a model will do elsewhere only if what a fold tests is as far from the training samples as
the places of its later use are from all samples. After Linnenbrink, Milà, Ludwig & Meyer (2024), kNNDM: k-fold nearest
neighbour distance matching cross-validation, Geoscientific Model Development 17, 5897-5912. With

- Gij the distances from prediction points to the nearest sample,
- Gj those from samples to the nearest other sample,
- Gj* those from samples to the nearest sample of another fold,

folds by chance are taken if Gj is not nearer than Gij (one-sided test of Kolmogorov and Smirnov, p of 0.05 or more).
Otherwise samples are clustered, the clusters are merged into folds, and of all numbers of clusters that is taken for
which the Wasserstein distance W between Gj* and Gij is the smallest: few clusters carry folds far apart, many mix them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import ks_2samp, wasserstein_distance

from groundswell.core.errors import InputError
from groundswell.core.progress import progress
from groundswell.data.order import permutations
from groundswell.splits.dealing import deal_units
from groundswell.splits.knndm_clusters import ClusterTree, along_axis, merge_into_folds
from groundswell.splits.knndm_space import Space, check_points, space_of

Codes = NDArray[np.int64]
Distances = NDArray[np.float64]

CANDIDATES = 45
"""Numbers of clusters that are tried, evenly spaced in their logarithm."""
REFINED = 15
"""Numbers that are tried thereafter, between the neighbours of the best."""
LEVEL = 0.05
MOST_SHARE = 0.5
"""Of the samples in one fold; candidates with a larger one are not taken, but of two folds one may hold 60 %, and what
is dealt whole may outweigh that."""
PIECES = 100


@dataclass(frozen=True)
class Candidate:
    """What one number of clusters gives.

    Attributes:
        clusters: their number.
        w: Wasserstein distance, in the unit of the space; where there are very many samples, of some of them. Infinite,
            and not measured, where a fold is too large to be taken (:data:`MOST_SHARE`).
        largest: share of the samples in the largest fold.
    """

    clusters: int
    w: float
    largest: float


@dataclass(frozen=True)
class KnndmFolds:
    """Folds whose distances to training are matched to those of predictions.

    Attributes:
        fold: the fold that tests each sample, int64, shape (n,).
        w: Wasserstein distance between ``tested`` and ``wanted``, in ``unit``.
        w_random: the same of folds by chance.
        clusters: how many clusters the folds were merged from; as many as units where they were dealt by chance.
        candidates: what else was tried, by ascending number of clusters; empty where the test made do with chance.
        by_chance: whether the folds are the ones by chance, which were near enough or the nearest.
        p: of the test whether samples are nearer to one another than predictions are to them.
        wanted: distance from each prediction point to the nearest sample (Gij), float64, shape (m,).
        tested: distance from each sample to the nearest one of another fold (Gj*), float64, shape (n,).
        tested_random: the same with folds by chance.
        pieces: clusters within folds, at least :data:`PIECES` where there are as many units; int64, shape (n,). To deal
            out what is to be validated.
        unit: of all distances: "m" or "standard deviations".
    """

    fold: Codes
    w: float
    w_random: float
    clusters: int
    candidates: tuple[Candidate, ...]
    by_chance: bool
    p: float
    wanted: Distances
    tested: Distances
    tested_random: Distances
    pieces: Codes
    unit: str


def knndm_folds(points: ArrayLike, prediction_points: ArrayLike, folds: int, *,
                space: Literal["geographic", "feature"] = "geographic", seed: int = 0, units: Codes | None = None,
                clusters: Sequence[int] | None = None, mahalanobis: bool = False) -> KnndmFolds:
    """Find folds whose distances from test to training are like those from predictions to samples.

    For each of the numbers of clusters, from as many as folds to as many as units, clusters are cut from one tree (see
    :class:`groundswell.splits.knndm_clusters.ClusterTree`) and merged along the principal axis (see
    :func:`groundswell.splits.knndm_clusters.merge_into_folds`). No matrix of all distances is made; 100,000 places
    take some 20 seconds and 1 GB. Folds depend on the seed and on which samples there are, not on their order
    (samples at one point without ``units`` are told apart by theirs).

    Args:
        points: samples, float64, shape (n, 2): latitude and longitude in degrees; or features, shape (n, columns),
            which are brought to mean 0 and deviation 1.
        prediction_points: where the model will be applied, shape (m, as points).
        folds: how many, 2 or more.
        space: where distances are measured: along great circles, or in straight lines between features.
        seed: of the folds by chance, and of the samples that are asked where there are very many.
        units: what is dealt whole: a code for each sample, int64, shape (n,); each sample by itself by default.
        clusters: numbers of clusters to try; None tries :data:`CANDIDATES`, then :data:`REFINED` around the best.
        mahalanobis: whether correlated features count once (feature).

    Raises:
        InputError: a point is not finite or not on the Earth, there are no prediction points, their features are
            others, all features are the same, or there are fewer units than folds.
    """
    given = np.asarray(points, np.float64)
    there = np.asarray(prediction_points, np.float64)
    check_points(given, space, "sample")
    order = _canonical(given, units)
    unit = np.asarray(pd.factorize(order if units is None else units[order])[0], np.int64)
    total = int(unit.max(initial=-1)) + 1
    if not 2 <= folds <= total:
        raise InputError(f"{folds} folds cannot be made of {total} unit(s) that are dealt whole", where="split.folds",
                         fix="Set split.folds to 2 or more, and not above the number of samples and groups")
    among = space_of(given[order], space, mahalanobis=mahalanobis)
    wanted = among.from_points(there)
    rows = np.sort(permutations(len(order), 0, 1, seed, "knndm asked")[0][:among.asked])
    random = deal_units(np.bincount(unit), (1 / folds,) * folds, seed, "knndm", folds)[unit]
    found = _Found(random, unit, total)
    p = float(ks_2samp(among.beyond_units(unit, rows), wanted, alternative="greater", method="asymp").pvalue)
    tested_random = among.beyond_folds(random, np.arange(len(order)))
    w_random = float(wasserstein_distance(tested_random, wanted))
    candidates: tuple[Candidate, ...] = ()
    tested, w = tested_random, w_random
    if p < LEVEL:
        search = _Search(among, unit, wanted, rows, folds)
        tried = search.best(clusters)
        candidates = search.candidates
        distances = among.beyond_folds(tried.fold, np.arange(len(order)))
        matched = float(wasserstein_distance(distances, wanted))
        if matched < w_random:
            found, tested, w = tried, distances, matched
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return KnndmFolds(found.fold[back], w, w_random, found.clusters, candidates, found.fold is random, p, wanted,
                      tested[back], tested_random[back], found.pieces[back], among.unit)


@dataclass(frozen=True)
class _Found:
    """Folds, and what they are made of; shape (n,) each."""

    fold: Codes
    pieces: Codes
    clusters: int


class _Search:
    """One tree of clusters, cut in many places."""

    def __init__(self, among: Space, unit: Codes, wanted: Distances, rows: Codes, folds: int) -> None:
        self._among, self._unit, self._wanted, self._rows, self._folds = among, unit, np.sort(wanted), rows, folds
        self._sizes = np.bincount(unit)
        points = np.column_stack([np.bincount(unit, column) / self._sizes for column in among.coordinates.T])
        self.tree = ClusterTree(points, self._sizes)
        self._position = along_axis(points)
        # Two folds cannot both be below half.
        self._limit, self._some = max(MOST_SHARE, 1.2 / folds), False
        self.candidates: tuple[Candidate, ...] = ()

    def best(self, clusters: Sequence[int] | None) -> _Found:
        """The folds of the number of clusters that matches best; of all by default, first in wide steps, and then in
        narrow ones around the best of these."""
        most = self.tree.leaves
        tried = self._tried(_numbers(self._folds, most, CANDIDATES) if clusters is None else
                            _checked(clusters, self._folds, most))
        if clusters is None:
            done = [made.clusters for made in tried]
            at = done.index(_nearest(tried).clusters)
            between = _numbers(done[max(at - 1, 0)], done[min(at + 1, len(done) - 1)], REFINED)
            more = self._tried([number for number in between if number not in done])
            tried = sorted([*tried, *more], key=lambda made: made.clusters)
        self.candidates = tuple(tried)
        number = _nearest(tried).clusters
        pieces = self.tree.labels(min(max(number, PIECES), most))[self._unit]
        return _Found(self._fold(number), pieces, number)

    def _tried(self, numbers: Sequence[int]) -> list[Candidate]:
        with progress(len(numbers), "Matching distances", unit="candidate") as bar:
            tried = []
            for number in numbers:
                tried.append(self._candidate(number))
                bar.advance()
        if not self._some and numbers:
            # What is dealt whole outweighs the limit; no fold is smaller than the largest of that.
            self._limit = min(made.largest for made in tried)
            tried = [self._candidate(made.clusters) if made.largest <= self._limit else made for made in tried]
        return tried

    def _candidate(self, number: int) -> Candidate:
        fold = self._fold(number)
        largest, w = float(np.bincount(fold).max() / len(fold)), np.inf
        if largest <= self._limit:
            self._some = True
            w = float(wasserstein_distance(self._among.beyond_folds(fold, self._rows), self._wanted))
        return Candidate(number, w, largest)

    def _fold(self, number: int) -> Codes:
        label = self.tree.labels(number)
        sizes = np.bincount(label, self._sizes).astype(np.int64)
        position = np.bincount(label, self._position * self._sizes) / sizes
        return np.asarray(merge_into_folds(sizes, position, self._folds)[label][self._unit], np.int64)


def _nearest(tried: Sequence[Candidate]) -> Candidate:
    return min(tried, key=lambda made: made.w)


def _numbers(low: int, high: int, count: int) -> list[int]:
    return sorted(set(np.rint(np.geomspace(low, high, count)).astype(int).tolist()))


def _checked(clusters: Sequence[int], folds: int, most: int) -> list[int]:
    numbers = sorted({int(number) for number in clusters})
    if not numbers or numbers[0] < folds or numbers[-1] > most:
        raise InputError(f"Numbers of clusters to try are within the number of folds and of units, {folds} to {most}",
                         fix="Leave the others out")
    return numbers


def _canonical(points: NDArray[np.float64], units: Codes | None) -> Codes:
    # An order of the samples that does not depend on the one they came in.
    if units is not None and units.shape != (len(points),):
        raise ValueError(f"units of shape {units.shape} of {len(points)} samples; one for each is meant")
    keys = [*points.T[::-1]]
    return np.asarray(np.lexsort([units, *keys] if units is not None else keys), np.int64)
