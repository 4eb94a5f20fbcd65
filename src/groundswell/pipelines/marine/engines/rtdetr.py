"""marine: the engine rtdetr: RT-DETRv2 through transformers (Lv et al. 2024, arXiv 2407.17140), trained from chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from groundswell.pipelines.marine.detector import Engine, Raw
from groundswell.pipelines.marine.engines.rtdetr_loss import Pairs, Truth, corners, criterion, learnt, truth_of
from groundswell.pipelines.marine.engines.rtdetr_shapes import network, shape_of

ANCHOR = 0.05
"""Edge of the boxes that queries of the finest level start from, as a share of the input; twice that on each next."""
MARGIN = 0.01
"""Centres and edges nearer to 0 or 1 than this are no place to start from."""
CLASS_NOISE, BOX_NOISE = 0.5, 1.0


class Looked(NamedTuple):
    """What the encoder sees: t tokens on three levels.

    Attributes:
        memory: what the decoder looks at, (b, t, d).
        shapes: heights and widths of the levels.
        places: logits of the boxes that tokens start from, (1, t, 4), centre form.
        tokens: what queries are made of, (b, t, d).
        logits: of each class, (b, t, c).
        best: of the likeliest class, (b, t), far below all others where no box can start.
    """

    memory: Tensor
    shapes: list[tuple[int, int]]
    places: Tensor
    tokens: Tensor
    logits: Tensor
    best: Tensor


class Chosen(NamedTuple):
    """The tokens that became queries: content (b, q, d), logits of boxes (b, q, 4), logits of classes (b, q, c)."""

    memory: Tensor
    shapes: list[tuple[int, int]]
    content: Tensor
    start: Tensor
    logits: Tensor


def logit(share: Tensor) -> Tensor:
    """Logit of shares, kept finite."""
    share = share.clamp(1e-5, 1 - 1e-5)
    return torch.log(share / (1 - share))


def anchors(shapes: Sequence[tuple[int, int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Where boxes start: logits of centre, width and height, (1, tokens, 4); and which are usable, (1, tokens, 1)."""
    found = []
    for level, (height, width) in enumerate(shapes):
        y, x = torch.meshgrid((torch.arange(height, device=device) + 0.5) / height,
                              (torch.arange(width, device=device) + 0.5) / width, indexing="ij")
        edge = torch.full_like(x, ANCHOR * 2 ** level)
        found.append(torch.stack([x, y, edge, edge], -1).reshape(1, height * width, 4))
    places = torch.cat(found, 1)
    usable = ((places > MARGIN) & (places < 1 - MARGIN)).all(-1, keepdim=True)
    return logit(places), usable


def _sight(groups: int, each: int, queries: int, device: torch.device) -> Tensor:
    """What is added to attention, (n + q, n + q): a group sees itself and the queries, the queries only themselves."""
    group = torch.arange(groups, device=device).repeat_interleave(each)
    group = torch.cat([group, torch.full((queries,), groups, device=device)])
    blind = (group[:, None] != group[None, :]) & (group[None, :] != groups)
    return torch.zeros(blind.shape, device=device).masked_fill(blind, -torch.inf)


class RtDetr(Engine):
    """RT-DETRv2: a ResNet, an encoder of three levels, and a decoder that refines the best of its tokens.

    Args:
        name: rtdetrv2_nano, _r18, _r34, _r50 or _r101.
        classes: how many.
        options: fields of :class:`~groundswell.pipelines.marine.engines.rtdetr_shapes.Shape` that shall differ.

    Raises:
        InputError: there is no such network.
        MissingExtraError: transformers is not installed.
    """

    engine = "rtdetr"
    # Queries learn late not to answer twice: on simulated clips a small network had 0.44 instead of 0.38, and 0.60
    # instead of 0.51 of mAP50 with the weaker of two boxes of a class dropped from an overlap of 0.7 on.
    suppress = True

    def __init__(self, name: str, classes: int, **options: Any) -> None:
        super().__init__(name, classes)
        self.shape = shape_of(name, **options)
        self.model: Any = network(self.shape, classes)

    # -- what it sees ------------------------------------------------------------------------------------------------

    def _levels(self, x: Tensor) -> list[Tensor]:
        return list(self.model.backbone.model(x).feature_maps)

    def backbone(self, x: Tensor) -> Tensor:
        """Last feature map, (b, d, h/32, w/32), of images (b, 3, h, w) in 0..1."""
        return self._levels(x)[-1]

    def backbone_names(self) -> tuple[str, ...]:
        """Prefixes of the state dict's keys that are the backbone's."""
        return ("model.backbone.",)

    def _looked(self, x: Tensor) -> Looked:
        levels = [project(level) for project, level in zip(self.model.encoder_input_proj, self._levels(x), strict=True)]
        levels = self.model.encoder(levels).last_hidden_state
        levels = [project(level) for project, level in zip(self.model.decoder_input_proj, levels, strict=True)]
        shapes = [(int(level.shape[2]), int(level.shape[3])) for level in levels]
        memory = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], 1)
        places, usable = anchors(shapes, x.device)
        tokens = self.model.enc_output(memory * usable.to(memory.dtype))
        logits = self.model.enc_score_head(tokens)
        best = logits.detach().amax(-1).masked_fill(~usable[..., 0], -1e4)
        return Looked(memory, shapes, places, tokens, logits, best)

    def _choose(self, x: Tensor) -> Chosen:
        seen = self._looked(x)
        count = min(self.shape.queries, seen.best.shape[1])
        # Queries are a set. In the order of their places, exported graphs that round otherwise list them alike.
        query = torch.topk(seen.best, count, dim=1).indices.sort(dim=1).values.unsqueeze(-1)
        content = seen.tokens.gather(1, query.expand(-1, -1, seen.tokens.shape[-1]))
        places = seen.places.expand(x.shape[0], -1, -1).gather(1, query.expand(-1, -1, 4))
        return Chosen(seen.memory, seen.shapes, content, self.model.enc_bbox_head(content) + places,
                      seen.logits.gather(1, query.expand(-1, -1, self.classes)))

    @torch.no_grad()
    def settled(self, x: Tensor, margin: float = 1e-4) -> Tensor:
        """See :meth:`Engine.settled`: the last token that became a query leads the first that did not by ``margin``."""
        best = self._looked(x).best
        if best.shape[1] <= self.shape.queries:
            return torch.ones(len(best), dtype=torch.bool, device=best.device)
        edge = torch.topk(best, self.shape.queries + 1, dim=1).values[:, -2:]
        return edge[:, 0] - edge[:, 1] > margin

    def _decode(self, chosen: Chosen, content: Tensor, start: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Logits (layers, b, q, c) and boxes (layers, b, q, 4), centre form, of each layer of the decoder."""
        # Only checked; plain numbers, for exporters cannot follow a check of tensors.
        levels = np.array(chosen.shapes, dtype=object)
        out = self.model.decoder(
            inputs_embeds=content, encoder_hidden_states=chosen.memory, encoder_attention_mask=mask,
            reference_points=start, spatial_shapes=levels, spatial_shapes_list=chosen.shapes, level_start_index=None)
        return out.intermediate_logits.transpose(0, 1), out.intermediate_reference_points.transpose(0, 1)

    def raw(self, x: Tensor) -> Raw:
        """Boxes (b, q, 4), left, top, right, bottom as shares, and sigmoid scores (b, q, c) before any threshold."""
        chosen = self._choose(x)
        logits, boxes = self._decode(chosen, chosen.content, chosen.start, None)
        return Raw(corners(boxes[-1]).clamp(0, 1), logits[-1].sigmoid())

    # -- what it learns from -----------------------------------------------------------------------------------------

    def _noised(self, truth: Truth, queries: int) -> tuple[Tensor, Tensor, Tensor, Pairs, Tensor]:
        """True boxes moved by chance as queries of their own (Zhang et al. 2022, arXiv 2203.03605).

        Each group holds every box twice: moved by less than half its size, which is to find back, and by up to its
        size, which is to be no box.

        Returns:
            content (b, n, d), start (b, n, 4) logits, which queries see which (n + q, n + q) to be added, pairs for one
            layer, weights as false alarms (1, b, n).
        """
        batch, most = truth.label.shape
        groups = max(1, self.shape.denoising // most)
        size, device = (batch, groups, 2, most), truth.boxes.device
        far = torch.tensor([0.0, 1.0], device=device).view(1, 1, 2, 1, 1)
        sign = torch.randint(0, 2, (*size, 4), device=device) * 2.0 - 1
        half = BOX_NOISE / 2 * truth.boxes[:, None, None, :, 2:].repeat(1, 1, 1, 1, 2)
        shift = (torch.rand(*size, 4, device=device) + far) * sign * half
        moved = (corners(truth.boxes)[:, None, None] + shift).clamp(0, 1)
        start = logit(torch.cat([(moved[..., :2] + moved[..., 2:]) / 2, moved[..., 2:] - moved[..., :2]], -1))
        wrong = torch.rand(size, device=device) < CLASS_NOISE / 2
        label = torch.where(wrong, torch.randint(0, self.classes, size, device=device), truth.label[:, None, None])
        there = truth.there[:, None, None].expand(size)
        content = self.model.denoising_class_embed(torch.where(there, label, self.classes)).flatten(1, 3)
        near = torch.zeros(size, dtype=torch.bool, device=device)
        near[:, :, 0] = True
        image, group, _, box = (near & there).nonzero(as_tuple=True)
        pairs = Pairs(torch.zeros_like(image), image, group * 2 * most + box, box)
        judge = (truth.image[:, None, None, None] * there).flatten(1)[None]
        return content, start.flatten(1, 3), _sight(groups, 2 * most, queries, device), pairs, judge

    def losses(self, x: Tensor, boxes: Tensor, label: Tensor, weight: Tensor,
               class_weight: Tensor | None = None) -> dict[str, Tensor]:
        """See :meth:`Engine.losses`. Terms: class, box, overlap (of the encoder's choice and all layers), denoising.

        Sums over boxes are divided by their number in the batch (weighted, at least 1), as published.
        """
        return self._learnt(x, truth_of(boxes, label, weight, class_weight))[0]

    def losses_and_raw(self, x: Tensor, boxes: Tensor, label: Tensor, weight: Tensor,
                       class_weight: Tensor | None = None) -> tuple[dict[str, Tensor], Raw]:
        """See :meth:`Engine.losses_and_raw`; one forward pass gives both."""
        return self._learnt(x, truth_of(boxes, label, weight, class_weight))

    def _learnt(self, x: Tensor, truth: Truth) -> tuple[dict[str, Tensor], Raw]:
        chosen = self._choose(x)
        content, start, mask, first = chosen.content.detach(), chosen.start.detach(), None, 0
        noised = None
        if self.training and self.shape.denoising and truth.label.shape[1]:
            noised = self._noised(truth, content.shape[1])
            content, start, mask = torch.cat([noised[0], content], 1), torch.cat([noised[1], start], 1), noised[2]
            first = noised[0].shape[1]
        logits, places = self._decode(chosen, content, start, mask)
        logits, places = logits.float(), places.float()
        own = torch.cat([chosen.logits.float()[None], logits[:, :, first:]])
        where = torch.cat([chosen.start.float().sigmoid()[None], places[:, :, first:]])
        terms = learnt(own, where, truth)
        found = dict(zip(("class", "box", "overlap"), terms, strict=True))
        found["denoising"] = self._denoising(logits[:, :, :first], places[:, :, :first], truth, noised)
        raw = Raw(corners(where[-1].detach()).clamp(0, 1), own[-1].detach().sigmoid())
        return {"loss": torch.stack(list(found.values())).sum(), **found}, raw

    def _denoising(self, logits: Tensor, boxes: Tensor, truth: Truth,
                   noised: tuple[Tensor, Tensor, Tensor, Pairs, Tensor] | None) -> Tensor:
        if noised is None:
            # The embedding takes part all the same: processes that share gradients wait for each other's.
            return self.model.denoising_class_embed.weight.sum() * 0 if self.shape.denoising else logits.new_zeros(())
        layers, pairs = len(logits), noised[3]
        number = truth.number * (logits.shape[2] // (2 * truth.label.shape[1]))
        layer = torch.arange(layers, device=logits.device).repeat_interleave(len(pairs.image))
        every = Pairs(layer, pairs.image.repeat(layers), pairs.query.repeat(layers), pairs.box.repeat(layers))
        judge = noised[4].expand(layers, -1, -1)
        return torch.stack(criterion(logits, boxes, truth, every, judge, number)).sum()


def build(name: str, classes: int, **options: Any) -> Engine:
    """See :class:`RtDetr`."""
    return RtDetr(name, classes, **options)
