"""A study from windows to report: what is scored, what stands beside it, and what is said where it cannot be trusted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from toy_windows import toy_layout

from groundswell.cli.main import main
from groundswell.core.errors import FailureError, InputError
from groundswell.core.recipe import build_recipe
from groundswell.data.predictions import Predictions
from groundswell.pipelines.archive import load_archive
from groundswell.pipelines.geomag.ensembles import open_ensemble
from groundswell.pipelines.geomag.recipe import GeomagRecipe
from groundswell.pipelines.geomag.study import fits
from groundswell.pipelines.geomag.study.combining import combine, shares
from groundswell.pipelines.geomag.study.folder import StudyFolder
from groundswell.pipelines.geomag.study.run import StudyOutcome, plan_study, run_study
from groundswell.splits.manifest import HOLDOUT, SplitManifest


def study_recipe(folder: Path, **parts: dict[str, Any]) -> GeomagRecipe:
    values: dict[str, Any] = {
        "data": {"folder": str(folder)}, "preprocess": {"detrend": "mean"}, "loader": {"threads": 1},
        "model": {"hidden_sizes": [8, 4], "d_model": 16, "nhead": 2, "dim_feedforward": 16, "dropout": 0.0},
        "split": {"folds": 3, "holdout": 0.2, "validation": 0.25},
        "train": {"epochs": 6, "batch_size": 8, "threads": 1, "tensorboard": False, "checkpoint_epochs": 0},
        "evaluate": {"bootstrap": 200, "controls": ["majority", "space_weather", "station_season_year"]},
        "study": {"models": ["mlp", "rnn"], "windows": [7], "permutations": 39}}
    for name, part in parts.items():
        values[name] = {**values.get(name, {}), **part}
    return build_recipe(GeomagRecipe, values)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> StudyOutcome:
    """Two families on windows with a bump, studied once."""
    place = tmp_path_factory.mktemp("planted")
    data = toy_layout(place / "data", events=24, stations=2, bump=25.0)
    return run_study(study_recipe(data), place / "study")


def rows_of(outcome: StudyOutcome) -> dict[str, dict[str, Any]]:
    return {row["title"]: row for row in outcome.scores["windows"]["7day"]["rows"]}


def test_a_planted_signal_is_found_with_interval_and_p(planted) -> None:
    rows = rows_of(planted)
    best = max(rows[name]["metrics"]["roc_auc"]["value"] for name in ("MLP", "RNN"))
    assert best > 0.8
    assert min(rows[name]["p"] for name in ("MLP", "RNN")) == 1 / 40
    for name in ("majority", "Kp, ap and Dst only", "station and date only"):
        assert rows[name]["kind"] == "null"
    assert rows["majority"]["metrics"]["roc_auc"]["value"] == 0.5
    text = " ".join(planted.conclusion)
    assert "association in this sample" in text and "predict" not in text.lower()


def test_scores_are_of_windows_that_no_fold_was_fitted_to(planted) -> None:
    folder = StudyFolder(planted.folder)
    archive = load_archive(folder.window(7))
    manifest = SplitManifest.read(folder.window(7), archive.table)
    assert manifest.audit.passed
    held = set(archive.table.take(manifest.rows(HOLDOUT, 0)).column("sample_id"))
    assert held
    for fold in range(3):
        place = folder.run("mlp", 7).fold_path(fold)
        parts = {name: set(Predictions.read(place / f"{name}.parquet").sample_id)
                 for name in ("train", "validation", "test", "holdout")}
        assert parts["holdout"] == held
        assert not parts["train"] & (parts["test"] | parts["holdout"] | parts["validation"])
    test = Predictions.read(folder.run("mlp", 7).path / "predictions.parquet")
    assert len(set(test.sample_id)) == len(test) == 48 - len(held)
    shown = rows_of(planted)["MLP"]["metrics"]["roc_auc"]["value"]
    assert shown == pytest.approx(roc_auc_score(test.truth, test.probability[:, 1]))


def test_files_under_the_seeds_names(planted) -> None:
    files = planted.folder / "results" / "mlp_models"
    names = {path.name for path in files.iterdir()}
    expected = {f"MLPModel_7day_fold_{k}{end}" for k in (1, 2, 3) for end in (
        ".pth", "_train_probs.npy", "_test_probs.npy", "_train_labels.npy", "_test_labels.npy", "_logs.txt")}
    expected |= {f"MLPModel_7day_{end}" for end in ("summary.json", "ensemble.pth", "ensemble_config.json")}
    assert expected <= names
    state = torch.load(files / "MLPModel_7day_fold_1.pth", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    summary = json.loads((files / "MLPModel_7day_summary.json").read_text())
    assert summary["best_val_f1"] == max(summary["val_f1s"]) == summary["val_f1s"][summary["best_fold"] - 1]
    assert summary["simulated"] and not summary["ungrouped"]
    config = json.loads((files / "MLPModel_7day_ensemble_config.json").read_text())
    assert sum(config["ensemble_weights"]) == pytest.approx(1)
    assert config["ensemble_weights"] == pytest.approx(shares(summary["inner_val_f1s"]))
    log = (files / "MLPModel_7day_fold_2_logs.txt").read_text().splitlines()
    assert "Simulated data." in log[0] and log[1].startswith("Epoch 1/6 | train_loss ")


def test_the_saved_ensemble_answers_as_its_members_did(planted) -> None:
    files = planted.folder / "results" / "mlp_models"
    ensemble, minutes = open_ensemble(files / "MLPModel_7day_ensemble_config.json")
    assert minutes == 10080
    folder = StudyFolder(planted.folder)
    archive = load_archive(folder.window(7))
    places = [folder.run("mlp", 7).fold_path(k) for k in range(3)]
    held = [Predictions.read(place / "holdout.parquet") for place in places]
    from groundswell.pipelines.geomag.data import reader_of

    read = reader_of(archive)
    assert read is not None
    x = torch.from_numpy(read(archive.table.positions(held[0].sample_id.tolist())))
    with torch.inference_mode():
        answer = ensemble(x).numpy()
    weights = json.loads((files / "MLPModel_7day_ensemble_config.json").read_text())["ensemble_weights"]
    expected = combine(np.stack([part.probability for part in held]), np.array(weights), "weighted_mean")
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_ensembles_stand_beside_equal_weights(planted) -> None:
    window = planted.scores["windows"]["7day"]
    assert {"all families, weighted by F1", "all families, equal weights"} <= set(rows_of(planted))
    assert {row["title"] for row in window["fold_ensembles"]} == {
        f"{name}, {how}" for name in ("MLP", "RNN") for how in ("weighted by F1", "equal weights")}


def test_the_same_command_does_nothing_again(planted) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in planted.folder.rglob("fold-*/*") if path.is_file()}
    recipe = StudyFolder(planted.folder).recipe()
    again = run_study(recipe, planted.folder)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert again.scores["windows"] == planted.scores["windows"]
    changed = recipe.model_copy(update={"train": recipe.train.model_copy(update={"epochs": 7})})
    with pytest.raises(InputError, match=r"train\.epochs was 6 and is 7"):
        run_study(changed, planted.folder)


def test_a_fit_that_fails_is_named_and_the_rest_is_done(tmp_path, monkeypatch) -> None:
    data = toy_layout(tmp_path / "data", events=18)
    real = fits.fit_fold

    def failing(pipeline: str, folder: Path, fold: int, quiet: bool = False) -> Path:
        if folder.name == "RNNModel_7day" and fold == 1:
            raise InputError("The disk says no")
        return real(pipeline, folder, fold, quiet)

    monkeypatch.setattr(fits, "fit_fold", failing)
    recipe = study_recipe(data, evaluate={"controls": ["majority"]}, train={"epochs": 1})
    with pytest.raises(FailureError, match=r"RNN 7day fold 2: .*disk says no"):
        run_study(recipe, tmp_path / "study")
    kept = json.loads((tmp_path / "study" / "study.json").read_text())
    assert [row["title"] for row in kept["windows"]["7day"]["rows"]] == ["MLP", "majority"]
    assert "Not done: RNN 7day fold 2" in (tmp_path / "study" / "report.html").read_text()
    monkeypatch.undo()
    before = (StudyFolder(tmp_path / "study").fold_facts("rnn", 7, 0)).stat().st_mtime_ns
    outcome = run_study(recipe, tmp_path / "study")
    assert {"MLP", "RNN"} <= set(rows_of(outcome)) and not outcome.scores["failures"]
    assert StudyFolder(tmp_path / "study").fold_facts("rnn", 7, 0).stat().st_mtime_ns == before


def test_without_a_sidecar_every_score_is_marked(tmp_path) -> None:
    data = toy_layout(tmp_path / "data", events=12, sidecar=False)
    recipe = study_recipe(data, evaluate={"controls": ["majority", "space_weather", "window_shift"]},
                          train={"epochs": 1}, study={"models": ["mlp"]})
    outcome = run_study(recipe, tmp_path / "study")
    page = outcome.report.read_text()
    assert "Ungrouped" in page and "may be inflated" in page
    rows = rows_of(outcome)
    assert rows["Kp, ap and Dst only"]["metrics"] is None and rows["earlier windows"]["why"].startswith("Not run")
    config = json.loads((outcome.folder / "results/mlp_models/MLPModel_7day_ensemble_config.json").read_text())
    assert config["ungrouped"]
    assert "may be inflated" in (outcome.folder / "runs/MLPModel_7day/report.html").read_text()


def test_folds_in_time_and_by_station(tmp_path) -> None:
    data = toy_layout(tmp_path / "data", events=80, stations=2, spacing_days=9)
    blocks = study_recipe(data, split={"regime": "blocks", "folds": 3, "holdout": 0.0, "embargo_days": 30.0},
                          data={"join_overlaps": "none"}, train={"epochs": 1}, study={"models": ["mlp"]},
                          evaluate={"controls": ["majority"]})
    outcome = run_study(blocks, tmp_path / "blocks")
    window = outcome.scores["windows"]["7day"]
    assert "3 blocks in time with an embargo of 30 days" in window["split_text"]
    assert any("Embargo kept" in line for line in window["audit"])
    by_station = study_recipe(data, split={"by": "station", "folds": 2, "holdout": 0.0})
    with pytest.raises(InputError, match="every event is recorded at every"):
        run_study(by_station, tmp_path / "stations")
    assert not (tmp_path / "stations").exists()


def test_the_plan_writes_nothing(tmp_path) -> None:
    data = toy_layout(tmp_path / "data", events=18)
    lines = plan_study(study_recipe(data), tmp_path / "study")
    assert any("6 fits" in line for line in lines) and any("MLP: " in line and "parameters" in line for line in lines)
    assert not (tmp_path / "study").exists()


def test_windows_are_classified_by_ensemble_and_by_run_alike(planted, tmp_path, capsys) -> None:
    data = Path(StudyFolder(planted.folder).recipe().data.folder) / "window-7" / "data_1.npy"
    config = planted.folder / "results" / "mlp_models" / "MLPModel_7day_ensemble_config.json"
    run = planted.folder / "runs" / "MLPModel_7day"
    for model, out in ((config, tmp_path / "a.csv"), (run, tmp_path / "b.json")):
        assert main(["predict", str(model), str(data), "--out", str(out), "--plot", str(tmp_path / "p.png")]) == 0
    told = capsys.readouterr().out
    assert "24 windows" in told and "not a forecast" in told
    frame = pd.read_csv(tmp_path / "a.csv")
    assert len(frame) == 24 and set(frame["class"]) <= {"control", "before_event"}
    assert (frame["variance"] >= 0).all() and frame["confidence"].between(0.5, 1).all()
    np.testing.assert_allclose(frame["p_control"] + frame["p_before_event"], 1, atol=1e-6)
    other = json.loads((tmp_path / "b.json").read_text())["windows"]
    # The run weighs its folds alike, the ensemble by F1: near, and not the same.
    np.testing.assert_allclose([row["p_before_event"] for row in other], frame["p_before_event"], atol=0.2)


@pytest.mark.parametrize(("model", "file", "message"), [
    ("results/mlp_models/MLPModel_7day_summary.json", "data_1.npy", "ends in _ensemble_config.json"),
    ("results/mlp_models/MLPModel_7day_ensemble_config.json", "nowhere.npy", "cannot be read"),
    ("results/mlp_models/MLPModel_7day_ensemble_config.json", "samples.csv", "cannot be read"),
    ("runs/MLPModel_7day", "short.npy", "the model takes windows of 10080 minutes"),
])
def test_what_cannot_be_classified(planted, tmp_path, capsys, model, file, message) -> None:
    folder = Path(StudyFolder(planted.folder).recipe().data.folder) / "window-7"
    np.save(tmp_path / "short.npy", np.zeros((2, 100)))
    given = tmp_path / file if file == "short.npy" else folder / file
    assert main(["predict", str(planted.folder / model), str(given), "--out", str(tmp_path / "out.csv")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()
