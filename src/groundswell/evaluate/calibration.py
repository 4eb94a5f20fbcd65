"""evaluate: whether a stated probability is a frequency, and one temperature that brings it closer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from groundswell.core.metrics import ratio
from groundswell.data.predictions import Predictions
from groundswell.evaluate.intervals import Estimate, bootstrap, sums_by_group
from groundswell.evaluate.recipe import EvaluateRecipe

FloatArray = NDArray[np.float64]

LEAST_PROBABILITY = 1e-12
"""Smaller probabilities count as this one in logarithms."""
TEMPERATURES = (0.05, 20.0)
"""Range a temperature is looked for in."""


@dataclass(frozen=True)
class Bin:
    """One bin of the reliability curve: samples whose top probability falls into it."""

    samples: int
    confidence: float
    accuracy: Estimate


@dataclass(frozen=True)
class Calibration:
    """How confidence and frequency agree.

    Attributes:
        ece: expected calibration error of the most probable class over bins of equal width (Guo et al. 2017).
            With few samples it is above zero even for perfect probabilities.
        log_loss: mean of -log p(truth), in nats.
        brier: mean squared distance between probabilities and truth, summed over classes (0 to 2).
        bins: of the reliability curve, empty ones left out.
    """

    ece: Estimate
    log_loss: Estimate
    brier: Estimate
    bins: list[Bin]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**{name: getattr(self, name).to_dict() for name in ("ece", "log_loss", "brier")},
                "bins": [{"samples": b.samples, "confidence": b.confidence, "accuracy": b.accuracy.to_dict()}
                         for b in self.bins]}


@dataclass(frozen=True)
class Temperature:
    """A temperature fitted to the validation predictions of one model.

    Attributes:
        value: probabilities become p**(1/value), normalised; above 1 the model was too sure of itself.
        samples: validation samples it was fitted to.
        at_bound: the fit ended at the edge of :data:`TEMPERATURES` and says little (often: no validation errors).
    """

    value: float
    samples: int
    at_bound: bool


def calibrate(predictions: Predictions, group: NDArray[np.int64], recipe: EvaluateRecipe, seed: int = 0) -> Calibration:
    """Calibration of predictions whose truth is known, with bootstrap intervals over groups.

    Args:
        predictions: of windows or units.
        group: number of each prediction's group, from 0, shape (n,).
        recipe: bins, confidence, resamples.
        seed: of the bootstrap.
    """
    known = predictions.truth >= 0
    predictions, group = predictions.take(known), np.unique(group[known], return_inverse=True)[1].astype(np.int64)
    if not len(predictions):
        nothing = Estimate(None, why="nothing was scored")
        return Calibration(nothing, nothing, nothing, [])
    bins, rows = recipe.bins, np.arange(len(predictions))
    confidence = predictions.probability.max(axis=1)
    right = (predictions.predicted == predictions.truth).astype(np.float64)
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    loss = -np.log(np.maximum(predictions.probability[rows, predictions.truth], LEAST_PROBABILITY))
    target = np.zeros_like(predictions.probability)
    target[rows, predictions.truth] = 1.0
    brier = ((predictions.probability - target) ** 2).sum(axis=1)
    column = np.concatenate([place, place + bins, place + 2 * bins, np.full(len(loss), 3 * bins),
                             np.full(len(loss), 3 * bins + 1)])
    value = np.concatenate([np.ones(len(loss)), confidence, right, loss, brier])
    statistics = sums_by_group(np.tile(group, 5), column, 3 * bins + 2, value)

    def scores(sums: FloatArray) -> dict[str, FloatArray]:
        count, sure, hits = (sums[:, i * bins:(i + 1) * bins] for i in range(3))
        total = count.sum(1)
        each = {f"bin {b}": ratio(hits[:, b], count[:, b], np.nan) for b in range(bins)}
        return {"ece": ratio(np.abs(hits - sure).sum(1), total, np.nan), **each,
                "log_loss": ratio(sums[:, 3 * bins], total, np.nan),
                "brier": ratio(sums[:, 3 * bins + 1], total, np.nan)}

    found = bootstrap(statistics, scores, resamples=recipe.bootstrap, confidence=recipe.confidence, seed=seed)
    count = np.bincount(place, minlength=bins)
    mean = ratio(np.bincount(place, confidence, minlength=bins), count.astype(np.float64))
    curve = [Bin(int(count[b]), float(mean[b]), found[f"bin {b}"]) for b in range(bins) if count[b]]
    return Calibration(found["ece"], found["log_loss"], found["brier"], curve)


def fit_temperature(predictions: Predictions) -> Temperature | None:
    """The temperature that makes validation predictions most likely, by their mean log loss (Guo et al. 2017).

    Args:
        predictions: of one model's validation samples; those without a truth are left out.

    Returns:
        ``None`` where there is nothing to fit to.
    """
    predictions = predictions.take(predictions.truth >= 0)
    if not len(predictions):
        return None
    logs = np.log(np.maximum(predictions.probability, LEAST_PROBABILITY))
    rows = np.arange(len(predictions))

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        top = scaled.max(axis=1)
        norm = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float((norm - scaled[rows, predictions.truth]).mean())

    low, high = np.log(TEMPERATURES)
    best = float(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x)
    return Temperature(float(np.exp(best)), len(predictions), bool(min(best - low, high - best) < 1e-3))


def fit_temperatures(validation: Predictions) -> dict[tuple[str, int], Temperature]:
    """One temperature for each (member, fold): every model is corrected by what its own validation part shows."""
    found = {}
    for member, fold in sorted(set(zip(validation.member.tolist(), validation.fold.tolist(), strict=True))):
        fitted = fit_temperature(validation.take((validation.member == member) & (validation.fold == fold)))
        if fitted is not None:
            found[str(member), int(fold)] = fitted
    return found


def apply_temperatures(predictions: Predictions, temperatures: Mapping[tuple[str, int], Temperature]) -> Predictions:
    """Predictions with each model's probabilities tempered; those of a model without a temperature stay as they are."""
    probability = predictions.probability.copy()
    for (member, fold), temperature in temperatures.items():
        rows = (predictions.member == member) & (predictions.fold == fold)
        logs = np.log(np.maximum(probability[rows], LEAST_PROBABILITY)) / temperature.value
        scaled = np.exp(logs - logs.max(axis=1, keepdims=True))
        probability[rows] = scaled / scaled.sum(axis=1, keepdims=True)
    return replace(predictions, probability=probability)
