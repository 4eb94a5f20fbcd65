"""Folds matched to predictions, by command: of a simulated table and of the real one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from groundswell.cli.main import main
from groundswell.data.sphere import great_circle_km

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def plants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated table of 300 observations in thirty clusters, some of them of one spot and day."""
    chance = np.random.default_rng(0)
    middles = chance.random((30, 2))
    at = (middles[chance.integers(0, 30, 300)] + 0.01 * chance.normal(size=(300, 2))).round(5)
    at[::7] = at[0]
    kind = chance.integers(0, 5, 300)
    path = tmp_path_factory.mktemp("knndm") / "plants.csv"
    pd.DataFrame({"observation_id": [f"{k}_1" for k in range(1, 301)], "taxon_id": kind + 70,
                  "taxon_name": [f"Planta {chr(97 + k)}" for k in kind], "latitude": 28 + at[:, 0],
                  "longitude": -82 + at[:, 1], "year": 2020 + kind, "month": 1 + kind,
                  "day": chance.integers(1, 28, 300)}).to_csv(path, index=False)
    return path


def split(*words: str) -> int:
    return main(["--quiet", "biodiversity", "split", "--regime", "knndm", *words])


def test_a_table_is_divided_and_the_person_told_how_well_it_matches(plants: Path, tmp_path: Path,
                                                                   capsys: Capture) -> None:
    out = tmp_path / "split.json"
    assert split("--observations", str(plants), "--out", str(out), "--set", "split.folds=4") == 0
    said = capsys.readouterr().out
    assert "knndm, in the first of 4 folds" in said and "clusters merged into 4 folds" in said
    assert "by chance" in said and "left out" not in said
    document = json.loads(out.read_text())
    facts = document["split_strategy"]["settings"]
    assert facts["w"] < 0.6 * facts["w_random"] and facts["buffer_m"] == 0
    rows = document["observation_mappings"]
    assert len(rows) == 300 and {row["fold"] for row in rows.values()} == {1, 2, 3, 4}
    visits: dict[tuple, set[int]] = {}
    for row in rows.values():
        visits.setdefault((row["latitude"], row["longitude"], row["year"], row["month"], row["day"]),
                          set()).add(row["fold"])
    assert len(visits) < 300 and all(len(folds) == 1 for folds in visits.values())
    assert split("--observations", str(plants), "--out", str(tmp_path / "again.json"), "--set", "split.folds=4") == 0
    assert json.loads((tmp_path / "again.json").read_text())["observation_mappings"] == rows


@pytest.mark.parametrize("document", ["", "split.json", "new.json"])
def test_a_division_takes_no_run_s_place(plants: Path, tmp_path: Path, capsys: Capture, document: str) -> None:
    (tmp_path / "recipe.yaml").write_text("of a run")
    (tmp_path / "split.json").write_text("by which it was trained")
    assert split("--observations", str(plants), "--out", str(tmp_path / document)) == 2
    told = capsys.readouterr()
    assert "the division it was trained with" in told.err and f"--out {tmp_path / document}" in told.err
    assert told.out == "" and {path.name for path in tmp_path.iterdir()} == {"recipe.yaml", "split.json"}
    assert (tmp_path / "split.json").read_text() == "by which it was trained"


def test_a_buffer_that_is_asked_for_is_kept(plants: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "split.json"
    assert split("--observations", str(plants), "--out", str(out), "--set", "split.buffer_m=2000") == 0
    assert "left out" in capsys.readouterr().out
    facts = json.loads(out.read_text())["split_strategy"]["settings"]
    assert facts["buffer_m"] == 2000 and sum(lost["train"] for lost in facts["left_out_by_buffer"]) > 0


@pytest.mark.parametrize(("text", "said"), [
    (None, "no such file"), ("lat,lon\n1,2\n", "no column 'latitude'"), ("latitude,longitude\n", "holds none"),
    ("latitude,longitude\n28,-81\n128,-81\n", "row 2")])
def test_points_that_cannot_be_used_end_it_in_one_paragraph_with_nothing_written(
        plants: Path, tmp_path: Path, capsys: Capture, text: str | None, said: str) -> None:
    points = tmp_path / "points.csv"
    if text is not None:
        points.write_text(text)
    before = sorted(tmp_path.iterdir())
    assert split("--observations", str(plants), "--out", str(tmp_path / "split.json"), "--set",
                 f"split.prediction_points={points}") == 2
    printed = capsys.readouterr()
    assert said in printed.err and "points.csv" in printed.err and "Traceback" not in printed.err
    assert not printed.out and sorted(tmp_path.iterdir()) == before


def test_features_that_a_table_has_not_are_asked_for(plants: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "folder"
    assert split("--observations", str(plants), "--out", str(out), "--set", "split.space=feature") == 2
    assert "need features" in capsys.readouterr().err and not out.exists()


def test_of_the_real_plants_folds_lie_as_far_from_training_as_places_of_the_region(real_biodiversity: Path,
                                                                                  tmp_path: Path) -> None:
    out = tmp_path / "split.json"
    table = real_biodiversity / "central_florida_observations.csv"
    assert split("--observations", str(table), "--out", str(out)) == 0
    document = json.loads(out.read_text())
    facts = document["split_strategy"]["settings"]
    # Folds by chance are tested 67 m from training, and places of the region lie 1.2 km from observations.
    assert facts["w"] < 0.2 * facts["w_random"] and facts["w_of_training"] < 0.25 * facts["w_random"]
    median = facts["median_distance"]
    assert median["random_to_other_folds"] < 100 < 900 < median["tested_to_training"] < 1800
    assert median["prediction_to_samples"] == pytest.approx(1230, rel=0.02)
    rows = pd.DataFrame(document["observation_mappings"].values())
    assert len(rows) == 7113 and rows["fold"].value_counts().max() < 0.3 * 7113
    # Of some, the distance to the nearest observation of another fold the plain way.
    some = rows.sample(200, random_state=0)
    far = [great_circle_km(others["latitude"].to_numpy(), others["longitude"].to_numpy(), (lat, lon)).min() * 1000
           for fold, lat, lon in zip(some["fold"], some["latitude"], some["longitude"], strict=True)
           for others in [rows[rows["fold"] != fold]]]
    assert np.median(far) == pytest.approx(median["tested_to_other_folds"], rel=0.3)
