"""das: labels that people give, as events in an append-only journal; ``labels.json`` is what it imports and exports."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from groundswell.core.errors import FailureError, InputError
from groundswell.core.files import write_json
from groundswell.pipelines.das.label_files import JOURNALS, read_labels_json
from groundswell.pipelines.das.labels import NOISE

EXPORT = "labels.json"


@dataclass(frozen=True)
class LabelEvent:
    """One line of a journal.

    Attributes:
        action: what was done.
        file: path of the file inside the folder.
        label: class, or -1 for noise; absent unless the action is ``"label"``.
        undoes: id of the event taken back (``"undo"`` only).
        content: hash of the file's values when it was labelled, as far as known.
        source: ``"terminal"``, or the file that the label was imported from.
        annotator: who.
        time: UTC, ISO 8601.
        id: unique.
    """

    action: Literal["label", "skip", "undo"]
    file: str
    label: int | None = None
    undoes: str = ""
    content: str = ""
    source: str = "terminal"
    annotator: str = ""
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="microseconds"))
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


class LabelJournal:
    """The journals below ``folder/labels``, one of which is written to.

    Every line is on the disk before :meth:`append` returns; no line is ever changed. A last line that a crash cut off
    was never acknowledged and does not count.

    Args:
        folder: folder of records.
        fingerprint: of the table of what is labelled; names the subfolder.
        annotator: who answers; names the file.
        classes: names of the labels, to read ``labels.json``.

    Raises:
        InputError: the annotator's name cannot be a file name, or a journal is damaged.
    """

    def __init__(self, folder: Path, fingerprint: str, annotator: str, classes: Sequence[str]) -> None:
        if not re.fullmatch(r"\w[\w.@+-]*", annotator):
            raise InputError(f"'{annotator}' cannot name a journal",
                             fix="Choose an annotator's name of letters, digits, '.', '-', '_', '@' or '+'")
        self.folder, self.annotator, self._classes = Path(folder), annotator, tuple(classes)
        self.path = self.folder / JOURNALS / fingerprint / f"{annotator}.jsonl"
        self.events = sorted((event for path in sorted((self.folder / JOURNALS).glob("*/*.jsonl"))
                              for event in read_journal(path)), key=lambda event: event.time)

    def labels(self) -> dict[str, int]:
        """The label of each file now: the latest one that was not taken back."""
        return labels_of(self.events)

    def append(self, event: LabelEvent) -> None:
        """Add one line and wait until it is on the disk.

        Raises:
            FailureError: it cannot be written; what was there before is whole.
        """
        event = LabelEvent(**{**asdict(event), "annotator": self.annotator})
        line = (json.dumps(asdict(event), ensure_ascii=False) + "\n").encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a+b", buffering=0) as handle:
                _cut_torn_line(handle.fileno())
                whole = os.fstat(handle.fileno()).st_size
                try:
                    if handle.write(line) != len(line):
                        raise OSError("only a part of it was written")
                    os.fsync(handle.fileno())
                except OSError:
                    os.ftruncate(handle.fileno(), whole)
                    raise
        except OSError as error:
            raise FailureError(f"The label could not be saved: {error}", where=self.path,
                               fix="Free some space or choose a folder that can be written to") from error
        self.events.append(event)

    def last(self) -> LabelEvent | None:
        """This annotator's latest label or skip that was not taken back and not imported."""
        undone = {event.undoes for event in self.events}
        mine = [e for e in self.events if e.annotator == self.annotator and e.action != "undo"
                and e.source == "terminal" and e.id not in undone]
        return mine[-1] if mine else None

    def import_labels(self) -> int:
        """Take over what ``labels.json`` says otherwise than the journals do (edited by hand, made elsewhere).

        Returns the number of labels taken over. An export that a crash left one event behind is no such edit.
        """
        path = self.folder / EXPORT
        if not path.exists():
            return 0
        there = {given.name: given.label for given in read_labels_json(path, self._classes).given}
        if there == labels_of(self.events[:-1]):
            return 0
        now = self.labels()
        news = {name: label for name, label in there.items() if now.get(name) != label}
        for name, label in news.items():
            self.append(LabelEvent("label", name, label, source=EXPORT))
        return len(news)

    def export(self) -> None:
        """Rewrite ``labels.json`` from the journals, atomically."""
        written: Mapping[str, int | str] = {name: "noise" if label == NOISE else label
                                            for name, label in sorted(self.labels().items())}
        write_json(self.folder / EXPORT, written)


def labels_of(events: Sequence[LabelEvent]) -> dict[str, int]:
    """The label of each file after these events, given in the order of time."""
    undone = {event.undoes for event in events if event.action == "undo"}
    return {e.file: e.label for e in events if e.action == "label" and e.label is not None and e.id not in undone}


def read_journal(path: Path) -> list[LabelEvent]:
    """The events of one journal, in order.

    Raises:
        InputError: a line other than a cut-off last one is no event; the message names it.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"The journal of labels cannot be read: {error}", where=path) from error
    lines = raw.split(b"\n")[:-1]  # What follows the last line end was cut off.
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            events.append(LabelEvent(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise InputError(f"This line of the journal of labels is damaged: {error}", where=f"{path}, line {number}",
                             fix="Restore the file, or take the line out if it cannot be mended") from error
    return events


def _cut_torn_line(descriptor: int) -> None:
    """Cut a last line without its end off: a crash left it, and nobody was told that it was saved."""
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return
    tail = os.pread(descriptor, size, 0)
    os.ftruncate(descriptor, tail.rfind(b"\n") + 1)
