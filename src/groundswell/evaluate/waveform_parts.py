"""evaluate: a part of the test in which waveforms are predicted: the model's scores, and each rival's beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.data.table import SampleTable
from groundswell.evaluate.controls import Control
from groundswell.evaluate.intervals import Estimate, FloatArray
from groundswell.evaluate.medians import GroupBootstrap
from groundswell.evaluate.waveform_recipe import WaveformEvaluateRecipe
from groundswell.evaluate.waveform_scores import SCORES
from groundswell.splits.manifest import SplitManifest

State = Literal["better", "worse", "as good", "unknown"]

_WHY = {
    "correlation": "the true waveform is not known, or this gives envelopes only",
    "envelope_correlation": "the true waveform is not known",
    "shift_error_s": "no shifts were found, or none are known to hold them against",
    "shift_error_samples": "no shifts were found, or none are known to hold them against",
    "polarity": "no polarities were found, or none are known to hold them against",
    "coverage": "no spread was given, or the true waveform is not known",
    "split_half": "halves of the bags were not predicted",
}


@dataclass(frozen=True)
class Beside:
    """A rival (or bound) beside the model, on the samples that both answered.

    Attributes:
        control: which.
        samples: that both answered.
        scores: the rival's, by name; empty where it was not run.
        differences: the model's median (or mean) less the rival's, by name, resampled together.
        gains: median (or mean) over samples of the model's score less the rival's of the same sample, by name. Where
            samples are of several kinds this is the sharper of the two: the spread between kinds is not in it.
        shift_ratio: the model's median shift error over the rival's.
        wins: share of the samples whose headline score is better with the model; ``None`` where neither has it.
        agreement: correlation of the model's waveforms with the rival's, at their best lag.
        why: why there are no scores; else empty.
    """

    control: Control
    samples: int
    scores: dict[str, Estimate]
    differences: dict[str, Estimate]
    gains: dict[str, Estimate]
    shift_ratio: Estimate
    wins: float | None
    agreement: Estimate
    why: str = ""

    def state(self, score: str) -> State:
        """Whether the model is better than it, worse, or cannot be told apart, by the interval of the gain."""
        gap = self.gains.get(score)
        if gap is None or gap.value is None or gap.low is None or gap.high is None:
            return "unknown"
        if gap.low <= 0 <= gap.high:
            return "as good"
        return "better" if (gap.low > 0) != SCORES[score].less_is_better else "worse"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"name": self.control.name, "kind": self.control.kind, "says": self.control.says,
                "samples": self.samples, "why": self.why, "wins": self.wins,
                "scores": {name: value.to_dict() for name, value in self.scores.items()},
                "differences": {name: value.to_dict() for name, value in self.differences.items()},
                "gains": {name: value.to_dict() for name, value in self.gains.items()},
                "shift_ratio": self.shift_ratio.to_dict(), "agreement": self.agreement.to_dict()}


@dataclass(frozen=True)
class WaveformPart:
    """A part of the test.

    Attributes:
        name: of the simulated world or the stratum; empty for the whole.
        samples: in it.
        groups: that they belong to.
        scores: the model's, by name; empty where the part is too small.
        chance: ``correlation`` and ``split_half`` of waveforms of different groups.
        beside: rivals and bounds that were run, in their order; empty where the part is too small.
        why: why there are no numbers; else empty.
    """

    name: str
    samples: int
    groups: int
    scores: dict[str, Estimate]
    chance: dict[str, Estimate]
    beside: list[Beside]
    why: str = ""

    def rivals(self, score: str) -> list[Beside]:
        """Rivals (bounds not among them) with a value of that score, the best first."""
        worth = -1 if SCORES[score].less_is_better else 1
        having = [b for b in self.beside if b.control.kind == "rival" and b.scores[score].value is not None]
        return sorted(having, key=lambda b: -worth * (b.scores[score].value or 0.0))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"samples": self.samples, "groups": self.groups, "why": self.why,
                "scores": {name: value.to_dict() for name, value in self.scores.items()},
                "chance": {name: value.to_dict() for name, value in self.chance.items()},
                "beside": [row.to_dict() for row in self.beside]}


@dataclass(frozen=True)
class Scored:
    """Scores of samples by one predictor: one row a sample, indexed by ``sample_id``; see ``averaged``.

    ``agreement`` is the correlation of the model's waveforms with its own, indexed likewise.
    """

    control: Control
    scores: pd.DataFrame
    agreement: pd.Series[Any]


def judge_part(name: str, model: pd.DataFrame, others: Sequence[Scored], headline: str, recipe: WaveformEvaluateRecipe,
               seed: int, *, least: int = 0, unit: str = "sample") -> WaveformPart:
    """Sum up one part.

    Args:
        name: of the part.
        model: the model's scores of its samples, a row each, with columns ``group``, ``chance_correlation`` and
            ``chance_split_half`` besides; see :func:`groundswell.evaluate.waveform_scores.averaged`.
        others: rivals and bounds that were run, with scores of any samples.
        headline: the score by which samples are won.
        recipe: confidence, resamples.
        seed: of the bootstrap.
        least: fewest samples that get a number.
        unit: what a sample is called.
    """
    group = model["group"].to_numpy(dtype=object)
    groups = len(np.unique(group.astype(str)))
    if len(model) < max(least, 1):
        why = (f"{len(model)} tested {unit}{'' if len(model) == 1 else 's'}, and a number needs {least}"
               if len(model) else "nothing was tested")
        return WaveformPart(name, len(model), groups, {}, {}, [], why)
    drawn = GroupBootstrap(group, resamples=recipe.bootstrap, confidence=recipe.confidence, seed=seed)
    scores = {score: drawn.estimate(_of(model, score), kind.how, _WHY[score]) for score, kind in SCORES.items()}
    chance = {score: drawn.estimate(_of(model, f"chance_{score}"), SCORES[score].how, "there is one group")
              for score in ("correlation", "split_half")}
    beside = [_beside(drawn, model, other, headline) for other in others]
    return WaveformPart(name, len(model), groups, scores, chance, beside)


def _beside(drawn: GroupBootstrap, model: pd.DataFrame, other: Scored, headline: str) -> Beside:
    theirs = other.scores.reindex(model.index)
    both = int(model.index.isin(other.scores.index).sum())
    ours_of, theirs_of = ({score: _of(frame, score) for score in SCORES} for frame in (model, theirs))
    ours_head, theirs_head = ours_of[headline], theirs_of[headline]
    known = np.isfinite(ours_head) & np.isfinite(theirs_head)
    gain = (theirs_head - ours_head if SCORES[headline].less_is_better else ours_head - theirs_head)[known]
    agreement = drawn.estimate(np.asarray(other.agreement.reindex(model.index), np.float64), "median",
                               "one of the two gives envelopes only")
    return Beside(
        other.control, both,
        {score: drawn.estimate(theirs_of[score], kind.how, _WHY[score]) for score, kind in SCORES.items()},
        {score: drawn.difference(ours_of[score], theirs_of[score], kind.how, _WHY[score])
         for score, kind in SCORES.items()},
        {score: drawn.estimate(ours_of[score] - theirs_of[score], kind.how, _WHY[score])
         for score, kind in SCORES.items()},
        drawn.ratio(ours_of["shift_error_s"], theirs_of["shift_error_s"], "median", _WHY["shift_error_s"]),
        float((gain > 0).mean()) if len(gain) else None, agreement)


def _of(frame: pd.DataFrame, column: str) -> FloatArray:
    return np.asarray(frame[column], np.float64)


def headline_of(model: pd.DataFrame) -> str:
    """The score that leads: against the true waveform where any is known, else of halves, else of shifts."""
    for score in ("correlation", "envelope_correlation", "split_half", "shift_error_s"):
        if np.isfinite(_of(model, score)).any():
            return score
    return "correlation"


def kinds_of(sample_id: NDArray[np.object_], table: SampleTable, manifest: SplitManifest | None) -> list[str]:
    """The kind of test that each sample belongs to, "" for none: its simulated world, else its stratum of the split."""
    if table.has("world"):
        world = table.column("world").fillna("").astype(str)
        if (world != "").any():
            return [str(name) for name in world.iloc[table.positions(list(sample_id))]]
    if manifest is None or manifest.stratum is None:
        return [""] * len(sample_id)
    by_name: Mapping[Any, Any] = dict(zip(manifest.sample_id, manifest.stratum, strict=True))
    return ["" if by_name.get(name) is None else str(by_name[name]) for name in sample_id]
