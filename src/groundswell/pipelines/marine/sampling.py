"""marine: how often training sees an image, and how much a class's boxes weigh: by the training part alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import read_json
from groundswell.core.seeds import derive_seed
from groundswell.data.table import SampleTable
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.labels import ClassMap
from groundswell.pipelines.marine.recipe import MarineRecipe

_CRITICAL_HEAVY = 3.0


def boxes_per_class(images: ImageSet, told: ClassMap, table: SampleTable,
                    rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many boxes of each class (told apart) each of the rows has, int64 (rows, classes); crowds do not count."""
    place = {name: at for at, name in enumerate(table.column("sample_id").to_numpy(object)[rows])}
    frame = images.boxes
    at = frame["image"].map(place).to_numpy(np.float64)
    label = told.of[frame["label"].to_numpy(np.int64)]
    kept = ~np.isnan(at) & (label >= 0) & ~frame["crowd"].to_numpy(bool)
    found = np.zeros((len(rows), len(told.names)), np.int64)
    np.add.at(found, (at[kept].astype(np.int64), label[kept]), 1)
    return found


def repeats_of(recipe: MarineRecipe, images: ImageSet, told: ClassMap, table: SampleTable,
               rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """How often an epoch sees each of the training rows, int64 (rows,); ``None`` where all come once.

    An image is repeated by the largest factor of its critical classes: oversampling_ratio, and up to max_repeat more
    where a class has fewer boxes than min_per_class, by the square root of what is missing (repeat-factor sampling,
    Gupta et al. 2019). A broken factor is rounded up or down by chance that the image's name alone decides. Images that
    hard negatives were found on come once more. Images without animals are never left out.

    Raises:
        InputError: the list of hard negatives cannot be read or names images outside of the training part.
    """
    sampling = recipe.sampling
    factor = np.ones(len(rows))
    if sampling.oversampling_ratio > 1:
        boxes = boxes_per_class(images, told, table, rows)
        total = boxes.sum(0)
        for label in np.flatnonzero([level == "critical" for level in told.priority]):
            if not total[label]:
                continue
            scarce = max(1.0, (sampling.min_per_class / total[label]) ** 0.5)
            repeat = min(sampling.oversampling_ratio * scarce, max(sampling.max_repeat, sampling.oversampling_ratio))
            factor = np.where(boxes[:, label] > 0, np.maximum(factor, repeat), factor)
    names = table.column("sample_id").to_numpy(object)[rows]
    if sampling.negatives:
        factor += np.isin(names, _found_on(Path(sampling.negatives), set(names)))
    if (factor == 1).all():
        return None
    chance = np.array([derive_seed(recipe.train.seed, "repeat", str(name)) % 2**32 / 2**32 for name in names])
    return (np.floor(factor) + (chance < factor % 1)).astype(np.int64)


def _found_on(path: Path, training: set[str]) -> list[str]:
    if not path.is_file():
        raise InputError("There is no such list of hard negatives", where=f"sampling.negatives: {path}",
                         fix="Make it with: groundswell marine mine")
    try:
        named = list(dict.fromkeys(str(row["image"]) for row in read_json(path)["negatives"]))
    except (KeyError, TypeError) as error:
        raise InputError("This is no list of hard negatives", where=f"sampling.negatives: {path}",
                         fix="Make it with: groundswell marine mine") from error
    outside = [name for name in named if name not in training]
    if outside:
        raise InputError(f"The list of hard negatives names {len(outside)} image(s) that are not in the training part, "
                         f"first '{outside[0]}'; learning from them would leak", where=path,
                         fix="Mine again with the run's own split")
    return named


def class_weights_of(recipe: MarineRecipe, images: ImageSet, told: ClassMap, table: SampleTable,
                     rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """What a box of each class weighs in the loss, float32 (classes,), mean 1; ``None`` where all weigh alike.

    balanced: by the square root of how rare a class is among the training boxes (the inverse itself lets a class of
    three boxes drown the others); critical_heavy: critical species three times the others.
    """
    kind = recipe.sampling.class_weights
    if kind == "default":
        return None
    if kind == "critical_heavy":
        weight = np.where([level == "critical" for level in told.priority], _CRITICAL_HEAVY, 1.0)
    else:
        weight = 1 / np.sqrt(np.maximum(boxes_per_class(images, told, table, rows).sum(0), 1))
    return np.asarray(weight / weight.mean(), np.float32)
