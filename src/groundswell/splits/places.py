"""splits: samples that have a place, as plain arrays, which is all that a division in space looks at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.splits.audit import CONTINUOUS
from groundswell.splits.recipe import SplitRecipe

Codes = NDArray[np.int64]
_RANGE = {"latitude": 90.0, "longitude": 180.0}


@dataclass(frozen=True)
class Places:
    """Samples that have a place.

    Attributes:
        lat: degrees, float64, shape (n,), within ±90.
        lon: degrees, float64, shape (n,), within ±180.
        label: int64, shape (n,), -1 where unknown.
        time: datetime64, UTC, shape (n,); None where nothing is asked of it.
        ties: by name, what may not be in two parts: a code for each sample, int64, shape (n,), -1 where it has no such
            value. ``group`` is one of them where there are groups. The drawing goes by the order of the codes.
        sample_id: for messages, shape (n,); None calls a sample by its row.

    Raises:
        InputError: a place is missing or nowhere on the Earth.
    """

    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    label: Codes
    time: NDArray[np.datetime64] | None = None
    ties: dict[str, Codes] = field(default_factory=dict)
    sample_id: NDArray[np.object_] | None = None

    def __post_init__(self) -> None:
        arrays = [self.lat, self.lon, self.label, *self.ties.values()] + ([] if self.time is None else [self.time])
        if any(array.shape != (len(self.lat),) for array in arrays):
            raise ValueError(f"samples with a place, of different numbers: {[array.shape for array in arrays]}")
        for name, values in (("latitude", self.lat), ("longitude", self.lon)):
            # A comparison with what is not a number is false.
            bad = np.flatnonzero(~(np.abs(values) <= _RANGE[name]))
            if len(bad):
                raise InputError(f"{len(bad)} sample(s) have no {name} from {-_RANGE[name]:g} to {_RANGE[name]:g} "
                                 f"degrees, first {self.called(int(bad[0]))} with {values[bad[0]]:g}",
                                 where=f"column '{name}'", fix="Correct these places, or leave the samples out")

    def __len__(self) -> int:
        return len(self.lat)

    def called(self, row: int) -> str:
        """A sample in words."""
        return f"row {row}" if self.sample_id is None else f"'{self.sample_id[row]}'"

    @classmethod
    def of_table(cls, table: SampleTable, recipe: SplitRecipe) -> Places:
        """The samples of a table, tied by group and whatever else the audit looks at (event, record unless records are
        continuous, content) and by the columns of ``recipe.together``.

        Raises:
            InputError: the table lacks a place, or a column that is to be kept together.
        """
        lacking = [name for name in _RANGE if not table.has(name)]
        if lacking:
            raise InputError(f"A split by place needs to know where each sample is, and the table has no column "
                             f"'{lacking[0]}'", where=f"split.regime={recipe.regime}",
                             fix="Give the samples latitude and longitude, or use split.regime=grouped or kfold")
        absent = [name for name in recipe.together if not table.has(name)]
        if absent:
            raise InputError(f"The samples have no column '{absent[0]}' to keep together", where="split.together",
                             fix=f"Use columns of these: {', '.join(table.frame.columns)}")
        lat, lon = (_numbers(table, name) for name in _RANGE)
        time = None
        if table.has("time"):
            time = np.asarray(table.column("time").dt.tz_localize(None), "datetime64[us]")
        ties = _ties(table, recipe.together)
        return cls(lat, lon, table.labels(), time, ties, table.column("sample_id").to_numpy(dtype=object))


def _numbers(table: SampleTable, name: str) -> NDArray[np.float64]:
    return np.asarray(pd.to_numeric(table.column(name), errors="coerce"), np.float64)


def _ties(table: SampleTable, together: tuple[str, ...]) -> dict[str, Codes]:
    # Codes in the order of the values, so that they do not depend on that of the rows. Empty text is no value.
    usual = ["group", "event", "content"] + (["record"] if not table.origin.get(CONTINUOUS) else [])
    ties: dict[str, Codes] = {}
    for name in dict.fromkeys([*(name for name in usual if table.has(name)), *together]):
        values: pd.Series[Any] = table.column(name)
        text = values.astype(str)
        codes, found = pd.factorize(text.mask(values.isna() | (text == "")), sort=True)
        # Where every value is there once, as records often are, nothing is tied.
        if name == "group" or len(found) < int((codes >= 0).sum()):
            ties[name] = codes.astype(np.int64)
    return ties
