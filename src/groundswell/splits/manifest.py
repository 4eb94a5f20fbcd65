"""splits: the manifest, which says of every sample which part it is in, and on what evidence that is safe."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import read_json, write_json
from groundswell.data.parquet import read_checked, reading, write_checked
from groundswell.data.table import SampleTable
from groundswell.splits.audit import Audit, audit_split
from groundswell.splits.parts import EXCLUDED, HOLDOUT, PARTS, TEST, TRAIN, VALIDATION

__all__ = ["EXCLUDED", "HOLDOUT", "PARTS", "TEST", "TRAIN", "VALIDATION", "SplitManifest"]

_FORMAT = 1


@dataclass(frozen=True)
class SplitManifest:
    """Who may see what.

    Attributes:
        table_fingerprint: of the table that was split; the manifest is good for no other.
        regime: how it was made, e.g. ``"grouped"``.
        seed: of the drawing.
        assignment: int8, shape (n, folds): EXCLUDED, TRAIN, VALIDATION, TEST or HOLDOUT for each row of the
            table and fold.
        audit: what was looked for and found.
        settings: of the regime, JSON-able; with an embargo also ``smallest_gap_days``, the gap that was found.
        sample_id: text, shape (n,), so that the file can be read on its own.
        stratum: see :class:`groundswell.splits.division.Division`; None where all tests are of one kind.
    """

    table_fingerprint: str
    regime: str
    seed: int
    assignment: NDArray[np.int8]
    audit: Audit
    settings: dict[str, Any]
    sample_id: NDArray[np.object_]
    stratum: NDArray[np.object_] | None = None

    @classmethod
    def of(cls, table: SampleTable, assignment: NDArray[np.int8], regime: str, seed: int,
           settings: dict[str, Any], stratum: NDArray[np.object_] | None = None) -> SplitManifest:
        """Audit an assignment, shape (n,) or (n, folds), and keep both.

        With ``embargo_days`` among the settings, gaps in time are audited too.
        """
        assignment = np.asarray(assignment, np.int8).reshape(len(table), -1)
        audit = audit_split(table, assignment, settings.get("embargo_days"))
        if audit.embargo_days is not None:
            settings = {**settings, "smallest_gap_days": audit.smallest_gap_days}
        return cls(table.fingerprint, regime, seed, assignment, audit, settings,
                   table.column("sample_id").to_numpy(dtype=object), stratum)

    @property
    def folds(self) -> int:
        """Number of folds; 1 for a single split."""
        return int(self.assignment.shape[1])

    @property
    def parts(self) -> dict[int, str]:
        """The parts there are, by code: train, validation, test, and holdout where one was asked for."""
        held = bool((self.assignment == HOLDOUT).any())
        return {code: name for code, name in PARTS.items() if code != HOLDOUT or held}

    def rows(self, part: int, fold: int = 0) -> NDArray[np.int64]:
        """Positions of the rows in a part of a fold, ascending; those of HOLDOUT are the same in every fold."""
        return np.flatnonzero(self.assignment[:, fold] == part).astype(np.int64)

    def counts(self) -> list[dict[str, int]]:
        """Samples in each part, one mapping from part to number for each fold."""
        return [{name: int((column == code).sum()) for code, name in self.parts.items()}
                for column in self.assignment.T]

    def write(self, folder: Path) -> None:
        """Write ``split.parquet`` (sample_id, a column of part codes for each fold, strata) and ``split.json``."""
        columns: dict[str, Any] = {f"fold_{k}": self.assignment[:, k] for k in range(self.folds)}
        if self.stratum is not None:
            columns["stratum"] = pa.array(self.stratum, pa.string())
        table = pa.table({"sample_id": pa.array(self.sample_id, pa.string()), **columns})
        write_checked(Path(folder) / "split.parquet", table)
        write_json(Path(folder) / "split.json", {
            "format": _FORMAT, "table_fingerprint": self.table_fingerprint, "regime": self.regime, "seed": self.seed,
            "folds": self.folds, "parts": {name: code for code, name in self.parts.items()}, "counts": self.counts(),
            "settings": self.settings, "audit": self.audit.to_json(), "assignment_digest": _digest(self.assignment)})

    @classmethod
    def read(cls, folder: Path, table: SampleTable) -> SplitManifest:
        """Read the manifest of ``table`` from a folder.

        Raises:
            InputError: missing, damaged, or made for another table.
        """
        path = Path(folder) / "split.json"
        facts = read_json(path)
        with reading(folder, "split manifest"):
            if facts["format"] != _FORMAT:
                raise InputError(f"Split manifests of format {facts['format']} cannot be read here", where=path)
            if facts["table_fingerprint"] != table.fingerprint:
                raise InputError("The split was made for another sample table: a row, a label or a class has changed",
                                 where=path, fix="Split again, or use the table that the split was made for")
            frame = read_checked(path.with_name("split.parquet")).to_pandas()
            assignment = frame[[f"fold_{k}" for k in range(facts["folds"])]].to_numpy(np.int8)
            sample_id = frame["sample_id"].to_numpy(dtype=object)
            stratum = frame["stratum"].to_numpy(dtype=object) if "stratum" in frame.columns else None
            manifest = cls(facts["table_fingerprint"], facts["regime"], facts["seed"], assignment,
                           Audit.from_json(facts["audit"]), facts["settings"], sample_id, stratum)
            whole = _digest(assignment) == facts["assignment_digest"]
        if not whole or not np.array_equal(sample_id, table.column("sample_id").to_numpy(dtype=object)):
            raise InputError("split.parquet does not belong to split.json, or one of them is damaged", where=folder,
                             fix="Split again")
        return manifest


def _digest(assignment: NDArray[np.int8]) -> str:
    digest = hashlib.blake2b(repr(assignment.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(assignment).tobytes())
    return digest.hexdigest()
