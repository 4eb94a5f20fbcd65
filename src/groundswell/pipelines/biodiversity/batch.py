"""biodiversity: batches of observations as tensors: places, times and vectors, in the order asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.pipelines.biodiversity.ids import parse_observation_ids

VISION = "vision"
LANGUAGE = "language"
TIMES = ("year", "month", "day", "hour", "minute", "second")


@dataclass(frozen=True, eq=False)
class ObservationIndex:
    """A store's observations as arrays, one entry for each row of its table.

    Attributes:
        ids: ids of the observations.
        row: row of each id.
        gbif_ids: int64 (n,), the ids of vision vectors.
        images: int64 (n,), which image of the observation.
        species: names.
        taxa: int64 (n,), number of the species among the store's taxa, the id of its language vector; -1 if it is none.
        image_urls: text, several joined by ``;``; empty if there are none.
        locations: float32 (n, 3), latitude and longitude in degrees, elevation in metres, which is always 0.
        timestamps: int32 (n, 6), year, month, day, hour, minute, second; 0 where it is not known. No time zone.
    """

    ids: tuple[str, ...]
    row: Mapping[str, int]
    gbif_ids: NDArray[np.int64]
    images: NDArray[np.int64]
    species: tuple[str, ...]
    taxa: NDArray[np.int64]
    image_urls: tuple[str, ...]
    locations: NDArray[np.float32]
    timestamps: NDArray[np.int32]

    def rows(self, observation_ids: Sequence[str]) -> NDArray[np.int64]:
        """Rows of ids, int64 (n,).

        Raises:
            InputError: an id has a wrong shape (:class:`~groundswell.pipelines.biodiversity.ids.ObservationIdError`) or
                is unknown; up to five are named.
        """
        if isinstance(observation_ids, str) or not len(observation_ids):
            raise InputError("A batch needs a list of at least one observation id", fix="Give a list of ids")
        found = [self.row.get(name, -1) for name in observation_ids]
        rows = np.array(found, np.int64)
        if (rows < 0).any():
            parse_observation_ids(observation_ids)
            lost = [name for name, row in zip(observation_ids, found, strict=True) if row < 0]
            raise InputError(f"{len(lost)} observation id(s) are not in the store: {_some(lost)}",
                             fix="get_available_observation_ids lists those that are")
        return rows


def _some(names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(names))
    return ", ".join(unique[:5]) + (", ..." if len(unique) > 5 else "")


def observation_index(store: EmbeddingStore) -> ObservationIndex:
    """The store's observations, read once for each open store.

    Raises:
        InputError: the store has none, or the table lacks a column.
    """
    return store.once("observation index", lambda: _build(store))


def _build(store: EmbeddingStore) -> ObservationIndex:
    frame = store.observations()
    needed = ("observation_id", "gbif_id", "taxon_name", "latitude", "longitude")
    lacking = [name for name in needed if name not in frame.columns]
    if lacking:
        raise InputError(f"The observations lack the column(s) {', '.join(lacking)}", where=store.path,
                         fix="Import them again")
    ids = tuple(frame["observation_id"].astype(str))
    gbif_ids, images = parse_observation_ids(ids)
    row = {name: i for i, name in enumerate(ids)}
    if len(row) != len(ids) or (gbif_ids != frame["gbif_id"].to_numpy(np.int64)).any():
        raise InputError("Observation ids repeat, or contradict their gbif_id", where=store.path,
                         fix="Correct the table and import it again")
    locations = np.zeros((len(ids), 3), np.float32)
    locations[:, 0], locations[:, 1] = frame["latitude"], frame["longitude"]
    timestamps = np.zeros((len(ids), 6), np.int32)
    for place, name in enumerate(TIMES):
        if name in frame.columns:
            timestamps[:, place] = pd.to_numeric(frame[name]).fillna(0).to_numpy(np.int32)
    species = tuple(frame["taxon_name"].astype(str))
    number = {name: i for i, name in enumerate(store.taxa)}
    taxa = np.array([number.get(name, -1) for name in species], np.int64)
    urls = tuple(frame["image_urls"].fillna("").astype(str)) if "image_urls" in frame.columns else ("",) * len(ids)
    return ObservationIndex(ids, row, gbif_ids, images, species, taxa, urls, locations, timestamps)


def has_vision_vector(store: EmbeddingStore, index: ObservationIndex) -> NDArray[np.bool_]:
    """Which observations have a vision vector, full or pooled, bool (n,)."""
    found = np.zeros(len(index.ids), bool)
    for name, spec in store.tables.items():
        if spec.key == "observation" and name.split("_")[0] == VISION:
            found |= store.present(name, index.gbif_ids)
    first: NDArray[np.bool_] = index.images == 1
    return found & first


def has_language_vector(store: EmbeddingStore, index: ObservationIndex) -> NDArray[np.bool_]:
    """Which observations are of a species with a language vector, bool (n,)."""
    if LANGUAGE not in store.tables:
        return np.zeros(len(index.ids), bool)
    return store.present(LANGUAGE, index.taxa)


def get_training_batch(store: EmbeddingStore, observation_ids: Sequence[str], include_vision: bool = True,
                       include_language: bool = True, device: str | torch.device = "cpu", vision_table: str = VISION,
                       reuse: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Observations and their vectors as tensors. The order of the ids is kept, and an id may come twice.

    Args:
        store: where they are.
        observation_ids: N of them, at least one.
        include_vision: read vision vectors.
        include_language: read the species' language vectors.
        device: where the tensors are wanted.
        vision_table: table of vision vectors: ``vision``, or a pooled one.
        reuse: an earlier batch of as many observations on the CPU whose vectors may be overwritten: memory is not
            asked for anew, which costs as much as reading.

    Returns:
        ``species`` and ``image_urls``, lists of N texts; ``locations`` float32 (N, 3): latitude, longitude (degrees)
        and elevation (m, always 0: the data has none); ``timestamps`` int32 (N, 6): year, month, day, hour, minute,
        second, 0 where it is not known; ``language_embeddings`` float32 (N, 7168), if included;
        ``vision_embeddings`` float32 (N, 8, 24, 24, 1408): time, height, width, feature, or the shape of the table
        named, if included; ``metadata``: observation_ids, gbif_ids, batch_size, loaded_at (UTC).

    Raises:
        InputError: no ids; an id has a wrong shape or is unknown; a vector is not there. Up to five are named, and
            nothing is ever filled with zeros.
    """
    index = observation_index(store)
    rows = index.rows(observation_ids)
    asked: dict[str, tuple[str, NDArray[np.int64]]] = {}
    if include_language:
        _refuse(index, rows, store.present(LANGUAGE, index.taxa[rows]), "language", LANGUAGE, store.path)
        asked["language_embeddings"] = (LANGUAGE, index.taxa[rows])
    if include_vision:
        there = store.present(vision_table, index.gbif_ids[rows]) & (index.images[rows] == 1)
        _refuse(index, rows, there, "vision", vision_table, store.path)
        asked["vision_embeddings"] = (vision_table, index.gbif_ids[rows])
    batch: dict[str, Any] = {
        "species": [index.species[i] for i in rows],
        "image_urls": [index.image_urls[i] for i in rows],
        "locations": torch.from_numpy(index.locations[rows]).to(device),
        "timestamps": torch.from_numpy(index.timestamps[rows]).to(device),
    }
    for name, (table, ids) in asked.items():
        batch[name] = _vectors(store, table, ids, torch.device(device), (reuse or {}).get(name))
    batch["metadata"] = {"observation_ids": list(observation_ids), "gbif_ids": index.gbif_ids[rows].tolist(),
                         "batch_size": len(rows), "loaded_at": datetime.now(UTC).isoformat(timespec="milliseconds")}
    return batch


def _refuse(index: ObservationIndex, rows: NDArray[np.int64], there: NDArray[np.bool_], kind: str, table: str,
            where: Path) -> None:
    if there.all():
        return
    lost = rows[~there]
    species = f", of {_some([index.species[i] for i in lost])}" if kind == "language" else ""
    fix = "get_available_observation_ids lists those that have; or leave that kind of vector out"
    if kind == "vision" and (index.images[lost] != 1).any():
        fix = "The vision vector of an observation is that of its image 1; ask for that"
    raise InputError(f"{len(set(lost.tolist()))} observation(s) have no {kind} vector in the table '{table}': "
                     f"{_some([index.ids[i] for i in lost])}{species}", where=where, fix=fix)


def _vectors(store: EmbeddingStore, table: str, ids: NDArray[np.int64], device: torch.device,
             earlier: torch.Tensor | None) -> torch.Tensor:
    shape = (len(ids), *store.reader(table).spec.shape)
    usable = earlier is not None and earlier.device == device == torch.device("cpu") and earlier.shape == shape
    tensor = earlier if usable and earlier is not None else torch.empty(shape, pin_memory=device.type == "cuda")
    store.read(table, ids, tensor.numpy())
    return tensor.to(device, non_blocking=True)
