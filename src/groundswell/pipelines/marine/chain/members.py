"""marine: several detectors on one split: what they were trained on together, and how good each was in validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from groundswell.core.errors import InputError
from groundswell.core.run import RunFolder
from groundswell.data.boxes import BoxPredictions, BoxTruth
from groundswell.evaluate.detection_scores import average_precision
from groundswell.pipelines.archive import Archive, load_archive
from groundswell.pipelines.marine.data import WORKFLOW, classes_of, images_of
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.labels import ClassMap
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.marine.truth import truth_of
from groundswell.splits.manifest import SplitManifest


@dataclass(frozen=True)
class Members:
    """Trained runs that share their images, their classes and their split.

    Attributes:
        runs: their folders.
        weights: of each in the fusion.
        recipe: of the first one, with the keys of fusion and calibration that are asked for.
        archive, manifest, images, told: what they share.
    """

    runs: tuple[RunFolder, ...]
    weights: tuple[float, ...]
    recipe: MarineRecipe
    archive: Archive
    manifest: SplitManifest
    images: ImageSet
    told: ClassMap

    @classmethod
    def open(cls, paths: Sequence[Path], recipe: MarineRecipe | None = None) -> Members:
        """Open trained runs.

        Raises:
            InputError: there is none, one is named twice or is not trained, or they do not share images, classes and
                split, or look at images in another size or corrected otherwise.
        """
        runs = [RunFolder.open(path) for path in paths]
        if not runs:
            raise InputError("There is no run to fuse", fix="Name one run or more")
        for number, run in enumerate(runs):
            if any(run.path.resolve() == other.path.resolve() for other in runs[:number]):
                raise InputError("This run is named twice, and would answer for two members", where=run.path,
                                 fix="Name each run once")
            if not (run.path / "predictions.parquet").exists():
                raise InputError("The run is not trained yet", where=run.path,
                                 fix=f"Go on with: groundswell resume {run.path}")
        archive = load_archive(runs[0].path)
        manifest = SplitManifest.read(runs[0].path, archive.table)
        for run in runs[1:]:
            other = load_archive(run.path)
            if other.table.fingerprint != archive.table.fingerprint:
                raise InputError("The runs were made of other images or tell other classes apart", where=run.path,
                                 fix=f"Fuse runs on the same set as {runs[0].path}")
            theirs = SplitManifest.read(run.path, other.table)
            if not np.array_equal(theirs.assignment, manifest.assignment):
                raise InputError("The runs were trained on other splits; what one was tested on another may have seen",
                                 where=run.path, fix=f"Fuse runs with the split of {runs[0].path}")
            _check_looks(runs[0], run, corrected=bool(archive.records[0]["preparation"]))
        loaded = recipe or runs[0].recipe(MarineRecipe)
        images = images_of(archive)
        return cls(tuple(runs), tuple(weight_of(run, loaded) for run in runs), loaded, archive, manifest, images,
                   classes_of(loaded, images))

    def truth(self) -> BoxTruth:
        """The true boxes of all images."""
        return truth_of(self.images, self.told, self.archive.table)

    def predictions(self, part: str) -> list[BoxPredictions]:
        """Each member's ``predictions`` (test) or ``validation``."""
        return [BoxPredictions.read(run.path / f"{part}.parquet") for run in self.runs]

    def best(self) -> int:
        """The member whose mAP50 is the highest on the validation part: chosen without a look at the test."""
        return int(np.argmax([validation_map50(one, self.truth()) for one in self.predictions("validation")]))

    def judge(self, test: BoxPredictions, validation: BoxPredictions) -> Any:
        """The evaluation of some predictions on the members' split."""
        return WORKFLOW.evaluate(self.recipe, self.archive, self.manifest, test, validation, [])


def _check_looks(first: RunFolder, other: RunFolder, *, corrected: bool) -> None:
    """See that two runs look at images alike: an ensemble prepares an image once, for all of its members. Those of a
    set that is ``corrected`` already are left as they are by both.

    Raises:
        InputError: they do not.
    """
    ours, theirs = first.recipe(MarineRecipe).data, other.recipe(MarineRecipe).data
    for key in ("size",) if corrected else ("size", "prepare"):
        mine, yours = getattr(ours, key), getattr(theirs, key)
        if mine != yours:
            raise InputError(f"The runs do not look at images alike: data.{key} is {yours} here and {mine} in "
                             f"{first.path}", where=other.path, fix="Fuse runs that were trained on the same input")


def weight_of(run: RunFolder, recipe: MarineRecipe) -> float:
    """A run's weight in a fusion: its variant's, by the name of its folder; 1 for others."""
    kind = run.path.name.rpartition("-")[2]
    variant = getattr(recipe.variants, kind, None) if kind in ("recall", "balanced", "precision") else None
    return 1.0 if variant is None else float(variant.weight)


def validation_map50(predictions: BoxPredictions, truth: BoxTruth) -> float:
    """mAP50 of validation predictions over the classes that are there."""
    found = average_precision(predictions, truth.beside(predictions.sample_id))[:, 0]
    return float(np.nanmean(found)) if np.isfinite(found).any() else 0.0
