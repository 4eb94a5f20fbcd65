"""marine: a detector in use on a recording: tracks, counts, alerts and the annotated video, with a page to look at."""

from __future__ import annotations

from pathlib import Path

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.detecting import OpenDetector, open_detector
from groundswell.pipelines.marine.tracking.recipe import TrackRecipe
from groundswell.pipelines.marine.tracking.results import track_to_folder
from groundswell.pipelines.marine.tracking.video import open_frames


def track_file(model: Path, source: Path, out: Path, recipe: TrackRecipe, *, video: bool = True,
               partial: bool = False, quiet: bool = False) -> list[str]:
    """Follow the animals of a video or a folder of frames; what was counted, in sentences.

    Args:
        model: run, chain, exported file or ensemble.
        source: video file, or folder of frames.
        out: folder for ``tracks.json``, tables and the annotated video.
        recipe: of tracking.
        video: write the annotated video.
        partial: take a video that breaks off for as long as it goes.
        quiet: no progress on stderr.

    Raises:
        InputError: the model or the recording cannot be read; nothing is written.
    """
    if not Path(source).exists():
        raise InputError("There is no such recording", where=source, fix="Name a video or a folder of frames")
    return follow(open_detector(model), str(model), source, out, recipe, video=video, partial=partial,
                  quiet=quiet)


def follow(detector: OpenDetector, model: str, source: Path, out: Path, recipe: TrackRecipe, *, video: bool = True,
           partial: bool = False, quiet: bool = False) -> list[str]:
    """As :func:`track_file`, with a detector that is open already; ``model`` is what it is called."""
    priority, new = dict(zip(detector.classes, detector.priority, strict=True)), not Path(out).exists()
    note = {"model": model, "calibrated": detector.calibrator is not None,
            **({"simulated": True} if detector.simulated else {})}
    try:
        tracks = track_to_folder(detector, open_frames(source, fps=recipe.fps, partial=partial), out, recipe,
                                 classes=detector.classes, priority=priority, video=video, note=note, quiet=quiet)
    except InputError:
        if new and Path(out).is_dir() and not any(Path(out).iterdir()):
            Path(out).rmdir()
        raise
    counted = ", ".join(f"{one.count} {one.species}" for one in tracks.counts if one.count) or "no animal"
    lines = [f"{tracks.frames} frames ({tracks.fps:g} a second) of {tracks.duration_s:.1f} s: {counted}."]
    if tracks.alerts:
        lines.append(f"{len(tracks.alerts)} alert(s) for critical species; see {out / 'alerts.csv'}.")
    if detector.simulated:
        lines.append("The detector was trained on simulated images: of a real recording these counts say nothing.")
    return [*lines, *(f"Left out: {line}" for line in tracks.left_out), f"Wrote {out}."]
