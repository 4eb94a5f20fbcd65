"""Notebooks of the documentation are small, were executed without errors, and run as scripts."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))
NOTEBOOKS = [path for path in NOTEBOOKS if "_build" not in path.parts and "gallery" not in path.parts]
MOST_CELLS, MOST_BYTES_OF_PICTURES = 15, 200_000


def cells(path: Path, kind: str = "code") -> list[dict[str, Any]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["metadata"]["kernelspec"]["language"]) == (4, "python")
    return [cell for cell in content["cells"] if cell["cell_type"] == kind]


def printed(cell: dict[str, Any]) -> str:
    return "".join("".join(out["text"]) for out in cell["outputs"] if out["output_type"] == "stream")


def pictures(path: Path) -> list[bytes]:
    return [base64.b64decode(out["data"]["image/png"]) for cell in cells(path) for out in cell["outputs"]
            if "image/png" in out.get("data", {})]


def test_there_is_a_notebook() -> None:
    assert [path.name for path in NOTEBOOKS] == ["geomag_study.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_is_small_and_was_executed_from_top_to_bottom(path: Path) -> None:
    assert len(cells(path)) + len(cells(path, "markdown")) <= MOST_CELLS
    assert [cell["execution_count"] for cell in cells(path)] == list(range(1, len(cells(path)) + 1))
    kinds = {out["output_type"] for cell in cells(path) for out in cell["outputs"]}
    assert kinds == {"stream", "display_data"}
    assert pictures(path) and sum(map(len, pictures(path))) <= MOST_BYTES_OF_PICTURES
    assert all(picture.startswith(b"\x89PNG") for picture in pictures(path))
    text = "".join(printed(cell) for cell in cells(path))
    assert "simulated" in text and "association in this sample" in text
    assert not [word for word in ("predict", "/tmp/", "/home/", "Traceback") if word in text]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs_as_a_script(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GROUNDSWELL_QUIET", "1")
    shown: list[int] = []

    def show() -> None:
        shown.extend(plt.get_fignums())
        plt.close("all")

    monkeypatch.setattr(plt, "show", show)
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(cells(path), start=1):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), names)
        assert bool(out.getvalue()) == bool(printed(cell)), f"cell {number}"
    assert len(shown) == len(pictures(path))
