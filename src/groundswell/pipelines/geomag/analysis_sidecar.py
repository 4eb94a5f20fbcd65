"""geomag: what the table beside the windows tells: events, overlaps, and the shortcuts that tell the classes apart.

A model that learns that the windows before events are of other stations, months or storms than the controls scores
well and has learnt nothing of events. What differs between the classes without any waveform is found here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag.layout import Layout

LIMIT = 0.25
"""Standardised mean difference, or association of a category with the class, above which a shortcut is feared (Rubin
2001, Using propensity scores to help design observational studies, for the first)."""
ACTIVITY = ("kp_", "ap_", "dst_")
"""How columns of magnetic activity begin."""

OWN = ("window_mean", "window_range")
"""What the values themselves are compared by."""


@dataclass(frozen=True)
class NumberBalance:
    """One number of each window, compared between the classes.

    Attributes:
        column: its name; ``window_mean`` and ``window_range`` are of the values themselves.
        mean: in each class.
        known: share of each class's windows for which it is known.
        difference: of the means, class 1 less class 0, over the root of the mean variance; infinite where each class
            has but one value, ``None`` where a class has none.
        ordered: share of pairs (one of each class) in which class 1 has the larger value, ties half: what this number
            alone is worth as an ROC area, 0.5 being nothing.
        shortcut: the difference, or that of the shares known, exceeds :data:`LIMIT`.
    """

    column: str
    mean: list[float | None]
    known: list[float]
    difference: float | None
    ordered: float | None
    shortcut: bool


@dataclass(frozen=True)
class CategoryBalance:
    """Counts of the classes at each station, in each month or in each year.

    Attributes:
        column: station, month (of the window's start, 1 to 12) or year.
        counts: by value, samples of class 0 and of class 1.
        one_class: values at which only one class occurs.
        association: with the class, bias-corrected Cramer's V (Bergsma 2013), 0 to 1; months and years are counted
            once an event.
        shortcut: the association exceeds :data:`LIMIT`.
    """

    column: str
    counts: dict[str, list[int]]
    one_class: list[str]
    association: float
    shortcut: bool


@dataclass(frozen=True)
class SidecarAnalysis:
    """What the table beside the windows tells.

    Attributes:
        events: different ones in each class, and in all.
        stations: how many.
        samples_per_event: fewest, median and most.
        first, last: start of the first and end of the last window, UTC.
        overlapping: windows that overlap in time with one of another event.
        overlapping_classes: windows that overlap in time with one of the other class.
        same_minutes: windows that overlap in time with one of the other class at their own station.
        chance: size that differences of means reach by chance (one standard error), events counting as independent.
        categories: balance by station, month and year.
        numbers: balance of activity columns and of the windows' mean and range.
        warnings: in words.
    """

    events: list[int]
    stations: int
    samples_per_event: list[float]
    first: str
    last: str
    overlapping: int
    overlapping_classes: int
    same_minutes: int
    chance: float
    categories: list[CategoryBalance]
    numbers: list[NumberBalance]
    warnings: list[str]


def analyze_sidecar(layout: Layout, mean: NDArray[np.float64], spread: NDArray[np.float64]) -> SidecarAnalysis:
    """Judge the sidecar of a layout that has one.

    Args:
        layout: its sidecar's rows are in the order of class 0's, then class 1's.
        mean, spread: mean and range of each window's values, in that order, nT; NaN where not finite.

    Raises:
        InputError: a start time cannot be read.
    """
    assert layout.sidecar is not None
    frame, label = layout.sidecar, layout.labels()
    start = _times(layout)
    event, station = frame["event_id"].astype(str).to_numpy(), frame["station"].astype(str).to_numpy()
    days = (start - start.min()) / pd.Timedelta(days=1)
    overlaps = _overlaps(days.to_numpy(np.float64), layout.days, label, event, station)
    categories = [_category("station", station, label, np.arange(len(label))),
                  _category("month", start.month.to_numpy(), label, event),
                  _category("year", start.year.to_numpy(), label, event)]
    columns = {name: pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64)
               for name in frame.columns if str(name).startswith(ACTIVITY)}
    numbers = [_number(name, values, label) for name, values in {**columns, OWN[0]: mean, OWN[1]: spread}.items()]
    each = pd.Series(event).value_counts()
    events = [len(set(event[label == k])) for k in (0, 1)]
    chance = math.sqrt(1 / events[0] + 1 / events[1])
    both = events[0] + events[1] - len(each)
    return SidecarAnalysis(
        [*events, len(each)], len(set(station)), [float(each.min()), float(each.median()), float(each.max())],
        _iso(start.min()), _iso(start.max() + pd.Timedelta(days=layout.days)), *overlaps,
        chance, categories, numbers, _warnings(both, overlaps[2], chance, categories, numbers))


def _times(layout: Layout) -> pd.DatetimeIndex:
    assert layout.sidecar is not None
    try:
        return pd.DatetimeIndex(pd.to_datetime(layout.sidecar["start_time"], utc=True, format="ISO8601"))
    except (TypeError, ValueError) as error:
        raise InputError(f"A start time cannot be read: {str(error).partition('.')[0]}",
                         where=f"{layout.folder}, column 'start_time'",
                         fix="Write times as 2003-10-29T06:11:00Z") from error


def _iso(time: Any) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def _overlaps(start_days: NDArray[np.float64], length_days: int, label: NDArray[np.int64], event: NDArray[Any],
              station: NDArray[Any]) -> tuple[int, int, int]:
    """Windows that overlap with another event's, with the other class's, and with the latter at their station."""
    order = np.argsort(start_days, kind="stable")
    start, kind = start_days[order], label[order]
    happening, place = pd.factorize(event[order])[0], pd.factorize(station[order])[0]
    first = np.searchsorted(start, start - length_days, side="right")
    stop = np.searchsorted(start, start + length_days, side="left")
    found = np.zeros(3, np.int64)
    for k, (low, high) in enumerate(zip(first, stop, strict=True)):
        other_class = kind[low:high] != kind[k]
        found += [(happening[low:high] != happening[k]).any(), other_class.any(),
                  (other_class & (place[low:high] == place[k])).any()]
    return int(found[0]), int(found[1]), int(found[2])


def _number(column: str, values: NDArray[np.float64], label: NDArray[np.int64]) -> NumberBalance:
    parts = [values[(label == k) & np.isfinite(values)] for k in (0, 1)]
    known = [len(part) / int((label == k).sum()) for k, part in enumerate(parts)]
    mean = [float(part.mean()) if len(part) else None for part in parts]
    difference = ordered = None
    if len(parts[0]) and len(parts[1]):
        gap = float(parts[1].mean() - parts[0].mean())
        scale = math.sqrt(float(parts[0].var() + parts[1].var()) / 2)
        difference = gap / scale if scale else math.copysign(math.inf, gap) if gap else 0.0
        rank = rankdata(np.concatenate(parts))[len(parts[0]):]
        ordered = float((rank.sum() / len(rank) - (len(rank) + 1) / 2) / len(parts[0]))
    shortcut = abs(difference or 0.0) > LIMIT or abs(known[1] - known[0]) > LIMIT
    return NumberBalance(column, mean, known, difference, ordered, shortcut)


def _category(column: str, values: NDArray[Any], label: NDArray[np.int64], unit: NDArray[Any]) -> CategoryBalance:
    """Balance of ``values``; the association counts each (unit, value, class) once."""
    counts = pd.crosstab(values, label).reindex(columns=[0, 1], fill_value=0)
    once = pd.DataFrame({"unit": unit, "value": values, "label": label}).drop_duplicates()
    table = pd.crosstab(once["value"], once["label"]).to_numpy(np.float64)
    by_value = {str(value): [int(n) for n in row] for value, row in zip(counts.index, counts.to_numpy(), strict=True)}
    association = cramers_v(table)
    return CategoryBalance(column, by_value, [value for value, row in by_value.items() if min(row) == 0], association,
                           association > LIMIT)


def cramers_v(table: NDArray[np.float64]) -> float:
    """Association of rows and columns of a table of counts, corrected for what chance gives; 0 (none) to 1."""
    total, rows, columns = float(table.sum()), *table.shape
    if min(rows, columns) < 2 or total < 2:
        return 0.0
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / total
    phi2 = float(((table - expected) ** 2 / expected).sum()) / total
    excess = max(0.0, phi2 - (rows - 1) * (columns - 1) / (total - 1))
    fewest = min(rows - (rows - 1) ** 2 / (total - 1), columns - (columns - 1) ** 2 / (total - 1))
    return min(1.0, math.sqrt(excess / (fewest - 1))) if fewest > 1 else 0.0


def _warnings(both: int, same_minutes: int, chance: float, categories: list[CategoryBalance],
              numbers: list[NumberBalance]) -> list[str]:
    told = []
    if both:
        told.append(f"{both} event(s) have windows in both classes")
    if same_minutes:
        told.append(f"{same_minutes} window(s) overlap with one of the other class at their own station: the same "
                    "minutes are in both classes")
    for each in categories:
        if each.shortcut:
            alone = f"; only one class at {_few(each.one_class)}" if each.one_class else ""
            told.append(f"The {each.column} alone is associated with the class (Cramer's V {each.association:.2f})"
                        f"{alone}: match the controls by {each.column}")
    for number in numbers:
        if not number.shortcut:
            continue
        if abs(number.known[1] - number.known[0]) > LIMIT:
            told.append(f"{number.column} is known for {number.known[0]:.0%} of class 0 and {number.known[1]:.0%} of "
                        "class 1: that it is missing tells the class")
        if number.difference is not None and abs(number.difference) > LIMIT:
            area, own = max(number.ordered or 0, 1 - (number.ordered or 0)), number.column in OWN
            told.append(f"{number.column} alone separates the classes ({_signed(number.difference)}, ROC area "
                        f"{area:.2f}): " + ("a score of this size needs no time series" if own else
                                            "match the controls by it, or compare scores with this column's own")
                        + ("; with so few events it may be chance" if abs(number.difference) < 2 * chance else ""))
    return told


def _signed(difference: float) -> str:
    return f"means differ by {difference:+.2f} standard deviations" if math.isfinite(difference) else (
        "each class has but one value")


def _few(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
