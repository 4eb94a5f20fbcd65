"""marine: several views of each image, scores that are frequencies, and a threshold for each class."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from groundswell.core.errors import InputError
from groundswell.core.files import write_json
from groundswell.core.progress import progress
from groundswell.core.recipe import build_recipe
from groundswell.core.seeds import derive_seed
from groundswell.data.boxes import BoxPredictions
from groundswell.evaluate.detection_calibration import compare_calibration
from groundswell.pipelines.marine.calibration import fit_calibration
from groundswell.pipelines.marine.chain.fusing import against, check_place, named, told, write_judged
from groundswell.pipelines.marine.chain.members import Members
from groundswell.pipelines.marine.chain.plan import Stage
from groundswell.pipelines.marine.detecting import ENSEMBLE, Found, Member, OpenDetector, write_ensemble
from groundswell.pipelines.marine.predicting import answer_of_task
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.marine.ship import tasks_of
from groundswell.pipelines.marine.thresholds import thresholds_of
from groundswell.splits.manifest import TEST, VALIDATION
from groundswell.train.weights import BEST

_BATCH = 8
_SET = ("fuse", "tta", "calibrate", "evaluate", "variants")
"""Parts of the recipe that may be set anew here; all others are what the members were trained by."""
_LOOKED = "looked"
"""Key of a note: what was looked at, by whom and how, see :func:`_digest`."""


def calibrate_stage(stage: Stage, out: Path, quiet: bool) -> dict[str, Any]:
    """The chain's views and calibration."""
    members = Members.open([out / name for name in stage.needs], stage.recipe)
    return calibrate_members(members, out / stage.name, quiet=quiet)


def calibrate_runs(paths: Sequence[Path], out: Path, sets: Sequence[str]) -> list[str]:
    """Look at several views with trained runs, calibrate, choose thresholds; what was found, in sentences.

    Raises:
        InputError: the runs do not go together, or a key is unknown or not one of this step's.
    """
    members = Members.open([Path(path) for path in paths])
    recipe = build_recipe(MarineRecipe, members.recipe.model_dump(), sets, where="--set")
    other = [part for part in MarineRecipe.model_fields
             if part not in _SET and getattr(recipe, part) != getattr(members.recipe, part)]
    if other:
        raise InputError(f"The members were trained by '{other[0]}' as it is, and are looked through as they are",
                         where="--set", fix=f"Set keys of {', '.join(_SET)}")
    members = Members.open([Path(path) for path in paths], recipe)
    check_place(members, Path(out))
    return [*calibrate_members(members, Path(out))["lines"], f"Wrote {Path(out) / 'report.html'}."]


def calibrate_members(members: Members, folder: Path, *, quiet: bool = False) -> dict[str, Any]:
    """Predict by views, calibrate on some of the validation clips, choose thresholds on the others, judge on the test.

    Raises:
        InputError: a member is of several folds.
    """
    if members.manifest.folds > 1:
        raise InputError("Scores of several folds' networks cannot be calibrated together: each has a validation part "
                         "of its own", where=members.runs[0].path, fix="Calibrate runs with split.regime=grouped")
    recipe, truth = members.recipe, members.truth()
    raw = {name: _by_views(members, part, folder / f"views-{name}.parquet", quiet)
           for name, part in (("validation", VALIDATION), ("predictions", TEST))}
    fitted, chosen, note = _dealt(members, raw["validation"])
    calibrator = fit_calibration(fitted, truth.beside(fitted.sample_id), recipe.calibrate)
    after = {name: calibrator.apply(one) for name, one in raw.items()}
    thresholds = thresholds_of(calibrator.apply(chosen), truth.beside(chosen.sample_id), recipe.calibrate)
    for name, one in after.items():
        one.write(folder / f"{name}.parquet")
    tested = truth.beside(raw["predictions"].sample_id)
    compared = compare_calibration(raw["predictions"], after["predictions"], tested, recipe.evaluate,
                                   overlap=recipe.calibrate.iou, seed=recipe.split.seed)
    plain = members.predictions("predictions")[members.best()]
    says = [*compared.sentences(), note, *calibrator.sentences(),
            told(against(members, after["predictions"], plain), "the best member in validation, which looks once",
                 "With views, mAP50 is"), *thresholds.sentences()]
    compared.draw(folder / "reliability.png")
    thresholds.draw(folder / "thresholds.png")
    write_json(folder / "calibration.json", {"calibrator": calibrator.to_dict(), "thresholds": thresholds.to_dict(),
                                             **compared.to_dict()})
    write_ensemble(folder / ENSEMBLE, members=named(members, folder), fuse=recipe.fuse,
                   tta=recipe.tta if recipe.tta.enabled else None, calibrator=calibrator,
                   thresholds=thresholds.values.tolist())
    facts = write_judged(members, after["predictions"], after["validation"], folder, says,
                         f"{len(members.runs)} members, views fused, calibrated by {recipe.calibrate.method}")
    facts["pictures"] = {"reliability.png": "How often boxes of a score are right, before and after calibration.",
                         "thresholds.png": "What each class's threshold was chosen by."}
    return facts


def _by_views(members: Members, part: int, path: Path, quiet: bool) -> BoxPredictions:
    """Fused boxes of every image of a part; kept, so that going on after a kill does not look again with the same
    members in the same way."""
    looked = _digest(members)
    if path.exists():
        there = BoxPredictions.read(path)
        if there.note.get(_LOOKED) == looked:
            return there
    table = members.archive.table
    detector = _detector(members)
    names = [str(name) for name in table.column("sample_id").to_numpy(object)[members.manifest.rows(part, 0)]]
    found: list[Found] = []
    with progress(len(names), "look", "images", quiet=quiet) as bar:
        for start in range(0, len(names), _BATCH):
            chosen = names[start:start + _BATCH]
            found += detector([members.images.read(name) for name in chosen])
            bar.advance(len(chosen))
    made = BoxPredictions.of(names, found, members.told.names, member="views",
                             note={_LOOKED: looked, **({"simulated": True} if members.images.simulated else {})})
    made.write(path)
    return made


def _digest(members: Members) -> str:
    """Of all that boxes found by views depend on: images, weights, and how several boxes become one."""
    recipe = members.recipe
    said = [members.archive.table.fingerprint, members.manifest.assignment.tolist(), list(members.weights),
            *(part.model_dump(mode="json") for part in (recipe.data, recipe.fuse, recipe.tta)),
            *(run.recipe(MarineRecipe).detect.model_dump(mode="json") for run in members.runs)]
    digest = hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=16)
    for run in members.runs:
        digest.update(hashlib.blake2b((run.fold_path(0) / BEST).read_bytes()).digest())
    return digest.hexdigest()


def _detector(members: Members) -> OpenDetector:
    recipe = members.recipe
    parts = []
    for run, weight in zip(members.runs, members.weights, strict=True):
        task = tasks_of(run, [0])[0]
        parts.append(Member(answer_of_task(task), task.engine.suppress, run.recipe(MarineRecipe).detect, weight))
    told_apart = members.told
    return OpenDetector("members", tuple(parts), told_apart.names, told_apart.priority,
                        tuple(int(one) for one in told_apart.species), recipe.data.size,
                        recipe.data.prepare and not members.images.preparation, members.images.simulated, recipe.fuse,
                        recipe.tta if recipe.tta.enabled else None, None, ())


def _dealt(members: Members, validation: BoxPredictions) -> tuple[BoxPredictions, BoxPredictions, str]:
    """Validation images that calibration is fitted on, and those that thresholds are chosen on: whole clips each."""
    group = members.truth().beside(validation.sample_id).group
    clips = np.unique(group.astype(str))
    if len(clips) < 2:
        return validation, validation, ("There is only one validation clip: calibration and thresholds are fitted on "
                                        "the same images, and thresholds may be too hopeful.")
    rng = np.random.default_rng(derive_seed(members.recipe.split.seed, "calibration"))
    order = rng.permutation(clips)
    first = order[:min(max(1, round(len(clips) * members.recipe.calibrate.share)), len(clips) - 1)]
    inside = np.isin(group.astype(str), first)
    return (validation.take(inside), validation.take(~inside),
            f"Calibration was fitted on {_clips(len(first))} of validation, thresholds were chosen on "
            f"{_clips(len(clips) - len(first), 'other ')}; neither saw a test clip.")


def _clips(count: int, which: str = "") -> str:
    return f"{count} {which}clip{'' if count == 1 else 's'}"

