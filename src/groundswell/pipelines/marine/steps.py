"""marine: the pipeline's verbs, as functions that the command line, notebooks and the workbench call. Light to import.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundswell.core.errors import InputError
from groundswell.pipelines.verbs import (
    DryRun,
    Knobs,
    KnobSets,
    Run,
    Sets,
    list_knobs,
    needed,
    recipe_of,
    tell,
    write_split,
)

if TYPE_CHECKING:
    from groundswell.core.run import RunFolder
    from groundswell.pipelines.marine.recipe import MarineRecipe

RecipeName = Annotated[str, typer.Argument(help="Recipe file, or the name of a shipped one (nano, sample, full, "
                                                "shore, yolo, demo).")]
Images = Annotated[Path, typer.Argument(help="Folder of a set of images.")]


def _recipe(name: str, sets: list[str] | None) -> MarineRecipe:
    from groundswell.pipelines.marine.recipe import MarineRecipe

    return recipe_of(MarineRecipe, "groundswell.pipelines.marine", name, sets)


def species(
    file: Annotated[Path | None, typer.Argument(help="Another table of species than the shipped one.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 2 if anything is wrong with it.")] = False,
) -> None:
    """Show the table of species with ids, priorities and concepts, and check it.

    Example: groundswell marine species --strict
    """
    from groundswell.pipelines.marine.species import check, load_species

    found = check(file)  # all of it, before a table that cannot be used at all is refused for the first
    tell([f"Wrong: {line}" for line in found] or ["Nothing is wrong with the table."])
    if found and strict:
        raise InputError(f"{len(found)} thing(s) are wrong with the table of species, first: {found[0]}",
                         where=file or "the shipped table", fix="Mend what is listed above")
    tell([f"{one.id:3}  {one.priority:10}{one.common_name:32}{one.scientific_name}" for one in load_species(file)])


def simulate(
    out: Annotated[Path | None, typer.Argument(help="Folder for the simulated set of images.")] = None,
    sets: KnobSets = None,
    video: Annotated[Path | None, typer.Option(help="Make one clip as a video (.mp4) instead, with its true tracks "
                                                    "beside it.")] = None,
    knobs: Knobs = False,
) -> None:
    """Draw underwater scenes with moving animals, exact boxes and tracks.

    Example: groundswell marine simulate images --set clips=30 --set frames=20
    """
    from groundswell.pipelines.marine.simulate.recipe import SceneRecipe

    if knobs:
        list_knobs(SceneRecipe)
        return
    from groundswell.core.recipe import build_recipe
    from groundswell.pipelines.marine.simulate.simulating import simulate as make
    from groundswell.pipelines.marine.simulate.video import simulate_video

    recipe = build_recipe(SceneRecipe, {}, sets or [], where="--set")
    if video is not None:
        truth = simulate_video(recipe, video)
        tell([f"Wrote {video}: simulated, {truth['track'].nunique()} animals. Next: groundswell marine track MODEL "
              f"{video}"])
        return
    images = make(recipe, needed(out, "The folder for the simulated images", "marine simulate",
                                                "groundswell marine simulate FOLDER"))
    tell([f"Simulated {len(images)} images of {images.images['clip'].nunique()} clips with {len(images.boxes)} boxes.",
          f"Next: groundswell marine train nano --set data.images={out}"])


def fathomnet(
    out: Annotated[Path, typer.Argument(help="Folder for images and boxes; what is there is not fetched again.")],
    concepts: Annotated[list[str] | None, typer.Option("--concept", help="Only this concept. Repeatable.")] = None,
    most: Annotated[int, typer.Option(help="Most images of a concept; 0 for all.")] = 0,
    at_once: Annotated[int, typer.Option(help="Downloads side by side.")] = 10,
    endpoint: Annotated[str, typer.Option(help="Another server of the same kind.")] = "",
) -> None:
    """Download images and boxes of the species' concepts from FathomNet. Needs the network; resumable.

    Example: groundswell marine fathomnet raw/fathomnet --concept "Pterois volitans" --most 500
    """
    from groundswell.pipelines.marine.acquire.fathomnet import download_fathomnet

    tell(download_fathomnet(out, concepts=concepts, most=most, at_once=at_once, endpoint=endpoint))


def deepfish(
    out: Annotated[Path, typer.Argument(help="Folder for the set of unlabelled images.")],
    url: Annotated[str, typer.Option(help="Address of the archive (.tar or .tar.gz).")] = "",
) -> None:
    """Download DeepFish by resumable pieces and make a set of unlabelled images of it. Needs the network.

    Example: groundswell marine deepfish raw/deepfish
    """
    from groundswell.pipelines.marine.acquire.deepfish import download_deepfish

    tell(download_deepfish(out, url=url))


def organise(
    inputs: Annotated[list[Path] | None, typer.Argument(help="COCO files, folders of YOLO or Pascal VOC, or plain "
                                                             "folders; the last one is the new set's folder.")] = None,
    sets: KnobSets = None,
    species_table: Annotated[Path | None, typer.Option("--species", help="Another table of species.")] = None,
    knobs: Knobs = False,
) -> None:
    """Make one set of images of what lies at several places. Originals are never moved or changed. Exit status 2 where
    something had to be left out; the rest is done all the same.

    Example: groundswell marine organise annotations.coco.json images --set source=deepfish
    """
    from groundswell.pipelines.marine.organise_recipe import OrganiseRecipe

    if knobs:
        list_knobs(OrganiseRecipe)
        return
    from groundswell.core.recipe import build_recipe
    from groundswell.pipelines.marine.organise import organise as make
    from groundswell.pipelines.marine.species import load_species

    if not inputs or len(inputs) < 2:
        raise InputError("organise needs what to read, and the folder of the new set", where="marine organise",
                         fix="Write: groundswell marine organise INPUT... FOLDER")
    made = make(inputs[:-1], inputs[-1], build_recipe(OrganiseRecipe, {}, sets or [], where="--set"),
                species=load_species(species_table) if species_table else None)
    tell([*made.lines(), f"Next: groundswell marine split {inputs[-1]}"])
    complaint = made.complaint()
    if complaint is not None:
        raise complaint


def stats(
    images: Images,
    out: Annotated[Path | None, typer.Option(help="Folder for tables and charts; IMAGES/stats otherwise.")] = None,
) -> None:
    """Count images and boxes by source, priority and class, with charts.

    Example: groundswell marine stats images
    """
    from groundswell.pipelines.marine.images import ImageSet
    from groundswell.pipelines.marine.stats import write_stats

    tell(write_stats(ImageSet.open(images), out or images / "stats"))


def convert(
    images: Images,
    out: Annotated[Path, typer.Argument(help="COCO file (.json), or a new folder for YOLO or Pascal VOC.")],
    to: Annotated[str, typer.Option(help="coco, yolo or voc.")] = "coco",
) -> None:
    """Write the boxes of a set as COCO, YOLO or Pascal VOC.

    Example: groundswell marine convert images boxes.json --to coco
    """
    from groundswell.pipelines.marine.formats import write_as
    from groundswell.pipelines.marine.images import ImageSet

    tell(write_as(ImageSet.open(images), out, to))


def split(
    images: Images,
    recipe: RecipeName = "nano",
    sets: Sets = None,
    out: Annotated[Path | None, typer.Option(help="Folder for split.json and split.parquet.")] = None,
) -> None:
    """Divide whole clips, audit the division, and say what a published one leaks. Exit status 3 if it leaks.

    Example: groundswell marine split images --out split
    """
    from groundswell.pipelines.marine.auditing import audit_division, audit_published
    from groundswell.pipelines.marine.data import WORKFLOW
    from groundswell.pipelines.marine.images import ImageSet
    from groundswell.splits.audit import require_clean

    loaded = _recipe(recipe, [*(sets or []), f"data.images={images}"])
    archive = WORKFLOW.open(loaded)
    manifest = WORKFLOW.divide(loaded, archive)
    found = ImageSet.open(images)
    tell([*manifest.audit.summary(), *audit_division(found, archive.table, manifest), *audit_published(found)])
    require_clean(manifest, loaded.split.allow_leakage)
    write_split(manifest, out)


def prepare(
    images: Images,
    out: Annotated[Path, typer.Argument(help="Folder for the prepared set.")],
    sets: KnobSets = None,
    workers: Annotated[int, typer.Option(help="Processes; 0 for as many as there are cores.")] = 0,
) -> None:
    """Correct colour, haze and contrast of underwater images. Killed, it goes on where it was.

    Example: groundswell marine prepare images prepared
    """
    from groundswell.core.recipe import build_recipe
    from groundswell.pipelines.marine.images import ImageSet
    from groundswell.pipelines.marine.prepare.preparing import prepare_set
    from groundswell.pipelines.marine.prepare.recipe import PrepareRecipe

    made = prepare_set(ImageSet.open(images), out, build_recipe(PrepareRecipe, {}, sets or [], where="--set"),
                       workers=workers)
    tell([f"Prepared {len(made)} images in {out}.", f"Next: groundswell marine train nano --set data.images={out}"])


def pretrain(
    recipe: RecipeName = "sample",
    sets: Sets = None,
    out: Annotated[Path, typer.Option(help="Folder; the same call goes on with it.")] = Path("runs/marine-pretrain"),
) -> None:
    """Pretrain the detector's backbone without labels, by MoCo v3.

    Example: groundswell marine pretrain sample --set data.images=images --out runs/pretrain
    """
    from groundswell.pipelines.marine.moco.pretraining import pretrain as make

    tell(make(_recipe(recipe, sets), out))
    tell([f"Next: groundswell marine train {recipe} --set model.start={out}, or see first whether it taught anything: "
          f"groundswell marine probe {out}"])


def probe(
    pretraining: Annotated[Path | None, typer.Argument(help="Folder that `groundswell marine pretrain` wrote.")] = None,
) -> None:
    """See whether a pretraining taught the backbone anything: a linear classifier on its features, beside one on the
    features of the same network by chance, tested on clips that neither has seen.

    Example: groundswell marine probe runs/pretrain
    """
    from groundswell.pipelines.marine.moco.probe import FILE
    from groundswell.pipelines.marine.moco.probe import probe as look

    folder = needed(pretraining, "The folder of a pretraining", "marine probe",
                    "groundswell marine probe runs/pretrain")
    tell([*look(folder).sentences(), f"Wrote {folder / FILE}."])


def train(
    recipe: RecipeName = "nano",
    sets: Sets = None,
    out: Annotated[Path, typer.Option(help="Folder of the run; must be empty or absent.")] = Path("runs/marine"),
    dry_run: DryRun = False,
) -> None:
    """Train a detector. A killed training goes on by `groundswell resume`.

    Example: groundswell marine train nano --set data.images=images --out runs/baseline
    """
    from groundswell.pipelines.marine.building import check_start
    from groundswell.pipelines.workflow import plan_run, start_run, train_run

    loaded = _recipe(recipe, sets)
    if loaded.model.engine == "yolo":
        tell(["The engine yolo is built of Ultralytics' parts: what is trained with it is under the AGPL-3.0, unless "
              "you have a licence of theirs. The engine rtdetr is free of that."])
    arrival = check_start(loaded)
    if arrival is not None:
        tell([f"Weights to start from: {arrival.matched} entries arrive, {arrival.backbone} of them the backbone's; "
              f"{len(arrival.missing)} are missing, {len(arrival.reshaped)} have other shapes."])
    if dry_run:
        tell(plan_run("marine", loaded, out))
        return
    train_run(start_run("marine", loaded, out))
    tell([f"Trained. Next: groundswell evaluate {out}"])


def select(
    run: Run,
    pool: Annotated[Path, typer.Argument(help="Set of images, some of them not annotated.")],
    out: Annotated[Path, typer.Option(help="Folder for the choice and the package.")] = Path("selection"),
    sets: KnobSets = None,
) -> None:
    """Choose the images that are worth annotating next, and pack them for annotators.

    Example: groundswell marine select runs/baseline pool --set num_samples=200
    """
    from groundswell.core.recipe import build_recipe
    from groundswell.core.run import RunFolder
    from groundswell.pipelines.marine.images import ImageSet
    from groundswell.pipelines.marine.recipe import MarineRecipe, SelectRecipe
    from groundswell.pipelines.marine.selecting.choosing import select_images

    opened = RunFolder.open(run)
    base = opened.recipe(MarineRecipe).select.model_dump()
    recipe = build_recipe(SelectRecipe, base, sets or [], where="--set")
    tell(select_images(opened, ImageSet.open(pool), recipe, out))


def import_(
    annotations: Annotated[Path, typer.Argument(help="What annotators sent back: COCO, YOLO, CVAT or Label Studio; "
                                                     "file, folder or zip.")],
    images: Annotated[Path, typer.Argument(help="Set of images that they were chosen from.")],
    out: Annotated[Path, typer.Argument(help="Folder for the new set, annotated.")],
    package: Annotated[Path | None, typer.Option(help="The package that was sent, to check against.")] = None,
    kind: Annotated[str, typer.Option(help="auto, coco, yolo, cvat or labelstudio.")] = "auto",
) -> None:
    """Take annotations in, checked: categories, bounds, orphans, duplicates; images without animals stay negatives.
    Exit status 2 where something could not be used; the rest is imported all the same.

    Example: groundswell marine import returned.zip pool images2 --package selection/package.zip
    """
    from groundswell.pipelines.marine.exchange.importing import REPORT, import_boxes
    from groundswell.pipelines.marine.images import ImageSet

    done = import_boxes(annotations, ImageSet.open(images), out, package=package, kind=kind)
    tell([*done.text.splitlines(), f"Wrote {out} and the report in {out / REPORT}."])
    if done.lost:
        raise InputError("Not all of what was drawn could be used; the rest is in the new set", where=out / REPORT,
                         fix="Correct what is listed above and import again into another folder, or go on with the set "
                             "as it is")


def mine(
    run: Run,
    out: Annotated[Path, typer.Option(help="List of hard negatives (.json).")] = Path("negatives.json"),
    fold: Annotated[int, typer.Option(help="Which fold's network, from 1.")] = 1,
) -> None:
    """List false alarms on the training part, and what among them may be an animal nobody annotated.

    Example: groundswell marine mine runs/baseline --out negatives.json
    """
    from groundswell.core.run import RunFolder
    from groundswell.pipelines.marine.mining import mine as look
    from groundswell.pipelines.workflow import folds_of

    opened = RunFolder.open(run)
    tell(look(opened, out, fold=folds_of(opened, max(fold, 1))[0]))
    tell([f"Next: groundswell marine train {run}/recipe.yaml --set model.start={run} --set sampling.negatives={out}"])


def pipeline(
    recipe: RecipeName = "sample",
    sets: Sets = None,
    out: Annotated[Path, typer.Option(help="Folder of the chain; the same call goes on with it.")] = Path("chain"),
    step: Annotated[str, typer.Option(help="Do this step alone.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what each step takes: time, memory, disk.")] = False,
) -> None:
    """Run the whole chain: pretraining, baseline, selection, specialising, variants, many sizes, fusion, calibration,
    export. Each step begins with its predecessor's weights; a chain that was killed goes on where it was.

    Example: groundswell marine pipeline sample --set data.images=images --out chain
    """
    loaded = _recipe(recipe, sets)
    if dry_run:
        from groundswell.pipelines.marine.chain.estimate import estimate_chain

        tell(estimate_chain(loaded, out, step=step))
        return
    from groundswell.pipelines.marine.chain.running import run_chain

    tell(run_chain(loaded, out, step=step))


def fuse(
    members: Annotated[list[Path], typer.Argument(help="Evaluated runs on the same split.")],
    out: Annotated[Path, typer.Option(help="Folder for the ensemble and its report.")] = Path("ensemble"),
    sets: KnobSets = None,
) -> None:
    """Fuse the boxes of several runs and hold the fusion against its best member.

    Example: groundswell marine fuse runs/recall runs/balanced runs/precision --set method=wbf
    """
    from groundswell.pipelines.marine.chain.fusing import fuse_runs

    tell(fuse_runs(members, out, sets or []))


def calibrate(
    members: Annotated[list[Path], typer.Argument(help="Evaluated runs on the same split.")],
    out: Annotated[Path, typer.Option(help="Folder for the calibrated ensemble and its report.")] = Path("calibrated"),
    sets: Annotated[list[str] | None, typer.Option("--set", help="A key of fuse, tta or calibrate, such as "
                                                                 "calibrate.method=platt. Repeatable.")] = None,
) -> None:
    """Look at several views of each image, calibrate scores on part of the validation clips, and choose thresholds.

    Example: groundswell marine calibrate runs/recall runs/balanced --set tta.enabled=false
    """
    from groundswell.pipelines.marine.chain.calibrating import calibrate_runs

    tell(calibrate_runs(members, out, sets or []))


def track(
    model: Annotated[Path | None, typer.Argument(help="Run, chain, exported .onnx file or ensemble.json.")] = None,
    source: Annotated[Path | None, typer.Argument(help="Video, or folder of frames.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for tracks, counts, alerts and the annotated video.")
                   ] = Path("tracks"),
    sets: KnobSets = None,
    video: Annotated[bool, typer.Option(help="Also write the annotated video.")] = True,
    partial: Annotated[bool, typer.Option("--partial", help="Take a video that breaks off for as long as it goes.")
                       ] = False,
    knobs: Knobs = False,
) -> None:
    """Follow animals through a video, count each once, and raise alerts for critical species. Exit status 2 where
    frames had to be left out; the rest is counted all the same.

    Example: groundswell marine track export/ensemble.json dive.mp4 --out tracks
    """
    from groundswell.pipelines.marine.tracking.recipe import TrackRecipe

    if knobs:
        list_knobs(TrackRecipe)
        return
    from groundswell.core.recipe import build_recipe
    from groundswell.pipelines.marine.following import track_file

    example = "groundswell marine track MODEL VIDEO"
    lines = track_file(needed(model, "The model", "marine track", example),
                       needed(source, "The video", "marine track", example), out,
                       build_recipe(TrackRecipe, {}, sets or [], where="--set"), video=video, partial=partial)
    tell(lines)
    if any(line.startswith("Left out: ") for line in lines):
        raise typer.Exit(InputError.exit_status)


def budget(
    recipe: RecipeName = "sample",
    sets: Sets = None,
) -> None:
    """Estimate energy and images of a camera station for a day.

    Example: groundswell marine budget sample --set budget.cameras=4
    """
    from groundswell.pipelines.marine.deploying.budget import budget_lines

    tell(budget_lines(_recipe(recipe, sets).budget))


def deploy(
    model: Annotated[Path, typer.Argument(help="Folder with ensemble.json and .onnx files, such as CHAIN/export.")],
    to: Annotated[str, typer.Option(help="jetson, container or tensorrt.")] = "jetson",
    out: Annotated[Path, typer.Option(help="Folder or archive of the package.")] = Path("package"),
) -> None:
    """Pack a model for a Jetson, for a container service, or write the plan of TensorRT engines.

    Example: groundswell marine deploy chain/export --to jetson --out package
    """
    from groundswell.pipelines.marine.deploying.packaging import package

    tell(package(model, to, out))


def predict(model: Path, inputs: list[Path], **options: Any) -> int:
    """What `groundswell predict` calls; returns the exit status."""
    from groundswell.pipelines.marine.use import predict_with

    return predict_with(model, inputs, **options)


def export(run: RunFolder, **options: Any) -> list[str]:
    """What `groundswell export` calls; returns what to tell the person."""
    from groundswell.pipelines.marine.ship import export_run

    return export_run(run, **options)


def demo(*, out: Path, seed: int) -> Path:
    """What `groundswell demo marine` calls; returns the report's path."""
    from groundswell.pipelines.marine.demonstrate import run_demo

    return run_demo(out, seed)
