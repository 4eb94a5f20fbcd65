"""A package goes out whole and the same every time; what comes back in any format is the same boxes."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from exchange_files import IDS, NAMES, SPECIES, as_coco, written
from hypothesis import given, settings
from hypothesis import strategies as st
from marine_sets import picture, small_set

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.exchange.importing import import_boxes
from groundswell.pipelines.marine.exchange.package import make_package
from groundswell.pipelines.marine.formats.coco import write_coco
from groundswell.pipelines.marine.images import ImageSet, ImageWriter


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> ImageSet:
    return small_set(tmp_path_factory.mktemp("exchange") / "set", classes=NAMES, species=IDS)


@pytest.fixture(scope="module")
def package(tmp_path_factory, images) -> Path:
    return make_package(images, list(images.images["image"]), tmp_path_factory.mktemp("package") / "out.zip").path


def _opened(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _same(a: ImageSet, b: ImageSet) -> bool:
    pairs = [(a.annotations(name), b.annotations(name)) for name in a.images["image"]]
    return (list(a.images["image"]) == list(b.images["image"]) and a.classes == b.classes and a.species == b.species
            and all(np.array_equal(x.label, y.label) and np.allclose(x.boxes, y.boxes, atol=2e-3) for x, y in pairs))


def test_a_package_has_all_that_it_should(images, package):
    members = _opened(package)
    names = list(images.images["image"])
    assert set(members) == {"annotations.json", "guidelines.html", "manifest.json", *(f"images/{n}.jpg" for n in names),
                            *(f"thumbnails/{n}.jpg" for n in names)}
    coco = json.loads(members["annotations.json"])
    assert coco["annotations"] == [] and [row["file_name"] for row in coco["images"]] == [f"{n}.jpg" for n in names]
    assert [(row["id"], row["name"], row["supercategory"]) for row in coco["categories"][:36]] == [
        (one.id, one.common_name, one.priority) for one in SPECIES]
    assert [row["name"] for row in coco["categories"][36:]] == ["diver"]
    assert members[f"images/{names[0]}.jpg"] == images.file(names[0]).read_bytes()
    manifest = json.loads(members.pop("manifest.json"))
    assert {name: row["sha256"] for name, row in manifest["files"].items()} == {
        name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    assert manifest["set"] == images.fingerprint()


def test_the_guidelines_say_the_rules_and_every_name(package):
    page = _opened(package)["guidelines.html"].decode()
    assert all(one.common_name in page and one.scientific_name in page for one in SPECIES)
    for rule in ("Tight", "30&nbsp;%", "One box for one animal", "genus or family", "diver", "no box", "manifest"):
        assert rule in page
    assert "simulated" not in page


def test_a_package_of_simulated_images_says_so(tmp_path):
    images = small_set(tmp_path / "set", clips=1, note={"simulated": True})
    members = _opened(make_package(images, ["c0f0"], tmp_path / "a.zip").path)
    assert b"simulated" in members["guidelines.html"] and json.loads(members["manifest.json"])["simulated"] is True
    assert "simulated" in json.loads(members["annotations.json"])["info"]["description"]


def test_the_same_images_make_the_same_bytes(tmp_path, images, package):
    again = make_package(images, list(images.images["image"]), tmp_path / "other name.zip").path
    assert again.read_bytes() == package.read_bytes()


@pytest.mark.parametrize(("chosen", "what"), [([], "No image is chosen"), (["c0f0", "c0f0"], "twice"),
                                              (["nowhere"], "no image 'nowhere'")])
def test_a_choice_that_cannot_be_packed_leaves_nothing(tmp_path, images, chosen, what):
    with pytest.raises(InputError, match=what):
        make_package(images, chosen, tmp_path / "a.zip")
    with pytest.raises(InputError, match=r"\.zip"):
        make_package(images, ["c0f0"], tmp_path / "a.tar")
    assert list(tmp_path.iterdir()) == []


def test_images_that_cannot_be_read_are_told_and_the_others_packed(tmp_path):
    images = small_set(tmp_path / "set", clips=1, frames=3)
    images.file("c0f0").write_bytes(b"")
    packed = make_package(images, ["c0f0", "c0f1"], tmp_path / "a.zip")
    assert packed.images == ("c0f1",) and "empty" in packed.left_out[0]
    assert "images/c0f0.jpg" not in _opened(packed.path)
    with pytest.raises(InputError, match="None of the 1 images"):
        make_package(images, ["c0f0"], tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


@pytest.mark.parametrize("kind", ["coco", "yolo", "yolo zip", "cvat", "labelstudio"])
def test_every_format_brings_the_same_boxes_back(tmp_path, images, package, kind):
    done = import_boxes(written(images, tmp_path, kind), images, tmp_path / "new", package=package)
    assert _same(images, done.images) and not done.lost and done.report["findings"] == []
    assert done.report["format"] == kind.split()[0]
    assert done.report["images"] == {"in_package": 6, "imported": 6, "with_boxes": 3, "without_animals": 3, "in_set": 6}
    assert done.images.images["annotated"].all() and list(done.images.images["clip"]) == list(images.images["clip"])
    assert json.loads((tmp_path / "new" / "import.json").read_text())["boxes"] == {"drawn": 6, "imported": 6}
    assert "6 of 6 images" in (tmp_path / "new" / "import.txt").read_text()


def test_a_package_that_comes_back_with_boxes_in_it_needs_no_other_file(tmp_path, images, package):
    members = _opened(package) | {"annotations.json": json.dumps(as_coco(images)).encode()}
    with zipfile.ZipFile(tmp_path / "back.zip", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert _same(images, import_boxes(tmp_path / "back.zip", images, tmp_path / "new").images)


@given(data=st.data())
@settings(max_examples=8)
def test_any_boxes_survive_any_format(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    kind = data.draw(st.sampled_from(["coco", "yolo", "cvat", "labelstudio"]))
    with ImageWriter(folder / "set", classes=NAMES, species=IDS) as writer:
        for number in range(2):
            width, height = data.draw(st.integers(8, 300)), data.draw(st.integers(8, 300))
            count = data.draw(st.integers(number, 4))
            corners = np.array([[data.draw(st.floats(0, width - 4)), data.draw(st.floats(0, height - 4))]
                                for _ in range(count)]).reshape(-1, 2)
            sizes = np.array([[data.draw(st.floats(2, width)), data.draw(st.floats(2, height))]
                              for _ in range(count)]).reshape(-1, 2)
            boxes = np.concatenate([corners, np.minimum(corners + sizes, (width, height))], axis=1)
            boxes = boxes[:1] if count and _crowded(boxes) else boxes
            writer.add(f"i{number}", picture(number, width, height), boxes=boxes, label=[0, 2, 1, 0][:len(boxes)])
    done = import_boxes(written(writer.set, folder / "out", kind), writer.set, folder / "new")
    assert _same(writer.set, done.images) and not done.lost


def _crowded(boxes: np.ndarray) -> bool:
    from groundswell.core.boxes import iou

    return bool((iou(boxes, boxes) - np.eye(len(boxes)) > 0.9).any())


def test_only_part_of_a_package_may_come_back_and_the_rest_of_the_set_can_be_kept(tmp_path, images, package):
    value = as_coco(images)
    value["images"] = value["images"][:2]
    value["annotations"] = [row for row in value["annotations"] if row["image_id"] <= 2]
    (tmp_path / "a.json").write_text(json.dumps(value))
    done = import_boxes(tmp_path / "a.json", images, tmp_path / "new", package=package)
    assert len(done.images) == 2 and [row["kind"] for row in done.report["findings"]] == ["not_reviewed"]
    assert not done.lost
    both = import_boxes(tmp_path / "a.json", images, tmp_path / "both", package=package, keep_others=True)
    assert _same(images, both.images)


def test_images_that_we_said_nobody_looked_at_do_not_come_back_as_empty(tmp_path):
    with ImageWriter(tmp_path / "set", classes=NAMES, species=IDS) as writer:
        writer.add("drawn", picture(0), boxes=[[1, 1, 20, 20]], label=[0])
        writer.add("empty", picture(1))
        writer.add("unseen", picture(2), annotated=False)
    write_coco(writer.set, tmp_path / "a.json")
    done = import_boxes(tmp_path / "a.json", writer.set, tmp_path / "new")
    assert list(done.images.images["image"]) == ["drawn", "empty"] and done.images.images["annotated"].all()
    assert [(row["kind"], row["examples"]) for row in done.report["findings"]] == [("not_reviewed", ["unseen"])]


def test_species_that_are_new_to_the_set_become_classes(tmp_path, images):
    value = as_coco(images)
    for row, name in zip(value["annotations"], ("Pycnopodia helianthoides", "sunflower sea star", "eelgrass"),
                         strict=False):
        row["category_id"] = len(value["categories"])
        value["categories"].append({"id": row["category_id"], "name": name})
    (tmp_path / "a.json").write_text(json.dumps(value))
    made = import_boxes(tmp_path / "a.json", images, tmp_path / "new").images
    assert made.classes == (*NAMES, "sunflower sea star", "eelgrass") and made.species == (*IDS, 14, 18)
