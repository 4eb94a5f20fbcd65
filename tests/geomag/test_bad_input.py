"""Windows and recipes that cannot be used: one paragraph, exit status 2, and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy_windows import toy_layout

from groundswell.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Windows that a test may spoil."""
    return toy_layout(tmp_path / "data", events=12)


def edit(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    np.save(path, change(np.load(path)))


def narrow(folder: Path) -> None:
    edit(folder / "data_1.npy", lambda x: x[:, 1:])


def flat(folder: Path) -> None:
    edit(folder / "data_1.npy", np.ravel)


def label_two(folder: Path) -> None:
    def change(x: np.ndarray) -> np.ndarray:
        x[3, -1] = 2
        return x
    edit(folder / "data_1.npy", change)


def one_class(folder: Path) -> None:
    edit(folder / "data_0.npy", lambda x: x[:0])


def nan(folder: Path) -> None:
    def change(x: np.ndarray) -> np.ndarray:
        x[2, 5000] = np.nan
        return x
    edit(folder / "data_0.npy", change)


def absent(folder: Path) -> None:
    (folder / "data_0.npy").unlink()


def text(folder: Path) -> None:
    (folder / "data_0.npy").write_text("1, 2, 3")


def sidecar_cut(folder: Path) -> None:
    path = folder / "samples.csv"
    pd.read_csv(path).iloc[:-1].to_csv(path, index=False)


SPOILT = [(narrow, "Rows have 10080 columns"), (flat, "two-dimensional"), (label_two, "labels must be 0 or 1"),
          (one_class, "only one class"), (nan, "not finite"), (absent, "no such file of windows"),
          (text, "not an array file"), (sidecar_cut, "do not name each")]


@pytest.mark.parametrize(("spoil", "message"), SPOILT, ids=[spoil.__name__ for spoil, _ in SPOILT])
@pytest.mark.parametrize("verb", ["train", "study", "split"])
def test_windows_that_cannot_be_used(data, capsys, tmp_path, verb, spoil, message) -> None:
    spoil(data / "window-7")
    refused(capsys, data, tmp_path, verb, [], message)


@pytest.mark.parametrize(("sets", "message"), [
    (["split.folds=20", "split.holdout=0"], "There are 12 events and 20 folds"),
    (["data.window=8", "study.windows=[8]"], "data.window"),
    (["model.type=gpt", "study.models=[gpt]"], "model.type"),
    (["train.balanced_sampling=true"], "same imbalance"),
    (["data.folder=/nowhere"], "no such file of windows"),
    (["split.by=planet"], "planet"),
    (["train.epoch=3"], "train.epochs"),
])
@pytest.mark.parametrize("verb", ["train", "study"])
def test_recipes_that_cannot_be_used(data, capsys, tmp_path, verb, sets, message) -> None:
    refused(capsys, data, tmp_path, verb, sets, message)


def refused(capsys: Capture, data: Path, tmp_path: Path, verb: str, sets: list[str], message: str) -> None:
    out = tmp_path / "out"
    words = ["geomag", verb, "seed", "--set", f"data.folder={data}", "--set", "study.windows=[7]"]
    for assignment in sets:
        words += ["--set", assignment]
    capsys.readouterr()
    assert main([*words, "--out", str(out)]) == 2
    captured = capsys.readouterr()
    paragraphs = [line for line in captured.err.splitlines() if line.startswith("groundswell: ")]
    assert len(paragraphs) == 1 and message in paragraphs[0], captured.err
    assert "Traceback" not in captured.err
    assert not out.exists() or not any(out.rglob("*"))


def test_windows_that_overlap_say_what_to_do(tmp_path, capsys) -> None:
    data = toy_layout(tmp_path / "data", events=12, spacing_days=5)
    refused(capsys, data, tmp_path, "train", [], "overlap in time and make only 1 group")


def test_single_windows_leak_and_are_refused_without_a_reason(data, capsys, tmp_path) -> None:
    words = ["geomag", "split", "seed", "--set", f"data.folder={data}", "--set", "split.regime=stratified"]
    assert main(words) == 3
    assert "12 groups are in more than one part" in capsys.readouterr().out
    assert main([*words, "--set", "split.allow_leakage=to show the leak"]) == 0


@pytest.mark.parametrize(("words", "message"), [
    (["build", "{out}", "--raw", "/nowhere.min"], "nowhere.min"),
    (["build"], "folder for the windows is missing"),
    (["simulate"], "folder for the simulated windows is missing"),
    (["simulate", "{out}", "--set", "signal.kind=whale"], "signal.kind"),
    (["analyze", "/nowhere"], "/nowhere"),
    (["analyze", "{data}", "--plot", "a.jpg"], "Pictures are written as .png"),
    (["figures", "/nowhere"], "/nowhere"),
    (["study", "seed", "--set", "data.folder={data}", "--set", "study.windows=[7]", "--out", "{out}", "--engine",
      "warp"], "no engine 'warp'"),
])
def test_other_verbs(data, capsys, tmp_path, words, message) -> None:
    out = tmp_path / "out"
    assert main(["geomag", *(word.format(out=out, data=data) for word in words)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists() or not any(out.rglob("*"))
