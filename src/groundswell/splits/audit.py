"""splits: the leakage audit, which looks for what two parts of one fold must not share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import RefusedError
from groundswell.data.table import SampleTable
from groundswell.splits.intervals import Intervals
from groundswell.splits.looks import Embargo, Gaps, Look, Values
from groundswell.splits.parts import PARTS

if TYPE_CHECKING:
    from groundswell.splits.manifest import SplitManifest

_EXAMPLES = 5
_SHARED = {"group": ("group is", "groups are"), "event": ("event is", "events are"),
           "record": ("record is", "records are"), "content": ("piece of content is", "pieces of content are")}
_NEEDS = {"group": ("group",), "event": ("event",), "record": ("record",), "content": ("content",),
          "overlap": ("record", "start", "stop"), "embargo": ("time",)}
_COUNTED = {"overlap": ("sample overlaps in time with one of another part",
                        "samples overlap in time with one of another part"),
            "embargo": ("sample begins within the embargo after one of another part",
                        "samples begin within the embargo after one of another part")}
CONTINUOUS = "continuous_records"
"""Fact of a table's origin: its records go on for so long that two parts may share one, though no stretch of it."""


@dataclass(frozen=True)
class Finding:
    """Something that two parts of one fold share.

    Attributes:
        kind: ``"group"``, ``"event"``, ``"record"`` or ``"content"`` (the same value in two parts), ``"overlap"``
            (samples whose [start, stop) cuts into that of a sample of the same record in another part) or
            ``"embargo"`` (samples of any record that begin less than the embargo after one of another part ends).
        count: how many values (for overlaps and the embargo: samples), over all folds together, each counted once.
        folds: folds it happens in, counting from 0.
        examples: a few, in words; in words, folds count from 1.
    """

    kind: str
    count: int
    folds: tuple[int, ...]
    examples: tuple[str, ...]

    def sentence(self, folds: int) -> str:
        """The finding in words; ``folds`` is the number of folds there are."""
        if self.kind in _COUNTED:
            what = f"{self.count:,} {_COUNTED[self.kind][self.count != 1]}"
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
        embargo_days: the gap in time that there must be between parts; None where none is asked for.
        smallest_gap_days: the smallest one there is, 0 where parts overlap in time; None where it was not looked for.
    """

    samples: int
    folds: int
    checked: tuple[str, ...]
    unchecked: dict[str, str]
    findings: tuple[Finding, ...]
    embargo_days: float | None = None
    smallest_gap_days: float | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def summary(self) -> list[str]:
        """The audit in sentences, for a person."""
        found = {finding.kind for finding in self.findings}
        clean = [f"{kind}s" if kind != "content" else kind for kind in self.checked
                 if kind not in found and kind != "embargo"]
        lines = [finding.sentence(self.folds) for finding in self.findings]
        if clean:
            lines.append(f"Not shared between parts ({self.samples:,} samples, {self.folds} "
                         f"fold{'s' if self.folds > 1 else ''}): {', '.join(clean)}.")
        if "embargo" in self.checked and "embargo" not in found and self.smallest_gap_days is not None:
            lines.append(f"Embargo kept: parts lie at least {self.smallest_gap_days:.1f} days apart in time "
                         f"({self.embargo_days:g} are asked for).")
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
        return cls(facts["samples"], facts["folds"], tuple(facts["checked"]), dict(facts["unchecked"]), findings,
                   facts.get("embargo_days"), facts.get("smallest_gap_days"))


def audit_split(table: SampleTable, assignment: NDArray[np.int8], embargo_days: float | None = None) -> Audit:
    """Look for groups, events, records, overlapping ranges of time samples and duplicated content that two of the
    parts train, validation, test and holdout of one fold share; and for gaps in time between them that are too short.

    Empty text is no value: samples without an event, or whose content was not hashed, share nothing by that. A check
    whose columns the table lacks, or has only empty, is reported as not made. So is that of records where the origin
    of the table says ``continuous_records``: years of one station may be divided, as long as no stretch is shared.

    Args:
        table: the samples; ``event``, ``start`` with ``stop``, ``time`` and ``content`` are looked at where they exist.
        assignment: part codes, shape (n,) or (n, folds).
        embargo_days: the gap that there must be in time between samples of two parts; None asks for none.

    Raises:
        ValueError: the assignment has another length, or codes that are no parts.
        InputError: the times of the table cannot be used.
    """
    assignment = np.asarray(assignment)
    if len(assignment) != len(table) or not np.isin(assignment, (0, *PARTS)).all():
        raise ValueError(f"an assignment of shape {assignment.shape} with codes {np.unique(assignment)[:9]} does not "
                         f"go with a table of {len(table)} rows")
    assignment = assignment.reshape(len(table), -1)
    looks, unchecked = _looks(table, embargo_days)
    findings = [_search(kind, look, assignment) for kind, look in looks.items()]
    embargo = looks.get("embargo")
    gap = embargo.smallest_days(assignment) if isinstance(embargo, Embargo) else None
    return Audit(len(table), assignment.shape[1], tuple(looks), unchecked, tuple(f for f in findings if f),
                 embargo_days, gap)


def _looks(table: SampleTable, embargo_days: float | None) -> tuple[dict[str, Look], dict[str, str]]:
    # What to look with, by kind; and for each kind that cannot be looked for, why.
    looks: dict[str, Look] = {}
    unchecked: dict[str, str] = {}
    for kind, needs in _NEEDS.items():
        if kind == "embargo" and embargo_days is None:
            continue
        missing = [name for name in needs if not table.has(name)]
        if missing:
            unchecked[kind] = f"the table has no column {' and no '.join(repr(name) for name in missing)}"
            continue
        if kind == "record" and table.origin.get(CONTINUOUS):
            unchecked[kind] = "records are continuous and may be divided in time"
            continue
        look = _look(table, kind, embargo_days or 0.0)
        if look.any:
            looks[kind] = look
        else:
            unchecked[kind] = f"the column '{needs[-1]}' is empty"
    return looks, unchecked


def _look(table: SampleTable, kind: str, embargo_days: float) -> Look:
    if kind == "overlap":
        return Gaps(table, Intervals.of_records(table))
    return Embargo(table, embargo_days) if kind == "embargo" else Values(table, kind)


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
                           fix="Use split.regime=grouped, kfold, leave_one_out or blocks (of samples with a place also "
                               "spatial or spatiotemporal) with groups that hold together what belongs together, or "
                               "give the reason to go on in split.allow_leakage")
    return {"allow_leakage": allow_leakage.strip()}


def _search(kind: str, look: Look, assignment: NDArray[np.int8]) -> Finding | None:
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
