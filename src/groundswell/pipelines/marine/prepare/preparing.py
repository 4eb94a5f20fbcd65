"""marine: a whole set of images corrected, by several processes; what a killed one had done is not done again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_folder, read_json, write_bytes, write_json
from groundswell.core.progress import progress, say
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.marine.image_files import checksum, encode, read_bytes, read_image
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.images_layout import FACTS, FOLDER, SetFacts
from groundswell.pipelines.marine.images_writing import write_tables
from groundswell.pipelines.marine.prepare.recipe import PrepareRecipe
from groundswell.pipelines.marine.prepare.underwater import DEFAULT, underwater
from groundswell.train.executors import available_cores, run_tasks

UNDERWATER = "underwater"
"""Under which name a set's ``preparation`` says that its images are corrected, with the recipe and of what set."""
_AT_ONCE = 16
_STARTED = "preparing.json"

Work = tuple[str, Path, Path]
"""An image: its name, its file, and where the corrected file belongs."""


def is_prepared(images: ImageSet) -> bool:
    """Whether the images of a set are corrected already, so that they must not be once more."""
    return UNDERWATER in images.preparation


def recipe_of(preparation: Mapping[str, Any]) -> PrepareRecipe | None:
    """How images were corrected, out of a set's ``preparation``: what a detector that learnt from them must do to
    others in use. ``None`` where they are as the camera saw them.

    Raises:
        InputError: what is said of it is no such recipe.
    """
    known = preparation.get(UNDERWATER)
    if known is None:
        return None
    return build_recipe(PrepareRecipe, {key: value for key, value in dict(known).items() if key != "of"},
                        where=f"preparation.{UNDERWATER}")


def prepare_set(images: ImageSet, out: Path, recipe: PrepareRecipe = DEFAULT, workers: int = 1, *,
                quiet: bool = False) -> ImageSet:
    """Correct every image of a set into a new one (JPEG, quality 95); boxes and facts stay as they are.

    The set written says in its ``preparation`` what was done and to which set. Images that are done are kept beside
    ``out`` until all are, so that the same call goes on after a kill; the result does not depend on how often that
    happened, nor on ``workers``. Where ``out`` holds the result already it is left.

    Args:
        images: the set; not changed.
        out: folder; new, empty, or made by the same call.
        recipe: strengths of the three steps.
        workers: processes; 0 for as many as there are cores.
        quiet: no progress on stderr.

    Raises:
        InputError: the images are prepared already; ``out`` holds something else; or images cannot be read, in which
            case all others are done and kept, and a call after the repair does the rest.
    """
    if is_prepared(images):
        raise InputError("The images of this set are corrected already, and a second time would spoil them",
                         where=images.path, fix="Use the set as it is, or start from the one it was made of")
    out = Path(out).resolve()
    done = {**images.preparation, UNDERWATER: {**recipe.model_dump(), "of": images.fingerprint()}}
    if (out / FACTS).is_file():
        there = ImageSet.open(out)
        if there.preparation != done:
            raise InputError("There is another set of images here", where=out, fix="Choose another folder with --out")
        say(f"Already prepared: {out}")
        return there
    aside = _begin(out, done)
    files = {name: aside / f"{name}.jpg" for name in images.images["image"].tolist()}
    left = [(name, images.file(name), file) for name, file in files.items() if not file.exists()]
    _work_off(left, recipe, workers, total=len(files), quiet=quiet)
    _assemble(images, out, files, done)
    shutil.rmtree(aside)
    return ImageSet.open(out)


def _begin(out: Path, done: dict[str, Any]) -> Path:
    """The folder beside ``out`` where files wait, emptied if it was begun with something else."""
    aside = out.parent / f".{out.name}.preparing"
    if aside.exists() and not ((aside / _STARTED).is_file() and read_json(aside / _STARTED) == done):
        shutil.rmtree(aside)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("There is something else here already", where=out, fix="Choose another folder with --out")
    write_json(aside / _STARTED, done)
    return aside


def _work_off(left: Sequence[Work], recipe: PrepareRecipe, workers: int, *, total: int, quiet: bool) -> None:
    tasks = {f"images {first} to {first + _AT_ONCE}": (_prepare_some, (left[first:first + _AT_ONCE], recipe))
             for first in range(0, len(left), _AT_ONCE)}
    refused: list[str] = []
    with progress(total, "Preparing", "images", done=total - len(left), quiet=quiet) as bar:
        def finished(name: str, found: tuple[int, list[str]]) -> None:
            bar.advance(found[0])
            refused.extend(found[1])

        workers = workers or available_cores()
        run_tasks(tasks, engine="loky" if workers > 1 else "inline", workers=workers, threads=1, finished=finished)
    if refused:
        raise InputError(f"{len(refused)} image(s) cannot be prepared, first: {sorted(refused)[0]}",
                         fix=f"Put them back as they were, or make the set without them; the other "
                             f"{total - len(refused)} are done and will be kept")


def _prepare_some(some: Sequence[Work], recipe: PrepareRecipe) -> tuple[int, list[str]]:
    """In a worker: how many images were looked at, and what is wrong with those that could not be read."""
    refused = []
    for _, source, target in some:
        try:
            write_bytes(target, encode(underwater(read_image(source), recipe)))
        except InputError as error:
            refused.append(f"{error.where or source}: {error.what}")
    return len(some), refused


def _assemble(images: ImageSet, out: Path, files: dict[str, Path], done: dict[str, Any]) -> None:
    table = images.images.copy()
    table["file"] = [f"{FOLDER}/{file.name}" for file in files.values()]
    table["checksum"] = [checksum(read_bytes(file)) for file in files.values()]
    with atomic_folder(out) as folder:
        (folder / FOLDER).mkdir()
        for file in files.values():
            _link(file, folder / FOLDER / file.name)
        write_tables(folder, SetFacts(images.classes, images.species, done, images.note), table, images.boxes)


def _link(source: Path, target: Path) -> None:
    """The same file under a second name, which costs nothing; a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
