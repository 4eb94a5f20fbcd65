"""symae: what simulated earthquakes should look like, as a pydantic model."""

from __future__ import annotations

import difflib
from typing import ClassVar

from pydantic import Field, field_validator, model_validator

from groundswell.core.recipe import RecipePart

WORLD_NAMES = ("easy", "noisy", "coda", "hard", "loud",
               "easy_flips", "noisy_flips", "coda_flips", "hard_flips", "loud_flips",
               "narrow", "wide", "long", "shared")
"""Worlds that have a name: the five rows, the same with half of the traces turned over, narrow and wide pulses, sources
of 45 s, and paths with a part in common."""


class PriorRecipe(RecipePart):
    """The continuous distribution of worlds, for training; the five rows lie within its ranges."""

    snr_db: tuple[float, float] = (-6.0, 10.0)
    """Signal-to-noise ratio, uniform, decibels."""
    coda: tuple[float, float] = (0.3, 1.2)
    """Strength of the scattered waves, uniform; 1 gives them 1.75 times the direct wave's power."""
    shift_s: tuple[float, float] = (1.0, 3.5)
    """Standard deviation of the traces' shifts, uniform, seconds."""
    flips: float = Field(0.5, ge=0, le=0.5)
    """Most of the share of traces turned over; uniform from 0."""
    unflipped: float = Field(0.5, ge=0, le=1)
    """Share of events without any trace turned over."""
    shared: float = Field(0.0, ge=0, le=1)
    """Share of events whose paths have a part in common, so that the source cannot be recovered."""

    @model_validator(mode="after")
    def _ranges_are_ranges(self) -> PriorRecipe:
        if any(low > high for low, high in (self.snr_db, self.coda, self.shift_s)):
            raise ValueError("a range gives its smaller end first")
        if min(*self.coda, *self.shift_s) < 0:
            raise ValueError("coda and shift_s are not negative")
        return self


class WorldRecipe(RecipePart):
    """A complete simulated store of bags."""

    listed_by: ClassVar[str] = "groundswell symae simulate --knobs"

    seed: int = 42
    """Everything is a pure function of the recipe; a bag, of the seed, its event's and its pixel's number."""
    events: int = Field(60, ge=1, le=100_000)
    """Earthquakes. Each belongs to one world."""
    pixels: tuple[int, int] = (1, 3)
    """Fewest and most pixels of the focal sphere, 1 to 20, that an event is seen through; each gives a bag."""
    traces: tuple[int, int] = (4, 24)
    """Fewest and most traces of a bag."""
    worlds: tuple[str, ...] = ("easy", "noisy", "coda", "hard", "loud")
    """Worlds by name, which the events go through in turn; empty draws each event's world from the prior."""
    prior: PriorRecipe = PriorRecipe()
    """Where worlds come from that have no name."""
    flips: float | None = Field(None, ge=0, le=0.5)
    """Share of traces turned over, whatever the worlds say; absent leaves it to them."""
    shared: float | None = Field(None, ge=0)
    """Strength of a part that all paths of a bag have in common, whatever the worlds say; absent leaves it to them."""
    directivity: float = Field(0.1, ge=0, lt=1)
    """How much shorter and how much longer a source looks along and against the direction in which it broke."""
    dt: float = Field(0.5, gt=0, le=2)
    """Seconds between samples."""
    nt: int = Field(192, ge=64, le=4096)
    """Samples of a trace."""

    @field_validator("worlds")
    @classmethod
    def _known(cls, worlds: tuple[str, ...]) -> tuple[str, ...]:
        for name in worlds:
            if name not in WORLD_NAMES:
                near = difflib.get_close_matches(name, WORLD_NAMES, n=1)
                raise ValueError(f"there is no world '{name}'" + (f" (did you mean '{near[0]}'?)" if near else "")
                                 + f"; worlds: {', '.join(WORLD_NAMES)}")
        return worlds

    @model_validator(mode="after")
    def _sizes_hold(self) -> WorldRecipe:
        if not 1 <= self.pixels[0] <= self.pixels[1] <= 20:
            raise ValueError("pixels gives the fewest and the most, 1 to 20")
        if not 2 <= self.traces[0] <= self.traces[1] <= 10_000:
            raise ValueError("traces gives the fewest and the most, at least 2: one tells nothing of its source")
        if self.nt * self.dt < 60:
            raise ValueError(f"{self.nt} samples of {self.dt:g} s are {self.nt * self.dt:g} s; a source and its coda "
                             "need 60 at least")
        return self
