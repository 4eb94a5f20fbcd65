"""biodiversity: vision vectors as one file of float32 rows, ``embeddings.mmap``, with an SQLite index beside it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.biodiversity.published_layouts import (
    AGAIN,
    BLOCK_BYTES,
    Entries,
    images_of,
    refuse_twice,
    whole,
)

MMAP, DATABASE, TABLE = "embeddings.mmap", "embeddings_index.db", "embedding_index"
OBSERVED = ("gbif_id", "image_index", "taxon_id", "taxon_name", "latitude", "longitude", "lat", "lon", "year", "month",
            "day", "hour", "has_vision", "split")
"""Columns of the index that say something of the observation."""


def index_frame(source: Path) -> pd.DataFrame:
    """The index: ``file_offset`` in bytes (null where there is no vector), and :data:`OBSERVED` as far as it has them.

    The database is opened for reading only.

    Raises:
        InputError: it cannot be read, or lacks a column.
    """
    path = source / DATABASE
    if not path.is_file():
        raise InputError("There is no such file", where=path, fix=AGAIN)
    try:
        with closing(sqlite3.connect(path.resolve().as_uri() + "?mode=ro", uri=True)) as database:
            has = {name for (name,) in database.execute("SELECT name FROM pragma_table_info(?)", (TABLE,))}
            lacking = [name for name in ("gbif_id", "file_offset") if name not in has]
            if lacking:
                raise InputError(f"The database has no table {TABLE} with the column(s) {', '.join(lacking)}",
                                 where=path, fix=AGAIN)
            # Names cannot be parameters; these are ours, not the file's.
            names = ["file_offset", *(name for name in OBSERVED if name in has)]
            rows = database.execute(f"SELECT {', '.join(names)} FROM {TABLE} ORDER BY gbif_id").fetchall()
    except sqlite3.Error as error:
        raise InputError(f"The database cannot be read: {error}", where=path, fix=AGAIN) from error
    return pd.DataFrame(rows, columns=names)


class MappedVectors:
    """Rows of float32, little-endian, end to end without a header, found by ``file_offset``.

    Args:
        source: the folder.
        values: numbers in a vector.

    Raises:
        InputError: the index is not as :func:`index_frame` says, lists a vector or a place twice, or an offset is not
            that of a row inside the file.
    """

    def __init__(self, source: Path, values: int) -> None:
        self._path, self._values = source / MMAP, values
        index, frame = source / DATABASE, index_frame(source)
        without = frame["file_offset"].isna() & ~has_vision(frame)
        frame = frame[~without].reset_index(drop=True)
        ids = whole(frame["gbif_id"], 1, "gbif_id", str(index))
        images = images_of(frame, index)
        placed = frame["file_offset"].notna().to_numpy(bool)
        self._offset = np.full(len(ids), -1, np.int64)
        self._offset[placed] = whole(frame["file_offset"][placed], 0, "file_offset", str(index))
        refuse_twice([ids, images], "vector(s)", index)
        refuse_twice([self._offset[placed]], "place(s)", index)
        order = np.argsort(self._offset, kind="stable")
        self._offset = self._offset[order]
        self.entries = Entries(ids[order], images[order], placed[order])
        self._check_offsets()

    def _check_offsets(self) -> None:
        length = 4 * self._values
        if not self._path.is_file():
            raise InputError("There is no such file", where=self._path, fix=AGAIN)
        size = self._path.stat().st_size
        if size % length:
            raise InputError(f"The file has {size} bytes, which are no whole number of vectors of {length}",
                             where=self._path, fix=AGAIN)
        placed = self._offset[self.entries.placed]
        wrong = placed[(placed % length != 0) | (placed + length > size)]
        if len(wrong):
            gbif_id = self.entries.gbif_ids[self._offset == wrong[0]][0]
            raise InputError(f"The offset {wrong[0]} of the observation {gbif_id} is not that of one of the "
                             f"{size // length} vectors of {length} bytes in {MMAP}",
                             where=self._path.parent / DATABASE, fix=AGAIN)
        self.unlisted = size // length - len(placed)

    def check(self, wanted: NDArray[np.int64]) -> None:
        """Nothing is left to see: every offset was."""

    def read(self, wanted: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """See :class:`~groundswell.pipelines.biodiversity.published_layouts.VisionVectors`; the buffer is used again.

        Raises:
            InputError: the file cannot be read.
        """
        step = max(1, BLOCK_BYTES // (4 * self._values))
        buffer = np.empty((min(step, max(1, len(wanted))), self._values), np.dtype("<f4"))
        with open(self._path, "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            for start in range(0, len(wanted), step):
                positions = wanted[start:start + step]
                for row, offset in zip(buffer, self._offset[positions].tolist(), strict=False):
                    _fill(file.fileno(), row, offset, self._path)
                yield positions, buffer[:len(positions)]


def has_vision(frame: pd.DataFrame) -> pd.Series[bool]:
    """Which rows of an index say that there is a vector; none where it does not say."""
    if "has_vision" not in frame:
        return pd.Series(False, index=frame.index)
    return pd.to_numeric(frame["has_vision"], errors="coerce").fillna(0).astype(bool)


def _fill(descriptor: int, row: NDArray[np.float32], offset: int, path: Path) -> None:
    left = row.view(np.uint8).data
    try:
        while left:
            got = os.preadv(descriptor, [left], offset)
            if not got:
                raise InputError(f"The file ends early, at byte {offset}", where=path, fix=AGAIN)
            left, offset = left[got:], offset + got
    except OSError as error:
        raise InputError(f"The file cannot be read: {error}", where=path, fix=AGAIN) from error
