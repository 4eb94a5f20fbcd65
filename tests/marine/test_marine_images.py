"""A set of images is there whole or not at all, says what is wrong with it, and reaches the loader exactly."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marine_sets import CLASSES, picture, small_set

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.image_files import decode, encode
from groundswell.pipelines.marine.images import ImageSet, ImageWriter
from groundswell.pipelines.marine.letterbox import letterbox, place, restored
from groundswell.pipelines.marine.source import DetectionSource


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return small_set(tmp_path_factory.mktemp("set") / "set", frames=3)


def test_what_is_written_is_read_back(images: ImageSet) -> None:
    assert len(images) == 9
    assert images.classes == CLASSES
    assert images.species == (-1, -1, -1)
    first = images.annotations("c1f0")
    assert first.boxes.dtype == np.float32
    assert first.boxes.shape == (2, 4)
    assert first.label.tolist() == [1, 0]
    assert len(images.annotations("c1f2")) == 0
    assert np.abs(images.read("c1f0").astype(int) - picture(100)).mean() < 4
    images.verify()


def test_the_table_has_whole_clips_as_groups_and_the_rarest_class_as_label(images: ImageSet) -> None:
    table = images.table()
    assert table.pipeline == "marine"
    assert table.column("group").tolist() == [f"clip{k}" for k in range(3) for _ in range(3)]
    label = table.labels().reshape(3, 3)
    assert label[:, 2].tolist() == [-1, -1, -1]
    assert label[1, 0] == 1  # class 0 has the most boxes, so an image of 1 and 0 counts as 1
    assert table.column("boxes").tolist() == [2, 1, 0] * 3


def test_images_without_annotation_are_in_the_table_only_if_asked_for(tmp_path: Path) -> None:
    with ImageWriter(tmp_path / "s", classes=()) as writer:
        writer.add("a", picture(1), annotated=False)
        writer.add("b", picture(2), annotated=True, time=pd.Timestamp("2024-05-01", tz="UTC"), depth_m=12.5)
    assert len(writer.set.table()) == 1
    assert len(writer.set.table(annotated=False)) == 2
    assert writer.set.table().column("group").tolist() == ["b"]  # an image without a clip is one by itself


def test_the_same_set_written_from_its_tables_has_the_same_fingerprint(images: ImageSet, tmp_path: Path) -> None:
    again = ImageSet.write(tmp_path / "again", classes=images.classes, species=images.species, images=images.images,
                           boxes=images.boxes, files=images.file)
    assert again.fingerprint() == images.fingerprint()
    changed = ImageSet.write(tmp_path / "changed", classes=images.classes, species=images.species,
                             images=images.images, boxes=images.boxes.iloc[1:], files=images.file)
    assert changed.fingerprint() != images.fingerprint()
    assert pickle.loads(pickle.dumps(again)).fingerprint() == again.fingerprint()


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), ImageWriter(tmp_path / "s", classes=("a",)) as writer:
        writer.add("a", picture())
        raise RuntimeError("power cut")
    assert list(tmp_path.iterdir()) == []
    with ImageWriter(tmp_path / "s", classes=("a",)) as writer:
        writer.add("a", picture())
    with pytest.raises(InputError, match="something here already"), ImageWriter(tmp_path / "s", classes=()) as writer:
        pass


@pytest.mark.parametrize(("boxes", "label", "words"), [
    ([[1, 1, 9, 9]], [3], "its class 3 is not one of 0 to 2"),
    ([[1, 1, 9, 9]], [-1], "its class -1"),
    ([[1, 1, 90, 9]], [0], "it leaves its image"),
    ([[-5, 1, 9, 9]], [0], "it leaves its image"),
    ([[9, 1, 9, 9]], [0], "it has no area"),
    ([[1, np.nan, 9, 9]], [0], "it is not finite"),
    ([[1, 1, 9, 9]], [0, 1], "1 boxes, 2 labels"),
])
def test_boxes_that_cannot_be_right_are_refused(tmp_path: Path, boxes: list, label: list, words: str) -> None:
    with pytest.raises(InputError, match=words), ImageWriter(tmp_path / "s", classes=CLASSES) as writer:
        writer.add("a", picture(), boxes=boxes, label=label)


def test_a_box_half_a_pixel_outside_is_cut(tmp_path: Path) -> None:
    with ImageWriter(tmp_path / "s", classes=CLASSES) as writer:
        writer.add("a", picture(), boxes=[[-0.4, 1, 64.3, 9]], label=[0])
    assert writer.set.annotations("a").boxes.tolist() == [[0, 1, 64, 9]]


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a\\b", "a\nb", "x" * 300])
def test_names_that_are_none_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be called"), ImageWriter(tmp_path / "s", classes=()) as writer:
        writer.add(name, picture())


def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="given twice"), ImageWriter(tmp_path / "s", classes=()) as writer:
        writer.add("a", picture(1))
        writer.add("a", picture(2))


@pytest.mark.parametrize("data", [b"", encode(picture())[:-400], encode(picture(), ".png")[:-200], b"no image at all"])
def test_broken_files_are_named(tmp_path: Path, data: bytes) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(data)
    with pytest.raises(InputError, match=r"broken\.jpg"), ImageWriter(tmp_path / "s", classes=()) as writer:
        writer.add("a", broken)
    made = small_set(tmp_path / "t")
    made.file("c0f0").write_bytes(data)
    with pytest.raises(InputError, match=r"c0f0\.jpg"):
        made.read("c0f0")
    with pytest.raises(InputError, match=r"c0f0\.jpg"):
        made.verify()


def _spoil(path: Path, how: str) -> None:
    images = pd.read_parquet(path / "images.parquet")
    facts = json.loads((path / "images.json").read_text())
    if how == "no table":
        (path / "boxes.parquet").unlink()
    elif how == "no parquet":
        (path / "images.parquet").write_bytes(b"PAR1 and nothing")
    elif how == "a row less":
        images.iloc[1:].to_parquet(path / "images.parquet")
    elif how == "leaves":
        images["file"] = images["file"].where(images.index > 0, "../../outside.jpg")
        images.to_parquet(path / "images.parquet")
    elif how == "changed":
        images["clip"] = "all the same"
        images.to_parquet(path / "images.parquet")
    elif how == "twice":
        images["image"] = images["image"].iloc[0]
        images.to_parquet(path / "images.parquet")
    elif how == "a class less":
        facts["classes"], facts["species"] = ["fish"], [-1]
        (path / "images.json").write_text(json.dumps(facts))
    elif how == "format":
        (path / "images.json").write_text("{}")


@pytest.mark.parametrize("how", ["no table", "no parquet", "a row less", "leaves", "changed", "twice", "a class less",
                                 "format"])
def test_a_damaged_set_is_not_opened(tmp_path: Path, how: str) -> None:
    path = small_set(tmp_path / "s").path
    _spoil(path, how)
    with pytest.raises(InputError):
        ImageSet.open(path)


def test_a_link_that_leaves_the_set_is_not_followed(tmp_path: Path) -> None:
    made = small_set(tmp_path / "s")
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(encode(picture()))
    file = made.file("c0f0")
    file.unlink()
    file.symlink_to(secret)
    with pytest.raises(InputError, match="outside"):
        made.read("c0f0")


def test_a_missing_set_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="groundswell marine organise"):
        ImageSet.open(tmp_path / "none")


@given(width=st.integers(1, 3000), height=st.integers(1, 3000), size=st.sampled_from([64, 320, 640]),
       corners=st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=5))
def test_boxes_come_back_from_the_square_where_they_were(width: int, height: int, size: int, corners: list) -> None:
    pairs = np.sort(np.array(corners).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    boxes = pairs * [width, height, width, height]
    placed, inner_width, inner_height = place(width, height, size)
    there = placed.boxes(boxes)
    assert (there >= -1).all()
    assert (there <= size + 1).all()
    assert max(inner_width, inner_height) == size
    assert np.allclose(restored(there, placed), boxes, atol=2e-3 * max(width, height) / size + 1e-3)


def test_an_image_is_centred_between_grey_bars() -> None:
    square, placed = letterbox(picture(3, 640, 360), 640)
    assert (placed.ratio, placed.left, placed.top) == (1, 0, 140)
    assert (square[:140] == 114).all()
    assert (square[500:] == 114).all()
    assert (square[140:500] == picture(3, 640, 360)).all()


def test_the_source_delivers_squares_and_their_boxes(images: ImageSet) -> None:
    table = images.table()
    source = DetectionSource(images, table, size=96, classes_of=np.array([0, -1, 1]))
    out = {name: field.allocate(9) for name, field in source.fields.items()}
    out["box_label"][...] = 99
    source.read(np.arange(9), out)
    assert out["image"].shape == (9, 3, 96, 96)
    assert out["box_label"].tolist()[2] == [-1, -1]
    assert out["box_label"].tolist()[3] == [-2, 0]  # a class that is not told apart is there, but is not looked at
    assert np.allclose(out["boxes"][3], images.annotations("c1f0").boxes * 1.5 + [0, 12, 0, 12])
    square, placed = letterbox(images.read("c2f1"), 96)
    assert (out["image"][7] == square.transpose(2, 0, 1)).all()
    assert np.allclose(out["placed"][7], placed)
    assert pickle.loads(pickle.dumps(source)).fields == source.fields


def test_crowds_are_not_looked_at(tmp_path: Path) -> None:
    with ImageWriter(tmp_path / "s", classes=CLASSES) as writer:
        writer.add("a", picture(), boxes=[[1, 1, 9, 9], [3, 3, 30, 30]], label=[1, 1], crowd=[False, True],
                   track=[4, 5])
    source = DetectionSource(writer.set, writer.set.table(), size=64)
    out = {name: field.allocate(1) for name, field in source.fields.items()}
    source.read(np.array([0]), out)
    assert out["box_label"].tolist() == [[1, -2]]
    assert writer.set.annotations("a").track.tolist() == [4, 5]


def test_other_formats_are_written_as_jpeg(tmp_path: Path) -> None:
    bitmap = tmp_path / "a.bmp"
    bitmap.write_bytes(encode(picture(), ".bmp"))
    with ImageWriter(tmp_path / "s", classes=()) as writer:
        writer.add("a", bitmap)
    assert writer.set.file("a").suffix == ".jpg"
    assert decode(writer.set.file("a").read_bytes(), "a").shape == (48, 64, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_what_follows_a_whole_picture_does_no_harm_and_a_cut_one_is_told(suffix: str) -> None:
    whole = encode(picture(3, 300, 200), suffix)
    film = b"\x00\x00\x00\x18ftypmp42" + bytes(200_000)  # what phones put behind a moving picture
    assert np.array_equal(decode(whole + film, "a"), decode(whole, "a"))
    if suffix == ".jpg":  # a small picture in its EXIF data has an end of its own
        small = encode(picture(4, 20, 20))
        segment = b"Exif\x00\x00" + small
        whole = whole[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + whole[2:]
        decode(whole, "a")
    for length in (len(whole) - 3, len(whole) // 2, 700):
        with pytest.raises(InputError, match="cut off"):
            decode(whole[:length], "a")
