"""geomag: what the choice of windows is made of: stations with their events, and the windows themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.geomag.building.gaps import Gaps
from groundswell.pipelines.geomag.building.indices import Binned
from groundswell.pipelines.geomag.building.minutes import MinuteSeries
from groundswell.pipelines.geomag.building.rules import Judged

DAY = 1440
YEAR_DAYS = 365.2425


@dataclass(frozen=True)
class Site:
    """A station and what is known of its times.

    Attributes:
        series: its minutes.
        gaps: where they are missing.
        activity: what windows are matched on.
        judged: what the rule says of every event of the catalogue.
        event_minutes: of the events that count here, in order, int64.
    """

    series: MinuteSeries
    gaps: Gaps
    activity: Binned
    judged: Judged
    event_minutes: NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """A window of one station.

    Attributes:
        label: 1 before an event, 0 a control.
        station: IAGA code.
        event_id: of the event, or the control's own.
        matched: the event (for a control: whose window it was matched with).
        start_minute: first minute, since 1970.
        activity: in the window.
        season_days: difference in the day of the year to the matched window (0 for label 1).
        shift_days: days later than the matched window (0 for label 1).
        event: position of the event in the catalogue, -1 for a control.
    """

    label: int
    station: str
    event_id: str
    matched: str
    start_minute: int
    activity: float
    season_days: float = 0.0
    shift_days: int = 0
    event: int = -1


@dataclass(frozen=True)
class Dropped:
    """A window before an event that is not used."""

    station: str
    event: int
    why: str


@dataclass(frozen=True)
class Plan:
    """The windows of one length.

    Attributes:
        days: length.
        samples: windows before events, then controls, each in the order of time and station.
        dropped: windows before events that are not used.
        controls_unusable: possible control windows that were out of question, by reason, for the first event of each
            station (a control may begin on any day).
        eligible: activity and day of the year of those that were not, for the same: the balance before matching.
    """

    days: int
    samples: tuple[Sample, ...]
    dropped: tuple[Dropped, ...]
    controls_unusable: dict[str, int]
    eligible: NDArray[np.float64]

    def of(self, label: int) -> tuple[Sample, ...]:
        """The windows of one class."""
        return tuple(s for s in self.samples if s.label == label)


def season_difference_days(shift_days: NDArray[np.int64]) -> NDArray[np.float64]:
    """Difference in the season of times so many days apart, 0 to half a year."""
    half = YEAR_DAYS / 2
    return np.asarray(np.abs((shift_days + half) % YEAR_DAYS - half), np.float64)
