"""das: diffuse surface waves along a fibre: the coda of an event, and the ambient noise of the ground."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from groundswell.pipelines.das.simulate.fibre import Cable, gauge_response

Floats = NDArray[Any]
_ALIASES = 3


def surface_velocity(frequency_hz: Floats) -> Floats:
    """Phase velocity of Rayleigh waves in m/s: 3.0 km/s at long periods, 1.7 km/s where they feel only the top."""
    return 1700 + 1300 / (1 + (frequency_hz / 1.5) ** 2)


def soil_velocity(frequency_hz: Floats) -> Floats:
    """Phase velocity of the slow surface waves that make up ambient noise, in m/s."""
    return 350 + 850 / (1 + (frequency_hz / 2.0) ** 2)


class DiffuseField:
    """Random waves from all sides of the map, as a fibre feels them.

    Plane waves of equal power from every azimuth theta strain a straight fibre by cos^2(theta) at the wavenumber
    cos(theta) f / c, so the power in a range of wavenumbers is an integral of cos^4. Wavenumbers beyond what the
    channel spacing resolves are folded back, after the gauge has averaged them. A bent cable is treated as straight.

    Args:
        cable: gives channels, spacing and gauge length.
        samples: length of the series.
        rate_hz: sampling rate.
        velocity: phase velocity (m/s) by frequency (Hz).
    """

    def __init__(self, cable: Cable, samples: int, rate_hz: float, velocity: Callable[[Floats], Floats]) -> None:
        self.channels = cable.channels
        # The discrete transform makes the fibre a ring; a quarter more of it keeps its two ends strangers.
        self._ring = scipy.fft.next_fast_len(int(np.ceil(1.25 * cable.channels)) + 1)
        frequency_hz = np.fft.rfftfreq(samples, 1 / rate_hz).astype(np.float32)
        largest = np.maximum(frequency_hz, frequency_hz[1]) / velocity(frequency_hz).astype(np.float32)
        step = 1 / (self._ring * cable.spacing_m)
        wavenumber = scipy.fft.fftfreq(self._ring, cable.spacing_m).astype(np.float32)[:, None]
        power = np.zeros((self._ring, len(frequency_hz)), np.float32)
        for alias in range(-_ALIASES, _ALIASES + 1):
            place = wavenumber + np.float32(alias / cable.spacing_m)
            if abs(alias) > 1 and np.abs(place).min() - step > largest.max():
                continue
            share = _share_below((place + step / 2) / largest) - _share_below((place - step / 2) / largest)
            power += share * gauge_response(place, cable.gauge_m).astype(np.float32) ** 2
        self._amplitude: NDArray[np.float32] = np.sqrt(np.maximum(power, 0))

    def draw(self, rng: np.random.Generator) -> NDArray[np.complex64]:
        """Spectrum (channels, frequencies) of unit mean square in each bin, but for the gauge's loss."""
        shape = (*self._amplitude.shape, 2)
        white = rng.standard_normal(shape, dtype=np.float32).view(np.complex64)[..., 0] / np.float32(np.sqrt(2))
        along: NDArray[np.complex64] = scipy.fft.ifft(white * self._amplitude, axis=0, norm="forward", overwrite_x=True)
        return along[: self.channels]


def _share_below(cosine: Floats) -> Floats:
    """Share of the cos^4 power at cosines below this one: 0 at -1, 1 at 1."""
    angle = np.arccos(np.clip(cosine, -1, 1))
    primitive = 3 * angle / 8 + np.sin(2 * angle) / 4 + np.sin(4 * angle) / 32
    share: Floats = 1 - primitive / np.float32(3 * np.pi / 8)
    return share


def to_series(spectrum: NDArray[np.complex64], samples: int) -> NDArray[np.float32]:
    """Time series (channels, samples) of a one-sided spectrum; unit power in each bin gives unit variance."""
    series: NDArray[np.float32] = scipy.fft.irfft(spectrum, samples, axis=-1)
    series *= np.float32(np.sqrt(samples))
    return series
