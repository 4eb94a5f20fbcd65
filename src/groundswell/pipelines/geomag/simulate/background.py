"""geomag: what a mid-latitude observatory records, simulated minute by minute, with the indices of the same activity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from groundswell.core.seeds import derive_seed
from groundswell.pipelines.geomag.building.indices import AP_OF_KP, Binned, Indices
from groundswell.pipelines.geomag.building.minutes import MinuteSeries
from groundswell.pipelines.geomag.simulate.quiet import irregular, main_field, quiet_day
from groundswell.pipelines.geomag.simulate.recipe import BackgroundRecipe
from groundswell.pipelines.geomag.simulate.storms import STEP_MINUTES, YEAR_DAYS, SolarWind, dst_index, solar_wind

Floats = NDArray[np.float64]

DAY = 1440
K_LIMITS_NT = np.array([0.0, 5, 10, 20, 40, 70, 120, 200, 330, 500])
"""Three-hour range at which each K begins, at an observatory whose K 9 begins at 500 nT (Bartels et al. 1939)."""
_COMMENCEMENT_MINUTES = 4.0
_ASYMMETRY = 0.35


@dataclass(frozen=True)
class Background:
    """What magnetometers record when nothing is planted.

    Attributes:
        series: one component, nT; NaN where missing.
        indices: Kp, ap and Dst, or ``None`` where they are not known.
        simulated: whether the minutes are.
        description: in words.
        facts: for ``origin.json``.
    """

    series: MinuteSeries
    indices: Indices | None
    simulated: bool
    description: str
    facts: dict[str, Any]


@dataclass(frozen=True)
class Field:
    """The parts of a simulated record, each float64 (minutes,), nT; their sum is what is recorded.

    Attributes:
        main: main field with its secular slope.
        quiet: solar-quiet variation.
        storm: ring current, magnetopause currents and their dependence on local time.
        irregular: 1/f noise whose level follows activity.
        instrument: white noise.
        dst_nt: Dst at steps of the solar wind.
        wind: what drove it.
    """

    main: Floats
    quiet: Floats
    storm: Floats
    irregular: Floats
    instrument: Floats
    dst_nt: Floats
    wind: SolarWind

    @property
    def total(self) -> Floats:
        """What is recorded, nT."""
        return self.main + self.quiet + self.storm + self.irregular + self.instrument


def simulate_field(recipe: BackgroundRecipe, seed: int) -> Field:
    """Draw the minutes of ``recipe.years`` years; a pure function of both arguments."""
    first_day = float(np.datetime64(recipe.start_date).astype("datetime64[D]").astype(np.int64))
    days = max(1, round(recipe.years * YEAR_DAYS))
    minutes = days * DAY
    day = first_day + np.arange(minutes) / DAY
    wind = solar_wind(seed, first_day, days, recipe.storms_a_year)
    dst_nt = dst_index(wind)
    storm = storm_field(recipe, day, dst_nt, wind)
    level = recipe.irregular_nt * activity_level(wind, minutes)
    rng = np.random.default_rng(derive_seed(seed, "geomag.simulate", "instrument"))
    return Field(main_field(recipe, day, first_day), quiet_day(recipe, day, seed), storm,
                 level * irregular(seed, minutes), recipe.instrument_nt * rng.standard_normal(minutes), dst_nt, wind)


def to_minutes(values: Floats, minutes: int) -> Floats:
    """Values at steps of the solar wind as minutes, between them on straight lines."""
    return np.asarray(np.interp(np.arange(minutes), np.arange(len(values)) * STEP_MINUTES, values))


def storm_field(recipe: BackgroundRecipe, day: Floats, dst_nt: Floats, wind: SolarWind) -> Floats:
    """What storms do to H at the observatory, nT.

    The ring current's field is along the dipole, so H sees its cosine of latitude; while it is driven it is stronger on
    the dusk side. A shock is a step of pressure: within four minutes, whatever the steps of the wind.
    """
    minutes = len(day)
    dusk = np.cos(2 * np.pi * (day % 1 + recipe.longitude / 360 - 18 / 24))
    driven = lfilter([1 / 12], [1, -(1 - 1 / 12)], wind.field_mv_m)  # a memory of two hours
    local = to_minutes(dst_nt, minutes) - _ASYMMETRY * 8 * to_minutes(np.asarray(driven), minutes) * dusk
    for first in wind.onset * STEP_MINUTES:
        # On straight lines the shock would take a whole step; it is put to its end and made steep.
        at = np.arange(max(0, first - STEP_MINUTES), min(minutes, first))
        if len(at):
            rise = 1 / (1 + np.exp(-(at - first + STEP_MINUTES / 2) / (_COMMENCEMENT_MINUTES / 4)))
            before, after = dst_nt[first // STEP_MINUTES - 1], dst_nt[first // STEP_MINUTES]
            local[at] += before + (after - before) * rise - to_minutes_at(dst_nt, at)
    return np.asarray(local * np.cos(np.radians(recipe.latitude)))


def to_minutes_at(values: Floats, at: NDArray[np.int64]) -> Floats:
    """As :func:`to_minutes`, at some minutes only."""
    first = int(at[0]) // STEP_MINUTES
    near = values[first:int(at[-1]) // STEP_MINUTES + 2]
    return np.asarray(np.interp(at, (first + np.arange(len(near))) * STEP_MINUTES, near))


def activity_level(wind: SolarWind, minutes: int) -> Floats:
    """Level of irregular variation relative to quiet: 1, some ten times more in a storm, with three hours' memory."""
    driven = np.asarray(lfilter([1 / 18], [1, -(1 - 1 / 18)], wind.field_mv_m))
    return to_minutes(1 + 3.0 * driven, minutes)


def indices_of(field: Field, start_minute: int) -> Indices:
    """Kp, ap and Dst of the simulated activity: Dst by the hour; Kp from the three-hour range of all but main field and
    quiet variation, in thirds, and ap from Kp."""
    disturbed = (field.storm + field.irregular + field.instrument).reshape(-1, 180)
    kp = kp_of_range(disturbed.max(1) - disturbed.min(1))
    ap = AP_OF_KP[np.rint(3 * kp).astype(np.int64)]
    hourly = field.dst_nt.reshape(-1, 60 // STEP_MINUTES).mean(1)
    return Indices(Binned(start_minute, 180, ap), Binned(start_minute, 180, kp), Binned(start_minute, 60, hourly))


def kp_of_range(range_nt: Floats) -> Floats:
    """Kp in thirds (0 to 9) of a three-hour range: K's limits, divided in three between them."""
    limits = np.append(K_LIMITS_NT, 2 * K_LIMITS_NT[-1])
    place = np.interp(range_nt, limits, np.arange(len(limits)))
    return np.asarray(np.clip(np.floor(3 * place) - 1, 0, 27) / 3)


def simulated_background(recipe: BackgroundRecipe, seed: int) -> Background:
    """The simulated observatory."""
    field = simulate_field(recipe, seed)
    start = int(np.datetime64(recipe.start_date).astype("datetime64[m]").astype(np.int64))
    series = MinuteSeries("SIM", recipe.latitude, recipe.longitude, start, field.total.astype(np.float32)[:, None],
                          ("H",), {"simulated": True, "source": "simulated"})
    told = (f"simulated: H at latitude {recipe.latitude:g}, {len(field.total) / DAY:.0f} days from "
            f"{recipe.start_date}, {len(field.wind.onset)} storms")
    return Background(series, indices_of(field, start), True, told,
                      {"background": told, "indices": "simulated, from the activity of the background"})
