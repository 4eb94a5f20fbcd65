"""Simulated stores: whole or not there, declared as simulated, with the truth beside them, and the same every time."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.pipelines.biodiversity.observations import read_observations
from groundswell.pipelines.biodiversity.simulate import simulating
from groundswell.pipelines.biodiversity.simulate.effects import EFFECTS, Effects
from groundswell.pipelines.biodiversity.simulate.recipe import SimulateRecipe
from groundswell.pipelines.biodiversity.simulate.simulating import simulate, simulate_store, small_store
from groundswell.pipelines.biodiversity.simulate.truth import Truth


def digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "store.json"}


def without_created(folder: Path) -> dict:
    facts = json.loads((folder / "store.json").read_text())
    del facts["created"]
    return facts


def test_a_small_store_has_60_observations_3_species_and_both_modalities(tmp_path):
    store = EmbeddingStore.open(small_store(tmp_path / "store", seed=3), verify=True)
    frame = read_observations(tmp_path / "store")
    assert len(frame) == 60 and frame["taxon_name"].nunique() == len(store.taxa) == 3
    assert frame["taxon_name"].value_counts().min() >= 10
    assert store.gather("vision_mean").shape == (60, 1408) and store.gather("language").shape == (3, 7168)
    assert np.isfinite(store.read("vision_mean", frame["gbif_id"].to_numpy())).all()


def test_everything_says_that_it_is_simulated(tmp_path):
    store = simulate_store(tmp_path / "store", count=40, species=4)
    assert store.note["simulated"] is True
    assert all(store.manifest(name).facts["simulated"] is True for name in ("vision_mean", "language"))
    assert Truth.read(tmp_path / "store").facts["simulated"] is True
    assert simulate(build_recipe(SimulateRecipe, {"count": 40, "species": 4}), tmp_path / "more")[0] == (
        "These embeddings are simulated.")


def test_the_same_recipe_gives_the_same_bytes(tmp_path):
    knobs = {"count": 300, "species": 12, "tiers": ["vision_mean", "vision_temporal"], "missing_share": 0.1}
    for name in ("first", "second"):
        simulate_store(tmp_path / name, **knobs)
    assert digests(tmp_path / "first") == digests(tmp_path / "second")
    assert without_created(tmp_path / "first") == without_created(tmp_path / "second")
    simulate_store(tmp_path / "third", **knobs, seed=1)
    assert digests(tmp_path / "third") != digests(tmp_path / "first")


def test_the_truth_taken_apart_adds_up_to_the_vectors(tmp_path):
    store = simulate_store(tmp_path / "store", count=300, species=12)
    truth = Truth.read(tmp_path / "store")
    frame = read_observations(tmp_path / "store")
    assert truth.frame["observation_id"].tolist() == frame["observation_id"].tolist()
    assert [truth.facts["taxa"][k] for k in truth.frame["taxon"]] == frame["taxon_name"].tolist()
    rows = slice(40, 90)
    parts = truth.parts(rows)
    assert tuple(parts) == EFFECTS
    stored = store.read("vision_mean", frame["gbif_id"].to_numpy()[rows])
    assert np.abs(Effects.total(parts) - stored).max() < 1e-5
    for name in EFFECTS:
        assert truth.facts["rms"][name] == pytest.approx(np.sqrt(np.mean(parts[name]**2.0)), rel=0.2)
    # Latent numbers are written out, so that they can be used without this program.
    latent = np.stack(truth.frame["individual"].to_numpy()[rows])
    assert latent.shape == (50, 12)
    assert np.linalg.matrix_rank(parts["individual"], tol=1e-2) == 12
    assert np.allclose(parts["individual"] @ parts["individual"].T, 0.9**2 * 1408 / 12 * latent @ latent.T, atol=0.01)


def test_means_of_whole_vectors_are_the_pooled_tables_beside_them(tmp_path):
    store = simulate_store(tmp_path / "store", count=6, species=3, language=False, missing_share=0.2,
                           tiers=["vision", "vision_grid", "vision_temporal", "vision_mean"])
    ids = store.ids("vision")[store.present("vision", store.ids("vision"))]
    assert len(ids) == 5 and "language" not in store.tables
    whole = store.read("vision", ids).astype(np.float64)
    grid = whole.reshape(5, 8, 3, 8, 3, 8, 1408).mean(axis=(3, 5))
    for name, mean in (("vision_grid", grid), ("vision_temporal", whole.mean(axis=(2, 3))),
                       ("vision_mean", whole.mean(axis=(1, 2, 3)))):
        assert np.abs(store.read(name, ids) - mean).max() < 5e-6


def test_a_real_table_keeps_its_rows_and_gets_vectors_by_its_ids(tmp_path):
    frame = pd.DataFrame({
        "observation_id": ["91_1", "17_2", "55_1"], "taxon_name": ["Acer rubrum", "Ilex opaca", "Acer rubrum"],
        "latitude": [28.1, 28.2, 28.3], "longitude": [-81.0, -81.1, -81.2],
        "month": pd.array([4, None, 6], dtype="Int64"), "day": pd.array([1, 2, 3], dtype="Int64"),
        "has_vision": [True, True, False], "split": ["train", "test", "train"]})
    frame.to_csv(tmp_path / "real.csv", index=False)
    store = simulate_store(tmp_path / "store", observations=tmp_path / "real.csv")
    there = read_observations(tmp_path / "store")
    assert there["observation_id"].tolist() == ["91_1", "17_2", "55_1"] and there["split"].tolist()[1] == "test"
    assert store.taxa == ("Acer rubrum", "Ilex opaca") and store.ids("vision_mean").tolist() == [17, 55, 91]
    assert store.present("vision_mean", np.array([17, 55, 91])).tolist() == [True, False, True]
    assert "real.csv" in store.note["observations"]
    given = simulate_store(tmp_path / "given", observations=frame)
    assert np.array_equal(given.read("vision_mean", np.array([91])), store.read("vision_mean", np.array([91])))


def test_a_part_of_a_table_is_drawn_by_chance_and_its_vectors_are_the_same(tmp_path):
    whole = simulate_store(tmp_path / "whole", count=60, species=3)
    part = simulate_store(tmp_path / "part", observations=whole.observations(), count=20)
    ids = part.ids("vision_mean")
    assert len(ids) == 20 and np.ptp(np.diff(ids)) > 0
    # The field and the species' names are the same, and so is what follows from them.
    assert np.allclose(part.read("vision_mean", ids), whole.read("vision_mean", ids), atol=1e-5)
    with pytest.raises(InputError, match="60 observations, not 61"):
        simulate_store(tmp_path / "more", observations=whole.observations(), count=61)


def test_missing_vectors_are_marked_in_store_table_and_truth(tmp_path):
    store = simulate_store(tmp_path / "store", count=100, species=5, missing_share=0.3, dtype="float16")
    frame = read_observations(tmp_path / "store")
    there = store.present("vision_mean", frame["gbif_id"].to_numpy())
    assert (~there).sum() == 30
    assert np.array_equal(there, frame["has_vision"])
    assert np.array_equal(~there, Truth.read(store.path).frame["missing"])
    with pytest.raises(InputError, match="missing"):
        store.read("vision_mean", frame["gbif_id"].to_numpy())


def test_shorter_types_keep_the_vectors_to_their_rounding(tmp_path):
    exact = simulate_store(tmp_path / "float32", count=50, species=5)
    for dtype, least in (("float16", 1e-3), ("bfloat16", 8e-3)):
        store = simulate_store(tmp_path / dtype, count=50, species=5, dtype=dtype)
        ids = exact.ids("vision_mean")
        assert np.abs(store.read("vision_mean", ids) / exact.read("vision_mean", ids) - 1).max() < least
        assert store.manifest("vision_mean").rounding.max_abs > 0


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        simulate_store(tmp_path / "full", count=10, species=2)
    with pytest.raises(InputError, match=r"24\.2 GiB large; 20 are allowed \(most_gib\)"):
        simulate_store(tmp_path / "large", count=1000, tiers=["vision"])
    twice = pd.DataFrame({"observation_id": ["5_1", "5_2"], "taxon_name": ["a", "b"], "latitude": [1.0, 2.0],
                          "longitude": [1.0, 2.0]})
    with pytest.raises(InputError, match="stand in the table more than once, first 5"):
        simulate_store(tmp_path / "twice", observations=twice)
    with pytest.raises(InputError, match="no such observation table"):
        simulate_store(tmp_path / "absent", observations=tmp_path / "absent.csv")
    with pytest.raises(InputError, match="Cannot write here"):
        simulate_store(tmp_path / "full" / "mine" / "store", count=10, species=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]
    assert os.listdir(tmp_path / "full") == ["mine"]


def test_a_simulation_that_is_stopped_leaves_nothing(tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(simulating, "write_truth", stopped)
    with pytest.raises(KeyboardInterrupt):
        simulate_store(tmp_path / "store", count=10, species=2)
    assert list(tmp_path.iterdir()) == []


def test_a_store_without_truth_says_so(tmp_path):
    EmbeddingStore.create(tmp_path / "store")
    with pytest.raises(InputError, match="only simulated stores have one"):
        Truth.read(tmp_path / "store")


def test_the_lines_say_what_the_vectors_are_made_of(tmp_path):
    lines = simulate(build_recipe(SimulateRecipe, {
        "count": 200, "species": 5, "class_effect": 0.0, "season_effect": 0.0, "individual_effect": 0.0,
        "place_effect": 1.0, "noise": 1.0}), tmp_path / "store")
    assert lines[1] == "Observations: simulated; 200 of 5 species."
    assert "species 0 %, place 5" in lines[3] and "noise " in lines[3]
    assert lines[4].startswith("The correlation of the place's effect is 0.05 at 2000 m")
    assert lines[5].startswith("Species have no effect")
