"""marine: which classes a detector tells apart: a set's own, species of the table, priorities, or animals at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.pipelines.marine.images import Annotations, ImageSet
from groundswell.pipelines.marine.species import UNKNOWN, SpeciesTable, load_species
from groundswell.pipelines.marine.species_checks import PRIORITIES

Mode = Literal["own", "species", "priority", "animal"]


@dataclass(frozen=True)
class ClassMap:
    """Classes of a set made into the classes of a detector.

    Attributes:
        names: of the detector's classes.
        of: new class of each of the set's classes, -1 where it is not told apart, int64, shape (set's classes,).
        species: id in the table of species of each new class, -1 where it is not one of them, int64.
        priority: critical, important, general, or empty where unknown, of each new class.
    """

    names: tuple[str, ...]
    of: NDArray[np.int64]
    species: NDArray[np.int64]
    priority: tuple[str, ...]

    def applied(self, annotations: Annotations) -> Annotations:
        """Boxes with their new classes.

        A box of a class that is not told apart comes back once for every new class, as a region of many (``crowd``):
        what is found there is neither right nor wrong. Such boxes stand last.
        """
        label = self.of[annotations.label]
        known, rest = np.flatnonzero(label >= 0), np.flatnonzero(label < 0)
        rows = np.concatenate([known, np.repeat(rest, len(self.names))])
        new = np.concatenate([label[known], np.tile(np.arange(len(self.names)), len(rest))]).astype(np.int64)
        crowd = np.concatenate([annotations.crowd[known], np.ones(len(rows) - len(known), bool)])
        return Annotations(annotations.boxes[rows], new, annotations.track[rows], crowd)

    def table(self, images: ImageSet, annotated: bool = True) -> SampleTable:
        """The set's sample table in the new classes: the label is the rarest new class, ``boxes`` counts those told
        apart."""
        table = images.table(annotated)
        frame = images.boxes
        label = self.of[frame["label"].to_numpy(np.int64)]
        kept = (label >= 0) & ~frame["crowd"].to_numpy(bool)
        often = np.bincount(label[kept], minlength=len(self.names))
        rank = np.argsort(np.argsort(often, kind="stable"), kind="stable")
        mine = pd.DataFrame({"image": frame["image"].to_numpy()[kept], "rank": rank[label[kept]]}).groupby("image")
        names = table.column("sample_id")
        rarest = names.map(mine["rank"].min())
        back = np.append(np.argsort(often, kind="stable"), UNKNOWN)
        new = pd.Series(back[rarest.fillna(-1).to_numpy(np.int64)]).astype("Int64")
        rows = table.frame.assign(label=new.mask(rarest.isna().to_numpy()),
                                  boxes=names.map(mine.size()).fillna(0).astype(np.int64))
        return SampleTable(rows, self.names, pipeline=table.pipeline, origin=table.origin)


def class_map(images: ImageSet, mode: Mode = "own", species: SpeciesTable | None = None) -> ClassMap:
    """What a detector tells apart on a set.

    Args:
        images: the set.
        mode: own: its classes as they are; species: those of the table that it has, of which several classes may be
            one; priority: critical, important, general, as far as it has them; animal: animals from background.
        species: the table; None: that which comes with Groundswell.

    Raises:
        InputError: the set has no classes, or with ``species`` and ``priority`` none of them is in the table.
    """
    if not images.classes:
        raise InputError("The set of images has no classes", where=images.path,
                         fix="Organise it with its annotations; without any it can only be pretrained on")
    ids = np.array(images.species, np.int64)
    table = species or load_species()
    if mode == "animal":
        return ClassMap(("animal",), np.zeros(len(ids), np.int64), np.array([UNKNOWN]), ("",))
    if mode == "own":
        return ClassMap(images.classes, np.arange(len(ids)), ids, tuple(table.priority_of(i) for i in ids.tolist()))
    if (ids < 0).all():
        raise InputError(f"None of the set's classes ({', '.join(images.classes[:8])}) is in the table of species",
                         where=f"data.classes={mode}",
                         fix="Use data.classes=own or animal, or organise the set with --species name=id")
    if mode == "species":
        there = np.unique(ids[ids >= 0])
        place = np.where(ids >= 0, np.searchsorted(there, ids), UNKNOWN)
        return ClassMap(tuple(table[i].common_name for i in there.tolist()), place, there,
                        tuple(table.priority_of(i) for i in there.tolist()))
    level = [table.priority_of(i) for i in ids.tolist()]
    names = tuple(name for name in PRIORITIES if name in level)
    of = np.array([names.index(name) if name else UNKNOWN for name in level], np.int64)
    return ClassMap(names, of, np.full(len(names), UNKNOWN), names)
