"""marine: what tracking writes: counts, animals, alerts and boxes as JSON and CSV, each file whole or not there."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from groundswell.core.files import atomic_path, write_json
from groundswell.pipelines.marine.tracking.annotating import annotated_video
from groundswell.pipelines.marine.tracking.counting import Priority
from groundswell.pipelines.marine.tracking.recipe import TrackRecipe
from groundswell.pipelines.marine.tracking.tracking import BOX_COLUMNS, Detect, Step, Tracks, track
from groundswell.pipelines.marine.tracking.video import Frames

COUNT_COLUMNS = ("species", "priority", "count", "most_at_once", "first_s", "last_s")
ALERT_COLUMNS = ("time_s", "frame", "track", "species", "score", "left", "top", "right", "bottom")
FORMAT = "groundswell tracks 1"


def write_tracks(tracks: Tracks, folder: Path, *, note: dict[str, Any] | None = None) -> None:
    """Write ``tracks.json`` (all of it but boxes), ``counts.csv``, ``animals.csv`` and ``alerts.csv`` into ``folder``.

    Args:
        tracks: what was found.
        folder: made where there is none.
        note: what else is to be said of it, such as which model found it; ``{"simulated": True}`` where that is so.

    Raises:
        FailureError: the disk is full.
        InputError: the folder cannot be written to.
    """
    animals = tracks.animals.to_dict("records")
    alerts = [asdict(alert) for alert in tracks.alerts]
    write_json(folder / "tracks.json", {
        "format": FORMAT, "recording": tracks.name, "fps": tracks.fps, "frames": tracks.frames,
        "duration_s": tracks.duration_s, "recipe": tracks.recipe.model_dump(), "note": note or {},
        "counts": [asdict(count) for count in tracks.counts], "alerts": alerts, "animals": animals,
        "left_out": list(tracks.left_out)})
    _write_csv(folder / "counts.csv", COUNT_COLUMNS, [list(asdict(count).values()) for count in tracks.counts])
    _write_csv(folder / "animals.csv", list(tracks.animals.columns), tracks.animals.to_numpy(object).tolist())
    _write_csv(folder / "alerts.csv", ALERT_COLUMNS,
               [[*list(alert.values())[:-1], *alert["box"]] for alert in alerts])


@contextlib.contextmanager
def boxes_file(path: Path, classes: Sequence[str]) -> Iterator[Callable[[Step], None]]:
    """A sink that writes animals' boxes to a CSV file as they come: a box's ``species`` is its own, not its animal's.

    The boxes of an animal come from the frame on in which it is counted, then with those of the frames before: the file
    is in the order of its frames but for those.
    """
    columns = [("species" if name == "label" else name) for name in BOX_COLUMNS]
    place = BOX_COLUMNS.index("label")
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)

        def write(step: Step) -> None:
            for row in step.rows:
                values = list(row)
                values[place] = classes[row[place]]
                writer.writerow(_rounded(values))

        yield write


def track_to_folder(detect: Detect, frames: Frames, folder: Path, recipe: TrackRecipe, *, classes: Sequence[str],
                    priority: Priority | None = None, video: bool = True, batch: int = 8,
                    note: dict[str, Any] | None = None, quiet: bool = False) -> Tracks:
    """Track a recording and write all there is to know into ``folder``: what write_tracks does, ``boxes.csv``, and
    ``annotated.mp4`` where ``video`` is asked for. Memory does not grow with the recording's length.

    Raises:
        InputError: a recording that cannot be read or breaks off; then none of the files is written.
        FailureError: the disk is full.
    """
    with contextlib.ExitStack() as stack:
        sinks = [stack.enter_context(boxes_file(folder / "boxes.csv", classes))]
        if video:
            sinks.append(stack.enter_context(annotated_video(folder / "annotated.mp4", fps=frames.fps, classes=classes,
                                                             min_hits=recipe.min_hits, priority=priority)))
        tracks = track(detect, frames, recipe, classes=classes, priority=priority, batch=batch, sinks=sinks,
                       keep_boxes=False, quiet=quiet)
    write_tracks(tracks, folder, note=note)
    return tracks


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(_rounded(row) for row in rows)


def _rounded(row: Sequence[Any]) -> list[Any]:
    return [round(value, 4) if isinstance(value, float) else value for value in row]
