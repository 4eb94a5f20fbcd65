"""What the geomag pipeline says of windows whose truth is known: copies of events, a planted signal, nothing at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kstest

from groundswell.core.recipe import build_recipe, load_recipe, shipped_recipe
from groundswell.evaluate.intervals import Estimate
from groundswell.evaluate.metrics import written
from groundswell.pipelines.geomag.data import WORKFLOW, prepared_reader
from groundswell.pipelines.geomag.probe import probe_leak
from groundswell.pipelines.geomag.recipe import GeomagRecipe
from groundswell.pipelines.geomag.rocket import fit_rocket, rocket_permutation_test
from groundswell.pipelines.geomag.simulate.recipe import SimulateRecipe
from groundswell.pipelines.geomag.simulate.signal import strength_of
from groundswell.pipelines.geomag.simulate.simulating import simulate
from groundswell.pipelines.geomag.study.combining import weighted_f1
from groundswell.pipelines.geomag.study.run import Engine, run_study
from groundswell.splits.make import make_split
from groundswell.train.executors import available_cores

Rows = list[dict[str, Any]]
REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "geomag" / "ESK_2003.npz"
DRAWS = 10
NULL_SEEDS, NULL_KERNELS = 40, 2000
DEALS = 199


def row(what: str, value: Any, target: str = "", reached: bool | None = None) -> dict[str, Any]:
    """One line of a benchmark's results."""
    return {"what": what, "value": value, "target": target, "reached": reached}


def absent(what: str) -> Rows:
    """What a benchmark of real minutes gives where there are none."""
    return [row(what, f"not measured: {REAL} is absent")]


def simulated(root: Path, values: dict[str, Any]) -> SimulateRecipe:
    """Simulate windows into ``root``, unless they are there from an earlier benchmark; the recipe."""
    recipe = build_recipe(SimulateRecipe, {"placebo_shift_days": 0, **values})
    if not all((root / f"window-{days}").exists() for days in recipe.windows):
        shutil.rmtree(root, ignore_errors=True)
        simulate(recipe, root, draw=False)
    return recipe


# -- copies of events -------------------------------------------------------------------------------------------------


def leak(work: Path) -> Rows:
    """Labels that are chance on real minutes (ESK 2003, H): folds of single windows against folds of events."""
    if not REAL.is_file():
        return absent("weighted F1 of labels that are chance")
    torn, kept, said, sizes = [], [], [], set()
    for draw in range(DRAWS):
        root = work / f"geomag-leak-{draw}"
        simulated(root, {"seed": draw, "windows": [7], "strength": 0.0, "background": {"files": [str(REAL)]},
                         "stations": {"count": 4}})
        recipe = build_recipe(GeomagRecipe, {"data": {"folder": str(root)}, "split": {"seed": draw}})
        archive = WORKFLOW.open(recipe)
        read = prepared_reader(recipe, archive)
        assert read is not None
        sizes.add(f"{archive.table.column('event').nunique()} events, {len(archive.table)} windows")
        divided = make_split(archive.table, recipe.split)
        test = fit_rocket(read, archive.table, divided, seed=draw).test
        probe = probe_leak(recipe, archive, (divided, test))
        assert probe.single.value is not None
        torn.append(probe.single.value)
        kept.append(weighted_f1(test))
        said.append(probe.leaks)
        print(f"      draw {draw}: {torn[-1]:.3f} and {kept[-1]:.3f}. {probe.sentence}", flush=True)
    return [row("windows of each draw", "; ".join(sorted(sizes))),
            row("folds of single windows, weighted F1", _spread(torn), "mean at least 0.95",
                bool(np.mean(torn) >= 0.95)),
            row("folds of events, weighted F1", _spread(kept), "mean 0.40 to 0.65",
                bool(0.40 <= np.mean(kept) <= 0.65)),
            row("draws of which the probe says that it is leakage", f"{sum(said)} of {DRAWS}", "all", all(said)),
            row("what it says of the last", probe.sentence)]


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values):.3f} over {len(values)} draws, least {np.min(values):.3f}"


# -- a planted signal -------------------------------------------------------------------------------------------------

PLANTED = ["split.holdout=0", "evaluate.controls=[]", f"study.permutations={DEALS}"]
"""What differs from the shipped recipe called demo: all windows are tested, and controls are not what is asked."""


def planted(work: Path) -> Rows:
    """A planted signal at its default strength: all families and MiniRocket, on real and on simulated minutes."""
    shipped = shipped_recipe("groundswell.pipelines.geomag", "demo")
    rows = [row("recipe", f"demo, and {' '.join(PLANTED)}")]
    for name, background in (("real", {"files": [str(REAL)]}), ("simulated", {})):
        if background and not REAL.is_file():
            rows += absent(f"planted signal on {name} minutes")
            continue
        made = simulated(work / f"geomag-planted-{name}", {"windows": [7], "background": background})
        recipe = load_recipe(GeomagRecipe, shipped, [f"data.folder={work / f'geomag-planted-{name}'}", *PLANTED])
        workers = min(2, available_cores())
        outcome = run_study(recipe, work / f"geomag-planted-{name}-study", Engine("loky", workers))
        window = outcome.scores["windows"]["7day"]
        rows.append(row(f"{name} minutes", f"{made.signal.kind} of {strength_of(made):g} nT, {window['events']} "
                        f"events, {window['samples']} windows"))
        for found in window["rows"]:
            if found["kind"] not in ("model", "rival"):
                continue
            auc = Estimate(**found["metrics"]["roc_auc"])
            good = (auc.value or 0) >= 0.9 and found["p"] <= 0.01
            rows.append(row(f"{found['title']}, {name} minutes", f"ROC-AUC {written(auc)}, p {found['p']:.3f} "
                            f"({found['p_method']})", "at least 0.9, p at most 0.01", good))
    return rows


# -- nothing planted --------------------------------------------------------------------------------------------------


def null(work: Path) -> Rows:
    """Nothing planted: p-values of MiniRocket + ridge, fitted anew to each deal, are uniform (simulated windows)."""
    found = []
    for seed in range(NULL_SEEDS):
        root = work / "geomag-null"
        shutil.rmtree(root, ignore_errors=True)
        simulated(root, {"seed": seed, "windows": [7], "strength": 0.0, "events": 36, "stations": {"count": 2},
                         "background": {"years": 1.0}})
        recipe = build_recipe(GeomagRecipe, {"data": {"folder": str(root)}, "split": {"seed": seed, "folds": 4}})
        archive = WORKFLOW.open(recipe)
        read = prepared_reader(recipe, archive)
        assert read is not None
        result = rocket_permutation_test(read, archive.table, make_split(archive.table, recipe.split),
                                         permutations=DEALS, seed=seed, kernels=NULL_KERNELS)
        assert result.p is not None
        found.append(result.p)
        print(f"      seed {seed}: ROC-AUC {result.observed:.3f}, p {result.p:.3f}", flush=True)
    shutil.rmtree(work / "geomag-null", ignore_errors=True)
    test = kstest(found, "uniform")
    deciles = np.quantile(found, np.arange(1, 10) / 10)
    return [row("windows of each seed", f"36 events at 2 stations, 7 days, 4 folds, {NULL_KERNELS} features"),
            row("deciles of p", " ".join(f"{value:.3f}" for value in deciles)),
            row(f"p at most 0.05, of {NULL_SEEDS}", int(np.sum(np.array(found) <= 0.05))),
            row("Kolmogorov-Smirnov against uniform", f"distance {test.statistic:.3f}, p {test.pvalue:.3f}",
                "p above 0.05", bool(test.pvalue > 0.05))]
