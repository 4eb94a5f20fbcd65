"""core: arithmetic of boxes: (n, 4) arrays of left, top, right, bottom, in pixels or in shares of an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.floating[Any]]


def area(boxes: Boxes) -> NDArray[np.float64]:
    """Areas, float64, (n,); a box turned inside out has none."""
    sides = np.clip(np.asarray(boxes, np.float64)[:, 2:] - np.asarray(boxes, np.float64)[:, :2], 0, None)
    found: NDArray[np.float64] = sides[:, 0] * sides[:, 1]
    return found


def iou(a: Boxes, b: Boxes, *, crowd: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Overlap of each of ``a`` (n, 4) with each of ``b`` (m, 4): intersection over union, float64, (n, m).

    Args:
        a: boxes.
        b: boxes.
        crowd: which of ``b`` are regions of many, (m,): with them the intersection is divided by the area of ``a``, as
            COCO has it.
    """
    a, b = np.asarray(a, np.float64).reshape(-1, 4), np.asarray(b, np.float64).reshape(-1, 4)
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inside = np.clip(high - low, 0, None).prod(axis=2)
    whole = area(a)[:, None] + area(b)[None, :] - inside
    if crowd is not None:
        whole = np.where(np.asarray(crowd, bool)[None, :], area(a)[:, None], whole)
    found: NDArray[np.float64] = np.divide(inside, whole, out=np.zeros_like(inside), where=whole > 0)
    return found


def clipped(boxes: Boxes, width: float, height: float) -> NDArray[np.float64]:
    """Boxes cut to an image of ``width`` by ``height``, float64, (n, 4)."""
    return np.clip(np.asarray(boxes, np.float64).reshape(-1, 4), 0, [width, height, width, height])


def from_corner_and_size(boxes: Boxes) -> NDArray[np.float64]:
    """COCO's left, top, width, height as left, top, right, bottom."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def from_centre_and_size(boxes: Boxes) -> NDArray[np.float64]:
    """Centre x, centre y, width, height as left, top, right, bottom."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)


def to_centre_and_size(boxes: Boxes) -> NDArray[np.float64]:
    """Left, top, right, bottom as centre x, centre y, width, height."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
