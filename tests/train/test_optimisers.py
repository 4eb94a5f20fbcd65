"""SGD beside AdamW, a warm-up, and the epoch that a task is told of: all of them the same when a fit is resumed."""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass

import pytest
from toy import ToySetup, ToyTask, make_recipe, results

from groundswell.train.checkpoint import read_checkpoint
from groundswell.train.fit import fit
from groundswell.train.schedule import Schedule

BATCHES = 8  # of 8 samples, of 61
TOLD: list[int] = []


class Told(ToyTask):
    def epoch(self, number: int) -> None:
        TOLD.append(number)


@dataclass(frozen=True)
class ToldSetup(ToySetup):
    def __call__(self, rank, world, device):
        setup = super().__call__(rank, world, device)
        setup.task.__class__ = Told
        return setup


def test_the_rate_rises_in_a_line_and_then_follows_its_schedule(tmp_path) -> None:
    recipe = make_recipe(epochs=4, warmup_epochs=2.0, learning_rate=1e-2, scheduler="none")
    fit(ToySetup(recipe), recipe, tmp_path, quiet=True)
    with open(tmp_path / "logs" / "steps.csv") as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    assert rates == pytest.approx([1e-2 * min(1, (step + 1) / 16) for step in range(4 * BATCHES)])


def test_without_warm_up_nothing_changes() -> None:
    recipe = make_recipe(epochs=4, learning_rate=1e-2, scheduler="cosine")
    assert Schedule(recipe, 32).rate(0) == 1e-2


def test_sgd_decays_weights_and_not_biases_and_resumes_to_the_same_bytes(tmp_path) -> None:
    recipe = make_recipe(epochs=3, optimiser="sgd", learning_rate=1e-2, warmup_epochs=1.5, weight_decay=5e-4,
                         checkpoint_every_steps=1, keep=50)
    fit(ToySetup(recipe), recipe, tmp_path / "whole", quiet=True)
    whole = results(tmp_path / "whole")
    last = read_checkpoint(sorted((tmp_path / "whole" / "checkpoints").glob("step-*.ckpt"))[-1])
    assert sorted(group["weight_decay"] for group in last["optimiser"]["param_groups"]) == [0.0, 5e-4]
    assert all(group["nesterov"] for group in last["optimiser"]["param_groups"])
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    checkpoint = next(path for path in (tmp_path / "again" / "checkpoints").glob("step-*.ckpt")
                      if int(path.name.split("-")[1].removesuffix(".ckpt")) == BATCHES + 3)
    fit(ToySetup(recipe), recipe, tmp_path / "again", resume=checkpoint, quiet=True)
    assert results(tmp_path / "again") == whole


def test_a_task_is_told_the_epoch_also_when_resumed(tmp_path) -> None:
    recipe = make_recipe(epochs=3, checkpoint_every_steps=1, keep=50)
    TOLD.clear()
    fit(ToldSetup(recipe), recipe, tmp_path / "fit", quiet=True)
    assert TOLD == [0, 0, 1, 2]
    checkpoint = next(path for path in (tmp_path / "fit" / "checkpoints").glob("step-*.ckpt")
                      if int(path.name.split("-")[1].removesuffix(".ckpt")) == BATCHES + 3)
    TOLD.clear()
    fit(ToldSetup(recipe), recipe, tmp_path / "fit", resume=checkpoint, quiet=True)
    assert TOLD == [0, 1, 2]
