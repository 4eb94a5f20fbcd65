"""splits: the groups of a table and the stratum of each, all that the drawing of a split looks at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.names import NOISE
from groundswell.data.table import SampleTable


@dataclass(frozen=True)
class Groups:
    """Units that are dealt out whole.

    Attributes:
        of_row: which unit each row of the table belongs to, int64, shape (n,); -1 for none.
        stratum: class of each unit, int64, shape (g,): the commonest of its labels other than noise (the first of
            equally common ones); the noise class where it holds only noise; -1 where it has no label at all.
        holds: whether a unit has samples of a class, bool, shape (g, classes).
        classes: names of the classes.
    """

    of_row: NDArray[np.int64]
    stratum: NDArray[np.int64]
    holds: NDArray[np.bool_]
    classes: tuple[str, ...]

    @classmethod
    def of_table(cls, table: SampleTable, rows: NDArray[np.bool_] | None = None) -> Groups:
        """The groups of a table, in the order of their names, whatever the order of its rows."""
        return cls.of_column(table, "group", rows)

    @classmethod
    def of_samples(cls, table: SampleTable, rows: NDArray[np.bool_] | None = None) -> Groups:
        """Every sample by itself, in the order of sample_id."""
        return cls.of_column(table, "sample_id", rows)

    @classmethod
    def of_column(cls, table: SampleTable, column: str, rows: NDArray[np.bool_] | None = None) -> Groups:
        """The samples of each value of a column, in the order of the values.

        Args:
            table: the samples.
            column: its name; a sample without a value is in no unit.
            rows: the samples that count, shape (n,); the others are in no unit. All of them by default.
        """
        values = table.column(column)
        codes, names = pd.factorize(values if rows is None else values.where(rows), sort=True)
        of_row = codes.astype(np.int64)
        labels = table.labels()
        voting = (labels >= 0) & (of_row >= 0)
        votes = np.zeros((len(names), len(table.classes)), np.int64)
        np.add.at(votes, (of_row[voting], labels[voting]), 1)
        return cls(of_row, _strata(votes, table.classes), votes > 0, table.classes)

    def __len__(self) -> int:
        return len(self.stratum)

    @property
    def with_event(self) -> NDArray[np.bool_]:
        """Whether a unit holds a class other than noise, shape (g,)."""
        return np.asarray(self.holds[:, [name != NOISE for name in self.classes]].any(axis=1), bool)

    def counts(self) -> dict[str, int]:
        """Number of units of each class that is the class of any; units without an event left out."""
        found, counts = np.unique(self.stratum[self.with_event], return_counts=True)
        return {self.classes[k]: int(count) for k, count in zip(found, counts, strict=True)}


def _strata(votes: NDArray[np.int64], classes: tuple[str, ...]) -> NDArray[np.int64]:
    noise = np.array([name == NOISE for name in classes], bool)
    # Any event outweighs all noise: an event fills a few windows of a record.
    weighed = np.where(noise, np.minimum(votes, 1), 2 * votes)
    return np.where(votes.any(axis=1), weighed.argmax(axis=1) if len(classes) else 0, -1).astype(np.int64)
