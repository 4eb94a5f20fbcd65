"""data: predictions, the one form in which evaluation sees a network, an ensemble, an exported file or a control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.parquet import read_with_facts, reading, write_with_facts

_META = b"groundswell.predictions"


class PredictionTable(Protocol):
    """What every form of predictions has in common, so that a fit can keep them whatever is predicted."""

    @property
    def sample_id(self) -> NDArray[np.object_]:
        """Text, shape (n,)."""
        ...

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def write(self, path: Path) -> None:
        """Write as Parquet, atomically."""
        ...

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what :meth:`write` wrote."""
        ...

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """All parts after one another."""
        ...


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of samples.

    Attributes:
        sample_id: text, shape (n,).
        truth: int64, shape (n,), -1 where unknown.
        probability: float64, shape (n, classes); rows sum to one.
        classes: class names in column order.
        member: which model of an ensemble, shape (n,), text.
        fold: int64, shape (n,), -1 where there are no folds.
        note: free facts (``{"allow_leakage": reason}``, ``{"simulated": True}``) that travel with every number.
    """

    sample_id: NDArray[np.object_]
    truth: NDArray[np.int64]
    probability: NDArray[np.float64]
    classes: tuple[str, ...]
    member: NDArray[np.object_]
    fold: NDArray[np.int64]
    note: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.sample_id)
        if self.probability.shape != (n, len(self.classes)):
            raise InputError(f"Predictions of {n} samples and {len(self.classes)} classes cannot have the shape "
                             f"{self.probability.shape}")
        if not n == len(self.truth) == len(self.member) == len(self.fold):
            raise InputError(f"Predictions of {n} samples need as many truths, members and folds; there are "
                             f"{len(self.truth)}, {len(self.member)} and {len(self.fold)}")
        if not np.isfinite(self.probability).all():
            bad = int(np.flatnonzero(~np.isfinite(self.probability).all(axis=1))[0])
            raise InputError("A predicted probability is not finite", where=str(self.sample_id[bad]))

    def __len__(self) -> int:
        return len(self.sample_id)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Index of the most probable class, shape (n,)."""
        return np.asarray(self.probability.argmax(axis=1), dtype=np.int64)

    @classmethod
    def of(cls, sample_id: Sequence[str] | NDArray[Any], truth: NDArray[Any], probability: NDArray[Any],
           classes: Sequence[str], *, member: str = "model", fold: int = -1,
           note: dict[str, Any] | None = None) -> Predictions:
        """Predictions of one member and one fold."""
        n = len(sample_id)
        return cls(np.asarray(sample_id, dtype=object), np.asarray(truth, dtype=np.int64),
                   np.asarray(probability, dtype=np.float64), tuple(classes), np.full(n, member, dtype=object),
                   np.full(n, fold, dtype=np.int64), dict(note or {}))

    @classmethod
    def concatenate(cls, parts: Sequence[Predictions]) -> Predictions:
        """All parts after one another; they must share their classes. Notes are merged, first one wins."""
        if not parts or any(p.classes != parts[0].classes for p in parts):
            raise InputError("Predictions can only be joined when there are some and their classes agree")
        note: dict[str, Any] = {}
        for part in reversed(parts):
            note.update(part.note)
        return cls(np.concatenate([p.sample_id for p in parts]), np.concatenate([p.truth for p in parts]),
                   np.concatenate([p.probability for p in parts]), parts[0].classes,
                   np.concatenate([p.member for p in parts]), np.concatenate([p.fold for p in parts]), note)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Predictions:
        """The predictions at these positions or where the mask is true."""
        return Predictions(self.sample_id[rows], self.truth[rows], self.probability[rows], self.classes,
                           self.member[rows], self.fold[rows], self.note)

    def frame(self) -> pd.DataFrame:
        """As a data frame with one ``p_<class>`` column for each class."""
        columns = {f"p_{name}": self.probability[:, k] for k, name in enumerate(self.classes)}
        return pd.DataFrame({"sample_id": self.sample_id, "truth": self.truth, "predicted": self.predicted, **columns,
                             "member": self.member, "fold": self.fold})

    def write(self, path: Path) -> None:
        """Write as Parquet, atomically."""
        table = pa.Table.from_pandas(self.frame(), preserve_index=False)
        write_with_facts(path, table, _META, {"classes": self.classes, "note": self.note})

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read predictions written by :meth:`write`.

        Raises:
            InputError: missing, damaged or something else.
        """
        table, meta = read_with_facts(path, _META, "predictions")
        with reading(path, "predictions"):
            frame = table.to_pandas()
            probability = frame[[f"p_{name}" for name in meta["classes"]]].to_numpy(np.float64)
            return cls(frame["sample_id"].to_numpy(object), frame["truth"].to_numpy(np.int64), probability,
                       tuple(meta["classes"]), frame["member"].to_numpy(object), frame["fold"].to_numpy(np.int64),
                       meta["note"])
