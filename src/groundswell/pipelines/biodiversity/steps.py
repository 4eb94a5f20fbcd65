"""biodiversity: the pipeline's verbs, as functions that the command line, notebooks and the workbench call. Light to
import.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundswell.core.errors import InputError
from groundswell.pipelines.verbs import DryRun, Sets, list_knobs, recipe_of

if TYPE_CHECKING:
    from groundswell.core.run import RunFolder
    from groundswell.pipelines.biodiversity.recipe import BiodiversityRecipe

RecipeName = Annotated[str, typer.Argument(help="Recipe file, or the name of a shipped one (seed, quick, demo).")]
Modalities = Annotated[str, typer.Option(help="What the model sees: vision,language,place.")]
_WITH_BUFFER = ("spatial", "spatiotemporal", "buffered")
Observations = Annotated[Path | None, typer.Option(help="Table of observations: CSV, Parquet or a store.")]


def _recipe(name: str, sets: list[str] | None) -> BiodiversityRecipe:
    from groundswell.pipelines.biodiversity.recipe import BiodiversityRecipe

    return recipe_of(BiodiversityRecipe, "groundswell.pipelines.biodiversity", name, sets)


def _of_pretraining(sets: list[str]) -> list[str]:
    # A classifier that starts from a pretraining has encoders of its size, which scale embeddings themselves.
    start = [text.partition("=")[2] for text in sets if text.startswith("model.init_from=")]
    if not start or not start[-1]:
        return []
    from groundswell.pipelines.biodiversity.pretrained import Pretrained

    run = Pretrained.open(Path(start[-1]))
    return [f"model.encoder_dim={run.fusion_dim}", f"model.place_size={run.place_size}", "model.scaling=none"]


def download(
    name: Annotated[str, typer.Argument(help="Data set, as owner/name.")],
    out: Annotated[Path, typer.Option(help="Folder to download into; what is there already is not fetched again.")],
    endpoint: Annotated[str | None, typer.Option(help="Address of another server of the same kind.")] = None,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit.")] = "main",
) -> None:
    """Download a published data set. Nothing else in this pipeline uses the network.

    Example: groundswell biodiversity download deepearth/central-florida-native-plants --out dataset
    """
    from groundswell.pipelines.biodiversity.download import download_dataset

    for line in download_dataset(name, out, endpoint=endpoint, revision=revision):
        print(line)
    print(f"Next: groundswell biodiversity import {out} --out store")


def import_(
    source: Annotated[Path, typer.Argument(help="Folder with observations.parquet and vision_embeddings, or with "
                                                "embeddings.mmap and its index.")],
    out: Annotated[Path, typer.Option(help="Folder of the new store.")] = Path("store"),
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16; rounding is measured.")] = "float32",
    observations: Observations = None,
) -> None:
    """Make an embedding store of a published data set.

    Example: groundswell biodiversity import dataset --out store --dtype float16
    """
    from groundswell.pipelines.biodiversity.importing import import_dataset

    for line in import_dataset(source, out, dtype=dtype, observations=observations):
        print(line)
    print(f"Next: groundswell biodiversity pool {out}")


def pool(
    store: Annotated[Path, typer.Argument(help="Folder of the store.")],
    table: Annotated[list[str] | None, typer.Option(help="vision_mean, vision_temporal or vision_grid; all of them if "
                                                         "none is named. Repeatable.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "float32",
) -> None:
    """Make the pooled tables of a store in one reading of its vision vectors.

    Example: groundswell biodiversity pool store
    """
    from groundswell.pipelines.biodiversity.pooling import pool_store

    tables = tuple(table or ("vision_mean", "vision_temporal", "vision_grid"))
    for line in pool_store(store, tables=tables, dtype=dtype):
        print(line)
    print(f"Next: groundswell biodiversity train quick --set data.store={store}")


def simulate(
    out: Annotated[Path | None, typer.Argument(help="Folder of the new store.")] = None,
    observations: Observations = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="A knob: --set species=40. Repeatable.")] = None,
    knobs: Annotated[bool, typer.Option("--knobs", help="List the knobs and their defaults, and leave.")] = False,
) -> None:
    """Simulate embeddings with class, place, season and noise effects, with exact truth.

    Example: groundswell biodiversity simulate store --observations observations.csv --set class_effect=0.5
    """
    from groundswell.pipelines.biodiversity.simulate.recipe import SimulateRecipe

    if knobs:
        list_knobs(SimulateRecipe)
        return
    from groundswell.core.recipe import build_recipe
    from groundswell.pipelines.biodiversity.simulate.simulating import simulate as make

    if out is None:
        raise InputError("The folder for the simulated store is missing", where="biodiversity simulate",
                         fix="Name it: groundswell biodiversity simulate FOLDER")
    given = {"observations": str(observations)} if observations else {}
    for line in make(build_recipe(SimulateRecipe, given, sets or [], where="--set"), out):
        print(line)
    print(f"Next: groundswell biodiversity train quick --set data.store={out}")


def split(
    recipe: RecipeName = "quick",
    regime: Annotated[str, typer.Option(help="Regime, in place of the recipe's: published, spatial, temporal, "
                                             "spatiotemporal, knndm, buffered, grouped.")] = "",
    observations: Observations = None,
    sets: Sets = None,
    out: Annotated[Path | None, typer.Option(help="SPLIT.json (every observation with its part), or a folder for that, "
                                                  "maps, GeoJSON and a page with the audit.")] = None,
) -> None:
    """Divide observations in space and time and audit the division. Exit status 3 if it leaks.

    Example: groundswell biodiversity split --regime published --observations observations.csv --out split.json
    """
    from groundswell.pipelines.biodiversity.splitting import split_observations

    more = [f"split.regime={regime}"] if regime else []
    if regime and regime not in _WITH_BUFFER and not any(text.startswith("split.buffer_m=") for text in sets or []):
        # The recipe's is meant for its own regime: others know none, and knndm finds its distances itself.
        more += ["split.buffer_m=0.0"]
    if observations is not None:
        more += [f"data.observations={observations}"]
    for line in split_observations(_recipe(recipe, [*(sets or []), *more]), out):
        print(line)


def audit(
    split: Annotated[Path, typer.Argument(help="SPLIT.json of `split`, or of the published data set.")],
    out: Annotated[Path, typer.Option(help="Folder for audit.html, audit.json, maps and GeoJSON.")] = Path("audit"),
) -> None:
    """Audit a division that exists: distances, duplicates, species, seasons, regions; with maps and a verdict.

    Example: groundswell biodiversity audit central_florida_split.json --out audit
    """
    from groundswell.pipelines.biodiversity.splitting import audit_file

    for line in audit_file(split, out):
        print(line)


def pretrain(
    recipe: RecipeName = "quick",
    sets: Sets = None,
    modalities: Modalities = "",
    out: Annotated[Path, typer.Option(help="Folder of the run; must be empty or absent.")] = Path("runs/pretrained"),
) -> None:
    """Train a masked autoencoder that predicts one modality from the others. The same command resumes.

    Example: groundswell biodiversity pretrain quick --set data.store=store --modalities vision,language
    """
    from groundswell.pipelines.biodiversity.pretraining import pretrain as fit

    more = [f"pretrain.modalities=[{modalities}]"] if modalities else []
    loaded = _recipe(recipe, [*(sets or []), *more])
    for line in fit(loaded, out):
        print(line)
    print("Next: groundswell biodiversity train quick "
          f"--set data.store={loaded.data.store} --set model.init_from={out}")


def train(
    recipe: RecipeName = "quick",
    sets: Sets = None,
    mode: Annotated[str, typer.Option(help="language, vision or both, in place of the recipe's modalities.")] = "",
    modalities: Modalities = "",
    epochs: Annotated[int | None, typer.Option(help="Passes over the training part (train.epochs).")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Observations in a batch (train.batch_size).")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Step size (train.learning_rate).")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda (train.accelerator).")] = None,
    config: Annotated[Path | None, typer.Option(help="SPLIT.json to train by (data.split_file).")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run; must be empty or absent.")] = Path("runs/species"),
    dry_run: DryRun = False,
) -> None:
    """Train a classifier of species. A killed training goes on by `groundswell resume`.

    Example: groundswell biodiversity train quick --set data.store=store --mode both --epochs 20 --out runs/both
    """
    from groundswell.pipelines.biodiversity.recipe import MODES
    from groundswell.pipelines.workflow import plan_run, start_run, train_run

    if mode and mode not in MODES:
        raise InputError(f"There is no mode '{mode}'", where="--mode", fix=f"Choose from: {', '.join(MODES)}")
    if mode and modalities:
        raise InputError("Both say what the model sees", where=f"--mode {mode} --modalities {modalities}",
                         fix="Give one of the two")
    seen = modalities or ",".join(MODES.get(mode, ()))
    flags = {"train.epochs": epochs, "train.batch_size": batch_size, "train.learning_rate": learning_rate,
             "train.accelerator": device, "data.split_file": config}
    more = [f"{key}={value}" for key, value in flags.items() if value is not None]
    more += [f"model.modalities=[{seen}]"] if seen else []
    loaded = _recipe(recipe, [*_of_pretraining(sets or []), *(sets or []), *more])
    if dry_run:
        for line in plan_run("biodiversity", loaded, out):
            print(line)
        return
    train_run(start_run("biodiversity", loaded, out))
    print(f"Trained. Next: groundswell evaluate {out}")


def bench(
    store: Annotated[Path, typer.Argument(help="Folder of the store.")],
    batch_size: Annotated[int, typer.Option(help="Observations in a batch.")] = 64,
    runs: Annotated[int, typer.Option(help="Batches of each way.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the drawing of batches.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Time batches of every table, cold and warm, beside a plain copy, the usual loader and the endpoint.

    Example: groundswell biodiversity bench store --batch-size 64
    """
    import json

    from groundswell.pipelines.biodiversity.bench import bench_store

    report = bench_store(store, batch_size=batch_size, runs=runs, seed=seed)
    print(json.dumps(report.to_json(), indent=2) if as_json else report.text())


def serve(
    store: Annotated[Path, typer.Argument(help="Folder of the store.")],
    port: Annotated[int, typer.Option(help="Port on this machine; 0 takes a free one.")] = 0,
) -> None:
    """Serve batches to programs on this machine, over HTTP with a binary body. Ctrl-C ends it.

    Example: groundswell biodiversity serve store --port 5000
    """
    from groundswell.pipelines.biodiversity.endpoint import serve as run

    run(store, port=port)


def predict(model: Path, inputs: list[Path], **options: Any) -> int:
    """What `groundswell predict` calls; returns the exit status."""
    from groundswell.pipelines.biodiversity.use import predict_with

    return predict_with(model, inputs, **options)


def export(run: RunFolder, **options: Any) -> list[str]:
    """What `groundswell export` calls; returns what to tell the person."""
    from groundswell.pipelines.biodiversity.ship import export_run

    return export_run(run, **options)


def demo(*, out: Path, seed: int) -> Path:
    """What `groundswell demo biodiversity` calls; returns the report's path."""
    from groundswell.pipelines.biodiversity.demonstrate import run_demo

    return run_demo(out, seed)
