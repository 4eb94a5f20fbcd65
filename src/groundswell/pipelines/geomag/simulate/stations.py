"""geomag: how several stations record one event: the same background, late, louder or softer, and with their own noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundswell.core.seeds import derive_seed
from groundswell.pipelines.geomag.building.gaps import OK, Gaps, cut
from groundswell.pipelines.geomag.building.minutes import MinuteSeries, east_of_greenwich
from groundswell.pipelines.geomag.building.recipe import GapRule
from groundswell.pipelines.geomag.simulate.events import Event
from groundswell.pipelines.geomag.simulate.recipe import SimulateRecipe

Floats = NDArray[np.float64]

_APART_DEGREES = (5.0, 12.0)  # of latitude and of longitude, at most, from the background's observatory


@dataclass(frozen=True)
class Station:
    """A simulated station near the background's observatory.

    Attributes:
        number: from 0.
        name: such as ``SIM1``, or ``ESK-SIM1`` on the minutes of ESK.
        latitude, longitude: degrees.
    """

    number: int
    name: str
    latitude: float
    longitude: float


def make_stations(recipe: SimulateRecipe, series: MinuteSeries) -> list[Station]:
    """The recipe's stations around the background's place."""
    rng = np.random.default_rng(derive_seed(recipe.seed, "geomag.simulate", "stations"))
    stem = "SIM" if series.station == "SIM" else f"{series.station}-SIM"
    found = []
    for number in range(recipe.stations.count):
        north, east = rng.uniform(-1, 1, 2) * _APART_DEGREES
        latitude = float(np.clip(round(series.latitude + north, 3), -89, 89))
        found.append(Station(number, f"{stem}{number + 1}", latitude, east_of_greenwich(round(series.longitude + east,
                                                                                              3))))
    return found


@dataclass(frozen=True)
class Copy:
    """How a station records the background of one event.

    Attributes:
        shift_minutes: it sees the background so much later.
        gain: factor on the background above its mean level.
    """

    shift_minutes: int
    gain: float


def draw_copy(recipe: SimulateRecipe, event: int, station: int) -> Copy:
    """The copy of an event (by its number) at a station (by its number)."""
    rng = np.random.default_rng(derive_seed(recipe.seed, "geomag.simulate", "copy", event, station))
    shift = int(rng.integers(0, recipe.stations.max_shift_minutes + 1))
    return Copy(shift, float(rng.uniform(*recipe.stations.gain)))


class Recorder:
    """Records windows of a background.

    Args:
        recipe: seed and noise.
        series: the background, one component.
    """

    def __init__(self, recipe: SimulateRecipe, series: MinuteSeries) -> None:
        self._recipe, self._series = recipe, series
        self.level_nt = float(np.nanmean(series.column(series.components[0])))
        self._gaps = Gaps.of(series, GapRule())

    def record(self, event: Event, station: Station, copy: Copy, minutes: int, earlier: int = 0) -> Floats | None:
        """The window that ends ``earlier`` minutes before the event, without any signal, nT, float64 (minutes,).

        The noise of a shorter window is the end of a longer one's. ``None`` where the background is missing.
        """
        start = event.minute - earlier - copy.shift_minutes - minutes
        if self._gaps.judge(np.array([start]), minutes)[0] != OK:
            return None
        seen = cut(self._series, start, minutes, 0)[0].astype(np.float64)
        rng = np.random.default_rng(derive_seed(self._recipe.seed, "geomag.simulate", "noise", event.number,
                                                station.number, earlier))
        noise = self._recipe.stations.noise_nt * rng.standard_normal(minutes)[::-1]
        return np.asarray(self.level_nt + copy.gain * (seen - self.level_nt) + noise)
