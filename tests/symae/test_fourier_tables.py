"""Shifts by parts of a sample and correlations by real tables are what Fourier's theorem says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groundswell.pipelines.symae.alignment.fourier import cross_correlate, peak, shift_traces, spectrum, to_time
from groundswell.pipelines.symae.alignment.stacks import envelope, windowed_stack


def pulse(n: int, at: float, width: float = 3.0) -> torch.Tensor:
    away = (torch.arange(n, dtype=torch.float64) - at) / width
    return -away * torch.exp(-0.5 * away**2)


@given(st.integers(20, 60), st.integers(0, 30))
def test_the_tables_are_the_transform_and_its_inverse(n: int, padding: int) -> None:
    x = torch.from_numpy(np.random.default_rng(n).standard_normal((3, n)))
    length = n + padding
    real, imaginary = spectrum(x, length)
    wanted = np.fft.rfft(x.numpy(), length)
    np.testing.assert_allclose(real, wanted.real, atol=1e-10)
    np.testing.assert_allclose(imaginary, wanted.imag, atol=1e-10)
    np.testing.assert_allclose(to_time(real, imaginary, length, 0, n), x, atol=1e-10)


@given(st.floats(-12, 12))
def test_a_shift_moves_a_pulse_later_by_so_many_samples(samples: float) -> None:
    moved = shift_traces(pulse(128, 60.0), torch.tensor(samples, dtype=torch.float64))
    np.testing.assert_allclose(moved, pulse(128, 60.0 + samples), atol=1e-6)


def test_what_leaves_at_one_end_comes_in_at_the_other_only_where_asked() -> None:
    x = torch.zeros(1, 64, dtype=torch.float64)
    x[0, 60] = 1.0
    ten = torch.tensor([10.0], dtype=torch.float64)
    circular, open_ended = shift_traces(x, ten, circular=True), shift_traces(x, ten)
    assert circular[0, 6] == pytest.approx(1.0, abs=1e-9)
    np.testing.assert_allclose(open_ended, 0, atol=1e-9)


@given(st.floats(-20, 20))
def test_there_and_back_is_where_one_was(samples: float) -> None:
    x, by = torch.stack([pulse(192, 90.0), pulse(192, 100.0, 5.0)]), torch.full((2,), samples, dtype=torch.float64)
    np.testing.assert_allclose(shift_traces(shift_traces(x, by), -by), x, atol=1e-6)


def test_correlations_are_those_of_the_definition() -> None:
    random = np.random.default_rng(1)
    a, b = random.standard_normal((2, 50)), random.standard_normal((2, 50))
    found = cross_correlate(torch.from_numpy(a), torch.from_numpy(b), 12)
    for row in range(2):
        whole = np.correlate(a[row], b[row], "full")
        np.testing.assert_allclose(found[row], whole[49 - 12:49 + 13], atol=1e-10)


@given(st.floats(-9, 9), st.sampled_from([-1.0, 1.0]))
def test_the_peak_tells_how_much_later_the_first_is_and_its_polarity(late: float, turned: float) -> None:
    a, b = turned * pulse(128, 60.0 + late), pulse(128, 60.0)
    lag, height, sign = peak(cross_correlate(a, b, 20), True)
    assert float(lag) == pytest.approx(late, abs=0.02)
    assert float(sign) == turned
    assert float(height) == pytest.approx(float(b.square().sum()), rel=5e-3)


def test_a_peak_at_the_end_stays_there() -> None:
    lag, height, _ = peak(torch.tensor([1.0, 2.0, 3.0, 4.0, 9.0]), False)
    assert (float(lag), float(height)) == (2.0, 9.0)


def test_without_sign_a_negative_peak_is_none() -> None:
    lag, height, sign = peak(torch.tensor([0.0, -9.0, 0.0, 0.0, 2.0, 4.0, 2.0]), False)
    assert (float(lag), float(height), float(sign)) == (2.0, 4.0, 1.0)


def test_the_windowed_stack_keeps_the_strongest_part_and_nothing_else() -> None:
    stack = pulse(192, 50.0) + 0.4 * pulse(192, 150.0)
    kept = windowed_stack(stack.float(), 28.0, dt=0.5)
    np.testing.assert_allclose(kept[38:62], stack[38:62].float(), atol=0.05)
    np.testing.assert_array_equal(kept[120:], 0)
    assert int((kept != 0).sum()) <= 56


def test_the_envelope_of_a_modulated_wave_is_what_modulates_it() -> None:
    time = torch.arange(256, dtype=torch.float64)
    slow = torch.exp(-0.5 * ((time - 128) / 25) ** 2)
    np.testing.assert_allclose(envelope(slow * torch.cos(0.8 * time)), slow, atol=1e-6)
    odd = envelope((slow * torch.cos(0.8 * time))[:255])
    np.testing.assert_allclose(odd, slow[:255], atol=1e-3)
