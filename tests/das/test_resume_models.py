"""Every network of the pipeline, killed in the middle of its training and resumed, ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from groundswell.core.recipe import build_recipe
from groundswell.core.run import RunFolder
from groundswell.pipelines.das.data import WORKFLOW
from groundswell.pipelines.das.recipe import DasRecipe
from groundswell.pipelines.workflow import start_run

pytestmark = pytest.mark.slow

MODELS: dict[str, dict[str, Any]] = {
    "temporal_cnn": {"hidden_dim": 16, "num_layers": 2},
    "lstm": {"hidden_dim": 16, "num_layers": 2},
    "transformer": {"hidden_dim": 16, "num_layers": 1, "heads": 4},
    "fibre_cnn": {"hidden_dim": 8, "num_layers": 2},
}
TRAIN = """
import sys
from pathlib import Path
from groundswell.core.run import RunFolder
from groundswell.pipelines.das.recipe import DasRecipe
from groundswell.pipelines.workflow import FoldSetup
from groundswell.train.fit import fit

if __name__ == "__main__":
    run = RunFolder.open(Path(sys.argv[1]))
    fit(FoldSetup("das", run.path, 0), run.recipe(DasRecipe).train, run.fold_path(0), resume=True, quiet=True)
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> DasRecipe:
    return WORKFLOW.small(tmp_path_factory.mktemp("data"), 5)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "train.py"
    path.write_text(TRAIN)
    return path


def start(archive: DasRecipe, model: str, out: Path, **train: Any) -> RunFolder:
    values = archive.model_dump(mode="json")
    values["model"] = {"type": model, **MODELS[model]}
    values["preprocess"]["scaling"] = "window" if model == "fibre_cnn" else "channel"
    values["train"] |= {"epochs": 3, "batch_size": 4, "checkpoint_every_steps": 2, **train}
    return start_run("das", build_recipe(DasRecipe, values), out)


def train(program: Path, run: RunFolder) -> subprocess.Popen[bytes]:
    # A session of its own, so that killing it takes the processes it started along, as a crash of the machine would.
    return subprocess.Popen([sys.executable, str(program), str(run.path)], start_new_session=True,
                            env={**os.environ, "OMP_NUM_THREADS": "1"})


def results(run: RunFolder) -> dict[str, bytes]:
    fold = run.fold_path(0)
    last = sorted((fold / "checkpoints").glob("step-*.ckpt"))[-1]
    return {"best": (fold / "weights" / "best.safetensors").read_bytes(), "last": last.read_bytes(),
            "epochs": (fold / "logs" / "epochs.csv").read_bytes(), "steps": (fold / "logs" / "steps.csv").read_bytes()}


def killed_and_resumed_equals_whole(program: Path, whole: RunFolder, killed: RunFolder) -> None:
    assert train(program, whole).wait() == 0
    log = killed.fold_path(0) / "logs" / "steps.csv"
    kills = 0
    for after in (3, 8):  # twice in one training
        process = train(program, killed)
        deadline = time.monotonic() + 120
        while not (log.exists() and log.read_text().count("\n") > after) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills, "the training was over before it could be killed"
    assert train(program, killed).wait() == 0
    assert results(killed) == results(whole)


@pytest.mark.parametrize("model", list(MODELS))
def test_killed_and_resumed_to_the_same_bytes(archive: DasRecipe, program: Path, model: str, tmp_path: Path) -> None:
    killed_and_resumed_equals_whole(program, start(archive, model, tmp_path / "whole"),
                                    start(archive, model, tmp_path / "killed"))


def test_two_processes_killed_and_resumed_to_the_same_bytes(archive: DasRecipe, program: Path, tmp_path: Path) -> None:
    killed_and_resumed_equals_whole(program, start(archive, "fibre_cnn", tmp_path / "whole", devices=2, batch_size=2),
                                    start(archive, "fibre_cnn", tmp_path / "killed", devices=2, batch_size=2))
