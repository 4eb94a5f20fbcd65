"""evaluate: null controls and rivals. They are run on the model's own split and scored by the same code as the model.

A null control is a predictor that must not be able to do the job; a rival is the strongest simple way to do it. What
learns gets a ``Fit`` handed to it, so that this room knows no training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import GroundswellError, InputError
from groundswell.core.seeds import derive_seed
from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.areas import MANY_CLASSES
from groundswell.evaluate.units import Units, event_classes, units_of
from groundswell.splits.manifest import TEST, TRAIN, VALIDATION, SplitManifest

Fit = Callable[[SampleTable, SplitManifest], Predictions]
"""Trains on a table and its split and gives the pooled predictions of the test samples of all folds, with the table's
labels as truth and the table's classes as classes. It must look at nothing but the table and the manifest it is
given."""


@dataclass(frozen=True)
class Control:
    """What a control is, in words for people.

    Attributes:
        name: as in the recipe.
        title: a few words.
        kind: "null" (must not be able to do the job), "rival" (a simple way to do it) or "bound" (it knows the truth).
        says: what it knows or does, one sentence.
        who: subject of a sentence about its score, such as "A clock alone".
        knows: what a null control has to go by, to end a sentence with.
        means: what follows when a null control scores above its level, to follow a colon.
        constant: it gives one answer to everything, so that its level is the majority rate even where that of other
            null controls is chance (see :func:`groundswell.evaluate.verdicts.judge`).
        learns_frequencies: it is a network that can learn which class is the most frequent, and from nothing else: a
            score up to the majority rate says nothing of it.
    """

    name: str
    title: str
    kind: Literal["null", "rival", "bound"]
    says: str
    who: str
    knows: str = ""
    means: str = ""
    constant: bool = False
    learns_frequencies: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a control's run gave: predictions of samples and the table that says what is true of them.

    Attributes:
        predictions: of samples, in the form of the model's own (:class:`Predictions` where classes are told), truth as
            in ``table``.
        table: the samples it was tested on; a control may relabel them.
        also: further tables to score the same predictions against, by what they are.
    """

    predictions: Any
    table: SampleTable
    also: Mapping[str, SampleTable] = field(default_factory=dict)


Runner = Callable[[SampleTable, SplitManifest], Outcome]


@dataclass(frozen=True)
class ControlRun:
    """A control that was run, or the reason why it was not."""

    control: Control
    outcome: Outcome | None
    why_not: str = ""


def run_controls(controls: Sequence[tuple[Control, Runner]], table: SampleTable, manifest: SplitManifest,
                 tell: Callable[[str], None] = lambda line: None) -> list[ControlRun]:
    """Run controls one after another. One that cannot be run here becomes a reason, not an end.

    Args:
        controls: each with its runner.
        table: the model's own.
        manifest: the model's own split.
        tell: called with a line before each, for progress.
    """
    runs = []
    for control, runner in controls:
        tell(f"Control: {control.title}")
        try:
            runs.append(ControlRun(control, runner(table, manifest)))
        except InputError as error:
            runs.append(ControlRun(control, None, str(error)))
        except GroundswellError as error:
            raise type(error)(f"The control '{control.name}' failed: {error.what}", where=error.where,
                              fix=error.fix) from error
    return runs


def resplit(manifest: SplitManifest, table: SampleTable, assignment: NDArray[np.int8]) -> SplitManifest:
    """The same split for a table that a control has relabelled or cut down."""
    return SplitManifest.of(table, assignment, manifest.regime, manifest.seed, manifest.settings)


def learning_rows(manifest: SplitManifest, fold: int) -> NDArray[np.int64]:
    """Rows a control may learn from: all that the model saw in this fold, its validation part included."""
    return np.concatenate([manifest.rows(TRAIN, fold), manifest.rows(VALIDATION, fold)])


def tested(manifest: SplitManifest) -> NDArray[np.int64]:
    """Rows that are tested in any fold."""
    return np.unique(np.concatenate([manifest.rows(TEST, fold) for fold in range(manifest.folds)]))


def broadcast(table: SampleTable, manifest: SplitManifest, answer: Callable[[int], NDArray[np.float64]],
              member: str) -> Predictions:
    """Predictions of all test rows from answers for units.

    Args:
        table: the samples.
        manifest: says which are tested in which fold.
        answer: probabilities of the unit classes for every unit of the table, shape (units, unit classes), given the
            fold; the same for every window of a unit.
        member: name of the predictor.
    """
    units, columns = units_of(table), event_classes(table.classes)
    names, labels = table.column("sample_id").to_numpy(dtype=object), table.labels()
    parts = []
    for fold in range(manifest.folds):
        rows = manifest.rows(TEST, fold)
        rows = rows[units.of_row[rows] >= 0]
        probability = np.zeros((len(rows), len(table.classes)))
        probability[:, columns] = answer(fold)[units.of_row[rows]]
        parts.append(Predictions.of(names[rows], labels[rows], probability, table.classes, member=member, fold=fold))
    return Predictions.concatenate(parts)


MAJORITY = Control("majority", "majority", "null", "Gives the same answer for everything: the most frequent class.",
                   "A constant answer", "which class is the most frequent", constant=True)


def majority(table: SampleTable, manifest: SplitManifest) -> Outcome:
    """The best constant answer, over all tested units.

    It is not taken from each fold's training part: leaving an event out makes its class rarer there, and with balanced
    classes and leave-one-out that turns a constant guess into one that is always wrong.

    Raises:
        InputError: nothing tested has a known class.
    """
    units = units_of(table)
    asked = np.unique(units.of_row[tested(manifest)])
    truth = units.truth[asked[asked >= 0]]
    if not (truth >= 0).any():
        raise InputError("Nothing that is tested has a known class")
    constant = np.zeros((len(units), len(units.classes)))
    constant[:, np.bincount(truth[truth >= 0]).argmax()] = 1.0
    return Outcome(broadcast(table, manifest, lambda fold: constant, "majority"), table)


PERMUTED = Control(
    "permuted_labels", "labels permuted", "null",
    "The same network, trained and tested the same way after the classes of the events were dealt out anew (of 1,000 "
    "deals by chance, the one that tells least about the true classes); it is scored against the dealt classes.",
    "The network taught with dealt classes", "classes dealt by chance",
    "classes dealt by chance can only be found again in events that were seen in training: the split leaks.")


PERMUTED_SAMPLES = replace(
    PERMUTED,
    says="The same network, trained and tested the same way after the classes of the samples were dealt out anew (of "
         "1,000 deals by chance, the one that tells least about the true classes); it is scored against the dealt "
         "classes.",
    means="classes dealt by chance can only be found again in samples that were seen in training: the split leaks.",
    learns_frequencies=True)
"""The same where each sample is a unit."""


def permuted_labels(fit: Fit, seed: int = 0) -> Runner:
    """A runner that permutes the classes of units and fits anew.

    Labels of noise and unknown labels stay. Of a thousand permutations the one is taken whose classes tell least about
    the true ones within the parts of the split (restricted randomisation): with few events a single draw often agrees
    with the truth by chance, and then shows the model's skill and not its faults.
    """

    def run(table: SampleTable, manifest: SplitManifest) -> Outcome:
        units = units_of(table)
        dealt = _deal(units, manifest, seed)
        columns = event_classes(table.classes)
        labels = table.labels()
        rows = (units.of_row >= 0) & np.isin(labels, columns)
        column = table.column("label")
        column[rows] = columns[dealt[units.of_row[rows]]]
        permuted = table.replaced(label=column)
        predictions = fit(permuted, resplit(manifest, permuted, manifest.assignment))
        return Outcome(predictions, permuted, {"against the true classes": table})

    return run


def _deal(units: Units, manifest: SplitManifest, seed: int, draws: int = 1000) -> NDArray[np.int64]:
    """A permutation of the units' classes that is as independent of the true ones as can be; -1 stays -1."""
    known = np.flatnonzero(units.truth >= 0)
    truth = units.truth[known]
    if len(np.unique(truth)) < 2:
        raise InputError("There is only one class among the events, so that permuting changes nothing")
    generator = np.random.default_rng(derive_seed(seed, "permuted labels"))
    one_hot = np.eye(len(units.classes))
    masks = _parts_of_units(units, manifest)[:, known]
    agreement = _agreement_of_many if len(units.classes) > MANY_CLASSES else _agreement
    expected = agreement(masks, truth, None, one_hot)
    best, least = truth, np.inf
    for _ in range(draws):
        candidate = generator.permutation(truth)
        distance = float(((agreement(masks, truth, candidate, one_hot) - expected) ** 2).sum())
        if distance < least:
            best, least = candidate, distance
    dealt = units.truth.copy()
    dealt[known] = best
    return dealt


def _agreement(masks: NDArray[np.float64], truth: NDArray[np.int64], candidate: NDArray[np.int64] | None,
               one_hot: NDArray[np.float64]) -> NDArray[np.float64]:
    """How often each pair of true and dealt class meets in each part, shape (parts, classes, classes); with no
    candidate, how often it would if the two were independent."""
    if candidate is None:
        return np.asarray(np.einsum("mu,ui->mi", masks, one_hot[truth])[:, :, None] * one_hot[truth].mean(0))
    return np.asarray(np.einsum("mu,ui,uj->mij", masks, one_hot[truth], one_hot[candidate], optimize=True))


def _agreement_of_many(masks: NDArray[np.float64], truth: NDArray[np.int64], candidate: NDArray[np.int64] | None,
                       one_hot: NDArray[np.float64]) -> NDArray[np.float64]:
    """As :func:`_agreement`, by counting: products of hundreds of classes would take minutes."""
    if candidate is None:
        return _agreement(masks, truth, None, one_hot)
    classes = len(one_hot)
    pair = truth * classes + candidate
    return np.stack([np.bincount(pair[mask > 0], minlength=classes**2).reshape(classes, classes) for mask in masks]
                    ).astype(np.float64)


def _parts_of_units(units: Units, manifest: SplitManifest, most_folds: int = 20) -> NDArray[np.float64]:
    """Which units have rows in each part of each fold, shape (parts, units); first of all, all units."""
    masks = [np.ones(len(units))]
    # With one event a fold a part cannot be balanced; only the whole can.
    for fold in range(manifest.folds if manifest.folds <= most_folds else 0):
        for part in (TRAIN, VALIDATION, TEST):
            there = units.of_row[manifest.rows(part, fold)]
            masks.append(np.bincount(there[there >= 0], minlength=len(units)).astype(bool).astype(np.float64))
    return np.stack(masks)
