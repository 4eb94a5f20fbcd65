"""What every pipeline must do. Runs unasked over each one that is discovered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from groundswell.core.recipe import dump_recipe, load_recipe
from groundswell.core.registry import Pipeline, discover
from groundswell.core.run import RunFolder
from groundswell.pipelines.workflow import FoldSetup, load_task, start_run, train_run, workflow_of
from groundswell.splits.manifest import SplitManifest
from groundswell.train.weights import read_pth, write_pth

SOURCE = Path(__file__).resolve().parents[2] / "src" / "groundswell"


@pytest.fixture(scope="module", params=sorted(discover()))
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    return discover()[request.param]


@pytest.fixture(scope="module")
def recipe(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return workflow_of(pipeline.name).small(tmp_path_factory.mktemp("data"), 7)


@pytest.fixture(scope="module")
def run(pipeline: Pipeline, recipe: Any, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    made = start_run(pipeline.name, recipe, tmp_path_factory.mktemp("runs") / "whole")
    train_run(made, quiet=True)
    return made


def results(run: RunFolder) -> dict[str, bytes]:
    """Everything of a run that must not depend on how it got there."""
    names = ("weights/best.safetensors", "logs/epochs.csv", "logs/steps.csv")
    found = {}
    for fold in sorted(run.path.glob("fold-*")):
        for name in names:
            found[f"{fold.name}/{name}"] = (fold / name).read_bytes()
    return found


def test_every_folder_is_a_package() -> None:
    for folder in (SOURCE / "pipelines").iterdir():
        if folder.is_dir() and folder.name != "__pycache__":
            assert (folder / "__init__.py").is_file(), f"{folder} has no __init__.py"


def test_shipped_recipes_load(pipeline: Pipeline) -> None:
    shipped = sorted((SOURCE / "pipelines" / pipeline.name / "recipes").glob("*.yaml"))
    assert shipped
    for path in shipped:
        load_recipe(pipeline.recipe_class(), path)


def test_importing_needs_none_of_the_extras(pipeline: Pipeline) -> None:
    code = f"""
import sys
for name in ("dascore", "obspy", "aeon", "onnx", "onnxscript", "onnxruntime", "defusedxml", "dask", "distributed",
             "dask_jobqueue", "healpix", "plotly"):
    sys.modules[name] = None
from groundswell.core.registry import get_pipeline
found = get_pipeline("{pipeline.name}")
found.recipe_class(), found.workflow(), [found.step(name) for name in found.steps]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_split_passes_its_audit(run: RunFolder, pipeline: Pipeline) -> None:
    _, archive, _ = load_task(run.path, pipeline.name, 0)
    manifest = SplitManifest.read(run.path, archive.table)
    assert manifest.audit.passed
    assert manifest.table_fingerprint == archive.table.fingerprint


def test_two_steps_on_the_cpu_change_the_weights(run: RunFolder, pipeline: Pipeline) -> None:
    setup = FoldSetup(pipeline.name, run.path, 0)(0, 1, torch.device("cpu"))
    before = {name: value.clone() for name, value in setup.task.state_dict().items()}
    optimiser = torch.optim.AdamW(setup.task.parameters(), 1e-3)
    batches = setup.train.iterate(0)
    losses = []
    for _ in range(2):
        loss, _ = setup.task(next(batches), torch.Generator().manual_seed(1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    batches.close()
    setup.train.close()
    setup.validation.close()
    assert np.isfinite(losses).all()
    assert any(not torch.equal(before[name], value) for name, value in setup.task.state_dict().items())


def test_the_same_seed_gives_the_same_run(pipeline: Pipeline, recipe: Any, run: RunFolder, tmp_path: Path) -> None:
    again = start_run(pipeline.name, recipe, tmp_path / "again")
    train_run(again, quiet=True)
    assert results(again) == results(run)


def test_a_killed_run_resumes_to_the_same_weights(pipeline: Pipeline, recipe: Any, run: RunFolder,
                                                  tmp_path: Path) -> None:
    killed = start_run(pipeline.name, recipe, tmp_path / "killed")
    code = (f"from pathlib import Path; from groundswell.core.run import RunFolder\n"
            f"from groundswell.pipelines.workflow import train_run\n"
            f"train_run(RunFolder(Path({str(killed.path)!r})), quiet=True)")
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    log = killed.path / "fold-1" / "logs" / "steps.csv"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") > 2) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert process.poll() is None, "the run was over before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    train_run(RunFolder.open(killed.path), quiet=True)
    assert results(killed) == results(run)


def test_the_weights_survive_a_round_trip(run: RunFolder, pipeline: Pipeline, tmp_path: Path) -> None:
    _, _, task = load_task(run.path, pipeline.name, 0)
    write_pth(tmp_path / "w.pth", {"model_state_dict": task.state_dict()})
    for name, value in read_pth(tmp_path / "w.pth")["model_state_dict"].items():
        assert torch.equal(value, task.state_dict()[name])


def test_predictions_are_of_the_test_part_alone(run: RunFolder, pipeline: Pipeline) -> None:
    _, archive, _ = load_task(run.path, pipeline.name, 0)
    manifest = SplitManifest.read(run.path, archive.table)
    predictions = workflow_of(pipeline.name).predictions.read(run.path / "predictions.parquet")
    from groundswell.splits.manifest import TEST

    expected: set[str] = set()
    for fold in range(manifest.folds):
        expected |= set(archive.table.take(manifest.rows(TEST, fold)).column("sample_id"))
    assert set(predictions.sample_id) <= expected
    assert len(predictions)


def test_the_exported_file_agrees_with_the_network(run: RunFolder, pipeline: Pipeline, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
    facts = workflow_of(pipeline.name).export(run, tmp_path / "model.onnx", [0])
    assert facts["largest_difference"] <= 1e-4
    assert facts["samples"] >= 100


def test_the_resolved_recipe_is_the_one_given(run: RunFolder, recipe: Any) -> None:
    assert dump_recipe(run.recipe(type(recipe))) == dump_recipe(recipe)


def test_an_evaluated_run_is_listed_with_its_score(run: RunFolder) -> None:
    from groundswell.cli.models import list_runs, runs_table
    from groundswell.pipelines.judge import evaluate_run

    judged = evaluate_run(run, with_controls=False, quiet=True)
    assert judged.report.is_file() and judged.text.startswith("Simulated data")
    row = list_runs(run.path.parent)[0]
    assert row["state"] == "evaluated" and "no controls" in row["headline"]["note"]
    assert runs_table([row]).row_count == 1
