"""splits: boxes of latitude and longitude that a test was taken from, and the box that the data fills."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import read_json
from groundswell.splits.nearest import EARTH_M, unit_vectors

_SIDES = ("south", "west", "north", "east")


@dataclass(frozen=True)
class Box:
    """A box between two parallels and two meridians, edges included.

    Attributes:
        name: in words, such as "region 1".
        south, north: degrees.
        west, east: degrees; a box whose west is above its east crosses 180°.
    """

    name: str
    south: float
    west: float
    north: float
    east: float

    @property
    def width(self) -> float:
        """Degrees of longitude, 0 to 360."""
        return self.east - self.west if self.east >= self.west else (self.east - self.west) % 360

    def eastward(self, longitude: NDArray[np.float64]) -> NDArray[np.float64]:
        """Degrees east of the western edge; between -x and 360 - x, where the box lies in the middle of that."""
        margin = (360 - self.width) / 2
        moved: NDArray[np.float64] = (np.asarray(longitude) - self.west + margin) % 360 - margin
        # Rounding of the remainder must not carry a place on the edge across it.
        return np.where(np.asarray(longitude) == self.west, 0.0,
                        np.where(np.asarray(longitude) == self.east, self.width, moved))

    def inside(self, latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which places are in the box, bool, shape (n,)."""
        if self.east >= self.west:
            return ((latitude >= self.south) & (latitude <= self.north) & (longitude >= self.west)
                    & (longitude <= self.east))
        return (latitude >= self.south) & (latitude <= self.north) & ((longitude >= self.west)
                                                                      | (longitude <= self.east))

    def gap_m(self, latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> NDArray[np.float64]:
        """Metres from each place to the nearest point of the box, 0 inside; float64, shape (n,).

        Nearest in latitude and longitude each for itself, which for boxes of some tens of kilometres is the nearest
        along the surface to within a thousandth.
        """
        lon = self.west + np.clip(self.eastward(longitude), 0.0, self.width)
        lat = np.clip(latitude, self.south, self.north)
        chord = np.linalg.norm(unit_vectors(latitude, longitude) - unit_vectors(lat, lon), axis=1)
        gap: NDArray[np.float64] = 2 * EARTH_M * np.arcsin(np.minimum(chord, 2.0) / 2)
        return np.where(self.inside(latitude, longitude), 0.0, gap)

    def beyond(self, data: Box) -> dict[str, float]:
        """For each side on which the box reaches past the data's box, the share of its extent that does."""
        start = float(data.eastward(np.array([self.west + self.width / 2]))[0]) - self.width / 2
        height = self.north - self.south
        over = {"north": (self.north - data.north, height), "south": (data.south - self.south, height),
                "west": (-start, self.width), "east": (start + self.width - data.width, self.width)}
        return {side: min(1.0, past / size) for side, (past, size) in over.items() if past > 0 and size > 0}


def as_regions(values: Iterable[Box | Mapping[str, Any]]) -> tuple[Box, ...]:
    """Boxes from themselves or from mappings: ``north, south, east, west`` or such ``bounds``, with a ``name``, a
    ``number`` or a ``region_id``; "region 1" and so on without.

    Raises:
        InputError: a side is missing, or south lies north of north.
    """
    regions = []
    for number, value in enumerate(values, 1):
        if isinstance(value, Box):
            regions.append(value)
            continue
        name = str(value.get("name") or f"region {value.get('number', value.get('region_id', number))}")
        sides = value.get("bounds", value)
        try:
            region = Box(name, *(float(sides[side]) for side in _SIDES))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"A region needs numbers for {', '.join(_SIDES)}: {error!r}", where=name) from error
        if not -90 <= region.south <= region.north <= 90:
            raise InputError(f"A region reaches from latitude {region.south:g} to {region.north:g}", where=name,
                             fix="Give south and north in degrees, south first")
        regions.append(region)
    return tuple(regions)


def read_regions(path: Path) -> tuple[Box, ...]:
    """Regions of a JSON file: a list of them, or a published split's ``test_spatial_regions``.

    Raises:
        InputError: missing, not JSON, or without regions.
    """
    facts = read_json(path)
    found = facts.get("test_spatial_regions") if isinstance(facts, dict) else facts
    if not isinstance(found, list) or not all(isinstance(value, dict) for value in found):
        raise InputError("The file holds no list of regions", where=path,
                         fix="Give a list of objects with north, south, east and west")
    return as_regions(found)


def bounding_box(latitude: NDArray[np.float64], longitude: NDArray[np.float64], name: str = "data") -> Box:
    """The smallest box that holds all places: in longitude, what the widest empty stretch leaves.

    Args:
        latitude, longitude: degrees, finite, shape (n,) with n > 0.
    """
    lon = np.unique((np.asarray(longitude, np.float64) + 180) % 360)
    gaps = np.diff(lon, append=lon[0] + 360)
    last = int(np.argmax(gaps))
    # The values themselves, not their remainders: a box must hold the places on its edge to the last bit.
    shifted = (np.asarray(longitude, np.float64) + 180) % 360
    west = float(np.asarray(longitude)[np.argmax(shifted == lon[(last + 1) % len(lon)])])
    east = float(np.asarray(longitude)[np.argmax(shifted == lon[last])])
    return Box(name, float(np.min(latitude)), west, float(np.max(latitude)), east)
