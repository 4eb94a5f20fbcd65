"""das: the pipeline's verbs, as functions that the command line, notebooks and the workbench call. Light to import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundswell.core.errors import InputError
from groundswell.pipelines.verbs import Sets, list_knobs, recipe_of, tell, write_split

if TYPE_CHECKING:
    from groundswell.core.run import RunFolder
    from groundswell.pipelines.das.recipe import DasRecipe

Inputs = Annotated[list[Path], typer.Argument(help="Files or folders of records.", metavar="INPUT...")]
RecipeName = Annotated[str, typer.Argument(help="Recipe file, or the name of a shipped one (seed, fibre, demo).")]


def _recipe(name: str, sets: list[str] | None) -> DasRecipe:
    from groundswell.pipelines.das.recipe import DasRecipe

    return recipe_of(DasRecipe, "groundswell.pipelines.das", name, sets)


def _check_png(*pictures: Path | None) -> None:
    """Before the work is done, not after it."""
    for path in pictures:
        if path is not None and path.suffix.lower() != ".png":
            raise InputError("Pictures are written as .png", where=path)


def scan(
    inputs: Inputs,
    out: Annotated[Path | None, typer.Option(help="Also write the table: .parquet or .csv.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with status 2 if any record is not ok.")] = False,
    health: Annotated[bool, typer.Option(help="Look at the values too (NaN, dead, constant, saturated).")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    checksums: Annotated[bool, typer.Option("--checksums", help="Also write SHA256SUMS into each folder, for "
                                            "'groundswell das verify'; a hash is never replaced.")] = False,
) -> None:
    """See what is in files and folders of fibre records: format, axes, rate, layout, health.

    Example: groundswell das scan archive/ --out records.parquet
    """
    from rich.console import Console

    from groundswell.pipelines.das import formats
    from groundswell.pipelines.das import scan as scanning

    if out is not None:
        scanning.check_suffix(out)
    frame = scanning.scan(inputs, health=health)
    if frame.empty:
        raise InputError("There is no file of a known format", where=", ".join(map(str, inputs)),
                         fix=f"Known suffixes: {', '.join(sorted(formats.SUFFIXES))}; a file named itself may have any")
    if out is not None:
        scanning.write_table(frame, out)
    if as_json:
        print(frame.to_json(orient="records", date_format="iso", indent=2))
    else:
        Console().print(scanning.render(frame))
        bad = len(scanning.bad_rows(frame))
        print(f"{len(frame)} array(s) in {frame['path'].nunique()} file(s); {bad} not fit for training.")
        tell(scanning.storage_advice(frame, inputs[0]))
        if bad < len(frame):
            known = ("intervals.csv", "intervals.parquet", "labels.json")
            labelled = any((inputs[0] / name).exists() for name in known)
            following = f"train fibre --set data.folder={inputs[0]}" if labelled else f"label {inputs[0]}"
            print(f"Next: groundswell das {following}")
    if checksums:
        from groundswell.pipelines.das.use import keep_checksums

        # After the table: a damaged file is hashed too, and nobody wants that to go unseen.
        if not keep_checksums(inputs):
            raise typer.Exit(2)
    if strict and len(scanning.bad_rows(frame)):
        raise typer.Exit(2)


def verify(
    folder: Annotated[Path, typer.Argument(help="Folder whose SHA256SUMS 'das scan --checksums' wrote.")],
) -> None:
    """Compare whole files with their checksums. Exit status 2 if one has changed, is missing or cannot be read.

    Example: groundswell das verify archive/
    """
    from groundswell.pipelines.das.use import verify_folder

    raise typer.Exit(verify_folder(folder))


def repack(
    source: Annotated[Path, typer.Argument(help="File or folder of HDF5 records; it is not changed.", metavar="IN")],
    out: Annotated[Path, typer.Argument(help="New file, or folder: nothing is overwritten.", metavar="OUT")],
    layout: Annotated[str, typer.Option(help="contiguous, or chunks of all channels; what the other options need where "
                                             "absent.")] = "",
    chunk_samples: Annotated[int, typer.Option(help="Time samples of a chunk; 0 makes chunks of about 2 MiB.")] = 0,
    compression: Annotated[str, typer.Option(help="none, lz4 (read fast; others need a plugin) or gzip.")] = "none",
) -> None:
    """Rewrite records so that windows are read fast; compared bit for bit, and gone on with where it was stopped.

    Example: groundswell das repack archive/ archive-repacked/
    """
    from groundswell.pipelines.das.use import repack_into

    raise typer.Exit(repack_into(source, out, layout, chunk_samples, compression))


def label(
    folder: Annotated[Path, typer.Argument(help="Folder of records.")],
    events: Annotated[Path | None, typer.Option(help="Catalogue (CSV or QuakeML) to make intervals.csv from; without "
                                                     "it, each unlabelled file is asked for.")] = None,
    annotator: Annotated[str, typer.Option(help="Who answers, for the journal.")] = "me",
    latitude: Annotated[float | None, typer.Option(help="Of the fibre: with it, events are awaited at their travel "
                                                        "time.")] = None,
    longitude: Annotated[float | None, typer.Option(help="Of the fibre.")] = None,
    duration_s: Annotated[float, typer.Option(help="Length of an event of which only the time is known.")] = 60.0,
    out: Annotated[Path | None, typer.Option(help="Where to write the intervals; else FOLDER/intervals.csv.")] = None,
) -> None:
    """Label records: from a catalogue of events, or by asking for each file in the terminal.

    Example: groundswell das label archive/ --events catalogue.xml
    """
    from groundswell.pipelines.das.labelling import label_by_asking, label_from_catalogue

    if (latitude is None) != (longitude is None):
        raise InputError("The fibre's place needs both its latitude and its longitude", where="--latitude, --longitude")
    if events is not None:
        site = (latitude, longitude) if latitude is not None and longitude is not None else None
        print(label_from_catalogue(folder, events, out, site=site, duration_s=duration_s))
    else:
        print(label_by_asking(folder, annotator))


def index(
    recipe: RecipeName = "seed",
    sets: Sets = None,
    out: Annotated[Path | None, typer.Option(help="Write the sample table (Parquet).")] = None,
) -> None:
    """Cut records into windows, join the labels, and say what there is to train on.

    Example: groundswell das index seed --set data.folder=archive --out samples.parquet
    """
    from groundswell.pipelines.das.data import WORKFLOW

    if out is not None and out.suffix != ".parquet":
        raise InputError("A sample table is written as .parquet", where=f"--out {out}")
    archive = WORKFLOW.open(_recipe(recipe, sets))
    table = archive.table
    labels = table.labels()
    counts = {name: int((labels == k).sum()) for k, name in enumerate(table.classes)}
    print(f"{len(table)} windows of {len(archive.records)} record(s) in {table.column('group').nunique()} group(s); "
          + ", ".join(f"{n} {name}" for name, n in counts.items()) + f"; {int((labels < 0).sum())} unlabelled.")
    if out is not None:
        table.write(out)


def split(
    recipe: RecipeName = "seed",
    sets: Sets = None,
    out: Annotated[Path | None, typer.Option(help="Folder for split.json and split.parquet.")] = None,
) -> None:
    """Divide the windows by event and audit the division. Exit status 3 if it leaks.

    Example: groundswell das split seed --set data.folder=archive
    """
    from groundswell.pipelines.das.data import WORKFLOW
    from groundswell.splits.audit import require_clean
    from groundswell.splits.make import make_split

    loaded = _recipe(recipe, sets)
    manifest = make_split(WORKFLOW.open(loaded).table, loaded.split)
    for line in manifest.audit.summary():
        print(line)
    require_clean(manifest, loaded.split.allow_leakage)
    write_split(manifest, out)


def simulate(
    out: Annotated[Path | None, typer.Argument(help="Folder for the simulated archive.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="A knob of the simulator: --set events=60.")] = None,
    hours: Annotated[float, typer.Option(help="A continuous archive of so many hours, not one file an event.")] = 0,
    knobs: Annotated[bool, typer.Option("--knobs", help="List the knobs and their defaults, and leave.")] = False,
) -> None:
    """Make an archive of simulated earthquakes and quarry blasts with exact truth beside it.

    Example: groundswell das simulate sim/ --set events=44 --set snr_db=10
    """
    from groundswell.core.recipe import build_recipe
    from groundswell.pipelines.das.simulate.recipe import SimulateRecipe

    if knobs:
        list_knobs(SimulateRecipe)
        return
    from groundswell.pipelines.das.simulate.archive import simulate_archive, simulate_continuous

    if out is None:
        raise InputError("The folder for the simulated archive is missing", where="das simulate",
                         fix="Name it: groundswell das simulate FOLDER")
    recipe = build_recipe(SimulateRecipe, {}, sets or [], where="--set")
    if hours:
        simulate_continuous(recipe, out, hours)
    else:
        simulate_archive(recipe, out)
    print(f"Simulated records are in {out}. Next: groundswell das scan {out}")


def train(
    recipe: RecipeName = "seed",
    sets: Sets = None,
    out: Annotated[Path, typer.Option(help="Folder of the run; must be empty or absent.")] = Path("runs/das"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and say what would be done.")] = False,
) -> None:
    """Train a classifier of windows. A killed training goes on by `groundswell resume`.

    Example: groundswell das train fibre --set data.folder=archive --out runs/first
    """
    from groundswell.pipelines.workflow import plan_run, start_run, train_run

    loaded = _recipe(recipe, sets)
    if dry_run:
        for line in plan_run("das", loaded, out):
            print(line)
        return
    train_run(start_run("das", loaded, out))
    print(f"Trained. Next: groundswell evaluate {out}")


def detect(
    model: Annotated[Path, typer.Argument(help="Folder of a run, or an exported .onnx file.", metavar="RUN|FILE")],
    inputs: Inputs,
    out: Annotated[Path, typer.Option(help="Catalogue to write: .csv or .xml (QuakeML).")] = Path("events.csv"),
    threshold: Annotated[float, typer.Option(help="Least probability of an event that starts one.")] = 0.5,
    stride_s: Annotated[float, typer.Option(help="Seconds between windows; 0 takes the model's own stride.")] = 0.0,
    batch_size: Annotated[int, typer.Option(help="Windows in a batch.")] = 32,
    fold: Annotated[int, typer.Option(help="Use this fold's network alone (from 1); 0 averages all folds.")] = 0,
    min_windows: Annotated[int, typer.Option(help="Least windows above the threshold in an event.")] = 1,
    average_channels: Annotated[int, typer.Option(help="Average so many channels into one first: that much "
                                                       "faster.")] = 1,
    gate: Annotated[float, typer.Option(help="Leave out windows that nowhere rise to this many times the usual energy; "
                                             "0 leaves out none.")] = 0.0,
    plot: Annotated[Path | None, typer.Option(help="Also draw the probability over time to this PNG.")] = None,
) -> None:
    """Turn a continuous archive into a catalogue of events.

    Example: groundswell das detect runs/first archive/ --out events.xml
    """
    from groundswell.pipelines.das.use import detect_with

    _check_png(plot)
    status = detect_with(model, inputs, out=out, threshold=threshold, stride_s=stride_s, batch_size=batch_size,
                         fold=fold, plot=plot, average_channels=average_channels, gate=gate, min_windows=min_windows)
    raise typer.Exit(status)


def plot(
    file: Annotated[Path, typer.Argument(help="File to draw.")],
    out: Annotated[Path | None, typer.Option(help="PNG to write; FILE's name with .png otherwise.")] = None,
    start_s: Annotated[float, typer.Option(help="Seconds from the record's start.")] = 0.0,
    length_s: Annotated[float, typer.Option(help="Seconds to draw; 0 draws to the end.")] = 0.0,
    percentile: Annotated[float, typer.Option(help="Amplitudes are clipped at this percentile.")] = 99.0,
    events: Annotated[Path | None, typer.Option(help="Catalogue or intervals to mark.")] = None,
    channels: Annotated[tuple[int, int] | None, typer.Option(help="First channel and one past the last.")] = None,
) -> None:
    """Draw a record as a waterfall.

    Example: groundswell das plot record.h5 --out waterfall.png
    """
    from groundswell.pipelines.das.use import plot_file

    _check_png(out)
    path = plot_file(file, out, start_s=start_s, length_s=length_s, percentile=percentile, events=events,
                     channels=channels)
    print(f"Wrote {path}.")


def predict(model: Path, inputs: list[Path], **options: Any) -> int:
    """What `groundswell predict` calls; returns the exit status."""
    from groundswell.pipelines.das.use import predict_with

    _check_png(options.get("plot"))
    return predict_with(model, inputs, **options)


def export(run: RunFolder, **options: Any) -> list[str]:
    """What `groundswell export` calls; returns what to tell the person."""
    from groundswell.pipelines.das.ship import export_run

    return export_run(run, **options)


def demo(*, out: Path, seed: int) -> Path:
    """What `groundswell demo das` calls; returns the report's path."""
    from groundswell.pipelines.das.demonstrate import run_demo

    return run_demo(out, seed)
