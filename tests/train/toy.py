"""A task that trains in milliseconds and yet has everything that makes resuming hard: dropout, running statistics,
augmentation, a generator of another library, a part whose size no batch divides."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from groundswell.data.arrays import ArraySource
from groundswell.data.loader import Loader
from groundswell.data.order import Order
from groundswell.train.recipe import TrainRecipe
from groundswell.train.setup import Setup
from groundswell.train.task import Task


def make_recipe(**changes: Any) -> TrainRecipe:
    values: dict[str, Any] = {"epochs": 3, "batch_size": 8, "learning_rate": 0.01, "accelerator": "cpu", "threads": 1,
                              "tensorboard": False, "monitor": "val_accuracy"}
    return TrainRecipe(**{**values, **changes})


def make_data(samples: int, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    label = random.integers(0, 2, samples)
    x = random.normal(size=(samples, 12)).astype(np.float32)
    x[:, :4] += 1.5 * label[:, None]
    return {"x": x, "label": label}


class ToyTask(Task):
    """A perceptron with batch normalisation and dropout.

    Args:
        plain: without chance and without statistics of the batch, for comparisons of one way to train with another.
        slow_s: pause in each training batch, so that there is time to send a signal; ``slow_validation_s`` likewise.
        poison: row at which the loss becomes NaN, in training.
    """

    def __init__(self, plain: bool = False, slow_s: float = 0.0, slow_validation_s: float = 0.0,
                 poison: int = -1) -> None:
        super().__init__()
        self.slow_s, self.slow_validation_s, self.poison, self.plain = slow_s, slow_validation_s, poison, plain
        middle: list[nn.Module] = [nn.ReLU()] if plain else [nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3)]
        self.network = nn.Sequential(nn.Linear(12, 16), *middle, nn.Linear(16, 2))

    def forward(self, batch, generator=None):
        x = batch["x"]
        time.sleep(self.slow_s if self.training else self.slow_validation_s)
        if generator is not None and not self.plain:
            x = x + 0.1 * torch.randn(x.shape, generator=generator, device=x.device)
            x = x * (1 + 0.01 * np.random.rand())  # noqa: NPY002
        weight = batch["weight"]
        logits = self.network(x).float()
        each = functional.cross_entropy(logits, batch["label"], reduction="none")
        if self.training and self.poison >= 0:
            each = torch.where(batch["row"] == self.poison, torch.nan, each)
        total = weight.sum()
        loss = (each * weight).sum() / total.clamp(min=1)
        right = ((logits.argmax(1) == batch["label"]) * weight).sum()
        return loss, {"loss": (each * weight).sum().double(), "right": right.double(), "count": total.double()}

    def predict(self, batch):
        return {"probability": self.network(batch["x"]).softmax(1)}

    def metrics(self, sums):
        count = float(sums["count"])
        return {"loss": float(sums["loss"]) / count, "accuracy": float(sums["right"]) / count}


@dataclass(frozen=True)
class ToySetup:
    """Picklable, as fit wants it."""

    recipe: TrainRecipe
    samples: int = 61
    options: tuple[tuple[str, Any], ...] = ()
    skip_single: bool = False
    kill_at: int = 0
    """Kill -9 this process at its so-many-th call of fsync, replace, unlink or an optimiser's step; 0 never."""

    def __call__(self, rank, world, device):
        task = ToyTask(**dict(self.options))
        parts = []
        for samples, seed, shuffle in ((self.samples, 1, True), (33, 2, False)):
            data = make_data(samples, seed)
            order = Order(np.arange(samples), self.recipe.batch_size, self.recipe.seed, shuffle, rank=rank, world=world,
                          skip_single=self.skip_single and shuffle)
            parts.append(Loader(ArraySource({"x": data["x"]}), order, {"label": data["label"]}, device=device,
                                threads=1))
        if self.kill_at:
            die_at(self.kill_at)
        return Setup(task, *parts)


def die_at(moment: int) -> None:
    """Count what touches the disk or the weights; die just before the ``moment``-th."""
    left = [moment]

    def mortal(function):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return call

    os.fsync, os.replace, os.unlink = mortal(os.fsync), mortal(os.replace), mortal(os.unlink)
    torch.optim.AdamW.step = mortal(torch.optim.AdamW.step)


def results(folder: Path) -> dict[str, bytes]:
    """What must not depend on interruptions: logs, best weights, the last checkpoint."""
    names = ["logs/epochs.csv", "logs/steps.csv", "weights/best.safetensors"]
    last = sorted((folder / "checkpoints").glob("step-*.ckpt"))[-1]
    return {name: (folder / name).read_bytes() for name in names} | {last.name: last.read_bytes()}
