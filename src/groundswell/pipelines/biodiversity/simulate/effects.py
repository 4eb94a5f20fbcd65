"""biodiversity: what species, place, season, individual and noise do to a simulated embedding, as arrays alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.seeds import derive_seed
from groundswell.pipelines.biodiversity.simulate.fields import RandomField
from groundswell.pipelines.biodiversity.simulate.recipe import SimulateRecipe

Floats = NDArray[np.float32]

VISION, LANGUAGE = 1408, 7168
"""Width of a pooled vision vector and of a language vector."""
EFFECTS = ("offset", "species", "place", "season", "individual", "noise")
"""What a vision vector is the sum of."""
_YEAR_DAYS = 365.25


@dataclass(frozen=True)
class Seen:
    """What effects depend on, by observation.

    Attributes:
        number: the observation's (``gbif_id``), int64 (n,).
        taxon: position in the list of taxa, int64 (n,).
        latitude, longitude: degrees, float64 (n,).
        season_rad: day of the year as an angle, 0 at its beginning; nan where month or day is not known; float64 (n,).
    """

    number: NDArray[np.int64]
    taxon: NDArray[np.int64]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    season_rad: NDArray[np.float64]

    @classmethod
    def of(cls, frame: pd.DataFrame, taxa: Sequence[str]) -> Seen:
        """Of observations, all of whose species are among ``taxa``."""
        taxon = pd.Index(taxa).get_indexer(pd.Index(frame["taxon_name"])).astype(np.int64)
        return cls(frame["gbif_id"].to_numpy(np.int64), taxon, frame["latitude"].to_numpy(np.float64),
                   frame["longitude"].to_numpy(np.float64), season_rad(frame))

    def take(self, rows: slice | NDArray[np.int64]) -> Seen:
        """Some of them."""
        return Seen(self.number[rows], self.taxon[rows], self.latitude[rows], self.longitude[rows],
                    self.season_rad[rows])

    def __len__(self) -> int:
        return len(self.number)


def season_rad(frame: pd.DataFrame) -> NDArray[np.float64]:
    """Day of the year as an angle, by month and day in a common year; nan where one of them is not known."""
    month, day = (frame[name].to_numpy(np.float64, na_value=np.nan) for name in ("month", "day"))
    known = np.isfinite(month) & np.isfinite(day)
    before = np.cumsum([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30])
    first = before[np.where(known, month, 1).astype(np.int64) - 1]
    return np.where(known, 2 * np.pi * (first + day - 0.5) / _YEAR_DAYS, np.nan)


class Effects:
    """The effects of a recipe on the embeddings of some species.

    Species have latent numbers of their own, standard normal, part of them shared by their genus, which depend on the
    seed and the name alone; orthonormal directions carry them into vision vectors, and a random linear map into
    language vectors. Individuals have such numbers too. What an individual and its noise are depends on the seed and
    the observation's number alone.

    Args:
        recipe: the knobs.
        taxa: names of the species.
    """

    def __init__(self, recipe: SimulateRecipe, taxa: Sequence[str]) -> None:
        self.recipe, self.taxa = recipe, tuple(taxa)
        width = recipe.class_dimensions
        self.latent = np.stack([self._latent(name) for name in self.taxa])
        self._directions = _orthonormal(self.seed("directions of species"), width)
        self._season = _orthonormal(self.seed("directions of the season"), 2)
        offset = np.random.default_rng(self.seed("offset")).standard_normal(VISION)
        self._offset = (recipe.offset * offset / np.sqrt(np.mean(offset**2))).astype(np.float32)
        self._field = RandomField(recipe.place_range_m, VISION, self.seed("place")) if recipe.place_effect else None

    def seed(self, *name: str | int) -> int:
        """Of one use of chance."""
        return derive_seed(self.recipe.seed, "biodiversity.simulate", *name)

    def _latent(self, name: str) -> NDArray[np.float64]:
        width, shared = self.recipe.class_dimensions, self.recipe.genus_share
        genus = np.random.default_rng(self.seed("genus", name.split(" ")[0])).standard_normal(width)
        own = np.random.default_rng(self.seed("species", name)).standard_normal(width)
        return np.asarray(np.sqrt(shared) * genus + np.sqrt(1 - shared) * own, np.float64)

    def parts(self, seen: Seen) -> dict[str, Floats]:
        """What each effect adds to the pooled vision vectors, float32 (n, 1408) each, by the names of ``EFFECTS``."""
        recipe = self.recipe
        individual, noise = self.individual(seen.number), self._noise(seen.number)
        wave = np.sqrt(2) * np.stack([np.cos(seen.season_rad), np.sin(seen.season_rad)], axis=1)
        parts = {
            "offset": np.broadcast_to(self._offset, (len(seen), VISION)),
            "species": self._spread(recipe.class_effect, self.latent[seen.taxon], self._directions),
            "place": np.zeros((len(seen), VISION)),
            "season": self._spread(recipe.season_effect, np.nan_to_num(wave), self._season),
            "individual": self._spread(recipe.individual_effect, individual, self._directions),
            "noise": np.float32(recipe.noise) * noise}
        if self._field is not None:
            parts["place"] = np.float32(recipe.place_effect) * self._field.at(seen.latitude, seen.longitude)
        return {name: np.asarray(parts[name], np.float32) for name in EFFECTS}

    @staticmethod
    def total(parts: Mapping[str, Floats]) -> Floats:
        """The sum of :meth:`parts`, in their order: pooled vision vectors, float32 (n, 1408)."""
        total = parts[EFFECTS[0]].copy()
        for name in EFFECTS[1:]:
            total += parts[name]
        return total

    def vision(self, seen: Seen) -> Floats:
        """Pooled vision vectors, float32 (n, 1408)."""
        return self.total(self.parts(seen))

    def language(self) -> Floats:
        """A language vector for each species, float32 (taxa, 7168)."""
        width = self.recipe.class_dimensions
        to_language = np.random.default_rng(self.seed("map to language")).standard_normal((width, LANGUAGE))
        vectors: Floats = (self.latent @ to_language / np.sqrt(width)).astype(np.float32)
        for k, name in enumerate(self.taxa):
            chance = np.random.default_rng(self.seed("language", name))
            vectors[k] += np.float32(self.recipe.language_noise) * chance.standard_normal(LANGUAGE, np.float32)
        return vectors

    def individual(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Latent numbers of individuals, standard normal, shape (n, class_dimensions)."""
        latent = np.empty((len(numbers), self.recipe.class_dimensions))
        for i, number in enumerate(numbers.tolist()):
            np.random.default_rng(self.seed("individual", number)).standard_normal(out=latent[i])
        return latent

    def _noise(self, numbers: NDArray[np.int64]) -> Floats:
        noise = np.empty((len(numbers), VISION), np.float32)
        for i, number in enumerate(numbers.tolist()):
            np.random.default_rng(self.seed("noise", number)).standard_normal(dtype=np.float32, out=noise[i])
        return noise

    def _spread(self, effect: float, latent: NDArray[np.float64], directions: Floats) -> Floats:
        """Unit-variance numbers along directions as vectors whose root mean square a number is ``effect``."""
        scale = effect * np.sqrt(VISION / len(directions))
        return np.asarray((scale * latent).astype(np.float32) @ directions, np.float32)


def _orthonormal(seed: int, count: int) -> Floats:
    """So many orthonormal directions, rows of (count, 1408)."""
    drawn = np.random.default_rng(seed).standard_normal((VISION, count))
    return np.ascontiguousarray(np.linalg.qr(drawn)[0].T, np.float32)
