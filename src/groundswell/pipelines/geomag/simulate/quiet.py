"""geomag: simulated quiet days: main field, solar-quiet variation, and 1/f noise."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from groundswell.core.seeds import derive_seed
from groundswell.pipelines.geomag.simulate.recipe import BackgroundRecipe
from groundswell.pipelines.geomag.simulate.storms import YEAR_DAYS, red_noise

Floats = NDArray[np.float64]

HARMONICS = (1.0, 0.62, 0.28, 0.09)
"""Relative amplitudes of the daily variation at 24, 12, 8 and 6 hours."""
EQUATOR_NT = 29_500.0
"""Horizontal intensity of the centred dipole at its equator."""
_NOON_HOUR = 11.5
_FOCUS_DEGREES = 35.0
_SOLSTICE_DAY = 171.0
_EXPONENT = 1.5  # of the irregular variation's power spectrum, between pink and red


def main_field(recipe: BackgroundRecipe, day: Floats, first_day: float) -> Floats:
    """Main field, nT: the dipole's horizontal intensity at the latitude, with its secular slope."""
    level = EQUATOR_NT * np.cos(np.radians(recipe.latitude))
    return np.asarray(level + recipe.secular_nt_a_year * (day - first_day) / YEAR_DAYS)


def quiet_amplitude(recipe: BackgroundRecipe, day: Floats) -> Floats:
    """Signed amplitude of the daily variation in H at noon, nT, before its change from day to day.

    Between the equator and the focus of the current vortex near 35 degrees H rises at noon, polewards of it H falls;
    it is largest in local summer.
    """
    place = recipe.quiet_nt * np.cos(np.pi / 2 * np.abs(recipe.latitude) / _FOCUS_DEGREES)
    summer = np.cos(2 * np.pi * (day - _SOLSTICE_DAY) / YEAR_DAYS) * np.sign(recipe.latitude)
    return np.asarray(place * (1 + 0.4 * summer))


def quiet_day(recipe: BackgroundRecipe, day: Floats, seed: int) -> Floats:
    """Solar-quiet variation, nT: four harmonics of local time, of zero mean over a day.

    Strength and hour change from one day to the next, by a quarter and by half an hour, smoothly and with a memory of
    two days.

    Args:
        recipe: place and amplitude.
        day: days since 1970 of each minute, UTC, in order.
        seed: of the changes from day to day.
    """
    rng = np.random.default_rng(derive_seed(seed, "geomag.simulate", "quiet"))
    nodes = np.arange(np.floor(day[0]), np.ceil(day[-1]) + 2)
    strength = np.interp(day, nodes, np.exp(0.25 * red_noise(rng, len(nodes), 2.0)))
    delay_hours = np.interp(day, nodes, 0.5 * red_noise(rng, len(nodes), 2.0))
    hour = (day % 1) * 24 + recipe.longitude / 15 - _NOON_HOUR - delay_hours
    shape = np.zeros_like(day)
    for k, part in enumerate(HARMONICS, 1):
        shape += part * np.cos(2 * np.pi * k * hour / 24)
    return np.asarray(quiet_amplitude(recipe, day) * strength * shape / sum(HARMONICS))


def irregular(seed: int, minutes: int) -> Floats:
    """Irregular variation of unit variance with a power spectrum falling as f to the -1.5, level below a day."""
    rng = np.random.default_rng(derive_seed(seed, "geomag.simulate", "irregular"))
    length = scipy.fft.next_fast_len(minutes, real=True)
    frequency = np.maximum(np.fft.rfftfreq(length), 1 / 1440)
    white = rng.standard_normal((len(frequency), 2)).view(np.complex128)[:, 0]
    white[0] = 0
    series = scipy.fft.irfft(white * frequency ** (-_EXPONENT / 2), length)[:minutes]
    return np.asarray(series / series.std())
