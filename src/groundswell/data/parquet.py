"""data: Parquet files that carry facts of their own beside their columns, and notice that they were damaged."""

from __future__ import annotations

import contextlib
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path

_CRC = "crc32"


@contextlib.contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Tell of a file at ``path`` that is missing or damaged, whatever the libraries stumbled over.

    Args:
        path: of the file.
        what: it holds, after "The".

    Raises:
        InputError: it cannot be read.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"The {what} cannot be read: there is no such file", where=path) from error
    except (OSError, pa.ArrowException, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
            RuntimeError) as error:
        raise InputError(f"The {what} cannot be read: {error or type(error).__name__}", where=path) from error


def write_checked(path: Path, table: pa.Table) -> None:
    """Write a table atomically, with a checksum of every page: compression notices few of the bits that flip."""
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)


def read_checked(path: Path) -> pa.Table:
    """Read a table; the pages of a file that :func:`write_checked` wrote are as they were, or this raises."""
    return pq.read_table(path, page_checksum_verification=True)


def write_with_facts(path: Path, table: pa.Table, key: bytes, facts: dict[str, Any]) -> None:
    """Write a table with JSON-able facts under ``key`` in its metadata, atomically, and checksums of it all."""
    note = {**facts, _CRC: _checksum(table.schema, key, facts)}
    described = table.replace_schema_metadata({**(table.schema.metadata or {}), key: json.dumps(note).encode()})
    write_checked(path, described)


def read_with_facts(path: Path, key: bytes, what: str) -> tuple[pa.Table, dict[str, Any]]:
    """The table and the facts that :func:`write_with_facts` wrote.

    Args:
        path: of the file.
        key: that the facts are under.
        what: the file holds, in the plural, to end a sentence with.

    Raises:
        InputError: missing, damaged or something else.
    """
    with reading(path, what):
        table = read_checked(path)
        raw = (table.schema.metadata or {}).get(key)
        if raw is None:
            raise InputError(f"This Parquet file does not hold {what}", where=path)
        facts: dict[str, Any] = json.loads(raw)
        # Files of earlier versions have no checksum.
        if _CRC in facts and facts.pop(_CRC) != _checksum(table.schema, key, facts):
            raise InputError(f"The checksum of the {what} does not match: the file was changed or damaged after it was "
                             "written", where=path, fix="Make it again")
    return table, facts


def _checksum(schema: pa.Schema, key: bytes, facts: dict[str, Any]) -> int:
    """Of what pages do not hold: names and types of columns, metadata and facts."""
    # Parquet gives the items of lists a name of its own.
    columns = [f"{field.name} {re.sub(r'<[a-z]+: ', '<', str(field.type))}" for field in schema]
    metadata = sorted((name.hex(), value.hex()) for name, value in (schema.metadata or {}).items() if name != key)
    return zlib.crc32(json.dumps([columns, metadata, facts]).encode())
