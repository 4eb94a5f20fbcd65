"""marine: running a chain: every stage that is not done yet, in its order. The same call begins and resumes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from groundswell.core.errors import InputError
from groundswell.core.files import read_json, write_json, write_text
from groundswell.core.progress import say
from groundswell.core.recipe import dump_recipe, load_recipe
from groundswell.core.run import RunFolder
from groundswell.pipelines.judge import evaluate_run
from groundswell.pipelines.marine.chain.calibrating import calibrate_stage
from groundswell.pipelines.marine.chain.exporting import export_stage
from groundswell.pipelines.marine.chain.fusing import fuse_stage
from groundswell.pipelines.marine.chain.plan import Stage, check_folds, only, stages_of
from groundswell.pipelines.marine.chain.report import write_chain_report
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.mining import mine
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.workflow import open_and_split, start_run, train_run

RECIPE = "chain.yaml"
DONE = "stage.json"


def run_chain(recipe: MarineRecipe, out: Path, *, step: str = "", quiet: bool = False) -> list[str]:
    """Do what is not done yet of a chain; what was found, in sentences, and where the report is.

    A stage is done when its ``stage.json`` is there; it is written last. A stage that was cut short goes on where its
    last checkpoint is. A stage that fails ends the chain, and the next call begins with it.

    Args:
        recipe: of the chain; the one that the folder was begun with.
        out: folder of the chain.
        step: do this step of the recipe alone; those before it must be done.
        quiet: no progress on stderr.

    Raises:
        InputError: the recipe is another one than the folder's, its images cannot be used, or an earlier step is
            missing; nothing was written.
        RefusedError: the split leaks and the recipe does not allow it; nothing was written.
    """
    out = Path(out).resolve()
    stages = stages_of(recipe, out)
    chosen = only(stages, step) if step else stages
    _check_same(out, recipe)
    _check_needs(chosen[0], out)
    if not (out / RECIPE).exists():
        _, manifest = open_and_split("marine", recipe)  # a recipe that nothing can be done with claims no folder
        check_folds(recipe, manifest.folds)
        write_text(out / RECIPE, dump_recipe(recipe))
    with RunFolder(out).lock():
        for stage in chosen:
            _check_needs(stage, out)
            if not (out / stage.name / DONE).exists():
                if not quiet:
                    say(f"{stage.name}: {stage.title}")
                _do(stage, out, quiet)
            write_chain_report(out, recipe, stages)
    done = [stage for stage in stages if (out / stage.name / DONE).exists()]
    last = read_json(out / done[-1].name / DONE)
    return [*last["lines"], f"{len(done)} of {len(stages)} stages are done. Report: {out / 'report.html'}"]


def _check_same(out: Path, recipe: MarineRecipe) -> None:
    if (out / RECIPE).exists():
        begun = load_recipe(MarineRecipe, out / RECIPE)
        if dump_recipe(begun) != dump_recipe(recipe):
            raise InputError("This chain was begun with another recipe", where=out / RECIPE,
                             fix=f"Go on with: groundswell marine pipeline {out / RECIPE} --out {out}, or choose "
                                 "another folder")
    elif out.exists() and any(out.iterdir()):
        raise InputError("The folder holds something that is no chain", where=out, fix="Choose an empty folder")


def _check_needs(stage: Stage, out: Path) -> None:
    missing = [name for name in stage.needs if not (out / name / DONE).exists()]
    if missing:
        raise InputError(f"{stage.name} needs {missing[0]}, which is not done", where=out,
                         fix="Run the chain without --step, or that step first")


def _do(stage: Stage, out: Path, quiet: bool) -> None:
    begun = time.monotonic()
    facts = _KINDS[stage.kind](stage, out, quiet)
    write_json(out / stage.name / DONE, {"name": stage.name, "title": stage.title, "step": stage.step,
                                         "kind": stage.kind, "seconds": time.monotonic() - begun, **facts})


def _pretrain(stage: Stage, out: Path, quiet: bool) -> dict[str, Any]:
    from groundswell.pipelines.marine.moco.pretraining import pretrain

    return {"lines": pretrain(stage.recipe, out / stage.name, quiet=quiet)}


def _fit(stage: Stage, out: Path, quiet: bool) -> dict[str, Any]:
    folder = out / stage.name
    if (folder / "recipe.yaml").exists() and not (folder / "split.json").exists():
        RunFolder(folder).remove()  # killed before there was anything in it
    run = RunFolder.open(folder) if (folder / "recipe.yaml").exists() else start_run("marine", stage.recipe, folder)
    if run.status["state"] != "evaluated":
        train_run(run, quiet=quiet)
        # The controls stand beside the baseline, whose split every later stage shares.
        evaluate_run(run, with_controls=stage.name == "baseline", quiet=quiet)
    metrics = read_json(folder / "metrics.json")
    lines = list(metrics["conclusion"])
    if stage.recipe.model.start:
        lines.append(arrived(stage.recipe, out))
    return {"scores": scores_of(metrics), "lines": lines, "start": stage.recipe.model.start}


def arrived(recipe: MarineRecipe, out: Path) -> str:
    """How many weights a stage took over, in a sentence."""
    from groundswell.pipelines.marine.building import check_start

    found = check_start(recipe)
    assert found is not None
    path = Path(recipe.model.start)
    name = path.relative_to(out) if path.is_relative_to(out) else path
    return (f"It began with {found.matched} entries of the state dict of {name}, {found.backbone} of them the "
            f"backbone's; {len(found.missing)} were not among them.")


def _mine(stage: Stage, out: Path, quiet: bool) -> dict[str, Any]:
    before = RunFolder.open(out / stage.needs[0]) if stage.needs else RunFolder.open(Path(stage.recipe.model.start))
    return {"lines": mine(before, out / stage.name / "negatives.json", stage.recipe.specialise)}


def _select(stage: Stage, out: Path, quiet: bool) -> dict[str, Any]:
    from groundswell.pipelines.marine.selecting.choosing import select_images

    pool = ImageSet.open(Path(stage.recipe.data.unlabelled or stage.recipe.data.images))
    if pool.images["annotated"].to_numpy(bool).all():
        return {"lines": ["Every image is annotated: there is nothing to choose from."]}
    return {"lines": select_images(RunFolder.open(out / stage.needs[0]), pool, stage.recipe.select, out / stage.name,
                                   quiet=quiet)}


def scores_of(metrics: dict[str, Any]) -> dict[str, Any]:
    """mAP50 and recall of an evaluation, with their intervals, as the chain's report draws them."""
    return {name: metrics["scores"][name] for name in ("map50", "recall")}


_KINDS: dict[str, Callable[[Stage, Path, bool], dict[str, Any]]] = {
    "pretrain": _pretrain, "fit": _fit, "mine": _mine, "select": _select, "fuse": fuse_stage,
    "calibrate": calibrate_stage, "export": export_stage}
