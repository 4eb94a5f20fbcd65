"""evaluate: what each predicted waveform is worth, where its origin in time, its sign and its amplitude are free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.waveforms import BestLag, best_lag, envelope, shifted
from groundswell.data.waveforms import WaveformPredictions, padded
from groundswell.evaluate.intervals import FloatArray
from groundswell.evaluate.medians import How
from groundswell.evaluate.waveform_recipe import WaveformEvaluateRecipe
from groundswell.evaluate.waveform_truth import KnownRows, WaveformTruth


@dataclass(frozen=True)
class ScoreKind:
    """What a score is called, how samples are summed up, and whether less of it is better."""

    title: str
    how: How = "median"
    less_is_better: bool = False


SCORES: Mapping[str, ScoreKind] = {
    "correlation": ScoreKind("waveform correlation"),
    "envelope_correlation": ScoreKind("envelope correlation"),
    "shift_error_s": ScoreKind("shift error (s)", less_is_better=True),
    "shift_error_samples": ScoreKind("shift error (samples)", less_is_better=True),
    "polarity": ScoreKind("polarities right", "mean"),
    "coverage": ScoreKind("coverage of the band", "mean"),
    "split_half": ScoreKind("split-half correlation"),
}
"""Scores of a sample, by name."""


def score_samples(predictions: WaveformPredictions, truth: WaveformTruth | None,
                  recipe: WaveformEvaluateRecipe) -> pd.DataFrame:
    """Every score of every row of predictions, NaN where it has none.

    Columns: ``sample_id``, ``member``, ``fold``, those of :data:`SCORES`, and ``lag_s`` (positive: predicted later than
    true) and ``sign`` at which the waveform agrees best with the true one.
    """
    n = len(predictions)
    found = pd.DataFrame({name: np.full(n, np.nan) for name in (*SCORES, "lag_s", "sign")})
    found.insert(0, "sample_id", predictions.sample_id)
    found.insert(1, "member", predictions.member)
    found.insert(2, "fold", predictions.fold)
    reach = recipe.max_lag_s / predictions.dt
    if predictions.halves is not None and n:
        given = np.flatnonzero(np.isfinite(predictions.halves).all(axis=(1, 2)))
        one, other = predictions.halves[given, 0], predictions.halves[given, 1]
        found.loc[given, "split_half"] = best_lag(one, other, reach, sign=not predictions.envelope).correlation
    if truth is None or not n:
        return found
    known = truth.beside(predictions.sample_id)
    _score_waveforms(found, predictions, known, recipe)
    error = shift_errors(predictions, known)
    with np.errstate(all="ignore"):
        found["shift_error_s"] = pd.DataFrame(np.abs(error)).median(axis=1)
    found["shift_error_samples"] = found["shift_error_s"] / predictions.dt
    found["polarity"] = _polarities_right(predictions.flip, known.flip)
    return found


def _score_waveforms(found: pd.DataFrame, predictions: WaveformPredictions, known: KnownRows,
                     recipe: WaveformEvaluateRecipe) -> None:
    if known.waveform.shape[1] != predictions.waveform.shape[1]:
        raise InputError(f"Predicted waveforms have {predictions.waveform.shape[1]} samples and true ones "
                         f"{known.waveform.shape[1]}")
    rows = np.flatnonzero(np.isfinite(known.waveform).all(axis=1))
    guess, true = predictions.waveform[rows].astype(np.float64), known.waveform[rows]
    reach = recipe.max_lag_s / predictions.dt
    if predictions.envelope:
        found.loc[rows, "envelope_correlation"] = _of_envelopes(guess, true, reach)
        return
    best = best_lag(guess, true, reach)
    found.loc[rows, "correlation"] = best.correlation
    found.loc[rows, "lag_s"] = best.lag * predictions.dt
    found.loc[rows, "sign"] = best.sign
    found.loc[rows, "envelope_correlation"] = _of_envelopes(envelope(guess), true, reach)
    z = np.abs(_residuals(guess, predictions.spread[rows], true, best))
    inside = pd.DataFrame(np.where(np.isfinite(z), z <= band_width(recipe.band), np.nan))
    found.loc[rows, "coverage"] = inside.mean(axis=1).to_numpy()


def _of_envelopes(guess: FloatArray, true: FloatArray, reach: float) -> FloatArray:
    """Correlation of predicted envelopes with those of true waveforms (not their envelopes), each (n, nt), moved to
    their best lag: an envelope's mean is not zero, so that it is taken out after the move."""
    lag = best_lag(guess, envelope(true), reach, sign=False).lag
    return best_lag(guess, envelope(shifted(true - true.mean(-1, keepdims=True), lag)), 0, sign=False).correlation


def band_width(share: float) -> float:
    """Standard deviations to either side within which a normal variable lies with this probability."""
    return NormalDist().inv_cdf(0.5 + share / 2)


def residuals(predictions: WaveformPredictions, truth: WaveformTruth, recipe: WaveformEvaluateRecipe) -> FloatArray:
    """True less predicted waveforms in units of the stated spread, shape (n, nt), after the best lag, sign and scale.

    NaN where no spread or truth is known, and where the lag moved the true waveform out of its window.
    """
    known = truth.beside(predictions.sample_id).waveform
    found = np.full(predictions.waveform.shape, np.nan)
    rows = np.flatnonzero(np.isfinite(known).all(axis=1)) if not predictions.envelope else np.zeros(0, np.int64)
    if len(rows):
        guess = predictions.waveform[rows].astype(np.float64)
        best = best_lag(guess, known[rows], recipe.max_lag_s / predictions.dt)
        found[rows] = _residuals(guess, predictions.spread[rows], known[rows], best)
    return found


def in_frame(guess: FloatArray, true: FloatArray, best: BestLag) -> tuple[FloatArray, FloatArray]:
    """True waveforms moved and turned to where predicted ones (n, nt) are, and the factor (n,) that scales the latter.

    The factor fits the predicted waveform to the true one by least squares.
    """
    moved = shifted(true - true.mean(-1, keepdims=True), best.lag) * best.sign[:, None]
    centred = guess - guess.mean(-1, keepdims=True)
    return moved, (moved * centred).sum(-1) / np.maximum((centred**2).sum(-1), 1e-12)


def _residuals(guess: FloatArray, spread: NDArray[np.float32], true: FloatArray, best: BestLag) -> FloatArray:
    moved, scale = in_frame(guess, true, best)
    centred = (guess - guess.mean(-1, keepdims=True)) * scale[:, None]
    width = np.abs(scale)[:, None] * spread
    place, lag = np.arange(guess.shape[1]), best.lag[:, None]
    inside = (place >= np.ceil(lag)) & (place <= guess.shape[1] - 1 + np.floor(lag))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(inside & (width > 0), (moved - centred) / width, np.nan), np.float64)


def shift_errors(predictions: WaveformPredictions, known: KnownRows) -> FloatArray:
    """Predicted less true shifts, shape (n, t), seconds, less their mean over each sample's traces; NaN if unknown."""
    width = max(predictions.shift_s.shape[1], known.shift_s.shape[1])
    off = padded(predictions.shift_s.astype(np.float64), width, np.nan) - padded(known.shift_s, width, np.nan)
    there = np.isfinite(off)
    mean = np.where(there, off, 0.0).sum(1) / np.maximum(there.sum(1), 1)
    return np.asarray(off - mean[:, None], np.float64)


def _polarities_right(found: NDArray[np.int8], true: NDArray[np.int8]) -> FloatArray:
    """Share of polarities that are right, shape (n,), where all of a sample's may be turned at once; NaN if unknown."""
    width = max(found.shape[1], true.shape[1])
    product = padded(found, width, 0).astype(np.int64) * padded(true, width, 0)
    traces = (product != 0).sum(1)
    share = np.where(traces > 0, (product > 0).sum(1) / np.maximum(traces, 1), np.nan)
    return np.asarray(np.maximum(share, 1 - share), np.float64)


def averaged(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each sample, in order of first appearance: the means of its scores over members and folds."""
    numbers = [*SCORES, "lag_s"]
    means = rows.groupby("sample_id", sort=False)[numbers].mean()
    return means.assign(fold=rows.groupby("sample_id", sort=False)["fold"].first())


def chance_scores(predictions: WaveformPredictions, truth: WaveformTruth | None, group: NDArray[np.object_],
                  recipe: WaveformEvaluateRecipe) -> dict[str, FloatArray]:
    """Scores of each row held against a sample of another group: what any two waveforms reach at their best lag.

    Args:
        predictions: n rows.
        truth: if any.
        group: of each row, shape (n,).
        recipe: lags.

    Returns:
        ``correlation`` and ``split_half``, each shape (n,), NaN where there is nothing to hold against.
    """
    partner = _of_another_group(group)
    reach = recipe.max_lag_s / predictions.dt
    found = {name: np.full(len(predictions), np.nan) for name in ("correlation", "split_half")}
    if truth is not None and not predictions.envelope:
        true = truth.beside(predictions.sample_id).waveform
        known = np.asarray(np.isfinite(true).all(axis=1), bool)
        rows = np.flatnonzero((partner >= 0) & known[partner])
        found["correlation"][rows] = best_lag(predictions.waveform[rows], true[partner[rows]], reach).correlation
    if predictions.halves is not None and len(predictions):
        given = np.asarray(np.isfinite(predictions.halves).all(axis=(1, 2)), bool)
        rows = np.flatnonzero((partner >= 0) & given & given[partner])
        one, other = predictions.halves[rows, 0], predictions.halves[partner[rows], 1]
        found["split_half"][rows] = best_lag(one, other, reach, sign=not predictions.envelope).correlation
    return found


def _of_another_group(group: NDArray[np.object_]) -> NDArray[np.int64]:
    """For each row one of another group, the groups taken in turn; -1 where there is but one."""
    codes, names = pd.factorize(np.asarray(group, dtype=str))
    if len(names) < 2:
        return np.full(len(codes), -1, np.int64)
    first = np.array([np.flatnonzero(codes == code)[0] for code in range(len(names))], dtype=np.int64)
    return first[(codes + 1) % len(names)]
