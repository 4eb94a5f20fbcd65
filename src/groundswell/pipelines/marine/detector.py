"""marine: what a detector is to everything else: one interface over the engines, and how it takes over weights.

Shape letters: b image, m box of the truth, q place or query of the network, c class, d channel.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from groundswell.core.errors import InputError

PADDING, IGNORED = -1, -2
"""Labels of rows that are no box, and of boxes that are neither animal nor background (crowds)."""
STRIDE = 32
"""Heights and widths of inputs are multiples of it."""


class Raw(NamedTuple):
    """What a network says before any threshold.

    Attributes:
        boxes: left, top, right, bottom as shares of the input, float32, (b, q, 4).
        scores: of each class on its own, 0 to 1, float32, (b, q, c).
    """

    boxes: Tensor
    scores: Tensor


class Engine(nn.Module, ABC):
    """A detector. Inputs are float32 (b, 3, h, w), RGB in 0..1, with h and w multiples of 32.

    Args:
        name: of the network, as in ``model.name``.
        classes: how many.

    Attributes:
        engine: which engine it is of.
        suppress: overlapping boxes of one class must be suppressed before the boxes are of use.
    """

    engine: ClassVar[str]
    suppress: ClassVar[bool]

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        self.name, self.classes = name, classes

    @abstractmethod
    def losses(self, x: Tensor, boxes: Tensor, label: Tensor, weight: Tensor,
               class_weight: Tensor | None = None) -> dict[str, Tensor]:
        """Terms of the loss, scalars by name; ``loss`` is their weighted sum, mean over the weighted images.

        Args:
            x: images, float32 (b, 3, h, w), 0..1.
            boxes: left, top, right, bottom as shares of the input, float32 (b, m, 4).
            label: int64 (b, m); -1 padding, -2 a region where nothing counts as background.
            weight: of each image, float32 (b,); all zero: the loss is zero and has gradients.
            class_weight: of each class, float32 (c,).
        """

    @abstractmethod
    def raw(self, x: Tensor) -> Raw:
        """Boxes and scores of images (b, 3, h, w) before any threshold; works under ``torch.export``."""

    @abstractmethod
    def backbone(self, x: Tensor) -> Tensor:
        """Last feature map (b, d, h / 32, w / 32)."""

    @abstractmethod
    def backbone_names(self) -> tuple[str, ...]:
        """What the keys of the backbone's part of the state dict begin with."""

    def features(self, x: Tensor) -> Tensor:
        """The last feature map's mean over space, (b, d)."""
        return self.backbone(x).mean((2, 3))

    def settled(self, x: Tensor) -> Tensor:
        """Images for which rounding cannot change which places of the network answer, bool (b,).

        Engines that pick places by score may, at a tie, answer with another weak box where numbers are rounded
        otherwise; such images are no measure of whether an exported file is true to the network.
        """
        return torch.ones(len(x), dtype=torch.bool, device=x.device)

    def losses_and_raw(self, x: Tensor, boxes: Tensor, label: Tensor, weight: Tensor,
                       class_weight: Tensor | None = None) -> tuple[dict[str, Tensor], Raw]:
        """Both for one batch, as validation asks for them; engines that can share the forward pass override it."""
        return self.losses(x, boxes, label, weight, class_weight), self.raw(x)

    def is_backbone(self, key: str) -> bool:
        """Whether a key of the state dict belongs to the backbone."""
        return key.startswith(self.backbone_names())


@dataclass(frozen=True)
class Arrival:
    """What became of weights that training was to start from.

    Attributes:
        matched: entries of the state dict that were taken over.
        backbone: how many of them are the backbone's.
        missing: entries of the network that were not among the weights; they stay as they are.
        unexpected: weights the network has no place for.
        reshaped: entries of another shape, such as the head of other classes; they stay as they are.
        hash: of the backbone as it is now, hex.
    """

    matched: int
    backbone: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]
    hash: str


def load_start(engine: Engine, state: Mapping[str, Tensor], *, kind: Literal["backbone", "detector"]) -> Arrival:
    """Take over weights; what has no counterpart stays as it was.

    Args:
        engine: whose weights are overwritten in place.
        state: tensors by the names of ``engine.state_dict()``.
        kind: ``backbone`` takes the backbone's alone, ``detector`` all that fit.

    Raises:
        InputError: not one entry of the backbone is among them, some have other shapes than the backbone's or are not
            finite; the network is then as it was.
    """
    mine = engine.state_dict()
    wanted = {key: value for key, value in mine.items() if kind == "detector" or engine.is_backbone(key)}
    found = {key: state[key] for key in wanted if key in state}
    fitting = {key: value for key, value in found.items() if value.shape == mine[key].shape}
    reshaped = tuple(key for key in found if key not in fitting)
    unlike = [key for key in reshaped if engine.is_backbone(key)]
    backbone = sum(engine.is_backbone(key) for key in fitting)
    if unlike or not backbone:
        why = "not one of its names is among them"
        if unlike:
            there, here = tuple(state[unlike[0]].shape), tuple(mine[unlike[0]].shape)
            why = f"'{unlike[0]}' has the shape {there} there and {here} here"
        raise InputError(f"These weights are not those of the backbone of {engine.name}: {why}", where="model.start",
                         fix="Start from weights of the same model.engine and model.name")
    bad = [key for key, value in fitting.items() if value.is_floating_point() and not bool(torch.isfinite(value).all())]
    if bad:
        raise InputError(f"Weights to start from are not finite: '{bad[0]}'", where="model.start",
                         fix="Start from intact weights")
    with torch.no_grad():
        for key, value in fitting.items():
            mine[key].copy_(value)
    return Arrival(len(fitting), backbone, tuple(key for key in wanted if key not in found),
                   tuple(key for key in state if key not in mine), reshaped, backbone_hash(engine))


def backbone_hash(engine: Engine) -> str:
    """Hash of the backbone's weights, hex: whether they arrived, and whether they have moved."""
    return state_hash((key, value) for key, value in engine.state_dict().items() if engine.is_backbone(key))


def state_hash(entries: Iterable[tuple[str, Tensor]]) -> str:
    """Hash of named tensors in the order of their names, hex (BLAKE2b, 16 bytes); counters of batches are left out."""
    digest = hashlib.blake2b(digest_size=16)
    for key, value in sorted(entries):
        if value.is_floating_point():
            digest.update(key.encode())
            digest.update(np.ascontiguousarray(value.detach().float().cpu().numpy()).tobytes())
    return digest.hexdigest()
