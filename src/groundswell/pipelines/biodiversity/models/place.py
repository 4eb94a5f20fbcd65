"""biodiversity: where and when something was seen, as learnt features on grids of many cell sizes.

Shape letters: b batch, a axis (x, y, z, t), g grid, l level, v corner of a cell, f feature.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from groundswell.core.errors import InputError
from groundswell.data.sphere import EARTH_KM

GRIDS = ((0, 1, 2), (0, 1, 3), (1, 2, 3), (0, 2, 3))
"""Axes of the four grids: xyz, xyt, yzt, xzt."""
PRIMES = (1, 2_654_435_761, 805_459_861)
"""Multipliers of the three indices of a corner (Müller et al. 2022)."""
HARMONICS = 2
"""Of the year: cosine and sine of one and of two cycles."""
VECTOR_WIDTH = 7
"""Numbers of :func:`place_vector`."""


@dataclass(frozen=True)
class GridSize:
    """How fine a place is seen, and how much there is to learn.

    Attributes:
        levels: cell sizes, each half the one before.
        log2_entries: entries of each level of each grid, as a power of two.
    """

    levels: int
    log2_entries: int


SIZES = {"tiny": GridSize(8, 10), "small": GridSize(12, 14), "base": GridSize(16, 17)}
"""By name; cells from 1,024 km and 16 years down to 8 km and 46 days, 500 m and 3 days, 31 m and 4 hours."""


def grid_size(name: str) -> GridSize:
    """The size called ``name``.

    Raises:
        InputError: there is none.
    """
    if name not in SIZES:
        raise InputError(f"There is no size '{name}' of a place encoder", fix=f"Choose one of: {', '.join(SIZES)}")
    return SIZES[name]


class PlaceEncoder(nn.Module):
    """Features of places and times, read off four hashed grids of three axes at many cell sizes.

    The decomposition of four dimensions into xyz, xyt, yzt and xzt is that of Grid4D (Xu et al. 2024), which Earth4D
    uses for the Earth; the hashed grids are those of Müller et al. (2022). At level l a cell is ``base_km / growth**l``
    wide and ``base_years / growth**l`` long. Its eight corners, with whole numbers (i, j, k), own the entries
    ``(i * 1 xor j * 2654435761 xor k * 805459861) mod 2**log2_entries`` of that level and grid, and the feature is
    interpolated between them linearly along each axis: it is continuous in place and time. Distant cells may share an
    entry; the levels and grids together tell them apart. Numbers have no bounds, hence neither has the region. There
    is no learnt probing of entries, as Earth4D has it.

    In ``ecef`` x, y, z are km along the Earth's axes from its centre, taken as a sphere: no seam and no pole. In
    ``geographic`` they are longitude (cells are counted around the Earth, so there is no seam at 180 degrees either),
    latitude and elevation; cells narrow towards the poles. ``t`` is the year with its fraction. As the fraction of the
    year comes back and the year does not, ``season`` adds cosine and sine of one and two cycles a year.

    Args:
        size: one of :data:`SIZES`; the next two override it.
        levels, log2_entries: see :class:`GridSize`.
        features: numbers of an entry.
        growth: how many times finer each level is than the one before.
        base_km, base_years: cell of the coarsest level.
        coordinates: ecef or geographic.
        season: add the cycles of the year.

    Attributes:
        width: numbers of the result, 4 * levels * features and 4 for the season.

    Raises:
        InputError: a size makes no grid.
    """

    offsets: Tensor
    cells: Tensor
    turns: Tensor
    corners: Tensor
    primes: Tensor
    axes: Tensor

    def __init__(self, size: str = "small", *, levels: int | None = None, log2_entries: int | None = None,
                 features: int = 2, growth: float = 2.0, base_km: float = 1024.0, base_years: float = 16.0,
                 coordinates: Literal["ecef", "geographic"] = "ecef", season: bool = True) -> None:
        super().__init__()
        named = grid_size(size)
        self.levels = named.levels if levels is None else levels
        self.log2_entries = named.log2_entries if log2_entries is None else log2_entries
        if min(self.levels, self.log2_entries, features) < 1 or growth <= 1 or min(base_km, base_years) <= 0:
            raise InputError(f"No grid has {self.levels} level(s) of 2**{self.log2_entries} entries of {features} "
                             f"number(s), growth {growth}, cells of {base_km} km and {base_years} years")
        if coordinates not in ("ecef", "geographic"):
            raise InputError(f"There are no coordinates '{coordinates}'", fix="Choose ecef or geographic")
        self.features, self.coordinates, self.season = features, coordinates, season
        self.width = len(GRIDS) * self.levels * features + 2 * HARMONICS * season
        rows = self.levels * len(GRIDS) << self.log2_entries
        self.table = nn.Parameter(torch.empty(rows, features).uniform_(-1e-4, 1e-4))  # the range of Müller et al.
        self._fixed("offsets", torch.arange(self.levels * len(GRIDS)).reshape(self.levels, len(GRIDS), 1)
                    << self.log2_entries)
        fine = growth ** torch.arange(self.levels, dtype=torch.float64)[:, None]
        cells = torch.tensor([base_km] * 3 + [base_years], dtype=torch.float64) / fine
        turns = torch.zeros(self.levels, 4, dtype=torch.int64)
        if coordinates == "geographic":
            turns[:, 0] = torch.round(2 * math.pi * EARTH_KM / cells[:, 0]).clamp(min=1).long()
            cells[:, 0] = 2 * math.pi * EARTH_KM / turns[:, 0].double()  # a whole number of cells around the Earth
        self._fixed("cells", cells)
        self._fixed("turns", turns)
        self._fixed("corners", torch.tensor(list(itertools.product((0, 1), repeat=3))))
        self._fixed("primes", torch.tensor(PRIMES))
        self._fixed("axes", torch.tensor(GRIDS))

    def _fixed(self, name: str, value: Tensor) -> None:
        # Follows from the arguments: no part of what is learnt and kept.
        self.register_buffer(name, value, persistent=False)

    def forward(self, place: Tensor) -> Tensor:
        """Features (b, width), of the table's dtype.

        Args:
            place: (b, 4), float64 (float32 keeps a metre and an hour): latitude and longitude in degrees, elevation in
                metres, year with its fraction.
        """
        position = self._axes_of(place.double())
        scaled = position[:, None, :] / self.cells  # b l a
        below = scaled.floor()
        part = (scaled - below).to(self.table.dtype)[:, :, self.axes]  # b l g 3
        weight = torch.where(self.corners.bool(), part[..., None, :], 1 - part[..., None, :]).prod(-1)  # b l g v
        found = functional.embedding(self._entries(below.long()), self.table)  # b l g v f
        features = (found * weight[..., None]).sum(-2).flatten(1)
        if not self.season:
            return features
        return torch.cat([features, season_of(place.double()[:, 3]).to(features.dtype)], dim=1)

    def entries(self, place: Tensor) -> Tensor:
        """Rows of ``table`` that each place is interpolated between, int64 (b, levels, 4, 8)."""
        return self._entries((self._axes_of(place.double())[:, None, :] / self.cells).floor().long())

    def _entries(self, below: Tensor) -> Tensor:
        corner = below[:, :, self.axes][..., None, :] + self.corners  # b l g v 3
        if self.coordinates == "geographic":
            around = self.turns[:, self.axes][:, :, None, :]
            corner = torch.where(around > 0, corner.remainder(around.clamp(min=1)), corner)
        mixed = corner * self.primes
        hashed = mixed[..., 0] ^ mixed[..., 1] ^ mixed[..., 2]
        return (hashed & ((1 << self.log2_entries) - 1)) + self.offsets

    def _axes_of(self, place: Tensor) -> Tensor:
        # x, y, z in km and t in years, float64 (b, 4).
        latitude, longitude = torch.deg2rad(place[:, 0]), torch.deg2rad(place[:, 1])
        elevation_km, years = place[:, 2] / 1000, place[:, 3]
        if self.coordinates == "geographic":
            return torch.stack([EARTH_KM * longitude, EARTH_KM * latitude, elevation_km, years], dim=1)
        radius = EARTH_KM + elevation_km
        return torch.stack([radius * latitude.cos() * longitude.cos(), radius * latitude.cos() * longitude.sin(),
                            radius * latitude.sin(), years], dim=1)


def season_of(years: Tensor) -> Tensor:
    """Cosines, then sines, of one and two cycles of the year, (b, 4), of years (b,) with their fraction."""
    cycle = 2 * math.pi * (years - years.floor())[:, None] * torch.arange(1, HARMONICS + 1, device=years.device)
    return torch.cat([cycle.cos(), cycle.sin()], dim=1)


def place_vector(place: Tensor) -> Tensor:
    """A place and time as numbers without seams, to be predicted: float64 (b, 7) of (b, 4) as in :class:`PlaceEncoder`.

    The unit vector from the Earth's centre (x, y, z), elevation in km, year, cosine and sine of the cycle of the year.
    """
    place = place.double()
    latitude, longitude = torch.deg2rad(place[:, 0]), torch.deg2rad(place[:, 1])
    cycle = 2 * math.pi * (place[:, 3] - place[:, 3].floor())
    return torch.stack([latitude.cos() * longitude.cos(), latitude.cos() * longitude.sin(), latitude.sin(),
                        place[:, 2] / 1000, place[:, 3], cycle.cos(), cycle.sin()], dim=1)
