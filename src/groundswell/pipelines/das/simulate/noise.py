"""das: what a fibre records when nothing happens: instrument, laser, ground and traffic, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from groundswell.core.seeds import derive_seed
from groundswell.pipelines.das.simulate.diffuse import DiffuseField, soil_velocity, to_series
from groundswell.pipelines.das.simulate.fibre import Cable
from groundswell.pipelines.das.simulate.recipe import SimulateRecipe
from groundswell.pipelines.das.simulate.traffic import add_traffic

Floats = NDArray[Any]
_OVERLAP_S = 2.0
_LONGEST_BLOCK_S = 60.0


@dataclass(frozen=True)
class Stretch:
    """A piece of noise that is asked for.

    Attributes:
        cable: on which cable.
        samples: how long.
        rate_hz: sampling rate.
        seed: the piece is a pure function of it.
    """

    cable: Cable
    samples: int
    rate_hz: float
    seed: int


class NoiseSource(Protocol):
    """Makes noise; the simulated one, or one that draws on real records."""

    description: str

    def draw(self, stretch: Stretch) -> NDArray[np.float32]:
        """Noise of any level, float32 (channels, samples), the same for the same stretch."""
        ...


class SimulatedNoise:
    """Instrument, laser, ambient and traffic noise of a recipe, at its level in its signal-to-noise band."""

    description = "simulated"

    def __init__(self, recipe: SimulateRecipe) -> None:
        self._recipe = recipe
        # A field costs more to lay out than to draw from; it depends on cable and length alone.
        self._fields: dict[tuple[int, int], DiffuseField] = {}

    def draw(self, stretch: Stretch) -> NDArray[np.float32]:
        """See :class:`NoiseSource`; nanostrain per second."""
        noise, cable = self._recipe.noise, stretch.cable
        samples = scipy.fft.next_fast_len(stretch.samples, real=True)
        frequency_hz = np.fft.rfftfreq(samples, 1 / stretch.rate_hz)
        band = _in_band(frequency_hz, self._recipe.snr_band_hz)
        total = noise.instrument + noise.laser + noise.ambient
        rng = np.random.default_rng(derive_seed(stretch.seed, "components"))
        spectrum = _white(rng, cable.channels, len(frequency_hz))
        white = _shaped(instrument_shape(frequency_hz), band, samples)
        spectrum *= white * np.float32(np.sqrt(noise.instrument / total))
        if noise.laser:
            common = _white(rng, 1, len(frequency_hz))
            spectrum += common * _shaped(laser_shape(frequency_hz), band, samples) * np.sqrt(noise.laser / total)
        if noise.ambient:
            ambient = self._field(cable, samples, stretch.rate_hz).draw(rng)
            ambient *= cable.coupling[:, None].astype(np.float32)
            ambient *= _shaped(ambient_shape(frequency_hz), band, samples) * np.float32(np.sqrt(noise.ambient / total))
            spectrum += ambient
        series = to_series(spectrum.astype(np.complex64), samples)[:, : stretch.samples]
        traffic = np.zeros_like(series)
        add_traffic(traffic, cable, stretch.rate_hz, noise.vehicles_per_hour, noise.vehicle_level,
                    np.random.default_rng(derive_seed(stretch.seed, "traffic")))
        series += traffic * cable.coupling[:, None].astype(np.float32)
        series *= np.float32(noise.level_nstrain_s)
        return series

    def _field(self, cable: Cable, samples: int, rate_hz: float) -> DiffuseField:
        key = (cable.number, samples)
        if key not in self._fields:
            self._fields[key] = DiffuseField(cable, samples, rate_hz, soil_velocity)
        return self._fields[key]


def instrument_shape(frequency_hz: Floats) -> Floats:
    """Amplitude spectrum of the interrogator's noise: white, with power rising as 1/f below 1 Hz."""
    return np.sqrt(1 + 1.0 / np.maximum(frequency_hz, 0.05))


def laser_shape(frequency_hz: Floats) -> Floats:
    """Amplitude spectrum of the laser's drift: power as 1/f squared."""
    return 1 / np.maximum(frequency_hz, 0.1)


def ambient_shape(frequency_hz: Floats) -> Floats:
    """Amplitude spectrum of ground noise in strain rate: a broad hump around 4 Hz of cultural noise, gone by 40 Hz."""
    ratio = np.maximum(frequency_hz, 1e-3) / 4
    return ratio / (1 + ratio**2) ** 1.25


def daylight(since_midnight_s: Floats) -> Floats:
    """0 by night, 1 by day (06 to 18 UTC), half an hour from one to the other; any number of days may have passed."""
    hour = since_midnight_s / 3600 % 24
    share: Floats = np.clip(np.minimum((hour - 5.75) / 0.5, (18.25 - hour) / 0.5), 0, 1)
    return share


def _in_band(frequency_hz: Floats, band_hz: tuple[float, float]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (frequency_hz >= band_hz[0]) & (frequency_hz < band_hz[1])
    return inside


def _shaped(shape: Floats, band: NDArray[np.bool_], samples: int) -> NDArray[np.float32]:
    """The amplitude spectrum scaled to unit mean square in the band."""
    scaled: NDArray[np.float32] = (shape / np.sqrt(2 * (shape[band] ** 2).sum() / samples)).astype(np.float32)
    return scaled


def _white(rng: np.random.Generator, channels: int, frequencies: int) -> NDArray[np.complex64]:
    pairs = rng.standard_normal((channels, frequencies, 2), dtype=np.float32) * np.float32(np.sqrt(0.5))
    return pairs.view(np.complex64)[..., 0]


def noise_between(source: NoiseSource, cable: Cable, rate_hz: float, start: int, stop: int, block_s: float,
                  seed: int) -> NDArray[np.float32]:
    """Samples ``[start, stop)`` of endless noise, float32 (channels, stop - start); the same wherever it is cut.

    It is joined from blocks that fade into each other over two seconds with weights whose squares sum to one, so that
    its power does not change. A vehicle lives within one block.

    Args:
        source: makes the blocks.
        cable: on which cable.
        rate_hz: sampling rate.
        start, stop: time samples since the beginning of the noise.
        block_s: step between blocks, cut at 60 s (and at least 4 s).
        seed: the noise is a pure function of it and the source.
    """
    step = int(np.clip(block_s, 2 * _OVERLAP_S, _LONGEST_BLOCK_S) * rate_hz)
    overlap = int(_OVERLAP_S * rate_hz)
    fade = np.sin(np.linspace(0, np.pi / 2, overlap, dtype=np.float32))
    out = np.zeros((cable.channels, stop - start), np.float32)
    for block in range((start - overlap) // step, (stop - 1) // step + 1):
        first = block * step
        piece = source.draw(Stretch(cable, step + overlap, rate_hz, derive_seed(seed, "block", block)))
        piece[:, :overlap] *= fade
        piece[:, step:] *= fade[::-1]
        low, high = max(first, start), min(first + step + overlap, stop)
        if low < high:
            out[:, low - start : high - start] += piece[:, low - first : high - first]
    return out
