"""What the improved SymAE finds of sources, shifts and paths in simulated bags, beside stacks, in the rows from easy to
hard: trained by the house's own loop from several seeds, judged on events that no training saw."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.geomag import Rows, row
from groundswell.core.recipe import load_recipe, shipped_recipe
from groundswell.pipelines.symae.alignment.fourier import shift_traces
from groundswell.pipelines.symae.alignment.iccs import iccs
from groundswell.pipelines.symae.alignment.stacks import windowed_stack
from groundswell.pipelines.symae.alignment.transfer import spectral_ratio_transfer
from groundswell.pipelines.symae.extraction import extract
from groundswell.pipelines.symae.recipe import SymaeRecipe
from groundswell.pipelines.symae.scoring import best_lag_correlation, nmse_best_lag, shift_error
from groundswell.pipelines.symae.simulate.bags import simulate_bags
from groundswell.pipelines.symae.simulate.simulating import simulate_store
from groundswell.pipelines.symae.simulate.worlds import ROWS
from groundswell.pipelines.symae.source_task import SourceTask, standard
from groundswell.pipelines.workflow import load_task, start_run, train_run

SEEDS, EVENTS, TRAINED_ON = 3, 60, 2000
HARD = ("hard", "loud")
OUTSIDE = ("narrow", "wide", "long")
DT, LAG = 0.5, 40
Scores = dict[str, NDArray[np.float64]]
"""Of each event, by name, shape (events,)."""


def rows(work: Path) -> Rows:
    """Correlation, shift error, redatuming, coverage and what codes hold, medians of 60 events and three trainings."""
    torch.set_num_threads(max(1, torch.get_num_threads()))
    tasks, spent = [], []
    for seed in range(SEEDS):
        task, seconds = trained(work, seed)
        tasks.append(task)
        spent.append(seconds)
    found = [row("training, each", ", ".join(f"{s:.0f} s" for s in spent), "at most 30 min", max(spent) <= 1800)]
    for traces in (20, 4):
        for world in (*ROWS, *(("hard_flips", "loud_flips", *OUTSIDE) if traces == 20 else ())):
            found += _world_rows(world, traces, [scored(task, world, traces) for task in tasks])
    found += [_unrecoverable(tasks[0])]
    return found


def reference(work: Path) -> Rows:
    """The reference model's row: trained for a fourteenth of its full recipe, beside the stacks on the same events."""
    stages = "[{epochs: 6, learning_rate: 1e-3}, {epochs: 6, learning_rate: 1e-4}, {epochs: 12, learning_rate: 1e-5}]"
    task, seconds = trained(work, 0, ["model.type=reference", "train.scheduler=stages", f"train.stages={stages}",
                                      "train.epochs=24", "train.precision=bf16", "train.weight_decay=0",
                                      "train.clip_norm=0"], "reference")
    found = [row("training", f"{seconds:.0f} s for about {24 * 58:,} steps; the full recipe has 20,000")]
    for traces in (20, 4):
        for world in ROWS:
            bags = simulate_bags(world, EVENTS, traces, generator=np.random.default_rng(4242))
            x, mask = torch.from_numpy(bags.x), torch.ones(EVENTS, traces, dtype=torch.bool)
            with torch.inference_mode():
                made = task.predict({"x": x, "mask": mask})
                stacked = iccs(x, mask, dt=DT, polarity=False)
            source, shift = torch.from_numpy(bags.source), torch.from_numpy(bags.shift_s)
            ours, theirs = (float(best_lag_correlation(wave, source, LAG).correlation.median())
                            for wave in (made["source"], stacked.stack))
            off, iccs_off = (float(shift_error(value, shift, mask).median()) / DT
                             for value in (made["shift_s"], stacked.shift_s))
            found.append(row(f"{world}, {traces} traces", f"correlation {ours:.3f}, ICCS {theirs:.3f}; shift error "
                             f"{off:.2f} samples, ICCS {iccs_off:.2f}", "reported, whatever it is"))
    return found


def trained(work: Path, seed: int, sets: Sequence[str] = (), name: str = "source") -> tuple[SourceTask, float]:
    """A task trained on a simulated store of the prior, and how long the training took."""
    folder = work / f"symae-{name}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    store = simulate_store(folder / "store", seed=1000 + seed, events=TRAINED_ON, pixels=(1, 1), traces=(20, 20),
                           worlds=(), directivity=0.0)
    recipe = load_recipe(SymaeRecipe, shipped_recipe("groundswell.pipelines.symae", "source"), [
        f"data.store={store.path.resolve()}", f"train.seed={seed}", f"split.seed={seed}", "split.test=0.02",
        "split.validation=0.05", "train.tensorboard=false", *sets])
    started = time.perf_counter()
    run = start_run("symae", recipe, folder / "run")
    train_run(run)
    seconds = time.perf_counter() - started
    task = cast(SourceTask, load_task(run.path, "symae", 0)[2].eval())
    shutil.rmtree(folder)
    return task, seconds


@torch.inference_mode()
def scored(task: SourceTask, world: str, traces: int) -> Scores:
    """What a task, and the stacks, score on each of the held-out events of a world."""
    bags = simulate_bags(world, EVENTS, traces, generator=np.random.default_rng(4242))
    x, mask = torch.from_numpy(bags.x), torch.ones(EVENTS, traces, dtype=torch.bool)
    source, shift = torch.from_numpy(bags.source), torch.from_numpy(bags.shift_s)
    flipped = "flips" in world
    # Where all polarities agree the stack that does not look for them is the stronger rival.
    stacked = iccs(x, mask, dt=DT, polarity=flipped)
    windowed = windowed_stack(stacked.stack, dt=DT)
    found = extract(task, x, mask)
    codes = task.path(found.aligned, mask, found.source).code

    def correlation(wave: Tensor) -> NDArray[np.float64]:
        return np.asarray(best_lag_correlation(wave, source, LAG).correlation.numpy(), np.float64)

    best = best_lag_correlation(found.source, source, LAG)
    true = shift_traces(source, best.lag) * best.sign[:, None]
    other = torch.roll(source, 1, 0)
    paths = convolved(other[:, None], torch.from_numpy(bags.path))
    # The best water level for each world is chosen with the truth: the rival is given the benefit.
    rival = min((_nmse(spectral_ratio_transfer(stacked.x, standard(windowed)[:, None],
                                               torch.roll(standard(windowed), 1, 0)[:, None], water_level=level), paths)
                 for level in (0.03, 0.1, 0.3)), key=lambda error: float(np.median(error)))
    half = traces // 2
    return {
        "model": correlation(found.source), "ICCS": correlation(stacked.stack), "windowed": correlation(windowed),
        "shift": shift_error(found.shift_s, shift, mask).numpy(),
        "ICCS shift": shift_error(stacked.shift_s, shift, mask).numpy(),
        "covered": ((true - found.source).abs() < 1.645 * found.spread).double().mean(1).numpy(),
        "redatum": _nmse(task.path.decode(torch.roll(found.source, 1, 0), codes), paths), "spectral ratio": rival,
        "probe": np.full(EVENTS, event_probe(codes[:, :half], codes[:, half:])),
        "shift in code": np.full(EVENTS, shift_r2(found.source, shift)),
        "split half": _halves(task, x, mask),
    }


def convolved(source: Tensor, path: Tensor) -> Tensor:
    """Source (b, 1, n) on paths (b, t, n)."""
    n = source.shape[-1]
    made = np.fft.irfft(np.fft.rfft(source.numpy(), 2 * n) * np.fft.rfft(path.numpy(), 2 * n), 2 * n)[..., :n]
    return torch.from_numpy(made.astype(np.float32))


def _nmse(made: Tensor, true: Tensor) -> NDArray[np.float64]:
    error: Tensor = nmse_best_lag(standard(made), standard(true), 20, sign=True)
    return np.asarray(100 * error.median(1).values.numpy(), np.float64)


def event_probe(taught: Tensor, tested: Tensor) -> float:
    """How many times chance a linear probe names the event of a trace from its nuisance code (b, t, q)."""
    events, spread = len(taught), taught.reshape(-1, taught.shape[-1]).std(0).clamp_min(1e-9)

    def design(codes: Tensor) -> Tensor:
        flat = (codes / spread).reshape(-1, codes.shape[-1]).double()
        return torch.cat([flat, torch.ones(len(flat), 1, dtype=torch.float64)], 1)

    known = torch.arange(events).repeat_interleave(taught.shape[1])
    a = design(taught)
    weights = torch.linalg.solve(a.T @ a + 10 * torch.eye(a.shape[1], dtype=torch.float64),
                                 a.T @ torch.nn.functional.one_hot(known, events).double())
    right = (design(tested) @ weights).argmax(1) == torch.arange(events).repeat_interleave(tested.shape[1])
    return events * float(right.double().mean())


def shift_r2(source: Tensor, shift: Tensor) -> float:
    """R2, left-one-event-out, of the spread of a bag's shifts from its source by ridge regression on 10 components.

    One source serves all traces of a bag, so it can tell something of the shifts' size at most.
    """
    waves = (source - source.mean(0)).double()
    parts = torch.linalg.svd(waves, full_matrices=False)
    features = parts.U[:, :10] * parts.S[:10]
    a = torch.cat([features, torch.ones(len(features), 1, dtype=torch.float64)], 1)
    y = shift.double().std(1)
    hat = a @ torch.linalg.solve(a.T @ a + torch.eye(a.shape[1], dtype=torch.float64), a.T)
    left_out = (y - hat @ y) / (1 - hat.diagonal())
    return max(0.0, 1 - float(left_out.square().sum() / (y - y.mean()).square().sum()))


def _halves(task: SourceTask, x: Tensor, mask: Tensor) -> NDArray[np.float64]:
    if x.shape[1] < 8:
        return np.full(len(x), np.nan)
    one, other = (extract(task, x[:, k::2], mask[:, k::2]).source for k in (0, 1))
    return np.asarray(best_lag_correlation(one, other, LAG).correlation.numpy(), np.float64)


def _world_rows(world: str, traces: int, scores: Sequence[Scores]) -> Rows:
    name, outside = f"{world}, {traces} traces", world in OUTSIDE
    mean: Scores = {key: np.mean([s[key] for s in scores], 0) for key in scores[0]}
    middle = {key: float(np.median(value)) for key, value in mean.items()}
    seeds = [float(np.median(s["model"])) for s in scores]
    over, over_windowed = middle["model"] - middle["ICCS"], middle["model"] - middle["windowed"]
    low, high = _interval(mean["model"], mean["ICCS"])
    low_w, high_w = _interval(mean["model"], mean["windowed"])
    hard = world.removesuffix("_flips") in HARD
    target: str
    reached: bool | None
    if outside:
        target, reached = "outside what training met: reported", None
    elif "flips" in world:
        target, reached = "above ICCS", over > 0
    elif traces == 4:
        target, reached = ("at least windowed + 0.05", over_windowed >= 0.05) if hard else ("", None)
    elif hard:
        target, reached = "at least ICCS + 0.05 and windowed + 0.02", over >= 0.05 and over_windowed >= 0.02
    else:
        target, reached = "no more than 0.01 below ICCS", over >= -0.01
    found = [row(f"{name}: correlation",
                 f"{middle['model']:.3f} (seeds {', '.join(f'{s:.3f}' for s in seeds)}); ICCS {middle['ICCS']:.3f}, "
                 f"windowed {middle['windowed']:.3f}; over ICCS {over:+.3f} [{low:+.3f}, {high:+.3f}], over windowed "
                 f"{over_windowed:+.3f} [{low_w:+.3f}, {high_w:+.3f}]", target, reached)]
    ratio = middle["shift"] / middle["ICCS shift"]
    found.append(row(f"{name}: shift error", f"{middle['shift'] / DT:.2f} samples, ICCS "
                     f"{middle['ICCS shift'] / DT:.2f}: {ratio:.2f} times",
                     *(("at most 0.85 times", ratio <= 0.85) if hard and traces == 20 and "flips" not in world
                       else ("",))))
    found.append(row(f"{name}: redatuming error", f"{middle['redatum']:.0f} %, spectral ratio "
                     f"{middle['spectral ratio']:.0f} %",
                     *(("below the spectral ratio", middle["redatum"] < middle["spectral ratio"])
                       if not outside else ("",))))
    covered = float(np.mean(mean["covered"]))
    found.append(row(f"{name}: 90 % band covers", f"{100 * covered:.1f} %",
                     *(("80 to 97 %", 0.80 <= covered <= 0.97) if not outside else ("",))))
    if traces == 20 and not outside:
        found.append(row(f"{name}: what codes hold", f"event from the nuisance code {middle['probe']:.2f} times "
                         f"chance; R2 of the shifts from the coherent code {middle['shift in code']:.3f}; split-half "
                         f"correlation {middle['split half']:.3f}", "at most 2 times, at most 0.05",
                         middle["probe"] <= 2 and middle["shift in code"] <= 0.05))
    return found


def _interval(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the difference of medians, events drawn anew."""
    draws = np.random.default_rng(0).integers(0, len(ours), (2000, len(ours)))
    low, high = np.quantile(np.median(ours[draws], 1) - np.median(theirs[draws], 1), [0.025, 0.975])
    return float(low), float(high)


@torch.inference_mode()
def _unrecoverable(task: SourceTask) -> dict[str, Any]:
    bags = simulate_bags("shared", EVENTS, 20, generator=np.random.default_rng(4242))
    mask = torch.ones(EVENTS, 20, dtype=torch.bool)
    found = extract(task, torch.from_numpy(bags.x), mask).source
    true, seen = (float(best_lag_correlation(found, torch.from_numpy(wave), LAG).correlation.median())
                  for wave in (bags.source, bags.seen))
    return row("paths with a part in common, 20 traces", f"{true:.3f} with the true source, {seen:.3f} with the source "
               "and the shared part: not recoverable", "reported as such")
