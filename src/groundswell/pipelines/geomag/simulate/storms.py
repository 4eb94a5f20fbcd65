"""geomag: simulated storms: when they begin, the solar wind that drives them, and the ring current's answer (Dst)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from groundswell.core.seeds import derive_seed

Floats = NDArray[np.float64]

STEP_MINUTES = 10
"""Step of the solar wind and of Dst."""
ROTATION_DAYS = 27.0
"""The sun's rotation as seen from the earth: active regions come back after it."""
YEAR_DAYS = 365.2425
THRESHOLD_MV_M = 0.49
"""Electric field below which nothing is injected (O'Brien and McPherron 2000)."""
_STEP_HOURS = STEP_MINUTES / 60
_SPRING_DAY, _SUMMER_DAY = 79.0, 171.0
_INJECTION_NT_H = -4.4  # for each mV/m above the threshold
_PRESSURE_NT, _QUIET_NT = 7.26, 11.0  # of Dst for each root of nPa, and what the quiet wind gives


@dataclass(frozen=True)
class SolarWind:
    """What drives activity, at steps of :data:`STEP_MINUTES`.

    Attributes:
        onset: steps at which a storm's shock arrives, int64, in order.
        main_start, main_stop: steps of each storm's main phase.
        field_mv_m: dawn-dusk electric field of southward field, VBs, float64 (steps,).
        pressure_npa: dynamic pressure, float64 (steps,).
    """

    onset: NDArray[np.int64]
    main_start: NDArray[np.int64]
    main_stop: NDArray[np.int64]
    field_mv_m: Floats
    pressure_npa: Floats


def onset_rate(day: Floats, storms_a_year: float, phase: float) -> Floats:
    """Storm onsets a day: a mean rate, clustered at 27 days (sectors of the sun) and at both equinoxes (Russell and
    McPherron 1973).

    Args:
        day: since 1970.
        storms_a_year: mean.
        phase: of the rotation, radians.
    """
    rotation = np.exp(1.2 * np.cos(2 * np.pi * day / ROTATION_DAYS - phase)) / np.i0(1.2)
    season = 1 + 0.5 * np.cos(4 * np.pi * (day - _SPRING_DAY) / YEAR_DAYS)
    return np.asarray(storms_a_year / YEAR_DAYS * rotation * season)


def solar_wind(seed: int, first_day: float, days: int, storms_a_year: float) -> SolarWind:
    """Draw the solar wind: a quiet, gusty one with recurrent streams, and storms upon it.

    A storm is a shock (a rise of pressure: the sudden commencement), some hours of strong wind, and a main phase of 4
    to 14 hours of southward field.

    Args:
        seed: it is a pure function of all arguments.
        first_day: days since 1970 of the first step.
        days: length.
        storms_a_year: mean number of storms.
    """
    rng = np.random.default_rng(derive_seed(seed, "geomag.simulate", "solar wind"))
    steps = days * 1440 // STEP_MINUTES
    day = first_day + np.arange(steps) * STEP_MINUTES / 1440
    phase = float(rng.uniform(0, 2 * np.pi))
    # Streams follow the same sectors; gusts last about two hours.
    stream = np.exp(1.0 * np.cos(2 * np.pi * day / ROTATION_DAYS - phase + 0.8)) / np.i0(1.0)
    gusts = red_noise(rng, steps, 2.0 / _STEP_HOURS)
    field = np.maximum(0.0, 1.3 * gusts * (0.6 + 0.5 * stream) - 0.3)
    pressure = 2.0 * np.exp(0.3 * red_noise(rng, steps, 6.0 / _STEP_HOURS))
    onset = np.flatnonzero(rng.uniform(size=steps) < onset_rate(day, storms_a_year, phase) * STEP_MINUTES / 1440)
    start = onset + np.rint(rng.uniform(1, 8, len(onset)) / _STEP_HOURS).astype(np.int64)
    stop = start + np.rint(rng.uniform(4, 14, len(onset)) / _STEP_HOURS).astype(np.int64)
    peak = np.minimum(4.5 * np.exp(0.55 * rng.standard_normal(len(onset))), 20.0)
    ripple = red_noise(rng, steps, 1.0 / _STEP_HOURS)
    for k, first in enumerate(onset):
        after = np.arange(min(steps - first, 10 * (stop[k] - first)))
        pressure[first:first + len(after)] += peak[k] * 1.2 * np.exp(-after / (stop[k] - first))
        main = np.arange(start[k], min(stop[k], steps))
        hump = np.sin(np.pi * (main - start[k] + 0.5) / (stop[k] - start[k])) ** 0.7
        field[main] = np.maximum(field[main], peak[k] * hump * (1 + 0.25 * ripple[main]))
    return SolarWind(onset.astype(np.int64), start, stop, field, pressure)


def decay_hours(field_mv_m: Floats) -> Floats:
    """Time in which the ring current falls to 1/e: 19 hours without an electric field, less with one."""
    return np.asarray(2.40 * np.exp(9.74 / (4.69 + field_mv_m)))


def dst_star(field_mv_m: Floats) -> Floats:
    """The ring current's field, nT, at each step: injection by the electric field above a threshold, and decay.

    Burton, McPherron and Russell (1975, JGR 80:4204), with the constants of O'Brien and McPherron (2000, JGR
    105:7707): d/dt = -4.4 (VBs - 0.49) - Dst* / tau(VBs).
    """
    injection = (_INJECTION_NT_H * _STEP_HOURS * np.maximum(field_mv_m - THRESHOLD_MV_M, 0)).tolist()
    kept = np.exp(-_STEP_HOURS / decay_hours(field_mv_m)).tolist()
    # The decay depends on the field, so that no linear filter does it; plain floats make the loop quick.
    value, out = 0.0, []
    for more, share in zip(injection, kept, strict=True):
        value = value * share + more
        out.append(value)
    return np.asarray(out)


def dst_index(wind: SolarWind) -> Floats:
    """Dst, nT, at each step: the ring current and the magnetopause's currents, which pressure strengthens."""
    return dst_star(wind.field_mv_m) + _PRESSURE_NT * np.sqrt(wind.pressure_npa) - _QUIET_NT


def red_noise(rng: np.random.Generator, length: int, memory: float) -> Floats:
    """A first-order autoregressive series of unit variance whose correlation falls to 1/e in ``memory`` steps."""
    share = math.exp(-1 / memory)
    white = rng.standard_normal(length) * math.sqrt(1 - share * share)
    white[:1] /= math.sqrt(1 - share * share)
    return np.asarray(lfilter([1.0], [1.0, -share], white))
