"""marine: fusing the boxes of several members, judged beside the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from groundswell.core.errors import InputError
from groundswell.core.files import read_json, write_json
from groundswell.core.recipe import build_recipe
from groundswell.data.boxes import BoxPredictions
from groundswell.evaluate.detection_bootstrap import paired_difference
from groundswell.evaluate.detection_report import write_detection_report
from groundswell.evaluate.intervals import Estimate
from groundswell.evaluate.report import ReportContext
from groundswell.pipelines.marine.chain.members import Members
from groundswell.pipelines.marine.chain.plan import Stage
from groundswell.pipelines.marine.data import WORKFLOW
from groundswell.pipelines.marine.detecting import ENSEMBLE, write_ensemble
from groundswell.pipelines.marine.fusion import fuse
from groundswell.pipelines.marine.recipe import FuseRecipe

_TAKEN = ("recipe.yaml", "pretrain.yaml", "chain.yaml", "stage.json")
"""Files by which the folder of a run, a pretraining, a chain or one of its stages is known."""
WORSE = 0.005
"""How much less mAP50 than its best member's a fusion may have before it is called worse."""


def fuse_stage(stage: Stage, out: Path, quiet: bool) -> dict[str, Any]:
    """The chain's fusion."""
    members = Members.open([out / name for name in stage.needs], stage.recipe)
    return fuse_members(members, out / stage.name)


def fuse_runs(paths: Sequence[Path], out: Path, sets: Sequence[str]) -> list[str]:
    """Fuse the boxes of trained runs; what was found, in sentences.

    Raises:
        InputError: the runs do not go together, or a key is unknown.
    """
    members = Members.open([Path(path) for path in paths])
    recipe = members.recipe.model_copy(update={"fuse": build_recipe(
        FuseRecipe, members.recipe.fuse.model_dump(), sets, where="--set")})
    check_place(members, Path(out))
    facts = fuse_members(Members.open([Path(path) for path in paths], recipe), Path(out))
    return [*facts["lines"], f"Wrote {Path(out) / 'report.html'} and {Path(out) / ENSEMBLE}."]


def fuse_members(members: Members, folder: Path) -> dict[str, Any]:
    """Fuse test and validation boxes, judge the fusion, hold it against its best member, and write it all."""
    recipe = members.recipe
    parts = {name: fuse(members.predictions(name), recipe.fuse, members.weights)
             for name in ("validation", "predictions")}
    for name, fused in parts.items():
        fused.write(folder / f"{name}.parquet")
    best = members.best()
    difference = against(members, parts["predictions"], members.predictions("predictions")[best])
    name = members.runs[best].path.name
    says = told(difference, f"the best member in validation ({name})", "Fused, mAP50 is")
    write_ensemble(folder / ENSEMBLE, members=named(members, folder), fuse=recipe.fuse, tta=None,
                   calibrator=None, thresholds=[recipe.evaluate.count_at] * len(members.told.names))
    facts = write_judged(members, parts["predictions"], parts["validation"], folder, [says],
                         f"{len(members.runs)} members fused by {recipe.fuse.method}")
    write_json(folder / "fusion.json", {"best_member": name, "difference": difference.to_dict(),
                                        "not_worse": bool((difference.value or 0) >= -WORSE),
                                        "weights": list(members.weights), **recipe.fuse.model_dump(mode="json")})
    return facts


def against(members: Members, ours: BoxPredictions, other: BoxPredictions) -> Estimate:
    """mAP50 of one less that of the other on the test images, with the interval of resampled clips."""
    return paired_difference(ours, other, members.truth(), members.recipe.evaluate, seed=members.recipe.split.seed)


def told(difference: Estimate, beside: str, begins: str) -> str:
    """A difference of mAP50 in a sentence."""
    if difference.value is None:
        return f"{begins} not comparable with {beside}: {difference.why}."
    interval = "" if difference.low is None or difference.high is None else (
        f" (interval {difference.low:+.3f} to {difference.high:+.3f})")
    size = f"{abs(difference.value):.3f}"
    beyond = "the same as" if float(size) == 0 else f"{size} {'above' if difference.value > 0 else 'below'}"
    return f"{begins} {beyond} that of {beside}{interval}, over the same test clips."


def check_place(members: Members, folder: Path) -> None:
    """See that an ensemble in ``folder`` can name its members, which lie below the folder that it lies in, and takes
    no run's place: its predictions are called as those of a run.

    Raises:
        InputError: one does not, or the folder is that of a run or of a chain.
    """
    if any((folder / name).exists() for name in _TAKEN):
        raise InputError("This folder is that of a run or of a chain, whose own predictions would be lost",
                         where=f"--out {folder}", fix="Choose a folder beside it")
    for run in members.runs:
        if not run.path.resolve().is_relative_to(folder.resolve().parent):
            raise InputError("An ensemble lies beside its members or above them, so that both can be moved together",
                             where=f"--out {folder}", fix=f"Choose a folder in {run.path.resolve().parent}")


def named(members: Members, folder: Path) -> list[tuple[str, float]]:
    """Members and weights, by paths below the folder that an ensemble's own folder lies in."""
    root = folder.resolve().parent
    return [(str(run.path.resolve().relative_to(root)), weight)
            for run, weight in zip(members.runs, members.weights, strict=True)]


def write_judged(members: Members, test: BoxPredictions, validation: BoxPredictions, folder: Path, says: list[str],
                 subtitle: str) -> dict[str, Any]:
    """Write metrics, figures and the page of some predictions; what a stage remembers of them."""
    evaluation = members.judge(test, validation)
    evaluation.write(folder)
    write_detection_report(folder, ReportContext(
        title="Detectors of marine species", evaluation=evaluation, manifest=members.manifest, subtitle=subtitle,
        pictures=WORKFLOW.pictures(members.recipe, members.archive, evaluation)))
    metrics = read_json(folder / "metrics.json")
    return {"scores": {name: metrics["scores"][name] for name in ("map50", "recall")},
            "lines": [*says, *metrics["conclusion"]]}
