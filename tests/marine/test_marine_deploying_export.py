"""Exported members: half precision where it costs nothing, refused where the file is another detector, never alike."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import pytest
from marine_sets import small_set
from tiny_detectors import SIZE, tiny_onnx

from groundswell.core.errors import InputError, RefusedError
from groundswell.core.recipe import build_recipe
from groundswell.data.boxes import BoxPredictions
from groundswell.deploy.artifact import Artifact
from groundswell.deploy.export import ExportResult
from groundswell.deploy.parity import Parity
from groundswell.pipelines.marine.deploying import exporting
from groundswell.pipelines.marine.deploying.exporting import export_members, file_names, of_one_size
from groundswell.pipelines.marine.deploying.precision import precision_of, write_half
from groundswell.pipelines.marine.detecting import open_detector, write_ensemble
from groundswell.pipelines.marine.recipe import FuseRecipe, MarineRecipe, TtaRecipe
from groundswell.pipelines.marine.tta import View, views
from groundswell.pipelines.workflow import start_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose network is a file made by hand: what it predicted is what the file says."""
    folder = tmp_path_factory.mktemp("run")
    small_set(folder / "images", clips=9, frames=3, classes=("fish", "shark"), note={"simulated": True})
    recipe = build_recipe(MarineRecipe, {
        "data": {"images": str(folder / "images"), "size": SIZE}, "loader": {"threads": 1},
        "model": {"engine": "rtdetr", "name": "rtdetrv2_nano"}, "evaluate": {"bootstrap": 100, "n_min": 2},
        "train": {"epochs": 1, "batch_size": 4, "threads": 1, "tensorboard": False}})
    made = start_run("marine", recipe, folder / "recall")
    remember(made, tiny_onnx(folder / "network.onnx"))
    return made


def remember(run, network):
    judged = exporting._Judged.of(run)
    exporting._through(network, run, judged).write(run.path / "predictions.parquet")
    return judged


@pytest.fixture
def exporter(monkeypatch, run):
    """Exports the file made by hand instead of a network."""
    def export(run, path, folds, seed=0):
        tiny_onnx(path, seed=seed)
        return ExportResult(path, "dynamo", Parity(1e-7, 104, 1e-7, ()), {})

    monkeypatch.setattr(exporting, "export_onnx_of", export)
    return export


def recipe_of(run, **export):
    return run.recipe(MarineRecipe).model_copy(update={"export": build_recipe(MarineRecipe, {"export": export}).export})


def test_members_of_one_name_become_files_of_their_own_at_half_precision(tmp_path, run, exporter) -> None:
    facts = export_members([("recall", run, 0.3), ("recall", run, 0.7)], recipe_of(run), None, tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").glob("*.onnx")) == ["recall-2.onnx", "recall.onnx"]
    assert [one["precision"] for one in facts["members"]] == ["fp16", "fp16"]
    assert abs(facts["map50"] - facts["map50_network"]) <= 0.01
    assert set(facts["scores"]) == {"map50", "recall"} and "value" in facts["scores"]["map50"]
    detector = open_detector(tmp_path / "out")
    assert [one.weight for one in detector.members] == [0.3, 0.7]
    assert json.loads((tmp_path / "out" / "export.json").read_text())["lines"] == facts["lines"]
    # The same call again (a chain that was killed before it knew) replaces its own export.
    export_members([("recall", run, 1.0)], recipe_of(run, precision="fp32"), None, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").glob("*.onnx")] == ["recall.onnx"]
    assert precision_of(Artifact.open(tmp_path / "out" / "recall.onnx")) == "fp32"


def test_where_half_precision_loses_too_much_all_bits_are_kept_and_it_is_said(tmp_path, run, exporter, monkeypatch
                                                                              ) -> None:
    monkeypatch.setattr(exporting, "write_half", lambda path, out: tiny_onnx(out, seed=99))
    monkeypatch.setattr(exporting._Judged, "score", lambda self, found: scores.pop(0))
    scores = [0.8, 0.5, 0.795]  # network, file of 16 bits, file of 32 bits
    facts = export_members([("a", run, 1.0)], recipe_of(run), None, tmp_path / "out")
    assert facts["members"][0]["precision"] == "fp32"
    assert facts["members"][0]["tried"] == {"fp16": 0.5, "fp32": 0.795}
    assert "too great a fall" in facts["lines"][0]
    assert Artifact.open(tmp_path / "out" / "a.onnx").metadata.get("precision") is None
    assert not list((tmp_path / "out").glob("*half*"))


def test_a_file_that_loses_too_much_at_all_bits_is_refused_and_leaves_nothing(tmp_path, run, exporter, monkeypatch
                                                                              ) -> None:
    monkeypatch.setattr(exporting._Judged, "score", lambda self, found: scores.pop(0))
    scores = [0.8, 0.5, 0.78]
    with pytest.raises(RefusedError, match=r"0\.800 to 0\.500 at fp16, 0\.780 at fp32") as caught:
        export_members([("a", run, 1.0)], recipe_of(run), None, tmp_path / "out")
    assert caught.value.exit_status == 3
    assert list(tmp_path.iterdir()) == []


def test_the_score_is_that_of_the_test_images_and_a_wrong_file_falls(run) -> None:
    judged = exporting._Judged.of(run)
    saved = BoxPredictions.read(run.path / "predictions.parquet")
    assert len(saved) == len(judged.rows) < len(judged.archive.table)
    truth = judged.truth.beside(saved.sample_id)
    found = []
    for row in range(len(saved)):
        inside = slice(int(truth.count[:row].sum()), int(truth.count[:row + 1].sum()))
        found.append((truth.boxes[inside], np.full(truth.count[row], 0.9, np.float32), truth.label[inside]))
    perfect = BoxPredictions.of(saved.sample_id, found, saved.classes, fold=0)
    assert judged.score(perfect) == pytest.approx(1.0)
    assert judged.score(saved) < 0.9


def test_views_that_need_another_size_are_left_out_and_it_is_said(tmp_path, run, exporter) -> None:
    (tmp_path / "calibrate").mkdir()
    write_ensemble(tmp_path / "calibrate" / "ensemble.json", members=[("x", 1.0)], fuse=FuseRecipe(iou=0.6),
                   tta=TtaRecipe(scales=(0.9, 1.0, 1.1)), calibrator=None, thresholds=[0.1, 0.2])
    BoxPredictions.read(run.path / "predictions.parquet").write(tmp_path / "calibrate" / "predictions.parquet")
    facts = export_members([("a", run, 1.0)], recipe_of(run), tmp_path / "calibrate" / "ensemble.json",
                           tmp_path / "out")
    assert "scale 1.1 are left out" in facts["views_left_out"][0] and "4 of 6 views" in facts["views_left_out"][0]
    assert facts["views_left_out"][0] in facts["lines"] and "difference" in facts
    detector = open_detector(tmp_path / "out")
    assert detector.tta.scales == (0.9, 1.0) and detector.fuse.iou == 0.6 and detector.thresholds == (0.1, 0.2)
    assert detector([np.zeros((40, 60, 3), np.uint8)])  # every view that is left fits the files


def test_what_is_left_of_views() -> None:
    for tta in (TtaRecipe(), TtaRecipe(scales=(1.1,)), TtaRecipe(scales=(1.3, 0.5), rotations=(90, 180))):
        kept, lines = of_one_size(tta, 640, calibrated=True)
        assert all(view.size(640) == 640 for view in (views(kept) if kept else [View()]))
        assert len(lines) == 2 and "calibration" in lines[1]
    assert of_one_size(TtaRecipe(horizontal_flip=False, scales=(1.2,)), 640)[0] is None
    assert of_one_size(TtaRecipe(scales=(0.9, 1.0)), 640) == (TtaRecipe(scales=(0.9, 1.0)), [])


def test_files_have_names_of_their_own_whatever_the_members_are_called() -> None:
    assert file_names(["best", "best", "Best", "../best", "a b/c", "..", "best-2"]) == [
        "best", "best-2", "Best-3", "best-4", "a-b-c", "member", "best-2-2"]


def test_half_precision_keeps_inputs_outputs_and_facts_and_says_what_it_is(tmp_path) -> None:
    whole, half = tiny_onnx(tmp_path / "a.onnx"), tmp_path / "b.onnx"
    write_half(whole, half)
    onnx.checker.check_model(onnx.load(str(half)), full_check=True)
    a, b = Artifact.open(whole), Artifact.open(half)
    assert precision_of(b) == "fp16" and {**b.metadata, "precision": 0} == {**a.metadata, "precision": 0}
    assert half.stat().st_size < 0.7 * whole.stat().st_size
    x = np.random.default_rng(0).integers(0, 256, (3, 3, SIZE, SIZE)).astype(np.float32)
    for name, value in a.run({"image": x}).items():
        other = b.run({"image": x})[name]
        assert other.dtype == np.float32
        assert 0 < np.abs(other - value).max() < 5e-3
    with pytest.raises(InputError, match="half precision already"):
        write_half(half, tmp_path / "c.onnx")
    half.write_bytes(half.read_bytes()[:-1])
    with pytest.raises(InputError):
        write_half(half, tmp_path / "c.onnx")
    assert not (tmp_path / "c.onnx").exists()


def test_no_member_is_no_export(tmp_path, run) -> None:
    with pytest.raises(InputError, match="no member"):
        export_members([], recipe_of(run), None, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(InputError, match="something here"):
        export_members([("a", run, 1.0)], recipe_of(run), None, tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_a_deployed_detector_is_judged_without_correcting_twice(run, tmp_path, exporter, monkeypatch) -> None:
    seen = []
    opened = exporting.open_detector

    def spy(path):
        found = dataclasses.replace(opened(path), prepare=True)
        seen.append(found)
        return found

    monkeypatch.setattr(exporting, "open_detector", spy)
    monkeypatch.setattr("groundswell.pipelines.marine.prepare.underwater.underwater",
                        lambda image: pytest.fail("corrected an image of a run that corrects none"))
    export_members([("a", run, 1.0)], recipe_of(run), None, tmp_path / "out")
    assert seen
