"""marine: the making of a simulated set of images: clips, their frames and boxes, and the whole truth beside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_folder
from groundswell.core.progress import progress as show_progress
from groundswell.core.recipe import build_recipe
from groundswell.core.seeds import derive_seed
from groundswell.pipelines.marine.images import ImageSet, ImageWriter
from groundswell.pipelines.marine.simulate.recipe import SceneRecipe
from groundswell.pipelines.marine.simulate.scene import Frame, Scene, Seen, table_of
from groundswell.pipelines.marine.simulate.video import clip_video, simulate_video

__all__ = ["TRUTH", "clip_video", "read_truth", "simulate", "simulate_set", "simulate_video", "species_of"]

TRUTH = "truth.parquet"
"""File of a simulated set: every animal with a box in every image, those without annotations too: image, left, top,
right, bottom, label, track, and ``visible``, the share of the animal that is seen. For the judging of choices alone:
nothing that learns may read it."""
_BEGIN = pd.Timestamp("2026-05-01 06:00", tz="UTC")
_APART = pd.Timedelta(hours=3)
"""Between the beginnings of two clips."""


def simulate(recipe: SceneRecipe, out: str | Path, progress: bool = True) -> ImageSet:
    """Write a simulated set of images: JPEG files, exact boxes, tracks, and ``truth.parquet``.

    The same recipe gives the same set, byte for byte, on the same machine.

    Args:
        recipe: the knobs.
        out: the set's folder, new or empty. It is there whole, or not at all.
        progress: show how far it has come.

    Raises:
        InputError: something is at ``out`` already, or it cannot be written to.
        MissingExtraError: the extra ``marine`` is not installed.
    """
    silent = _silent(recipe)
    note = {"simulated": True, "simulator": recipe.model_dump(mode="json")}
    truth: dict[str, Seen] = {}
    with atomic_folder(Path(out)) as folder:
        with ImageWriter(folder, classes=recipe.classes, species=species_of(recipe.classes), note=note) as writer, \
                show_progress(recipe.clips * recipe.frames, "simulate", "images", quiet=not progress) as bar:
            for clip in range(recipe.clips):
                for frame, columns in _frames(recipe, clip):
                    name = f"{columns['clip']}_{columns['frame']:05d}"
                    truth[name] = frame.seen
                    known: dict[str, Any] = {} if silent[clip] else {
                        "boxes": frame.seen.boxes, "label": frame.seen.label, "track": frame.seen.track}
                    writer.add(name, frame.image, annotated=not silent[clip], source="simulated", **known, **columns)
                    bar.advance()
        table_of(truth, "image").to_parquet(folder / TRUTH, index=False)
    return ImageSet.open(out)


def simulate_set(out: str | Path, *, progress: bool = False, **knobs: Any) -> ImageSet:
    """:func:`simulate` by keywords; for tests and notebooks.

    Raises:
        InputError: as :func:`simulate`, or a knob that is not known.
    """
    return simulate(build_recipe(SceneRecipe, knobs), out, progress)


def read_truth(images: ImageSet) -> pd.DataFrame:
    """Every animal of a simulated set with its box, those of images without annotations too.

    Raises:
        InputError: it is no simulated set.
    """
    if not (images.path / TRUTH).is_file():
        raise InputError("The set has no truth beside its boxes: it is not simulated", where=images.path,
                         fix="Make one with 'groundswell marine simulate'")
    return pd.read_parquet(images.path / TRUTH)


def species_of(classes: tuple[str, ...]) -> list[int]:
    """The id in the table of species of each class that can be drawn."""
    from groundswell.pipelines.marine.species import load_species

    table = load_species()
    found = [table.by_name(name) for name in classes]
    return [-1 if species is None else species.id for species in found]


def _silent(recipe: SceneRecipe) -> np.ndarray[Any, np.dtype[np.bool_]]:
    chance = np.random.default_rng(derive_seed(recipe.seed, "marine.simulate", "unlabelled"))
    silent = np.zeros(recipe.clips, bool)
    silent[chance.permutation(recipe.clips)[:round(recipe.unlabelled_share * recipe.clips)]] = True
    return silent


def _frames(recipe: SceneRecipe, clip: int) -> Iterator[tuple[Frame, dict[str, Any]]]:
    scene = Scene(recipe, clip)
    for number, frame in enumerate(scene.frames()):
        yield frame, {"clip": f"clip{clip:04d}", "frame": number, "depth_m": round(scene.water.depth_m, 1),
                      "time": _BEGIN + clip * _APART + pd.Timedelta(seconds=number / recipe.fps)}

