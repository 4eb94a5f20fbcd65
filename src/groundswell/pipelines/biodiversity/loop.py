"""biodiversity: one pass over the batches of a data set in a loop at the notebook, to train or to judge."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from groundswell.core.errors import FailureError, InputError

Criterion = Callable[[Tensor, Tensor], Tensor]


def train_epoch(model: nn.Module, loader: Iterable[Mapping[str, Any]], criterion: Criterion,
                optimizer: torch.optim.Optimizer) -> tuple[float, float]:
    """Train on every batch once, a step for each.

    Args:
        model: gives logits (b, classes) of the vectors of a batch, or, of both kinds together, of a mapping with
            ``vision`` and ``language``; a :class:`FusionClassifier` gets a mapping always.
        loader: of batches as a :class:`torch.utils.data.DataLoader` makes them of a :class:`DeepEarthDataset`.
        criterion: of logits and labels, a mean over the batch.
        optimizer: of the model's parameters.

    Returns:
        mean loss over observations, and the share (0 to 1) answered rightly, both as seen while training.

    Raises:
        InputError: there is no batch, or one has no vectors.
        FailureError: the loss is not a finite number; no step is made of it.
    """
    return _one_pass(model.train(), loader, criterion, optimizer)


def evaluate_model(model: nn.Module, loader: Iterable[Mapping[str, Any]],
                   criterion: Criterion) -> tuple[float, float]:
    """Judge every batch once, with nothing dropped and nothing learnt.

    For an epoch to be chosen by, give it a part of the training observations: whoever chooses by the test part has no
    test any more. Args, returns and errors: see :func:`train_epoch`.
    """
    return _one_pass(model.eval(), loader, criterion, None)


def _one_pass(model: nn.Module, loader: Iterable[Mapping[str, Any]], criterion: Criterion,
              optimizer: torch.optim.Optimizer | None) -> tuple[float, float]:
    total, right, count = 0.0, 0, 0
    with torch.set_grad_enabled(optimizer is not None):
        for batch in loader:
            label = batch["species_label"]
            logits = model(_seen(model, batch))
            loss = criterion(logits, label)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise FailureError(f"The loss is {value} after {count} observations",
                                   fix="Look at the vectors of that batch, or lower the learning rate")
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            total += value * len(label)
            right += int((logits.detach().argmax(dim=1) == label).sum())
            count += len(label)
    if not count:
        raise InputError("There is no batch to go over", fix="Give a loader of at least one observation")
    return total / count, right / count


def _seen(model: nn.Module, batch: Mapping[str, Any]) -> Any:
    from groundswell.pipelines.biodiversity.models.classifiers import FusionClassifier

    kinds = {kind: batch[f"{kind}_embedding"] for kind in ("vision", "language") if f"{kind}_embedding" in batch}
    if not kinds:
        raise InputError("A batch has neither 'vision_embedding' nor 'language_embedding'",
                         fix="Make batches by a DataLoader of a DeepEarthDataset")
    return kinds if len(kinds) > 1 or isinstance(model, FusionClassifier) else next(iter(kinds.values()))
