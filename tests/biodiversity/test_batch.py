"""Batches of observations have the documented keys, shapes and units, in the order asked for, and no silent zeros."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from groundswell.core.errors import InputError
from groundswell.data.embeddings.spec import TableSpec
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.pipelines.biodiversity.batch import get_training_batch
from groundswell.pipelines.biodiversity.dataset import DeepEarthDataset, load_train_test_split
from groundswell.pipelines.biodiversity.ids import get_available_observation_ids

SHAPE = (2, 3, 3, 4)
N = 9
GBIF = 4_000_000_000 + np.array([5, 3, 8, 1, 9, 2, 7, 4, 6])
IDS = [f"{g}_1" for g in GBIF]
SPECIES = ["Quercus", "Acer", "Quercus", "Pinus", "Acer", "Ulmus", "Quercus", "Acer", "Pinus"]
VISION = np.random.default_rng(0).standard_normal((N, *SHAPE)).astype(np.float32)
LANGUAGE = np.random.default_rng(1).standard_normal((3, 7168)).astype(np.float32)
TAXA = ["Acer", "Pinus", "Quercus"]  # none for Ulmus


def observations():
    return pd.DataFrame({
        "observation_id": IDS, "gbif_id": GBIF, "image_index": 1, "taxon_name": SPECIES,
        "latitude": 28 + np.arange(N) / 10, "longitude": -81 - np.arange(N) / 10,
        "year": pd.array([2020 + i for i in range(N)], "Int64"), "month": pd.array([None, *range(2, N + 1)], "Int64"),
        "day": pd.array([*range(1, N), None], "Int64"), "hour": pd.array([None, 13, *[None] * (N - 2)], "Int64"),
        "image_urls": ["http://a/1;http://a/2", None, *[""] * (N - 2)], "has_vision": True})


@pytest.fixture
def store(tmp_path):
    """Simulated vectors; the eighth observation's vision vector is missing, the ninth has none."""
    store = EmbeddingStore.create(tmp_path / "s", note={"simulated": True})
    store.write_observations(observations())
    with store.writer(TableSpec("vision", SHAPE), rows_per_part=3) as writer:
        writer.add(GBIF[:8], VISION[:8], np.arange(8) == 7)
    with store.writer(TableSpec("vision_mean", SHAPE[-1:])) as writer:
        writer.add(GBIF[:7], VISION[:7].mean((1, 2, 3)))
    numbers = store.add_taxa(TAXA)
    with store.writer(TableSpec("language", (7168,), key="taxon")) as writer:
        writer.add(numbers, LANGUAGE)
    return store


def test_keys_shapes_types_units_and_order(store):
    order = [4, 0, 2, 0, 1]
    batch = get_training_batch(store, [IDS[i] for i in order])
    assert set(batch) == {"species", "image_urls", "locations", "timestamps", "language_embeddings",
                          "vision_embeddings", "metadata"}
    assert batch["species"] == [SPECIES[i] for i in order]
    assert batch["image_urls"] == ["", "http://a/1;http://a/2", "", "http://a/1;http://a/2", ""]
    assert {key: (tuple(batch[key].shape), batch[key].dtype) for key in
            ("locations", "timestamps", "language_embeddings", "vision_embeddings")} == {
        "locations": ((5, 3), torch.float32), "timestamps": ((5, 6), torch.int32),
        "language_embeddings": ((5, 7168), torch.float32), "vision_embeddings": ((5, *SHAPE), torch.float32)}
    np.testing.assert_array_equal(batch["vision_embeddings"], VISION[order])
    np.testing.assert_array_equal(batch["language_embeddings"],
                                  LANGUAGE[[TAXA.index(SPECIES[i]) for i in order]])
    np.testing.assert_allclose(batch["locations"], [[28 + i / 10, -81 - i / 10, 0] for i in order], rtol=1e-7)
    metadata = batch["metadata"]
    assert metadata["observation_ids"] == [IDS[i] for i in order]
    assert metadata["gbif_ids"] == GBIF[order].tolist() and metadata["batch_size"] == 5
    assert pd.Timestamp(metadata["loaded_at"]).tz is not None


def test_parts_of_a_time_that_are_not_known_are_0(store):
    got = get_training_batch(store, [IDS[0], IDS[1], IDS[6]], include_vision=False, include_language=False)
    assert got["timestamps"].tolist() == [[2020, 0, 1, 0, 0, 0], [2021, 2, 2, 13, 0, 0], [2026, 7, 7, 0, 0, 0]]
    assert "vision_embeddings" not in got and "language_embeddings" not in got
    last = get_training_batch(store, [IDS[8]], include_vision=False, include_language=False)
    assert last["timestamps"].tolist() == [[2028, 9, 0, 0, 0, 0]]


def test_a_pooled_table_can_be_asked_for(store):
    got = get_training_batch(store, IDS[:3], vision_table="vision_mean")["vision_embeddings"]
    np.testing.assert_array_equal(got, VISION[:3].mean((1, 2, 3)))


def test_buffers_of_an_earlier_batch_are_filled_again(store):
    first = get_training_batch(store, IDS[:2])
    second = get_training_batch(store, IDS[2:4], reuse=first)
    assert second["vision_embeddings"] is first["vision_embeddings"]
    np.testing.assert_array_equal(second["vision_embeddings"], VISION[2:4])
    third = get_training_batch(store, IDS[:3], reuse=second)
    assert third["vision_embeddings"] is not second["vision_embeddings"], "another size needs other buffers"
    np.testing.assert_array_equal(third["vision_embeddings"], VISION[:3])


@pytest.mark.parametrize(("ids", "said"), [
    (["4000000005_1", "17_1", "18_1"], r"2 observation id\(s\) are not in the store: 17_1, 18_1"),
    (["4000000005_2"], "not in the store: 4000000005_2"),
    (["4000000005_1", "x", "4000000005"], "2 of 3 ids are not ids of observations: 'x', '4000000005'"),
    ([], "at least one"), ("4000000005_1", "Give a list"),
    ([IDS[7], IDS[0], IDS[8]], r"2 observation\(s\) have no vision vector in the table 'vision': "
                               "4000000004_1, 4000000006_1"),
    ([IDS[5], IDS[5]], r"1 observation\(s\) have no language vector .*: 4000000002_1, of Ulmus")])
def test_ids_that_cannot_be_served_are_named(store, ids, said):
    with pytest.raises(InputError, match=said):
        get_training_batch(store, ids)


def test_the_vector_of_one_image_is_not_given_for_another(tmp_path, store):
    frame = observations()
    frame.loc[0, ["observation_id", "image_index"]] = [f"{GBIF[0]}_2", 2]
    store.write_observations(frame)
    with pytest.raises(InputError, match="that of its image 1"):
        get_training_batch(store, [f"{GBIF[0]}_2"])
    assert f"{GBIF[0]}_2" not in get_available_observation_ids(store)
    assert get_training_batch(store, [f"{GBIF[0]}_2"], include_vision=False)["species"] == ["Quercus"]


def test_tables_that_contradict_their_ids_are_refused(store):
    for change in ({"gbif_id": GBIF + 1}, {"observation_id": [IDS[0], *IDS[:-1]]}):
        store.write_observations(observations().assign(**change))
        with pytest.raises(InputError, match="repeat, or contradict"):
            get_training_batch(store, IDS[:1])
    store.write_observations(observations().drop(columns=["latitude", "taxon_name"]))
    with pytest.raises(InputError, match="lack the column"):
        get_training_batch(store, IDS[:1])


def test_available_ids_are_those_that_a_batch_serves(store):
    available = get_available_observation_ids(store)
    assert available == [IDS[i] for i in (0, 1, 2, 3, 4, 6)]
    assert len(get_training_batch(store, available)["species"]) == 6
    assert get_available_observation_ids(store, has_language=False) == IDS[:7]
    assert get_available_observation_ids(store, has_vision=False) == [i for i in IDS if i != IDS[5]]
    assert get_available_observation_ids(store, False, False) == IDS
    assert get_available_observation_ids(store, limit=2) == IDS[:2]
    assert get_available_observation_ids(store, limit=0) == []
    with pytest.raises(InputError, match="-1"):
        get_available_observation_ids(store, limit=-1)


def test_new_taxa_are_seen_by_the_next_batch(store):
    with pytest.raises(InputError, match="no language vector"):
        get_training_batch(store, [IDS[5]])
    number = store.add_taxa(["Ulmus"])
    with store.writer(TableSpec("language", (7168,), key="taxon")) as writer:
        writer.add(number, LANGUAGE[:1])
    np.testing.assert_array_equal(get_training_batch(store, [IDS[5]])["language_embeddings"], LANGUAGE[:1])


@pytest.mark.parametrize(("mode", "keys"), [("language", {"language_embedding"}), ("vision", {"vision_embedding"}),
                                            ("both", {"language_embedding", "vision_embedding"})])
def test_a_data_set_gives_items_and_whole_batches_alike(store, mode, keys):
    names = [IDS[i] for i in (3, 0, 4, 1)]
    data = DeepEarthDataset(names, store, mode=mode)
    assert data.num_classes == 3 and data.species_to_idx == {"Acer": 0, "Pinus": 1, "Quercus": 2}
    items = [data[i] for i in range(len(data))]
    assert all(set(item) == {"species_label", "observation_id", *keys} for item in items)
    assert [int(item["species_label"]) for item in items] == [1, 2, 0, 0]
    assert data[-1]["observation_id"] == names[-1]
    with pytest.raises(IndexError):
        data[4]
    for workers in (0, 1):
        batches = list(DataLoader(data, batch_size=3, num_workers=workers))
        assert [name for batch in batches for name in batch["observation_id"]] == names
        for key in ("species_label", *keys):
            np.testing.assert_array_equal(torch.cat([batch[key] for batch in batches]),
                                          torch.stack([item[key] for item in items]))


def test_a_species_is_never_given_anothers_label(store):
    data = DeepEarthDataset(IDS[:3], store, species_mapping={"Quercus": 5, "Acer": 0, "Pinus": 1})
    assert data.num_classes == 6 and data.labels.tolist() == [5, 0, 5]
    with pytest.raises(InputError, match="1 species are not in the mapping: Acer"):
        DeepEarthDataset(IDS[:3], store, species_mapping={"Quercus": 0})
    with pytest.raises(InputError, match="'audio' is not one of"):
        DeepEarthDataset(IDS[:3], store, mode="audio")


def test_the_published_split_gives_its_ids(real_biodiversity):
    train, test = load_train_test_split(real_biodiversity / "central_florida_split.json")
    assert (len(train), len(test), len({*train, *test})) == (6439, 674, 7113)


@pytest.mark.parametrize("content", [[], {}, {"observation_mappings": {"1_1": "train"}},
                                     {"observation_mappings": {"1_1": {"split": "valid"}}},
                                     {"observation_mappings": {"one": {"split": "train"}}}])
def test_a_split_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "split.json").write_text(json.dumps(content))
    with pytest.raises(InputError):
        load_train_test_split(tmp_path / "split.json")
