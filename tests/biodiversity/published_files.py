"""Makers of small published data sets, in both layouts, for the tests of importing and what follows it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

SHAPE, WIDTH = (2, 6, 6, 5), 7
VALUES = 2 * 6 * 6 * 5
SPECIES = ("Quercus virginiana", "Sabal palmetto", "Pinus palustris")


def observations(count: int = 12) -> pd.DataFrame:
    """Observations of three species in turns; the last two have no vision vector."""
    rows = np.arange(count)
    return pd.DataFrame({
        "gbif_id": 4_000_000_000 + rows * 7, "taxon_id": [str(100 + i % 3) for i in rows],
        "taxon_name": [SPECIES[i % 3] for i in rows], "latitude": 28.0 + rows / 100, "longitude": -81.0 - rows / 100,
        "year": 2020 + rows % 5, "month": 1 + rows % 12, "day": 1 + rows, "image_urls": [f"a{i};b{i}" for i in rows],
        "has_vision": rows < count - 2, "split": "train"})


def vision(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Vectors of the first observations, flattened, float32 (count, VALUES)."""
    return np.random.default_rng(seed).standard_normal((count, VALUES), np.float32)


def language(seed: int = 1) -> dict[str, NDArray[np.float32]]:
    """A vector of each species."""
    drawn = np.random.default_rng(seed).standard_normal((3, WIDTH), np.float32)
    return dict(zip(SPECIES, drawn, strict=True))


def write_observations(folder: Path, frame: pd.DataFrame, vectors: dict[str, Any] | list[Any] | None = None) -> None:
    """``observations.parquet``; language vectors by species, or one for each row."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    if vectors is not None:
        rows = [vectors[name] for name in frame["taxon_name"]] if isinstance(vectors, dict) else vectors
        table = table.append_column("language_embedding", pa.array(
            [None if row is None else np.asarray(row) for row in rows], pa.list_(pa.float32())))
    pq.write_table(table, folder / "observations.parquet")


def write_vectors(folder: Path, gbif_ids: Any, rows: Any, *, per_file: int = 4, index: dict[str, Any] | None = None,
                  kind: pa.DataType | None = None) -> None:
    """``vision_embeddings/`` and ``vision_index.parquet``; ``index`` adds or replaces columns of the latter."""
    (folder / "vision_embeddings").mkdir(parents=True, exist_ok=True)
    gbif_ids = np.asarray(gbif_ids, np.int64)
    for file, start in enumerate(range(0, len(gbif_ids), per_file)):
        part = slice(start, start + per_file)
        lists = pa.array(list(rows[part]), kind or pa.list_(pa.float32()))
        table = pa.table({"gbif_id": gbif_ids[part], "embedding": lists})
        pq.write_table(table, folder / "vision_embeddings" / f"embeddings_{file:06d}.parquet", row_group_size=3)
    place = np.arange(len(gbif_ids))
    columns = {"gbif_id": gbif_ids, "file_idx": place // per_file, "row_idx": place % per_file, **(index or {})}
    pq.write_table(pa.table(columns), folder / "vision_index.parquet")


def hub_folder(folder: Path, count: int = 12) -> Path:
    """A whole data set as on the hub."""
    frame = observations(count)
    write_observations(folder, frame, language())
    write_vectors(folder, frame["gbif_id"][:count - 2], vision(count - 2))
    return folder


def mapped_folder(folder: Path, count: int = 12, *, rows: Any = None, more: list[dict[str, Any]] | None = None,
                  parquet: bool = False) -> Path:
    """``embeddings.mmap`` and its database; vectors lie in the opposite order of the observations.

    ``more`` gives values that replace those of single observations, each with its place ``at``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frame = observations(count)
    rows = vision(count - 2)[::-1] if rows is None else rows
    (folder / "embeddings.mmap").write_bytes(np.asarray(rows, "<f4").tobytes())
    index = frame.drop(columns="image_urls").rename(columns={"latitude": "lat", "longitude": "lon"})
    index["file_offset"] = pd.array([(count - 3 - i) * 4 * VALUES if i < count - 2 else pd.NA for i in range(count)],
                                    dtype="Int64")
    index = index.astype(object).where(index.notna(), None)
    for change in more or []:
        for name, value in change.items():
            if name != "at":
                index.loc[change["at"], name] = value
    with closing(sqlite3.connect(folder / "embeddings_index.db")) as database, database:
        database.execute(f"CREATE TABLE embedding_index ({', '.join(index.columns)})")
        database.executemany(f"INSERT INTO embedding_index VALUES ({', '.join('?' * len(index.columns))})",
                             index.to_numpy(object).tolist())
    if parquet:
        write_observations(folder, frame, language())
    return folder
