"""Whatever is wrong with what comes back is found, counted and told; what is right is imported all the same."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from exchange_files import IDS, NAMES, SPECIES, as_coco, as_yolo, zipped
from marine_sets import small_set

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.exchange.importing import Imported, import_annotations, import_boxes
from groundswell.pipelines.marine.exchange.package import make_package
from groundswell.pipelines.marine.formats.yolo import write_yolo
from groundswell.pipelines.marine.images import ImageSet


@pytest.fixture
def images(tmp_path) -> ImageSet:
    return small_set(tmp_path / "set", classes=NAMES, species=IDS)


def _of(done: Imported) -> dict[str, int]:
    """Counts of what was found, but for images that count as not annotated because of it."""
    return {row["kind"]: row["count"] for row in done.report["findings"] if row["kind"] != "incomplete_image"}


def _incomplete(done: Imported) -> list[str]:
    frame = done.images.images
    return frame["image"][~frame["annotated"]].tolist()


def _json(tmp_path: Path, images: ImageSet, value: object, **options) -> Imported:
    (tmp_path / "a.json").write_text(json.dumps(value))
    return import_boxes(tmp_path / "a.json", images, tmp_path / "new", **options)


BOX = {"image_id": 1, "category_id": 0, "bbox": [30, 20, 10, 10]}


@pytest.mark.parametrize(("change", "kind", "kept"), [
    (BOX | {"category_id": 99}, "unknown_category", 0), (BOX | {"category_id": None}, "unknown_category", 0),
    (BOX | {"image_id": 99}, "orphan_annotation", 0), (BOX | {"bbox": [1, 2, 3]}, "unreadable", 0),
    (BOX | {"bbox": [1, 2, 3, "x"]}, "unreadable", 0), (BOX | {"image_id": [1]}, "unreadable", 0),
    ("a", "unreadable", 0),
    (BOX | {"bbox": [1, 2, 3, float("nan")]}, "not_finite", 0), (BOX | {"bbox": [1, 2, 1e400, 3]}, "not_finite", 0),
    (BOX | {"bbox": [5, 5, 0, 5]}, "no_area", 0), (BOX | {"bbox": [5, 5, -3, 5]}, "no_area", 0),
    (BOX | {"bbox": [200, 5, 5, 5]}, "outside_image", 0), (BOX | {"bbox": [-20, -20, 10, 10]}, "outside_image", 0),
    (BOX | {"bbox": [50, 20, 30, 10]}, "clipped", 1), (BOX | {"bbox": [], "segmentation": [[30, 20, 40, 20, 40, 30]]},
                                                      "outline", 1)])
def test_each_mistake_of_a_box_is_counted_and_the_others_are_imported(tmp_path, images, change, kind, kept):
    value = as_coco(images)
    value["annotations"].append(change)
    done = _json(tmp_path, images, value)
    assert _of(done) == {kind: 1} and done.report["boxes"]["imported"] == 6 + kept
    assert done.lost == (kept == 0) and len(done.images) == 6
    assert f"1 {done.report['findings'][0]['says']}" in done.text
    # What was drawn for an animal and cannot be used must not make its image one without that animal.
    lost = kind in ("unknown_category", "unreadable", "not_finite") and change != "a" and change["image_id"] == 1
    assert _incomplete(done) == (["c0f0"] if lost else [])
    assert ("taught as background" in done.text) == lost


def test_a_box_that_is_there_twice_is_kept_once_and_of_two_names_the_first(tmp_path, images):
    value = as_coco(images)
    value["annotations"] += [BOX, BOX | {"bbox": [30.02, 20, 10, 10]}, BOX | {"category_id": 29}]
    done = _json(tmp_path, images, value)
    assert _of(done) == {"repeated_box": 1, "contradicting_box": 1} and done.report["boxes"]["imported"] == 7
    assert done.images.annotations("c0f0").label[-1] == 0


def test_an_image_that_is_there_twice_has_the_boxes_of_both(tmp_path, images):
    value = as_coco(images)
    value["images"].append(value["images"][1] | {"id": 77, "file_name": "elsewhere/c0f1.jpg"})
    value["annotations"].append(BOX | {"image_id": 77})
    done = _json(tmp_path, images, value)
    assert _of(done) == {"repeated_image": 1} and len(done.images.annotations("c0f1")) == 1


def test_images_of_elsewhere_are_told_and_not_taken(tmp_path, images):
    value = as_coco(images)
    value["images"].append({"id": 50, "file_name": "../../c0f0x.jpg", "width": 64, "height": 48})
    value["annotations"].append(BOX | {"image_id": 50})
    assert _of(_json(tmp_path, images, value)) == {"foreign_image": 1}


def test_images_outside_the_package_are_foreign_even_where_the_set_has_them(tmp_path, images):
    package = make_package(images, ["c0f0", "c1f0"], tmp_path / "p.zip").path
    done = _json(tmp_path, images, as_coco(images), package=package)
    assert _of(done) == {"foreign_image": 4} and list(done.images.images["image"]) == ["c0f0", "c1f0"]


def test_images_annotated_at_another_size_are_scaled_and_in_another_shape_left_out(tmp_path, images):
    value = as_coco(images)
    value["images"][0] |= {"width": 128, "height": 96}
    for row in value["annotations"]:
        if row["image_id"] == 1:
            row["bbox"] = [2 * side for side in row["bbox"]]
    value["images"][1] |= {"width": 64, "height": 64}
    done = _json(tmp_path, images, value)
    assert _of(done) == {"size_scaled": 1, "size_disagrees": 1}
    assert np.allclose(done.images.annotations("c0f0").boxes, images.annotations("c0f0").boxes, atol=1e-3)
    assert "c0f1" not in list(done.images.images["image"])


def test_reviewed_images_without_animals_stay_as_negatives(tmp_path, images):
    value = as_coco(images)
    done = _json(tmp_path, images, value)
    empty = [name for name in done.images.images["image"] if not len(done.images.annotations(name))]
    assert empty == ["c0f1", "c1f1", "c2f1"] and done.images.images["annotated"].all()
    assert len(done.images.table()) == 6
    value["images"][1]["reviewed"] = False
    (tmp_path / "b.json").write_text(json.dumps(value))
    assert len(import_boxes(tmp_path / "b.json", images, tmp_path / "b").images) == 5
    assert len(import_boxes(tmp_path / "b.json", images, tmp_path / "c", empties="unreviewed").images) == 3


def test_the_verb_tells_every_finding_and_where_the_set_is(tmp_path, images):
    value = as_coco(images)
    value["annotations"].append(BOX | {"category_id": 99})
    (tmp_path / "a.json").write_text(json.dumps(value))
    lines = import_annotations(tmp_path / "a.json", images.path, tmp_path / "new")
    assert "6 of 6 images" in lines[0] and any("category 99" in line for line in lines) and "import.json" in lines[-1]


def test_the_file_that_was_sent_is_not_taken_for_empty_seas(tmp_path, images):
    package = make_package(images, ["c0f0"], tmp_path / "p.zip").path
    with pytest.raises(InputError, match="not one box"):
        import_boxes(package, images, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert len(import_boxes(package, images, tmp_path / "new", empties="reviewed").images) == 1


def test_images_that_were_changed_on_the_way_are_left_out(tmp_path, images):
    package = make_package(images, list(images.images["image"]), tmp_path / "p.zip").path
    with zipfile.ZipFile(package) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["annotations.json"] = json.dumps(as_coco(images)).encode()
    members["images/c0f0.jpg"] = members["images/c1f0.jpg"]
    done = import_boxes(zipped(tmp_path / "back.zip", list(members.items())), images, tmp_path / "new")
    assert _of(done) == {"changed_image": 1} and "c0f0" not in list(done.images.images["image"])
    images.file("c1f0").write_bytes(images.file("c2f0").read_bytes())
    images.file("c2f0").write_bytes(b"")
    again = _json(tmp_path / "set", images, as_coco(images), package=package)
    assert _of(again) == {"changed_image": 1, "broken_image": 1} and len(again.images) == 4


def test_yolo_numbers_are_those_of_the_package_and_none_lies_outside_it(tmp_path, images):
    folder = as_yolo(images, tmp_path / "yolo")
    (folder / "data.yaml").unlink()
    (folder / "classes.txt").unlink(missing_ok=True)
    for file in (folder / "labels").iterdir():
        file.write_text("")
    (folder / "labels" / "c0f0.txt").write_text("29 .5 .5 .1 .1\n36 .2 .2 .1 .1\n37 .5 .5 .1 .1\n-1 .5 .5 .1 .1\n"
                                                "0.5 .5 .5 .1 .1\nfish .5 .5 .1 .1\n1 .5\n0 .1 .1 .3 .1 .3 .3\n")
    (folder / "labels" / "nowhere.txt").write_text("0 .5 .5 .1 .1\n")
    (folder / "labels" / "c0f1.txt").write_bytes(b"\xff\xfe0")
    package = make_package(images, list(images.images["image"]), tmp_path / "p.zip").path
    done = import_boxes(folder, images, tmp_path / "new", package=package)
    assert _of(done) == {"outside_table": 2, "numbered": 6, "unreadable": 4, "outline": 1, "foreign_image": 1,
                         "not_reviewed": 1}
    assert done.images.annotations("c0f0").label.tolist() == [1, 2, 0] and _incomplete(done) == ["c0f0"]
    (folder / "data.yaml").write_text("names: {0: eel, 1: lionfish}")
    done = import_boxes(folder, images, tmp_path / "named")
    assert _of(done)["outside_table"] == 4 and done.images.species == (*IDS, 25)


def test_numbers_that_nothing_gives_a_name_are_refused_and_not_taken_for_ids(tmp_path, images):
    write_yolo(images, tmp_path / "yolo")  # in the order of the set's classes, which is not that of the species
    (tmp_path / "yolo" / "dataset.yaml").unlink()
    with pytest.raises(InputError, match=r"6 box\(es\) are numbers.*dataset\.yaml.*--package"):
        import_boxes(tmp_path / "yolo", images, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_numbers_that_a_package_gives_names_are_told(tmp_path, images):
    write_yolo(images, tmp_path / "yolo")
    (tmp_path / "yolo" / "dataset.yaml").unlink()
    package = make_package(images, list(images.images["image"]), tmp_path / "p.zip").path
    done = import_boxes(tmp_path / "yolo", images, tmp_path / "new", package=package)
    assert _of(done) == {"numbered": 6} and "taken as an id of the package" in done.text


def test_an_image_without_a_text_file_is_not_reviewed(tmp_path, images):
    folder = as_yolo(images, tmp_path / "yolo")
    (folder / "labels" / "c0f1.txt").unlink()
    done = import_boxes(folder, images, tmp_path / "new")
    assert _of(done) == {"not_reviewed": 1} and not done.lost and len(done.images) == 5


CVAT = """<?xml version="1.0"?><annotations><version>1.1</version>{}</annotations>"""


def _cvat(tmp_path: Path, images: ImageSet, inside: str) -> Imported:
    (tmp_path / "annotations.xml").write_text(CVAT.format(inside))
    return import_boxes(tmp_path / "annotations.xml", images, tmp_path / "new")


def test_cvat_turned_boxes_outlines_and_other_shapes(tmp_path, images):
    done = _cvat(tmp_path, images, '''<image id="0" name="sub/c0f0.jpg" width="64" height="48">
      <box label="shark" xtl="20" ytl="20" xbr="40" ybr="30" rotation="90"/>
      <polygon label="lionfish" points="1.5,2;10,3;9,12"/><points label="shark" points="3,3"/>
      <box label="shark" xtl="x" ytl="0" xbr="1" ybr="1"/><box xtl="0" ytl="0" xbr="9" ybr="9"/><tag label="shark"/>
      </image><image id="1" width="64" height="48"/>''')
    assert _of(done) == {"turned_box": 1, "outline": 1, "not_a_box": 1, "unreadable": 2, "unknown_category": 1,
                         "not_reviewed": 5}
    assert np.allclose(done.images.annotations("c0f0").boxes, [[25, 15, 35, 35], [1.5, 2, 10, 12]])


@pytest.mark.parametrize(("text", "what"), [
    ("<annotations><track/></annotations>", "CVAT for video"), ("<annotations><image", "no annotations"),
    ("<data/>", "no annotations"),
    ('<!DOCTYPE a [<!ENTITY x "y">]><annotations><image name="&x;"/></annotations>', "document type or entities"),
    ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>', "document type or entities")])
def test_xml_that_is_not_cvats_or_hostile_is_refused(tmp_path, images, text, what):
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(InputError, match=what):
        import_boxes(tmp_path / "annotations.xml", images, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def _task(name: str, *annotations: object) -> dict:
    return {"data": {"image": name}, "annotations": list(annotations)}


def _result(x: float, y: float, width: float, height: float, name: str = "shark", **value) -> dict:
    return {"type": "rectanglelabels", "original_width": 64, "original_height": 48,
            "value": {"x": x, "y": y, "width": width, "height": height, "rectanglelabels": [name], **value}}


def test_label_studio_takes_the_latest_annotation_and_knows_skipped_tasks(tmp_path, images):
    done = _json(tmp_path, images, [
        _task("/data/upload/1/0123abcd-c0f0.jpg",
              {"result": [_result(0, 0, 50, 50)], "updated_at": "2024-02-01"},
              {"result": [_result(50, 50, 25, 50)], "updated_at": "2024-03-01"},
              {"result": [_result(0, 0, 10, 10)], "updated_at": "2024-04-01", "was_cancelled": True}),
        _task("/data/local-files/?d=sea/c0f1.jpg", {"result": []}),
        _task("s3://bucket/c1f0.jpg"),
        _task("https://a.example/c1f1.jpg?token=1", {"result": [{"type": "choices", "value": {"choices": ["murky"]}}]}),
        _task("c2f0.jpg", {"result": [_result(50, 50, 25, 25, rotation=90), {"type": "brushlabels", "value": {}},
                                      _result(1, 1, 5, 5, "unicorn"), {"type": "rectanglelabels", "value": {}}, 3]}),
        {"data": {}}])
    assert _of(done) == {"several_annotators": 1, "not_reviewed": 2, "turned_box": 1, "not_a_box": 1,
                         "unknown_category": 2, "unreadable": 2}
    assert done.images.annotations("c0f0").boxes.tolist() == [[32, 24, 48, 48]]
    assert list(done.images.images["image"]) == ["c0f0", "c0f1", "c1f1", "c2f0"]
    assert np.allclose(done.images.annotations("c2f0").boxes, [[20, 24, 32, 40]])
    assert _incomplete(done) == ["c2f0"]


def test_label_studio_boxes_whose_names_are_results_of_their_own(tmp_path, images):
    sides = {"x": 50, "y": 50, "width": 25, "height": 50, "rotation": 0}
    named = {"id": "a", "type": "labels", "value": {**sides, "labels": ["lionfish"]}}
    done = _json(tmp_path, images, [
        _task("c0f0.jpg", {"result": [{"id": "a", "type": "rectangle", "value": sides}, named]}),
        _task("c0f1.jpg", {"result": [named]}),
        _task("c1f0.jpg", {"result": [{"id": "b", "type": "rectangle", "value": sides}]}),
        _task("c1f1.jpg", {"result": [{"id": "c", "type": "videorectangle", "value": {"sequence": []}}]})])
    assert _of(done) == {"not_a_box": 2, "not_reviewed": 2} and _incomplete(done) == ["c1f0", "c1f1"]
    for name in ("c0f0", "c0f1"):
        assert done.images.annotations(name).boxes.tolist() == [[32, 24, 48, 48]]
    assert done.report["images"]["without_animals"] == 0


def test_text_that_cannot_be_written_and_numbers_beyond_reason_are_told_and_not_taken(tmp_path, images):
    value = as_coco(images)
    value["images"].append({"id": 50, "file_name": "\ud800.jpg"})
    value["categories"].append({"id": 50, "name": "\udfffish"})
    value["annotations"] += [BOX | {"category_id": 50}, BOX | {"bbox": [1e308, 5, 1e308, 5]}]
    done = _json(tmp_path, images, value)
    assert _of(done) == {"foreign_image": 1, "unknown_category": 1, "not_finite": 1}
    assert "\ufffd.jpg" in done.text and "'\ufffdish'" in done.text and done.report["boxes"]["imported"] == 6


def test_addresses_and_turns_that_are_none_are_counted(tmp_path, images):
    done = _json(tmp_path, images, [
        _task("http://[/x/c0f0.jpg", {"result": []}),
        _task("c0f1.jpg", {"result": [_result(1, 1, 50, 50, rotation=float("inf")), _result(1, 1, 50, 50)]})])
    assert _of(done) == {"unreadable": 1, "turned_box": 1, "not_finite": 1, "not_reviewed": 5}


def test_files_whose_names_are_no_text_are_told(tmp_path, images):
    folder = as_yolo(images, tmp_path / "yolo")
    (folder / "labels" / os.fsdecode(b"\xff.txt")).write_text("0 .5 .5 .1 .1\n")
    done = import_boxes(folder.rename(tmp_path / os.fsdecode(b"\xfe")), images, tmp_path / "new")
    assert _of(done) == {"foreign_image": 1} and "\\xff.txt" in done.text and done.report["source"].endswith("\\xfe")


@pytest.mark.parametrize("names", ["2024-13-45", "9" * 5000, "[" * 5000])
def test_a_description_that_yaml_cannot_take_in_is_refused(tmp_path, images, names):
    (as_yolo(images, tmp_path / "yolo") / "data.yaml").write_text(f"names: {names}")
    with pytest.raises(InputError, match=r"Not valid YAML.*data\.yaml"):
        import_boxes(tmp_path / "yolo", images, tmp_path / "new")


@pytest.mark.parametrize(("text", "what"), [("", "no annotations"), ("{", "no annotations"),
                                            ("9" * 5000, "no annotations"),
                                            ("[1, 2]", "no annotations"),
                                            ('{"images": 3, "annotations": []}', "no annotations"),
                                            ("[" * 100_000, "no annotations"),
                                            ('{"images": [], "annotations": {}}', "not COCO")])
def test_what_is_no_annotation_is_refused_in_one_paragraph(tmp_path, images, text, what):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=what) as caught:
        import_boxes(tmp_path / "a.json", images, tmp_path / "new")
    assert "\n" not in str(caught.value) and not (tmp_path / "new").exists()


def test_a_set_is_not_made_of_nothing_nor_over_another(tmp_path, images):
    value = as_coco(images)
    for row in value["images"]:
        row["file_name"] = "other" + row["file_name"]
    with pytest.raises(InputError, match=r"Not one reviewed image can be used \(images that are not in the package: 6"):
        _json(tmp_path, images, value)
    (tmp_path / "b.json").write_text(json.dumps(as_coco(images)))
    with pytest.raises(InputError, match="already"):
        import_boxes(tmp_path / "b.json", images, images.path)
    assert len(ImageSet.open(images.path)) == 6


def test_two_formats_at_once_are_asked_about(tmp_path, images):
    folder = as_yolo(images, tmp_path / "yolo")
    (folder / "coco.json").write_text(json.dumps(as_coco(images)))
    with pytest.raises(InputError, match="several formats: coco, yolo"):
        import_boxes(folder, images, tmp_path / "new")
    assert import_boxes(folder, images, tmp_path / "new", kind="yolo").report["format"] == "yolo"
    with pytest.raises(InputError, match="no format"):
        import_boxes(folder, images, tmp_path / "x", kind="pdf")
    with pytest.raises(InputError, match="of the format cvat"):
        import_boxes(folder, images, tmp_path / "x", kind="cvat")


def test_a_folder_whose_links_lead_away_is_not_followed(tmp_path, images):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.json").write_text(json.dumps(as_coco(images)))
    (tmp_path / "in" / "a.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(InputError, match="leads outside"):
        import_boxes(tmp_path / "in", images, tmp_path / "new")


@pytest.mark.parametrize("name", ["../a.json", "/a.json", "a.json"])
def test_a_hostile_zip_is_refused_and_nothing_is_written(tmp_path, images, name):
    data = json.dumps(as_coco(images)).encode()
    path = zipped(tmp_path / "a.zip", [("a.json", data), (name, data)])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="archive"):
        import_boxes(path, images, tmp_path / "new")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("value", [{}, [], {"format": "other"},
                                   {"format": "groundswell annotation package 1", "images": 3},
                                   {"format": "groundswell annotation package 1", "images": [],
                                    "categories": [{"id": float("inf"), "name": "eel"}]}])
def test_a_manifest_that_is_none_is_refused(tmp_path, images, value):
    path = zipped(tmp_path / "p.zip", [("manifest.json", json.dumps(value).encode())])
    with pytest.raises(InputError, match="manifest"):
        _json(tmp_path, images, as_coco(images), package=path)
    with pytest.raises(InputError, match=r"no manifest\.json"):
        _json(tmp_path, images, as_coco(images), package=zipped(tmp_path / "q.zip", [("a", b"")]))


def test_names_are_matched_whole_an_eel_is_no_eelgrass(tmp_path, images):
    value = as_coco(images)
    value["categories"] += [{"id": 100, "name": "eelgras"}, {"id": 101, "name": "eel"},
                            {"id": 102, "name": "Zostera marina"}]
    value["annotations"] += [BOX | {"category_id": 100}, BOX | {"category_id": 101, "bbox": [1, 1, 5, 5]},
                             BOX | {"category_id": 102, "bbox": [50, 1, 5, 5]}]
    done = _json(tmp_path, images, value)
    assert _of(done) == {"unknown_category": 1} and done.images.species == (*IDS, 25, 18)


def test_annotations_of_a_tool_that_were_drawn_on_real_images_are_read(real_marine, tmp_path, images):
    """The COCO file of real images without the images: every box is readable, and each image is told as foreign."""
    path = next((real_marine / "luderick_annotations").rglob("*.json"))
    with pytest.raises(InputError, match="images that are not in the package"):
        import_boxes(path, images, tmp_path / "new")


def test_real_boxes_come_back_as_they_were_published(real_marine, tmp_path):
    from groundswell.pipelines.marine.images import ImageWriter

    folder = real_marine / "deepfish_boxes_640"
    path = next(folder.glob("*.json"))
    value = json.loads(path.read_text())
    rows = value["images"][:12]
    with ImageWriter(tmp_path / "set", classes=["fish"]) as writer:
        for row in rows:
            file = next(folder.rglob(Path(row["file_name"]).name))
            writer.add(Path(row["file_name"]).stem, file, annotated=False)
    numbers = {row["id"] for row in rows}
    value["categories"] = [row | {"name": SPECIES[35].common_name} for row in value["categories"]]
    done = _json(tmp_path, writer.set, value)
    drawn = [row for row in value["annotations"] if row["image_id"] in numbers]
    assert len(done.images) == 12 and done.report["boxes"]["imported"] == len(drawn)
    assert set(_of(done)) <= {"foreign_image", "clipped"}
