"""evaluate: what predicted waveforms are worth, in one object: scores, rivals, kinds of test, sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.files import write_json
from groundswell.core.waveforms import best_lag
from groundswell.data.table import SampleTable
from groundswell.data.waveforms import WaveformPredictions
from groundswell.evaluate.controls import Control, ControlRun
from groundswell.evaluate.intervals import FloatArray
from groundswell.evaluate.waveform_parts import Scored, WaveformPart, headline_of, judge_part, kinds_of
from groundswell.evaluate.waveform_recipe import WaveformEvaluateRecipe
from groundswell.evaluate.waveform_scores import SCORES, averaged, chance_scores, residuals, score_samples
from groundswell.evaluate.waveform_truth import WaveformTruth
from groundswell.evaluate.waveform_words import conclusion, lacking
from groundswell.splits.manifest import SplitManifest

__all__ = ["WaveformEvaluation", "WaveformTruth", "evaluate_waveforms"]


@dataclass(frozen=True)
class WaveformEvaluation:
    """What a set of predicted waveforms is worth.

    Attributes:
        unit: what a sample is called.
        folds: numbers of the folds the predictions come from; empty where there are none.
        headline: the score that leads, a key of :data:`groundswell.evaluate.waveform_scores.SCORES`.
        whole: all samples whose source can be recovered.
        strata: each kind of test (simulated world, stratum of the split), by name.
        unrecoverable: the samples whose paths share a part, apart; ``None`` where there are none.
        members: medians of each member's scores, where there are several.
        not_run: controls that were not run, with the reason.
        answers: one row for each sample: name, group, kind, fold, whether it can be recovered, its scores and each
            rival's headline score.
        conclusion: what was found, in sentences.
        note: facts that stand beside every number.
        not_measured: what a reader might take for measured, in sentences.
        recipe: confidence, resamples and so on.
        predictions: of the model, under "model", and of each control that was run; for figures.
        truth: what is known to be true; for figures.
        residuals: see :func:`groundswell.evaluate.waveform_scores.residuals`; for figures.
    """

    unit: str
    folds: tuple[int, ...]
    headline: str
    whole: WaveformPart
    strata: dict[str, WaveformPart]
    unrecoverable: WaveformPart | None
    members: dict[str, dict[str, float]]
    not_run: list[tuple[Control, str]]
    answers: list[dict[str, Any]]
    conclusion: list[str]
    note: dict[str, Any]
    not_measured: list[str]
    recipe: WaveformEvaluateRecipe
    predictions: dict[str, WaveformPredictions] = field(repr=False)
    truth: WaveformTruth | None = field(repr=False)
    residuals: FloatArray | None = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; what ``metrics.json`` holds."""
        return {
            "unit": self.unit, "folds": [fold + 1 for fold in self.folds], "headline": self.headline,
            "conclusion": self.conclusion, "note": self.note, **self.whole.to_dict(),
            "strata": {name: part.to_dict() for name, part in self.strata.items()},
            "unrecoverable": None if self.unrecoverable is None else self.unrecoverable.to_dict(),
            "members": self.members,
            "not_run": [{"name": control.name, "why": why} for control, why in self.not_run],
            "answers": self.answers, "not_measured": self.not_measured,
            "settings": self.recipe.model_dump(mode="json"),
        }

    def write(self, folder: Path) -> list[Path]:
        """Write ``metrics.json`` and all pictures in ``figures/``; the paths.

        Raises:
            FailureError: the disk is full.
        """
        from groundswell.evaluate.waveform_pictures import write_figures  # matplotlib is slow to import

        folder = Path(folder)
        write_json(folder / "metrics.json", self.to_dict())
        return [folder / "metrics.json", *write_figures(self, folder)]


def evaluate_waveforms(predictions: WaveformPredictions, table: SampleTable, truth: WaveformTruth | None,
                       recipe: WaveformEvaluateRecipe, *, controls: Sequence[ControlRun] = (),
                       note: Mapping[str, Any] | None = None, not_measured: Sequence[str] = (),
                       manifest: SplitManifest | None = None, seed: int = 0, unit: str = "sample",
                       ) -> WaveformEvaluation:
    """Judge predicted waveforms.

    Args:
        predictions: of the test samples of all folds; a sample's scores are averaged over its members.
        table: holds them all; its groups are what the bootstrap draws, its column ``world`` names kinds of test.
        truth: what is known of them; ``None`` for nothing.
        recipe: lags, confidence, resamples.
        controls: what was run beside the model, predictions in the same form.
        note: facts that must stand beside every number, added to the predictions' own.
        not_measured: sentences of the pipeline's own about what nobody should read into the numbers.
        manifest: the split, for its strata where the table has no column ``world``.
        seed: of the bootstrap.
        unit: what a sample is called, in the singular.

    Raises:
        InputError: a predicted sample is not in the table, or the truth has waveforms of another length.
    """
    model = _scores_of(predictions, table, truth, recipe)
    kind = dict(zip(model.index, kinds_of(model.index.to_numpy(), table, manifest), strict=True))
    others = [_rival(run, predictions, table, truth, recipe) for run in controls if run.outcome is not None]
    recoverable = pd.Series(True, index=model.index) if truth is None else pd.Series(
        truth.beside(model.index.to_numpy()).recoverable, index=model.index)
    usual, apart = model[recoverable], model[~recoverable]
    headline = headline_of(usual if len(usual) else model)
    whole = judge_part("", usual, others, headline, recipe, seed, unit=unit)
    strata = {name: judge_part(name, usual[[kind[s] == name for s in usual.index]], others, headline, recipe, seed,
                               least=recipe.n_min, unit=unit)
              for name in dict.fromkeys(kind[s] for s in usual.index) if name}
    shared = judge_part("paths share a part", apart, others, headline, recipe, seed, unit=unit) if len(apart) else None
    members = _members(predictions, truth, recipe, usual.index)
    facts = {**table.origin, **predictions.note, **(note or {})}
    not_run = [(run.control, run.why_not) for run in controls if run.outcome is None]
    said = conclusion(whole, strata, shared, headline, recipe, facts, unit=unit, members=members,
                      shifts_from=truth.shifts_from if truth else "")
    return WaveformEvaluation(
        unit, tuple(sorted({int(f) for f in predictions.fold if f >= 0})), headline, whole, strata, shared, members,
        not_run, _answers(model, others, kind, recoverable, headline), said, facts,
        [*lacking(whole, strata, [(c.title, why) for c, why in not_run], facts, controls=bool(others)), *not_measured],
        recipe, {"model": predictions, **{run.control.name: run.outcome.predictions for run in controls
                                          if run.outcome is not None}},
        truth, None if truth is None else residuals(predictions, truth, recipe))


def _scores_of(predictions: WaveformPredictions, table: SampleTable, truth: WaveformTruth | None,
               recipe: WaveformEvaluateRecipe) -> pd.DataFrame:
    """One row a sample: its scores, its group, and what waveforms of other groups would score."""
    rows = score_samples(predictions, truth, recipe)
    found = averaged(rows)
    group = table.groups()[table.positions(list(predictions.sample_id))]
    chance = pd.DataFrame(chance_scores(predictions, truth, group, recipe)).add_prefix("chance_")
    found = found.join(chance.groupby(np.asarray(predictions.sample_id), sort=False).mean())
    return found.assign(group=table.groups()[table.positions(list(found.index))])


def _rival(run: ControlRun, model: WaveformPredictions, table: SampleTable, truth: WaveformTruth | None,
           recipe: WaveformEvaluateRecipe) -> Scored:
    assert run.outcome is not None
    given: WaveformPredictions = run.outcome.predictions
    table.positions(list(given.sample_id))
    agreement = pd.Series(dtype=np.float64)
    if not given.envelope and not model.envelope and len(given) and len(model):
        names, ours, theirs = _shared(model, given)
        found = best_lag(model.waveform[ours], given.waveform[theirs], recipe.max_lag_s / model.dt).correlation
        agreement = pd.Series(found, index=names)
    return Scored(run.control, averaged(score_samples(given, truth, recipe)), agreement)


def _shared(model: WaveformPredictions, given: WaveformPredictions,
            ) -> tuple[NDArray[np.object_], NDArray[np.int64], NDArray[np.int64]]:
    """Samples that both predicted, and the first row of each in either."""
    first = [pd.Series(np.arange(len(p)), index=p.sample_id) for p in (model, given)]
    first = [rows[~rows.index.duplicated()] for rows in first]
    names = first[0].index[first[0].index.isin(first[1].index)]
    ours, theirs = (rows.loc[names].to_numpy(np.int64) for rows in first)
    return names.to_numpy(dtype=object), ours, theirs


def _members(predictions: WaveformPredictions, truth: WaveformTruth | None, recipe: WaveformEvaluateRecipe,
             usual: pd.Index[Any]) -> dict[str, dict[str, float]]:
    names = sorted({str(name) for name in predictions.member})
    if len(names) < 2:
        return {}
    found = {}
    for name in names:
        rows = averaged(score_samples(predictions.take(predictions.member == name), truth, recipe))
        rows = rows[rows.index.isin(usual)]
        centre = {score: (rows[score].median() if kind.how == "median" else rows[score].mean())
                  for score, kind in SCORES.items()}
        found[name] = {score: float(value) for score, value in centre.items() if np.isfinite(value)}
    return found


def _answers(model: pd.DataFrame, others: Sequence[Scored], kind: Mapping[str, str], recoverable: pd.Series[bool],
             headline: str) -> list[dict[str, Any]]:
    """A JSON-able row for each sample, in their order."""
    beside = {other.control.name: other.scores[headline].to_dict() for other in others}
    rows = []
    for name, row in zip(model.index.astype(str), model.to_dict("records"), strict=True):
        scores = {score: _plain(row[score]) for score in (*SCORES, "lag_s")}
        rows.append({"name": name, "group": row["group"], "kind": kind[name],
                     "fold": int(row["fold"]) + 1 if row["fold"] >= 0 else None, "recoverable": bool(recoverable[name]),
                     **scores, "rivals": {rival: _plain(values.get(name)) for rival, values in beside.items()}})
    return rows


def _plain(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
