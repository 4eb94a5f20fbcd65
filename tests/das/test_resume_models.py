"""Every network of the pipeline, killed in the middle of its training and resumed, ends as if nothing had happened."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import processes
import pytest

from groundswell.core.recipe import build_recipe
from groundswell.core.run import RunFolder
from groundswell.pipelines.das.data import WORKFLOW
from groundswell.pipelines.das.recipe import DasRecipe
from groundswell.pipelines.workflow import FoldSetup, start_run

pytestmark = pytest.mark.slow

MODELS: dict[str, dict[str, Any]] = {
    "temporal_cnn": {"hidden_dim": 16, "num_layers": 2},
    "lstm": {"hidden_dim": 16, "num_layers": 2},
    "transformer": {"hidden_dim": 16, "num_layers": 1, "heads": 4},
    "fibre_cnn": {"hidden_dim": 8, "num_layers": 2},
}
processes.CONTEXT.set_forkserver_preload(["groundswell.pipelines.workflow", "groundswell.pipelines.das.data"])


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> DasRecipe:
    return WORKFLOW.small(tmp_path_factory.mktemp("data"), 5)


def start(archive: DasRecipe, model: str, out: Path, **train: Any) -> RunFolder:
    values = archive.model_dump(mode="json")
    values["model"] = {"type": model, **MODELS[model]}
    values["preprocess"]["scaling"] = "window" if model == "fibre_cnn" else "channel"
    values["train"] |= {"epochs": 3, "batch_size": 4, "checkpoint_every_steps": 2, **train}
    return start_run("das", build_recipe(DasRecipe, values), out)


def train(run: RunFolder) -> Any:
    return processes.start(FoldSetup("das", run.path, 0), run.fold_path(0), recipe=run.recipe(DasRecipe).train)


def results(run: RunFolder) -> dict[str, bytes]:
    fold = run.fold_path(0)
    last = sorted((fold / "checkpoints").glob("step-*.ckpt"))[-1]
    return {"best": (fold / "weights" / "best.safetensors").read_bytes(), "last": last.read_bytes(),
            "epochs": (fold / "logs" / "epochs.csv").read_bytes(), "steps": (fold / "logs" / "steps.csv").read_bytes()}


def killed_and_resumed_equals_whole(whole: RunFolder, killed: RunFolder, kills: tuple[int, ...]) -> None:
    assert processes.end(train(whole), 120) == 0
    for after in kills:
        process = train(killed)
        processes.wait_for_steps(killed.fold_path(0), after, process, 120)
        process.kill()
        assert processes.end(process) == -signal.SIGKILL, "the training was over before it could be killed"
    assert processes.end(train(killed), 120) == 0
    assert results(killed) == results(whole)


@pytest.mark.parametrize("model", list(MODELS))
def test_killed_and_resumed_to_the_same_bytes(archive: DasRecipe, model: str, tmp_path: Path) -> None:
    killed_and_resumed_equals_whole(start(archive, model, tmp_path / "whole"),
                                    start(archive, model, tmp_path / "killed"), kills=(3, 8))


def test_two_processes_killed_and_resumed_to_the_same_bytes(archive: DasRecipe, tmp_path: Path) -> None:
    # Killing the one that started them ends both, as a crash of the machine would.
    killed_and_resumed_equals_whole(start(archive, "fibre_cnn", tmp_path / "whole", devices=2, batch_size=2),
                                    start(archive, "fibre_cnn", tmp_path / "killed", devices=2, batch_size=2),
                                    kills=(5,))
