"""das: noise drawn from real records: arrays as they are, or single channels through their spectra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.seeds import derive_seed
from groundswell.pipelines.das.resample import rate_ratio, resample_whole
from groundswell.pipelines.das.simulate.fibre import Cable
from groundswell.pipelines.das.simulate.noise import NoiseSource, Stretch
from groundswell.pipelines.das.simulate.observed import (
    BAND_HZ,
    ArrayRecord,
    SpatialCovariance,
    Spectrum,
    along,
    amplitude_spectrum,
    levelled,
    mirrored,
    read_whole,
    spatial_covariance,
    unit_in_band,
    usable_records,
)

_FEWEST_CHANNELS = 4
"""Records of fewer channels give spectra; their covariance would say nothing of a fibre."""


class ArrayNoise:
    """Real arrays as they are; each stretch is taken from one of them, drawn like all else from the stretch's seed.

    Channels lose mean and trend; those without any signal are left out, and every array is brought to the same level in
    the band. It is resampled to the asked rate, read along the fibre at the nearest asked spacing (never a channel
    twice in a row), forwards or backwards in both directions, with either sign. Beyond its end in time it is mirrored;
    beyond its end along the fibre it is mirrored too, each further pass from another moment.

    Args:
        arrays: one or more.
        band_hz: where levels are compared.

    Raises:
        InputError: no array, or one that is too short, too slow or without signal.
    """

    def __init__(self, arrays: Sequence[ArrayRecord], *, band_hz: tuple[float, float] = BAND_HZ) -> None:
        if not arrays:
            raise InputError("Noise from arrays needs at least one array")
        self._arrays = [levelled(array, band_hz) for array in arrays]
        # Resampling costs more than all the rest; a simulation asks for one rate.
        self._resampled: dict[tuple[int, float], NDArray[np.float32]] = {}
        shapes = ", ".join(f"{a.name} ({a.data_ct.shape[0]} channels, {a.data_ct.shape[1] / a.rate_hz:.3g} s at "
                           f"{a.rate_hz:g} Hz)" for a in self._arrays)
        self.description = (f"real arrays as recorded: {shapes}; resampled to the asked rate, mirrored in time and "
                            "along the fibre where more was asked for, random start, direction and sign")

    def draw(self, stretch: Stretch) -> NDArray[np.float32]:
        """See :class:`groundswell.pipelines.das.simulate.noise.NoiseSource`."""
        rng = np.random.default_rng(derive_seed(stretch.seed, "array noise"))
        number = int(rng.integers(len(self._arrays)))
        data_ct, array = self._at_rate(number, stretch.rate_hz), self._arrays[number]
        place, passes = along(stretch.cable, len(data_ct), array.spacing_m, rng.uniform(), whole=True)
        if rng.uniform() < 0.5:
            place = len(data_ct) - 1 - place
        sign = np.float32(rng.choice([-1.0, 1.0]))
        out = np.empty((stretch.cable.channels, stretch.samples), np.float32)
        for each in np.unique(passes):
            # A mirrored loop read from a random place also runs backwards half of the time.
            start = int(rng.integers(2 * data_ct.shape[1]))
            samples = mirrored(start + np.arange(stretch.samples), data_ct.shape[1])
            rows = np.flatnonzero(passes == each)
            out[rows] = sign * data_ct[place[rows].astype(np.int64)][:, samples]
        return out

    def _at_rate(self, number: int, rate_hz: float) -> NDArray[np.float32]:
        key = (number, rate_hz)
        if key not in self._resampled:
            array = self._arrays[number]
            up, down = rate_ratio(array.rate_hz, rate_hz)
            self._resampled[key] = np.ascontiguousarray(resample_whole(array.data_ct.T, up, down).T)
        return self._resampled[key]


class SpectralNoise:
    """Gaussian noise with the spectrum of a real channel and the covariance along the fibre of a real array.

    Each stretch takes one of the spectra and one of the covariances, drawn from its seed. The covariance is the same at
    all frequencies, and waves do not travel in it.

    Args:
        spectra: one or more.
        covariances: of arrays; without any, channels are independent.
        band_hz: where levels are compared.

    Raises:
        InputError: no spectrum, or one without anything in the band.
    """

    def __init__(self, spectra: Sequence[Spectrum], covariances: Sequence[SpatialCovariance] = (), *,
                 band_hz: tuple[float, float] = BAND_HZ) -> None:
        if not spectra:
            raise InputError("Noise from spectra needs at least one spectrum")
        self._spectra = [unit_in_band(spectrum, band_hz) for spectrum in spectra]
        self._covariances = list(covariances)
        self._roots: dict[tuple[int, int], NDArray[np.float32]] = {}
        arrays = ", ".join(c.name for c in self._covariances)
        self.description = (f"Gaussian noise with the spectra of {', '.join(s.name for s in spectra)} and "
                            + (f"the covariance along the fibre of {arrays}" if arrays else "independent channels"))

    def draw(self, stretch: Stretch) -> NDArray[np.float32]:
        """See :class:`groundswell.pipelines.das.simulate.noise.NoiseSource`."""
        rng = np.random.default_rng(derive_seed(stretch.seed, "spectral noise"))
        spectrum = self._spectra[int(rng.integers(len(self._spectra)))]
        samples = scipy.fft.next_fast_len(stretch.samples, real=True)
        frequency_hz = np.fft.rfftfreq(samples, 1 / stretch.rate_hz).astype(np.float64)
        # Power in a bin: the one-sided density times half the rate is the mean square of a white series like it.
        amplitude = spectrum.at(frequency_hz) * np.sqrt(stretch.rate_hz / 2)
        amplitude[0] = 0
        pairs = rng.standard_normal((stretch.cable.channels, len(frequency_hz), 2), dtype=np.float32)
        white = pairs.view(np.complex64)[..., 0]
        if self._covariances:
            white = self._root(int(rng.integers(len(self._covariances))), stretch.cable) @ white
        white *= (amplitude * np.sqrt(samples / 2)).astype(np.float32)
        series: NDArray[np.float32] = scipy.fft.irfft(white, samples, axis=-1)[:, : stretch.samples]
        return np.ascontiguousarray(series)

    def _root(self, number: int, cable: Cable) -> NDArray[np.float32]:
        """A matrix whose product with its transpose is the covariance along the cable."""
        key = (number, cable.number)
        if key not in self._roots:
            values, vectors = np.linalg.eigh(self._covariances[number].on(cable))
            self._roots[key] = (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)
        return self._roots[key]


class MixedNoise:
    """Each stretch from one of several sources, all equally likely, drawn from the stretch's seed."""

    def __init__(self, sources: Sequence[NoiseSource]) -> None:
        self._sources = list(sources)
        self.description = "; or ".join(source.description for source in sources)

    def draw(self, stretch: Stretch) -> NDArray[np.float32]:
        """See :class:`groundswell.pipelines.das.simulate.noise.NoiseSource`."""
        rng = np.random.default_rng(derive_seed(stretch.seed, "which source"))
        return self._sources[int(rng.integers(len(self._sources)))].draw(stretch)


def noise_from_files(paths: Sequence[Path], *, band_hz: tuple[float, float] = BAND_HZ) -> NoiseSource:
    """A source of noise from real records of any readable format.

    Arrays give their noise as it is; records of fewer than four channels give spectra, which take the covariance of the
    arrays. Where both are given, each stretch of noise comes from one or the other.

    Args:
        paths: files and folders; what a folder holds that is no usable waveform is passed over.
        band_hz: where levels are compared and covariances taken.

    Raises:
        InputError: a path gives nothing that can be used; the message says why.
    """
    arrays: list[ArrayRecord] = []
    spectra: list[Spectrum] = []
    for path in paths:
        before, reasons = len(arrays) + len(spectra), list[str]()
        for record in usable_records(path, 2 * band_hz[1], reasons):
            data_ct = read_whole(record)
            name = record.path.name + (f" {record.dataset}" if record.format == "miniseed" else "")
            assert record.rate_hz is not None  # usable_records passes none without
            if record.channels < _FEWEST_CHANNELS:
                spectra += [amplitude_spectrum(row, record.rate_hz, name) for row in data_ct if np.ptp(row) > 0]
            else:
                arrays.append(ArrayRecord(data_ct, record.rate_hz, record.spacing_m, name))
        if len(arrays) + len(spectra) == before:
            raise InputError(f"No noise can be drawn from it: {'; '.join(reasons) or 'it holds no signal'}", where=path,
                             fix="Give waveforms of at least 2 s, sampled at no less than twice the band's upper end")
    sources: list[NoiseSource] = [ArrayNoise(arrays, band_hz=band_hz)] if arrays else []
    if spectra:
        covariances = [spatial_covariance(array, band_hz=band_hz) for array in arrays]
        sources.append(SpectralNoise(spectra, covariances, band_hz=band_hz))
    return sources[0] if len(sources) == 1 else MixedNoise(sources)
