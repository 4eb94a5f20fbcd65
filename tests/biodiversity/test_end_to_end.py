"""The whole chain by command, on a small simulated store: what a person types, in the order one types it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from groundswell.cli.main import main

pytestmark = pytest.mark.slow

KEYS = ["train.epochs=2", "train.threads=1", "train.tensorboard=false", "loader.threads=1", "evaluate.bootstrap=100",
        "evaluate.controls=[majority, month_prior, coordinates_knn, linear_probe]", "model.hidden_dim=16",
        "pretrain.fusion_dim=16", "pretrain.heads=2", "pretrain.hidden_dim=16", "pretrain.place_size=tiny",
        "model.place_size=tiny"]
SPLIT = ["split.regime=spatial", "split.cell_km=5", "split.buffer_m=1000", "split.test=0.25"]


def sets(*texts: str) -> list[str]:
    return [word for text in texts for word in ("--set", text)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small store, a split of it, and a run on both vectors and the place, trained and evaluated."""
    folder = tmp_path_factory.mktemp("chain")
    store, split = str(folder / "store"), str(folder / "split.json")
    assert main(["biodiversity", "simulate", store, *sets("count=240", "species=4", "class_effect=2", "seed=1")]) == 0
    assert main(["biodiversity", "split", "quick", *sets(f"data.store={store}", *SPLIT), "--out", split]) == 0
    assert main(["biodiversity", "train", "quick", *sets(f"data.store={store}", f"data.split_file={split}", *KEYS),
                 "--modalities", "vision,language,place", "--out", str(folder / "run")]) == 0
    assert main(["evaluate", str(folder / "run")]) == 0
    assert main(["export", str(folder / "run"), "--to", "onnx", "--out", str(folder / "model.onnx")]) == 0
    return folder


def test_the_run_tests_what_the_split_file_says(place: Path) -> None:
    told = json.loads((place / "split.json").read_text())["observation_mappings"]
    asked = {name for name, entry in told.items() if entry["split"] == "test"}
    assert set(pd.read_parquet(place / "run" / "predictions.parquet")["sample_id"]) == asked


def test_the_report_says_simulated_looked_up_and_beside_what(place: Path) -> None:
    page, facts = (place / "run" / "report.html").read_text(), json.loads((place / "run" / "metrics.json").read_text())
    assert "Simulated data." in page and "A look-up." in page
    assert {control["name"] for control in facts["controls"]} == {"majority", "month_prior", "coordinates_knn",
                                                                  "linear_probe"}
    assert facts["units"]["metrics"]["accuracy"]["low"] is not None and facts["skill"]["chance"] > 0


def test_the_words_say_that_language_is_looked_up(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(place / "run")]) == 0
    assert "looks the answer up" in capsys.readouterr().out


def test_run_and_exported_file_answer_alike_for_new_observations(place: Path) -> None:
    new = place / "new.csv"
    pd.read_parquet(place / "store" / "observations.parquet")[10:40].to_csv(new, index=False)
    answers = []
    for model, name in (("run", "run.csv"), ("model.onnx", "file.csv")):
        assert main(["predict", str(place / model), str(place / "store"), str(new), "--out", str(place / name)]) == 0
        answers.append(pd.read_csv(place / name))
    first, second = answers
    assert len(first) == 30 and (first["observation_id"] == second["observation_id"]).all()
    assert (first["species"] == second["species"]).all()
    assert first["confidence"].to_numpy() == pytest.approx(second["confidence"].to_numpy(), abs=1e-4)


def test_weights_have_the_names_of_the_seed(place: Path) -> None:
    assert main(["export", str(place / "run"), "--to", "weights", "--out", str(place / "weights")]) == 0
    content = torch.load(place / "weights" / "best_model.pth", weights_only=True)
    assert {"model_state_dict", "num_classes", "species_to_idx", "mode", "final_accuracy", "manifest"} <= set(content)
    assert content["num_classes"] == len(content["species_to_idx"]) == 4


def test_a_classifier_starts_from_a_pretraining(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, began = f"data.store={place / 'store'}", place / "pretrained"
    assert main(["biodiversity", "pretrain", "quick", *sets(store, *SPLIT, *KEYS), "--modalities",
                 "vision,language,place", "--out", str(began)]) == 0
    facts = json.loads((began / "reconstruction.json").read_text())
    assert set(facts["modalities"]) == {"vision", "language", "place"} and facts["simulated"]
    for found in facts["modalities"].values():
        assert found["below_mean"]["low"] <= found["below_mean"]["value"] <= found["below_mean"]["high"]
    assert "simulated" in (began / "reconstruction.html").read_text()
    words = ["biodiversity", "train", "quick", *sets(store, *SPLIT, *KEYS, f"model.init_from={began}"), "--modalities",
             "vision,place", "--out", str(place / "started")]
    assert main(words) == 0
    capsys.readouterr()
    other = ["split.seed=7" if word == "split.test=0.25" else word for word in words[:-1]]
    assert main([*other, str(place / "torn")]) == 2
    assert "learnt from other observations" in capsys.readouterr().err
    assert not (place / "torn").exists()
