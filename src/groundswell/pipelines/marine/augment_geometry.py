"""marine: images moved, turned and put together, and their boxes with them.

A view is an image of the batch (or four, around a point where they meet) seen through a plane map. Pixels are taken
where the map says, all images of a batch at once; boxes go the other way by the same map. Coordinates are pixels, x to
the right and y down, the first pixel from 0 to 1. Shape letters: b image, m box, s of the four quarters.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from groundswell.pipelines.marine.detector import IGNORED, PADDING
from groundswell.pipelines.marine.letterbox import PADDING as GREY

LEAST_SHARE, LEAST_SIDE = 0.1, 2.0
"""A box of which a smaller share of its area stays in view is ignored, one with a shorter side is dropped."""


class Views(NamedTuple):
    """What each image of the new batch shows.

    Attributes:
        source: images of the old batch that it is made of, int64 (b, 4): left and right above, left and right below. A
            view that is not put together takes the first.
        joined: whether it is put together of four, bool (b,).
        meeting: where the four meet, relative to the middle of the view, (b, 2).
        map: from coordinates relative to the middle of what is seen to coordinates of the new image, (b, 3, 3), the
            last row so that its product with a point that can be seen is positive.
    """

    source: Tensor
    joined: Tensor
    meeting: Tensor
    map: Tensor


def shown(x: Tensor, views: Views, content: Tensor, size: tuple[int, int]) -> Tensor:
    """The pixels of views, bilinear; what no image covers is grey.

    Args:
        x: float32 (b, 3, h, w).
        views: what to show.
        content: part of each image that counts when it is joined to others, left, top, right, bottom, (b, 4).
        size: height and width of the new images.
    """
    count, channels, height, width = x.shape
    rows, columns = size
    at_x, at_y, ahead = _plane(torch.linalg.inv(views.map), rows, columns)
    at_x, at_y = at_x - views.meeting[:, 0, None, None], at_y - views.meeting[:, 1, None, None]
    quarter = (((at_x >= 0).long() + 2 * (at_y >= 0).long()) * views.joined[:, None, None]).flatten(1)
    corner, inside = _quarters(views, content, height, width)
    # The images below each other are one tall one, from which all views are taken at once.
    down = views.source * height
    x_from, y_from, left, top, right, bottom = (
        table.gather(1, quarter).view_as(at_x) for table in (
            corner[..., 0], corner[..., 1] + down, inside[..., 0], inside[..., 1] + down, inside[..., 2],
            inside[..., 3] + down))
    at_x, at_y = at_x + x_from, at_y + y_from
    covered = (at_x >= left) & (at_x <= right) & (at_y >= top) & (at_y <= bottom) & ahead
    at_x = torch.minimum(torch.maximum(at_x, left + 0.5), right - 0.5)
    at_y = torch.minimum(torch.maximum(at_y, top + 0.5), bottom - 0.5)
    grid = torch.stack([at_x * (2 / width) - 1, at_y * (2 / (count * height)) - 1], -1)
    tall = x.transpose(0, 1).reshape(1, channels, count * height, width)
    found = grid_sample(tall, grid.view(1, count * rows, columns, 2), align_corners=False)
    found = found.view(channels, count, rows, columns).transpose(0, 1)
    return torch.where(covered[:, None], found, GREY / 255)


def _plane(back: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where the pixels of the new images lie, relative to the middle of what is seen: x, y (b, rows, columns), and
    whether that is before the horizon."""
    x = (torch.arange(columns, device=back.device) + 0.5)[None, None, :]
    y = (torch.arange(rows, device=back.device) + 0.5)[None, :, None]
    first, second, third = (
        back[:, row, 0, None, None] * x + back[:, row, 1, None, None] * y + back[:, row, 2, None, None]
        for row in range(3))
    ahead = third > 1e-6
    third = third.clamp(min=1e-6)
    return first / third, second / third, ahead


def _quarters(views: Views, content: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Of each quarter of each view: the point of its image that is at the meeting, (b, 4, 2), and the part of its image
    that counts, (b, 4, 4). A view that is not joined has one quarter, the first, met in the image's middle."""
    inside = content[views.source]
    corner = torch.stack([inside[:, [0, 1, 2, 3], [2, 0, 2, 0]], inside[:, [0, 1, 2, 3], [3, 3, 1, 1]]], -1)
    joined = views.joined[:, None, None]
    middle, whole = content.new_tensor([width / 2, height / 2]), content.new_tensor([0.0, 0.0, width, height])
    return torch.where(joined, corner, middle), torch.where(joined, inside, whole)


def moved(boxes: Tensor, label: Tensor, views: Views, content: Tensor, old: tuple[int, int],
          new: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The boxes of what views show: around the corners of a box as it was, where those come to lie, cut to the image.

    Args:
        boxes: in pixels of the old images, (b, m, 4).
        label: (b, m); -1 padding, -2 ignored.
        views: what is shown.
        content: see :func:`shown`.
        old, new: height and width.

    Returns:
        boxes (b, n, 4) and labels (b, n), padding last, n as small as it can be and 1 at least.
    """
    corner, inside = _quarters(views, content, *old)
    taken, label = boxes[views.source], label[views.source]  # (b, 4, m, 4)
    none = (label == PADDING) | (~views.joined[:, None] & (torch.arange(4, device=label.device) > 0))[..., None]
    low = torch.maximum(taken[..., :2], inside[..., None, :2])
    high = torch.minimum(taken[..., 2:], inside[..., None, 2:])
    none |= (high <= low).any(-1)
    shift = views.meeting[:, None, None] - corner[:, :, None]
    cut = torch.cat([low + shift, high + shift], -1).flatten(1, 2)
    corners = torch.stack([cut[..., [0, 1]], cut[..., [2, 1]], cut[..., [2, 3]], cut[..., [0, 3]]], -2)  # (b, n, 4, 2)
    mapped = torch.einsum("bij,bnkj->bnki", views.map, torch.nn.functional.pad(corners, (0, 1), value=1.0))
    placed = mapped[..., :2] / mapped[..., 2:].clamp(min=1e-6)
    full = torch.cat([placed.amin(-2), placed.amax(-2)], -1)
    return kept(full, torch.where(none, PADDING, label).flatten(1), new)


def kept(full: Tensor, label: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Boxes cut to images of a size, those of which little is left ignored, for that is neither animal nor background,
    and those that are hardly there dropped; padding last, and as little of it as can be."""
    height, width = size
    edge = full.new_tensor([width, height, width, height])
    cut = torch.minimum(full.clamp(min=0), edge)
    sides, sides_before = cut[..., 2:] - cut[..., :2], full[..., 2:] - full[..., :2]
    there = (sides >= LEAST_SIDE).all(-1) & (label != PADDING)
    enough = sides.prod(-1) >= LEAST_SHARE * sides_before.prod(-1)
    return compact(cut, torch.where(there, torch.where(enough, label, IGNORED), PADDING))


def compact(boxes: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes (b, n, 4), zero where there is none, and labels (b, n), padding last and as little of it as can be."""
    gone = label == PADDING
    most = max(1, int((~gone).sum(1).max()))
    order = gone.long().argsort(dim=1, stable=True)[:, :most]
    label = label.gather(1, order)
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    return torch.where((label == PADDING)[..., None], 0.0, boxes), label
