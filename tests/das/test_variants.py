"""Archives and recipes of other kinds than the usual one, trained and evaluated end to end by command."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from groundswell.cli.main import main
from groundswell.core.recipe import build_recipe, dump_recipe
from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.pipelines.das.data import WORKFLOW
from groundswell.pipelines.das.recipe import DasRecipe
from groundswell.pipelines.das.simulate.archive import simulate_archive
from groundswell.pipelines.das.simulate.recipe import SimulateRecipe

pytestmark = pytest.mark.slow

QUICK = ["--set", "train.epochs=1", "--set", "evaluate.controls=[majority]"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> DasRecipe:
    return WORKFLOW.small(tmp_path_factory.mktemp("data"), 9)


def trained(recipe: DasRecipe, out: Path, *sets: str) -> tuple[SampleTable, Predictions]:
    """Train and evaluate with some keys set; the table and the test predictions."""
    out.mkdir(exist_ok=True)
    (out / "recipe.yaml").write_text(dump_recipe(recipe))
    words = [word for text in sets for word in ("--set", text)]
    assert main(["das", "train", str(out / "recipe.yaml"), *QUICK, *words, "--out", str(out / "run")]) == 0
    assert main(["evaluate", str(out / "run")]) == 0
    return SampleTable.read(out / "run" / "samples.parquet"), Predictions.read(out / "run" / "predictions.parquet")


def simulated(out: Path, **values: Any) -> Path:
    knobs: dict[str, Any] = {"seed": 4, "events": 8, "duration_s": 16.0, "snr_db": 15.0, "snr_window_s": 5.0,
                             "fibre": {"channels": 16, "spacing_m": 100.0, "rate_hz": 100.0}}
    for key, value in values.items():
        knobs[key] = {**knobs.get(key, {}), **value} if isinstance(value, dict) else value
    return simulate_archive(build_recipe(SimulateRecipe, knobs), out)


@pytest.mark.parametrize("sets", [
    ("train.precision=bf16",),
    ("train.use_focal_loss=true", "train.accumulate=2", "train.scheduler=none"),
    ("train.use_class_weights=false", "train.balanced_sampling=true"),
    ("preprocess.bandpass_hz=[2, 10]", "preprocess.average_channels=2", "data.channels=[4, 20]"),
    ("model.type=transformer", "model.hidden_dim=16", "model.heads=4", "preprocess.scaling=channel"),
])
def test_recipes_of_other_kinds_run(recipe: DasRecipe, sets: tuple[str, ...], tmp_path: Path) -> None:
    table, predictions = trained(recipe, tmp_path, *sets)
    assert len(predictions) == (table.labels() >= 0).sum()  # every labelled window is tested in one of the folds


def test_a_padded_tail_is_one_more_window(recipe: DasRecipe, tmp_path: Path) -> None:
    table, _ = trained(recipe, tmp_path, "data.tail=pad", "data.noise_windows_per_record=0", "data.stride_samples=400")
    frame = table.frame
    assert (frame.groupby("record")["stop"].max() == 1600).all()
    assert ((frame["stop"] - frame["start"]) < 512).any()


def test_leave_one_event_out(recipe: DasRecipe, tmp_path: Path) -> None:
    table, predictions = trained(recipe, tmp_path, "split.regime=leave_one_out")
    assert len(set(predictions.fold)) == table.column("group").nunique() == 12


def test_region_maps_are_labels(recipe: DasRecipe, tmp_path: Path) -> None:
    archive = simulated(tmp_path / "archive", file={"region": True})
    (archive / "intervals.csv").unlink()
    (archive / "labels.json").unlink()
    table, _ = trained(recipe, tmp_path / "out", f"data.folder={archive}", "data.region_labels=true",
                       "data.window_samples=256", "data.stride_samples=128")
    assert set(table.labels()) >= {0, 1, 2}


def test_two_cables_of_different_width_in_one_set_and_simulated_below_the_folder(recipe: DasRecipe,
                                                                                tmp_path: Path) -> None:
    simulated(tmp_path / "all" / "one")
    simulated(tmp_path / "all" / "two", seed=5, fibre={"channels": 24})
    for name in ("one", "two"):  # one interval table for both, beside them
        text = (tmp_path / "all" / name / "intervals.csv").read_text().replace("sim-", f"{name}-")
        head, *rows = text.splitlines()
        with open(tmp_path / "all" / "intervals.csv", "a") as file:
            file.write("\n".join(([head] if name == "one" else []) + [f"{name}/{row}" for row in rows]) + "\n")
    table, _ = trained(recipe, tmp_path / "out", f"data.folder={tmp_path / 'all'}")
    assert set(table.column("channels")) == {16, 24}
    metrics = json.loads((tmp_path / "out" / "run" / "metrics.json").read_text())
    assert metrics["note"]["simulated"] is True
    assert "Simulated data" in (tmp_path / "out" / "run" / "report.html").read_text()


def test_single_channels_in_miniseed(recipe: DasRecipe, tmp_path: Path) -> None:
    obspy = pytest.importorskip("obspy")
    random = np.random.default_rng(0)
    archive = tmp_path / "archive"
    archive.mkdir()
    labels = {}
    for number in range(8):
        values = (1000 * random.standard_normal(3000)).astype(np.int32)
        header = {"network": "XX", "station": f"F{number:03d}", "channel": "HSF", "sampling_rate": 100.0,
                  "starttime": obspy.UTCDateTime(2022, 9, 1 + number)}
        name = f"F{number:03d}.mseed"
        obspy.Trace(values, header).write(str(archive / name), format="MSEED")
        labels[name] = number % 2
    (archive / "labels.json").write_text(json.dumps(labels))
    table, _ = trained(recipe, tmp_path / "out", f"data.folder={archive}", "model.type=temporal_cnn",
                       "preprocess.scaling=channel")
    assert set(table.column("channels")) == {1}
    assert table.classes == ("earthquake", "quarry_blast")


def test_answers_beside_an_interval_table_are_not_lost_in_silence(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    archive = simulated(tmp_path / "archive")
    (archive / "labels.json").unlink()
    monkeypatch.setattr("sys.stdin", io.StringIO("0\n" * 8))
    assert main(["das", "label", str(archive)]) == 0
    assert "--set data.labels=labels.json" in capsys.readouterr().out
    assert main(["das", "index", "seed", "--set", f"data.folder={archive}", "--set", "data.window_samples=512"]) == 0
    assert "labels.json" in capsys.readouterr().err
