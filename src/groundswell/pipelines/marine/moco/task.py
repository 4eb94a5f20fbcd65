"""marine: the task of pretraining: MoCo v3 on a detector's own backbone, symmetric and without a queue.

Chen, Xie and He, "An empirical study of training self-supervised vision transformers", ICCV 2021 (arXiv 2104.02057).
Shape letters: b image, d number of a vector.
"""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundswell.core.optional import require
from groundswell.pipelines.marine.detector import Engine
from groundswell.pipelines.marine.moco.loss import contrast, gather
from groundswell.pipelines.marine.moco.views import two_views
from groundswell.pipelines.marine.recipe import PretrainRecipe
from groundswell.train.task import Batch, Sums, Task

PURPOSE = "Self-supervised pretraining"
_FIXED = 0


class MocoTask(Task):
    """Teaches a backbone to know an image again in two different views of it.

    A batch has ``image`` uint8 (b, 3, s, s) and ``placed`` (b, 5), as
    :class:`~groundswell.pipelines.marine.source.DetectionSource` delivers them; boxes are not looked at. The queries
    are of the network that learns, the keys of a second one whose weights follow it ever more slowly. In validation the
    views are the same each time.

    Args:
        engine: the detector; what is not its backbone stays as it is.
        recipe: of pretraining.
        steps: batches of the whole training, over which the momentum rises to 1.

    Raises:
        MissingExtraError: lightly is not installed.
    """

    lower_is_better: ClassVar[frozenset[str]] = frozenset({"loss"})

    def __init__(self, engine: Engine, recipe: PretrainRecipe, steps: int) -> None:
        super().__init__()
        self.recipe, self.steps = recipe, steps
        self.engine = engine
        for name, parameter in engine.named_parameters():
            parameter.requires_grad_(engine.is_backbone(name))
        heads = require("lightly.models.modules.heads", extra="marine", purpose=PURPOSE)
        short, long = recipe.projection_dim, recipe.hidden_dim
        self.projection: nn.Module = heads.MoCoProjectionHead(width_of(engine), long, short, 2, batch_norm=True)
        self.prediction: nn.Module = heads.MoCoProjectionHead(short, long, short, 2, batch_norm=True)
        self.slow_engine, self.slow_projection = copy.deepcopy(engine), copy.deepcopy(self.projection)
        for module in (self.slow_engine, self.slow_projection):
            module.requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.updates: Tensor

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> tuple[Tensor, Sums]:
        """Loss and sums; see :class:`~groundswell.train.task.Task`. In training the slow network first takes its step
        towards the weights as the last step left them."""
        weight, device = batch["weight"].float(), batch["weight"].device
        chance = generator or torch.Generator(device).manual_seed(_FIXED)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            views = two_views(batch["image"].float() / 255, _inside(batch), self.recipe, chance)
            if self.training:
                self._follow()
        queries = [self.prediction(self.projection(self.engine.features(view))) for view in views]
        with torch.no_grad():
            keys = [gather(self.slow_projection(self.slow_engine.features(view)), weight) for view in views]
        found = [contrast(query, key, weight, self.recipe.temperature)
                 for query, key in zip(queries, reversed(keys), strict=True)]
        each = (found[0][0] + found[1][0]) / 2
        loss = (each * weight).sum() / weight.sum().clamp(min=torch.finfo(torch.float32).tiny)
        with torch.no_grad():
            count = weight.double().sum()
            right = (found[0][1].double() + found[1][1].double()) / 2
            sums = {"count": count, "loss": (each.double() * weight).sum(), "right": (right * weight).sum(),
                    "spread": _spread(queries[0][weight > 0]) * count}
        return loss, sums

    def _follow(self) -> None:
        tools = require("lightly.models.utils", extra="marine", purpose=PURPOSE)
        momentum = momentum_at(int(self.updates), self.steps, self.recipe.momentum)
        tools.update_momentum(self.engine, self.slow_engine, momentum)
        tools.update_momentum(self.projection, self.slow_projection, momentum)
        self.updates += 1

    def metrics(self, sums: Sums) -> dict[str, float]:
        """``loss``; ``right``, the share of views whose partner is the nearest of all; ``spread``, 1 for vectors that
        point everywhere and 0 for a network that has collapsed; ``steps``, which only ever grows: the last weights are
        the best ones, as nothing that pretraining could measure says which would serve a detector best."""
        count = float(sums["count"].clamp(min=1e-12))
        return {**{name: float(sums[name]) / count for name in ("loss", "right", "spread")},
                "steps": float(self.updates)}

    @torch.no_grad()
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """``features``: the pooled last feature map of the network that learns, float32 (b, d)."""
        return {"features": self.engine.features(batch["image"].float() / 255).float()}

    def backbone_state(self) -> dict[str, Tensor]:
        """Weights of the backbone that learns, by the detector's own names."""
        return {name: value.detach().cpu().clone() for name, value in self.engine.state_dict().items()
                if self.engine.is_backbone(name)}


def momentum_at(step: int, steps: int, first: float) -> float:
    """Momentum of the slow network at a step from 0: from ``first`` along half a cosine to 1 at the last one."""
    schedule = require("lightly.utils.scheduler", extra="marine", purpose=PURPOSE)
    return float(schedule.cosine_schedule(min(step, steps - 1), steps, first, 1.0))


def width_of(engine: Engine) -> int:
    """Length of an engine's pooled features."""
    was = engine.training
    engine.eval()
    with torch.no_grad():
        width = engine.features(torch.zeros(1, 3, 64, 64)).shape[1]
    engine.train(was)
    return int(width)


def _inside(batch: Batch) -> Tensor:
    """The part of each input that the image fills, left, top, right, bottom in pixels, (b, 4)."""
    ratio, left, top, width, height = batch["placed"].float().unbind(1)
    return torch.stack([left, top, left + (width * ratio).round().clamp(min=1),
                        top + (height * ratio).round().clamp(min=1)], 1)


def _spread(vectors: Tensor) -> Tensor:
    """Mean standard deviation of the numbers of unit vectors, times the root of their length."""
    if len(vectors) < 2:
        return torch.zeros((), dtype=torch.float64, device=vectors.device)
    unit = F.normalize(vectors.double(), dim=1)
    spread: Tensor = unit.std(0).mean() * unit.shape[1] ** 0.5
    return spread
