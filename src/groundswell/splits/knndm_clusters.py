"""splits: clusters of samples in any number, and their merging into folds, for matching distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from sklearn.cluster import ward_tree
from sklearn.neighbors import NearestNeighbors

Points = NDArray[np.float64]
Codes = NDArray[np.int64]
MOST_UNITS = 100_000
"""Units that are clustered; of more, those that lie side by side are taken together first."""
_NEIGHBOURS = 8


class ClusterTree:
    """The order in which units are joined to clusters, from one for each unit to one of all.

    Clusters are joined by the criterion of Ward along the graph of each unit's eight nearest: only those in which
    there are neighbours. That needs neither the matrix of all distances nor its time, and while clusters are small it
    joins the same that looking at all pairs would. (So that all can be joined in the end, the graph also links each
    unit to the next in the order given.) Above :data:`MOST_UNITS` neighbours are first gathered by halving.

    Args:
        points: coordinates of the units, float64, shape (u, columns), u > 1. The tree is a pure function of them in
            their order.
    """

    def __init__(self, points: Points) -> None:
        self._leaf = np.arange(len(points)) if len(points) <= MOST_UNITS else _halved(points, MOST_UNITS)
        if len(points) > MOST_UNITS:
            counts = np.bincount(self._leaf)
            points = np.column_stack([np.bincount(self._leaf, column) / counts for column in points.T])
        self.leaves = len(points)
        self._joined = _joined(points)

    def labels(self, clusters: int) -> Codes:
        """The cluster of each unit, int64, shape (u,), counted from 0, when there are so many (1 to ``leaves``)."""
        count = self.leaves - clusters
        above = np.arange(self.leaves + count)
        above[self._joined[:count]] = np.arange(self.leaves, self.leaves + count)[:, None]
        while (above != above[above]).any():
            above = above[above]
        roots = above[:self.leaves][self._leaf]
        return np.asarray(np.unique(roots, return_inverse=True)[1].ravel(), np.int64)


def _joined(points: Points) -> Codes:
    # Which two are joined at each step, shape (u - 1, 2); what step s makes is numbered u + s.
    total, near = len(points), min(_NEIGHBOURS, len(points) - 1)
    neighbours = NearestNeighbors(n_neighbors=near).fit(points).kneighbors(return_distance=False)
    first = np.concatenate([np.repeat(np.arange(total), near), np.arange(total - 1)])
    second = np.concatenate([neighbours.ravel(), np.arange(1, total)])
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(total, total)).tocsr()
    return np.asarray(ward_tree(points, connectivity=graph.maximum(graph.T))[0], np.int64)


def _halved(points: Points, most: int) -> Codes:
    # Units halved at the median of their widest column until there are as many heaps as can be without exceeding most.
    heaps = [np.arange(len(points))]
    while 2 * len(heaps) <= most:
        heaps = [half for heap in heaps for half in _halves(points, heap)]
    of_unit = np.empty(len(points), np.int64)
    for number, heap in enumerate(heaps):
        of_unit[heap] = number
    return of_unit


def _halves(points: Points, heap: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    mine = points[heap]
    order = np.argsort(mine[:, np.argmax(np.ptp(mine, axis=0))], kind="stable")
    return heap[order[:len(heap) // 2]], heap[order[len(heap) // 2:]]


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
