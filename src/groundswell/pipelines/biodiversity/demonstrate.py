"""biodiversity: the demo: one simulated world, a split by chance and a split by place, side by side, in minutes."""

from __future__ import annotations

import shutil
from pathlib import Path

from groundswell.core.files import atomic_path, write_text
from groundswell.core.progress import say
from groundswell.core.recipe import build_recipe, load_recipe, shipped_recipe
from groundswell.core.run import RunFolder
from groundswell.pipelines.biodiversity.recipe import BiodiversityRecipe
from groundswell.pipelines.biodiversity.simulate.recipe import SimulateRecipe
from groundswell.pipelines.biodiversity.simulate.simulating import simulate
from groundswell.pipelines.biodiversity.splitting import split_observations
from groundswell.pipelines.judge import Judgement, evaluate_run
from groundswell.pipelines.workflow import start_run, train_run

_WORLDS: dict[str, dict[str, float]] = {"class": {}, "place": {"class_effect": 0.0, "season_effect": 0.0,
                                                                "place_effect": 3.0}}
"""A world in which pictures tell the species, and one in which they tell nothing but where they were taken."""
_BY_CHANCE = ["split.regime=grouped", "split.buffer_m=0.0"]
_RUNS: tuple[tuple[str, str, list[str]], ...] = (("class", "spatial", []), ("place", "random", _BY_CHANCE),
                                                 ("place", "spatial", []))


def run_demo(out: Path, seed: int) -> Path:
    """Simulate, split, train and evaluate; the path of ``report.html``. A demo that was interrupted goes on."""
    told = ["Observations and embeddings are simulated; the numbers say nothing of real ones."]
    for world, name, sets in _RUNS:
        judged = _run(out, world, name, seed, sets)
        told += [f"World '{world}', split '{name}':", judged.text]
        if (world, name) == ("class", "spatial"):
            first = judged
    report = out / "report.html"
    with atomic_path(report) as temporary:
        shutil.copyfile(first.report, temporary)
    write_text(out / "conclusion.txt", "\n".join(told) + "\n")
    say("\n".join(told))
    return report


def _run(out: Path, world: str, name: str, seed: int, sets: list[str]) -> Judgement:
    store, place = out / world / "store", out / world / name
    if not (store / "truth.json").exists():
        if store.exists():
            shutil.rmtree(store)  # of a demo that was interrupted while it simulated
        say(f"Simulating a store of embeddings ({world})")
        simulate(build_recipe(SimulateRecipe, {**_WORLDS[world], "seed": seed}), store)
    recipe = load_recipe(BiodiversityRecipe, shipped_recipe("groundswell.pipelines.biodiversity", "demo"), [
        f"data.store={store.resolve()}", f"train.seed={seed}", f"split.seed={seed}", *sets])
    if (place / "recipe.yaml").exists():
        run = RunFolder.open(place)
    else:
        split_observations(recipe, out / world / f"{name}-split")
        run = start_run("biodiversity", recipe, place)
    say(f"Training on the split '{name}' of the world '{world}'")
    train_run(run)
    return evaluate_run(run)
