"""The verbs of marine as a person types them, each once on a small simulated set, and what they leave behind."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from exchange_files import as_coco
from PIL import Image

from groundswell.cli.main import main
from groundswell.core.optional import available
from groundswell.core.recipe import build_recipe, shipped_recipe
from groundswell.pipelines.archive import load_archive
from groundswell.pipelines.marine.chain import calibrating
from groundswell.pipelines.marine.chain.members import Members
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.splits.manifest import TRAIN, VALIDATION, SplitManifest
from groundswell.train.weights import read_pth

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KEYS = ["data.size=64", "model.name=rtdetrv2_nano", "model.average=0.9", "split.validation=0.25", "split.test=0.25",
        "loader.threads=1", "evaluate.bootstrap=100", "evaluate.n_min=1", "evaluate.controls=[class_prior]",
        "evaluate.count_at=0.01", "detect.confidence=0.01", "train.epochs=1", "train.batch_size=4", "train.threads=1",
        "train.tensorboard=false", "train.warmup_epochs=0", "train.accelerator=cpu", "tta.scales=[1.0]"]
VERBS = ("species", "simulate", "fathomnet", "deepfish", "organise", "stats", "convert", "split", "prepare", "pretrain",
         "probe", "train", "select", "import", "mine", "pipeline", "fuse", "calibrate", "track", "budget", "deploy")


def sets(*texts: str) -> list[str]:
    return [word for text in texts for word in ("--set", text)]


def did(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What a command said; it ended well."""
    capsys.readouterr()
    status = main(["-q", *map(str, words)])
    told = capsys.readouterr()
    assert status == 0, told.err
    assert told.err == ""
    return told.out


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a simulated set, a run on it that is evaluated, and the run as an exported file."""
    folder: Path = tmp_path_factory.mktemp("commands")
    knobs = sets("clips=10", "frames=3", "size=[64,64]", "animals=[1,2]", "unlabelled_share=0.2", "seed=3",
                 "classes=[lionfish, sea star]")
    assert main(["-q", "marine", "simulate", str(folder / "images"), *knobs]) == 0
    run = str(folder / "runs" / "one")
    assert main(["-q", "marine", "train", "nano", *sets(f"data.images={folder / 'images'}", *KEYS), "--out", run]) == 0
    assert main(["-q", "evaluate", run]) == 0
    assert main(["-q", "export", run, "--out", str(folder / "one.onnx")]) == 0
    shutil.copytree(run, folder / "runs" / "two")
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_example_in_its_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["marine", verb, "--help"]) == 0
    assert f"Example: groundswell marine {verb}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("verb, key", [("simulate", "turbidity"), ("organise", "inside"), ("track", "min_hits")])
def test_knobs_are_listed_with_their_meaning(verb: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["marine", verb, "--knobs"]) == 0
    assert f"{key}: " in capsys.readouterr().out


def test_species_lists_36_with_their_priorities(capsys: pytest.CaptureFixture[str]) -> None:
    told = did(capsys, "marine", "species", "--strict").splitlines()
    assert told[0] == "Nothing is wrong with the table." and len(told) == 37
    assert told[1].split()[:2] == ["0", "critical"] and told[-1].split()[:2] == ["35", "general"]


def test_simulated_images_say_so_and_a_video_has_its_truth(place: Path, tmp_path: Path,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    images = ImageSet.open(place / "images")
    assert images.simulated and images.images["clip"].nunique() == 10 and len(images) == 30
    assert int((~images.images["annotated"]).sum()) == 6 and images.classes == ("lionfish", "sea star")
    told = did(capsys, "marine", "simulate", "--video", tmp_path / "dive.mp4", *sets("frames=6", "size=[64,64]"))
    assert "simulated" in told and f"marine track MODEL {tmp_path / 'dive.mp4'}" in told
    assert (tmp_path / "dive.mp4").stat().st_size > 500 and len(list(tmp_path.iterdir())) > 1


def test_stats_count_what_is_there(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = did(capsys, "marine", "stats", place / "images", "--out", tmp_path / "stats")
    images = ImageSet.open(place / "images")
    assert "30 images" in told and f"{len(images.boxes)} boxes" in told
    table = pd.read_csv(next((tmp_path / "stats").glob("*class*.csv")))
    assert int(table["boxes"].sum()) == len(images.boxes)
    assert list((tmp_path / "stats").glob("*.png"))


def test_split_audits_and_writes_the_division(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = did(capsys, "marine", "split", place / "images", *sets("split.validation=0.25", "split.test=0.25"), "--out",
               tmp_path / "split")
    assert "No clip is in more than one part" in told
    assert (tmp_path / "split" / "split.json").exists() and (tmp_path / "split" / "split.parquet").exists()


def test_a_published_division_that_leaks_is_told(place: Path, tmp_path: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    coco = as_published(place, tmp_path)
    did(capsys, "marine", "organise", coco, tmp_path / "set", *sets("simulated=true"))
    told = did(capsys, "marine", "split", tmp_path / "set", *sets("split.validation=0.25", "split.test=0.25"))
    assert "share a clip with training" in told and "clips are in more than one part" in told


def as_published(place: Path, tmp_path: Path) -> Path:
    """The set's images as COCO of somebody who dealt frames, not clips."""
    images = ImageSet.open(place / "images")
    value = as_coco(images)
    shutil.copytree(place / "images" / "images", tmp_path / "coco" / "images")
    for k, one in enumerate(value["images"]):
        one["published_split"] = "test" if k % 3 == 2 else "train"
    (tmp_path / "coco" / "annotations.coco.json").write_text(json.dumps(value))
    return tmp_path / "coco" / "annotations.coco.json"


@pytest.mark.parametrize("form", ["coco", "yolo", "voc"])
def test_boxes_come_back_from_every_form(place: Path, tmp_path: Path, form: str,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    told = did(capsys, "marine", "convert", place / "images", tmp_path / "out", "--to", form)
    assert told.startswith("Wrote 30 images")
    told = did(capsys, "marine", "organise", tmp_path / "out", tmp_path / "back")
    before, after = ImageSet.open(place / "images"), ImageSet.open(tmp_path / "back")
    assert f"{len(before.boxes)} boxes" in told
    names = [name for name, yes in before.images[["image", "annotated"]].itertuples(index=False) if yes]
    for name in names:
        one, other = before.annotations(name), after.annotations(name)
        np.testing.assert_allclose(other.boxes, one.boxes, atol=0.51 if form == "voc" else 0.01)
        assert [after.classes[k] for k in other.label] == [before.classes[k] for k in one.label]


def test_prepare_corrects_every_image_once(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    did(capsys, "marine", "prepare", place / "images", tmp_path / "new", "--workers", "1")
    before, after = ImageSet.open(place / "images"), ImageSet.open(tmp_path / "new")
    assert after.preparation and after.simulated and len(after) == len(before)
    name = str(before.images["image"][0])
    assert (after.read(name) != before.read(name)).any()
    pd.testing.assert_frame_equal(after.boxes, before.boxes)


def test_a_pretraining_is_what_training_can_start_from(place: Path, tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    short = sets(f"data.images={place / 'images'}", *KEYS, "pretrain.epochs=1", "pretrain.batch_size=4",
                 "pretrain.size=32", "pretrain.hidden_dim=16", "pretrain.projection_dim=8", "pretrain.min_images=0")
    told = did(capsys, "marine", "pretrain", "nano", *short, "--out", tmp_path / "pretrained")
    assert "nothing of them reached the backbone" in told and "simulated" in told
    assert f"marine train nano --set model.start={tmp_path / 'pretrained'}" in told
    keys = json.loads((tmp_path / "pretrained" / "pretrained.json").read_text())["keys"]
    told = did(capsys, "marine", "train", "nano", *short, "--set", f"model.start={tmp_path / 'pretrained'}", "--out",
               tmp_path / "run", "--dry-run")
    assert f"{keys} entries arrive, {keys} of them the backbone's" in told and not (tmp_path / "run").exists()
    assert main(["-q", "marine", "probe", str(tmp_path / "pretrained")]) == 2  # too few animals for an answer
    assert "a probe needs two" in capsys.readouterr().err and not (tmp_path / "pretrained" / "probe.json").exists()


def test_train_says_what_it_would_do_and_whose_licence_holds(place: Path, tmp_path: Path,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    told = did(capsys, "marine", "train", "nano", *sets(f"data.images={place / 'images'}", *KEYS, "model.start="
                                                        + str(place / "runs" / "one")), "--out", tmp_path / "run",
               "--dry-run")
    assert "entries arrive" in told and "0 are missing" in told and not (tmp_path / "run").exists()
    if not available("ultralytics"):  # importing it would change how numpy prints
        pytest.skip("the extra 'yolo' is not installed")
    yolo = [key for key in KEYS if not key.startswith("model.name")]
    told = did(capsys, "marine", "train", "nano", *sets(f"data.images={place / 'images'}", *yolo, "model.engine=yolo",
                                                        "model.name=yolov8n"), "--out", tmp_path / "run", "--dry-run")
    assert "AGPL-3.0" in told and not (tmp_path / "run").exists()


def test_an_evaluated_run_is_listed_and_reported(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads((place / "runs" / "one" / "metrics.json").read_text())
    assert facts["headline"] == "map50" and facts["note"]["simulated"] and facts["beside"]
    rows = json.loads(did(capsys, "runs", place / "runs", "--json"))
    assert [row["state"] for row in rows] == ["evaluated", "evaluated"]
    assert rows[0]["headline"]["metric"].endswith("map50") and "simulated" in rows[0]["headline"]["note"]
    page = (place / "runs" / "one" / "report.html").read_text()
    assert "mAP50" in page and "simulated" in page.lower()
    assert "report.html" in did(capsys, "report", place / "runs" / "one")
    assert (place / "runs" / "one" / "report.html").read_text() == page


def boxes_of(path: Path) -> dict[str, list[dict[str, object]]]:
    return {Path(row["image"]).stem: row["boxes"] for row in json.loads(path.read_text())["images"]}


def test_a_run_its_exported_file_and_an_ensemble_of_it_find_the_same_boxes(
        place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    did(capsys, "marine", "fuse", place / "runs" / "one", "--out", place / "runs" / "alone")
    found = {}
    for name, model in (("run", "runs/one"), ("file", "one.onnx"), ("ensemble", "runs/alone/ensemble.json"),
                        ("folder", "runs/alone")):
        told = did(capsys, "predict", place / model, place / "images", "--out", tmp_path / f"{name}.json")
        assert "30 images" in told and "trained on simulated images" in told
        found[name] = boxes_of(tmp_path / f"{name}.json")
    assert found["run"] == found["ensemble"] == found["folder"]
    assert sum(map(len, found["run"].values())) > 30
    close = many = 0
    for image, rows in found["run"].items():
        others = found["file"][image]
        for row in rows:
            many += 1
            close += any(row["category"] == other["category"] and abs(row["score"] - other["score"]) < 1e-3
                         and np.allclose(row["bbox"], other["bbox"], atol=0.1) for other in others)
    assert close / many > 0.99


def test_predictions_are_written_as_a_table_and_drawn(place: Path, tmp_path: Path,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    folder = place / "images" / "images"
    did(capsys, "predict", place / "one.onnx", folder, "--out", tmp_path / "p.csv", "--plot", tmp_path / "p.png")
    table = pd.read_csv(tmp_path / "p.csv")
    assert set(table["category"]) <= {"lionfish", "sea star"} and set(table["priority"]) <= {"critical", "important"}
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width > 300


def test_names_that_are_no_text_are_predicted_on_and_printed(place: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"a\xffb")
    odd.mkdir()
    shutil.copy(next((place / "images" / "images").iterdir()), odd / "c.jpg")
    command = [sys.executable, "-m", "groundswell", "-q"]
    told = subprocess.run([*command, "predict", place / "one.onnx", odd, "--out", odd / "p.json"], check=True,
                          capture_output=True, text=True, env={**os.environ, "PYTHONUTF8": "1"})
    assert "a\\udcffb/p.json" in told.stdout
    found = json.loads((odd / "p.json").read_text())
    assert [Path(row["image"]).parent.name for row in found["images"]] == ["a\\xffb"]
    assert main(["-q", "marine", "organise", str(place / "images" / "images"), str(odd / "set")]) == 2


def test_exported_weights_are_the_runs(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    did(capsys, "export", place / "runs" / "one", "--to", "weights", "--out", tmp_path / "weights")
    file = next((tmp_path / "weights").glob("*.pth"))
    assert len(read_pth(file)["model_state_dict"]) > 50
    start = sets(f"data.images={place / 'images'}", *KEYS, f"model.start={file}")
    told = did(capsys, "marine", "train", "nano", *start, "--out", tmp_path / "run", "--dry-run")
    assert "0 are missing" in told


def test_select_packs_images_and_import_takes_their_boxes_back(place: Path, tmp_path: Path,
                                                               capsys: pytest.CaptureFixture[str]) -> None:
    told = did(capsys, "marine", "select", place / "runs" / "one", place / "images", "--out", tmp_path / "chosen",
               *sets("num_samples=3", "clusters=2"))
    chosen = pd.read_csv(tmp_path / "chosen" / "selection.csv")["image"].tolist()
    images = ImageSet.open(place / "images")
    assert len(chosen) == 3 and not images.images.set_index("image").loc[chosen, "annotated"].any()
    assert "simulated" in told
    value = as_coco(images)
    number = {row["id"]: Path(row["file_name"]).stem for row in value["images"]}
    value["images"] = [row for row in value["images"] if number[row["id"]] in chosen]
    value["annotations"] = [{"id": 1, "image_id": value["images"][0]["id"], "category_id": 0, "iscrowd": 0,
                             "bbox": [10, 10, 20, 20]}]
    (tmp_path / "returned.json").write_text(json.dumps(value))
    told = did(capsys, "marine", "import", tmp_path / "returned.json", place / "images", tmp_path / "new", "--package",
               tmp_path / "chosen" / "package.zip")
    made = ImageSet.open(tmp_path / "new")
    assert sorted(made.images["image"]) == sorted(chosen) and made.images["annotated"].all() and len(made.boxes) == 1
    assert "3 of 3 images" in told and made.simulated


def test_mine_looks_at_the_training_part_and_training_takes_its_list(place: Path, tmp_path: Path,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    run = place / "runs" / "one"
    told = did(capsys, "marine", "mine", run, "--out", tmp_path / "n.json")
    archive = load_archive(run)
    rows = SplitManifest.read(run, archive.table).rows(TRAIN, 0)
    facts = json.loads((tmp_path / "n.json").read_text())
    assert facts["images"] == len(rows) and f"{len(rows)} training images" in told and "sampling.negatives" in told
    did(capsys, "marine", "train", str(run / "recipe.yaml"), *sets(f"sampling.negatives={tmp_path / 'n.json'}"),
        "--out", tmp_path / "run", "--dry-run")


def test_fuse_holds_the_fusion_against_its_best_member(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = did(capsys, "marine", "fuse", place / "runs" / "one", place / "runs" / "two", "--out", place / "fused",
               *sets("method=nms"))
    facts = json.loads((place / "fused" / "fusion.json").read_text())
    assert facts["method"] == "nms" and facts["best_member"] in ("one", "two") and facts["weights"] == [1.0, 1.0]
    assert "the best member in validation" in told and (place / "fused" / "report.html").exists()
    members = json.loads((place / "fused" / "ensemble.json").read_text())["members"]
    assert [one["model"] for one in members] == ["runs/one", "runs/two"]


def test_calibrate_tells_before_and_after_and_what_it_was_fitted_on(place: Path, tmp_path: Path,
                                                                    capsys: pytest.CaptureFixture[str]) -> None:
    told = did(capsys, "marine", "calibrate", place / "runs" / "one", "--out", place / "calibrated")
    assert "D-ECE" in told and "clip of validation" in told
    for name in ("calibration.json", "ensemble.json", "reliability.png", "thresholds.png", "report.html"):
        assert (place / "calibrated" / name).exists()
    did(capsys, "predict", place / "calibrated", place / "images", "--out", tmp_path / "p.json")
    assert json.loads((tmp_path / "p.json").read_text())["calibrated"]


def test_boxes_of_several_views_are_kept_for_the_same_members_and_settings_only(place: Path, tmp_path: Path,
                                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def detector(members: Members) -> Any:
        looked.append(members.runs[0].path.name)
        return lambda pictures: [(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
                                 for _ in pictures]

    monkeypatch.setattr(calibrating, "_detector", detector)
    shutil.copytree(place / "runs" / "one", tmp_path / "three")
    weights = tmp_path / "three" / "weights" / "best.safetensors"
    weights = weights if weights.exists() else next((tmp_path / "three").rglob("best.safetensors"))
    weights.write_bytes(weights.read_bytes() + b" ")
    one = Members.open([place / "runs" / "one"])
    other = dataclasses.replace(one, recipe=build_recipe(MarineRecipe, one.recipe.model_dump(), ["fuse.iou=0.9"]))
    for members in (one, one, Members.open([place / "runs" / "two"]), other, Members.open([tmp_path / "three"]), one):
        calibrating._by_views(members, VALIDATION, tmp_path / "views.parquet", True)
    # The second is the first; "two" is a copy of "one", as good as itself.
    assert looked == ["one", "one", "three", "one"]


def test_animals_alone_are_told_from_their_background(place: Path, tmp_path: Path,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    did(capsys, "marine", "train", "nano", *sets(f"data.images={place / 'images'}", "data.classes=animal", *KEYS),
        "--out", tmp_path / "run")
    told = did(capsys, "evaluate", tmp_path / "run", "--no-controls")
    assert "mAP50 is" in told


def test_track_counts_and_draws_a_video(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = tmp_path / "dive.mp4"
    did(capsys, "marine", "simulate", "--video", video, *sets("frames=8", "fps=5", "size=[64,64]", "seed=4"))
    told = did(capsys, "marine", "track", place / "one.onnx", video, "--out", tmp_path / "tracks")
    facts = json.loads((tmp_path / "tracks" / "tracks.json").read_text())
    assert facts["frames"] == 8 and facts["note"]["simulated"] and "8 frames" in told and "simulated" in told
    for name in ("counts.csv", "animals.csv", "alerts.csv", "boxes.csv", "annotated.mp4"):
        assert (tmp_path / "tracks" / name).exists()


def test_budget_counts_a_day(capsys: pytest.CaptureFixture[str]) -> None:
    told = did(capsys, "marine", "budget", "nano", *sets("budget.cameras=4"))
    assert "28,800" in told or "57,600" in told or "86,400" in told
    assert "estimate" in told.lower()


def test_deploy_packs_an_exported_file(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for to in ("jetson", "container", "tensorrt"):
        told = did(capsys, "marine", "deploy", place / "one.onnx", "--to", to, "--out", tmp_path / to)
        assert "Wrote" in told and (tmp_path / to).exists()


def test_shipped_recipes_are_valid_and_their_keys_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("sample", "full", "shore", "yolo", "nano", "demo"):
        did(capsys, "recipe", "validate", shipped_recipe("groundswell.pipelines.marine", name))
    told = did(capsys, "recipe", "show", "marine")
    assert "specialise.oversampling_ratio" in told and "tta.rotations" in told
