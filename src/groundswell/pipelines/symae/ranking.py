"""symae: which pixels of an event say most of its source, with the size of their bags taken out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from groundswell.data.order import permutations
from groundswell.pipelines.symae.trained import AnyTask, read_sources

DRAWS = 8
"""Times that as many traces as the smallest bag has are drawn from each."""


def equal_bags(task: AnyTask, bags: Sequence[NDArray[np.float32]], names: Sequence[str]) -> tuple[int, list[float]]:
    """Spread of the signals of bags that are all as small as the smallest of them.

    A larger bag has a smaller spread whatever its traces are worth. So of each bag as many traces are drawn at random
    as the smallest has, some times, and what the network says of its own error is averaged.

    Args:
        task: trained, in evaluation mode.
        bags: float32 (t, n), as read.
        names: of each, which the drawing depends on.

    Returns:
        How many traces, and for each bag the root mean square of the spread; the smaller, the more the traces say.
    """
    least = min(len(bag) for bag in bags)
    parts = []
    for bag, name in zip(bags, names, strict=True):
        drawn = permutations(len(bag), 0, DRAWS, 0, "traces of equal bags", name)[:, :least]
        parts += [bag[np.sort(row)] for row in drawn]
    each = [float((found["spread"] ** 2).mean()) for found in read_sources(task, parts)]
    return least, [float(np.sqrt(np.mean(each[i * DRAWS:(i + 1) * DRAWS]))) for i in range(len(bags))]


def ranks(values: Sequence[float]) -> list[int]:
    """Rank of each value, 1 for the smallest."""
    order = np.argsort(np.asarray(values, np.float64), kind="stable")
    found = np.empty(len(order), np.int64)
    found[order] = np.arange(1, len(order) + 1)
    return [int(rank) for rank in found]
