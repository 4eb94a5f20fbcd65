"""geomag: how unequal the classes are, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from groundswell.train.imbalance import Method, class_weights

Severity = Literal["balanced", "mild", "moderate", "severe"]
LIMITS = (1.5, 3.0, 10.0)
"""Ratios of the larger class to the smaller at which mild, moderate and severe begin. A summary that has long been
shown with these limits calls 2.27:1 moderate; by the limits it is mild, and the limits hold here."""
FOCAL_GAMMA = 2.0


@dataclass(frozen=True)
class Advice:
    """What to do at one severity. Weights and balanced drawing correct for the same thing: never both at once.

    Attributes:
        strategy: in a few words.
        loss: which loss.
        sampling: how batches are drawn.
        metrics: what to judge by.
    """

    strategy: str
    loss: str
    sampling: str
    metrics: str


_ALWAYS = "MCC, balanced accuracy and the F1 of each class, with intervals by event"
ADVICE: dict[Severity, Advice] = {
    "balanced": Advice("Standard training", "Cross-entropy without weights", "Shuffle; no balancing",
                       f"Accuracy is readable; beside it {_ALWAYS}"),
    "mild": Advice("Apply class weight adjustment", "Cross-entropy with class weights (inverse, or sqrt, which goes "
                   "half the way)", "Shuffle; no balancing, since the weights correct already",
                   f"{_ALWAYS}; weighted recall is nothing but accuracy"),
    "moderate": Advice("Class weights or balanced batches, one of the two",
                       "Cross-entropy with class weights; without them if batches are balanced",
                       "Balanced batches (create_data_loaders_balanced) instead of the weights, on training windows "
                       "only", f"{_ALWAYS}, and the area under the precision-recall curve; not accuracy"),
    "severe": Advice("Several measures, and more windows of the rare class",
                     f"Focal loss with gamma {FOCAL_GAMMA:g} and class weights (effective or sqrt)",
                     "Shuffle; balanced batches only without weights, and few windows are then seen again and again",
                     f"{_ALWAYS}, and the area under the precision-recall curve; choose the threshold on validation "
                     "windows; not accuracy")}
"""What to do, by severity."""


@dataclass(frozen=True)
class ImbalanceAnalysis:
    """How unequal the classes are.

    Attributes:
        imbalance_ratio: larger class over smaller, at least 1.
        severity: balanced, mild, moderate or severe; see :data:`LIMITS`.
        strategy: what to do, in a few words.
        suggested_weights: of the classes, by inverse frequency, for ``torch.tensor``.
        weights: the same by each method, as their formulas give them.
        advice: on loss, sampling and metrics.
    """

    imbalance_ratio: float
    severity: Severity
    strategy: str
    suggested_weights: list[float]
    weights: dict[str, list[float]]
    advice: Advice


def severity_of(ratio: float) -> Severity:
    """balanced below 1.5 to 1, mild below 3, moderate below 10, severe from there on."""
    names: tuple[Severity, ...] = get_args(Severity)
    return names[sum(ratio >= limit for limit in LIMITS)]


def analyze_imbalance(counts: Sequence[int]) -> ImbalanceAnalysis:
    """Judge the numbers of samples of the classes; each must have one at least.

    Raises:
        InputError: fewer than two classes have samples.
    """
    labels = np.repeat(np.arange(len(counts)), counts)
    weights = {method: class_weights(labels, len(counts), method).tolist() for method in get_args(Method)}
    ratio = max(counts) / min(counts)
    severity = severity_of(ratio)
    return ImbalanceAnalysis(ratio, severity, ADVICE[severity].strategy, weights["inverse"], weights, ADVICE[severity])


def snippet(analysis: ImbalanceAnalysis) -> str:
    """Python code that makes the loss that is advised; it runs as it stands."""
    weights = ", ".join(f"{w:.3f}" for w in analysis.suggested_weights)
    if analysis.severity == "balanced":
        return "from torch import nn\n\ncriterion = nn.CrossEntropyLoss()\n"
    if analysis.severity == "severe":
        return ("import torch\nfrom groundswell.train.imbalance import class_loss\n\n"
                f"weights = torch.tensor([{weights}])\n\n"
                "def criterion(logits, labels):\n"
                f"    return class_loss(logits, labels, weights=weights, focal_gamma={FOCAL_GAMMA}).mean()\n")
    code = f"import torch\nfrom torch import nn\n\nweights = torch.tensor([{weights}])\n"
    if analysis.severity == "moderate":
        code += ("# Or, instead of the weights, balanced batches of the training windows:\n"
                 "# from groundswell.pipelines.geomag.utilities import create_data_loaders_balanced\n"
                 "# loader = create_data_loaders_balanced(dataset, batch_size=32); weights = None\n")
    return code + "criterion = nn.CrossEntropyLoss(weight=weights)\n"
