"""evaluate: null controls of detectors: boxes without looking, and the same network taught with dealt annotations.

Both are run on the model's own split. They know boxes through what a pipeline hands over and know no image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.boxes import iou
from groundswell.core.errors import InputError
from groundswell.core.seeds import derive_seed
from groundswell.data.boxes import BoxPredictions, BoxTruth, boxes_of
from groundswell.data.table import SampleTable
from groundswell.evaluate.controls import Control, Fit, Outcome, Runner, learning_rows, resplit
from groundswell.splits.manifest import TEST, SplitManifest

CLASS_PRIOR = Control(
    "class_prior", "boxes without looking", "null",
    "Gives every image the same boxes without looking at it: those of the training part whose class, place and size "
    "come back most often, scored by how often they do.", "A detector that looks at no image",
    "where animals of each class usually are, and how large")
PERMUTED_BOXES = Control(
    "permuted_labels", "annotations dealt", "null",
    "The same network, trained and tested the same way after annotations were dealt to other groups of images: the "
    "images of each clip got boxes and classes of another clip's. It is scored against the dealt ones.",
    "The network taught with dealt annotations", "annotations dealt by chance",
    "more of the dealt boxes are found than their usual places explain, and that is only possible in images like those "
    "seen in training: the split leaks.")
DETECTION_CONTROLS = {control.name: control for control in (CLASS_PRIOR, PERMUTED_BOXES)}
"""By the name that a recipe calls them."""

DEALT = "annotations_of"
"""Column of a table whose annotations were dealt: the sample whose annotations each one has."""

_CANDIDATES = 1000  # boxes of a class that are looked at
_AT_ONCE = 100
_SAME = 0.5  # overlap from which two boxes are the same place and size
_DEALS = 500


def annotations_of(table: SampleTable) -> NDArray[np.object_]:
    """The sample whose annotations each sample has, shape (n,): its own, unless they were dealt."""
    return table.column(DEALT if table.has(DEALT) else "sample_id").to_numpy(dtype=object)


def moved(boxes: NDArray[Any], size: tuple[float, float], onto: tuple[float, float]) -> NDArray[np.float32]:
    """Boxes (k, 4) of an image of ``size`` (width, height) at the same places of an image of another size."""
    share = np.tile(np.asarray(onto, np.float64) / np.asarray(size, np.float64), 2)
    return (np.asarray(boxes, np.float64).reshape(-1, 4) * share).astype(np.float32)


def dealt_truth(truth: BoxTruth, table: SampleTable) -> BoxTruth:
    """The true boxes of a table's samples, in its order, dealt where the table says so.

    Args:
        truth: the boxes that are really there, of at least the samples whose annotations the table's samples have.
        table: with columns ``width`` and ``height``, pixels, where annotations were dealt.

    Raises:
        InputError: the true boxes of a sample are not known.
    """
    donors = annotations_of(table)
    given = truth.beside(np.unique(donors))
    place = np.searchsorted(given.sample_id.astype(str), donors.astype(str))
    inside, count = boxes_of(given.count, place), given.count[place]
    boxes = given.boxes[inside]
    if table.has(DEALT):
        size = _sizes(table)
        share = size / size[table.positions(donors.tolist())]
        boxes = (boxes * np.repeat(np.tile(share, 2), count, axis=0)).astype(np.float32)
    return BoxTruth(table.column("sample_id").to_numpy(dtype=object), count, boxes, given.label[inside],
                    given.crowd[inside], table.groups(), truth.classes, truth.priority)


def deal_annotations(table: SampleTable, seed: int = 0) -> SampleTable:
    """Deal the annotations of each group of images to another group.

    No group keeps its own. Within a pair of groups the order of time is kept, so that frames that look alike have boxes
    that are alike, as in the true annotations. Of five hundred deals the one is taken in which groups agree least with
    what they are dealt, in their commonest classes.

    Returns:
        The table with a column :data:`DEALT`.

    Raises:
        InputError: there is only one group.
    """
    names, group = table.column("sample_id").to_numpy(dtype=object), table.groups()
    groups, of = np.unique(group.astype(str), return_inverse=True)
    if len(groups) < 2:
        raise InputError("There is only one group of images, so that annotations cannot be dealt to others")
    alike = _likeness(table, of, len(groups))
    rng = np.random.default_rng(derive_seed(seed, "dealt annotations"))
    best, least = np.roll(np.arange(len(groups)), 1), np.inf
    for _ in range(_DEALS):
        # A cycle through all groups in an order of chance gives none of them its own.
        order = rng.permutation(len(groups))
        source = np.empty(len(groups), np.int64)
        source[order] = np.roll(order, 1)
        agreement = float(alike[np.arange(len(groups)), source].sum())
        if agreement < least:
            best, least = source, agreement
    rank = table.column("frame").to_numpy() if table.has("frame") else np.arange(len(table))
    members = [rows[np.argsort(rank[rows], kind="stable")] for rows in (np.flatnonzero(of == g)
                                                                        for g in range(len(groups)))]
    donor = np.empty(len(table), dtype=object)
    for g, rows in enumerate(members):
        theirs = members[best[g]]
        donor[rows] = names[theirs[np.arange(len(rows)) * len(theirs) // len(rows)]]
    return table.replaced(**{DEALT: donor})


def _likeness(table: SampleTable, of: NDArray[np.int64], groups: int) -> NDArray[np.float64]:
    """How alike the labels of each two groups are, the cosine of their counts, shape (groups, groups)."""
    labels = table.labels()
    counts = np.zeros((groups, len(table.classes) + 1))
    np.add.at(counts, (of, labels), 1.0)  # samples without a label count in the last column
    counts /= np.linalg.norm(counts, axis=1, keepdims=True)
    found: NDArray[np.float64] = counts @ counts.T
    return found


def permuted_boxes(fit: Fit, seed: int = 0) -> Runner:
    """A runner that deals annotations to other groups and fits anew.

    Args:
        fit: trains on a table and its split. It must take each sample's annotations from the sample that
            :func:`annotations_of` names, :func:`moved` onto its own size.
        seed: of the deal.
    """

    def run(table: SampleTable, manifest: SplitManifest) -> Outcome:
        dealt = deal_annotations(table, seed)
        return Outcome(fit(dealt, resplit(manifest, dealt, manifest.assignment)), dealt,
                       {"against the true boxes": table})

    return run


def class_prior(truth_of: Callable[[SampleTable], BoxTruth], *, most: int = 100, seed: int = 0) -> Runner:
    """A runner that gives every test image of a fold the same boxes, of the fold's training part.

    Of each class so many training boxes are drawn; a box's score is the share of training images that have one of its
    class at that place and of that size (overlap of a half or more). Of boxes that are the same place only the best
    stays. No constant answer that is drawn from the training boxes can do much better.

    Args:
        truth_of: gives the true boxes of a table's samples; the table has columns ``width`` and ``height``, pixels.
        most: boxes of an image.
        seed: of the drawing.
    """

    def run(table: SampleTable, manifest: SplitManifest) -> Outcome:
        truth = truth_of(table).beside(table.column("sample_id").to_numpy(dtype=object))
        size, names = np.tile(_sizes(table), 2), truth.sample_id
        shares = BoxTruth(names, truth.count, (truth.boxes / size[truth.image]).astype(np.float32), truth.label,
                          truth.crowd, truth.group, truth.classes, truth.priority)
        parts = []
        for fold in range(manifest.folds):
            boxes, score, label = _usual(shares.take(learning_rows(manifest, fold)), most, derive_seed(seed, fold))
            rows = manifest.rows(TEST, fold)
            parts.append(BoxPredictions.of(names[rows], [(boxes * size[row], score, label) for row in rows],
                                           truth.classes, member=CLASS_PRIOR.name, fold=fold, note=table.origin))
        return Outcome(BoxPredictions.concatenate(parts), table)

    return run


def _usual(truth: BoxTruth, most: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64],
                                                             NDArray[np.int64]]:
    """The boxes that come back most often: places as shares of an image (k, 4), scores and labels (k,).

    Raises:
        InputError: the training part has no boxes.
    """
    rng, found = np.random.default_rng(seed), []
    if truth.crowd.all():
        raise InputError("The training part has no boxes that could come back")
    for label in np.unique(truth.label[~truth.crowd]):
        of = np.flatnonzero((truth.label == label) & ~truth.crowd)
        drawn = rng.choice(of, min(len(of), _CANDIDATES), replace=False)
        boxes, image = truth.boxes[of].astype(np.float64), truth.image[of]
        asked = truth.boxes[drawn].astype(np.float64)
        score = np.array([len(np.unique(image[near])) for start in range(0, len(asked), _AT_ONCE)
                          for near in iou(asked[start:start + _AT_ONCE], boxes) >= _SAME]) / len(truth)
        kept: list[int] = []
        for k in np.argsort(-score, kind="stable"):
            if len(kept) < most and (not kept or iou(asked[[k]], asked[kept]).max() < _SAME):
                kept.append(int(k))
        found += [(asked[k], score[k], int(label)) for k in kept]
    found.sort(key=lambda one: -one[1])
    found = found[:most]
    return (np.stack([box for box, _, _ in found]), np.array([score for _, score, _ in found]),
            np.array([label for *_, label in found], np.int64))


def _sizes(table: SampleTable) -> NDArray[np.float64]:
    """Width and height of each sample's image, pixels, (n, 2)."""
    return np.stack([table.column(name).to_numpy(np.float64) for name in ("width", "height")], axis=1)
