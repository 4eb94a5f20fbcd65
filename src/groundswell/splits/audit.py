"""splits: the leakage audit, which looks for what two parts of one fold must not share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import RefusedError
from groundswell.data.table import SampleTable
from groundswell.splits.parts import PARTS

if TYPE_CHECKING:
    from groundswell.splits.manifest import SplitManifest

_EXAMPLES = 5
_SHARED = {"group": ("group is", "groups are"), "event": ("event is", "events are"),
           "record": ("record is", "records are"), "content": ("piece of content is", "pieces of content are")}
_NEEDS = {"group": ("group",), "event": ("event",), "record": ("record",), "content": ("content",),
          "overlap": ("record", "start", "stop")}


@dataclass(frozen=True)
class Finding:
    """Something that two parts of one fold share.

    Attributes:
        kind: ``"group"``, ``"event"``, ``"record"`` or ``"content"`` (the same value in two parts), or ``"overlap"``
            (samples whose [start, stop) cuts into that of a sample of the same record in another part).
        count: how many values (for overlaps: samples), over all folds together, each counted once.
        folds: folds it happens in, counting from 0.
        examples: a few, in words; in words, folds count from 1.
    """

    kind: str
    count: int
    folds: tuple[int, ...]
    examples: tuple[str, ...]

    def sentence(self, folds: int) -> str:
        """The finding in words; ``folds`` is the number of folds there are."""
        if self.kind == "overlap":
            verb = "sample overlaps" if self.count == 1 else "samples overlap"
            what = f"{self.count:,} {verb} in time with one of another part"
        else:
            what = f"{self.count:,} {_SHARED[self.kind][self.count != 1]} in more than one part"
        where = f" in {len(self.folds)} of {folds} folds" if folds > 1 else ""
        return f"{what}{where}, for example {self.examples[0]}."


@dataclass(frozen=True)
class Audit:
    """What was looked for in a split, and found.

    Attributes:
        samples: rows of the table.
        folds: folds of the split.
        checked: kinds that were looked for.
        unchecked: for each kind that was not, why.
        findings: what was found; none in a clean split.
    """

    samples: int
    folds: int
    checked: tuple[str, ...]
    unchecked: dict[str, str]
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def summary(self) -> list[str]:
        """The audit in sentences, for a person."""
        found = {finding.kind for finding in self.findings}
        clean = [f"{kind}s" if kind != "content" else kind for kind in self.checked if kind not in found]
        lines = [finding.sentence(self.folds) for finding in self.findings]
        if clean:
            lines.append(f"Not shared between parts ({self.samples:,} samples, {self.folds} "
                         f"fold{'s' if self.folds > 1 else ''}): {', '.join(clean)}.")
        lines += [f"Not checked: {kind} ({reason})." for kind, reason in self.unchecked.items()]
        return lines

    def to_json(self) -> dict[str, Any]:
        """As JSON-able facts, with the summary for readers of the file."""
        return {"passed": self.passed, "summary": self.summary(), **asdict(self)}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Audit:
        """From what :meth:`to_json` gave."""
        findings = tuple(Finding(f["kind"], f["count"], tuple(f["folds"]), tuple(f["examples"]))
                         for f in facts["findings"])
        return cls(facts["samples"], facts["folds"], tuple(facts["checked"]), dict(facts["unchecked"]), findings)


def audit_split(table: SampleTable, assignment: NDArray[np.int8]) -> Audit:
    """Look for groups, events, records, overlapping ranges of time samples and duplicated content that two of the
    parts train, validation and test of one fold share.

    Empty text is no value: samples without an event, or whose content was not hashed, share nothing by that. A check
    whose columns the table lacks, or has only empty, is reported as not made.

    Args:
        table: the samples; ``event``, ``start`` with ``stop``, and ``content`` are looked at where they exist.
        assignment: part codes, shape (n,) or (n, folds).

    Raises:
        ValueError: the assignment has another length, or codes that are no parts.
    """
    assignment = np.asarray(assignment)
    if len(assignment) != len(table) or not np.isin(assignment, (0, *PARTS)).all():
        raise ValueError(f"an assignment of shape {assignment.shape} with codes {np.unique(assignment)[:9]} does not "
                         f"go with a table of {len(table)} rows")
    assignment = assignment.reshape(len(table), -1)
    checked: list[str] = []
    unchecked: dict[str, str] = {}
    findings: list[Finding | None] = []
    for kind, needs in _NEEDS.items():
        missing = [name for name in needs if not table.has(name)]
        if missing:
            unchecked[kind] = f"the table has no column {' and no '.join(repr(name) for name in missing)}"
            continue
        look = _Ranges(table) if kind == "overlap" else _Values(table, kind)
        if not look.any:
            unchecked[kind] = f"the column '{needs[-1]}' is empty"
            continue
        checked.append(kind)
        findings.append(_search(kind, look, assignment))
    return Audit(len(table), assignment.shape[1], tuple(checked), unchecked, tuple(f for f in findings if f))


def require_clean(manifest: SplitManifest, allow_leakage: str) -> dict[str, str]:
    """Let a split through to training, or refuse it.

    Args:
        manifest: the split.
        allow_leakage: the recipe's reason for training on a leaking split all the same; empty for none.

    Returns:
        A note for every number that comes of it: ``{"allow_leakage": reason}`` if the audit failed, else empty.

    Raises:
        RefusedError: the audit failed and there is no reason.
    """
    if manifest.audit.passed:
        return {}
    if not allow_leakage.strip():
        found = " ".join(finding.sentence(manifest.folds) for finding in manifest.audit.findings)
        raise RefusedError(f"The split leaks, so a score on it would mean little. {found}",
                           where=f"split.regime={manifest.regime}",
                           fix="Use split.regime=grouped, kfold or leave_one_out with groups that hold together what "
                               "belongs together, or give the reason to go on in split.allow_leakage")
    return {"allow_leakage": allow_leakage.strip()}


class _Values:
    """Looks for one value of a column in several parts."""

    def __init__(self, table: SampleTable, column: str) -> None:
        values = table.column(column)
        codes, names = pd.factorize(values.mask(values.astype(str) == ""))
        self._kind, self._names = column, names
        self._rows = np.flatnonzero(codes >= 0)
        self._codes = codes[self._rows]

    @property
    def any(self) -> bool:
        return len(self._rows) > 0

    def shared(self, part: NDArray[np.int8]) -> NDArray[np.bool_]:
        """For each value, whether it is in two parts."""
        return np.asarray(self._seen(part).sum(axis=1) > 1, bool)

    def _seen(self, part: NDArray[np.int8]) -> NDArray[np.bool_]:
        seen = np.zeros((len(self._names), len(PARTS) + 1), bool)
        seen[self._codes, part[self._rows]] = True
        return seen[:, 1:]

    def examples(self, part: NDArray[np.int8], found: NDArray[np.int64]) -> Iterator[str]:
        """``found``, positions of shared values, in words."""
        seen = self._seen(part)
        for value in found:
            names = [name for name, there in zip(PARTS.values(), seen[value], strict=True) if there]
            yield f"{self._kind} '{self._names[value]}' in {', '.join(names[:-1])} and {names[-1]}"


class _Ranges:
    """Looks for [start, stop) of one record that cut into one another from different parts."""

    def __init__(self, table: SampleTable) -> None:
        record = table.column("record")
        frame = pd.DataFrame({"start": table.column("start"), "stop": table.column("stop")})
        usable = frame.notna().all(axis=1).to_numpy() & (record != "").to_numpy()
        usable[usable] &= (frame["stop"][usable] > frame["start"][usable]).to_numpy(bool)
        rows = np.flatnonzero(usable)
        codes = pd.factorize(record.iloc[rows])[0]
        # Ranks instead of positions: they order alike, and a record's code times their number cannot overflow.
        edges = np.concatenate([frame["start"].iloc[rows].to_numpy(), frame["stop"].iloc[rows].to_numpy()])
        values, ranks = np.unique(edges, return_inverse=True)
        base = codes.astype(np.int64) * (len(values) + 1)
        start, stop = base + ranks[:len(rows)], base + ranks[len(rows):]
        ascending = np.argsort(start, kind="stable")
        self._rows, self._start, self._stop = rows[ascending], start[ascending], stop[ascending]
        self._ids, self._samples = table.column("sample_id").to_numpy(dtype=object), len(table)

    @property
    def any(self) -> bool:
        return len(self._rows) > 0

    def shared(self, part: NDArray[np.int8]) -> NDArray[np.bool_]:
        """For each sample, whether it begins within an earlier one of another part.

        Keys grow from record to record, so the furthest stop of all earlier rows, part by part, serves every record:
        one of an earlier record lies before this record's first start.
        """
        parts = part[self._rows]
        late = np.zeros(len(parts), bool)
        for code in PARTS:
            furthest = np.maximum.accumulate(np.where(parts == code, self._stop, -1))
            late |= (parts != code) & (parts > 0) & (furthest > self._start)
        marked = np.zeros(self._samples, bool)
        marked[self._rows[late]] = True
        return marked

    def examples(self, part: NDArray[np.int8], found: NDArray[np.int64]) -> Iterator[str]:
        """``found``, positions of samples, in words, each with one it cuts into."""
        parts = part[self._rows]
        for row in found:
            at = int(np.flatnonzero(self._rows == row)[0])
            other = (self._stop[:at] > self._start[at]) & (parts[:at] != parts[at]) & (parts[:at] > 0)
            earlier = self._rows[int(np.flatnonzero(other)[0])]
            yield (f"'{self._ids[row]}' ({PARTS[int(part[row])]}) overlaps '{self._ids[earlier]}' "
                   f"({PARTS[int(part[earlier])]})")


def _search(kind: str, look: _Values | _Ranges, assignment: NDArray[np.int8]) -> Finding | None:
    folds: list[int] = []
    examples: list[str] = []
    ever: NDArray[np.bool_] | None = None
    for fold, part in enumerate(assignment.T):
        shared = look.shared(part)
        ever = shared if ever is None else ever | shared
        if shared.any():
            folds.append(fold)
            suffix = f" of fold {fold + 1}" if assignment.shape[1] > 1 else ""
            wanted = np.flatnonzero(shared)[:_EXAMPLES - len(examples)]
            examples += [f"{text}{suffix}" for text in look.examples(part, wanted)]
    if ever is None or not folds:
        return None
    return Finding(kind, int(ever.sum()), tuple(folds), tuple(examples))
