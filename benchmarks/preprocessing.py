"""What happens between the reader and the network: on the device a batch at a time, beside numpy by sample."""

from __future__ import annotations

import random
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

BATCH, SAMPLES, CHANNELS, MARGIN = 16, 1024, 1000, 50
ROUNDS = 15
COMPILE_S = 150


def _by_sample(windows: NDArray[Any], state: np.random.Generator) -> NDArray[np.float32]:
    """The usual chain, one sample after another: shift, z-score of each channel, noise, amplitude, then a stack."""
    made = []
    for window in windows:
        shift = int(state.integers(-MARGIN, MARGIN + 1)) if state.random() < 0.5 else 0
        x = window[MARGIN + shift:MARGIN + shift + SAMPLES].astype(np.float32)
        x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-8)
        if state.random() < 0.5:
            x = x + 0.05 * state.standard_normal(x.shape)
        if state.random() < 0.5:
            x = x * state.uniform(0.9, 1.1)
        made.append(np.asarray(x.T, np.float32))
    return np.stack(made)


def preprocessing(work: Path) -> list[dict[str, Any]]:
    """The seed's chain (z-score, shift, noise, amplitude) over 16 windows of 1024 × 1000, two threads."""
    from groundswell.pipelines.das.augment import augment, draw_starts
    from groundswell.pipelines.das.preprocess import Preprocess, crop
    from groundswell.pipelines.das.recipe import AugmentRecipe, PreprocessRecipe

    torch.set_num_threads(2)
    state, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    counts = state.normal(0, 60, (BATCH, SAMPLES + 2 * MARGIN, CHANNELS)).astype(np.int16)
    batch = torch.from_numpy(counts)
    prepare, recipe = Preprocess(PreprocessRecipe(), 250.0, SAMPLES), AugmentRecipe()
    first_b, last_b = torch.zeros(BATCH, dtype=torch.int64), torch.full((BATCH,), SAMPLES + 2 * MARGIN)
    source, target = np.ones((BATCH, SAMPLES, CHANNELS), np.float32), np.ones((BATCH, SAMPLES, CHANNELS), np.float32)

    def chain(preparing: Callable[..., Any], augmenting: Callable[..., Any]) -> None:
        start_b = draw_starts(recipe, first_b, last_b, MARGIN, SAMPLES, generator)
        augmenting(recipe, preparing(crop(batch, SAMPLES, start_b)), generator, in_place=True)

    ways: dict[str, Callable[[], object]] = {
        "memory copy": lambda: np.copyto(target, source),
        "numpy, by sample": lambda: _by_sample(counts, state),
        "ours": lambda: chain(prepare, augment),
    }
    compiled, seconds = _compiled(prepare)
    if compiled is not None:
        ways["ours, compiled"] = lambda: chain(compiled, augment)
    rounds: dict[str, list[float]] = {name: [] for name in ways}
    turns = random.Random(0)
    with torch.inference_mode():
        for turn in range(ROUNDS + 1):
            for name in turns.sample(list(ways), len(ways)):
                started = time.perf_counter()
                ways[name]()
                if turn:
                    rounds[name].append(1000 * (time.perf_counter() - started))
    took = {name: float(np.median(found)) for name, found in rounds.items()}
    rows: list[dict[str, Any]] = [
        {"what": name, "value": f"{ms:.0f} ms a batch, {ms / took['memory copy']:.1f} times a memory copy"}
        for name, ms in took.items()]
    gain = took["numpy, by sample"] / took["ours"]
    rows.append({"what": "× numpy, by sample", "value": round(gain, 2), "target": "more than 1", "reached": gain > 1})
    if compiled is not None:
        rows.append({"what": "compiling", "value": f"{took['ours'] / took['ours, compiled']:.2f} times as fast on this "
                                                   f"machine, after {seconds:.0f} s of compiling"})
    return rows


def _compiled(prepare: torch.nn.Module) -> tuple[Callable[..., Any] | None, float]:
    """The preparation compiled, and how long that took; ``None`` where it cannot be done."""
    started = time.perf_counter()

    def too_long(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it takes more than {COMPILE_S} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(COMPILE_S)
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            compiled = torch.compile(prepare)
            compiled(torch.zeros(BATCH, SAMPLES, CHANNELS, dtype=torch.int16))
        return compiled, time.perf_counter() - started
    except Exception as error:  # no C compiler, or no patience; the benchmark goes on without
        print(f"   not compiled: {type(error).__name__}: {str(error).splitlines()[0][:100]}")
        return None, 0.0
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
