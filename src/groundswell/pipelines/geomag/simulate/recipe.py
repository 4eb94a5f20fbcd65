"""geomag: what simulated windows should look like, as a pydantic model."""

from __future__ import annotations

from datetime import date
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from groundswell.core.recipe import RecipePart

Kind = Literal["bay", "drift", "ulf"]


class BackgroundRecipe(RecipePart):
    """What the magnetometers record when nothing is planted: simulated, or real minutes of one observatory."""

    files: tuple[str, ...] = ()
    """Real minutes (files or folders: IAGA-2002, .npz) to use instead of simulated ones; of the keys below only
    component, station and indices then hold."""
    station: str = ""
    """IAGA code of the observatory to use; needed where the files hold several."""
    component: Literal["X", "Y", "Z", "H", "F"] = "H"
    """Of the real minutes; the simulated ones have H."""
    indices: tuple[str, ...] = ()
    """Files or folders of real Kp, ap and Dst that go with real minutes. Without them the table has range_mean_nt."""
    start_date: date = date(2001, 1, 1)
    """First day of the simulated minutes."""
    years: float = Field(3.0, gt=0, le=100)
    """Length of the simulated minutes."""
    latitude: float = Field(50.0, ge=-65, le=65)
    """Of the simulated observatory, geographic; it also stands for the geomagnetic one."""
    longitude: float = Field(10.0, ge=-180, le=180)
    """Of the simulated observatory; it sets the local time of the daily variation."""
    secular_nt_a_year: float = 15.0
    """Slope of the simulated main field."""
    quiet_nt: float = Field(40.0, ge=0)
    """Amplitude of the solar-quiet variation at the equator, at equinox; it is less, and reversed, polewards of 35
    degrees."""
    storms_a_year: float = Field(30.0, ge=0)
    """Mean number of storms, small ones included (Dst below about -50 nT)."""
    irregular_nt: float = Field(3.0, ge=0)
    """Standard deviation of the 1/f noise in quiet times; it rises with activity."""
    instrument_nt: float = Field(0.1, ge=0)
    """Standard deviation of the observatory's own white noise."""

    @model_validator(mode="after")
    def _real_or_simulated(self) -> BackgroundRecipe:
        if not self.files and (self.component != "H" or self.station or self.indices):
            raise ValueError("component, station and indices go with real minutes; name those in background.files")
        return self


class StationsRecipe(RecipePart):
    """How several stations record the same event."""

    count: int = Field(4, ge=1, le=200)
    """Stations; each gives one window of every event."""
    max_shift_minutes: int = Field(120, ge=0, le=1440)
    """A station sees the background late by 0 to so many minutes, uniform, drawn for each window."""
    gain: tuple[float, float] = (0.7, 1.3)
    """Range of the factor on the background, above its mean level, uniform, drawn for each window."""
    noise_nt: float = Field(1.0, ge=0)
    """Standard deviation of a station's own white noise."""

    @field_validator("gain")
    @classmethod
    def _range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError("gain must be two numbers above 0, the smaller one first")
        return value


class SignalRecipe(RecipePart):
    """What is planted before the events of class 1; its size is ``strength``.

    bay and drift are locked to the end of the window, so that any classifier of fixed positions can learn them; ulf has
    a random phase, which leaves nothing at a fixed minute: only methods that do not mind shifts can learn it.
    """

    kind: Kind = "bay"
    """bay: a smooth negative bay of some hours at a fixed time before the event. drift: a slow tilt of the sensor that
    sets in some days before the event and stays. ulf: a narrow-band oscillation of random phase in the last days."""
    lead_days: float | None = Field(None, gt=0)
    """From the signal's middle to the event; absent: of a bay its duration, of drift and ulf half of it."""
    duration_days: float | None = Field(None, gt=0)
    """Absent: bay 0.5, drift 3, ulf 2."""
    period_minutes: float = Field(10.0, ge=4)
    """Of the oscillation (ulf)."""
    gain: tuple[float, float] = (0.8, 1.2)
    """Range of the factor on the signal, uniform, drawn for each window: stations are nearer to its source or
    farther."""
    jitter_minutes: float = Field(10.0, ge=0)
    """A window's signal comes early or late by up to so many minutes, uniform."""

    @field_validator("gain")
    @classmethod
    def _range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError("gain must be two numbers above 0, the smaller one first")
        return value


class SimulateRecipe(RecipePart):
    """Simulated windows of events and controls, complete."""

    listed_by: ClassVar[str] = "groundswell geomag simulate --knobs"

    seed: int = 42
    """Everything is a pure function of it and the recipe; the strength changes nothing but the planted signal."""
    events: int | None = Field(None, ge=2)
    """Events of both classes. Absent: 52, or as many as the background has room for. Longer windows have fewer, as they
    may not overlap."""
    share: float = Field(0.5, gt=0, lt=1)
    """Share of events of class 1; which they are is chance."""
    windows: tuple[int, ...] = (7, 14, 30)
    """Lengths in days: 7, 14, 30. They end at the same events, so that a short window is the end of a long one."""
    spacing_days: float | None = Field(None, ge=0)
    """Least time between events. Absent or shorter: the window and the largest shift, so that no minute of the
    background is in windows of two events."""
    allow_overlap: bool = False
    """Let windows of different events overlap, for more events: every length then has all events that the background
    reaches back for."""
    strength: float | None = Field(None, ge=0)
    """Amplitude of the planted signal, nT; 0 plants nothing: the null arm, the same draw with labels that are chance.
    Absent: one that all families learn (bay, drift) or that MiniRocket learns (ulf)."""
    placebo_shift_days: int | None = Field(None, ge=0)
    """Also cut every window so many days earlier, without the signal, which belongs to the event. Absent: the window's
    own length; 0: no placebos."""
    background: BackgroundRecipe = BackgroundRecipe()
    """What is recorded when nothing is planted."""
    stations: StationsRecipe = StationsRecipe()
    """How several stations record one event."""
    signal: SignalRecipe = SignalRecipe()
    """What is planted."""

    @field_validator("windows")
    @classmethod
    def _known_lengths(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or set(value) - {7, 14, 30} or len(set(value)) != len(value):
            raise ValueError("windows must be some of 7, 14, 30, each once")
        return value
