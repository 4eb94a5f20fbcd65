"""splits: what every division of samples must have: two classes to tell apart, and no part without one of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.splits.groups import Groups
from groundswell.splits.parts import PARTS

BACKGROUND = "background"
"""Fact of a table's origin: labels are of things that lie in a sample, with their surroundings to be told from, so that
one class is enough."""


def check_classes(table: SampleTable, groups: Groups, unit: str = "group") -> None:
    """See that there are two classes, where there are labels at all and no background (:data:`BACKGROUND`).

    Raises:
        InputError: all samples that have a label have the same one.
    """
    present = np.flatnonzero(groups.holds.any(axis=0))
    if len(present) == 1 and not table.origin.get(BACKGROUND):
        raise InputError(f"All labelled samples are '{groups.classes[present[0]]}', so there is nothing to tell apart "
                         f"({unit}s: {listed(groups)})", fix="Label samples of a second class")


def listed(groups: Groups) -> str:
    """How many units there are of each class, in words."""
    return ", ".join(f"{name} {count}" for name, count in groups.counts().items()) or "none with a label"


def lack(part: NDArray[np.int8], labels: NDArray[np.int64], classes: Sequence[str], code: int,
         every_class: bool = True) -> str:
    """What one part of a fold lacks, in words; empty where it lacks nothing.

    Args:
        part: part codes, shape (n,).
        labels: shape (n,), -1 where unknown.
        classes: their names.
        code: of the part.
        every_class: whether each class that any sample of the table has must be in it.
    """
    mine = part == code
    if not mine.any():
        return f"the {PARTS[code]} part is empty"
    there = np.bincount(labels[mine & (labels >= 0)], minlength=len(classes)) > 0
    wanted = np.bincount(labels[labels >= 0], minlength=len(classes)) > 0
    missing = np.flatnonzero(wanted & ~there)
    if len(missing) and every_class:
        return f"the {PARTS[code]} part has no sample of '{classes[missing[0]]}'"
    return ""
