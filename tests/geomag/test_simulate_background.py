"""The simulated observatory: a daily variation, storms that recover, noise and indices that follow activity."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import periodogram

from groundswell.pipelines.geomag.building.indices import AP_OF_KP
from groundswell.pipelines.geomag.simulate.background import (
    Field,
    indices_of,
    kp_of_range,
    simulate_field,
    simulated_background,
)
from groundswell.pipelines.geomag.simulate.quiet import irregular, quiet_amplitude
from groundswell.pipelines.geomag.simulate.recipe import BackgroundRecipe
from groundswell.pipelines.geomag.simulate.storms import (
    STEP_MINUTES,
    THRESHOLD_MV_M,
    dst_index,
    dst_star,
    onset_rate,
    solar_wind,
)

DAY = 1440


@pytest.fixture(scope="module")
def field() -> Field:
    return simulate_field(BackgroundRecipe(years=2.0), 5)


def test_the_day_and_its_harmonics_stand_out_of_the_spectrum(field: Field) -> None:
    frequency, power = periodogram(field.total - field.total.mean(), DAY, window="hann")

    def at(cycles_a_day: float, half_width: float) -> float:
        return float(power[np.abs(frequency - cycles_a_day) < half_width].mean())

    line = {k: at(k, 0.02) for k in (1, 2, 3, 4)}
    assert line[1] > line[2] > line[3] > line[4]
    for k in (1, 2, 3):
        assert line[k] > 10 * at(k + 0.5, 0.1)
    fast = frequency > 0.2
    assert frequency[fast][power[fast].argmax()] == pytest.approx(1, abs=0.005)


def test_the_daily_variation_is_largest_in_local_summer_and_turns_over_at_the_focus() -> None:
    june, december = (np.array([float(np.datetime64(day, "D").astype(int))]) for day in ("2001-06-21", "2001-12-21"))

    def amplitude(latitude: float, day: np.ndarray) -> float:
        return float(quiet_amplitude(BackgroundRecipe(latitude=latitude), day)[0])

    assert amplitude(50, june) < amplitude(50, december) < 0  # H falls at noon polewards of 35 degrees
    assert amplitude(10, june) > amplitude(10, december) > 0
    assert amplitude(-50, december) < amplitude(-50, june) < 0
    assert 5 < abs(amplitude(50, june)) < 60


def test_the_daily_variation_keeps_local_time() -> None:
    def noon(longitude: float) -> float:
        recipe = BackgroundRecipe(years=0.5, longitude=longitude, storms_a_year=0, irregular_nt=0, instrument_nt=0)
        quiet = simulate_field(recipe, 1).quiet
        return float(quiet[: len(quiet) // DAY * DAY].reshape(-1, DAY).mean(0).argmin()) / 60

    assert noon(0) == pytest.approx(11.5, abs=0.5)
    assert noon(90) == pytest.approx(5.5, abs=0.5)
    assert noon(-45) == pytest.approx(14.5, abs=0.5)


def test_dst_recovers_exponentially_with_the_constants_of_the_literature() -> None:
    driver = np.zeros(2000)
    driver[10:40] = 8.0
    answer = dst_star(driver)
    hours = np.arange(len(answer)) * STEP_MINUTES / 60
    after = answer[40:] < -1
    slope = np.polyfit(hours[40:][after], np.log(-answer[40:][after]), 1)[0]
    assert -1 / slope == pytest.approx(2.40 * np.exp(9.74 / 4.69), rel=1e-6)
    # Injected without decay: 4.4 nT an hour for each mV/m above the threshold.
    assert answer[10] == pytest.approx(-4.4 * (8 - THRESHOLD_MV_M) / 6, rel=1e-9)
    assert answer.min() == answer[39]
    assert not dst_star(np.full(100, THRESHOLD_MV_M)).any()


def test_storm_onsets_cluster_at_27_days_and_at_equinoxes() -> None:
    day = np.arange(0, 27 * 365.2425, 0.01)
    rate = onset_rate(day, 30, 0.4)
    assert rate.mean() * 365.2425 == pytest.approx(30, rel=0.01)
    wind = solar_wind(3, 0.0, 60 * 365, 30)
    onset = wind.onset * STEP_MINUTES / DAY
    assert abs(len(onset) - 1800) < 5 * np.sqrt(1800)

    def strength(period_days: float) -> float:
        return float(abs(np.exp(2j * np.pi * onset / period_days).mean()) * np.sqrt(2 * len(onset)))

    assert strength(27.0) > 8 and strength(365.2425 / 2) > 5
    assert strength(17.3) < 4  # a Rayleigh variable: above 4 once in three thousand
    gaps = np.diff(onset)
    assert gaps.std() > 1.05 * gaps.mean()  # more bunched than a Poisson process of one rate


def test_a_shock_is_a_step_of_minutes_and_a_main_phase_falls_below_it(field: Field) -> None:
    rises, falls = [], []
    for onset, start, stop in zip(field.wind.onset, field.wind.main_start, field.wind.main_stop, strict=True):
        minute = int(onset) * STEP_MINUTES
        if minute < 60 or (stop + 12) * STEP_MINUTES > len(field.storm):
            continue
        step = field.storm[minute - 12:minute + 2]
        rises.append(step.max() - step[0])
        quickest = np.diff(field.storm[minute - 12:minute + 2]).max()
        assert quickest > 0.12 * (step.max() - step[0])  # the most of it within a few minutes
        falls.append(field.dst_nt[onset] - field.dst_nt[start:stop + 12].min())
    assert len(rises) > 30 and 5 < np.median(rises) < 40
    assert np.median(falls) > 30 and min(falls) > 0


def test_activity_raises_the_irregular_variation(field: Field) -> None:
    by_hour = field.irregular[: len(field.irregular) // 60 * 60].reshape(-1, 60)
    roughness = np.diff(by_hour, axis=1).std(1)
    dst = field.dst_nt.reshape(-1, 6).mean(1)
    assert roughness[dst < -80].mean() > 3 * roughness[dst > -15].mean()


def test_irregular_noise_falls_with_the_power_of_frequency_it_names() -> None:
    series = irregular(1, 2**18)
    frequency, power = periodogram(series)
    use = (frequency > 1 / 1000) & (frequency < 1 / 4)
    slope = np.polyfit(np.log(frequency[use]), np.log(power[use]), 1)[0]
    assert slope == pytest.approx(-1.5, abs=0.05)
    assert series.std() == pytest.approx(1)


def test_levels_are_those_of_a_mid_latitude_observatory(field: Field) -> None:
    weeks = field.total[: len(field.total) // 10080 * 10080].reshape(-1, 10080)
    assert field.total.mean() == pytest.approx(29500 * np.cos(np.radians(50)), abs=60)
    assert 8 < np.median(weeks.std(1)) < 35
    dst = field.dst_nt
    assert -400 < dst.min() < -80 and -35 < np.median(dst) < 5 and dst.max() < 60
    whole = indices_of(field, 0)
    assert whole.kp is not None and whole.ap is not None
    assert 1.3 < whole.kp.values.mean() < 3.2 and 5 < whole.ap.values.mean() < 22


def test_kp_is_the_quasi_logarithm_of_the_range() -> None:
    ranges = np.array([0.0, 4.9, 5.0, 10.0, 20.0, 40.0, 70.0, 120.0, 200.0, 330.0, 500.0, 5000.0])
    thirds = np.rint(3 * kp_of_range(ranges)).astype(int)
    assert thirds.tolist() == [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 27]  # K begins at a K minus: 1- is 2 thirds
    fine = kp_of_range(np.linspace(0, 1200, 5000))
    assert (np.diff(fine) >= 0).all() and set(np.rint(3 * fine).astype(int)) == set(range(28))


def test_indices_come_from_the_same_activity(field: Field) -> None:
    whole = indices_of(field, 1440)
    assert whole.kp is not None and whole.ap is not None and whole.dst is not None
    assert whole.kp.bin_minutes == 180 and whole.dst.bin_minutes == 60
    assert (whole.ap.values == AP_OF_KP[np.rint(3 * whole.kp.values).astype(int)]).all()
    three_hours = whole.dst.values.reshape(-1, 3).min(1)
    assert np.corrcoef(whole.kp.values, three_hours)[0, 1] < -0.4
    told = whole.columns(1440, 7 * DAY)
    assert told["kp_max"] >= told["kp_mean"] and told["dst_min"] <= told["dst_mean"]
    assert told["dst_min"] == pytest.approx(field.dst_nt[: 7 * 144].reshape(-1, 6).mean(1).min(), abs=1e-3)


def test_the_same_seed_gives_the_same_minutes_and_another_gives_others() -> None:
    recipe = BackgroundRecipe(years=0.2)
    one, again, other = (simulated_background(recipe, seed) for seed in (1, 1, 2))
    assert (one.series.values == again.series.values).all()
    assert not (one.series.values == other.series.values).all()
    assert one.simulated and one.series.components == ("H",)
    assert len(one.series.values) == round(0.2 * 365.2425) * DAY


def test_any_number_of_years_and_any_first_day() -> None:
    from datetime import date

    background = simulated_background(BackgroundRecipe(years=4.0, start_date=date(1995, 11, 28)), 0)
    assert len(background.series.values) == 1461 * DAY
    assert background.series.start_minute == np.datetime64("1995-11-28T00:00", "m").astype(int)
    values = background.series.column("H")
    slope = np.polyfit(np.arange(1461) / 365.2425, values.reshape(-1, DAY).mean(1), 1)[0]
    assert slope == pytest.approx(15, abs=6)


def test_dst_without_storms_is_quiet() -> None:
    wind = solar_wind(1, 0.0, 365, 0.0)
    stormy = solar_wind(1, 0.0, 365, 30.0)
    assert not len(wind.onset)
    assert dst_index(wind).min() > -100 > dst_index(stormy).min()
