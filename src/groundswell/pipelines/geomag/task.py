"""geomag: the task, from windows as read to loss, metrics and class probabilities.

Shape letters: b batch, m minute, k class.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from groundswell.core.errors import InputError
from groundswell.core.metrics import per_class, summary
from groundswell.pipelines.geomag.layout import MINUTES_A_DAY
from groundswell.pipelines.geomag.models import build_model
from groundswell.pipelines.geomag.preprocess import Preprocess
from groundswell.pipelines.geomag.recipe import GeomagRecipe
from groundswell.train.imbalance import class_loss
from groundswell.train.task import Batch, Export, Sums, Task


class GeomagTask(Task):
    """Preprocessing, network, loss and metrics of the classifier of windows.

    A batch has ``x``, float32 (b, m), and ``label``.

    Args:
        recipe: the whole recipe; its ``data.window`` says how long a window is.
        classes: names, in label order.
        class_weights: float32 (k,), or ``None`` to weight all classes alike.

    Raises:
        InputError: the numbers of classes and weights differ.
    """

    class_weights: Tensor

    def __init__(self, recipe: GeomagRecipe, *, classes: Sequence[str], class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.recipe, self.classes = recipe, tuple(classes)
        self.minutes = recipe.data.window * MINUTES_A_DAY
        self.preprocess = Preprocess(self.minutes, recipe.preprocess.detrend, recipe.preprocess.scaling)
        self.network = build_model(recipe.model, self.minutes, len(self.classes))
        weights = torch.ones(len(self.classes)) if class_weights is None else class_weights.to(torch.float32)
        if weights.shape != (len(self.classes),):
            raise InputError(f"{len(self.classes)} classes need as many class weights, not {tuple(weights.shape)}")
        # Follows from the labels of the training part; not something that was learnt.
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> tuple[Tensor, Sums]:
        """Loss and sums; see :class:`~groundswell.train.task.Task`.

        Windows that only fill up the last batch do not reach the network in training: batch normalisation would count
        them. A batch without two real windows teaches nothing.
        """
        label = batch["label"].clamp(min=0)
        weight = torch.where(batch["label"] >= 0, batch["weight"].float(), 0.0)
        x = batch["x"]
        if self.training:
            real = batch["weight"] > 0
            if int(real.sum()) < 2:
                nothing = sum(p.sum() for p in self.network.parameters() if p.requires_grad) * 0.0
                return torch.as_tensor(nothing), self._sums(x.new_zeros(0, len(self.classes)), label[:0], weight[:0])
            if not bool(real.all()):
                x, label, weight = x[real], label[real], weight[real]
        logits = self.logits(x)
        train = self.recipe.train
        losses = class_loss(logits, label, weights=self.class_weights,
                            focal_gamma=train.focal_gamma if train.use_focal_loss else None)
        count = (self.class_weights[label] * weight).sum()
        loss = (losses * weight).sum() / count.clamp(min=torch.finfo(torch.float32).tiny)
        with torch.no_grad():
            return loss, self._sums(logits, label, weight, losses)

    def _sums(self, logits: Tensor, label: Tensor, weight: Tensor, losses: Tensor | None = None) -> Sums:
        classes = len(self.classes)
        confusion = torch.zeros(classes * classes, dtype=torch.float64, device=logits.device)
        total = torch.zeros((), dtype=torch.float64, device=logits.device)
        if losses is not None:
            confusion.index_add_(0, label * classes + logits.argmax(dim=1), weight.double())
            total = (losses.detach() * weight).sum().double()
        return {"loss_sum": total, "loss_weight": (self.class_weights[label] * weight).sum().double(),
                "confusion": confusion.reshape(classes, classes)}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """``probability``, float32 (b, k)."""
        return {"probability": torch.softmax(self.logits(batch["x"]), dim=1)}

    def metrics(self, sums: Sums) -> dict[str, float]:
        """``loss``, ``accuracy``, ``f1`` (weighted), ``precision``, ``recall`` (weighted), ``specificity``, ``mcc``,
        ``balanced_accuracy``."""
        confusion = sums["confusion"].cpu().numpy()
        if not confusion.sum():
            confusion = confusion + 1e-12
        found = summary(confusion)
        specificity = per_class(confusion)["recall"][0]
        loss = float(sums["loss_sum"] / sums["loss_weight"].clamp(min=torch.finfo(torch.float64).tiny))
        return {"loss": loss, "accuracy": float(found["accuracy"]), "f1": float(found["f1_weighted"]),
                "precision": float(found["precision_weighted"]), "recall": float(found["recall_weighted"]),
                "specificity": float(specificity), "mcc": float(found["mcc"]),
                "balanced_accuracy": float(found["balanced_accuracy"])}

    def export(self) -> Export:
        """The network with its preprocessing, from windows in nT, float32 (b, m), to probabilities."""
        x = 100.0 * torch.randn(2, self.minutes, generator=torch.Generator().manual_seed(0))
        facts: dict[str, Any] = {"pipeline": "geomag", "model": self.recipe.model.type, "classes": list(self.classes),
                                 "window_days": self.recipe.data.window, "minutes": self.minutes,
                                 "preprocess": self.recipe.preprocess.model_dump(mode="json")}
        module = Exported(copy.deepcopy(self)).cpu().eval()
        return Export(module, {"x": x}, ("probability",), {"x": {0: "batch"}}, facts)

    def logits(self, x_bm: Tensor) -> Tensor:
        """Scores (b, k), float32, of windows as read."""
        # Fields of 50,000 nT lose their variations in half precision, whatever the network runs in.
        with torch.autocast(x_bm.device.type, enabled=False), torch.no_grad():
            x_bm = self.preprocess(x_bm)
        logits: Tensor = self.network(x_bm)
        return logits.float()


class Exported(nn.Module):
    """A task as a plain module from windows to probabilities."""

    def __init__(self, task: GeomagTask) -> None:
        super().__init__()
        self.task = task

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities (b, k) of windows (b, m)."""
        return torch.softmax(self.task.network(self.task.preprocess(x)).float(), dim=1)
