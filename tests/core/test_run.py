"""The run folder: made once, locked while worked in, found again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from groundswell.core.errors import InputError, MissingExtraError
from groundswell.core.optional import require
from groundswell.core.provenance import provenance
from groundswell.core.recipe import build_recipe
from groundswell.core.registry import discover, get_pipeline
from groundswell.core.run import RunFolder, find_runs
from groundswell.core.seeds import derive_seed
from groundswell.pipelines.das.recipe import DasRecipe


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", build_recipe(DasRecipe, {}), provenance(table="abc"))


def test_a_run_keeps_its_recipe_and_provenance(run: RunFolder) -> None:
    assert run.recipe(DasRecipe) == DasRecipe()
    assert run.pipeline == "das"
    assert run.status == {"state": "created"}
    assert '"table": "abc"' in (run.path / "provenance.json").read_text()


def test_a_second_run_does_not_enter_the_folder(run: RunFolder) -> None:
    with pytest.raises(InputError, match="run in this folder already"):
        RunFolder.create(run.path, DasRecipe(), {})


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        RunFolder.create(tmp_path, DasRecipe(), {})
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_processes_cannot_work_in_one_run(run: RunFolder) -> None:
    code = (f"from groundswell.core.run import RunFolder; from pathlib import Path\n"
            f"with RunFolder(Path({str(run.path)!r})).lock(): print('got it')")
    with run.lock():
        refused = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Another process works in this run folder" in refused.stderr
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "got it\n"


def test_runs_are_found_and_their_inner_fits_are_not(run: RunFolder, tmp_path: Path) -> None:
    RunFolder.create(run.path / "controls" / "permuted", DasRecipe(), {})
    assert [found.path for found in find_runs(tmp_path)] == [run.path]


def test_something_else_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not the folder of a run"):
        RunFolder.open(tmp_path)


def test_das_is_discovered_and_an_unknown_pipeline_is_named() -> None:
    assert discover()["das"].recipe_class() is DasRecipe
    with pytest.raises(InputError, match="no pipeline 'dass'"):
        get_pipeline("dass")


def test_a_missing_extra_says_what_to_install() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'groundswell\[das\]'"):
        require("no_such_package", extra="das", purpose="Reading TDMS")


def test_seeds_differ_by_every_part() -> None:
    parts: list[tuple[int | str, ...]] = [(1, "a"), (1, "b"), (2, "a"), ("1", "a"), (1, "a", 0)]
    seeds = {derive_seed(*some) for some in parts}
    assert len(seeds) == 5
    assert derive_seed(42, "order", 3) == derive_seed(42, "order", 3)
