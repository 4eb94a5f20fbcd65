"""geomag: one pass over the batches of a loop at the notebook, to train or to judge, and its scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.utils.data import DataLoader

from groundswell.core.errors import FailureError, InputError
from groundswell.core.metrics import confusion_matrix, per_class, summary

LossFunction = Callable[[Tensor, Tensor], Tensor]


def run_epoch(model: nn.Module, loader: DataLoader[Any], device: torch.device | str,
              optimizer: torch.optim.Optimizer | None = None, loss_fn: LossFunction | None = None,
              max_grad_norm: float | None = 1.0, *, accumulate: int = 1) -> dict[str, Any]:
    """One pass over ``loader``: training where an optimizer is given, judging otherwise.

    A batch of a single sample is left out of training, where batch normalisation cannot use it; when judging, every
    sample counts.

    Args:
        model: gives logits, shape (batch, 2).
        loader: of (windows, labels).
        device: where the network is.
        optimizer: makes it training.
        loss_fn: of logits and labels, a mean over the batch; absent, cross-entropy.
        max_grad_norm: largest norm of the gradients; ``None`` or 0 clips nothing.
        accumulate: batches whose gradients make one step, each sample counting alike.

    Returns:
        ``loss`` (mean over samples), ``accuracy``, ``metrics``
        (:func:`calculate_binary_metrics`), ``labels`` (int64, (n,)),
        ``probabilities`` (float32, (n, 2)), ``samples`` and ``skipped_batches``; samples in the order of the loader.

    Raises:
        InputError: there was no batch of two samples or more to train on, or none at all.
        FailureError: the loss is not a finite number.
    """
    training = optimizer is not None
    criterion = loss_fn or nn.CrossEntropyLoss()
    stepper = _Stepper(model, optimizer, max_grad_norm, accumulate) if optimizer is not None else None
    model.train(training)
    labels, probabilities, losses, skipped = [], [], 0.0, 0
    with torch.set_grad_enabled(training):
        for index, (x, y) in enumerate(loader):
            if training and len(y) == 1:
                skipped += 1
                continue
            x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True).long()
            logits = model(x)
            loss = criterion(logits, y)
            value = float(loss.detach())
            if not np.isfinite(value):
                raise FailureError(f"The loss of batch {index + 1} is not a finite number",
                                   fix="Look at its windows for NaN or infinite values, or lower the learning rate")
            if stepper is not None:
                stepper.add(loss, len(y))
            losses += value * len(y)
            labels.append(y.cpu())
            probabilities.append(logits.detach().float().softmax(1).cpu())
    if not labels:
        raise InputError("The loader gave nothing that could be used", where="run_epoch",
                         fix="Give at least two samples, and a batch_size of at least 2")
    if stepper is not None:
        stepper.step()
    y_all, p_all = torch.cat(labels).numpy(), torch.cat(probabilities).numpy()
    answer = p_all.argmax(1)
    return {"loss": losses / len(y_all), "accuracy": float((answer == y_all).mean()),
            "metrics": calculate_binary_metrics(y_all, answer), "labels": y_all, "probabilities": p_all,
            "samples": len(y_all), "skipped_batches": skipped}


class _Stepper:
    """Gathers gradients of a few batches and steps."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, max_grad_norm: float | None,
                 accumulate: int) -> None:
        if accumulate < 1:
            raise InputError(f"accumulate is {accumulate}; at least one batch makes a step")
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._optimizer, self._most, self._accumulate = optimizer, max_grad_norm, accumulate
        self._batches = self._samples = 0
        optimizer.zero_grad()

    def add(self, loss: Tensor, samples: int) -> None:
        (loss if self._accumulate == 1 else loss * samples).backward()  # type: ignore[no-untyped-call]
        self._batches, self._samples = self._batches + 1, self._samples + samples
        if self._batches == self._accumulate:
            self.step()

    def step(self) -> None:
        if not self._batches:
            return
        if self._accumulate > 1:
            torch._foreach_mul_([p.grad for p in self._parameters if p.grad is not None], 1 / self._samples)
        if self._most:
            nn.utils.clip_grad_norm_(self._parameters, self._most)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._batches = self._samples = 0


def calculate_binary_metrics(y_true: ArrayLike | Tensor, y_class: ArrayLike | Tensor) -> dict[str, Any]:
    """Scores of answers about two classes.

    Args:
        y_true: true classes, 0 or 1, shape (n,).
        y_class: classes answered, shape (n,).

    Returns:
        ``f1``, ``precision`` and ``recall`` weighted by how often each class occurs (weighted recall is the accuracy),
        ``specificity`` (share of class 0 answered rightly), ``mcc`` (Matthews correlation), ``norm_mcc`` ((mcc + 1) /
        2) and ``class_acc`` (share of each class answered rightly, class 0 first; 0 for a class that does not occur).

    Raises:
        InputError: nothing to score, other lengths, or other values than 0 and 1.
    """
    truth, answer = (np.asarray(v.cpu() if isinstance(v, Tensor) else v).ravel() for v in (y_true, y_class))
    if len(truth) != len(answer) or not len(truth):
        raise InputError(f"There are {len(truth)} true classes and {len(answer)} answers; as many of both are needed, "
                         "and one at least")
    wrong = [v for v in np.unique(np.concatenate([truth, answer])).tolist() if v not in (0, 1)]
    if wrong:
        raise InputError(f"Classes are 0 and 1; there is also {wrong[0]}",
                         fix="Turn probabilities into classes first: probabilities.argmax(1)")
    confusion = confusion_matrix(truth.astype(np.int64), answer.astype(np.int64), 2)
    scores = {name: float(value) for name, value in summary(confusion).items()}
    by_class = per_class(confusion)["recall"].tolist()
    return {"f1": scores["f1_weighted"], "precision": scores["precision_weighted"], "recall": scores["recall_weighted"],
            "specificity": by_class[0], "mcc": scores["mcc"], "norm_mcc": (scores["mcc"] + 1) / 2,
            "class_acc": by_class}
