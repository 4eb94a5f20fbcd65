"""splits: how far the likeness of labels reaches, measured by counting pairs of one label at each distance.

The method. Of all pairs of samples whose distance falls into a class, ``p`` is the share that has one label: the
same-label join counts of a categorical map (Cliff and Ord, Spatial Processes, 1981), taken over distance classes as a
correlogram (Sokal and Oden, Biological Journal of the Linnean Society 10, 1978), which for places that are points is
their mark connection function summed over equal marks (Illian and others, Statistical Analysis and Modelling of Spatial
Point Patterns, 2008). Chance is what dealing the labels out to the same places anew gives, ``p0``. The envelope of the
dealings is simultaneous over all classes: the largest standardised excess of each dealing is kept (max-T; Westfall and
Young, Resampling-Based Multiple Testing, 1993), so that labels which know nothing of space go beyond it anywhere in one
case of twenty. The range is the far edge of the unbroken run of classes, from distance nought on, that lie above it.

It is the likeness of the samples at hand, not a parameter of what made them: where labels depend on space up to a
distance and no further, that is where it ends as a rule, to within a class, and a single map may by chance show more.
What is small beside the envelope is not seen: with the number of pairs that are looked at, an excess of a tenth or two
of chance. Classes are half an octave wide, and another seed may end the range a class earlier or later.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from groundswell.core.seeds import derive_seed
from groundswell.data.order import permutations
from groundswell.splits.nearest import EARTH_M, unit_vectors

PAIRS = 100_000
"""Pairs of a distance class that are looked at, about, where it has more."""
MOST_SAMPLES = 200_000
"""Samples that pairs are made of; of a larger table, as many drawn at random."""
_RANDOM_PAIRS, _PILOT, _CLASSES, _STEP = 2_000_000, 2_000, 26, 2**0.5
_LEAST_EXPECTED = 10.0
"""Pairs of one label that chance must give a class; classes with fewer are joined with the next."""
_DEALS, _LEVEL = 99, 0.95


@dataclass(frozen=True)
class Autocorrelation:
    """Likeness of labels by distance.

    Attributes:
        edges_m: of the distance classes, ascending, one more than there are classes. A class holds the distances above
            its lower edge up to its upper one; the first begins with, and holds, the distance nought.
        pairs: that were looked at in each class.
        ratio: how many times as often as by chance they have one label.
        envelope: what the ratio must exceed to be more than chance.
        range_m: how far likeness reaches; 0 where even the nearest pairs are as by chance, and the farthest distance
            that was looked at where it has no end within it (``open``).
        open: see ``range_m``.
        double_m: far edge of the run of classes, from the nearest on, with at least twice as many pairs of one label as
            by chance.
        chance: probability that any two samples have one label.
        deals: of the labels that the envelope was made from.
        why: why nothing was measured; empty where it was, and the numbers are otherwise 0.
    """

    edges_m: tuple[float, ...] = ()
    pairs: tuple[int, ...] = ()
    ratio: tuple[float, ...] = ()
    envelope: tuple[float, ...] = ()
    range_m: float = 0.0
    open: bool = False
    double_m: float = 0.0
    chance: float = 0.0
    deals: int = 0
    why: str = ""


def autocorrelation(latitude: NDArray[np.float64], longitude: NDArray[np.float64], labels: NDArray[np.int64],
                    seed: int = 0, pairs: int = PAIRS) -> Autocorrelation:
    """Measure how far labels are alike; the method is in the text of this module.

    Time and memory depend on the number of pairs that are looked at: pairs of near places are all of a random subset of
    the samples, pairs of far ones are drawn one by one; up to 2,000 samples, all pairs are taken. Distances go up to
    the median one between two samples. More than :data:`MOST_SAMPLES` rows are represented by as many of them.

    Args:
        latitude, longitude: degrees, finite, shape (n,).
        labels: whole numbers, shape (n,); samples with a negative one are passed over.
        seed: of the drawing.
        pairs: most pairs in a class, about.
    """
    generator = np.random.default_rng(derive_seed(seed, "pairs"))
    known = np.flatnonzero(labels >= 0)
    if len(known) > MOST_SAMPLES:
        known = generator.choice(known, MOST_SAMPLES, replace=False)
    codes = np.unique(labels[known], return_inverse=True)[1].astype(np.int32)
    counts = np.bincount(codes) if len(codes) else np.zeros(0, np.int64)
    n = len(codes)
    chance = float((counts * (counts - 1.0)).sum() / (n * (n - 1.0))) if n > 1 else 0.0
    if len(counts) < 2 or chance == 0:
        return Autocorrelation(chance=chance, why="a range needs two labels, and two samples of one of them")
    points = unit_vectors(latitude[known], longitude[known])
    edges, classes = _draw_pairs(points, pairs, generator)
    edges, classes = _joined(edges, classes, _LEAST_EXPECTED / chance)
    if not classes:
        return Autocorrelation(chance=chance, why="there are too few pairs of samples to tell likeness from chance")
    return _against_chance(edges, classes, codes, chance, seed)


def _against_chance(edges: list[float], classes: list[NDArray[np.int64]], codes: NDArray[np.int32], chance: float,
                    seed: int) -> Autocorrelation:
    pairs = np.concatenate(classes)
    first, second = np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
    starts = np.cumsum([0, *(len(c) for c in classes[:-1])])
    sizes = np.array([len(c) for c in classes])

    def shares(of: NDArray[np.int32]) -> NDArray[np.float64]:
        alike: NDArray[np.float64] = np.add.reduceat((of[first] == of[second]).astype(np.int32), starts) / sizes
        return alike

    observed = shares(codes)
    dealt = np.array([shares(codes[permutations(len(codes), k, 1, seed, "dealt labels")[0]]) for k in range(_DEALS)])
    centre, spread = dealt.mean(0), dealt.std(0, ddof=1)
    spread[spread == 0] = np.inf  # a class in which every dealing gives the same says nothing
    limit = float(np.quantile(((dealt - centre) / spread).max(1), _LEVEL))
    above = (observed - centre) / spread > limit
    envelope = np.where(np.isfinite(spread), centre + limit * np.where(np.isfinite(spread), spread, 0), np.inf)
    run, double = (int(np.argmin(np.append(mask, False))) for mask in (above, above & (observed >= 2 * chance)))
    return Autocorrelation(
        tuple(float(e) for e in edges), tuple(int(s) for s in sizes), tuple((observed / chance).tolist()),
        tuple((np.minimum(envelope, 1.0) / chance).tolist()), edges[run] if run else 0.0, run == len(classes),
        edges[double] if double else 0.0, chance, _DEALS)


def _draw_pairs(points: NDArray[np.float64], most: int,
                generator: np.random.Generator) -> tuple[list[float], list[NDArray[np.int64]]]:
    # Distance classes from nought on, their edges in metres, and pairs of positions (m, 2) of each.
    n = len(points)
    every = n * (n - 1) // 2 <= _RANDOM_PAIRS
    pairs = np.column_stack(np.triu_indices(n, 1)) if every else generator.integers(0, n, (_RANDOM_PAIRS, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    metres = _metres(points, pairs)
    edges = np.r_[0.0, float(np.median(metres)) / _STEP ** np.arange(_CLASSES, -1, -1)]
    if edges[-1] == 0:
        return [0.0, 0.0], [pairs[:most]]  # all in one place
    order = generator.permutation(n)
    taken: list[NDArray[np.int64]] = []
    size, tree = min(n, _PILOT), cKDTree(points[order[:_PILOT]])
    for low, high in reversed([(-1.0, 0.0), *itertools.pairwise(edges.tolist())]):
        drawn = pairs[(metres > low) & (metres <= high)]
        chord = 2 * np.sin(high / 2 / EARTH_M)
        # Random pairs are of the most samples; where they are too few, all near pairs of a subset that is as large as
        # their number allows.
        if len(drawn) * 2 < most and not every:
            while size < n and _count(tree, chord) <= most:
                size = min(n, round(_STEP * size))
                tree = cKDTree(points[order[:size]])
            near = order[tree.query_pairs(chord * (1 + 1e-9) + 1e-12, output_type="ndarray")]
            away = _metres(points, near)
            near = near[(away > low) & (away <= high)]
            drawn = near if len(near) > len(drawn) else drawn
        taken.append(generator.permutation(drawn)[:most])
    return [0.0, *(float(e) for e in edges)], taken[::-1]


def _joined(edges: list[float], classes: list[NDArray[np.int64]],
            least: float) -> tuple[list[float], list[NDArray[np.int64]]]:
    # Classes with too few pairs go to the next farther one; what is left at the far end is dropped.
    kept, ends, held = [], [0.0], np.zeros((0, 2), np.int64)
    for high, pairs in zip(edges[1:], classes, strict=True):
        held = np.concatenate([held, pairs])
        if len(held) >= least:
            kept.append(held)
            ends.append(high)
            held = held[:0]
    return ends, kept


def _count(tree: cKDTree, chord: float) -> int:
    """Pairs of the tree's places that are at most so far apart."""
    return int(tree.count_neighbors(tree, chord) - tree.n) // 2


def _metres(points: NDArray[np.float64], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    chord = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    metres: NDArray[np.float64] = 2 * EARTH_M * np.arcsin(np.minimum(chord, 2.0) / 2)
    return metres
