"""das: an index of a folder's records, kept beside them so that unchanged files are not opened again.

It holds facts of files, never labels. A file is taken as unchanged when its size and its times of modification and of
change of status are; where only the last differs (the file was copied back, or its rights changed), a hash of samples
of its bytes decides.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from groundswell import __version__
from groundswell.core.errors import GroundswellError, InputError
from groundswell.core.files import inside, shown
from groundswell.data.parquet import read_checked, write_checked
from groundswell.pipelines.das import formats
from groundswell.pipelines.das.record import Record, RecordReader

CACHE = Path(".groundswell") / "records.parquet"
_META = b"groundswell.das.records"
_VERSION = f"1 {__version__}".encode()  # another version may read facts otherwise
_COLUMNS = ("file", "size_bytes", "modified_ns", "changed_ns", "file_hash", "content", "record")
_BLOCK_BYTES = 65536
_BLOCKS = 16
_SPOTS = 16
_SPOT_SAMPLES = 64
_SPOT_CHANNELS = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """A record and a hash (hex) of samples of its values, alike for copies of it in other files."""

    record: Record
    content: str


@dataclass(frozen=True)
class Holdings:
    """What a folder holds.

    Attributes:
        found: every array in it, whatever its verdict, by record key in the order of keys. A key is the file's path
            inside the folder, with ``#`` and the array's own path where the file holds several waveforms.
        failed: files that could not be read, by path inside the folder, with the reason.
    """

    found: dict[str, Found]
    failed: dict[str, str]


@dataclass(frozen=True)
class _Entry:
    """What the index knows of one file."""

    size_bytes: int
    modified_ns: int
    changed_ns: int
    file_hash: str
    found: tuple[Found, ...]


def find_all(folder: Path, cache: Path | None = None) -> Holdings:
    """Look through a folder. A file that fails is tried again each time: what it lacked may be there by then.

    Args:
        folder: read with its subfolders.
        cache: the index; ``folder/.groundswell/records.parquet`` when absent. Where it cannot be written nothing is
            kept, which costs time only.

    Raises:
        InputError: there is no such folder, or it is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError("This is a file, and a folder of records is asked for", where=folder,
                         fix="Name the folder that it lies in")
    path = cache if cache is not None else folder / CACHE
    known = _read(path, folder)
    entries: dict[str, _Entry] = {}
    failed: dict[str, str] = {}
    for file in formats.walk([folder]):
        name = shown(Path(os.path.relpath(file, folder)).as_posix())
        try:
            entries[name] = _unchanged(file, known.get(name)) or _look_at(file)
        except GroundswellError as error:
            failed[name] = error.what
        except OSError as error:
            failed[name] = f"The file cannot be read: {error.strerror or error}"
        except Exception as error:  # a file that no reader foresaw must not keep all others from being used
            failed[name] = f"The file cannot be read ({type(error).__name__}: {error})"
    if entries != known:
        _write(path, entries)
    return Holdings(dict(sorted(_keyed(entries))), failed)


def _keyed(entries: dict[str, _Entry]) -> Iterable[tuple[str, Found]]:
    for name, entry in entries.items():
        waveforms = sum(found.record.kind == "waveform" for found in entry.found)
        for found in entry.found:
            alone = len(entry.found) == 1 or (waveforms == 1 and found.record.kind == "waveform")
            yield (name if alone else f"{name}#{found.record.dataset}"), found


def _unchanged(file: Path, entry: _Entry | None) -> _Entry | None:
    """The entry, if it still holds for the file."""
    if entry is None:
        return None
    now = file.stat()
    if (now.st_size, now.st_mtime_ns) != (entry.size_bytes, entry.modified_ns):
        return None
    if now.st_ctime_ns != entry.changed_ns and hash_of_bytes(file) != entry.file_hash:
        return None
    return dataclasses.replace(entry, changed_ns=now.st_ctime_ns) if _sources_hold(entry) else None


def _sources_hold(entry: _Entry) -> bool:
    """Whether other files that the records' values lie in are unchanged too; one that was missing may be back."""
    for item in entry.found:
        if item.record.kind == "unreadable":
            return False
        for name, size_bytes, modified_ns in item.record.detail.get("sources", ()):
            try:
                now = inside(item.record.path.parent, name).stat()
            except (OSError, GroundswellError):
                return False
            if (now.st_size, now.st_mtime_ns) != (size_bytes, modified_ns):
                return False
    return True


def _look_at(file: Path) -> _Entry:
    records = formats.find_records(file)
    now, file_hash = file.stat(), hash_of_bytes(file)
    found = tuple(Found(r, content_of(r, formats.open_reader, otherwise=f"{file_hash}{r.dataset}")) for r in records)
    return _Entry(now.st_size, now.st_mtime_ns, now.st_ctime_ns, file_hash, found)


def hash_of_bytes(file: Path) -> str:
    """Hex hash of a file's size and of blocks of its bytes: the first, the last, and some evenly spread between."""
    size = os.stat(file).st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with open(file, "rb", buffering=0) as handle:
        for start in sorted({int(s) for s in np.linspace(0, max(0, size - _BLOCK_BYTES), _BLOCKS)}):
            handle.seek(start)
            digest.update(handle.read(_BLOCK_BYTES))
    return digest.hexdigest()


def content_of(record: Record, open_reader: Callable[[Record], RecordReader], *, otherwise: str) -> str:
    """Hex hash of a record's shape and of values at places spread over time and fibre.

    It is the same for copies in other files and formats of the same values and type. Where the values say nothing (the
    record cannot be read, or all values looked at are equal) it is the hash of ``otherwise``.
    """
    digest = hashlib.blake2b(digest_size=16)
    different = False
    if record.kind == "waveform" and record.samples > 0 and record.channels > 0:
        digest.update(f"{record.samples}x{record.channels}".encode())
        try:
            reader = open_reader(record)
            try:
                different = _hash_spots(record, reader, digest)
            finally:
                reader.close()
        except (GroundswellError, OSError):
            different = False
    return digest.hexdigest() if different else hashlib.blake2b(otherwise.encode(), digest_size=16).hexdigest()


def _hash_spots(record: Record, reader: RecordReader, digest: Any) -> bool:
    """Feed values to ``digest``; whether they differ among themselves."""
    length = min(_SPOT_SAMPLES, record.samples)
    width = record.channels if record.channels <= _SPOT_CHANNELS else 1
    channels = sorted({int(c) for c in np.linspace(0, record.channels - width, 1 if width > 1 else _SPOTS)})
    values = np.empty((length, width), np.float64)
    low, high = np.inf, -np.inf
    for start in sorted({int(s) for s in np.linspace(0, record.samples - length, _SPOTS)}):
        for channel in channels:
            reader.read(start, start + length, channel, channel + width, values)
            digest.update(values.astype("<f4").tobytes())
            finite = values[np.isfinite(values)]
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return low < high


def _read(path: Path, folder: Path) -> dict[str, _Entry]:
    """The index, its paths those in ``folder`` as it is called now; empty where there is none that can be used."""
    try:
        table = read_checked(path)
        if (table.schema.metadata or {}).get(_META) != _VERSION or not set(_COLUMNS) <= set(table.column_names):
            return {}
        entries: dict[str, _Entry] = {}
        for row in table.to_pylist():
            before = entries.get(row["file"])
            found = before.found if before is not None else ()
            if row["record"]:
                record = formats.from_json(json.loads(row["record"]))
                found += (Found(dataclasses.replace(record, path=folder / row["file"]), row["content"]),)
            entries[row["file"]] = _Entry(row["size_bytes"], row["modified_ns"], row["changed_ns"], row["file_hash"],
                                          found)
        return entries
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException, GroundswellError) as error:
        log.warning("The index of records %s cannot be used and is made again: %s", path, error)
        return {}


def _write(path: Path, entries: dict[str, _Entry]) -> None:
    rows = [(name, e.size_bytes, e.modified_ns, e.changed_ns, e.file_hash, found.content if found else "",
             json.dumps(formats.to_json(found.record)) if found else "")
            for name, e in entries.items() for found in (e.found or (None,))]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    types = {c: "int64" if c.endswith(("_bytes", "_ns")) else "str" for c in _COLUMNS}
    table = pa.Table.from_pandas(frame.astype(types), preserve_index=False)
    try:
        write_checked(path, table.replace_schema_metadata({_META: _VERSION}))
    except (OSError, GroundswellError) as error:
        log.warning("The index of records could not be kept: %s", error)
