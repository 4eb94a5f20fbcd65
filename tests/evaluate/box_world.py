"""A small world of boxes for tests: images of clips with true boxes, what detectors of known quality make of them."""

from __future__ import annotations

import contextlib
import io
from types import SimpleNamespace

import numpy as np
import pandas as pd

from groundswell.data.boxes import BoxPredictions, BoxTruth
from groundswell.data.table import SampleTable
from groundswell.splits.manifest import TEST, TRAIN, VALIDATION, SplitManifest

CLASSES = ("sunflower star", "grouper", "whale")
PRIORITY = ("critical", "important", "general")
SIZE = 320


def annotated(boxes, label, crowd=None):
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return SimpleNamespace(boxes=boxes, label=np.asarray(label, np.int64).reshape(-1),
                           crowd=np.zeros(len(boxes), bool) if crowd is None else np.asarray(crowd, bool))


class World:
    """Clips of frames; in each, animals that move from the left to the right."""

    def __init__(self, clips=8, frames=6, *, seed=0, animals=(0, 4), classes=CLASSES, priority=PRIORITY,
                 simulated=True, prefix="clip"):
        rng = np.random.default_rng(seed)
        self.classes, rows, self.marks = tuple(classes), [], []
        for clip in range(clips):
            many = rng.integers(animals[0], animals[1] + 1)
            side, label = rng.uniform(20, 60, (many, 2)), rng.integers(0, len(classes), many)
            corner, speed = rng.uniform(0, 240, (many, 2)), rng.uniform(0, 4, (many, 1))
            for frame in range(frames):
                low = corner + speed * frame
                self.marks.append(annotated(np.concatenate([low, low + side], 1), label))
                rows.append({"sample_id": f"{prefix} {clip}/{frame:03d}", "record": f"{prefix} {clip}", "label": None,
                             "group": f"{prefix} {clip}", "frame": frame, "width": SIZE, "height": SIZE,
                             "source": "harbour" if clip % 2 else "reef"})
        self.table = SampleTable(pd.DataFrame(rows), self.classes, pipeline="marine",
                                 origin={"simulated": True} if simulated else {})
        self.ids = self.table.column("sample_id").tolist()
        self.priority = tuple(priority)
        self.truth = BoxTruth.of(self.ids, self.marks, self.classes, group=self.table.groups(), priority=priority)

    def guess(self, noise=2.0, *, seed=5, missed=0.1, extra=1.0, confused=0.1, **options):
        """True boxes, moved and some missed, and others where nothing is; right ones tend to score higher."""
        rng, found = np.random.default_rng(seed), []
        for mark in self.marks:
            kept = rng.uniform(size=len(mark.label)) >= missed
            many = rng.poisson(extra)
            low = rng.uniform(0, 250, (many, 2))
            label = np.where(rng.uniform(size=kept.sum()) < confused, rng.integers(0, len(self.classes), kept.sum()),
                             mark.label[kept])
            boxes = np.concatenate([mark.boxes[kept] + rng.normal(0, noise, (kept.sum(), 4)),
                                    np.concatenate([low, low + rng.uniform(20, 60, (many, 2))], 1)])
            score = np.concatenate([rng.beta(5, 2, kept.sum()), rng.beta(2, 5, many)])
            found.append((boxes, score, np.concatenate([label, rng.integers(0, len(self.classes), many)])))
        return BoxPredictions.of(self.ids, found, self.classes, **options)

    def split(self):
        clip = pd.factorize(self.table.groups())[0]
        return SplitManifest.of(self.table, np.select([clip % 4 == 0, clip % 4 == 1], [TRAIN, VALIDATION], TEST)
                                .astype(np.int8), "grouped", 1, {})


def coco_average_precision(predictions, truth, most=100):
    """What pycocotools makes of the same boxes: (classes, 10), NaN where a class has no true box."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def shape(box):
        left, top, right, bottom = (float(v) for v in box)
        return [left, top, right - left, bottom - top]

    images = {name: i + 1 for i, name in enumerate(predictions.sample_id)}
    marks = [{"image_id": images[name], "category_id": int(label), "bbox": shape(box), "iscrowd": int(crowd)}
             for k, name in enumerate(truth.sample_id) if name in images
             for box, label, crowd in zip(*truth.of_image(k), strict=True)]
    for i, mark in enumerate(marks):
        mark |= {"id": i + 1, "area": mark["bbox"][2] * mark["bbox"][3]}
    given = [{"image_id": images[name], "category_id": int(label), "bbox": shape(box), "score": float(score)}
             for k, name in enumerate(predictions.sample_id)
             for box, score, label in zip(*predictions.of_image(k), strict=True)]
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {"images": [{"id": i} for i in images.values()], "annotations": marks,
                         "categories": [{"id": c, "name": name} for c, name in enumerate(truth.classes)]}
        known.createIndex()
        found = COCO()
        found.dataset = {**known.dataset, "annotations": [
            one | {"id": i + 1, "iscrowd": 0, "area": one["bbox"][2] * one["bbox"][3]} for i, one in enumerate(given)]}
        found.createIndex()
        judge = COCOeval(known, found, "bbox")
        judge.params.maxDets = [most]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][:, :, :, 0, 0]  # thresholds, recalls, classes
    return np.where(precision[:, 0] < 0, np.nan, precision.mean(axis=1)).T
