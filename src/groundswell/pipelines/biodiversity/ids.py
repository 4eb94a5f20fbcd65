"""biodiversity: ids of observations, ``"{gbif_id}_{image_index}"``: made, taken apart, refused, listed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError

if TYPE_CHECKING:
    from groundswell.data.embeddings.store import EmbeddingStore

_SHAPE = re.compile(r"([1-9][0-9]{0,18})_([1-9][0-9]{0,8})")
_LARGEST = np.iinfo(np.int64).max


class ObservationIdError(InputError, ValueError):
    """An id of an observation is not of the shape that ids have."""


def create_observation_id(gbif_id: int, image_index: int = 1) -> str:
    """The id of an image of an observation.

    Args:
        gbif_id: number of the occurrence in GBIF, from 1.
        image_index: which of its images, counted from 1.

    Raises:
        ObservationIdError: a number is not whole, is below 1, or is too large.
    """
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in (gbif_id, image_index))
    text = f"{gbif_id}_{image_index}"
    if not whole or not _SHAPE.fullmatch(text) or gbif_id > _LARGEST:
        raise ObservationIdError(f"There is no observation id of gbif_id {gbif_id!r} and image_index {image_index!r}",
                                 fix="Both are whole numbers from 1 on")
    return text


def parse_observation_id(text: str) -> tuple[int, int]:
    """gbif_id and image_index of an id. There is one text for each pair: no sign, space or leading zero is taken.

    Raises:
        ObservationIdError: the text is no id.
    """
    found = _SHAPE.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found[1]) > _LARGEST:
        raise ObservationIdError(f"{text!r} is not the id of an observation",
                                 fix="Ids are '{gbif_id}_{image_index}', two whole numbers from 1 on, as 4171912265_1")
    return int(found[1]), int(found[2])


def parse_observation_ids(texts: Iterable[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """gbif_id and image_index of many ids, int64 (n,) each.

    Raises:
        ObservationIdError: some are no ids; up to five are named.
    """
    texts = list(texts)
    found, wrong = [], []
    for text in texts:
        try:
            found.append(parse_observation_id(text))
        except ObservationIdError:
            wrong.append(text)
    if wrong:
        named = ", ".join(repr(text) for text in wrong[:5]) + (", ..." if len(wrong) > 5 else "")
        raise ObservationIdError(f"{len(wrong)} of {len(texts)} ids are not ids of observations: {named}",
                                 fix="Ids are '{gbif_id}_{image_index}', two whole numbers from 1 on, as 4171912265_1")
    pairs = np.array(found, np.int64).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


def get_available_observation_ids(store: EmbeddingStore, has_vision: bool = True, has_language: bool = True,
                                  limit: int | None = None) -> list[str]:
    """Ids of observations in the order of the store's table.

    Args:
        store: where the observations and vectors are.
        has_vision: only those that have a vision vector, full or pooled.
        has_language: only those whose species has a language vector.
        limit: the first so many; None for all.

    Raises:
        InputError: the store has no observations, or ``limit`` is negative.
    """
    from groundswell.pipelines.biodiversity.batch import has_language_vector, has_vision_vector, observation_index

    if limit is not None and limit < 0:
        raise InputError(f"There are no {limit} ids", fix="Give a limit from 0 on, or none")
    index = observation_index(store)
    keep = np.ones(len(index.ids), bool)
    if has_vision:
        keep &= has_vision_vector(store, index)
    if has_language:
        keep &= has_language_vector(store, index)
    return [index.ids[i] for i in np.flatnonzero(keep)[:limit].tolist()]
