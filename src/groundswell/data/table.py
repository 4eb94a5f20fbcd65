"""data: the sample table, one row for each thing a model sees; all that splits and evaluation know of a pipeline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.parquet import read_with_facts, reading, write_with_facts

REQUIRED = ("sample_id", "record", "label", "group")
_META = b"groundswell.sample_table"


class SampleTable:
    """An immutable table of samples with a content fingerprint.

    Columns: ``sample_id`` (unique text), ``record`` (text: the source file or acquisition), ``label`` (nullable Int64,
    an index into ``classes``), ``group`` (text: the unit that must never straddle a split). Optional and standard:
    ``time`` (datetime64[ns], UTC), ``latitude``, ``longitude`` (degrees), ``station``. A pipeline adds its own.

    Args:
        frame: the rows; copied.
        classes: names of the labels, in label order.
        pipeline: name of the pipeline that the rows belong to.
        origin: free facts about how the table came to be (``{"simulated": True}`` is honoured by every report).

    Raises:
        InputError: a required column is missing or lacks a value, a sample_id repeats, a label is no whole number or is
            outside ``classes``, or a time cannot be read.
    """

    def __init__(self, frame: pd.DataFrame, classes: Sequence[str], *, pipeline: str = "",
                 origin: dict[str, Any] | None = None) -> None:
        missing = [c for c in REQUIRED if c not in frame.columns]
        if missing:
            raise InputError(f"The sample table lacks the column(s) {', '.join(missing)}")
        # Text that pandas holds as objects gets the type it will have when read back, or its fingerprint would change.
        frame = frame.reset_index(drop=True).infer_objects()
        for column in [name for name, kind in frame.dtypes.items() if kind.kind == "O"]:
            # pandas leaves some be that share a block with others.
            frame[column] = pd.Series(frame[column].tolist(), index=frame.index)
        for column in ("sample_id", "record", "group"):
            empty = np.flatnonzero(frame[column].isna())
            if len(empty):
                raise InputError(f"{len(empty)} row(s) of the sample table have no '{column}'", where=f"row {empty[0]}")
            frame[column] = frame[column].astype(str)
        try:
            frame["label"] = frame["label"].astype("Int64")
        except (TypeError, ValueError) as error:
            raise InputError(f"Labels must be whole numbers or empty: {error}", where="column 'label'") from error
        if "time" in frame.columns:
            try:
                times = pd.to_datetime(frame["time"], utc=True, format="ISO8601")
            except (TypeError, ValueError) as error:
                raise InputError(f"A time cannot be read: {str(error).partition('.')[0]}", where="column 'time'",
                                 fix="Write times as 2022-09-01T08:00:00Z") from error
            frame["time"] = times.astype("datetime64[ns, UTC]")
        repeated = frame["sample_id"][frame["sample_id"].duplicated()]
        if len(repeated):
            raise InputError(f"{len(repeated)} sample_id(s) appear more than once, first '{repeated.iloc[0]}'")
        labels = frame["label"].dropna()
        if len(labels) and (labels.min() < 0 or labels.max() >= len(classes)):
            bad = frame.loc[labels.index[(labels < 0) | (labels >= len(classes))][0]]
            raise InputError(f"Label {bad['label']} is not one of 0 to {len(classes) - 1}", where=str(bad["sample_id"]))
        self._frame = frame
        self.classes: tuple[str, ...] = tuple(classes)
        self.pipeline = pipeline
        self.origin: dict[str, Any] = dict(origin or {})
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self._frame)

    @property
    def frame(self) -> pd.DataFrame:
        """A copy of the rows (the table itself does not change)."""
        return self._frame.copy()

    def column(self, name: str) -> pd.Series[Any]:
        """A copy of one column.

        Raises:
            InputError: there is none of that name.
        """
        if name not in self._frame.columns:
            raise InputError(f"The sample table has no column '{name}'",
                             fix=f"It has: {', '.join(self._frame.columns)}")
        return self._frame[name].copy()

    def has(self, name: str) -> bool:
        """Whether there is a column of that name."""
        return name in self._frame.columns

    def labels(self) -> NDArray[np.int64]:
        """Labels as int64, -1 where unknown."""
        labels: NDArray[np.int64] = np.asarray(self._frame["label"].fillna(-1), dtype=np.int64)
        return labels

    def groups(self) -> NDArray[np.object_]:
        """Groups as text."""
        return self._frame["group"].to_numpy(dtype=object)

    def positions(self, sample_ids: Sequence[str]) -> NDArray[np.int64]:
        """Row positions of ``sample_ids``.

        Raises:
            InputError: one is not in the table.
        """
        found = pd.Index(self._frame["sample_id"]).get_indexer(pd.Index(list(sample_ids)))
        if (found < 0).any():
            raise InputError(f"The sample '{list(sample_ids)[int(np.argmax(found < 0))]}' is not in the table")
        return np.asarray(found, dtype=np.int64)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> SampleTable:
        """A new table of the rows at these positions (or where the mask is true)."""
        chosen: NDArray[np.intp] = np.arange(len(self))[rows]
        return SampleTable(self._frame.iloc[chosen], self.classes, pipeline=self.pipeline, origin=self.origin)

    def replaced(self, **columns: Any) -> SampleTable:
        """A new table with whole columns replaced or added."""
        return SampleTable(self._frame.assign(**columns), self.classes, pipeline=self.pipeline, origin=self.origin)

    @property
    def fingerprint(self) -> str:
        """Hex digest of the content: column names, types, values, classes."""
        if self._fingerprint is None:
            digest = hashlib.blake2b(json.dumps([self.pipeline, self.classes]).encode(), digest_size=16)
            for name in sorted(self._frame.columns):
                column = self._frame[name]
                digest.update(f"\x1f{name}:{column.dtype}".encode())
                digest.update(pd.util.hash_pandas_object(column, index=False).to_numpy().tobytes())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def write(self, path: Path) -> None:
        """Write as Parquet, atomically; classes, pipeline and origin travel in the file's metadata."""
        meta = {"classes": self.classes, "pipeline": self.pipeline, "origin": self.origin,
                "fingerprint": self.fingerprint}
        write_with_facts(path, pa.Table.from_pandas(self._frame, preserve_index=False), _META, meta)

    @classmethod
    def read(cls, path: Path) -> SampleTable:
        """Read a table written by :meth:`write`.

        Raises:
            InputError: missing, damaged, not a sample table, or its content no longer matches its fingerprint.
        """
        if not Path(path).exists():
            raise InputError("There is no such sample table", where=path)
        table, meta = read_with_facts(path, _META, "samples")
        with reading(path, "samples"):
            made = cls(table.to_pandas(), meta["classes"], pipeline=meta["pipeline"], origin=meta["origin"])
            fingerprint = meta["fingerprint"]
        if made.fingerprint != fingerprint:
            raise InputError("The sample table's content does not match its fingerprint", where=path,
                             fix="It was changed or damaged after it was written; make it again")
        return made
