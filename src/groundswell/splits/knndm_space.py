"""splits: the two spaces that distances of folds are matched in: on the Earth, and between features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.metrics import pairwise_distances_argmin

from groundswell.core.errors import InputError
from groundswell.splits.nearest import nearest_m, unit_vectors

Points = NDArray[np.float64]
Codes = NDArray[np.int64]
Metres = NDArray[np.float64]
_TREE_UP_TO = 12
"""Columns that a k-d tree is of use for; with more, comparing with all is faster."""


class Space(ABC):
    """Samples in a space with a distance.

    Attributes:
        coordinates: of the samples, float64, shape (n, columns), whose straight-line distance orders pairs of points as
            the distance of the space does.
        unit: of distances, in words.
        asked: how many samples are enough to ask when candidates are compared.
    """

    coordinates: Points
    unit: str
    asked: int

    def __len__(self) -> int:
        return len(self.coordinates)

    @abstractmethod
    def nearest(self, asked: Codes, others: Codes) -> Metres:
        """Distance from each row of ``asked`` to the nearest row of ``others``, float64, shape of ``asked``."""

    @abstractmethod
    def from_points(self, points: Points) -> Metres:
        """Distance from each of other points to the nearest sample; points as they were given to the space."""

    def beyond_folds(self, fold: Codes, rows: Codes) -> Metres:
        """Distance from each of some ``rows`` to the nearest sample of another fold, shape of ``rows``."""
        found = np.full(len(rows), np.inf)
        for k in np.unique(fold[rows]):
            mine = fold[rows] == k
            found[mine] = self.nearest(rows[mine], np.flatnonzero(fold != k))
        return found

    def beyond_units(self, unit: Codes, rows: Codes) -> Metres:
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

    unit, asked = "m", 20_000

    def __init__(self, points: Points) -> None:
        self._lat, self._lon = _places(points, "sample")
        self.coordinates = unit_vectors(self._lat, self._lon)

    def nearest(self, asked: Codes, others: Codes) -> Metres:
        return nearest_m(self._lat[asked], self._lon[asked], self._lat[others], self._lon[others])

    def from_points(self, points: Points) -> Metres:
        return nearest_m(*_places(points, "prediction point"), self._lat, self._lon)


class Features(Space):
    """Samples by what is measured of them; straight-line distances between features of mean 0 and deviation 1.

    Args:
        values: shape (n, columns). Columns that are the same everywhere play no role.
        mahalanobis: measure along the principal axes, each of deviation 1, so that correlated features do not count
            twice (the distance of Mahalanobis).

    Raises:
        InputError: a value is not finite, or all are the same.
    """

    def __init__(self, values: Points, *, mahalanobis: bool = False) -> None:
        _finite(values, "sample")
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
        self.coordinates = (values - self._mean) @ self._turn
        self._columns = values.shape[1]
        # Samples alike would crowd in a leaf of a tree; one of them stands for all.
        self._site = np.unique(self.coordinates, axis=0, return_inverse=True)[1].ravel()
        self._first = np.unique(self._site, return_index=True)[1]
        self.unit = "standard deviations"
        self._in_tree = self.coordinates.shape[1] <= _TREE_UP_TO
        self.asked = 20_000 if self._in_tree else 2_000

    def nearest(self, asked: Codes, others: Codes) -> Metres:
        return self._to_nearest(self.coordinates[asked], others)

    def from_points(self, points: Points) -> Metres:
        _finite(points, "prediction point")
        if points.shape[1] != self._columns:
            raise InputError(f"Prediction points have {points.shape[1]} features and samples {self._columns}",
                             where="split.prediction_points", fix="Give both the same features in the same order")
        return self._to_nearest((points - self._mean) @ self._turn, np.arange(len(self)))

    def _to_nearest(self, asked: Points, others: Codes) -> Metres:
        there = np.zeros(len(self._first), bool)
        there[self._site[others]] = True
        known = self.coordinates[self._first[there]]
        if not len(known) or not len(asked):
            return np.full(len(asked), np.inf)
        if self._in_tree:
            return np.asarray(cKDTree(known).query(asked, workers=-1)[0], np.float64)
        nearest = pairwise_distances_argmin(asked, known)
        # Products of matrices find the nearest fast, but know a small distance badly.
        return np.asarray(np.linalg.norm(asked - known[nearest], axis=1), np.float64)


def space_of(points: Points, name: Literal["geographic", "feature"], *, mahalanobis: bool = False) -> Space:
    """Samples in one of the spaces; see :class:`Earth` and :class:`Features`."""
    return Earth(points) if name == "geographic" else Features(points, mahalanobis=mahalanobis)


def _places(points: Points, what: str) -> tuple[Points, Points]:
    _finite(points, what)
    if points.shape[1] != 2:
        raise InputError(f"A {what} needs latitude and longitude, and has {points.shape[1]} column(s)")
    bad = np.flatnonzero((abs(points) > (90.0, 180.0)).any(axis=1))
    if len(bad):
        raise InputError(f"{len(bad)} {what}(s) lie nowhere on the Earth, first row {bad[0] + 1} with latitude "
                         f"{points[bad[0], 0]:g} and longitude {points[bad[0], 1]:g}",
                         fix="Give latitude within ±90 and longitude within ±180 degrees, in this order")
    return np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1])


def _finite(points: Points, what: str) -> None:
    if points.ndim != 2 or not points.shape[1]:
        raise ValueError(f"{what}s of shape {points.shape}; (rows, columns) is meant")
    if not len(points):
        raise InputError(f"There is no {what}")
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise InputError(f"{len(bad)} {what}(s) lack a coordinate or feature, first row {bad[0] + 1}",
                         fix="Give every one of them its numbers, or leave them out")
