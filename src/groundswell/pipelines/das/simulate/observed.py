"""das: what real records tell of noise: arrays, spectra of channels, covariances along a fibre."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.signal import detrend, welch

from groundswell.core.errors import GroundswellError, InputError
from groundswell.pipelines.das.formats import find_records, open_reader, walk
from groundswell.pipelines.das.record import Record
from groundswell.pipelines.das.simulate.fibre import Cable

BAND_HZ = (2.0, 20.0)
"""Where levels are compared and the covariance of an array is taken, unless said otherwise."""
_SHORTEST_S = 2.0
_MOST_BYTES = 256 * 2**20
_LONGEST_SEGMENT_S = 8.0


@dataclass(frozen=True)
class ArrayRecord:
    """A real array.

    Attributes:
        data_ct: float32 (channels, time samples), any unit.
        rate_hz: sampling rate.
        spacing_m: channel spacing, ``None`` where it is not known.
        name: for descriptions.
    """

    data_ct: NDArray[np.float32]
    rate_hz: float
    spacing_m: float | None = None
    name: str = "array"


@dataclass(frozen=True)
class Spectrum:
    """Amplitude spectrum of one channel.

    Attributes:
        frequency_hz: float64 (frequencies,), rising.
        amplitude: root of the power spectral density, float64 (frequencies,).
        name: for descriptions.
    """

    frequency_hz: NDArray[np.float64]
    amplitude: NDArray[np.float64]
    name: str = "channel"

    def at(self, frequency_hz: NDArray[np.float64]) -> NDArray[np.float64]:
        """Interpolated logarithmically; beyond its ends it goes on level."""
        logarithm = np.log(np.maximum(self.amplitude, 1e-6 * self.amplitude.max()))
        result: NDArray[np.float64] = np.exp(np.interp(frequency_hz, self.frequency_hz, logarithm))
        return result


@dataclass(frozen=True)
class SpatialCovariance:
    """Covariance between the channels of an array.

    Attributes:
        matrix: float64 (channels, channels), positive semidefinite; only ratios matter.
        spacing_m: channel spacing, ``None`` where it is not known.
        name: for descriptions.
    """

    matrix: NDArray[np.float64]
    spacing_m: float | None = None
    name: str = "array"

    def on(self, cable: Cable) -> NDArray[np.float64]:
        """Covariance of the cable's channels, float64 (channels, channels), mean variance 1.

        Interpolated linearly between the array's channels, variances kept. A cable longer than the array goes along it
        forth and back; passes are independent of each other.
        """
        place, passes = along(cable, len(self.matrix), self.spacing_m, 0.0)
        left = np.minimum(place.astype(np.int64), len(self.matrix) - 1)
        right = np.minimum(left + 1, len(self.matrix) - 1)
        weights = np.zeros((cable.channels, len(self.matrix)))
        rows, share = np.arange(cable.channels), place - left
        np.add.at(weights, (rows, left), 1 - share)
        np.add.at(weights, (rows, right), share)
        spread = np.sqrt(np.maximum(np.diag(self.matrix), 0))
        between = weights @ self.matrix @ weights.T
        # Between channels that are not quite alike the mean of two is smaller than either.
        gain = weights @ spread / np.sqrt(np.maximum(np.diag(between), 1e-12 * spread.max() ** 2))
        between *= np.outer(gain, gain) * (passes[:, None] == passes)
        result: NDArray[np.float64] = between / np.diag(between).mean()
        return result


def amplitude_spectrum(series: NDArray[np.float32], rate_hz: float, name: str = "channel") -> Spectrum:
    """Spectrum of a record of one channel: the median over half-overlapping windows, so that bursts do not count.

    Args:
        series: (time samples,).
        rate_hz: sampling rate.
        name: for descriptions.
    """
    segment = int(min(len(series), round(_LONGEST_SEGMENT_S * rate_hz)))
    frequency_hz, density = welch(series.astype(np.float64), rate_hz, nperseg=segment, average="median",
                                  detrend="linear")
    # Detrending takes from the lowest bins; they are given the value of the first one it leaves alone.
    density[:2] = density[min(2, len(density) - 1)]
    return Spectrum(frequency_hz, np.sqrt(density), name)


def spatial_covariance(array: ArrayRecord, *, band_hz: tuple[float, float] = BAND_HZ) -> SpatialCovariance:
    """Covariance between the channels of an array in a band, channels without any signal left out.

    Raises:
        InputError: the array is too short, too slow or without signal.
    """
    level = levelled(array, band_hz)
    spectrum = _band_spectrum(level.data_ct, level.rate_hz, band_hz)
    matrix = (spectrum @ spectrum.conj().T).real.astype(np.float64)
    return SpatialCovariance(matrix / np.diag(matrix).mean(), array.spacing_m, array.name)


def usable_records(path: Path, least_hz: float, reasons: list[str]) -> Iterator[Record]:
    """Waveforms under ``path`` sampled at ``least_hz`` or faster; why others are not used goes to ``reasons``."""
    for file in walk([path]):
        try:
            found = find_records(file)
        except GroundswellError as error:
            reasons.append(error.what)
            continue
        for record in found:
            start, stop = _longest_stretch(record)
            if record.kind != "waveform" or record.verdict != "ok":
                reasons.append(record.verdict)
            elif record.rate_hz is None:
                reasons.append("its sampling rate is not known")
            elif record.rate_hz < least_hz:
                reasons.append(f"it is sampled at {record.rate_hz:g} Hz")
            elif (stop - start) / record.rate_hz < _SHORTEST_S:
                reasons.append(f"it is {(stop - start) / record.rate_hz:.3g} s long")
            else:
                yield record


def _longest_stretch(record: Record) -> tuple[int, int]:
    """The longest range of samples without a gap."""
    edges = [0, *(edge for gap in sorted(record.gaps) for edge in gap), record.samples]
    return max(zip(edges[::2], edges[1::2], strict=True), key=lambda span: span[1] - span[0])


def read_whole(record: Record) -> NDArray[np.float32]:
    """The beginning of the record's longest stretch, as much as fits in memory, float32 (channels, samples)."""
    start, stop = _longest_stretch(record)
    stop = min(stop, start + max(1, _MOST_BYTES // (4 * record.channels)))
    data_tc = np.empty((stop - start, record.channels), np.float32)
    reader = open_reader(record)
    try:
        reader.read(start, stop, 0, record.channels, data_tc)
    finally:
        reader.close()
    return np.ascontiguousarray(np.nan_to_num(data_tc, copy=False, posinf=0, neginf=0).T)


def levelled(array: ArrayRecord, band_hz: tuple[float, float]) -> ArrayRecord:
    """The array without trends and silent channels, unit mean square in the band."""
    data_ct = np.asarray(array.data_ct, np.float32)
    if data_ct.ndim != 2 or data_ct.shape[1] < _SHORTEST_S * array.rate_hz:
        raise InputError(f"Noise needs arrays (channel, time) of at least {_SHORTEST_S:g} s", where=array.name)
    if array.rate_hz < 2 * band_hz[1]:
        raise InputError(f"The array is sampled at {array.rate_hz:g} Hz, too slowly for {band_hz[1]:g} Hz",
                         where=array.name)
    data_ct = data_ct[np.ptp(data_ct, axis=1) > 0]
    if not len(data_ct):
        raise InputError("The array holds no signal", where=array.name)
    # In float64: what is left of counts near 2^24 would otherwise be rounding.
    data_ct = detrend(data_ct.astype(np.float64), axis=1).astype(np.float32)
    spectrum = _band_spectrum(data_ct, array.rate_hz, band_hz)
    power = 2 * (np.abs(spectrum) ** 2).sum(dtype=np.float64) / data_ct.shape[1] ** 2 / len(data_ct)
    if not power > 0:
        raise InputError("The array holds no signal in the band", where=array.name)
    data_ct /= np.float32(np.sqrt(power))
    return ArrayRecord(data_ct, array.rate_hz, array.spacing_m, array.name)


def _band_spectrum(data_ct: NDArray[np.float32], rate_hz: float, band_hz: tuple[float, float]) -> NDArray[np.complex64]:
    frequency_hz = np.fft.rfftfreq(data_ct.shape[1], 1 / rate_hz)
    inside = (frequency_hz >= band_hz[0]) & (frequency_hz < band_hz[1])
    spectrum: NDArray[np.complex64] = scipy.fft.rfft(data_ct, axis=1)[:, inside]
    return spectrum


def unit_in_band(spectrum: Spectrum, band_hz: tuple[float, float]) -> Spectrum:
    """The spectrum scaled to unit power in the band."""
    frequency_hz = np.linspace(*band_hz, 400)
    if not (spectrum.amplitude > 0).any():
        raise InputError("The spectrum is empty", where=spectrum.name)
    power = float((spectrum.at(frequency_hz) ** 2).mean() * (band_hz[1] - band_hz[0]))
    return Spectrum(spectrum.frequency_hz, spectrum.amplitude / np.sqrt(power), spectrum.name)


def along(cable: Cable, channels: int, spacing_m: float | None, offset: float, *, whole: bool = False,
           ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Where the cable's channels lie on an array: places in channels, mirrored into it, and the number of the pass.

    With ``whole`` places are whole numbers, no two neighbours the same; ``offset`` (0 to 1) is where on the array it
    begins. An array whose spacing is not known is taken to have the cable's.
    """
    step = cable.spacing_m / spacing_m if spacing_m else 1.0
    begin = offset * channels
    if whole:
        step, begin = float(max(1, round(step))), float(int(begin))
    # Passes are as long as the array: its last channel is followed by itself, at another moment.
    place = begin + step * np.arange(cable.channels)
    passes = (place // channels).astype(np.int64)
    return mirrored(place, channels), passes


def mirrored(place: NDArray[Any], length: int) -> NDArray[Any]:
    """Places 0, 1, ... folded into [0, length) forth and back."""
    inside = place % (2 * length)
    return np.clip(np.where(inside < length, inside, 2 * length - 1 - inside), 0, length - 1)
