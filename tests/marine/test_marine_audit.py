"""Images that look alike are found without comparing all pairs, and what parts of a division share is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marine_sets import picture, small_set

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.auditing import audit_division, audit_published, shared_between
from groundswell.pipelines.marine.duplicates import hash_of, hashes_of, near_duplicates, pairs_of
from groundswell.pipelines.marine.formats.coco import write_coco
from groundswell.pipelines.marine.image_files import decode, encode
from groundswell.pipelines.marine.images import ImageSet, ImageWriter
from groundswell.pipelines.marine.organise import Organised, organise
from groundswell.pipelines.marine.organise_recipe import OrganiseRecipe
from groundswell.pipelines.marine.stats import UNKNOWN, count, write_stats
from groundswell.splits.make import make_split
from groundswell.splits.manifest import TEST, TRAIN, SplitManifest
from groundswell.splits.recipe import SplitRecipe


def _grey(image: np.ndarray) -> np.ndarray:
    return image.mean(axis=2).astype(np.uint8)


@pytest.mark.parametrize("change", [
    lambda a: np.clip(a * 0.8 + 20, 0, 255).astype(np.uint8), lambda a: a[::2, ::2],
    lambda a: decode(encode(a), ""), lambda a: np.roll(a, 1, axis=1)])
def test_the_hash_hardly_sees_brightness_size_and_compression(change: object) -> None:
    for seed in range(5):
        image = picture(seed, 320, 240)
        distance = (hash_of(_grey(image)) ^ hash_of(_grey(change(image)))).bit_count()  # type: ignore[operator]
        assert distance <= 4
        assert (hash_of(_grey(image)) ^ hash_of(_grey(picture(seed + 50, 320, 240)))).bit_count() > 8


@given(seed=st.integers(0, 10_000), bits=st.integers(0, 15), labels=st.sampled_from([0, 1, 3]))
def test_the_index_finds_every_pair_that_comparing_all_finds(seed: int, bits: int, labels: int) -> None:
    rng = np.random.default_rng(seed)
    roots = rng.integers(0, 2**63, 6, dtype=np.uint64)
    hashes = roots[rng.integers(0, 6, 40)]
    for _ in range(int(rng.integers(0, 12))):
        flipped = np.uint64(1) << rng.integers(0, 64, 40).astype(np.uint64)
        hashes ^= np.where(rng.random(40) < 0.7, flipped, np.uint64(0))
    label = rng.integers(0, labels, 40) if labels else None
    found = pairs_of(hashes, bits, label)
    first = [int(np.flatnonzero((hashes == hashes[k]) & (True if label is None else label == label[k]))[0])
             for k in range(40)]
    expected = {(min(a, b), max(a, b)) for a in set(first) for b in set(first)
                if a != b and (hashes[a] ^ hashes[b]).bit_count() <= bits and (label is None or label[a] != label[b])}
    if label is None:
        expected |= {(first[k], k) for k in range(40) if first[k] != k}
    assert set(zip(found["first"], found["second"], strict=True)) == expected
    assert (found["distance"] == [(hashes[a] ^ hashes[b]).bit_count() for a, b in zip(
        found["first"], found["second"], strict=True)]).all()


def test_a_hundred_thousand_hashes_need_no_comparison_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 100_000, dtype=np.uint64)
    hashes[-1] = hashes[0] ^ np.uint64(0b1011)
    found = pairs_of(hashes, 6)
    assert found.to_numpy().tolist() == [[0, 99_999, 3]]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Three clips of four frames, a divided one, a clean one in each part; and a copy and a look-alike elsewhere."""
    parts = {0: ("train", "train", "test", "valid"), 1: ("train",) * 4, 2: ("test",) * 4}
    with ImageWriter(tmp_path_factory.mktemp("p") / "set", classes=("fish", "eel")) as writer:
        for clip, names in parts.items():
            for frame, part in enumerate(names):
                image = picture(100 * clip + frame, 128, 96)
                if (clip, frame) == (2, 0):
                    image = picture(100, 128, 96)  # the very image c1f0
                if (clip, frame) == (2, 1):
                    image = np.clip(picture(101, 128, 96) * 0.9 + 5, 0, 255).astype(np.uint8)
                writer.add(f"c{clip}f{frame}", image, clip=f"clip{clip}", frame=frame * 5, published_split=part,
                           boxes=[[1, 1, 30, 30]], label=[int(clip == 2)])
    return writer.set


def test_what_a_published_division_leaks_is_counted(published: ImageSet) -> None:
    part = published.images["published_split"].to_numpy(object)
    found = shared_between(published, part, train="train")
    assert found.parts == {"train": 6, "valid": 1, "test": 5}
    assert (found.held_out, found.clips) == (6, 3)
    assert found.straddling == {"clip0": {"test": 1, "train": 2, "valid": 1}}
    assert (found.same_clip, found.copies, found.alike, found.alike_elsewhere) == (2, 1, 2, 2)
    assert found.frames_away == 7.5
    assert found.only_held_out == ("eel",)
    text = "\n".join(audit_published(published))
    assert "1 of 3 clips are in more than one part, for example clip0 (test 1, train 2, valid 1)." in text
    assert "2 of 6 held-out images (33 %) share a clip with training." in text
    assert "1 of 6 held-out images (17 %) are byte for byte in training." in text
    assert "2 of them like one of another clip" in text


def test_pairs_of_images_that_look_alike_are_named(published: ImageSet) -> None:
    found = near_duplicates(published)
    assert found[["image", "other"]].to_numpy().tolist() == [["c1f0", "c2f0"], ["c1f1", "c2f1"]]
    apart = published.images["clip"].to_numpy(object) == "clip0"
    assert near_duplicates(published, apart=apart).empty


def test_a_division_of_whole_clips_still_shows_copies_across_clips(published: ImageSet) -> None:
    table = published.table()
    part = np.where(table.column("group") == "clip2", TEST, TRAIN).astype(np.int8)
    manifest = SplitManifest.of(table, part, "grouped", 42, {})
    text = "\n".join(audit_division(published, table, manifest))
    assert "No clip is in more than one part." in text
    assert "1 of 4 held-out images (25 %) are byte for byte in training." in text
    assert [finding.kind for finding in manifest.audit.findings] == ["content"]  # the audit of splits sees copies, too
    each = np.stack([table.column("group") == f"clip{k}" for k in range(3)], axis=1)
    folds = SplitManifest.of(table, np.where(each, TEST, TRAIN).astype(np.int8), "leave_one_out", 42, {})
    lines = audit_division(published, table, folds)
    assert lines[0].startswith("In 1 of 3 folds")
    assert any("Training has no box of eel in fold 3" in line for line in lines)


def test_a_set_without_a_published_division_says_so(tmp_path: Path) -> None:
    made = small_set(tmp_path / "s")
    assert audit_published(made) == ["No division was published with this set."]


def test_a_division_published_as_one_part_leaks_nothing_and_stops_nothing(tmp_path: Path) -> None:
    write_coco(small_set(tmp_path / "set"), tmp_path / "train")
    made = organise([tmp_path / "train"], tmp_path / "out", quiet=True).images
    assert audit_published(made) == ["The published division has train alone: there is nothing that it could leak."]
    with pytest.raises(InputError, match="needs images in 'train' and in another part"):
        shared_between(made, np.full(len(made), "train", object), train="train")


def test_a_damaged_image_is_named_by_the_search(tmp_path: Path) -> None:
    made = small_set(tmp_path / "s")
    made.file("c1f0").write_bytes(b"")
    with pytest.raises(InputError, match=r"c1f0\.jpg"):
        hashes_of(made, quiet=True)


def test_groups_are_dealt_so_that_every_part_has_every_class_that_has_clips_enough(tmp_path: Path) -> None:
    made = small_set(tmp_path / "s", clips=30, frames=3)
    table = made.table()
    manifest = make_split(table, SplitRecipe(validation=0.15, test=0.15))
    assert manifest.audit.passed
    part = pd.Series(manifest.assignment[:, 0], index=table.column("group"))
    assert (part.groupby(level=0).nunique() == 1).all()
    held = table.frame.assign(part=manifest.assignment[:, 0])
    clips = held.groupby("part")["group"].nunique()
    assert abs(clips[TRAIN] - 21) <= 1
    for code in (TRAIN, TEST):
        assert set(held.loc[held["part"] == code, "label"].dropna()) == {0, 1, 2}


def test_a_class_of_one_clip_does_not_forbid_a_division(tmp_path: Path) -> None:
    made = small_set(tmp_path / "s", clips=5, classes=("fish", "shark", "eel", "ray"))
    for recipe in (SplitRecipe(validation=0.2, test=0.2), SplitRecipe(regime="leave_one_out")):
        assert make_split(made.table(), recipe).audit.passed


def test_counts_are_right_and_say_what_cannot_be_learnt(tmp_path: Path) -> None:
    made = small_set(tmp_path / "s", clips=4, frames=3, classes=("lionfish", "cod", "eel", "whale"),
                     species=(0, -1, 25, 34))
    found = count(made)
    by_class = found["class"].set_index("class")
    assert by_class["boxes"].to_dict() == {"lionfish": 6, "cod": 2, "eel": 2, "whale": 2}
    assert by_class["clips"].to_dict() == {"lionfish": 4, "cod": 1, "eel": 1, "whale": 1}
    assert by_class["priority"].tolist() == ["critical", UNKNOWN, "important", "general"]
    assert found["priority"].set_index("priority")["boxes"].to_dict() == {"critical": 6, "important": 2, "general": 2,
                                                                          UNKNOWN: 2}
    assert found["source"].set_index("source")["images"].to_dict() == {"deepfish": 6, "own": 6}
    assert found["source"]["negatives"].sum() == 4
    lines = write_stats(made, tmp_path / "stats")
    assert lines[0] == "12 images of 4 clips, 12 annotated (4 of them empty), 12 boxes of 4 classes."
    assert "3 class(es) are in one clip only" in "\n".join(lines)
    names = sorted(path.name for path in (tmp_path / "stats").iterdir())
    assert names == ["boxes.png", "by_class.csv", "by_class.png", "by_clip.csv", "by_priority.csv", "by_priority.png",
                     "by_source.csv", "by_source.png", "stats.json"]


def test_a_set_without_boxes_has_stats_and_simulated_ones_say_so(tmp_path: Path) -> None:
    with ImageWriter(tmp_path / "s", classes=("fish",), note={"simulated": True}) as writer:
        writer.add("a", picture(1), annotated=False)
    lines = write_stats(writer.set, tmp_path / "stats")
    assert lines[0].startswith("Simulated: 1 images")
    assert "1 class(es) have no box: fish." in lines


@pytest.fixture(scope="module")
def real(real_marine: Path, tmp_path_factory: pytest.TempPathFactory) -> Organised:
    recipe = OrganiseRecipe(source="deepfish")
    return organise([real_marine / "deepfish_boxes_640"], tmp_path_factory.mktemp("real") / "set", recipe, quiet=True)


def test_real_images_are_organised_with_their_clips_and_published_parts(real: Organised) -> None:
    made = real.images
    assert (len(made), len(made.boxes)) == (489, 599)
    assert made.images["clip"].nunique() == 6
    assert dict(made.images["published_split"].value_counts()) == {"train": 311, "valid": 90, "test": 88}
    assert made.species == (-1, -1, -1, 20, -1)
    assert real.complaint() is None


def test_the_published_division_of_the_real_images_leaks_all_of_its_test(real: Organised) -> None:
    made = real.images
    part = made.images["published_split"].to_numpy(object)
    hashes = hashes_of(made, quiet=True)
    found = shared_between(made, part, train="train", hashes=hashes)
    assert (found.clips, len(found.straddling)) == (6, 6)
    assert (found.held_out, found.same_clip) == (178, 178)
    assert found.alike >= 170
    assert found.alike_elsewhere == 0
    assert found.frames_away <= 3
    table = made.table()
    manifest = make_split(table, SplitRecipe(validation=0.15, test=0.15))
    assert manifest.audit.passed
    lines = audit_division(made, table, manifest, hashes=hashes)
    assert "No clip is in more than one part." in lines
    assert "No held-out image looks like one of training." in lines
