"""How fast the networks of the geomag pipeline train, beside the plain way, taken in turns in one run."""

from __future__ import annotations

import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from groundswell.core.recipe import build_recipe
from groundswell.core.seeds import derive_seed
from groundswell.data.loader import Loader
from groundswell.data.order import Order
from groundswell.pipelines.geomag.layout import CLASSES, Layout, WindowWriter, read_layout
from groundswell.pipelines.geomag.models.base import classifier_class
from groundswell.pipelines.geomag.recipe import GeomagRecipe
from groundswell.pipelines.geomag.source import GeomagSource
from groundswell.pipelines.geomag.task import GeomagTask
from groundswell.train.executors import run_tasks
from groundswell.train.fit import fit, load_best
from groundswell.train.setup import Setup

Rows = list[dict[str, Any]]
COUNTS, FOLDS, EPOCHS, TURNS = (1661, 999), 5, 10, 2
"""The seed's numbers of windows of seven days and of folds; epochs and turns are what a benchmark has time for."""


def _row(what: str, value: Any, target: str = "", reached: bool | None = None) -> dict[str, Any]:
    return {"what": what, "value": value, "target": target, "reached": reached}


# -- five folds of an MLP ---------------------------------------------------------------------------------------------


def _windows(work: Path) -> Layout:
    """Windows of noise (simulated) about a field of 17,000 nT, in which class 1 has more of one daily wave."""
    root = work / "geomag-mlp"
    if not (root / "window-7").exists():
        rng, wave = np.random.default_rng(0), np.sin(np.arange(7 * 1440) * 2 * np.pi / 1440)
        with WindowWriter(root, 7, COUNTS) as writer:
            for label, count in enumerate(COUNTS):
                for row in range(count):
                    noise = rng.standard_normal(7 * 1440, dtype=np.float32)
                    writer.put(label, row, 17_000 + 20 * noise + rng.normal(6.0 * label, 3.0) * wave)
            writer.finish(None, {"simulated": True})
    return read_layout(root, 7)


def _recipe() -> GeomagRecipe:
    # Two processes of one thread each; a fit this short begins anew if it is killed, so it writes no checkpoints.
    return build_recipe(GeomagRecipe, {"model": {"type": "mlp"}, "loader": {"threads": 1}, "train": {
        "epochs": EPOCHS, "threads": 1, "use_class_weights": False, "early_stopping_patience": 0, "monitor": "val_loss",
        "checkpoint_epochs": 0, "tensorboard": False, "accelerator": "cpu", "scheduler": "none"}})


def _parts(layout: Layout, fold: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    labels = layout.labels()
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=42).split(labels, labels))
    return folds[fold][0].astype(np.int64), folds[fold][1].astype(np.int64)


def _task(recipe: GeomagRecipe, layout: Layout, rows: NDArray[np.int64]) -> GeomagTask:
    torch.manual_seed(1)
    task = GeomagTask(recipe, classes=CLASSES)
    task.preprocess.fit(layout.read, rows)
    return task


@dataclass(frozen=True)
class _Fold:
    work: Path
    fold: int

    def __call__(self, rank: int, world: int, device: torch.device) -> Setup:
        layout, recipe = read_layout(self.work / "geomag-mlp", 7, values=False), _recipe()
        train, validation = _parts(layout, self.fold)

        def loader(order: Order) -> Loader:
            return Loader(GeomagSource(layout.files), order, {"label": layout.labels()}, threads=1)

        batch, seed = recipe.train.batch_size, recipe.train.seed
        return Setup(_task(recipe, layout, train), loader(Order(train, batch, seed)),
                     loader(Order(validation, batch, seed, shuffle=False)))


def _fit_fold(work: Path, fold: int, out: Path) -> Path:
    fit(_Fold(work, fold), _recipe().train, out, quiet=True)
    return out


def _ours(work: Path, layout: Layout, out: Path) -> list[Tensor]:
    """Five folds, two at a time; logits of the best weights on each fold's validation windows."""
    shutil.rmtree(out, ignore_errors=True)
    folders = run_tasks({f"fold {k}": (_fit_fold, (work, k, out / str(k))) for k in range(FOLDS)}, engine="loky",
                        workers=2)
    answers = []
    for k, folder in enumerate(folders.values()):
        validation = _parts(layout, k)[1]
        task = GeomagTask(_recipe(), classes=CLASSES)
        load_best(task, folder)
        with torch.no_grad():
            answers.append(task.eval().logits(torch.from_numpy(layout.read(validation))))
    return answers


def _plain(layout: Layout) -> list[Tensor]:
    """The usual loop, one fold after another: everything scaled in memory, a DataLoader, AdamW as it comes.

    It begins with the same weights and sees the same batches under the same dropout.
    """
    x, y = layout.read(np.arange(sum(COUNTS))), torch.from_numpy(layout.labels())
    train_recipe, answers = _recipe().train, []
    for fold in range(FOLDS):
        rows, validation = _parts(layout, fold)
        network = _task(_recipe(), layout, rows[:2]).network
        mean, deviation = (f(x[rows], 0, dtype=np.float64).astype(np.float32) for f in (np.mean, np.std))
        scaled = torch.from_numpy((x - mean) / deviation)
        data = TensorDataset(scaled, y)
        optimiser = torch.optim.AdamW(network.parameters(), lr=train_recipe.learning_rate,
                                      weight_decay=train_recipe.weight_decay)
        order, best, answer = Order(rows, train_recipe.batch_size, train_recipe.seed), float("inf"), torch.empty(0)
        for epoch in range(EPOCHS):
            places, weight = order.epoch(epoch)
            batches = [row[kept > 0].tolist() for row, kept in zip(places, weight, strict=True)]
            network.train()
            for index, (xb, yb) in enumerate(DataLoader(data, batch_sampler=batches)):
                torch.manual_seed(derive_seed(train_recipe.seed, "batch", epoch, index, 0))
                optimiser.zero_grad()
                loss = nn.functional.cross_entropy(network(xb), yb)
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), train_recipe.clip_norm)
                optimiser.step()
            network.eval()
            with torch.no_grad():
                logits = torch.cat([network(xb) for xb, _ in DataLoader(data, 32, sampler=validation.tolist())])
            loss = float(nn.functional.cross_entropy(logits, y[validation]))
            if loss < best:
                best, answer = loss, logits
        answers.append(answer)
    return answers


def mlp(work: Path) -> Rows:
    """Five-fold MLP at the seed's sizes: ours against the plain loop (simulated windows)."""
    layout = _windows(work)
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    answers: dict[str, list[Tensor]] = {}
    for _ in range(TURNS):
        for name in seconds:
            started = time.perf_counter()
            answers[name] = _plain(layout) if name == "plain" else _ours(work, layout, work / "geomag-mlp-fits")
            seconds[name].append(time.perf_counter() - started)
    ratio = statistics.median(seconds["plain"]) / statistics.median(seconds["ours"])
    apart = [float((torch.softmax(a, 1) - torch.softmax(b, 1)).abs().max())
             for a, b in zip(answers["plain"], answers["ours"], strict=True)]
    truth = [torch.from_numpy(layout.labels()[_parts(layout, k)[1]]) for k in range(FOLDS)]
    losses = {name: [float(nn.functional.cross_entropy(a, t)) for a, t in zip(found, truth, strict=True)]
              for name, found in answers.items()}
    loss_apart = max(abs(a - b) for a, b in zip(*losses.values(), strict=True))
    shown = {name: " ".join(f"{value:.1f}" for value in found) for name, found in seconds.items()}
    return [_row("plain loop, two threads", f"{shown['plain']} s for {FOLDS} folds of {EPOCHS} epochs"),
            _row("ours, two processes", f"{shown['ours']} s, their start included"),
            _row("ratio", f"{ratio:.2f}", "at least 3", ratio >= 3),
            _row("losses of the folds", " ".join(f"{value:.4f}" for value in losses["ours"])),
            _row("largest difference of a fold's loss", f"{loss_apart:.1e}", "at most 0.01", loss_apart <= 0.01),
            _row("largest difference of a probability", f"{max(apart):.1e}")]


# -- recurrent networks in bfloat16 ------------------------------------------------------------------------------------


SIZES = ((32, 7), (64, 7), (32, 30), (64, 30))
"""Windows in a batch, days in a window."""


def _planted(count: int, days: int, seed: int) -> tuple[Tensor, Tensor]:
    """Scaled windows of noise (simulated), in which class 1 has a wave of a twelfth of the size of the noise."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 2, (count,), generator=generator)
    wave = torch.sin(torch.arange(1440) * 2 * torch.pi / 1440) / 12
    return torch.randn(count, days, 1440, generator=generator) + label[:, None, None] * wave, label


def _step(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, label: Tensor, low: bool) -> float:
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        logits = network(x)
    nn.functional.cross_entropy(logits.float(), label).backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad()
    return time.perf_counter() - started


def _made(family: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = classifier_class(family)(1440)
    return network, torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.01, fused=True)


def _agreement(family: str) -> tuple[dict[str, float], dict[str, float]]:
    """Loss and accuracy on 512 windows after 60 steps, by precision, from the same weights and batches."""
    x, label = _planted(640, 7, 1)
    test, truth = _planted(512, 7, 2)
    loss, accuracy = {}, {}
    for name in ("32", "bf16"):
        network, optimiser = _made(family)
        for step in range(60):
            rows = torch.arange(32) + 32 * step % 640
            torch.manual_seed(step)
            _step(network, optimiser, x[rows], label[rows], name == "bf16")
        network.eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=name == "bf16"):
            logits = network(test).float()
        loss[name] = float(nn.functional.cross_entropy(logits, truth))
        accuracy[name] = float((logits.argmax(1) == truth).double().mean())
    return loss, accuracy


def bf16(work: Path) -> Rows:
    """Training steps of the recurrent families at the seed's sizes: bfloat16 against float32 (simulated windows)."""
    rows = []
    for family in ("gru", "lstm", "rnn"):
        for batch, days in SIZES:
            x, label = _planted(batch, days, 0)
            made = {low: _made(family) for low in (False, True)}
            seconds: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(10):
                for low in seconds:
                    seconds[low].append(_step(*made[low], x, label, low))
            full, half = (1e3 * statistics.median(found[2:]) for found in seconds.values())
            rows.append(_row(f"{family}, {batch} windows of {days} days", f"{full:.1f} ms against {half:.1f} ms: "
                             f"{full / half:.2f} times", "at least 1.5", full / half >= 1.5))
        loss, accuracy = _agreement(family)
        near = abs(loss["32"] - loss["bf16"]) <= 0.05 and abs(accuracy["32"] - accuracy["bf16"]) <= 0.03
        rows.append(_row(f"{family}, on new windows after 60 steps, float32 and bfloat16",
                         f"loss {loss['32']:.4f} and {loss['bf16']:.4f}, accuracy {accuracy['32']:.3f} and "
                         f"{accuracy['bf16']:.3f}", "within 0.05 and 0.03", near))
    return rows
