"""marine: images and boxes of the species' concepts from FathomNet, made into a set of images."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from groundswell.core.boxes import area, clipped, from_corner_and_size
from groundswell.core.errors import BusyError, FailureError, InputError
from groundswell.core.files import read_json, write_json
from groundswell.core.locks import held
from groundswell.core.progress import progress
from groundswell.pipelines.marine.acquire.fathomnet_api import Answer, FathomNet, Record
from groundswell.pipelines.marine.acquire.fetching import Fetched, Fetching
from groundswell.pipelines.marine.acquire.web import Patience
from groundswell.pipelines.marine.image_files import checksum, read_bytes
from groundswell.pipelines.marine.images import ImageSet, ImageWriter
from groundswell.pipelines.marine.images_layout import FACTS
from groundswell.pipelines.marine.species import UNKNOWN, SpeciesTable, load_species

PATIENCE = Patience(tries=3, wait_s=2.0, longest_s=10.0)
OUTSIDE = "outside the table"
"""Class of boxes whose concept is no species of the table: with data.classes=species they are neither learnt nor taken
for background."""
REPORT = "fathomnet.json"
_UNANSWERED = 3
"""Concepts in a row that the server gives no answer for before it is taken to be gone."""
_ASPECT = 0.01


def download_fathomnet(out: Path, concepts: Sequence[str] | None = None, most: int = 0, at_once: int = 10,
                       endpoint: str = "", *, species: SpeciesTable | None = None,
                       patience: Patience = PATIENCE) -> list[str]:
    """Download images and boxes of concepts from FathomNet into a set of images. Resumable.

    What arrives is kept beside the set, in ``<out>.download``, until all is there: the same call goes on after a kill,
    and fetches what failed. Where there is a set already, its concepts are taken together with the new ones, and no
    image of it is fetched again. Images are shrunk to 1920 x 1080. The class of a box is that species of the table
    which its own concept names exactly, whichever concept the image was found by; boxes of other concepts get the class
    :data:`OUTSIDE`. A clip is what one contributor took on one local day.

    Args:
        out: the set.
        concepts: names in the table; all of it when absent.
        most: images of a concept at most, the first by uuid; 0 for all.
        at_once: downloads side by side.
        endpoint: another server of the same kind.
        species: the table; Groundswell's own when absent.
        patience: tries and waits.

    Returns:
        Lines for a person.

    Raises:
        MissingExtraError: the package fathomnet is not installed.
        InputError: a concept is not in the table, or ``out`` holds something else.
        BusyError: another process downloads there.
        FailureError: the server or the network is gone, or the disk is full; what has arrived stays.
    """
    out, table = Path(out), species or load_species()
    if most < 0 or at_once < 1:
        raise InputError(f"most is {most} and at_once {at_once}", where="marine fathomnet",
                         fix="most is 0 or more, at_once 1 or more")
    if out.exists() and not (out / FACTS).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("There is something here already that is no set of images", where=out,
                         fix="Name another folder")
    old = ImageSet.open(out) if (out / FACTS).is_file() else None
    before = {} if old is None else old.note.get("fathomnet", {})
    if old is not None and not before:
        raise InputError("The set here is not from FathomNet", where=out, fix="Name another folder")
    wanted = list(dict.fromkeys([*before.get("concepts", []), *_named(concepts, table)]))
    most = 0 if not most or before.get("most") == 0 else max(most, before.get("most", 0))
    server = FathomNet(endpoint, patience)
    with _alone(out.with_name(out.name + ".download")) as work:
        found = _Found(wanted)
        found.ask(server, work, most)
        if old is not None and found.unanswered:
            raise FailureError(next(iter(found.unanswered.values())), where=server.endpoint,
                               fix="Run again later; the set stays as it was")
        fetching = Fetching(work, at_once=at_once, patience=patience)
        if old is not None:
            _taken_over(old, fetching)
        fetching.run((record.uuid, record.url) for record in found.records.values())
        if not any(uuid in fetching.done for uuid in found.records):
            told = next(iter(fetching.failed.values()), "no image has a box of these concepts")
            raise FailureError(f"Not one image arrived: {told}", where=server.endpoint)
        made = _write(out, found, fetching, table, {"endpoint": server.endpoint, "concepts": wanted, "most": most})
        if not fetching.failed and not found.unanswered:
            shutil.rmtree(work)
    return _lines(made, found, fetching)


def _named(concepts: Sequence[str] | None, table: SpeciesTable) -> list[str]:
    if not concepts:
        return list(dict.fromkeys(name for one in table for name in one.concepts))
    for name in concepts:
        if table.by_name(name) is None:
            raise InputError(f"'{name}' is no concept of the table of species", where="--concept",
                             fix="See 'groundswell marine species'; names are matched whole")
    return list(concepts)


@contextlib.contextmanager
def _alone(work: Path) -> Iterator[Path]:
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write here: {error.strerror}", where=work.parent,
                         fix="Choose a folder that can be written to") from error
    try:
        with held(work / "lock"):
            yield work
    except BusyError as error:
        raise BusyError("Another process downloads into this folder", where=work,
                        fix="Wait for it, or stop it") from error


@dataclass
class _Found:
    """What the server holds of the concepts."""

    concepts: list[str]
    records: dict[str, Record] = field(default_factory=dict)
    images_of: dict[str, int] = field(default_factory=dict)
    unanswered: dict[str, str] = field(default_factory=dict)
    unreadable: int = 0
    rejected: int = 0

    def ask(self, server: FathomNet, work: Path, most: int) -> None:
        """Ask for each concept, unless an earlier call has the answer."""
        in_a_row = 0
        with progress(len(self.concepts), "Asking", "concepts") as bar:
            for concept in self.concepts:
                try:
                    answer = _answer(server, work / "concepts", concept)
                    in_a_row = 0
                except FailureError as error:
                    self.unanswered[concept] = str(error)
                    in_a_row += 1
                    if in_a_row in (_UNANSWERED, len(self.concepts)):
                        raise
                    continue
                finally:
                    bar.advance()
                kept = answer.records[:most or None]
                self.images_of[concept] = len(kept)
                self.unreadable += answer.unreadable
                self.rejected += answer.rejected
                for record in kept:
                    self.records.setdefault(record.uuid, record)


def _answer(server: FathomNet, folder: Path, concept: str) -> Answer:
    name = hashlib.blake2b(f"{server.endpoint} {concept}".encode(), digest_size=12).hexdigest()
    path = folder / f"{name}.json"
    if path.is_file():
        with contextlib.suppress(InputError, KeyError, TypeError, ValueError):
            return Answer.from_dict(read_json(path))
    answer = server.of_concept(concept)
    write_json(path, answer.to_dict())
    return answer


def _taken_over(old: ImageSet, fetching: Fetching) -> None:
    """Put the images of a set where downloads lie, so that they are not fetched again."""
    columns = ["image", "checksum", "width", "height", "original_width", "original_height"]
    for name, total, width, height, wide, high in old.images[columns].itertuples(index=False):
        file = old.file(name)
        with contextlib.suppress(InputError):  # what is damaged is fetched again
            if name not in fetching.done and checksum(data := read_bytes(file)) == total:
                one = Fetched(name, file.name, total, (width, height), (wide, high))
                fetching.done[name] = one
                fetching.file(name).write_bytes(data)


@dataclass
class _Counts:
    """What became of boxes."""

    clipped: int = 0
    outside_image: int = 0
    outside_table: int = 0
    other_size: int = 0


def _write(out: Path, found: _Found, fetching: Fetching, table: SpeciesTable, facts: dict[str, Any]) -> ImageSet:
    there = [record for uuid, record in sorted(found.records.items()) if uuid in fetching.done]
    named = {box.concept: table.by_name(box.concept) for record in there for box in record.boxes}
    ids = sorted({one.id for one in named.values() if one is not None})
    names = [table[id].common_name for id in ids]
    if any(one is None for one in named.values()) or not names:
        names, ids = [*names, OUTSIDE], [*ids, UNKNOWN]
    label = {concept: ids.index(UNKNOWN if one is None else one.id) for concept, one in named.items()}
    counts = _Counts()
    with ImageWriter(out, classes=names, species=ids, note={"fathomnet": facts}, replace=True) as writer:
        for record in there:
            one = fetching.done[record.uuid]
            boxes = _boxes(record, one, label, counts)
            counts.outside_table += sum(ids[number] == UNKNOWN for number in boxes["label"])
            writer.add(record.uuid, fetching.file(record.uuid), clip=record.clip, source="fathomnet",
                       annotated=bool(len(boxes["label"])), **boxes, time=record.time or None,
                       latitude=record.latitude, longitude=record.longitude, depth_m=record.depth_m,
                       original_width=one.original[0], original_height=one.original[1])
    made = writer.set
    write_json(made.path / REPORT, {
        **facts, "images": len(made), "boxes": len(made.boxes), "images_of_concept": found.images_of,
        "boxes_of_class": {name: int((made.boxes["label"] == number).sum()) for number, name in enumerate(names)},
        "boxes_left_out": {"rejected": found.rejected, "unreadable": found.unreadable,
                           "outside_image": counts.outside_image}, "boxes_clipped": counts.clipped,
        "boxes_outside_table": counts.outside_table, "images_of_another_shape": counts.other_size,
        "images_failed": fetching.failed, "concepts_unanswered": found.unanswered})
    return made


def _boxes(record: Record, one: Fetched, label: dict[str, int], counts: _Counts) -> dict[str, Any]:
    """Boxes in pixels of the shrunk image, cut to it."""
    stated = (record.width or one.original[0], record.height or one.original[1])
    scale = np.array([one.size[0] / stated[0], one.size[1] / stated[1]] * 2)
    drawn = from_corner_and_size(np.array([(box.left, box.top, box.width, box.height) for box in record.boxes])) * scale
    if abs(scale[0] / scale[1] - 1) > _ASPECT and len(drawn):
        counts.other_size += 1  # its boxes are of another picture
        drawn = drawn[:0]
    cut = clipped(drawn, *one.size).astype(np.float32)
    kept = [row for row in range(len(drawn)) if area(cut[row:row + 1])[0] > 0]
    counts.outside_image += len(drawn) - len(kept)
    counts.clipped += int((np.abs(cut - drawn)[kept].max(axis=1, initial=0) > 1).sum())
    return {"boxes": cut[kept], "label": [label[record.boxes[row].concept] for row in kept],
            "crowd": [record.boxes[row].group for row in kept]}


def _lines(made: ImageSet, found: _Found, fetching: Fetching) -> list[str]:
    lines = [f"FathomNet: {len(made)} images, {len(made.boxes)} boxes of {len(made.classes)} classes in {made.path}",
             "The images are their contributors': see FathomNet's terms before you publish them."]
    if OUTSIDE in made.classes:
        lines.append(f"Boxes of concepts that are not in the table have the class '{OUTSIDE}'; train with "
                     "data.classes=species, and they are neither learnt nor taken for background.")
    for what, failed in (("image(s)", fetching.failed), ("concept(s)", found.unanswered)):
        if failed:
            lines.append(f"{len(failed)} {what} did not arrive, first: {next(iter(failed.values()))}")
            lines.append("Run again to fetch what is missing.")
    return lines
