"""biodiversity: what simulated observations and embeddings should look like, as a pydantic model."""

from __future__ import annotations

from datetime import date
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from groundswell.core.recipe import RecipePart

DEFAULT_COUNT = 3000
"""Observations of a simulated table unless a number is asked for."""
TierName = Literal["vision_mean", "vision_temporal", "vision_grid", "vision"]


class ObservedRecipe(RecipePart):
    """The simulated observation table: places that people visit, and species that grow in patches."""

    genera: int = Field(12, ge=1)
    """How many genera species belong to, evenly; at most as many as species."""
    abundance_spread: float = Field(0.5, ge=0, le=5)
    """Standard deviation of the logarithm of a species' abundance; 0 makes all as frequent."""
    most_per_species: int = Field(0, ge=0)
    """No species has more observations than this, as where a collection is capped; 0 for no limit."""
    latitude: float = Field(28.5, ge=-80, le=80)
    """Of the middle of the region, degrees."""
    longitude: float = Field(-81.4, ge=-180, le=180)
    """Of the middle of the region, degrees."""
    extent_km: float = Field(100.0, gt=0, le=1000)
    """Edge of the square region."""
    places: int = Field(300, ge=1)
    """How many spots people go to; some are visited much more often than others."""
    spot_m: float = Field(60.0, ge=0)
    """Standard deviation of an observation's position around its spot, north and east, metres."""
    same_spot: float = Field(0.2, ge=0, le=1)
    """Share of observations that are recorded at the very coordinates of their visit."""
    patch_m: float = Field(3000.0, gt=0)
    """Size of the patches in which species grow: distance at which the correlation of a species' density has fallen to
    0.05, metres."""
    patchiness: float = Field(2.0, ge=0, le=10)
    """Standard deviation of the logarithm of a species' density from place to place; 0 lets all species grow
    everywhere alike, so that where one is says nothing of what one sees."""
    flowering: float = Field(1.0, ge=0, le=20)
    """How much of a species is recorded in its own season (concentration of a von Mises distribution over the year); 0
    makes all months alike."""
    visit_size: float = Field(2.5, ge=1)
    """Mean number of observations of one visit: one observer, one spot, one day."""
    observers: int = Field(50, ge=1)
    """How many people observe. Each spot has a regular one, who makes half of its visits."""
    first_day: date = date(2012, 1, 1)
    """Of the observations."""
    last_day: date = date(2025, 5, 31)
    """Of the observations."""

    @model_validator(mode="after")
    def _ranges_are_ranges(self) -> ObservedRecipe:
        if self.first_day > self.last_day:
            raise ValueError("first_day must not be after last_day")
        if 0 < self.most_per_species < 2:
            raise ValueError("most_per_species is 0 (no limit) or at least 2")
        return self


class SimulateRecipe(RecipePart):
    """A complete simulated store.

    A vision vector is the sum of its species' vector, what the place, the season and the individual do to it, and
    noise. Each effect is given as the root mean square of what it adds to one of the 1,408 numbers, so that the squares
    of the effects add up to the variance.
    """

    listed_by: ClassVar[str] = "groundswell biodiversity simulate --knobs"

    seed: int = 42
    """Everything is a pure function of the recipe; a vector, of the seed, the knobs and its observation."""
    observations: str = ""
    """A real table of observations (CSV, Parquet), whose places, dates and species are taken; empty simulates one."""
    count: int = Field(0, ge=0)
    """Observations: of the simulated table (0 for 3,000), or so many drawn by chance from the real one (0 for all)."""
    species: int = Field(40, ge=1, le=100_000)
    """Species of the simulated table; a real one has its own. Each has at least two observations."""
    class_effect: float = Field(1.0, ge=0)
    """What the species does; 0 leaves nothing by which embeddings would know a species."""
    genus_share: float = Field(0.5, ge=0, le=1)
    """Share of the species' effect that all species of a genus (the first word of the name) have in common."""
    class_dimensions: int = Field(12, ge=1, le=1408)
    """In how many directions species differ. In the same ones individuals differ."""
    individual_effect: float = Field(0.9, ge=0)
    """What the individual does, in the directions in which species differ: it is what makes species hard to tell
    apart. Noise alone, spread over 1,408 directions, averages out."""
    place_effect: float = Field(0.4, ge=0)
    """What the place does: a smooth Gaussian random field over the Earth, one for each of the 1,408 numbers."""
    place_range_m: float = Field(2000.0, ge=10)
    """Distance at which the correlation of the place's effect has fallen to 0.05, metres. At two and a half times this
    distance it is below 0.00001: embeddings say nothing there about places like theirs."""
    season_effect: float = Field(0.3, ge=0)
    """What the day of the year does: one harmonic; nothing where the date is not known."""
    noise: float = Field(0.5, ge=0)
    """White noise, independent between numbers and observations."""
    offset: float = Field(1.0, ge=0)
    """Root mean square of the vector that all embeddings share."""
    language: bool = True
    """Also make a language vector for each species: a fixed linear map of the species' part of the vision vectors,
    whatever class_effect, with noise; so that either can be found from the other."""
    language_noise: float = Field(0.5, ge=0)
    """Noise of a language vector, one draw a species; the rest of it has a root mean square of 1."""
    tiers: tuple[TierName, ...] = ("vision_mean",)
    """Tables of vision vectors: vision_mean (1408), vision_temporal (8 x 1408), vision_grid (8 x 3 x 3 x 1408), and
    vision, whole ones (8 x 24 x 24 x 1408, 26 MB each as float32). The smaller ones are the means of the larger."""
    token_spread: float = Field(1.0, ge=0)
    """Standard deviation of frames about their mean, of cells about their frame and of patches about their cell."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """How vectors are stored."""
    missing_share: float = Field(0.0, ge=0, lt=1)
    """Share of observations whose vision vector is marked as missing, by chance."""
    most_gib: float = Field(20.0, gt=0)
    """A store that would be larger is refused, before anything is written."""
    observed: ObservedRecipe = ObservedRecipe()
    """The simulated observation table; a real one needs none of these."""

    @property
    def observed_count(self) -> int:
        """Observations of a simulated table."""
        return self.count or DEFAULT_COUNT

    @model_validator(mode="after")
    def _each_once(self) -> SimulateRecipe:
        if len(set(self.tiers)) != len(self.tiers):
            raise ValueError("tiers names each table once")
        if not self.tiers and not self.language:
            raise ValueError("tiers is empty and language is off: there would be no embeddings")
        return self
