"""marine: images from folders, COCO, YOLO and Pascal VOC made into one set, and whatever is left out counted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from groundswell.core.errors import BusyError, InputError
from groundswell.core.files import read_json, shown, write_json
from groundswell.core.locks import lock_file
from groundswell.core.progress import progress, say
from groundswell.pipelines.marine.formats.coco import read_coco
from groundswell.pipelines.marine.formats.folder import read_folder
from groundswell.pipelines.marine.formats.listing import Listing
from groundswell.pipelines.marine.formats.preparation import shared_preparation
from groundswell.pipelines.marine.formats.voc import annotations_of, read_voc
from groundswell.pipelines.marine.formats.yolo import description_of, has_labels, read_yolo
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.images_layout import FACTS, FOLDER
from groundswell.pipelines.marine.organise_recipe import OrganiseRecipe
from groundswell.pipelines.marine.organise_tables import Gathering
from groundswell.pipelines.marine.organising import Done, Planned, make_file, plan, stamp_of
from groundswell.pipelines.marine.species import SpeciesTable, load_species

REPORT = "organise.json"
_JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class Organised:
    """A set that was made.

    Attributes:
        images: the set.
        report: what organise.json says.
    """

    images: ImageSet
    report: dict[str, Any]

    def lines(self) -> list[str]:
        """What was made, in sentences."""
        report = self.report
        unknown = [name for name, number in report["classes"].items() if number < 0]
        lines = [f"The set {self.images.path} has {_many(report['images'], 'image')} of "
                 f"{_many(report['clips'], 'clip')} with {_many(report['boxes'], 'box')} of "
                 f"{_many(len(report['classes']), 'class')}."]
        done = {"shrunk": ("image", "shrunk"), "turned": ("image", "turned as boxes see it"),
                "rescaled": ("image", "with annotations for another size"),
                "incomplete": ("image", "taken as not annotated, for a box could not be used"),
                "cut_boxes": ("box", "cut to the image")}
        counted = [f"{_many(report[key], what)} {words}" for key, (what, words) in done.items() if report[key]]
        lines += [f"{'; '.join(counted)}."] if counted else []
        lines += [f"Not in the table of species: {', '.join(unknown)}."] if unknown else []
        return [*lines, *(f"Left out, {_many(count, kind)}: {reason}."
                          for kind, reasons in report["refused_counts"].items() for reason, count in reasons.items())]

    def complaint(self) -> InputError | None:
        """What was left out, as one paragraph (for exit status 2); None where nothing was."""
        counts = self.report["refused_counts"]
        if not counts:
            return None
        first = next(iter([*self.report["refused_files"], *self.report["refused_boxes"]]))
        named = "; ".join(f"{_many(count, kind)}: {reason}" for kind, reasons in counts.items()
                          for reason, count in reasons.items())
        return InputError(f"The set has {_many(len(self.images), 'image')}, and some things were left out ({named}), "
                          f"first {first['what']}", where=self.images.path / REPORT,
                          fix="Correct them and organise again into another folder, or go on with the set as it is")


def _many(count: int, word: str) -> str:
    """A number with its word."""
    ending = "" if count == 1 else "es" if word.endswith(("s", "x")) else "s"
    return f"{count:,} {word}{ending}"


def read_input(path: Path, kind: str = "auto") -> Listing:
    """What is at a place: a COCO file (or a folder with one), a folder of YOLO or of Pascal VOC, or a plain folder.

    Args:
        path: the place.
        kind: coco, yolo, voc, folder, or auto: whichever it is.

    Raises:
        InputError: there is nothing, or it is not that.
    """
    path = Path(path)
    if shown(path.resolve()) != str(path.resolve()):
        raise InputError("The name of this place is not UTF-8, and tables keep names as text", where=shown(path),
                         fix="Rename it")
    readers = {"auto": _recognised, "coco": _coco_in, "yolo": read_yolo, "voc": read_voc, "folder": read_folder}
    if kind not in readers:
        raise InputError(f"There is no form '{kind}'", where="kind", fix=f"The forms are {', '.join(readers)}")
    return readers[kind](path)


def _coco_in(path: Path) -> Listing:
    found = (sorted(path.glob("*.coco.json")) or sorted(path.glob("*.json"))) if path.is_dir() else [path]
    if len(found) != 1:
        raise InputError(f"There are {len(found)} JSON files here", where=path, fix="Name the one that is meant")
    return read_coco(found[0])


def _recognised(path: Path) -> Listing:
    if path.is_file():
        if path.suffix.lower() == ".json":
            return read_coco(path)
        if path.name in ("dataset.yaml", "data.yaml", "dataset.yml", "data.yml"):
            return read_yolo(path.parent)
        raise InputError("This file is neither COCO (.json) nor YOLO's dataset.yaml", where=path)
    if not path.is_dir():
        raise InputError("There is nothing here", where=path)
    if any(path.glob("*.json")):
        return _coco_in(path)
    if description_of(path):
        return read_yolo(path)
    if annotations_of(path):
        return read_voc(path)
    return read_yolo(path) if has_labels(path) else read_folder(path)  # labels without names are refused, not lost


def organise(inputs: Sequence[str | Path], out: str | Path, recipe: OrganiseRecipe | None = None, *,
             kind: str = "auto", species: SpeciesTable | Path | None = None, workers: int = 2,
             quiet: bool = False) -> Organised:
    """Make one set of images out of what is at several places. Originals are read and never changed or moved.

    Images larger than the recipe allows are shrunk; others are copied byte for byte. Damaged images, boxes that cannot
    be right and files that are in the set already are left out, each with its reason in ``organise.json``; the rest is
    done all the same. Images that are done are kept in a hidden folder beside ``out`` until all are, so that the same
    call goes on after a kill with those that are missing; where the set is there already it is opened.

    Args:
        inputs: COCO files, folders of YOLO or Pascal VOC, plain folders.
        out: folder of the set; new or empty.
        recipe: see :class:`OrganiseRecipe`.
        kind: form of the inputs, see :func:`read_input`.
        species: the table (or its file) that classes are looked up in, by their whole names; None: that which comes
            with Groundswell.
        workers: threads.
        quiet: no progress on stderr.

    Raises:
        InputError: an input cannot be read at all, its images are not prepared as those of another, no image is left,
            or something else is at ``out``.
        BusyError: another process is making the same set.
    """
    recipe, out = recipe or OrganiseRecipe(), Path(out).resolve()
    if shown(out) != str(out):
        raise InputError("The folder's name is not UTF-8, and tables cannot be written there", where=shown(out),
                         fix="Name another folder")
    if not inputs:
        raise InputError("Nothing to organise was named", fix="Name a COCO file or a folder")
    if not (out / FACTS).is_file() and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("There is something here already", where=out, fix="Name another folder, or remove this one")
    table = species if isinstance(species, SpeciesTable) else load_species(species)
    listings = [read_input(Path(path), kind) for path in inputs]
    shared_preparation(listings)  # before the first image is touched
    todo = plan(listings, recipe)
    stamps = {one.name: stamp_of(one, recipe) for one in todo}
    asked = {"inputs": [str(Path(path).resolve()) for path in inputs], "recipe": recipe.model_dump(mode="json"),
             "digest": _digest(listings, todo, stamps, table)}
    there = _there(out, asked)
    if there is not None:
        return there
    aside = out.parent / f".{out.name}.organising"
    with _alone(aside, out):
        work = _Work(listings, todo, stamps, recipe, table, asked)
        return _there(out, asked) or _organise(work, aside, out, workers, quiet=quiet)


@dataclass(frozen=True)
class _Work:
    """A set that is to be made: of what, of each image its :func:`stamp_of` by name, and how the report calls it."""

    listings: Sequence[Listing]
    todo: list[Planned]
    stamps: Mapping[str, str]
    recipe: OrganiseRecipe
    table: SpeciesTable
    asked: dict[str, Any]


def _there(out: Path, asked: dict[str, Any]) -> Organised | None:
    """The set at ``out`` if there is one, which has to be the one that is asked for."""
    if not (out / FACTS).is_file():
        return None
    report = read_json(out / REPORT) if (out / REPORT).is_file() else {}
    before = report.get("asked", {})
    if before != asked:
        changed = {**before, "digest": ""} == {**asked, "digest": ""}
        raise InputError("There is another set of images here" + (
            ": the images, their annotations or the table of species have changed since it was made"
            if changed else ""), where=out, fix="Name another folder")
    say(f"Already organised: {out}")
    return Organised(ImageSet.open(out), report)


def _digest(listings: Sequence[Listing], todo: Sequence[Planned], stamps: Mapping[str, str],
            table: SpeciesTable) -> str:
    """Of all that a set depends on but its recipe: images as they lie there, what is said of them, and the species."""
    digest = hashlib.blake2b(digest_size=16)
    for listing in listings:
        done = [listing.preparation] if listing.preparation else []
        digest.update(json.dumps([listing.form, listing.classes, *done], sort_keys=True).encode())
    for one in todo:
        item = one.item
        digest.update(json.dumps([one.name, stamps[one.name], one.clip, one.frame, item.annotated, item.incomplete,
                                  {key: str(value) for key, value in sorted(item.facts.items())}]).encode())
        for values in (item.boxes, item.label, item.crowd, item.track):
            digest.update(np.ascontiguousarray(values).tobytes())
    digest.update(json.dumps(table.value, sort_keys=True, default=str).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def _alone(aside: Path, out: Path) -> Iterator[None]:
    """No other process makes the same set meanwhile.

    Raises:
        BusyError: one does.
        InputError: the folder cannot be written to.
    """
    lock = aside.with_name(f"{aside.name}.lock")
    try:
        aside.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write here: {error.strerror}", where=aside.parent,
                         fix="Choose a folder that exists and can be written to") from error
    with lock_file(lock) as (mine, holder):
        if not mine:
            raise BusyError(f"Another process is making this set of images ({holder})", where=out,
                            fix="Wait for it, or stop it; what it has finished is kept")
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)  # before it is let go of


def _organise(work: _Work, aside: Path, out: Path, workers: int, *, quiet: bool) -> Organised:
    done = _make_files(work, aside, workers, quiet=quiet)
    gathering = Gathering(work.listings, work.recipe)
    for one in work.todo:
        gathering.add(one, done[one.name], aside)
    try:
        report = gathering.write(aside, work.table, work.asked)
    except InputError:  # no image is left: going on later would find none either
        shutil.rmtree(aside)
        raise
    write_json(aside / REPORT, report)
    if out.exists():
        out.rmdir()
    os.replace(aside, out)
    (out / _JOURNAL).unlink()
    return Organised(ImageSet.open(out), report)


def _make_files(work: _Work, aside: Path, workers: int, *, quiet: bool) -> dict[str, Done]:
    """Every image's file, in ``aside``; those that an earlier process finished are taken as they are."""
    try:
        (aside / FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write here: {error.strerror}", where=aside.parent,
                         fix="Choose a folder that exists and can be written to") from error
    done = _journal(aside, work.stamps)
    left = [one for one in work.todo if one.name not in done]
    with (aside / _JOURNAL).open("w", encoding="utf-8") as journal, ThreadPoolExecutor(max(1, workers)) as threads, \
            progress(len(work.todo), "Organising", "images", done=len(done), quiet=quiet) as bar:
        journal.writelines(one.line() for one in done.values())
        journal.flush()
        try:
            for made in threads.map(partial(make_file, recipe=work.recipe, folder=aside), left):
                done[made.name] = made
                journal.write(made.line())
                journal.flush()
                bar.advance()
        except BaseException:
            threads.shutdown(cancel_futures=True)  # who interrupts does not want to wait for the rest
            raise
    wanted = {Path(one.file).name for one in done.values()}
    for path in (aside / FOLDER).iterdir():
        if path.name not in wanted:  # of an earlier call with other inputs
            path.unlink()
    return done


def _journal(aside: Path, stamps: Mapping[str, str]) -> dict[str, Done]:
    found: dict[str, Done] = {}
    path = aside / _JOURNAL
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        try:
            one = Done.read(line)
        except ValueError:
            continue
        file = aside / one.file
        whole = bool(one.reason) or (file.is_file() and file.stat().st_size == one.bytes)
        if whole and one.stamp and stamps.get(one.name) == one.stamp:
            found[one.name] = one
    return found


def remove_unfinished(out: Path) -> None:
    """Throw away what a killed call left beside ``out``."""
    shutil.rmtree(Path(out).resolve().parent / f".{Path(out).name}.organising", ignore_errors=True)
