"""biodiversity: observations as a torch data set, and the ids of a published split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from groundswell.core.errors import InputError
from groundswell.core.files import read_json
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.pipelines.biodiversity.batch import VISION, get_training_batch, observation_index
from groundswell.pipelines.biodiversity.ids import parse_observation_ids

Mode = Literal["language", "vision", "both"]


class DeepEarthDataset(Dataset[dict[str, Any]]):
    """Vectors and the species' label of observations, for :class:`torch.utils.data.DataLoader`.

    An item has ``observation_id``, ``species_label`` (int64 scalar) and, by mode, ``language_embedding`` (7168,) and
    ``vision_embedding`` (8, 24, 24, 1408) or the shape of the table named, float32. A DataLoader's batch is read at
    once, not item by item. For training, ``groundswell biodiversity train`` is faster: it reads ahead into buffers that
    it keeps.

    Args:
        observation_ids: the items, in order.
        cache: the store.
        mode: ``language``, ``vision`` or ``both``.
        device: where the tensors are put.
        species_mapping: label of each species; by the sorted names of these observations when absent.
        vision_table: table of vision vectors.

    Raises:
        InputError: an id is wrong or unknown, a species is not in ``species_mapping`` (it is never given another's
            label), or the mode is unknown.
    """

    def __init__(self, observation_ids: Sequence[str], cache: EmbeddingStore, mode: Mode = "language",
                 device: str | torch.device = "cpu", species_mapping: Mapping[str, int] | None = None,
                 vision_table: str = VISION) -> None:
        if mode not in ("language", "vision", "both"):
            raise InputError(f"The mode '{mode}' is not one of language, vision, both")
        self.observation_ids, self.cache, self.mode = list(observation_ids), cache, mode
        self.device, self.vision_table = torch.device(device), vision_table
        index = observation_index(cache)
        species = [index.species[i] for i in index.rows(self.observation_ids)]
        if species_mapping is None:
            species_mapping = {name: label for label, name in enumerate(sorted(set(species)))}
        unknown = sorted(set(species) - set(species_mapping))
        if unknown:
            raise InputError(f"{len(unknown)} species are not in the mapping: {', '.join(unknown[:5])}"
                             + (", ..." if len(unknown) > 5 else ""),
                             fix="Leave their observations out, or score them apart as species never seen")
        self.species_to_idx: dict[str, int] = dict(species_mapping)
        self.labels = np.array([self.species_to_idx[name] for name in species], np.int64)

    @property
    def num_classes(self) -> int:
        """Classes that labels count: one more than the largest label of the mapping."""
        return max(self.species_to_idx.values()) + 1

    def __len__(self) -> int:
        return len(self.observation_ids)

    def __getitem__(self, item: int) -> dict[str, Any]:
        if not -len(self) <= item < len(self):
            raise IndexError(f"item {item} of {len(self)}")
        return self.__getitems__([item % len(self)])[0]

    def __getitems__(self, items: Sequence[int]) -> list[dict[str, Any]]:
        """Several items, read at once; a DataLoader asks for a batch this way."""
        names = [self.observation_ids[i] for i in items]
        batch = get_training_batch(self.cache, names, self.mode != "language", self.mode != "vision", self.device,
                                   self.vision_table)
        labels = torch.from_numpy(self.labels[np.asarray(items)]).to(self.device)
        kinds = {kind: batch[f"{kind}s"] for kind in ("language_embedding", "vision_embedding") if f"{kind}s" in batch}
        return [{"observation_id": name, "species_label": labels[i], **{kind: kinds[kind][i] for kind in kinds}}
                for i, name in enumerate(names)]


def load_train_test_split(path: Path | str) -> tuple[list[str], list[str]]:
    """Ids of the training and of the test observations of a published split, in the file's order.

    Args:
        path: JSON with ``observation_mappings``: id to an entry whose ``split`` is ``train`` or ``test``.

    Raises:
        InputError: the file is not that, or an id in it is none.
    """
    mappings = read_json(Path(path))
    mappings = mappings.get("observation_mappings") if isinstance(mappings, dict) else None
    if not isinstance(mappings, dict) or not all(isinstance(entry, dict) for entry in mappings.values()):
        raise InputError("This is not a split of observations: it has no 'observation_mappings'", where=path,
                         fix="Make one by 'groundswell biodiversity split --regime published'")
    parse_observation_ids(mappings)
    ids: dict[str, list[str]] = {"train": [], "test": []}
    for name, entry in mappings.items():
        if entry.get("split") not in ids:
            raise InputError(f"'{entry.get('split')}' is neither train nor test", where=f"{path}, {name}")
        ids[entry["split"]].append(name)
    return ids["train"], ids["test"]
