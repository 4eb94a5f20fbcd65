"""What marine's verbs cannot use: one paragraph that says what, where and what to do, exit status 2, nothing half
written; and what is good beside it is done all the same."""

from __future__ import annotations

import json
import pickle
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from exchange_files import as_coco, zipped
from marine_sets import picture

from groundswell.cli.main import main
from groundswell.core.recipe import dump_recipe, load_recipe
from groundswell.pipelines.archive import load_archive
from groundswell.pipelines.marine.detecting import ENSEMBLE, open_detector
from groundswell.pipelines.marine.image_files import encode
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.marine.simulate.simulating import simulate_set
from groundswell.splits.manifest import TEST, TRAIN, SplitManifest

Capture = pytest.CaptureFixture[str]

KEYS = ["data.size=64", "model.name=rtdetrv2_nano", "split.validation=0.25", "split.test=0.25", "loader.threads=1",
        "evaluate.bootstrap=100", "train.epochs=1", "train.batch_size=4", "train.threads=1", "train.tensorboard=false",
        "train.warmup_epochs=0", "train.accelerator=cpu", "pretrain.min_images=0", "pretrain.size=32"]


def sets(*texts: str) -> list[str]:
    return [word for text in texts for word in ("--set", text)]


def said(capsys: Capture, *words: object, status: int = 2) -> tuple[str, str]:
    """What a command that ends with this status says: its output and the one paragraph of its complaint."""
    capsys.readouterr()
    assert main(["-q", *map(str, words)]) == status
    told = capsys.readouterr()
    assert "Traceback" not in told.err and "should not have happened" not in told.err
    return told.out, told.err.strip()


def refused(capsys: Capture, *words: object) -> str:
    """The one paragraph that a command is refused with."""
    out, complaint = said(capsys, *words)
    assert out == "" and "\n" not in complaint, complaint
    assert complaint.startswith("groundswell: ") and complaint.endswith(".")
    return complaint


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a simulated set and a run on it, which tests leave as they are."""
    folder: Path = tmp_path_factory.mktemp("made")
    simulate_set(folder / "images", seed=3, clips=10, frames=2, size=(64, 64), animals=(1, 2), unlabelled_share=0.2,
                 classes=("lionfish", "sea star"))
    assert main(["-q", "marine", "train", "nano", *sets(f"data.images={folder / 'images'}", *KEYS), "--out",
                 str(folder / "run")]) == 0
    return folder


# -- what is not there -------------------------------------------------------------------------------------------------

NOWHERE: dict[str, list[str]] = {
    "stats": ["marine", "stats", "{no}"],
    "convert": ["marine", "convert", "{no}", "{out}"],
    "split": ["marine", "split", "{no}", "--out", "{out}"],
    "prepare": ["marine", "prepare", "{no}", "{out}"],
    "organise": ["marine", "organise", "{no}", "{out}"],
    "organise's species": ["marine", "organise", "{made}/images/images", "{out}", "--species", "{no}"],
    "species": ["marine", "species", "{no}"],
    "pretrain": ["marine", "pretrain", "nano", "--set", "data.images={no}", "--out", "{out}"],
    "train": ["marine", "train", "nano", "--set", "data.images={no}", "--out", "{out}"],
    "train's start": ["marine", "train", "nano", "--set", "data.images={made}/images", "--set", "model.start={no}",
                      "--out", "{out}"],
    "train's negatives": ["marine", "train", "nano", "--set", "data.images={made}/images", "--set",
                          "sampling.negatives={no}", "--out", "{out}"],
    "train's recipe": ["marine", "train", "{no}", "--out", "{out}"],
    "select's run": ["marine", "select", "{no}", "{made}/images", "--out", "{out}"],
    "select's pool": ["marine", "select", "{made}/run", "{no}", "--out", "{out}"],
    "import": ["marine", "import", "{no}", "{made}/images", "{out}"],
    "import's images": ["marine", "import", "{made}/images", "{no}", "{out}"],
    "mine": ["marine", "mine", "{no}", "--out", "{out}"],
    "pipeline": ["marine", "pipeline", "nano", "--set", "data.images={no}", "--out", "{out}"],
    "pipeline's dry run": ["marine", "pipeline", "nano", "--set", "data.images={no}", "--out", "{out}", "--dry-run"],
    "fuse": ["marine", "fuse", "{no}", "--out", "{out}"],
    "calibrate": ["marine", "calibrate", "{made}/run", "{no}", "--out", "{out}"],
    "track's model": ["marine", "track", "{no}", "{made}/images/images", "--out", "{out}"],
    "track's recording": ["marine", "track", "{made}/run", "{no}", "--out", "{out}"],
    "deploy": ["marine", "deploy", "{no}", "--out", "{out}"],
    "budget": ["marine", "budget", "{no}"],
    "predict's model": ["predict", "{no}", "{made}/images", "--out", "{out}.json"],
    "predict's images": ["predict", "{made}/run", "{no}", "--out", "{out}.json"],
    "evaluate": ["evaluate", "{no}"],
    "export": ["export", "{no}", "--out", "{out}"],
}


@pytest.mark.parametrize("verb", NOWHERE)
def test_what_is_not_there_is_named(made: Path, tmp_path: Path, capsys: Capture, verb: str) -> None:
    words = [word.format(no=tmp_path / "nowhere", made=made, out=tmp_path / "out") for word in NOWHERE[verb]]
    before = tree(made)
    assert "nowhere" in refused(capsys, *words)
    assert tree(tmp_path) == [] and tree(made) == before


FULL: dict[str, list[str]] = {
    "simulate": ["marine", "simulate", "{out}", "--set", "clips=1", "--set", "frames=1"],
    "convert": ["marine", "convert", "{made}/images", "{out}", "--to", "voc"],
    "prepare": ["marine", "prepare", "{made}/images", "{out}"],
    "organise": ["marine", "organise", "{made}/images/images", "{out}"],
    "train": ["marine", "train", "nano", "--set", "data.images={made}/images", "--out", "{out}"],
    "pretrain": ["marine", "pretrain", "nano", "--set", "data.images={made}/images", "--out", "{out}"],
    "pipeline": ["marine", "pipeline", "nano", "--set", "data.images={made}/images", "--out", "{out}"],
}


@pytest.mark.parametrize("verb", FULL)
def test_a_folder_that_holds_something_is_left_alone(made: Path, tmp_path: Path, capsys: Capture, verb: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    words = [word.format(made=made, out=tmp_path / "out") for word in FULL[verb]]
    assert str(tmp_path / "out") in refused(capsys, *words)
    assert tree(tmp_path) == ["out", "out/letter.txt"]


# -- recipes -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("texts, messages", [
    (["train.epoch=3"], ("train.epoch", "did you mean", "epochs")),
    (["tta.rotation=[90]"], ("tta.rotation", "rotations")),
    (["evaluate.controls=[clas_prior]"], ("clas_prior", "class_prior")),
    (["model.engine=yolo"], ("rtdetrv2_nano", "engine yolo")),
    (["model.name=yolov8n"], ("yolov8n", "engine rtdetr")),
    (["model.name=rtdetrv2_r19"], ("rtdetrv2_r19", "rtdetrv2_r18")),
    (["model.engine=yolov8"], ("model.engine", "rtdetr")),
    (["data.size=100"], ("data.size", "32")),
    (["augment.sizes=[100]"], ("augment.sizes", "multiples of 32")),
    (["steps=[fuse, baseline]"], ("steps", "in this order")),
    (["steps=[pretrain]"], ("steps", "baseline")),
    (["split.regime=published"], ("published", "marine split")),
    (["train.use_class_weights=true"], ("sampling.class_weights",)),
    (["train.monitor=val_accuracy"], ("val_accuracy", "val_map50")),
    (["data.classes=genus"], ("data.classes", "species")),
    (["split.test=0.9"], ("split",)),
], ids=lambda value: value[0] if isinstance(value, list) else "")
def test_recipes_that_cannot_be_meant(made: Path, tmp_path: Path, capsys: Capture, texts: list[str],
                                      messages: tuple[str, ...]) -> None:
    told = refused(capsys, "marine", "train", "nano", *sets(f"data.images={made / 'images'}", *KEYS, *texts), "--out",
                   tmp_path / "out")
    for message in messages:
        assert message in told
    assert tree(tmp_path) == []


def test_knobs_of_other_verbs_are_seen_to_alike(made: Path, tmp_path: Path, capsys: Capture) -> None:
    for words, message in ((["simulate", tmp_path / "out", *sets("clip=3")], "clips"),
                           (["simulate", tmp_path / "out", *sets("classes=[lionfsh]")], "lionfish"),
                           (["organise", made / "images" / "images", tmp_path / "out", *sets("insid=1")], "inside"),
                           (["organise", made / "images" / "images", tmp_path / "out", *sets("clip=(")], "expression"),
                           (["track", made / "run", made / "images" / "images", *sets("min_hit=2"), "--out",
                             tmp_path / "out"], "min_hits"),
                           (["fuse", made / "run", *sets("methods=nms"), "--out", made / "out"], "method"),
                           (["calibrate", made / "run", *sets("tta.enable=false"), "--out", made / "out"], "enabled"),
                           (["select", made / "run", made / "images", *sets("num_sample=2"), "--out",
                             tmp_path / "out"], "num_samples"),
                           (["convert", made / "images", tmp_path / "out", "--to", "cocoa"], "coco, yolo"),
                           (["import", made / "images", made / "images", tmp_path / "out", "--kind", "paper"], "yolo"),
                           (["organise", made / "images" / "images"], "FOLDER"),
                           (["simulate"], "simulate FOLDER")):
        assert message in refused(capsys, "marine", *words)
        assert tree(tmp_path) == [] and not (made / "out").exists()


# -- images ------------------------------------------------------------------------------------------------------------

def photos(folder: Path) -> Path:
    """Two good photographs, one that is empty, one that is cut off, and one that is a text."""
    folder.mkdir(parents=True)
    for number in (1, 2):
        (folder / f"dive_{number:03}.jpg").write_bytes(encode(picture(number)))
    (folder / "dive_003.jpg").write_bytes(b"")
    (folder / "dive_004.jpg").write_bytes(encode(picture(4))[:300])
    (folder / "dive_005.png").write_text("a letter")
    return folder


def test_damaged_photographs_are_named_and_the_good_ones_are_looked_at(made: Path, tmp_path: Path,
                                                                       capsys: Capture) -> None:
    out, _ = said(capsys, "predict", made / "run", photos(tmp_path / "photos"), "--out", tmp_path / "p.json")
    for number in (3, 4, 5):
        assert f"dive_{number:03}" in out
    assert "in 2 images" in out
    assert len(json.loads((tmp_path / "p.json").read_text())["images"]) == 2
    shutil.rmtree(tmp_path / "photos")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    assert "a.jpg" in refused(capsys, "predict", made / "run", tmp_path / "photos", "--out", tmp_path / "q.json")
    assert not (tmp_path / "q.json").exists()


def test_damaged_photographs_are_left_out_of_a_set_and_counted(tmp_path: Path, capsys: Capture) -> None:
    out, told = said(capsys, "marine", "organise", photos(tmp_path / "photos"), tmp_path / "set")
    assert "2 images of 1 clip" in out and "1 file: the image file is empty" in told
    assert "dive_003.jpg" in told and "\n" not in told
    assert len(ImageSet.open(tmp_path / "set")) == 2
    assert len(list((tmp_path / "photos").iterdir())) == 5
    for good in ("dive_001.jpg", "dive_002.jpg"):
        (tmp_path / "photos" / good).unlink()
    assert "No image is left" in refused(capsys, "marine", "organise", tmp_path / "photos", tmp_path / "none")
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "set"}


def coco(made: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The set as COCO beside its images; what the file holds."""
    images = ImageSet.open(made / "images")
    shutil.copytree(made / "images" / "images", folder / "images")
    return folder / "boxes.coco.json", as_coco(images)


def test_boxes_and_classes_that_cannot_be_are_left_out_and_counted(made: Path, tmp_path: Path, capsys: Capture) -> None:
    path, value = coco(made, tmp_path / "coco")
    good = len(value["annotations"])
    first = value["images"][0]["id"]
    for box, category in (([500, 500, 10, 10], 0), ([10, 10, 0, 10], 0), ([1, 1, 5, 5], 99),
                          ([float("nan"), 0, 5, 5], 0), (["left"], 0)):
        value["annotations"].append({"id": len(value["annotations"]), "image_id": first, "bbox": box,
                                     "category_id": category})
    value["annotations"].append({"id": 1000, "image_id": 1000, "bbox": [1, 1, 5, 5], "category_id": 0})
    path.write_text(json.dumps(value))
    out, told = said(capsys, "marine", "organise", path, tmp_path / "set")
    assert f"{good} boxes" in out and "box" in told and "category is not listed" in told and "\n" not in told
    assert len(ImageSet.open(tmp_path / "set").boxes) == good
    report = json.loads((tmp_path / "set" / "organise.json").read_text())
    assert sum(report["refused_counts"]["box"].values()) == 6


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"images": 3}', b"\xff\xfe\x00", b'{"images": [], '
                                     b'"categories": [{"id": 1}], "annotations": []}'])
def test_files_that_are_no_coco(tmp_path: Path, capsys: Capture, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert "a.json" in refused(capsys, "marine", "organise", tmp_path / "a.json", tmp_path / "set")
    assert tree(tmp_path) == ["a.json"]


def damaged_set(made: Path, folder: Path, spoil: Callable[[Path], None]) -> Path:
    shutil.copytree(made / "images", folder)
    spoil(folder)
    return folder


def facts_with(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        value = json.loads((folder / "images.json").read_text())
        (folder / "images.json").write_text(json.dumps({**value, **changes}))

    return spoil


def box_with(column: str, value: float) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        frame = pd.read_parquet(folder / "boxes.parquet")
        frame.loc[0, column] = value
        frame.to_parquet(folder / "boxes.parquet")

    return spoil


SPOILT: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "no description": (lambda folder: (folder / "images.json").unlink(), ("images.json",)),
    "a description that is none": (lambda folder: (folder / "images.json").write_text("[]"), ("images.json",)),
    "a description that breaks off": (lambda folder: (folder / "images.json").write_text('{"format'), ("images.json",)),
    "no classes": (facts_with(classes=[], species=[]), ("class",)),
    "classes without species": (facts_with(species=[]), ("species",)),
    "the same class twice": (facts_with(classes=["eel", "eel"]), ("eel",)),
    "another number of images": (facts_with(images=7), ("7 images", "20")),
    "no table of boxes": (lambda folder: (folder / "boxes.parquet").unlink(), ("boxes.parquet", "missing")),
    "a table that breaks off": (lambda folder: (folder / "boxes.parquet").write_bytes(b"PAR1abc"), ("boxes.parquet",)),
    "a class outside the table": (box_with("label", 9), ("class 9", "0 to 1", "row 0")),
    "a box outside its image": (box_with("right", 900.0), ("leaves its image", "row 0")),
    "a box that is not finite": (box_with("left", float("nan")), ("not finite", "row 0")),
    "a box without area": (box_with("right", 0.0), ("no area", "row 0")),
}


@pytest.mark.parametrize("case", SPOILT)
def test_sets_that_are_not_whole(made: Path, tmp_path: Path, capsys: Capture, case: str) -> None:
    spoil, messages = SPOILT[case]
    folder = damaged_set(made, tmp_path / "set", spoil)
    for words in (["train", "nano", *sets(f"data.images={folder}", *KEYS), "--out", tmp_path / "out"],
                  ["stats", folder, "--out", tmp_path / "out"], ["prepare", folder, tmp_path / "out"],
                  ["select", made / "run", folder, "--out", tmp_path / "out"]):
        told = refused(capsys, "marine", *words)
        for message in messages:
            assert message in told
        assert not (tmp_path / "out").exists()


def test_a_set_without_annotations_or_boxes_teaches_nothing(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(4):
        (tmp_path / "photos" / f"dive{number}_001.jpg").write_bytes(encode(picture(number)))
    assert main(["-q", "marine", "organise", str(tmp_path / "photos"), str(tmp_path / "plain")]) == 0
    simulate_set(tmp_path / "unseen", clips=4, frames=1, size=(64, 64), unlabelled_share=1.0)
    for name, message in (("plain", "no classes"), ("unseen", "None of the images is annotated")):
        for verb in ("train", "pipeline"):
            told = refused(capsys, "marine", verb, "nano", *sets(f"data.images={tmp_path / name}", *KEYS), "--out",
                           tmp_path / "out")
            assert message in told and not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0 no more"])
def test_a_damaged_image_of_a_set_is_named_by_whatever_reads_it(made: Path, tmp_path: Path, capsys: Capture,
                                                                content: bytes) -> None:
    images = damaged_set(made, tmp_path / "set", lambda folder: None)
    run = load_archive(made / "run")
    name = str(run.table.column("sample_id")[int(SplitManifest.read(made / "run", run.table).rows(TRAIN, 0)[0])])
    file = next((images / "images").glob(f"{name}.*"))
    file.write_bytes(content)
    told = refused(capsys, "marine", "prepare", images, tmp_path / "out")
    assert file.name in told and tree(tmp_path / "set") == tree(made / "images") and not (tmp_path / "out").exists()
    assert file.name in refused(capsys, "marine", "train", "nano", *sets(f"data.images={images}", *KEYS), "--out",
                                tmp_path / "run")


# -- species -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("text", ["", "species: 3", "a: [", "species: {critical: [{id: 0}]}"])
def test_tables_of_species_that_are_none(tmp_path: Path, capsys: Capture, text: str) -> None:
    (tmp_path / "species.yaml").write_text(text)
    for words in (["--strict"], []):
        _, told = said(capsys, "marine", "species", tmp_path / "species.yaml", *words)
        assert "species.yaml" in told and "\n" not in told


# -- what annotators sent back -----------------------------------------------------------------------------------------

def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


HOSTILE: dict[str, tuple[list[tuple[Any, bytes]], str]] = {
    "a path that leads out": ([("../../evil.json", b"{}")], "member"),
    "an absolute path": ([("/etc/passwd", b"x")], "member"),
    "a link": ([(link("annotations.json"), b"/etc/passwd")], "link"),
    "a bomb": ([("annotations.json", bytes(64 << 20))], "bomb"),
    "a file and a folder": ([("a", b"1"), ("a/b.json", b"{}")], "a file and a folder"),
    "nothing": ([], ""),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_zips_are_refused_whole(made: Path, tmp_path: Path, capsys: Capture, case: str) -> None:
    members, message = HOSTILE[case]
    path = zipped(tmp_path / "a.zip", members)
    told = refused(capsys, "marine", "import", path, made / "images", tmp_path / "new")
    assert message in told and str(path) in told
    assert tree(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"a letter"])
def test_zips_that_are_none(made: Path, tmp_path: Path, capsys: Capture, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    assert "a.zip" in refused(capsys, "marine", "import", tmp_path / "a.zip", made / "images", tmp_path / "new")
    assert tree(tmp_path) == ["a.zip"]


def test_what_was_drawn_wrongly_is_counted_and_the_rest_is_imported(made: Path, tmp_path: Path,
                                                                    capsys: Capture) -> None:
    value = as_coco(ImageSet.open(made / "images"))
    good = len(value["annotations"])
    first = value["images"][0]["id"]
    for box, category in (([500, 500, 10, 10], 0), ([10, 10, 0, 10], 0), ([1, 1, 5, 5], 99)):
        value["annotations"].append({"id": len(value["annotations"]), "image_id": first, "bbox": box, "iscrowd": 0,
                                     "category_id": category})
    (tmp_path / "a.json").write_text(json.dumps(value))
    out, told = said(capsys, "marine", "import", tmp_path / "a.json", made / "images", tmp_path / "new")
    assert "category 99" in out and "outside their image" in out and "without area" in out
    assert "\n" not in told and "import.json" in told
    assert len(ImageSet.open(tmp_path / "new").boxes) == good


# -- models ------------------------------------------------------------------------------------------------------------

def ensemble(made: Path, folder: Path, **changes: Any) -> Path:
    """An ensemble of a copy of the run, with something else in its description."""
    shutil.copytree(made / "run", folder / "run")
    (folder / "fused").mkdir()
    value = {"format": "groundswell ensemble 1", "pipeline": "marine", "members": [{"model": "run", "weight": 1.0}],
             "fuse": {"method": "wbf", "iou": 0.55, "floor": 0.001}, "tta": None, "calibrator": None,
             "thresholds": [0.25, 0.25]}
    value = {key: one for key, one in {**value, **changes}.items() if one != "gone"}
    (folder / "fused" / ENSEMBLE).write_text(json.dumps(value))
    return folder / "fused" / ENSEMBLE


ENSEMBLES: dict[str, tuple[dict[str, Any], str]] = {
    "of another format": ({"format": "groundswell ensemble 9"}, "does not describe an ensemble"),
    "of no pipeline": ({"pipeline": "gone"}, "pipeline"),
    "without members": ({"members": []}, "no members"),
    "that lacks its members": ({"members": "gone"}, "members"),
    "with a member that leads out": ({"members": [{"model": "../../etc", "weight": 1}]}, "outside"),
    "with a member that is gone": ({"members": [{"model": "two", "weight": 1}]}, "'two'"),
    "that is its own member": ({"members": [{"model": ENSEMBLE, "weight": 1}]}, "neither a run"),
    "with a weight in words": ({"members": [{"model": "run", "weight": "heavy"}]}, "heavy"),
    "with an unknown fusion": ({"fuse": {"method": "vote"}}, "method"),
    "with unknown views": ({"tta": {"rotations": [45]}}, "rotations"),
    "with another number of thresholds": ({"thresholds": [0.5]}, "1 thresholds for 2 classes"),
    "with thresholds in words": ({"thresholds": ["a", "b"]}, "could not convert"),
    "with a calibrator that is none": ({"calibrator": {"method": "platt"}}, "groundswell"),
}


@pytest.mark.parametrize("case", ENSEMBLES)
def test_ensembles_that_are_damaged(made: Path, tmp_path: Path, capsys: Capture, case: str) -> None:
    changes, message = ENSEMBLES[case]
    path = ensemble(made, tmp_path / "chain", **changes)
    for words in (["predict", path, made / "images", "--out", tmp_path / "p.json"],
                  ["marine", "track", path, made / "images" / "images", "--out", tmp_path / "tracks"]):
        if case == "of no pipeline" and words[0] == "marine":
            continue  # it is asked of marine: nothing else needs to be known
        assert message in refused(capsys, *words)
        assert tree(tmp_path)[0] == "chain" and {path.name for path in tmp_path.iterdir()} == {"chain"}


@pytest.mark.parametrize("name, content", [("m.onnx", b""), ("m.onnx", b"not a model"), (ENSEMBLE, b""),
                                           (ENSEMBLE, b"[]"), (ENSEMBLE, b"{}"), ("m.txt", b"words")])
def test_files_that_are_no_models(made: Path, tmp_path: Path, capsys: Capture, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    for words in (["predict", tmp_path / name, made / "images", "--out", tmp_path / "p.json"],
                  ["marine", "track", tmp_path / name, made / "images" / "images", "--out", tmp_path / "tracks"],
                  ["marine", "deploy", tmp_path / name, "--out", tmp_path / "package"]):
        assert name in refused(capsys, *words)
        assert tree(tmp_path) == [name]


@pytest.mark.parametrize("gone", ["recipe.yaml", "samples.parquet", "split.json", "fold-1/weights/best.safetensors",
                                  "predictions.parquet", "records.json"])
def test_runs_that_are_damaged(made: Path, tmp_path: Path, capsys: Capture, gone: str) -> None:
    shutil.copytree(made / "run", tmp_path / "run")
    (tmp_path / "run" / gone).unlink()
    before = tree(tmp_path)
    assert "run" in refused(capsys, "predict", tmp_path / "run", made / "images", "--out", tmp_path / "p.json")
    assert "run" in refused(capsys, "marine", "mine", tmp_path / "run", "--out", tmp_path / "n.json")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("spoilt", ["samples.parquet", "records.json", "fold-1/weights/best.safetensors"])
def test_runs_whose_files_break_off(made: Path, tmp_path: Path, capsys: Capture, spoilt: str) -> None:
    shutil.copytree(made / "run", tmp_path / "run")
    (tmp_path / "run" / spoilt).write_bytes((tmp_path / "run" / spoilt).read_bytes()[:40])
    told = refused(capsys, "predict", tmp_path / "run", made / "images", "--out", tmp_path / "p.json")
    assert Path(spoilt).name in told and not (tmp_path / "p.json").exists()


class Evil:
    """Something that unpickling would run."""

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return eval, ("(_ for _ in ()).throw(SystemExit(99))",)


def test_weights_to_start_from_that_are_anothers(made: Path, tmp_path: Path, capsys: Capture) -> None:
    def start(path: Path, *texts: str) -> str:
        told = refused(capsys, "marine", "train", "nano", *sets(f"data.images={made / 'images'}", *KEYS, *texts,
                                                                f"model.start={path}"), "--out", tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return told

    assert "rtdetrv2_nano" in start(made / "run", "model.name=rtdetrv2_r18")
    torch.save({"model_state_dict": {"conv.weight": torch.zeros(3)}}, tmp_path / "other.pth")
    assert "not one of its names" in start(tmp_path / "other.pth")
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    assert "evil.pt" in start(tmp_path / "evil.pt")
    torch.save({"model": Evil()}, tmp_path / "evil2.pt")
    assert "evil2.pt" in start(tmp_path / "evil2.pt")
    (tmp_path / "empty.pth").write_bytes(b"")
    assert "empty.pth" in start(tmp_path / "empty.pth")
    assert "images" in start(made / "images")


def test_hard_negatives_of_tested_images_are_refused(made: Path, tmp_path: Path, capsys: Capture) -> None:
    archive = load_archive(made / "run")
    rows = SplitManifest.read(made / "run", archive.table).rows(TEST, 0)
    tested = str(archive.table.column("sample_id")[int(rows[0])])
    path = tmp_path / "n.json"
    for value, message in (({"negatives": [{"image": tested}]}, tested), ([], "n.json"), ({}, "n.json"),
                           ({"negatives": [3]}, "n.json")):
        path.write_text(json.dumps(value))
        told = refused(capsys, "marine", "train", "nano", *sets(f"data.images={made / 'images'}", *KEYS,
                                                                f"sampling.negatives={path}"), "--out",
                       tmp_path / "out")
        assert message in told and tree(tmp_path) == ["n.json"]


def test_runs_that_do_not_go_together_are_not_fused(made: Path, tmp_path: Path, capsys: Capture) -> None:
    shutil.copytree(made / "run", tmp_path / "one")
    shutil.copytree(made / "run", tmp_path / "two")
    (tmp_path / "two" / "predictions.parquet").unlink()
    for verb in ("fuse", "calibrate"):
        told = refused(capsys, "marine", verb, tmp_path / "one", tmp_path / "two", "--out", tmp_path / "out")
        assert "not trained yet" in told and "groundswell resume" in told
        told = refused(capsys, "marine", verb, tmp_path / "one", "--out", tmp_path / "deep" / "er" / "out")
        assert "--out" in told and str(tmp_path) in told
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}


def test_a_run_that_is_named_twice_is_not_fused_with_itself(made: Path, tmp_path: Path, capsys: Capture) -> None:
    run = shutil.copytree(made / "run", tmp_path / "one")
    (tmp_path / "same").symlink_to(run)
    for verb in ("fuse", "calibrate"):
        for again in (run, tmp_path / "same"):
            told = refused(capsys, "marine", verb, run, again, "--out", tmp_path / "out")
            assert "named twice" in told and str(again) in told and "once" in told
    assert not (tmp_path / "out").exists()


def test_a_step_that_the_chain_has_not_is_refused_in_rehearsal_too(made: Path, tmp_path: Path, capsys: Capture) -> None:
    for words in (["--dry-run"], []):
        told = refused(capsys, "marine", "pipeline", "nano", *sets(f"data.images={made / 'images'}", *KEYS), "--step",
                       "nonsense", "--out", tmp_path / "out", *words)
        assert "no step 'nonsense'" in told and "--step" in told and "baseline" in told
    assert not (tmp_path / "out").exists()


def other_keys(run: Path, folder: Path, *keys: str) -> Path:
    """A copy of a run that says of itself that it was trained with other keys."""
    shutil.copytree(run, folder)
    recipe = load_recipe(MarineRecipe, folder / "recipe.yaml", keys)
    (folder / "recipe.yaml").write_text(dump_recipe(recipe))
    begun = json.loads((folder / "provenance.json").read_text())
    (folder / "provenance.json").write_text(json.dumps({**begun, "recipe": recipe.model_dump(mode="json")}))
    return folder


def test_runs_that_look_at_images_in_other_ways_are_not_fused(made: Path, tmp_path: Path, capsys: Capture) -> None:
    one = shutil.copytree(made / "run", tmp_path / "one")
    for key, value in (("size", 96), ("prepare", "true")):
        other = other_keys(made / "run", tmp_path / key, f"data.{key}={value}")
        for verb in ("fuse", "calibrate"):
            told = refused(capsys, "marine", verb, one, other, "--out", tmp_path / "out")
            assert "do not look at images alike" in told and f"data.{key}" in told
    written = tmp_path / "an" / ENSEMBLE
    written.parent.mkdir()
    members = [{"model": name, "weight": 1.0} for name in ("one", "prepare")]
    written.write_text(json.dumps({**json.loads(ensemble(made, tmp_path / "x").read_text()), "members": members}))
    assert "corrected in different ways" in refused(capsys, "predict", written, made / "images", "--out",
                                                    tmp_path / "p.json")
    assert not (tmp_path / "out").exists() and not (tmp_path / "p.json").exists()


def test_calibration_takes_members_as_they_were_trained(made: Path, tmp_path: Path, capsys: Capture) -> None:
    run = shutil.copytree(made / "run", tmp_path / "run")
    for key in ("data.size=96", "data.prepare=true", "detect.most=5", "split.seed=9"):
        told = refused(capsys, "marine", "calibrate", run, "--out", tmp_path / "out", "--set", key)
        assert "--set" in told and f"'{key.partition('.')[0]}'" in told
    assert not (tmp_path / "out").exists()


def test_runs_of_several_folds_are_not_calibrated(made: Path, tmp_path: Path, capsys: Capture) -> None:
    run = shutil.copytree(made / "run", tmp_path / "run")
    table = load_archive(run).table
    one = SplitManifest.read(run, table)
    twice = np.concatenate([one.assignment, one.assignment], axis=1)
    SplitManifest.of(table, twice, "kfold", one.seed, one.settings).write(run)
    told = refused(capsys, "marine", "calibrate", run, "--out", tmp_path / "out")
    assert "several folds" in told and "split.regime" in told and not (tmp_path / "out").exists()


def test_an_ensemble_takes_no_run_s_place(made: Path, tmp_path: Path, capsys: Capture) -> None:
    for name in ("one", "two"):
        shutil.copytree(made / "run", tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for verb in ("fuse", "calibrate"):
        for out in ("one", "two"):
            told = refused(capsys, "marine", verb, tmp_path / "one", "--out", tmp_path / out)
            assert "would be lost" in told and f"--out {tmp_path / out}" in told
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_division_takes_no_run_s_place(made: Path, tmp_path: Path, capsys: Capture) -> None:
    run = shutil.copytree(made / "run", tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    told = said(capsys, "marine", "split", made / "images", *sets("split.seed=5"), "--out", run)[1]
    assert "the division it was trained with" in told and f"--out {run}" in told
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert main(["-q", "marine", "split", str(made / "images"), "--out", str(tmp_path / "new")]) == 0


def test_coco_is_written_over_nothing(made: Path, tmp_path: Path, capsys: Capture) -> None:
    images = shutil.copytree(made / "images", tmp_path / "images")
    (tmp_path / "drawn.json").write_text("{}")
    for out in (images / "images.json", tmp_path / "drawn.json"):
        assert "something here already" in refused(capsys, "marine", "convert", images, out)
    assert (tmp_path / "drawn.json").read_text() == "{}"
    assert ImageSet.open(images).fingerprint() == ImageSet.open(made / "images").fingerprint()


def test_a_member_s_folder_with_an_ensemble_in_it_is_a_run(made: Path, tmp_path: Path) -> None:
    path = ensemble(made, tmp_path)
    shutil.copy(path, tmp_path / "run" / ENSEMBLE)  # as an earlier version wrote it there
    assert open_detector(path).classes == open_detector(made / "run").classes


# -- recordings --------------------------------------------------------------------------------------------------------

def test_recordings_that_cannot_be_read(made: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "tracks"
    for name, content in (("empty.mp4", b""), ("words.mp4", b"a letter to you")):
        (tmp_path / name).write_bytes(content)
        assert name in refused(capsys, "marine", "track", made / "run", tmp_path / name, "--out", out)
    (tmp_path / "none").mkdir()
    assert "no image" in refused(capsys, "marine", "track", made / "run", tmp_path / "none", "--out", out)
    assert not out.exists()


def test_a_video_that_breaks_off_is_refused_or_taken_for_as_long_as_it_goes(made: Path, tmp_path: Path,
                                                                            capsys: Capture) -> None:
    from groundswell.pipelines.marine.vision import cv2

    video = tmp_path / "dive.avi"
    writer = cv2().VideoWriter(str(video), cv2().VideoWriter_fourcc(*"MJPG"), 5.0, (64, 64))
    for number in range(20):
        writer.write(picture(number, 64, 64))
    writer.release()
    content = video.read_bytes()
    video.write_bytes(content[:len(content) // 2])
    told = refused(capsys, "marine", "track", made / "run", video, "--out", tmp_path / "tracks", "--no-video")
    assert "breaks off" in told and "--partial" in told and not (tmp_path / "tracks").exists()
    out, _ = said(capsys, "marine", "track", made / "run", video, "--out", tmp_path / "tracks", "--no-video",
                  "--partial")
    assert out.count("Left out: ") == 1 and "breaks off" in out
    assert json.loads((tmp_path / "tracks" / "tracks.json").read_text())["frames"] > 3


def test_damaged_frames_are_named_once_and_the_others_are_looked_at(made: Path, tmp_path: Path,
                                                                    capsys: Capture) -> None:
    folder = photos(tmp_path / "photos")
    out, _ = said(capsys, "marine", "track", made / "run", folder, "--out", tmp_path / "tracks", "--no-video")
    assert out.count("Left out: ") == 3 and "dive_003.jpg" in out
    facts = json.loads((tmp_path / "tracks" / "tracks.json").read_text())
    assert facts["frames"] == 2 and len(facts["left_out"]) == 3


# -- options -----------------------------------------------------------------------------------------------------------

def test_other_options_that_cannot_be_meant(made: Path, tmp_path: Path, capsys: Capture) -> None:
    images, run = made / "images", made / "run"
    for words, message in ((["predict", run, images, "--out", tmp_path / "p.txt"], ".json or .csv"),
                           (["predict", run, images, "--aggregate", "vote", "--out", tmp_path / "p.json"], "vote"),
                           (["predict", run, images, "--fold", "9", "--out", tmp_path / "p.json"], "fold 9"),
                           (["predict", run, images, "--plot", tmp_path / "p.gif", "--out", tmp_path / "p.json"],
                            ".png"),
                           (["marine", "mine", run, "--fold", "9", "--out", tmp_path / "n.json"], "fold 9"),
                           (["export", run, "--to", "paper", "--out", tmp_path / "m"], "paper"),
                           (["marine", "deploy", run, "--to", "moon", "--out", tmp_path / "m"], "jetson"),
                           (["marine", "budget", "nano", *sets("budget.cameras=0")], "cameras")):
        assert message in refused(capsys, *words)
        assert tree(tmp_path) == []
