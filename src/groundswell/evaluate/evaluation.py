"""evaluate: everything that is known of a run's worth, in one object: scores, calibration, controls, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from groundswell.core.files import write_json, write_text
from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.answers import answer_rows
from groundswell.evaluate.by_class import ClassRow, by_class, csv_of
from groundswell.evaluate.calibration import (
    Calibration,
    Temperature,
    apply_temperatures,
    calibrate,
    fit_temperatures,
)
from groundswell.evaluate.control_scores import ControlScore, answers_of, score_control
from groundswell.evaluate.controls import ControlRun
from groundswell.evaluate.exposure import exposure_of, prevalence_of
from groundswell.evaluate.metrics import Scores, classification_report, score
from groundswell.evaluate.missing import missing_parts, missing_scores
from groundswell.evaluate.open_set import OpenSet, open_set
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.evaluate.skill import Skill, skill_of
from groundswell.evaluate.strata import Stratum, is_new_place, strata_of
from groundswell.evaluate.units import aggregate, groups_of, groups_of_units, of_samples, units_of
from groundswell.evaluate.verdicts import conclusion
from groundswell.splits.manifest import SplitManifest


class Judged(Protocol):
    """What an evaluation of any kind gives a run: numbers, sentences, files."""

    @property
    def conclusion(self) -> list[str]:
        """What was found, in sentences."""
        ...

    @property
    def note(self) -> dict[str, Any]:
        """Facts that stand beside every number."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; what ``metrics.json`` holds."""
        ...

    def write(self, folder: Path) -> list[Path]:
        """Write ``metrics.json`` and the pictures; their paths."""
        ...


@dataclass(frozen=True)
class CalibrationPair:
    """Calibration of the predictions as they are and after the temperature."""

    before: Calibration
    after: Calibration | None


@dataclass(frozen=True)
class Evaluation:
    """What a set of test predictions is worth.

    Attributes:
        unit: what a unit is here, "event", "group" or "sample".
        folds: numbers of the folds the predictions come from; empty where there are none.
        windows, units: scores at both levels; the same where samples are units.
        temperatures: by (member, fold), fitted to validation predictions; empty if none were fitted.
        calibration: of windows and of units, before and after the temperatures.
        controls: in the order of the recipe.
        answers: one row for each unit: name, truth, predicted, probability of each class, fold, right, windows.
        conclusion: the headline and what follows from the controls, in sentences.
        note: facts that stand beside every number (simulated data, a leaking split that was allowed).
        not_measured: what a reader might take for measured, in sentences.
        recipe: confidence, resamples and so on.
        predictions: of windows and of units, for figures; not part of ``metrics.json``.
        strata: scores of the kinds of test that the split holds apart, by name.
        skill: where samples are units and the split is known, the headline held against chance.
        open_set: likewise, samples of classes that training had none of.
        by_class: where samples are units, one row for each class.
        prevalence: likewise, the share that each class counts in the prevalence-weighted accuracy.
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
    strata: dict[str, Stratum] = field(default_factory=dict)
    skill: Skill | None = None
    open_set: OpenSet | None = None
    by_class: list[ClassRow] = field(default_factory=list)
    prevalence: dict[str, float] = field(default_factory=dict)

    @property
    def of_samples(self) -> bool:
        """Whether each sample is a unit, so that there are no windows apart."""
        return self.unit == "sample"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; what ``metrics.json`` holds."""
        return {
            "unit": self.unit, "folds": [fold + 1 for fold in self.folds], "conclusion": self.conclusion,
            "note": self.note,
            "units": self.units.to_dict(), **({} if self.of_samples else {"windows": self.windows.to_dict()}),
            "controls": [control.to_dict() for control in self.controls],
            "calibration": {level: {"before": pair.before.to_dict(),
                                    "after": pair.after.to_dict() if pair.after else None}
                            for level, pair in self.calibration.items()},
            **self._of_places(),
            "temperatures": [{"member": member, "fold": fold + 1 if fold >= 0 else None, "temperature": t.value,
                              "validation_samples": t.samples, "at_bound": t.at_bound}
                             for (member, fold), t in self.temperatures.items()],
            "answers": self.answers, "not_measured": self.not_measured,
            "settings": self.recipe.model_dump(mode="json"),
        }

    def _of_places(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.strata:
            found["strata"] = {name: stratum.to_dict() for name, stratum in self.strata.items()}
        if self.skill is not None:
            found["skill"] = self.skill.to_dict()
        if self.open_set is not None:
            found["open_set"] = self.open_set.to_dict()
        if self.of_samples:
            found["by_class"] = {row.name: row.to_dict() for row in self.by_class}
            found["prevalence"] = self.prevalence
        return found

    def test_results(self) -> dict[str, float | None]:
        """Scores of windows under the names that classifiers of this kind have long written: weighted means."""
        names = {"accuracy": "accuracy", "precision": "precision_weighted", "recall": "recall_weighted",
                 "f1": "f1_weighted", "roc_auc": "roc_auc"}
        return {name: self.windows.metrics[ours].value for name, ours in names.items()}

    def write(self, folder: Path) -> list[Path]:
        """Write ``metrics.json``, ``test_results.json``, ``classification_report.txt``, ``confusion_matrix.png`` and
        all pictures in ``figures/``; where samples are units also ``by_class.csv``. Returns the paths.

        Raises:
            FailureError: the disk is full.
        """
        from groundswell.evaluate.pictures import write_figures  # matplotlib is slow to import

        folder = Path(folder)
        write_json(folder / "metrics.json", self.to_dict())
        write_json(folder / "test_results.json", self.test_results())
        texts = [classification_report(self.units), *([] if self.of_samples else [classification_report(self.windows)])]
        write_text(folder / "classification_report.txt", "\n".join(texts))
        written = ["metrics.json", "test_results.json", "classification_report.txt"]
        if self.of_samples:
            write_text(folder / "by_class.csv", csv_of(self.by_class))
            written.append("by_class.csv")
        return [folder / name for name in written] + write_figures(self, folder)


def evaluate(predictions: Predictions, table: SampleTable, recipe: EvaluateRecipe, *,
             validation: Predictions | None = None, controls: Sequence[ControlRun] = (),
             note: Mapping[str, Any] | None = None, not_measured: Sequence[str] = (), seed: int = 0,
             manifest: SplitManifest | None = None) -> Evaluation:
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
        manifest: the split, for its strata and, where samples are units, for what training saw of each class.

    Raises:
        InputError: a predicted sample is not in the table, an event has two classes, or the recipe gives the frequency
            of a class that there is not.
    """
    answered = aggregate(predictions, table, recipe.aggregate)
    samples, unit = of_samples(table), units_of(table).level
    group = groups_of_units(answered, table)
    exposure = exposure_of(table, manifest) if samples and manifest is not None else None
    prevalence = None if exposure is None else prevalence_of(recipe, exposure)
    units = score(answered, group, recipe, level=unit, seed=seed, prevalence=prevalence)
    windows = units if samples else score(predictions, groups_of(predictions, table), recipe, level="window", seed=seed)
    temperatures = fit_temperatures(validation) if recipe.temperature and validation is not None else {}
    pairs = _calibration(predictions, answered, temperatures, table, recipe, seed)
    given = [(run, answers_of(run, recipe)) for run in controls]
    scored = [score_control(run, answer, answered, units, table, recipe, seed, manifest) for run, answer in given]
    strata = strata_of(answered, table, manifest, recipe, [(run.control, a) for run, a in given if a is not None],
                       level=unit, exposure=exposure, prevalence=prevalence, seed=seed)
    skill, unseen = None, None
    if exposure is not None and manifest is not None:
        skill = skill_of(units.accuracy, exposure.chance(answered), units.majority_rate,
                         new_place=is_new_place("", manifest))
        unseen = open_set(answered, group, exposure, recipe, level=unit, seed=seed, prevalence=prevalence)
    facts = {**table.origin, **predictions.note, **(note or {})}
    lacking = [*missing_scores(windows, units, temperatures, scored, facts, recipe, bool(validation)),
               *missing_parts(units, strata, unseen, exposure, recipe), *not_measured]
    more = [line for line in (skill and skill.sentence, *(s.sentence() for s in strata.values()),
                              unseen and unseen.sentence()) if line]
    return Evaluation(
        unit, tuple(sorted({int(f) for f in predictions.fold if f >= 0})), windows, units, temperatures, pairs, scored,
        answer_rows(answered, predictions, table),
        conclusion(units, [(s.control, s.scores, s.verdict) for s in scored], recipe.confidence, more,
                   skill=skill is None or skill.state not in ("none", "below")), facts, lacking,
        recipe, {"windows": predictions, "units": answered}, strata, skill, unseen,
        by_class(answered, group, exposure, recipe, seed=seed) if samples else [],
        {} if prevalence is None else dict(zip(units.classes, prevalence.tolist(), strict=True)))


def _calibration(predictions: Predictions, answered: Predictions, temperatures: Mapping[tuple[str, int], Temperature],
                 table: SampleTable, recipe: EvaluateRecipe, seed: int) -> dict[str, CalibrationPair]:
    tempered = apply_temperatures(predictions, temperatures) if temperatures else None
    units = _pair(answered, None if tempered is None else aggregate(tempered, table, recipe.aggregate), table, recipe,
                  seed, whole=True)
    windows = units if of_samples(table) else _pair(predictions, tempered, table, recipe, seed, whole=False)
    return {"windows": windows, "units": units}


def _pair(before: Predictions, after: Predictions | None, table: SampleTable, recipe: EvaluateRecipe, seed: int, *,
          whole: bool) -> CalibrationPair:
    group = (groups_of_units if whole else groups_of)(before, table)
    return CalibrationPair(calibrate(before, group, recipe, seed),
                           None if after is None else calibrate(after, group, recipe, seed))
