"""cli: the verbs that are the same for every run, whatever its pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")]
Model = Annotated[Path, typer.Argument(help="Folder of a run, or an exported .onnx file.", metavar="RUN|FILE")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def doctor(as_json: Json = False) -> None:
    """Say what this machine has, and what is missing for which pipeline.

    Example: groundswell doctor
    """
    from groundswell.cli.doctor import as_json as to_json
    from groundswell.cli.doctor import examine

    facts = examine()
    if as_json:
        print(json.dumps(to_json(facts), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("what", "state", "found"):
        table.add_column(title)
    for fact in facts:
        table.add_row(fact.name, fact.state, fact.value)
    Console().print(table)


def demo(
    pipeline: Annotated[str, typer.Argument(help="Which pipeline; das if none is named.")] = "das",
    out: Annotated[Path, typer.Option(help="Folder for the demo's data and run.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of everything drawn by chance.")] = 42,
) -> None:
    """Simulate, train, evaluate and write OUT/report.html.

    Example: groundswell demo das --out demo
    """
    from groundswell.core.registry import get_pipeline

    report = get_pipeline(pipeline).step("demo")(out=out, seed=seed)
    print(f"Wrote {report}. Open it in a browser.")


def evaluate(
    run: Run,
    controls: Annotated[bool, typer.Option(help="Refit and score the controls; --no-controls marks the score as "
                                                "uncontrolled.")] = True,
    as_json: Json = False,
) -> None:
    """Score a run beside its controls, with intervals, and write its report.

    Example: groundswell evaluate runs/first
    """
    from groundswell.core.run import RunFolder
    from groundswell.pipelines.judge import evaluate_run

    result = evaluate_run(RunFolder.open(run), with_controls=controls)
    print(json.dumps(result.metrics, indent=2) if as_json else result.text)
    if not as_json:
        print(f"Wrote {run / 'metrics.json'} and {run / 'report.html'}.")


def report(run: Run) -> None:
    """Write report.html of a run again from what is in its folder.

    Example: groundswell report runs/first
    """
    from groundswell.core.run import RunFolder
    from groundswell.pipelines.judge import write_run_report

    print(f"Wrote {write_run_report(RunFolder.open(run))}.")


def resume(
    run: Run,
    checkpoint: Annotated[Path | None, typer.Option(help="Go back to this checkpoint of the run instead of the last "
                                                         "one; what came after it is taken back.")] = None,
) -> None:
    """Go on with a run, a chain or a study that was interrupted: nothing finished is done again.

    Example: groundswell resume runs/first
    """
    from groundswell.core.errors import InputError
    from groundswell.core.registry import series_in
    from groundswell.core.run import RunFolder
    from groundswell.pipelines.workflow import train_run

    series = series_in(run)
    if series is not None:
        pipeline, recipe, verb = series
        if checkpoint is not None:
            raise InputError("A checkpoint belongs to one run, and this folder holds several", where=run,
                             fix=f"Name the run: 'groundswell runs {run}' lists them")
        pipeline.step(verb)(str(recipe), out=run)
        return
    found = RunFolder.open(run)
    train_run(found, checkpoint=checkpoint)
    print(f"Trained. Next: groundswell evaluate {run}")


def predict(
    model: Model,
    inputs: Annotated[list[Path], typer.Argument(help="Files or folders to predict.", metavar="INPUT...")],
    out: Annotated[Path, typer.Option(help="Where to write: .json or .csv.")] = Path("predictions.json"),
    aggregate: Annotated[str, typer.Option(help="How windows make one answer: average or vote.")] = "average",
    fold: Annotated[int, typer.Option(help="Use this fold's network alone (from 1); 0 averages all folds.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Windows in a batch.")] = 16,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto (runs only).")] = "auto",
    plot: Annotated[Path | None, typer.Option(help="Also draw an overview of the predictions to this PNG.")] = None,
) -> None:
    """Predict the class of records with a trained run or an exported file.

    Example: groundswell predict runs/first new_records/ --out predictions.csv
    """
    from groundswell.cli.models import pipeline_of_model

    step = pipeline_of_model(model).step("predict")
    raise typer.Exit(step(model, inputs, out=out, aggregate=aggregate, fold=fold, batch_size=batch_size, device=device,
                          plot=plot))


def export(
    run: Run,
    to: Annotated[str, typer.Option(help="onnx, or weights (plain state dicts, .pth).")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="File (onnx) or folder (weights); inside the run otherwise.")] = None,
    fold: Annotated[int, typer.Option(help="Export this fold's network alone (from 1); 0 averages all folds.")] = 0,
) -> None:
    """Write a run's model to a file that runs elsewhere; refused if the file disagrees with the network.

    Example: groundswell export runs/first --to onnx
    """
    from groundswell.core.registry import get_pipeline
    from groundswell.core.run import RunFolder

    found = RunFolder.open(run)
    for line in get_pipeline(found.pipeline).step("export")(found, to=to, out=out, fold=fold):
        print(line)


def runs(
    folder: Annotated[Path, typer.Argument(help="Where to look.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List the runs below a folder with their headline numbers.

    Example: groundswell runs runs
    """
    from groundswell.cli.models import list_runs, runs_table

    found = list_runs(folder)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    from rich.console import Console

    Console().print(runs_table(found))
