"""A study that is killed goes on where it was: resume, nothing done twice, the same numbers at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_windows import toy_layout

from groundswell.cli.main import main
from groundswell.core.progress import QUIET
from groundswell.data.predictions import Predictions

SETS = ["model.hidden_sizes=[8,4]", "split.folds=5", "split.holdout=0", "train.epochs=12", "train.batch_size=8",
        "train.threads=1", "train.tensorboard=false", "train.checkpoint_epochs=0", "loader.threads=1",
        "evaluate.bootstrap=100", "evaluate.controls=[majority]", "study.models=[mlp]", "study.windows=[7]",
        "study.permutations=19", "study.threads=1"]


def command(data: Path, out: Path) -> list[str]:
    said = [part for text in (f"data.folder={data}", *SETS) for part in ("--set", text)]
    return ["--quiet", "geomag", "study", "seed", *said, "--out", str(out)]


def ended(out: Path) -> dict[str, int]:
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.glob("runs/*/fold-*/done.json")}


def kill_after(fits: int, arguments: list[str], out: Path) -> None:
    """Run it with two workers, and kill it with all it started as soon as some fits are done."""
    # A session of its own, so that killing it takes the workers along, as a crash of the machine would.
    process = subprocess.Popen([sys.executable, "-m", "groundswell", *arguments, "--workers", "2"],
                               start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while len(ended(out)) < fits and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert process.poll() is None, "the study was over before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_a_killed_study_goes_on_and_ends_as_an_uninterrupted_one(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(QUIET, "1")  # --quiet sets it for good
    # One station: no event has several windows, so that nothing but the five folds is fitted.
    data = toy_layout(tmp_path / "data", events=20, stations=1, bump=25.0)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(command(data, whole)) == 0
    kill_after(2, command(data, killed), killed)
    before = ended(killed)
    assert 2 <= len(before) < 5 and not (killed / "study.json").exists()
    assert main(["--quiet", "resume", str(killed)]) == 0
    after = ended(killed)
    assert len(after) == 5
    assert {name: after[name] for name in before} == before  # what was done is not done again
    assert json.loads((killed / "study.json").read_text()) == json.loads((whole / "study.json").read_text())
    one, other = (Predictions.read(out / "runs" / "MLPModel_7day" / "predictions.parquet") for out in (whole, killed))
    assert (one.probability == other.probability).all()
