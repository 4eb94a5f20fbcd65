"""das: the noise-free strain rate that one source makes along a fibre."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from groundswell.core.seeds import derive_seed
from groundswell.pipelines.das.simulate.diffuse import DiffuseField, surface_velocity, to_series
from groundswell.pipelines.das.simulate.fibre import Cable, gauge_response
from groundswell.pipelines.das.simulate.rays import (
    DENSITY_KG_M3,
    P_SOIL_M_S,
    P_SURFACE_M_S,
    P_TO_S,
    S_SOIL_M_S,
    double_couple,
    p_rays,
    radiation,
    s_rays,
)
from groundswell.pipelines.das.simulate.recipe import SimulateRecipe
from groundswell.pipelines.das.simulate.sources import Event

Floats = NDArray[np.float64]

LEAD_S = 1.0
"""A wavefield's series begins so long before the origin time."""
_SLOWEST_M_S = 1200.0
_Q_P, _Q_S, _Q_SURFACE = 400.0, 250.0, 60.0
_KAPPA_P_S, _KAPPA_S_S = 0.015, 0.03
_CODA_P_S, _CODA_S_S, _CODA_SURFACE_S = 1.2, 3.5, 2.0
_MEAN_P_RADIATION = (4 / 15) ** 0.5
"""Root mean square over the focal sphere of a double couple."""
_P_FROM_ALL_SIDES = 0.3
"""Strain of scattered P, relative to a P wave that grazes along the fibre in rock."""
_BLAST_SV, _BLAST_SH = 0.10, 0.07
"""Radiation factors of a blast's S waves (an earthquake's are about 0.6): spall and rock that breaks unevenly."""
_SURFACE_AMPLITUDE = 0.22
"""Rayleigh displacement of a surface blast at 1 km, relative to 1 / (4 pi rho beta^3) per metre and moment rate."""


@dataclass(frozen=True)
class Phase:
    """A body wave along the fibre; every array is float64 (channels,).

    Attributes:
        name: ``"P"`` or ``"S"``.
        time_s: arrival after the origin time.
        slowness_s_m: component of the slowness along the fibre.
        amplitude: strain rate per second derivative of the moment rate, signed.
        scattered: the same for what is scattered on the way and under the fibre, unsigned.
        damping_s: t*, so that the spectrum is damped by exp(-pi f t*).
        coda_s: decay of its coda.
    """

    name: str
    time_s: Floats
    slowness_s_m: Floats
    amplitude: Floats
    scattered: Floats
    damping_s: Floats
    coda_s: float


def body_phases(event: Event, cable: Cable) -> tuple[Phase, Phase]:
    """P and S of an event at the cable's channels.

    A plane wave of ground displacement u in direction d with horizontal slowness p strains a fibre along e at the rate
    -(d.e)(p.e) u'': cos^2 of the angle between ray and fibre for P and SV, half the sine of twice it for SH. The layer
    under the fibre keeps p and turns d towards the vertical for P, towards the horizontal for SV.
    """
    away_m, radial_e, across_e, azimuth = _geometry(event, cable)
    p, s = p_rays(away_m, event.depth_m), s_rays(away_m, event.depth_m)
    if event.is_blast:
        f_p = np.ones_like(away_m)
        f_sv, f_sh = np.full_like(away_m, _BLAST_SV * event.shear), np.full_like(away_m, _BLAST_SH * event.shear)
    else:
        tensor = double_couple(*event.mechanism_rad)
        f_p, _, _ = radiation(tensor, p.takeoff_rad, azimuth)
        _, f_sv, f_sh = radiation(tensor, s.takeoff_rad, azimuth)
    path_m = np.hypot(away_m, max(event.depth_m, 500.0))
    # 2 for the free surface; the root keeps the energy flux when a wave enters the slower layer.
    p_size = 2 * np.sqrt(P_SURFACE_M_S / P_SOIL_M_S) / (4 * np.pi * DENSITY_KG_M3 * p.source_m_s**3 * path_m)
    s_size = 2 * np.sqrt(P_SURFACE_M_S / P_TO_S / S_SOIL_M_S) / (4 * np.pi * DENSITY_KG_M3 * s.source_m_s**3 * path_m)
    p_along = np.clip(p.slowness_s_m * P_SOIL_M_S, 0, 1) * radial_e
    s_along = f_sv * np.sqrt(1 - np.clip(s.slowness_s_m * S_SOIL_M_S, 0, 1) ** 2) * radial_e + f_sh * across_e
    # Waves of a source at the surface pass the weathered rock, which damps them, at both ends.
    passes = 2 if event.is_blast else 1
    p_direct = -p_size * f_p * p_along * p.slowness_s_m * radial_e
    s_direct = -s_size * s_along * s.slowness_s_m * radial_e
    # A steep or broadside P hardly strains the fibre itself; what it scatters comes from all sides and does.
    p_mean = 1.0 if event.is_blast else _MEAN_P_RADIATION
    p_scattered = np.hypot(p_direct, _P_FROM_ALL_SIDES * p_mean * p_size / P_SURFACE_M_S)
    return (Phase("P", p.time_s, p.slowness_s_m * radial_e, p_direct, p_scattered,
                  p.time_s / _Q_P + passes * _KAPPA_P_S, _CODA_P_S),
            Phase("S", s.time_s, s.slowness_s_m * radial_e, s_direct, np.abs(s_direct),
                  s.time_s / _Q_S + passes * _KAPPA_S_S, _CODA_S_S))


def _geometry(event: Event, cable: Cable) -> tuple[Floats, Floats, Floats, Floats]:
    """Epicentral distance; cosines of fibre with the radial and the transverse direction; azimuth from the source."""
    east, north = cable.east_m - event.east_m, cable.north_m - event.north_m
    away_m = np.maximum(np.hypot(east, north), 1.0)
    radial_e = (east * cable.tangent_east + north * cable.tangent_north) / away_m
    across_e = (north * cable.tangent_east - east * cable.tangent_north) / away_m
    return away_m, radial_e, -across_e, np.arctan2(east, north)


def series_length(recipe: SimulateRecipe, cable: Cable) -> int:
    """Samples of a wavefield: long enough for the slowest wave from the farthest source, then a fast transform."""
    farthest_m = 1000 * recipe.source.distance_km[1] + 0.6 * float(cable.distance_m[-1])
    seconds = LEAD_S + farthest_m / _SLOWEST_M_S + 2 * _CODA_S_S + 2
    length: int = scipy.fft.next_fast_len(int(seconds * recipe.fibre.rate_hz), real=True)
    return length


class Propagation:
    """From sources to the channels of one cable.

    Args:
        recipe: rates, distances, strengths.
        cable: where the channels are.
    """

    def __init__(self, recipe: SimulateRecipe, cable: Cable) -> None:
        self.cable = cable
        self.rate_hz = recipe.fibre.rate_hz
        self.samples = series_length(recipe, cable)
        self.frequency_hz: Floats = np.fft.rfftfreq(self.samples, 1 / self.rate_hz).astype(np.float64)
        self._coda = recipe.source.coda
        self._seed = recipe.seed
        self._diffuse = DiffuseField(cable, self.samples, self.rate_hz, surface_velocity)

    def response(self, event: Event) -> NDArray[np.complex64]:
        """Strain rate at each channel per newton metre of moment rate.

        Returns:
            complex64 (channels, frequencies), in nanostrain per second and 1e18 newton metres (which float32 can hold);
            its series begins ``LEAD_S`` before the origin time. Coupling and faults are not in it.
        """
        rng = np.random.default_rng(derive_seed(self._seed, "das.simulate", "coda", event.number))
        phases = body_phases(event, self.cable)
        total = np.zeros((self.cable.channels, len(self.frequency_hz)), np.complex64)
        for phase in phases:
            total += self._direct(phase)
            total += self._scattered(phase.scattered, phase.time_s, phase.damping_s, phase.coda_s, rng)
        if event.is_blast and event.surface_wave:
            total += self._surface(event, rng)
        # The second derivative of displacement, in nano and per 1e18 newton metres; the rate turns a spectral density
        # into samples.
        total *= (-((2 * np.pi * self.frequency_hz) ** 2) * self.rate_hz * 1e27).astype(np.float32)
        return total

    def _direct(self, phase: Phase) -> NDArray[np.complex64]:
        wave = _delay(self.frequency_hz, phase.time_s + LEAD_S, phase.damping_s)
        wave *= gauge_response(np.outer(phase.slowness_s_m, self.frequency_hz).astype(np.float32), self.cable.gauge_m)
        wave *= phase.amplitude[:, None].astype(np.float32)
        return wave

    def _surface(self, event: Event, rng: np.random.Generator) -> NDArray[np.complex64]:
        """Dispersive Rayleigh waves: falling with the root of distance, strain as cos^2 over phase velocity."""
        away_m, radial_e, _, _ = _geometry(event, self.cable)
        velocity = surface_velocity(self.frequency_hz)
        size = _SURFACE_AMPLITUDE * event.surface_wave / (4 * np.pi * DENSITY_KG_M3 * (P_SURFACE_M_S / P_TO_S) ** 3)
        strain = -size * radial_e**2 / np.sqrt(1000 * away_m)
        slowness = 1 / velocity
        cycles_per_km = 1000 * self.frequency_hz * slowness
        wave = _delay(cycles_per_km, away_m / 1000, away_m / 1000 / _Q_SURFACE)
        wave *= _delay(self.frequency_hz, np.array([LEAD_S]), np.array([_KAPPA_S_S]))
        wave *= gauge_response(np.outer(radial_e, self.frequency_hz * slowness).astype(np.float32), self.cable.gauge_m)
        wave *= np.outer(strain, slowness).astype(np.float32)
        arrival_s = away_m / surface_velocity(np.array([3.0]))
        damping_s = arrival_s / _Q_SURFACE + _KAPPA_S_S
        return wave + self._scattered(strain / 1700, arrival_s, damping_s, _CODA_SURFACE_S, rng)

    def _scattered(self, amplitude: Floats, time_s: Floats, damping_s: Floats, decay_s: float,
                   rng: np.random.Generator) -> NDArray[np.complex64]:
        """Diffuse waves that set in with a phase and die away exponentially; ``coda`` times its energy."""
        if not self._coda:
            return np.zeros((1, 1), np.complex64)
        series = to_series(self._diffuse.draw(rng), self.samples)
        after_s = np.arange(self.samples) / self.rate_hz - (time_s + LEAD_S)[:, None].astype(np.float32)
        envelope = np.where(after_s > 0, np.exp(-np.maximum(after_s, 0) / np.float32(decay_s)), 0).astype(np.float32)
        # The square of the envelope sums to decay * rate / 2; divided by it, the series has the energy of a unit pulse.
        series *= envelope * np.float32(np.sqrt(2 * self._coda / (decay_s * self.rate_hz)))
        spectrum: NDArray[np.complex64] = scipy.fft.rfft(series, axis=-1)
        level = np.sqrt((amplitude**2).mean()) * np.exp(-np.pi * self.frequency_hz * damping_s.mean())
        spectrum *= level.astype(np.float32)
        return spectrum


def _delay(frequency_hz: Floats, time_s: Floats, damping_s: Floats) -> NDArray[np.complex64]:
    """exp(-2 pi i f t - pi f t*), complex64 (channels, frequencies)."""
    exponent = np.outer(-2j * np.pi * time_s - np.pi * damping_s, frequency_hz).astype(np.complex64)
    return np.exp(exponent, out=exponent)
