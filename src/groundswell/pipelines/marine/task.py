"""marine: the task: images and boxes in, losses and boxes out, whichever engine it is.

Shape letters: b image, m box of the truth, q place or query, k box found, c class.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from groundswell.models.mean_weights import MeanWeights
from groundswell.pipelines.marine.augment import augment
from groundswell.pipelines.marine.binned import BINS, count, mean_average_precision
from groundswell.pipelines.marine.decode import Detections, decode
from groundswell.pipelines.marine.detector import PADDING, Engine, Raw
from groundswell.pipelines.marine.recipe import AugmentRecipe, DetectRecipe
from groundswell.train.task import Batch, Export, Sums, Task

_COUNTS = ("counts", "truths")


class DetectionTask(Task):
    """A detector that is taught and used.

    A batch has ``image`` uint8 (b, 3, size, size), ``boxes`` float32 (b, m, 4) in pixels of the input, ``box_label``
    int64 (b, m) with -1 for padding and -2 for boxes that are ignored, and ``placed`` (b, 5), as
    :class:`~groundswell.pipelines.marine.source.DetectionSource` delivers them. Training changes images by chance;
    validation, prediction and export look at them as they are, with the running mean of the weights if one is kept.

    Args:
        engine: the network.
        classes: names.
        size: edge of the input, pixels.
        augment: how images are changed.
        detect: how raw scores become boxes.
        average: decay of the running mean of the weights; 0 keeps none.
        class_weights: of each class, float32 (c,).
        epochs: of the whole training, for ``augment.close_mosaic``.
        facts: what a user of an exported file needs to know, JSON-able.
    """

    lower_is_better: ClassVar[frozenset[str]] = frozenset({"loss", "box", "class", "edge", "overlap", "denoising"})

    def __init__(self, engine: Engine, *, classes: Sequence[str], size: int, augment: AugmentRecipe | None = None,
                 detect: DetectRecipe | None = None, average: float = 0.999, class_weights: Tensor | None = None,
                 epochs: int = 1, facts: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.classes, self.size, self.epochs = tuple(classes), size, epochs
        self.augment, self.detect = augment or AugmentRecipe(), detect or DetectRecipe()
        self.engine: Engine = engine
        self.mean: MeanWeights[Engine] | None = MeanWeights(engine, average) if average else None
        self.mosaic = True
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.class_weights: Tensor | None
        self.facts: dict[str, Any] = {"pipeline": "marine", "model": engine.name, "engine": engine.engine,
                                      "classes": list(self.classes), "size": size, "iou": self.detect.iou,
                                      "most": self.detect.most, "confidence": self.detect.confidence, **(facts or {})}

    @property
    def judged(self) -> Engine:
        """The network that predicts: the running mean where one is kept."""
        return self.engine if self.mean is None else self.mean.network

    @staticmethod
    def engine_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of the network that predicts, by its own names, out of a task's state dict."""
        for prefix in ("mean.network.", "engine."):
            found = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            if found:
                return found
        return {}

    def epoch(self, number: int) -> None:
        """In the last ``augment.close_mosaic`` epochs images are neither joined nor blended."""
        self.mosaic = number < self.epochs - self.augment.close_mosaic

    # -- training and validation -------------------------------------------------------------------------------------

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> tuple[Tensor, Sums]:
        """Loss and sums; see :class:`~groundswell.train.task.Task`. In training the running mean first takes in the
        weights as the last step left them; in validation boxes are counted, too."""
        x, boxes, label = batch["image"].float() / 255, batch["boxes"].float(), batch["box_label"]
        weight = batch["weight"].float()
        if generator is not None:
            with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
                x, boxes, label = augment(x, boxes, label, weight, self.augment, generator, mosaic=self.mosaic,
                                          content=_content(batch))
        edge = x.new_tensor([x.shape[3], x.shape[2], x.shape[3], x.shape[2]])
        sums: Sums = {}
        if self.training:
            if self.mean is not None:
                self.mean.update(self.engine)
            terms = self.engine.losses(x, boxes / edge, label, weight, self.class_weights)
        else:
            terms, raw = self.judged.losses_and_raw(x, boxes / edge, label, weight, self.class_weights)
            sums = self._counted(raw, x.shape[-1], boxes, label, weight)
        with torch.no_grad():
            total = weight.double().sum()
            sums |= {"weight": total, **{name: value.double() * total for name, value in terms.items()}}
        return terms["loss"], sums

    def _counted(self, raw: Raw, size: int, boxes: Tensor, label: Tensor, weight: Tensor) -> Sums:
        """Found and true boxes of the images with weight."""
        counts, truths = np.zeros((len(self.classes), 2, BINS)), np.zeros(len(self.classes))
        there = weight.cpu().numpy() > 0
        for found, box, name, real in zip(self._decoded(raw, size), boxes.cpu().numpy(), label.cpu().numpy(), there,
                                          strict=True):
            if real:
                count(found, box, name, counts)
                np.add.at(truths, name[name >= 0], 1.0)
        return dict(zip(_COUNTS, (torch.from_numpy(counts).to(weight.device),
                                  torch.from_numpy(truths).to(weight.device)), strict=True))

    def metrics(self, sums: Sums) -> dict[str, float]:
        """``loss`` and its terms; of a validation also ``map50``, the mean average precision at overlap 0.5 from
        binned scores."""
        total = float(sums["weight"].clamp(min=1e-12))
        found = {name: float(value) / total for name, value in sums.items() if name not in ("weight", *_COUNTS)}
        if "counts" in sums:
            found["map50"] = mean_average_precision(sums["counts"].numpy(), sums["truths"].numpy())
        return found

    # -- in use ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def raw(self, image: Tensor) -> Raw:
        """Boxes (b, q, 4), shares of the input, and scores (b, q, c) of images uint8 (b, 3, h, w), before any
        threshold."""
        return self.judged.raw(image.float() / 255)

    @torch.no_grad()
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """``boxes`` float32 (b, k, 4) in pixels of the input, ``scores`` (b, k) from 0.001 on, ``labels`` int64 (b, k),
        -1 padding; k is ``detect.most``."""
        image = batch["image"]
        found = self._decoded(self.raw(image), image.shape[-1])
        boxes = np.zeros((len(found), self.detect.most, 4), np.float32)
        scores = np.zeros((len(found), self.detect.most), np.float32)
        labels = np.full((len(found), self.detect.most), PADDING, np.int64)
        for row, one in enumerate(found):
            there = slice(len(one.score))
            boxes[row, there], scores[row, there], labels[row, there] = one
        return {name: torch.from_numpy(value).to(image.device)
                for name, value in (("boxes", boxes), ("scores", scores), ("labels", labels))}

    def _decoded(self, raw: Raw, size: int) -> list[Detections]:
        return [decode(boxes, scores, size=size, suppress=self.engine.suppress, iou=self.detect.iou,
                       most=self.detect.most)
                for boxes, scores in zip(raw.boxes.detach().float().cpu().numpy(),
                                         raw.scores.detach().float().cpu().numpy(), strict=True)]

    def export(self) -> Export:
        """From ``image``, RGB as it is in files (0..255), float32 (b, 3, size, size), to ``boxes`` (b, q, 4), shares of
        the input, and ``scores`` (b, q, c) before any threshold."""
        # Smooth, as pictures are: what networks make of noise is far from all they know, and rounds accordingly.
        coarse = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
        image = nn.functional.interpolate(coarse, (self.size, self.size), mode="bilinear").round()
        module = Exported(copy.deepcopy(self.judged)).cpu().eval()
        return Export(module, {"image": image}, ("boxes", "scores"), {"image": {0: "batch"}},
                      {**self.facts, "suppress": self.engine.suppress})


class Exported(nn.Module):
    """A detector as a plain module from images to raw boxes and scores."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (b, q, 4), shares of the input, and scores (b, q, c)."""
        found = self.engine.raw(image / 255)
        return found.boxes, found.scores


def _content(batch: Batch) -> Tensor | None:
    """Part of each input that the image fills, left, top, right, bottom in pixels, (b, 4)."""
    if "placed" not in batch:
        return None
    ratio, left, top, width, height = batch["placed"].double().unbind(1)
    longest = torch.maximum(width, height)
    ratio = (ratio * longest).round() / longest
    return torch.stack([left, top, left + (width * ratio).round(), top + (height * ratio).round()], 1).float()
