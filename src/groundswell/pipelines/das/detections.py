"""das: how an archive is searched, what an event found in it is, and what the search took. Data only."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.das.timeline import Gap, after


@dataclass(frozen=True)
class DetectSettings:
    """How windows become events.

    Attributes:
        threshold: least probability of an event, 1 - p(noise), that starts one.
        release: it lasts while the probability is at least this; two thirds of the threshold when absent.
        min_windows: an event has at least so many windows at or above the threshold.
        merge_gap_s: events whose windows lie less than this apart are one.
        stride_s: seconds between the starts of windows; the model's own stride when absent.
        batch: most windows at a time.
        channels: half-open range of channels to look at; all when absent.
        average_channels: average so many neighbouring channels into one before the model sees them: that much faster.
        gate: leave out windows in which no group of channels rises to this many times its usual energy; 0 leaves out
            none. Faster on quiet archives; what is left out cannot be found.
    """

    threshold: float = 0.5
    release: float | None = None
    min_windows: int = 1
    merge_gap_s: float = 5.0
    stride_s: float | None = None
    batch: int = 16
    channels: tuple[int, int] | None = None
    average_channels: int = 1
    gate: float = 0.0

    def __post_init__(self) -> None:
        release = self.threshold if self.release is None else self.release
        if not 0 < release <= self.threshold <= 1:
            raise InputError(f"Thresholds must lie between 0 and 1, the release not above the threshold; they are "
                             f"{self.threshold} and {self.release}")
        least_one = min(self.min_windows, self.batch, self.average_channels)
        if least_one < 1 or min(self.merge_gap_s, self.gate) < 0:
            raise InputError("min_windows, batch and average_channels must be at least 1, merge_gap_s and gate "
                             "at least 0")
        if self.stride_s is not None and not self.stride_s > 0:
            raise InputError(f"stride_s must be above 0; it is {self.stride_s}")

    @property
    def released(self) -> float:
        """The probability at which an event ends."""
        return self.threshold * 2 / 3 if self.release is None else self.release


@dataclass(frozen=True)
class Detection:
    """One event.

    Attributes:
        cable: name of the cable (its first file).
        file: name of the file in which it starts.
        start_s: its onset, seconds from the first sample of that file.
        duration_s: from onset to end.
        start_time: UTC of the onset, ``None`` where the files do not say.
        channel_start: first channel on which it stands above the noise.
        channel_stop: one past the last.
        class_name: likeliest class, noise apart.
        probability: of that class, given that it is an event.
        event_probability: that it is one: the highest over its windows.
        windows: how many windows hold it.
        refined: whether the onset was picked in the data; otherwise it is the start of the first window.
    """

    cable: str
    file: str
    start_s: float
    duration_s: float
    start_time: np.datetime64 | None
    channel_start: int
    channel_stop: int
    class_name: str
    probability: float
    event_probability: float
    windows: int
    refined: bool

    @property
    def end_time(self) -> np.datetime64 | None:
        """UTC of its end."""
        return None if self.start_time is None else after(self.start_time, self.duration_s, 1.0)


@dataclass(frozen=True)
class Curve:
    """Probability of an event over an uninterrupted section.

    Attributes:
        cable: name of the cable.
        start_time: UTC of the section's first sample, ``None`` where unknown.
        window_start_s: start of each window, seconds from there; float64, shape (windows,).
        window_s: length of a window.
        p_event: 1 - p(noise), float64, shape (windows,).
    """

    cable: str
    start_time: np.datetime64 | None
    window_start_s: NDArray[np.float64]
    window_s: float
    p_event: NDArray[np.float64]


@dataclass
class Detections:
    """Everything found in an archive, and what it took.

    Attributes:
        events: in the order of time within each cable.
        curves: probability over time.
        gaps: stretches in which nothing was recorded.
        failures: (file, reason) of what could not be read or used.
        notes: what a person should know.
        threshold: the probability that starts an event.
        recorded_s: length of what was looked at, summed over cables.
        wall_s: how long it took.
        cpu_s: how much of one core's time that was, all threads added up.
        read_bytes: size of what was looked at, as stored without compression.
        windows: number of windows looked at.
        gated: how many of them the gate left out.
    """

    events: list[Detection] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    threshold: float = 0.5
    recorded_s: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    read_bytes: int = 0
    windows: int = 0
    gated: int = 0

    @property
    def times_real_time(self) -> float:
        """Seconds of recording per second of work."""
        return self.recorded_s / self.wall_s if self.wall_s else 0.0

    @property
    def times_real_time_per_core(self) -> float:
        """Seconds of recording per second of one core's time."""
        return self.recorded_s / self.cpu_s if self.cpu_s else 0.0

    @property
    def bytes_per_s(self) -> float:
        """Bytes of recording per second of work."""
        return self.read_bytes / self.wall_s if self.wall_s else 0.0
