"""das: what a simulated archive should look like, as a pydantic model."""

from __future__ import annotations

from datetime import date
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from groundswell.core.recipe import RecipePart


class FibreRecipe(RecipePart):
    """The cables and the instrument."""

    channels: int = Field(96, ge=1)
    """Channels of the first cable."""
    spacing_m: float = Field(50.0, gt=0)
    """Channel spacing of the first cable (the seed's cable has 4.8 m; wider spacing gives few channels an aperture)."""
    more_cables: tuple[tuple[int, float], ...] = ()
    """(channels, spacing_m) of further cables; each event is recorded by one cable, drawn at random."""
    gauge_m: float = Field(20.0, ge=0)
    """Gauge length: strain is the mean over so many metres of fibre. 0 is a point sensor."""
    rate_hz: float = Field(250.0, ge=20)
    """Sampling rate."""
    bends: int = Field(3, ge=0, le=50)
    """Bends of each cable's path."""
    latitude: float = Field(43.1, ge=-80, le=80)
    """Where the first channel is."""
    longitude: float = Field(0.1, ge=-180, le=180)
    """Where the first channel is."""
    coupling_db: float = Field(3.0, ge=0)
    """Standard deviation of the channels' coupling to the ground."""
    dead_share: float = Field(0.02, ge=0, lt=1)
    """Share of channels that record zeros."""
    saturated_share: float = Field(0.01, ge=0, lt=1)
    """Share of channels pinned at the digitiser's limits."""

    @property
    def cables(self) -> tuple[tuple[int, float], ...]:
        """(channels, spacing_m) of every cable."""
        return ((self.channels, self.spacing_m), *self.more_cables)

    @model_validator(mode="after")
    def _something_is_left(self) -> FibreRecipe:
        if self.dead_share + self.saturated_share > 0.9:
            raise ValueError("dead_share and saturated_share leave fewer than a tenth of the channels")
        if any(channels < 1 or spacing <= 0 for channels, spacing in self.more_cables):
            raise ValueError("more_cables holds pairs of channels (at least 1) and spacing_m (above 0)")
        return self


class SourceRecipe(RecipePart):
    """Earthquakes and quarry blasts. Distance, magnitude range and signal-to-noise have one law for both classes."""

    blast_share: float = Field(0.5, ge=0, le=1)
    """Share of quarry blasts."""
    distance_km: tuple[float, float] = (5.0, 25.0)
    """Range of epicentral distances from the middle of the cable, uniform."""
    depth_km: tuple[float, float] = (3.0, 15.0)
    """Range of earthquake depths, uniform; blasts are at the surface."""
    magnitude: tuple[float, float] = (0.4, 3.0)
    """Range of moment magnitudes. The magnitude is the one that gives the drawn signal-to-noise ratio at the drawn
    distance; where it would leave this range the rest is recorded as a site gain."""
    stress_drop_mpa: tuple[float, float] = (0.3, 3.0)
    """Range of the stress drop that sets the corner frequency, log-uniform."""
    surface_wave: float = Field(1.0, ge=0)
    """Strength of the blasts' surface waves; 0 takes them away."""
    blast_shear: float = Field(1.0, ge=0)
    """Strength of the blasts' S waves; 0 takes them away."""
    ripple_delay_ms: tuple[float, float] = (25.0, 50.0)
    """Range of the delay between the rows of a ripple-fired blast."""
    ripple_rows: tuple[int, int] = (6, 18)
    """Range of the number of rows; (1, 1) fires all at once."""
    coda: float = Field(1.5, ge=0)
    """Energy of the scattered coda relative to its direct wave; for P, relative to one that strains the fibre well."""

    @model_validator(mode="after")
    def _ranges_are_ranges(self) -> SourceRecipe:
        for name in ("distance_km", "stress_drop_mpa", "ripple_delay_ms", "ripple_rows"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be two numbers above 0, the smaller one first")
        if not 0 <= self.depth_km[0] <= self.depth_km[1] <= 40:
            raise ValueError("depth_km must lie between 0 and 40, the smaller one first")
        if self.magnitude[0] > self.magnitude[1]:
            raise ValueError("magnitude must be two numbers, the smaller one first")
        return self


class NoiseRecipe(RecipePart):
    """What the fibre records when nothing happens. Levels are shares of the total power before traffic is added."""

    level_nstrain_s: float = Field(2.0, gt=0)
    """Root mean square of the noise in the signal-to-noise band, in nanostrain per second, traffic apart."""
    spread_db: float = Field(2.0, ge=0)
    """Standard deviation of the level from file to file, one law for both classes."""
    instrument: float = Field(0.5, ge=0)
    """Part of the instrument's own noise: white with a 1/f rise, independent from channel to channel."""
    laser: float = Field(0.1, ge=0)
    """Part of the laser's phase noise: 1/f squared, the same on all channels."""
    ambient: float = Field(0.4, ge=0)
    """Part of ambient ground motion: diffuse surface waves, coherent along the fibre."""
    vehicles_per_hour: float = Field(240.0, ge=0)
    """Vehicles that pass, in both directions together, at 10 to 30 m/s."""
    vehicle_level: float = Field(3.0, ge=0)
    """Strength of a vehicle at the nearest channel, in units of the noise level."""
    day_db: float = Field(0.0, ge=0, le=40)
    """By how many decibels noise by day (06 to 18 UTC) exceeds noise by night."""

    @model_validator(mode="after")
    def _some_noise(self) -> NoiseRecipe:
        if self.instrument + self.laser + self.ambient <= 0:
            raise ValueError("one of instrument, laser and ambient must be above 0")
        return self


class FileRecipe(RecipePart):
    """How files are written."""

    layout: Literal["contiguous", "chunked", "gzip"] = "contiguous"
    """Storage layout of the array."""
    dtype: Literal["float32", "int16"] = "float32"
    """Stored type; int16 holds counts, and the attribute ``scale`` says what one count is."""
    axis_order: Literal["time,channel", "channel,time"] = "time,channel"
    """Order of the array's axes."""
    dataset: Literal["sr/data", "python_processing/sr/data", "data"] = "sr/data"
    """Where the array is; ``distance`` and ``time`` are beside it."""
    region: bool = False
    """Add a label map of the event in fibre and time (``region/data`` with ``region_id`` and ``classe_str``)."""


class SimulateRecipe(RecipePart):
    """A complete simulated archive."""

    listed_by: ClassVar[str] = "groundswell das simulate --knobs"

    seed: int = 42
    """Every file is a pure function of this and its event number."""
    events: int = Field(44, ge=1)
    """How many events, one file each."""
    duration_s: float = Field(45.0, ge=4)
    """Length of an event's file (or of each consecutive file)."""
    snr_db: float = 10.0
    """Mean signal-to-noise ratio: ten times the decimal logarithm of the mean square of the noise-free signal over that
    of the noise, both in snr_band_hz, over all working channels; the signal from each channel's P arrival for
    snr_window_s (cut at the end of the file), the noise over the whole file."""
    snr_spread_db: float = Field(4.0, ge=0)
    """Standard deviation of the ratio from event to event, normal, cut at two; one law for both classes."""
    snr_band_hz: tuple[float, float] = (0.7, 30.0)
    """Band of the ratio. It holds nearly all energy of both classes; a narrower one lets the energy outside tell them
    apart."""
    snr_window_s: float = Field(15.0, gt=0)
    """Length of signal that counts for the ratio. It holds nearly all of an event, its late surface waves included."""
    clock_confound: float = Field(0.0, ge=0, le=1)
    """Share of blasts fired on working days from 08 to 10 UTC; all other events are uniform over the days and hours."""
    start_date: date = date(2022, 9, 1)
    """First day of the campaign."""
    days: int = Field(20, ge=7, le=3650)
    """Length of the campaign."""
    noise_files: tuple[str, ...] = ()
    """Real records (files or folders) to draw noise from instead of simulating it; of the noise keys, the level, its
    spread and its day still hold."""
    fibre: FibreRecipe = FibreRecipe()
    """Cables and instrument."""
    source: SourceRecipe = SourceRecipe()
    """Earthquakes and blasts."""
    noise: NoiseRecipe = NoiseRecipe()
    """Noise."""
    file: FileRecipe = FileRecipe()
    """Files."""

    @model_validator(mode="after")
    def _band_fits_rate(self) -> SimulateRecipe:
        low, high = self.snr_band_hz
        if not 0 < low < high:
            raise ValueError("snr_band_hz must be two frequencies, the lower one first and above 0")
        if high >= self.fibre.rate_hz / 2:
            raise ValueError(f"snr_band_hz reaches {high} Hz, at or above half of fibre.rate_hz "
                             f"({self.fibre.rate_hz} Hz)")
        return self
