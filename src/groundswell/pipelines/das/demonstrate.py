"""das: the demo, from simulated records to a report, in minutes on two cores."""

from __future__ import annotations

import shutil
from pathlib import Path

from groundswell.core.files import atomic_path
from groundswell.core.progress import say
from groundswell.core.recipe import build_recipe, load_recipe, shipped_recipe
from groundswell.core.run import RunFolder
from groundswell.pipelines.das.recipe import DasRecipe
from groundswell.pipelines.das.simulate.archive import simulate_archive
from groundswell.pipelines.das.simulate.recipe import SimulateRecipe
from groundswell.pipelines.judge import evaluate_run
from groundswell.pipelines.workflow import start_run, train_run

EVENTS = 50


def run_demo(out: Path, seed: int) -> Path:
    """Simulate, train five folds, evaluate beside the controls; the path of ``report.html``.

    A demo that was interrupted goes on where it was.
    """
    archive, run_path = out / "archive", out / "run"
    if (run_path / "recipe.yaml").exists():
        run = RunFolder.open(run_path)
    else:
        if archive.exists():
            shutil.rmtree(archive)  # of a demo that was interrupted while it simulated
        say(f"Simulating {EVENTS} events into {archive}")
        simulate_archive(demo_archive(seed), archive)
        recipe = load_recipe(DasRecipe, shipped_recipe("groundswell.pipelines.das", "demo"),
                             [f"data.folder={archive.resolve()}", f"train.seed={seed}", f"split.seed={seed}"])
        run = start_run("das", recipe, run_path)
    say("Training five folds, each tested on events that it never saw")
    train_run(run)
    say("Scoring beside the controls, which are trained on the same folds")
    judgement = evaluate_run(run)
    report = out / "report.html"
    with atomic_path(report) as temporary:
        shutil.copyfile(judgement.report, temporary)
    say(judgement.text)
    return report


def demo_archive(seed: int) -> SimulateRecipe:
    """What the demo simulates: no clock confound, moderate noise."""
    return build_recipe(SimulateRecipe, {"events": EVENTS, "seed": seed})
