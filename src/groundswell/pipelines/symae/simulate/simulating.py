"""symae: the making of a simulated store: events, the pixels that see them, their bags, and the truth beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.progress import progress
from groundswell.core.recipe import build_recipe
from groundswell.core.seeds import derive_seed
from groundswell.pipelines.symae.pixels import pixel_centre
from groundswell.pipelines.symae.simulate.archive import write_archive
from groundswell.pipelines.symae.simulate.bags import SimulatedBags, simulate_bags
from groundswell.pipelines.symae.simulate.places import (
    NSIDE,
    direction,
    place_events,
    place_stations,
    teleseismic_pixels,
)
from groundswell.pipelines.symae.simulate.recipe import WorldRecipe
from groundswell.pipelines.symae.simulate.sources import ONSET, Pulses, draw_pulses
from groundswell.pipelines.symae.simulate.worlds import WORLDS, Prior, World, random_worlds
from groundswell.pipelines.symae.store import BagStore, StoreFacts

FROM_PRIOR = "prior"
"""What stands for the name of a world that has none."""


def simulate(recipe: WorldRecipe, out: Path, *, hdf5: Path | None = None) -> BagStore:
    """Write a simulated store of bags with its truth: sources, paths, shifts, polarities and noise-free traces.

    The same recipe gives the same traces on the same machine.

    Args:
        recipe: the knobs.
        out: the store's folder, new or empty. It is there whole, or not at all.
        hdf5: also write the traces, without the truth, as an HDF5 archive of event/pixel/station.

    Raises:
        InputError: something is at ``out`` already, or the archive is; or one cannot be written to.
        MissingExtraError: healpix is not installed.
    """
    if hdf5 is not None and Path(hdf5).exists():
        raise InputError("There is something already", where=hdf5, fix="Choose another name for the archive")
    if Path(out).exists() and (not Path(out).is_dir() or any(Path(out).iterdir())):
        raise InputError("The folder for the simulated store is not empty", where=out, fix="Choose another")
    made, traces, bags = _Made([], [], []), [], []
    with progress(recipe.events, "simulate", "events") as bar:
        for number, event in enumerate(_events(recipe)):
            for found in _bags_of(recipe, number, event):
                bags.append(found.row)
                traces.append(found.stations.assign(bag=len(bags) - 1, event=event.row["event"],
                                                    pixel=found.row["pixel"]))
                made.add(found.bags)
            bar.advance()
    facts = StoreFacts(
        recipe.dt, -ONSET * recipe.nt * recipe.dt, recipe.nt, preparation={"normalised": "mean 0, deviation 1"},
        note={"simulated": True, "made_by": "symae simulate", "recipe": recipe.model_dump(mode="json")})
    store = BagStore.create(out, facts, pd.concat(traces, ignore_index=True), pd.DataFrame(bags),
                            np.concatenate(made.x), made.truth())
    if hdf5 is not None:
        write_archive(store, hdf5)
    return store


def simulate_store(out: Path, *, hdf5: Path | None = None, **knobs: Any) -> BagStore:
    """:func:`simulate` by keywords; for tests and notebooks.

    Raises:
        InputError: as :func:`simulate`, or a knob that is not known.
    """
    return simulate(build_recipe(WorldRecipe, knobs), out, hdf5=hdf5)


@dataclass(frozen=True)
class _Event:
    row: Mapping[str, Any]
    world: World
    name: str
    pulses: Pulses
    broke: NDArray[np.float64]


@dataclass(frozen=True)
class _Found:
    """One bag: its row, its stations and its waveforms."""

    row: dict[str, Any]
    stations: pd.DataFrame
    bags: SimulatedBags


@dataclass
class _Made:
    """What goes into the arrays of a store, bag by bag."""

    x: list[NDArray[np.float32]]
    of_traces: list[dict[str, NDArray[Any]]]
    of_bags: list[tuple[NDArray[np.float32], bool]]

    def add(self, bag: SimulatedBags) -> None:
        self.x.append(bag.x[0])
        self.of_traces.append({"shift": bag.shift_s[0], "flip": bag.flip[0], "path": bag.path[0],
                               "clean": bag.clean[0]})
        self.of_bags.append((bag.source[0], bool(bag.shared[0])))

    def truth(self) -> dict[str, NDArray[Any]]:
        return {"source": np.stack([source for source, _ in self.of_bags]),
                "shared": np.array([shared for _, shared in self.of_bags]),
                **{name: np.concatenate([part[name] for part in self.of_traces]) for name in self.of_traces[0]}}


def _events(recipe: WorldRecipe) -> list[_Event]:
    chance = np.random.default_rng(derive_seed(recipe.seed, "symae.simulate", "events"))
    frame = place_events(recipe.events, chance)
    if recipe.worlds:
        names = [recipe.worlds[number % len(recipe.worlds)] for number in range(recipe.events)]
        worlds = [WORLDS[name] for name in names]
    else:
        names = [FROM_PRIOR] * recipe.events
        worlds = random_worlds(recipe.events, chance, Prior(**recipe.prior.model_dump()))
    if recipe.flips is not None:
        worlds = [replace(world, flips=recipe.flips) for world in worlds]
    if recipe.shared is not None:
        worlds = [replace(world, shared=recipe.shared) for world in worlds]
    pulses = draw_pulses(worlds, chance)
    down, around = np.degrees(np.arccos(chance.uniform(-1, 1, recipe.events))), chance.uniform(0, 360, recipe.events)
    broke = direction(down, around)
    return [_Event({str(key): value for key, value in row.items()}, worlds[number], names[number],
                   pulses.take(slice(number, number + 1)), broke[number])
            for number, row in enumerate(frame.to_dict("records"))]


def _bags_of(recipe: WorldRecipe, number: int, event: _Event) -> list[_Found]:
    chance = np.random.default_rng(derive_seed(recipe.seed, "symae.simulate", "pixels", number))
    low, high = recipe.pixels
    chosen = np.sort(chance.choice(teleseismic_pixels(), chance.integers(low, high + 1), replace=False))
    found = []
    for pixel in chosen.tolist():
        own = np.random.default_rng(derive_seed(recipe.seed, "symae.simulate", "bag", number, pixel))
        count = int(own.integers(recipe.traces[0], recipe.traces[1] + 1))
        takeoff, azimuth = (float(angle) for angle in pixel_centre(pixel, NSIDE))
        # Doppler's effect of a moving rupture: it looks shorter, and its pulses sharper, where it runs to.
        longer = 1 - recipe.directivity * float(direction(takeoff, azimuth) @ event.broke)
        bags = simulate_bags(event.world, 1, count, nt=recipe.nt, dt=recipe.dt, generator=own,
                             pulses=event.pulses.stretched(longer))
        stations = place_stations(event.row["latitude"], event.row["longitude"], pixel, count, own)
        names = [f"SIM.{number:04d}{pixel:03d}{index:03d}" for index in range(count)]
        row = {**event.row, "pixel": pixel, "pixel_colatitude": takeoff, "pixel_longitude": azimuth,
               "world": event.name}
        found.append(_Found(row, pd.DataFrame({"station": names, **vars(stations)}), bags))
    return found
