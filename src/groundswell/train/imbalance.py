"""train: what to do when one class is much rarer than another: class weights and the focal loss."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from groundswell.core.errors import InputError

Method = Literal["inverse", "balanced", "sqrt", "effective"]
METHODS = ", ".join(get_args(Method))
EFFECTIVE_BETA = 0.999
"""How much of each further sample of a class is taken to be new."""


def class_weights(labels: NDArray[Any], classes: int, method: Method = "inverse", *,
                  normalise: bool = False) -> NDArray[np.float64]:
    """Weights by class, with N samples of the K classes that occur and n_c of class c.

    inverse, balanced: N / (K n_c), the second being scikit-learn's word for it; sqrt: the square root of that;
    effective: (1 - b) / (1 - b^n_c) with b = 0.999 (Cui et al. 2019, Class-balanced loss based on effective number of
    samples). A class without a sample has weight 0: nothing can be learnt about it.

    Args:
        labels: class indices of the training samples, shape (n,); negative ones (unknown) are left out.
        classes: number of classes.
        method: inverse, balanced, sqrt or effective.
        normalise: scale the weights so that their mean over the samples (not over the classes) is 1, and the loss
            keeps the size it has without weights. Those of inverse and balanced are so already.

    Returns:
        float64, shape (classes,).

    Raises:
        InputError: an unknown method, a label is outside the classes, or fewer than two classes occur.
    """
    if method not in get_args(Method):
        raise InputError(f"There is no way '{method}' to weight classes", fix=f"Choose one of {METHODS}")
    known = np.asarray(labels, np.int64)
    known = known[known >= 0]
    if len(known) and known.max() >= classes:
        raise InputError(f"A label is {known.max()}, but there are only {classes} classes")
    count = np.bincount(known, minlength=classes)
    present = int((count > 0).sum())
    if present < 2:
        raise InputError(f"The training samples are all of one class (samples of each class: {count.tolist()})",
                         fix="Label samples of another class, or divide the data differently")
    weights = len(known) / (present * np.maximum(count, 1))
    if method == "sqrt":
        weights = np.sqrt(weights)
    elif method == "effective":
        weights = (1 - EFFECTIVE_BETA) / (1 - EFFECTIVE_BETA ** np.maximum(count, 1))
    weights = np.where(count > 0, weights, 0.0)
    if normalise and method in ("sqrt", "effective"):
        weights *= len(known) / float(weights @ count)
    return weights


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
