"""geomag: the signals that are planted before events: their waveforms, their bands and what is drawn for each window.

Three kinds, each with a story of where such a thing could come from. None of them is claimed to exist.

- ``bay``: a current system or a pressurised volume near the event makes H fall and rise again smoothly, once, at a
  fixed time before it. Locked to the end of the window: whoever looks at fixed minutes can learn it.
- ``drift``: the ground under the sensor tilts slowly in the last days, and the baseline follows and stays there. Also
  locked; taking a straight line from each window (``preprocess.detrend: linear``) takes most of it away.
- ``ulf``: waves from the source region, narrow in frequency, in the last days; amplitude and times are known and the
  phase is not. At no fixed minute does it leave anything in the mean, so only what does not mind shifts can learn it
  (MiniRocket, or a network that convolves); networks that take a day's minutes as one vector cannot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.signal import detrend

from groundswell.core.seeds import derive_seed
from groundswell.pipelines.geomag.simulate.recipe import Kind, SimulateRecipe

Floats = NDArray[np.float64]

DAY = 1440
STRENGTH_NT: dict[Kind, float] = {"bay": 150.0, "drift": 150.0, "ulf": 8.0}
"""Amplitudes that were learnt; taken where the recipe has none.

On a year of H at 55 degrees north, with 51 events, 4 stations and 7 days, grouped by event, MiniRocket + ridge then has
a ROC area of 0.98 and more for each kind. So have LSTM and transformer for the bay, with windows scaled by themselves
and a learning rate of 3e-4; MLP, RNN and GRU reach it at 100 nT. Of ulf at 8 nT, MLP and RNN learn nothing that can be
told from chance."""
_DURATION_DAYS: dict[Kind, float] = {"bay": 0.5, "drift": 3.0, "ulf": 2.0}


@dataclass(frozen=True)
class Planted:
    """The signal of one window; times are minutes before the window's end, which is the event.

    Attributes:
        kind: bay, drift or ulf.
        amplitude_nt: largest absolute value, of the envelope for ulf.
        centre_minutes: of its middle before the end.
        duration_minutes: from its first minute to its last; a drift stays after it.
        period_minutes, phase_rad: of the oscillation; 0 for the others.
    """

    kind: Kind
    amplitude_nt: float
    centre_minutes: float
    duration_minutes: float
    period_minutes: float = 0.0
    phase_rad: float = 0.0

    def waveform(self, minutes: int) -> Floats:
        """The signal in a window of so many minutes, nT, float64 (minutes,); what lies before the window is cut."""
        since_centre = np.arange(-minutes, 0) + self.centre_minutes
        place = np.clip(since_centre / self.duration_minutes, -0.5, 0.5)
        bump = 0.5 + 0.5 * np.cos(2 * np.pi * place)
        if self.kind == "bay":
            shape = -bump
        elif self.kind == "drift":
            shape = 0.5 + 0.5 * np.sin(np.pi * place)
        else:
            shape = bump * np.sin(2 * np.pi * since_centre / self.period_minutes + self.phase_rad)
        return np.asarray(self.amplitude_nt * shape)

    @property
    def band_per_minute(self) -> tuple[float, float]:
        """Lower and upper edge of the band that holds the signal, cycles a minute."""
        width = 1 / self.duration_minutes
        if self.kind == "ulf":
            return 1 / self.period_minutes - 2 * width, 1 / self.period_minutes + 2 * width
        return (0.5 * width, 2 * width) if self.kind == "bay" else (0.25 * width, width)


def strength_of(recipe: SimulateRecipe) -> float:
    """Amplitude in nT: the recipe's, or the kind's own."""
    return STRENGTH_NT[recipe.signal.kind] if recipe.strength is None else recipe.strength


def timing_of(recipe: SimulateRecipe) -> tuple[float, float]:
    """Minutes from the signal's middle to the event, and its duration in minutes."""
    signal = recipe.signal
    duration = signal.duration_days or _DURATION_DAYS[signal.kind]
    # A bay of half a day stands in the middle of the last day, so that a network that reads days has it in one step.
    lead = signal.lead_days or (duration if signal.kind == "bay" else duration / 2)
    return lead * DAY, duration * DAY


def draw_signal(recipe: SimulateRecipe, event: int, station: int) -> Planted:
    """The signal of an event at a station: one phase for all stations, gain and jitter of each its own.

    Nothing that is drawn depends on the strength, the window's length or the kind.
    """
    signal = recipe.signal
    shared = np.random.default_rng(derive_seed(recipe.seed, "geomag.simulate", "phase", event))
    own = np.random.default_rng(derive_seed(recipe.seed, "geomag.simulate", "signal", event, station))
    phase = float(shared.uniform(0, 2 * np.pi))
    gain, jitter = float(own.uniform(*signal.gain)), float(own.uniform(-1, 1)) * signal.jitter_minutes
    lead, duration = timing_of(recipe)
    oscillation = (signal.period_minutes, phase) if signal.kind == "ulf" else (0.0, 0.0)
    return Planted(signal.kind, gain * strength_of(recipe), lead + jitter, duration, *oscillation)


def band_deviation(window_nt: Floats, band_per_minute: tuple[float, float]) -> float:
    """Standard deviation of a window, less its straight line, in a band, nT."""
    spectrum = scipy.fft.rfft(detrend(window_nt))
    frequency = np.fft.rfftfreq(len(window_nt))
    inside = (frequency >= band_per_minute[0]) & (frequency <= band_per_minute[1])
    return float(np.sqrt(2 * (np.abs(spectrum[inside]) ** 2).sum()) / len(window_nt))
