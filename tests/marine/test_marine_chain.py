"""The chain: killed in any of its stages it ends as if it had not been, it stops where a stage fails, each stage begins
with its predecessor's weights, and the page says what each was worth."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from groundswell.cli.main import main
from groundswell.core.recipe import build_recipe, dump_recipe, load_recipe
from groundswell.core.run import RunFolder
from groundswell.core.seeds import derive_seed
from groundswell.pipelines.marine.chain.plan import stages_of
from groundswell.pipelines.marine.chain.running import run_chain
from groundswell.pipelines.marine.moco.pretrained import Pretrained
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.marine.simulate.simulating import simulate_set
from groundswell.pipelines.marine.task import DetectionTask
from groundswell.pipelines.workflow import FoldSetup
from groundswell.train.state import reseed
from groundswell.train.weights import BEST, read_weights

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STEPS = ["pretrain", "baseline", "select", "specialise", "fuse", "calibrate"]
STAGES = ["pretrain", "baseline", "select", "specialise/mined-1", "specialise/round-1", "fuse", "calibrate"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small simulated set, a recipe, and the chain of it."""
    folder: Path = tmp_path_factory.mktemp("chain")
    images = simulate_set(folder / "images", seed=3, clips=10, frames=3, size=(64, 64), animals=(1, 2),
                          unlabelled_share=0.2, classes=("lionfish", "sea star"))
    recipe = build_recipe(MarineRecipe, {
        "data": {"images": str(images.path), "size": 64}, "model": {"name": "rtdetrv2_nano", "average": 0.9},
        "split": {"validation": 0.25, "test": 0.25}, "loader": {"threads": 1},
        "evaluate": {"bootstrap": 100, "n_min": 1, "controls": [], "count_at": 0.01},
        "train": {"epochs": 2, "batch_size": 4, "threads": 1, "tensorboard": False, "warmup_epochs": 0,
                  "accelerator": "cpu"},
        "pretrain": {"epochs": 2, "batch_size": 4, "size": 32, "hidden_dim": 16, "projection_dim": 8, "min_images": 0},
        "select": {"num_samples": 2, "clusters": 2}, "tta": {"scales": [1.0]},
        "specialise": {"epochs": 1, "rounds": 1, "oversampling_ratio": 1.0}, "steps": STEPS})
    (folder / "chain.yaml").write_text(dump_recipe(recipe))
    assert main(["-q", "marine", "pipeline", str(folder / "chain.yaml"), "--out", str(folder / "chain")]) == 0
    return folder


def recipe_of(place: Path) -> MarineRecipe:
    return load_recipe(MarineRecipe, place / "chain.yaml")


def refused(capsys: pytest.CaptureFixture[str], words: list[str], *said: str) -> None:
    """Exit status 2, and one paragraph with these words."""
    capsys.readouterr()
    assert main(["-q", "marine", "pipeline", *words]) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("groundswell: ") and "\n" not in told and "Traceback" not in told
    for text in said:
        assert text in told


# -- killed ------------------------------------------------------------------------------------------------------------

NURSERY = """
import os, sys
from pathlib import Path
from matplotlib.figure import Figure
from groundswell.core.recipe import load_recipe
from groundswell.pipelines.marine.chain.running import run_chain
from groundswell.pipelines.marine.moco import pretraining
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.marine.selecting import choosing

Figure.savefig = lambda self, *args, **kwargs: None  # pictures are not compared, and take half of the time
recipe = load_recipe(MarineRecipe, Path(sys.argv[1]))
for _ in sys.stdin:
    child = os.fork()
    if not child:
        try:
            run_chain(recipe, Path(sys.argv[2]), quiet=True)
            os._exit(0)
        finally:
            os._exit(1)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""
"""Runs the chain anew in a process of its own for each line it is given; all has to be imported but once."""


def lines_of(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


def newer(path: Path, than: Path) -> bool:
    return path.exists() and than.exists() and path.stat().st_mtime_ns > than.stat().st_mtime_ns


MOMENTS: dict[str, Callable[[Path], bool]] = {
    # In the second epoch: the first one's checkpoint is there, and some steps beyond it.
    "pretrain": lambda out: any((out / "pretrain/fold-1/checkpoints").glob("*epoch-0001.ckpt"))
    and lines_of(out / "pretrain/fold-1/logs/steps.csv") > 2,
    "baseline": lambda out: any((out / "baseline/fold-1/checkpoints").glob("*epoch-0001.ckpt")),
    "select": lambda out: any((out / "select").rglob("*.parquet")),
    # Mining leaves nothing behind before it is done: the page is drawn when the stage before is over.
    "specialise/mined-1": lambda out: newer(out / "report.html", out / "select/stage.json"),
    "specialise/round-1": lambda out: lines_of(out / "specialise/round-1/fold-1/logs/steps.csv") > 2,
    "fuse": lambda out: (out / "fuse/validation.parquet").exists(),
    "calibrate": lambda out: (out / "calibrate/views-validation.parquet").exists(),
}


def same(folder: Path) -> dict[str, object]:
    """What of a chain must not depend on how it got there."""
    found: dict[str, object] = {}
    for pattern in ("**/*.safetensors", "**/logs/epochs.csv", "**/logs/steps.csv", "**/predictions.parquet",
                    "**/validation.parquet", "**/test.parquet", "**/selection.csv", "**/scores.parquet",
                    "**/calibration.json", "**/fusion.json", "**/images.parquet"):
        found |= {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob(pattern)}
    for path in folder.glob("**/negatives.json"):
        found[str(path.relative_to(folder))] = {key: value for key, value in json.loads(path.read_text()).items()
                                                if key != "run"}
    for path in folder.glob("**/stage.json"):
        found[str(path.relative_to(folder))] = [line.replace(str(folder), "") for line in
                                                json.loads(path.read_text())["lines"]]
    return found


def test_a_chain_that_is_killed_in_every_kind_of_stage_ends_with_the_same_bytes(place: Path, tmp_path: Path) -> None:
    out, errors = tmp_path / "chain", tmp_path / "stderr"
    with errors.open("wb") as stderr, subprocess.Popen(
            [sys.executable, "-c", NURSERY, str(place / "chain.yaml"), str(out)], stdin=subprocess.PIPE, text=True,
            stdout=subprocess.PIPE, stderr=stderr, env={**os.environ, "OMP_NUM_THREADS": "1"}) as nursery:
        assert nursery.stdin is not None and nursery.stdout is not None

        def begin() -> int:
            nursery.stdin.write("\n")
            nursery.stdin.flush()
            told = nursery.stdout.readline()
            assert told, errors.read_text()
            return int(told)

        for name, moment in MOMENTS.items():
            child = begin()
            deadline = time.monotonic() + 300
            while not moment(out):
                assert time.monotonic() < deadline, f"{name} was not reached: {errors.read_text()[-2000:]}"
                time.sleep(0.002)
            os.kill(child, signal.SIGKILL)
            assert int(nursery.stdout.readline()) == signal.SIGKILL, errors.read_text()
            done = [stage for stage in STAGES if (out / stage / "stage.json").exists()]
            assert done == STAGES[:STAGES.index(name)], f"{name} was to be cut short"
        begin()
        assert int(nursery.stdout.readline()) == 0, errors.read_text()
    ours, theirs = same(out), same(place / "chain")
    assert ours.keys() == theirs.keys() and len(ours) > 30
    assert [name for name, value in theirs.items() if ours[name] != value] == []


# -- stopped -----------------------------------------------------------------------------------------------------------

def test_a_stage_that_fails_stops_the_chain_and_the_next_call_goes_on_with_it(
        place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, out = place / "chain", tmp_path / "chain"
    shutil.copytree(whole, out)
    for stage in ("fuse", "calibrate"):
        shutil.rmtree(out / stage)
    tested = str(pd.read_parquet(whole / "calibrate" / "views-predictions.parquet")["sample_id"][0])
    image = next((place / "images" / "images").glob(f"{tested}.*"))
    words, content = [str(place / "chain.yaml"), "--out", str(out)], image.read_bytes()
    image.write_bytes(content[:100])
    try:
        refused(capsys, words, image.name)
    finally:
        image.write_bytes(content)
    assert not (out / "calibrate" / "stage.json").exists()
    assert main(["-q", "resume", str(out)]) == 0
    assert "7 of 7 stages are done" in capsys.readouterr().out
    ours, theirs = ({name: value for name, value in same(folder).items() if name.startswith(("fuse", "calibrate"))}
                    for folder in (out, whole))
    assert len(ours) > 5 and ours == theirs


def test_another_recipe_in_the_folder_is_refused_with_the_one_to_go_on_with(
        place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (place / "chain").rglob("*")}
    refused(capsys, [str(place / "chain.yaml"), "--set", "train.epochs=3", "--out", str(place / "chain")],
            "begun with another recipe", str(place / "chain" / "chain.yaml"))
    assert {path: path.stat().st_mtime_ns for path in (place / "chain").rglob("*")} == before


def test_a_folder_of_something_else_is_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    refused(capsys, [str(place / "chain.yaml"), "--out", str(tmp_path)], "no chain", "empty folder")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_step_without_those_before_it_is_refused(place: Path, tmp_path: Path,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    for step, missing in (("baseline", "pretrain"), ("specialise", "baseline"), ("fuse", "specialise/round-1")):
        refused(capsys, [str(place / "chain.yaml"), "--out", str(tmp_path / "new"), "--step", step], missing,
                "not done", "without --step")
        assert not (tmp_path / "new").exists()
    refused(capsys, [str(place / "chain.yaml"), "--out", str(tmp_path / "new"), "--step", "fusing"],
            "no step 'fusing'", "fuse")
    assert not (tmp_path / "new").exists()


def test_images_that_are_not_there_do_not_claim_the_folder(place: Path, tmp_path: Path,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, [str(place / "chain.yaml"), "--out", str(tmp_path / "new"), "--set", "data.images=nowhere"],
            "nowhere")
    assert not (tmp_path / "new").exists()


def test_a_chain_that_is_done_does_nothing_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (place / "chain").rglob("*") if path.parent != place / "chain"}
    assert run_chain(recipe_of(place), place / "chain", quiet=True)[-1].startswith("7 of 7 stages are done")
    assert {path: path.stat().st_mtime_ns for path in before} == before


# -- begun with --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, before", [("baseline", "pretrain"), ("specialise/round-1", "baseline")])
def test_the_first_step_of_a_stage_is_taken_with_its_predecessors_weights(place: Path, name: str, before: str) -> None:
    run, source = RunFolder.open(place / "chain" / name), place / "chain" / before
    recipe = run.recipe(MarineRecipe)
    assert recipe.model.start == str(source)
    if before == "pretrain":
        weights = Pretrained.open(source).state()
    else:
        weights = DetectionTask.engine_state(read_weights(RunFolder(source).fold_path(0) / BEST)[0])
    setup = FoldSetup("marine", run.path, 0)(0, 1, torch.device("cpu"))
    task = setup.task.train()
    mine = task.engine.state_dict()
    assert len(weights) > 50 and weights.keys() <= mine.keys()
    assert all(torch.equal(mine[key], value) for key, value in weights.items())
    line = next(text for text in json.loads((run.path / "stage.json").read_text())["lines"] if "It began" in text)
    matched, backbone = (int(number) for number in re.findall(r"\d+", line)[:2])
    assert backbone == sum(task.engine.is_backbone(key) for key in weights)
    assert matched == len(weights)
    # The loss that training wrote down for its first step is that of these weights.
    seed = derive_seed(recipe.train.seed, "batch", 0, 0, 0)
    task.stage(0)
    task.epoch(0)
    reseed(seed, torch.device("cpu"))
    batches = setup.train.iterate(0)
    loss, _ = task(next(batches), torch.Generator().manual_seed(seed))
    batches.close()
    setup.train.close()
    setup.validation.close()
    logged = pd.read_csv(run.path / "fold-1" / "logs" / "steps.csv")["loss"][0]
    assert float(loss.detach()) == pytest.approx(logged, rel=1e-5)


def test_hard_negatives_are_of_training_clips_alone(place: Path) -> None:
    facts = json.loads((place / "chain" / "specialise" / "mined-1" / "negatives.json").read_text())
    samples = pd.read_parquet(place / "chain" / "baseline" / "split.parquet")
    assert facts["run"] == str(place / "chain" / "baseline") and 0 < facts["images"] < len(samples)


# -- told --------------------------------------------------------------------------------------------------------------

def test_a_dry_run_names_every_stage_and_writes_nothing(place: Path, tmp_path: Path,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(place.rglob("*"))
    assert main(["-q", "marine", "pipeline", str(place / "chain.yaml"), "--dry-run", "--out",
                 str(tmp_path / "new")]) == 0
    told = capsys.readouterr().out
    for stage in stages_of(recipe_of(place), tmp_path / "new"):
        line = next(text for text in told.splitlines() if text.startswith(f"{stage.name} "))
        assert "memory" in line and "MiB" in line and stage.title in line
    assert "estimates, not promises" in told and "parameters" in told
    assert not (tmp_path / "new").exists() and sorted(place.rglob("*")) == before


def test_the_page_draws_each_scored_stage_and_says_simulated(place: Path) -> None:
    page = (place / "chain" / "report.html").read_text()
    assert "<strong>Simulated data.</strong>" in page and "mAP50 and recall" in page and "data:image/png" in page
    facts = json.loads((place / "chain" / "chain.json").read_text())
    assert facts["simulated"] and [one["name"] for one in facts["stages"]] == STAGES
    assert all(one["done"] for one in facts["stages"])
    scored = [one for one in facts["stages"] if "scores" in one]
    assert [one["name"] for one in scored] == ["baseline", "specialise/round-1", "fuse", "calibrate"]
    for one in scored:
        row = re.search(rf'<a href="{one["name"]}/report.html">.*?</tr>', page, re.DOTALL)
        assert row is not None and (place / "chain" / one["name"] / "report.html").exists()
        for score in ("map50", "recall"):
            assert f"{one['scores'][score]['value']:.3f}" in row[0]
    assert not re.search(r"\b(None|nan|NaN|inf)\b", re.sub("<pre.*?</pre>", "", page, flags=re.DOTALL))
