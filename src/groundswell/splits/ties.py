"""splits: values that two parts may not share, such as groups and observers: who keeps them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from groundswell.splits.parts import EXCLUDED, TEST, TRAIN, VALIDATION

Codes = NDArray[np.int64]

_KEPT = 0.5
"""Share of its samples that validation keeps where it and training share values, if need be at a loss for training."""


def settle(part: NDArray[np.int8], codes: Codes) -> None:
    """Leave samples out of one fold, in place, until no value is in two parts.

    A value of the test stays in the test alone: what is tested is not chosen by who else was there. A value of training
    and validation stays where more samples of it are, which loses the fewest; but of such values so many more stay in
    validation, those first that cost training least, that it keeps half of its samples.

    Args:
        part: part codes, shape (n,).
        codes: of the values, int64, shape (n,), -1 for none.
    """
    size = int(codes.max(initial=-1)) + 2  # one more than there are values, for samples that have none
    has = codes >= 0
    tested, learning = np.zeros(size, bool), (part == TRAIN) | (part == VALIDATION)
    tested[codes[has & (part == TEST)]] = True
    part[has & learning & tested[codes]] = EXCLUDED
    validated, learnt = (np.bincount(codes[has & (part == code)], minlength=size) for code in (VALIDATION, TRAIN))
    shared = np.flatnonzero((validated > 0) & (learnt > 0))
    if not len(shared):
        return
    # Those of which validation has most come first; of equals those with the lower code.
    weight = validated[shared] / (validated[shared] + learnt[shared])
    turn = np.argsort(-weight, kind="stable")
    own = int((part == VALIDATION).sum())
    lacking = _KEPT * own - (own - validated[shared].sum())
    reached = np.cumsum(validated[shared][turn])
    kept = np.zeros(size, bool)
    kept[shared[turn]] = (weight[turn] > 0.5) | (reached - validated[shared][turn] < lacking)
    lost = np.zeros(size, bool)
    lost[shared] = ~kept[shared]
    part[has & (part == TRAIN) & kept[codes]] = EXCLUDED
    part[has & (part == VALIDATION) & lost[codes]] = EXCLUDED


def bundle_units(of_row: Codes, units: int, ties: Mapping[str, Codes]) -> Codes:
    """Put units that share a value into one bundle, and those that share one with these, and so on.

    Args:
        of_row: unit of each sample, int64, shape (n,).
        units: how many there are.
        ties: codes of values, int64, shape (n,) each, -1 for none.

    Returns:
        Bundle of each unit, int64, shape (units,), in the order of their first units.
    """
    edges = []
    for codes in ties.values():
        tied = codes >= 0
        first = np.full(int(codes.max(initial=-1)) + 1, units, np.int64)
        np.minimum.at(first, codes[tied], of_row[tied])
        other = first[codes[tied]]
        edges.append(pd.unique((other * units + of_row[tied])[other != of_row[tied]]))
    pairs = np.concatenate(edges) if edges else np.empty(0, np.int64)
    graph = coo_array((np.ones(len(pairs), bool), (pairs // max(units, 1), pairs % max(units, 1))),
                      shape=(units, units))
    label = connected_components(graph, directed=False)[1]
    return np.asarray(pd.factorize(label)[0], np.int64)
