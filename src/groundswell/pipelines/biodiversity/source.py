"""biodiversity: the source of one run: vectors from the store, and where and when each observation was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.arrays import ArraySource
from groundswell.data.embeddings.source import EmbeddingSource
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.data.source import Field, Source
from groundswell.data.table import SampleTable

PLACE = ("latitude", "longitude", "elevation_m", "year")
"""Columns of the field ``place``: degrees, degrees, metres (0: not known), decimal years."""


def place_and_time(table: SampleTable) -> NDArray[np.float64]:
    """Where and when: float64, shape (n, 4), columns as in :data:`PLACE`.

    Raises:
        InputError: an observation has no date.
    """
    times = table.column("time")
    lost = np.flatnonzero(times.isna())
    if len(lost):
        raise InputError(f"{len(lost)} observation(s) have no date, and the modality 'place' looks at when as well as "
                         "where", where=str(table.column("sample_id")[lost[0]]),
                         fix="Leave them out, or take 'place' out of model.modalities")
    stamp = pd.DatetimeIndex(times)
    year = stamp.year.to_numpy(np.float64)
    length = np.where(stamp.is_leap_year, 366.0, 365.0)
    decimal = year + (stamp.dayofyear.to_numpy(np.float64) - 1 + stamp.hour.to_numpy(np.float64) / 24) / length
    latitude, longitude = (table.column(name).to_numpy(np.float64) for name in PLACE[:2])
    return np.stack([latitude, longitude, np.zeros(len(table)), decimal], axis=1)


class ObservationSource:
    """Serves the modalities of observations by name.

    Args:
        stored: vectors from the store; ``None`` where no modality needs any.
        arrays: what is in memory already.
    """

    def __init__(self, stored: EmbeddingSource | None, arrays: ArraySource | None) -> None:
        self._parts: tuple[Source, ...] = tuple(part for part in (stored, arrays) if part is not None)

    @property
    def fields(self) -> Mapping[str, Field]:
        """Of all parts."""
        return {name: field for part in self._parts for name, field in part.fields.items()}

    def __len__(self) -> int:
        return len(self._parts[0])

    def read(self, rows: NDArray[np.int64], out: Mapping[str, NDArray[Any]]) -> None:
        """See :class:`groundswell.data.source.Source`."""
        for part in self._parts:
            part.read(rows, {name: out[name] for name in part.fields})

    def close(self) -> None:
        """Let go of the store's files."""
        for part in self._parts:
            part.close()


def taxon_numbers(store: EmbeddingStore, names: Sequence[str]) -> NDArray[np.int64]:
    """Number of each species in the store.

    Raises:
        InputError: the store does not know one.
    """
    found = pd.Index(store.taxa).get_indexer(pd.Index(list(names)))
    if (found < 0).any():
        unknown = sorted({name for name, k in zip(names, found, strict=True) if k < 0})
        raise InputError(f"The store has no language vectors of {len(unknown)} species, first '{unknown[0]}'",
                         where=store.path, fix="Import them, or take 'language' out of model.modalities")
    return np.asarray(found, np.int64)


def observation_source(folder: Path, vision: str, modalities: Sequence[str], table: SampleTable) -> ObservationSource:
    """The source of a table's observations, one row for each.

    Args:
        folder: of the store.
        vision: name of its table of vision vectors.
        modalities: what is read.
        table: the observations.

    Raises:
        InputError: a table, an observation or a species is not in the store.
    """
    wanted: dict[str, tuple[str, NDArray[np.int64]]] = {}
    store = EmbeddingStore.open(folder) if {"vision", "language"} & set(modalities) else None
    if store is not None and "vision" in modalities:
        wanted["vision"] = (vision, table.column("gbif_id").to_numpy(np.int64))
    if store is not None and "language" in modalities:
        wanted["language"] = ("language", taxon_numbers(store, table.column("taxon").tolist()))
    for name, (stored, _) in wanted.items():
        if store is not None and stored not in store.tables:
            raise InputError(f"The store has no table '{stored}', which {name} is read from", where=folder,
                             fix=f"It has: {', '.join(store.tables) or 'none'}. Pool or import it, or set data.vision")
    arrays = ArraySource({"place": place_and_time(table).astype(np.float64)}) if "place" in modalities else None
    return ObservationSource(EmbeddingSource(store, wanted) if store is not None else None, arrays)
