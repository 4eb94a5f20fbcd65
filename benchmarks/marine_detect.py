"""Detectors of both engines: what they learn of simulated clips within the time of a break, and of the six real camera
clips when each is left out in turn; fusion, calibration and counting on simulated clips."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.geomag import Rows, row
from groundswell.core.errors import InputError
from groundswell.core.files import read_json
from groundswell.core.recipe import build_recipe, load_recipe, shipped_recipe
from groundswell.core.run import RunFolder
from groundswell.data.boxes import BoxPredictions, BoxTruth
from groundswell.evaluate.detection import evaluate_boxes
from groundswell.pipelines.judge import evaluate_run
from groundswell.pipelines.marine.chain.calibrating import calibrate_members
from groundswell.pipelines.marine.chain.fusing import fuse_members
from groundswell.pipelines.marine.chain.members import Members
from groundswell.pipelines.marine.detecting import open_detector
from groundswell.pipelines.marine.following import track_file
from groundswell.pipelines.marine.fusion import suppressed
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.organise import organise
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.marine.ship import export_onnx_of
from groundswell.pipelines.marine.simulate.recipe import SceneRecipe
from groundswell.pipelines.marine.simulate.simulating import simulate_set
from groundswell.pipelines.marine.simulate.video import simulate_video
from groundswell.pipelines.marine.tracking.recipe import TrackRecipe
from groundswell.pipelines.marine.tracking.scores import TrackScores, score_tracks
from groundswell.pipelines.marine.tracking.tracking import track
from groundswell.pipelines.marine.tracking.video import open_frames
from groundswell.pipelines.workflow import start_run, train_run

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "marine"
REAL, RECORDINGS = SHARED / "deepfish_boxes_640", SHARED / "mbari_clips"
ENGINES = {"rtdetr": "rtdetrv2_nano", "yolo": "yolov8n"}
OWN = {"rtdetr": [], "yolo": ["augment.mosaic=0.5", "augment.scale=0.5", "augment.close_mosaic=6",
                              "model.average=0.999", "train.clip_norm=10", "train.weight_decay=0.0005"]}
"""What each engine learns better by than what the shipped recipe says."""
CLIPS: dict[str, Any] = {"seed": 11, "clips": 120, "frames": 5, "size": (256, 256), "hard": 0.1, "animals": (1, 4)}
TARGET, MINUTES = 0.5, 90
VIDEOS, FRAMES = 24, 80
FOLLOWED = {"activation": 0.4, "min_hits": 4, "buffer_s": 2.0}
"""Chosen on 24 other films (seeds 600 to 623)."""


def simulated(work: Path) -> ImageSet:
    """The clips that detectors are compared on, made once."""
    folder = work / "marine-simulated"
    return ImageSet.open(folder) if (folder / "images.json").exists() else simulate_set(folder, **CLIPS)


def trained(work: Path, engine: str, images: Path, name: str, sets: list[str]) -> tuple[RunFolder, float]:
    """A trained run (gone on with, if it was begun) and the minutes that its training took."""
    place = work / f"marine-{name}-{engine}"
    recipe = load_recipe(MarineRecipe, shipped_recipe("groundswell.pipelines.marine", "nano"), [
        f"model.engine={engine}", f"model.name={ENGINES[engine]}", f"data.images={images.resolve()}",
        "train.threads=1", "train.tensorboard=false", *OWN[engine], *sets])
    begun = time.perf_counter()
    run = RunFolder.open(place) if (place / "recipe.yaml").exists() else start_run("marine", recipe, place)
    train_run(run)
    return run, (time.perf_counter() - begun) / 60


def learn(engine: str) -> Callable[[Path], Rows]:
    """What an engine learns of simulated clips on one core, with its controls."""

    def measure(work: Path) -> Rows:
        run, minutes = trained(work, engine, simulated(work).path, "learn", [])
        evaluate_run(run)
        facts = read_json(run.path / "metrics.json")
        value = facts["scores"]["map50"]
        return [row(f"{engine}, simulated test clips", f"mAP50 {value['value']:.3f} [{value['low']:.3f}, "
                    f"{value['high']:.3f}] over {facts['groups']} clips", f"at least {TARGET}",
                    value["value"] >= TARGET),
                row(f"{engine}, training", f"{minutes:.1f} min on one thread", f"at most {MINUTES} min",
                    minutes <= MINUTES),
                *[row(f"{engine}, in words", line) for line in facts["conclusion"]]]

    measure.__doc__ = f"{engine} on simulated clips, one thread: mAP50 on clips that no training saw."
    return measure


def clips(engine: str, epochs: int = 20) -> Callable[[Path], Rows]:
    """Leave one of six real clips out in turn: AP of the classes that several clips have, and of any fish; the network
    that never saw the largest clip exported, and two recordings of another sea followed with the exported file."""

    def measure(work: Path) -> Rows:
        if not REAL.is_dir():
            return [row("real clips", f"not measured: {REAL} is absent")]
        images = real(work)
        start, _ = trained(work, engine, simulated(work).path, "learn", [])
        run, minutes = trained(work, engine, images.path, "clips", [
            "split.regime=leave_one_out", f"model.start={start.path}", f"train.epochs={epochs}",
            "train.warmup_epochs=1", "train.learning_rate=5e-4", "train.monitor=val_loss", "augment.close_mosaic=4"])
        evaluate_run(run, with_controls=False)
        facts = read_json(run.path / "metrics.json")
        told = images.boxes.merge(images.images[["image", "clip"]], on="image")
        shared = told.groupby("label")["clip"].nunique()
        named = {images.classes[k]: int(count) for k, count in shared.items() if count > 1}
        rows = [row(f"{engine}, training", f"{minutes:.1f} min for six fits of {epochs} epochs, one thread, from "
                    "weights learnt on simulated clips")]
        for one in facts["classes"]:
            where = f"{named[one['name']]} clips" if one["name"] in named else "in one clip alone: it cannot be learnt"
            rows.append(row(f"{engine}, {one['name']} ({where})", f"AP50 {_told(one['scores'].get('map50'))}"))
        fish = as_fish(run, images)
        return [*rows, row(f"{engine}, any fish", f"AP50 {_told(fish)}", "reported, whatever it is"),
                *exported(run, engine, work)]

    measure.__doc__ = f"{engine} on the six real camera clips, each left out in turn."
    return measure


def exported(run: RunFolder, engine: str, work: Path) -> Rows:
    """One fold's network as a file: how far it is from the network, and what it counts in recordings that nobody
    annotated."""
    model = work / f"marine-clips-{engine}.onnx"
    parity = export_onnx_of(run, model, [0]).parity
    rows = [row(f"{engine}, exported", f"largest difference {parity.difference:.1e} over {parity.samples} real images")]
    if not RECORDINGS.is_dir():
        return [*rows, row("recordings", f"not measured: {RECORDINGS} is absent")]
    recipe = build_recipe(TrackRecipe, {"fps": 30.0})  # half a second each: at 5 a second nothing could be counted
    for film in sorted(RECORDINGS.glob("*.mp4")):
        out = work / f"marine-tracks-{engine}-{film.stem}"
        shutil.rmtree(out, ignore_errors=True)
        rows += [row(f"{engine}, {film.stem}", line, "reported: no truth is known, and none of its animals was learnt")
                 for line in track_file(model, film, out, recipe, quiet=True)[:1]]
    return rows


def _told(estimate: Any) -> str:
    if not estimate or estimate["value"] is None:
        return "not measured"
    interval = f" [{estimate['low']:.3f}, {estimate['high']:.3f}]" if estimate["low"] is not None else " (no interval)"
    return f"{estimate['value']:.3f}{interval}"


def real(work: Path) -> ImageSet:
    """The real images as a set."""
    folder = work / "marine-real"
    return ImageSet.open(folder) if (folder / "images.json").exists() else organise([REAL], folder, quiet=True).images


def as_fish(run: RunFolder, images: ImageSet) -> dict[str, Any]:
    """mAP50 of one class for all: boxes of all classes, of which overlapping ones are one fish."""
    from groundswell.pipelines.archive import load_archive

    found = BoxPredictions.read(run.path / "predictions.parquet")
    each = []
    for k in range(len(found)):
        boxes, score, label = found.of_image(k)
        each.append(suppressed(boxes, score, np.zeros_like(label), 0.6))
    one = BoxPredictions.of(found.sample_id, each, ["fish"], note=found.note)
    table = load_archive(run.path).table
    names = table.column("sample_id").tolist()
    known = [images.annotations(name) for name in names]
    truth = BoxTruth.of(names, [type(a)(a.boxes, np.zeros_like(a.label), a.track, a.crowd) for a in known], ["fish"],
                        group=table.groups())
    recipe = run.recipe(MarineRecipe)
    made: dict[str, Any] = evaluate_boxes(one, truth, table, recipe.evaluate).to_dict()["scores"]["map50"]
    return made


def fusion(work: Path) -> Rows:
    """Three variants of one detector: their fusion beside the best of them, and calibration before and after."""
    base, _ = trained(work, "rtdetr", simulated(work).path, "learn", [])
    paths = []
    for name, sets in (("recall", ["augment.degrees=10", "augment.scale=0.5"]), ("balanced", []),
                       ("precision", ["augment.mosaic=0.1", "augment.translate=0.05"])):
        run, _ = trained(work, "rtdetr", simulated(work).path, f"variant-{name}", [
            f"model.start={base.path}", "train.epochs=4", "train.learning_rate=3e-4", *sets])
        paths.append(run.path)
    members = Members.open(paths)
    fuse_members(members, work / "marine-fused")
    difference = read_json(work / "marine-fused" / "fusion.json")["difference"]
    facts = calibrate_members(members, work / "marine-calibrated")
    compared = read_json(work / "marine-calibrated" / "calibration.json")
    gap = compared["difference"]["ece"]
    return [row("fusion less its best member, mAP50", f"{difference['value']:+.4f} [{difference['low']:+.4f}, "
                f"{difference['high']:+.4f}]", "at least -0.005", difference["value"] >= -0.005),
            row("D-ECE after less before", f"{gap['value']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}]",
                "interval below 0", gap["high"] is not None and gap["high"] < 0),
            *[row("in words", line) for line in facts["lines"][:4]]]


def follower(work: Path) -> RunFolder:
    """A detector for films: that of the second benchmark, gone on with on twice as many clips and larger images."""
    base, _ = trained(work, "yolo", simulated(work).path, "learn", [])
    folder = work / "marine-simulated-more"
    more = ImageSet.open(folder) if (folder / "images.json").exists() else simulate_set(
        folder, **{**CLIPS, "seed": 12, "clips": 240})
    return trained(work, "yolo", more.path, "follow", [
        f"model.start={base.path}", "data.size=256", "train.epochs=12", "train.warmup_epochs=0.5",
        "train.learning_rate=7e-4", "augment.close_mosaic=4"])[0]


def tracking(work: Path) -> Rows:
    """Animals of simulated films, found by a detector that saw none of them and followed: IDF1 and counts."""
    detector, recipe = open_detector(follower(work).path), build_recipe(TrackRecipe, FOLLOWED)
    total, counted = TrackScores(), 0
    for number in range(VIDEOS):
        film = work / f"marine-film-{number}.mp4"
        scenes = build_recipe(SceneRecipe, {**CLIPS, "seed": 500 + number, "clips": 1, "frames": FRAMES, "fps": 10})
        truth = simulate_video(scenes, film)
        frames = open_frames(film, fps=recipe.fps)
        tracks = track(detector, frames, recipe, classes=detector.classes, keep_boxes=True, quiet=True)
        if tracks.boxes is None:
            raise InputError("The tracks' boxes were not kept")
        total += score_tracks(truth, tracks.boxes, frames=range(0, FRAMES, 2))
        counted += len(tracks.animals)
    true = sum(total.true_counts.values())
    return [row(f"IDF1, {VIDEOS} simulated films", f"{total.idf1:.3f}", "at least 0.7", total.idf1 >= 0.7),
            row("count error, species by species", f"{100 * total.count_error:.0f} %", "at most 15 %",
                total.count_error <= 0.15),
            row("animals", f"{counted} counted of {true}"), row("MOTA", f"{total.mota:.3f}")]
