"""marine: choosing what to annotate next: the images of a pool that a detector can learn most from, and their package.

The score of an image is a weighted mean of its ranks by several criteria (``uncertainty``); images are then dealt over
clusters in feature space by score, near duplicates passed over (``diversity``).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import write_text
from groundswell.core.recipe import build_recipe
from groundswell.core.run import RunFolder
from groundswell.pipelines.marine.data import classes_of, images_of
from groundswell.pipelines.marine.detector import state_hash
from groundswell.pipelines.marine.exchange.package import make_package
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.labels import class_map
from groundswell.pipelines.marine.predicting import answer_of_task
from groundswell.pipelines.marine.prepare.preparing import is_prepared
from groundswell.pipelines.marine.prepare.recipe import PrepareRecipe
from groundswell.pipelines.marine.recipe import MarineRecipe, SelectRecipe
from groundswell.pipelines.marine.sampling import boxes_per_class
from groundswell.pipelines.marine.selecting.diversity import Choice, clusters_of, deal
from groundswell.pipelines.marine.selecting.scoring import Looker, score_pool
from groundswell.pipelines.marine.selecting.uncertainty import CRITERIA, rare_classes, shares_of
from groundswell.pipelines.marine.task import DetectionTask
from groundswell.pipelines.workflow import folds_of, load_task, usable_rows, workflow_of
from groundswell.splits.manifest import TRAIN, SplitManifest
from groundswell.train.launch import check_devices

TABLE, PAGE, PACKAGE = "selection.csv", "selection.html", "package.zip"


def select_images(run: RunFolder, pool: ImageSet, recipe: SelectRecipe, out: Path, *, quiet: bool = False) -> list[str]:
    """Choose images of a pool that are not annotated yet, by the raw scores of a trained run, and pack them.

    Writes ``out/scores.parquet`` (batch by batch: the same call after a kill goes on, and one with other weights looks
    at no image again), ``selection.csv``, ``selection.html`` and ``package.zip``. Of a run of several folds the first
    one's network looks.

    Args:
        run: trained; it says what is rare so far, and which species are critical.
        pool: images, of which those that are annotated are left alone.
        recipe: how many, and what counts how much.
        out: folder.
        quiet: no progress on stderr.

    Returns:
        what was chosen, in sentences.

    Raises:
        InputError: the run is not trained, nothing in the pool is without annotations or can be read, or the pool tells
            other classes apart.
    """
    return choose_images(looker_of(run, pool), pool, recipe, out, quiet=quiet)


def choose_images(looker: Looker, pool: ImageSet, recipe: SelectRecipe, out: Path, *, quiet: bool = False) -> list[str]:
    """:func:`select_images` by any detector."""
    out = Path(out)
    names = pool.images.loc[~pool.images["annotated"].to_numpy(bool), "image"].tolist()
    if not names:
        raise InputError("Every image of the pool is annotated: there is nothing to choose from", where=pool.path,
                         fix="Name a set with images that are not annotated")
    out.mkdir(parents=True, exist_ok=True)
    with RunFolder(out).lock():
        found, refused = score_pool(looker, pool, names, recipe.band, out, quiet=quiet)
        if not len(found):
            raise InputError(f"None of the {len(names)} images can be read; first: {refused[0]}", where=pool.path)
        table, shares, choice = _chosen(found, pool, recipe, looker.seed)
        _write_choice(out, looker, pool, recipe, found, table, shares, choice)
        packed = make_package(pool, table["image"].tolist(), out / PACKAGE, quiet=quiet)
    lines = sentences(found, table, choice, recipe, refused, simulated=pool.simulated)
    lines += [f"Left out of the package: {line}" for line in packed.left_out]
    return [*lines, f"The choice: {out / PAGE}. For annotators: {out / PACKAGE}"]


def _chosen(found: pd.DataFrame, pool: ImageSet, recipe: SelectRecipe,
            seed: int) -> tuple[pd.DataFrame, NDArray[np.float64], Choice]:
    """The chosen images in their order, what each criterion adds to their scores, and how they were dealt."""
    shares = shares_of(found[list(CRITERIA)].to_numpy(np.float64), recipe)
    score = shares.sum(axis=1)
    features = np.stack(found["feature"].tolist()).astype(np.float32)
    cluster = clusters_of(features, min(recipe.clusters, recipe.num_samples), seed)
    choice = deal(score, cluster, found["hash"].to_numpy(np.int64).view(np.uint64), features, recipe.num_samples)
    clip = dict(zip(pool.images["image"], pool.images["clip"], strict=True))
    rows = found.iloc[choice.order]
    table = pd.DataFrame({"image": rows["image"], "rank": np.arange(1, len(rows) + 1),
                          "clip": rows["image"].map(clip), "cluster": cluster[choice.order],
                          "score": score[choice.order], **{name: rows[name] for name in CRITERIA},
                          "predicted": rows["predicted"], "uncertain": rows["uncertain"]}).reset_index(drop=True)
    return table, shares[choice.order], choice


def _write_choice(out: Path, looker: Looker, pool: ImageSet, recipe: SelectRecipe, found: pd.DataFrame,
                  table: pd.DataFrame, shares: NDArray[np.float64], choice: Choice) -> None:
    from groundswell.pipelines.marine.selecting.report import selection_page

    write_text(out / TABLE, table.to_csv(index=False, float_format="%.6g"))
    rows = found.iloc[choice.order]
    lines = sentences(found, table, choice, recipe, [], simulated=pool.simulated)
    write_text(out / PAGE, selection_page(pool, looker.classes, recipe, rows, table, shares, lines))


def sentences(found: pd.DataFrame, table: pd.DataFrame, choice: Choice, recipe: SelectRecipe, refused: list[str], *,
              simulated: bool) -> list[str]:
    """What was looked at and chosen."""
    low, high = recipe.band
    made = " simulated" if simulated else ""
    lines = [f"Looked at {len(found)}{made} images without annotations and chose {len(table)}, of "
             f"{table['clip'].nunique()} clips and {table['cluster'].nunique()} clusters in the detector's feature "
             "space."]
    if len(table) < recipe.num_samples:
        lines.append(f"{recipe.num_samples} were asked for: there are no more.")
    unsure = int((found["uncertain"] > 0).sum())
    lines.append(f"{unsure} images have a raw score from {low:g} to {high:g}, {int((table['uncertain'] > 0).sum())} of "
                 "the chosen ones." if unsure else
                 f"No image has a raw score from {low:g} to {high:g}: the detector knows too little yet to be unsure, "
                 "so that variety and the other criteria decided.")
    if choice.passed_over:
        lines.append(f"{choice.passed_over} images were passed over because they look like a chosen one.")
    if choice.alike:
        lines.append(f"{choice.alike} of the chosen images look like another one: nothing else was left.")
    if refused:
        lines.append(f"{len(refused)} images cannot be read, first: {refused[0]}")
    return lines


def looker_of(run: RunFolder, pool: ImageSet) -> Looker:
    """The network of a trained run.

    Raises:
        InputError: it is not trained, or the pool tells other classes apart.
    """
    folds_of(run, 0)
    recipe, archive, task = load_task(run.path, "marine", 0)
    assert isinstance(recipe, MarineRecipe) and isinstance(task, DetectionTask)
    images = images_of(archive)
    told = classes_of(recipe, images)
    _check_classes(told.names, pool, recipe)
    rows = usable_rows(workflow_of("marine"), archive.table, SplitManifest.read(run.path, archive.table), TRAIN, 0)
    device = check_devices(recipe.train)
    answer = answer_of_task(task, device)

    def features(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found = task.judged.features(torch.from_numpy(batch).to(device).float() / 255)
        return np.asarray(found.float().cpu().numpy(), np.float32)

    return Looker(answer, features, told.names, np.array([level == "critical" for level in told.priority], bool),
                  rare_classes(boxes_per_class(images, told, archive.table, rows).sum(axis=0)), recipe.data.size,
                  recipe.detect.iou, recipe.detect.most, state_hash(task.judged.state_dict().items()),
                  recipe.train.batch_size, _preparation(task.facts, pool), recipe.train.seed)


def _check_classes(names: tuple[str, ...], pool: ImageSet, recipe: MarineRecipe) -> None:
    if not pool.classes:
        return  # a set of images alone
    theirs = class_map(pool, recipe.data.classes).names
    if set(theirs) != set(names):
        raise InputError(f"The pool tells other classes apart ({', '.join(theirs[:8])}) than the run "
                         f"({', '.join(names[:8])}); what is annotated on it could not be learnt with the rest",
                         where=pool.path, fix="Organise the pool with the same classes, or without any")


def _preparation(facts: dict[str, Any], pool: ImageSet) -> Any:
    """What images of the pool still need to look like those that the run learnt from."""
    if not facts["prepare"] or is_prepared(pool):
        return None
    from groundswell.pipelines.marine.prepare.underwater import underwater

    return partial(underwater, recipe=build_recipe(PrepareRecipe, facts["correction"], where="correction"))
