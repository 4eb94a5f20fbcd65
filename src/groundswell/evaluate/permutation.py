"""evaluate: how often a score as high as the observed one comes about when the labels are dealt anew among the events.

What is dealt are the labels of events, never of single samples (copies of one event would make chance look too weak),
and only among events that the same fold tests, so that each fold keeps its counts of classes. Labels of one group stay
together where sizes allow it. Dealing *inside* a group would change nothing where a group has one class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import rankdata

from groundswell.core.errors import InputError
from groundswell.core.metrics import SUMMARIES, ratio, summary_of_margins
from groundswell.core.seeds import derive_seed
from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.units import Units, event_classes, units_of
from groundswell.splits.manifest import PARTS, TEST, SplitManifest

FloatArray = NDArray[np.float64]
Labels = NDArray[np.signedinteger[Any]]

_NOTHING_MOVES = ("All events that are tested together are of one class, so that dealing their labels anew changes "
                  "nothing")
_TIE = 1e-12  # scores nearer than this are alike; which one rounding puts first is not chance


@dataclass(frozen=True)
class PermutationResult:
    """A score beside those of dealt labels.

    Attributes:
        observed: with the true labels; nan where it is not defined.
        null: with each deal, float64, shape (permutations,).
        p: share of deals, the true one included, that score at least as high; ``None`` where there is none.
        statistic: name of the score.
        why: why there is no p; else empty.
    """

    observed: float
    null: FloatArray
    p: float | None
    statistic: str = "roc_auc"
    why: str = ""


def p_value(observed: float, null: FloatArray) -> float | None:
    """``(1 + #{null >= observed}) / (1 + permutations)`` (Phipson and Smyth 2010), never zero.

    A deal that has no score counts as one that is as high. ``None`` where nothing was observed, or no deal has a score.
    """
    if not np.isfinite(observed) or not np.isfinite(null).any():
        return None
    return float((1 + np.count_nonzero(~(null < observed - _TIE))) / (1 + len(null)))


def permuted_truths(table: SampleTable, manifest: SplitManifest, permutations: int, seed: int = 0) -> Labels:
    """Labels of all samples with those of events dealt anew among the events that are tested together.

    Events tested in the same fold make a block, within which labels are dealt. Folds that share an event (each tests
    other stations of it) are one block; so are, together, folds that test a single class (one event a fold), in which
    there is nothing to deal. Events that no fold tests are dealt within their part. Noise and unknown labels stay.

    A deal puts the groups of a block in two random orders and gives the labels read off in one to the events met in the
    other: groups of equal size swap their labels as a whole, and where sizes differ neighbours still go together, since
    events of one group (windows that overlap) are not independent. Deal k does not depend on how many are asked for.

    Args:
        table: with events, or else groups of one class each.
        manifest: of this table.
        permutations: how many deals.
        seed: what they are a pure function of.

    Returns:
        int8, int16 with more than 127 classes, shape (permutations, rows); -1 where unknown.

    Raises:
        InputError: an event has two classes, the manifest is another table's, or no deal can change anything.
    """
    dealt = _deal(table, manifest, permutations, seed)
    if dealt is None:
        raise InputError(_NOTHING_MOVES)
    return dealt


def _deal(table: SampleTable, manifest: SplitManifest, permutations: int, seed: int) -> Labels | None:
    # As permuted_truths; None where there is nothing to deal.
    if len(manifest.assignment) != len(table):
        raise InputError(f"The split is of {len(manifest.assignment)} samples and the table has {len(table)}")
    labels: Labels = table.labels().astype(np.int8 if len(table.classes) <= np.iinfo(np.int8).max else np.int16)
    units = units_of(table)
    blocks = _blocks(units, manifest)
    if permutations and all(_of_one_class(units, block) for block in blocks):
        return None
    columns = event_classes(table.classes)
    moved = np.flatnonzero((units.of_row >= 0) & np.isin(labels, columns))
    order = [_by_group(units, block) for block in blocks]
    found = np.repeat(labels[None], permutations, axis=0)
    for k in range(permutations):
        generator = np.random.default_rng(derive_seed(seed, "deal of labels", k))
        truth = units.truth.copy()
        for groups in order:
            here, there = (np.concatenate([groups[i] for i in generator.permutation(len(groups))]) for _ in range(2))
            truth[here] = units.truth[there]
        found[k, moved] = columns[truth[units.of_row[moved]]]
    return found


def _blocks(units: Units, manifest: SplitManifest) -> list[NDArray[np.int64]]:
    """Events with a known class, divided into those whose labels may be dealt among them."""
    inside = units.of_row >= 0
    rows, folds = np.nonzero((manifest.assignment == TEST) & inside[:, None])
    tested = np.zeros(len(units), bool)
    tested[units.of_row[rows]] = True
    rest = np.flatnonzero(inside)
    rest = rest[~tested[units.of_row[rest]]]
    # An edge from each event to each fold that tests it, or else to its part in the first one.
    event = np.concatenate([units.of_row[rows], units.of_row[rest]])
    place = np.concatenate([folds, manifest.folds + manifest.assignment[rest, 0].astype(np.int64)])
    nodes = len(units) + manifest.folds + max(PARTS) + 1
    graph = coo_array((np.ones(len(event), np.int8), (event, len(units) + place)), shape=(nodes, nodes))
    component = connected_components(graph, directed=False)[1][:len(units)]
    known = units.truth >= 0
    blocks = [np.flatnonzero((component == c) & known) for c in np.unique(component[known])]
    lone = [bool(tested[block].all()) and _of_one_class(units, block) for block in blocks]
    joined = [block for block, alone in zip(blocks, lone, strict=True) if alone]
    return [*(block for block, alone in zip(blocks, lone, strict=True) if not alone),
            *([np.concatenate(joined)] if joined else [])]


def _of_one_class(units: Units, block: NDArray[np.int64]) -> bool:
    return len(np.unique(units.truth[block])) < 2


def _by_group(units: Units, block: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    names = np.unique(units.group[block].astype(str), return_inverse=True)[1]
    return [block[names == g] for g in range(int(names.max()) + 1)]


def aucs(score: NDArray[np.floating], truth: NDArray[np.integer], positive: int = 1) -> FloatArray:
    """Area under the ROC curve of many scorings or many truths at once; ties count half, nan with one class.

    Args:
        score: shape (n,), or (m, n) for one a truth.
        truth: class indices, shape (m, n); negative ones are left out (the same of each truth).
        positive: the class that is to score higher than the rest.

    Returns:
        Shape (m,).
    """
    known = truth[0] >= 0 if len(truth) else np.ones(truth.shape[1], bool)
    rank = rankdata(score[..., known], axis=-1)
    member = (truth[:, known] == positive).astype(np.float64)
    hits = member.sum(1)
    rest = member.shape[1] - hits
    outranked = (member * rank).sum(1) - hits * (hits + 1) / 2
    return ratio(outranked, hits * rest, np.nan)


def _statistics(probability: FloatArray, truth: NDArray[np.integer], statistic: str) -> FloatArray:
    """A score of one set of answers against many truths (m, n), shape (m,)."""
    classes = probability.shape[1]
    if statistic == "roc_auc":
        # Of two classes the second one's area is the first one's too.
        asked = (1,) if classes == 2 else tuple(range(classes))
        return np.asarray(np.mean([aucs(probability[:, k], truth, k) for k in asked], axis=0))
    if statistic not in SUMMARIES:
        raise InputError(f"There is no statistic '{statistic}' to deal labels for",
                         fix=f"Choose roc_auc or one of {', '.join(SUMMARIES)}")
    given = probability.argmax(1)
    support, hits = _count(truth, np.ones(truth.shape, bool), classes), _count(truth, truth == given, classes)
    claimed = np.broadcast_to(np.bincount(given, minlength=classes).astype(np.float64), support.shape)
    return np.asarray(summary_of_margins(hits, support, claimed)[statistic])


def _count(truth: NDArray[np.integer], which: NDArray[np.bool_], classes: int) -> FloatArray:
    """How often each class is among the chosen entries of each row, shape (m, classes)."""
    place = truth + classes * np.arange(len(truth))[:, None]
    return np.bincount(place[which], minlength=len(truth) * classes).reshape(-1, classes).astype(np.float64)


def mean_over_folds(values: FloatArray) -> FloatArray:
    """Mean of (folds, m) over the folds where it is defined, nan where it is so in none; shape (m,)."""
    values = np.asarray(values, np.float64)
    there = np.isfinite(values)
    return ratio(np.where(there, values, 0.0).sum(0), there.sum(0), np.nan)


def _against(predictions: Predictions, truth: NDArray[np.integer], statistic: str, pooled: bool) -> FloatArray:
    known = (truth >= 0).all(0)
    probability, truth, fold = predictions.probability[known], truth[:, known], predictions.fold[known]
    if not pooled:
        each = [_statistics(probability[fold == k], truth[:, fold == k], statistic) for k in np.unique(fold)]
        mean = mean_over_folds(np.stack(each)) if each else np.full(len(truth), np.nan)
        if np.isfinite(mean).any():
            return mean
    return _statistics(probability, truth, statistic)


def fold_statistic(predictions: Predictions, statistic: str = "roc_auc", *, pooled: bool = False) -> float:
    """A score of predictions: mean of the folds' scores, or that of all folds together.

    Folds that test one class have no ROC-AUC and are left out; where this is so of all (one event a fold), all are
    taken together.

    Args:
        predictions: of samples; those whose truth is unknown are left out.
        statistic: "roc_auc" (of the second of two classes; of more, the mean over classes) or one of
            :data:`groundswell.core.metrics.SUMMARIES`.
        pooled: over all folds together; then the models' scales must agree.

    Returns:
        nan where it is not defined.

    Raises:
        InputError: there is no such statistic.
    """
    return float(_against(predictions, predictions.truth[None], statistic, pooled)[0])


def permuted_scores(predictions: Predictions, table: SampleTable, manifest: SplitManifest, *, permutations: int = 199,
                    seed: int = 0, statistic: str = "roc_auc", pooled: bool = False) -> PermutationResult:
    """The score of fixed answers against labels dealt anew; nothing is fitted again.

    Asks whether the answers go with the labels more than by chance, given that they were not made with a look at the
    tested events. Deals are those of :func:`permuted_truths`.

    Args:
        predictions: of tested samples, folds pooled.
        table: holds them, and says what is true.
        manifest: of this table.
        permutations: how many deals.
        seed: of the deals.
        statistic, pooled: as for :func:`fold_statistic`.

    Raises:
        InputError: there is no such statistic, the manifest is another table's, or an event has two classes.
    """
    rows = table.positions(predictions.sample_id.tolist())
    observed = float(_against(predictions, table.labels()[rows][None], statistic, pooled)[0])
    truths = _deal(table, manifest, permutations, seed)
    if truths is None:
        return PermutationResult(observed, np.empty(0), None, statistic, _NOTHING_MOVES)
    null = _against(predictions, truths[:, rows], statistic, pooled) if permutations else np.empty(0)
    p = p_value(observed, null)
    why = "" if p is not None else "no deals were asked for" if not permutations else "the score is not defined"
    return PermutationResult(observed, null, p, statistic, why)
