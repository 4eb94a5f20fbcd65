"""The command line starts at once and helps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from groundswell.cli.main import main

HEAVY = ("torch", "numpy", "pandas", "h5py", "scipy", "sklearn", "matplotlib", "lightning_fabric", "onnxruntime",
         "pyarrow", "obspy", "dascore")


def groundswell(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "groundswell", *words], capture_output=True, text=True,
                          env={**os.environ, **settings})


@pytest.mark.parametrize("words", [["--help"], ["das", "--help"], ["das", "train", "--help"], ["predict", "--help"],
                                   ["biodiversity", "train", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (f"import sys; from groundswell.cli.main import main; status = main({words!r}); "
            f"print(sorted(set(sys.modules) & set({HEAVY!r})), status, file=sys.stderr)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "[] 0"
    assert "Usage" in done.stdout


def test_help_takes_under_half_a_second() -> None:
    # Of processor time: the machine's other work is not ours to answer for.
    took = []
    for _ in range(5):
        before = os.times()
        groundswell("--help")
        after = os.times()
        took.append(after.children_user - before.children_user + after.children_system - before.children_system)
    assert 0 < min(took) < 0.5


def test_a_mistyped_command_is_answered_with_the_nearest() -> None:
    done = groundswell("dctor")
    assert done.returncode == 2
    assert "doctor" in done.stderr


def test_doctor_speaks_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    facts = {fact["name"]: fact for fact in json.loads(capsys.readouterr().out)}
    assert set(facts) >= {"Python", "torch", "numpy", "HDF5", "CPU", "Memory", "GPU", "Disk", "extra das"}


def test_doctor_says_what_a_missing_extra_would_enable(monkeypatch: pytest.MonkeyPatch) -> None:
    from groundswell.cli import doctor

    monkeypatch.setattr(doctor, "available", lambda module: module != "obspy")
    fact = next(f for f in doctor.examine() if f.name == "extra das")
    assert fact.state == "missing"
    assert "miniSEED" in fact.value
    assert "groundswell[das]" in fact.value


def test_doctor_knows_the_extras_of_every_pipeline_and_says_which_licence_comes_along() -> None:
    from groundswell.cli.doctor import EXTRAS
    from groundswell.core.registry import discover

    assert {extra for pipeline in discover().values() for extra in pipeline.extras} <= set(EXTRAS)
    assert "AGPL-3.0" in EXTRAS["yolo"][1]


def test_bad_input_is_one_paragraph_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path)]) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "not the folder of a run" in text


def test_a_recipe_is_made_checked_and_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    assert main(["recipe", "init", "das", "--out", str(path)]) == 0
    assert main(["recipe", "validate", str(path)]) == 0
    assert main(["recipe", "init", "das", "--out", str(path)]) == 2
    path.write_text(path.read_text().replace("epochs:", "epoch:"))
    assert main(["recipe", "validate", str(path)]) == 2
    assert "did you mean 'train.epochs'" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("groundswell ")
