"""Fault 9: a loss that is not finite: no such checkpoint, back to the last good one three times at most."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
from pathlib import Path

import pytest
import toy
from processes import end, start, start_group, wait_for_steps
from toy import ToySetup, ToyTask, make_recipe, results

from groundswell.core.errors import FailureError
from groundswell.train import training
from groundswell.train.checkpoint import read_checkpoint
from groundswell.train.fit import fit
from groundswell.train.weights import read_weights

RECIPE = make_recipe(checkpoint_every_steps=3, keep=100)
POISON = (("poison", 17),)


def setbacks(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "logs" / "setbacks.jsonl").read_text().splitlines()]


def steps(folder: Path) -> list[dict[str, str]]:
    with open(folder / "logs" / "steps.csv") as file:
        return list(csv.DictReader(file))


def all_finite(folder: Path) -> bool:
    return all(value.isfinite().all() for path in (folder / "checkpoints").glob("*.ckpt")
               for value in read_checkpoint(path)["model"].values())


def test_each_bad_step_is_left_out_and_all_others_are_taken(tmp_path) -> None:
    result = fit(ToySetup(RECIPE, options=POISON), RECIPE, tmp_path, quiet=True)
    assert (result.epochs, result.steps) == (3, 24)
    assert all_finite(tmp_path)
    lines = setbacks(tmp_path)
    # The row comes once an epoch; from the second time on, the rate is halved.
    assert [line["setback"] for line in lines] == [1, 2, 3]
    assert [line["rate_times"] for line in lines] == [1.0, 0.5, 0.25]
    assert all(17 in line["rows"] and line["back_to_step"] < line["step"] for line in lines)
    left_out = [int(row["step"]) for row in steps(tmp_path) if math.isnan(float(row["loss"]))]
    assert left_out == [line["step"] for line in lines]
    assert [int(row["step"]) for row in steps(tmp_path)] == list(range(1, 25))


def test_with_one_bad_step_everything_else_stays_as_it_was(tmp_path) -> None:
    recipe = make_recipe(checkpoint_every_steps=1, epochs=1)
    fit(ToySetup(recipe), recipe, tmp_path / "whole", quiet=True)
    fit(ToySetup(recipe, options=POISON), recipe, tmp_path / "back", quiet=True)
    whole, back = steps(tmp_path / "whole"), steps(tmp_path / "back")
    assert [row["rows_crc32"] for row in back] == [row["rows_crc32"] for row in whole]
    assert [row["learning_rate"] for row in back] == [row["learning_rate"] for row in whole]
    bad = next(index for index, row in enumerate(back) if math.isnan(float(row["loss"])))
    assert back[:bad] == whole[:bad]


def test_a_fit_without_a_checkpoint_begins_again(tmp_path) -> None:
    recipe = make_recipe(checkpoint_epochs=0, epochs=1)
    fit(ToySetup(recipe, options=POISON), recipe, tmp_path, quiet=True)
    assert [line["back_to_step"] for line in setbacks(tmp_path)] == [0]


def test_setbacks_between_two_checkpoints_are_all_written_down(tmp_path) -> None:
    recipe = make_recipe(checkpoint_epochs=0, epochs=2)
    fit(ToySetup(recipe, options=POISON), recipe, tmp_path, quiet=True)
    assert [(line["setback"], line["back_to_step"]) for line in setbacks(tmp_path)] == [(1, 0), (2, 0)]


class Scripted(ToyTask):
    """The first try is best in its third epoch and fails in the fourth; the second try never gets as far."""

    tries = 0

    def __init__(self, **options) -> None:
        super().__init__(**options)
        Scripted.tries += 1
        self.first, self.now = Scripted.tries == 1, 0

    def epoch(self, number) -> None:
        self.now = number

    def forward(self, batch, generator=None):
        loss, sums = super().forward(batch, generator)
        return (loss * math.nan if self.training and self.first and self.now == 3 else loss), sums

    def metrics(self, sums):
        later = 0.7 if self.first else 0.4
        return {**super().metrics(sums), "accuracy": {0: 0.6, 1: 0.5}.get(self.now, later)}


def test_a_fit_that_goes_back_takes_the_best_weights_back_too(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(toy, "ToyTask", Scripted)
    Scripted.tries = 0
    recipe = make_recipe(epochs=4, checkpoint_epochs=2)
    result = fit(ToySetup(recipe), recipe, tmp_path, quiet=True)
    assert (Scripted.tries, result.best_epoch, result.best_value) == (2, 1, 0.6)
    _, facts = read_weights(result.best)
    assert (facts["epoch"], facts["metrics"]["val_accuracy"]) == (1, 0.6)
    assert [path.name for path in result.best.parent.iterdir()] == ["best.safetensors"]


def test_weights_that_are_not_those_of_the_best_epoch_are_not_delivered(tmp_path, monkeypatch) -> None:
    # As after a lost checkpoint, where going on from the one before gives other weights.
    recipe = make_recipe(epochs=2)
    monkeypatch.setattr(training, "facts_of", lambda path: {})
    with pytest.raises(FailureError, match="weights of the best epoch"):
        fit(ToySetup(recipe), recipe, tmp_path, quiet=True)


def test_after_three_setbacks_it_fails_and_names_the_row_that_they_share(tmp_path) -> None:
    recipe = make_recipe(checkpoint_every_steps=3, keep=100, epochs=4)
    with pytest.raises(FailureError, match=r"after 3 setbacks.*row 17 of the sample table was in each step"):
        fit(ToySetup(recipe, options=POISON), recipe, tmp_path, quiet=True)
    assert all_finite(tmp_path)
    assert len(setbacks(tmp_path)) == 3
    fit(ToySetup(recipe), recipe, tmp_path, resume=True, quiet=True)  # with the sample mended


def test_killed_between_setbacks_it_ends_in_the_same_bytes(tmp_path) -> None:
    fit(ToySetup(RECIPE, options=POISON), RECIPE, tmp_path / "whole", quiet=True)
    for count in (4, 9, 21):
        process = start(ToySetup(RECIPE, options=(*POISON, ("slow_s", 0.03))), tmp_path / "killed")
        wait_for_steps(tmp_path / "killed", count, process)
        os.kill(process.pid, signal.SIGKILL)
        assert end(process) == -signal.SIGKILL
    assert end(start(ToySetup(RECIPE, options=POISON), tmp_path / "killed")) == 0
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    assert setbacks(tmp_path / "killed") == setbacks(tmp_path / "whole")


def test_two_processes_go_back_together(tmp_path) -> None:
    setup = ToySetup(make_recipe(devices=2, checkpoint_every_steps=2, epochs=2), options=POISON)
    assert [end(process) for process in start_group(setup, tmp_path, 2)] == [0, 0]
    assert [line["setback"] for line in setbacks(tmp_path)] == [1, 2]
    assert all_finite(tmp_path)


def test_steps_that_are_too_large_end_in_words_and_without_a_checkpoint(tmp_path) -> None:
    recipe = make_recipe(learning_rate=1e38, clip_norm=0.0)
    with pytest.raises(FailureError, match="finite"):
        fit(ToySetup(recipe, options=(("plain", True),)), recipe, tmp_path, quiet=True)
    assert not list((tmp_path / "checkpoints").glob("*.ckpt"))
