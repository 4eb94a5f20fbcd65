"""train: what to do when one class is much rarer than another: class weights and the focal loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from groundswell.core.errors import InputError


def class_weights(labels: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """Weights N / (K n_c), with N samples of the K classes that occur and n_c of class c.

    A class without a sample has weight 0: nothing can be learnt about it.

    Args:
        labels: class indices of the training samples, shape (n,); negative ones (unknown) are left out.
        classes: number of classes.

    Returns:
        float64, shape (classes,).

    Raises:
        InputError: a label is outside the classes, or fewer than two classes occur.
    """
    known = np.asarray(labels, np.int64)
    known = known[known >= 0]
    if len(known) and known.max() >= classes:
        raise InputError(f"A label is {known.max()}, but there are only {classes} classes")
    count = np.bincount(known, minlength=classes)
    present = int((count > 0).sum())
    if present < 2:
        raise InputError(f"The training samples are all of one class (samples of each class: {count.tolist()})",
                         fix="Label samples of another class, or divide the data differently")
    return np.where(count > 0, len(known) / (present * np.maximum(count, 1)), 0.0)


def class_loss(logits: Tensor, labels: Tensor, *, weights: Tensor | None = None,
               focal_gamma: float | None = None) -> Tensor:
    """Cross-entropy or focal loss of each sample, not reduced.

    The focal loss is FL = -w_c (1 - p_c)^gamma log p_c (Lin et al. 2017, Focal loss for dense object detection); with
    gamma 0 it is the weighted cross-entropy.

    Args:
        logits: shape (batch, classes).
        labels: int64, shape (batch,); the loss of a negative (unknown) one is 0.
        weights: of the classes, shape (classes,).
        focal_gamma: focusing exponent; None is cross-entropy.

    Returns:
        float32, shape (batch,).
    """
    logits = logits.float()
    known = labels >= 0
    labels = labels.clamp(min=0)
    loss = functional.cross_entropy(logits, labels, reduction="none")
    if focal_gamma is not None:
        # 1 - p from the other classes: exact where p rounds to 1, and its gradient stays finite at gamma < 1.
        others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(1) - logits.logsumexp(1)
        loss = loss * torch.exp(focal_gamma * others)
    if weights is not None:
        loss = loss * weights.to(loss)[labels]
    return torch.where(known, loss, 0.0)
