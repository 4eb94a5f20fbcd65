"""geomag: the pipeline's verbs, as functions that the command line, notebooks and the workbench call. Light to import.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundswell.core.errors import InputError
from groundswell.pipelines.verbs import Knobs, Sets, list_knobs, recipe_of, write_split

if TYPE_CHECKING:
    from groundswell.core.run import RunFolder
    from groundswell.pipelines.geomag.recipe import GeomagRecipe

RecipeName = Annotated[str, typer.Argument(help="Recipe file, or the name of a shipped one (seed, quick, demo).")]


def _recipe(name: str, sets: list[str] | None) -> GeomagRecipe:
    from groundswell.pipelines.geomag.recipe import GeomagRecipe

    return recipe_of(GeomagRecipe, "groundswell.pipelines.geomag", name, sets)


def build(
    out: Annotated[Path | None, typer.Argument(help="Folder for window-7, window-14, window-30.")] = None,
    raw: Annotated[list[Path] | None, typer.Option(help="Minute data: IAGA-2002 files (.gz, .tar.gz), .npz, folders. "
                                                        "Repeatable.")] = None,
    catalogue: Annotated[list[Path] | None, typer.Option(help="Earthquakes: CSV or QuakeML. Repeatable.")] = None,
    indices: Annotated[list[Path] | None, typer.Option(help="Kp, ap or Dst files. Repeatable.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="A knob: --set events.rule=distance.")] = None,
    knobs: Knobs = False,
) -> None:
    """Cut windows before earthquakes, and matched controls, out of raw minute data.

    Example: groundswell geomag build data/ --raw esk2003.tar.gz --catalogue usgs.csv.gz --indices kp.csv
    """
    from groundswell.pipelines.geomag.building.recipe import BuildRecipe

    if knobs:
        list_knobs(BuildRecipe)
        return
    from groundswell.core.recipe import build_recipe
    from groundswell.pipelines.geomag.building.build import build as make

    if out is None:
        raise InputError("The folder for the windows is missing", where="geomag build",
                         fix="Name it: groundswell geomag build FOLDER --raw FILES --catalogue FILE")
    values: dict[str, Any] = {"data": raw, "catalogue": catalogue, "indices": indices}
    given = {key: [str(path) for path in paths] for key, paths in values.items() if paths}
    report = make(build_recipe(BuildRecipe, given, sets or [], where="--set"), out)
    for line in report.lines:
        print(line)
    print(f"Next: groundswell geomag analyze {out}")


def simulate(
    out: Annotated[Path | None, typer.Argument(help="Folder for the simulated windows.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="A knob: --set events=60. Repeatable.")] = None,
    null: Annotated[bool, typer.Option("--null", help="Plant nothing: the labels are chance.")] = False,
    knobs: Knobs = False,
) -> None:
    """Make windows with a planted signal of known strength, on simulated or real background, with exact truth.

    Example: groundswell geomag simulate sim/ --set events=52 --set strength=20
    """
    from groundswell.pipelines.geomag.simulate.recipe import SimulateRecipe

    if knobs:
        list_knobs(SimulateRecipe)
        return
    from groundswell.core.recipe import build_recipe
    from groundswell.pipelines.geomag.simulate.simulating import simulate as make

    if out is None:
        raise InputError("The folder for the simulated windows is missing", where="geomag simulate",
                         fix="Name it: groundswell geomag simulate FOLDER")
    recipe = build_recipe(SimulateRecipe, {}, [*(sets or []), *(["strength=0"] if null else [])], where="--set")
    for line in make(recipe, out).lines:
        print(line)
    print(f"Next: groundswell geomag analyze {out}")


def analyze(
    folder: Annotated[Path, typer.Argument(help="Folder that holds window-7, window-14, window-30.")],
    window: Annotated[list[int] | None, typer.Option(help="Only this window length, in days. Repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the analysis: .json.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw it to this PNG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Check windows and say how the classes are balanced, what to do about it, and which shortcuts there are.

    Example: groundswell geomag analyze data/ --plot analysis.png
    """
    import json

    from groundswell.core.files import write_json
    from groundswell.pipelines.geomag.analysis import analyze as look
    from groundswell.pipelines.geomag.analysis import plot as draw

    if plot is not None and plot.suffix.lower() != ".png":
        raise InputError("Pictures are written as .png", where=plot)
    analysis = look(folder, window or None)
    print(json.dumps(analysis.to_json(), indent=2) if as_json else analysis.text())
    if out is not None:
        write_json(out, analysis.to_json())
    if plot is not None:
        draw(analysis, plot)


def split(
    recipe: RecipeName = "seed",
    sets: Sets = None,
    out: Annotated[Path | None, typer.Option(help="Folder for split.json and split.parquet.")] = None,
    probe: Annotated[bool, typer.Option("--probe", help="Also fit MiniRocket + ridge on these folds and on folds of "
                                                        "single windows: what of a score is leakage.")] = False,
) -> None:
    """Divide the windows by event, station or time and audit the division. Exit status 3 if it leaks.

    Example: groundswell geomag split seed --set data.folder=data --probe
    """
    from groundswell.pipelines.geomag.data import WORKFLOW
    from groundswell.splits.audit import require_clean
    from groundswell.splits.make import make_split

    loaded = _recipe(recipe, sets)
    archive = WORKFLOW.open(loaded)
    for mark in archive.table.origin.get("marks", []):
        print(mark)
    manifest = make_split(archive.table, loaded.split)
    for line in manifest.audit.summary():
        print(line)
    if probe:
        from groundswell.pipelines.geomag.probe import probe_leak

        print(probe_leak(loaded, archive).sentence)
    require_clean(manifest, loaded.split.allow_leakage)
    write_split(manifest, out)


def train(
    recipe: RecipeName = "seed",
    sets: Sets = None,
    out: Annotated[Path, typer.Option(help="Folder of the run; must be empty or absent.")] = Path("runs/geomag"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and say what would be done.")] = False,
) -> None:
    """Train one family on one window length. A killed training goes on by `groundswell resume`.

    Example: groundswell geomag train seed --set data.folder=data --set model.type=mlp --out runs/mlp
    """
    from groundswell.pipelines.workflow import plan_run, start_run, train_run

    loaded = _recipe(recipe, sets)
    if dry_run:
        for line in plan_run("geomag", loaded, out):
            print(line)
        return
    train_run(start_run("geomag", loaded, out))
    print(f"Trained. Next: groundswell evaluate {out}")


def study(
    recipe: RecipeName = "seed",
    sets: Sets = None,
    out: Annotated[Path, typer.Option(help="Folder of the study; one that was begun is gone on with.")] = Path("study"),
    engine: Annotated[str, typer.Option(help="inline, loky (processes of this machine) or dask.")] = "",
    workers: Annotated[int, typer.Option(help="Fits at once; 0 takes study.workers.")] = 0,
    scheduler: Annotated[str, typer.Option(help="Address of a Dask scheduler; empty starts a local cluster.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and say what would be done.")] = False,
) -> None:
    """Fit families x windows x folds, with ensembles, controls, intervals and figures. The same command resumes.

    Example: groundswell geomag study seed --set data.folder=data --out study --workers 2
    """
    from groundswell.pipelines.geomag.study.run import Engine, plan_study, run_study

    loaded = _recipe(recipe, sets)
    if dry_run:
        for line in plan_study(loaded, out):
            print(line)
        return
    at_once = workers or loaded.study.workers
    chosen = Engine(engine or ("dask" if scheduler else "loky" if at_once > 1 else "inline"), at_once, scheduler)
    outcome = run_study(loaded, out, chosen)
    print("\n".join(outcome.conclusion))
    print(f"Wrote {outcome.report} and {out / 'results'}.")


def figures(
    results: Annotated[Path, typer.Argument(help="Folder of results: STUDY/results, or the study's own.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures; RESULTS/performance_visualization "
                                                  "otherwise.")] = None,
    dpi: Annotated[int, typer.Option(help="Dots per inch.")] = 600,
) -> None:
    """Draw training curves, comparisons, ROC curves, confusion matrices and controls of a study.

    Example: groundswell geomag figures study/results
    """
    from groundswell.pipelines.geomag.figures.draw import draw_figures

    folder = results / "results" if (results / "results").is_dir() else results
    drawn = draw_figures(folder, out, dpi=dpi)
    for line in drawn.missing:
        print(f"Missing: {line}")
    print(f"Drew {len(drawn.written)} pictures below {out or folder / 'performance_visualization'}.")


def predict(model: Path, inputs: list[Path], **options: Any) -> int:
    """What `groundswell predict` calls; returns the exit status."""
    from groundswell.pipelines.geomag.use import predict_with

    return predict_with(model, inputs, **options)


def export(run: RunFolder, **options: Any) -> list[str]:
    """What `groundswell export` calls; returns what to tell the person."""
    from groundswell.pipelines.geomag.ship import export_run

    return export_run(run, **options)


def demo(*, out: Path, seed: int) -> Path:
    """What `groundswell demo geomag` calls; returns the report's path."""
    from groundswell.pipelines.geomag.demonstrate import run_demo

    return run_demo(out, seed)
