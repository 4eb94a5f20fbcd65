"""marine: what RT-DETRv2 learns from: truth matched to queries one to one, in all layers at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from groundswell.pipelines.marine.detector import IGNORED

CLASS_COST, BOX_COST, OVERLAP_COST = 2.0, 5.0, 2.0
BOX_WEIGHT, OVERLAP_WEIGHT = 5.0, 2.0
ALPHA, GAMMA = 0.75, 2.0
MATCH_ALPHA, MATCH_GAMMA = 0.25, 2.0
COVERED = 0.5
"""Share of a query's box inside an ignored box from which it is no false alarm."""


@dataclass(frozen=True)
class Truth:
    """Boxes of a batch, those of an image first in its row.

    Attributes:
        boxes: (b, m, 4), centre x, centre y, width, height, shares of the input.
        label: (b, m) int64, 0 where there is none.
        there: (b, m) bool.
        gain: (b, m) float32, how much a box counts: weight of its image times weight of its class.
        image: (b,) float32, weights of the images.
        ignored: (b, k, 4) left, top, right, bottom of regions where nothing is a false alarm; empty ones are nowhere.
        number: boxes, each by its image's weight, at least one: what sums are divided by.
    """

    boxes: Tensor
    label: Tensor
    there: Tensor
    gain: Tensor
    image: Tensor
    ignored: Tensor
    number: float


@dataclass(frozen=True)
class Pairs:
    """Which box of which image belongs to which query in which layer; index arrays (n,), int64."""

    layer: Tensor
    image: Tensor
    query: Tensor
    box: Tensor


def _first(boxes: Tensor, label: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The wanted boxes of each image moved to the front of its row, and rows cut to the fullest one's."""
    most = int(wanted.sum(1).max()) if wanted.numel() else 0
    order = torch.argsort(wanted.to(torch.int8), dim=1, descending=True, stable=True)[:, :most]
    return (boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 4)), label.gather(1, order), wanted.gather(1, order))


def truth_of(boxes: Tensor, label: Tensor, weight: Tensor, class_weight: Tensor | None) -> Truth:
    """Sort out a batch: (b, m, 4) left, top, right, bottom as shares; (b, m), -1 padding, -2 ignored; (b,); (c,)."""
    boxes, weight = boxes.float(), weight.float()
    inside, labels, there = _first(boxes, label, label >= 0)
    ignored, _, real = _first(boxes, label, label == IGNORED)
    labels = torch.where(there, labels, 0)
    centred = torch.cat([(inside[..., :2] + inside[..., 2:]) / 2, inside[..., 2:] - inside[..., :2]], -1)
    gain = weight.unsqueeze(1) * there
    number = max(float(gain.sum()), float(weight.max()), 1e-9)
    if class_weight is not None:
        gain = gain * class_weight.float()[labels]
    return Truth(centred * there.unsqueeze(-1), labels, there, gain, weight, ignored * real.unsqueeze(-1), number)


def corners(boxes: Tensor) -> Tensor:
    """Centre x, centre y, width, height as left, top, right, bottom, (..., 4)."""
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], -1)


def overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, and its generalisation (Rezatofighi et al. 2019), of corner boxes (..., 4)."""
    area_a = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])
    area_b = (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    inside = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    around = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    union = area_a + area_b - inside
    share = inside / union.clamp(min=1e-9)
    return share, share - (around - union) / around.clamp(min=1e-9)


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, truth: Truth) -> Pairs:
    """The cheapest one-to-one pairs of queries and boxes in each layer (Carion et al. 2020, arXiv 2005.12872).

    Args:
        logits: (layers, b, q, c).
        boxes: (layers, b, q, 4), centre form.
        truth: of the batch.
    """
    layers, _, queries = logits.shape[:3]
    score = logits.sigmoid().gather(3, truth.label[None, :, None, :].expand(layers, -1, queries, -1))
    yes = MATCH_ALPHA * (1 - score) ** MATCH_GAMMA * -(score + 1e-8).log()
    no = (1 - MATCH_ALPHA) * score ** MATCH_GAMMA * -(1 - score + 1e-8).log()
    wanted = truth.boxes[None, :, None]
    far = (boxes.unsqueeze(3) - wanted).abs().sum(-1)
    _, overlap = overlaps(corners(boxes).unsqueeze(3), corners(wanted))
    cost = CLASS_COST * (yes - no) + BOX_COST * far - OVERLAP_COST * overlap
    # A network that has gone astray shall show in its loss, not stop here.
    table = np.nan_to_num(cost.cpu().numpy(), nan=1e6, posinf=1e6, neginf=1e6)
    counts = truth.there.sum(1).tolist()
    found = []
    for image, count in enumerate(counts):
        for layer in range(layers if count else 0):
            query, box = linear_sum_assignment(table[layer, image, :, :count])
            found.append(np.stack([np.full(len(query), layer), np.full(len(query), image), query, box]))
    pairs = np.concatenate(found, axis=1) if found else np.zeros((4, 0), np.int64)
    return Pairs(*torch.from_numpy(pairs.astype(np.int64)).to(logits.device))


def judged(boxes: Tensor, truth: Truth) -> Tensor:
    """How much each query counts where it is no one's, (layers, b, q): its image's weight, 0 in ignored regions."""
    weight = truth.image[None, :, None].expand(boxes.shape[:3])
    if not truth.ignored.shape[1]:
        return weight
    own, regions = corners(boxes.detach()).unsqueeze(3), truth.ignored[None, :, None]
    inside = (torch.minimum(own[..., 2:], regions[..., 2:]) - torch.maximum(own[..., :2], regions[..., :2]))
    area = (own[..., 2:] - own[..., :2]).prod(-1).clamp(min=1e-9)
    return weight * ((inside.clamp(min=0).prod(-1) / area).amax(-1) <= COVERED)


def criterion(logits: Tensor, boxes: Tensor, truth: Truth, pairs: Pairs, judge: Tensor, number: float
              ) -> tuple[Tensor, Tensor, Tensor]:
    """Losses of class, place and overlap, weighted, summed over layers and divided by ``number``.

    The class is learnt by the varifocal loss (Zhang et al. 2021, arXiv 2008.13367): a matched query shall score its
    overlap with its box, all others 0, these weighted by how sure they are.

    Args:
        logits: (layers, b, q, c).
        boxes: (layers, b, q, 4), centre form.
        truth: of the batch.
        pairs: who belongs together.
        judge: (layers, b, q), weights of queries as false alarms.
        number: what the sums are divided by.
    """
    place = (pairs.layer, pairs.image, pairs.query)
    own, wanted = boxes[place], truth.boxes[pairs.image, pairs.box]
    gain, label = truth.gain[pairs.image, pairs.box], truth.label[pairs.image, pairs.box]
    share, general = overlaps(corners(own), corners(wanted))
    share = share.detach().clamp(0, 1)
    target = torch.zeros_like(logits)
    target[(*place, label)] = share
    with torch.no_grad():
        # A matched query is no false alarm of other classes where something else was to be ignored: it is judged whole.
        heed = judge.clone()
        heed[place] = gain
        weight = ALPHA * logits.sigmoid() ** GAMMA * heed.unsqueeze(-1)
        weight[(*place, label)] = share * gain
    scored = functional.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="sum")
    near = ((own - wanted).abs().sum(-1) * gain).sum()
    whole = ((1 - general) * gain).sum()
    return scored / number, BOX_WEIGHT * near / number, OVERLAP_WEIGHT * whole / number


def learnt(logits: Tensor, boxes: Tensor, truth: Truth) -> Tensor:
    """Losses of class, place and overlap of queries that are matched one to one, (3,); shapes as in :func:`match`."""
    pairs = match(logits, boxes, truth)
    return torch.stack(criterion(logits, boxes, truth, pairs, judged(boxes, truth), truth.number))
