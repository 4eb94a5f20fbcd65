"""Arrival times by all pairs, spectral ratios, and scores that leave open what cannot be known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from groundswell.pipelines.symae.alignment.fourier import shift_traces
from groundswell.pipelines.symae.alignment.iccs import iccs
from groundswell.pipelines.symae.alignment.mccc import mccc
from groundswell.pipelines.symae.alignment.transfer import spectral_ratio_transfer
from groundswell.pipelines.symae.scoring import best_lag_correlation, nmse_best_lag, shift_error
from groundswell.pipelines.symae.simulate.bags import simulate_bags


def test_shifts_by_pairs_are_exact_without_noise_and_their_errors_nothing() -> None:
    source = torch.from_numpy(simulate_bags("easy", 1, 2, generator=np.random.default_rng(5)).source)
    true = torch.tensor([[-2.0, 0.3, 1.2, 3.7, -0.9, 0.0]])
    x = shift_traces(source[:, None].expand(-1, 6, -1), true)
    mask = torch.tensor([[True] * 5 + [False]])
    found = mccc(x * mask[..., None], mask, dt=0.5)
    wanted = (true[0, :5] - true[0, :5].mean()) * 0.5
    np.testing.assert_allclose(found.shift_s[0, :5], wanted, atol=0.01)
    assert float(found.rms_s.max()) < 0.02 and float(found.correlation[0, :5].min()) > 0.99
    assert not found.shift_s[0, 5] and not found.rms_s[0, 5] and not found.correlation[0, 5]


def test_errors_grow_with_noise_and_tell_how_far_off_shifts_are() -> None:
    errors, said = [], []
    for world in ("easy", "noisy", "loud"):
        bags = simulate_bags(world, 40, 20, generator=np.random.default_rng(1))
        mask = torch.ones(40, 20, dtype=torch.bool)
        found = mccc(torch.from_numpy(bags.x), mask, dt=0.5, start=iccs(torch.from_numpy(bags.x), mask, dt=0.5,
                                                                        polarity=False))
        errors.append(float(shift_error(found.shift_s, torch.from_numpy(bags.shift_s), mask).median()))
        said.append(float(found.rms_s.median()))
    assert errors == sorted(errors) and said == sorted(said)
    assert errors[0] < 0.2


def test_a_bag_of_two_has_an_arrival_and_no_error() -> None:
    bags = simulate_bags("easy", 3, 2, generator=np.random.default_rng(1))
    found = mccc(torch.from_numpy(bags.x), torch.ones(3, 2, dtype=torch.bool), dt=0.5)
    assert torch.isfinite(found.shift_s).all() and not found.rms_s.any()


def test_the_spectral_ratio_puts_another_source_on_a_path() -> None:
    one, other = (simulate_bags("easy", 8, 4, generator=np.random.default_rng(seed)) for seed in (1, 2))
    wanted = []
    for bag in range(8):
        for trace in range(4):
            wave = np.convolve(other.source[bag], one.path[bag, trace])[:192]
            wanted.append(wave * one.flip[bag, trace])
    true = shift_traces(torch.from_numpy(np.array(wanted, np.float32)).reshape(8, 4, 192),
                        torch.from_numpy(one.shift_s) / 0.5)
    clean = torch.from_numpy(one.clean / one.scale[..., None])
    source, target = (torch.from_numpy(bags.source)[:, None] for bags in (one, other))
    moved = spectral_ratio_transfer(clean, source, target, water_level=1e-3)
    left = nmse_best_lag(clean, true, 24).median()
    assert nmse_best_lag(moved, true, 24).median() < 0.3 < 0.6 < left
    coarse = spectral_ratio_transfer(clean, source, target, water_level=0.9)
    assert nmse_best_lag(coarse, true, 24).median() > nmse_best_lag(moved, true, 24).median()


def test_a_trace_of_its_own_source_is_left_as_it_is() -> None:
    bags = simulate_bags("easy", 4, 3, generator=np.random.default_rng(1))
    x, source = torch.from_numpy(bags.clean), torch.from_numpy(bags.source)[:, None]
    same = spectral_ratio_transfer(x, source, source, water_level=1e-9)
    assert float(nmse_best_lag(same, x, 4).max()) < 0.01


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_scores_do_not_see_origin_sign_amplitude_or_mean_shift(kind: str) -> None:
    as_kind = (lambda t: t) if kind == "torch" else (lambda t: t.numpy())
    bags = simulate_bags("easy", 6, 5, generator=np.random.default_rng(1))
    source, shift = torch.from_numpy(bags.source), torch.from_numpy(bags.shift_s)
    other = -3 * shift_traces(source, torch.full((6,), 4.25))
    score = best_lag_correlation(as_kind(other), as_kind(source), 10)
    assert isinstance(score.correlation, torch.Tensor if kind == "torch" else np.ndarray)
    np.testing.assert_allclose(score.correlation, 1, atol=2e-3)
    np.testing.assert_allclose(score.lag, 4.25, atol=0.02)
    np.testing.assert_array_equal(score.sign, -1)
    np.testing.assert_allclose(best_lag_correlation(as_kind(other), as_kind(source), 10, sign=False).correlation < 0.95,
                               True)
    mask = torch.ones(6, 5, dtype=torch.bool)
    np.testing.assert_allclose(shift_error(as_kind(shift + 7.0), as_kind(shift), as_kind(mask)), 0, atol=1e-5)
    np.testing.assert_allclose(nmse_best_lag(as_kind(other / -3), as_kind(source), 10), 0, atol=1e-3)


def test_the_shift_error_is_the_median_of_what_is_left_and_leaves_padding_out() -> None:
    true = np.array([[0.0, 0.0, 0.0, 0.0, 0.0]])
    found = np.array([[1.0, 2.0, 3.0, 6.0, 99.0]])  # mean 3, away 2 1 0 3
    mask = np.array([[True, True, True, True, False]])
    assert float(shift_error(found, true, mask)[0]) == 1.5


def test_nothing_as_an_estimate_has_an_error_of_one() -> None:
    wave = np.random.default_rng(1).standard_normal((3, 100))
    np.testing.assert_allclose(nmse_best_lag(np.zeros_like(wave), wave, 5), 1, atol=1e-9)
