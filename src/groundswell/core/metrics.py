"""core: scores that follow from a confusion matrix, as plain numpy, so that training and evaluation count alike.

Every function takes matrices of shape (..., classes, classes) with the truth along the rows and the prediction along
the columns, and works on all leading axes at once: a bootstrap scores thousands of resampled matrices in one call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SUMMARIES = ("accuracy", "balanced_accuracy", "precision_macro", "recall_macro", "f1_macro", "precision_weighted",
             "recall_weighted", "f1_weighted", "mcc")
"""What :func:`summary` gives, in the order reports show it."""


def confusion_matrix(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int,
                     weight: NDArray[np.floating] | None = None) -> FloatArray:
    """Count samples of each (truth, prediction) pair.

    Args:
        truth: class indices, shape (n,); samples with a negative one (unknown) are left out.
        predicted: class indices, shape (n,).
        classes: number of classes.
        weight: what each sample counts, shape (n,); 1 if absent.

    Returns:
        float64, shape (classes, classes), rows are the truth.
    """
    known = truth >= 0
    pair = truth[known] * classes + predicted[known]
    counted = None if weight is None else np.asarray(weight, np.float64)[known]
    return np.bincount(pair, counted, minlength=classes * classes).astype(np.float64).reshape(classes, classes)


def ratio(numerator: NDArray[Any], denominator: NDArray[Any], empty: float = 0.0) -> FloatArray:
    """Element-wise quotient with ``empty`` where the denominator is zero."""
    safe = np.where(denominator == 0, 1.0, denominator)
    return np.where(denominator == 0, empty, numerator / safe)


def margins(confusion: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Hits, support and claims of each class, each of shape (..., classes): all that :data:`SUMMARIES` depend on."""
    return np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1), confusion.sum(-2)


def per_class(confusion: FloatArray) -> dict[str, FloatArray]:
    """Precision, recall, F1 and support of each class, each of shape (..., classes).

    A class that is never predicted has precision 0, one that never occurs has recall 0, as in scikit-learn with
    ``zero_division=0``.
    """
    return per_class_of_margins(*margins(confusion))


def per_class_of_margins(hits: FloatArray, support: FloatArray, claimed: FloatArray) -> dict[str, FloatArray]:
    """:func:`per_class` from what :func:`margins` gives."""
    return {"precision": ratio(hits, claimed), "recall": ratio(hits, support),
            "f1": ratio(2 * hits, support + claimed), "support": support}


def accuracy(confusion: FloatArray) -> FloatArray:
    """Share of samples on the diagonal; nan where there are none. Shape (...)."""
    hits, support, _ = margins(confusion)
    return ratio(hits.sum(-1), support.sum(-1), np.nan)


def balanced_accuracy(confusion: FloatArray) -> FloatArray:
    """Mean recall of the classes that occur; nan where there are none. Shape (...)."""
    hits, support, _ = margins(confusion)
    return _mean_recall(hits, support)


def _mean_recall(hits: FloatArray, support: FloatArray) -> FloatArray:
    return ratio(ratio(hits, support).sum(-1), (support > 0).sum(-1).astype(np.float64), np.nan)


def matthews(confusion: FloatArray) -> FloatArray:
    """Matthews correlation of any number of classes (Gorodkin 2004, R_K); 0 where it is 0/0. Shape (...)."""
    return _matthews(*margins(confusion))


def _matthews(hits: FloatArray, support: FloatArray, claimed: FloatArray) -> FloatArray:
    total = support.sum(-1)
    covariance = hits.sum(-1) * total - (support * claimed).sum(-1)
    spread = (total**2 - (support**2).sum(-1)) * (total**2 - (claimed**2).sum(-1))
    return ratio(covariance, np.sqrt(np.maximum(spread, 0.0)))


def majority_rate(confusion: FloatArray) -> FloatArray:
    """Share of the most frequent true class: what the best constant answer scores. Shape (...)."""
    return ratio(confusion.sum(-1).max(-1), confusion.sum((-2, -1)), np.nan)


def weighted_recall(hits: FloatArray, support: FloatArray, weight: FloatArray) -> FloatArray:
    """Mean recall of the classes that occur, class k counting ``weight[k]``; nan where none of any weight occurs.

    With the frequencies of another population as weights it estimates accuracy there, if only the frequencies differ
    and not what samples of a class look like (label shift). Shape (...).
    """
    there = np.where(support > 0, weight, 0.0)
    return ratio((there * ratio(hits, support)).sum(-1), there.sum(-1), np.nan)


def top_k(probability: FloatArray, truth: NDArray[np.int64], k: int) -> FloatArray:
    """Whether the truth is among the k most probable classes of each sample, float64, shape (n,).

    Classes that are exactly as probable as the truth share the places that are left among the k, so that equal
    probabilities for all classes score k in the number of classes, whatever the order of the classes.

    Args:
        probability: shape (n, classes).
        truth: class indices, none negative, shape (n,).
        k: at least 1.
    """
    given = probability[np.arange(len(truth)), truth][:, None]
    above, level = (probability > given).sum(1), (probability == given).sum(1)
    share: FloatArray = np.clip((k - above) / level, 0.0, 1.0)
    return share


def summary(confusion: FloatArray) -> dict[str, FloatArray]:
    """Every score of :data:`SUMMARIES`, each of shape (...).

    Macro means are over the classes that occur in truth or prediction, weighted ones weigh each class by how often it
    occurs (so that weighted recall is accuracy).
    """
    return summary_of_margins(*margins(confusion))


def summary_of_margins(hits: FloatArray, support: FloatArray, claimed: FloatArray) -> dict[str, FloatArray]:
    """:func:`summary` from what :func:`margins` gives: three numbers a class, not one a pair of classes."""
    each = per_class_of_margins(hits, support, claimed)
    total = support.sum(-1)
    present = (support + claimed > 0).sum(-1).astype(np.float64)
    found = {"accuracy": ratio(hits.sum(-1), total, np.nan), "balanced_accuracy": _mean_recall(hits, support)}
    for name in ("precision", "recall", "f1"):
        found[f"{name}_macro"] = ratio(each[name].sum(-1), present, np.nan)
    for name in ("precision", "recall", "f1"):
        found[f"{name}_weighted"] = ratio((each[name] * support).sum(-1), total, np.nan)
    found["mcc"] = np.where(total == 0, np.nan, _matthews(hits, support, claimed))
    return found


BINARY = ("sensitivity", "specificity", "class_accuracy_0", "class_accuracy_1", "f1_0", "f1_1", "norm_mcc")
"""What :func:`binary_summary` gives beside :data:`SUMMARIES`."""


def binary_summary(confusion: FloatArray, positive: int = 1) -> dict[str, FloatArray]:
    """Every score of :data:`SUMMARIES` and of :data:`BINARY` for two classes, each of shape (...).

    ``sensitivity`` is the recall of the positive class, ``specificity`` that of the other, ``class_accuracy_k`` that of
    class k: nan where the class does not occur. ``f1_k`` is 0 where class k is only missed or only imagined, nan where
    it is in neither truth nor prediction. ``norm_mcc`` is (mcc + 1) / 2, so that 0.5 is chance.

    Args:
        confusion: shape (..., 2, 2).
        positive: index of the positive class, 0 or 1.
    """
    found = summary(confusion)
    each = per_class(confusion)
    support, touched = each["support"], each["support"] + confusion.sum(-2)
    for k in (0, 1):
        found[f"class_accuracy_{k}"] = np.where(support[..., k] == 0, np.nan, each["recall"][..., k])
        found[f"f1_{k}"] = np.where(touched[..., k] == 0, np.nan, each["f1"][..., k])
    found["sensitivity"] = found[f"class_accuracy_{positive}"]
    found["specificity"] = found[f"class_accuracy_{1 - positive}"]
    found["norm_mcc"] = (found["mcc"] + 1) / 2
    return found
