"""Faults 5 and 6: kill -9 at any step, also twice in one epoch, with other threads on the way: the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from survivors import At, Command, outcome

KILLS = 50


def with_loader(run: Path, **keys: object) -> None:
    """Change the loader's keys in the recipe of a run, as a person would by an editor."""
    path = run / "recipe.yaml"
    lines = path.read_text().splitlines()
    for key, value in keys.items():
        (at,) = [number for number, line in enumerate(lines) if line.startswith(f"  {key}:")
                 and section(lines, number) == "loader"]
        lines[at] = f"  {key}: {value}"
    path.write_text("\n".join(lines) + "\n")


def section(lines: list[str], at: int) -> str:
    return next(line.rstrip(":") for line in reversed(lines[:at]) if not line.startswith(" "))


def test_killed_twice_in_an_epoch_with_other_threads_each_time(place: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    at = At("groundswell.train.training:Training.batch", 4)
    command = Command(tmp_path / "said", "das", "train", place / "recipe.yaml", "--out", run, at=at).met()
    for changes in ({"threads": 3, "prefetch_batches": 0}, {"threads": 2, "prefetch_batches": 5}):
        os.kill(command.process.pid, signal.SIGKILL)
        assert command.end() == -signal.SIGKILL
        with_loader(run, **changes)
        command = Command(tmp_path / "said", "resume", run, at=At(at.function, 2)).met()
    assert command.let_go().end() == 0, command.said
    assert outcome(run) == outcome(whole)


def lives(words: list[str], run: Path, chance: random.Random) -> bool:
    """Start the program and kill it at a moment drawn by chance; whether it was over before that.

    Three times of four the moment lies within the first second and a half of its training, otherwise anywhere in its
    first four seconds, in which it is still loading what it needs.
    """
    log = run / "fold-1" / "logs" / "steps.csv"
    before = log.stat().st_mtime_ns if log.exists() else 0
    process = subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True)
    if chance.random() < 0.75:
        deadline = time.monotonic() + 120
        while process.poll() is None and (log.stat().st_mtime_ns if log.exists() else 0) == before:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 1.5))
    else:
        time.sleep(chance.uniform(0, 4))
    if process.poll() is not None:
        assert process.returncode == 0
        return True
    os.killpg(process.pid, signal.SIGKILL)
    return process.wait() != -signal.SIGKILL


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_training_killed_fifty_times_at_random_moments_ends_in_the_same_bytes(place: Path, tmp_path: Path) -> None:
    groundswell = [sys.executable, "-m", "groundswell", "-q"]
    train = [*groundswell, "das", "train", str(place / "recipe.yaml"), "--set", "train.epochs=200", "--set",
             "train.early_stopping_patience=0", "--set", "train.checkpoint_every=0", "--set",
             "train.checkpoint_every_steps=7", "--out"]
    subprocess.run([*train, str(tmp_path / "whole")], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    expected = outcome(tmp_path / "whole")
    assert {"fold-1/logs/steps.csv", "fold-1/weights/best.safetensors", "predictions.parquet"} <= expected.keys()
    chance, kills, runs = random.Random(20), 0, 0
    while kills < KILLS:
        run, runs, over = tmp_path / f"run-{runs}", runs + 1, False
        while not over and kills < KILLS:
            begun = (run / "split.json").exists()
            if run.exists() and not begun:  # killed while the folder was made: there is nothing to go on with yet
                shutil.rmtree(run)
            over = lives([*groundswell, "resume", str(run)] if begun else [*train, str(run)], run, chance)
            kills += not over
        if not over:
            subprocess.run([*groundswell, "resume", str(run)], check=True)
        assert outcome(run) == expected, f"after {kills} kills"
        assert not list(run.rglob(".*.part*"))
    sys.stderr.write(f"{kills} kills in {runs} run(s)\n")
