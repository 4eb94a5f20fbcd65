"""evaluate: what predicted boxes are worth, in one object: scores, classes, counts, controls, sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.files import write_json
from groundswell.data.boxes import BoxPredictions, BoxTruth
from groundswell.data.table import SampleTable
from groundswell.evaluate.calibration import Calibration
from groundswell.evaluate.controls import Control, ControlRun
from groundswell.evaluate.detection_bootstrap import ResampledPrecision
from groundswell.evaluate.detection_controls import dealt_truth
from groundswell.evaluate.detection_counts import Curves, at_level, confusion, counts_of, curves
from groundswell.evaluate.detection_matching import Matches, match, places
from groundswell.evaluate.detection_parts import (
    Beside,
    ClassRow,
    Counts,
    DetectionPart,
    class_rows,
    judge_part,
    numbers,
    priority_rows,
)
from groundswell.evaluate.detection_recipe import DetectionEvaluateRecipe
from groundswell.evaluate.detection_reliability import reliability_of
from groundswell.evaluate.detection_scores import PrecisionCounts, mean_over
from groundswell.evaluate.detection_words import conclusion, lacking, verdict
from groundswell.evaluate.intervals import Estimate
from groundswell.splits.manifest import SplitManifest

__all__ = ["DetectionEvaluation", "evaluate_boxes"]

_AT_ONCE = 500  # groups judged one by one, together


@dataclass(frozen=True)
class DetectionEvaluation:
    """What a set of predicted boxes is worth.

    Attributes:
        unit: what a sample is called.
        folds: numbers of the folds the predictions come from; empty where there are none.
        whole: all images.
        sources: images of each source, by name; empty where there is one source or none is named.
        classes: each class that is there or was found.
        priorities: each priority; empty where no class has one.
        clips: a row for each group: name, images, boxes, mAP50 and the mean error of its counts (JSON-able).
        chosen: precision, recall and f1 at the score that the validation part chooses, with that score; empty without.
        calibration: of scores from :data:`groundswell.evaluate.detection_reliability.LEAST` on, at overlap 0.5.
        confusion: see :func:`groundswell.evaluate.detection_counts.confusion`.
        members: mAP50 and mAP50-95 of each member, where there are several.
        beside: controls that were run.
        not_run: controls that were not, with the reason.
        conclusion: what was found, in sentences.
        note: facts that stand beside every number.
        not_measured: what a reader might take for measured, in sentences.
        recipe: confidence, resamples and so on.
        curves: over scores and recall.
        counts: of each image, for figures.
        predictions: of the model, under "model", and of each control that was run; for figures.
        truth: the true boxes of the images.
    """

    unit: str
    folds: tuple[int, ...]
    whole: DetectionPart
    sources: dict[str, DetectionPart]
    classes: list[ClassRow]
    priorities: list[ClassRow]
    clips: list[dict[str, Any]]
    chosen: dict[str, Estimate]
    calibration: Calibration
    confusion: NDArray[np.int64]
    members: dict[str, dict[str, float]]
    beside: list[Beside]
    not_run: list[tuple[Control, str]]
    conclusion: list[str]
    note: dict[str, Any]
    not_measured: list[str]
    recipe: DetectionEvaluateRecipe
    curves: Curves = field(repr=False)
    counts: Counts = field(repr=False)
    predictions: dict[str, BoxPredictions] = field(repr=False)
    truth: BoxTruth = field(repr=False)
    headline: str = "map50"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the predictions."""
        return self.truth.classes

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; what ``metrics.json`` holds."""
        return {
            "unit": self.unit, "folds": [fold + 1 for fold in self.folds], "headline": self.headline,
            "conclusion": self.conclusion, "note": self.note, **self.whole.to_dict(),
            "beside": [row.to_dict() for row in self.beside],
            "not_run": [{"name": control.name, "why": why} for control, why in self.not_run],
            "priorities": [row.to_dict() for row in self.priorities],
            "classes": [row.to_dict() for row in self.classes],
            "sources": {name: part.to_dict() for name, part in self.sources.items()}, "clips": self.clips,
            "chosen": {name: value.to_dict() for name, value in self.chosen.items()},
            "calibration": self.calibration.to_dict(),
            "confusion": {"classes": [*self.class_names, "background"], "counts": self.confusion.tolist()},
            "members": self.members, "not_measured": self.not_measured, "settings": self.recipe.model_dump(mode="json"),
        }

    def write(self, folder: Path) -> list[Path]:
        """Write ``metrics.json`` and all pictures in ``figures/``; the paths.

        Raises:
            FailureError: the disk is full.
        """
        from groundswell.evaluate.detection_figures import write_figures  # matplotlib is slow to import

        folder = Path(folder)
        write_json(folder / "metrics.json", self.to_dict())
        return [folder / "metrics.json", *write_figures(self, folder)]


def evaluate_boxes(predictions: BoxPredictions, truth: BoxTruth, table: SampleTable, recipe: DetectionEvaluateRecipe, *,
                   validation: BoxPredictions | None = None, controls: Sequence[ControlRun] = (),
                   note: Mapping[str, Any] | None = None, not_measured: Sequence[str] = (),
                   manifest: SplitManifest | None = None, seed: int = 0, unit: str = "image") -> DetectionEvaluation:
    """Judge predicted boxes.

    Args:
        predictions: of the test images of all folds; of several members each counts as an image of its own.
        truth: of all annotated images of the table, those of training and validation too (annotations that a control
            dealt come from there).
        table: holds them all; its column ``source`` names sources, ``width`` and ``height`` are needed by controls.
        recipe: confidence, resamples, the score from which boxes are counted.
        validation: predictions of validation images, to choose a score from which boxes are taken.
        controls: what was run beside the model, predictions in the same form.
        note: facts that must stand beside every number, added to the predictions' own.
        not_measured: sentences of the pipeline's own about what nobody should read into the numbers.
        manifest: the split.
        seed: of the bootstrap.
        unit: what a sample is called, in the singular.

    Raises:
        InputError: an image is not in the table, its true boxes are not known, or the classes differ.
    """
    positions = table.positions(list(predictions.sample_id))
    matches, group = match(predictions, truth, recipe.most), truth.group[places(predictions, truth)]
    counts = Counts(*counts_of(predictions, truth, recipe.count_at))
    whole, precision = judge_part("", matches, group, counts, recipe, seed)
    facts = {**table.origin, **predictions.note, **(note or {})}
    beside = _controls(controls, truth, precision, recipe, seed)
    not_run = [(run.control, run.why_not) for run in controls if run.outcome is None]
    sources = _sources(matches, group, counts, table, positions, recipe, seed)
    classes = class_rows(matches, group, precision, truth.priority, recipe, seed)
    priorities = priority_rows(matches, group, precision, truth.priority, recipe)
    members, clips = _members(matches, predictions), _clips(matches, group, counts)
    chosen = _chosen(matches, group, validation, truth, recipe, seed)
    folds = tuple(sorted({int(f) for f in predictions.fold if f >= 0}))
    said = conclusion(whole, beside, priorities, classes, sources, members, recipe, facts, unit=unit, folds=len(folds))
    return DetectionEvaluation(
        unit, folds, whole, sources, classes, priorities, clips, chosen, reliability_of(matches, group, recipe, seed),
        confusion(predictions, truth, recipe.count_at), members, beside, not_run, said, facts,
        [*lacking(whole, classes, priorities, sources, [(c.title, why) for c, why in not_run], facts, recipe,
                  controls=bool(beside), validated=bool(chosen)), *not_measured],
        recipe, curves(matches), counts,
        {"model": predictions, **{run.control.name: run.outcome.predictions for run in controls if run.outcome}},
        truth.beside(np.unique(predictions.sample_id)))


def _controls(controls: Sequence[ControlRun], truth: BoxTruth, model: ResampledPrecision,
              recipe: DetectionEvaluateRecipe, seed: int) -> list[Beside]:
    rows: list[Beside] = []
    for run in controls:
        if run.outcome is None:
            continue
        given: BoxPredictions = run.outcome.predictions
        found = _precision(given, dealt_truth(truth, run.outcome.table), recipe, seed)
        also = {name: _precision(given, dealt_truth(truth, other), recipe, seed).estimate()
                for name, other in run.outcome.also.items()}
        rows.append(Beside(run.control, len(given), {"map50": found.estimate(), "map50_95":
                                                     found.estimate(overlaps=True)}, model.less(found), also))
    return [replace(row, state=state, sentence=text) for row in rows for state, text in [verdict(row, rows)]]


def _precision(given: BoxPredictions, truth: BoxTruth, recipe: DetectionEvaluateRecipe,
               seed: int) -> ResampledPrecision:
    return ResampledPrecision(match(given, truth, recipe.most), truth.group[places(given, truth)],
                              resamples=recipe.bootstrap, confidence=recipe.confidence, seed=seed)


def _sources(matches: Matches, group: NDArray[np.object_], counts: Counts, table: SampleTable,
             positions: NDArray[np.int64], recipe: DetectionEvaluateRecipe, seed: int) -> dict[str, DetectionPart]:
    if not table.has("source"):
        return {}
    source = table.column("source").astype(str).to_numpy(dtype=object)[positions]
    names = sorted(set(source))
    return {name: judge_part(name, matches, group, counts, recipe, seed, rows=source == name, least=recipe.n_min)[0]
            for name in names} if len(names) > 1 else {}


def _members(matches: Matches, predictions: BoxPredictions) -> dict[str, dict[str, float]]:
    names = sorted({str(name) for name in predictions.member})
    if len(names) < 2:
        return {}
    found = {}
    for name in names:
        one = ResampledPrecision(matches, predictions.sample_id, predictions.member == name, resamples=0,
                                 confidence=0.95, seed=0)
        found[name] = {"map50": one.value(), "map50_95": one.value(overlaps=True)}
    return found


def _clips(matches: Matches, group: NDArray[np.object_], counts: Counts) -> list[dict[str, Any]]:
    """A JSON-able row for each group, the worst first."""
    names, of = np.unique(np.asarray(group, dtype=str), return_inverse=True)
    precision = PrecisionCounts(matches, of, len(names), steps=(0,))
    value = np.concatenate([mean_over(precision.average_precision(alone)[:, :, 0]) for alone in
                            np.array_split(np.eye(len(names)), 1 + len(names) // _AT_ONCE)])
    images, boxes, known = (np.bincount(each, minlength=len(names)) for each in
                            (of, of[matches.true_row], of[counts.known]))
    error = np.bincount(of, np.where(counts.known, np.abs(counts.found - counts.true), 0), minlength=len(names))
    rows = [{"name": str(name), "images": int(images[g]), "boxes": int(boxes[g]),
             "map50": float(value[g]) if np.isfinite(value[g]) else None,
             "mae": float(error[g] / known[g]) if known[g] else None} for g, name in enumerate(names)]
    return sorted(rows, key=lambda row: (row["map50"] is None, row["map50"] or 0.0))


def _chosen(matches: Matches, group: NDArray[np.object_], validation: BoxPredictions | None, truth: BoxTruth,
            recipe: DetectionEvaluateRecipe, seed: int) -> dict[str, Estimate]:
    if validation is None or not len(validation):
        return {}
    found = match(validation, truth, recipe.most)
    if not len(found.true_label):
        return {}
    level, of = curves(found).best_level(), numbers(group, np.ones(len(group), bool))
    together, _ = at_level(matches, of, int(of.max(initial=0)) + 1, level, recipe, seed)
    return {"level": Estimate(level), **together}
