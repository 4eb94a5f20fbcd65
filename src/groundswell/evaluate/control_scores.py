"""evaluate: a control held against the model on the units both answered, by the same code as the model's own score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.controls import Control, ControlRun
from groundswell.evaluate.exposure import exposure_of
from groundswell.evaluate.intervals import Estimate, bootstrap, sums_by_group
from groundswell.evaluate.metrics import Scores, score
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.evaluate.units import aggregate, groups_of_units, of_samples
from groundswell.evaluate.verdicts import Verdict, judge
from groundswell.splits.manifest import SplitManifest


@dataclass(frozen=True)
class ControlScore:
    """A control beside the model.

    Attributes:
        control: which.
        scores: at unit level, by the same code as the model's; ``None`` if it was not run.
        difference: accuracy of the model minus that of the control on the units both answered, by a paired bootstrap.
        also: accuracies of the same predictions against other truths, by what these are.
        verdict: what follows.
        chance: where samples are units, accuracy to be expected of guessing with the frequencies of the classes that
            the control was taught.
    """

    control: Control
    scores: Scores | None
    difference: Estimate
    also: dict[str, Estimate]
    verdict: Verdict
    chance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        scores = self.scores
        shown = {} if scores is None else {
            "samples": scores.samples, "majority_rate": scores.majority_rate,
            **({} if scores.many else {"confusion": scores.confusion}),
            **({} if self.chance is None else {"chance": self.chance}),
            "metrics": {name: estimate.to_dict() for name, estimate in scores.metrics.items()}}
        return {"name": self.control.name, "kind": self.control.kind, "says": self.control.says, **shown,
                "difference": self.difference.to_dict(),
                "also": {name: estimate.to_dict() for name, estimate in self.also.items()},
                "verdict": self.verdict.state, "sentence": self.verdict.sentence}


def answers_of(run: ControlRun, recipe: EvaluateRecipe) -> Predictions | None:
    """What the control answers for units; ``None`` if it was not run."""
    if run.outcome is None:
        return None
    return aggregate(run.outcome.predictions, run.outcome.table, recipe.aggregate)


def score_control(run: ControlRun, given: Predictions | None, answered: Predictions, units: Scores, table: SampleTable,
                  recipe: EvaluateRecipe, seed: int, manifest: SplitManifest | None) -> ControlScore:
    """Score a control and hold it against the model.

    Args:
        run: the control and what it gave.
        given: what :func:`answers_of` gives of it.
        answered: the model's answers for units.
        units: their scores.
        table: of the model.
        recipe: confidence, resamples.
        seed: of the bootstrap.
        manifest: the split, if it is known; where samples are units it says what guessing would score.
    """
    if run.outcome is None or given is None:
        return ControlScore(run.control, None, Estimate(None, why="not run"), {},
                            Verdict("not run", f"Not run: {run.why_not}"))
    outcome = run.outcome
    scores = score(given, groups_of_units(given, outcome.table), recipe, level=units.level, seed=seed)
    also = {}
    for name, other in outcome.also.items():
        again = aggregate(outcome.predictions, other, recipe.aggregate)
        also[name] = score(again, groups_of_units(again, other), recipe, level=units.level, seed=seed).accuracy
    gap = difference(answered, given, table, recipe, seed)
    chance = None
    if manifest is not None and of_samples(table):
        chance = exposure_of(outcome.table, manifest).chance(given)
    verdict = judge(run.control, scores, units, gap, recipe.confidence, chance)
    return ControlScore(run.control, scores, gap, also, verdict, chance)


def difference(model: Predictions, control: Predictions, table: SampleTable, recipe: EvaluateRecipe,
               seed: int) -> Estimate:
    """Accuracy of the model minus that of the control on the units both answered, resampled together."""
    place = {(name, truth): i for i, (name, truth) in enumerate(zip(control.sample_id, control.truth, strict=True))}
    shared = np.array([place.get(key, -1) for key in zip(model.sample_id, model.truth, strict=True)], dtype=np.int64)
    both = (shared >= 0) & (model.truth >= 0)
    if both.sum() < len(control):
        return Estimate(None, why="the control was scored against other events or other classes")
    ours, theirs = model.take(both), control.take(shared[both])
    gain = (ours.predicted == ours.truth).astype(float) - (theirs.predicted == theirs.truth)
    group = groups_of_units(ours, table)
    column = np.concatenate([np.zeros(len(gain), np.int64), np.ones(len(gain), np.int64)])
    statistics = sums_by_group(np.tile(group, 2), column, 2, np.concatenate([gain, np.ones(len(gain))]))
    return bootstrap(statistics, lambda sums: {"difference": sums[:, 0] / sums[:, 1]}, resamples=recipe.bootstrap,
                     confidence=recipe.confidence, seed=seed)["difference"]
