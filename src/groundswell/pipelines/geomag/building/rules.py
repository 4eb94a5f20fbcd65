"""geomag: which earthquakes count at an observatory, by distance and magnitude, and which are aftershocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.data.sphere import great_circle_km
from groundswell.pipelines.geomag.building.recipe import EventRule


def dobrovolsky_km(magnitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Radius of the zone of preparation, ``10^(0.43 M)`` km (Dobrovolsky, Zubkov and Miachkin 1979, PAGEOPH 117)."""
    return np.asarray(10.0 ** (0.43 * np.asarray(magnitude, np.float64)), np.float64)


@dataclass(frozen=True)
class Judged:
    """What a rule says of every event of a catalogue, at one station.

    Attributes:
        distance_km: of each event, shape (events,).
        reach_km: distance up to which it counts; 0 where its magnitude or depth rules it out.
    """

    distance_km: NDArray[np.float64]
    reach_km: NDArray[np.float64]

    @property
    def qualifies(self) -> NDArray[np.bool_]:
        """Whether an event counts, shape (events,)."""
        return np.asarray(self.distance_km <= self.reach_km, bool)


def judge(events: pd.DataFrame, site: tuple[float, float], rule: EventRule) -> Judged:
    """Apply a rule at a station.

    Args:
        events: a catalogue (see ``catalogue.COLUMNS``).
        site: latitude and longitude of the station, degrees.
        rule: which events count.
    """
    magnitude = events["magnitude"].to_numpy(np.float64)
    reach = dobrovolsky_km(magnitude) if rule.rule == "dobrovolsky" else np.full(len(events), rule.max_distance_km)
    allowed = magnitude >= rule.min_magnitude
    if rule.max_depth_km is not None:
        allowed &= ~(events["depth_km"].to_numpy(np.float64) > rule.max_depth_km)
    distance = great_circle_km(events["latitude"].to_numpy(np.float64), events["longitude"].to_numpy(np.float64), site)
    # No epicentre is at a negative distance, so that even one at the station does not count where it is ruled out.
    return Judged(distance, np.where(allowed, reach, -1.0))


def dependent_events(events: pd.DataFrame) -> NDArray[np.bool_]:
    """Which events are aftershocks or foreshocks by the windows of Gardner and Knopoff (1974, BSSA 64).

    From the largest magnitude downwards, an event claims every smaller one within ``10^(0.1238 M + 0.983)`` km and, on
    either side, within ``10^(0.032 M + 2.7389)`` days (``10^(0.5409 M - 0.547)`` below magnitude 6.5); one that has
    been claimed claims none.

    Args:
        events: a catalogue in the order of time.

    Returns:
        bool, shape (events,).
    """
    magnitude = events["magnitude"].to_numpy(np.float64)
    days = events["time"].to_numpy("datetime64[ns]").astype(np.int64) / 86400e9
    latitude, longitude = (events[c].to_numpy(np.float64) for c in ("latitude", "longitude"))
    reach_km = 10.0 ** (0.1238 * magnitude + 0.983)
    reach_days = 10.0 ** np.where(magnitude >= 6.5, 0.032 * magnitude + 2.7389, 0.5409 * magnitude - 0.547)
    claimed = np.zeros(len(events), bool)
    for i in np.lexsort((days, -magnitude)):
        if claimed[i]:
            continue
        first, last = np.searchsorted(days, [days[i] - reach_days[i], days[i] + reach_days[i]])
        near = great_circle_km(latitude[first:last], longitude[first:last], (latitude[i], longitude[i])) <= reach_km[i]
        smaller = (magnitude[first:last] < magnitude[i]) | ((magnitude[first:last] == magnitude[i]) & (
            days[first:last] > days[i]))
        claimed[first:last] |= near & smaller
    return claimed
