"""Training in stages: a rate that falls within each, a new optimiser at the beginning of each."""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from toy import ToySetup, ToyTask, make_recipe, results

from groundswell.train.checkpoint import read_checkpoint
from groundswell.train.fit import fit
from groundswell.train.recipe import Stage
from groundswell.train.schedule import Schedule

STAGES = (Stage(epochs=2, learning_rate=1e-2, decay=0.5), Stage(epochs=1, learning_rate=2e-3),
          Stage(epochs=2, learning_rate=1e-3, decay=0.9))
RECIPE = make_recipe(scheduler="stages", stages=STAGES, epochs=5)
BATCHES = 8  # of 8 samples, of 61
STAGED: list[int] = []


class Noting(ToyTask):
    def stage(self, number: int) -> None:
        STAGED.append(number)


@dataclass(frozen=True)
class NotingSetup(ToySetup):
    def __call__(self, rank, world, device):
        setup = super().__call__(rank, world, device)
        setup.task.__class__ = Noting
        return setup


def test_each_stage_has_its_rate_its_optimiser_and_is_told_to_the_task(tmp_path) -> None:
    STAGED.clear()
    fit(NotingSetup(RECIPE), RECIPE, tmp_path, quiet=True)
    with open(tmp_path / "logs" / "steps.csv") as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    assert rates == pytest.approx([rate for rate in (1e-2, 5e-3, 2e-3, 1e-3, 9e-4) for _ in range(BATCHES)])
    assert STAGED == [0, 0, 0, 1, 2, 2]
    last = read_checkpoint(sorted((tmp_path / "checkpoints").glob("step-*.ckpt"))[-1])
    assert {int(state["step"]) for state in last["optimiser"]["state"].values()} == {2 * BATCHES}


@pytest.mark.parametrize("step", [BATCHES, 2 * BATCHES, 2 * BATCHES + 3, 4 * BATCHES])
def test_a_fit_resumed_between_or_within_stages_is_the_fit_that_was_not(tmp_path, step) -> None:
    recipe = RECIPE.model_copy(update={"checkpoint_every_steps": 1, "keep": 50})
    setup = NotingSetup(recipe)
    fit(setup, recipe, tmp_path / "whole", quiet=True)
    whole = results(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    STAGED.clear()
    checkpoint = next(path for path in (tmp_path / "again" / "checkpoints").glob("step-*.ckpt")
                      if int(path.name.split("-")[1].removesuffix(".ckpt")) == step)
    fit(setup, recipe, tmp_path / "again", resume=checkpoint, quiet=True)
    assert results(tmp_path / "again") == whole
    assert STAGED[1] == Schedule(recipe, 40).stage(step // BATCHES)[0]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_every_epoch_belongs_to_one_stage(lengths) -> None:
    recipe = make_recipe(scheduler="stages", epochs=sum(lengths),
                         stages=tuple(Stage(epochs=n, learning_rate=0.1) for n in lengths))
    schedule = Schedule(recipe, 3 * sum(lengths))
    wanted = [(number, epoch) for number, n in enumerate(lengths) for epoch in range(n)]
    assert [schedule.stage(epoch) for epoch in range(sum(lengths))] == wanted


@pytest.mark.parametrize("changes", [{"epochs": 4}, {"stages": None}, {"stages": ()}, {"scheduler": "cosine"}])
def test_stages_that_do_not_make_up_the_training_are_refused(changes) -> None:
    with pytest.raises(ValidationError, match="stages"):
        make_recipe(**{"scheduler": "stages", "stages": STAGES, "epochs": 5, **changes})
