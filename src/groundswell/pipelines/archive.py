"""pipelines: what a run is begun with, kept in its folder, and compared with what is found there later."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundswell.core.errors import InputError
from groundswell.core.files import read_json, write_json
from groundswell.core.recipe import RecipePart, differences
from groundswell.core.run import RunFolder
from groundswell.data.table import SampleTable
from groundswell.train.training import FREE_KEYS

LEARNT = frozenset({"data", "preprocess", "augment", "sampling", "model", "train"})
"""Parts of recipes that weights follow from. Data are divided once, and what comes after training may change."""
_PLACES = frozenset({"path", "size_bytes", "modified_ns"})


@dataclass(frozen=True)
class Archive:
    """What a recipe's data is: the sample table, and whatever the pipeline's sources need beside it (JSON-able)."""

    table: SampleTable
    records: list[dict[str, Any]]


def save_archive(archive: Archive, folder: Path) -> None:
    """Write the table and the records of a fit into its folder."""
    archive.table.write(folder / "samples.parquet")
    write_json(folder / "records.json", archive.records)


def load_archive(folder: Path) -> Archive:
    """Read what :func:`save_archive` wrote.

    Raises:
        InputError: it is missing, damaged, or not what the run was begun with.
    """
    records = read_json(folder / "records.json")
    known = RunFolder(folder).begun.get("records")  # none in a fit inside a run, and in runs of earlier versions
    if known is not None and known != crc_of(records):
        raise InputError("The records are not those that the run was begun with: the file was changed or damaged",
                         where=folder / "records.json", fix="Put it back as it was, or train again in another folder")
    return Archive(SampleTable.read(folder / "samples.parquet"), records)


def crc_of(records: Any) -> int:
    """Of all but where files lie and how old they are: a file that was changed is told of as such when it is read."""
    records = json.loads(json.dumps(records))  # as they are once written and read: keys are texts, and sorted as such
    kept = [{name: value for name, value in record.items() if name not in _PLACES} if isinstance(record, dict)
            else record for record in (records if isinstance(records, list) else [records])]
    return zlib.crc32(json.dumps(kept, sort_keys=True).encode())


def check_recipe(run: RunFolder, recipe: RecipePart) -> None:
    """See that what is learnt follows from the recipe that the run was begun with.

    Raises:
        InputError: a key was changed since; the message names it.
    """
    free = {f"train.{key}" for key in FREE_KEYS}
    changed = [f"{key} was {then!r} and is {now!r}"
               for key, (then, now) in differences(recipe, run.begun.get("recipe", {})).items()
               if key.partition(".")[0] in LEARNT and key not in free]
    if changed:
        raise InputError(f"The run's recipe was changed after it was begun: {'; '.join(changed)}",
                         where=run.recipe_path,
                         fix="Put these keys back as they were, or train anew in another folder")
