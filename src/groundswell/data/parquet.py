"""data: Parquet files that carry facts of their own beside their columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path


def write_with_facts(path: Path, table: pa.Table, key: bytes, facts: dict[str, Any]) -> None:
    """Write a table with JSON-able facts under ``key`` in its metadata, atomically."""
    described = table.replace_schema_metadata({**(table.schema.metadata or {}), key: json.dumps(facts).encode()})
    with atomic_path(path) as temporary:
        pq.write_table(described, temporary)


def read_with_facts(path: Path, key: bytes, what: str) -> tuple[pa.Table, dict[str, Any]]:
    """The table and the facts that :func:`write_with_facts` wrote.

    Args:
        path: of the file.
        key: that the facts are under.
        what: the file holds, in the plural, to end a sentence with.

    Raises:
        InputError: missing, damaged or something else.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"The {what} cannot be read: {error}", where=path) from error
    raw = (table.schema.metadata or {}).get(key)
    if raw is None:
        raise InputError(f"This Parquet file does not hold {what}", where=path)
    facts: dict[str, Any] = json.loads(raw)
    return table, facts
