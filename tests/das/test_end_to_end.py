"""The whole chain by command, on a small simulated archive: what a person types, in the order one types it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from groundswell.cli.main import main
from groundswell.core.recipe import dump_recipe
from groundswell.pipelines.das.data import WORKFLOW

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small archive, a recipe for it, and a run trained and evaluated by command."""
    folder = tmp_path_factory.mktemp("chain")
    recipe = WORKFLOW.small(folder, 3)
    (folder / "recipe.yaml").write_text(dump_recipe(recipe))
    assert main(["das", "train", str(folder / "recipe.yaml"), "--out", str(folder / "run")]) == 0
    assert main(["evaluate", str(folder / "run")]) == 0
    assert main(["export", str(folder / "run"), "--to", "onnx", "--out", str(folder / "model.onnx")]) == 0
    return folder


def test_scan_writes_a_table_and_is_strict_on_request(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = place / "archive"
    assert main(["das", "scan", str(archive), "--out", str(place / "scan.csv"), "--strict"]) == 0
    rows = list(csv.DictReader((place / "scan.csv").read_text().splitlines()))
    assert len(rows) == 12
    assert {row["verdict"] for row in rows} == {"ok"}
    (place / "bad").mkdir()
    (place / "bad" / "cut.h5").write_bytes(next(archive.glob("*.h5")).read_bytes()[:5000])
    assert main(["das", "scan", str(place / "bad")]) == 0
    assert main(["das", "scan", str(place / "bad"), "--strict"]) == 2
    assert "cut.h5" in capsys.readouterr().out


def test_index_split_and_dry_run_say_what_there_is(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(place / "recipe.yaml")
    assert main(["das", "index", recipe, "--out", str(place / "samples.parquet")]) == 0
    assert "12 record(s) in 12 group(s)" in capsys.readouterr().out
    assert main(["das", "split", recipe, "--out", str(place / "split")]) == 0
    assert (place / "split" / "split.json").exists()
    assert main(["das", "train", recipe, "--out", str(place / "dry"), "--dry-run"]) == 0
    assert not (place / "dry").exists()


def test_the_run_holds_what_the_seed_promises_and_more(place: Path) -> None:
    run = place / "run"
    for name in ("metrics.json", "test_results.json", "confusion_matrix.png", "report.html", "predictions.parquet",
                 "figures/roc.png", "figures/calibration.png", "figures/training_history.png", "provenance.json",
                 "recipe.yaml", "split.json"):
        assert (run / name).stat().st_size > 0, name
    results = json.loads((run / "test_results.json").read_text())
    assert set(results) == {"accuracy", "precision", "recall", "f1", "roc_auc"}
    page = (run / "report.html").read_text()
    assert "imulated" in page
    metrics = json.loads((run / "metrics.json").read_text())
    assert {c["name"] for c in metrics["controls"]} == {"majority", "start_hour", "noise_windows", "permuted_labels",
                                                         "minirocket"}


def test_runs_lists_the_score_beside_its_best_control(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(place), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in rows] == ["evaluated"]
    head = rows[0]["headline"]
    assert 0 <= head["interval"][0] <= head["value"] <= head["interval"][1] <= 1
    assert head["best_null_control"]["name"]
    assert "simulated" in head["note"]


def test_the_report_is_written_again_without_training(place: Path) -> None:
    before = json.loads((place / "run" / "metrics.json").read_text())
    (place / "run" / "report.html").unlink()
    assert main(["report", str(place / "run")]) == 0
    assert (place / "run" / "report.html").exists()
    assert json.loads((place / "run" / "metrics.json").read_text()) == before


def test_run_and_exported_file_predict_alike(place: Path) -> None:
    archive = str(place / "archive")
    assert main(["predict", str(place / "run"), archive, "--out", str(place / "run.json")]) == 0
    assert main(["predict", str(place / "model.onnx"), archive, "--out", str(place / "file.json")]) == 0
    first, second = (json.loads((place / name).read_text()) for name in ("run.json", "file.json"))
    assert len(first) == 12
    for a, b in zip(first, second, strict=True):
        assert {"file", "predicted_class", "class_name", "confidence"} <= set(a)
        assert a["confidence"] == pytest.approx(b["confidence"], abs=1e-4)


def test_a_bad_file_is_in_the_output_and_in_the_exit_status(place: Path, tmp_path: Path) -> None:
    good = next((place / "archive").glob("*.h5"))
    (tmp_path / "good.h5").write_bytes(good.read_bytes())
    (tmp_path / "bad.h5").write_bytes(good.read_bytes()[:4000])
    out = tmp_path / "p.json"
    assert main(["predict", str(place / "model.onnx"), str(tmp_path), "--out", str(out)]) == 2
    answers = {Path(row["file"]).name: row for row in json.loads(out.read_text())}
    assert answers["bad.h5"]["error"]
    assert answers["good.h5"]["class_name"]


def test_predicting_from_a_file_imports_neither_torch_nor_pandas(place: Path, tmp_path: Path) -> None:
    code = (f"import sys; from groundswell.cli.main import main\n"
            f"status = main(['--quiet', 'predict', {str(place / 'model.onnx')!r}, {str(place / 'archive')!r}, '--out', "
            f"{str(tmp_path / 'p.csv')!r}])\n"
            f"print(status, sorted({{'torch', 'pandas', 'matplotlib'}} & set(sys.modules)), file=sys.stderr)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip().splitlines()[-1] == "0 []"


def test_detect_writes_csv_and_quakeml(place: Path, tmp_path: Path) -> None:
    for name in ("events.csv", "events.xml"):
        assert main(["das", "detect", str(place / "model.onnx"), str(place / "archive"), "--out", str(tmp_path / name),
                     "--plot", str(tmp_path / "p.png")]) == 0
        assert (tmp_path / name).stat().st_size > 0
    assert (tmp_path / "p.png").stat().st_size > 1000


def test_plot_draws_a_waterfall(place: Path, tmp_path: Path) -> None:
    file = next((place / "archive").glob("*.h5"))
    assert main(["das", "plot", str(file), "--out", str(tmp_path / "w.png"),
                 "--events", str(place / "archive" / "intervals.csv")]) == 0
    assert (tmp_path / "w.png").stat().st_size > 10_000


def test_weights_are_plain_state_dicts(place: Path, tmp_path: Path) -> None:
    import torch

    assert main(["export", str(place / "run"), "--to", "weights", "--fold", "1", "--out", str(tmp_path)]) == 0
    content = torch.load(tmp_path / "best_model.pth", weights_only=True)
    assert set(content) >= {"epoch", "model_state_dict", "val_metrics", "config"}
    assert all(np.isfinite(value.numpy()).all() for value in content["model_state_dict"].values())


def test_a_run_is_opened_in_a_notebook(place: Path) -> None:
    import groundswell

    run = groundswell.open_run(place / "run")
    assert run.status["state"] == "evaluated"


def test_a_second_training_does_not_enter_the_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["das", "train", str(place / "recipe.yaml"), "--out", str(place / "run")]) == 2
    assert "run in this folder already" in capsys.readouterr().err
