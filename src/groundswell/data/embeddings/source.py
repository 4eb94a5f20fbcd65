"""data: a source that serves vectors of a store of embeddings, row by row of a sample table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.embeddings.reading import Missing, whole_numbers
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.data.source import Field

MEMORY_BYTES = 256 << 20
"""Tables that take no more than this as float32 are kept in memory, unless a source is told otherwise."""


class EmbeddingSource:
    """Fields of a sample are vectors of tables of a store, float32.

    Args:
        store: where the vectors are.
        fields: for each field the table it comes from and the id of each sample's vector, int64 (n,), n the same for
            all; an id may come many times (many observations of one taxon).
        missing: ``refuse``, or ``nan`` for NaN where a vector is missing.
        memory_bytes: tables up to this size are kept in memory as float32; others are read from the files.

    Raises:
        InputError: no fields, or of different lengths; a table or an id is unknown, or a vector missing.
    """

    def __init__(self, store: EmbeddingStore, fields: Mapping[str, tuple[str, NDArray[np.int64]]], *,
                 missing: Missing = "refuse", memory_bytes: int = MEMORY_BYTES) -> None:
        lengths = {name: len(ids) for name, (_, ids) in fields.items()}
        if len(set(lengths.values())) != 1:
            raise InputError(f"The fields of a source must have one length; they have {lengths or 'none'}")
        self._store, self._memory_bytes = store, memory_bytes
        self._length = next(iter(lengths.values()))
        self._tables = {name: table for name, (table, _) in fields.items()}
        self._rows = {name: store.reader(table).rows(whole_numbers(ids), missing)
                      for name, (table, ids) in fields.items()}
        self._held: dict[str, NDArray[np.float32]] = {}
        self._hold()

    def _hold(self) -> None:
        for table in dict.fromkeys(self._tables.values()):
            reader = self._store.reader(table)
            count = reader.manifest.rows
            if 4 * count * reader.spec.values <= self._memory_bytes:
                self._held[table] = np.empty((count, *reader.spec.shape), np.float32)
                reader.read_rows(np.arange(count), self._held[table])
                reader.close()

    @property
    def fields(self) -> Mapping[str, Field]:
        """Shape of each table's rows; float32."""
        return {name: Field(self._store.reader(table).spec.shape, np.float32) for name, table in self._tables.items()}

    def __len__(self) -> int:
        return self._length

    def read(self, rows: NDArray[np.int64], out: Mapping[str, NDArray[Any]]) -> None:
        """Copy the vectors of the samples at ``rows`` into ``out``.

        Raises:
            InputError: a row is outside the source, or a part of the store cannot be read.
        """
        outside = (rows < 0) | (rows >= self._length)
        if outside.any():
            raise InputError(f"Row {int(rows[outside][0])} is outside a source of {self._length} rows")
        for name, table in self._tables.items():
            wanted, held = self._rows[name][rows], self._held.get(table)
            if held is None:
                self._store.reader(table).read_rows(wanted, out[name])
            else:
                np.take(held, wanted, axis=0, out=out[name], mode="clip")

    def close(self) -> None:
        """Let go of the tables' files; tables in memory stay."""
        for table in self._tables.values():
            self._store.reader(table).close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": {}}  # other processes read what they keep themselves

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._hold()
