"""geomag: batches for a loop at the notebook: torch's own loaders with balanced drawing and sensible workers.

Runs (``groundswell geomag train``) read their windows through :mod:`groundswell.data.loader` instead.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, WeightedRandomSampler

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag.environment import usable_cores
from groundswell.train.imbalance import class_weights

MAX_WORKERS = 16
_WORKERS_A_GPU = 4
_BATCHES_A_WORKER = 8  # fewer, and starting the worker costs more than it brings


def labels_of(dataset: Dataset[Any]) -> NDArray[np.int64]:
    """Class of each sample, int64, shape (samples,).

    Taken from the last tensor of a TensorDataset, from an attribute ``labels``, ``targets`` or ``y``, or by asking for
    every sample.

    Raises:
        InputError: the labels are not whole numbers from 0.
    """
    if isinstance(dataset, Subset):
        return labels_of(dataset.dataset)[np.asarray(dataset.indices, np.int64)]
    found: Any = dataset.tensors[-1] if isinstance(dataset, TensorDataset) else next(
        (value for name in ("labels", "targets", "y") if (value := getattr(dataset, name, None)) is not None), None)
    if found is None:
        found = [dataset[k][1] for k in range(samples_of(dataset))]
    values = found.cpu().numpy() if isinstance(found, Tensor) else np.asarray(found)
    if values.ndim != 1 or (values != np.floor(values)).any() or (values < 0).any():
        raise InputError(f"Labels must be whole numbers from 0, one a sample; these have the shape {values.shape}",
                         fix="Make the last tensor of the dataset the labels")
    return values.astype(np.int64)


def samples_of(dataset: Dataset[Any]) -> int:
    """How many samples the dataset has.

    Raises:
        InputError: none, or it cannot tell.
    """
    count = len(dataset) if hasattr(dataset, "__len__") else 0
    if not count:
        raise InputError("The dataset has no samples, or cannot say how many", fix="Give one with a length")
    return count


def create_balanced_sampler(dataset: Dataset[Any], oversample: bool = True, *,
                            seed: int | None = None) -> WeightedRandomSampler:
    """A sampler that draws each class equally often, with replacement.

    For training samples only, and with a loss without class weights: both correct for the same imbalance.

    Args:
        dataset: with labels as :func:`labels_of` finds them.
        oversample: an epoch draws as many of each class as the largest has; without it, as the smallest has.
        seed: of the draws; absent, torch's generator decides.

    Raises:
        InputError: there is only one class.
    """
    labels = labels_of(dataset)
    counts = np.bincount(labels)
    weights = class_weights(labels, len(counts))[labels]
    present = counts[counts > 0]
    draws = len(present) * int(present.max() if oversample else present.min())
    return WeightedRandomSampler(weights.tolist(), draws, replacement=True, generator=_generator(seed))


def _generator(seed: int | None) -> torch.Generator | None:
    return None if seed is None else torch.Generator().manual_seed(seed)


def workers_for(dataset: Dataset[Any], batch_size: int, num_gpus: int = 1) -> int:
    """Worker processes that loading is worth: none where the samples are tensors in memory already, else by GPUs,
    batches and free cores, at most :data:`MAX_WORKERS`."""
    inner = dataset
    while isinstance(inner, Subset):
        inner = inner.dataset
    if isinstance(inner, TensorDataset):
        return 0
    batches = math.ceil(samples_of(dataset) / batch_size)
    return min(MAX_WORKERS, _WORKERS_A_GPU * num_gpus, batches // _BATCHES_A_WORKER, usable_cores() - 1)


def create_data_loaders(dataset: Dataset[Any], batch_size: int = 32, num_gpus: int = 1, is_train: bool = True, *,
                        num_workers: int | None = None, seed: int | None = None) -> DataLoader[Any]:
    """Batches of a dataset, in a new order each epoch when training and in the given one otherwise.

    Args:
        dataset: of (window, label).
        batch_size: samples for each GPU; a batch has ``batch_size * num_gpus``.
        num_gpus: GPUs that share a batch.
        is_train: whether to shuffle.
        num_workers: processes that load; absent, as :func:`workers_for` finds.
        seed: of the order; absent, torch's generator decides.

    Raises:
        InputError: a size below 1, or no samples.
    """
    return _loader(dataset, batch_size, num_gpus, num_workers, None, shuffle=is_train, seed=seed)


def create_data_loaders_balanced(dataset: Dataset[Any], batch_size: int = 32, num_gpus: int = 1, is_train: bool = True,
                                 oversample: bool = True, *, num_workers: int | None = None,
                                 seed: int | None = None) -> DataLoader[Any]:
    """As :func:`create_data_loaders`, but training draws each class equally often; see
    :func:`create_balanced_sampler`. Without ``is_train`` every sample comes once, in order."""
    sampler = create_balanced_sampler(dataset, oversample, seed=seed) if is_train else None
    return _loader(dataset, batch_size, num_gpus, num_workers, sampler, shuffle=False, seed=seed)


def _loader(dataset: Dataset[Any], batch_size: int, num_gpus: int, num_workers: int | None,
            sampler: WeightedRandomSampler | None, *, shuffle: bool, seed: int | None) -> DataLoader[Any]:
    if batch_size < 1 or num_gpus < 1:
        raise InputError(f"batch_size is {batch_size} and num_gpus is {num_gpus}; both must be at least 1")
    samples_of(dataset)
    effective = batch_size * num_gpus
    workers = workers_for(dataset, effective, num_gpus) if num_workers is None else num_workers
    return DataLoader(dataset, effective, shuffle=shuffle, sampler=sampler, num_workers=workers,
                      pin_memory=torch.cuda.is_available(), persistent_workers=workers > 0, generator=_generator(seed))
