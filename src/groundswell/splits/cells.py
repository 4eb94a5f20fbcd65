"""splits: the cells of the Earth that places are dealt out by: squares, H3 or HEALPix."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from groundswell.core.errors import InputError
from groundswell.core.optional import require
from groundswell.data.sphere import EARTH_KM
from groundswell.splits.recipe import Cells

Degrees = NDArray[np.float64]
_CHUNK = 1_000_000
_LEAST_KM = 0.01
_ROUND = 8
"""Directions that a cell is looked around in."""
_FACE_ROW, _FACE_COLUMN = (2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4), (1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7)
"""Where HEALPix's twelve faces have their southern corner: eighths of the way from pole to pole and around."""


def cells_of(latitude: ArrayLike, longitude: ArrayLike, kind: Cells, *, km: float, level: int) -> NDArray[np.int64]:
    """The number of the cell that each place lies in.

    *squares* are those of a sphere of 6371 km: it is cut into bands of latitude ``km`` high (to the nearest that fits
    from pole to pole), and each band into the whole number of equal pieces that comes nearest to ``km`` wide in its
    middle. Cells have the same area to within 5 % everywhere, three of them meeting at each pole, for ``km`` up to
    1000; those of one band have exactly the same. *h3* are the hexagons of H3, numbered as its indexes; *healpix* the
    pixels of HEALPix in its RING scheme, of exactly equal area.

    Args:
        latitude, longitude: degrees, shape (n,); latitude within ±90. Longitudes may go around more than once.
        kind: of cell.
        km: edge of a square.
        level: resolution of H3 (0 to 15) or order of HEALPix (0 to 29).

    Returns:
        int64, shape (n,); equal for places of one cell, none negative.

    Raises:
        InputError: no such cells.
        MissingExtraError: H3 or HEALPix is asked for and not installed.
    """
    lat, lon = np.asarray(latitude, np.float64), np.asarray(longitude, np.float64)
    number = np.empty(len(lat), np.int64)
    grid = _grid(kind, km, level)
    for start in range(0, len(lat), _CHUNK):
        part = slice(start, start + _CHUNK)
        number[part] = grid.number(lat[part], _once_around(lon[part]))
    return number


def centres_of(cells: NDArray[np.int64], kind: Cells, *, km: float, level: int) -> tuple[Degrees, Degrees]:
    """Latitude and longitude of the middle of cells, degrees, shape (n,) each; see :func:`cells_of`."""
    return _grid(kind, km, level).centre(cells)


def outlines_of(cells: NDArray[np.int64], kind: Cells, *, km: float, level: int) -> list[Degrees]:
    """Corners of cells, counterclockwise, for maps; see :func:`cells_of`.

    Returns:
        For each cell, longitude and latitude of its corners, degrees, shape (corners, 2), the first not repeated.
        Longitudes go on beyond ±180 where a cell lies across; what is between the corners of a HEALPix pixel is curved.
    """
    rings = _grid(kind, km, level).outline(cells)
    return [np.column_stack([ring[0, 0] + (ring[:, 0] - ring[0, 0] + 180.0) % 360.0 - 180.0, ring[:, 1]])
            for ring in rings]


def width_km(kind: Cells, *, km: float, level: int) -> float:
    """Edge of a square of the area that cells have, on the average over the Earth where it differs."""
    return _grid(kind, km, level).width_km


def surrounded(cells: NDArray[np.int64], occupied: NDArray[np.int64], kind: Cells, *, km: float,
               level: int) -> NDArray[np.bool_]:
    """Which cells have others that are ``occupied`` on all sides.

    Around the middle of a cell, eight points at the distance of its width are looked at; each must be in an occupied
    cell.

    Args:
        cells: their numbers, shape (c,).
        occupied: numbers of the cells that hold samples, shape (o,).
        kind, km, level: see :func:`cells_of`.

    Returns:
        bool, shape (c,).
    """
    lat, lon = centres_of(cells, kind, km=km, level=level)
    arc = width_km(kind, km=km, level=level) / EARTH_KM
    inside = np.ones(len(cells), bool)
    for turn in range(_ROUND):
        there = _away(lat, lon, 2 * np.pi * turn / _ROUND, arc)
        inside &= np.isin(cells_of(*there, kind, km=km, level=level), occupied)
    return inside


def _away(lat: Degrees, lon: Degrees, bearing: float, arc: float) -> tuple[Degrees, Degrees]:
    # Where one comes to by an arc (radians) from a place, setting out at a bearing from north.
    phi = np.radians(lat)
    sine = np.clip(np.sin(phi) * np.cos(arc) + np.cos(phi) * np.sin(arc) * np.cos(bearing), -1, 1)
    east = np.arctan2(np.sin(bearing) * np.sin(arc) * np.cos(phi), np.cos(arc) - np.sin(phi) * sine)
    return np.degrees(np.arcsin(sine)), lon + np.degrees(east)


def _once_around(lon: Degrees) -> Degrees:
    # From -180 on, below 180. What is there already stays to the last bit, or a place could leave its cell.
    outside = (lon < -180.0) | (lon >= 180.0)
    if not outside.any():
        return lon
    turned = np.mod(lon + 180.0, 360.0)
    # The remainder of a tiny negative number is rounded to the divisor itself.
    return np.where(outside, np.where(turned >= 360.0, 0.0, turned) - 180.0, lon)


def _grid(kind: Cells, km: float, level: int) -> _Squares | _Hexagons | _Pixels:
    if kind == "squares":
        return _Squares(km)
    return _Hexagons(level) if kind == "h3" else _Pixels(level)


class _Squares:
    """Bands of latitude, each cut into as many pieces as make them square; numbered from the south and the west."""

    def __init__(self, km: float) -> None:
        if not _LEAST_KM <= km <= np.pi * EARTH_KM:
            raise InputError(f"Squares of {km:g} km cannot be laid out on the Earth", where="split.cell_km",
                             fix=f"Use an edge from {_LEAST_KM:g} km up")
        self.width_km = km
        self._bands = max(1, round(np.pi * EARTH_KM / km))
        middle = np.radians((np.arange(self._bands) + 0.5) * 180.0 / self._bands - 90.0)
        around = np.rint(2 * np.pi * EARTH_KM * np.cos(middle) / km)
        self._pieces = np.maximum(1, around).astype(np.int64)
        self._first = np.concatenate([[0], np.cumsum(self._pieces)])

    def number(self, lat: Degrees, lon: Degrees) -> NDArray[np.int64]:
        band = np.clip(np.floor((lat + 90.0) * (self._bands / 180.0)), 0, self._bands - 1).astype(np.int64)
        pieces = self._pieces[band]
        piece = np.minimum(((lon + 180.0) / 360.0 * pieces).astype(np.int64), pieces - 1)
        return np.asarray(self._first[band] + piece, np.int64)

    def centre(self, cells: NDArray[np.int64]) -> tuple[Degrees, Degrees]:
        band = np.searchsorted(self._first, cells, side="right") - 1
        lat = (band + 0.5) * (180.0 / self._bands) - 90.0
        lon = (cells - self._first[band] + 0.5) / self._pieces[band] * 360.0 - 180.0
        return np.asarray(lat, np.float64), np.asarray(lon, np.float64)

    def outline(self, cells: NDArray[np.int64]) -> list[Degrees]:
        lat, lon = self.centre(cells)
        up = 90.0 / self._bands
        aside = 180.0 / self._pieces[np.searchsorted(self._first, cells, side="right") - 1]
        return [np.array([[x - w, y - up], [x + w, y - up], [x + w, y + up], [x - w, y + up]])
                for x, y, w in zip(lon, lat, aside, strict=True)]


class _Hexagons:
    """The cells of H3, one call for each place: the package has no other way, and answers a million a second."""

    def __init__(self, level: int) -> None:
        if not 0 <= level <= 15:
            raise InputError(f"H3 has no resolution {level}", where="split.cell_level", fix="Use 0 to 15")
        # The interface that speaks of cells as whole numbers, not as text.
        self._h3 = require("h3.api.basic_int", extra="biodiversity", purpose="Dealing places out by cells of H3")
        self._level = level
        self.width_km = float(np.sqrt(self._h3.average_hexagon_area(level, unit="km^2")))

    def number(self, lat: Degrees, lon: Degrees) -> NDArray[np.int64]:
        found: Iterator[int] = map(self._h3.latlng_to_cell, lat.tolist(), lon.tolist(), [self._level] * len(lat))
        return np.fromiter(found, np.int64, len(lat))

    def centre(self, cells: NDArray[np.int64]) -> tuple[Degrees, Degrees]:
        pairs = np.array([self._h3.cell_to_latlng(cell) for cell in cells.tolist()], np.float64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def outline(self, cells: NDArray[np.int64]) -> list[Degrees]:
        return [np.array(self._h3.cell_to_boundary(cell), np.float64)[:, ::-1] for cell in cells.tolist()]


class _Pixels:
    """The pixels of HEALPix (Górski et al. 2005) in the RING scheme."""

    def __init__(self, level: int) -> None:
        if not 0 <= level <= 29:
            raise InputError(f"HEALPix has no order {level}", where="split.cell_level", fix="Use 0 to 29")
        self._healpix = require("healpix", extra="biodiversity", purpose="Dealing places out by cells of HEALPix")
        self._sides = 1 << level
        self.width_km = float(np.sqrt(np.pi / 3) / self._sides * EARTH_KM)

    def number(self, lat: Degrees, lon: Degrees) -> NDArray[np.int64]:
        return np.asarray(self._healpix.ang2pix(self._sides, lon, lat, lonlat=True), np.int64)

    def centre(self, cells: NDArray[np.int64]) -> tuple[Degrees, Degrees]:
        lon, lat = self._healpix.pix2ang(self._sides, cells, lonlat=True)
        return np.asarray(lat, np.float64), np.asarray(lon, np.float64)

    def outline(self, cells: NDArray[np.int64]) -> list[Degrees]:
        # A pixel is a square of its face, one of twelve: south, east, north and west corner (Górski et al. 2005).
        nested = np.asarray(self._healpix.ring2nest(self._sides, cells), np.int64)
        face, inner = np.divmod(nested, self._sides**2)
        x0, y0 = (sum(((inner >> (2 * bit + odd)) & 1) << bit for bit in range(30)) for odd in (0, 1))
        corners = []
        for right, left in ((0, 0), (1, 0), (1, 1), (0, 1)):
            x, y = (x0 + right) / self._sides, (y0 + left) / self._sides
            row = np.array(_FACE_ROW)[face] - x - y
            near = np.minimum(np.minimum(row, 4 - row), 1.0)  # of a face's width, to the pole, where it narrows
            sine = np.where(row < 1, 1 - near**2 / 3, np.where(row > 3, near**2 / 3 - 1, (2 - row) * 2 / 3))
            turn = np.array(_FACE_COLUMN)[face] * near + x - y
            lon = np.where(near > 1e-12, turn / np.maximum(near, 1e-12), np.array(_FACE_COLUMN)[face]) * 45.0
            corners.append(np.stack([lon, np.degrees(np.arcsin(np.clip(sine, -1, 1)))], axis=1))
        return list(np.stack(corners, axis=1))
