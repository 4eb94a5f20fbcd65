"""evaluate: everything that is known of a run's worth, in one object: scores, calibration, controls, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from groundswell.core.files import write_json, write_text
from groundswell.core.metrics import SUMMARIES
from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.calibration import (
    Calibration,
    Temperature,
    apply_temperatures,
    calibrate,
    fit_temperatures,
)
from groundswell.evaluate.controls import Control, ControlRun
from groundswell.evaluate.intervals import Estimate, bootstrap, sums_by_group
from groundswell.evaluate.metrics import Scores, classification_report, score
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.evaluate.units import aggregate, groups_of, groups_of_units, units_of
from groundswell.evaluate.verdicts import Verdict, conclusion, judge


@dataclass(frozen=True)
class CalibrationPair:
    """Calibration of the predictions as they are and after the temperature."""

    before: Calibration
    after: Calibration | None


@dataclass(frozen=True)
class ControlScore:
    """A control beside the model.

    Attributes:
        control: which.
        scores: at unit level, by the same code as the model's; ``None`` if it was not run.
        difference: accuracy of the model minus that of the control on the units both answered, by a paired bootstrap.
        also: accuracies of the same predictions against other truths, by what these are.
        verdict: what follows.
    """

    control: Control
    scores: Scores | None
    difference: Estimate
    also: dict[str, Estimate]
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        scores = self.scores
        shown = {} if scores is None else {
            "samples": scores.samples, "majority_rate": scores.majority_rate, "confusion": scores.confusion,
            "metrics": {name: estimate.to_dict() for name, estimate in scores.metrics.items()}}
        return {"name": self.control.name, "kind": self.control.kind, "says": self.control.says, **shown,
                "difference": self.difference.to_dict(),
                "also": {name: estimate.to_dict() for name, estimate in self.also.items()},
                "verdict": self.verdict.state, "sentence": self.verdict.sentence}


@dataclass(frozen=True)
class Evaluation:
    """What a set of test predictions is worth.

    Attributes:
        unit: what a unit is here, "event" or "group".
        folds: numbers of the folds the predictions come from; empty where there are none.
        windows, units: scores at both levels.
        temperatures: by (member, fold), fitted to validation predictions; empty if none were fitted.
        calibration: of windows and of units, before and after the temperatures.
        controls: in the order of the recipe.
        answers: one row for each unit: name, truth, predicted, probability of each class, fold, right, windows.
        conclusion: the headline and what follows from the controls, in sentences.
        note: facts that stand beside every number (simulated data, a leaking split that was allowed).
        not_measured: what a reader might take for measured, in sentences.
        recipe: confidence, resamples and so on.
        predictions: of windows and of units, for figures; not part of ``metrics.json``.
    """

    unit: str
    folds: tuple[int, ...]
    windows: Scores
    units: Scores
    temperatures: dict[tuple[str, int], Temperature]
    calibration: dict[str, CalibrationPair]
    controls: list[ControlScore]
    answers: list[dict[str, Any]]
    conclusion: list[str]
    note: dict[str, Any]
    not_measured: list[str]
    recipe: EvaluateRecipe
    predictions: dict[str, Predictions] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; what ``metrics.json`` holds."""
        return {
            "unit": self.unit, "folds": [fold + 1 for fold in self.folds], "conclusion": self.conclusion,
            "note": self.note,
            "units": self.units.to_dict(), "windows": self.windows.to_dict(),
            "controls": [control.to_dict() for control in self.controls],
            "calibration": {level: {"before": pair.before.to_dict(),
                                    "after": pair.after.to_dict() if pair.after else None}
                            for level, pair in self.calibration.items()},
            "temperatures": [{"member": member, "fold": fold + 1 if fold >= 0 else None, "temperature": t.value,
                              "validation_samples": t.samples, "at_bound": t.at_bound}
                             for (member, fold), t in self.temperatures.items()],
            "answers": self.answers, "not_measured": self.not_measured,
            "settings": self.recipe.model_dump(mode="json"),
        }

    def test_results(self) -> dict[str, float | None]:
        """Scores of windows under the names that classifiers of this kind have long written: weighted means."""
        names = {"accuracy": "accuracy", "precision": "precision_weighted", "recall": "recall_weighted",
                 "f1": "f1_weighted", "roc_auc": "roc_auc"}
        return {name: self.windows.metrics[ours].value for name, ours in names.items()}

    def write(self, folder: Path) -> list[Path]:
        """Write ``metrics.json``, ``test_results.json``, ``classification_report.txt``, ``confusion_matrix.png`` and
        all pictures in ``figures/``. Returns the paths.

        Raises:
            FailureError: the disk is full.
        """
        from groundswell.evaluate.figures import write_figures  # matplotlib is slow to import

        folder = Path(folder)
        write_json(folder / "metrics.json", self.to_dict())
        write_json(folder / "test_results.json", self.test_results())
        write_text(folder / "classification_report.txt",
                   classification_report(self.units) + "\n" + classification_report(self.windows))
        return [folder / name for name in ("metrics.json", "test_results.json", "classification_report.txt")] \
            + write_figures(self, folder)


def evaluate(predictions: Predictions, table: SampleTable, recipe: EvaluateRecipe, *,
             validation: Predictions | None = None, controls: Sequence[ControlRun] = (),
             note: Mapping[str, Any] | None = None, not_measured: Sequence[str] = (), seed: int = 0) -> Evaluation:
    """Judge test predictions.

    Args:
        predictions: of the test samples of all folds.
        table: holds them all.
        recipe: aggregation, confidence, resamples, bins, whether to fit temperatures.
        validation: predictions of the validation samples by the same models; temperatures are fitted to these alone.
        controls: what was run beside the model.
        note: facts that must stand beside every number, added to the predictions' own.
        not_measured: sentences of the pipeline's own about what nobody should read into the numbers.
        seed: of the bootstrap.

    Raises:
        InputError: a predicted sample is not in the table, or an event has two classes.
    """
    answered = aggregate(predictions, table, recipe.aggregate)
    unit = units_of(table).level
    levels = {"windows": predictions, "units": answered}
    windows = score(predictions, groups_of(predictions, table), recipe, level="window", seed=seed)
    units = score(answered, groups_of_units(answered, table), recipe, level=unit, seed=seed)
    temperatures = fit_temperatures(validation) if recipe.temperature and validation is not None else {}
    tempered = apply_temperatures(predictions, temperatures) if temperatures else None
    pairs = {"windows": _pair(predictions, tempered, table, recipe, seed, whole=False),
             "units": _pair(answered, None if tempered is None else aggregate(tempered, table, recipe.aggregate), table,
                            recipe, seed, whole=True)}
    scored = [_score_control(run, answered, units, table, recipe, seed) for run in controls]
    facts = {**table.origin, **predictions.note, **(note or {})}
    lacking = _not_measured(windows, units, temperatures, scored, facts, recipe, bool(validation))
    return Evaluation(unit, tuple(sorted({int(f) for f in predictions.fold if f >= 0})), windows, units, temperatures,
                      pairs, scored, _answers(answered, predictions, table),
                      conclusion(units, [(s.control, s.scores, s.verdict) for s in scored], recipe.confidence), facts,
                      [*lacking, *not_measured], recipe, levels)


def _pair(before: Predictions, after: Predictions | None, table: SampleTable, recipe: EvaluateRecipe, seed: int, *,
          whole: bool) -> CalibrationPair:
    group = (groups_of_units if whole else groups_of)(before, table)
    return CalibrationPair(calibrate(before, group, recipe, seed),
                           None if after is None else calibrate(after, group, recipe, seed))


def _score_control(run: ControlRun, answered: Predictions, units: Scores, table: SampleTable, recipe: EvaluateRecipe,
                   seed: int) -> ControlScore:
    if run.outcome is None:
        return ControlScore(run.control, None, Estimate(None, why="not run"), {},
                            Verdict("not run", f"Not run: {run.why_not}"))
    outcome = run.outcome
    given = aggregate(outcome.predictions, outcome.table, recipe.aggregate)
    scores = score(given, groups_of_units(given, outcome.table), recipe, level=units.level, seed=seed)
    also = {}
    for name, other in outcome.also.items():
        again = aggregate(outcome.predictions, other, recipe.aggregate)
        also[name] = score(again, groups_of_units(again, other), recipe, level=units.level, seed=seed).accuracy
    difference = _difference(answered, given, table, recipe, seed)
    return ControlScore(run.control, scores, difference, also,
                        judge(run.control, scores, units, difference, recipe.confidence))


def _difference(model: Predictions, control: Predictions, table: SampleTable, recipe: EvaluateRecipe,
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


def _answers(answered: Predictions, predictions: Predictions, table: SampleTable) -> list[dict[str, Any]]:
    units = units_of(table)
    counted = np.bincount(units.of_row[table.positions(predictions.sample_id.tolist())] + 1, minlength=len(units) + 1)
    windows = dict(zip(units.names.tolist(), counted[1:].tolist(), strict=True))
    names = answered.classes
    return [{"name": str(answered.sample_id[i]), "truth": names[t] if (t := int(answered.truth[i])) >= 0 else None,
             "predicted": names[int(answered.predicted[i])],
             "probability": {name: float(p) for name, p in zip(names, answered.probability[i], strict=True)},
             "right": bool(answered.predicted[i] == t) if t >= 0 else None,
             "fold": int(answered.fold[i]) + 1 if answered.fold[i] >= 0 else None,
             "member": str(answered.member[i]), "windows": int(windows[answered.sample_id[i]])}
            for i in range(len(answered))]


def _not_measured(windows: Scores, units: Scores, temperatures: Mapping[tuple[str, int], Temperature],
                  controls: Sequence[ControlScore], note: Mapping[str, Any], recipe: EvaluateRecipe,
                  validated: bool) -> list[str]:
    """Sentences about every number that is missing here, and why."""
    lines = []
    if note.get("simulated"):
        lines.append("Performance on real records: the data are simulated.")
    for scores in (units, windows):
        for name in (*SUMMARIES, "roc_auc", "pr_auc"):
            estimate = scores.metrics[name]
            if estimate.value is None:
                lines.append(f"{name.replace('_', ' ')} of {scores.level}s: {estimate.why}.")
        if scores.unknown:
            lines.append(f"{scores.unknown} {scores.level}(s) whose class is not known were predicted but not scored.")
    if recipe.temperature and not temperatures:
        lines.append("A temperature: there are no validation predictions with known classes."
                     if validated else "A temperature: no validation predictions were given.")
    lines += [f"The control '{c.control.title}'. {c.verdict.sentence}" for c in controls if c.scores is None]
    if not controls:
        lines.append("Controls: none was run, so that nothing shows what the score would be without the signal.")
    return lines
