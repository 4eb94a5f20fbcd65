"""symae: the pipeline's verbs, as functions that the command line, notebooks and the workbench call. Light to import.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundswell.core.errors import InputError
from groundswell.pipelines.verbs import Knobs, Run, Sets, list_knobs, recipe_of, tell, write_split

if TYPE_CHECKING:
    from groundswell.core.run import RunFolder
    from groundswell.pipelines.symae.recipe import SymaeRecipe

RecipeName = Annotated[str, typer.Argument(help="Recipe file, or the name of a shipped one (source, seed, demo).")]
Store = Annotated[Path | None, typer.Option(help="Another store of bags than the run's own.")]
Fold = Annotated[int, typer.Option(help="Which fold's network; 0 takes, for each event, one that has not seen it.")]
Scale = Annotated[int, typer.Option(help="Pictures are 950 x 450 points; so many pixels a point. 8 is for print.")]


def _recipe(name: str, sets: list[str] | None) -> SymaeRecipe:
    from groundswell.pipelines.symae.recipe import SymaeRecipe

    return recipe_of(SymaeRecipe, "groundswell.pipelines.symae", name, sets)


def simulate(
    out: Annotated[Path | None, typer.Argument(help="Folder for the simulated store of bags.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="A knob: --set events=600. Repeatable.")] = None,
    hdf5: Annotated[Path | None, typer.Option(help="Also write the traces as HDF5, event/pixel/station.")] = None,
    knobs: Knobs = False,
) -> None:
    """Make bags of simulated seismograms: sources, paths, shifts, polarities and noise, with exact truth.

    Example: groundswell symae simulate bags --set events=600 --set 'worlds=[]'
    """
    from groundswell.pipelines.symae.simulate.recipe import WorldRecipe

    if knobs:
        list_knobs(WorldRecipe)
        return
    from groundswell.core.recipe import build_recipe
    from groundswell.pipelines.symae.simulate.simulating import simulate as make

    if out is None:
        raise InputError("The folder for the simulated store is missing", where="symae simulate",
                         fix="Name it: groundswell symae simulate FOLDER")
    store = make(build_recipe(WorldRecipe, {}, sets or [], where="--set"), out, hdf5=hdf5)
    tell([f"Simulated {len(store.traces)} traces in {len(store)} bags of {store.bags['event'].nunique()} events.",
           *([f"Wrote {hdf5}."] if hdf5 else []), f"Next: groundswell symae train source --set data.store={out}"])


def prepare(
    archive: Annotated[Path | None, typer.Argument(help="HDF5 of event/pixel/station, or folder of SAC or miniSEED."
                                                   )] = None,
    out: Annotated[Path, typer.Argument(help="Folder for the store of bags.")] = Path("bags"),
    catalogue: Annotated[Path | None, typer.Option(help="Events: QuakeML or text.")] = None,
    stations: Annotated[Path | None, typer.Option(help="Places of stations: StationXML or text.")] = None,
    preset: Annotated[str, typer.Option(help="groundswell, or seed: as the original prepared its records."
                                        )] = "groundswell",
    sets: Annotated[list[str] | None, typer.Option("--set", help="A knob: --set least_traces=8. Repeatable.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of a store that is there.")] = False,
    knobs: Knobs = False,
) -> None:
    """Cut, taper and normalise seismograms and group them by event and pixel of the focal sphere.

    Example: groundswell symae prepare records.h5 bags --set least_traces=8
    """
    from groundswell.pipelines.symae.prepare_recipe import PRESETS, PrepareRecipe

    if knobs:
        list_knobs(PrepareRecipe)
        return
    from groundswell.core.recipe import build_recipe
    from groundswell.pipelines.symae.prepare import open_archive
    from groundswell.pipelines.symae.prepare import prepare as make

    if archive is None:
        raise InputError("The archive is missing", where="symae prepare",
                         fix="Name it: groundswell symae prepare ARCHIVE FOLDER")
    if preset not in PRESETS:
        raise InputError(f"There is no preset '{preset}'", where="--preset", fix=f"Choose from: {', '.join(PRESETS)}")
    recipe = build_recipe(PrepareRecipe, PRESETS[preset], sets or [], where="--set")
    store = make(open_archive(archive, recipe, catalogue=catalogue, stations=stations), recipe, out, replace=replace)
    tell([f"Prepared {len(store.traces)} traces in {len(store)} bags of {store.bags['event'].nunique()} events.",
           f"Next: groundswell symae train source --set data.store={out}, or groundswell symae align --iccs {out}"])


def split(
    recipe: RecipeName = "source",
    sets: Sets = None,
    out: Annotated[Path | None, typer.Option(help="Folder for split.json and split.parquet.")] = None,
) -> None:
    """Hold out whole events and audit the division. Exit status 3 if it leaks.

    Example: groundswell symae split source --set data.store=bags
    """
    from groundswell.pipelines.symae.data import WORKFLOW
    from groundswell.splits.audit import require_clean
    from groundswell.splits.make import make_split

    loaded = _recipe(recipe, sets)
    manifest = make_split(WORKFLOW.open(loaded).table, loaded.split)
    tell(manifest.audit.summary())
    require_clean(manifest, loaded.split.allow_leakage)
    write_split(manifest, out)


def train(
    recipe: RecipeName = "source",
    sets: Sets = None,
    out: Annotated[Path, typer.Option(help="Folder of the run; must be empty or absent.")] = Path("runs/symae"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and say what would be done.")] = False,
) -> None:
    """Train a network that tells sources from paths. A killed training goes on by `groundswell resume`.

    Example: groundswell symae train source --set data.store=bags --out runs/source
    """
    from groundswell.pipelines.workflow import plan_run, start_run, train_run

    loaded = _recipe(recipe, sets)
    if dry_run:
        tell(plan_run("symae", loaded, out))
        return
    run = start_run("symae", loaded, out)
    train_run(run)
    from groundswell.pipelines.symae.ship_artefacts import save_artefacts

    tell([*(f"Wrote {path}" for path in save_artefacts(run)), f"Trained. Next: groundswell evaluate {out}"])


def extract(
    run: Run,
    event: Annotated[str, typer.Argument(help="Name of the event.")],
    pixel: Annotated[int | None, typer.Option(help="Only this pixel of the focal sphere.")] = None,
    store: Store = None,
    out: Annotated[Path | None, typer.Option(help="Folder; RUN/extract/EVENT otherwise.")] = None,
    fold: Fold = 0,
    scale: Scale = 2,
) -> None:
    """Extract the coherent signal of each pixel of an event, beside stacks made without learning.

    Example: groundswell symae extract runs/source 20110915_193104_fij --store bags
    """
    from groundswell.pipelines.symae.extracting import extract_event

    tell(extract_event(run, event, pixel=pixel, store=store, out=out, fold=fold, scale=scale))


def align(
    run: Annotated[Path | None, typer.Argument(help="Folder of a trained run; none with --iccs.")] = None,
    iccs: Annotated[Path | None, typer.Option(help="Align this store without a network: by stacking alone.")] = None,
    store: Store = None,
    event: Annotated[str, typer.Option(help="Only this event.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder; RUN/align otherwise.")] = None,
    sac: Annotated[bool, typer.Option("--sac", help="Also write traces as SAC, the pick in t3 (obspy).")] = False,
    fold: Fold = 0,
    scale: Scale = 2,
) -> None:
    """Measure relative arrival times and polarities, and write them as a table and as picks in SAC headers.

    Example: groundswell symae align runs/source --store bags --sac --out picks
    """
    from groundswell.pipelines.symae.picking import align_run, align_store

    if (run is None) == (iccs is None):
        raise InputError("Either a run or --iccs with a store is needed", where="symae align",
                         fix="Write: groundswell symae align RUN, or: groundswell symae align --iccs STORE")
    if run is not None:
        tell(align_run(run, store=store, event=event, out=out, sac=sac, fold=fold, scale=scale))
    elif iccs is not None:
        tell(align_store(iccs, event=event, out=out or Path("align"), sac=sac, scale=scale))


def redatum(
    run: Run,
    source: Annotated[str, typer.Option(help="EVENT or EVENT/PIXEL that the source is taken from.")],
    path: Annotated[str, typer.Option(help="EVENT or EVENT/PIXEL that the paths and shifts are taken from.")],
    store: Store = None,
    out: Annotated[Path | None, typer.Option(help="Folder; RUN/redatum/... otherwise.")] = None,
    sac: Annotated[bool, typer.Option("--sac", help="Also write each virtual trace as SAC (obspy).")] = False,
    water_level: Annotated[float, typer.Option(help="Of the spectral ratio beside it: share of the largest power."
                                               )] = 0.1,
    fold: Fold = 0,
    scale: Scale = 2,
) -> None:
    """Make virtual seismograms: the source of one event on the paths of another, with the shifts of the other.

    Example: groundswell symae redatum runs/source --source 20120101_052755_izu --path 20110915_193104_fij/14
    """
    from groundswell.pipelines.symae.redatuming import redatum_events

    tell(redatum_events(run, source, path, store=store, out=out, sac=sac, water_level=water_level, fold=fold,
                         scale=scale))


def regions(
    run: Run,
    nside: Annotated[int, typer.Option(help="HEALPix resolution of the regions: 4 is 15 degrees across.")] = 4,
    store: Store = None,
    out: Annotated[Path | None, typer.Option(help="Folder; RUN/regions otherwise.")] = None,
    fold: Fold = 0,
    scale: Scale = 2,
) -> None:
    """Bin earthquakes by epicentre and compare the coherent signals of each region, with a map.

    Example: groundswell symae regions runs/source --nside 8
    """
    from groundswell.pipelines.symae.regions import compare_regions

    tell(compare_regions(run, nside=nside, store=store, out=out, fold=fold, scale=scale))


def predict(model: Path, inputs: list[Path], **options: Any) -> int:
    """What `groundswell predict` calls; returns the exit status."""
    from groundswell.pipelines.symae.use import predict_with

    return predict_with(model, inputs, **options)


def export(run: RunFolder, **options: Any) -> list[str]:
    """What `groundswell export` calls; returns what to tell the person."""
    from groundswell.pipelines.symae.ship import export_run

    return export_run(run, **options)


def demo(*, out: Path, seed: int) -> Path:
    """What `groundswell demo symae` calls; returns the report's path."""
    from groundswell.pipelines.symae.demonstrate import run_demo

    return run_demo(out, seed)
