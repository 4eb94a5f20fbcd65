"""evaluate: from windows to events. The unit of a score is what happened once, not what was cut into windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.names import NOISE
from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable


@dataclass(frozen=True)
class Units:
    """Which unit each row of a table belongs to, and what is true of each unit.

    Attributes:
        level: "event" or "group", the column that names the units; "sample" where every row is a unit of its own.
        of_row: position of each row's unit in ``names``, -1 for rows that belong to none; int64, shape (rows,).
        names: of the units, shape (units,), in order of first appearance.
        truth: class index into ``classes``, -1 where no row of the unit has a label other than noise; int64.
        group: of each unit's first row, shape (units,); what a bootstrap draws. Of samples it is their ``cluster``
            where the table has that column.
        classes: the table's, without noise.
    """

    level: str
    of_row: NDArray[np.int64]
    names: NDArray[np.object_]
    truth: NDArray[np.int64]
    group: NDArray[np.object_]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


def event_classes(classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Positions of the classes that are not noise."""
    return np.array([k for k, name in enumerate(classes) if name != NOISE], dtype=np.int64)


def of_samples(table: SampleTable) -> bool:
    """Whether each row of the table is a unit of its own, such as one photograph of one plant."""
    return table.origin.get("unit") == "sample"


def clusters_of(table: SampleTable) -> NDArray[np.object_]:
    """What a bootstrap draws as a whole, by name, for each row: the groups, or the column ``cluster`` of a table whose
    rows are units of their own (neighbours resemble each other far beyond the groups that a split keeps together).

    Raises:
        InputError: a row has no cluster.
    """
    if not (of_samples(table) and table.has("cluster")):
        return table.groups()
    cluster = table.column("cluster")
    if cluster.isna().any():
        raise InputError("A sample has no cluster", where=str(table.column("sample_id")[int(cluster.isna().argmax())]),
                         fix="Give each row a cluster, or leave the column out")
    return cluster.astype(str).to_numpy(dtype=object)


def _samples(table: SampleTable) -> Units:
    keep, new_index = _kept(table.classes)
    return Units("sample", np.arange(len(table)), table.column("sample_id").to_numpy(dtype=object),
                 new_index[table.labels()], clusters_of(table), tuple(table.classes[k] for k in keep))


def _kept(classes: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The classes that are not noise, and the new index of every old one (-1 for noise and for label -1)."""
    keep = event_classes(classes)
    new_index = np.full(len(classes) + 1, -1, dtype=np.int64)  # one more for label -1
    new_index[keep] = np.arange(len(keep))
    return keep, new_index


def units_of(table: SampleTable) -> Units:
    """The units of a table: its samples where its origin says ``{"unit": "sample"}``, its events where it has any, else
    its groups.

    Raises:
        InputError: one unit has windows of two event classes.
    """
    if of_samples(table):
        return _samples(table)
    level, names = "group", table.groups()
    if table.has("event"):
        events = table.column("event").fillna("").astype(str).to_numpy(dtype=object)
        if (events != "").any():
            level, names = "event", events
    of_row, uniques = pd.factorize(pd.Series(names, dtype=object).where(names != "", None))
    unit_names = np.asarray(uniques, dtype=object)
    keep, new_index = _kept(table.classes)
    label = new_index[table.labels()]
    truth = np.full(len(unit_names), -1, dtype=np.int64)
    told = (of_row >= 0) & (label >= 0)
    truth[of_row[told]] = label[told]
    wrong = told & (truth[of_row] != label)
    if wrong.any():
        name = unit_names[of_row[int(np.argmax(wrong))]]
        raise InputError(f"The {level} '{name}' has samples of more than one class", where=f"column '{level}'",
                         fix="Give each event one label, or an identifier of its own")
    rows = np.flatnonzero(of_row >= 0)
    first = rows[np.unique(of_row[rows], return_index=True)[1]]
    return Units(level, of_row.astype(np.int64), unit_names, truth, table.groups()[first],
                 tuple(table.classes[k] for k in keep))


def aggregate(predictions: Predictions, table: SampleTable,
              method: Literal["average", "vote"] = "average") -> Predictions:
    """One answer for each unit from the predictions of its windows.

    With ``average`` the probability of class k is the sum of the windows' p_k divided by the sum of 1 - p_noise, over
    all the unit's windows: each window speaks as loudly as it hears an event. With ``vote`` each window gives that
    weight to its most probable class other than noise. Where every window is certain of noise the classes are equally
    probable. A unit whose windows were tested in several folds gets one answer, and fold -1.

    Args:
        predictions: of windows; classes as in ``table``, or those without noise.
        table: holds every predicted sample.
        method: how windows make one answer.

    Returns:
        One row a unit and member that has predictions, ``sample_id`` being the unit's name, in the table's order.
    """
    units = units_of(table)
    of_row = units.of_row[table.positions(predictions.sample_id.tolist())]
    inside = of_row >= 0
    member, members = pd.factorize(predictions.member)
    key = of_row * max(len(members), 1) + member
    present, place = np.unique(key[inside], return_inverse=True)
    columns = event_classes(predictions.classes)
    chosen = predictions.probability[inside][:, columns]
    weight = chosen.sum(axis=1)
    if method == "vote":
        winner = chosen.argmax(axis=1)
        chosen = np.zeros_like(chosen)
        chosen[np.arange(len(winner)), winner] = weight
    total = np.bincount(place, weight, minlength=len(present))
    probability = np.stack([np.bincount(place, chosen[:, k], minlength=len(present)) for k in range(len(columns))], 1)
    silent = total <= 0
    probability[silent], total[silent] = 1.0, len(columns)
    fold = predictions.fold[inside]
    low, high = np.full(len(present), np.iinfo(np.int64).max), np.full(len(present), np.iinfo(np.int64).min)
    np.minimum.at(low, place, fold)
    np.maximum.at(high, place, fold)
    unit = present // max(len(members), 1)
    return Predictions(units.names[unit], units.truth[unit], probability / total[:, None],
                       tuple(predictions.classes[k] for k in columns),
                       np.asarray(members, dtype=object)[present % max(len(members), 1)],
                       np.where(low == high, low, -1).astype(np.int64), dict(predictions.note))


def groups_of(predictions: Predictions, table: SampleTable) -> NDArray[np.int64]:
    """Number of the group (see :func:`clusters_of`) that each prediction's sample belongs to, from 0, shape (n,)."""
    groups = clusters_of(table)[table.positions(predictions.sample_id.tolist())]
    return np.asarray(pd.factorize(groups)[0], dtype=np.int64)


def groups_of_units(aggregated: Predictions, table: SampleTable) -> NDArray[np.int64]:
    """Number of the group that each aggregated unit belongs to, from 0, shape (n,)."""
    units = units_of(table)
    group = dict(zip(units.names.tolist(), units.group.tolist(), strict=True))
    return np.asarray(pd.factorize(np.array([group[name] for name in aggregated.sample_id], dtype=object))[0],
                      dtype=np.int64)
