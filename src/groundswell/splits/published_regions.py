"""splits: squares of the published split, around places that lie as far from one another as they can."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.optional import require

PUBLISHED = "split.regime=published"
KM_PER_DEGREE = 111.0
"""Of latitude, as the published squares have it; of longitude times the cosine of the centre's latitude."""
RELAXED = 0.8
"""What the least distance between centres is multiplied by when no candidate keeps it."""


@dataclass(frozen=True)
class PublishedRule:
    """The numbers of the procedure; by default those that were published.

    Attributes:
        regions: how many squares are wanted.
        region_km: edge of a square.
        least_km: distance that a centre must have from all earlier ones.
        candidates: rows drawn, of which centres are chosen; all rows where there are fewer.
        test_year: the year that is tested.
        seed: of the drawing of candidates.

    Raises:
        InputError: numbers that no region can have.
    """

    regions: int = 5
    region_km: float = 10.0
    least_km: float = 15.0
    candidates: int = 1000
    test_year: int = 2025
    seed: int = 42

    def __post_init__(self) -> None:
        lengths = 0 < self.region_km < np.inf and 0 <= self.least_km < np.inf
        if self.regions < 1 or self.candidates < 1 or not lengths:
            raise InputError(f"{self.regions} region(s) of {self.region_km:g} km, {self.least_km:g} km apart, among "
                             f"{self.candidates} candidate(s) cannot be had", where=PUBLISHED,
                             fix="Ask for at least one region and one candidate, and an edge above 0 km")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"The seed {self.seed} is not between 0 and {2**32 - 1}", where=PUBLISHED)


@dataclass(frozen=True)
class Region:
    """A square that is tested.

    Attributes:
        number: from 1, in the order of choice.
        row: position of the centre among the rows.
        latitude, longitude: of the centre, degrees.
        north, south, east, west: its sides, degrees; they belong to it. It does not go on beyond 180° or a pole.
        nearest_km: from the centre to the nearest one chosen before it, on the ellipsoid; None for the first.
    """

    number: int
    row: int
    latitude: float
    longitude: float
    north: float
    south: float
    east: float
    west: float
    nearest_km: float | None

    def holds(self, latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which places lie in it, shape (n,)."""
        return np.asarray((latitude >= self.south) & (latitude <= self.north)
                          & (longitude >= self.west) & (longitude <= self.east), bool)


def choose_regions(latitude: NDArray[np.float64], longitude: NDArray[np.float64], candidates: NDArray[np.int64],
                   rule: PublishedRule) -> tuple[tuple[Region, ...], float]:
    """Squares around the first candidate and, again and again, the one that is farthest from its nearest centre.

    Where even the farthest is nearer than ``rule.least_km``, this turn is lost and the next asks for 0.8 of it.

    Args:
        latitude, longitude: degrees, shape (n,).
        candidates: rows that may be centres, in the order they were drawn, shape (m,), m > 0.
        rule: how many, how large, how far apart.

    Returns:
        The squares, and the least distance in km that was asked for when the last of them was chosen.

    Raises:
        MissingExtraError: geopy is not installed.
    """
    places = np.column_stack([latitude[candidates], longitude[candidates]])
    regions = [_square(1, int(candidates[0]), places[0], None, rule)]
    nearest, required, kept = _geodesic_km(places, places[0]), rule.least_km, rule.least_km
    for _ in range(rule.regions - 1):
        best = int(nearest.argmax())
        if nearest[best] < required or nearest[best] == 0:
            required *= RELAXED
            continue
        regions.append(_square(len(regions) + 1, int(candidates[best]), places[best], float(nearest[best]), rule))
        nearest, kept = np.minimum(nearest, _geodesic_km(places, places[best])), required
    return tuple(regions), kept


def _geodesic_km(places: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    # Distances on a sphere choose other centres: two of the published five.
    geodesic = require("geopy.distance", extra="biodiversity", purpose="The published split").geodesic
    return np.array([geodesic(place, centre.tolist()).km for place in places.tolist()], np.float64)


def _square(number: int, row: int, place: NDArray[np.float64], nearest_km: float | None, rule: PublishedRule) -> Region:
    latitude, longitude = place.tolist()
    up = rule.region_km / 2 / KM_PER_DEGREE
    aside = rule.region_km / 2 / (KM_PER_DEGREE * float(np.cos(np.radians(latitude))))
    return Region(number, row, latitude, longitude, latitude + up, latitude - up, longitude + aside, longitude - aside,
                  nearest_km)
