"""splits: what two parts have in common beside nearness: duplicates, places, labels, seasons, the edges of regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.data.order import permutations
from groundswell.data.table import SampleTable
from groundswell.splits.nearness import Spread, draws_of, spread_of
from groundswell.splits.regions import Box, bounding_box

SHARED = ("observer", "place_day", "place", "group")
"""Columns whose values are compared between training and test, where the table has them."""
_LEAST_CAP, _CAP_SHARE = 10, 0.05


@dataclass(frozen=True)
class SharedValues:
    """Values of a column that training and test both have: how many, and how many tested samples have one of them."""

    column: str
    values: int
    tested: int


@dataclass(frozen=True)
class LabelFacts:
    """Labels in training and test.

    Attributes:
        noun: what a label is, singular and plural: ("species", "species") or ("class", "classes").
        total, train, test, shared: how many labels the table, a part, and both parts have.
        test_only: names of those that are tested and not learnt, in the order of the classes.
        test_only_samples: tested samples that have one of these.
        most: samples of the commonest label in the table; ``at_most``: labels that have exactly as many.
        capped: whether so many labels have exactly the most that the number was fixed by whoever made the table.
    """

    noun: tuple[str, str]
    total: int
    train: int
    test: int
    shared: int
    test_only: tuple[str, ...]
    test_only_samples: int
    most: int
    at_most: int
    capped: bool


@dataclass(frozen=True)
class SeasonFacts:
    """Months and years.

    Attributes:
        months: by part, samples in each month, January first.
        difference: half the sum of differences of the shares of months in training and test: 0 alike, 1 disjoint.
        random_difference: the same over random splits.
        last_train: day of the last training sample, ISO; empty where no time is known.
        future: tested samples later than all training; ``future_months``: the months these are of, from 1;
            ``future_years``: first and last.
        train_months: the months that training has.
    """

    months: dict[str, tuple[int, ...]]
    difference: float
    random_difference: Spread | None
    last_train: str
    future: int
    future_months: tuple[int, ...]
    future_years: tuple[int, ...]
    train_months: tuple[int, ...]


@dataclass(frozen=True)
class RegionFacts:
    """A box that a test was taken from.

    Attributes:
        name: of the box.
        samples, train, test: in it, of any part, and of these.
        share: of all tested samples in boxes, how many are in this one.
        gap_m: from its edge to the nearest training sample, metres; 0 where one is inside.
        train_near: by distance in metres, training samples that lie within it of the box.
        beyond: for each side that reaches past the box around all data, the share of its extent that does.
    """

    name: str
    samples: int
    train: int
    test: int
    share: float
    gap_m: float
    train_near: dict[float, int]
    beyond: dict[str, float]


def twins(table: SampleTable, train: NDArray[np.int64], test: NDArray[np.int64]) -> tuple[int, int]:
    """Tested samples that training has again: of one label, place and day; and of one label and place.

    Places are one where latitude and longitude are equal to the last bit. Samples without label match nothing, and
    those without a time have no day in common with any other.
    """
    frame = pd.DataFrame({"label": table.labels(), "latitude": table.column("latitude"),
                          "longitude": table.column("longitude")})
    keys = [["label", "latitude", "longitude"]]
    if table.has("time"):
        frame["day"] = table.column("time").dt.floor("D")
        keys.insert(0, [*keys[0], "day"])
    known = frame.dropna() if table.has("time") else frame
    found = []
    for columns in keys:
        rows = known if "day" in columns else frame
        rows = rows[rows["label"] >= 0]
        mine, theirs = rows.index.intersection(pd.Index(test)), rows.index.intersection(pd.Index(train))
        learnt = pd.MultiIndex.from_frame(rows.loc[theirs, columns])
        found.append(int(pd.MultiIndex.from_frame(rows.loc[mine, columns]).isin(learnt).sum()))
    return (found[0], found[1]) if len(found) == 2 else (0, found[0])


def shared_values(table: SampleTable, train: NDArray[np.int64], test: NDArray[np.int64]) -> tuple[SharedValues, ...]:
    """What training and test share in each of :data:`SHARED` that the table has; empty text is no value."""
    found = []
    for column in (name for name in SHARED if table.has(name)):
        values = table.column(column).fillna("").astype(str)
        if column == "group" and any(table.has(n) and values.equals(table.column(n).fillna("").astype(str))
                                     for n in SHARED[:-1]):
            continue
        tested = values.iloc[test]
        both = tested[tested.isin(pd.unique(values.iloc[train])) & (tested != "")]
        found.append(SharedValues(column, int(both.nunique()), len(both)))
    return tuple(found)


def label_facts(table: SampleTable, train: NDArray[np.int64], test: NDArray[np.int64]) -> LabelFacts:
    """Which labels are in which part, and whether their numbers look as if somebody had capped them."""
    labels = table.labels()
    counts = np.bincount(labels[labels >= 0], minlength=len(table.classes))
    learnt, tested = (np.unique(labels[rows][labels[rows] >= 0]) for rows in (train, test))
    only = np.setdiff1d(tested, learnt)
    total, most = int((counts > 0).sum()), int(counts.max(initial=0))
    at_most = int((counts == most).sum()) if most else 0
    return LabelFacts(("species", "species") if table.has("taxon") else ("class", "classes"), total, len(learnt),
                      len(tested), len(tested) - len(only), tuple(table.classes[k] for k in only),
                      int(np.isin(labels[test], only).sum()), most, at_most,
                      most >= _LEAST_CAP and at_most >= max(3, _CAP_SHARE * total))


def season_facts(table: SampleTable, parts: dict[str, NDArray[np.int64]], seed: int) -> SeasonFacts | None:
    """Months and years of ``parts``, of which "train" and "test" are two; None where the table has no months."""
    time = table.column("time") if table.has("time") else None
    if table.has("month"):
        month = pd.to_numeric(table.column("month")).to_numpy(np.float64, na_value=np.nan)
    elif time is not None:
        month = time.dt.month.to_numpy(np.float64, na_value=np.nan)
    else:
        return None
    months = {name: _by_month(month[rows]) for name, rows in parts.items()}
    train, test = parts["train"], parts["test"]
    if not sum(months["train"]) or not sum(months["test"]):
        return None
    random = []
    for draw in range(draws_of(len(table))):
        dealt = permutations(len(table), draw, 1, seed, "random split")[0]
        random.append(_difference(_by_month(month[dealt[train]]), _by_month(month[dealt[test]])))
    last = time.iloc[train].max() if time is not None else pd.NaT
    later = test[(time.iloc[test] > last).to_numpy()] if time is not None and not pd.isna(last) else test[:0]
    seen = _by_month(month[later])
    years = time.iloc[later].dt.year if time is not None and len(later) else pd.Series([], dtype=int)
    return SeasonFacts(months, _difference(months["train"], months["test"]), spread_of(np.array(random)),
                       "" if pd.isna(last) else last.strftime("%Y-%m-%d"), len(later), _present(seen),
                       (int(years.min()), int(years.max())) if len(years) else (), _present(months["train"]))


def later_than(table: SampleTable, train: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which samples are later than every training sample, shape (n,); none where times are not known."""
    if not table.has("time"):
        return np.zeros(len(table), bool)
    time = table.column("time")
    return np.asarray(time > time.iloc[train].max(), bool)


def region_facts(boxes: Sequence[Box], latitude: NDArray[np.float64], longitude: NDArray[np.float64],
                 train: NDArray[np.int64], test: NDArray[np.int64], near_m: Sequence[float]) -> tuple[RegionFacts, ...]:
    """Each box, with what lies in it and about it."""
    data = bounding_box(latitude, longitude)
    tested = [int(box.inside(latitude[test], longitude[test]).sum()) for box in boxes]
    found = []
    for box, own in zip(boxes, tested, strict=True):
        gap = box.gap_m(latitude[train], longitude[train])
        found.append(RegionFacts(
            box.name, int(box.inside(latitude, longitude).sum()), int((gap == 0).sum()), own,
            own / max(sum(tested), 1), float(gap.min()), {float(m): int((gap <= m).sum()) for m in near_m},
            box.beyond(data)))
    return tuple(found)


def _by_month(month: NDArray[np.float64]) -> tuple[int, ...]:
    known = month[np.isfinite(month)].astype(np.int64)
    return tuple(np.bincount(known, minlength=13)[1:13].tolist())


def _present(months: Sequence[int]) -> tuple[int, ...]:
    return tuple(k for k, count in enumerate(months, 1) if count)


def _difference(one: Sequence[int], other: Sequence[int]) -> float:
    shares: list[Any] = [np.array(counts) / max(sum(counts), 1) for counts in (one, other)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)
