"""Images from many places become one set: exact, resumable, with the originals untouched and all that is left out
counted with its reason."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from marine_sets import CLASSES, picture, small_set

from groundswell.core.errors import BusyError, InputError
from groundswell.core.locks import lock_file
from groundswell.pipelines.marine import organise as module
from groundswell.pipelines.marine.formats import write_as
from groundswell.pipelines.marine.formats.coco import write_coco
from groundswell.pipelines.marine.formats.listing import clip_and_frame
from groundswell.pipelines.marine.formats.voc import write_voc
from groundswell.pipelines.marine.formats.yolo import write_yolo
from groundswell.pipelines.marine.image_files import encode
from groundswell.pipelines.marine.images import ImageSet, ImageWriter
from groundswell.pipelines.marine.organise import organise
from groundswell.pipelines.marine.organise_recipe import OrganiseRecipe
from groundswell.pipelines.marine.species import load_species


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    return small_set(tmp_path / "set", frames=3)


def _same(a: ImageSet, b: ImageSet, atol: float) -> None:
    assert sorted(a.images["image"]) == sorted(b.images["image"])
    for name in a.images["image"]:
        one, other = a.annotations(name), b.annotations(name)
        assert np.allclose(one.boxes, other.boxes, atol=atol)
        assert [a.classes[k] for k in one.label] == [b.classes[k] for k in other.label]
        assert a.file(name).read_bytes() == b.file(name).read_bytes()
        for column in ("clip", "frame", "annotated"):
            assert a.images[column].iloc[a.position(name)] == b.images[column].iloc[b.position(name)]


@pytest.mark.parametrize(("write", "atol"), [(write_coco, 1e-4), (write_yolo, 1e-4), (write_voc, 1e-3)])
def test_a_set_written_in_any_form_comes_back_the_same(images: ImageSet, tmp_path: Path, write: Any,
                                                       atol: float) -> None:
    write(images, tmp_path / "other")
    made = organise([tmp_path / "other"], tmp_path / "back", quiet=True)
    _same(images, made.images, atol)
    assert made.complaint() is None


def test_coco_keeps_tracks_crowds_places_and_published_parts(tmp_path: Path) -> None:
    with ImageWriter(tmp_path / "set", classes=CLASSES) as writer:
        writer.add("a", picture(1), boxes=[[1, 2, 9, 9], [0, 0, 64, 48]], label=[0, 1], track=[3, -1], crowd=[0, 1],
                   published_split="valid", latitude=36.5, longitude=-122.0, depth_m=20.0, time="2024-05-01T10:00:00Z")
        writer.add("b", picture(2), annotated=False)
    write_coco(writer.set, tmp_path / "coco")
    back = organise([tmp_path / "coco"], tmp_path / "back", quiet=True).images
    known, row = back.annotations("a"), back.images.iloc[back.position("a")]
    assert known.track.tolist() == [3, -1]
    assert known.crowd.tolist() == [False, True]
    assert (row["published_split"], row["latitude"], row["depth_m"], row["time"].hour) == ("valid", 36.5, 20.0, 10)
    assert back.images["annotated"].tolist() == [True, False]


def test_large_images_are_shrunk_and_their_boxes_with_them(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "dive1"
    folder.mkdir(parents=True)
    original = encode(picture(5, 400, 300))
    (folder / "big_0001.jpg").write_bytes(original)
    (folder / "small_0001.jpg").write_bytes(encode(picture(6, 100, 60)))
    (tmp_path / "in" / "a.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "dive1/big_0001.jpg", "width": 400, "height": 300},
                   {"id": 2, "file_name": "dive1/small_0001.jpg", "width": 100, "height": 60}],
        "categories": [{"id": 5, "name": "eel"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 5, "bbox": [40, 30, 200, 150]},
                        {"id": 2, "image_id": 2, "category_id": 5, "bbox": [10, 10, 20, 20]}]}))
    made = organise([tmp_path / "in"], tmp_path / "out", OrganiseRecipe(width=200, height=100), quiet=True)
    assert made.images.read("big_0001").shape == (100, 133, 3)
    assert np.allclose(made.images.annotations("big_0001").boxes, [[13.3, 10, 79.8, 60]], atol=1e-3)
    assert made.images.annotations("small_0001").boxes.tolist() == [[10, 10, 30, 30]]
    assert made.report["shrunk"] == 1
    assert made.images.images["clip"].tolist() == ["dive1/big", "dive1/small"]
    assert made.images.species == (25,)
    assert (folder / "big_0001.jpg").read_bytes() == original


def _coco(folder: Path, **extra: Any) -> dict[str, Any]:
    (folder / "images").mkdir(parents=True)
    for k in range(3):
        (folder / "images" / f"good{k}.jpg").write_bytes(encode(picture(k)))
    size = {"width": 64, "height": 48}
    value = {"images": [{"id": k, "file_name": f"good{k}.jpg", **size} for k in range(3)],
             "categories": [{"id": 1, "name": "fish"}],
             "annotations": [{"id": k, "image_id": k, "category_id": 1, "bbox": [5, 5, 10, 10]} for k in range(3)]}
    for key, entries in extra.items():
        value[key] += [{**(size if key == "images" else {}), **entry} for entry in entries]
    (folder / "a.json").write_text(json.dumps(value))
    return value


def test_every_file_and_box_that_cannot_be_used_is_counted_and_the_good_ones_are_processed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(encode(picture(99)))
    box = {"image_id": 0, "category_id": 1}
    _coco(tmp_path / "in", images=[
        {"id": 10, "file_name": "empty.jpg"}, {"id": 11, "file_name": "cut.jpg"}, {"id": 12, "file_name": "text.png"},
        {"id": 13, "file_name": "missing.jpg"}, {"id": 14, "file_name": "../../secret.jpg"},
        {"id": 15, "file_name": "good0.jpg"}, {"id": 2, "file_name": "other.jpg"},
        {"id": 16, "file_name": str(secret)}, {"id": 17, "file_name": "wide.jpg", "width": 640, "height": 48},
        {"id": 18, "file_name": "copy.jpg"}, {"id": 19, "file_name": "nosize.jpg", "width": None}, {"file_name": "x"},
    ], annotations=[
        {**box, "bbox": [60, 5, 8, 8]}, {**box, "bbox": [62, 5, 20, 8]}, {**box, "bbox": [100, 5, 20, 8]},
        {**box, "bbox": [5, 5, -3, 8]}, {**box, "bbox": [5, 5, 0.2, 8]}, {**box, "bbox": [5, 5, None, 8]},
        {**box, "bbox": [5, 5]}, {**box, "bbox": [5, 5, 9, 9], "category_id": 7},
        {**box, "bbox": [5, 5, 9, 9], "image_id": 77}, {**box, "bbox": [5, 5, 9, 9], "image_id": 10}, {**box},
        {**box, "bbox": [5, 5, 9, 9], "image_id": 18},
    ])
    folder = tmp_path / "in" / "images"
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.jpg").write_bytes(encode(picture(50, 300, 200))[:3000])
    (folder / "text.png").write_text("not an image")
    for name in ("other", "wide", "nosize"):
        (folder / f"{name}.jpg").write_bytes(encode(picture(len(name) + 60)))
    (folder / "copy.jpg").write_bytes((folder / "good1.jpg").read_bytes())
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    made = organise([tmp_path / "in"], tmp_path / "out", quiet=True)
    assert sorted(made.images.images["image"]) == ["good0", "good1", "good2"]
    made.images.verify()
    assert made.report["refused_counts"] == {
        "file": {"it is listed twice": 2, "there is no such image": 1, "it is 64 by 48 pixels, and its annotations "
                    "are for 640 by 48": 1, "the image file is empty": 1, "the image file is cut off": 1,
                    "this is no image, or a damaged one": 1, "the entry has no id": 1,
                    "its width and height are not given": 1, "the same file is in the set already": 1,
                    "the path '../../secret.jpg' leads outside its folder": 1,
                    f"the path '{secret}' is not relative to its folder": 1},
        "box": {"it is not four finite numbers": 3, "its category is not listed": 1, "its image is not listed": 1,
                   "its image is left out": 2, "it leaves its image": 1, "it is outside of its image": 1,
                   "it has no area": 1, "it is smaller than a pixel": 1}}
    assert made.report["cut_boxes"] == 1 and made.report["incomplete"] == 1
    assert made.images.images["annotated"].tolist() == [False, True, True]  # animals of the first lost their boxes
    assert made.images.annotations("good0").boxes.tolist() == [[5, 5, 15, 15], [60, 5, 64, 13]]
    complaint = made.complaint()
    assert complaint is not None
    assert complaint.exit_status == 2
    assert "The set has 3 images" in str(complaint)
    assert "\n" not in str(complaint)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before


@pytest.mark.parametrize(("text", "words"), [
    ("[]", "no COCO file"), ("{}", "no COCO file"), ("{", "Not valid JSON"),
    ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "no id or no name"),
    ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
     "is there twice"),
    ('{"images": [], "annotations": [], "categories": []}', "There are no images"),
    ('{"images": [{"id": 1, "file_name": "a.jpg"}], "categories": []}', "No image is left"),
])
def test_a_file_that_is_no_coco_is_refused_whole(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").write_text(text)
    with pytest.raises(InputError, match=words):
        organise([tmp_path / "in" / "a.json"], tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_images_of_one_name_get_names_of_their_own(tmp_path: Path) -> None:
    for k, dive in enumerate(("dive1", "dive2", "dive3")):
        (tmp_path / "in" / dive).mkdir(parents=True)
        (tmp_path / "in" / dive / "img_001.jpg").write_bytes(encode(picture(k)))
    made = organise([tmp_path / "in"], tmp_path / "out", quiet=True)
    names = made.images.images["image"].tolist()
    assert names[0] == "img_001"
    assert len(set(names)) == 3
    assert made.images.images["clip"].tolist() == ["dive1/img", "dive2/img", "dive3/img"]
    assert not made.images.images["annotated"].any()
    assert made.images.classes == ()
    again = organise([tmp_path / "in"], tmp_path / "again", quiet=True)
    assert again.images.fingerprint() == made.images.fingerprint()


@pytest.mark.parametrize("form", ["yolo", "voc"])
def test_an_image_with_a_region_of_many_is_not_written_as_one_without_these_animals(tmp_path: Path, form: str) -> None:
    with ImageWriter(tmp_path / "set", classes=CLASSES) as writer:
        writer.add("group", picture(1), boxes=[[1, 2, 9, 9], [0, 0, 64, 48]], label=[0, 1], crowd=[0, 1])
        writer.add("one", picture(2), boxes=[[1, 2, 9, 9]], label=[2])
        writer.add("unseen", picture(3), boxes=[[0, 0, 64, 48]], label=[1], crowd=[1], annotated=False)
    wrote, left_out = write_as(writer.set, tmp_path / form, form)
    assert wrote.startswith("Wrote 2 images with 1 boxes") and left_out.startswith("Left out: 1 image(s)")
    assert "as background" in left_out
    back = organise([tmp_path / form], tmp_path / "back", quiet=True).images
    assert back.images["image"][back.images["annotated"]].tolist() == ["one"]
    assert not list((tmp_path / form).rglob("*group*"))


@pytest.mark.parametrize("form", ["yolo", "voc"])
def test_a_set_of_which_nothing_can_be_written_in_a_form_is_refused(tmp_path: Path, form: str) -> None:
    with ImageWriter(tmp_path / "set", classes=CLASSES) as writer:
        writer.add("group", picture(1), boxes=[[0, 0, 64, 48]], label=[1], crowd=[1])
    with pytest.raises(InputError, match=r"region of many.*coco"):
        write_as(writer.set, tmp_path / form, form)
    assert not (tmp_path / form).exists()
    assert len(write_as(writer.set, tmp_path / "coco", "coco")) == 1


def test_several_places_become_one_set_with_their_classes_merged_by_whole_names(tmp_path: Path) -> None:
    a = small_set(tmp_path / "a", classes=("Eel", "shark"))
    b = small_set(tmp_path / "b", classes=("eelgrass", "eel", "Haliotis  rufescens"), seed=1)
    places = [write_coco(a, tmp_path / "coco"), write_yolo(b, tmp_path / "yolo").parent]
    made = organise(places, tmp_path / "out", OrganiseRecipe(source="fathomnet"), quiet=True)
    assert made.images.classes == ("Eel", "shark", "eelgrass", "Haliotis rufescens")
    assert made.images.species == (25, 29, 18, 6)
    assert len(made.images) == 12
    assert made.report["boxes"] == len(a.boxes) + len(b.boxes)


@pytest.mark.parametrize("form", ["folders", "coco", "coco in folders"])
def test_parts_of_one_collection_that_are_named_one_by_one_keep_its_clips_whole(tmp_path: Path, form: str) -> None:
    data, inputs = tmp_path / "data", []
    for k, part in enumerate(("train", "test")):
        folder = data / ("images" if form == "coco" else part)
        folder.mkdir(parents=True, exist_ok=True)
        names = [f"dive{d}_{2 * f + k:04d}.jpg" for d in range(3) for f in range(2)]
        for number, name in enumerate(names):
            (folder / name).write_bytes(encode(picture(10 * k + number)))
        inputs.append(data / f"instances_{part}.json" if form == "coco" else folder)
        if form != "folders":
            value = {"categories": [{"id": 1, "name": "eel"}], "images": [
                {"id": number, "file_name": name, "width": 64, "height": 48} for number, name in enumerate(names)],
                "annotations": [{"image_id": 0, "category_id": 1, "bbox": [5, 5, 9, 9]}]}
            path = inputs[-1] if form == "coco" else folder / "_annotations.coco.json"
            path.write_text(json.dumps(value))
    made = organise(inputs, tmp_path / "out", quiet=True).images.images
    assert sorted(made["clip"].unique()) == ["dive0", "dive1", "dive2"]
    assert made["published_split"].value_counts().to_dict() == {"train": 6, "test": 6}


def test_clips_of_one_name_in_two_collections_are_two(tmp_path: Path) -> None:
    for k, place in enumerate(("north/train", "south/train")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "dive1_0001.jpg").write_bytes(encode(picture(k)))
    made = organise([tmp_path / "north" / "train", tmp_path / "south" / "train"], tmp_path / "out", quiet=True)
    assert made.images.images["clip"].tolist() == ["north/dive1", "south/dive1"]


def test_a_label_of_no_listed_class_leaves_its_image_without_a_say(tmp_path: Path) -> None:
    for k in range(2):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"a{k}.jpg").write_bytes(encode(picture(k)))
        (tmp_path / "in" / f"a{k}.txt").write_text(f"{2 * k} 0.5 0.5 0.2 0.2\n")
    (tmp_path / "in" / "classes.txt").write_text("eel\nshark\n")
    made = organise([tmp_path / "in"], tmp_path / "out", quiet=True)
    assert made.images.images["annotated"].tolist() == [True, False]
    assert any("1 image taken as not annotated" in line for line in made.lines())


def test_an_empty_line_between_names_of_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(encode(picture(0)))
    (tmp_path / "in" / "classes.txt").write_text("lionfish\n\nsea star\n")
    with pytest.raises(InputError, match=r"(?s)is empty.*line 2"):
        organise([tmp_path / "in"], tmp_path / "out", quiet=True)
    (tmp_path / "in" / "classes.txt").write_text("lionfish\nsea star\n\n\n")
    assert organise([tmp_path / "in"], tmp_path / "out", quiet=True).report["found"][0]["classes"] == ["lionfish",
                                                                                                     "sea star"]


def test_links_within_a_set_are_images_of_it_and_those_that_leave_it_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for folder in ("all", "train/images", "train/labels"):
        (root / folder).mkdir(parents=True)
    (tmp_path / "far.jpg").write_bytes(encode(picture(9)))
    for k in range(2):
        (root / "all" / f"a{k}.jpg").write_bytes(encode(picture(k)))
        (root / "train" / "images" / f"a{k}.jpg").symlink_to(f"../../all/a{k}.jpg")
        (root / "train" / "labels" / f"a{k}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (root / "train" / "images" / "far.jpg").symlink_to(tmp_path / "far.jpg")
    (root / "data.yaml").write_text("train: train/images\nnames: [eel]\n")
    made = organise([root], tmp_path / "out", quiet=True)
    assert made.report["images"] == 2 and made.report["boxes"] == 2
    assert made.report["refused_counts"]["file"] == {"it is a link that leads out of its folder": 1}


def test_another_table_or_changed_originals_are_not_answered_with_the_old_set(tmp_path: Path) -> None:
    _coco(tmp_path / "in")
    organise([tmp_path / "in"], tmp_path / "out", quiet=True)
    organise([tmp_path / "in"], tmp_path / "out", quiet=True)
    table = load_species()
    table.value["species"]["critical"][0]["common_name"] += " of the north"
    with pytest.raises(InputError, match="table of species have changed"):
        organise([tmp_path / "in"], tmp_path / "out", species=table, quiet=True)
    value = json.loads((tmp_path / "in" / "a.json").read_text())
    value["annotations"][0]["bbox"][2] += 1
    (tmp_path / "in" / "a.json").write_text(json.dumps(value))
    with pytest.raises(InputError, match="annotations or the table of species have changed"):
        organise([tmp_path / "in"], tmp_path / "out", quiet=True)


def test_two_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    _coco(tmp_path / "in")
    with lock_file(tmp_path / ".out.organising.lock"), pytest.raises(BusyError, match="Another process is making this"):
        organise([tmp_path / "in"], tmp_path / "out", quiet=True)
    assert len(organise([tmp_path / "in"], tmp_path / "out", quiet=True).images) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_species_of_classes_that_the_table_does_not_know_are_given(images: ImageSet, tmp_path: Path) -> None:
    write_coco(images, tmp_path / "coco")
    made = organise([tmp_path / "coco"], tmp_path / "out", OrganiseRecipe(species={"fish": 35, "eel": -1}), quiet=True)
    assert made.images.species == (35, 29, -1)
    with pytest.raises(InputError, match="no class 'cod'"):
        organise([tmp_path / "coco"], tmp_path / "x", OrganiseRecipe(species={"cod": 35}), quiet=True)
    with pytest.raises(InputError, match="no species 36"):
        organise([tmp_path / "coco"], tmp_path / "y", OrganiseRecipe(species={"fish": 36}), quiet=True)


KILLED = """
import os, pathlib, signal, sys, time
from groundswell.pipelines.marine import organise as module
real, count = module.make_file, [0]
journal = pathlib.Path(sys.argv[2]).parent / ".out.organising" / "journal.jsonl"
def once(*args, **keywords):
    count[0] += 1
    if count[0] > 4:
        while not journal.read_text():  # written by another thread, which may be behind
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **keywords)
module.make_file = once
module.organise([sys.argv[1]], sys.argv[2], workers=1)
"""


def test_after_a_kill_the_same_call_does_only_what_is_missing(images: ImageSet, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    write_coco(images, tmp_path / "coco")
    whole = organise([tmp_path / "coco"], tmp_path / "whole", quiet=True)
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "coco", tmp_path / "out"], check=False,
                            capture_output=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    journal = tmp_path / ".out.organising" / "journal.jsonl"
    kept = len(journal.read_text().splitlines())
    assert 1 <= kept <= 4
    journal.write_text(journal.read_text() + '{"name": "c1')  # torn while it was written
    made: list[str] = []
    real = module.make_file
    monkeypatch.setattr(module, "make_file", lambda one, **more: made.append(one.name) or real(one, **more))
    resumed = organise([tmp_path / "coco"], tmp_path / "out", quiet=True)
    assert len(made) == 9 - kept
    assert resumed.images.fingerprint() == whole.images.fingerprint()
    resumed.images.verify()
    made.clear()
    again = organise([tmp_path / "coco"], tmp_path / "out", quiet=True)
    assert again.images.fingerprint() == resumed.images.fingerprint()
    assert made == []
    with pytest.raises(InputError, match="another set"):
        organise([tmp_path / "coco"], tmp_path / "out", OrganiseRecipe(width=50), quiet=True)


def test_an_image_that_exif_turns_is_written_as_its_boxes_see_it(tmp_path: Path) -> None:
    value = _coco(tmp_path / "in")
    plain = encode(picture(7))
    exif = (b"\xff\xe1\x00\x22Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01"
            b"\x00\x06\x00\x00\x00\x00\x00\x00")
    turned = plain[:2] + exif + plain[2:]
    for k in (0, 1):
        (tmp_path / "in" / "images" / f"good{k}.jpg").write_bytes(turned if k else turned + b" ")
    value["images"][1].update(width=48, height=64)
    (tmp_path / "in" / "a.json").write_text(json.dumps(value))
    made = organise([tmp_path / "in"], tmp_path / "out", quiet=True)
    assert made.report["turned"] == 2
    assert made.images.read("good0").shape == (48, 64, 3)  # its annotations are for the picture as it lies in the file
    assert made.images.read("good1").shape == (64, 48, 3)
    assert b"Exif" not in made.images.file("good1").read_bytes()


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_so_is_one_of_another_format(tmp_path: Path, suffix: str) -> None:
    from PIL import Image

    (tmp_path / "in").mkdir()
    lying = Image.fromarray(picture(7))
    exif = lying.getexif()
    exif[0x0112] = 6  # turned by a quarter
    lying.save(tmp_path / "in" / f"a{suffix}", exif=exif, lossless=True)
    made = organise([tmp_path / "in"], tmp_path / "out", quiet=True)
    assert made.report["turned"] == 1 and made.images.read("a").shape == (64, 48, 3)
    assert b"exif" not in made.images.file("a").read_bytes().lower()


def test_annotations_of_another_size_of_the_same_picture_are_scaled(tmp_path: Path) -> None:
    value = _coco(tmp_path / "in")
    value["images"][0].update(width=128, height=96)
    (tmp_path / "in" / "a.json").write_text(json.dumps(value))
    made = organise([tmp_path / "in"], tmp_path / "out", quiet=True)
    assert made.images.annotations("good0").boxes.tolist() == [[2.5, 2.5, 7.5, 7.5]]
    assert made.report["rescaled"] == 1


@pytest.mark.parametrize(("key", "clip", "frame"), [
    ("dive7/cam2_000123.jpg", "dive7/cam2", 123), ("images/7117_Caranx_f000003.jpg", "7117_Caranx", 3),
    ("train/images/9852_Acantho_f000006_jpg.rf.0123456789abcdef.jpg", "9852_Acantho", 6),
    ("C1_Luderick_14.mov_5fps_000001.jpg", "C1_Luderick_14.mov_5fps", 1), ("lonely.png", "lonely", -1),
    ("dive3/00012.jpg", "dive3", 12), ("dive3/reef.jpg", "dive3", -1), ("GOPR frame 12.jpg", "GOPR", 12),
    ("12345.jpg", "12345", -1), ("dive1/①.jpg", "dive1", -1), ("dive1/٣.jpg", "dive1", 3)])
def test_clip_and_frame_are_read_from_a_path(key: str, clip: str, frame: int) -> None:
    assert clip_and_frame(key) == (clip, frame)


def test_a_pattern_says_what_a_clip_is(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for k in range(3):
        (tmp_path / "in" / f"D{k % 2}x{k}.jpg").write_bytes(encode(picture(k)))
    recipe = OrganiseRecipe(clip=r"(?P<clip>D\d)x(?P<frame>\d)")
    made = organise([tmp_path / "in"], tmp_path / "out", recipe, quiet=True)
    assert made.images.images[["clip", "frame"]].to_numpy().tolist() == [["D0", 0], ["D0", 2], ["D1", 1]]
    with pytest.raises(ValueError, match="no group"):
        OrganiseRecipe(clip="D")


@pytest.mark.parametrize("told", ["²", "9" * 40])
def test_a_frame_that_a_pattern_finds_and_no_table_holds_is_not_known(tmp_path: Path, told: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"reef{told}.jpg").write_bytes(encode(picture(1)))
    recipe = OrganiseRecipe(clip="(?P<clip>reef)(?P<frame>[^.]+)")
    made = organise([tmp_path / "in"], tmp_path / "out", recipe, quiet=True)
    assert made.images.images[["clip", "frame"]].to_numpy().tolist() == [["reef", -1]]


@pytest.mark.parametrize("form", ["folder", "yolo", "voc"])
def test_a_file_whose_name_is_no_text_is_left_out_and_the_others_taken(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for k, name in enumerate((b"\xff\xfe", b"good")):
        at = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
        at.with_suffix(".jpg").write_bytes(encode(picture(k)))
        if form == "voc":
            at.with_suffix(".xml").write_text("<annotation><size><width>64</width><height>48</height></size></annotation>")
    if form == "yolo":
        (folder / "classes.txt").write_text("eel\n")
    made = organise([folder], tmp_path / "out", quiet=True)
    assert made.images.images["image"].tolist() == ["good"]
    (left,) = made.report["refused_files"]
    assert left["what"].startswith("\\xff\\xfe.") and "not UTF-8" in left["reason"]
    assert "1 image" in str(made.complaint())


def test_a_place_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    (folder / "a.jpg").write_bytes(encode(picture(1)))
    with pytest.raises(InputError, match="not UTF-8"):
        organise([folder], tmp_path / "out", quiet=True)


def test_long_names_are_counted_in_bytes_as_file_systems_do(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for k in range(2):
        (tmp_path / "in" / f"{83 * chr(0x6d77)}{k}.jpg").write_bytes(encode(picture(k)))
    names = organise([tmp_path / "in"], tmp_path / "out", quiet=True).images.images["image"].tolist()
    assert names[0] == 50 * chr(0x6d77) and names[1].startswith(f"{names[0]}_")


def test_numbers_and_names_in_coco_that_no_table_holds_spoil_nothing_else(tmp_path: Path) -> None:
    box = {"image_id": 0, "category_id": 1, "bbox": [5, 5, 9, 9]}
    odd = [{"frame": float("inf")}, {"frame": 10**30}, {"latitude": 10**400, "depth_m": float("inf")},
           {"clip": "\ud800dive"}]
    _coco(tmp_path / "in", images=[
        *({"id": 20 + k, "file_name": f"odd{k}.jpg", **facts} for k, facts in enumerate(odd)),
        *({"id": 30 + k, "file_name": name} for k, name in enumerate(("a\0\x1b.jpg", "\ud800.jpg", "a" * 5000))),
        {"id": 40, "file_name": "large.jpg", "width": 64 * 10**400, "height": 48 * 10**400},
    ], annotations=[{**box, "track_id": 10**30}, {**box, "bbox": [5, 5, 10**400, 9]}, {**box, "bbox": [0, 0, 1e308, 9]},
                    {**box, "image_id": 30}])
    value = json.loads((tmp_path / "in" / "a.json").read_text())
    value["categories"].append({"id": 9, "name": "\ud800fish"})
    (tmp_path / "in" / "a.json").write_text(json.dumps(value).replace("Infinity", "1e400"))
    for name in (*(f"odd{k}" for k in range(len(odd))), "large"):
        (tmp_path / "in" / "images" / f"{name}.jpg").write_bytes(encode(picture(len(name) + ord(name[-1]))))
    made = organise([tmp_path / "in"], tmp_path / "out", quiet=True)
    made.images.verify()
    rows = made.images.images.set_index("image")
    assert rows.loc[[f"odd{k}" for k in range(3)], "frame"].tolist() == [-1, -1, -1]
    assert np.isnan(rows.loc["odd2", ["latitude", "depth_m"]].astype(float)).all()
    assert rows.loc["odd3", "clip"] == "\ufffddive" and "\ufffdfish" in made.images.classes
    assert made.images.annotations("good0").track.tolist() == [-1, -1]
    counts = made.report["refused_counts"]
    assert counts["box"] == {"it is not four finite numbers": 2, "its image is left out": 1}
    assert counts["file"] == {"no file can have the path 'a\\x00\\x1b.jpg'": 1, "there is no such image": 1,
                              f"no file can have the path '{'a' * 60}'": 1, "its width and height cannot be right": 1}
    assert made.report["refused_files"][0]["what"] == "a\\x00\\x1b.jpg"


def test_real_annotations_whose_images_are_not_there_say_so(real_marine: Path, tmp_path: Path) -> None:
    path = sorted((real_marine / "luderick_annotations" / "cocojson").glob("*.json"))[0]
    with pytest.raises(InputError, match="No image is left"):
        organise([path], tmp_path / "out", quiet=True)


def test_what_was_made_is_said_in_sentences(images: ImageSet, tmp_path: Path) -> None:
    write_coco(images, tmp_path / "coco")
    made = organise([tmp_path / "coco"], tmp_path / "out", kind="coco", quiet=True)
    assert "9 images of 3 clips with 9 boxes of 3 classes" in made.lines()[0]
    assert made.lines()[1] == "Not in the table of species: fish."
    with pytest.raises(InputError, match="no form 'csv'"):
        organise([tmp_path / "coco"], tmp_path / "x", kind="csv", quiet=True)
    with pytest.raises(InputError, match="no Pascal VOC"):
        organise([tmp_path / "coco"], tmp_path / "x", kind="voc", quiet=True)
