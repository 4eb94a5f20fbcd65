"""Alignment: exact where it can be, blind to the order of traces, untouched by padding, near to oracles in noise."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import resample
from scipy.signal.windows import tukey

from groundswell.pipelines.symae.alignment.fourier import shift_traces
from groundswell.pipelines.symae.alignment.iccs import Aligned, iccs
from groundswell.pipelines.symae.alignment.mccc import mccc
from groundswell.pipelines.symae.alignment.stacks import windowed_stack
from groundswell.pipelines.symae.scoring import best_lag_correlation, shift_error
from groundswell.pipelines.symae.simulate.bags import SimulatedBags, simulate_bags

DT = 0.5


def bags_of(world: str, count: int, traces: int, seed: int = 0) -> tuple[SimulatedBags, torch.Tensor, torch.Tensor]:
    bags = simulate_bags(world, count, traces, dt=DT, generator=np.random.default_rng(seed))
    return bags, torch.from_numpy(bags.x), torch.ones(count, traces, dtype=torch.bool)


def copies(shifts: list[float], flips: list[int]) -> torch.Tensor:
    """One source, shifted (samples) and turned over, without noise or coda; (1, t, 192)."""
    source = simulate_bags("easy", 1, 2, generator=np.random.default_rng(5)).source
    wave = torch.from_numpy(source)[:, None].expand(-1, len(shifts), -1)
    return shift_traces(wave, torch.tensor([shifts])) * torch.tensor(flips, dtype=torch.float32)[None, :, None]


def same_up_to_sign(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one, other) or torch.equal(one, -other)


@pytest.mark.parametrize("polarity", [True, False])
def test_known_shifts_are_found_to_a_hundredth_of_a_sample(polarity: bool) -> None:
    shifts = [-3.3, 0.25, 1.5, 4.8, -0.7]
    flips = [1, -1, 1, 1, -1] if polarity else [1] * 5
    found = iccs(copies(shifts, flips), torch.ones(1, 5, dtype=torch.bool), dt=DT, polarity=polarity)
    wanted = np.array(shifts) - np.mean(shifts)
    np.testing.assert_allclose(found.shift_s[0] / DT, wanted, atol=0.01)
    np.testing.assert_array_equal(found.flip[0], flips)
    assert float(found.correlation.min()) > 0.999


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=2), st.sampled_from([[1, 1], [1, -1]]))
def test_bags_of_two_settle(shifts: list[float], flips: list[int]) -> None:
    found = iccs(copies(shifts, flips), torch.ones(1, 2, dtype=torch.bool), dt=DT)
    np.testing.assert_allclose(found.shift_s[0] / DT, np.array(shifts) - np.mean(shifts), atol=0.02)
    assert float(found.flip[0].prod()) == flips[0] * flips[1]


@pytest.mark.parametrize("polarity", [True, False])
def test_the_order_of_the_traces_has_no_say(polarity: bool) -> None:
    _, x, mask = bags_of("hard_flips", 8, 12)
    order = torch.from_numpy(np.random.default_rng(1).permutation(12))
    one, other = iccs(x, mask, dt=DT, polarity=polarity), iccs(x[:, order], mask, dt=DT, polarity=polarity)
    np.testing.assert_allclose(one.shift_s[:, order], other.shift_s, atol=1e-3)
    assert all(same_up_to_sign(a, b) for a, b in zip(one.flip[:, order], other.flip, strict=True))


@pytest.mark.parametrize("window_s", [None, 28.0])
def test_padding_changes_nothing(window_s: float | None) -> None:
    _, x, _ = bags_of("coda_flips", 3, 10)
    mask = torch.zeros(3, 14, dtype=torch.bool)
    padded = torch.zeros(3, 14, 192)
    for bag, size in enumerate((10, 6, 3)):
        mask[bag, :size], padded[bag, :size] = True, x[bag, :size]
    together = iccs(padded, mask, dt=DT, window_s=window_s)
    for bag, size in enumerate((10, 6, 3)):
        alone = iccs(x[bag:bag + 1, :size], torch.ones(1, size, dtype=torch.bool), dt=DT, window_s=window_s)
        for name in ("x", "shift_s", "flip", "correlation"):
            np.testing.assert_allclose(getattr(together, name)[bag, :size], getattr(alone, name)[0], atol=2e-4)
            assert not getattr(together, name)[bag, size:].any()
        np.testing.assert_allclose(together.stack[bag], alone.stack[0], atol=1e-4)


def test_what_comes_back_fits_together() -> None:
    _, x, mask = bags_of("noisy_flips", 4, 9)
    found = iccs(x, mask, dt=DT)
    moved = shift_traces(x, -found.shift_s / DT) * found.flip[..., None]
    np.testing.assert_allclose(found.x, moved, atol=0.03)  # but for what rings at the ends of the window
    np.testing.assert_allclose(found.x[..., 48:-48], moved[..., 48:-48], atol=0.01)
    np.testing.assert_allclose(found.stack, found.x.mean(1), atol=1e-5)
    np.testing.assert_allclose(found.shift_s.mean(1), 0, atol=1e-5)
    own = [np.corrcoef(found.x[0, trace], found.stack[0])[0, 1] for trace in range(9)]
    np.testing.assert_allclose(found.correlation[0], own, atol=0.01)


def test_no_trace_is_moved_farther_than_allowed() -> None:
    _, x, mask = bags_of("hard_flips", 16, 6)
    found = iccs(x, mask, dt=DT, max_shift_s=2.0)
    assert float((found.shift_s.amax(1) - found.shift_s.amin(1)).max()) <= 4.0 + 1e-4


@pytest.mark.parametrize(("row", "least", "windowed", "most_off"), [
    ("easy", 0.975, 0.98, 0.3), ("noisy", 0.945, 0.975, 0.4), ("coda", 0.93, 0.955, 0.8), ("hard", 0.875, 0.92, 1.5),
    ("loud", 0.79, 0.89, 1.2)])
def test_stacks_come_near_to_those_of_the_published_trials(row: str, least: float, windowed: float,
                                                          most_off: float) -> None:
    bags, x, mask = bags_of(row, 60, 20)
    found = iccs(x, mask, dt=DT, polarity=False)
    source = torch.from_numpy(bags.source)
    assert float(best_lag_correlation(found.stack, source, 24).correlation.median()) > least
    kept = windowed_stack(found.stack, dt=DT)
    assert float(best_lag_correlation(kept, source, 24).correlation.median()) > windowed
    assert float(shift_error(found.shift_s, torch.from_numpy(bags.shift_s), mask).median()) / DT < most_off
    raw = best_lag_correlation(x.mean(1), source, 24).correlation.median()
    assert float(raw) < least


@pytest.mark.parametrize(("row", "least", "agree"), [("easy", 0.97, 0.98), ("noisy", 0.94, 0.97), ("coda", 0.92, 0.88),
                                                     ("hard", 0.84, 0.77), ("loud", 0.76, 0.78)])
def test_half_of_the_traces_may_be_upside_down(row: str, least: float, agree: float) -> None:
    bags, x, mask = bags_of(f"{row}_flips", 60, 20)
    found = iccs(x, mask, dt=DT)
    corr = best_lag_correlation(found.stack, torch.from_numpy(bags.source), 24).correlation
    assert float(corr.median()) > least
    same = (found.flip * torch.from_numpy(bags.flip)).sum(1).abs() / 20
    assert float(((1 + same) / 2).mean()) > agree


def test_the_true_source_as_template_aligns_better_than_the_stack() -> None:
    bags, x, mask = bags_of("loud", 60, 8)
    true = torch.from_numpy(bags.shift_s)
    stacked, told = (iccs(x, mask, dt=DT, template=wave, polarity=False)
                     for wave in (None, torch.from_numpy(bags.source)))
    assert shift_error(told.shift_s, true, mask).median() < 0.7 * shift_error(stacked.shift_s, true, mask).median()


@pytest.mark.slow
def test_alignment_can_be_exported(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")

    class Aligner(torch.nn.Module):
        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
            found = iccs(x, mask, dt=DT, window_s=28.0, iterations=1)  # one is as the next
            return found.x, found.shift_s, found.flip, found.stack

    _, x, mask = bags_of("noisy_flips", 3, 6)
    free = torch.export.Dim.DYNAMIC
    torch.onnx.export(Aligner().eval(), (), str(tmp_path / "a.onnx"), kwargs={"x": x, "mask": mask}, dynamo=True,
                      opset_version=18, verbose=False, external_data=False,
                      dynamic_shapes={"x": {0: free, 1: free}, "mask": {0: free, 1: free}})
    session = runtime.InferenceSession(str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    _, x, mask = bags_of("noisy_flips", 2, 9, seed=1)
    mask[1, 7:] = False
    x = x * mask[..., None]
    answers = session.run(None, {"x": x.numpy(), "mask": mask.numpy()})
    for answer, ours in zip(answers, Aligner()(x, mask), strict=True):
        np.testing.assert_allclose(answer, ours, atol=1e-3)


@pytest.fixture(scope="module")
def fiji(real_symae: Path) -> tuple[torch.Tensor, np.ndarray]:
    """The real Fiji event at 0.45 s, (1, 163, 192), and its MCCC picks, seconds after the theoretical P."""
    traces, picks = [], []
    with h5py.File(real_symae / "real_events_P_10Hz.h5") as file:
        for pixel in file["20110915_193104_fij"].values():
            for station in pixel.values():
                traces.append(station[:])
                picks.append(station.attrs["t3_mccc"] - station.attrs["t0"])
    x = resample(np.stack(traces) * tukey(864, 0.1), 192, axis=1)
    x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    return torch.from_numpy(x.astype(np.float32))[None], np.array(picks)


def off(found: Aligned, picks: np.ndarray) -> np.ndarray:
    away = found.shift_s[0].numpy() - picks
    return np.abs(away - away.mean())


def test_a_real_event_is_aligned_as_analysts_aligned_it(fiji: tuple[torch.Tensor, np.ndarray]) -> None:
    x, picks = fiji
    mask = torch.ones(1, len(picks), dtype=torch.bool)
    plain = iccs(x, mask, dt=0.45, polarity=False)
    assert np.median(off(plain, picks)) < 0.035
    assert np.quantile(off(plain, picks), 0.95) < 0.09
    assert float(plain.correlation.median()) > 0.9
    turned = iccs(x, mask, dt=0.45)
    assert np.median(off(turned, picks)) < 0.06
    assert int((turned.flip < 0).sum()) <= 2


def test_all_pairs_agree_with_the_analysts_too(fiji: tuple[torch.Tensor, np.ndarray]) -> None:
    x, picks = fiji
    mask = torch.ones(1, len(picks), dtype=torch.bool)
    found = mccc(x, mask, dt=0.45, start=iccs(x, mask, dt=0.45, polarity=False))
    away = found.shift_s[0].numpy() - picks
    assert np.median(np.abs(away - away.mean())) < 0.035
    assert 0.01 < float(found.rms_s.median()) < 0.3
