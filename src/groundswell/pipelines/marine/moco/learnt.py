"""marine: which images a backbone may learn from without labels, so that no detector is judged by what it has seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.labels import class_map
from groundswell.pipelines.marine.moco.pretrained import held_out
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.splits.make import make_split
from groundswell.splits.manifest import TRAIN, SplitManifest


@dataclass(frozen=True)
class Learnt:
    """What is learnt from.

    Attributes:
        images: the set.
        table: one row for each of its images, annotated or not.
        folds: rows of the table that each fold learns from.
        labelled: the detector's own table, and its split, whose test and validation clips are left out; ``None`` where
            there are no annotated images to split yet.
    """

    images: ImageSet
    table: SampleTable
    folds: tuple[NDArray[np.int64], ...]
    labelled: tuple[SampleTable, SplitManifest] | None

    def frame(self) -> pd.DataFrame:
        """Name, clip and checksum of each image, and whether each fold learns from it."""
        columns = {name: self.table.column(of).to_numpy(object)
                   for name, of in (("image", "sample_id"), ("clip", "group"), ("checksum", "content"))}
        mine = {f"fold_{fold}": np.isin(np.arange(len(self.table)), rows) for fold, rows in enumerate(self.folds)}
        return pd.DataFrame({**columns, **mine})

    def left_out(self, fold: int = 0) -> tuple[int, int]:
        """Images, and clips of theirs, that a fold must not see."""
        mine = np.ones(len(self.table), bool)
        mine[self.folds[fold]] = False
        return int(mine.sum()), int(self.table.column("group")[mine].nunique())


def learnt_from(recipe: MarineRecipe) -> Learnt:
    """The images of ``data.unlabelled`` (or ``data.images``) without those of clips that the detector of the same
    recipe is validated or tested on, by the same split.

    Raises:
        InputError: there are no such sets, the detector's images cannot be split, or too few images are left.
    """
    images = ImageSet.open(recipe.data.images)
    pool = ImageSet.open(recipe.data.unlabelled) if recipe.data.unlabelled else images
    table = pool.table(annotated=False)
    labelled = _division(recipe, images)
    if labelled is None:
        folds: tuple[NDArray[np.int64], ...] = (np.arange(len(table), dtype=np.int64),)
    else:
        own, manifest = labelled
        clip, checksum = table.column("group"), table.column("content")
        folds = tuple(np.flatnonzero(~held_out(clip, checksum, own, manifest.rows(TRAIN, fold))).astype(np.int64)
                      for fold in range(manifest.folds))
    least = min(len(rows) for rows in folds)
    if least < 2:
        raise InputError(f"Of {len(table)} images {least} can be learnt from, and contrast needs two", where=pool.path,
                         fix="Name a larger set with data.unlabelled; clips the detector is tested on do not count")
    return Learnt(pool, table, folds, labelled)


def _division(recipe: MarineRecipe, images: ImageSet) -> tuple[SampleTable, SplitManifest] | None:
    if not images.images["annotated"].to_numpy(bool).any():
        return None
    table = class_map(images, recipe.data.classes).table(images)
    return table, make_split(table, recipe.split)
