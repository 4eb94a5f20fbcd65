"""das: using a model from the command line: predict, detect, plot. An exported file needs no torch."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from groundswell.core.errors import InputError
from groundswell.core.progress import progress
from groundswell.pipelines.das.labels import file_of
from groundswell.pipelines.das.predictor import Predictor

if TYPE_CHECKING:
    from groundswell.pipelines.das.predict import Progress


def open_model(model: Path, *, fold: int = 0, device: str = "auto") -> Predictor:
    """A predictor from the folder of a run (through torch) or from an exported file (through onnxruntime).

    Raises:
        InputError: it is neither, or was made by another pipeline.
    """
    if model.is_dir():
        from groundswell.pipelines.das.network import run_predictor

        return run_predictor(model, fold=fold, device=device)
    from groundswell.deploy.artifact import Artifact

    artifact = Artifact.open(model)
    if artifact.metadata.get("pipeline") != "das":
        raise InputError("This model was not made by the pipeline 'das'", where=model)
    if fold:
        raise InputError("An exported file holds one model: there is no fold to choose", where=model,
                         fix="Leave --fold out, or export the fold by 'groundswell export --fold'")
    return artifact


def predict_with(model: Path, inputs: list[Path], *, out: Path, aggregate: str, fold: int, batch_size: int, device: str,
                 plot: Path | None) -> int:
    """Predict records and write ``out``; exit status 0, or 2 if any file could not be predicted."""
    from groundswell.pipelines.das.predict import predict_inputs, write_csv, write_json

    if aggregate not in ("average", "vote"):
        raise InputError(f"There is no aggregation '{aggregate}'", where="--aggregate", fix="Choose average or vote")
    if out.suffix.lower() not in (".json", ".csv"):
        raise InputError("Predictions are written as .json or .csv", where=f"--out {out}")
    predictor = open_model(model, fold=fold, device=device)
    with _seconds_bar("predict") as tell:
        results = predict_inputs(predictor, inputs, aggregate="vote" if aggregate == "vote" else "average",
                                 batch=batch_size, progress=tell)
    (write_csv if out.suffix.lower() == ".csv" else write_json)(results, out)
    if plot is not None:
        from groundswell.pipelines.das.plots import plot_predictions

        plot_predictions(results, plot)
    failed = [result for result in results if result.error]
    for result in results:
        place = f"{result.file}#{result.dataset}" if result.dataset else result.file
        if result.error:
            print(f"{place}: {result.error}", file=sys.stderr)
        else:
            print(f"{place}: {result.class_name} {result.confidence:.3f}"
                  + "".join(f"; {note}" for note in result.notes))
    print(f"Wrote {out}: {len(results) - len(failed)} predicted, {len(failed)} failed.")
    return 2 if failed else 0


def detect_with(model: Path, inputs: list[Path], *, out: Path, threshold: float, stride_s: float, batch_size: int,
                fold: int, plot: Path | None, average_channels: int, gate: float, min_windows: int) -> int:
    """Detect events and write ``out``; exit status 0, or 2 if any file could not be read."""
    from groundswell.pipelines.das.detect import DetectSettings, detect
    from groundswell.pipelines.das.detect_output import summary, write_detections

    if out.suffix.lower() not in (".csv", ".xml", ".qml", ".quakeml"):
        raise InputError("Catalogues are written as .csv or .xml (QuakeML)", where=f"--out {out}")
    settings = DetectSettings(threshold=threshold, stride_s=stride_s or None, batch=batch_size, gate=gate,
                              average_channels=average_channels, min_windows=min_windows)
    predictor = open_model(model, fold=fold)
    with _seconds_bar("detect") as tell:
        found = detect(predictor, inputs, settings, progress=tell)
    notes = write_detections(found, out)
    if plot is not None:
        from groundswell.pipelines.das.plots import plot_detections

        plot_detections(found, plot)
    for line in (*summary(found), *notes):
        print(line)
    print(f"Wrote {out}.")
    return 2 if found.failures else 0


@contextlib.contextmanager
def _seconds_bar(verb: str) -> Iterator[Progress]:
    """A bar of recorded seconds that is told (seconds done, seconds in all, file)."""
    with progress(None, verb, "s of recording") as bar:
        done = 0

        def tell(done_s: float, total_s: float, file: str) -> None:
            nonlocal done
            name = Path(file_of(file)).name
            bar.note(f"{name}, {100 * done_s / total_s:.0f} %" if total_s else name)
            bar.advance(max(0, int(done_s) - done))
            done = max(done, int(done_s))

        yield tell


def plot_file(file: Path, out: Path | None, *, start_s: float, length_s: float, percentile: float,
              events: Path | None, channels: tuple[int, int] | None) -> Path:
    """Draw the first waveform of a file; returns the picture's path."""
    from groundswell.pipelines.das.formats import find_records
    from groundswell.pipelines.das.plots import marks_of, plot_waterfall

    records = find_records(file)
    waveforms = [record for record in records if record.kind == "waveform"] or records
    if not waveforms:
        raise InputError("There is no record in this file", where=file)
    path = out or file.with_suffix(".png")
    marks = marks_of(events, waveforms[0]) if events is not None else ()
    plot_waterfall(waveforms[0], path, start_s=start_s, length_s=length_s or None, clip_percentile=percentile,
                   events=marks, channels=channels)
    return path


def keep_checksums(folders: list[Path]) -> bool:
    """Write the checksums of each folder; whether every file that had one already is as it was. Told on stderr."""
    from groundswell.pipelines.das.checksums import NAME, write_checksums

    for folder in folders:
        if not folder.is_dir():
            raise InputError("Checksums are kept in a folder, beside its files", where=folder, fix="Name the folder")
    good = True
    for folder in folders:
        found = write_checksums(folder)
        bad = [*(f"{name} has changed since" for name in found.changed),
               *(f"{name} cannot be read" for name in found.unreadable)]
        for line in bad:
            print(f"{folder}: {line}", file=sys.stderr)
        print(f"{folder / NAME}: " + (f"left as it was, for {len(bad)} file(s) are not as listed" if bad else
              f"{len(found.unlisted)} file(s) added, {len(found.same)} as before, {len(found.missing)} missing"),
              file=sys.stderr)
        good = good and not bad
    return good


def verify_folder(folder: Path) -> int:
    """Compare a folder with its checksums and tell; exit status 0, or 2 if it does not hold."""
    from groundswell.pipelines.das.checksums import verify

    found = verify(folder)
    for names, what in ((found.changed, "CHANGED"), (found.missing, "MISSING"), (found.unreadable, "UNREADABLE"),
                        (found.unlisted, "not listed")):
        for name in names:
            print(f"{what}: {name.encode('utf-8', 'backslashreplace').decode()}")  # a name need not be UTF-8
    bad = len(found.changed) + len(found.missing) + len(found.unreadable)
    print(f"{len(found.same)} file(s) are as they were; {bad} are not; {len(found.unlisted)} have no checksum.")
    return 0 if found.good else 2


def repack_into(source: Path, out: Path, layout: str, chunk_samples: int, compression: str) -> int:
    """Repack and tell; exit status 0, or 2 if some file had to be left out."""
    from groundswell.pipelines.das.repack import packing_of, repack

    found = repack(source, out, packing_of(layout, chunk_samples, compression))
    for name, why in found.failed.items():
        print(f"Left out: {name}: {why}")
    if found.outdated:
        print(f"Not copied: {', '.join(found.outdated)}, for the new files have other bytes; make new checksums: "
              f"groundswell das scan {out} --checksums")
    print(f"{len(found.written)} file(s) of records rewritten and compared ({found.bytes_before / 2**20:.1f} MiB, now "
          f"{found.bytes_after / 2**20:.1f} MiB), {len(found.copied)} other(s) copied, {len(found.kept)} done before, "
          f"{len(found.failed)} left out.")
    print(f"Next: groundswell das scan {out}")
    return 2 if found.failed else 0
