"""biodiversity: a published data set, recognised: its layout, observations, and where its vectors are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.progress import progress
from groundswell.pipelines.biodiversity.mapped_vectors import DATABASE, MMAP, MappedVectors, index_frame
from groundswell.pipelines.biodiversity.observations import checked, read_observations
from groundswell.pipelines.biodiversity.published_layouts import (
    INDEX,
    OBSERVATIONS,
    VECTORS,
    ParquetVectors,
    VisionVectors,
    opened_parquet,
    read_parquet,
    vectors_of,
)

EMBEDDING = "language_embedding"
_ROWS = 512  # language vectors looked at together


@dataclass(frozen=True, eq=False)
class Published:
    """A data set as it was found.

    Attributes:
        layout: in a word or two.
        frame: the observations to import, as :func:`~groundswell.pipelines.biodiversity.observations.checked` gives
            them, without their vectors.
        says_vision: whether the table itself says which observations have a vision vector.
        vectors: the vision vectors; None if there are none.
        language: the file with a column of language vectors, and the species of each of its rows; None if none has it.
        files: all that it is made of.
    """

    layout: str
    frame: pd.DataFrame
    says_vision: bool
    vectors: VisionVectors | None
    language: tuple[Path, NDArray[np.object_]] | None
    files: list[Path]

    @classmethod
    def recognise(cls, source: Path, values: int, observations: Path | None) -> Published:
        """The data set in a folder.

        Args:
            source: the folder.
            values: numbers in a vision vector.
            observations: a table to import instead of the data set's.

        Raises:
            InputError: the folder has none of the known layouts, or a file cannot be used.
        """
        own, mapped = source / OBSERVATIONS, (source / MMAP).exists() and (source / DATABASE).exists()
        hub = own.is_file() and ((source / INDEX).exists() or (source / VECTORS).is_dir())
        if not mapped and not own.is_file():
            raise InputError(f"This is no published data set: it has neither {OBSERVATIONS} (with {INDEX} and "
                             f"{VECTORS}) nor {MMAP} with {DATABASE}", where=source,
                             fix="Name the folder that has them")
        if mapped and not hub:
            vectors: VisionVectors | None = MappedVectors(source, values)
        else:
            vectors = ParquetVectors(source, values) if hub else None
        layout = "Hugging Face folder" if hub or not mapped else f"folder with {MMAP}"
        frame, says_vision, language = None, False, None
        if own.is_file():
            frame, says_vision, language = _observations(own)
        if observations is not None:
            frame, says_vision, theirs = _observations(Path(observations))
            language = theirs or language
        if frame is None:
            index = index_frame(source)
            says_vision = "has_vision" in index
            frame = checked(index.drop(columns="file_offset"), str(source / DATABASE))
        return cls(layout, frame, says_vision, vectors, language, _files(source, hub, mapped, observations))


def _files(source: Path, hub: bool, mapped: bool, observations: Path | None) -> list[Path]:
    names = [OBSERVATIONS, INDEX] if hub or not mapped else [OBSERVATIONS, MMAP, DATABASE]
    files = [source / name for name in names]
    if hub:
        files += sorted((source / VECTORS).glob("*.parquet"))
    if observations is not None:
        files.append(Path(observations) / OBSERVATIONS if Path(observations).is_dir() else Path(observations))
    return [file for file in files if file.is_file()]


def _observations(path: Path) -> tuple[pd.DataFrame, bool, tuple[Path, NDArray[np.object_]] | None]:
    """The table, whether it says which observations have vision, and where its language vectors are."""
    file = path / OBSERVATIONS if path.is_dir() else path
    if file.suffix.lower() != ".parquet" or not file.is_file():
        frame = read_observations(file)
        with file.open(encoding="utf-8") as opened:
            return frame, "has_vision" in opened.readline(), None
    with opened_parquet(file) as opened:
        names = opened.schema_arrow.names
    # Its vectors are a gigabyte and more; they are read a few at a time, later.
    small = tuple(name for name in names if name not in (EMBEDDING, "embedding"))
    frame = checked(read_parquet(file, small), str(file))
    language = (file, frame["taxon_name"].to_numpy(object)) if EMBEDDING in names else None
    return frame, "has_vision" in names, language


def species_vectors(found: Published, species: set[str], width: int) -> dict[str, NDArray[np.float32]]:
    """The language vector of each species that has one, float32 (width,). Zeros throughout are no vector.

    Raises:
        InputError: a species has two different vectors, or a vector another length or a value that is not finite.
    """
    vectors: dict[str, NDArray[np.float32]] = {}
    if found.language is None:
        return vectors
    path, names = found.language
    row = 0
    with opened_parquet(path) as opened, progress(len(names), "Language vectors", "rows") as shown:
        for batch in opened.iter_batches(_ROWS, columns=[EMBEDDING], use_threads=False):
            here = names[row:row + len(batch)]
            rows = vectors_of(batch.column(0), width, here.tolist(), path).astype(np.float32, copy=False)
            for i, name in enumerate(here.tolist()):
                if name in species and not np.isnan(rows[i]).all() and rows[i].any():
                    _keep(vectors, name, rows[i], f"{path}, row {row + i + 1}")
            row += len(batch)
            shown.advance(len(batch))
    return vectors


def _keep(vectors: dict[str, NDArray[np.float32]], name: str, vector: NDArray[np.float32], where: str) -> None:
    if name not in vectors:
        if not np.isfinite(vector).all():
            raise InputError(f"The language vector of {name} holds values that are not finite", where=where,
                             fix="Correct the file, or leave the column out")
        vectors[name] = vector.copy()
    elif not np.array_equal(vectors[name], vector):
        raise InputError(f"There are two different language vectors of {name}", where=where,
                         fix="A store holds one for each species; correct the file")
