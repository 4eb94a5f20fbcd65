"""das: what happens when and where: earthquakes and quarry blasts drawn from a seed, and their source spectra."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from groundswell.core.seeds import derive_seed
from groundswell.pipelines.das.simulate.fibre import Cable
from groundswell.pipelines.das.simulate.rays import P_SURFACE_M_S, P_TO_S
from groundswell.pipelines.das.simulate.recipe import SimulateRecipe

Floats = NDArray[np.float64]

EARTHQUAKE, QUARRY_BLAST = 0, 1
_BLOCK = 4


@dataclass(frozen=True)
class Event:
    """A source, before anything is known of how it is recorded.

    Attributes:
        number: position in the archive.
        event_id: text, e.g. ``"sim-0007"``.
        label: 0 earthquake, 1 quarry blast.
        cable: number of the cable that records it.
        file_start: UTC, whole seconds.
        onset_s: first P arrival on the cable, in seconds after ``file_start``.
        east_m, north_m, depth_m: on the cable's map.
        mechanism_rad: strike, dip and rake; of no meaning for blasts.
        stress_drop_pa: sets the corner frequency.
        shot_delays_s, shot_shares: the rows of a ripple-fired blast, (rows,); one shot for an earthquake.
        surface_wave, shear: strengths of a blast's surface and S waves.
        snr_db: asked for.
    """

    number: int
    event_id: str
    label: int
    cable: int
    file_start: np.datetime64
    onset_s: float
    east_m: float
    north_m: float
    depth_m: float
    mechanism_rad: tuple[float, float, float]
    stress_drop_pa: float
    shot_delays_s: Floats
    shot_shares: Floats
    surface_wave: float
    shear: float
    snr_db: float

    @property
    def is_blast(self) -> bool:
        """Whether it is a quarry blast."""
        return self.label == QUARRY_BLAST


def draw_event(recipe: SimulateRecipe, cables: list[Cable], number: int) -> Event:
    """Event ``number`` of the recipe; a pure function of (recipe, number)."""
    rng = np.random.default_rng(derive_seed(recipe.seed, "das.simulate", "event", number))
    # Everything is drawn for both classes in the same order, so that nothing but physics tells them apart.
    cable = int(rng.integers(len(cables)))
    middle_east, middle_north = cables[cable].middle_m
    distance_m, azimuth = 1000 * rng.uniform(*recipe.source.distance_km), rng.uniform(0, 2 * np.pi)
    depth_m = 1000 * rng.uniform(*recipe.source.depth_km)
    mechanism = (rng.uniform(0, 2 * np.pi), np.arccos(rng.uniform(0, 1)), rng.uniform(-np.pi, np.pi))
    stress_drop = 1e6 * np.exp(rng.uniform(*np.log(recipe.source.stress_drop_mpa)))
    delays, shares = _ripple(recipe, rng)
    surface_wave, shear = np.exp(rng.normal(0, 0.5, 2))
    snr_db = recipe.snr_db + recipe.snr_spread_db * float(np.clip(rng.standard_normal(), -2, 2))
    onset_s = recipe.duration_s * rng.uniform(0.15, 0.35)
    label = draw_label(recipe, number)
    start = _file_start(recipe, label, rng)
    blast = label == QUARRY_BLAST
    return Event(number, f"sim-{number:04d}", label, cable, start, onset_s,
                 middle_east + distance_m * np.sin(azimuth), middle_north + distance_m * np.cos(azimuth),
                 0.0 if blast else depth_m, mechanism, stress_drop,
                 delays if blast else np.zeros(1), shares if blast else np.ones(1),
                 float(surface_wave) * recipe.source.surface_wave, float(shear) * recipe.source.blast_shear, snr_db)


def draw_label(recipe: SimulateRecipe, number: int) -> int:
    """Class of event ``number``: every four hold the asked share of blasts to within one, in random order."""
    block, place = divmod(number, _BLOCK)
    share = recipe.source.blast_share
    first = np.floor(np.arange(_BLOCK + 1) * share + block * _BLOCK * share + 0.5)
    labels = np.diff(first).astype(np.int64)
    rng = np.random.default_rng(derive_seed(recipe.seed, "das.simulate", "labels", block))
    return int(rng.permutation(labels)[place])


def _ripple(recipe: SimulateRecipe, rng: np.random.Generator) -> tuple[Floats, Floats]:
    low, high = recipe.source.ripple_rows
    rows = int(rng.integers(low, high + 1))
    delay_s = rng.uniform(*recipe.source.ripple_delay_ms) / 1000
    # Detonators scatter by a few per cent of their delay, charges by a fifth.
    delays = np.arange(rows) * delay_s + rng.normal(0, 0.04 * delay_s, rows)
    charges = np.clip(rng.normal(1, 0.2, rows), 0.3, None)
    return delays - delays.min(), charges / charges.sum()


def _file_start(recipe: SimulateRecipe, label: int, rng: np.random.Generator) -> np.datetime64:
    by_clock, day_share, hour_share = rng.uniform(size=3)
    if label == QUARRY_BLAST and by_clock < recipe.clock_confound:
        working = [d for d in range(recipe.days) if (recipe.start_date + timedelta(days=d)).weekday() < 5]
        day, hour = working[int(day_share * len(working))], 8 + 2 * hour_share
    else:
        day, hour = int(day_share * recipe.days), 24 * hour_share
    return np.datetime64(recipe.start_date.isoformat(), "ns") + np.timedelta64(day * 86_400 + int(hour * 3600), "s")


def moment_nm(magnitude: float) -> float:
    """Seismic moment in newton metres of a moment magnitude (Hanks & Kanamori 1979)."""
    return float(10 ** (1.5 * magnitude + 9.1))


def corner_hz(magnitude: float, stress_drop_pa: float) -> float:
    """Corner frequency of a circular crack (Brune 1970) in rock of surface velocity."""
    shear_m_s = P_SURFACE_M_S / P_TO_S
    return float(0.49 * shear_m_s * (stress_drop_pa / moment_nm(magnitude)) ** (1 / 3))


def source_pulse(event: Event, magnitude: float, frequency_hz: Floats) -> NDArray[np.complex128]:
    """Spectrum of the moment rate of all shots at once, in newton metres: a causal omega-square pulse.

    1 / (1 + i f / fc)^2 has the modulus of Brune's (1970) model and starts at the origin time.
    """
    pulse = 1 / (1 + 1j * frequency_hz / corner_hz(magnitude, event.stress_drop_pa)) ** 2
    return np.asarray(moment_nm(magnitude) * pulse, np.complex128)


def ripple_spectrum(event: Event, frequency_hz: Floats) -> NDArray[np.complex128]:
    """Spectrum of the shots' delays and shares, 1 at zero frequency: the moment rate is the pulse times this.

    The sum over shots makes the scalloping: maxima at multiples of one over the delay.
    """
    shots = event.shot_shares[:, None] * np.exp(-2j * np.pi * event.shot_delays_s[:, None] * frequency_hz)
    total: NDArray[np.complex128] = shots.sum(0)
    return total
