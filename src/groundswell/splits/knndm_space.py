"""splits: the two spaces that distances of folds are matched in: on the Earth, and between features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.metrics import pairwise_distances_argmin

from groundswell.core.errors import InputError
from groundswell.splits.nearest import arc_m, unit_vectors

Points = NDArray[np.float64]
Codes = NDArray[np.int64]
Distances = NDArray[np.float64]
Name = Literal["geographic", "feature"]
_TREE_UP_TO = 12
"""Columns that a k-d tree is of use for; with more, comparing with all is faster."""


_FEW = 5_000
"""Fewer questions than this are answered before threads have been started."""


class Space(ABC):
    """Samples in a space with a distance.

    Args:
        coordinates: of the samples, float64, shape (n, columns), whose straight-line distance orders pairs of points as
            the distance of the space does.

    Attributes:
        coordinates: the same.
        unit: of distances, in words.
        asked: how many samples are enough to ask when candidates are compared.
    """

    unit: str

    def __init__(self, coordinates: Points) -> None:
        self.coordinates = coordinates
        # Samples alike would crowd in a leaf of a tree; one of them stands for all.
        self._site = np.unique(coordinates, axis=0, return_inverse=True)[1].ravel()
        self._sites = coordinates[np.unique(self._site, return_index=True)[1]]
        self._in_tree = coordinates.shape[1] <= _TREE_UP_TO
        self.asked = 20_000 if self._in_tree else 2_000

    def __len__(self) -> int:
        return len(self.coordinates)

    @abstractmethod
    def from_points(self, points: Points) -> Distances:
        """Distance from each of other points to the nearest sample; points as they were given to the space."""

    def nearest(self, asked: Codes, others: Codes) -> Distances:
        """Distance from each row of ``asked`` to the nearest row of ``others``, float64, shape of ``asked``."""
        return self._to_nearest(self.coordinates[asked], others)

    def _distance(self, straight: Distances) -> Distances:
        # Of points that lie so far apart in coordinates.
        return straight

    def _to_nearest(self, asked: Points, others: Codes) -> Distances:
        there = np.zeros(len(self._sites), bool)
        there[self._site[others]] = True
        known = self._sites[there]
        if not len(known) or not len(asked):
            return np.full(len(asked), np.inf)
        if self._in_tree:
            # Sliding midpoints build in half the time of medians and answer as fast on points that cluster.
            tree = cKDTree(known, balanced_tree=False, compact_nodes=False)
            return self._distance(np.asarray(tree.query(asked, workers=-1 if len(asked) > _FEW else 1)[0], np.float64))
        nearest = pairwise_distances_argmin(asked, known)
        # Products of matrices find the nearest fast, but know a small distance badly.
        return self._distance(np.asarray(np.linalg.norm(asked - known[nearest], axis=1), np.float64))

    def beyond_folds(self, fold: Codes, rows: Codes) -> Distances:
        """Distance from each of some ``rows`` to the nearest sample of another fold, shape of ``rows``."""
        found = np.full(len(rows), np.inf)
        for k in np.unique(fold[rows]):
            mine = fold[rows] == k
            found[mine] = self.nearest(rows[mine], np.flatnonzero(fold != k))
        return found

    def beyond_units(self, unit: Codes, rows: Codes) -> Distances:
        """The same where there may be as many units as samples.

        Numbers of two units differ in a bit at least: the nearest sample of another unit is the nearest of all that
        are the nearest with a bit other than one's own.
        """
        found = np.full(len(rows), np.inf)
        for bit in range(int(unit.max()).bit_length()):
            found = np.minimum(found, self.beyond_folds((unit >> bit) & 1, rows))
        return found


class Earth(Space):
    """Places; great-circle distances in metres.

    Args:
        points: latitude and longitude, degrees, shape (n, 2).

    Raises:
        InputError: a place is nowhere on the Earth.
    """

    unit = "m"

    def __init__(self, points: Points) -> None:
        check_points(points, "geographic", "sample")
        super().__init__(unit_vectors(*points.T))

    def from_points(self, points: Points) -> Distances:
        check_points(points, "geographic", "prediction point")
        return self._to_nearest(unit_vectors(*points.T), np.arange(len(self)))

    def _distance(self, straight: Distances) -> Distances:
        return arc_m(straight)


class Features(Space):
    """Samples by what is measured of them; straight-line distances between features of mean 0 and deviation 1.

    Args:
        values: shape (n, columns). Columns that are the same everywhere play no role.
        mahalanobis: measure along the principal axes, each of deviation 1, so that correlated features do not count
            twice (the distance of Mahalanobis).

    Raises:
        InputError: a value is not finite, or all are the same.
    """

    unit = "standard deviations"

    def __init__(self, values: Points, *, mahalanobis: bool = False) -> None:
        check_points(values, "feature", "sample")
        self._mean, deviation = values.mean(axis=0), values.std(axis=0)
        differs = deviation > 1e-12 * np.maximum(abs(self._mean), 1e-300)
        if not differs.any():
            raise InputError("All samples have the same features, so that none is nearer than another",
                             where="split.space=feature", fix="Use other features, or split.space=geographic")
        self._turn = np.diag(np.where(differs, 1 / np.where(differs, deviation, 1.0), 0.0))[:, differs]
        if mahalanobis:
            _, size, axes = np.linalg.svd((values - self._mean) @ self._turn, full_matrices=False)
            kept = size > 1e-9 * size[0]
            self._turn = self._turn @ (axes[kept].T / size[kept]) * np.sqrt(len(values))
        self._columns = values.shape[1]
        super().__init__((values - self._mean) @ self._turn)

    def from_points(self, points: Points) -> Distances:
        check_points(points, "feature", "prediction point")
        if points.shape[1] != self._columns:
            raise InputError(f"Prediction points have {points.shape[1]} features and samples {self._columns}",
                             where="split.prediction_points", fix="Give both the same features in the same order")
        return self._to_nearest((points - self._mean) @ self._turn, np.arange(len(self)))


def space_of(points: Points, name: Name, *, mahalanobis: bool = False) -> Space:
    """Samples in one of the spaces; see :class:`Earth` and :class:`Features`."""
    return Earth(points) if name == "geographic" else Features(points, mahalanobis=mahalanobis)


def check_points(points: Points, space: Name, what: str) -> None:
    """See that points can be placed in a space.

    Args:
        points: shape (n, 2): latitude and longitude, degrees; or features, shape (n, columns).
        space: which.
        what: they are, in a word.

    Raises:
        InputError: there is none, a number is not finite, or a place is nowhere on the Earth.
    """
    if points.ndim != 2 or not points.shape[1]:
        raise ValueError(f"{what}s of shape {points.shape}; (rows, columns) is meant")
    if not len(points):
        raise InputError(f"There is no {what}")
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise InputError(f"{len(bad)} {what}(s) lack a coordinate or feature, first row {bad[0] + 1}",
                         fix="Give every one of them its numbers, or leave them out")
    if space == "feature":
        return
    if points.shape[1] != 2:
        raise InputError(f"A {what} needs latitude and longitude, and has {points.shape[1]} column(s)")
    bad = np.flatnonzero((abs(points) > (90.0, 180.0)).any(axis=1))
    if len(bad):
        raise InputError(f"{len(bad)} {what}(s) lie nowhere on the Earth, first row {bad[0] + 1} with latitude "
                         f"{points[bad[0], 0]:g} and longitude {points[bad[0], 1]:g}",
                         fix="Give latitude within ±90 and longitude within ±180 degrees, in this order")
