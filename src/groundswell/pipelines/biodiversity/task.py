"""biodiversity: the task, from vectors as read to loss, metrics and the probability of each species.

Shape letters: b batch, f feature, k class.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from groundswell.core.errors import InputError
from groundswell.core.metrics import summary
from groundswell.pipelines.biodiversity.models.classifiers import FusionClassifier
from groundswell.pipelines.biodiversity.preprocess import Standardise
from groundswell.pipelines.biodiversity.recipe import BiodiversityRecipe
from groundswell.train.imbalance import class_loss
from groundswell.train.task import Batch, Export, Sums, Task

TOP = 5
EXPORTED = ("vision", "language", "place")
"""Modalities that an exported file can be given."""


class SpeciesTask(Task):
    """Pooling, scaling, network, loss and metrics of the species classifier.

    A batch has a field for each modality (``vision`` float32 (b, ..., 1408), ``language`` float32 (b, 7168), ``place``
    float64 (b, 4)) and ``label``.

    Args:
        recipe: the whole recipe.
        shapes: of one observation's vectors, by modality.
        classes: species, in label order.
        class_weights: float32 (k,), or ``None`` to weight all alike.

    Raises:
        InputError: the numbers of classes and weights differ, or there is no such modality.
    """

    class_weights: Tensor

    def __init__(self, recipe: BiodiversityRecipe, *, shapes: Mapping[str, tuple[int, ...]], classes: Sequence[str],
                 class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.recipe, self.classes, self.shapes = recipe, tuple(classes), dict(shapes)
        self.modalities = recipe.model.modalities
        self.standardise = Standardise({name: shapes[name][-1] for name in self.modalities if name != "place"},
                                       scaled=recipe.model.scaling == "feature")
        model = recipe.model
        widths = {name: shape[-1] for name, shape in self.shapes.items() if name != "place"}
        self.network = FusionClassifier(len(self.classes), self.modalities, hidden_dim=model.hidden_dim,
                                        encoder_dim=model.encoder_dim, place_size=model.place_size, widths=widths)
        weights = torch.ones(len(self.classes)) if class_weights is None else class_weights.to(torch.float32)
        if weights.shape != (len(self.classes),):
            raise InputError(f"{len(self.classes)} classes need as many class weights, not {tuple(weights.shape)}")
        # Follows from the labels of the training part; not something that was learnt.
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> tuple[Tensor, Sums]:
        """Loss and sums; see :class:`~groundswell.train.task.Task`."""
        label = batch["label"].clamp(min=0)
        weight = torch.where(batch["label"] >= 0, batch["weight"].float(), 0.0)
        logits = self.logits(batch)
        train = self.recipe.train
        losses = class_loss(logits, label, weights=self.class_weights,
                            focal_gamma=train.focal_gamma if train.use_focal_loss else None)
        count = (self.class_weights[label] * weight).sum()
        total = (losses * weight).sum()
        loss = total / count.clamp(min=torch.finfo(torch.float32).tiny)
        with torch.no_grad():
            classes = len(self.classes)
            best = logits.topk(min(TOP, classes), dim=1).indices
            confusion = torch.zeros(classes * classes, dtype=torch.float64, device=logits.device)
            confusion.index_add_(0, label * classes + best[:, 0], weight.double())
            among = (best == label[:, None]).any(dim=1)
            sums = {"loss_sum": total.detach().double(), "loss_weight": count.double(),
                    "top5_sum": (among.double() * weight.double()).sum(),
                    "confusion": confusion.reshape(classes, classes)}
        return loss, sums

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """``probability``, float32 (b, k)."""
        return {"probability": torch.softmax(self.logits(batch), dim=1)}

    def metrics(self, sums: Sums) -> dict[str, float]:
        """``loss``, ``accuracy`` (top-1), ``top5``, ``f1`` (macro, over the species that occur)."""
        confusion = sums["confusion"].cpu().numpy()
        count = max(float(confusion.sum()), float(np.finfo(np.float64).tiny))
        found = summary(confusion)
        loss = float(sums["loss_sum"] / sums["loss_weight"].clamp(min=torch.finfo(torch.float64).tiny))
        return {"loss": loss, "accuracy": float(np.nan_to_num(found["accuracy"])),
                "top5": float(sums["top5_sum"]) / count, "f1": float(np.nan_to_num(found["f1_macro"]))}

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Scores (b, k), float32, of vectors as read."""
        with torch.autocast(batch[self.modalities[0]].device.type, enabled=False), torch.no_grad():
            ready = self.standardise({name: batch[name] for name in self.modalities})
        logits: Tensor = self.network(ready)
        return logits.float()

    def export(self) -> Export:
        """The classifier with its pooling and scaling, from vectors as stored to probabilities.

        Raises:
            InputError: it sees a modality that was registered beside the three that files know.
        """
        unknown = [name for name in self.modalities if name not in EXPORTED]
        if unknown:
            raise InputError(f"A classifier that sees '{unknown[0]}' cannot be exported", where="model.modalities",
                             fix=f"Exported files know {', '.join(EXPORTED)}")
        generator = torch.Generator().manual_seed(0)
        inputs = {}
        for name in self.modalities:
            if name == "place":
                here_and_there = [[28.5, -81.5, 0.0, 2020.5], [28.4, -81.3, 0.0, 2021.1]]
                inputs[name] = torch.tensor(here_and_there, dtype=torch.float64)
            else:
                inputs[name] = torch.randn(2, *self.shapes[name], generator=generator)
        recipe = self.recipe
        facts: dict[str, Any] = {"pipeline": "biodiversity", "modalities": list(self.modalities),
                                 "classes": list(self.classes), "vision": recipe.data.vision,
                                 "shapes": {name: list(shape) for name, shape in self.shapes.items()},
                                 "scaling": recipe.model.scaling}
        module = Exported(copy.deepcopy(self)).cpu().eval()
        return Export(module, inputs, ("probability",), {name: {0: "batch"} for name in inputs}, facts)


class Exported(nn.Module):
    """A task as a plain module from vectors, by name, to probabilities."""

    def __init__(self, task: SpeciesTask) -> None:
        super().__init__()
        self.modalities, self.standardise, self.network = task.modalities, task.standardise, task.network

    def forward(self, vision: Tensor | None = None, language: Tensor | None = None,
                place: Tensor | None = None) -> Tensor:
        """Probabilities (b, k)."""
        given = {"vision": vision, "language": language, "place": place}
        ready = self.standardise({name: given[name] for name in self.modalities})
        return torch.softmax(self.network(ready).float(), dim=1)
