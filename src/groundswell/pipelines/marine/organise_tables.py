"""marine: the tables of an organised set, and the report of what was left out of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.formats.listing import Listing, Refused
from groundswell.pipelines.marine.formats.preparation import shared_preparation
from groundswell.pipelines.marine.images_layout import BOX_COLUMNS, SIDES, SetFacts
from groundswell.pipelines.marine.images_writing import write_tables
from groundswell.pipelines.marine.organise_recipe import OrganiseRecipe
from groundswell.pipelines.marine.organising import LEAVES, Done, Planned, place_boxes
from groundswell.pipelines.marine.species import UNKNOWN, SpeciesTable


class Gathering:
    """Rows of the tables of a set, gathered image by image.

    Args:
        listings: what was found.
        recipe: how it becomes a set.
    """

    def __init__(self, listings: Sequence[Listing], recipe: OrganiseRecipe) -> None:
        self._recipe, self._listings = recipe, listings
        self.classes, self._numbers = merged_classes(listings)
        self.refused = [one for listing in listings for one in listing.refused]
        self.counts: Counter[str] = Counter()
        self._images: list[dict[str, Any]] = []
        self._boxes: list[pd.DataFrame] = []
        self._first: dict[str, Planned] = {}

    def add(self, one: Planned, made: Done, folder: Path) -> None:
        """Take an image in, or note why not; the file of one that is there already is removed from ``folder``."""
        item, reason = one.item, made.reason
        if not reason and made.of in self._first:
            reason = "the same file is in the set already" + _elsewhere(self._first[made.of], one)
            (folder / made.file).unlink(missing_ok=True)
        if reason:
            self.refused.append(Refused(str(item.file), reason))
            self.refused += [Refused(f"box {k} of {item.key}", "its image is left out", "box")
                             for k in range(len(item.label))]
            return
        self._first[made.of] = one
        sides, cut, bad = place_boxes(one, made, self._recipe)
        # An animal without its box would be taught as background.
        incomplete = item.incomplete or LEAVES in bad.values()
        self.counts["incomplete"] += item.annotated and incomplete
        self.counts.update(shrunk=made.shrunk, turned=made.turned, rescaled=made.rescaled)
        self._images.append({
            "source": self._recipe.source, **item.facts, "image": one.name, "file": made.file, "clip": one.clip,
            "width": made.size[0], "height": made.size[1], "frame": one.frame, "checksum": made.checksum,
            "annotated": item.annotated and not incomplete})
        self.refused += [Refused(f"box {k} of {item.key}", why, "box") for k, why in bad.items()]
        good = [k for k in range(len(sides)) if k not in bad]
        self.counts["cut"] += int(cut[good].sum())
        label = self._numbers[one.listing][item.label[good]]
        self._boxes.append(pd.DataFrame(sides[good], columns=SIDES).assign(
            image=one.name, label=label, track=item.track[good], crowd=item.crowd[good])[list(BOX_COLUMNS)])

    def write(self, folder: Path, species: SpeciesTable, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Write the tables into ``folder``; the report.

        Raises:
            InputError: no image is left, or the recipe gives a species to a class that there is none of.
        """
        if not self._images:
            raise InputError(f"No image is left: {len(self.refused)} were refused, first {self.refused[0].what}: "
                             f"{self.refused[0].reason}" if self.refused else "There are no images",
                             where=", ".join(asked["inputs"]))
        ids, table = species_of(self.classes, self._recipe, species), pd.concat(self._boxes)
        note = {**({"simulated": True} if self._recipe.simulated else {}), "organised": {"inputs": asked["inputs"]}}
        facts = SetFacts(self.classes, ids, shared_preparation(self._listings), note)
        write_tables(folder, facts, pd.DataFrame(self._images), table)
        return {"asked": dict(asked), "images": len(self._images), "boxes": len(table),
                "found": [{"path": str(listing.path), "form": listing.form, "images": len(listing.items),
                           "classes": list(listing.classes)} for listing in self._listings],
                "classes": dict(zip(self.classes, ids, strict=True)),
                "clips": len({row["clip"] for row in self._images}), "shrunk": self.counts["shrunk"],
                "cut_boxes": self.counts["cut"], "rescaled": self.counts["rescaled"],
                "turned": self.counts["turned"], "incomplete": self.counts["incomplete"], **_refusals(self.refused)}


def _elsewhere(first: Planned, one: Planned) -> str:
    here, there = (planned.item.facts.get("published_split", "") for planned in (one, first))
    return f", and was published in another part ({there} and {here})" if here != there else ""


def _refusals(refused: Sequence[Refused]) -> dict[str, Any]:
    kinds = {kind: [one for one in refused if one.kind == kind] for kind in ("file", "box")}
    return {"refused_counts": {kind: dict(Counter(one.reason for one in found).most_common())
                               for kind, found in kinds.items() if found},
            "refused_files": [{"what": one.what, "reason": one.reason} for one in kinds["file"]],
            "refused_boxes": [{"what": one.what, "reason": one.reason} for one in kinds["box"]]}


def merged_classes(listings: Sequence[Listing]) -> tuple[tuple[str, ...], list[NDArray[np.int64]]]:
    """Names of all classes, and for each listing the new number of each of its own. Names are one where they differ in
    case and blanks alone."""
    index: dict[str, int] = {}
    names: list[str] = []
    numbers: list[NDArray[np.int64]] = []
    for listing in listings:
        plain = [" ".join(name.split()) for name in listing.classes]
        for name in plain:
            if name.casefold() not in index:
                index[name.casefold()] = len(names)
                names.append(name)
        numbers.append(np.array([index[name.casefold()] for name in plain], np.int64))
    return tuple(names), numbers


def species_of(classes: Sequence[str], recipe: OrganiseRecipe, table: SpeciesTable) -> tuple[int, ...]:
    """Id in the table of each class: as the recipe says, or by its whole name; -1 where it is not in it.

    Raises:
        InputError: the recipe names a class or an id that there is none of.
    """
    unknown = sorted(set(recipe.species) - set(classes))
    if unknown:
        raise InputError(f"There is no class '{unknown[0]}' that could be given a species", where="species",
                         fix=f"The classes are: {', '.join(classes) or 'none'}")
    found = []
    for name in classes:
        one = table.by_name(name)
        number = recipe.species.get(name, one.id if one else UNKNOWN)
        found.append(table[number].id if number != UNKNOWN else UNKNOWN)
    return tuple(found)
