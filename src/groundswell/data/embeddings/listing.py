"""data: what a store of embeddings says of itself in ``store.json``: its tables, its taxa, and free facts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from groundswell.core.errors import InputError
from groundswell.core.files import inside, read_json, write_json
from groundswell.core.locks import held
from groundswell.data.embeddings.manifest import NAME, TableManifest
from groundswell.data.embeddings.spec import TableSpec

FORMAT = "groundswell embeddings 1"


def create_listing(folder: Path, note: Mapping[str, Any]) -> None:
    """Begin a store in ``folder``, which must be empty or absent.

    Raises:
        InputError: something is there already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("The folder for the store is not empty", where=folder, fix="Choose another folder")
    write_json(folder / "store.json", {"format": FORMAT, "created": datetime.now(UTC).isoformat(timespec="seconds"),
                                       "note": dict(note), "tables": [], "taxa": []})


def read_listing(folder: Path) -> dict[str, Any]:
    """What ``store.json`` says: format, created, note, tables (names), taxa (names, a taxon's number its place).

    Raises:
        InputError: it is absent, or not as it is written.
    """
    path = folder / "store.json"
    if not path.is_file():
        raise InputError("This is not a store of embeddings: it has no store.json", where=folder,
                         fix="Make one by importing or simulating embeddings")
    listing = read_json(path)
    if not isinstance(listing, dict) or listing.get("format") != FORMAT:
        raise InputError(f"This is not a store of the format '{FORMAT}'", where=path,
                         fix="It may have been written by another release; import the embeddings again")
    if not isinstance(listing.get("note"), dict) or not all(_names(listing.get(key)) for key in ("tables", "taxa")):
        raise InputError("The store's note, tables or taxa are not as they are written", where=path,
                         fix="Import the embeddings again")
    return listing


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value) and len(set(value)) == len(value)


def read_manifests(folder: Path, listing: Mapping[str, Any]) -> dict[str, TableManifest]:
    """The manifest of every table, by name.

    Raises:
        InputError: a table is not whole; the message names the file.
    """
    # A kill between a table's first manifest and its being listed leaves a table that is whole all the same.
    unlisted = sorted({path.parent.name for path in folder.glob(f"*/{NAME}")} - set(listing["tables"]))
    return {name: TableManifest.read(inside(folder, TableSpec(name, (1,)).name))
            for name in [*listing["tables"], *unlisted]}


@contextlib.contextmanager
def changing(folder: Path) -> Iterator[dict[str, Any]]:
    """``store.json`` as it is now, to be changed; written back on leaving. Who else wants to change it waits."""
    with held(folder / ".store.lock", wait=True):
        for abandoned in folder.glob(".store-*.part.json"):
            abandoned.unlink()
        listing = read_listing(folder)
        yield listing
        write_json(folder / "store.json", listing)
