"""Whatever goes wrong ends with one paragraph and an honest exit status: recipes, run folders, full disks, Ctrl-C."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from groundswell.cli.main import main
from groundswell.core.errors import InputError
from groundswell.core.recipe import dump_recipe, load_recipe
from groundswell.core.run import RunFolder
from groundswell.pipelines.das.data import WORKFLOW
from groundswell.pipelines.das.recipe import DasRecipe
from groundswell.pipelines.workflow import FoldSetup, start_run
from groundswell.train.fit import fit

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated archive and a recipe that trains on it in a second."""
    folder = tmp_path_factory.mktemp("errors")
    recipe = WORKFLOW.small(folder, 5)
    (folder / "recipe.yaml").write_text(dump_recipe(recipe))
    return folder


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    """A trained run."""
    assert main(["das", "train", str(place / "recipe.yaml"), "--out", str(place / "trained")]) == 0
    return place / "trained"


def refused(capsys: Capture, words: list[str], status: int = 2) -> str:
    """Run a command that must end with ``status`` and one paragraph; what it says."""
    capsys.readouterr()
    assert main(["--quiet", *words]) == status
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith("groundswell: ")]
    assert len(lines) == 1, said
    assert said.endswith(lines[0] + "\n"), said
    assert "Traceback" not in said
    assert "should not have happened" not in said
    return lines[0]


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*")
            if p.is_file() and ".groundswell" not in p.parts}


# -- recipes ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "expected"), [
    ("train: {epoch: 3}", ["train.epoch", "did you mean 'train.epochs'"]),
    ("nonsense: 3", ["no key 'nonsense'", "groundswell recipe show das"]),
    ("train: {epochs: many}", ["train.epochs", "'many'"]),
    ("train: {epochs: 1.5}", ["train.epochs", "1.5"]),
    ("train: {epochs: 0}", ["train.epochs", "given: 0"]),
    ("train: {learning_rate: .nan}", ["train.learning_rate"]),
    ("train: {learning_rate: .inf}", ["train.learning_rate", "finite"]),
    ("train: {epochs: 3, epochs: 4}", ["'epochs'", "twice", "line 2"]),
    ("train: {epoch: 3}\nmodel: {num_layers: 99}", ["train.epoch", "model.num_layers"]),
    ("train: 3", ["'train'"]),
    ("model: {type: transformer, hidden_dim: 12, heads: 8}", ["hidden_dim 12", "8 heads"]),
    ("model: {type: resnet}", ["model.type", "'resnet'", "fibre_cnn"]),
    ("data: {rate_hz: 100.0}\npreprocess: {bandpass_hz: [5.0, 60.0]}", ["preprocess.bandpass_hz", "60.0 Hz"]),
    ("preprocess: {bandpass_hz: [9.0, 5.0]}", ["bandpass_hz", "lower one first"]),
    ("train: {balanced_sampling: true}", ["train.balanced_sampling", "train.use_class_weights"]),
    ("data: {window_samples: 64}\npreprocess: {decimate: 8}", ["data.window_samples", "preprocess.decimate"]),
    ("split: {validation: 0.6, test: 0.5}", ["validation and test"]),
    ("data: !!python/object/apply:os.system ['touch pwned']", ["tag", "line 2"]),
    ("data: !!python/object:os.system {}", ["tag", "line 2"]),
    ("data: [1", ["YAML", "line"]),
])
def test_a_bad_recipe_is_refused_with_its_keys(
        text: str, expected: list[str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"pipeline: das\n{text}\n")
    for words in (["recipe", "validate", str(recipe)], ["das", "train", str(recipe), "--out", "run"]):
        said = refused(capsys, words)
        assert "mine.yaml" in said
        for part in expected:
            assert part in said
    assert os.listdir(tmp_path) == ["mine.yaml"]


@pytest.mark.parametrize(("content", "expected"), [
    (b"", "which pipeline"), (b"- 1\n", "which pipeline"), (b"pipeline: geology\n", "'geology'"),
    (b"\xff\xfe\x00", "cannot be read"),
])
def test_a_file_that_is_no_recipe_is_refused(content: bytes, expected: str, tmp_path: Path, capsys: Capture) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_bytes(content)
    assert expected in refused(capsys, ["recipe", "validate", str(recipe)])
    assert "No such file" in refused(capsys, ["recipe", "validate", str(tmp_path / "absent.yaml")])


@pytest.mark.parametrize(("setting", "expected"), [
    ("train.epochs", "no '='"), ("train.epochs.x=3", "train.epochs.x"), ("train.epochs=[", "--set train.epochs"),
    ("train.epoch=3", "did you mean 'train.epochs'"), ("train.epochs=x", "'train.epochs'"),
])
def test_a_bad_setting_is_refused(setting: str, expected: str, place: Path, capsys: Capture) -> None:
    out = place / "never"
    assert expected in refused(capsys, ["das", "train", str(place / "recipe.yaml"), "--set", setting, "--out",
                                        str(out)])
    assert not out.exists()


def test_a_precision_may_be_written_as_the_number_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("pipeline: das\ntrain: {precision: 32}\n")
    assert load_recipe(DasRecipe, tmp_path / "mine.yaml").train.precision == "32"


def test_a_recipe_that_is_not_there_is_answered_with_those_that_are(capsys: Capture, tmp_path: Path) -> None:
    said = refused(capsys, ["das", "train", "fiber", "--out", str(tmp_path / "run")])
    assert "'fiber'" in said
    assert "fibre" in said


# -- run folders ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("verb", ["resume", "evaluate", "report", "export"])
def test_what_is_no_run_is_refused(verb: str, place: Path, capsys: Capture) -> None:
    before = everything(place / "archive")
    assert "not the folder of a run" in refused(capsys, [verb, str(place / "archive")])
    assert "absent" in refused(capsys, [verb, str(place / "absent")])
    assert everything(place / "archive") == before
    assert not (place / "absent").exists()


def test_two_runs_do_not_go_into_one_folder(place: Path, trained: Path, capsys: Capture) -> None:
    before = everything(trained)
    said = refused(capsys, ["das", "train", str(place / "recipe.yaml"), "--out", str(trained)])
    assert "There is a run in this folder already" in said
    assert str(trained) in said
    assert "not empty" in refused(capsys, ["das", "train", str(place / "recipe.yaml"), "--out",
                                           str(place / "archive")])
    assert everything(trained) == before


def test_a_run_that_another_process_works_in_is_left_alone(trained: Path, capsys: Capture) -> None:
    with RunFolder.open(trained).lock():
        for verb in ("resume", "evaluate"):
            said = refused(capsys, [verb, str(trained)])
            assert "Another process works in this run folder" in said
            assert f"process {os.getpid()}" in said


def test_an_untrained_run_is_neither_scored_nor_used(place: Path, tmp_path: Path, capsys: Capture) -> None:
    run = tmp_path / "run"
    start_run("das", load_recipe(DasRecipe, place / "recipe.yaml"), run)
    before = {name: data for name, data in everything(run).items() if name != "run.lock"}
    for words in (["evaluate", str(run)], ["export", str(run)], ["predict", str(run), str(place / "archive")]):
        said = refused(capsys, words)
        assert "not trained yet" in said
        assert f"groundswell resume {run}" in said
    assert "has not been evaluated" in refused(capsys, ["report", str(run)])
    assert {name: data for name, data in everything(run).items() if name != "run.lock"} == before


def test_resuming_what_is_finished_changes_nothing(trained: Path) -> None:
    before = everything(trained)
    assert main(["resume", str(trained)]) == 0
    assert everything(trained) == before


@pytest.mark.parametrize("name", ["samples.parquet", "split.json", "split.parquet", "records.json",
                                  "predictions.parquet"])
def test_a_damaged_file_of_a_run_is_named(name: str, trained: Path, tmp_path: Path, capsys: Capture) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    whole = (run / name).read_bytes()
    (run / name).write_bytes(whole[:len(whole) // 2])
    said = refused(capsys, ["evaluate", str(run), "--no-controls"])
    assert str(run) in said
    assert not (run / "metrics.json").exists()


@pytest.mark.parametrize(("was", "now", "key"), [
    ("noise_level: 0.05", "noise_level: 0.06", "augment.noise_level"),
    ("dropout: 0.3", "dropout: 0.2", "model.dropout"),
    ("scaling: window", "scaling: none", "preprocess.scaling"), ("epochs: 2", "epochs: 3", "train.epochs"),
    ("window_samples: 512", "window_samples: 256", "data.window_samples")])
def test_a_run_is_only_gone_on_with_and_used_by_the_recipe_it_was_begun_with(
        was: str, now: str, key: str, trained: Path, tmp_path: Path, capsys: Capture) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    recipe = (run / "recipe.yaml").read_text()
    assert f" {was}\n" in recipe
    (run / "recipe.yaml").write_text(recipe.replace(f" {was}\n", f" {now}\n", 1))
    before = everything(run)
    for words in (["resume", str(run)], ["export", str(run)]):
        said = refused(capsys, words)
        assert f"{key} was" in said
        assert str(run / "recipe.yaml") in said
    assert everything(run) == before
    # What follows from none of these may be changed, and files may have moved.
    free = recipe.replace(" threads: 1\n", " threads: 2\n").replace(" bad_windows: stop", " bad_windows: skip")
    (run / "recipe.yaml").write_text(free.replace(" nan_retries: 3", " nan_retries: 5").replace("/archive", "/moved"))
    assert main(["resume", str(run)]) == 0


def test_records_and_states_that_were_damaged_are_told(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (run / "status.json").write_text('{"stave": "trained"}')
    for word in ("resume", "report"):
        assert "status.json" in refused(capsys, [word, str(run)])
    (run / "status.json").write_text('{"state": "trained"}')
    records = (run / "records.json").read_text()
    assert '"rate_hz": 100.0' in records
    (run / "records.json").write_text(records.replace('"rate_hz": 100.0', '"rate_hz": 101.0', 1))
    assert "records.json" in refused(capsys, ["evaluate", str(run), "--no-controls"])
    assert "records.json" in refused(capsys, ["export", str(run)])


def test_a_message_of_several_lines_becomes_one_paragraph() -> None:
    assert str(InputError("The reader said:\n  bad\n\tworse\n", where="a.h5", fix="Look\nat it.")) == \
        "The reader said: bad worse (a.h5). Look at it."
    assert str(InputError("Among them a, b ...", where="c")) == "Among them a, b ... (c)."


def test_quiet_and_debug_are_for_one_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GROUNDSWELL_QUIET", "kept")
    monkeypatch.delenv("GROUNDSWELL_DEBUG", raising=False)
    assert main(["--quiet", "--debug", "resume", str(tmp_path)]) == 2
    assert os.environ["GROUNDSWELL_QUIET"] == "kept"
    assert "GROUNDSWELL_DEBUG" not in os.environ


# -- full disks -------------------------------------------------------------------------------------------------------

def _full(monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    """Let the ``nth`` rename of a finished file fail as on a full disk."""
    rename, done = os.replace, [0]

    def replace(source: Any, target: Any, **more: Any) -> None:
        done[0] += ".groundswell" not in Path(target).parts
        if done[0] == nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        rename(source, target, **more)

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5, 6, 7])
def test_a_full_disk_leaves_no_half_begun_run(
        nth: int, place: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    _full(monkeypatch, nth)
    said = refused(capsys, ["das", "train", str(place / "recipe.yaml"), "--out", str(tmp_path / "run")], status=1)
    assert "No space left" in said
    assert str(tmp_path / "run") in said
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("words", [
    ["predict", "RUN", "FILE", "--out", "p.json"], ["predict", "RUN", "FILE", "--out", "p.csv"],
    ["das", "detect", "RUN", "FILE", "--out", "e.csv"], ["das", "detect", "RUN", "FILE", "--out", "e.xml"],
    ["das", "plot", "FILE", "--out", "w.png"], ["das", "scan", "FILE", "--out", "s.parquet"],
    ["das", "label", "FOLDER", "--events", "CATALOGUE", "--out", "i.csv"],
    ["das", "index", "RECIPE", "--out", "s.parquet"], ["recipe", "init", "das", "--out", "r.yaml"],
])
def test_a_full_disk_leaves_nothing_half_written(
        words: list[str], place: Path, trained: Path, tmp_path: Path, capsys: Capture,
        monkeypatch: pytest.MonkeyPatch) -> None:
    archive = place / "archive"
    meant = {"RUN": str(trained), "FILE": str(sorted(archive.glob("*.h5"))[0]), "FOLDER": str(archive),
             "CATALOGUE": str(archive / "catalogue.csv"), "RECIPE": str(place / "recipe.yaml")}
    monkeypatch.chdir(tmp_path)
    _full(monkeypatch, 1)
    said = refused(capsys, [meant.get(word, word) for word in words], status=1)
    assert "No space left" in said
    assert words[-1] in said
    assert os.listdir(tmp_path) == []


def _small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))


@pytest.mark.parametrize("words", [
    ["das", "simulate", "sim", "--set", "events=1"],
    ["das", "train", "RECIPE", "--set", "model.hidden_dim=32", "--out", "run"],
])
def test_a_file_that_may_not_grow_is_a_full_disk(words: list[str], place: Path, tmp_path: Path) -> None:
    words = [str(place / "recipe.yaml") if word == "RECIPE" else word for word in words]
    done = subprocess.run([sys.executable, "-m", "groundswell", "-q", *words], cwd=tmp_path, capture_output=True,
                          text=True, preexec_fn=_small_files)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1
    assert "No space left" in done.stderr
    # What was begun can be gone on with; of the file that had no room nothing is left.
    assert not [p for p in tmp_path.rglob("*") if ".part" in p.name or p.suffix in (".h5", ".ckpt")]


# -- being stopped ----------------------------------------------------------------------------------------------------

def test_a_run_goes_back_to_a_checkpoint_that_is_named(place: Path, tmp_path: Path, capsys: Capture) -> None:
    recipe = load_recipe(DasRecipe, place / "recipe.yaml",
                         ["train.epochs=3", "train.checkpoint_every=1", "train.keep=5"])
    run = start_run("das", recipe, tmp_path / "run")
    fold = run.fold_path(0)
    fit(FoldSetup("das", run.path, 0), recipe.train, fold, quiet=True)  # killed before it could predict
    checkpoints, logs = fold / "checkpoints", ("steps.csv", "epochs.csv")
    first, *later = sorted(checkpoints.glob("*.ckpt"))
    for path in later:  # as if written long ago: a file system gives a new file the inode of one just removed
        os.utime(path, (0, 0))
    before = {path: (path.read_bytes(), path.stat().st_mtime) for path in later}
    kept = {name: (fold / "logs" / name).read_bytes() for name in logs}
    for path, words in ((tmp_path / "else.ckpt", "no checkpoint of the run"),
                        (checkpoints / "step-000000000.ckpt", "no such checkpoint")):
        assert words in refused(capsys, ["resume", str(run.path), "--checkpoint", str(path)])
    assert {path: (path.read_bytes(), path.stat().st_mtime) for path in later} == before
    assert main(["-q", "resume", str(run.path), "--checkpoint", str(first)]) == 0
    # All after the first was done again, to the same bytes.
    assert [path.read_bytes() for path in later] == [data for data, _ in before.values()]
    assert all(path.stat().st_mtime > 0 for path in later)
    assert {name: (fold / "logs" / name).read_bytes() for name in logs} == kept
    assert "of use no more" in refused(capsys, ["resume", str(run.path), "--checkpoint", str(first)])


@pytest.mark.parametrize("name", ["chain.yaml", "study.yaml"])
def test_a_checkpoint_is_of_one_run_and_not_of_several(name: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / name).write_text("")
    said = refused(capsys, ["resume", str(tmp_path), "--checkpoint", "a.ckpt"])
    assert "holds several" in said and f"groundswell runs {tmp_path}" in said


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_training_that_is_stopped_can_be_gone_on_with(
        number: signal.Signals, status: int, place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "groundswell", "-q"]
    words = ["das", "train", str(place / "recipe.yaml"), "--set", "train.epochs=100000", "--set",
             "train.early_stopping_patience=0", "--set", "train.checkpoint_every=0", "--out", str(run)]
    with subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True) as process:
        waited = time.monotonic() + 60
        while not list(run.glob("fold-1/checkpoints/*.ckpt")) and time.monotonic() < waited:
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == status
    if status > 0:
        told = said.strip().splitlines()  # what was asked for at once, and how it ended
        assert [line.startswith("groundswell: ") for line in told] == [False, True]
        assert "groundswell resume" in told[-1]
    assert list(run.glob("fold-1/checkpoints/*.ckpt"))
    assert main(["--quiet", "evaluate", str(run)]) == 2
