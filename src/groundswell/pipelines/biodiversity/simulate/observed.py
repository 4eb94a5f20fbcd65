"""biodiversity: simulated tables of observations: places that people visit, species in patches and in season."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.seeds import derive_seed
from groundswell.data.sphere import EARTH_KM
from groundswell.pipelines.biodiversity.simulate.fields import RandomField
from groundswell.pipelines.biodiversity.simulate.recipe import ObservedRecipe, SimulateRecipe

FIRST_ID = 900_000_000_000
"""Numbers of simulated observations begin here, far above those that GBIF has given out."""
_SPECIES_A_TIME = 256
_KM_PER_DEGREE = np.pi * EARTH_KM / 180


@dataclass(frozen=True)
class Visits:
    """Who went where and when.

    Attributes:
        place: number of the spot, int64 (visits,).
        latitude, longitude: of the spots, degrees, float64 (places,).
        day: datetime64[D] (visits,).
        observer: number of the person, int64 (visits,).
    """

    place: NDArray[np.int64]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    day: NDArray[np.datetime64]
    observer: NDArray[np.int64]


def simulate_observations(recipe: SimulateRecipe) -> pd.DataFrame:
    """A table of observations, in order of their numbers.

    Spots lie by chance in the region and are visited unequally often, on days by chance. How many observations a
    species has is drawn first; each is then put into a visit, by how dense the species is at its spot and how much in
    season on its day. Density is log-normal, the exponential of a smooth random field of the species' own.

    Returns:
        observation_id, gbif_id, image_index, taxon_id, taxon_name, latitude, longitude, year, month, day, has_vision,
        observer. Numbers begin at :data:`FIRST_ID`, so that none is that of a real observation.

    Raises:
        InputError: so many species cannot have so many observations.
    """
    knobs, count = recipe.observed, recipe.observed_count
    names = species_names(recipe.species, knobs.genera)
    per_species = abundances(recipe)
    visits = _draw_visits(recipe)
    species = np.repeat(np.arange(len(names)), per_species)
    visit = _visits_of_species(recipe, visits, per_species)
    chance = np.random.default_rng(_seed(recipe, "observations"))
    order = chance.permutation(count)
    species, visit = species[order], visit[order]
    latitude, longitude = _positions(knobs, visits, visit, chance)
    day = pd.DatetimeIndex(visits.day[visit])
    gbif_id = FIRST_ID + np.arange(count)
    return pd.DataFrame({
        "observation_id": [f"{number}_1" for number in gbif_id.tolist()], "gbif_id": gbif_id,
        "image_index": np.ones(count, np.int64), "taxon_id": [str(FIRST_ID + k) for k in species.tolist()],
        "taxon_name": np.array(names, dtype=object)[species], "latitude": latitude, "longitude": longitude,
        "year": day.year.astype(np.int64), "month": day.month.astype(np.int64), "day": day.day.astype(np.int64),
        "has_vision": True, "observer": [f"observer-{k + 1:03d}" for k in visits.observer[visit].tolist()]})


def species_names(species: int, genera: int) -> list[str]:
    """``Simulata-01 species-001`` and so on; the first word is the genus."""
    genera, width = min(genera, species), max(3, len(str(species)))
    return [f"Simulata-{k * genera // species + 1:02d} species-{k + 1:0{width}d}" for k in range(species)]


def abundances(recipe: SimulateRecipe) -> NDArray[np.int64]:
    """Observations of each species, at least two, adding up to the count; shape (species,).

    Raises:
        InputError: so many species have at least, or at most, other numbers of observations.
    """
    knobs, chance, count = recipe.observed, np.random.default_rng(_seed(recipe, "abundance")), recipe.observed_count
    most = knobs.most_per_species or count
    if not 2 * recipe.species <= count <= most * recipe.species:
        limit = f" and at most {most} (observed.most_per_species)" if knobs.most_per_species else ""
        raise InputError(f"{recipe.species} species of at least 2 observations each{limit} do not make {count}",
                         where="count, species", fix="Change one of these knobs")
    weight = np.exp(knobs.abundance_spread * chance.standard_normal(recipe.species))
    found = np.full(recipe.species, 2)
    while left := count - int(found.sum()):
        room = np.where(found < most, weight, 0.0)  # what a full species cannot take, others do
        found = np.minimum(found + chance.multinomial(left, room / room.sum()), most)
    return np.asarray(found, np.int64)


def _draw_visits(recipe: SimulateRecipe) -> Visits:
    knobs, chance = recipe.observed, np.random.default_rng(_seed(recipe, "visits"))
    count = max(1, round(recipe.observed_count / knobs.visit_size))
    north_km, east_km = (chance.random((2, knobs.places)) - 0.5) * knobs.extent_km
    latitude = knobs.latitude + north_km / _KM_PER_DEGREE
    longitude = _wrapped(knobs.longitude + east_km / (_KM_PER_DEGREE * np.cos(np.radians(latitude))))
    liked = np.exp(chance.standard_normal(knobs.places))
    place = chance.choice(knobs.places, count, p=liked / liked.sum())
    regular = chance.integers(knobs.observers, size=knobs.places)
    observer = np.where(chance.random(count) < 0.5, regular[place], chance.integers(knobs.observers, size=count))
    days = (knobs.last_day - knobs.first_day).days + 1
    day = np.datetime64(knobs.first_day, "D") + chance.integers(days, size=count)
    return Visits(place, latitude, longitude, day, observer)


def _visits_of_species(recipe: SimulateRecipe, visits: Visits, per_species: NDArray[np.int64]) -> NDArray[np.int64]:
    """A visit for each observation of each species, one species after another; shape (observations,)."""
    knobs, chance = recipe.observed, np.random.default_rng(_seed(recipe, "species in visits"))
    peak_rad = 2 * np.pi * chance.random(len(per_species))
    year_day = visits.day - visits.day.astype("datetime64[Y]").astype("datetime64[D]")
    season_rad = 2 * np.pi * year_day.astype(np.float64) / 365.25
    found = []
    for first in range(0, len(per_species), _SPECIES_A_TIME):
        some = range(first, min(first + _SPECIES_A_TIME, len(per_species)))
        density = RandomField(knobs.patch_m, len(some), _seed(recipe, "patches", first)).at(visits.latitude,
                                                                                          visits.longitude)
        for k in some:
            liking = knobs.patchiness * density[visits.place, k - first].astype(np.float64)
            liking += knobs.flowering * np.cos(season_rad - peak_rad[k])
            reached = np.cumsum(np.exp(liking - liking.max()))
            drawn = chance.random(per_species[k]) * reached[-1]
            found.append(np.searchsorted(reached, drawn, side="right"))
    return np.asarray(np.minimum(np.concatenate(found), len(visits.place) - 1), np.int64)


def _positions(knobs: ObservedRecipe, visits: Visits, visit: NDArray[np.int64],
               chance: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Degrees, to six decimals (a decimetre): about the visit's spot, or where its other observations are too."""
    apart = chance.random(len(visit)) >= knobs.same_spot
    of_visit = chance.standard_normal((2, len(visits.place)))
    step_m = knobs.spot_m * np.where(apart, chance.standard_normal((2, len(visit))), of_visit[:, visit])
    north_deg, east_deg = step_m / (1000 * _KM_PER_DEGREE)
    latitude = visits.latitude[visits.place[visit]] + north_deg
    longitude = visits.longitude[visits.place[visit]] + east_deg / np.cos(np.radians(latitude))
    return np.round(latitude, 6), np.round(_wrapped(longitude), 6)


def _wrapped(longitude: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((longitude + 180) % 360 - 180, np.float64)


def _seed(recipe: SimulateRecipe, *name: Any) -> int:
    return derive_seed(recipe.seed, "biodiversity.simulate", "observed", *name)
