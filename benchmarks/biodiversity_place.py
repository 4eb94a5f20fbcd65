"""What the biodiversity pipeline says of embeddings that know the place and nothing of the species: real observations,
simulated embeddings, a random split beside a spatial one with a buffer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.geomag import Rows, row
from groundswell.core.recipe import build_recipe, load_recipe, shipped_recipe
from groundswell.pipelines.biodiversity.recipe import BiodiversityRecipe
from groundswell.pipelines.biodiversity.simulate.recipe import SimulateRecipe
from groundswell.pipelines.biodiversity.simulate.simulating import simulate
from groundswell.pipelines.judge import evaluate_run
from groundswell.pipelines.workflow import start_run, train_run

REAL = (Path(__file__).resolve().parents[2] / "shared" / "data" / "biodiversity" / "central_florida_observations.csv")
SEEDS = 8
WORLD: dict[str, Any] = {"class_effect": 0.0, "season_effect": 0.0, "place_effect": 3.0, "language": False}
"""Vectors say where they were taken, out to 5 km, and nothing of what is there."""
SETS = ["evaluate.controls=[majority, month_prior, coordinates_knn]", "train.monitor=val_accuracy"]
"""What differs for both splits: the epoch is chosen by what is asked of it, and no linear probe is fitted beside."""
SPLITS: dict[str, list[str]] = {
    "random": ["data.group=observation", "split.regime=grouped", "split.buffer_m=0"],
    "spatial, 5 km buffer": ["split.regime=spatial", "split.buffer_m=5000"],
}
"""What differs from the shipped recipe called quick: single observations dealt by chance, and squares of 10 km with a
buffer as wide as the place's effect reaches."""
TIMES = 5.0
PLACE_ALONE = ("comes with the place, and is no evidence of telling species apart",
               "the score does not show that the model knows more than where an observation was made")
NO_SKILL = "contains chance"


def place(work: Path) -> Rows:
    """A place effect and no class effect on the real observations: random splits see skill, buffered ones none."""
    if not REAL.is_file():
        return [row("accuracy of embeddings that know the place alone", f"not measured: {REAL} is absent")]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in SPLITS}
    for seed in range(SEEDS):
        folder = work / f"biodiversity-place-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        simulate(build_recipe(SimulateRecipe, {**WORLD, "seed": seed, "observations": str(REAL)}), folder / "store")
        for name, sets in SPLITS.items():
            found[name].append(_judged(folder, name, seed, sets))
        shutil.rmtree(folder)
    random, spatial = found.values()
    times = [one["times"] for one in random]
    inside = [one["low"] <= one["chance"] <= one["high"] for one in spatial]
    above = [one["low"] > one["chance"] for one in spatial]
    rows = [row("simulated embeddings of real observations", f"{SEEDS} draws of embeddings and splits")]
    rows += [row(f"{name}, seed {seed}", _line(one)) for name, ones in found.items() for seed, one in enumerate(ones)]
    return [*rows,
            row("random split, accuracy over chance", _spread(times), f"at least {TIMES:g} in every draw",
                min(times) >= TIMES),
            row("random split, draws whose conclusion says that the score comes with the place",
                f"{sum(one['place'] for one in random)} of {SEEDS}", "all", all(one["place"] for one in random)),
            row("spatial split, accuracy over chance", _spread([one["times"] for one in spatial])),
            row("spatial split, draws whose interval contains chance", f"{sum(inside)} of {SEEDS}, "
                f"{sum(above)} above it", f"at least {SEEDS - 1}", sum(inside) >= SEEDS - 1),
            row("spatial split, draws whose conclusion says so", f"{sum(one['none'] for one in spatial)} of "
                f"{SEEDS}", "those whose interval contains chance", [one["none"] for one in spatial] == inside),
            row("what it says of the last random split", random[-1]["text"]),
            row("what it says of the last spatial split", spatial[-1]["text"])]


def _judged(folder: Path, name: str, seed: int, sets: list[str]) -> dict[str, Any]:
    recipe = load_recipe(BiodiversityRecipe, shipped_recipe("groundswell.pipelines.biodiversity", "quick"), [
        f"data.store={folder / 'store'}", f"split.seed={seed}", f"train.seed={seed}", *SETS, *sets])
    run = start_run("biodiversity", recipe, folder / name.partition(",")[0])
    train_run(run, quiet=True)
    judged = evaluate_run(run, quiet=True)
    accuracy, chance = judged.metrics["units"]["metrics"]["accuracy"], judged.metrics["skill"]["chance"]
    print(f"      seed {seed}, {name}: {judged.text}", flush=True)
    return {**accuracy, "chance": chance, "times": accuracy["value"] / chance,
            "tested": judged.metrics["units"]["samples"], "place": all(words in judged.text for words in PLACE_ALONE),
            "none": NO_SKILL in judged.text, "text": judged.text.replace("\n", " ")}


def _line(one: dict[str, Any]) -> str:
    return (f"{one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f}) of {one['tested']}, chance "
            f"{one['chance']:.4f}: {one['times']:.1f} times")


def _spread(values: list[float]) -> str:
    return (f"{np.mean(values):.2f} ± {np.std(values):.2f} over {len(values)} draws, {min(values):.2f} to "
            f"{max(values):.2f}")
