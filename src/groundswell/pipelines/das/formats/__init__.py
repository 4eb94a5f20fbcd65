"""das: which files hold records, what is in them, and how they are read. Imports its readers only when asked for one.

A file is recognised by what it holds, not by its name; names only decide what :func:`walk` looks at. Every direct
reader copies values as they are stored: no scale factor is applied, a record's ``units`` name it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundswell.core.errors import InputError
from groundswell.core.files import shown

if TYPE_CHECKING:
    from groundswell.pipelines.das.record import Record, RecordReader

SUFFIXES = frozenset({".h5", ".hdf5", ".hdf", ".tdms", ".sgy", ".segy", ".mseed", ".miniseed", ".msd"})


def _looks_readable(name: str) -> bool:
    path = Path(name)
    return not name.startswith(".") and path.suffix.lower() in SUFFIXES and ".part" not in path.suffixes


def walk(inputs: Sequence[Path]) -> list[Path]:
    """Files of readable suffixes under ``inputs``, recursive, sorted, each once.

    A file that is named itself is kept whatever its suffix. Below a folder, hidden names and unfinished ``.part``
    files are left out and links to folders are not followed. A folder that cannot be listed is returned itself, so
    that it is named when one tries to read it.

    Raises:
        InputError: an input does not exist.
    """
    found: set[Path] = set()
    for given in map(Path, inputs):
        if not given.exists():
            raise InputError("There is no such file or folder", where=given, fix="Check the path")
        if not given.is_dir():
            found.add(given)
            continue
        refused: list[OSError] = []
        for folder, folders, names in os.walk(given, onerror=refused.append):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found.update(Path(folder, name) for name in names if _looks_readable(name))
        found.update(Path(error.filename) for error in refused if error.filename)
    return sorted(found)


def find_records(path: Path) -> list[Record]:
    """Every record in one file, with its facts; at most a few samples of it are read.

    Where the samples read are all zero, more are looked at, and a record of nothing but zeros says so in its verdict.

    Raises:
        InputError: the file is missing, empty, truncated, damaged, of no known format, or holds no record; or its name
            is not UTF-8.
        MissingExtraError: the format needs a package that is not installed.
    """
    from groundswell.pipelines.das.formats import recognise

    if shown(path) != os.fspath(path):
        raise InputError("The file's name is not UTF-8, and tables, labels and indexes keep names as text",
                         where=shown(path), fix="Rename the file")
    return recognise.find_records(Path(path))


def open_reader(record: Record) -> RecordReader:
    """A reader of ``record``: opened at its first read, safe in threads, picklable (its handle stays behind).

    Each read first compares the file's size and modification time with the record's.

    Raises:
        InputError: the record is one that cannot be read (a link that is not followed, a missing source).
    """
    from groundswell.pipelines.das.formats import recognise

    return recognise.open_reader(record)


def to_json(record: Record) -> dict[str, Any]:
    """The record as JSON values; :func:`from_json` restores it exactly."""
    from groundswell.pipelines.das.formats import stored

    return stored.to_json(record)


def from_json(values: Mapping[str, Any]) -> Record:
    """The record that :func:`to_json` wrote.

    Raises:
        InputError: a fact is missing or of the wrong kind.
    """
    from groundswell.pipelines.das.formats import stored

    return stored.from_json(values)
