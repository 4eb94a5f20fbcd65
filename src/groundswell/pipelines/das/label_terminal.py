"""das: the dialogue that asks a person for the label of each file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pandas as pd

from groundswell.core.errors import GroundswellError, InputError
from groundswell.data.table import SampleTable
from groundswell.pipelines.das.label_journal import LabelEvent, LabelJournal
from groundswell.pipelines.das.labels import event_of_file, file_of, names_of
from groundswell.pipelines.das.record import Record
from groundswell.pipelines.das.record_index import CACHE, Found, find_all

Draw = Callable[[Record, Path], None]
"""Writes a picture of a record to a PNG file."""

PICTURES = CACHE.parent / "pictures"


@dataclass(frozen=True)
class Progress:
    """Files with a label, and files without, when the dialogue ended."""

    labelled: int
    unlabelled: int


def label_folder(folder: Path, annotator: str, *, classes: Sequence[str], draw: Draw, answers: TextIO,
                 screen: TextIO) -> Progress:
    """Ask for the label of each unlabelled file of a folder; every answer is saved before the next question.

    An answer is the number of a class, ``s`` (skip: ask in the next session), ``u`` (undo the latest answer and ask
    again) or ``q``. The end of the answers is a ``q``. Calling it again goes on with what is unlabelled.

    Args:
        folder: folder of records.
        annotator: who answers.
        classes: names of the labels.
        draw: writes a waterfall picture of a record to a PNG file.
        answers: what is read from, a line for each answer.
        screen: what is written to.

    Raises:
        InputError: the folder holds no waveform, or its labels.json or a journal is damaged.
    """
    files = _files(find_all(folder).found)
    if not files:
        raise InputError("There is no waveform to label", where=folder,
                         fix="Run 'groundswell das scan' on the folder to see what is in it")
    journal = LabelJournal(folder, file_table(files, classes).fingerprint, annotator, classes)
    taken_over = journal.import_labels()
    if taken_over:
        print(f"{taken_over} label(s) taken over from labels.json.", file=screen)
    if journal.events:
        journal.export()
    skipped: set[str] = set()
    names = names_of(key for key in files)
    again: str | None = None
    while True:
        labelled = {file for name in journal.labels() for file in names.get(name, ())}
        todo = [name for name in files if name not in labelled and name not in skipped]
        if not todo:
            break
        name = again if again in todo else todo[0]
        again = None
        print(f"\n{name}   ({len(labelled)} of {len(files)} labelled)", file=screen)
        _show(folder, name, files[name], draw, screen)
        answer = _ask(classes, answers, screen)
        if answer == "q":
            break
        again = _take(answer, name, files[name], journal, skipped, screen)
    labelled = {file for name in journal.labels() for file in names.get(name, ())}
    return Progress(len(labelled), len(files) - len(labelled))


def _files(found: dict[str, Found]) -> dict[str, Found]:
    """The first waveform of each file, by the file's path inside the folder."""
    files: dict[str, Found] = {}
    for key, item in found.items():
        if item.record.kind == "waveform" and item.record.samples and item.record.channels:
            files.setdefault(file_of(key), item)
    return files


def file_table(files: dict[str, Found], classes: Sequence[str]) -> SampleTable:
    """What is labelled, a row for each file; its fingerprint names the journal's folder."""
    names = list(files)
    frame = pd.DataFrame({"sample_id": names, "record": names, "label": pd.array([None] * len(names), dtype="Int64"),
                          "group": [event_of_file(name) for name in names],
                          "content": [item.content for item in files.values()]})
    return SampleTable(frame, classes, pipeline="das")


def _show(folder: Path, name: str, item: Found, draw: Draw, screen: TextIO) -> None:
    picture = folder / PICTURES / f"{name}.png"
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        draw(item.record, picture)
        print(f"  picture: {picture}", file=screen)
    except (GroundswellError, OSError) as error:
        print(f"  no picture: {error}", file=screen)
    if item.record.verdict != "ok":
        print(f"  note: {item.record.verdict}", file=screen)


def _ask(classes: Sequence[str], answers: TextIO, screen: TextIO) -> str:
    """A class number, ``s``, ``u`` or ``q``; asks until it gets one."""
    choices = [str(k) for k in range(len(classes))]
    question = ", ".join(f"{k} {c.replace('_', ' ')}" for k, c in enumerate(classes)) + ", s skip, u undo, q quit: "
    while True:
        print(f"  {question}", end="", file=screen, flush=True)
        line = answers.readline()
        answer = line.strip().lower()
        if not line:
            return "q"
        if answer in choices:
            return answer
        if answer in ("s", "skip", "u", "undo", "q", "quit"):
            return answer[0]
        print(f"  '{line.strip()}' is none of these.", file=screen)


def _take(answer: str, name: str, item: Found, journal: LabelJournal, skipped: set[str],
          screen: TextIO) -> str | None:
    """Save an answer. Returns the file to ask for next, if the answer says which."""
    if answer == "s":
        journal.append(LabelEvent("skip", name, content=item.content))
        skipped.add(name)
        return None
    if answer == "u":
        last = journal.last()
        if last is None:
            print("  There is nothing to undo.", file=screen)
            return name
        journal.append(LabelEvent("undo", last.file, undoes=last.id))
        journal.export()
        skipped.discard(last.file)
        print(f"  Took back the answer for {last.file}.", file=screen)
        return last.file
    journal.append(LabelEvent("label", name, int(answer), content=item.content))
    journal.export()
    return None
