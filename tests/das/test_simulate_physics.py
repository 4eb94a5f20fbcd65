"""das: the physics of the simulator, measured in what it writes and compared with what theory says."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import welch
from scipy.stats import kstest

from groundswell.core.recipe import build_recipe
from groundswell.pipelines.das.simulate.archive import Simulator
from groundswell.pipelines.das.simulate.diffuse import DiffuseField, soil_velocity, to_series
from groundswell.pipelines.das.simulate.fibre import gauge_response, make_cable
from groundswell.pipelines.das.simulate.noise import instrument_shape, noise_between
from groundswell.pipelines.das.simulate.rays import double_couple, p_rays, radiation, s_rays, trace
from groundswell.pipelines.das.simulate.recipe import FibreRecipe, SimulateRecipe
from groundswell.pipelines.das.simulate.record import FULL_SCALE, band_power, band_taper, make_signal
from groundswell.pipelines.das.simulate.sources import (
    QUARRY_BLAST,
    Event,
    corner_hz,
    draw_event,
    draw_label,
    moment_nm,
    source_pulse,
)
from groundswell.pipelines.das.simulate.wavefield import Propagation, body_phases

CLEAN = {"snr_db": 60.0, "snr_spread_db": 0.0, "duration_s": 30.0,
         "fibre": {"channels": 24, "spacing_m": 50.0, "bends": 0, "coupling_db": 0.0, "dead_share": 0.0,
                   "saturated_share": 0.0},
         "noise": {"vehicles_per_hour": 0.0}}


def recipe_of(**changes: Any) -> SimulateRecipe:
    values: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in CLEAN.items()}
    for key, value in changes.items():
        values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
    return build_recipe(SimulateRecipe, values)


def first_of(simulator: Simulator, label: int) -> int:
    return next(n for n in range(50) if draw_label(simulator.recipe, n) == label)


def lag_s(one: NDArray[np.float32], other: NDArray[np.float32], rate_hz: float) -> float:
    """Delay of ``other`` after ``one`` by cross-correlation, whatever its sign, between samples by a parabola."""
    both = np.abs(np.correlate(other, one, "full"))
    k = int(np.clip(both.argmax(), 1, len(both) - 2))
    left, middle, right = both[k - 1 : k + 2]
    return float((k - (len(one) - 1) + (left - right) / (2 * (left - 2 * middle + right))) / rate_hz)


# Rays.

@given(away_km=st.floats(0.5, 60), depth_km=st.floats(0, 30))
def test_slowness_is_the_derivative_of_travel_time(away_km: float, depth_km: float) -> None:
    for rays in (p_rays, s_rays):
        near, far = rays(1000 * np.array([away_km - 1e-3, away_km + 1e-3]), 1000 * depth_km).time_s
        slowness = rays(np.array([1000 * away_km]), 1000 * depth_km).slowness_s_m[0]
        assert slowness == pytest.approx((far - near) / 2, rel=1e-3, abs=1e-9)


def test_without_a_gradient_rays_are_straight() -> None:
    away_m = np.array([1e3, 5e3, 2e4])
    ray = trace(away_m, 8e3, 5000.0, 1e-4)
    assert ray.time_s == pytest.approx(np.hypot(away_m, 8e3) / 5000, rel=1e-3)
    assert np.pi - ray.takeoff_rad == pytest.approx(np.arctan2(away_m, 8e3), rel=1e-2)


def test_s_comes_after_p_by_the_ratio_of_velocities() -> None:
    away_m = np.linspace(1e3, 3e4, 20)
    assert s_rays(away_m, 8e3).time_s / p_rays(away_m, 8e3).time_s == pytest.approx(1.73)


@given(strike=st.floats(0, 6.28), dip=st.floats(0.01, 1.57), rake=st.floats(-3.14, 3.14))
def test_a_double_couple_has_no_volume_and_known_mean_radiation(strike: float, dip: float, rake: float) -> None:
    tensor = double_couple(strike, dip, rake)
    assert np.trace(tensor) == pytest.approx(0, abs=1e-9) and (tensor**2).sum() == pytest.approx(2)
    cosine, azimuth = np.meshgrid((np.arange(60) + 0.5) / 30 - 1, np.linspace(0, 2 * np.pi, 60, endpoint=False))
    p, sv, sh = radiation(tensor, np.arccos(cosine).ravel(), azimuth.ravel())
    # Mean squares over the focal sphere: 4/15 for P, 2/5 for S (Aki & Richards 2002, box 4.4).
    assert (p**2).mean() == pytest.approx(4 / 15, rel=2e-3)
    assert (sv**2 + sh**2).mean() == pytest.approx(2 / 5, rel=2e-3)


def test_an_explosion_radiates_p_alike_everywhere() -> None:
    angles = np.linspace(0.1, 3, 20)
    p, sv, sh = radiation(np.eye(3), angles, 2 * angles)
    assert p == pytest.approx(np.ones(20)) and np.abs([sv, sh]).max() < 1e-9


# Waveforms.

@pytest.mark.parametrize("label", [0, 1])
def test_the_written_waveform_moves_out_as_the_picks_say(label: int) -> None:
    simulator = Simulator(recipe_of(source={"coda": 0.0, "surface_wave": 0.0, "distance_km": (8.0, 20.0)},
                                    fibre={"spacing_m": 100.0}))
    rate_hz = simulator.recipe.fibre.rate_hz
    measured, picked = [], []
    for number in [n for n in range(12) if draw_label(simulator.recipe, n) == label][:4]:
        recording = simulator.recording(number)
        signal, = recording.signals
        start = np.rint((signal.p_s - 0.2) * rate_hz).astype(int)
        width = int((min(0.9, float((signal.s_s - signal.p_s).min())) + 0.1) * rate_hz)
        pieces = [row[a : a + width] for row, a in zip(recording.data_ct, start, strict=True)]
        reference = 12
        measured += [lag_s(pieces[reference], piece, rate_hz) + (a - start[reference]) / rate_hz
                     for piece, a in zip(pieces, start, strict=True)]
        picked += (signal.p_s - signal.p_s[reference]).tolist()
    error = np.abs(np.asarray(measured) - np.asarray(picked))
    assert np.ptp(picked) > 0.1
    assert np.median(error) < 0.5 / rate_hz and np.quantile(error, 0.9) < 2 / rate_hz


@pytest.mark.parametrize("label", [0, 1])
def test_nothing_arrives_before_its_pick(label: int) -> None:
    simulator = Simulator(recipe_of(source={"coda": 1.5}))
    number = first_of(simulator, label)
    event = simulator.event(number)
    signal = make_signal(simulator.recipe, Propagation(simulator.recipe, simulator.cables[0]), event, 1.0,
                         onset_s=event.onset_s, length=7500)
    time_s = (signal.first + np.arange(signal.series_ct.shape[1])) / simulator.recipe.fibre.rate_hz
    power = signal.series_ct.astype(np.float64) ** 2
    early = (power * (time_s < signal.p_s[:, None] - 0.1)).sum() / power.sum()
    late = (power * (time_s > signal.p_s[:, None] + 25)).sum() / power.sum()
    assert early < 1e-3 and late < 1e-2
    # The first P sets in where the event's interval begins, which is where it was asked for.
    assert signal.interval[0] / simulator.recipe.fibre.rate_hz == pytest.approx(event.onset_s, abs=0.01)
    assert float(signal.p_s.min()) == pytest.approx(event.onset_s, abs=0.01)


def test_the_gauge_takes_out_the_wavelengths_that_fit_it() -> None:
    assert gauge_response(np.array([0.0]), 20.0)[0] == 1
    assert np.abs(gauge_response(np.arange(1, 6) / 20.0, 20.0)).max() < 1e-12
    source = {"coda": 0.0, "surface_wave": 0.0, "blast_shear": 0.0, "blast_share": 1.0}
    fields = {}
    for gauge_m in (0.0, 300.0):
        recipe = recipe_of(source=source, fibre={"gauge_m": gauge_m})
        simulator = Simulator(recipe)
        event = simulator.event(0)
        propagation = Propagation(recipe, simulator.cables[0])
        fields[gauge_m] = np.abs(propagation.response(event))
    slowness = np.abs(body_phases(event, simulator.cables[0])[0].slowness_s_m)
    frequency_hz = propagation.frequency_hz
    for channel in (0, 12, 23):
        null_hz = 1 / (slowness[channel] * 300.0)
        near = np.abs(frequency_hz - null_hz).argmin()
        ratio = fields[300.0][channel] / np.maximum(fields[0.0][channel], 1e-30)
        assert null_hz < 100 and ratio[near] < 0.02
        assert ratio[near // 2] == pytest.approx(2 / np.pi, rel=0.05)


def test_the_source_is_brunes() -> None:
    event = Simulator(recipe_of()).event(0)
    assert moment_nm(2.0) == pytest.approx(1.259e12, rel=1e-3)
    # 0.49 x 2659 m/s x (1 MPa / 1.259e12 N m)^(1/3)
    assert corner_hz(2.0, 1e6) == pytest.approx(12.07, rel=1e-3)
    corner = corner_hz(2.0, event.stress_drop_pa)
    frequency_hz = corner * np.array([0.0, 0.01, 1.0, 30.0, 60.0])
    size = np.abs(source_pulse(event, 2.0, frequency_hz)) / moment_nm(2.0)
    assert size[:2] == pytest.approx([1, 1], rel=1e-3)
    assert size[2] == pytest.approx(0.5)
    assert np.log2(size[4] / size[3]) == pytest.approx(-2, abs=0.01)


def test_ripple_fire_scallops_the_written_spectrum() -> None:
    level = {}
    for rows in (1, 10):
        recipe = recipe_of(source={"ripple_rows": (rows, rows), "ripple_delay_ms": (40.0, 40.0), "blast_share": 1.0,
                                   "magnitude": (1.0, 1.0)})
        recording = Simulator(recipe).recording(0)
        start = int(recording.signals[0].p_s.min() * 250)
        frequency_hz, power = welch(recording.data_ct[:, start : start + 2500], 250.0, nperseg=500, axis=1)
        power = power.mean(0)

        def between(low: float, high: float, f: Any = frequency_hz, p: Any = power) -> float:
            return float(10 * np.log10(p[(f >= low) & (f < high)].mean()))

        level[rows] = (between(24, 26.1) - (between(14, 21) + between(29, 36)) / 2, between(5, 9) - between(1, 2))
    assert level[10][0] > 5 and abs(level[1][0]) < 2
    # The duration of the firing, 0.4 s, takes the band between 2.5 Hz and the first maximum away.
    assert level[10][1] < level[1][1] - 5


def test_blasts_have_weak_s_and_strong_late_surface_waves() -> None:
    recipe = recipe_of(fibre={"channels": 12, "spacing_m": 300.0}, source={"distance_km": (8.0, 20.0)})
    simulator = Simulator(recipe)
    body_db, late_db = [], []
    for number in [n for n in range(20) if draw_label(recipe, n) == QUARRY_BLAST]:
        recording = simulator.recording(number)
        signal, event, cable = recording.signals[0], recording.signals[0].event, recording.cable
        away_m = float(np.hypot(cable.east_m - event.east_m, cable.north_m - event.north_m).mean())

        def power_db(first_s: float, last_s: float, band_hz: tuple[float, float],
                     data: Any = recording.data_ct) -> float:
            piece = np.ascontiguousarray(data[:, int(first_s * 250) : int(last_s * 250)])
            return float(10 * np.log10(band_power(piece, 250.0, band_hz)))

        p, s = float(signal.p_s.mean()), float(signal.s_s.mean())
        # Between group velocities of 2.2 and 1.5 km/s.
        rayleigh = (signal.origin_s + away_m / 2200, signal.origin_s + away_m / 1500)
        late_db.append(power_db(*rayleigh, (1.0, 4.0)) - power_db(p, s, (1.0, 4.0)))
        body_db.append(power_db(s, s + 1, (8.0, 25.0)) - power_db(p, p + 1, (8.0, 25.0)))
    assert np.median(late_db) > 2.5 and np.median(body_db) < -1, (late_db, body_db)
    # An earthquake has its S coda there, whose P may be weak under a steep ray; a blast's waves have lower frequencies.
    for label, low in ((0, False), (1, True)):
        recording = simulator.recording(first_of(simulator, label))
        _, stop = recording.signals[0].interval
        inside = np.ascontiguousarray(recording.data_ct[:, recording.signals[0].interval[0] : stop])
        assert (band_power(inside, 250.0, (1.0, 4.0)) > band_power(inside, 250.0, (8.0, 25.0))) is low


# Noise.

def test_the_instrument_is_white_above_1_hz_and_rises_below() -> None:
    assert instrument_shape(np.array([100.0, 20.0])) == pytest.approx([1, 1], rel=0.05)
    assert instrument_shape(np.array([0.1]))[0] ** 2 == pytest.approx(11)


def test_diffuse_noise_is_coherent_over_a_wavelength_only() -> None:
    cable = make_cable(FibreRecipe(channels=64, spacing_m=20.0, gauge_m=0.0, bends=0), 0, 1)
    field = DiffuseField(cable, 5000, 100.0, soil_velocity)
    series = to_series(field.draw(np.random.default_rng(1)), 5000)
    assert series.std() == pytest.approx(1, rel=0.1)
    spectrum = np.fft.rfft(series, axis=1)
    frequency_hz = np.fft.rfftfreq(5000, 0.01)
    band = (frequency_hz > 4.5) & (frequency_hz < 5.5)  # wavelength 93 m
    cross = (spectrum[:, band] @ spectrum[:, band].conj().T).real
    cross /= np.sqrt(np.outer(np.diag(cross), np.diag(cross)))
    assert np.diag(cross, 1).mean() > 0.2 and abs(np.diag(cross, 30).mean()) < 0.15


@given(a=st.integers(-300, 900), length=st.integers(1, 700))
def test_noise_is_the_same_wherever_it_is_cut(a: int, length: int) -> None:
    whole, piece = _cut(-300, 1700), _cut(a, a + length)
    assert np.allclose(piece, whole[:, a + 300 : a + 300 + length], atol=1e-6)


@cache
def _three_channels() -> Simulator:
    return Simulator(recipe_of(fibre={"channels": 3, "rate_hz": 70.0}))


def _cut(start: int, stop: int) -> NDArray[np.float32]:
    simulator = _three_channels()
    return noise_between(simulator.noise, simulator.cables[0], 70.0, start, stop, 8.0, 5)


def test_noise_has_its_level_and_its_day() -> None:
    recipe = recipe_of(noise={"level_nstrain_s": 3.0, "spread_db": 0.0, "day_db": 10.0})
    simulator = Simulator(recipe)
    power = {}
    for hour in (2, 12):
        at = np.datetime64(f"2022-09-03T{hour:02d}:00:00", "ns")
        data = simulator.background(simulator.cables[0], 0, 7500, at, 1)
        power[hour] = 10 * np.log10(band_power(data, 250.0, recipe.snr_band_hz) / 9)
    assert power[2] == pytest.approx(0, abs=0.4) and power[12] == pytest.approx(10, abs=0.4)
    # Across the edge of the day the level is that of the sample, not of the file.
    at = np.datetime64("2022-09-03T05:59:50", "ns")
    whole = simulator.background(simulator.cables[0], 0, 5000, at, 1)
    later = simulator.background(simulator.cables[0], 2000, 5000, at + np.timedelta64(8, "s"), 1)
    assert np.allclose(whole[:, 2000:], later, rtol=1e-4, atol=1e-4)


# What is asked for.

def test_signal_to_noise_ratio_is_the_asked_one_in_the_written_data() -> None:
    recipe = recipe_of(snr_db=12.0, snr_spread_db=3.0, fibre={"channels": 32, "dead_share": 0.1, "coupling_db": 3.0})
    simulator = Simulator(recipe)
    rate_hz, errors = recipe.fibre.rate_hz, []
    for number in range(8):
        recording = simulator.recording(number)
        signal, working = recording.signals[0], recording.cable.working
        data = recording.data_ct[working].astype(np.float64)
        taper = band_taper(np.fft.rfftfreq(data.shape[1], 1 / rate_hz), recipe.snr_band_hz)
        filtered = np.fft.irfft(np.fft.rfft(data, axis=1) * taper, data.shape[1], axis=1)
        noise = (filtered[:, : int((signal.p_s.min() - 0.3) * rate_hz)] ** 2).mean()
        sample = np.arange(data.shape[1])
        onset = signal.p_s[working][:, None] * rate_hz
        after = (sample >= onset) & (sample < onset + recipe.snr_window_s * rate_hz)
        errors.append(10 * np.log10((filtered[after] ** 2).mean() / noise - 1) - signal.event.snr_db)
    assert np.abs(errors).max() < 1.0, errors


def test_dead_and_saturated_channels_are_as_asked() -> None:
    recipe = recipe_of(fibre={"channels": 50, "dead_share": 0.1, "saturated_share": 0.06})
    recording = Simulator(recipe).recording(0)
    limit = FULL_SCALE * recipe.noise.level_nstrain_s
    pinned = (np.abs(recording.data_ct) >= limit).mean(1)
    assert (np.ptp(recording.data_ct, axis=1) == 0).sum() == 5 == recording.cable.dead.sum()
    assert (pinned > 0.5).sum() == 3 and np.abs(recording.data_ct).max() <= limit
    assert set(np.flatnonzero(pinned > 0.5)) == set(np.flatnonzero(recording.cable.saturated))


def test_an_event_depends_on_seed_and_number_alone() -> None:
    few, many = Simulator(recipe_of(events=3)), Simulator(recipe_of(events=50))
    many.recording(0)
    one, other = few.recording(2), many.recording(2)
    assert one.name == other.name and np.array_equal(one.data_ct, other.data_ct)
    assert not np.array_equal(one.data_ct, Simulator(recipe_of(seed=43)).recording(2).data_ct)


def hours_and_days(recipe: SimulateRecipe, label: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    cables = [make_cable(recipe.fibre, 0, recipe.seed)]
    events: list[Event] = [draw_event(recipe, cables, n) for n in range(800)]
    starts = np.array([e.file_start for e in events if e.label == label])
    hours = (starts - starts.astype("datetime64[D]")) / np.timedelta64(1, "h")
    weekday = (starts.astype("datetime64[D]").astype(np.int64) + 3) % 7
    return np.asarray(hours, np.float64), weekday


def test_without_the_confound_the_clock_says_nothing() -> None:
    recipe = recipe_of(clock_confound=0.0)
    for label in (0, QUARRY_BLAST):
        hours, weekday = hours_and_days(recipe, label)
        assert kstest(hours / 24, "uniform").pvalue > 0.01
        assert len(set(weekday)) == 7


def test_with_the_confound_blasts_are_fired_in_the_morning_of_working_days() -> None:
    hours, weekday = hours_and_days(recipe_of(clock_confound=1.0), QUARRY_BLAST)
    assert hours.min() >= 8 and hours.max() < 10 and weekday.max() < 5
    hours, _ = hours_and_days(recipe_of(clock_confound=1.0), 0)
    assert kstest(hours / 24, "uniform").pvalue > 0.01
    hours, _ = hours_and_days(recipe_of(clock_confound=0.5), QUARRY_BLAST)
    assert ((hours >= 8) & (hours < 10)).mean() == pytest.approx(0.5 + 0.5 / 12, abs=0.08)


@given(share=st.floats(0, 1), events=st.integers(4, 200))
def test_the_share_of_blasts_holds_for_any_number_of_events(share: float, events: int) -> None:
    recipe = recipe_of(source={"blast_share": share})
    labels = [draw_label(recipe, n) for n in range(events)]
    assert abs(sum(labels) - share * events) <= 2.5
