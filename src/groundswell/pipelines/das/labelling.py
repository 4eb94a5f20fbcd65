"""das: labelling from the command line: from a catalogue of events, or by asking a person."""

from __future__ import annotations

import sys
from pathlib import Path

from groundswell.core.errors import InputError
from groundswell.core.files import write_bytes
from groundswell.pipelines.das.catalogue import (
    ArrivalRule,
    intervals_from_catalogue,
    read_catalogue,
    write_intervals,
)
from groundswell.pipelines.das.label_terminal import label_folder
from groundswell.pipelines.das.recipe import DasDataRecipe
from groundswell.pipelines.das.record import Record
from groundswell.pipelines.das.record_index import find_all

CLASSES = DasDataRecipe().classes


def label_from_catalogue(folder: Path, events: Path, out: Path | None, *, site: tuple[float, float] | None = None,
                         duration_s: float = 60.0) -> str:
    """Write the interval table of a folder's records from a catalogue; what to tell the person.

    Raises:
        InputError: the catalogue cannot be read, or none of its events lies in any record.
    """
    if duration_s <= 0:
        raise InputError(f"An event lasts longer than {duration_s:g} s", where="--duration-s")
    path = out or folder / "intervals.csv"
    if path.suffix.lower() not in (".csv", ".parquet", ".pq"):
        raise InputError("Intervals are written as .csv or .parquet", where=f"--out {path}")
    records = {key: found.record for key, found in find_all(folder).found.items()}
    catalogue = read_catalogue(events)
    found = intervals_from_catalogue(catalogue, records, CLASSES,
                                     ArrivalRule(site=site, duration_s=duration_s))
    held = found.frame[found.frame["label"] != "noise"]
    if not len(held):
        raise InputError(f"None of the catalogue's {len(catalogue)} event(s) makes a label: "
                         f"{len(found.outside)} lie in no record of {folder}, "
                         f"{len(found.unknown)} are of no kind that is a class ({', '.join(CLASSES)})", where=events,
                         fix="Compare the times with those of 'groundswell das scan', and look at the column 'kind'")
    kept = _keep(path)
    write_intervals(found.frame, path)
    lines = [*([f"{path.name} was there already; it is kept as {kept.name}."] if kept else []),
             f"Wrote {path}: {held['event_id'].nunique()} event(s) in {held['record'].nunique()} record(s); "
             f"{found.frame['record'].nunique() - held['record'].nunique()} record(s) hold noise only."]
    for names, what in ((found.outside, "lie in no record"), (found.unknown, "have a kind that is no class"),
                        (found.untimed, "do not say when they begin (records)")):
        if names:
            lines.append(f"{len(names)} {what}: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}")
    lines.append(f"Next: groundswell das train fibre --set data.folder={folder}")
    return "\n".join(lines)


def _keep(path: Path) -> Path | None:
    """Copy labels that are about to be replaced: a person may have made them."""
    if not path.exists():
        return None
    kept = path.with_name(f"{path.name}.before")
    write_bytes(kept, path.read_bytes())
    return kept


def label_by_asking(folder: Path, annotator: str) -> str:
    """Ask for each unlabelled file in the terminal; what to tell the person at the end."""
    done = label_folder(folder, annotator, classes=CLASSES, draw=_draw, answers=sys.stdin, screen=sys.stderr)
    # An interval table is read before labels.json, unless the recipe says otherwise.
    named = " --set data.labels=labels.json" if any(folder.glob("intervals.*")) else ""
    following = (f"Next: groundswell das train fibre --set data.folder={folder}{named}" if not done.unlabelled
                 else f"Go on with: groundswell das label {folder}")
    return f"{done.labelled} file(s) labelled, {done.unlabelled} left. {following}"


def _draw(record: Record, path: Path) -> None:
    from groundswell.pipelines.das.plots import plot_waterfall

    plot_waterfall(record, path)
