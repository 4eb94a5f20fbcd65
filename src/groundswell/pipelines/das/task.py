"""das: the task, from windows as read to loss, metrics and class probabilities.

Shape letters: b batch, t time sample, c channel, k class.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from groundswell.core.errors import InputError
from groundswell.pipelines.das.augment import augment, change_fibre, draw_starts
from groundswell.pipelines.das.models import build_model
from groundswell.pipelines.das.preprocess import Prepared, Preprocess, crop
from groundswell.pipelines.das.recipe import DasRecipe
from groundswell.train.imbalance import class_loss
from groundswell.train.task import Batch, Export, Sums, Task


class DasTask(Task):
    """Preprocessing, augmentation, network, loss and metrics of the DAS classifier.

    A batch has the fields of the window source (``x``, (b, window + 2 margin, c); ``first``, ``last``, ``spacing_m``)
    and ``label`` (int64, -1 unknown: such samples are predicted but teach and count nothing).

    Args:
        recipe: the whole recipe.
        channels: channels of the widest record; the seed's networks work on exactly so many.
        rate_hz: sampling rate of the records.
        spacing_m: channel spacing that the network learns at; 0 if unknown.
        classes: names, in label order.
        class_weights: float32 (k,), or ``None`` to weight all classes alike.

    Raises:
        InputError: preprocessing or network do not fit the windows.
    """

    class_weights: Tensor

    def __init__(self, recipe: DasRecipe, *, channels: int, rate_hz: float, spacing_m: float, classes: Sequence[str],
                 class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.recipe, self.classes = recipe, tuple(classes)
        self.channels, self.rate_hz, self.spacing_m = channels, float(rate_hz), float(spacing_m)
        self.samples = recipe.data.window_samples
        self.preprocess = Preprocess(recipe.preprocess, self.rate_hz, self.samples)
        self.any_fibre = recipe.model.type == "fibre_cnn"
        """Whether the network works on any number of channels."""
        self.network = build_model(recipe.model, self.preprocess.channels_out(channels), self.preprocess.samples_out,
                                   len(self.classes))
        weights = torch.ones(len(self.classes)) if class_weights is None else class_weights.to(torch.float32)
        if weights.shape != (len(self.classes),):
            raise InputError(f"{len(self.classes)} classes need as many class weights, not {tuple(weights.shape)}")
        # Follows from the labels of the training part; not something that was learnt.
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> tuple[Tensor, Sums]:
        """Loss and sums; see :class:`~groundswell.train.task.Task`."""
        logits = self._logits(batch, generator).float()
        label, weight = batch["label"], batch["weight"].float()
        weight = torch.where(label >= 0, weight, 0.0)
        label = label.clamp(min=0)
        train = self.recipe.train
        losses = class_loss(logits, label, weights=self.class_weights,
                            focal_gamma=train.focal_gamma if train.use_focal_loss else None)
        total, count = (losses * weight).sum(), (self.class_weights[label] * weight).sum()
        # Without a labelled sample the loss is zero and teaches nothing, but every process still takes part.
        loss = total / count.clamp(min=torch.finfo(torch.float32).tiny)
        with torch.no_grad():
            classes = len(self.classes)
            pair = label * classes + logits.argmax(dim=1)
            confusion = torch.zeros(classes * classes, dtype=torch.float64, device=logits.device)
            confusion.index_add_(0, pair, weight.double())
            sums = {"loss_sum": total.detach().double(), "loss_weight": count.double(),
                    "confusion": confusion.reshape(classes, classes)}
        return loss, sums

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """``probability``, float32 (b, k)."""
        return {"probability": torch.softmax(self._logits(batch, None).float(), dim=1)}

    def metrics(self, sums: Sums) -> dict[str, float]:
        """``loss``, ``accuracy`` and ``f1`` (mean over the classes that occur as truth or as answer)."""
        confusion = sums["confusion"].cpu().numpy()
        right, truth, answer = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
        occurs = truth + answer > 0
        f1 = 2 * right[occurs] / (truth + answer)[occurs]
        return {"loss": float(sums["loss_sum"] / sums["loss_weight"].clamp(min=torch.finfo(torch.float64).tiny)),
                "accuracy": float(right.sum() / max(confusion.sum(), 1e-12)),
                "f1": float(f1.mean()) if len(f1) else 0.0}

    def export(self) -> Export:
        """The network with its preprocessing, from windows as recorded to probabilities.

        Inputs: ``x`` float32 (b, t, c) and, where the network works on any fibre, ``spacing_m`` float32 (b,).
        """
        recipe = self.recipe
        x = torch.randn(2, self.samples, self.channels, generator=torch.Generator().manual_seed(0))
        inputs, dynamic = {"x": x}, {"x": {0: "batch"}}
        if self.any_fibre:
            inputs["spacing_m"] = torch.tensor([1.0, 1.5]) * self.spacing_m
            dynamic = {"x": {0: "batch", 2: "channel"}, "spacing_m": {0: "batch"}}
        facts: dict[str, Any] = {
            "pipeline": "das", "model": recipe.model.type, "classes": list(self.classes), "rate_hz": self.rate_hz,
            "window_samples": self.samples, "stride_samples": recipe.data.stride_samples, "spacing_m": self.spacing_m,
            "channels": None if self.any_fibre else self.channels,
            "least_channels": recipe.preprocess.average_channels,
            "preprocess": recipe.preprocess.model_dump(mode="json"),
        }
        module = _Exported(copy.deepcopy(self)).cpu().eval()
        return Export(module, inputs, ("probability",), dynamic, facts)

    def stretch(self, spacing_m: Tensor) -> Tensor:
        """Channel spacing over that trained at, 1 where either is unknown."""
        known = (spacing_m > 0) & (self.spacing_m > 0)
        return torch.where(known, spacing_m / (self.spacing_m or 1.0), 1.0)

    def classify(self, window: Prepared, stretch: Tensor) -> Tensor:
        """Logits (b, k) of prepared windows, their channel spacing given in units of that trained at."""
        if self.any_fibre:
            logits: Tensor = self.network(window, stretch)
        else:
            logits = self.network(window.x_bct)
        return logits

    def _logits(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        x = batch["x"]
        recipe = self.recipe.augment if self.recipe.augment.use_augmentation else None
        # Filters and scales stay in full precision, whatever the network runs in.
        with torch.autocast(x.device.type, enabled=False), torch.no_grad():
            margin = (x.shape[1] - self.samples) // 2
            start = None
            if generator is not None and recipe is not None and margin:
                start = draw_starts(recipe, batch["first"], batch["last"], margin, self.samples, generator)
            window: Prepared = self.preprocess(crop(x, self.samples, start))
            stretch = self.stretch(batch["spacing_m"])
            if generator is not None and recipe is not None:
                if self.any_fibre:
                    window = change_fibre(recipe, window, generator)
                window = augment(recipe, window, generator, in_place=True)
        return self.classify(window, stretch)


class _Exported(nn.Module):
    """What is written to a file: windows as recorded to probabilities."""

    def __init__(self, task: DasTask) -> None:
        super().__init__()
        self.task = task

    def forward(self, x: Tensor, spacing_m: Tensor | None = None) -> Tensor:
        stretch = x.new_ones(x.shape[0]) if spacing_m is None else self.task.stretch(spacing_m)
        return torch.softmax(self.task.classify(self.task.preprocess(x), stretch), dim=1)


class TaskPredictor:
    """A trained task as :class:`~groundswell.pipelines.das.predictor.Predictor`, through torch.

    Args:
        task: with trained weights; put into evaluation mode.
        description: one line for people: which model, from where.
        device: where to run it.
    """

    def __init__(self, task: DasTask, description: str, *, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.task = task.to(self.device).eval()
        self.description = description

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in label order."""
        return self.task.classes

    @property
    def window_samples(self) -> int:
        """Length of a window."""
        return self.task.samples

    @property
    def stride_samples(self) -> int:
        """Step between windows that it was trained with."""
        return self.task.recipe.data.stride_samples

    @property
    def rate_hz(self) -> float:
        """Sampling rate of what it is given."""
        return self.task.rate_hz

    @property
    def channels(self) -> int | None:
        """Channels it needs, ``None`` for any."""
        return None if self.task.any_fibre else self.task.channels

    @property
    def spacing_m(self) -> float:
        """Channel spacing it was trained with, 0 if unknown."""
        return self.task.spacing_m

    def predict(self, x: NDArray[np.float32], spacing_m: float) -> NDArray[np.float64]:
        """Probabilities (b, k), float64, of windows (b, t, c) as recorded."""
        with torch.inference_mode():
            window = torch.from_numpy(np.ascontiguousarray(x)).to(self.device)
            batch = {"x": window, "spacing_m": torch.full((len(x),), float(spacing_m), device=self.device)}
            probability = self.task.predict(batch)["probability"].double().cpu().numpy()
        total: NDArray[np.float64] = probability.sum(axis=1, keepdims=True)
        return np.asarray(probability / total, np.float64)
