"""Time stamps into start, rate and gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.pipelines.das.formats.clock import (
    NANOSECONDS,
    from_file_name,
    from_stamps,
    from_text,
    nominal_rate,
    unit_of,
)

START_NS = 1714979289_500_000_000
RATES = [1.0, 100.0, 200.0, 250.0, 500.0, 1000.0, 333.3333333333333, 0.1]


def stamps(offsets_ns: np.ndarray, unit: str, kind: str) -> np.ndarray:
    exact = START_NS + offsets_ns
    return exact / NANOSECONDS[unit] if kind == "float" else exact // NANOSECONDS[unit]


@settings(deadline=None)
@given(rate_hz=st.sampled_from(RATES), unit=st.sampled_from(["s", "ms", "us", "ns"]), data=st.data(),
       pieces=st.lists(st.tuples(st.integers(20, 200), st.integers(1, 5000)), min_size=1, max_size=6))
def test_start_rate_and_gaps_come_back_from_stamps_of_any_unit(rate_hz: float, unit: str, data: st.DataObject,
                                                               pieces: list[tuple[int, int]]) -> None:
    timeline, gaps, at = [], [], 0
    for length, pause in pieces:
        timeline.append(np.arange(at, at + length))
        gaps.append((at + length, at + length + pause))
        at += length + pause
    whole = unit in ("us", "ns") and data.draw(st.booleans())
    offsets = np.rint(np.concatenate(timeline) * 1e9 / rate_hz).astype(np.int64)
    clock = from_stamps(stamps(offsets, unit, "int" if whole else "float"))
    assert clock.problem == ""
    assert clock.rate_hz == pytest.approx(rate_hz, rel=1e-9)
    assert clock.gaps == tuple(gaps[:-1])
    assert clock.samples == gaps[-1][0]
    assert abs(clock.start_time.astype(np.int64) - START_NS) < 1000
    assert sum(length for _, _, length in clock.pieces) == len(offsets)
    assert [stored for _, stored, _ in clock.pieces] == list(np.cumsum([0, *(p[0] for p in pieces[:-1])]))


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.05, 0.3, 0.9, 1.6]))
def test_jitter_opens_no_gap(seed: int, jitter: float) -> None:
    random = np.random.default_rng(seed)
    late = np.where(random.random(2000) < 0.02, random.uniform(0, jitter, 2000), 0.0)
    clock = from_stamps(1714979289.5 + (np.arange(2000) + late) / 250.0)
    assert (clock.gaps, clock.problem, clock.samples) == ((), "", 2000)
    assert clock.rate_hz == pytest.approx(250.0, rel=2e-3)


def test_a_step_back_and_stamps_that_stand_still_are_problems() -> None:
    times = np.arange(500) / 100
    times[300:] -= 0.5
    assert "backwards" in from_stamps(times).problem
    assert "increase" in from_stamps(np.full(50, 3.0)).problem


def test_seconds_from_the_records_own_start_have_no_start_time() -> None:
    clock = from_stamps(np.arange(100) / 50)
    assert (clock.start_time, clock.rate_hz) == (None, 50.0)
    assert from_stamps(np.arange(100), "ms").rate_hz == 1000.0
    assert from_stamps(np.arange(100)).rate_hz is None  # an index
    assert from_stamps(np.array([1.0])).rate_hz is None
    assert from_stamps(np.array([np.nan, np.nan])).rate_hz is None


def test_unsigned_stamps_do_not_wrap() -> None:
    exact = (START_NS + np.arange(100, dtype=np.int64) * 10**6).astype(np.uint64)
    assert from_stamps(exact).rate_hz == 1000.0


@pytest.mark.parametrize(("measured", "nominal"), [(250.00325, 250.0), (1999.976, 2000.0), (333.3331, 1000 / 3),
                                                   (250.1, 250.1), (0.1000001, 0.1), (101.25, 101.25)])
def test_a_measured_rate_becomes_the_nominal_one_only_within_50_ppm(measured: float, nominal: float) -> None:
    assert nominal_rate(measured) == pytest.approx(nominal, rel=1e-12)


@pytest.mark.parametrize(("text", "utc"), [
    ("2024-05-06T07:08:09.5", "2024-05-06T07:08:09.5"), ("2024-05-06T07:08:09.500000Z", "2024-05-06T07:08:09.5"),
    ("2024-05-06 07:08:09.5000001", "2024-05-06T07:08:09.5000001"),
    ("2024-05-06T09:38:09.5+02:30", "2024-05-06T07:08:09.5"), ("2024-05-06T05:08:09.5-0200", "2024-05-06T07:08:09.5"),
    ("06/05/2024 07:08:09.5 (UTC)", "2024-05-06T07:08:09.5"), ("6/5/2024 7:08:09", "2024-05-06T07:08:09"),
    ("yesterday", None), ("2024-13-06T07:08:09", None), ("", None)])
def test_written_times(text: str, utc: str | None) -> None:
    assert from_text(text) == (None if utc is None else np.datetime64(utc, "ns"))


@pytest.mark.parametrize(("name", "utc"), [
    ("DAS-BIGORRE_2022-08-31T08-00-05_UTC-005.h5", "2022-08-31T08:00:05"),
    ("DAS-SIMULATED_2022-09-03_08-14-22_UTC-0005.h5", "2022-09-03T08:14:22"),
    ("sensor_20190328T160419Z.h5", "2019-03-28T16:04:19"), ("cable12_20190328160419.h5", "2019-03-28T16:04:19"),
    ("2019-03-28.h5", None), ("run_99999999_999999.h5", None), ("20191328T160419.h5", None)])
def test_times_in_file_names(name: str, utc: str | None) -> None:
    assert from_file_name(name) == (None if utc is None else np.datetime64(utc, "ns"))


def test_units_by_any_spelling() -> None:
    assert [unit_of(text) for text in ("s", "Seconds since start", "ms", "us", "µs", "nanoseconds", "", "m")] == [
        "s", "s", "ms", "us", "us", "ns", "", ""]
