"""das: where a simulated cable lies, how each channel is coupled to the ground, and what its gauge length does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.seeds import derive_seed
from groundswell.pipelines.das.simulate.recipe import FibreRecipe

Floats = NDArray[np.float64]
_M_PER_DEGREE = 111_195.0


@dataclass(frozen=True)
class Cable:
    """One cable on a local map (metres east and north of its first channel).

    Attributes:
        number: position among the archive's cables.
        distance_m: along the fibre, float64 (channels,).
        east_m, north_m: channel positions, float64 (channels,).
        tangent_east, tangent_north: unit vector along the fibre, float64 (channels,).
        coupling: amplitude of ground motion that reaches the fibre, float64 (channels,).
        dead, saturated: bool (channels,).
        road_m: stretch of the fibre that a road follows.
        spacing_m, gauge_m: channel spacing and gauge length.
        latitude, longitude: of the map's origin.
    """

    number: int
    distance_m: Floats
    east_m: Floats
    north_m: Floats
    tangent_east: Floats
    tangent_north: Floats
    coupling: Floats
    dead: NDArray[np.bool_]
    saturated: NDArray[np.bool_]
    road_m: tuple[float, float]
    spacing_m: float
    gauge_m: float
    latitude: float
    longitude: float

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.distance_m)

    @property
    def working(self) -> NDArray[np.bool_]:
        """Channels that are neither dead nor saturated, bool (channels,)."""
        return ~(self.dead | self.saturated)

    @property
    def middle_m(self) -> tuple[float, float]:
        """Mean channel position (east, north)."""
        return float(self.east_m.mean()), float(self.north_m.mean())

    def on_map(self, east_m: float | Floats, north_m: float | Floats) -> tuple[Floats, Floats]:
        """Latitude and longitude of map positions (tangent plane; errors below 0.1 % within 50 km)."""
        latitude = self.latitude + np.asarray(north_m) / _M_PER_DEGREE
        longitude = self.longitude + np.asarray(east_m) / (_M_PER_DEGREE * np.cos(np.radians(self.latitude)))
        return latitude, longitude


def make_cable(recipe: FibreRecipe, number: int, seed: int) -> Cable:
    """Lay out cable ``number`` of the recipe; a pure function of its arguments."""
    channels, spacing_m = recipe.cables[number]
    rng = np.random.default_rng(derive_seed(seed, "das.simulate", "cable", number))
    distance_m = np.arange(channels, dtype=np.float64) * spacing_m
    east_m, north_m, tangent_east, tangent_north = _path(distance_m, recipe.bends, rng)
    coupling = 10 ** (recipe.coupling_db * _rough(channels, rng) / 20)
    dead, saturated = _faulty(channels, recipe.dead_share, recipe.saturated_share, rng)
    road_length_m = rng.uniform(0.3, 0.6) * distance_m[-1]
    road_start_m = rng.uniform(0, distance_m[-1] - road_length_m)
    road_m = (road_start_m, road_start_m + road_length_m)
    return Cable(number, distance_m, east_m, north_m, tangent_east, tangent_north, coupling, dead, saturated, road_m,
                 spacing_m, recipe.gauge_m, recipe.latitude, recipe.longitude)


def _path(distance_m: Floats, bends: int, rng: np.random.Generator) -> tuple[Floats, Floats, Floats, Floats]:
    """Integrate a heading that changes at the bends, each rounded over 4 % of the length."""
    length_m = max(float(distance_m[-1]), 1.0)
    fine_m = np.linspace(0, length_m, 2001)
    corners_m = np.sort(rng.uniform(0.1, 0.9, bends)) * length_m
    turns = rng.uniform(30, 80, bends) * rng.choice([-1, 1], bends)
    heading = np.full(fine_m.shape, rng.uniform(0, 360))
    for corner_m, turn in zip(corners_m, turns, strict=True):
        heading += turn * np.clip((fine_m - corner_m) / (0.04 * length_m) + 0.5, 0, 1)
    tangent_east, tangent_north = np.sin(np.radians(heading)), np.cos(np.radians(heading))
    step_m = fine_m[1]
    east = np.concatenate([[0.0], np.cumsum((tangent_east[1:] + tangent_east[:-1]) * step_m / 2)])
    north = np.concatenate([[0.0], np.cumsum((tangent_north[1:] + tangent_north[:-1]) * step_m / 2)])
    at_channels = np.radians(np.interp(distance_m, fine_m, heading))
    return (np.interp(distance_m, fine_m, east), np.interp(distance_m, fine_m, north),
            np.sin(at_channels), np.cos(at_channels))


def _rough(channels: int, rng: np.random.Generator) -> Floats:
    """Unit-variance variation along the fibre, half of it smooth over a tenth of the cable."""
    width = max(1, channels // 10)
    smooth = np.convolve(rng.standard_normal(channels + 2 * width), np.ones(width) / np.sqrt(width), "same")
    rough: Floats = (smooth[width : width + channels] + rng.standard_normal(channels)) / np.sqrt(2)
    return rough


def _faulty(channels: int, dead_share: float, saturated_share: float, rng: np.random.Generator
            ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    order = rng.permutation(channels)
    dead_count, saturated_count = round(dead_share * channels), round(saturated_share * channels)
    dead, saturated = np.zeros(channels, np.bool_), np.zeros(channels, np.bool_)
    dead[order[:dead_count]] = True
    saturated[order[dead_count : dead_count + saturated_count]] = True
    return dead, saturated


def gauge_response(wavenumber_per_m: NDArray[Any], gauge_m: float) -> NDArray[Any]:
    """Response of a strain average over ``gauge_m`` to a wavenumber along the fibre (cycles per metre).

    sin(pi k L) / (pi k L): zero where a whole number of wavelengths fits the gauge.
    """
    response: NDArray[Any] = np.sinc(wavenumber_per_m * gauge_m)
    return response
