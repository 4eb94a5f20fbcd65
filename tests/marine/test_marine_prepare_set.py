"""Whole sets corrected: once, by any number of processes, through a kill, and with the facts of it written down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from marine_sets import small_set

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.formats import write_as
from groundswell.pipelines.marine.formats.yolo import write_yolo
from groundswell.pipelines.marine.image_files import decode, encode
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.organise import organise
from groundswell.pipelines.marine.prepare import preparing
from groundswell.pipelines.marine.prepare.preparing import is_prepared, prepare_set, recipe_of
from groundswell.pipelines.marine.prepare.recipe import PrepareRecipe
from groundswell.pipelines.marine.prepare.underwater import underwater

SLOWLY = """
import sys, time
from pathlib import Path
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.prepare import preparing
whole = preparing.write_bytes
def slow(path, data):
    whole(path, data)
    time.sleep(0.05)
preparing.write_bytes = slow
preparing.prepare_set(ImageSet.open(Path(sys.argv[1])), Path(sys.argv[2]), quiet=True)
"""
"""Waits after each image, so that there is a time to be killed in."""


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    return small_set(tmp_path / "images", clips=5, frames=8, species=(35, 29, 25), note={"simulated": True})


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_every_image_is_corrected_and_everything_else_stays(images: ImageSet, tmp_path: Path) -> None:
    recipe = PrepareRecipe(clip=3.0)
    made = prepare_set(images, tmp_path / "out", recipe, quiet=True)
    assert made.classes == images.classes and made.species == images.species and made.simulated
    assert made.boxes.equals(images.boxes)
    same = [name for name in images.images.columns if name not in ("checksum", "file")]
    assert made.images[same].equals(images.images[same])
    for name in images.images["image"]:
        assert np.array_equal(made.read(name), decode(encode(underwater(images.read(name), recipe)), name))
    made.verify()


def test_the_set_says_what_was_done_and_is_not_corrected_again(images: ImageSet, tmp_path: Path) -> None:
    made = prepare_set(images, tmp_path / "out", quiet=True)
    assert made.preparation == {"underwater": {**PrepareRecipe().model_dump(), "of": images.fingerprint()}}
    assert is_prepared(made) and not is_prepared(images)
    assert recipe_of(made.preparation) == PrepareRecipe() and recipe_of(images.preparation) is None
    before = _contents(made.path)
    with pytest.raises(InputError, match="corrected already"):
        prepare_set(made, tmp_path / "twice", quiet=True)
    assert not (tmp_path / "twice").exists()

    assert prepare_set(images, tmp_path / "out", quiet=True).fingerprint() == made.fingerprint()
    assert _contents(made.path) == before
    with pytest.raises(InputError, match="another set"):
        prepare_set(images, tmp_path / "out", PrepareRecipe(clip=3.0), quiet=True)


def test_how_a_set_was_corrected_can_be_read_off_it(images: ImageSet, tmp_path: Path) -> None:
    recipe = PrepareRecipe(strength=0.7, window=9, tiles=4)
    prepare_set(images, tmp_path / "out", recipe, quiet=True)
    assert recipe_of(ImageSet.open(tmp_path / "out").preparation) == recipe
    with pytest.raises(InputError, match="strenght"):
        recipe_of({"underwater": {"strenght": 1.0}})


@pytest.mark.parametrize("form", ["coco", "json", "yolo", "voc"])
def test_what_was_done_to_images_goes_along_with_them_through_every_form(tmp_path: Path, form: str) -> None:
    made = prepare_set(small_set(tmp_path / "images"), tmp_path / "done", PrepareRecipe(clip=3.0), quiet=True)
    there = tmp_path / "done" / "boxes.json" if form == "json" else tmp_path / form
    write_as(made, there, "coco" if form == "json" else form)
    assert organise([there], tmp_path / "back", quiet=True).images.preparation == made.preparation


def test_images_corrected_alike_become_one_set_and_others_do_not(tmp_path: Path) -> None:
    sets = {"plain": small_set(tmp_path / "images")}
    for name, clip, seed in (("one", 3.0, 1), ("same", 3.0, 2), ("other", 2.0, 3)):
        images = small_set(tmp_path / f"{name}-images", seed=seed)
        sets[name] = prepare_set(images, tmp_path / f"{name}-done", PrepareRecipe(clip=clip), quiet=True)
    for name, images in sets.items():
        write_as(images, tmp_path / name, "yolo")
    alike = organise([tmp_path / "one", tmp_path / "same"], tmp_path / "alike", quiet=True).images
    assert recipe_of(alike.preparation) == PrepareRecipe(clip=3.0) and len(alike) == 12
    for name in ("plain", "other"):
        with pytest.raises(InputError, match="not prepared as those"):
            organise([tmp_path / "one", tmp_path / name], tmp_path / "mixed", quiet=True)
    assert not (tmp_path / "mixed").exists()


@pytest.mark.parametrize("said", [[1], {"underwater": "much"}, {"underwater": {"fog": 1}}, {"when": float("nan")}])
def test_a_preparation_that_cannot_be_used_is_refused(tmp_path: Path, said: object) -> None:
    path = write_yolo(small_set(tmp_path / "images"), tmp_path / "yolo")
    path.write_text(path.read_text() + yaml.safe_dump({"groundswell": {"preparation": said}}))
    with pytest.raises(InputError, match="preparation"):
        organise([tmp_path / "yolo"], tmp_path / "out", quiet=True)


def test_earlier_preparations_are_kept(tmp_path: Path) -> None:
    images = small_set(tmp_path / "images", preparation={"shrunk": [1920, 1080]})
    assert set(prepare_set(images, tmp_path / "out", quiet=True).preparation) == {"shrunk", "underwater"}


def test_the_result_does_not_hang_on_the_number_of_processes(images: ImageSet, tmp_path: Path) -> None:
    alone = prepare_set(images, tmp_path / "alone", quiet=True)
    both = prepare_set(images, tmp_path / "both", workers=2, quiet=True)
    assert _contents(alone.path) == _contents(both.path)


def test_none_named_means_as_many_processes_as_cores(images: ImageSet, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []
    real = preparing.run_tasks

    def run(tasks, *, engine, workers, **more):
        asked.append((engine, workers))
        return real(tasks, engine="inline", workers=1, **more)

    monkeypatch.setattr(preparing, "run_tasks", run)
    monkeypatch.setattr(preparing, "available_cores", lambda: 3)
    prepare_set(images, tmp_path / "out", workers=0, quiet=True)
    assert asked == [("loky", 3)]


def test_after_a_kill_the_same_call_does_the_rest(images: ImageSet, tmp_path: Path) -> None:
    whole = prepare_set(images, tmp_path / "whole" / "out", quiet=True)
    out = tmp_path / "killed" / "out"
    aside = out.parent / ".out.preparing"
    process = subprocess.Popen([sys.executable, "-c", SLOWLY, str(images.path), str(out)], env=os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path)})
    limit = time.monotonic() + 60
    while len(list(aside.glob("c*.jpg"))) < 5 and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {file: file.stat().st_mtime_ns for file in aside.glob("c*.jpg")}
    assert 5 <= len(done) < len(images) and not out.exists()

    written: list[Path] = []
    original = preparing.write_bytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "write_bytes", lambda path, data: (written.append(path), original(path, data)))
        made = prepare_set(images, out, quiet=True)
    assert not set(written) & set(done) and len(written) == len(images) - len(done)
    assert _contents(made.path) == _contents(whole.path)
    assert [entry.name for entry in out.parent.iterdir()] == ["out"]


def test_what_was_begun_with_another_recipe_is_not_mixed_in(images: ImageSet, tmp_path: Path) -> None:
    aside = tmp_path / ".out.preparing"
    aside.mkdir()
    (aside / "c0f0.jpg").write_bytes(images.file("c0f0").read_bytes())
    made = prepare_set(images, tmp_path / "out", quiet=True)
    assert made.file("c0f0").read_bytes() == encode(underwater(images.read("c0f0")))


@pytest.mark.parametrize("workers", [1, 2])
def test_images_that_cannot_be_read_are_named_and_all_others_are_done(images: ImageSet, tmp_path: Path,
                                                                      workers: int) -> None:
    good = images.file("c1f1").read_bytes()
    images.file("c1f1").write_bytes(b"")
    images.file("c2f2").write_bytes(images.file("c2f2").read_bytes()[:200])
    with pytest.raises(InputError, match=r"2 image\(s\) cannot be prepared, first: .*c1f1.jpg: The image file is empty"
                       ) as caught:
        prepare_set(images, tmp_path / "out", workers=workers, quiet=True)
    assert f"{len(images) - 2} are done" in caught.value.fix and not (tmp_path / "out").exists()
    assert len(list((tmp_path / ".out.preparing").glob("c*.jpg"))) == len(images) - 2

    images.file("c1f1").write_bytes(good)
    with pytest.raises(InputError, match=r"1 image\(s\)"):
        prepare_set(images, tmp_path / "out", quiet=True)


def test_a_folder_with_something_else_in_it_is_left_alone(images: ImageSet, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="something else here"):
        prepare_set(images, tmp_path / "out", quiet=True)
    assert _contents(tmp_path / "out") == {"mine.txt": b"mine"}


def test_a_detector_that_learnt_from_corrected_images_corrects_alike_in_use(tmp_path) -> None:
    import numpy as np

    from groundswell.core.recipe import build_recipe
    from groundswell.pipelines.archive import Archive
    from groundswell.pipelines.marine.building import facts_of
    from groundswell.pipelines.marine.detecting import OpenDetector
    from groundswell.pipelines.marine.labels import class_map
    from groundswell.pipelines.marine.prepare.recipe import PrepareRecipe
    from groundswell.pipelines.marine.prepare.underwater import underwater
    from groundswell.pipelines.marine.recipe import FuseRecipe, MarineRecipe
    from groundswell.pipelines.marine.simulate.simulating import simulate_set

    own = PrepareRecipe(**{next(iter(PrepareRecipe.model_fields)): 1.0})
    images = simulate_set(tmp_path / "raw", clips=2, frames=1, size=(96, 96))
    made = prepare_set(images, tmp_path / "made", own, 1, quiet=True)
    recipe = build_recipe(MarineRecipe, {"data": {"images": str(made.path)}})
    facts = facts_of(recipe, Archive(made.table(), [{"preparation": made.preparation}]), class_map(made))
    assert facts["prepare"] and PrepareRecipe(**facts["correction"]) == own
    detector = OpenDetector("d", (), ("a",), ("",), (-1,), 64, True, False, FuseRecipe(), None, None, (0.3,), own)
    raw = images.read(str(images.images["image"].iloc[0]))
    np.testing.assert_array_equal(detector._prepared(raw), underwater(raw, own))
