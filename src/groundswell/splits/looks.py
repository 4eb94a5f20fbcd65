"""splits: what the leakage audit looks with: for shared values, ranges that overlap and gaps too short."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.data.table import SampleTable
from groundswell.splits.intervals import US_PER_DAY, Intervals, microseconds
from groundswell.splits.parts import PARTS


class Look(Protocol):
    """One kind of search. What is found are positions: of values, or of samples."""

    @property
    def any(self) -> bool:
        """Whether there is anything to look at."""

    def shared(self, part: NDArray[np.int8]) -> NDArray[np.bool_]:
        """What is found in one fold, given the part of each sample."""

    def examples(self, part: NDArray[np.int8], found: NDArray[np.int64]) -> Iterator[str]:
        """Findings in words."""


class Values:
    """Looks for one value of a column in several parts."""

    def __init__(self, table: SampleTable, column: str) -> None:
        values = table.column(column)
        codes, names = pd.factorize(values.mask(values.astype(str) == ""))
        self._kind, self._names = column, names
        self._rows = np.flatnonzero(codes >= 0)
        self._codes = codes[self._rows]

    @property
    def any(self) -> bool:
        """Whether the column has a value."""
        return len(self._rows) > 0

    def shared(self, part: NDArray[np.int8]) -> NDArray[np.bool_]:
        """For each value, whether it is in two parts."""
        return np.asarray(self._seen(part).sum(axis=1) > 1, bool)

    def _seen(self, part: NDArray[np.int8]) -> NDArray[np.bool_]:
        seen = np.zeros((len(self._names), len(PARTS) + 1), bool)
        seen[self._codes, part[self._rows]] = True
        return seen[:, 1:]

    def near(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which samples have a value that one of the ``chosen`` ones has (both of shape (n,))."""
        there = np.zeros(len(self._names), bool)
        there[self._codes[chosen[self._rows]]] = True
        marked = np.zeros(len(chosen), bool)
        marked[self._rows] = there[self._codes]
        return marked

    def examples(self, part: NDArray[np.int8], found: NDArray[np.int64]) -> Iterator[str]:
        """``found``, positions of shared values, in words."""
        seen = self._seen(part)
        for value in found:
            names = [name for name, there in zip(PARTS.values(), seen[value], strict=True) if there]
            yield f"{self._kind} '{self._names[value]}' in {', '.join(names[:-1])} and {names[-1]}"


class Gaps:
    """Looks for samples that begin too soon after an earlier one of another part, on one line of numbers.

    Args:
        table: the samples.
        line: where they lie.
        least: how much later than the end of the other one a sample must begin.
    """

    def __init__(self, table: SampleTable, line: Intervals, least: int = 0) -> None:
        self._line, self._least = line, least
        self._ids = table.column("sample_id").to_numpy(dtype=object)

    @property
    def any(self) -> bool:
        """Whether any sample lies on the line."""
        return len(self._line) > 0

    def shared(self, part: NDArray[np.int8]) -> NDArray[np.bool_]:
        """For each sample, whether it begins too soon after an earlier one of another part."""
        parts = part[self._line.rows]
        soon = np.zeros(len(parts), bool)
        for code in PARTS:
            # Where records lie one after another, those of earlier ones end before this one begins.
            furthest = self._line.furthest(parts == code)
            soon |= (parts != code) & (parts > 0) & (furthest > self._line.start - self._least)
        marked = np.zeros(self._line.samples, bool)
        marked[self._line.rows[soon]] = True
        return marked

    def _earlier(self, part: NDArray[np.int8], row: int) -> tuple[int, int]:
        """The sample of another part that reaches furthest among those before ``row``; how far ``row`` is from it."""
        at = int(np.flatnonzero(self._line.rows == row)[0])
        parts = part[self._line.rows[:at]]
        other = np.flatnonzero((parts != part[row]) & (parts > 0))
        furthest = other[np.argmax(self._line.stop[other])]
        return int(self._line.rows[furthest]), int(self._line.start[at] - self._line.stop[furthest])

    def _named(self, part: NDArray[np.int8], row: int) -> str:
        return f"'{self._ids[row]}' ({PARTS[int(part[row])]})"

    def examples(self, part: NDArray[np.int8], found: NDArray[np.int64]) -> Iterator[str]:
        """``found``, positions of samples, in words, each with one it cuts into."""
        for row in found:
            yield f"{self._named(part, row)} overlaps {self._named(part, self._earlier(part, row)[0])}"


class Embargo(Gaps):
    """Looks for samples, of whatever record, that begin less than the embargo after an earlier one of another part.

    Args:
        table: the samples, with ``time``.
        embargo_days: the gap that there must be.
    """

    def __init__(self, table: SampleTable, embargo_days: float) -> None:
        super().__init__(table, Intervals.of_times(table), microseconds(embargo_days))

    def smallest_days(self, assignment: NDArray[np.int8]) -> float | None:
        """The smallest gap between two parts of one fold, in days, 0 where they overlap; None with one part only."""
        least = np.iinfo(np.int64).max
        for part in assignment.T:
            parts = part[self._line.rows]
            for code in PARTS:
                furthest = self._line.furthest(parts == code)
                later = (parts != code) & (parts > 0) & (furthest > np.iinfo(np.int64).min)
                if later.any():
                    least = min(least, int((self._line.start[later] - furthest[later]).min()))
        return None if least == np.iinfo(np.int64).max else max(0, least) / US_PER_DAY

    def examples(self, part: NDArray[np.int8], found: NDArray[np.int64]) -> Iterator[str]:
        """``found``, positions of samples, in words, each with the one it is too near to."""
        for row in found:
            other, gap = self._earlier(part, row)
            when = f"{gap / US_PER_DAY:.1f} days after" if gap >= 0 else "before"
            end = "ends" if gap < 0 else "has ended"
            yield f"{self._named(part, row)} begins {when} {self._named(part, other)} {end}"
