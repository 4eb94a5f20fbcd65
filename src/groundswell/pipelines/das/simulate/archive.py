"""das: simulated archives: one file for each event, or consecutive files with events at known times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.progress import progress
from groundswell.core.recipe import build_recipe
from groundswell.core.seeds import derive_seed
from groundswell.pipelines.das.simulate.fibre import Cable, make_cable
from groundswell.pipelines.das.simulate.noise import NoiseSource, SimulatedNoise, Stretch, daylight, noise_between
from groundswell.pipelines.das.simulate.real_noise import noise_from_files
from groundswell.pipelines.das.simulate.recipe import SimulateRecipe
from groundswell.pipelines.das.simulate.record import Signal, add_signal, apply_faults, band_power, make_signal
from groundswell.pipelines.das.simulate.sources import Event, draw_event
from groundswell.pipelines.das.simulate.truth import Placed, write_truth
from groundswell.pipelines.das.simulate.wavefield import Propagation
from groundswell.pipelines.das.simulate.writing import Recording, file_name, write_recording

_LEVEL_S, _LEVEL_DRAWS = 20.0, 8
"""How much of a given noise is looked at to know its level."""
_EVENT_ROOM_S = 60.0
"""Least time between events of a continuous archive, and half of it at both ends."""


class Simulator:
    """Makes the recordings of a recipe one by one; each is a pure function of (recipe, noise source, number).

    Args:
        recipe: the knobs.
        noise: where noise comes from; when absent the recipe's ``noise_files``, or else its simulated noise. Noise
            from elsewhere is scaled, by one factor for each cable, to ``recipe.noise.level_nstrain_s`` in the
            signal-to-noise band.

    Raises:
        InputError: a noise file cannot be used.
    """

    def __init__(self, recipe: SimulateRecipe, noise: NoiseSource | None = None) -> None:
        self.recipe = recipe
        if noise is None and recipe.noise_files:
            noise = noise_from_files([Path(name) for name in recipe.noise_files], band_hz=recipe.snr_band_hz)
        self.noise: NoiseSource = noise or SimulatedNoise(recipe)
        self._given_noise = noise is not None
        self._scale: dict[int, float] = {}
        self.cables = [make_cable(recipe.fibre, number, recipe.seed) for number in range(len(recipe.fibre.cables))]
        self._propagation: dict[int, Propagation] = {}

    def event(self, number: int) -> Event:
        """Source ``number``."""
        return draw_event(self.recipe, self.cables, number)

    def recording(self, number: int) -> Recording:
        """The file of event ``number``."""
        recipe, event = self.recipe, self.event(number)
        cable, samples = self.cables[event.cable], round(self.recipe.duration_s * self.recipe.fibre.rate_hz)
        seed = derive_seed(recipe.seed, "das.simulate", "noise", number)
        data = self.background(cable, 0, samples, event.file_start, seed)
        signal = self.signal(event, data, event.onset_s)
        add_signal(data, signal, 0)
        apply_faults(data, cable, recipe.noise.level_nstrain_s)
        return Recording(file_name(event.file_start, number), data, event.file_start, cable, (signal,))

    def signal(self, event: Event, noise_ct: NDArray[np.float32], onset_s: float) -> Signal:
        """The event at its ratio over this noise, its first P arrival at ``onset_s``."""
        if event.cable not in self._propagation:
            self._propagation[event.cable] = Propagation(self.recipe, self.cables[event.cable])
        propagation = self._propagation[event.cable]
        working = self.cables[event.cable].working
        power = band_power(noise_ct[working], self.recipe.fibre.rate_hz, self.recipe.snr_band_hz)
        return make_signal(self.recipe, propagation, event, power, onset_s=onset_s, length=noise_ct.shape[1])

    def background(self, cable: Cable, start: int, stop: int, clock: np.datetime64, seed: int) -> NDArray[np.float32]:
        """Noise of samples [start, stop) at the level of its hour, float32 (channels, stop - start).

        A pure function of the seed and of each sample's number and time of day, wherever it is cut.
        """
        recipe, rate_hz = self.recipe, self.recipe.fibre.rate_hz
        data = noise_between(self.noise, cable, rate_hz, start, stop, recipe.duration_s, seed)
        level_db = recipe.noise.spread_db * np.random.default_rng(derive_seed(seed, "level")).standard_normal()
        data *= np.float32(self._scale_of(cable) * 10 ** (level_db / 20))
        if recipe.noise.day_db:
            midnight_s = (clock - clock.astype("datetime64[D]")) / np.timedelta64(1, "s")
            by_day = daylight(midnight_s + np.arange(stop - start) / rate_hz)
            data *= (10 ** (recipe.noise.day_db * by_day / 20)).astype(np.float32)
        return data

    def _scale_of(self, cable: Cable) -> float:
        """Factor that brings the noise source to the recipe's level."""
        if not self._given_noise:
            return 1.0
        if cable.number not in self._scale:
            rate_hz, samples = self.recipe.fibre.rate_hz, round(_LEVEL_S * self.recipe.fibre.rate_hz)
            seed = derive_seed(self.recipe.seed, "das.simulate", "level of the noise")
            asked = [Stretch(cable, samples, rate_hz, derive_seed(seed, k)) for k in range(_LEVEL_DRAWS)]
            power = float(np.mean([band_power(self.noise.draw(one), rate_hz, self.recipe.snr_band_hz)
                                   for one in asked]))
            if not power > 0:
                raise InputError("The given noise has nothing in the band of the signal-to-noise ratio",
                                 where=self.noise.description, fix="Give other records, or change snr_band_hz")
            self._scale[cable.number] = self.recipe.noise.level_nstrain_s / power**0.5
        return self._scale[cable.number]

    def continuous_signal(self, number: int, onset_s: float, seed: int, start: np.datetime64) -> Signal:
        """Event ``number`` of a continuous archive, its first P ``onset_s`` after the archive's beginning ``start``."""
        rate_hz, event = self.recipe.fibre.rate_hz, draw_event(self.recipe, self.cables[:1], number)
        first = round((onset_s - _EVENT_ROOM_S / 2) * rate_hz)
        noise = self.background(self.cables[event.cable], first, first + round(_EVENT_ROOM_S * rate_hz),
                                start + np.timedelta64(round(onset_s), "s"), seed)
        signal, shift_s = self.signal(event, noise, onset_s - first / rate_hz), first / rate_hz
        return replace(signal, first=signal.first + first, p_s=signal.p_s + shift_s, s_s=signal.s_s + shift_s,
                       origin_s=signal.origin_s + shift_s,
                       interval=(signal.interval[0] + first, signal.interval[1] + first))


def simulate_archive(recipe: SimulateRecipe, out: Path, *, noise: NoiseSource | None = None) -> Path:
    """Write one file for each event, and its truth beside: labels, intervals, picks, catalogue, knobs.

    Args:
        recipe: the knobs.
        out: folder; made if need be, and empty otherwise.
        noise: where noise comes from; when absent the recipe's ``noise_files``, or its simulated noise.

    Returns:
        ``out``.

    Raises:
        InputError: the folder holds something already, or a noise file cannot be used.
        FailureError: the disk is full.
    """
    _fresh(out)
    simulator = Simulator(recipe, noise)
    placed = []
    with progress(recipe.events, "simulate", "events") as bar:
        for number in range(recipe.events):
            recording = simulator.recording(number)
            write_recording(out, recording, recipe)
            placed.append(Placed(_without_series(recording.signals[0]), recording.cable, recording.start,
                                 ((recording.name, 0, recording.data_ct.shape[1]),)))
            bar.advance()
    write_truth(out, placed, recipe, noise=simulator.noise.description, one_per_file=True)
    return out


def simulate_continuous(recipe: SimulateRecipe, out: Path, hours: float, *, noise: NoiseSource | None = None) -> Path:
    """Write consecutive files of ``recipe.duration_s`` each, without gaps, with ``recipe.events`` events in them.

    Events are at least a minute apart and half a minute from both ends; their onsets are otherwise uniform.

    Raises:
        InputError: the folder holds something already, or the hours have no room for so many events.
        FailureError: the disk is full.
    """
    _fresh(out)
    rate_hz, start = recipe.fibre.rate_hz, np.datetime64(recipe.start_date.isoformat(), "ns")
    length = round(recipe.duration_s * rate_hz)
    files = max(1, round(hours * 3600 / recipe.duration_s))
    simulator, seed = Simulator(recipe, noise), derive_seed(recipe.seed, "das.simulate", "continuous")
    cable = simulator.cables[0]
    waiting = list(enumerate(onsets(recipe, files * length / rate_hz)))
    near: list[Signal] = []
    made: list[Signal] = []
    names: dict[int, str] = {}
    with progress(files, "simulate", "files") as bar:
        for number in range(files):
            first = number * length
            clock = start + np.timedelta64(round(first / rate_hz * 1e9), "ns")
            data = simulator.background(cable, first, first + length, clock, seed)
            # A signal exists from the first file it can reach to the last: memory does not grow with the hours.
            while waiting and (waiting[0][1] - _EVENT_ROOM_S) * rate_hz < first + length:
                near.append(simulator.continuous_signal(*waiting.pop(0), seed, start))
                made.append(_without_series(near[-1]))
            near = [s for s in near if s.first + s.series_ct.shape[1] > first]
            inside = tuple(s for s in near if s.first < first + length)
            for signal in inside:
                add_signal(data, signal, first)
            apply_faults(data, cable, recipe.noise.level_nstrain_s)
            names[first] = file_name(clock, number)
            write_recording(out, Recording(names[first], data, clock, cable, inside, first), recipe)
            bar.advance()
    placed = [Placed(_without_series(s), cable, start,
                     tuple((name, first, length) for first, name in names.items()
                           if s.interval[0] < first + length and s.interval[1] > first)) for s in made]
    write_truth(out, placed, recipe, noise=simulator.noise.description, one_per_file=False)
    return out


def small_archive(out: Path, seed: int = 42) -> Path:
    """A dozen events of 16 seconds on 24 channels at 100 Hz, in seconds: for tests and first tries."""
    recipe = build_recipe(SimulateRecipe, {
        "seed": seed, "events": 12, "duration_s": 16.0, "snr_db": 15.0, "snr_window_s": 5.0,
        "fibre": {"channels": 24, "spacing_m": 100.0, "rate_hz": 100.0}, "source": {"distance_km": [5.0, 10.0]}})
    return simulate_archive(recipe, out)


def onsets(recipe: SimulateRecipe, length_s: float) -> NDArray[np.float64]:
    """First P arrivals of a continuous archive, in seconds from its beginning, rising."""
    free_s = length_s - recipe.events * _EVENT_ROOM_S
    if free_s < 0:
        raise InputError(f"{recipe.events} events have no room in {length_s / 3600:.2f} h: each needs a minute",
                         fix="Ask for more hours or fewer events")
    rng = np.random.default_rng(derive_seed(recipe.seed, "das.simulate", "onsets"))
    return np.sort(rng.uniform(0, free_s, recipe.events)) + _EVENT_ROOM_S * (np.arange(recipe.events) + 0.5)


def _without_series(signal: Signal) -> Signal:
    return replace(signal, series_ct=np.zeros((0, 0), np.float32))


def _fresh(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("The folder for the simulated archive is not empty", where=out, fix="Choose another")
