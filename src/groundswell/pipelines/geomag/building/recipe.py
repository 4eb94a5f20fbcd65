"""geomag: the configuration of building windows from observatory files and a catalogue."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from groundswell.core.recipe import RecipePart


class EventRule(RecipePart):
    """Which earthquakes count at an observatory, and which of them get a window."""

    rule: Literal["dobrovolsky", "distance"] = "dobrovolsky"
    """dobrovolsky: nearer than 10^(0.43 M) km; distance: nearer than max_distance_km whatever the magnitude."""
    max_distance_km: float = Field(20000.0, gt=0)
    """Farthest epicentre, along the great circle (rule distance only)."""
    min_magnitude: float = 5.0
    """Smallest magnitude."""
    max_depth_km: float | None = Field(None, gt=0)
    """Greatest depth; events without a known depth are kept. Absent, any depth."""
    declustering: Literal["none", "gardner_knopoff"] = "none"
    """gardner_knopoff: events in the space-time window of a larger one get no window, but still make a time unquiet."""
    min_separation_days: float | None = Field(None, ge=0)
    """Least time between the events of two windows of a station, the larger magnitude first. Absent, the window's own
    length, so that windows before events never overlap; 0 keeps all events."""


class ControlRule(RecipePart):
    """Which times without an event are drawn, and how like their event's window they must be."""

    per_event: int = Field(1, ge=1)
    """Control windows for each window before an event."""
    quiet_days: float = Field(7.0, ge=0)
    """No qualifying event inside a control window nor for so many days after it."""
    quiet_days_before: float = Field(0.0, ge=0)
    """No qualifying event for so many days before a control window either."""
    max_season_days: float = Field(45.0, gt=0)
    """Greatest difference in the day of the year, any year, between a control and its event."""
    activity: Literal["auto", "ap", "range"] = "auto"
    """Geomagnetic activity to match on: ap, the window's mean of the three-hour index; range, the mean hourly range of
    the station's own first component. auto takes ap where indices cover every station's data."""
    max_activity_difference: float | None = Field(None, gt=0)
    """Greatest difference in activity, in its own unit (ap: 2 nT; range: nT). Absent, the nearest is taken."""
    season_scale_days: float = Field(30.0, gt=0)
    """A difference of so many days of the year weighs as much as one standard deviation of activity."""
    overlap_events: bool = False
    """Whether a control may share minutes with a window before an event."""
    overlap_controls: bool = False
    """Whether two controls of a station may share minutes."""
    keep_unmatched: bool = False
    """Keep windows before events for which no control was found; otherwise they are dropped and counted."""


class GapRule(RecipePart):
    """How much missing data a window may have."""

    max_gap_minutes: int = Field(60, ge=0)
    """Longest run of missing minutes that is filled, linearly; runs at a window's edge hold the nearest value."""
    max_filled_share: float = Field(0.02, ge=0, lt=1)
    """Greatest share of a window that may be filled."""


class BuildRecipe(RecipePart):
    """Everything that decides which windows are cut."""

    data: tuple[str, ...] = ("data",)
    """Files or folders of IAGA-2002 minute data (plain, .gz, or in .tar and .tar.gz) or .npz minute series."""
    catalogue: tuple[str, ...] = ("catalogue.csv",)
    """Event catalogues: CSV or QuakeML, .gz allowed. Of an event that several list, the first one's entry is taken."""
    indices: tuple[str, ...] = ()
    """Files or folders of geomagnetic indices: Dst (WDC), ap and Kp."""
    stations: tuple[str, ...] = ()
    """IAGA codes of the observatories to use; all when empty."""
    components: tuple[str, ...] = ("H",)
    """Of X, Y, Z, H, F (nT) and D (minutes of arc); each gets a layout of its own when there are several."""
    windows: tuple[int, ...] = (7, 14, 30)
    """Lengths in days: 7, 14, 30."""
    lead_minutes: int = Field(0, ge=0)
    """Minutes between a window's end and the minute of its event."""
    placebo_shift_days: int = Field(0, ge=0)
    """Also cut every window so many days earlier, as placebos; 0 for none."""
    seed: int = 0
    """Decides the order in which events choose their controls, and between equally good ones."""
    events: EventRule = EventRule()
    controls: ControlRule = ControlRule()
    gaps: GapRule = GapRule()

    @field_validator("windows")
    @classmethod
    def _known_lengths(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or set(value) - {7, 14, 30} or len(set(value)) != len(value):
            raise ValueError("windows must be some of 7, 14, 30, each once")
        return value

    @field_validator("data", "catalogue", "components")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("name at least one, and each once")
        return value
