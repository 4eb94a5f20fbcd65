"""marine: the table of species: ids, names, priorities and which taxon is part of which, and the checks of a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.species_checks import PRIORITIES, problems

UNKNOWN = -1


@dataclass(frozen=True)
class Species:
    """A species or group of the table.

    Attributes:
        id: number, from 0 on without a gap; in files and models.
        common_name: English name; what classes are called.
        scientific_name: Latin name of the species or of the group.
        category: what it is: fish, urchin, mollusc, ...
        priority: critical, important or general.
        alert: immediate, high or normal.
        concepts: names of it, and of what counts as it, in FathomNet.
        within: id of the group that it is part of, None where there is none.
    """

    id: int
    common_name: str
    scientific_name: str
    category: str
    priority: str
    alert: str
    concepts: tuple[str, ...]
    within: int | None


class SpeciesTable:
    """A table of species, seen to be sound.

    Args:
        value: what the YAML file holds; kept as an attribute.
        where: the file, for messages.

    Raises:
        InputError: the table has a mistake; the message names the first and counts them.
    """

    def __init__(self, value: Any, where: str | Path = "") -> None:
        self.value = value
        found = problems(value)
        if found:
            raise InputError(f"The table of species has {len(found)} mistake(s), first: {found[0]}", where=where,
                             fix="List all with 'groundswell marine species FILE --strict'")
        entries = [(priority, entry) for priority in PRIORITIES for entry in value["species"][priority]]
        self._species = tuple(sorted((_species(priority, entry) for priority, entry in entries), key=lambda s: s.id))
        self.colours: dict[str, str] = {name: str(value["categories"][name]["color"]) for name in PRIORITIES}
        self.descriptions: dict[str, str] = {n: str(value["categories"][n]["description"]) for n in PRIORITIES}
        self._names: dict[str, Species] = {}
        for name_of in (lambda s: s.concepts, lambda s: (s.scientific_name,), lambda s: (s.common_name,)):
            self._names.update({_plain(name): one for one in self._species for name in name_of(one)})

    @property
    def species(self) -> tuple[Species, ...]:
        """All of them, by id."""
        return self._species

    def __len__(self) -> int:
        return len(self._species)

    def __iter__(self) -> Iterator[Species]:
        return iter(self._species)

    def __getitem__(self, id: int) -> Species:
        if not 0 <= id < len(self):
            raise InputError(f"There is no species {id}", fix=f"Ids are 0 to {len(self) - 1}")
        return self._species[id]

    def by_name(self, text: str) -> Species | None:
        """The species whose common, scientific or concept name is exactly this, whatever its case; else None.

        Parts of names are never looked for: an eel is no eelgrass.
        """
        return self._names.get(_plain(text))

    def priority_of(self, id: int) -> str:
        """critical, important or general; empty for -1."""
        return "" if id == UNKNOWN else self[id].priority

    def within(self, id: int) -> int | None:
        """Id of the group that a species is part of, None where there is none."""
        return self[id].within

    def ancestors(self, id: int) -> tuple[int, ...]:
        """Ids of all groups that a species is part of, the nearest first."""
        found: list[int] = []
        above = self.within(id)
        while above is not None:
            found.append(above)
            above = self.within(above)
        return tuple(found)

    def parts(self, id: int) -> tuple[int, ...]:
        """Ids of all that is part of a group, near and far, ascending."""
        return tuple(one.id for one in self._species if id in self.ancestors(one.id))

    def overlap(self, a: int, b: int) -> bool:
        """Whether one animal can be both: they are the same, or one is part of the other."""
        return a == b or a in self.ancestors(b) or b in self.ancestors(a)


def load_species(path: str | Path | None = None) -> SpeciesTable:
    """The table of 36 species that comes with Groundswell, or one of this form from a file.

    Raises:
        InputError: missing, not YAML, or with a mistake in it.
    """
    if path is None:
        return _own()
    return SpeciesTable(read_table(Path(path)), path)


@cache
def _own() -> SpeciesTable:
    text = files("groundswell.pipelines.marine").joinpath("species.yaml").read_text(encoding="utf-8")
    return SpeciesTable(yaml.safe_load(text), "species.yaml")


def read_table(path: Path) -> Any:
    """What a YAML file holds, unchecked.

    Raises:
        InputError: missing, unreadable, or not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError("There is no such table of species", where=path) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"The table of species cannot be read: {error}", where=path) from error


def check(table: SpeciesTable | Path | Any = None, *, strict: bool = True) -> list[str]:
    """Everything that is wrong with a table, one sentence each; none for a sound one.

    Args:
        table: a table, a file, or what one holds; None: the table that comes with Groundswell.
        strict: also what would work but should not stay (no concepts, a list that is not in the order of ids, ...).

    Raises:
        InputError: the file cannot be read.
    """
    table = _own() if table is None else table
    value = read_table(table) if isinstance(table, Path) else table
    return problems(value.value if isinstance(value, SpeciesTable) else value, strict=strict)


def _species(priority: str, entry: dict[str, Any]) -> Species:
    within = entry.get("within")
    return Species(int(entry["id"]), str(entry["common_name"]), str(entry["scientific_name"]), str(entry["category"]),
                   priority, str(entry["alert_priority"]), tuple(map(str, entry["fathomnet_concepts"])),
                   None if within is None else int(within))


def _plain(text: str) -> str:
    return " ".join(str(text).replace("_", " ").split()).casefold()
