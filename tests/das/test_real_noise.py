"""das: noise from real records keeps what it promises: spectra, covariances, levels, determinism."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import welch

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.das.formats import find_records
from groundswell.pipelines.das.simulate.archive import Simulator, simulate_archive
from groundswell.pipelines.das.simulate.fibre import Cable, make_cable
from groundswell.pipelines.das.simulate.noise import NoiseSource, Stretch
from groundswell.pipelines.das.simulate.observed import (
    ArrayRecord,
    SpatialCovariance,
    along,
    amplitude_spectrum,
    mirrored,
    read_whole,
    spatial_covariance,
)
from groundswell.pipelines.das.simulate.real_noise import ArrayNoise, MixedNoise, SpectralNoise, noise_from_files
from groundswell.pipelines.das.simulate.recipe import FibreRecipe, SimulateRecipe
from groundswell.pipelines.das.simulate.record import band_power

BAND_HZ = (2.0, 20.0)


def cable(channels: int = 24, spacing_m: float = 10.0) -> Cable:
    return make_cable(FibreRecipe(channels=channels, spacing_m=spacing_m), 0, 1)


def made_array(channels: int = 24, seconds: float = 60.0, rate_hz: float = 100.0, reach: float = 3.0) -> ArrayRecord:
    """Red noise whose correlation falls by 1/e over ``reach`` channels, one channel three times as loud."""
    rng = np.random.default_rng(7)
    lag = np.abs(np.subtract.outer(np.arange(channels), np.arange(channels)))
    root = np.linalg.cholesky(np.exp(-lag / reach))
    white = root @ rng.standard_normal((channels, int(seconds * rate_hz)))
    red = np.apply_along_axis(np.convolve, 1, white, np.exp(-np.arange(20) / 4), "same")
    red[channels // 3] *= 3
    return ArrayRecord(red.astype(np.float32), rate_hz, 10.0, "made")


def in_band(data_ct: NDArray[np.float32], rate_hz: float) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(data_ct, axis=1)
    frequency_hz = np.fft.rfftfreq(data_ct.shape[1], 1 / rate_hz)
    spectrum = spectrum[:, (frequency_hz >= BAND_HZ[0]) & (frequency_hz < BAND_HZ[1])]
    covariance = (spectrum @ spectrum.conj().T).real
    return np.asarray(covariance / np.diag(covariance).mean(), np.float64)


def write_array(path: Path, array: ArrayRecord) -> Path:
    with h5py.File(path, "w") as file:
        group = file.create_group("sr")
        group.create_dataset("data", data=array.data_ct.T)
        group.create_dataset("distance", data=np.arange(len(array.data_ct)) * (array.spacing_m or 1.0))
        group.create_dataset("time", data=np.arange(array.data_ct.shape[1]) / array.rate_hz)
    return path


def write_channel(path: Path, series: NDArray[np.float32], rate_hz: float, *, gap_at: int | None = None) -> Path:
    obspy = pytest.importorskip("obspy")
    header = {"sampling_rate": rate_hz, "network": "XX", "station": "A", "channel": "HSF"}
    pieces = [(0, series)] if gap_at is None else [(0, series[:gap_at]), (gap_at + 500, series[gap_at:])]
    traces = [obspy.Trace(np.ascontiguousarray(piece), {**header, "starttime": obspy.UTCDateTime(first / rate_hz)})
              for first, piece in pieces]
    obspy.Stream(traces).write(str(path), "MSEED")
    return path


def spectrum_error_db(drawn_ct: NDArray[np.float32], rate_hz: float, series: NDArray[np.float32],
                      given_hz: float, band_hz: tuple[float, float]) -> float:
    """Largest difference, in dB and in third octaves of the band, between the shapes of two spectra."""
    ours_hz, ours = welch(drawn_ct, rate_hz, nperseg=int(8 * rate_hz), axis=-1)
    theirs_hz, theirs = welch(series, given_hz, nperseg=int(8 * given_hz), average="median")
    edges = np.geomspace(*band_hz, int(3 * np.log2(band_hz[1] / band_hz[0])) + 1)
    levels = []
    for low, high in pairwise(edges):
        mine = ours[:, (ours_hz >= low) & (ours_hz < high)].mean()
        levels.append(10 * np.log10(mine / theirs[(theirs_hz >= low) & (theirs_hz < high)].mean()))
    return float(np.abs(np.asarray(levels) - np.mean(levels)).max())


# Spectra and covariances.

def test_spectral_noise_has_the_spectrum_of_its_channel_within_1_db() -> None:
    array = made_array(seconds=200)
    series = array.data_ct[3]
    source = SpectralNoise([amplitude_spectrum(series, array.rate_hz)])
    for rate_hz in (100.0, 250.0):
        drawn = source.draw(Stretch(cable(), round(120 * rate_hz), rate_hz, 5))
        assert spectrum_error_db(drawn, rate_hz, series, array.rate_hz, (0.5, 40)) < 1.0
        assert band_power(drawn, rate_hz, BAND_HZ) == pytest.approx(1.0, abs=0.1)


def test_spectral_noise_has_the_covariance_of_its_array() -> None:
    array = made_array()
    covariance = spatial_covariance(array)
    source = SpectralNoise([amplitude_spectrum(array.data_ct[0], array.rate_hz)], [covariance])
    drawn = source.draw(Stretch(cable(), 30_000, 100.0, 3))
    found = in_band(drawn, 100.0)
    assert np.abs(found - covariance.matrix).max() < 0.05 * covariance.matrix.max()
    # It is the array's own: the loud channel is loud, neighbours are alike, strangers are not.
    loud = np.diag(covariance.matrix)
    assert loud[8] / np.median(loud) == pytest.approx(9, rel=0.25)
    assert covariance.matrix[0, 1] / np.sqrt(loud[0] * loud[1]) == pytest.approx(np.exp(-1 / 3), abs=0.1)


def test_without_an_array_channels_are_independent() -> None:
    source = SpectralNoise([amplitude_spectrum(made_array().data_ct[0], 100.0)])
    found = in_band(source.draw(Stretch(cable(12), 30_000, 100.0, 3)), 100.0)
    assert np.abs(found - np.eye(12)).max() < 0.12
    assert "independent" in source.description


@settings(max_examples=40, deadline=None)
@given(channels=st.integers(1, 60), spacing_m=st.floats(0.5, 200), given_spacing=st.sampled_from([None, 4.0, 30.0]),
       given_channels=st.integers(1, 30), seed=st.integers(0, 99))
def test_covariance_is_one_on_any_cable(channels: int, spacing_m: float, given_spacing: float | None,
                                        given_channels: int, seed: int) -> None:
    root = np.random.default_rng(seed).standard_normal((given_channels, given_channels + 1))
    matrix = SpatialCovariance(root @ root.T, given_spacing).on(cable(channels, spacing_m))
    assert matrix.shape == (channels, channels)
    assert np.allclose(matrix, matrix.T) and np.diag(matrix).mean() == pytest.approx(1)
    assert np.linalg.eigvalsh(matrix).min() > -1e-8


def test_covariance_between_channels_is_interpolated_by_distance() -> None:
    array = made_array(reach=8.0)
    covariance = spatial_covariance(array)
    apart = covariance.on(cable(12, 20.0))
    assert np.allclose(apart * np.diag(covariance.matrix)[::2].mean(), covariance.matrix[::2, ::2], atol=1e-6)


# Arrays as they are.

def test_array_noise_at_its_own_rate_and_size_is_the_array_itself() -> None:
    array = made_array(seconds=20)
    drawn = ArrayNoise([array]).draw(Stretch(cable(), 500, 100.0, 11))
    given_ct = array.data_ct - array.data_ct.mean(1, keepdims=True)
    # Each channel of the stretch is a piece of a channel of the array, up to sign, direction and scale.
    def best(row: NDArray[np.float32]) -> float:
        values = []
        for one in given_ct:
            for direction in (one, one[::-1]):
                loop = np.concatenate([direction, direction[::-1]])
                windows = np.lib.stride_tricks.sliding_window_view(np.concatenate([loop, loop[:500]]), 500)
                fit = windows @ row / np.sqrt((windows**2).sum(1) * (row**2).sum())
                values.append(float(np.abs(fit).max()))
        return max(values)
    assert min(best(drawn[c]) for c in (0, 11, 23)) > 0.99


def test_array_noise_keeps_level_and_neighbours_at_any_rate_and_length() -> None:
    array = made_array()
    source = ArrayNoise([array])
    for rate_hz, channels in ((100.0, 24), (250.0, 60), (50.0, 10)):
        powers, alike = [], []
        for seed in range(12):
            drawn = source.draw(Stretch(cable(channels), round(80 * rate_hz), rate_hz, seed))
            assert drawn.shape == (channels, round(80 * rate_hz)) and drawn.dtype == np.float32
            assert not any(np.array_equal(a, b) for a, b in pairwise(drawn))
            powers.append(band_power(drawn, rate_hz, BAND_HZ))
            matrix = in_band(drawn, rate_hz)
            alike.append(np.median(np.diag(matrix, 1) / np.sqrt(np.diag(matrix)[1:] * np.diag(matrix)[:-1])))
        assert np.mean(powers) == pytest.approx(1.0, rel=0.25)
        assert np.mean(alike) == pytest.approx(np.exp(-1 / 3), abs=0.15)


def test_array_noise_leaves_out_silent_channels() -> None:
    array = made_array(seconds=10)
    array.data_ct[[2, 5]] = 4.0
    drawn = ArrayNoise([array]).draw(Stretch(cable(40), 1000, 100.0, 1))
    assert (np.ptp(drawn, axis=1) > 0).all()


@given(length=st.integers(1, 50), start=st.integers(0, 200), count=st.integers(1, 300))
def test_mirrored_places_are_inside_and_never_jump(length: int, start: int, count: int) -> None:
    place = mirrored(start + np.arange(count), length)
    assert place.min() >= 0 and place.max() < length
    assert np.abs(np.diff(place)).max(initial=0) <= 1


@given(channels=st.integers(1, 80), given_channels=st.integers(2, 40), spacing_m=st.floats(1, 100),
       offset=st.floats(0, 0.999))
def test_places_along_an_array_do_not_repeat_within_a_pass(channels: int, given_channels: int, spacing_m: float,
                                                           offset: float) -> None:
    place, passes = along(cable(channels, spacing_m), given_channels, 10.0, offset, whole=True)
    assert (place == np.round(place)).all() and place.min() >= 0 and place.max() < given_channels
    for each in np.unique(passes):
        assert len(set(place[passes == each])) == (passes == each).sum()


# All sources.

def sources() -> list[NoiseSource]:
    array = made_array(seconds=20)
    spectral = SpectralNoise([amplitude_spectrum(array.data_ct[0], 100.0)], [spatial_covariance(array)])
    return [ArrayNoise([array]), spectral, MixedNoise([ArrayNoise([array]), spectral])]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_noise_is_a_pure_function_of_the_stretch(which: int) -> None:
    first, second = sources()[which], sources()[which]
    stretch = Stretch(cable(), 700, 125.0, 8)
    first.draw(Stretch(cable(), 900, 125.0, 3))
    assert np.array_equal(first.draw(stretch), second.draw(stretch))
    assert not np.array_equal(first.draw(stretch), first.draw(Stretch(cable(), 700, 125.0, 9)))
    assert first.description


def test_mixed_noise_draws_on_all_of_its_sources() -> None:
    array, spectral, mixed = sources()
    seen = {which for seed in range(20) for which, one in enumerate((array, spectral))
            if np.array_equal(one.draw(Stretch(cable(), 300, 100.0, seed)),
                              mixed.draw(Stretch(cable(), 300, 100.0, seed)))}
    assert seen == {0, 1}


def test_useless_arrays_are_refused() -> None:
    with pytest.raises(InputError, match="at least one array"):
        ArrayNoise([])
    with pytest.raises(InputError, match="at least 2 s"):
        ArrayNoise([ArrayRecord(np.ones((4, 50), np.float32), 100.0)])
    with pytest.raises(InputError, match="too slowly"):
        ArrayNoise([ArrayRecord(np.ones((4, 500), np.float32), 10.0)])
    with pytest.raises(InputError, match="no signal"):
        ArrayNoise([ArrayRecord(np.ones((4, 500), np.float32), 100.0)])
    with pytest.raises(InputError, match="at least one spectrum"):
        SpectralNoise([])


# Files.

def test_files_give_arrays_and_spectra(tmp_path: Path) -> None:
    array = made_array(seconds=20)
    write_array(tmp_path / "array.h5", array)
    rng = np.random.default_rng(0)
    write_channel(tmp_path / "one.mseed", rng.standard_normal(8000).astype(np.float32), 100.0, gap_at=1000)
    both = noise_from_files([tmp_path])
    assert isinstance(both, MixedNoise)
    assert "24 channels, 20 s at 100 Hz" in both.description
    assert "spectra of one.mseed" in both.description and "covariance along the fibre of array.h5" in both.description
    only = noise_from_files([tmp_path / "array.h5"])
    direct = ArrayNoise([array]).draw(Stretch(cable(), 400, 100.0, 2))
    assert np.allclose(only.draw(Stretch(cable(), 400, 100.0, 2)), direct, atol=1e-5)
    assert isinstance(noise_from_files([tmp_path / "one.mseed"]), SpectralNoise)
    # Of a record with a gap the longer side is read.
    record, = find_records(tmp_path / "one.mseed")
    assert read_whole(record).shape == (1, 7000)


def test_files_without_noise_say_why(tmp_path: Path) -> None:
    slow = made_array(seconds=100, rate_hz=10.0)
    write_array(tmp_path / "slow.h5", slow)
    write_array(tmp_path / "short.h5", made_array(seconds=1))
    write_array(tmp_path / "zeros.h5", ArrayRecord(np.zeros((4, 500), np.float32), 100.0))
    (tmp_path / "text.h5").write_text("nothing")
    for name, reason in (("slow.h5", "sampled at 10 Hz"), ("short.h5", "1 s long"), ("zeros.h5", "zero"),
                         ("text.h5", "no format")):
        with pytest.raises(InputError, match=reason):
            noise_from_files([tmp_path / name])


def test_the_recipe_takes_noise_files(tmp_path: Path) -> None:
    write_array(tmp_path / "array.h5", made_array(seconds=20))
    recipe = build_recipe(SimulateRecipe, {
        "events": 2, "duration_s": 16.0, "snr_db": 6.0, "noise": {"spread_db": 0.0, "level_nstrain_s": 2.0},
        "fibre": {"channels": 24, "rate_hz": 100.0, "spacing_m": 10.0}}, [f"noise_files=[{tmp_path / 'array.h5'}]"])
    out = simulate_archive(recipe, tmp_path / "out")
    assert "array.h5" in json.loads((out / "truth.json").read_text())["noise"]
    simulator = Simulator(recipe)
    at = np.datetime64("2022-09-01T01")
    drawn = [simulator.background(simulator.cables[0], 0, 1600, at, seed) for seed in range(6)]
    levels = [band_power(data, 100.0, recipe.snr_band_hz) ** 0.5 for data in drawn]
    assert np.mean(levels) == pytest.approx(2.0, rel=0.15)


# The real records.

def test_real_channels_and_arrays_keep_spectrum_and_covariance(real_das: Path) -> None:
    array = _read_array(real_das / "valencia_febus_example.h5")
    covariance = spatial_covariance(array)
    for name in ("geofon_1D_HSF.mseed", "geofon_5J_HSF.mseed", "geofon_ZH_HSF.mseed"):
        record, = find_records(real_das / name)
        series = read_whole(record)[0]
        assert record.rate_hz is not None and array.spacing_m is not None
        source = SpectralNoise([amplitude_spectrum(series, record.rate_hz)], [covariance])
        line = cable(len(covariance.matrix), array.spacing_m)
        drawn = source.draw(Stretch(line, round(60 * record.rate_hz), record.rate_hz, 1))
        assert spectrum_error_db(drawn, record.rate_hz, series, record.rate_hz, (2, 0.4 * record.rate_hz)) < 1.0
        found = in_band(drawn, record.rate_hz)
        assert np.abs(found - covariance.matrix).max() < 0.1 * covariance.matrix.max()


def test_real_files_are_noise_for_the_simulator(real_das: Path) -> None:
    names = ("valencia_febus_example.h5", "prodml_2.0.h5", "decimated_optodas.hdf5")
    source = noise_from_files([*(real_das / name for name in names), *sorted(real_das.glob("geofon_*.mseed"))])
    assert all(name in source.description for name in (*names, "geofon_ZH_HSF.mseed"))
    drawn = [source.draw(Stretch(cable(96, 50.0), 2500, 250.0, seed)) for seed in range(16)]
    assert all(np.isfinite(one).all() for one in drawn)
    assert np.mean([band_power(one, 250.0, BAND_HZ) for one in drawn]) == pytest.approx(1.0, rel=0.5)
    with pytest.raises(InputError, match="zeros"):
        noise_from_files([real_das / "neubrex_das_1.h5"])


def _read_array(path: Path) -> ArrayRecord:
    record, = find_records(path)
    assert record.rate_hz is not None
    return ArrayRecord(read_whole(record), record.rate_hz, record.spacing_m, path.name)
