"""geomag: the demo, a planted signal and nothing planted, side by side, in minutes on two cores."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from groundswell.core.files import atomic_path, write_text
from groundswell.core.progress import say
from groundswell.core.recipe import build_recipe, load_recipe, shipped_recipe
from groundswell.pipelines.geomag.figures.draw import draw_figures
from groundswell.pipelines.geomag.recipe import GeomagRecipe
from groundswell.pipelines.geomag.simulate.recipe import SimulateRecipe
from groundswell.pipelines.geomag.simulate.simulating import simulate
from groundswell.pipelines.geomag.study.run import Engine, StudyOutcome, run_study
from groundswell.train.executors import available_cores

_DPI = 120  # of the demo's pictures; 600 is for print


def run_demo(out: Path, seed: int) -> Path:
    """Simulate windows with a planted signal and the same draw with nothing planted; study both; the report's path.

    A demo that was interrupted goes on where it was.
    """
    planted = _study(out, "planted", seed, [])
    null = _study(out, "null", seed, ["study.models=[minirocket]"])
    say("Drawing the figures")
    draw_figures(planted.folder / "results", dpi=_DPI)
    report = out / "report.html"
    with atomic_path(report) as temporary:
        shutil.copyfile(planted.report, temporary)
    text = ["With a planted signal:", *planted.conclusion, "With nothing planted:", *null.conclusion]
    write_text(out / "conclusion.txt", "\n".join(text) + "\n")
    say("\n".join(text))
    return report


def _study(out: Path, arm: str, seed: int, sets: list[str]) -> StudyOutcome:
    data, folder = out / arm / "data", out / arm / "study"
    if not (data / "window-7").exists():
        if data.exists():
            shutil.rmtree(data)  # of a demo that was interrupted while it simulated
        say(f"Simulating windows of 7 days ({arm})")
        simulate(_simulated(arm, seed), data)
    recipe = load_recipe(GeomagRecipe, shipped_recipe("groundswell.pipelines.geomag", "demo"), [
        f"data.folder={data.resolve()}", f"train.seed={seed}", f"split.seed={seed}", *sets])
    workers = min(recipe.study.workers, available_cores())
    return run_study(recipe, folder, Engine("loky" if workers > 1 else "inline", workers))


def _simulated(arm: str, seed: int) -> SimulateRecipe:
    values: dict[str, Any] = {"seed": seed, "windows": [7], "background": {"years": 3.0}}
    if arm == "null":
        values["strength"] = 0.0
    return build_recipe(SimulateRecipe, values)
