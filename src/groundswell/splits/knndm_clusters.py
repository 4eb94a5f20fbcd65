"""splits: clusters of samples in any number, and their merging into folds, for matching distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

Points = NDArray[np.float64]
Codes = NDArray[np.int64]
_NEIGHBOURS = 8
_ALL_PAIRS = 256


class ClusterTree:
    """The order in which units are joined to clusters, from one for each unit to one of all.

    Clusters are joined by the criterion of Ward (1963): those first whose joining adds least to the squared distances
    from the middles of clusters. Only a cluster and the eight whose middles are nearest to its own are compared, and
    these are looked up anew whenever half of the clusters are gone; of the last 256 all pairs are compared. In each
    round all pairs that are each other's best are joined at once, which makes the tree that joining one at a time
    would. That needs neither the matrix of all distances nor its time: 100,000 units take some seconds and 200 MB.

    Args:
        points: coordinates of the units, float64, shape (u, columns). The tree is a pure function of them in their
            order.
        weights: what each unit counts, such as samples in it, shape (u,), above 0; 1 by default.

    Attributes:
        leaves: u.
    """

    def __init__(self, points: Points, weights: NDArray[np.number] | None = None) -> None:
        self.leaves = len(points)
        self._joined = _joined(points, np.ones(len(points)) if weights is None else np.asarray(weights, np.float64))

    def labels(self, clusters: int) -> Codes:
        """The cluster of each unit, int64, shape (u,), counted from 0, when there are so many (1 to ``leaves``)."""
        count = self.leaves - clusters
        above = np.arange(self.leaves + count)
        above[self._joined[:count]] = np.arange(self.leaves, self.leaves + count)[:, None]
        while (above != above[above]).any():
            above = above[above]
        return np.asarray(np.unique(above[:self.leaves], return_inverse=True)[1].ravel(), np.int64)


def _joined(points: Points, weight: Points) -> Codes:
    # Which two are joined at each step, shape (u - 1, 2), the cheapest first; what step s makes is numbered u + s.
    total = len(points)
    pairs, cost = np.empty((total - 1, 2), np.int64), np.zeros(2 * total - 1)
    middle, name, made = points, np.arange(total), total
    edges, renew = np.empty((0, 2), np.int64), total
    while len(name) > 1:
        if len(name) <= renew or not len(edges):
            edges, renew = _beside(middle), len(name) // 2
        best, prices = _each_others_best(edges, middle, weight)
        new = np.arange(made, made + len(best))
        made += len(best)
        pairs[new - total] = name[best]
        # What is joined later in one branch is not cheaper: neighbours looked up anew may come nearer than old ones.
        cost[new] = np.maximum(prices, cost[name[best]].max(axis=1))
        into = np.arange(len(name))
        into[best[:, 1]] = best[:, 0]
        name[best[:, 0]] = new
        kept = into == np.arange(len(name))
        into = (np.cumsum(kept) - 1)[into]
        heavier = np.bincount(into, weight).astype(np.float64)
        middle = np.column_stack([np.bincount(into, weight * column) / heavier for column in middle.T])
        weight, name, edges = heavier, name[kept], _distinct(into[edges])
    order = np.argsort(cost[total:], kind="stable")
    number = np.arange(2 * total - 1)
    number[total + order] = np.arange(total, 2 * total - 1)
    return number[pairs[order]]


def _beside(middle: Points) -> Codes:
    # Pairs of clusters of which one is among the nearest of the other, shape (pairs, 2).
    if len(middle) <= _ALL_PAIRS:
        return np.column_stack(np.triu_indices(len(middle), 1))
    others = NearestNeighbors(n_neighbors=_NEIGHBOURS).fit(middle).kneighbors(return_distance=False)
    return _distinct(np.column_stack([np.repeat(np.arange(len(middle)), _NEIGHBOURS), others.ravel()]))


def _distinct(edges: Codes) -> Codes:
    # Each pair once, the lower first, in ascending order, without pairs of one and the same.
    edges = edges[edges[:, 0] != edges[:, 1]]
    low, high = edges.min(axis=1, initial=2**31), edges.max(axis=1, initial=0)
    number = np.unique(low << 32 | high)
    return np.column_stack([number >> 32, number & 0xFFFFFFFF])


def _each_others_best(edges: Codes, middle: Points, weight: Points) -> tuple[Codes, Points]:
    # Pairs that are each other's cheapest, and what joining them costs. Of equal prices the first pair's is lower, for
    # both of its clusters, so that there is always such a pair.
    first, second = edges.T
    apart = sum((column[first] - column[second])**2 for column in middle.T)
    price = weight[first] * weight[second] / (weight[first] + weight[second]) * apart
    rank = np.empty(len(edges), np.int64)
    rank[np.argsort(price, kind="stable")] = np.arange(len(edges))
    lowest = np.full(len(middle), len(edges))
    for side in (first, second):
        np.minimum.at(lowest, side, rank)
    mutual = (lowest[first] == rank) & (lowest[second] == rank)
    return edges[mutual], price[mutual]


def along_axis(points: Points) -> Points:
    """Where points lie along the principal axis of them all, float64, shape (u,)."""
    centred = points - points.mean(axis=0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    # Either direction is the axis; the one whose largest part is positive is taken.
    return np.asarray(centred @ (axis * np.sign(axis[np.argmax(abs(axis))])), np.float64)


def merge_into_folds(sizes: Codes, position: Points, folds: int) -> Codes:
    """Merge clusters into folds of about one size, each fold with clusters from one end to the other.

    Clusters that fill a fold alone (as many samples as a fold has on the average) are one each, but for one fold at
    least. The others are taken in their order along the axis, as many at a time as there are folds left: each of these
    gets one, the largest goes to the fold with the fewest samples so far.

    Args:
        sizes: samples of the clusters, int64, shape (q,), q >= folds.
        position: of the clusters along an axis, float64, shape (q,).
        folds: how many.

    Returns:
        Fold of each cluster, int64, shape (q,); none is empty.
    """
    fold = np.full(len(sizes), -1, np.int64)
    large = np.argsort(-sizes, kind="stable")[:folds - 1]
    large = large[sizes[large] * folds >= sizes.sum()]
    fold[large] = np.arange(len(large))
    rest = np.argsort(position, kind="stable")
    rest = rest[fold[rest] < 0]
    held = np.zeros(folds - len(large), np.int64)
    for start in range(0, len(rest), len(held)):
        turn = rest[start:start + len(held)]
        turn = turn[np.argsort(-sizes[turn], kind="stable")]
        into = np.argsort(held, kind="stable")[:len(turn)]
        held[into] += sizes[turn]
        fold[turn] = len(large) + into
    return fold
