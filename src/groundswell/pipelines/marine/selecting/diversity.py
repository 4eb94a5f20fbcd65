"""marine: variety of a choice: clusters in the detector's own feature space, and no two images that look alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundswell.core.seeds import derive_seed
from groundswell.pipelines.marine.duplicates import BITS

LONGEST = 128
"""Length of the features that are kept; longer ones are projected at random, which hardly changes distances."""
ALIKE = 0.5
"""Images are near duplicates if their hashes are all but the same; or if they are near, and their features are nearer
to each other than this share of the pool's usual distance from its mean: before one still camera all hashes are near,
and animals come and go."""
_MANY = 20_000


def shortened(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features (n, d) as they are kept, float32 (n, 128 at most), the same for the same feature at any time."""
    length = features.shape[1]
    if length <= LONGEST:
        return np.asarray(features, np.float32)
    chance = np.random.default_rng(derive_seed("marine select", length))
    turned = features @ (chance.standard_normal((length, LONGEST)) / LONGEST ** 0.5)
    return np.asarray(turned, np.float32)


def clusters_of(features: NDArray[np.float32], count: int, seed: int) -> NDArray[np.int64]:
    """Cluster of each image by k-means, int64 (n,).

    Args:
        features: of each image, (n, d).
        count: clusters, at most; never more than there are different features.
        seed: of the first centres.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    count = min(count, len(np.unique(features, axis=0)))
    if count < 2:
        return np.zeros(len(features), np.int64)
    state = derive_seed(seed, "marine select", "clusters") % 2**32
    method = KMeans(count, n_init=4, random_state=state) if len(features) <= _MANY else \
        MiniBatchKMeans(count, n_init=4, random_state=state, batch_size=4096)
    return np.asarray(method.fit_predict(features.astype(np.float64)), np.int64)


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        order: rows, in the order of their choice, int64.
        passed_over: how many images look like one that was chosen, and were left for it.
        alike: how many of those chosen look like one chosen before them; only where nothing else was left.
    """

    order: NDArray[np.int64]
    passed_over: int
    alike: int


def deal(score: NDArray[np.float64], cluster: NDArray[np.int64], hashes: NDArray[np.uint64],
         features: NDArray[np.float32], count: int) -> Choice:
    """Choose images: in each round every cluster gives its best one, the cluster of the best first.

    So no cluster comes twice before all others that have any left had their turn. An image that looks like a chosen one
    is passed over; only when no other is left are those passed over chosen, too, dealt in the same way.

    Args:
        score: of each image, (n,); of equal ones the earlier is better.
        cluster: of each, (n,).
        hashes: perceptual hash of each, uint64 (n,).
        features: of each, (n, d).
        count: how many.
    """
    usual = float(np.median(np.linalg.norm(features - features.mean(axis=0), axis=1))) if len(features) else 0.0
    order: list[int] = []

    def looks_like_one(row: int) -> bool:
        bits = np.bitwise_count(hashes[order] ^ hashes[row])
        if (bits <= BITS // 2).any():
            return True
        beside = np.asarray(order, np.int64)[bits <= BITS]
        return bool((np.linalg.norm(features[beside] - features[row], axis=1) <= ALIKE * usual).any())

    queues = _queues(np.arange(len(score)), score, cluster)
    later: list[int] = []
    while queues and len(order) < count:
        for queue in _in_turn(queues, score):
            while queue and len(order) < count:
                row = queue.pop(0)
                if looks_like_one(row):
                    later.append(row)
                    continue
                order.append(row)
                break
        queues = [queue for queue in queues if queue]
    distinct = len(order)
    queues = _queues(np.asarray(sorted(later), np.int64), score, cluster)
    while queues and len(order) < count:
        order += [queue.pop(0) for queue in _in_turn(queues, score)][:count - len(order)]
        queues = [queue for queue in queues if queue]
    alike = len(order) - distinct
    return Choice(np.asarray(order, np.int64), len(later) - alike, alike)


def _queues(rows: NDArray[np.int64], score: NDArray[np.float64], cluster: NDArray[np.int64]) -> list[list[int]]:
    """Rows of each cluster, the best first."""
    best = rows[np.argsort(-score[rows], kind="stable")]
    return [best[cluster[best] == one].tolist() for one in np.unique(cluster[rows])]


def _in_turn(queues: Sequence[list[int]], score: NDArray[np.float64]) -> list[list[int]]:
    """The queue with the best image first."""
    return sorted((queue for queue in queues if queue), key=lambda queue: (-score[queue[0]], queue[0]))
