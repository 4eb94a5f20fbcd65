"""das: the page about the simulator lists every knob as it is."""

from __future__ import annotations

from pathlib import Path

from groundswell.core.recipe import describe_recipe
from groundswell.pipelines.das.simulate.recipe import SimulateRecipe

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pipelines" / "das-simulator.md"


def test_the_page_lists_every_knob_with_its_default_and_meaning() -> None:
    listed = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    wanted = [f"| `{key}` | `{default}` | {' '.join(meaning.split())} |"
              for key, _, default, meaning in describe_recipe(SimulateRecipe)]
    assert [line for line in listed if line.split("`")[1] in {w.split("`")[1] for w in wanted}] == wanted
    assert all(line.rstrip(" |").split("|")[-1].strip() for line in wanted), "a knob without a meaning"
