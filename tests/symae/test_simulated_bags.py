"""Simulated bags are what their truth says, to rounding, and what their worlds say, on average."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groundswell.pipelines.symae.alignment.fourier import shift_traces
from groundswell.pipelines.symae.scoring import best_lag_correlation
from groundswell.pipelines.symae.simulate.bags import SimulatedBags, simulate_bags
from groundswell.pipelines.symae.simulate.worlds import (
    CODA_POWER,
    ROWS,
    WORLDS,
    Prior,
    World,
    random_worlds,
)


def made(world: object = "hard", count: int = 16, traces: int = 8, seed: int = 0, **more: object) -> SimulatedBags:
    return simulate_bags(world, count, traces, generator=np.random.default_rng(seed), **more)  # type: ignore[arg-type]


def rebuilt(bags: SimulatedBags) -> np.ndarray:
    """Noise-free traces from source, path, shift, polarity and scale alone, in double precision and by other means."""
    b, t, n = bags.path.shape
    clean = np.zeros((b, t, n))
    frequency = np.fft.rfftfreq(2 * n)
    for i in range(b):
        for j in range(t):
            whole = np.zeros(2 * n)
            whole[:2 * n - 1] = np.convolve(bags.source[i].astype(float), bags.path[i, j].astype(float))
            turn = np.exp(-2j * np.pi * frequency * float(bags.shift_s[i, j]) / bags.dt)
            wave = float(bags.flip[i, j]) * np.fft.irfft(np.fft.rfft(whole) * turn, 2 * n)[:n]
            clean[i, j] = (wave - wave.mean()) * bags.scale[i, j]
    return clean


@pytest.mark.parametrize("world", ["easy", "hard_flips", "shared", "narrow", "long"])
def test_the_noise_free_trace_is_source_on_path_shifted_and_turned(world: str) -> None:
    bags = made(world, 3, 4)
    np.testing.assert_allclose(bags.clean, rebuilt(bags), atol=2e-5)


@given(st.integers(0, 2**32), st.sampled_from([96, 192, 255]), st.sampled_from([0.25, 0.45, 0.5]))
def test_the_truth_is_exact_on_any_time_axis(seed: int, nt: int, dt: float) -> None:
    bags = made("loud_flips", 2, 2, seed, nt=nt, dt=dt)
    np.testing.assert_allclose(bags.clean, rebuilt(bags), atol=5e-5)


def test_the_direct_wave_is_one_at_the_origin_and_the_coda_has_its_power() -> None:
    bags = made("hard")
    assert (bags.path[..., 0] == 1).all()
    assert np.median(np.square(bags.path[..., 1:]).sum(-1)) == pytest.approx(CODA_POWER, rel=1e-4)


def test_traces_and_sources_are_standardised() -> None:
    bags = made()
    for wave in (bags.x, bags.source, bags.seen):
        np.testing.assert_allclose(wave.mean(-1), 0, atol=1e-5)
        np.testing.assert_allclose(wave.std(-1), 1, atol=1e-4)
    assert bags.x.dtype == bags.clean.dtype == np.float32


@pytest.mark.parametrize("row", ROWS)
def test_signal_to_noise_shifts_and_polarities_are_those_of_the_world(row: str) -> None:
    for name, flipped in ((row, 0.0), (f"{row}_flips", 0.5)):
        bags, world = made(name, 60, 20), WORLDS[name]
        noise = np.square(bags.x - bags.clean).mean(-1)
        snr_db = 10 * np.log10(np.square(bags.clean).mean(-1) / noise)
        assert np.mean(snr_db) == pytest.approx(world.snr_db, abs=0.3)
        assert bags.shift_s.std() == pytest.approx(world.shift_s, rel=0.1)
        assert (bags.flip < 0).mean() == pytest.approx(flipped, abs=0.05)


def test_noise_is_coloured() -> None:
    bags = made("loud", 40, 20)
    power = np.square(np.abs(np.fft.rfft(bags.x - bags.clean))).mean((0, 1))
    assert power[5:20].mean() > 5 * power[-20:].mean()


def test_the_same_chance_gives_the_same_bags_and_other_chance_others() -> None:
    first, again, other = made(seed=3), made(seed=3), made(seed=4)
    for name in ("x", "source", "path", "clean", "shift_s", "flip"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.x, other.x)


def test_worlds_outside_the_prior_are_outside() -> None:
    def middle_hz(world: str) -> float:
        source = made(world, 60, 2).source
        power = np.square(np.abs(np.fft.rfft(source))).mean(0)
        return float((np.fft.rfftfreq(192, 0.5) * power).sum() / power.sum())

    def length_s(world: str) -> float:
        energy = np.cumsum(np.square(made(world, 60, 2).source), -1) / 192
        return float(np.median((energy > 0.975).argmax(-1) - (energy > 0.025).argmax(-1)) * 0.5)

    assert middle_hz("narrow") > 1.5 * middle_hz("easy") > 1.5 * 1.5 * middle_hz("wide")
    assert length_s("long") > 32 > length_s("easy") > 12


def test_a_shared_part_of_the_paths_is_marked_and_goes_into_what_can_be_seen() -> None:
    bags = made(["shared", "easy"], 40, 20)
    np.testing.assert_array_equal(bags.shared, np.arange(40) % 2 == 0)
    x = torch.from_numpy(bags.x)
    aligned = shift_traces(x, torch.from_numpy(-bags.shift_s / bags.dt)) * torch.from_numpy(bags.flip)[..., None]
    stack = aligned.mean(1)
    source, seen = (best_lag_correlation(stack, torch.from_numpy(wave), 24).correlation
                    for wave in (bags.source, bags.seen))
    assert seen[::2].median() > 0.95 and source[::2].median() < 0.9
    np.testing.assert_allclose(bags.seen[1::2], bags.source[1::2], atol=1e-4)
    assert source[1::2].median() > 0.97


def test_the_prior_covers_the_five_rows() -> None:
    worlds, prior = random_worlds(4000, np.random.default_rng(0)), Prior()
    for name in ("snr_db", "coda", "shift_s"):
        values = np.array([getattr(world, name) for world in worlds])
        low, high = getattr(prior, name)
        assert low <= values.min() and values.max() <= high
        for row in ROWS.values():
            near = np.abs(values - getattr(row, name)) < 0.1 * (high - low)
            assert near.mean() > 0.05, (row, name)
    flips = np.array([world.flips for world in worlds])
    assert (flips == 0).mean() == pytest.approx(0.5, abs=0.05)
    assert flips.max() <= 0.5 and flips.max() > 0.45


def test_a_sequence_of_worlds_is_gone_through_in_turn() -> None:
    quiet, loud = World(60.0, 0.1, 1.0), World(-20.0, 0.1, 1.0)
    bags = made([quiet, loud], 5, 4)
    assert bags.world == [quiet, loud, quiet, loud, quiet]
    noise = np.square(bags.x - bags.clean).mean((-1, -2))
    assert (noise[::2] < 0.01).all() and (noise[1::2] > 0.9).all()
