"""What the marine pipeline promises and no other file of tests holds: defaults that stay, weights of classes, a command
whose status says that a step failed, members that keep their weights, images that cannot be read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from marine_sets import picture, small_set

from groundswell.cli.main import main
from groundswell.core.errors import FailureError, InputError
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.marine.chain import running
from groundswell.pipelines.marine.detecting import Member, OpenDetector
from groundswell.pipelines.marine.image_files import encode
from groundswell.pipelines.marine.labels import class_map
from groundswell.pipelines.marine.recipe import DetectRecipe, FuseRecipe, MarineRecipe
from groundswell.pipelines.marine.sampling import class_weights_of

SPECIES = (0, 29, 25)  # lionfish, shark, eel: critical, general, important


def recipe_of(**parts: Any) -> MarineRecipe:
    return build_recipe(MarineRecipe, parts)


@pytest.mark.parametrize("key, value", [("split.seed", 3), ("variants.recall.weight", 0.5), ("train.seed", 1)])
def test_setting_one_key_leaves_its_neighbours_at_their_defaults(key: str, value: float) -> None:
    whole, changed = MarineRecipe().model_dump(), build_recipe(MarineRecipe, {}, [f"{key}={value}"]).model_dump()
    *parents, last = key.split(".")
    places = [whole, changed]
    for parent in parents:
        places = [place[parent] for place in places]
    assert places[1].pop(last) == value
    places[0].pop(last)
    assert changed == whole
    assert (whole["split"]["validation"], whole["split"]["test"]) == (0.15, 0.15)


def test_weights_of_classes_are_of_the_training_part(tmp_path: Path) -> None:
    images = small_set(tmp_path / "set", clips=6, frames=3, species=SPECIES)
    told = class_map(images)
    table = told.table(images)
    clip = table.column("group").to_numpy(object)
    recipe = recipe_of(sampling={"class_weights": "balanced"})
    all_rows, without_eel = np.arange(len(table)), np.flatnonzero(~np.isin(clip, ["clip2"]))
    one, other = (class_weights_of(recipe, images, told, table, rows) for rows in (all_rows, without_eel))
    assert one is not None and other is not None
    assert one.mean() == pytest.approx(1) and other.mean() == pytest.approx(1)
    assert other[2] / other[1] > one[2] / one[1]  # rarer in training, and heavier
    heavy = class_weights_of(recipe_of(sampling={"class_weights": "critical_heavy"}), images, told, table, all_rows)
    assert heavy is not None and heavy[0] == pytest.approx(3 * heavy[1]) and heavy[1] == heavy[2]


def chain_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], dict[str, bool], list[str]]:
    """A chain whose stages only say that they were done; one of them fails while it is told to. The command's words."""
    images = small_set(tmp_path / "set")
    done: list[str] = []
    state = {"fails": True}

    def stage_done(stage: Any, out: Path, quiet: bool) -> dict[str, Any]:
        if stage.name == "specialise/round-1" and state["fails"]:
            raise FailureError("The disk is full", where=out)
        done.append(stage.name)
        (out / stage.name).mkdir(parents=True, exist_ok=True)
        return {"lines": [f"{stage.name} is done"]}

    monkeypatch.setattr(running, "_KINDS", dict.fromkeys(running._KINDS, stage_done))
    return done, state, ["--quiet", "marine", "pipeline", "nano", "--set", f"data.images={images.path}", "--out",
                         str(tmp_path / "chain")]


def test_a_step_that_fails_ends_the_chain_with_its_status_and_the_next_call_begins_with_it(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    done, state, words = chain_of(tmp_path, monkeypatch)
    assert main(words) == 1
    assert "The disk is full" in capsys.readouterr().err
    assert done[-1] == "specialise/mined-1" and not any(name.startswith("variants") for name in done)
    before, state["fails"] = list(done), False
    assert main(words) == 0
    assert done[len(before)] == "specialise/round-1"  # nothing is done twice
    assert len(done) == len(set(done)) and done[-1] == "export"
    assert len({json.loads(path.read_text())["name"] for path in (tmp_path / "chain").rglob("stage.json")}) == len(done)


def answer(left: float, score: float) -> Any:
    """A network that finds one box in every image."""
    def said(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        box = np.array([[[left, 0.2, left + 0.4, 0.6]]], np.float32)
        return np.repeat(box, len(batch), 0), np.full((len(batch), 1, 1), score, np.float32)
    return said


def detector_of(members: tuple[Member, ...], threshold: float = 0.25) -> OpenDetector:
    return OpenDetector("fake", members, ("lionfish",), ("critical",), (0,), 64, False, True, FuseRecipe(), None, None,
                        (threshold,))


def test_members_of_an_ensemble_keep_their_weights_whatever_their_order() -> None:
    image = picture(1, 64, 64)
    heavy, light = (Member(answer(left, 0.8), False, DetectRecipe(), weight)
                    for left, weight in ((0.2, 3.0), (0.3, 1.0)))
    one, other = (detector_of(members)([image])[0] for members in ((heavy, light), (light, heavy)))
    assert np.allclose(one[0], other[0], atol=1e-4) and np.allclose(one[1], other[1])
    assert one[0][0, 0] == pytest.approx(64 * (3 * 0.2 + 0.3) / 4, abs=0.01)  # nearer to the heavier one
    alike = detector_of((Member(heavy.answer, False, DetectRecipe()), Member(light.answer, False, DetectRecipe())))
    assert alike([image])[0][0][0, 0] == pytest.approx(64 * 0.25, abs=0.01)


def test_prediction_names_what_it_cannot_read_and_does_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    from groundswell.pipelines.marine import use

    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "good.jpg").write_bytes(encode(picture(1)))
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "._good.jpg").write_bytes(b"what some systems leave beside a file")
    (folder / "cut.jpg").write_bytes(encode(picture(2))[:200])
    monkeypatch.setattr(use, "open_detector", lambda *_, **__: detector_of((Member(answer(0.2, 0.8), False,
                                                                                  DetectRecipe()),)))
    out = tmp_path / "boxes.json"
    assert use.predict_with(tmp_path / "model.onnx", [folder], out=out) == 2
    said = capsys.readouterr().out
    assert "empty.jpg" in said and "cut.jpg" in said and "._good" not in said
    found = json.loads(out.read_text())
    assert [Path(row["image"]).name for row in found["images"]] == ["good.jpg"] and found["simulated"] is True
    with pytest.raises(InputError, match="Not one of 1 images"):
        use.predict_with(tmp_path / "model.onnx", [folder / "empty.jpg"], out=tmp_path / "none.json")
    assert not (tmp_path / "none.json").exists()
