"""YOLO and Pascal VOC: what others write is read, what is wrong with it counted, and nothing leads out of a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from marine_sets import picture, small_set

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.formats.coco import coco_of, read_coco, write_coco
from groundswell.pipelines.marine.formats.voc import read_voc, write_voc
from groundswell.pipelines.marine.formats.yolo import read_yolo, write_yolo
from groundswell.pipelines.marine.image_files import encode
from groundswell.pipelines.marine.images import ImageWriter
from groundswell.pipelines.marine.organise import organise, read_input


def _yolo(folder: Path, labels: str | None = "0 0.5 0.5 0.25 0.5\n", **description: object) -> Path:
    for part in ("train", "val"):
        (folder / part / "images").mkdir(parents=True)
        (folder / part / "labels").mkdir()
        (folder / part / "images" / f"{part}1.jpg").write_bytes(encode(picture(len(part))))
        if labels is not None:
            (folder / part / "labels" / f"{part}1.txt").write_text(labels)
    value = {"train": "train/images", "val": "val/images", "names": {0: "fish", 1: "eel"}, **description}
    (folder / "dataset.yaml").write_text(yaml.safe_dump({k: v for k, v in value.items() if v is not None}))
    return folder


def test_yolo_shares_become_pixels_and_parts_are_kept(tmp_path: Path) -> None:
    made = organise([_yolo(tmp_path / "in")], tmp_path / "out", quiet=True).images
    assert made.classes == ("fish", "eel")
    assert made.annotations("train1").boxes.tolist() == [[24, 12, 40, 36]]
    assert made.images["published_split"].tolist() == ["train", "val"]


def test_an_empty_file_of_labels_is_a_negative_and_none_is_not_annotated(tmp_path: Path) -> None:
    folder = _yolo(tmp_path / "in")
    (folder / "train/labels/train1.txt").write_text("")
    (folder / "val/labels/val1.txt").unlink()
    listing = read_yolo(folder)
    assert [item.annotated for item in listing.items] == [True, False]
    assert [len(item.label) for item in listing.items] == [0, 0]


@pytest.mark.parametrize(("line", "reason"), [
    ("2 0.5 0.5 0.1 0.1", "its class is not one of those listed"), ("36 .5 .5 .1 .1", "its class is not one"),
    ("-1 0.5 0.5 0.1 0.1", "its class is not one"), ("0.5 0.5 0.5 0.1 0.1", "its class is not one"),
    ("0 0.5 0.5 0.1", "not a class and four"), ("0 0.5 0.5 0.1 0.1 0.9", "not a class and four"),
    ("fish 0.5 0.5 0.1 0.1", "no number"), ("0 nan 0.5 0.1 0.1", "not finite"), ("0 inf 0.5 0.1 0.1", "not finite"),
    ("0 .5 .5 1e308 1e308", "not finite"),
])
def test_lines_that_are_no_boxes_are_counted_and_the_rest_is_read(tmp_path: Path, line: str, reason: str) -> None:
    listing = read_yolo(_yolo(tmp_path / "in", f"{line}\n\n1.0 0.5 0.5 0.25 0.5\n"))
    assert [item.label.tolist() for item in listing.items] == [[1], [1]]
    assert len(listing.refused) == 2
    assert all(reason in one.reason and one.kind == "box" for one in listing.refused)


def test_outlines_become_the_boxes_around_them(tmp_path: Path) -> None:
    listing = read_yolo(_yolo(tmp_path / "in", "1 0.2 0.3 0.6 0.35 0.5 0.9\n"))
    assert np.allclose(listing.items[0].boxes, [[0.2, 0.3, 0.6, 0.9]])


@pytest.mark.parametrize(("description", "words"), [
    ({"names": None}, "lacks 'names'"), ({"names": {1: "a", 2: "b"}}, "lacks 'names'"), ({"nc": 3}, "says nc: 3"),
    ({"train": "../../elsewhere"}, "outside"), ({"train": "/etc"}, "outside"), ({"train": "nowhere"}, "not there"),
    ({"names": ["a", ""]}, "lacks 'names'"), ({"names": {0: "a", "b": "c"}}, "lacks 'names'"),
    ({"train": "a\0b"}, "No file can have"), ({"train": "a" * 5000}, "No file can have"),
])
def test_a_description_that_cannot_be_used_is_refused(tmp_path: Path, description: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_yolo(_yolo(tmp_path / "in" / "deep", **description))


@pytest.mark.parametrize("text", ["names: 2024-13-45", f"names: {'9' * 5000}", "names: " + "[" * 5000, "names: \xff"])
def test_a_description_that_yaml_cannot_take_in_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"cannot be read.*dataset\.yaml"):
        read_yolo(tmp_path)


def test_a_class_that_cannot_be_written_as_text_is_mended(tmp_path: Path) -> None:
    folder = _yolo(tmp_path / "in")
    (folder / "dataset.yaml").write_text(r'names: ["\ud800fish", eel]')
    assert organise([folder], tmp_path / "out", quiet=True).images.classes == ("\ufffdfish", "eel")


@pytest.mark.parametrize("name", ["classes.txt", "train.txt", "clips.csv"])
def test_lists_that_are_no_text_are_refused(tmp_path: Path, name: str) -> None:
    folder = _yolo(tmp_path / "in", train="train.txt")
    (folder / "train.txt").write_text("train/images/train1.jpg\n")
    if name == "classes.txt":
        (folder / "dataset.yaml").unlink()
    (folder / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=f"cannot be read.*{name}"):
        read_yolo(folder)


def test_roboflows_way_of_naming_parts_is_understood(tmp_path: Path) -> None:
    listing = read_yolo(_yolo(tmp_path / "in", train="../train/images", val="../val/images"))
    assert len(listing.items) == 2


def test_lists_of_images_are_followed_inside_the_folder_only(tmp_path: Path) -> None:
    folder = _yolo(tmp_path / "in", train="train.txt")
    (folder / "train.txt").write_text("train/images/train1.jpg\ntrain/images/gone.jpg\ntrain/images/train1.jpg\n")
    listing = read_yolo(folder)
    assert [item.key for item in listing.items] == ["train/images/train1.jpg", "val/images/val1.jpg"]
    assert [one.reason for one in listing.refused] == ["there is no such image", "it is listed twice"]
    (folder / "train.txt").write_text("../../secret.jpg\n")
    with pytest.raises(InputError, match="outside"):
        read_yolo(folder)


def test_a_folder_of_labels_without_names_is_refused(tmp_path: Path) -> None:
    folder = _yolo(tmp_path / "in")
    (folder / "dataset.yaml").unlink()
    with pytest.raises(InputError, match=r"classes\.txt"):
        read_yolo(folder)
    (folder / "classes.txt").write_text("fish\neel\n")
    assert read_yolo(folder).classes == ("fish", "eel")


def test_labels_whose_names_are_lost_are_refused_and_not_passed_over(tmp_path: Path) -> None:
    write_yolo(small_set(tmp_path / "set", clips=1), tmp_path / "yolo")
    (tmp_path / "yolo" / "dataset.yaml").unlink()
    with pytest.raises(InputError, match=r"no dataset\.yaml.*their numbers mean nothing"):
        read_input(tmp_path / "yolo")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(encode(picture(1)))
    (tmp_path / "photos" / "a.txt").write_text("5 fish, none of them large\n")
    assert read_input(tmp_path / "photos").form == "folder"


def test_a_published_part_with_a_hostile_name_stays_inside(tmp_path: Path) -> None:
    with ImageWriter(tmp_path / "set", classes=("fish",)) as writer:
        writer.add("a", picture(1), published_split="../../outside")
    write_yolo(writer.set, tmp_path / "deep" / "yolo")
    write_voc(writer.set, tmp_path / "deep" / "voc")
    assert (tmp_path / "deep/yolo/train/images/a.jpg").is_file()
    assert not (tmp_path / "outside").exists()


def test_parts_of_a_split_decide_where_images_are_written(tmp_path: Path) -> None:
    made = small_set(tmp_path / "set", clips=2)
    names = made.images["image"].tolist()
    path = write_yolo(made, tmp_path / "yolo", parts=dict(zip(names, ("train", "train", "val", "test"), strict=True)))
    value = yaml.safe_load(path.read_text())
    assert value["names"] == {0: "fish", 1: "shark", 2: "eel"}
    assert value["test"] == "test/images"
    assert (path.parent / "test/images" / f"{names[3]}.jpg").is_file()
    assert [item.facts["published_split"] for item in read_yolo(path.parent).items].count("train") == 2


VOC = """<annotation><filename>{file}</filename><size><width>64</width><height>48</height></size>
<object><name>{name}</name><bndbox><xmin>{left}</xmin><ymin>5</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></object>
</annotation>"""


def _voc(folder: Path, **texts: str) -> Path:
    for name in ("Annotations", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    (folder / "JPEGImages" / "a.jpg").write_bytes(encode(picture(1)))
    (folder / "JPEGImages" / "b.jpg").write_bytes(encode(picture(2)))
    (folder / "Annotations" / "a.xml").write_text(VOC.format(file="a.jpg", name="eel", left="3"))
    for name, text in texts.items():
        (folder / "Annotations" / f"{name}.xml").write_text(text)
    return folder


def test_voc_counts_pixels_from_one_unless_a_box_begins_at_zero(tmp_path: Path) -> None:
    listing = read_voc(_voc(tmp_path / "in"))
    assert listing.items[0].boxes.tolist() == [[2, 4, 20, 30]]
    zero = read_voc(_voc(tmp_path / "zero", b=VOC.format(file="b.jpg", name="crab", left="0")))
    assert zero.classes == ("crab", "eel")
    assert zero.items[0].boxes.tolist() == [[3, 5, 20, 30]]


BOMB = ('<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "lol"><!ENTITY y "&x;&x;&x;&x;">]>'
        "<annotation><filename>&y;</filename></annotation>")
SPY = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>'


@pytest.mark.parametrize(("text", "reason"), [
    (BOMB, "declares entities"), (SPY, "declares entities"), ("<annotation>", "it is no XML"), ("", "it is no XML"),
    ("<other/>", "no Pascal VOC annotation"), (VOC.format(file="../../secret.jpg", name="a", left="1"), "outside"),
    (VOC.format(file="/etc/passwd", name="a", left="1").replace("b.jpg", ""), ""),
    (VOC.format(file="b.jpg", name="a", left="1").replace("64", "wide"), "not whole numbers"),
    (VOC.format(file="b.jpg", name="a", left="1").replace("<width>64</width>", ""), "not given"),
    (VOC.format(file="b.jpg", name="a", left="1").replace("64", "9" * 400), "cannot be right"),
    (VOC.format(file="a" * 5000, name="a", left="1"), ""),
    (VOC.format(file="b.jpg", name="a", left="-1e308"), "not four finite numbers"),
    (VOC.format(file="a.jpg", name="a", left="1"), "annotations already"),
    (VOC.format(file="b.jpg", name="", left="1"), "it has no name"),
    (VOC.format(file="b.jpg", name="a", left="left"), "not four finite numbers"),
])
def test_files_and_boxes_of_voc_that_cannot_be_used_are_counted(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(encode(picture(9)))
    listing = read_voc(_voc(tmp_path / "x" / "in", b=text))
    assert listing.items[0].key == "Annotations/a.xml"
    assert listing.items[0].label.tolist() == [listing.classes.index("eel")]
    assert all(item.file.parent.name == "JPEGImages" for item in listing.items)
    assert reason == "" or [reason in one.reason for one in listing.refused] == [True]


@pytest.mark.parametrize(("told", "frame"), [("7", 7), (" 8 ", 8), ("²", None), ("9" * 40, None), ("-3", None)])
def test_a_frame_of_voc_that_no_table_holds_is_not_known(tmp_path: Path, told: str, frame: int | None) -> None:
    text = VOC.format(file="b.jpg", name="eel", left="1")
    text = text.replace("<size>", f"<source><frame>{told}</frame></source><size>")
    listing = read_voc(_voc(tmp_path / "in", b=text))
    assert [item.facts.get("frame") for item in listing.items] == [None, frame]


def test_a_folder_without_annotations_is_no_voc(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Pascal VOC"):
        read_voc(tmp_path)


def test_what_a_place_holds_is_recognised(tmp_path: Path) -> None:
    made = small_set(tmp_path / "set", clips=1)
    write_coco(made, tmp_path / "coco")
    write_yolo(made, tmp_path / "yolo")
    write_voc(made, tmp_path / "voc")
    places = [tmp_path / "coco", tmp_path / "coco/annotations.coco.json", tmp_path / "yolo",
              tmp_path / "yolo/dataset.yaml", tmp_path / "voc", tmp_path / "set/images"]
    assert [read_input(path).form for path in places] == ["coco", "coco", "yolo", "yolo", "voc", "folder"]
    for path, words in ((tmp_path / "none", "nothing here"), (tmp_path / "set/images.parquet", "neither COCO")):
        with pytest.raises(InputError, match=words):
            read_input(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image in this folder"):
        read_input(tmp_path / "empty")


def test_coco_without_boxes_is_not_annotated(tmp_path: Path) -> None:
    made = small_set(tmp_path / "set")
    path = write_coco(made, tmp_path / "set" / "annotations.json", boxes=False)
    assert coco_of(made, boxes=False)["annotations"] == []
    listing = read_coco(path)
    assert len(listing.items) == 6
    assert {item.annotated for item in listing.items} == {True}  # the set says so of each image
    text = path.read_text().replace('"annotated": true,', "")
    path.write_text(text)
    assert {item.annotated for item in read_coco(path).items} == {False}


def test_coco_says_the_priority_of_a_class(tmp_path: Path) -> None:
    made = small_set(tmp_path / "set", classes=("lionfish", "x", "eel"), species=(0, -1, 25))
    assert [one["supercategory"] for one in coco_of(made)["categories"]] == ["critical", "unknown", "important"]
