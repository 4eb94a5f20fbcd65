"""What training does, apart from being interrupted."""

from __future__ import annotations

import csv
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import end, start_group
from toy import ToySetup, ToyTask, make_data, make_recipe, results

from groundswell.core.errors import FailureError, InputError
from groundswell.train.checkpoint import read_checkpoint
from groundswell.train.fit import fit, load_best
from groundswell.train.launch import check_devices
from groundswell.train.schedule import Schedule
from groundswell.train.state import Place
from groundswell.train.weights import read_weights

PLAIN = (("plain", True),)


def rows(path: Path) -> list[dict[str, float]]:
    with open(path) as file:
        return [{name: float(value) for name, value in row.items() if name != "finished"}
                for row in csv.DictReader(file)]


def test_it_learns_and_says_so(tmp_path) -> None:
    recipe = make_recipe(epochs=8)
    result = fit(ToySetup(recipe), recipe, tmp_path, quiet=True)
    assert result.best_value == result.metrics["val_accuracy"] > 0.85
    assert (result.epochs, result.steps, result.stopped_early) == (8, 64, False)
    log = rows(tmp_path / "logs" / "epochs.csv")
    assert [row["epoch"] for row in log] == list(range(1, 9))
    assert max(row["val_accuracy"] for row in log) == result.best_value
    assert {"train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate"} <= set(log[0])
    assert [row["samples"] for row in rows(tmp_path / "logs" / "timing.csv")] == [61.0] * 8
    task = ToyTask()
    load_best(task, tmp_path)
    data = make_data(33, 2)
    guess = task.eval().predict({"x": torch.from_numpy(data["x"])})["probability"].argmax(1).numpy()
    assert (guess == data["label"]).mean() == pytest.approx(result.best_value)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        recipe = make_recipe(seed=seed)
        torch.rand(len(name) + seed)  # what was drawn before does not matter
        fit(ToySetup(recipe), recipe, tmp_path / name, quiet=True)
    assert results(tmp_path / "a") == results(tmp_path / "b")
    assert results(tmp_path / "a")["logs/steps.csv"] != results(tmp_path / "c")["logs/steps.csv"]


@pytest.mark.parametrize("times", [2, 3])
def test_accumulating_is_training_with_larger_batches(tmp_path, times) -> None:
    # 61 samples: the last group has fewer batches (8 of 8, in groups of 3), and its last batch is filled up.
    for name, changes in (("small", {"batch_size": 8, "accumulate": times}), ("large", {"batch_size": 8 * times})):
        recipe = make_recipe(**changes, learning_rate=0.003)
        fit(ToySetup(recipe, options=PLAIN), recipe, tmp_path / name, quiet=True)
    assert_alike(tmp_path / "small", tmp_path / "large")


def test_two_processes_are_one_with_batches_of_twice_the_size(tmp_path) -> None:
    recipe = make_recipe(devices=2, batch_size=8, learning_rate=0.003)
    group = start_group(ToySetup(recipe, options=PLAIN), tmp_path / "two", 2)
    assert [end(process) for process in group] == [0, 0]
    recipe = make_recipe(batch_size=16, learning_rate=0.003)
    fit(ToySetup(recipe, options=PLAIN), recipe, tmp_path / "one", quiet=True)
    assert_alike(tmp_path / "two", tmp_path / "one")


def assert_alike(one: Path, other: Path) -> None:
    a, b = rows(one / "logs" / "steps.csv"), rows(other / "logs" / "steps.csv")
    for name in ("step", "loss", "gradient_norm", "learning_rate"):
        np.testing.assert_allclose([row[name] for row in a], [row[name] for row in b], rtol=2e-5)
    mine, its = (read_weights(folder / "weights" / "best.safetensors")[0] for folder in (one, other))
    for name, value in mine.items():
        torch.testing.assert_close(value, its[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_batch_without_samples_changes_no_weight_but_counts_as_a_step(tmp_path, accumulate) -> None:
    # 57 samples: 7 batches of 8 and one single sample, which is left out. Decay alone would move the weights.
    recipe = make_recipe(epochs=1, weight_decay=0.5, accumulate=accumulate, checkpoint_every_steps=1, keep=100)
    setup = ToySetup(recipe, samples=57, options=PLAIN, skip_single=True)
    fit(setup, recipe, tmp_path / "skipped", quiet=True)
    log = rows(tmp_path / "skipped" / "logs" / "steps.csv")
    assert len(log) == 8 // accumulate
    checkpoints = sorted((tmp_path / "skipped" / "checkpoints").glob("step-*.ckpt"))
    before, after = (read_checkpoint(path) for path in checkpoints[-2:])
    assert after["place"]["step"] == len(log) == before["place"]["step"] + 1
    moments = [[value for state in checkpoint["optimiser"]["state"].values() for value in state.values()]
               for checkpoint in (before, after)]
    for old, new in ((list(before["model"].values()), list(after["model"].values())), moments):
        same = [torch.equal(a, b) for a, b in zip(old, new, strict=True)]
        assert set(same) == {accumulate == 1}, "only a group of batches with no sample at all is no step"
    assert (log[-1]["gradient_norm"] == 0) == (accumulate == 1)
    assert [row["samples"] for row in rows(tmp_path / "skipped" / "logs" / "timing.csv")] == [56.0]


def test_a_fit_with_a_skipped_batch_resumes_to_the_same_bytes(tmp_path) -> None:
    recipe = make_recipe(checkpoint_every_steps=1, keep=100)
    setup = ToySetup(recipe, samples=57, skip_single=True)
    fit(setup, recipe, tmp_path / "whole", quiet=True)
    for number in (7, 8, 9):
        copy = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", copy)
        fit(setup, recipe, copy, resume=next((copy / "checkpoints").glob(f"step-{number:09d}*.ckpt")), quiet=True)
        assert results(copy) == results(tmp_path / "whole")


def test_the_gradient_is_clipped_and_logged_unclipped(tmp_path) -> None:
    logs = {}
    for clip in (0.0, 1e-4):
        recipe = make_recipe(epochs=1, clip_norm=clip, weight_decay=0.0)
        fit(ToySetup(recipe, options=PLAIN), recipe, tmp_path / str(clip), quiet=True)
        logs[clip] = rows(tmp_path / str(clip) / "logs" / "steps.csv")
    assert logs[0.0][0] == logs[1e-4][0]
    assert logs[0.0][0]["gradient_norm"] > 1e-3
    assert logs[0.0][-1]["loss"] != logs[1e-4][-1]["loss"]


def test_bfloat16_trains_and_differs(tmp_path) -> None:
    found = {}
    for precision in ("32", "bf16"):
        recipe = make_recipe(precision=precision, epochs=5)
        found[precision] = fit(ToySetup(recipe), recipe, tmp_path / precision, quiet=True)
    assert found["bf16"].best_value > 0.8
    assert found["bf16"].metrics["val_loss"] != found["32"].metrics["val_loss"]
    assert all(value.dtype in (torch.float32, torch.int64) for value in read_weights(found["bf16"].best)[0].values())


def test_raw_samples_reach_the_task_with_all_their_digits(tmp_path) -> None:
    class Looks(ToyTask):
        def forward(self, batch, generator=None):
            self.seen = {name: value.dtype for name, value in batch.items()}
            return super().forward(batch, generator)

    tasks = []

    def setup(rank, world, device):
        parts = ToySetup(make_recipe())(rank, world, device)
        tasks.append(Looks())
        return type(parts)(tasks[0], parts.train, parts.validation)

    fit(setup, make_recipe(precision="bf16", epochs=1), tmp_path, quiet=True)
    assert tasks[0].seen["x"] == torch.float32
    assert tasks[0].seen["weight"] == torch.float32


def test_an_unknown_monitor_is_refused_before_training(tmp_path) -> None:
    recipe = make_recipe(monitor="val_acuracy")
    with pytest.raises(InputError, match=r"'val_acuracy'.*Choose one of: val_loss, val_accuracy"):
        fit(ToySetup(recipe), recipe, tmp_path, quiet=True)
    assert not (tmp_path / "logs").exists()


def test_a_loss_that_is_not_finite_ends_the_fit_and_names_the_rows(tmp_path) -> None:
    recipe = make_recipe(checkpoint_every_steps=1, keep=100, nan_retries=0)
    with pytest.raises(FailureError, match=r"loss of epoch 1, step \d+.*rows \[[^]]*\b17\b"):
        fit(ToySetup(recipe, options=(("poison", 17),)), recipe, tmp_path, quiet=True)
    for path in (tmp_path / "checkpoints").glob("*.ckpt"):
        assert all(value.isfinite().all() for value in read_checkpoint(path)["model"].values())
    # What was saved before is good to go on from.
    fit(ToySetup(recipe), recipe, tmp_path / "whole", quiet=True)
    fit(ToySetup(recipe), recipe, tmp_path, resume=True, quiet=True)
    assert results(tmp_path) == results(tmp_path / "whole")


def test_weights_that_are_not_finite_are_not_kept(tmp_path) -> None:
    recipe = make_recipe(learning_rate=1e38, clip_norm=0.0)
    with pytest.raises(FailureError, match="finite"):
        fit(ToySetup(recipe, options=PLAIN), recipe, tmp_path, quiet=True)
    assert not list((tmp_path / "checkpoints").glob("*.ckpt"))
    assert not (tmp_path / "weights").exists()


def test_one_of_two_processes_meets_a_bad_row(tmp_path) -> None:
    setup = ToySetup(make_recipe(devices=2, nan_retries=0), options=(("poison", 17),))
    assert [end(process) for process in start_group(setup, tmp_path, 2)] == [1, 1]


def test_torchrun_and_recipe_must_agree(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"train\.devices=2"):
        fit(ToySetup(make_recipe()), make_recipe(), tmp_path, quiet=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_devices_that_are_not_there(tmp_path) -> None:
    for changes, said in (({"accelerator": "cuda"}, "0 can be used"), ({"precision": "16"}, "needs a GPU")):
        recipe = make_recipe(**changes)
        with pytest.raises(InputError, match=said):
            fit(ToySetup(recipe), recipe, tmp_path, quiet=True)


# -- schedule, early stopping ------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40), st.integers(0, 4))
@settings(deadline=None)
def test_plateau_is_that_of_torch(losses, patience) -> None:
    optimiser = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], 0.01)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=patience, eps=0.0)
    ours = Schedule(make_recipe(scheduler="plateau", plateau_patience=patience), 100)
    for k, loss in enumerate(losses):
        theirs.step(loss)
        ours.epoch_ended(loss)
        again = Schedule(make_recipe(scheduler="plateau", plateau_patience=patience), 100)
        again.restore(ours.state())
        ours = again
        assert ours.rate(k) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-12)


def test_cosine_falls_from_the_rate_to_zero(tmp_path) -> None:
    recipe = make_recipe(scheduler="cosine")
    fit(ToySetup(recipe), recipe, tmp_path, quiet=True)
    rates = [row["learning_rate"] for row in rows(tmp_path / "logs" / "steps.csv")]
    assert rates[0] == 0.01
    assert rates[12] == pytest.approx(0.005)
    assert 0 < rates[-1] < 1e-4
    assert all(a > b for a, b in itertools.pairwise(rates))
    assert Schedule(recipe, 24).rate(24) == 0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.integers(0, 4), st.booleans())
@settings(deadline=None)
def test_early_stopping_waits_as_long_as_it_says(values, patience, lower) -> None:
    place = Place()
    for value in values:
        place.epoch_ended(float(value), {"x": value}, lower=lower, patience=patience, epochs=20)
        if place.finished:
            break
    seen = values[:place.epoch]
    best = min(seen) if lower else max(seen)
    assert place.best_value == best
    assert place.best_epoch == seen.index(best) + 1
    assert place.stopped_early == (0 < patience <= place.epoch - place.best_epoch)
    assert place.finished == (place.stopped_early or place.epoch == 20)
    assert place.finished or len(seen) == len(values)


def test_a_fit_stops_early(tmp_path) -> None:
    recipe = make_recipe(epochs=40, early_stopping_patience=2, learning_rate=0.3, monitor="val_loss")
    result = fit(ToySetup(recipe), recipe, tmp_path, quiet=True)
    losses = [row["val_loss"] for row in rows(tmp_path / "logs" / "epochs.csv")]
    assert result.stopped_early
    assert result.epochs == len(losses) == result.best_epoch + 2 < 40
    assert result.best_value == min(losses)
    assert fit(ToySetup(recipe), recipe, tmp_path, resume=True, quiet=True) == result


# -- TensorBoard, progress ---------------------------------------------------------------------------------------------


def test_tensorboard_shows_each_number_once_after_resuming(tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = make_recipe(tensorboard=True, checkpoint_every_steps=4, keep=9)
    fit(ToySetup(recipe), recipe, tmp_path, quiet=True)
    names = sorted((tmp_path / "checkpoints").glob("*.ckpt"))
    fit(ToySetup(recipe), recipe, tmp_path, resume=names[2], quiet=True)
    assert len(list((tmp_path / "logs" / "tensorboard").iterdir())) == 2
    board = EventAccumulator(str(tmp_path / "logs" / "tensorboard"))
    board.Reload()
    assert {"loss/train", "loss/validation", "accuracy/train", "accuracy/validation", "learning_rate",
            "samples_per_s", "step/loss"} <= set(board.Tags()["scalars"])
    log = rows(tmp_path / "logs" / "steps.csv")
    steps = board.Scalars("step/loss")
    assert [event.step for event in steps] == [row["step"] for row in log]
    assert [event.value for event in steps] == pytest.approx([row["loss"] for row in log])
    assert [event.step for event in board.Scalars("loss/validation")] == [8, 16, 24]


def test_progress_goes_to_stderr(tmp_path, capsys) -> None:
    recipe = make_recipe(epochs=2)
    fit(ToySetup(recipe), recipe, tmp_path)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "16/16 batches" in captured.err
    assert "epoch 2/2, val_loss" in captured.err


def test_many_more_processes_than_cores_are_refused_before_they_start():
    with pytest.raises(InputError, match=r"asks for 400 processes on \d+ processor core"):
        check_devices(make_recipe(devices=400, accelerator="cpu"))
