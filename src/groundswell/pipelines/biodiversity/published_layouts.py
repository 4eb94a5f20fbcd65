"""biodiversity: vision vectors as published: what an index lists, and Parquet files of vectors read in their order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from groundswell.core.errors import InputError

OBSERVATIONS = "observations.parquet"
INDEX, VECTORS = "vision_index.parquet", "vision_embeddings"
BLOCK_BYTES = 64 << 20
"""Vectors held at once while they are read."""
AGAIN = "Download or copy the data set again"


@dataclass(frozen=True, eq=False)
class Entries:
    """Vectors that an index lists, in the order of the files.

    Attributes:
        gbif_ids: int64 (n,).
        images: int64 (n,), which image of the observation, from 1.
        placed: bool (n,): the index says where the vector lies; without a place it is missing.
    """

    gbif_ids: NDArray[np.int64]
    images: NDArray[np.int64]
    placed: NDArray[np.bool_]


class VisionVectors(Protocol):
    """Published vectors: what is listed, how many rows of the files are not, and reading them."""

    entries: Entries
    unlisted: int

    def check(self, wanted: NDArray[np.int64]) -> None:
        """See that the files hold what is listed, before anything is written.

        Raises:
            InputError: they do not.
        """
        ...

    def read(self, wanted: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Positions among the entries, int64 (k,), and their vectors, float (k, values), NaN where one is null; of the
        positions wanted, ascending."""
        ...


def whole(values: Any, least: int, what: str, where: str) -> NDArray[np.int64]:
    """Whole numbers of an index, int64 (n,).

    Raises:
        InputError: one is none, or is below ``least``; the message names its row.
    """
    number = pd.to_numeric(pd.Series(values), errors="coerce")
    bad = np.flatnonzero(~((number >= least) & (number % 1 == 0)).fillna(False).to_numpy(bool))
    if len(bad):
        found = pd.Series(values).iloc[bad[0]]
        raise InputError(f"The {what} of an entry is no whole number from {least} on: {found!r}",
                         where=f"{where}, row {bad[0] + 1}", fix=AGAIN)
    return number.to_numpy(np.int64)


def images_of(frame: pd.DataFrame, where: Path) -> NDArray[np.int64]:
    """Which image each entry of an index is of, int64 (n,); the first where the index does not number images."""
    if "image_index" not in frame:
        return np.ones(len(frame), np.int64)
    return whole(frame["image_index"], 1, "image_index", str(where))


def refuse_twice(columns: list[NDArray[np.int64]], what: str, where: Path) -> None:
    """Raise InputError if a row of the columns repeats; ``what`` says what a row is."""
    frame = pd.DataFrame(dict(enumerate(columns)))
    repeated = frame[frame.duplicated()]
    if len(repeated):
        raise InputError(f"The index lists {len(repeated)} {what} twice: {'_'.join(map(str, repeated.iloc[0]))}",
                         where=where, fix="Remove the duplicates, or download the data set again")


# -- a folder as it lies on the Hugging Face hub ----------------------------------------------------------------------


class ParquetVectors:
    """``vision_index.parquet`` (gbif_id, file_idx, row_idx) and ``vision_embeddings/embeddings_{file_idx:06d}.parquet``
    (gbif_id, embedding: a list of so many numbers).

    Args:
        source: the folder.
        values: numbers in a vector.

    Raises:
        InputError: the index is not as said, or lists a vector or a place twice.
    """

    def __init__(self, source: Path, values: int) -> None:
        self._source, self._values = source, values
        index = source / INDEX
        frame = read_parquet(index, ("gbif_id", "file_idx", "row_idx"), ("image_index",))
        ids = whole(frame["gbif_id"], 1, "gbif_id", str(index))
        images = images_of(frame, index)
        file, row = (whole(frame[name], 0, name, str(index)) for name in ("file_idx", "row_idx"))
        refuse_twice([ids, images], "vector(s)", index)
        refuse_twice([file, row], "place(s)", index)
        order = np.lexsort((row, file))
        self.entries = Entries(ids[order], images[order], np.ones(len(ids), bool))
        self._file, self._row, self.unlisted = file[order], row[order], 0

    def _path(self, file: int) -> Path:
        return self._source / VECTORS / f"embeddings_{file:06d}.parquet"

    def check(self, wanted: NDArray[np.int64]) -> None:
        """See that every file is there, whole, and holds the rows that the index says; nothing is read but its end.

        Raises:
            InputError: it is not; up to three files are named.
        """
        needed = np.unique(self._file[wanted]).tolist()
        absent = [self._path(file).name for file in needed if not self._path(file).is_file()]
        if absent:
            raise InputError(f"{len(absent)} of the {len(needed)} files of vectors are not there: "
                             + ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else ""),
                             where=self._source / VECTORS,
                             fix="Download the data set again, which goes on where it stopped; or give an observation "
                                 "table (--observations) of those that you have")
        for file in needed:
            with opened_parquet(self._path(file)) as opened:
                _check_columns(opened, self._path(file))
                rows, last = opened.metadata.num_rows, int(self._row[self._file == file][-1])
                self.unlisted += rows - int((self._file == file).sum())
                if last >= rows:
                    raise InputError(f"The index places a vector in row {last}, and there are "
                                     f"{rows}", where=self._path(file), fix=AGAIN)

    def read(self, wanted: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """See :class:`VisionVectors`.

        Raises:
            InputError: a file cannot be read, holds another observation than the index says, or a vector has another
                length.
        """
        for file in np.unique(self._file[wanted]).tolist():
            yield from self._read_file(self._path(file), wanted[self._file[wanted] == file])

    def _read_file(self, path: Path, wanted: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        place = dict(zip(self._row[wanted].tolist(), wanted.tolist(), strict=True))
        step = max(1, BLOCK_BYTES // (4 * self._values))
        with opened_parquet(path) as opened:
            first = np.cumsum([0, *(opened.metadata.row_group(g).num_rows for g in range(opened.num_row_groups))])
            for group, (start, stop) in enumerate(itertools.pairwise(first.tolist())):
                rows = [row for row in place if start <= row < stop]
                at = start
                for batch in _batches(opened, path, group, step) if rows else ():
                    here = [row - at for row in rows if at <= row < at + len(batch)]
                    if here:
                        positions = np.array([place[at + row] for row in here], np.int64)
                        yield positions, self._checked(batch.take(pa.array(here)), positions, path)
                    at += len(batch)

    def _checked(self, batch: pa.RecordBatch, positions: NDArray[np.int64], path: Path) -> NDArray[Any]:
        found, listed = batch.column("gbif_id").to_pylist(), self.entries.gbif_ids[positions].tolist()
        for got, expected, row in zip(found, listed, self._row[positions].tolist(), strict=True):
            if got != expected:
                raise InputError(f"Row {row} holds the observation {got}, and the index says {expected}", where=path,
                                 fix=AGAIN)
        return vectors_of(batch.column("embedding"), self._values, listed, path)


def vectors_of(column: pa.Array, values: int, names: list[Any], where: Path) -> NDArray[Any]:
    """A column of lists as an array, float (n, values); NaN where a list is null.

    Args:
        column: lists of numbers.
        values: how many each list must have.
        names: what each row is called in a message.
        where: the file.

    Raises:
        InputError: a list has another length, or does not hold numbers.
    """
    if not pa.types.is_floating(getattr(column.type, "value_type", column.type)):
        raise InputError(f"Vectors are of type {column.type}, not lists of floating-point numbers", where=where,
                         fix=AGAIN)
    length = pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero((length != values) & (length >= 0))
    if len(wrong):
        raise InputError(f"The vector of {names[wrong[0]]} has {length[wrong[0]]} numbers, not {values}", where=where,
                         fix=AGAIN)
    flat = pc.list_flatten(column).to_numpy(zero_copy_only=False)
    if (length >= 0).all():
        return np.asarray(flat).reshape(-1, values)
    rows = np.full((len(length), values), np.nan, flat.dtype)
    rows[length >= 0] = flat.reshape(-1, values)
    return rows


def read_parquet(path: Path, needed: tuple[str, ...], further: tuple[str, ...] = ()) -> pd.DataFrame:
    """Columns of a small Parquet file: those needed, and of the further ones those it has.

    Raises:
        InputError: it cannot be read or lacks a column.
    """
    with opened_parquet(path) as opened:
        has = opened.schema_arrow.names
        lacking = [name for name in needed if name not in has]
        if lacking:
            raise InputError(f"The file lacks the column(s) {', '.join(lacking)}", where=path, fix=AGAIN)
        try:
            frame: pd.DataFrame = opened.read([*needed, *(name for name in further if name in has)]).to_pandas()
            return frame
        except (OSError, ValueError) as error:
            raise InputError(f"The file cannot be read: {error}", where=path, fix=AGAIN) from error


def opened_parquet(path: Path) -> pq.ParquetFile:
    """The file, open; InputError if it is none."""
    try:
        return pq.ParquetFile(path, memory_map=True, pre_buffer=False)
    except FileNotFoundError as error:
        raise InputError("There is no such file", where=path, fix=AGAIN) from error
    except (OSError, ValueError) as error:
        raise InputError(f"The file cannot be read: {error}", where=path, fix=AGAIN) from error


def _check_columns(opened: pq.ParquetFile, path: Path) -> None:
    lacking = {"gbif_id", "embedding"} - set(opened.schema_arrow.names)
    if lacking:
        raise InputError(f"The file lacks the column(s) {', '.join(sorted(lacking))}", where=path, fix=AGAIN)


def _batches(opened: pq.ParquetFile, path: Path, group: int, step: int) -> Iterator[pa.RecordBatch]:
    try:
        yield from opened.iter_batches(step, row_groups=[group], columns=["gbif_id", "embedding"], use_threads=False)
    except (OSError, ValueError) as error:
        raise InputError(f"The file cannot be read: {error}", where=path, fix=AGAIN) from error
